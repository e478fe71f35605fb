//! What must be true in every run.
//!
//! The checks look at what a holder would be told if it asked, and at the service's own state: both are known exactly at
//! every event, and between two events nobody's answer can turn from no to yes. So what they find is about intervals
//! of true time, and not about samples.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;
use crate::fencing::{FencingToken, Second};
use crate::hold::carry::Unreleased;
use crate::lease::{LeaseId, LockState, Lost};
use crate::rest::{Operation, Outcome, Write};

use super::client::{Claim, Failure, Purpose};
use super::network::{LATEST, Packet};
use super::service::{Answer, Lease, Time, second};
use super::tally::Count;
use super::world::World;

/// When nothing has gone wrong for so long before its deadline, a lease has been renewed.
const QUIET: Duration = Duration::from_secs(2);
/// The loss is told this soon after the deadline.
pub(super) const TOLD_WITHIN: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Violation {
    pub(super) rule: &'static str,
    pub(super) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violated: {}: {}", self.rule, self.text)
    }
}

/// What is true of one claim to the lock, whatever its client thinks.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) broken: bool,
    /// Another process had its lease before.
    pub(super) resumed: bool,
    /// A request of its was carried out twice.
    pub(super) doubled: bool,
    /// An acquire of its was carried out after it had been given up.
    pub(super) landed_late: bool,
    /// Since when it has looked at its own lease in vain.
    pub(super) in_vain_since: Option<Time>,
    /// It got an answer that was for somebody else.
    pub(super) misled: bool,
    /// An acquire was sent.
    pub(super) asked: bool,
    pub(super) release_sent: bool,
    pub(super) release_done: bool,
    /// A release had no answer, and may have been carried out.
    pub(super) perhaps_released: bool,
    /// The calls that got or renewed the lease, and until when.
    pub(super) leased: Vec<(u64, Time)>,
    /// Since when its client wants it no more, or is dead.
    pub(super) left: Option<Time>,
    pub(super) ended: bool,
    /// The tokens that were written for it.
    pub(super) tokens: Vec<FencingToken>,
}

/// All fencing tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The greatest that was written.
    greatest: Option<FencingToken>,
    told: HashSet<FencingToken>,
    /// Of the seconds up to that one some may have been lost in a fail-over, unheard.
    excused: Option<Second>,
}

fn second_of(token: FencingToken) -> Second {
    Second(token.get() >> 20)
}

impl World {
    pub(super) fn breach(&mut self, rule: &'static str, text: fmt::Arguments<'_>) {
        self.note(format_args!("VIOLATED {rule}: {text}"));
        if self.violation.is_none() {
            self.violation = Some(Violation { rule, text: format!("{text}, after {:?}", self.now) });
        }
    }

    pub(super) fn facts_of(&mut self, id: LeaseId) -> &mut Facts {
        let claim = self.owners[&id];
        &mut self.facts[claim]
    }

    /// Before a request leaves.
    pub(super) fn check_request(&mut self, who: usize, operation: Operation) {
        let claim = self.clients[who].claim();
        let facts = &self.facts[claim.number];
        let leaving = claim.left && claim.run().left;
        match operation {
            Operation::Acquire { .. } | Operation::Renew { .. } if facts.release_sent => {
                self.breach("nothing follows the release", format_args!("client {who}: {operation:?}"));
            }
            Operation::Acquire { .. } | Operation::Renew { .. } if leaving => {
                self.breach("who has left asks for nothing", format_args!("client {who}: {operation:?}"));
            }
            Operation::Release { .. } if claim.is_guarded() && !claim.left => {
                self.breach("no release before the guard is dropped", format_args!("client {who}"));
            }
            _ => {}
        }
    }

