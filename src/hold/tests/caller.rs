//! The caller's side: waits, unlocks and drops, and when they return.

use super::*;
use crate::hold::caller::{Farewell, Heard, Limits, Missed, Turn, Waiter, Way};

/// A caller who waits, and the clock it is played by.
struct Waits {
    waiter: Waiter<u32>,
    now: Moment,
}

impl Waits {
    fn for_(wait: Wait) -> Waits {
        Waits { waiter: Waiter::new(wait), now: start() }
    }

    fn hears(&mut self, heard: Heard<u32>) -> Turn<u32> {
        self.waiter.hear(self.now, heard, || Ok(at(VALID)))
    }

    fn is_told(&mut self, report: Report<u32>) -> Turn<u32> {
        self.hears(Heard::Report(report))
    }

    /// Hears nothing for as long as it listens.
    fn silence(&mut self) -> Turn<u32> {
        self.now = self.waiter.until();
        self.hears(Heard::Silence)
    }
}

fn not_obtained(why: Why, failure: Option<u32>) -> Report<u32> {
    Report::NotObtained { why, failure }
}

fn missed(why: Why, failure: Option<u32>) -> Turn<u32> {
    Turn::Return(Missed::NotObtained { why, failure, card: None })
}

#[test]
fn a_grant_is_taken_if_the_standing_says_so() {
    for wait in [Wait::Never, Wait::Until(at(S)), Wait::Forever] {
        assert_eq!(Waits::for_(wait).is_told(Report::Granted(Holder::default())), Turn::Take(Holder::default()));
    }
    let mut late = Waits::for_(Wait::Forever);
    let turn = late.waiter.hear(start(), Heard::Report(Report::Granted(Holder::default())), || Err(Lost::Expired));
    assert_eq!(turn, Turn::Leave);
    assert_eq!(late.hears(Heard::End), Turn::Return(Missed::Lost(Lost::Expired)));
}

#[test]
fn a_wait_without_an_end_listens_without_an_end() {
    for wait in [Wait::Never, Wait::Forever] {
        assert_eq!(Waits::for_(wait).waiter.until(), Moment::NEVER);
    }
}

#[test]
fn the_lock_threads_word_on_the_deadline_comes_first() {
    let mut wait = Waits::for_(Wait::Until(at(S)));
    assert_eq!(wait.waiter.until(), at(S + 50 * MS));
    wait.now = at(S);
    assert_eq!(wait.hears(Heard::Silence), Turn::Listen);
    assert_eq!(wait.is_told(not_obtained(Why::TimedOut, Some(7))), Turn::Leave);
    assert_eq!(wait.hears(Heard::End), missed(Why::TimedOut, Some(7)));
}

#[test]
fn a_wait_beside_a_thread_that_hangs_ends_within_its_time() {
    let mut wait = Waits::for_(Wait::Until(at(S)));
    assert_eq!(wait.is_told(Report::Failing(Some(7))), Turn::Listen);
    assert_eq!(wait.silence(), Turn::Leave);
    assert_eq!(wait.now, at(S + 50 * MS));
    assert_eq!(wait.silence(), missed(Why::TimedOut, Some(7)));
    assert_eq!(wait.now, at(S + 200 * MS), "with what it takes to wake up, that is the promised quarter of a second");
}

#[test]
fn a_wait_that_is_cancelled_ends_soon_after() {
    let mut wait = Waits::for_(Wait::Forever);
    wait.now = at(9 * S);
    assert_eq!(wait.hears(Heard::Cancel), Turn::Leave);
    assert_eq!(wait.waiter.until(), at(9 * S + 200 * MS));
    assert_eq!(wait.hears(Heard::Silence), Turn::Listen);
    assert_eq!(wait.silence(), missed(Why::GivenUp, None));
}

