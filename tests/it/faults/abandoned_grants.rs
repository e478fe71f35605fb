//! Scenario 13: granted, and given up.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_grant_unheard_of_by_the_end_of_the_wait_is_undone,
    a_grant_unheard_of_when_the_wait_is_cancelled_is_undone,
    a_grant_unheard_of_in_all_tries_is_undone,
    a_wait_ends_in_time_though_the_undoing_hangs,
    a_wait_ends_in_time_though_the_store_is_silent,
    a_wait_that_failed_until_its_end_says_why,
    a_grant_that_lands_when_nobody_wants_it_any_more_lasts_one_lease,
);

fn timeout_of(rig: &Rig, policy: Policy, timeout: Duration) -> Error {
    let (result, took) = timed(|| rig.locker(policy).lock_timeout(timeout));
    let error = result.unwrap_err();
    println!("back {:?} after the end of the wait", took.saturating_sub(timeout));
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(took >= timeout && took < timeout + BACK_WITHIN + SLACK, "{took:?}");
    error
}

fn a_grant_unheard_of_by_the_end_of_the_wait_is_undone(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.always(Some(Acquire), Fault::Withhold);
    timeout_of(&rig, Policy::default(), SECOND);
    rig.assert_undone(SLACK);
}

fn a_grant_unheard_of_when_the_wait_is_cancelled_is_undone(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.next(Acquire, Fault::Withhold);
    cancelled_at(&rig, Acquire, Policy::default());
    rig.assert_undone(5 * SECOND + SLACK);
}

fn a_grant_unheard_of_in_all_tries_is_undone(server: &Server) {
    each([true, false], |kept| {
        let rig = Rig::used(server);
        rig.proxy.always(Some(Acquire), Fault::Withhold);
        let policy = quick().retries(1);
        let (result, took) = if kept {
            timed(|| rig.locker(policy).try_lock().map(drop))
        } else {
            timed(|| rig.mutex(policy).acquire(LEASE).map(drop))
        };
        assert_eq!(kind_of(result), ErrorKind::Unavailable);
        assert!(took < 2 * LIMIT + 200 * MS + BACK_WITHIN + SLACK, "{took:?}");
        assert_eq!(rig.proxy.count(Acquire), 2);
        rig.assert_undone(SLACK);
    });
}

fn a_wait_ends_in_time_though_the_undoing_hangs(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.always(Some(Acquire), Fault::Withhold);
    rig.proxy.always(Some(Release), Fault::BlackHole);
    timeout_of(&rig, Policy::default(), SECOND);
    assert!(!rig.is_free());
    let granted = rig.requests(Acquire).pop().unwrap().at;
    assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
    assert_eq!(rig.proxy.count(Release), 1, "one release, bounded");
}

fn a_wait_ends_in_time_though_the_store_is_silent(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.always(None, Fault::BlackHole);
    timeout_of(&rig, Policy::default(), 1_500 * MS);
    let cancel = Cancel::new();
    let (locker, canceller) = (rig.locker(Policy::default()), cancel.clone());
    let tries = rig.proxy.count(Acquire);
    let waiter = thread::spawn(move || locker.lock_or_cancel(&cancel));
    assert!(rig.proxy.wait_for(Acquire, tries + 1, SOON));
    let called = Instant::now();
    canceller.cancel();
    assert_eq!(kind_of(waiter.join().unwrap()), ErrorKind::Cancelled);
    assert!(called.elapsed() < BACK_WITHIN + SLACK, "{:?}", called.elapsed());
}

fn a_wait_that_failed_until_its_end_says_why(server: &Server) {
    each([status(503), Fault::BlackHole], |fault| {
        let rig = Rig::used(server);
        rig.proxy.always(None, fault);
        let error = timeout_of(&rig, Policy::default().attempt_limit(LIMIT / 4), LIMIT);
        assert!(error.source().is_some(), "the last failure is the source, say the docs");
    });
}

fn a_grant_that_lands_when_nobody_wants_it_any_more_lasts_one_lease(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.next(Acquire, Fault::Late(2 * SECOND));
    let result = rig.locker(Policy::default().retries(0)).try_lock();
    assert_eq!(kind_of(result), ErrorKind::Unavailable);
    assert!(rig.proxy.wait_for_status(Release, 1, SOON));
    assert_eq!(rig.requests(Acquire)[0].status, None, "it landed too early for this test");
    assert!(rig.proxy.wait_for_status(Acquire, 1, SOON));
    let landed = Instant::now();
    assert!(!rig.is_free());
    let limit = LEASE + 2 * SECOND;
    assert!(rig.becomes_free(limit));
    println!("free {:?} after the late grant", landed.elapsed());
    let guard = rig.neighbour().try_lock().unwrap();
    assert_eq!(rig.proxy.count(Release), 1);
    guard.unlock().unwrap();
}