    /// When the service carries out a request.
    pub(super) fn check_handled(&mut self, packet: &Packet, before: Lease, answer: Answer) {
        let Packet { who, claim, operation, .. } = *packet;
        let in_vain = match (operation, before) {
            (Operation::Look, Lease::Leased { id, .. }) => {
                let waits = self.clients[who].claim.as_ref().is_some_and(Claim::waits);
                waits && self.owners[&id] == claim && !self.facts[claim].resumed
            }
            (Operation::Acquire { id: new, .. }, Lease::Leased { id, .. }) => self.owners[&id] == claim && id != new,
            _ => false,
        };
        if in_vain && self.clients[who].waits_for(packet) {
            self.check_in_vain(packet);
        } else if !in_vain {
            self.facts[claim].in_vain_since = None;
        }
        let own = |id: LeaseId| self.owners[&id] == claim;
        match (operation, answer) {
            (Operation::Acquire { .. } | Operation::Renew { .. }, Answer::Leased(id)) if own(id) => {
                self.check_leased(packet, before);
            }
            (Operation::Renew { .. }, Answer::Leased(_)) => self.tally.add(Count::RevivedByStranger),
            (Operation::Release { .. }, Answer::Done) => self.facts[claim].release_done = true,
            (Operation::Write(write), answer) => self.check_written(packet, &write, answer),
            (Operation::CreateContainer, Answer::Done) => self.tally.add(Count::ContainerCreated),
            (Operation::CreateBlob, Answer::Done) => self.tally.add(Count::BlobCreated),
            _ => {}
        }
    }

    fn check_written(&mut self, packet: &Packet, write: &Write, answer: Answer) {
        let Packet { who, claim, .. } = *packet;
        if answer == Answer::Refusal(412, "ConditionNotMet") {
            self.tally.add(Count::WriteRefused);
        }
        if answer != Answer::Done {
            return;
        }
        if self.service.holder().is_none_or(|(id, _)| id != write.lease) {
            let text = format_args!("client {who}: {write:?}");
            return self.breach("nobody writes without the lease", text);
        }
        if !self.clients[who].waits_for(packet) {
            self.tally.add(Count::WrittenLate);
        }
        let Some(token) = write.token else { return self.tally.add(Count::Marked) };
        self.facts[claim].tokens.push(token);
        let greatest = self.tokens.greatest.replace(token);
        if greatest.is_some_and(|greatest| second_of(greatest) == second_of(token)) {
            self.tally.add(Count::TokenInSameSecond);
        }
        let is_excused = self.tokens.excused.is_some_and(|second| second_of(token) <= second);
        if greatest.is_some_and(|greatest| token <= greatest) && !is_excused {
            self.breach("tokens only grow", format_args!("client {who}: {token} after {greatest:?}"));
        }
        if second_of(token) > second(self.now) {
            self.breach("no token is ahead of the service's clock", format_args!("client {who}: {token}"));
        }
    }

    /// When a holder gets to know its token.
    pub(super) fn check_token(&mut self, who: usize, token: Option<FencingToken>) {
        let claim = self.clients[who].claim();
        let Some(token) = token else {
            if claim.settings.leaves.token {
                self.breach("nobody holds the lock without the token that it wants", format_args!("client {who}"));
            }
            return;
        };
        self.tally.add(Count::TokenTaken);
        if !self.facts[claim.number].tokens.contains(&token) {
            self.breach("a token that is told was written", format_args!("client {who}: {token}"));
        }
        let is_excused = self.tokens.excused.is_some_and(|second| second_of(token) <= second);
        if !self.tokens.told.insert(token) && !is_excused {
            self.breach("no two holders have one token", format_args!("client {who}: {token}"));
        }
    }

    /// The other region knows nothing of the newest tokens, and its blob was not changed since.
    pub(super) fn check_fail_over(&mut self) {
        self.tokens.excused = Some(second(self.now));
    }

