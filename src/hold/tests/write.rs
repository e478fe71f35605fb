//! Tokens, cards and marks: what is written under a lease, and what becomes of the lock when it cannot be.

use super::*;
use crate::fencing::{Content, ETag, Stored, Version};

const LOOK: Outcome = Outcome::Seen(LockState::Leased);
const REFUSED: Outcome = Outcome::Denied;
/// Of the service's clock.
const NOW: u64 = 1_800_000_000;

fn token(second: u64, count: u64) -> FencingToken {
    FencingToken::new((second << 20) + count)
}

/// A blob that was changed long ago.
fn version(etag: u32) -> Version {
    let etag = ETag::parse(&format!("\"{etag}\"")).unwrap();
    Version { etag, modified: Second(NOW - 1_000), date: Second(NOW) }
}

fn nothing_in(etag: u32) -> Blob {
    Blob { version: version(etag), content: Some(Content::NOTHING) }
}

fn with_token(etag: u32, token: FencingToken) -> Blob {
    let content = Content { token: Stored::Token(token), ..Content::NOTHING };
    Blob { version: version(etag), content: Some(content) }
}

fn written_by(etag: u32, write: &Write) -> Blob {
    let content = Content {
        token: write.token.map_or(Stored::Nothing, Stored::Token),
        written_by: Some(write.id),
        ..Content::NOTHING
    };
    Blob { version: version(etag), content: Some(content) }
}

/// What an answer tells that has no metadata.
fn untold(etag: u32) -> Blob {
    Blob { version: version(etag), content: None }
}

fn leaving(token: bool, card: bool) -> Settings {
    Settings { leaves: Leaves { token, card, lower_cases: false }, ..settings() }
}

fn fenced(wait: Wait) -> Play {
    Play::new(Hold::keep(leaving(true, false), ours(), wait))
}

/// The lease is granted, of a blob that is looked at next.
fn acquired(wait: Wait) -> Play {
    let mut play = fenced(wait);
    play.exchange_of(acquire(), Outcome::Leased(ours()), untold(1));
    play
}

#[track_caller]
fn is_granted(play: &mut Play, token: Option<FencingToken>) {
    let Told::Granted { holder, .. } = play.told() else { panic!("it is not granted") };
    assert_eq!((holder.token, holder.since), (token, Some(Second(NOW))));
}

#[track_caller]
fn is_undone(play: &mut Play, why: Why) {
    play.tells(Told::NotObtained(why));
    play.exchange(release(), Outcome::Done);
    play.ends();
}

#[test]
fn the_lock_is_granted_when_its_token_is_written() {
    let mut play = acquired(Wait::Forever);
    play.exchange_of(Operation::Look, LOOK, nothing_in(1));
    let write = play.writes(Outcome::Done, Some(untold(2)));
    assert_eq!((write.lease, write.only), (ours(), version(1).etag));
    assert_eq!(write.token, Some(token(NOW, 0)));
    is_granted(&mut play, Some(token(NOW, 0)));
    let left = play.hold().blob().unwrap();
    assert_eq!(left, written_by(2, &write), "so that the next hold need not look");
}

#[test]
fn a_blob_that_is_known_is_not_looked_at() {
    for known in [with_token(1, token(NOW, 7)), with_token(3, token(NOW, 7))] {
        let mut play = Play::new(Hold::keep(leaving(true, false), ours(), Wait::Never).knowing(Some(known)));
        play.exchange_of(acquire(), Outcome::Leased(ours()), untold(1));
        if known.version.etag != version(1).etag {
            play.exchange_of(Operation::Look, LOOK, with_token(1, token(NOW, 7)));
        }
        assert_eq!(play.writes(Outcome::Done, None).token, Some(token(NOW, 8)));
        is_granted(&mut play, Some(token(NOW, 8)));
        assert_eq!(play.hold().blob(), None, "nobody knows what it is now");
    }
}

#[test]
fn what_a_look_of_the_wait_showed_is_known() {
    let mut play = fenced(Wait::Forever);
    play.exchange(acquire(), Outcome::Busy);
    play.tells(Told::Waiting);
    play.sleeps();
    play.exchange_of(Operation::Look, Outcome::Seen(LockState::Available), with_token(1, token(5, 0)));
    play.exchange_of(acquire(), Outcome::Leased(ours()), untold(1));
    assert_eq!(play.writes(Outcome::Done, None).token, Some(token(NOW, 0)));
    is_granted(&mut play, Some(token(NOW, 0)));
}

