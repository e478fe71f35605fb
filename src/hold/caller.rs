//! The caller's side of a hold: how long a wait, its end, an unlock and a drop take, and what they come to.

use std::sync::Arc;
use std::time::Duration;

use super::carry::{Report, Unreleased};
use super::write::Unwritten;
use super::{Holder, Wait, Why};
use crate::card::Card;
use crate::clock::Moment;
use crate::fencing::FencingToken;
use crate::lease::{Lost, Term};

/// How long a wait that has ended without the lock lets its thread undo what it began, before it returns. With what
/// it takes to wake up, that is the quarter of a second which is promised.
const PARTING: Duration = Duration::from_millis(200);
/// A little after the deadline of the lock's thread, so that its word comes first.
pub(crate) const GRACE: Duration = Duration::from_millis(50);
/// How long the end of a hold waits for the observer to have heard of it: a script may end right after.
const FLUSH: Duration = Duration::from_millis(200);
/// Between the last word of the lock's thread and our hearing it.
const SLACK: Duration = Duration::from_secs(1);

/// What a caller hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Heard<F> {
    /// The lock's thread says something.
    Report(Report<F>),
    /// The lock's thread has ended.
    End,
    /// The wait was cancelled.
    Cancel,
    /// Nothing, for as long as it was to be listened.
    Silence,
}

/// What a caller who waits is to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Turn<F> {
    Listen,
    /// Let the lock's thread know that the lock is not wanted any more, and go on listening.
    Leave,
    /// The lock is ours.
    Take(Holder),
    Return(Missed<F>),
}

/// How a wait ends that did not get the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Missed<F> {
    NotObtained {
        why: Why,
        failure: Option<F>,
        /// The last one that was seen.
        card: Option<Arc<Card>>,
    },
    /// It was lost before its holder could know of it.
    Lost(Lost),
    /// The lock's thread ended without a word.
    Died,
}

/// A caller who waits for the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiter<F> {
    wait: Wait,
    /// What stands between the caller and an answer of the service.
    failing: Option<F>,
    card: Option<Arc<Card>>,
    parting: Option<Parting<F>>,
}

/// The lock is not obtained, and what was begun is being undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parting<F> {
    until: Moment,
    missed: Missed<F>,
}

impl<F: Clone> Waiter<F> {
    pub(crate) fn new(wait: Wait) -> Waiter<F> {
        Waiter { wait, failing: None, card: None, parting: None }
    }

    /// Until when to listen.
    pub(crate) fn until(&self) -> Moment {
        match (&self.parting, self.wait) {
            (Some(parting), _) => parting.until,
            (None, Wait::Until(deadline)) => deadline.after(GRACE),
            (None, Wait::Never | Wait::Forever) => Moment::NEVER,
        }
    }

    /// `check` asks the standing, which has the last word on a grant.
    pub(crate) fn hear(
        &mut self,
        now: Moment,
        heard: Heard<F>,
        check: impl FnOnce() -> Result<Moment, Lost>,
    ) -> Turn<F> {
        if self.parting.is_some() {
            return self.hear_parting(now, heard);
        }
        match heard {
            Heard::Report(Report::Failing(failure)) => {
                self.failing = failure;
                Turn::Listen
            }
            Heard::Report(Report::Recovered) => {
                self.failing = None;
                Turn::Listen
            }
            Heard::Report(Report::Seen(card)) => {
                self.card = Some(card);
                Turn::Listen
            }
            Heard::Report(Report::Granted(holder)) => match check() {
                Ok(_) => Turn::Take(holder),
                Err(lost) => self.part(now, Missed::Lost(lost)),
            },
            Heard::Report(Report::NotObtained { why, failure }) => {
                let card = self.card.take();
                self.part(now, Missed::NotObtained { why, failure, card })
            }
            Heard::Report(Report::Written(_) | Report::Released(_)) | Heard::End => self.part(now, Missed::Died),
            Heard::Cancel if matches!(self.wait, Wait::Until(deadline) if now >= deadline) => {
                self.give_up(now, Why::TimedOut)
            }
            Heard::Cancel => self.give_up(now, Why::GivenUp),
            Heard::Silence if now < self.until() => Turn::Listen,
            Heard::Silence => self.give_up(now, Why::TimedOut),
        }
    }

    fn give_up(&mut self, now: Moment, why: Why) -> Turn<F> {
        let (failure, card) = (self.failing.take(), self.card.take());
        self.part(now, Missed::NotObtained { why, failure, card })
    }

