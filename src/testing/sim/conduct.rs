//! How a client must behave towards its caller and the service: the times and numbers that are documented.
//!
//! A lock that is never held twice can still be a nuisance: it gives up too early or too late, lets its caller wait, asks
//! too often, or does not pass on what it was told.

use std::time::Duration;

use crate::clock::Moment;
use crate::hold::call::Verdict;
use crate::hold::caller::{GRACE, Missed, Way};
use crate::hold::carry::{Act, Notice, Report, Unreleased};
use crate::hold::{Holder, Leaves, Wait, Why};
use crate::lease::{Lost, Term};
use crate::rest::{Applied, Exchange, Operation, Outcome};

use super::client::{Claim, Failure, Purpose};
use super::rules::is_locked;
use super::tally::Count;
use super::world::World;

const MS: Duration = Duration::from_millis(1);
/// What is promised of a wait that has ended, and a little for the caller's own thread.
const RETURNS_WITHIN: Duration = Duration::from_millis(255);
const S: Duration = Duration::from_secs(1);
/// Of 15 s, less the margin.
const COUNTS_AS: Duration = Duration::from_millis(12_700);
/// Threads sleep on a clock that stands still in suspend.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// No service is heeded for longer when it asks to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Who is told nothing by so many looks in a row tries, and looks again a lease later.
const MOST_FILTERED: u32 = 3;

/// What was asked and heard while a hold was carried out, by the client's own clock.
#[derive(Debug, Default)]
pub(super) struct Record {
    asked: Option<Operation>,
    /// What came of it.
    heard: Option<Outcome>,
    /// It stands back until then, as after a long row of turns.
    pub(super) stands_back: Option<Moment>,
    /// An acquire may have been carried out, or may still be.
    pub(super) unsure: bool,
    /// Until then it is not to look: looks are refused, or something in between answers them.
    blind_until: Option<Moment>,
    /// The lease is ours, and its holder will know when what it leaves is written.
    pub(super) writes: bool,
    /// It was blind when it heard last who has the lock.
    blind: bool,
    /// How many looks in a row something in between has answered.
    filtered: u32,
    /// How many looks in a row have shown that nobody has the lock.
    free: u32,
    /// When an acquire was decided on last.
    tried: Option<Moment>,
    /// How many failures were borne.
    setbacks: u32,
    failing_since: Option<Moment>,
    /// Before that the same is not to be asked again.
    pub(super) not_before: Option<Moment>,
    /// Since when it sleeps, if its last sleep was cut short: none is longer than two seconds.
    sleeps_since: Option<Moment>,
    /// The call that went wrong last, if the last one did.
    error: Option<Failure>,
    /// By the end of its wait alone.
    cut_off: bool,
    /// The service has said something.
    reached: bool,
    /// The failure that is in the way, as far as it was told.
    failing: Option<Failure>,
    /// By which it was told that it does not get the lock, or did not renew it.
    failed: Option<Failure>,
    /// It was told that somebody has the lock.
    busy: bool,
    /// The observer was told how the release ended.
    end_noticed: bool,
}

impl Record {
    /// Whether to look before the next try.
    pub(super) fn saw_it_locked(&self) -> bool {
        let busy = self.heard == Some(Outcome::Busy) && !self.blind;
        !self.writes && (busy || self.heard.is_some_and(is_locked))
    }

    /// What a look came to.
    fn saw(&mut self, local: Moment, term: Term, outcome: Outcome) {
        match outcome {
            Outcome::Denied | Outcome::Refused | Outcome::Void => self.blind_until = Some(Moment::NEVER),
            Outcome::Filtered => {
                self.filtered += 1;
                self.blind_until = Some(term.ends(local)).filter(|_| self.filtered >= MOST_FILTERED);
            }
            Outcome::Seen(_) | Outcome::NoBlob | Outcome::NoContainer => self.filtered = 0,
            _ => {}
        }
        match outcome {
            Outcome::Seen(_) if is_locked(outcome) => self.free = 0,
            Outcome::Seen(_) => self.free += 1,
            _ => {}
        }
    }
}

impl Claim {
    /// Whether the failures of a wait without an end have lasted for as long as they are borne.
    fn is_out_of_patience(&self, local: Moment) -> bool {
        let since = self.run().record.failing_since;
        since.is_some_and(|since| local.since(since) >= self.settings.policy.patience)
    }

