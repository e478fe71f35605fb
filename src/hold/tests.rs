//! Each test is a story on a made-up clock: what was asked, what was answered, what was told.

use std::mem;

use super::*;
use crate::lease::LockStatus;
use crate::random::Jitter;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// How long a lease of 30 s is called ours: 2 s and a fiftieth less.
const VALID: Duration = Duration::from_millis(27_400);

const NO_ANSWER: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
const NOT_SENT: Outcome = Outcome::Failed { applied: Applied::No, retry_after: None };

fn stay_away(pause: Duration) -> Outcome {
    Outcome::Failed { applied: Applied::No, retry_after: Some(pause) }
}

fn ours() -> LeaseId {
    LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap()
}

fn theirs() -> LeaseId {
    LeaseId::parse("fedcba98-7654-4210-8edc-ba9876543210").unwrap()
}

fn acquire() -> Operation {
    Operation::Acquire { id: ours(), term: Term::Seconds(30) }
}

fn renew() -> Operation {
    Operation::Renew { id: ours() }
}

fn release() -> Operation {
    Operation::Release { id: ours() }
}

fn start() -> Moment {
    Moment::PAST.after(1_000 * S)
}

fn at(since_start: Duration) -> Moment {
    start().after(since_start)
}

fn rules() -> Rules {
    Rules {
        term: Term::Seconds(30),
        renew_every: 10 * S,
        first_pause: 100 * MS,
        longest_pause: S,
        create_container: true,
        policy: Policy::default(),
    }
}

fn granted(sent: Moment) -> Told {
    Told::Granted { valid_until: sent.after(VALID), ends: sent.after(30 * S) }
}

fn renewed(sent: Moment) -> Told {
    Told::Renewed { valid_until: sent.after(VALID), ends: sent.after(30 * S) }
}

/// One hold, and the clock it is played by. Without jitter pauses have their full length.
struct Play {
    hold: Hold,
    now: Moment,
    sent: Moment,
    input: Input,
    jitter: u32,
}

impl Play {
    fn new(hold: Hold) -> Play {
        Play { hold, now: start(), sent: start(), input: Input::Go, jitter: 0 }
    }

    fn waiting(wait: Wait) -> Play {
        Play::new(Hold::keep(rules(), ours(), wait))
    }

    fn until(timeout: Duration) -> Play {
        Play::waiting(Wait::Until(at(timeout)))
    }

    /// Granted at the start, by an acquire that was answered at once.
    fn held() -> Play {
        let mut play = Play::waiting(Wait::Forever);
        play.exchange(acquire(), Outcome::Leased(ours()));
        play.tells(granted(start()));
        play
    }

    /// Told of the first busy answer, and about to rest.
    fn queued(wait: Wait) -> Play {
        let mut play = Play::waiting(wait);
        play.exchange(acquire(), Outcome::Busy);
        play.tells(Told::Waiting);
        play
    }

    fn step(&mut self) -> Do {
        let input = mem::replace(&mut self.input, Input::Go);
        self.hold.step(self.now, input, self.jitter)
    }

    /// The next step is this request; says how long it may take.
    #[track_caller]
    fn sends(&mut self, expected: Operation) -> Duration {
        self.sent = self.now;
        match self.step() {
            Do::Send { operation, limit } if operation == expected => limit,
            other => panic!("{expected:?} should have been sent, not {other:?}"),
        }
    }

    fn answers(&mut self, outcome: Outcome) {
        self.input = Input::Answer { sent: self.sent, outcome };
    }

    #[track_caller]
    fn exchange(&mut self, expected: Operation, outcome: Outcome) {
        self.sends(expected);
        self.answers(outcome);
    }

    #[track_caller]
    fn told(&mut self) -> Told {
        match self.step() {
            Do::Tell(told) => told,
            other => panic!("something should have been told, not {other:?}"),
        }
    }

    #[track_caller]
    fn tells(&mut self, expected: Told) {
        assert_eq!(self.told(), expected);
    }

    #[track_caller]
    fn renewal_fails(&mut self) {
        let told = self.told();
        assert!(matches!(told, Told::RenewalFailed { .. }), "{told:?}");
    }

    /// Sleeps for as long as it is told to, and says how long that was.
    #[track_caller]
    fn sleeps(&mut self) -> Duration {
        match self.step() {
            Do::Sleep { until } => {
                let slept = until.left(self.now);
                assert!(slept > Duration::ZERO, "a sleep until now spins");
                self.now = until;
                slept
            }
            other => panic!("it should have slept, not {other:?}"),
        }
    }

    /// Sleeps until it is left alone no longer: nothing is to be done by itself any more.
    #[track_caller]
    fn rests(&mut self) {
        assert_eq!(self.step(), Do::Sleep { until: Moment::NEVER });
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(self.step(), Do::End);
        assert_eq!(self.step(), Do::End);
    }

    fn passes(&mut self, pause: Duration) {
        self.now = self.now.after(pause);
    }

    fn leaves(&mut self) {
        self.hold.leave();
    }
}

// The way to a lock that nobody has.

#[test]
fn a_lock_that_is_free_takes_one_request() {
    let mut play = Play::waiting(Wait::Never);
    assert_eq!(play.sends(acquire()), 5 * S);
    play.passes(80 * MS);
    play.answers(Outcome::Leased(ours()));
    play.tells(granted(start()));
    assert_eq!(play.hold.ends(), at(30 * S));
    play.sleeps();
}

#[test]
fn a_fresh_account_takes_four_requests() {
    for wait in [Wait::Never, Wait::Until(at(5 * S)), Wait::Forever] {
        let mut play = Play::waiting(wait);
        play.exchange(acquire(), Outcome::NoContainer);
        play.exchange(Operation::CreateContainer, Outcome::Done);
        play.exchange(Operation::CreateBlob, Outcome::Done);
        play.exchange(acquire(), Outcome::Leased(ours()));
        play.tells(granted(start()));
    }
}

#[test]
fn what_somebody_else_has_just_made_is_as_good_as_made() {
    let mut play = Play::waiting(Wait::Never);
    play.exchange(acquire(), Outcome::NoBlob);
    play.exchange(Operation::CreateBlob, Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, Outcome::Exists);
    play.exchange(Operation::CreateBlob, Outcome::Exists);
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(start()));
}

#[test]
fn a_container_that_is_not_to_be_made_ends_it_without_another_request() {
    for made in [false, true] {
        let mut play =
            Play::new(Hold::keep(Rules { create_container: false, ..rules() }, ours(), Wait::Until(at(60 * S))));
        if made {
            // The container went away between the two.
            play.exchange(acquire(), Outcome::NoBlob);
            play.exchange(Operation::CreateBlob, Outcome::NoContainer);
        } else {
            play.exchange(acquire(), Outcome::NoContainer);
        }
        play.tells(Told::NotObtained(Why::Failed));
        play.ends();
    }
}

#[test]
fn the_time_that_the_lock_is_ours_counts_from_the_sending_of_the_request_that_was_granted() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 200 * MS);
    play.sends(acquire());
    play.passes(4 * S);
    play.answers(Outcome::Leased(ours()));
    play.passes(3 * S);
    play.tells(granted(at(200 * MS)));
    assert_eq!(play.sleeps(), 3 * S, "the first renewal is counted from the sending, too");
}

#[test]
fn a_grant_is_taken_only_while_some_of_it_is_left() {
    let mut play = Play::waiting(Wait::Never);
    play.sends(acquire());
    play.passes(VALID - Duration::from_nanos(1));
    play.answers(Outcome::Leased(ours()));
    play.tells(granted(start()));

    for wait in [Wait::Never, Wait::Until(at(60 * S)), Wait::Forever] {
        let mut play = Play::waiting(wait);
        play.sends(acquire());
        play.passes(VALID);
        play.answers(Outcome::Leased(ours()));
        play.tells(Told::Retrying);
        play.sleeps();
        let again = play.now;
        play.exchange(acquire(), Outcome::Leased(ours()));
        play.tells(granted(again));
    }
}

#[test]
fn a_grant_that_came_too_late_is_released_if_the_lock_is_not_had_in_the_end() {
    let mut play = Play::until(30 * S);
    play.sends(acquire());
    play.passes(VALID);
    play.answers(Outcome::Leased(ours()));
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    play.now = at(30 * S);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.exchange(release(), Outcome::NotOurs);
    play.ends();
}

