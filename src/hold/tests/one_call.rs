//! One call of `AzureMutex`.

use super::*;

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
