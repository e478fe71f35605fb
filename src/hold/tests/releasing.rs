//! Letting go.

use super::*;

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
    assert_eq!(play.step(), Step::Sleep { until: at(10 * S) });
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
    let infinite = Settings { term: Term::Infinite, ..settings() };
    let mut play = Play::new(Hold::of_lease(infinite, ours(), Moment::NEVER, Moment::NEVER));
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
        assert_eq!(play.hold().perhaps_released(), perhaps, "{outcome:?}");
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
    looking.exchange(Operation::Look, Outcome::Seen(LockState::Available));

    let mut still_busy = Play::queued(Wait::Forever);
    still_busy.sleeps();
    still_busy.exchange(Operation::Look, Outcome::Seen(LockState::Leased));

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