#[test]
fn a_grant_to_a_foreign_id_is_none() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::Leased(theirs()));
    play.tells(Told::NotObtained(Why::Failed));
    // Whatever that server did: it may have been our lease, too.
    play.exchange(release(), Outcome::NotOurs);
    play.ends();
}

#[test]
fn a_refusal_ends_every_wait_at_once_and_leaves_nothing_to_undo() {
    for wait in [Wait::Never, Wait::Until(at(60 * S)), Wait::Forever] {
        for refusal in [Outcome::Denied, Outcome::Refused, Outcome::NotOurs, Outcome::Done] {
            let mut play = Play::waiting(wait);
            play.exchange(acquire(), refusal);
            play.tells(Told::NotObtained(Why::Failed));
            play.ends();
        }
        for what in [Operation::CreateContainer, Operation::CreateBlob] {
            let mut play = Play::waiting(wait);
            let missing = if what == Operation::CreateBlob { Outcome::NoBlob } else { Outcome::NoContainer };
            play.exchange(acquire(), missing);
            play.exchange(what, Outcome::Denied);
            play.tells(Told::NotObtained(Why::Failed));
            play.ends();
        }
    }
}

#[test]
fn a_lease_without_an_end_is_never_lost_to_the_clock() {
    let infinite = Rules { term: Term::Infinite, ..rules() };
    let operation = Operation::Acquire { id: ours(), term: Term::Infinite };
    let mut play = Play::new(Hold::keep(infinite.clone(), ours(), Wait::Never));
    play.exchange(operation, Outcome::Leased(ours()));
    play.passes(1_000_000 * S);
    play.tells(Told::Granted { valid_until: Moment::NEVER, ends: Moment::NEVER });
    play.passes(1_000_000 * S);
    assert_eq!(play.sends(renew()), 5 * S);
    play.answers(NO_ANSWER);
    play.tells(Told::RenewalFailed { left: Duration::MAX });
    assert_eq!(play.sleeps(), 200 * MS);
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(Told::Renewed { valid_until: Moment::NEVER, ends: Moment::NEVER });
    play.leaves();
    assert_eq!(play.sends(release()), 5 * S);
    play.answers(Outcome::Done);
    play.tells(Told::Released(Released::Done));
    play.ends();

    let mut play = Play::new(Hold::acquire(infinite, ours()));
    play.exchange(operation, Outcome::Leased(ours()));
    play.tells(Told::Granted { valid_until: Moment::NEVER, ends: Moment::NEVER });
    play.ends();
}

// Waiting for somebody else.

#[test]
fn a_wait_knocks_once_and_then_looks() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    for _ in 0..20 {
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));
    }
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Available));
    let sent = play.now;
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(sent));
}

#[test]
fn the_pauses_of_a_wait_grow_and_lose_up_to_a_half() {
    for jitter in [0, 1, u32::MAX / 2, u32::MAX] {
        let mut play = Play::waiting(Wait::Forever);
        play.jitter = jitter;
        play.exchange(acquire(), Outcome::Busy);
        play.tells(Told::Waiting);
        let mut pauses = Vec::new();
        for full in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
            let full = full * MS;
            let pause = play.sleeps();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?} with {jitter}");
            pauses.push(pause);
            play.exchange(Operation::Look, Outcome::Seen(LockStatus::LeasedForever));
        }
        assert!(pauses.is_sorted());
    }
}

#[test]
fn a_sleep_that_is_cut_short_goes_on() {
    let mut play = Play::queued(Wait::Forever);
    play.passes(40 * MS);
    assert_eq!(play.sleeps(), 60 * MS);
    play.sends(Operation::Look);
}

#[test]
fn the_lock_is_taken_for_free_only_once_its_lease_is_over() {
    use LockStatus::{Available, Breaking, Broken, Expired, Leased, LeasedForever, Missing};
    for free in [Available, Expired, Broken, Missing] {
        let mut play = Play::queued(Wait::Forever);
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(free));
        play.sends(acquire());
    }
    for taken in [Leased, LeasedForever, Breaking] {
        let mut play = Play::queued(Wait::Forever);
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(taken));
        assert_eq!(play.sleeps(), 200 * MS);
        play.sends(Operation::Look);
    }
}

#[test]
fn whoever_is_beaten_to_a_free_lock_looks_on_after_a_pause() {
    let mut play = Play::queued(Wait::Forever);
    for _ in 0..10 {
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockStatus::Expired));
        play.exchange(acquire(), Outcome::Busy);
    }
    play.sleeps();
    play.sends(Operation::Look);
}

#[test]
fn who_may_not_look_asks_by_trying_from_then_on() {
    for refusal in [Outcome::Denied, Outcome::Refused] {
        let mut play = Play::queued(Wait::Forever);
        play.sleeps();
        play.exchange(Operation::Look, refusal);
        for _ in 0..5 {
            play.exchange(acquire(), Outcome::Busy);
            play.sleeps();
        }
        play.exchange(acquire(), Outcome::Denied);
        play.tells(Told::NotObtained(Why::Failed));
        play.ends();
    }
}

#[test]
fn a_lock_that_vanishes_while_it_is_waited_for_is_made_anew() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::NoBlob);
    play.exchange(acquire(), Outcome::NoBlob);
    play.exchange(Operation::CreateBlob, Outcome::Done);
    play.sends(acquire());

    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::NoContainer);
    play.exchange(acquire(), Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, Outcome::Done);
    play.sends(Operation::CreateBlob);
}

#[test]
fn a_container_that_is_being_deleted_is_waited_out_for_longer_than_a_fault() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, Outcome::ContainerBeingDeleted);
    play.tells(Told::Retrying);
    while play.now < at(120 * S) {
        assert_eq!(play.sleeps(), S);
        play.exchange(acquire(), Outcome::NoContainer);
        play.exchange(Operation::CreateContainer, Outcome::ContainerBeingDeleted);
        play.tells(Told::Retrying);
    }
    play.sleeps();
    play.exchange(acquire(), Outcome::ContainerBeingDeleted);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, Outcome::Done);
    play.exchange(Operation::CreateBlob, Outcome::Done);
    play.sends(acquire());
}

#[test]
fn a_container_that_is_being_deleted_fails_who_does_not_wait() {
    let mut play = Play::waiting(Wait::Never);
    play.exchange(acquire(), Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, Outcome::ContainerBeingDeleted);
    play.tells(Told::NotObtained(Why::Failed));
    play.ends();
}

#[test]
fn a_look_that_fails_is_repeated_and_not_made_up_for_by_a_try() {
    // An outage met while waiting must not leave a waiter unsure, and knocking from then on.
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    for pause in [200 * MS, 400 * MS, 800 * MS] {
        play.exchange(Operation::Look, NO_ANSWER);
        play.tells(Told::Retrying);
        assert_eq!(play.sleeps(), pause);
    }
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));
    play.sleeps();
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 200 * MS, "a proper answer ends the row of failures");
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));
}

#[test]
fn what_is_being_made_goes_on_where_it_failed() {
    let mut play = Play::waiting(Wait::Never);
    play.exchange(acquire(), Outcome::NoContainer);
    play.exchange(Operation::CreateContainer, NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(Operation::CreateContainer, Outcome::Exists);
    play.exchange(Operation::CreateBlob, NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(Operation::CreateBlob, Outcome::Exists);
    // Neither of these can have given us a lease.
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::NotObtained(Why::Busy));
    play.ends();
}

// An acquire whose outcome is unknown.

#[test]
fn after_an_acquire_without_an_answer_every_look_is_that_acquire() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Expired));
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::Busy);
    play.sleeps();
    play.exchange(acquire(), Outcome::ContainerBeingDeleted);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::Busy);
    play.sleeps();
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::NoBlob);
    play.exchange(Operation::CreateBlob, Outcome::Done);
    play.exchange(acquire(), Outcome::Busy);
    play.sleeps();
    let sent = play.now;
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(sent));
}

/// An acquire was sent, was perhaps carried out, and is about to be repeated.
fn unsure(wait: Wait) -> Play {
    let mut play = Play::waiting(wait);
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play
}