#[test]
fn whichever_comes_first_of_time_and_cancel_ends_the_wait() {
    let mut cancelled = Waits::for_(Wait::Until(at(S)));
    assert_eq!(cancelled.hears(Heard::Cancel), Turn::Leave);
    assert_eq!(cancelled.is_told(not_obtained(Why::TimedOut, Some(7))), Turn::Listen);
    assert_eq!(cancelled.hears(Heard::End), missed(Why::GivenUp, None));

    let mut timed_out = Waits::for_(Wait::Until(at(S)));
    assert_eq!(timed_out.silence(), Turn::Leave);
    assert_eq!(timed_out.hears(Heard::Cancel), Turn::Listen);
    assert_eq!(timed_out.silence(), missed(Why::TimedOut, None));
}

#[test]
fn a_cancel_after_the_deadline_comes_too_late_to_have_ended_the_wait() {
    let mut wait = Waits::for_(Wait::Until(at(S)));
    wait.now = at(S);
    assert_eq!(wait.hears(Heard::Cancel), Turn::Leave);
    assert_eq!(wait.hears(Heard::End), missed(Why::TimedOut, None));
}

#[test]
fn a_failure_that_is_over_is_not_told_of() {
    let mut wait = Waits::for_(Wait::Until(at(S)));
    assert_eq!(wait.is_told(Report::Failing(Some(7))), Turn::Listen);
    assert_eq!(wait.is_told(Report::Recovered), Turn::Listen);
    assert_eq!(wait.silence(), Turn::Leave);
    assert_eq!(wait.silence(), missed(Why::TimedOut, None));
}

#[test]
fn the_threads_last_word_brings_the_cause_of_the_same_end() {
    let mut wait = Waits::for_(Wait::Forever);
    assert_eq!(wait.hears(Heard::Cancel), Turn::Leave);
    assert_eq!(wait.is_told(not_obtained(Why::GivenUp, Some(7))), Turn::Listen);
    assert_eq!(wait.hears(Heard::End), missed(Why::GivenUp, Some(7)));
}

#[test]
fn a_grant_after_the_caller_has_left_is_nobodys() {
    let mut wait = Waits::for_(Wait::Forever);
    assert_eq!(wait.hears(Heard::Cancel), Turn::Leave);
    assert_eq!(wait.is_told(Report::Granted(Holder::default())), Turn::Listen);
    assert_eq!(wait.hears(Heard::End), missed(Why::GivenUp, None));
}

#[test]
fn a_thread_that_ends_without_a_word_ends_the_wait() {
    let mut wait = Waits::for_(Wait::Forever);
    assert_eq!(wait.hears(Heard::End), Turn::Leave);
    assert_eq!(wait.hears(Heard::End), Turn::Return(Missed::Died));
}

#[test]
fn who_is_not_to_have_it_waits_for_what_is_undone() {
    let mut wait = Waits::for_(Wait::Never);
    assert_eq!(wait.is_told(not_obtained(Why::Failed, Some(7))), Turn::Leave);
    assert_eq!(wait.hears(Heard::Silence), Turn::Listen);
    assert_eq!(wait.silence(), missed(Why::Failed, Some(7)));
    assert_eq!(wait.now, at(200 * MS));
}

fn limits() -> Limits {
    Limits::new(5 * S, 2 * S, Term::Seconds(30))
}

fn released(result: Result<(), Unreleased<u32>>) -> Heard<u32> {
    Heard::Report(Report::Released(result))
}

fn unreleased(left: Duration) -> Option<Result<(), Unreleased<u32>>> {
    Some(Err(Unreleased::Failed { left, failure: None }))
}

fn lost(lost: Lost) -> Option<Result<(), Unreleased<u32>>> {
    Some(Err(Unreleased::Lost(lost)))
}

