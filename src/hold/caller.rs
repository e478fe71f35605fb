//! The caller's side of a hold: how long a wait, its end, an unlock and a drop take, and what they come to.

use std::time::Duration;

use super::carry::{Report, Unreleased};
use super::{Wait, Why};
use crate::clock::Moment;
use crate::lease::Lost;

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
    Take,
    Return(Missed<F>),
}

/// How a wait ends that did not get the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Missed<F> {
    NotObtained {
        why: Why,
        failure: Option<F>,
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
        Waiter { wait, failing: None, parting: None }
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
            Heard::Report(Report::Granted) => match check() {
                Ok(_) => Turn::Take,
                Err(lost) => self.part(now, Missed::Lost(lost)),
            },
            Heard::Report(Report::NotObtained { why, failure }) => self.part(now, Missed::NotObtained { why, failure }),
            Heard::Report(Report::Released(_)) | Heard::End => self.part(now, Missed::Died),
            Heard::Cancel if matches!(self.wait, Wait::Until(deadline) if now >= deadline) => {
                self.give_up(now, Why::TimedOut)
            }
            Heard::Cancel => self.give_up(now, Why::GivenUp),
            Heard::Silence if now < self.until() => Turn::Listen,
            Heard::Silence => self.give_up(now, Why::TimedOut),
        }
    }

    fn give_up(&mut self, now: Moment, why: Why) -> Turn<F> {
        let failure = self.failing.take();
        self.part(now, Missed::NotObtained { why, failure })
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
                Missed::NotObtained { why, failure },
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
}

/// How a holder lets go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Unlock,
    Drop,
}

