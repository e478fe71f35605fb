//! Waiting for somebody else.

use super::*;

#[test]
fn a_wait_knocks_once_and_then_looks() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    for _ in 0..20 {
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    }
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
    let sent = play.now;
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(sent));
}

// Scenario 33.
#[test]
fn no_look_is_trusted_for_longer_than_a_lease() {
    let mut play = Play::waiting(Wait::Forever);
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    let mut tried = vec![start()];
    while tried.len() < 4 {
        play.sleeps();
        if play.step() == (Step::Send { operation: Operation::Look, limit: 5 * S }) {
            play.answers(Outcome::Seen(LockState::Leased));
        } else {
            tried.push(play.now);
            play.answers(Outcome::Busy);
        }
    }
    for pair in tried.windows(2) {
        let apart = pair[1].since(pair[0]);
        assert!(apart >= 30 * S && apart <= 31 * S, "{apart:?}");
    }
}

#[test]
fn the_wait_for_a_container_that_is_being_deleted_is_not_everybodys_at_once() {
    let pause = |jitter| {
        let mut play = Play::waiting(Wait::Forever);
        play.jitter = jitter;
        play.exchange(acquire(), Outcome::ContainerBeingDeleted);
        play.tells(Told::Retrying);
        play.sleeps()
    };
    assert_eq!(pause(0), S);
    assert!(pause(u32::MAX) < 501 * MS);
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
            play.exchange(Operation::Look, Outcome::Seen(LockState::LeasedForever));
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
    use LockState::{Available, Breaking, Broken, Expired, Leased, LeasedForever, Missing};
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
        play.exchange(Operation::Look, Outcome::Seen(LockState::Expired));
        play.exchange(acquire(), Outcome::Busy);
    }
    play.sleeps();
    play.sends(Operation::Look);
}

#[test]
fn who_may_not_look_asks_by_trying_from_then_on() {
    for refusal in [Outcome::Denied, Outcome::Refused, Outcome::Void] {
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
    play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    play.sleeps();
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 200 * MS, "a proper answer ends the row of failures");
    play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
}

#[test]
fn a_look_that_something_in_between_answers_is_repeated_and_then_made_up_for_by_tries() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    for _ in 0..2 {
        play.exchange(Operation::Look, Outcome::Filtered);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    play.exchange(Operation::Look, Outcome::Filtered);
    // From now on it asks by trying, and looks once a lease, whether that has changed.
    let mut looked = vec![play.now];
    while looked.len() < 4 {
        match play.step() {
            Step::Send { operation: Operation::Look, .. } => {
                looked.push(play.now);
                play.answers(Outcome::Filtered);
                play.exchange(acquire(), Outcome::Busy);
            }
            step => {
                assert_eq!(step, Step::Send { operation: acquire(), limit: 5 * S });
                play.answers(Outcome::Busy);
            }
        }
        let pause = play.sleeps();
        assert!(pause <= S, "{pause:?}");
    }
    for pair in looked.windows(2) {
        let apart = pair[1].since(pair[0]);
        assert!(apart >= 30 * S && apart <= 32 * S, "{apart:?}");
    }
    // It has.
    while play.step() != (Step::Send { operation: Operation::Look, limit: 5 * S }) {
        play.answers(Outcome::Busy);
        play.sleeps();
    }
    play.answers(Outcome::Seen(LockState::Leased));
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Filtered);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
}

#[test]
fn what_answers_every_request_in_the_services_place_ends_a_wait_after_the_patience() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    let begun = play.now;
    loop {
        match play.step() {
            Step::Send { operation: Operation::Look, .. } => play.answers(Outcome::Filtered),
            Step::Send { .. } => play.answers(NO_ANSWER),
            Step::Sleep { until } => play.now = until,
            Step::Tell(Told::Retrying) => {}
            step => {
                assert_eq!(step, Step::Tell(Told::NotObtained(Why::Failed)));
                break;
            }
        }
    }
    let took = play.now.since(begun);
    assert!(took >= 30 * S && took <= 36 * S, "{took:?}");
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

#[test]
fn patience_goes_on_where_that_of_those_before_it_ended() {
    let patience = settings().policy.patience;
    let since = start().before(patience - S);
    let mut play = Play::new(Hold::keep(settings(), ours(), Wait::Forever).failing_since(Some(since)));
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    while play.now.since(since) < patience {
        play.sleeps();
        play.exchange(acquire(), NOT_SENT);
        if play.now.since(since) < patience {
            play.tells(Told::Retrying);
        }
    }
    assert!(play.now < at(3 * S));
    play.tells(Told::NotObtained(Why::Failed));
}

#[test]
fn one_who_stands_back_asks_for_nothing_until_then() {
    let hold = Hold::keep(settings(), ours(), Wait::Forever).standing_back(at(4 * S));
    let mut play = Play::new(hold);
    let mut slept = Duration::ZERO;
    while slept < 4 * S {
        slept += play.sleeps();
    }
    assert_eq!(slept, 4 * S);
    play.sends(acquire());
}

#[test]
fn one_who_stood_back_lets_others_go_first_whenever_it_sees_the_lock_free() {
    let mut play = Play::new(Hold::keep(settings(), ours(), Wait::Forever).standing_back(start()));
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    for _ in 0..3 {
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
        assert_eq!(play.sleeps(), DEFERENCE);
        play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    }
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
    play.sends(acquire());
}

#[test]
fn one_who_stood_back_still_makes_its_last_try_in_time() {
    let mut play = Play::new(Hold::keep(settings(), ours(), Wait::Until(at(S))).standing_back(start()));
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Available));
    play.sleeps();
    assert_eq!(play.now, at(S - LAST_TRY));
    play.sends(acquire());
}

#[test]
fn one_who_stands_back_can_leave() {
    let mut play = Play::new(Hold::keep(settings(), ours(), Wait::Forever).standing_back(at(4 * S)));
    play.sleeps();
    play.leaves();
    play.tells(Told::NotObtained(Why::GivenUp));
    play.ends();
}
