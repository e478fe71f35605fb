//! What is known of a lease after a call about it.

use super::*;
use crate::hold::call::{Call, Verdict};
use crate::kept::Kept;

/// Carries a call out on the clock: `answers` come one after the other, each at once.
fn carry_out(mut call: Call<u32>, now: Moment, answers: &[Outcome]) -> (Kept, Verdict<u32>, Vec<Operation>) {
    let (mut now, mut sent) = (now, Vec::new());
    loop {
        match call.next(now, 0) {
            Act::Send { operation, .. } => {
                let outcome = answers[sent.len()];
                sent.push(operation);
                let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::Denied | Outcome::Broken);
                call.answered(Exchange::new(now, outcome, Some(sent.len() as u32).filter(|_| failed)));
            }
            Act::Sleep { until, .. } => now = until,
            Act::End => break,
            _ => {}
        }
    }
    assert_eq!(sent.len(), answers.len(), "{sent:?}");
    (*call.kept(), call.verdict().clone(), sent)
}

fn granted() -> Kept {
    let call = Call::acquire(settings(), ours());
    let (kept, verdict, _) = carry_out(call, start(), &[Outcome::Leased(ours())]);
    assert_eq!(verdict, Verdict::Done);
    kept
}

#[test]
fn a_lease_is_known_from_its_grant() {
    assert_eq!(granted(), Kept::new(at(VALID), at(30 * S)));
    assert_eq!(granted().left(at(S)), VALID - S);
}

#[test]
fn a_lease_that_was_not_granted_is_none() {
    let call = || Call::acquire(settings(), ours());
    assert_eq!(carry_out(call(), start(), &[Outcome::Busy]).1, Verdict::Busy);
    assert_eq!(carry_out(call(), start(), &[Outcome::Denied]).1, Verdict::Failed(Some(1)));
    // The failure that ended it, and not what came of the release after it.
    let answers = [NO_ANSWER, NOT_SENT, NOT_SENT, NOT_SENT, Outcome::NotOurs];
    assert_eq!(carry_out(call(), start(), &answers).1, Verdict::Failed(Some(4)));
}

#[test]
fn a_renewal_moves_the_deadline_or_says_why_not() {
    let renew = |kept: &Kept| Call::renew(settings(), ours(), kept);
    let kept = granted();
    let (later, verdict, _) = carry_out(renew(&kept).unwrap(), at(10 * S), &[Outcome::Leased(ours())]);
    assert_eq!((verdict, later), (Verdict::Done, Kept::new(at(10 * S + VALID), at(40 * S))));

    let (failed, verdict, _) = carry_out(renew(&kept).unwrap(), at(10 * S), &[Outcome::Denied]);
    assert_eq!(verdict, Verdict::Failed(Some(1)));
    assert_eq!(failed.valid_until, at(VALID), "it is ours for as long as it was");
    assert_eq!(failed.ends, at(40 * S), "it may have been carried out, whatever comes back");

    let (lost, verdict, _) = carry_out(renew(&kept).unwrap(), at(10 * S), &[Outcome::Broken]);
    assert_eq!((verdict, lost.lost), (Verdict::Lost(Lost::Broken), Some(Lost::Broken)));
    assert_eq!(lost.left(at(11 * S)), Duration::ZERO);
    assert_eq!(renew(&lost).unwrap_err(), Lost::Broken);
}

#[test]
fn a_renewal_past_the_deadline_is_a_loss_and_sends_nothing() {
    let (kept, verdict, sent) = carry_out(Call::renew(settings(), ours(), &granted()).unwrap(), at(VALID), &[]);
    assert_eq!((verdict, kept.lost, sent), (Verdict::Lost(Lost::Expired), Some(Lost::Expired), vec![]));
}

