//! What a lock asks for in an hour, which the guide says.

use super::*;
use crate::random::Jitter;

const HOUR: Duration = Duration::from_secs(3_600);

/// How many requests an hour the guide says, in the row that begins like that.
fn said(row: &str) -> u32 {
    let line = include_str!("../../guide/speed.md").lines().find(|line| line.starts_with(row)).unwrap();
    line.split('|').nth(2).unwrap().trim().parse().unwrap()
}

/// What there is of each kind on average over many hours, of one request after the other that is answered at once.
fn counted<const KINDS: usize>(mut play: Play, mut exchange: impl FnMut(&mut Play) -> usize) -> [u32; KINDS] {
    const HOURS: u32 = 100;
    let mut jitter = Jitter::new(7);
    let (begun, mut requests) = (play.now, [0; KINDS]);
    while play.now < begun.after(HOURS * HOUR) {
        play.jitter = jitter.next();
        play.sleeps();
        play.jitter = jitter.next();
        requests[exchange(&mut play)] += 1;
    }
    requests.map(|count| count / HOURS)
}

#[track_caller]
fn assert_about(counted: u32, said: u32) {
    assert!(counted.abs_diff(said) * 100 <= said, "{counted} were counted, and the guide says {said}");
}

#[test]
fn what_is_held_asks_for_what_the_guide_says() {
    let [renewals] = counted(Play::held(), |play| {
        let sent = play.now;
        play.exchange(renew(), Outcome::Leased(ours()));
        play.tells(renewed(sent));
        0
    });
    assert_about(renewals, said("| held |"));
}

#[test]
fn what_is_waited_for_asks_for_what_the_guide_says() {
    // About once in a lease it is not a look, but a try, which comes in its place.
    let [looks, tries] = counted(Play::queued(Wait::Forever), |play| {
        play.sent = play.now;
        match play.step() {
            Step::Send { operation: Operation::Look, .. } => {
                play.answers(Outcome::Seen(LockState::Leased));
                0
            }
            Step::Send { operation: Operation::Acquire { .. }, .. } => {
                play.answers(Outcome::Busy);
                1
            }
            other => panic!("{other:?}"),
        }
    });
    assert_about(looks, said("| waited for, looks |"));
    assert_about(tries, said("| waited for, tries |"));
}
