//! Scenario 18: letting go while the store is down.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_drop_is_bounded_though_the_store_is_down_and_the_lease_ends_by_itself,
    an_unlock_while_the_store_is_down_is_bounded_and_says_so,
    an_unlock_does_not_outlast_the_lease,
);

fn a_drop_is_bounded_though_the_store_is_down_and_the_lease_ends_by_itself(server: &Server) {
    // The last of each is the bound: a limit of its own makes the drop faster than the usual one would.
    let variants = [
        (Fault::BlackHole, None, 2 * SECOND + SLACK),
        (Fault::BlackHole, Some(100 * MS), 1_900 * MS),
        (Fault::ResetBefore, None, 2 * SECOND + SLACK),
    ];
    each(variants, |(fault, drop_limit, bound)| {
        let rig = Rig::used(server);
        let builder = rig.builder(Policy::default());
        let (locker, events) = hear(match drop_limit {
            Some(limit) => builder.drop_limit(limit),
            None => builder,
        });
        let guard = locker.lock().unwrap();
        rig.proxy.always(None, fault);
        let ((), took) = timed(|| drop(guard));
        println!("dropped in {took:?}");
        assert!(took < bound, "{took:?}");
        let heard = until(&events, LEASE, |event| matches!(event, Event::ReleaseFailed { .. }));
        assert_eq!(count(&heard, is_lost), 0, "nobody is left to be told: {heard:?}");
        let granted = rig.requests(Acquire)[0].at;
        assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
        assert_eq!(rig.proxy.count(Renew), 0, "nobody renews what was let go");
    });
}

fn an_unlock_while_the_store_is_down_is_bounded_and_says_so(server: &Server) {
    let rig = Rig::used(server);
    let guard = rig.locker(quick()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let (unlocked, took) = timed(|| guard.unlock());
    let error = unlocked.unwrap_err();
    println!("{error:?} after {took:?}");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it was ours until the call: {error:?}");
    // A renewal's limit and two tries of the release.
    assert!(took < 3 * LIMIT + SLACK, "{took:?}");
    let granted = rig.requests(Acquire)[0].at;
    assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
}

fn an_unlock_does_not_outlast_the_lease(server: &Server) {
    let rig = Rig::used(server);
    let guard = rig.locker(Policy::default()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let granted = rig.requests(Acquire)[0].at;
    // With a renewal under way, and with less time left than the release's own limit.
    thread::sleep(11 * SECOND);
    let (unlocked, took) = timed(|| guard.unlock());
    let after = granted.elapsed();
    println!("back {took:?} after the call, {after:?} after the grant");
    assert_eq!(kind_of(unlocked), ErrorKind::Unavailable);
    assert!(after < LEASE + SLACK, "{after:?}");
}