    fn part(&mut self, now: Moment, missed: Missed<F>) -> Turn<F> {
        let ended = match self.wait {
            Wait::Until(deadline) => deadline.min(now),
            Wait::Never | Wait::Forever => now,
        };
        self.parting = Some(Parting { until: ended.after(PARTING), missed });
        Turn::Leave
    }

    fn hear_parting(&mut self, now: Moment, heard: Heard<F>) -> Turn<F> {
        let Some(parting) = &mut self.parting else { return Turn::Listen };
        match (heard, &mut parting.missed) {
            // The same, with its cause.
            (
                Heard::Report(Report::NotObtained { why: later, failure: cause }),
                Missed::NotObtained { why, failure, .. },
            ) if later == *why => {
                *failure = cause;
                Turn::Listen
            }
            (Heard::End, missed) => Turn::Return(missed.clone()),
            (_, missed) if now >= parting.until => Turn::Return(missed.clone()),
            _ => Turn::Listen,
        }
    }
}

/// How long the end of a hold may take.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    unlock: Duration,
    drop: Duration,
    mark: Duration,
    term: Term,
}

/// How a holder lets go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Unlock,
    Drop,
}

impl Limits {
    pub(crate) fn new(attempt: Duration, drop: Duration, term: Term) -> Limits {
        // A renewal that is under way, and the release with its retries.
        let unlock = attempt * 3 + SLACK;
        // A renewal that is under way, a look, and the write with one repetition.
        Limits { unlock, drop, mark: attempt * 4 + SLACK, term }
    }

    /// How long it may take until whatever was begun is undone.
    pub(crate) fn undoing(&self) -> Duration {
        self.unlock
    }

    fn of(&self, way: Way) -> Duration {
        match way {
            Way::Unlock => self.unlock,
            Way::Drop => self.drop,
        }
    }
}

/// A holder who has let go, and waits for the word of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Farewell {
    /// What the standing said last: when the lease ends by itself.
    standing: Result<Moment, Lost>,
    /// When it does if a renewal was under way of which the standing never heard. No later one is sent.
    ends: Moment,
    /// Until when to listen for what came of the release.
    until: Moment,
    /// All that is left of the time for the observer is over then.
    over: Moment,
}

impl Farewell {
    /// `standing` is what closing it said.
    pub(crate) fn new(now: Moment, standing: Result<Moment, Lost>, limits: &Limits, way: Way) -> Farewell {
        let limit = limits.of(way);
        let until = match standing {
            // Nothing is left to release after that.
            Ok(ends) => now.after(limit).min(ends),
            // Nothing is left to lose, so the thread gets a moment to send its release, and no more.
            Err(_) => now.after(limit.min(limits.drop)),
        };
        Farewell { standing, ends: limits.term.ends(now), until, over: now.after(limit) }
    }

    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// How it ended, once that is known.
    pub(crate) fn hear<F>(&self, now: Moment, heard: Heard<F>) -> Option<Result<(), Unreleased<F>>> {
        let result = match heard {
            Heard::Report(Report::Released(result)) => result,
            Heard::End => Err(Unreleased::Lost(Lost::RenewalStopped)),
            _ if now < self.until => return None,
            _ => {
                let left = self.standing.map_or(Duration::ZERO, |ends| ends.max(self.ends).left(now));
                Err(Unreleased::Failed { left, failure: None })
            }
        };
        Some(match self.standing {
            Ok(_) => result,
            Err(lost) => Err(Unreleased::Lost(lost)),
        })
    }

    /// How long to wait for the observer, after that.
    pub(crate) fn flush(&self, now: Moment) -> Duration {
        FLUSH.min(self.over.left(now))
    }
}

/// A holder who waits for what it wants written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Marking {
    /// What came of the one before is still to be heard.
    is_behind: bool,
    until: Moment,
}

/// What came of a write, as its holder hears it. `None`: nobody knows.
pub(crate) type Marked<F> = Option<Result<Option<FencingToken>, (Unwritten, Option<F>)>>;

impl Marking {
    /// `valid_until`: how long the lock is ours at least.
    pub(crate) fn new(now: Moment, valid_until: Moment, limits: &Limits, is_behind: bool) -> Marking {
        Marking { is_behind, until: now.after(limits.mark).min(valid_until) }
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// How it ended, once that is known.
    pub(crate) fn hear<F>(&mut self, now: Moment, heard: Heard<F>) -> Option<Marked<F>> {
        match heard {
            Heard::Report(Report::Written(_)) if self.is_behind => {
                self.is_behind = false;
                None
            }
            Heard::Report(Report::Written(written)) => Some(Some(written)),
            Heard::End => Some(Some(Err((Unwritten::Lost(Lost::RenewalStopped), None)))),
            _ if now >= self.until => Some(None),
            _ => None,
        }
    }
}
