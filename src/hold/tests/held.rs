//! Ours.

use super::*;

#[test]
fn the_lock_is_renewed_every_third_of_its_lease_or_up_to_a_tenth_earlier_and_first_up_to_a_half() {
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
        assert!(pause >= 5 * S && pause < 10 * S, "{pause:?} with {jitter}");
        assert!(jitter < u32::MAX || pause < 5_001 * MS, "{pause:?}");
        let sent = play.now;
        play.exchange(renew(), Outcome::Leased(ours()));
        play.tells(renewed(sent));
        let pause = play.sleeps();
        assert!(pause >= 9 * S && pause < 10 * S, "{pause:?} with {jitter}");
    }
}

#[test]
fn a_renewal_counts_from_its_sending() {
    let mut play = Play::held();
    play.sleeps();
    play.sends(renew());
    assert_eq!(play.hold().ends(), at(40 * S), "it may have been carried out, whatever comes back");
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
        Outcome::Seen(LockState::Available),
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
    play.lapses(Lost::Expired);
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
    play.lapses(Lost::Expired);
    play.leaves();
    play.exchange(release(), Outcome::Done);
    play.tells(Told::Released(Released::Lost(Lost::Expired)));
    play.ends();
}