#[test]
fn who_gives_up_unsure_is_told_first_and_then_releases_once() {
    let undone = |mut play: Play, why: Why| {
        play.tells(Told::NotObtained(why));
        let limit = play.sends(release());
        assert_eq!(limit, 5 * S);
        // Nobody waits for it, and nobody tries again.
        play.answers(NO_ANSWER);
        play.ends();
    };

    let mut busy = unsure(Wait::Never);
    busy.exchange(acquire(), Outcome::Busy);
    undone(busy, Why::Busy);

    let mut refused = unsure(Wait::Forever);
    refused.exchange(acquire(), Outcome::Denied);
    undone(refused, Why::Failed);

    let mut unanswered = unsure(Wait::Never);
    for _ in 0..2 {
        unanswered.exchange(acquire(), NO_ANSWER);
        unanswered.tells(Told::Retrying);
        unanswered.sleeps();
    }
    unanswered.exchange(acquire(), NOT_SENT);
    undone(unanswered, Why::Failed);

    let mut timed_out = unsure(Wait::Until(at(10 * S)));
    timed_out.now = at(10 * S);
    undone(timed_out, Why::TimedOut);

    let mut cancelled = unsure(Wait::Forever);
    cancelled.leaves();
    undone(cancelled, Why::GivenUp);

    let mut creating = unsure(Wait::Forever);
    creating.exchange(acquire(), Outcome::NoBlob);
    creating.exchange(Operation::CreateBlob, Outcome::Denied);
    undone(creating, Why::Failed);
}

#[test]
fn the_release_of_who_gave_up_is_silent_whatever_comes_of_it() {
    for outcome in [Outcome::Done, Outcome::NotOurs, Outcome::NoBlob, Outcome::Denied, stay_away(S)] {
        let mut play = unsure(Wait::Never);
        play.exchange(acquire(), Outcome::Busy);
        play.tells(Told::NotObtained(Why::Busy));
        play.exchange(release(), outcome);
        play.ends();
    }
}

#[test]
fn an_acquire_that_cannot_have_been_carried_out_leaves_looks_allowed_and_nothing_to_undo() {
    let mut play = Play::until(10 * S);
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));
    play.now = at(10 * S);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

// A wait with a deadline.

#[test]
fn a_wait_makes_a_last_try_a_quarter_of_a_second_before_its_end() {
    let mut play = Play::queued(Wait::Until(at(5 * S)));
    let mut tries = Vec::new();
    let told = loop {
        match play.step() {
            Do::Sleep { until } => {
                assert!(until > play.now, "a sleep until now spins");
                play.now = until;
            }
            Do::Send { limit, .. } => {
                assert!(play.now.after(limit) <= at(5 * S));
                tries.push(play.now);
                assert!(tries.len() <= 50, "no pause");
                play.answers(Outcome::Seen(LockStatus::Leased));
            }
            Do::Tell(told) => break told,
            Do::End => panic!("ended without a word"),
        }
    };
    assert_eq!(told, Told::NotObtained(Why::TimedOut));
    assert_eq!(play.now, at(5 * S));
    assert!(tries.contains(&at(4_750 * MS)), "{tries:?}");
    assert!(tries.iter().filter(|when| **when > at(4_750 * MS)).count() <= 6, "{tries:?}");
    play.ends();

    // However far away the service wants us.
    let mut play = Play::until(5 * S);
    play.exchange(acquire(), stay_away(3_600 * S));
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 4_750 * MS);
    let limit = play.sends(acquire());
    assert!(limit <= 250 * MS, "{limit:?}");
    play.answers(Outcome::Leased(ours()));
    play.tells(granted(at(4_750 * MS)));
}

#[test]
fn no_request_reaches_past_the_end_of_the_wait() {
    let mut play = Play::until(6 * S);
    assert_eq!(play.sends(acquire()), 5 * S);
    play.passes(1_500 * MS);
    play.answers(Outcome::NoContainer);
    assert_eq!(play.sends(Operation::CreateContainer), 4_250 * MS);
    play.passes(S);
    play.answers(Outcome::Done);
    assert_eq!(play.sends(Operation::CreateBlob), 3_250 * MS);
    play.passes(S);
    play.answers(Outcome::Done);
    assert_eq!(play.sends(acquire()), 2_250 * MS);
    play.passes(S);
    play.answers(Outcome::Busy);
    play.tells(Told::Waiting);
    play.passes(S);
    assert_eq!(play.sends(Operation::Look), 500 * MS);
    play.passes(500 * MS);
    play.answers(Outcome::Seen(LockStatus::Available));
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

#[test]
fn a_wait_until_the_end_of_time_bears_failures_until_then() {
    let mut play = Play::waiting(Wait::Until(Moment::NEVER));
    while play.now < at(3_600 * S) {
        play.exchange(acquire(), NOT_SENT);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    assert_eq!(play.sends(acquire()), 5 * S);
}

#[test]
fn an_infinite_lease_that_may_have_been_taken_is_released_with_more_than_one_try() {
    let rules = Rules { term: Term::Infinite, ..rules() };
    let mut play = Play::new(Hold::acquire(rules, ours()));
    let acquire = Operation::Acquire { id: ours(), term: Term::Infinite };
    for _ in 0..3 {
        play.exchange(acquire, NO_ANSWER);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    play.exchange(acquire, NO_ANSWER);
    play.tells(Told::NotObtained(Why::Failed));
    play.exchange(release(), NO_ANSWER);
    play.sleeps();
    play.exchange(release(), Outcome::Done);
    play.ends();
}

#[test]
fn an_infinite_lease_is_undone_again_where_the_acquire_may_still_be_on_its_way() {
    let rules = Rules { term: Term::Infinite, policy: Policy::default().retries(1), ..rules() };
    let mut play = Play::new(Hold::acquire(rules, ours()));
    let acquire = Operation::Acquire { id: ours(), term: Term::Infinite };
    play.exchange(acquire, NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire, NO_ANSWER);
    play.tells(Told::NotObtained(Why::Failed));
    play.exchange(release(), Outcome::NotOurs);
    play.sleeps();
    play.exchange(release(), Outcome::Done);
    play.ends();
}

#[test]
fn a_break_that_may_have_been_carried_out_is_not_repeated() {
    let operation = Operation::Break { period: Some(0) };
    let mut play = Play::new(Hold::ask(rules(), ours(), operation));
    play.exchange(operation, NOT_SENT);
    play.sleeps();
    play.exchange(operation, NO_ANSWER);
    play.tells(Told::Answered(NO_ANSWER));
    play.ends();
}

#[test]
fn a_release_that_is_repeated_by_its_caller_takes_a_lease_that_is_gone_for_released() {
    let again = |lost, perhaps| Play::new(Hold::release_again(rules(), ours(), at(30 * S), lost, perhaps));
    let mut play = again(None, true);
    play.exchange(release(), Outcome::NotOurs);
    play.tells(Told::Released(Released::Done));
    play.ends();
    // None of the tries before can have been carried out: then somebody else took it away.
    let mut play = again(None, false);
    play.exchange(release(), Outcome::NotOurs);
    play.tells(Told::Released(Released::Lost(Lost::Taken)));
    play.ends();
    let mut play = again(Some(Lost::Broken), true);
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Lost(Lost::Broken)));
    play.ends();
}

#[test]
fn a_wait_without_any_time_sends_nothing() {
    let mut play = Play::until(Duration::ZERO);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

#[test]
fn a_moment_too_short_for_an_answer_is_slept_through_and_not_cut_off() {
    let mut play = Play::until(S);
    play.sends(acquire());
    play.passes(998 * MS);
    play.answers(Outcome::NoBlob);
    assert_eq!(play.sleeps(), 2 * MS);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

#[test]
fn the_least_time_that_an_answer_takes_is_not_too_short() {
    let mut play = Play::until(S);
    play.sends(acquire());
    play.passes(995 * MS);
    play.answers(Outcome::NoBlob);
    assert_eq!(play.sends(Operation::CreateBlob), 5 * MS);

    let mut play = Play::held();
    play.now = at(10 * S);
    play.leaves();
    play.exchange(release(), NO_ANSWER);
    play.sleeps();
    play.now = at(20 * S - 5 * MS);
    assert_eq!(play.sends(release()), 5 * MS);
}

#[test]
fn failures_do_not_end_a_wait_before_its_time() {
    let mut play = Play::until(600 * S);
    let mut tries = 0;
    while play.now < at(600 * S) {
        let limit = play.sends(acquire());
        play.passes(limit);
        play.answers(NO_ANSWER);
        play.tells(Told::Retrying);
        if play.now < at(600 * S) {
            play.sleeps();
        }
        tries += 1;
    }
    assert!(tries > 50, "{tries}");
    play.tells(Told::NotObtained(Why::TimedOut));
    assert_eq!(play.now, at(600 * S));
    play.sends(release());
}

// A wait without a deadline, and none at all.

#[test]
fn a_wait_without_a_deadline_bears_failures_for_the_policys_patience() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.now = at(29 * S);
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.now = at(30 * S);
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::NotObtained(Why::Failed));
    play.ends();
}

#[test]
fn a_proper_answer_starts_the_patience_anew() {
    let mut play = Play::queued(Wait::Forever);
    for seconds in [25, 50, 75] {
        play.now = at(seconds * S);
        play.exchange(Operation::Look, NO_ANSWER);
        play.tells(Told::Retrying);
        play.now = at(seconds * S + 20 * S);
        play.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));
        play.sleeps();
    }
    // Free, but taken again before we got there.
    play.now = at(100 * S);
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::Retrying);
    play.now = at(120 * S);
    play.exchange(Operation::Look, Outcome::Seen(LockStatus::Available));
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.now = at(140 * S);
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
}

