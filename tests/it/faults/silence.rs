//! Scenario 6: loss by silence.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_black_hole_on_renewals_is_told_at_the_deadline_and_nobody_has_the_lock_before,
    an_unlock_after_the_loss_is_bounded_though_the_store_is_silent,
    renewals_that_fail_at_once_are_not_repeated_without_measure_until_the_deadline,
    a_renewal_that_lands_after_the_loss_revives_nothing,
);

/// Nothing but the lease itself ends a request that hangs while the lock is held.
fn endless() -> Policy {
    Policy::default().attempt_limit(60 * SECOND)
}

fn a_black_hole_on_renewals_is_told_at_the_deadline_and_nobody_has_the_lock_before(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.always(Some(Renew), Fault::BlackHole);
    let (locker, events) = hear(rig.builder(endless()));
    let guard = locker.lock().unwrap();
    let deadline = Deadline::of(&guard);
    let granted = rig.requests(Acquire)[0].at;
    deadline.assert_counts_from(granted);
    let neighbour = rig.neighbour();
    let next = thread::spawn(move || (neighbour.lock().unwrap(), Instant::now()));

    let listeners = [guard.lost(), guard.lost()];
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
            deadline.assert_told(Instant::now());
        });
        for listener in &listeners {
            assert_eq!(listener.recv_timeout(LEASE), Ok(Lost::Expired));
            deadline.assert_told(Instant::now());
        }
    });
    let told = Instant::now();
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(kind_of(guard.ensure_held()), ErrorKind::LeaseLost);
    let renewals = rig.requests(Renew);
    assert!(renewals.len() >= 2 && renewals.iter().all(|renewal| renewal.answered.is_none()), "{renewals:?}");
    assert_eq!(count(&until(&events, SOON, is_lost), is_lost), 1);

    let (next, taken) = next.join().unwrap();
    println!("taken over {:?} after the loss was told", taken - told);
    assert!(taken > told);
    assert!(taken < granted + LEASE + SECOND + SLACK, "a lease and a pause after {:?}", taken - granted);
    // The old holder lets go while somebody else holds it already.
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    next.unlock().unwrap();
    assert_eq!(count(&events.try_iter().collect::<Vec<_>>(), is_lost), 0, "told twice");
}

fn an_unlock_after_the_loss_is_bounded_though_the_store_is_silent(server: &Server) {
    let rig = Rig::used(server);
    let guard = rig.locker(endless()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let deadline = Deadline::of(&guard);
    let granted = rig.requests(Acquire)[0].at;
    assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
    deadline.assert_told(Instant::now());
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    rig.neighbour().lock_timeout(granted + LEASE + SECOND + SLACK - Instant::now()).unwrap().unlock().unwrap();
}

fn renewals_that_fail_at_once_are_not_repeated_without_measure_until_the_deadline(server: &Server) {
    each([Fault::ResetBefore, status(503)], |fault| {
        let rig = Rig::used(server);
        rig.proxy.always(Some(Renew), fault);
        let guard = rig.locker(Policy::default()).lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
        deadline.assert_told(Instant::now());
        // Some may have been on their way to the proxy when the deadline passed: each has half of what is left.
        thread::sleep(SLACK);
        let tries = rig.proxy.count(Renew);
        println!("{tries} renewals were tried");
        assert!((4..=40).contains(&tries), "{tries}");
        thread::sleep(SECOND);
        assert_eq!(rig.proxy.count(Renew), tries, "what was lost is still renewed");
        assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        rig.assert_free_for_others();
    });
}

fn a_renewal_that_lands_after_the_loss_revives_nothing(server: &Server) {
    // After the holder was told, and the second in time to make the lease last longer on the service's side. It is sent in the
    // second half of its interval.
    let every = 2 * SECOND;
    each([(true, 12_900 * MS), (false, 11_900 * MS)], |(lets_go_first, lands_after)| {
        let rig = Rig::used(server);
        rig.proxy.next(Renew, Fault::DelayRequest(lands_after));
        rig.proxy.always(Some(Renew), Fault::BlackHole);
        let guard = rig.builder(endless()).renew_every(every).build().unwrap().lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
        deadline.assert_told(Instant::now());
        assert_eq!(rig.requests(Renew)[0].status, None, "it landed too early for this test");
        if lets_go_first {
            assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
            rig.assert_free_for_others();
            assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
            assert_eq!(rig.requests(Renew)[0].status, Some(409));
        } else {
            assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
            assert_eq!(rig.requests(Renew)[0].status, Some(200), "it landed too late for this test");
            assert!(!rig.is_free());
            assert!(!guard.is_held());
            assert_eq!(guard.wait_lost(Duration::ZERO), Some(Lost::Expired));
            assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        }
        rig.assert_free_for_others();
    });
}