#[test]
fn a_lease_is_not_ours_from_the_first_try_of_its_release_on() {
    let mut kept = granted();
    let call = Call::<u32>::release(settings(), ours(), &mut kept).unwrap();
    assert_eq!(kept.left(at(S)), Duration::ZERO);
    assert_eq!(Call::<u32>::renew(settings(), ours(), &kept).unwrap_err(), Lost::Released);

    let (kept, verdict, _) = carry_out(call, at(S), &[Outcome::Done]);
    assert_eq!((verdict, kept.released), (Verdict::Done, true));
    assert_eq!(kept.left(at(S)), Duration::ZERO);
    assert_eq!(Call::<u32>::release(settings(), ours(), &mut { kept }), None, "once is enough");
}

#[test]
fn a_release_that_failed_can_be_repeated_and_knows_of_the_first() {
    let mut kept = granted();
    let call = Call::release(settings(), ours(), &mut kept).unwrap();
    let (mut kept, verdict, _) = carry_out(call, at(S), &[NO_ANSWER, NOT_SENT, NOT_SENT, NOT_SENT]);
    assert!(matches!(verdict, Verdict::NotReleased { failure: Some(4), .. }), "{verdict:?}");
    assert!(kept.let_go && kept.perhaps_released && !kept.released);
    // It is gone, as the first one may have been carried out.
    let again = Call::release(settings(), ours(), &mut kept).unwrap();
    let (kept, verdict, _) = carry_out(again, at(9 * S), &[Outcome::NoLease]);
    assert_eq!((verdict, kept.released), (Verdict::Done, true));
}

#[test]
fn the_release_of_a_lost_lease_says_so_each_time() {
    let mut kept = granted();
    let call = Call::release(settings(), ours(), &mut kept).unwrap();
    let (mut kept, verdict, _) = carry_out(call, at(S), &[Outcome::Broken]);
    assert_eq!((verdict, kept.lost), (Verdict::Lost(Lost::Broken), Some(Lost::Broken)));
    let again = Call::release(settings(), ours(), &mut kept).unwrap();
    assert_eq!(carry_out(again, at(2 * S), &[Outcome::Done]).1, Verdict::Lost(Lost::Broken));
}

#[test]
fn a_lease_of_another_process_counts_from_the_renewal_that_takes_it_up() {
    // However long that one was granted for.
    let (kept, verdict, sent) = carry_out(Call::resume(settings(), ours()), at(7 * S), &[Outcome::Leased(ours())]);
    assert_eq!((verdict, sent), (Verdict::Done, vec![renew()]));
    assert_eq!(kept, Kept::new(at(7 * S + 12_700 * MS), at(22 * S)), "as the shortest lease there is");
    for outcome in [Outcome::NotOurs, Outcome::Leased(theirs())] {
        let call = Call::resume(settings(), ours());
        assert_eq!(carry_out(call, at(7 * S), &[outcome]).1, Verdict::Lost(Lost::Taken));
    }
}

#[test]
fn a_lease_of_another_process_has_no_end_if_that_is_seen_while_it_is_ours() {
    let resumed = || {
        let mut call: Call<u32> = Call::resume(settings(), ours());
        assert!(matches!(call.next(at(S), 0), Act::Send { .. }));
        call.answered(Exchange::new(at(S), Outcome::Leased(ours()), None));
        while call.next(at(S), 0) != Act::End {}
        call
    };
    let endless = Outcome::Seen(LockState::LeasedForever);
    let mut call = resumed();
    assert_eq!(call.seen(at(2 * S), endless), Term::Infinite);
    assert_eq!(call.kept(), &Kept::new(Moment::NEVER, Moment::NEVER));

    // By then it may be somebody else's.
    let mut late = resumed();
    assert_eq!(late.seen(at(S + 12_700 * MS), endless), Term::SHORTEST);
    assert_eq!(late.kept().valid_until, at(S + 12_700 * MS));
    for outcome in [Outcome::Seen(LockState::Leased), Outcome::Seen(LockState::Expired), Outcome::Denied, NO_ANSWER] {
        assert_eq!(resumed().seen(at(2 * S), outcome), Term::SHORTEST, "{outcome:?}");
    }
}