    fn may_give_up(&self, why: Why, local: Moment, lawful: bool) -> bool {
        use Outcome::{Denied, Failed, Filtered, Leased, Refused};
        let (record, policy) = (&self.run().record, &self.settings.policy);
        match (why, self.wait, record.heard) {
            (Why::Busy, wait, heard) => wait == Wait::Never && heard == Some(Outcome::Busy),
            (Why::TimedOut, wait, _) => matches!(wait, Wait::Until(deadline) if deadline <= local),
            (Why::GivenUp, ..) => self.left,
            // Nobody who does not want to wait is held by a service that asks for it.
            (Why::Failed, Wait::Never, Some(Failed { retry_after: None, .. })) => record.setbacks >= policy.retries,
            (Why::Failed, Wait::Never, _) => true,
            // What others do to a lease that nobody knows of yet is a failure like any other.
            (Why::Failed, ..) if record.writes => self.is_out_of_patience(local) || policy.patience.is_zero(),
            (Why::NoToken(_), ..) => self.settings.leaves.token && record.writes,
            // Making anew what others delete is a failure that no answer tells of.
            (Why::Failed, Wait::Forever, Some(Failed { .. } | Filtered)) => self.is_out_of_patience(local) || !lawful,
            // Who may not look can try.
            (Why::Failed, _, Some(Denied | Refused)) => record.asked != Some(Operation::Look),
            (Why::Failed, _, heard) => matches!(heard, Some(Leased(_))),
        }
    }
}

impl World {
    /// When a thread hears of an answer.
    pub(super) fn take_down(&mut self, who: usize, exchange: &Exchange<Failure>) {
        let outcome = exchange.outcome;
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let waits = claim.waits();
        let policy = &claim.settings.policy;
        let record = &mut claim.run.as_mut().expect("it heard").record;
        record.heard = Some(outcome);
        (record.error, record.cut_off) = (exchange.error, exchange.cut_off);
        record.reached |= record.error.is_none();
        if record.error.is_none() {
            record.failing = None;
        }
        record.not_before = None;
        let perhaps = matches!(outcome, Outcome::Leased(_) | Outcome::Failed { applied: Applied::Perhaps, .. });
        match record.asked {
            Some(Operation::Acquire { .. }) => {
                record.unsure |= perhaps;
                if outcome == Outcome::Busy {
                    record.free = 0;
                }
            }
            Some(Operation::Release { .. }) => self.facts[claim.number].perhaps_released |= perhaps,
            Some(Operation::Look) if waits => record.saw(local, claim.settings.term, outcome),
            _ => {}
        }
        record.blind = record.blind_until.is_some_and(|until| local < until);
        match outcome {
            Outcome::Failed { retry_after, .. } => {
                record.failing_since.get_or_insert(local);
                let asked_for = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                let patience = if claim.wait == Wait::Forever { policy.patience } else { Duration::MAX };
                record.not_before = Some(local.after(asked_for.max(policy.first_pause / 2).min(patience)));
            }
            // Who tries instead does not count it.
            Outcome::Filtered if record.filtered < MOST_FILTERED => {
                record.failing_since.get_or_insert(local);
                record.not_before = Some(local.after(policy.first_pause / 2));
            }
            Outcome::Busy | Outcome::Seen(_) | Outcome::ContainerBeingDeleted if !record.writes => {
                record.failing_since = None
            }
            _ => {}
        }
        let Leaves { token, card, .. } = claim.settings.leaves;
        if matches!((record.asked, outcome), (Some(Operation::Acquire { id, .. }), Outcome::Leased(ours)) if id == ours)
        {
            record.writes = (token || card) && !claim.one_shot;
        }
    }

    /// When it is decided what is next.
    pub(super) fn check_act(&mut self, who: usize, heard: Option<Outcome>, act: &Act<Failure>) {
        self.check_passed_on(who, heard, act);
        match act {
            Act::Send { operation, .. } => self.check_sending(who, *operation),
            Act::Sleep { until, for_leave } => {
                self.check_sleep(who, *until);
                self.check_wakeful(who, *until, *for_leave);
            }
            _ => self.check_telling(who, act),
        }
    }

