//! One call of `AzureMutex` about a lease that its caller keeps: what is asked for, and what is known of the lease after.

use std::time::Duration;

use super::carry::{Act, Carrier, Notice, Report, Unreleased};
use super::write::{Unwritten, Wish};
use super::{Hold, Settings, Why};
use crate::clock::Moment;
use crate::fencing::{Blob, FencingToken};
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
    Written(Option<FencingToken>),
    NotWritten { why: Unwritten, failure: Option<F> },
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
    /// nobody tells, so whatever the settings say it counts as the shortest there is until [`seen`](Call::seen).
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
        match kept.gone() {
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

    /// To write to the lock's blob under a lease that is kept like this; or why there is no way to. `blob` is what that is
    /// known to be, and `seed` new and random.
    pub(crate) fn write(
        settings: Settings,
        id: LeaseId,
        kept: &Kept,
        wish: Wish,
        blob: Option<Blob>,
        seed: LeaseId,
    ) -> Result<Call<F>, Lost> {
        match kept.gone() {
            Some(lost) => Err(lost),
            None => Ok(Call::new(Hold::to_write(settings, id, kept, wish, blob, seed), *kept)),
        }
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
                self.kept.since = self.carrier.hold().since().or(self.kept.since);
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
            Report::Written(Ok(token)) => self.verdict = Verdict::Written(*token),
            Report::Written(Err((why, failure))) => {
                self.verdict = Verdict::NotWritten { why: *why, failure: failure.clone() };
            }
            Report::Failing(_) | Report::Recovered | Report::Seen(_) | Report::Granted(_) => {}
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
