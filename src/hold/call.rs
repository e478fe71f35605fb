//! One call of `AzureMutex` about a lease that its caller keeps: what is asked for, and what is known of the lease after.

use std::time::Duration;

use super::carry::{Act, Carrier, Notice, Report, Unreleased};
use super::{Hold, Settings, Why};
use crate::clock::Moment;
use crate::kept::Kept;
use crate::lease::{LeaseId, LockState, Lost, Term};
use crate::rest::{Exchange, Outcome};

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict<F> {
    Done,
    Busy,
    Lost(Lost),
    NotReleased { left: Duration, failure: Option<F> },
    Failed(Option<F>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call<F> {
    carrier: Carrier<F>,
    kept: Kept,
    verdict: Verdict<F>,
}

impl<F: Clone> Call<F> {
    /// To get a lease, without waiting for it.
    pub(crate) fn acquire(settings: Settings, id: LeaseId) -> Call<F> {
        Call::new(Hold::acquire(settings, id), Kept::new(Moment::PAST, Moment::PAST))
    }

    /// To take up a lease that another process took under `id`, if it still can be renewed. How long it was granted for
    /// nobody tells, so it counts as the shortest there is until [`seen`](Call::seen).
    pub(crate) fn resume(settings: Settings, id: LeaseId) -> Call<F> {
        let settings = Settings { term: Term::SHORTEST, ..settings };
        let unknown = Kept::new(Moment::NEVER, Moment::NEVER);
        Call::new(Hold::of_lease(settings, id, unknown.valid_until, unknown.ends), unknown)
    }

    /// What a look showed after the renewal that resumed the lease. While that lease is ours, nobody else's can be seen:
    /// so it has no end itself if one without an end is seen. Says what it counts as.
    pub(crate) fn seen(&mut self, now: Moment, outcome: Outcome) -> Term {
        if outcome != Outcome::Seen(LockState::LeasedForever) || self.kept.left(now).is_zero() {
            return Term::SHORTEST;
        }
        (self.kept.valid_until, self.kept.ends) = (Moment::NEVER, Moment::NEVER);
        Term::Infinite
    }

    /// To renew a lease that is kept like this; or why there is no way to.
    pub(crate) fn renew(settings: Settings, id: LeaseId, kept: &Kept) -> Result<Call<F>, Lost> {
        match kept.lost.or(kept.let_go.then_some(Lost::Released)) {
            Some(lost) => Err(lost),
            None => Ok(Call::new(Hold::of_lease(settings, id, kept.valid_until, kept.ends), *kept)),
        }
    }

    /// To release a lease that is kept like this; `None` if that has been done. From here on it is not ours.
    pub(crate) fn release(settings: Settings, id: LeaseId, kept: &mut Kept) -> Option<Call<F>> {
        if kept.released {
            return None;
        }
        let hold = if kept.let_go || kept.lost.is_some() {
            Hold::release_again(settings, id, kept.ends, kept.lost, kept.perhaps_released)
        } else {
            Hold::of_lease(settings, id, kept.valid_until, kept.ends)
        };
        kept.let_go = true;
        let mut call = Call::new(hold, *kept);
        call.carrier.leave();
        Some(call)
    }

    fn new(hold: Hold, kept: Kept) -> Call<F> {
        Call { carrier: Carrier::new(hold), kept, verdict: Verdict::Failed(None) }
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.carrier.id()
    }

    #[cfg(test)]
    pub(crate) fn carrier(&self) -> &Carrier<F> {
        &self.carrier
    }

    pub(crate) fn answered(&mut self, exchange: Exchange<F>) {
        self.carrier.answered(exchange);
    }

    /// What is to be done next. There is no guard and no observer: of the acts only [`Act::Send`], [`Act::Sleep`] and
    /// [`Act::End`] want anything done.
    pub(crate) fn next(&mut self, now: Moment, jitter: u32) -> Act<F> {
        let act = self.carrier.next(now, jitter);
        match &act {
            Act::Grant { valid_until, ends } | Act::Extend { valid_until, ends } => {
                (self.kept.valid_until, self.kept.ends) = (*valid_until, *ends);
                self.verdict = Verdict::Done;
            }
            Act::Lose(lost) => self.lose(*lost),
            Act::Notify(Notice::RenewalFailed { failure, .. }) => self.verdict = Verdict::Failed(failure.clone()),
            Act::Report(report) => self.hear(report),
            Act::End => {
                self.kept.ends = self.carrier.hold().ends();
                self.kept.perhaps_released = self.carrier.hold().perhaps_released();
            }
            Act::Send { .. } | Act::Sleep { .. } | Act::Notify(_) => {}
        }
        act
    }

    fn hear(&mut self, report: &Report<F>) {
        match report {
            Report::NotObtained { why: Why::Busy, .. } => self.verdict = Verdict::Busy,
            Report::NotObtained { failure, .. } => self.verdict = Verdict::Failed(failure.clone()),
            Report::Released(Ok(())) => {
                self.kept.released = true;
                self.verdict = Verdict::Done;
            }
            Report::Released(Err(Unreleased::Lost(lost))) => self.lose(*lost),
            Report::Released(Err(Unreleased::Failed { left, failure })) => {
                self.verdict = Verdict::NotReleased { left: *left, failure: failure.clone() };
            }
            Report::Failing(_) | Report::Recovered | Report::Granted => {}
        }
    }

    fn lose(&mut self, lost: Lost) {
        self.kept.lost = Some(lost);
        self.verdict = Verdict::Lost(lost);
    }

    /// What is known of the lease by now.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What it came to, once it has ended.
    pub(crate) fn verdict(&self) -> &Verdict<F> {
        &self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::{Applied, Operation};
    use crate::retry::Policy;

    const S: Duration = Duration::from_secs(1);
    const NO_ANSWER: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };

    fn at(since_start: Duration) -> Moment {
        Moment::PAST.after(1_000 * S).after(since_start)
    }

    fn ours() -> LeaseId {
        LeaseId::parse("00000001-0000-4000-8000-000000000000").unwrap()
    }

    /// Without a second try.
    fn settings(term: Term) -> Settings {
        let policy = Policy { retries: 0, ..Policy::default() };
        let (first_pause, longest_pause) = (policy.first_pause, policy.longest_pause);
        Settings { term, renew_every: Duration::ZERO, first_pause, longest_pause, create_container: true, policy }
    }

    /// Carries a call out at one moment, whose only request has this outcome; says what was sent.
    fn carry_out(call: &mut Call<u8>, now: Moment, outcome: Outcome) -> Option<Operation> {
        let mut sent = None;
        loop {
            match call.next(now, 0) {
                Act::Send { operation, .. } => {
                    assert_eq!(sent.replace(operation), None, "one request");
                    let error = matches!(outcome, Outcome::Failed { .. }).then_some(7);
                    call.answered(Exchange { sent: now, outcome, error });
                }
                Act::End => return sent,
                _ => {}
            }
        }
    }

    /// A lease of 30 s, from the start on.
    fn acquired() -> Kept {
        let mut call = Call::acquire(settings(Term::DEFAULT), ours());
        carry_out(&mut call, at(Duration::ZERO), Outcome::Leased(ours()));
        assert_eq!(*call.verdict(), Verdict::Done);
        *call.kept()
    }

    fn renew(kept: &mut Kept, now: Moment, outcome: Outcome) -> Verdict<u8> {
        let mut call = Call::renew(settings(Term::DEFAULT), ours(), kept).unwrap();
        carry_out(&mut call, now, outcome);
        *kept = *call.kept();
        call.verdict().clone()
    }

    fn release(kept: &mut Kept, now: Moment, outcome: Outcome) -> Verdict<u8> {
        let mut call = Call::release(settings(Term::DEFAULT), ours(), kept).unwrap();
        assert!(kept.left(now).is_zero(), "from here on it is not ours");
        carry_out(&mut call, now, outcome);
        *kept = *call.kept();
        call.verdict().clone()
    }

    #[test]
    fn a_renewal_without_an_answer_may_have_made_the_lease_last_anew() {
        let mut kept = acquired();
        assert_eq!(renew(&mut kept, at(9 * S), NO_ANSWER), Verdict::Failed(Some(7)));
        assert_eq!(kept.valid_until, at(Duration::from_millis(27_400)), "but it is ours for as long as it was");
        assert_eq!(kept.ends, at(39 * S));
        let failed = Verdict::NotReleased { left: 29 * S, failure: Some(7) };
        assert_eq!(release(&mut kept, at(10 * S), NO_ANSWER), failed);
    }

    #[test]
    fn a_lease_that_was_released_is_not_released_again() {
        let mut kept = acquired();
        assert_eq!(release(&mut kept, at(S), NO_ANSWER), Verdict::NotReleased { left: 29 * S, failure: Some(7) });
        assert_eq!(release(&mut kept, at(2 * S), Outcome::NoLease), Verdict::Done, "the first one has worked");
        assert!(Call::<u8>::release(settings(Term::DEFAULT), ours(), &mut kept).is_none());
        assert_eq!(Call::<u8>::renew(settings(Term::DEFAULT), ours(), &kept).unwrap_err(), Lost::Released);
    }
}