#[test]
fn a_token_is_not_given_out_before_its_second_has_come() {
    let mut play = acquired(Wait::Forever);
    let fresh = Blob { version: Version { modified: Second(NOW), ..version(1) }, ..nothing_in(1) };
    play.exchange_of(Operation::Look, LOOK, fresh);
    assert_eq!(play.sleeps(), 1_020 * MS, "and a little for a clock that is too fast");
    assert_eq!(play.writes(Outcome::Done, None).token, Some(token(NOW + 1, 0)));
    is_granted(&mut play, Some(token(NOW + 1, 0)));
}

#[test]
fn a_write_without_an_answer_is_repeated_as_it_was_and_known_again() {
    let mut play = acquired(Wait::Forever);
    play.exchange_of(Operation::Look, LOOK, nothing_in(1));
    let first = play.writes(NO_ANSWER, None);
    play.tells(Told::Retrying);
    assert_eq!(play.sleeps(), 200 * MS);
    let second = play.writes(Outcome::Changed, None);
    assert_eq!(first, second);
    play.exchange_of(Operation::Look, LOOK, written_by(2, &first));
    is_granted(&mut play, first.token);
}

#[test]
fn no_write_is_taken_for_another_one() {
    let seed = |last: u8| LeaseId::parse(&format!("01234567-89ab-4def-8123-4567890000{last:02x}")).unwrap();
    let wish = Wish { mark: true, ..Wish::default() };
    let kept = crate::kept::Kept::new(at(27 * S), at(30 * S));
    let write_of = |seed, known| {
        let hold = Hold::to_write(settings(), ours(), &kept, wish, Some(known), seed);
        let mut play = Play::new(hold);
        let write = play.writes(Outcome::Changed, None);
        (play, write)
    };
    let (_, first) = write_of(seed(1), nothing_in(1));
    // The next call knows of nothing newer, and finds what the first one left.
    let (mut play, second) = write_of(seed(2), nothing_in(1));
    assert_ne!(first.id, second.id);
    play.exchange_of(Operation::Look, LOOK, written_by(2, &first));
    assert_eq!(play.writes(Outcome::Done, None).only, version(2).etag);
    // Nor is a version that has not changed a write's, or one with another token.
    for (etag, has_token) in [(1, true), (2, false)] {
        let mut play = acquired(Wait::Forever);
        play.exchange_of(Operation::Look, LOOK, nothing_in(1));
        let write = play.writes(Outcome::Changed, None);
        let token = write.token.filter(|_| has_token);
        play.exchange_of(Operation::Look, LOOK, written_by(etag, &Write { token, ..write }));
        assert_ne!(play.writes(Outcome::Done, None).id, write.id);
    }
}

#[test]
fn a_token_is_computed_anew_from_each_version() {
    let mut play = acquired(Wait::Forever);
    play.exchange_of(Operation::Look, LOOK, nothing_in(1));
    let first = play.writes(Outcome::Changed, None);
    play.exchange_of(Operation::Look, LOOK, with_token(2, token(NOW, 4)));
    let second = play.writes(Outcome::Done, None);
    assert_eq!((second.only, second.token), (version(2).etag, Some(token(NOW, 5))));
    assert_ne!(first.id, second.id);
    is_granted(&mut play, Some(token(NOW, 5)));
}

#[test]
fn a_blob_that_never_stays_the_same_is_given_up() {
    let mut play = acquired(Wait::Forever);
    for etag in 1..=4 {
        play.exchange_of(Operation::Look, LOOK, nothing_in(etag));
        play.writes(Outcome::Changed, None);
    }
    play.exchange_of(Operation::Look, LOOK, nothing_in(5));
    play.writes(Outcome::Changed, None);
    play.tells(Told::NotLeft(Unwritten::KeepsChanging));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::NotObtained(Why::NoToken(Unwritten::KeepsChanging)));
    play.ends();
}

