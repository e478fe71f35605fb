//! An acquire whose outcome is unknown.

use super::*;

#[test]
fn after_an_acquire_without_an_answer_every_look_is_that_acquire_until_one_is_answered() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Expired));
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::ContainerBeingDeleted);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), NOT_SENT);
    play.tells(Told::Retrying);
    play.sleeps();
    play.exchange(acquire(), Outcome::NoBlob);
    play.exchange(Operation::CreateBlob, Outcome::Done);
    play.exchange(acquire(), Outcome::Busy);
    for _ in 0..3 {
        play.sleeps();
        play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    }
    // The first one may still arrive.
    play.leaves();
    play.tells(Told::NotObtained(Why::GivenUp));
    play.exchange(release(), Outcome::NotOurs);
    play.ends();
}

#[test]
fn a_late_acquire_of_our_own_is_found_within_a_lease() {
    let mut play = Play::queued(Wait::Forever);
    play.sleeps();
    play.exchange(Operation::Look, Outcome::Seen(LockState::Expired));
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    let tried = play.now;
    play.exchange(acquire(), Outcome::Busy);
    // The one that had no answer arrives, and what is seen is our own.
    loop {
        play.sleeps();
        if play.now >= tried.after(30 * S) {
            break;
        }
        play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    }
    let sent = play.now;
    assert!(sent <= tried.after(31 * S));
    play.exchange(acquire(), Outcome::Leased(ours()));
    play.tells(granted(sent));
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
    play.exchange(Operation::Look, Outcome::Seen(LockState::Leased));
    play.now = at(10 * S);
    play.tells(Told::NotObtained(Why::TimedOut));
    play.ends();
}

#[test]
fn an_infinite_lease_that_may_have_been_taken_is_released_with_more_than_one_try() {
    let settings = Settings { term: Term::Infinite, ..settings() };
    let mut play = Play::new(Hold::acquire(settings, ours()));
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
    let settings = Settings { term: Term::Infinite, policy: Policy::default().retries(1), ..settings() };
    let mut play = Play::new(Hold::acquire(settings, ours()));
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