    fn check_passed_on(&mut self, who: usize, heard: Option<Outcome>, act: &Act<Failure>) {
        use Outcome::{Broken, ContainerBeingDeleted, NoBlob, NoContainer, NoLease, NotOurs};
        let Some(outcome) = heard else { return };
        let is_loss = matches!(outcome, NotOurs | NoLease | Broken | NoBlob | NoContainer | ContainerBeingDeleted);
        let renewed = matches!(self.clients[who].claim().run().record.asked, Some(Operation::Renew { .. }));
        let is_told = !self.clients[who].claim().run().record.writes;
        if is_loss && renewed && is_told && !matches!(act, Act::Lose(_)) {
            self.breach("a word on the lease is passed on", format_args!("client {who}: {outcome:?} -> {act:?}"));
        }
    }

    fn check_sending(&mut self, who: usize, operation: Operation) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let is_over = claim.lost_told.is_some() || claim.valid_until.is_some_and(|end| end <= local);
        let does_not_wait = claim.wait == Wait::Never && !claim.is_guarded();
        let term = claim.settings.term.duration().unwrap_or(Duration::MAX);
        let last_try_at = match claim.wait {
            Wait::Until(end) => Some(end.before(250 * MS)),
            Wait::Never | Wait::Forever => None,
        };
        let last_try = last_try_at.is_some_and(|time| local >= time);
        let looks = operation == Operation::Look && claim.waits();
        match operation {
            Operation::Acquire { .. } => claim.early_renewal = None,
            Operation::Renew { .. } if claim.valid_until.is_none() => claim.early_renewal = Some(local),
            _ => {}
        }
        let record = &mut claim.run_mut().record;
        record.sleeps_since = None;
        let again = record.asked.replace(operation) == Some(operation);
        let too_early = again && record.not_before.is_some_and(|time| local < time);
        // No read is trusted for longer than a lease, nor in the last try.
        let may_knock = record.tried.is_none_or(|time| last_try || local >= time.after(term));
        let knocks = record.saw_it_locked() && !may_knock;
        let last_look = looks && last_try && record.tried < last_try_at;
        let looks_in_vain = looks && record.blind_until.is_some_and(|until| local < until);
        let too_soon = record.stands_back.is_some_and(|until| local < until);
        let sees_free = matches!(record.heard, Some(outcome @ Outcome::Seen(_)) if !is_locked(outcome));
        let barges = record.stands_back.is_some() && sees_free && record.free == 1 && !record.writes && !may_knock;
        let defers = looks && record.stands_back.is_some() && sees_free && record.free == 1;
        if let Operation::Acquire { .. } = operation {
            if std::mem::take(&mut record.writes) {
                // It begins anew.
                (record.blind_until, record.filtered, record.stands_back) = (None, 0, None);
            }
            record.tried = Some(local);
        }
        let breach = match operation {
            _ if too_soon => Some("who stands back asks for nothing"),
            Operation::Acquire { .. } if barges => Some("who stood back lets others go first"),
            Operation::Acquire { .. } if knocks => Some("nobody knocks at a locked door"),
            Operation::Renew { .. } if is_over => Some("what is lost is not renewed"),
            _ if last_look => Some("the last try is no read"),
            _ if looks_in_vain => Some("who is told nothing by looks tries"),
            _ if does_not_wait && record.setbacks > claim.settings.policy.retries => {
                Some("who does not wait soon gives up")
            }
            // A deadline may cut a pause short.
            Operation::Renew { .. } => None,
            _ if matches!(claim.wait, Wait::Until(_)) => None,
            _ => too_early.then_some("nobody hammers at a service that fails"),
        };
        if defers {
            self.tally.add(Count::Deferred);
        }
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {operation:?}"));
        }
    }

    fn check_sleep(&mut self, who: usize, until: Moment) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let sleeps_since = &mut claim.run_mut().record.sleeps_since;
        let since = sleeps_since.unwrap_or(local);
        *sleeps_since = Some(since).filter(|_| until == local.after(LONGEST_SLEEP));
        let record = &claim.run().record;
        let longest = match claim.wait {
            _ if claim.is_obtained() || claim.failed || claim.left || record.writes => return,
            _ if record.heard == Some(Outcome::Busy) || record.saw_it_locked() => claim.settings.longest_pause,
            Wait::Never => claim.settings.policy.longest_pause,
            _ => return,
        };
        if until > since.after(longest) {
            let text = format_args!("client {who}: {until:?} is later than {longest:?}");
            self.breach("who waits looks again soon", text);
        }
    }

    fn check_wakeful(&mut self, who: usize, until: Moment, for_leave: bool) {
        let local = self.clock(who);
        let run = self.clients[who].claim().run();
        let breach = match run.purpose {
            Purpose::Look => None,
            _ if until > local.after(LONGEST_SLEEP) => Some("nobody sleeps for long without a look at the clock"),
            Purpose::Keep if run.left && for_leave => Some("nobody waits for a caller who has left"),
            _ => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {until:?}, for leave {for_leave}"));
        }
    }

    fn check_telling(&mut self, who: usize, act: &Act<Failure>) {
        let local = self.clock(who);
        let lawful = self.setting.lawful;
        let claim = self.clients[who].claim_mut();
        let record = &mut claim.run_mut().record;
        let is_setback = matches!(act, Act::Notify(Notice::Retrying(_) | Notice::RenewalFailed { .. }));
        record.setbacks += u32::from(is_setback);
        // That is waited for like a holder.
        if is_setback && record.heard != Some(Outcome::ContainerBeingDeleted) {
            record.failing_since.get_or_insert(local);
        }
        let failed = matches!(record.heard, Some(Outcome::Failed { .. } | Outcome::Filtered));
        let breach = match act {
            Act::Grant { valid_until, .. } => {
                record.writes = false;
                (*valid_until <= local).then_some("what is granted is not over")
            }
            Act::Extend { .. } => {
                claim.valid_until.is_some_and(|end| end <= local).then_some("what is lost stays lost")
            }
            Act::Report(Report::Failing(_)) if failed && claim.wait == Wait::Forever => {
                claim.is_out_of_patience(local).then_some("nobody gives up too late")
            }
            Act::Report(Report::NotObtained { why, .. }) => {
                (!claim.may_give_up(*why, local, lawful)).then_some("nobody gives up too early")
            }
            _ => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {act:?}"));
        }
    }

    /// When an observer is told something.
    pub(super) fn check_notice(&mut self, who: usize, notice: &Notice<Failure>) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let (valid_until, is_lease) = (claim.valid_until, claim.one_shot);
        let sent = claim.run().last_sent;
        let record = &mut claim.run_mut().record;
        let breach = match notice {
            Notice::Retrying(failure) | Notice::RenewalFailed { failure, .. } => {
                record.failed = *failure;
                (*failure != record.error).then_some("the failure that is told is the last one")
            }
            Notice::Acquired { .. } if is_lease => None,
            Notice::Acquired { left, .. } | Notice::Renewed { left } => {
                let is_so = valid_until.is_some_and(|end| end.left(local) <= *left && *left < end.since(sent));
                (!is_so).then_some("what the observer is told is so")
            }
            Notice::Released | Notice::ReleaseFailed(_) => {
                record.end_noticed = true;
                None
            }
            Notice::Waiting(_) | Notice::NotLeft { .. } => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {notice:?}"));
        }
    }

    /// When a caller is told something.
    pub(super) fn check_report(&mut self, who: usize, report: &Report<Failure>) {
        let heard = self.clients[who].claim().run().record.heard;
        let is_written = matches!(report, Report::Granted(Holder { token: Some(_), .. }) | Report::Written(Ok(_)));
        if is_written && matches!(heard, Some(Outcome::Seen(_))) {
            self.tally.add(Count::WriteKnownAgain);
        }
        let claim = self.clients[who].claim_mut();
        let guarded = claim.is_guarded() || claim.one_shot;
        let record = &mut claim.run_mut().record;
        let breach = match report {
            Report::Failing(_) if record.cut_off && (record.failing.is_some() || record.reached) => {
                Some("what the end of a wait cut off is told only if nothing else is")
            }
            Report::Failing(failure) => {
                record.failing = *failure;
                (*failure != record.error).then_some("the failure that is told is the last one")
            }
            Report::NotObtained { why: Why::TimedOut | Why::GivenUp, failure } => {
                (*failure != record.failing).then_some("the failure that is told is the last one")
            }
            Report::NotObtained { why: Why::Failed, failure } => {
                record.failed = *failure;
                (*failure != record.error).then_some("the failure that is told is the last one")
            }
            Report::Granted(_) => (!guarded).then_some("a grant is told when the lock is held"),
            Report::Released(_) => (!record.end_noticed).then_some("the observer hears of the end first"),
            Report::NotObtained { why: Why::Busy, .. } => {
                record.busy = true;
                None
            }
            Report::NotObtained { why: Why::NoToken(_), .. } | Report::Written(_) => None,
            Report::Recovered | Report::Seen(_) => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {report:?}"));
        }
    }

    /// When the caller of a wait begins to leave without the lock.
    pub(super) fn check_wait(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim();
        let Wait::Until(deadline) = claim.wait else { return };
        // By a cancel; and the clock of a machine that was frozen is behind.
        let early = self.clock(who) < deadline.after(GRACE);
        // A request that was sent late ends late.
        let recently = client.held_up + claim.settings.policy.attempt_limit;
        let held_up = client.clock.when(deadline).is_none_or(|end| recently >= end);
        if !claim.failed && !early && !held_up {
            self.breach("a wait ends in its time", format_args!("client {who} still waits"));
        }
    }

    /// After the caller of a wait has cancelled it.
    pub(super) fn check_cancelled(&mut self, who: usize, number: usize) {
        let claim = self.clients[who].claim.as_ref().filter(|claim| claim.number == number);
        if claim.is_some_and(|claim| claim.waiter.is_some() && !claim.left) {
            self.breach("who cancels waits no more", format_args!("client {who}"));
        }
    }

    /// After the holder has asked for another receiver.
    pub(super) fn check_listener(&mut self, who: usize) {
        let claim = self.clients[who].claim();
        if claim.lost_told.is_some() && claim.listeners.contains(&None) {
            self.breach("a loss is told to all who listen", format_args!("client {who}, who listened late"));
        }
    }

    /// When the holder lets go.
    pub(super) fn check_closed(&mut self, who: usize, standing: Result<Moment, Lost>) {
        let told = self.clients[who].claim().lost_told;
        if standing.is_err() && told != standing.err() {
            self.breach("a loss is told, and its first reason stays", format_args!("client {who}: {standing:?}"));
        }
    }

    /// When the caller of a wait gets the lock.
    pub(super) fn check_take(&mut self, who: usize) {
        let local = self.clock(who);
        let claim = self.clients[who].claim();
        if !claim.is_guarded() || claim.left || claim.failed || claim.stands(local).is_err() {
            self.breach("who has the guard was granted the lock", format_args!("client {who}"));
        }
    }

    /// When the caller of a wait returns without the lock.
    pub(super) fn check_missed(&mut self, who: usize, missed: &Missed<Failure>) {
        let local = self.clock(who);
        let client = &self.clients[who];
        let claim = client.claim();
        let Some(left) = claim.left_at else { return };
        let recently = client.held_up + MS * 300 >= self.now;
        let over = match claim.wait {
            Wait::Until(deadline) => left.min(deadline),
            Wait::Never | Wait::Forever => left,
        };
        let breach = match missed {
            Missed::Died => Some("no thread dies"),
            _ if recently => None,
            _ if local.since(over) > RETURNS_WITHIN => Some("who has waited for long enough soon returns"),
            Missed::NotObtained { why: Why::TimedOut, .. } if !matches!(claim.wait, Wait::Until(end) if end <= local) => {
                Some("nobody gives up too early")
            }
            _ => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {missed:?}"));
        }
    }

    /// When an unlock or a drop returns.
    pub(super) fn check_farewell(&mut self, who: usize, result: &Result<(), Unreleased<Failure>>) {
        let local = self.clock(who);
        let client = &self.clients[who];
        let claim = client.claim();
        let Some(left) = claim.left_at else { return };
        let limit = match claim.way {
            Way::Unlock => claim.settings.policy.attempt_limit * 3 + S,
            Way::Drop => 2 * S,
        };
        // The lease's end, by its own rule.
        let margin = claim.settings.term.duration().map(|term| 2 * S + term / 50).unwrap_or_default();
        let end = claim.left_until.map(|moment| moment.after(margin));
        // So long it lasts if that renewal was carried out.
        let early = claim.early_renewal.zip(claim.settings.term.duration()).map(|(sent, term)| sent.after(term));
        let end = end.map(|end| early.map_or(end, |early| end.max(early)));
        let held = claim.held_at_last == Some(true);
        // What is lost is not worth a long wait.
        let limit = if held { limit } else { limit.min(2 * S) };
        let over = left.after(limit).min(end.filter(|_| held).unwrap_or(Moment::NEVER));
        let recently = client.held_up + MS * 300 >= self.now;
        let breach = match result {
            Ok(()) if !held => Some("unlock is Ok only if held"),
            Err(Unreleased::Lost(Lost::RenewalStopped)) => Some("no thread dies"),
            _ if local > over.after(MS * 5) && !recently => Some("who lets go soon returns"),
            Err(Unreleased::Failed { failure: None, .. }) if local < over && !recently => {
                Some("nobody gives up too early")
            }
            _ => None,
        };
        if let Some(rule) = breach {
            self.breach(rule, format_args!("client {who}: {result:?}"));
        }
    }

    /// When nothing more is done for a caller that has left.
    pub(super) fn check_parting(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim();
        let Some(left) = self.facts[claim.number].left else { return };
        // A renewal under way, and the release with its retries.
        let in_time = left.max(client.held_up) + claim.settings.policy.attempt_limit * 3 * 101 / 100 + S;
        if self.now > in_time {
            self.breach("who leaves is soon gone", format_args!("client {who} left at {left:?}"));
        }
    }

    /// When a call of `AzureMutex` returns.
    pub(super) fn check_verdict(&mut self, who: usize) {
        let claim = self.clients[who].claim();
        let (run, record) = (claim.run(), &claim.run().record);
        let released = run.purpose == Purpose::Release;
        let leased = matches!(record.heard, Some(Outcome::Leased(_)));
        let renewed = leased && matches!(run.purpose, Purpose::Renew | Purpose::Resume);
        let verdict = run.verdict().expect("it was a call");
        let is_so = match verdict {
            Verdict::Done => released || leased,
            Verdict::Busy => record.busy,
            Verdict::Written(_) | Verdict::NotWritten { .. } => run.purpose == Purpose::Fence,
            Verdict::Lost(lost) => released || claim.lost_told == Some(*lost),
            Verdict::NotReleased { .. } => released,
            Verdict::Failed(_) if released || renewed || record.busy => false,
            Verdict::Failed(failure) => *failure == record.failed,
        };
        if !is_so {
            let verdict = verdict.clone();
            self.breach("a call says what came of it", format_args!("client {who}: {verdict:?}"));
        }
    }

    /// When a lease that another process took is renewed.
    pub(super) fn check_resumed(&mut self, who: usize, valid_until: Moment) {
        let claim = self.clients[who].claim();
        let is_fixed = self.facts[claim.number].resumed && claim.settings.term != Term::Infinite;
        let counted = valid_until.since(claim.run().last_sent);
        if is_fixed && counted > COUNTS_AS {
            self.breach("a lease taken up again counts as the shortest", format_args!("client {who}: {counted:?}"));
        }
    }

    /// After a loss was told.
    pub(super) fn check_is_lost(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim();
        let Some(first) = claim.lost_told else { return };
        let stands = if claim.is_guarded() { claim.stands(self.clock(who)) } else { Err(first) };
        if client.says_yes(self.now) || stands != Err(first) {
            self.breach("what is lost stays lost", format_args!("client {who}: {first:?}, {stands:?}"));
        }
    }

    /// When a lock is renewed.
    pub(super) fn check_rhythm(&mut self, who: usize, valid_until: Moment) {
        let claim = self.clients[who].claim();
        let Some(before) = claim.valid_until.filter(|_| self.setting.calm && claim.is_guarded()) else { return };
        let (apart, every) = (valid_until.since(before), claim.settings.renew_every);
        let early = if claim.is_renewed { every / 10 } else { every / 2 };
        if apart < every - early || apart > every + 100 * MS {
            self.breach("it is renewed as often as was asked for", format_args!("client {who}: after {apart:?}"));
        }
    }
}
