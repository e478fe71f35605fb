//! A wait with a deadline.

use super::*;

#[test]
fn a_wait_makes_a_last_try_a_quarter_of_a_second_before_its_end() {
    let mut play = Play::queued(Wait::Until(at(5 * S)));
    let mut tries = Vec::new();
    let told = loop {
        match play.step() {
            Step::Sleep { until } => {
                assert!(until > play.now, "a sleep until now spins");
                play.now = until;
            }
            Step::Send { operation, limit } => {
                assert!(play.now.after(limit) <= at(5 * S));
                // A cache may go on answering an old look.
                assert_eq!(operation == acquire(), play.now == at(4_750 * MS), "{operation:?} at {:?}", play.now);
                tries.push(play.now);
                assert!(tries.len() <= 50, "no pause");
                let seen = Outcome::Seen(LockState::Leased);
                play.answers(if operation == acquire() { Outcome::Busy } else { seen });
            }
            Step::Tell(told) => break told,
            Step::End => panic!("ended without a word"),
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
fn a_wait_too_short_for_that_makes_a_last_try_as_well() {
    for timeout in [40 * MS, 120 * MS, 200 * MS, 250 * MS, 251 * MS] {
        let mut play = Play::queued(Wait::Until(at(timeout)));
        play.sleeps();
        play.exchange(acquire(), Outcome::Busy);
        play.sleeps();
        // Once, as in every other wait.
        play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
        let limit = play.sends(acquire());
        assert!(limit <= timeout, "{limit:?} of {timeout:?}");
    }
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
    play.answers(Outcome::Seen(LockState::Available));
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
fn a_wait_without_any_time_sends_nothing() {
    let mut play = Play::until(Duration::ZERO);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

#[test]
fn what_only_the_end_of_a_wait_cut_off_is_told_if_nothing_else_can_be() {
    for telling in [true, false] {
        let mut play = Play::until(S);
        if telling {
            play.exchange(acquire(), NOT_SENT);
            play.tells(Told::Retrying);
            play.sleeps();
        }
        play.sends(acquire());
        play.passes(750 * MS);
        play.is_cut_off();
        play.tells(Told::Retrying);
        play.now = at(S);
        // The driver knows which failure was reported last.
        play.tells(Told::NotObtained(Why::TimedOut));
        assert_eq!(play.driver.failing, Some(Some(1)), "{telling}");
    }
    // Somebody else has the lock, which is no failure.
    let mut play = Play::queued(Wait::Until(at(S)));
    play.sleeps();
    play.sends(Operation::Look);
    play.now = at(S);
    play.is_cut_off();
    play.tells(Told::Retrying);
    play.tells(Told::NotObtained(Why::TimedOut));
    assert_eq!(play.driver.failing, None);

    let mut play = Play::until(S);
    for _ in 0..2 {
        play.exchange(acquire(), NOT_SENT);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    assert_eq!(play.driver.failing, Some(Some(2)), "of those that tell something the last");
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
