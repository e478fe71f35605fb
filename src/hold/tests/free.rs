//! The way to a lock that nobody has.

use super::*;

#[test]
fn a_lock_that_is_free_takes_one_request() {
    let mut play = Play::waiting(Wait::Never);
    assert_eq!(play.sends(acquire()), 5 * S);
    play.passes(80 * MS);
    play.answers(Outcome::Leased(ours()));
    play.tells(granted(start()));
    assert_eq!(play.hold().ends(), at(30 * S));
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
            Play::new(Hold::keep(Settings { create_container: false, ..settings() }, ours(), Wait::Until(at(60 * S))));
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
    let infinite = Settings { term: Term::Infinite, ..settings() };
    let operation = Operation::Acquire { id: ours(), term: Term::Infinite };
    let mut play = Play::new(Hold::keep(infinite.clone(), ours(), Wait::Never));
    play.exchange(operation, Outcome::Leased(ours()));
    play.passes(1_000_000 * S);
    play.tells(Told::Granted { valid_until: Moment::NEVER, ends: Moment::NEVER, holder: Holder::default() });
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
    play.tells(Told::Granted { valid_until: Moment::NEVER, ends: Moment::NEVER, holder: Holder::default() });
    play.ends();
}