#[test]
fn a_request_that_hangs_leaves_room_for_a_last_try() {
    let mut play = Play::until(4 * S);
    let limit = play.sends(acquire());
    assert_eq!(limit, 3_750 * MS);
    play.passes(limit);
    play.answers(NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    assert!(play.sleeps() < 50 * MS, "a longer pause would leave no time");
    play.sends(acquire());
    assert!(play.now < at(4 * S));
}

#[test]
fn retry_after_is_honoured_and_capped_by_the_patience() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), stay_away(7 * S));
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 7 * S);
    play.exchange(acquire(), stay_away(MS));
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 400 * MS, "our own pause is the longer one");
    play.exchange(acquire(), stay_away(Duration::MAX));
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 30 * S);
    play.exchange(acquire(), stay_away(S));
    play.tells(Told::NotObtained(Why::Failed));
}

#[test]
fn who_does_not_wait_tries_as_often_as_the_policy_says() {
    for retries in [0, 1, 3] {
        let policy = Policy::default().retries(retries);
        let mut play = Play::new(Hold::keep(Rules { policy, ..rules() }, ours(), Wait::Never));
        for pause in [200, 400, 800].into_iter().take(retries as usize) {
            play.exchange(acquire(), NOT_SENT);
            play.tells(Told::Retrying);
            assert_eq!(play.sleeps(), pause * MS);
        }
        play.exchange(acquire(), NOT_SENT);
        play.tells(Told::NotObtained(Why::Failed));
        play.ends();
    }
}

#[test]
fn who_does_not_wait_is_not_made_to_by_retry_after() {
    let mut play = Play::waiting(Wait::Never);
    play.exchange(acquire(), stay_away(5 * S));
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 5 * S);
    play.exchange(acquire(), stay_away(5 * S + MS));
    play.tells(Told::NotObtained(Why::Failed));
    play.ends();
}

/// A blob that is gone again as soon as it was made: how many requests were sent until it was given up.
fn vanishing(wait: Wait, container: bool) -> (u32, Moment, Why) {
    let mut play = Play::waiting(wait);
    let (mut sends, mut at_once) = (0, 0);
    loop {
        match play.step() {
            Do::Send { operation, .. } => {
                at_once += 1;
                assert!(at_once <= 20, "no pause");
                sends += 1;
                assert!(sends <= 500, "for ever");
                play.passes(MS);
                play.answers(match operation {
                    Operation::CreateContainer => Outcome::Done,
                    Operation::CreateBlob if container => Outcome::NoContainer,
                    Operation::CreateBlob => Outcome::Done,
                    _ if container => Outcome::NoContainer,
                    _ => Outcome::NoBlob,
                });
            }
            Do::Sleep { until } => {
                assert!(until > play.now);
                at_once = 0;
                play.now = until;
            }
            Do::Tell(Told::NotObtained(why)) => {
                play.ends();
                return (sends, play.now, why);
            }
            Do::Tell(told) => assert_eq!(told, Told::Retrying),
            Do::End => panic!("it ended without a word"),
        }
    }
}

#[test]
fn what_vanishes_again_and_again_is_not_made_for_ever_nor_without_a_pause() {
    for container in [false, true] {
        let (sends, _, why) = vanishing(Wait::Never, container);
        assert!(why == Why::Failed && sends <= 60, "{why:?} after {sends}");
        let (sends, when, why) = vanishing(Wait::Until(at(20 * S)), container);
        assert!(why == Why::TimedOut && when == at(20 * S) && sends <= 200, "{why:?} after {sends}");
        let (sends, when, why) = vanishing(Wait::Forever, container);
        assert!(why == Why::Failed && when <= at(40 * S) && sends <= 200, "{why:?} after {sends}");
    }
}

#[test]
fn what_vanishes_is_made_anew_four_times_without_a_pause() {
    let mut play = Play::waiting(Wait::Forever);
    for _ in 0..4 {
        play.exchange(acquire(), Outcome::NoBlob);
        play.exchange(Operation::CreateBlob, Outcome::Done);
    }
    play.exchange(acquire(), Outcome::NoBlob);
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 200 * MS);
}

// Ours.

#[test]
fn the_lock_is_renewed_every_third_of_its_lease_or_up_to_a_tenth_earlier() {
    let mut play = Play::held();
    for _ in 0..5 {
        assert_eq!(play.sleeps(), 10 * S);
        let sent = play.now;
        play.exchange(renew(), Outcome::Leased(ours()));
        play.tells(renewed(sent));
    }
    for jitter in [1 << 16, 1 << 31, u32::MAX] {
        let mut play = Play::waiting(Wait::Forever);
        play.jitter = jitter;
        play.exchange(acquire(), Outcome::Leased(ours()));
        play.tells(granted(start()));
        let pause = play.sleeps();
        assert!(pause >= 9 * S && pause < 10 * S, "{pause:?} with {jitter}");
    }
}

#[test]
fn a_renewal_counts_from_its_sending() {
    let mut play = Play::held();
    play.sleeps();
    play.sends(renew());
    assert_eq!(play.hold.ends(), at(40 * S), "it may have been carried out, whatever comes back");
    play.passes(4 * S);
    play.answers(Outcome::Leased(ours()));
    play.passes(2 * S);
    play.tells(renewed(at(10 * S)));
    assert_eq!(play.sleeps(), 4 * S);
}

#[test]
fn a_renewal_may_take_half_of_what_is_left_and_no_more_than_the_attempt_limit() {
    for (now, limit) in [(10_000, 5_000), (17_400, 5_000), (19_400, 4_000), (27_000, 200), (27_390, 5)] {
        let mut play = Play::held();
        play.now = at(now * MS);
        assert_eq!(play.sends(renew()), limit * MS, "at {now} ms");
    }
    let mut play = Play::held();
    play.now = at(27_391 * MS);
    assert_eq!(play.sleeps(), 9 * MS, "too late for an answer");
    play.tells(Told::Lost(Lost::Expired));
}

#[test]
fn failures_are_retried_until_the_time_is_up_and_at_last_ever_faster() {
    // A service that answers with errors at once, and one that hangs.
    for hangs in [false, true] {
        let mut play = Play::held();
        play.sleeps();
        let (mut pauses, mut tries) = (Vec::new(), 0);
        while at(VALID).left(play.now) >= 10 * MS {
            let limit = play.sends(renew());
            if hangs {
                play.passes(limit);
            }
            play.answers(NO_ANSWER);
            let left = at(VALID).left(play.now);
            play.tells(Told::RenewalFailed { left });
            let pause = play.sleeps();
            assert!(pause <= left / 2 && pause <= 5 * S, "{pause:?} of {left:?}");
            pauses.push(pause);
            tries += 1;
        }
        assert!((8..=20).contains(&tries), "{tries} tries");
        assert!(*pauses.last().unwrap() < 10 * MS, "{pauses:?}");
        // Too late for an answer.
        play.sleeps();
        assert_eq!(play.now, at(VALID));
        play.tells(Told::Lost(Lost::Expired));
        play.rests();
    }
}

#[test]
fn after_a_renewal_its_failures_are_forgotten() {
    let mut play = Play::held();
    play.sleeps();
    for pause in [200, 400, 800] {
        play.exchange(renew(), NO_ANSWER);
        play.renewal_fails();
        assert_eq!(play.sleeps(), pause * MS);
    }
    let sent = play.now;
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(renewed(sent));
    assert_eq!(play.sleeps(), 10 * S);
    play.exchange(renew(), NO_ANSWER);
    play.renewal_fails();
    assert_eq!(play.sleeps(), 200 * MS);
}