    /// A client waits for its own lease. It may come about by an acquire that was carried out after it had been given up,
    /// and after a later one had been answered, or by a copy in which the lease is still its own; the next acquire finds
    /// that.
    fn check_in_vain(&mut self, packet: &Packet) {
        let Packet { who, claim, operation, .. } = *packet;
        let facts = &mut self.facts[claim];
        let since = *facts.in_vain_since.get_or_insert(self.now);
        let settings = &self.clients[who].claim().settings;
        let longest = settings.term.duration().unwrap_or_default() * 101 / 100
            + settings.longest_pause
            + settings.policy.attempt_limit;
        let excused = facts.doubled || facts.landed_late || self.tally.of(Count::FailedOver) > 0;
        let in_time = self.now <= since + longest + QUIET || self.clients[who].touched >= since;
        if !excused || !facts.doubled && !in_time {
            self.breach("nobody waits for its own lease", format_args!("client {who}: {operation:?}"));
        }
    }

    /// The service gave the lease to the sender of this packet, or prolonged it.
    fn check_leased(&mut self, packet: &Packet, before: Lease) {
        let Packet { who, claim, operation, .. } = *packet;
        let Some((_, until)) = self.service.holder() else { return };
        let facts = &mut self.facts[claim];
        facts.leased.push((packet.call, until));
        let acquired = matches!(operation, Operation::Acquire { .. });
        facts.landed_late |= acquired && !self.clients[who].waits_for(packet);
        if facts.ended && acquired && !facts.release_sent && !facts.doubled {
            return self.breach("what was begun is undone", format_args!("the lease stays with client {who}"));
        }
        if let Some(left) = facts.left {
            self.tally.add(if acquired { Count::AcquireAfterEnd } else { Count::RenewAfterEnd });
            if self.now > left + LATEST {
                return self.breach("an orphan does not live on", format_args!("client {who} left at {left:?}"));
            }
        }
        match before {
            Lease::Expired { .. } if acquired => self.tally.add(Count::TakenAfterExpiry),
            Lease::Expired { .. } => self.tally.add(Count::RevivedByOwner),
            Lease::Broken { .. } => self.tally.add(Count::TakenAfterBreak),
            _ => {}
        }
        if let Some(other) = self.another_yes(claim) {
            self.breach("no lease ends while its holder says yes", format_args!("client {other}'s went to {who}"));
        }
    }

    /// Somebody who would say that it holds the lock, other than by this claim. In a run in which that must not be.
    fn another_yes(&self, claim: usize) -> Option<usize> {
        let now = self.now;
        let says_yes =
            |who: &usize| self.clients[*who].says_yes(now) && self.clients[*who].claim_number() != Some(claim);
        (0..self.clients.len()).filter(|_| self.setting.lawful).find(says_yes)
    }

    /// When a client may say from now on that it holds the lock until then.
    pub(super) fn check_yes(&mut self, who: usize, valid_until: Moment) {
        let Client { claim, call, end } = self.client_facts(who, valid_until);
        // The last ones come first; the same call may have been carried out twice.
        let leased = self.facts[claim].leased.iter().rev();
        let mut by_call = leased.filter(|(by, _)| *by == call).map(|(_, until)| *until);
        // Whatever others do to a lease, that is what it was when it was given.
        if !by_call.any(|until| end <= until || self.tally.of(Count::Frozen) > 0) {
            let text = format_args!("client {who} by call {call} until {end:?}");
            self.breach("a yes is covered by the service", text);
        }
        if let Some(other) = self.another_yes(claim).filter(|_| self.now < end) {
            self.breach("never two holders", format_args!("clients {other} and {who}"));
        }
        self.check_rhythm(who, valid_until);
        self.check_resumed(who, valid_until);
    }

    fn client_facts(&self, who: usize, valid_until: Moment) -> Client {
        let client = &self.clients[who];
        let end = client.clock.when(valid_until).unwrap_or(Duration::MAX);
        Client { claim: client.claim().number, call: client.claim().run().last_call, end }
    }

