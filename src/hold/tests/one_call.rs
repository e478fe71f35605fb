//! One call of `AzureMutex`.

use super::*;

#[test]
fn one_acquire_ends_with_the_lease_and_leaves_it_alone() {
    let mut play = Play::new(Hold::acquire(settings(), ours()));
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(start()));
    play.ends();

    let mut play = Play::new(Hold::acquire(settings(), ours()));
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::NotObtained(Why::Busy));
    play.ends();
}

/// The lease of `Play::held`, as its caller keeps it.
fn resumed() -> Play {
    Play::new(Hold::of_lease(settings(), ours(), at(VALID), at(30 * S)))
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
fn a_release_that_is_repeated_by_its_caller_takes_a_lease_that_is_gone_for_released() {
    let again = |lost, perhaps| Play::new(Hold::release_again(settings(), ours(), at(30 * S), lost, perhaps));
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