#[test]
fn retry_after_never_costs_the_lock() {
    let mut play = Play::held();
    play.sleeps();
    play.exchange(renew(), stay_away(3 * S));
    play.tells(Told::RenewalFailed { left: 17_400 * MS });
    assert_eq!(play.sleeps(), 3 * S);
    play.exchange(renew(), stay_away(Duration::MAX));
    play.renewal_fails();
    assert_eq!(play.sleeps(), 7_200 * MS, "half of what is left");
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(renewed(at(20_200 * MS)));
}

#[test]
fn what_says_nothing_about_the_lease_is_no_loss() {
    let odd = [
        Outcome::Denied,
        Outcome::Refused,
        Outcome::Busy,
        Outcome::Done,
        Outcome::Exists,
        Outcome::Seen(LockStatus::Available),
        Outcome::Breaking(S),
        NO_ANSWER,
        NOT_SENT,
    ];
    for outcome in odd {
        let mut play = Play::held();
        play.sleeps();
        for _ in 0..6 {
            play.exchange(renew(), outcome);
            play.renewal_fails();
            play.sleeps();
        }
        let sent = play.now;
        play.exchange(renew(), Outcome::Leased(ours()));
        play.tells(renewed(sent));
    }
}

#[test]
fn a_word_on_the_lease_is_a_loss_at_once_each_with_its_reason() {
    let words = [
        (Outcome::Leased(theirs()), Lost::Taken),
        (Outcome::NotOurs, Lost::Taken),
        (Outcome::NoLease, Lost::Taken),
        (Outcome::Broken, Lost::Broken),
        (Outcome::NoBlob, Lost::BlobDeleted),
        (Outcome::NoContainer, Lost::ContainerDeleted),
    ];
    for (outcome, lost) in words {
        let mut play = Play::held();
        play.sleeps();
        play.exchange(renew(), outcome);
        play.tells(Told::Lost(lost));
        play.rests();
    }
}

#[test]
fn a_container_that_is_being_deleted_is_gone_for_its_holder() {
    let mut play = Play::held();
    play.sleeps();
    play.exchange(renew(), Outcome::ContainerBeingDeleted);
    play.tells(Told::Lost(Lost::ContainerDeleted));

    let mut play = Play::held();
    play.leaves();
    play.exchange(release(), Outcome::ContainerBeingDeleted);
    play.tells(Told::Released(Released::Lost(Lost::ContainerDeleted)));
}

#[test]
fn the_lock_is_ours_for_all_of_its_time_and_not_longer() {
    let mut play = Play::held();
    play.now = at(VALID - Duration::from_nanos(1));
    assert_eq!(play.sleeps(), Duration::from_nanos(1));
    play.tells(Told::Lost(Lost::Expired));

    // As after a suspend: no sleep and no renewal comes before the word.
    let mut play = Play::held();
    play.now = at(3_600 * S);
    play.tells(Told::Lost(Lost::Expired));
    play.rests();
}

#[test]
fn an_answer_after_the_deadline_renews_nothing() {
    for late in [Duration::ZERO, 3 * S] {
        let mut play = Play::held();
        play.sleeps();
        play.sends(renew());
        play.now = at(VALID + late);
        play.answers(Outcome::Leased(ours()));
        play.tells(Told::Lost(Lost::Expired));
        play.rests();
    }
    let mut play = Play::held();
    play.sleeps();
    play.sends(renew());
    play.now = at(VALID - Duration::from_nanos(1));
    play.answers(Outcome::Leased(ours()));
    play.tells(renewed(at(10 * S)));
}

#[test]
fn after_a_loss_nothing_is_sent_until_the_holder_has_let_go() {
    for outcome in [Outcome::Done, Outcome::NotOurs, Outcome::Denied, NO_ANSWER] {
        let mut play = Play::held();
        play.sleeps();
        play.exchange(renew(), Outcome::Broken);
        play.tells(Told::Lost(Lost::Broken));
        for _ in 0..3 {
            play.rests();
            play.passes(20 * S);
        }
        play.leaves();
        assert_eq!(play.sends(release()), 5 * S);
        play.answers(outcome);
        play.tells(Told::Released(Released::Lost(Lost::Broken)));
        play.ends();
    }
}

#[test]
fn a_loss_that_the_holder_heard_of_first_stands() {
    let mut play = Play::held();
    play.sleeps();
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(renewed(at(10 * S)));
    play.input = Input::Lapsed(Lost::Expired);
    play.rests();
    play.leaves();
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Lost(Lost::Expired)));
    play.ends();

    // It had let go by then.
    let mut play = Play::held();
    play.sleeps();
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(renewed(at(10 * S)));
    play.input = Input::Lapsed(Lost::Expired);
    play.leaves();
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Lost(Lost::Expired)));
    play.ends();
}

// Letting go.

#[test]
fn unlocking_sends_the_release_at_once() {
    let mut play = Play::held();
    play.leaves();
    assert_eq!(play.sends(release()), 5 * S);
    play.answers(Outcome::Done);
    play.tells(Told::Released(Released::Done));
    play.ends();

    // Out of its sleep, too.
    let mut play = Play::held();
    assert_eq!(play.step(), Do::Sleep { until: at(10 * S) });
    play.passes(S);
    play.leaves();
    play.sends(release());
}

#[test]
fn the_release_comes_after_the_renewal_that_is_under_way() {
    let flying = || {
        let mut play = Play::held();
        play.sleeps();
        play.sends(renew());
        play.leaves();
        play.passes(S);
        play
    };

    let mut play = flying();
    play.answers(Outcome::Leased(ours()));
    play.tells(renewed(at(10 * S)));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Done));
    play.ends();

    let mut play = flying();
    play.answers(NO_ANSWER);
    play.tells(Told::RenewalFailed { left: 16_400 * MS });
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Done));
    play.ends();

    let mut play = flying();
    play.answers(Outcome::NotOurs);
    play.tells(Told::Lost(Lost::Taken));
    play.exchange(release(), Outcome::NotOurs);
    play.tells(Told::Released(Released::Lost(Lost::Taken)));
    play.ends();
}

#[test]
fn a_first_release_that_finds_no_lease_of_ours_says_that_it_was_lost() {
    let words = [
        (Outcome::NotOurs, Lost::Taken),
        (Outcome::NoLease, Lost::Taken),
        (Outcome::Broken, Lost::Broken),
        (Outcome::NoBlob, Lost::BlobDeleted),
        (Outcome::NoContainer, Lost::ContainerDeleted),
    ];
    for (outcome, lost) in words {
        let mut play = Play::held();
        play.leaves();
        play.exchange(release(), outcome);
        play.tells(Told::Released(Released::Lost(lost)));
        play.ends();

        let mut play = Play::held();
        play.leaves();
        for _ in 0..2 {
            // Not carried out, so this is no sign that it has worked.
            play.exchange(release(), NOT_SENT);
            play.sleeps();
        }
        play.exchange(release(), outcome);
        play.tells(Told::Released(Released::Lost(lost)));
        play.ends();
    }
}

#[test]
fn the_release_of_an_infinite_lease_that_is_gone_is_not_repeated() {
    let infinite = Rules { term: Term::Infinite, ..rules() };
    let mut play = Play::new(Hold::resume(infinite, ours(), Moment::NEVER, Moment::NEVER));
    play.leaves();
    play.exchange(release(), Outcome::NotOurs);
    play.tells(Told::Released(Released::Lost(Lost::Taken)));
    play.ends();
}

#[test]
fn a_release_that_finds_the_lease_gone_after_one_without_an_answer_has_worked() {
    for gone in [Outcome::NotOurs, Outcome::NoLease] {
        let mut play = Play::held();
        play.leaves();
        play.exchange(release(), NO_ANSWER);
        assert_eq!(play.sleeps(), 200 * MS);
        play.exchange(release(), NOT_SENT);
        play.sleeps();
        play.exchange(release(), gone);
        play.tells(Told::Released(Released::Done));
        play.ends();
    }
}

#[test]
fn a_release_that_was_sent_and_not_answered_may_have_been_carried_out() {
    for (outcome, perhaps) in [(NOT_SENT, false), (NO_ANSWER, true)] {
        let mut play = Play::held();
        play.leaves();
        play.exchange(release(), outcome);
        play.sleeps();
        assert_eq!(play.hold.perhaps_released(), perhaps, "{outcome:?}");
    }
}