    /// Nothing is lost without a reason.
    pub(super) fn check_lost(&mut self, who: usize, lost: Lost) {
        let claim = self.clients[who].claim().number;
        let reason = match lost {
            Lost::Expired => {
                let client = &self.clients[who];
                let deadline = client.deadline().and_then(|moment| client.clock.when(moment));
                client.claim().one_shot || deadline.is_none_or(|end| client.touched + QUIET >= end)
            }
            Lost::Taken => {
                let resumes = self.clients[who].claim().run().purpose == Purpose::Resume;
                self.facts[claim].misled || resumes || !self.setting.lawful
            }
            _ => self.has_happened(claim, lost),
        };
        if !reason {
            self.breach("no false loss", format_args!("client {who}: {lost:?}"));
        }
    }

    /// Whether somebody did this to a claim.
    fn has_happened(&self, claim: usize, lost: Lost) -> bool {
        let container_gone = self.tally.of(Count::ContainerDeleted) + self.tally.of(Count::FailedOver) > 0;
        match lost {
            Lost::Broken => self.facts[claim].broken,
            Lost::BlobDeleted => container_gone || self.tally.of(Count::BlobDeleted) > 0,
            Lost::ContainerDeleted => container_gone,
            _ => false,
        }
    }

    /// When a release has said how it ended. `held`: until it was begun, by the client's own clock.
    pub(super) fn check_released(&mut self, who: usize, how: &Result<(), Unreleased<Failure>>, held: bool) {
        let local = self.clock(who);
        let client = &self.clients[who];
        let claim = client.claim();
        let facts = &self.facts[claim.number];
        let breach = match how {
            Ok(()) if !held => Some("unlock is Ok only if held"),
            Ok(()) => {
                let released = facts.release_done || facts.perhaps_released || facts.misled;
                (!released).then_some("unlock is Ok only if it was released")
            }
            Err(Unreleased::Failed { .. }) => {
                facts.left.is_some_and(|left| client.touched < left).then_some("no release fails without a reason")
            }
            Err(Unreleased::Lost(_)) if !held => None,
            // While a renewal was under way, or the process stood still.
            Err(Unreleased::Lost(Lost::Expired)) => {
                claim.valid_until.is_some_and(|end| local < end).then_some("no false loss")
            }
            Err(Unreleased::Lost(Lost::Taken)) => {
                (facts.release_done && !facts.doubled && self.setting.lawful).then_some("its own release is no loss")
            }
            Err(Unreleased::Lost(lost)) => (!self.has_happened(claim.number, *lost)).then_some("no false loss"),
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {how:?}"));
        }
    }

    /// When nothing more will be done for a claim.
    pub(super) fn check_end(&mut self, who: usize, purpose: Purpose) {
        self.service.settle(self.now);
        let claim = self.clients[who].claim();
        let facts = &mut self.facts[claim.number];
        facts.ended |= match purpose {
            Purpose::Acquire => !claim.is_obtained(),
            // What cannot be taken up again is left as it is.
            Purpose::Look | Purpose::Resume | Purpose::Renew | Purpose::Fence => false,
            Purpose::Keep | Purpose::Release => true,
        };
        let has_it = matches!(self.service.lease, Lease::Leased { id, .. } if self.owners[&id] == claim.number);
        let left_behind = facts.ended && has_it && !facts.doubled;
        // Who has left lets a lease run out that is nearly over.
        let unsure = claim.run().record.unsure && !claim.is_obtained() && !claim.left;
        if (left_behind || unsure) && !facts.release_sent {
            self.breach("what was begun is undone", format_args!("client {who} left its lease behind"));
        }
    }
}

struct Client {
    claim: usize,
    call: u64,
    end: Time,
}

/// Whether a look showed that somebody has the lock.
pub(super) fn is_locked(outcome: Outcome) -> bool {
    use LockState::{Breaking, Leased, LeasedForever};
    matches!(outcome, Outcome::Seen(Leased | LeasedForever | Breaking))
}
