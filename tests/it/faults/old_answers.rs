//! Scenarios 32 and 33: an old answer comes again, a copy of one comes late, and a cache goes on answering an old look.

use std::collections::BTreeSet;

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_replayed_renewal_does_not_prolong,
    a_late_copy_is_not_taken_for_the_next_answer,
    a_waiter_behind_a_stale_look_gets_the_lock_in_its_last_try,
);

// Scenario 32.
fn a_replayed_renewal_does_not_prolong(server: &Server) {
    each([false, true], |forwarded| {
        let rig = Rig::used(server);
        // The first one is answered, and all others with that answer.
        rig.proxy.always(Some(Renew), Fault::Replay { forwarded });
        let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
        let guard = locker.lock().unwrap();
        until(&events, SOON, is_renewed);
        let deadline = Deadline::of(&guard);
        deadline.assert_counts_from(rig.requests(Renew)[0].at);
        let heard = until(&events, SOON, is_lost);
        deadline.assert_told(Instant::now());
        assert!(!guard.is_held());
        assert_eq!(count(&heard, is_renewed), 0, "{heard:?}");
        assert!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })) > 0, "{heard:?}");
        let renewals = rig.requests(Renew);
        let connections: BTreeSet<usize> = renewals[1..].iter().map(|renewal| renewal.connection).collect();
        assert_eq!(connections.len(), renewals.len() - 1, "each replay is its connection's last: {renewals:?}");
        rig.proxy.clear();
        let _ = guard.unlock();
    });
}

// Scenario 32.
fn a_late_copy_is_not_taken_for_the_next_answer(server: &Server) {
    let crossing = || {
        let rig = Rig::used(server);
        let mutex = rig.mutex(Policy::default().retries(0));
        let mut lease = mutex.acquire(LEASE).unwrap();
        // The next one is never carried out, and there comes an answer.
        rig.proxy.next(Renew, Fault::LateCopy(SOON));
        rig.proxy.next(Renew, Fault::BlackHole);
        mutex.renew(&mut lease).unwrap();
        let remaining = lease.remaining();
        let error = mutex.renew(&mut lease).unwrap_err();
        assert_eq!(rig.proxy.crossed(), 1);
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert!(lease.is_held() && lease.remaining() <= remaining, "it is ours for as long as it was");
        // On the old connection each answer would be that of the request before.
        mutex.renew(&mut lease).unwrap();
        mutex.release(&mut lease).unwrap();
        assert_eq!(rig.proxy.connections(), 2);
    };
    let early = || {
        let rig = Rig::used(server);
        let mutex = rig.mutex(Policy::default().retries(0));
        let mut lease = mutex.acquire(LEASE).unwrap();
        rig.proxy.next(Renew, Fault::LateCopy(10 * MS));
        mutex.renew(&mut lease).unwrap();
        // The copy lies on the connection, and the connection is not used again.
        thread::sleep(SECOND);
        mutex.renew(&mut lease).unwrap();
        mutex.release(&mut lease).unwrap();
        assert_eq!((rig.proxy.crossed(), rig.proxy.connections()), (0, 2));
    };
    each([&crossing as &(dyn Fn() + Sync), &early], |variant| variant());
}

// Scenario 33.
fn a_waiter_behind_a_stale_look_gets_the_lock_in_its_last_try(server: &Server) {
    const WAIT: Duration = Duration::from_secs(5);
    let rig = Rig::used(server);
    // The first one is answered, and all others with that answer.
    rig.proxy.always(Some(Look), Fault::StaleLook);
    let holder = rig.neighbour().try_lock().unwrap();
    let locker = rig.locker(Policy::default());
    let waiter = thread::spawn(move || timed(|| locker.lock_timeout(WAIT)));
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    holder.unlock().unwrap();
    let (result, took) = waiter.join().unwrap();
    result.unwrap().unlock().unwrap();
    assert!(took < WAIT + BACK_WITHIN + SLACK, "{took:?}");
    assert!(rig.proxy.count(Look) > 1, "{:?}", rig.proxy.log());
    assert_eq!(rig.proxy.count(Acquire), 2, "the first and the last try");
}