#[test]
fn a_release_takes_two_attempt_limits_at_most() {
    let mut play = Play::held();
    play.leaves();
    assert_eq!(play.sends(release()), 5 * S);
    play.passes(5 * S);
    play.answers(NO_ANSWER);
    assert_eq!(play.sleeps(), 200 * MS);
    assert_eq!(play.sends(release()), 4_800 * MS);
    play.passes(4_800 * MS);
    play.answers(NO_ANSWER);
    play.tells(Told::Released(Released::Failed));
    assert_eq!(play.now, at(10 * S));
    play.ends();

    // Less is left than any answer takes.
    let mut play = Play::held();
    play.leaves();
    play.exchange(release(), NO_ANSWER);
    play.sleeps();
    play.now = at(10 * S - 4 * MS);
    play.tells(Told::Released(Released::Failed));
    play.ends();
}

#[test]
fn a_release_does_not_outlast_the_lease() {
    let mut play = Play::held();
    play.now = at(VALID - MS);
    play.leaves();
    assert_eq!(play.sends(release()), 2_601 * MS);
    play.passes(2_500 * MS);
    play.answers(NO_ANSWER);
    play.tells(Told::Released(Released::Failed));
    assert!(play.now < at(30 * S));
    play.ends();
}

#[test]
fn a_release_is_tried_again_as_often_as_the_policy_says() {
    let mut play = Play::held();
    play.leaves();
    for pause in [200, 400, 800] {
        play.exchange(release(), NO_ANSWER);
        assert_eq!(play.sleeps(), pause * MS);
    }
    play.exchange(release(), NO_ANSWER);
    play.tells(Told::Released(Released::Failed));
    play.ends();
}

#[test]
fn a_release_that_is_refused_or_told_to_wait_for_too_long_fails_at_once() {
    for outcome in [Outcome::Denied, Outcome::Refused, Outcome::Busy, stay_away(10 * S)] {
        let mut play = Play::held();
        play.leaves();
        play.exchange(release(), outcome);
        play.tells(Told::Released(Released::Failed));
        play.ends();
    }
    let mut play = Play::held();
    play.leaves();
    play.exchange(release(), stay_away(6 * S));
    assert_eq!(play.sleeps(), 6 * S);
    assert_eq!(play.sends(release()), 4 * S);
}

#[test]
fn unlocking_what_has_run_out_says_that_it_was_lost() {
    let mut play = Play::held();
    play.now = at(VALID);
    play.leaves();
    play.tells(Told::Lost(Lost::Expired));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Lost(Lost::Expired)));
    play.ends();
}

#[test]
fn who_leaves_before_the_first_step_sends_nothing() {
    for wait in [Wait::Never, Wait::Until(at(S)), Wait::Forever] {
        let mut play = Play::waiting(wait);
        play.leaves();
        play.tells(Told::NotObtained(Why::GivenUp));
        play.ends();
    }
}

#[test]
fn who_leaves_while_waiting_sends_nothing_more() {
    let mut resting = Play::queued(Wait::Forever);
    resting.passes(10 * MS);

    let mut looking = Play::queued(Wait::Forever);
    looking.sleeps();
    looking.exchange(Operation::Look, Outcome::Seen(LockStatus::Available));

    let mut still_busy = Play::queued(Wait::Forever);
    still_busy.sleeps();
    still_busy.exchange(Operation::Look, Outcome::Seen(LockStatus::Leased));

    let mut not_yet_waiting = Play::waiting(Wait::Forever);
    not_yet_waiting.exchange(acquire(), Outcome::Busy);

    let mut may_not_look = Play::queued(Wait::Forever);
    may_not_look.sleeps();
    may_not_look.exchange(Operation::Look, Outcome::Denied);

    let mut making_container = Play::waiting(Wait::Forever);
    making_container.exchange(acquire(), Outcome::NoContainer);

    let mut made_container = Play::waiting(Wait::Forever);
    made_container.exchange(acquire(), Outcome::NoContainer);
    made_container.exchange(Operation::CreateContainer, Outcome::Done);

    let mut made_blob = Play::waiting(Wait::Forever);
    made_blob.exchange(acquire(), Outcome::NoBlob);
    made_blob.exchange(Operation::CreateBlob, Outcome::Done);

    let mut failing = Play::waiting(Wait::Forever);
    failing.exchange(acquire(), NOT_SENT);

    let mut retrying = Play::waiting(Wait::Never);
    retrying.exchange(acquire(), NOT_SENT);
    retrying.tells(Told::Retrying);

    let mut at_the_end = Play::until(S);
    at_the_end.exchange(acquire(), Outcome::NoBlob);
    at_the_end.passes(998 * MS);

    let stories = [
        resting,
        looking,
        still_busy,
        not_yet_waiting,
        may_not_look,
        making_container,
        made_container,
        made_blob,
        failing,
        retrying,
        at_the_end,
    ];
    for mut play in stories {
        play.leaves();
        play.tells(Told::NotObtained(Why::GivenUp));
        play.ends();
    }
}

#[test]
fn who_leaves_while_the_acquire_is_granted_gives_it_back_silently() {
    for wait in [Wait::Never, Wait::Until(at(9 * S)), Wait::Forever] {
        let mut play = Play::waiting(wait);
        play.sends(acquire());
        play.leaves();
        play.passes(S);
        play.answers(Outcome::Leased(ours()));
        play.tells(Told::NotObtained(Why::GivenUp));
        // This lease exists for sure, so its release is worth another try.
        play.exchange(release(), NO_ANSWER);
        play.sleeps();
        play.exchange(release(), Outcome::Done);
        play.ends();
    }
}

#[test]
fn what_is_to_be_given_back_and_is_gone_needs_no_second_try() {
    let mut play = Play::waiting(Wait::Forever);
    play.sends(acquire());
    play.leaves();
    play.answers(Outcome::Leased(ours()));
    play.tells(Told::NotObtained(Why::GivenUp));
    play.exchange(release(), Outcome::NotOurs);
    play.ends();
}

#[test]
fn who_leaves_while_the_acquire_is_unanswered_or_granted_too_late_releases_once() {
    for (outcome, pause) in [(NO_ANSWER, 5 * S), (Outcome::Leased(ours()), VALID)] {
        let mut play = Play::waiting(Wait::Forever);
        play.sends(acquire());
        play.leaves();
        play.passes(pause);
        play.answers(outcome);
        play.tells(Told::NotObtained(Why::GivenUp));
        play.exchange(release(), NO_ANSWER);
        play.ends();
    }
}

#[test]
fn what_was_begun_is_undone_however_long_the_thread_was_held_up() {
    let mut gave_up = unsure(Wait::Until(at(9 * S)));
    gave_up.passes(9 * S);
    gave_up.tells(Told::NotObtained(Why::TimedOut));
    let mut left = Play::waiting(Wait::Forever);
    left.sends(acquire());
    left.leaves();
    left.answers(Outcome::Leased(ours()));
    left.tells(Told::NotObtained(Why::GivenUp));
    for mut play in [gave_up, left] {
        play.passes(11 * S);
        assert_eq!(play.sends(release()), 5 * S);
        play.answers(Outcome::Done);
        play.ends();
    }
}

#[test]
fn who_leaves_between_the_grant_and_its_first_step_releases() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(start()));
    play.leaves();
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Done));
    play.ends();
}

// One call of `AzureMutex`.

#[test]
fn one_acquire_ends_with_the_lease_and_leaves_it_alone() {
    let mut play = Play::new(Hold::acquire(rules(), ours()));
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(start()));
    play.ends();

    let mut play = Play::new(Hold::acquire(rules(), ours()));
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::NotObtained(Why::Busy));
    play.ends();
}

/// The lease of `Play::held`, as its caller keeps it.
fn resumed() -> Play {
    Play::new(Hold::resume(rules(), ours(), at(VALID), at(30 * S)))
}

#[test]
fn one_renewal_is_sent_at_once_and_ends_with_its_answer() {
    let mut play = resumed();
    play.passes(S);
    assert_eq!(play.sends(renew()), 5 * S);
    play.passes(S);
    play.answers(Outcome::Leased(ours()));
    play.tells(renewed(at(S)));
    play.ends();

    let mut play = resumed();
    play.exchange(renew(), Outcome::NoLease);
    play.tells(Told::Lost(Lost::Taken));
    play.ends();
}

#[test]
fn one_renewal_past_the_deadline_sends_nothing() {
    let mut play = resumed();
    play.now = at(VALID);
    play.tells(Told::Lost(Lost::Expired));
    play.ends();
}