#[test]
fn an_unlock_says_what_came_of_the_release() {
    let farewell = Farewell::new(start(), Ok(at(30 * S)), &limits(), Way::Unlock);
    assert_eq!(farewell.hear(at(S), released(Ok(()))), Some(Ok(())));
    let failed = Unreleased::Failed { left: S, failure: Some(7) };
    assert_eq!(farewell.hear(at(S), released(Err(failed.clone()))), Some(Err(failed)));
    assert_eq!(farewell.hear(at(S), released(Err(Unreleased::Lost(Lost::Taken)))), lost(Lost::Taken));
    assert_eq!(farewell.hear::<u32>(at(S), Heard::End), lost(Lost::RenewalStopped));
}

#[test]
fn an_unlock_has_time_for_a_renewal_and_the_tries_of_its_release() {
    let farewell = Farewell::new(start(), Ok(at(30 * S)), &limits(), Way::Unlock);
    assert_eq!(farewell.until(), at(16 * S));
    assert_eq!(farewell.hear::<u32>(at(16 * S - MS), Heard::Silence), None);
    assert_eq!(farewell.hear::<u32>(at(16 * S), Heard::Silence), unreleased(14 * S));
}

#[test]
fn a_drop_waits_as_long_as_it_was_told_to() {
    let farewell = Farewell::new(start(), Ok(at(30 * S)), &limits(), Way::Drop);
    assert_eq!(farewell.until(), at(2 * S));
    assert_eq!(farewell.hear::<u32>(at(2 * S), Heard::Silence), unreleased(28 * S));
}

#[test]
fn nothing_waits_past_the_end_of_the_lease() {
    for way in [Way::Unlock, Way::Drop] {
        let farewell = Farewell::new(start(), Ok(at(S)), &limits(), way);
        assert_eq!(farewell.until(), at(S));
        assert!(matches!(farewell.hear::<u32>(at(S), Heard::Silence), Some(Err(Unreleased::Failed { .. }))));
    }
}

#[test]
fn a_renewal_that_nobody_heard_of_may_have_made_the_lease_last_anew() {
    for (term, left) in [(Term::Seconds(30), 29 * S), (Term::SHORTEST, 14 * S), (Term::Infinite, Duration::MAX)] {
        let limits = Limits::new(5 * S, 2 * S, term);
        let farewell = Farewell::new(start(), Ok(at(S)), &limits, Way::Unlock);
        assert_eq!(farewell.hear::<u32>(at(S), Heard::Silence), unreleased(left));
        // The lock's thread knows.
        let failed = Unreleased::Failed { left: 3 * S, failure: Some(7) };
        assert_eq!(farewell.hear(at(S), released(Err(failed.clone()))), Some(Err(failed)));
    }
}

#[test]
fn a_lock_that_was_lost_is_lost_whatever_comes_of_its_release() {
    for way in [Way::Unlock, Way::Drop] {
        let farewell = Farewell::new(start(), Err(Lost::Broken), &limits(), way);
        assert_eq!(farewell.until(), at(2 * S), "the thread gets a moment to send its release, and no more");
        for heard in [released(Ok(())), Heard::End] {
            assert_eq!(farewell.hear(at(S), heard), lost(Lost::Broken));
        }
        assert_eq!(farewell.hear::<u32>(at(S), Heard::Silence), None);
        assert_eq!(farewell.hear::<u32>(at(2 * S), Heard::Silence), lost(Lost::Broken));
    }
    let hasty = Limits::new(100 * MS, 9 * S, Term::Seconds(30));
    let farewell = Farewell::new(start(), Err(Lost::Broken), &hasty, Way::Unlock);
    assert_eq!(farewell.until(), at(S + 300 * MS), "nor longer than an unlock that was held");
}

#[test]
fn the_observer_gets_a_moment_of_what_is_left() {
    let farewell = Farewell::new(start(), Ok(at(30 * S)), &limits(), Way::Drop);
    assert_eq!(farewell.flush(at(S)), 200 * MS);
    assert_eq!(farewell.flush(at(2 * S - 50 * MS)), 50 * MS);
    assert_eq!(farewell.flush(at(3 * S)), Duration::ZERO);
}
