//! How a client must behave towards its caller and the service: the times and numbers that are documented.
//!
//! A lock that is never held twice can still be a nuisance: it gives up too early or too late, lets its caller wait, asks
//! too often, or does not pass on what it was told.

use std::time::Duration;

use crate::clock::Moment;
use crate::hold::{Do, Input, Told, Wait, Why};
use crate::rest::{Applied, Operation, Outcome};

use super::client::Claim;
use super::rules::is_locked;
use super::world::World;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
/// No service is heeded for longer when it asks to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What was asked and heard while a hold was carried out, by the client's own clock.
#[derive(Debug, Default)]
pub(super) struct Record {
    asked: Option<Operation>,
    /// What came of it.
    heard: Option<Outcome>,
    /// An acquire may have been carried out, or may still be.
    pub(super) unsure: bool,
    /// A look was refused.
    blind: bool,
    /// How many failures were borne.
    setbacks: u32,
    failing_since: Option<Moment>,
    /// Before that the same is not to be asked again.
    not_before: Option<Moment>,
}

impl Record {
    /// Whether to look before the next try.
    pub(super) fn saw_it_locked(&self) -> bool {
        let busy = self.heard == Some(Outcome::Busy) && !self.unsure && !self.blind;
        busy || self.heard.is_some_and(is_locked)
    }
}

impl Claim {
    /// Whether the failures of a wait without an end have lasted for as long as they are borne.
    fn is_out_of_patience(&self, local: Moment) -> bool {
        let since = self.run().record.failing_since;
        since.is_some_and(|since| local.since(since) >= self.rules.policy.patience)
    }

    fn may_give_up(&self, why: Why, local: Moment, lawful: bool) -> bool {
        use Outcome::{Denied, Failed, Leased, Refused};
        let (record, policy) = (&self.run().record, &self.rules.policy);
        match (why, self.wait, record.heard) {
            (Why::Busy, wait, heard) => wait == Wait::Never && heard == Some(Outcome::Busy),
            (Why::TimedOut, wait, _) => matches!(wait, Wait::Until(deadline) if deadline <= local),
            (Why::GivenUp, ..) => self.left,
            // Nobody who does not want to wait is held by a service that asks for it.
            (Why::Failed, Wait::Never, Some(Failed { retry_after: None, .. })) => record.setbacks >= policy.retries,
            (Why::Failed, Wait::Never, _) => true,
            // Making anew what others delete is a failure that no answer tells of.
            (Why::Failed, Wait::Forever, Some(Failed { .. })) => self.is_out_of_patience(local) || !lawful,
            // Who may not look can try.
            (Why::Failed, _, Some(Denied | Refused)) => record.asked != Some(Operation::Look),
            (Why::Failed, _, heard) => matches!(heard, Some(Leased(_))),
        }
    }
}

impl World {
    /// When a thread hears of an answer.
    pub(super) fn take_down(&mut self, who: usize, input: Input) {
        let Input::Answer { outcome, .. } = input else { return };
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let policy = &claim.rules.policy;
        let record = &mut claim.run.as_mut().expect("it heard").record;
        record.heard = Some(outcome);
        record.not_before = None;
        let perhaps = matches!(outcome, Outcome::Leased(_) | Outcome::Failed { applied: Applied::Perhaps, .. });
        match record.asked {
            Some(Operation::Acquire { .. }) => record.unsure |= perhaps,
            Some(Operation::Release { .. }) => self.facts[claim.number].perhaps_released |= perhaps,
            Some(Operation::Look) => record.blind |= matches!(outcome, Outcome::Denied | Outcome::Refused),
            _ => {}
        }
        match outcome {
            Outcome::Failed { retry_after, .. } => {
                record.failing_since.get_or_insert(local);
                let asked_for = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                let patience = if claim.wait == Wait::Forever { policy.patience } else { Duration::MAX };
                record.not_before = Some(local.after(asked_for.max(policy.first_pause / 2).min(patience)));
            }
            // Perhaps it came too late.
            Outcome::Leased(_) => drop(record.failing_since.get_or_insert(local)),
            Outcome::Busy | Outcome::Seen(_) | Outcome::ContainerBeingDeleted => record.failing_since = None,
            _ => {}
        }
    }

    /// When a hold says what is next.
    pub(super) fn check_step(&mut self, who: usize, input: Input, step: Do) {
        self.check_passed_on(who, input, step);
        match step {
            Do::Send { operation, .. } => self.check_sending(who, operation),
            Do::Sleep { until } => self.check_sleep(who, until),
            Do::Tell(told) => self.check_telling(who, told),
            Do::End => {}
        }
    }