#[test]
fn a_lock_without_its_token_is_released_before_its_caller_hears_of_it() {
    let unreadable = Content { token: Stored::Unreadable, ..Content::NOTHING };
    let of_others = Content { has_others: true, ..Content::NOTHING };
    let garbled = Content { is_garbled: true, ..Content::NOTHING };
    for (content, why) in [
        (unreadable, Unwritten::UnreadableToken),
        (of_others, Unwritten::OthersMetadata),
        (garbled, Unwritten::GarbledMetadata),
    ] {
        let mut play = acquired(Wait::Forever);
        play.exchange_of(Operation::Look, LOOK, Blob { content: Some(content), ..nothing_in(1) });
        play.tells(Told::NotLeft(why));
        play.exchange(release(), NO_ANSWER);
        play.sleeps();
        play.exchange(release(), Outcome::Done);
        play.tells(Told::NotObtained(Why::NoToken(why)));
        play.ends();
    }
    let mut play = acquired(Wait::Never);
    play.exchange(Operation::Look, LOOK);
    play.tells(Told::NotLeft(Unwritten::NoVersion));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::NotObtained(Why::NoToken(Unwritten::NoVersion)));
}

#[test]
fn who_waits_for_a_time_hears_of_it_before_the_release() {
    let mut play = acquired(Wait::Until(at(9 * S)));
    play.exchange(Operation::Look, REFUSED);
    play.tells(Told::NotLeft(Unwritten::Failed));
    is_undone(&mut play, Why::NoToken(Unwritten::Failed));
}

#[test]
fn looks_that_something_in_between_answers_do_not_keep_others_from_the_lock() {
    let mut play = acquired(Wait::Forever);
    for _ in 0..2 {
        play.exchange(Operation::Look, Outcome::Filtered);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    play.exchange(Operation::Look, Outcome::Filtered);
    play.tells(Told::NotLeft(Unwritten::Failed));
}

#[test]
fn metadata_of_others_are_written_back_if_that_is_accepted() {
    let mut settings = leaving(true, false);
    settings.leaves.lower_cases = true;
    let mut play = Play::new(Hold::keep(settings, ours(), Wait::Never));
    play.exchange_of(acquire(), Outcome::Leased(ours()), untold(1));
    let of_others = Content { has_others: true, ..Content::NOTHING };
    play.exchange_of(Operation::Look, LOOK, Blob { content: Some(of_others), ..nothing_in(1) });
    play.writes(Outcome::Done, None);
    is_granted(&mut play, Some(token(NOW, 0)));
}

#[test]
fn a_refused_token_is_an_error_and_a_refused_card_is_not() {
    let mut play = acquired(Wait::Forever);
    play.exchange_of(Operation::Look, LOOK, nothing_in(1));
    play.writes(REFUSED, None);
    play.tells(Told::NotLeft(Unwritten::Failed));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::NotObtained(Why::NoToken(Unwritten::Failed)));
    play.ends();

    for failure in [REFUSED, NO_ANSWER] {
        let mut play = Play::new(Hold::keep(leaving(false, true), ours(), Wait::Forever));
        play.exchange_of(acquire(), Outcome::Leased(ours()), untold(1));
        play.exchange_of(Operation::Look, LOOK, with_token(1, token(5, 5)));
        let write = play.writes(failure, None);
        assert_eq!((write.token, write.card), (None, Some((Second(NOW), None))));
        play.tells(Told::NotLeft(Unwritten::Failed));
        is_granted(&mut play, None);
    }
}