#[test]
fn one_renewal_is_tried_again_as_often_as_the_policy_says_and_within_its_time() {
    let mut play = resumed();
    for pause in [200, 400, 800] {
        play.exchange(renew(), NO_ANSWER);
        play.renewal_fails();
        assert_eq!(play.sleeps(), pause * MS);
    }
    play.exchange(renew(), NO_ANSWER);
    play.renewal_fails();
    play.ends();

    for outcome in [Outcome::Denied, Outcome::Refused, Outcome::Busy, stay_away(5 * S + MS)] {
        let mut play = resumed();
        play.exchange(renew(), outcome);
        play.renewal_fails();
        play.ends();
    }

    let mut play = resumed();
    play.now = at(VALID - 12 * MS);
    assert_eq!(play.sends(renew()), 6 * MS);
    play.passes(6 * MS);
    play.answers(NO_ANSWER);
    play.tells(Told::RenewalFailed { left: 6 * MS });
    assert_eq!(play.sleeps(), 3 * MS);
    assert_eq!(play.sleeps(), 3 * MS);
    play.tells(Told::Lost(Lost::Expired));
    play.ends();
}

#[test]
fn one_release_is_sent_at_once_and_says_what_came_of_it() {
    let mut play = resumed();
    play.leaves();
    play.exchange(release(), NO_ANSWER);
    play.sleeps();
    play.exchange(release(), Outcome::NoLease);
    play.tells(Told::Released(Released::Done));
    play.ends();

    let mut play = resumed();
    play.leaves();
    play.exchange(release(), Outcome::NotOurs);
    play.tells(Told::Released(Released::Lost(Lost::Taken)));
    play.ends();
}

#[test]
fn one_release_past_the_deadline_is_sent_once_and_says_that_it_was_lost() {
    for outcome in [Outcome::Done, NO_ANSWER] {
        let mut play = resumed();
        play.now = at(3_600 * S);
        play.leaves();
        play.tells(Told::Lost(Lost::Expired));
        play.exchange(release(), outcome);
        play.tells(Told::Released(Released::Lost(Lost::Expired)));
        play.ends();
    }
}

#[test]
fn a_question_is_repeated_as_often_as_the_policy_says() {
    let question = Operation::Look;
    let mut play = Play::new(Hold::ask(rules(), ours(), question));
    for pause in [200, 400, 800] {
        assert_eq!(play.sends(question), 5 * S);
        play.answers(NO_ANSWER);
        assert_eq!(play.sleeps(), pause * MS);
    }
    play.exchange(question, NOT_SENT);
    play.tells(Told::Answered(NOT_SENT));
    play.ends();

    let question = Operation::Break { period: Some(0) };
    for outcome in [Outcome::Breaking(9 * S), Outcome::NoLease, Outcome::Denied, Outcome::NoBlob] {
        let mut play = Play::new(Hold::ask(rules(), ours(), question));
        play.exchange(question, outcome);
        play.tells(Told::Answered(outcome));
        play.ends();
    }
}

#[test]
fn a_question_is_not_put_again_before_the_service_wants_it() {
    let mut play = Play::new(Hold::ask(rules(), ours(), Operation::Look));
    play.exchange(Operation::Look, stay_away(5 * S));
    assert_eq!(play.sleeps(), 5 * S);
    // As for all that does not wait.
    let too_long = stay_away(5 * S + MS);
    play.exchange(Operation::Look, too_long);
    play.tells(Told::Answered(too_long));
    play.ends();
}

// What the holder is told when it asks.

