//! A wait without a deadline, and none at all.

use super::*;

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
    play.now = at(5 * S);
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::Retrying);
    play.now = at(25 * S);
    play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    play.sleeps();
    // It is tried once a lease.
    for seconds in [50, 100] {
        play.now = at(seconds * S);
        play.exchange(acquire(), NOT_SENT);
        play.tells(Told::Retrying);
        play.now = at(seconds * S + 20 * S);
        play.exchange(acquire(), Outcome::Busy);
        play.sleeps();
    }
    // Free, but taken again before we got there.
    play.now = at(125 * S);
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::Retrying);
    play.now = at(145 * S);
    play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.now = at(165 * S);
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
        let mut play = Play::new(Hold::keep(Settings { policy, ..settings() }, ours(), Wait::Never));
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
            Step::Send { operation, .. } => {
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
            Step::Sleep { until } => {
                assert!(until > play.now);
                at_once = 0;
                play.now = until;
            }
            Step::Tell(Told::NotObtained(why)) => {
                play.ends();
                return (sends, play.now, why);
            }
            Step::Tell(told) => assert_eq!(told, Told::Retrying),
            Step::End => panic!("it ended without a word"),
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