/// Each look takes so long and has no answer, and each renewal works, until the token is given up: how many there were.
fn looks_in_vain(play: &mut Play, takes: Duration) -> u32 {
    let (mut renewals, mut told) = (0, Told::Retrying);
    while told == Told::Retrying {
        match play.step() {
            Step::Sleep { until } => play.now = until,
            Step::Send { operation, .. } if operation == renew() => {
                play.sent = play.now;
                play.answers(Outcome::Leased(ours()));
                renewals += 1;
            }
            Step::Send { operation: Operation::Look, .. } => {
                play.passes(takes);
                play.answers(NO_ANSWER);
                told = play.told();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, Told::NotLeft(Unwritten::Failed));
    renewals
}

#[test]
fn a_token_is_tried_for_as_often_as_the_wait_bears() {
    // Who does not wait: as often as the policy says.
    let mut play = acquired(Wait::Never);
    for pause in [200, 400, 800] {
        play.exchange(Operation::Look, NO_ANSWER);
        play.tells(Told::Retrying);
        assert_eq!(play.sleeps(), pause * MS);
    }
    play.exchange(Operation::Look, NO_ANSWER);
    play.tells(Told::NotLeft(Unwritten::Failed));

    // Until the time is up.
    let mut play = acquired(Wait::Until(at(3 * S)));
    let mut limit = Duration::MAX;
    while play.now < at(3 * S) {
        limit = play.sends(Operation::Look);
        play.passes(MS);
        play.answers(NO_ANSWER);
        play.tells(Told::Retrying);
        play.sleeps();
    }
    assert!(limit < 3 * S, "{limit:?}");
    is_undone(&mut play, Why::TimedOut);

    // But nobody else is kept from the lock for longer than a lease.
    let mut play = acquired(Wait::Until(at(300 * S)));
    looks_in_vain(&mut play, Duration::ZERO);
    assert!(play.now < at(36 * S), "{:?}", play.now);

    // For as long as its patience lasts, and renewed meanwhile.
    let mut play = acquired(Wait::Forever);
    let renewals = looks_in_vain(&mut play, S);
    assert!(play.now >= at(30 * S) && play.now < at(40 * S) && renewals >= 2, "{:?}, {renewals}", play.now);
}

#[test]
fn who_leaves_before_the_token_is_written_has_no_lock() {
    let mut play = acquired(Wait::Forever);
    play.sends(Operation::Look);
    play.leaves();
    play.answers(LOOK);
    play.tells(Told::NotLeft(Unwritten::NoVersion));
    play.exchange(release(), Outcome::Done);
    play.tells(Told::NotObtained(Why::NoToken(Unwritten::NoVersion)));

    let mut play = acquired(Wait::Forever);
    play.sends(Operation::Look);
    play.leaves();
    play.answers(NO_ANSWER);
    play.tells(Told::Retrying);
    is_undone(&mut play, Why::GivenUp);
}

#[test]
fn a_lease_that_is_lost_before_the_token_is_written_is_sought_again() {
    for (lost, wait) in [(Outcome::NotOurs, Wait::Forever), (Outcome::NoBlob, Wait::Until(at(9 * S)))] {
        let mut play = acquired(wait);
        play.exchange_of(Operation::Look, LOOK, nothing_in(1));
        play.writes(lost, None);
        play.tells(Told::Retrying);
        play.sleeps();
        play.exchange_of(acquire(), Outcome::Leased(ours()), untold(2));
        play.exchange_of(Operation::Look, LOOK, with_token(2, token(NOW, 9)));
        assert_eq!(play.writes(Outcome::Done, None).token, Some(token(NOW, 10)));
        is_granted(&mut play, Some(token(NOW, 10)));
    }
    // Also by the clock.
    let mut play = acquired(Wait::Forever);
    play.sends(Operation::Look);
    play.passes(VALID);
    play.answers(LOOK);
    play.tells(Told::Retrying);
    play.sleeps();
    play.sends(acquire());
}

#[test]
fn a_mark_is_written_between_two_renewals() {
    let wish = Wish { mark: true, ..Wish::default() };
    let mut play = Play::held();
    play.driver.carrier.write(wish);
    play.exchange_of(Operation::Look, LOOK, with_token(1, token(5, 5)));
    let write = play.writes(NO_ANSWER, None);
    assert_eq!((write.token, write.card, write.mark), (None, None, true));
    assert_eq!(play.sleeps(), 200 * MS);
    play.writes(Outcome::Done, Some(untold(2)));
    play.tells(Told::Written(Ok(None)));
    assert_eq!(play.sleeps(), 10 * S - 200 * MS);
    // A renewal that is due comes first.
    play.driver.carrier.write(wish);
    play.exchange(renew(), Outcome::Leased(ours()));
    play.tells(renewed(at(10 * S)));
    assert_eq!(play.writes(Outcome::Done, None).only, version(2).etag, "it is known");
    play.tells(Told::Written(Ok(None)));
}

#[test]
fn a_mark_that_finds_the_lease_gone_is_a_loss() {
    let mut play = Play::held();
    play.driver.carrier.write(Wish { mark: true, ..Wish::default() });
    play.exchange_of(Operation::Look, LOOK, nothing_in(1));
    play.writes(Outcome::NotOurs, None);
    play.tells(Told::Lost(Lost::Taken));
    play.tells(Told::Written(Err(Unwritten::Lost(Lost::Taken))));
    play.rests();
}