    fn check_passed_on(&mut self, who: usize, input: Input, step: Do) {
        use Outcome::{Broken, ContainerBeingDeleted, NoBlob, NoContainer, NoLease, NotOurs};
        let Input::Answer { outcome, .. } = input else { return };
        let is_loss = matches!(outcome, NotOurs | NoLease | Broken | NoBlob | NoContainer | ContainerBeingDeleted);
        let renewed = matches!(self.clients[who].claim().run().record.asked, Some(Operation::Renew { .. }));
        if is_loss && renewed && !matches!(step, Do::Tell(Told::Lost(_))) {
            self.breach("a word on the lease is passed on", format_args!("client {who}: {outcome:?} -> {step:?}"));
        }
    }

    fn check_sending(&mut self, who: usize, operation: Operation) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let is_over = claim.lost_told.is_some() || claim.valid_until.is_some_and(|end| end <= local);
        let does_not_wait = claim.wait == Wait::Never && !claim.is_guarded();
        let record = &mut claim.run.as_mut().expect("it sends").record;
        let again = record.asked.replace(operation) == Some(operation);
        let too_early = again && record.not_before.is_some_and(|time| local < time);
        let breach = match operation {
            Operation::Renew { .. } if is_over => Some("what is lost is not renewed"),
            _ if does_not_wait && record.setbacks > claim.rules.policy.retries => {
                Some("who does not wait soon gives up")
            }
            // A deadline may cut a pause short.
            Operation::Renew { .. } => None,
            _ if matches!(claim.wait, Wait::Until(_)) => None,
            _ => too_early.then_some("nobody hammers at a service that fails"),
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {operation:?}"));
        }
    }

    fn check_sleep(&mut self, who: usize, until: Moment) {
        let local = self.clock(who);
        let claim = self.clients[who].claim();
        let record = &claim.run().record;
        let longest = match claim.wait {
            _ if claim.is_obtained() || claim.failed || claim.left => return,
            _ if record.heard == Some(Outcome::Busy) || record.saw_it_locked() => claim.rules.longest_pause,
            Wait::Never => claim.rules.policy.longest_pause,
            _ => return,
        };
        if until > local.after(longest) {
            let text = format_args!("client {who}: {until:?} is later than {longest:?}");
            self.breach("who waits looks again soon", text);
        }
    }

    fn check_telling(&mut self, who: usize, told: Told) {
        let local = self.clock(who);
        let lawful = self.setting.lawful;
        let claim = self.clients[who].claim_mut();
        let record = &mut claim.run.as_mut().expect("it tells").record;
        record.setbacks += u32::from(matches!(told, Told::Retrying | Told::RenewalFailed { .. }));
        let failed = matches!(record.heard, Some(Outcome::Failed { .. }));
        let breach = match told {
            Told::Granted { valid_until, .. } => (valid_until <= local).then_some("what is granted is not over"),
            Told::Renewed { .. } => {
                claim.valid_until.is_some_and(|end| end <= local).then_some("what is lost stays lost")
            }
            Told::Retrying if failed && claim.wait == Wait::Forever => {
                claim.is_out_of_patience(local).then_some("nobody gives up too late")
            }
            Told::NotObtained(why) => (!claim.may_give_up(why, local, lawful)).then_some("nobody gives up too early"),
            _ => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {told:?}"));
        }
    }

    /// When the caller of a wait has waited for long enough.
    pub(super) fn check_wait(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim();
        let Wait::Until(deadline) = claim.wait else { return };
        // The clock of a machine that was frozen is behind.
        let early = self.clock(who) <= deadline;
        // A request that was sent late ends late.
        let recently = client.held_up + claim.rules.policy.attempt_limit;
        let held_up = client.clock.when(deadline).is_none_or(|end| recently >= end);
        if !claim.failed && !early && !held_up {
            self.breach("a wait ends in its time", format_args!("client {who} still waits"));
        }
    }

    /// When nothing more is done for a caller that has left.
    pub(super) fn check_parting(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim();
        let Some(left) = self.facts[claim.number].left else { return };
        // A renewal under way, and the release with its retries.
        let in_time = left.max(client.held_up) + claim.rules.policy.attempt_limit * 3 * 101 / 100 + S;
        if self.now > in_time {
            self.breach("who leaves is soon gone", format_args!("client {who} left at {left:?}"));
        }
    }

    /// After a loss was told.
    pub(super) fn check_is_lost(&mut self, who: usize) {
        let client = &self.clients[who];
        if client.claim().lost_told.is_some() && client.says_yes(self.now) {
            self.breach("what is lost stays lost", format_args!("client {who}"));
        }
    }

    /// When a lock is renewed.
    pub(super) fn check_rhythm(&mut self, who: usize, valid_until: Moment) {
        let claim = self.clients[who].claim();
        let Some(before) = claim.valid_until.filter(|_| self.setting.calm && claim.is_guarded()) else { return };
        let (apart, every) = (valid_until.since(before), claim.rules.renew_every);
        if apart < every * 9 / 10 || apart > every + 100 * MS {
            self.breach("it is renewed as often as was asked for", format_args!("client {who}: after {apart:?}"));
        }
    }
}
