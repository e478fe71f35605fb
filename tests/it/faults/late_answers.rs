//! Scenario 7: time is counted from the sending.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_delayed_answer_shortens_the_hold_by_its_delay,
    a_grant_that_is_over_when_it_is_heard_of_is_none,
);

fn a_delayed_answer_shortens_the_hold_by_its_delay(server: &Server) {
    // Less than half of what is left, which is a renewal's limit.
    const DELAY: Duration = Duration::from_secs(3);
    let renewal = || {
        let rig = Rig::used(server);
        rig.proxy.next(Renew, Fault::DelayAnswer(DELAY));
        // The next one is due as soon as the delayed answer is there.
        rig.proxy.always(Some(Renew), Fault::BlackHole);
        let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
        let guard = locker.lock().unwrap();
        let first = Deadline::of(&guard);
        let heard = until(&events, SOON, is_renewed);
        let second = Deadline::of(&guard);
        assert_eq!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })), 0, "{heard:?}");
        assert!(second.0.start() > first.0.end(), "the answer counted for nothing");
        assert!(*second.0.start() <= Instant::now() + VALID - DELAY);
        second.assert_counts_from(rig.requests(Renew)[0].at);
        guard.unlock().unwrap();
    };
    let acquire = || {
        let rig = Rig::used(server);
        rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
        let guard = rig.locker(Policy::default()).lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(rig.proxy.count(Acquire), 1);
        assert!(*deadline.0.start() <= Instant::now() + VALID - DELAY);
        deadline.assert_counts_from(rig.requests(Acquire)[0].at);
        guard.unlock().unwrap();
    };
    let call = || {
        let rig = Rig::used(server);
        let mutex = rig.mutex(Policy::default());
        rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
        let mut lease = mutex.acquire(LEASE).unwrap();
        assert!(lease.remaining() <= VALID - DELAY && lease.remaining() > VALID - DELAY - SLACK);
        rig.proxy.next(Renew, Fault::DelayAnswer(DELAY));
        mutex.renew(&mut lease).unwrap();
        assert!(lease.remaining() <= VALID - DELAY && lease.remaining() > VALID - DELAY - SLACK);
        mutex.release(&mut lease).unwrap();
    };
    each([&renewal as &(dyn Fn() + Sync), &acquire, &call], |variant| variant());
}

fn a_grant_that_is_over_when_it_is_heard_of_is_none(server: &Server) {
    const DELAY: Duration = Duration::from_secs(13);
    let rig = Rig::used(server);
    rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
    let guard = rig.locker(Policy::default().attempt_limit(LEASE)).lock().unwrap();
    let deadline = Deadline::of(&guard);
    let acquires = rig.requests(Acquire);
    assert_eq!(acquires.len(), 2);
    assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
    deadline.assert_counts_from(acquires[1].at);
    guard.ensure_held().unwrap();
    guard.unlock().unwrap();
}