impl Limits {
    pub(crate) fn new(attempt: Duration, drop: Duration) -> Limits {
        // A renewal that is under way, and the release with its retries.
        Limits { unlock: attempt * 3 + SLACK, drop }
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
        Farewell { standing, until, over: now.after(limit) }
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
                let left = self.standing.map_or(Duration::ZERO, |ends| ends.left(now));
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

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn at(since_start: Duration) -> Moment {
        Moment::PAST.after(1_000 * S).after(since_start)
    }

    fn held() -> Result<Moment, Lost> {
        Ok(at(60 * S))
    }

    fn missed(why: Why, failure: Option<u8>) -> Missed<u8> {
        Missed::NotObtained { why, failure }
    }

    /// A caller who waits, and its clock.
    struct Play {
        waiter: Waiter<u8>,
        now: Moment,
    }

    impl Play {
        fn of(wait: Wait) -> Play {
            Play { waiter: Waiter::new(wait), now: at(Duration::ZERO) }
        }

        fn hears(&mut self, heard: Heard<u8>) -> Turn<u8> {
            self.waiter.hear(self.now, heard, held)
        }

        fn is_told(&mut self, report: Report<u8>) -> Turn<u8> {
            self.hears(Heard::Report(report))
        }

        /// Hears nothing for as long as it listens.
        fn hears_nothing(&mut self) -> Turn<u8> {
            self.now = self.waiter.until();
            self.hears(Heard::Silence)
        }
    }

    #[test]
    fn a_grant_is_taken_if_the_lock_is_held() {
        let mut play = Play::of(Wait::Forever);
        assert_eq!(play.is_told(Report::Granted), Turn::Take);

        let mut play = Play::of(Wait::Forever);
        let turn = play.waiter.hear(play.now, Heard::Report(Report::Granted), || Err(Lost::Expired));
        assert_eq!(turn, Turn::Leave);
        assert_eq!(play.hears(Heard::End), Turn::Return(Missed::Lost(Lost::Expired)));
    }

    #[test]
    fn the_word_of_the_locks_thread_is_waited_for_a_little_beyond_the_deadline() {
        let mut play = Play::of(Wait::Until(at(9 * S)));
        assert_eq!(play.waiter.until(), at(9 * S + 50 * MS));
        play.now = at(9 * S);
        assert_eq!(play.hears(Heard::Silence), Turn::Listen, "nobody gives up before");
        assert_eq!(play.hears_nothing(), Turn::Leave);
    }

    #[test]
    fn a_caller_who_gives_up_lets_its_thread_undo_what_it_began_for_a_fifth_of_a_second() {
        for wait in [Wait::Never, Wait::Until(at(9 * S)), Wait::Forever] {
            let mut play = Play::of(wait);
            play.now = at(3 * S);
            assert_eq!(play.hears(Heard::Cancel), Turn::Leave);
            assert_eq!(play.waiter.until(), at(3 * S + 200 * MS));
            play.now = at(3 * S + 199 * MS);
            assert_eq!(play.is_told(Report::Recovered), Turn::Listen);
            assert_eq!(play.hears_nothing(), Turn::Return(missed(Why::GivenUp, None)));
        }
        // Counted from the deadline, and not from when the caller is heard of again.
        let mut play = Play::of(Wait::Until(at(9 * S)));
        assert_eq!(play.hears_nothing(), Turn::Leave);
        assert_eq!(play.waiter.until(), at(9 * S + 200 * MS));
        assert_eq!(play.hears(Heard::End), Turn::Return(missed(Why::TimedOut, None)));
    }

    #[test]
    fn a_wait_ends_with_what_stood_in_its_way_to_the_end() {
        let mut play = Play::of(Wait::Forever);
        assert_eq!(play.is_told(Report::Failing(Some(1))), Turn::Listen);
        assert_eq!(play.is_told(Report::Failing(Some(2))), Turn::Listen);
        assert_eq!(play.hears(Heard::Cancel), Turn::Leave);
        assert_eq!(play.hears(Heard::End), Turn::Return(missed(Why::GivenUp, Some(2))));

        let mut play = Play::of(Wait::Forever);
        assert_eq!(play.is_told(Report::Failing(Some(1))), Turn::Listen);
        assert_eq!(play.is_told(Report::Recovered), Turn::Listen);
        assert_eq!(play.hears(Heard::Cancel), Turn::Leave);
        assert_eq!(play.hears(Heard::End), Turn::Return(missed(Why::GivenUp, None)));
    }

    #[test]
    fn the_cause_of_an_end_may_come_after_it_and_changes_nothing_else() {
        let mut play = Play::of(Wait::Forever);
        assert_eq!(play.hears(Heard::Cancel), Turn::Leave);
        assert_eq!(play.is_told(Report::NotObtained { why: Why::GivenUp, failure: Some(2) }), Turn::Listen);
        assert_eq!(play.is_told(Report::NotObtained { why: Why::Failed, failure: Some(1) }), Turn::Listen);
        assert_eq!(play.is_told(Report::Granted), Turn::Listen, "it is given back");
        assert_eq!(play.hears(Heard::End), Turn::Return(missed(Why::GivenUp, Some(2))));
    }

    #[test]
    fn a_thread_that_ends_without_a_word_has_died() {
        let mut play = Play::of(Wait::Forever);
        assert_eq!(play.hears(Heard::End), Turn::Leave);
        assert_eq!(play.hears(Heard::End), Turn::Return(Missed::Died));
    }

    const ATTEMPT: Duration = Duration::from_secs(5);
    const SILENCE: Heard<u8> = Heard::Silence;

    fn lets_go(standing: Result<Moment, Lost>, way: Way) -> Farewell {
        Farewell::new(at(Duration::ZERO), standing, &Limits::new(ATTEMPT, 2 * S), way)
    }

    #[test]
    fn an_unlock_waits_for_a_renewal_and_a_release_and_a_drop_for_as_long_as_it_was_told() {
        assert_eq!(lets_go(held(), Way::Unlock).until(), at(16 * S));
        assert_eq!(lets_go(held(), Way::Drop).until(), at(2 * S));
    }

    #[test]
    fn nobody_who_lets_go_waits_for_longer_than_there_is_something_to_release() {
        assert_eq!(lets_go(Ok(at(S)), Way::Unlock).until(), at(S));
        assert_eq!(lets_go(Ok(at(S)), Way::Drop).until(), at(S));
        assert_eq!(lets_go(Err(Lost::Broken), Way::Unlock).until(), at(2 * S));
        assert_eq!(lets_go(Err(Lost::Broken), Way::Drop).until(), at(2 * S));
    }

    #[test]
    fn an_unlock_is_ok_only_if_the_lock_was_held_and_released() {
        let now = at(S);
        let released = || Heard::<u8>::Report(Report::Released(Ok(())));
        let lost = |lost| Some(Err(Unreleased::Lost(lost)));
        assert_eq!(lets_go(held(), Way::Unlock).hear(now, released()), Some(Ok(())));
        assert_eq!(lets_go(held(), Way::Unlock).hear::<u8>(now, Heard::End), lost(Lost::RenewalStopped));
        assert_eq!(lets_go(Err(Lost::Taken), Way::Unlock).hear(now, released()), lost(Lost::Taken));
        assert_eq!(lets_go(Err(Lost::Taken), Way::Unlock).hear::<u8>(now, Heard::End), lost(Lost::Taken));
    }

    #[test]
    fn an_unlock_without_a_word_says_at_its_end_for_how_long_the_lock_may_stay_taken() {
        let farewell = lets_go(held(), Way::Unlock);
        assert_eq!(farewell.hear(at(16 * S - MS), SILENCE), None, "nobody gives up before");
        assert_eq!(farewell.hear(at(S), Heard::<u8>::Report(Report::Recovered)), None);
        let failed = Some(Err(Unreleased::Failed { left: 44 * S, failure: None }));
        assert_eq!(farewell.hear(at(16 * S), SILENCE), failed);
    }

    #[test]
    fn the_observer_gets_a_fifth_of_a_second_of_what_is_left() {
        let farewell = lets_go(held(), Way::Drop);
        assert_eq!(farewell.flush(at(S)), 200 * MS);
        assert_eq!(farewell.flush(at(2 * S - 50 * MS)), 50 * MS);
        assert_eq!(farewell.flush(at(3 * S)), Duration::ZERO);
    }
}