#[test]
fn the_standing_is_lost_at_its_deadline_and_stays_lost() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.check(at(10 * S - Duration::from_nanos(1))), Ok(at(10 * S)));
    assert_eq!(standing.check(at(10 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(start()), Err(Lost::Expired), "even if that clock went back");
    assert_eq!(standing.extend(start(), at(40 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(start()), Err(Lost::Expired));
}

#[test]
fn the_standing_is_extended_in_time_only() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.extend(at(9 * S), at(20 * S)), Ok(()));
    assert_eq!(standing.check(at(19 * S)), Ok(at(20 * S)));
    // Nobody asked in between, but somebody could have.
    assert_eq!(standing.extend(at(20 * S), at(40 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(at(21 * S)), Err(Lost::Expired));
}

#[test]
fn the_first_reason_of_a_loss_stays() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.lose(Lost::Broken), Lost::Broken);
    assert_eq!(standing.lose(Lost::Taken), Lost::Broken);
    assert_eq!(standing.extend(start(), at(40 * S)), Err(Lost::Broken));
    assert_eq!(standing.check(at(60 * S)), Err(Lost::Broken));
}

// Anything at all.

/// Plays one hold against chance, and holds it to what must be true at every step. It follows the machine from the
/// outside: what it knows are inputs and outputs.
struct Walk {
    random: Jitter,
    rules: Rules,
    hold: Hold,
    once: bool,
    wait: Option<Wait>,
    now: Moment,
    story: Vec<(Moment, Input, Do)>,

    left: Option<usize>,
    /// The request under way, or just answered.
    asked: Option<(Operation, Moment, Outcome)>,
    /// An acquire may have been carried out without a word of it to the caller.
    unsure: bool,
    standing: Option<Standing>,
    lost: Option<Lost>,
    obtained: bool,
    not_obtained: bool,
    released: Option<Released>,
    releases: u32,
    sends_in_a_row: u32,
}

impl Walk {
    fn new(seed: u64) -> Walk {
        let mut random = Jitter::new(seed);
        let policy = Policy {
            attempt_limit: pick(&mut random, &[10 * MS, 100 * MS, 5 * S, 5 * S, 60 * S]),
            retries: pick(&mut random, &[0, 1, 3]),
            first_pause: pick(&mut random, &[MS, 200 * MS]),
            longest_pause: pick(&mut random, &[200 * MS, 5 * S]),
            patience: pick(&mut random, &[Duration::ZERO, 30 * S, 30 * S, Duration::MAX]),
        };
        let term = pick(
            &mut random,
            &[Term::Seconds(15), Term::Seconds(30), Term::Seconds(60), Term::Seconds(60), Term::Infinite],
        );
        let rules = Rules {
            term,
            renew_every: pick(&mut random, &[S, 5 * S, 7 * S]),
            first_pause: pick(&mut random, &[MS, 100 * MS]),
            longest_pause: pick(&mut random, &[100 * MS, S, 60 * S]),
            create_container: pick(&mut random, &[true, true, false]),
            policy,
        };
        let waits =
            [Wait::Never, Wait::Until(at(MS)), Wait::Until(at(700 * MS)), Wait::Until(at(90 * S)), Wait::Forever];
        let wait = pick(&mut random, &waits);
        let (hold, once, wait, standing) = match pick(&mut random, &[0, 0, 0, 0, 1, 2]) {
            0 => (Hold::keep(rules.clone(), ours(), wait), false, Some(wait), None),
            1 => (Hold::acquire(rules.clone(), ours()), true, Some(Wait::Never), None),
            _ => {
                let valid_until = term.valid_until(start());
                let hold = Hold::resume(rules.clone(), ours(), valid_until, term.ends(start()));
                (hold, true, None, Some(Standing::new(valid_until)))
            }
        };
        let now = at(pick(&mut random, &[Duration::ZERO, Duration::ZERO, 12 * S]));
        Walk {
            obtained: standing.is_some(),
            random,
            rules,
            hold,
            once,
            wait,
            now,
            story: Vec::new(),
            left: None,
            asked: None,
            unsure: false,
            standing,
            lost: None,
            not_obtained: false,
            released: None,
            releases: 0,
            sends_in_a_row: 0,
        }
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.next().is_multiple_of(of)
    }

    fn some(&mut self, most: Duration) -> Duration {
        most.min(1_000 * S).mul_f64(f64::from(self.random.next()) / f64::from(u32::MAX))
    }

    /// To the end; says how many steps it took.
    fn run(mut self) -> usize {
        let patience = pick(&mut self.random, &[4, 20, 100]);
        let mut input = Input::Go;
        loop {
            if self.left.is_none() && self.chance(patience) {
                self.hold.leave();
                self.left = Some(self.story.len());
            }
            let jitter = self.random.next();
            let step = self.hold.step(self.now, input, jitter);
            self.story.push((self.now, input, step));
            if let Some(left) = self.left {
                assert!(self.story.len() - left <= 60, "it does not come to an end");
            } else if self.wait == Some(Wait::Never) && !self.obtained {
                assert!(self.story.len() <= 300, "it should not have waited");
            }
            input = match step {
                Do::Send { operation, limit } => self.send(operation, limit),
                Do::Sleep { until } => self.sleep(until),
                Do::Tell(told) => self.tell(told),
                Do::End => break,
            };
        }
        self.end();
        self.story.len()
    }

    fn send(&mut self, operation: Operation, limit: Duration) -> Input {
        assert!(limit >= 5 * MS && limit <= self.rules.policy.attempt_limit, "{limit:?}");
        self.sends_in_a_row += 1;
        assert!(self.sends_in_a_row <= 20, "so many requests without a pause");
        match operation {
            Operation::Release { id } => {
                assert!(id == ours() && (self.left.is_some() || self.not_obtained));
                self.releases += 1;
            }
            Operation::Renew { id } => {
                assert!(id == ours() && self.left.is_none() && self.obtained && self.lost.is_none());
                let valid_until = self.standing.as_mut().unwrap().check(self.now).expect("it is not ours any more");
                assert!(valid_until == Moment::NEVER || self.now.after(limit * 2) <= valid_until);
            }
            _ => {
                assert!(self.left.is_none() && !self.obtained && !self.not_obtained);
                let wait = self.wait.unwrap();
                assert!(operation != Operation::Look || !self.unsure && wait != Wait::Never);
                assert!(operation != Operation::CreateContainer || self.rules.create_container);
                if let Wait::Until(deadline) = wait {
                    assert!(self.now < deadline && self.now.after(limit) <= deadline);
                }
            }
        }
        let outcome = self.outcome(operation);
        let sent = self.now.after(self.some(MS));
        let takes = match self.random.next() % 16 {
            0..6 => Duration::ZERO,
            6..10 => self.some(100 * MS),
            10..13 => self.some(limit),
            13..15 => limit,
            // The machine was suspended.
            _ => self.some(100 * S),
        };
        self.now = sent.after(takes);
        self.unsure |= match outcome {
            Outcome::Failed { applied: Applied::Perhaps, .. } => matches!(operation, Operation::Acquire { .. }),
            // Even where no lease was asked for.
            Outcome::Leased(_) => true,
            _ => false,
        };
        self.asked = Some((operation, sent, outcome));
        Input::Answer { sent, outcome }
    }

    fn outcome(&mut self, operation: Operation) -> Outcome {
        let failed = Outcome::Failed {
            applied: pick(&mut self.random, &[Applied::No, Applied::Perhaps]),
            retry_after: pick(&mut self.random, &[None, None, None, Some(S), Some(60 * S), Some(Duration::MAX)]),
        };
        let status = pick(&mut self.random, &[LockStatus::Leased, LockStatus::Leased, LockStatus::Expired]);
        if self.chance(12) {
            let any = [
                Outcome::Leased(ours()),
                Outcome::Leased(theirs()),
                Outcome::Done,
                Outcome::Breaking(S),
                Outcome::Seen(status),
                Outcome::Busy,
                Outcome::Exists,
                Outcome::NoBlob,
                Outcome::NoContainer,
                Outcome::ContainerBeingDeleted,
                Outcome::NotOurs,
                Outcome::Broken,
                Outcome::NoLease,
                Outcome::Denied,
                Outcome::Refused,
            ];
            return pick(&mut self.random, &any);
        }
        let likely: &[Outcome] = match operation {
            Operation::Acquire { .. } => {
                &[Outcome::Leased(ours()), Outcome::Busy, Outcome::Busy, failed, Outcome::NoBlob, Outcome::NoContainer]
            }
            Operation::Renew { .. } => &[Outcome::Leased(ours()), Outcome::Leased(ours()), failed, Outcome::Denied],
            Operation::Release { .. } => &[Outcome::Done, failed, failed, Outcome::NotOurs],
            Operation::Look => &[Outcome::Seen(status), Outcome::Seen(status), failed, Outcome::NoBlob],
            _ => &[Outcome::Done, Outcome::Done, Outcome::Exists, failed, Outcome::NoContainer],
        };
        pick(&mut self.random, likely)
    }

    fn sleep(&mut self, until: Moment) -> Input {
        assert!(until > self.now, "a sleep until now spins");
        self.sends_in_a_row = 0;
        // Some sleeps are cut short, some go on for too long.
        self.now = match self.random.next() % 8 {
            0 => until.min(self.now.after(2 * S)),
            1 => until.min(self.now.after(100 * S)).after(self.some(40 * S)),
            _ => until.min(self.now.after(100 * S)),
        };
        Input::Go
    }

    fn tell(&mut self, told: Told) -> Input {
        self.sends_in_a_row = 0;
        let asked = self.asked.take();
        match told {
            Told::Waiting | Told::Retrying => assert!(!self.obtained && !self.not_obtained && self.left.is_none()),
            Told::Granted { valid_until, ends } => {
                let Some((Operation::Acquire { .. }, sent, Outcome::Leased(id))) = asked else {
                    panic!("nothing was granted")
                };
                assert!(id == ours() && self.left.is_none() && !self.obtained && !self.not_obtained);
                assert!(valid_until == self.rules.term.valid_until(sent) && ends == self.rules.term.ends(sent));
                assert!(valid_until > self.now);
                self.obtained = true;
                self.unsure = false;
                self.standing = Some(Standing::new(valid_until));
            }
            Told::Renewed { valid_until, .. } => {
                let Some((Operation::Renew { .. }, sent, Outcome::Leased(id))) = asked else {
                    panic!("nothing was renewed")
                };
                assert!(id == ours() && self.lost.is_none());
                assert_eq!(valid_until, self.rules.term.valid_until(sent));
                let standing = self.standing.as_mut().unwrap();
                standing.check(self.now).expect("it was lost already");
                // The holder's own clock may be past the old deadline by now.
                let late = pick(&mut self.random, &[Duration::ZERO, Duration::ZERO, Duration::ZERO, 60 * S]);
                self.now = self.now.after(late);
                if let Err(lost) = standing.extend(self.now, valid_until) {
                    self.lost = Some(lost);
                    return Input::Lapsed(lost);
                }
            }
            Told::RenewalFailed { left } => {
                let valid_until = self.standing.as_mut().unwrap().check(self.now).expect("it was lost already");
                assert!(left > Duration::ZERO && left == valid_until.left(self.now));
            }
            Told::Lost(lost) => {
                assert!(self.obtained && self.lost.is_none());
                let expired = self.standing.as_mut().unwrap().check(self.now).is_err();
                assert_eq!(lost == Lost::Expired, expired);
                self.lost = Some(lost);
            }
            Told::NotObtained(why) => {
                assert!(!self.obtained && !self.not_obtained);
                self.not_obtained = true;
                match why {
                    Why::Busy => assert_eq!(self.wait, Some(Wait::Never)),
                    Why::TimedOut => assert!(matches!(self.wait, Some(Wait::Until(end)) if self.now >= end)),
                    Why::GivenUp => assert!(self.left.is_some()),
                    Why::Failed => assert!(asked.is_some(), "it failed of itself"),
                }
            }
            Told::Released(how) => {
                assert!(self.obtained && self.left.is_some() && self.released.is_none());
                assert!(self.lost.is_none_or(|lost| how == Released::Lost(lost)));
                self.released = Some(how);
            }
            Told::Answered(_) => panic!("nothing was asked"),
        }
        self.now = self.now.after(self.some(MS));
        Input::Go
    }

    fn end(&mut self) {
        assert_eq!(self.hold.step(self.now, Input::Go, 0), Do::End);
        assert!(self.left.is_some() || self.not_obtained || self.once);
        if self.obtained {
            let kept = self.once && (self.left.is_none() || self.released.is_none());
            assert!(kept || self.released.is_some(), "nobody heard how it ended");
            assert!(kept || self.releases >= 1);
            if self.lost.is_some() && self.released.is_some() {
                assert_eq!(self.releases, 1);
            }
        } else {
            assert!(self.not_obtained);
            assert_eq!(self.unsure, self.releases > 0, "an orphan, or a release for nothing");
        }
        assert!(self.releases <= self.rules.policy.retries + 1);
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} {:?}", self.wait, self.rules);
            for (now, input, step) in &self.story {
                eprintln!("{:>12.3?} {input:?} -> {step:?}", now.since(start()));
            }
        }
    }
}

fn pick<T: Copy>(random: &mut Jitter, from: &[T]) -> T {
    from[random.next() as usize % from.len()]
}

#[test]
fn whatever_happens_it_keeps_its_promises_and_comes_to_an_end() {
    let (mut steps, mut seed) = (0, 0);
    while steps < 200_000 {
        println!("seed {seed}");
        steps += Walk::new(seed).run();
        seed += 1;
    }
}
