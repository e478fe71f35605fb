//! Scenario 12: granted, and not heard of.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_grant_whose_answer_is_lost_is_had_by_the_same_acquire_again,
    a_call_without_a_locker_gets_the_lease_whose_answer_was_lost,
    a_fresh_account_is_set_up_though_every_answer_is_lost_once,
    whoever_may_have_the_lock_asks_by_acquiring,
);

fn a_grant_whose_answer_is_lost_is_had_by_the_same_acquire_again(server: &Server) {
    let ways = ways().into_iter().flat_map(|way| unheard().map(|fault| (way, fault)));
    each(ways.flat_map(|(way, fault)| [(way, fault.clone(), 1), (way, fault, 2)]), |(way, fault, times)| {
        let rig = Rig::used(server);
        for _ in 0..times {
            rig.proxy.next(Acquire, fault.clone());
        }
        let (locker, events) = hear(rig.builder(quick()));
        let (guard, took) = timed(|| way(&locker).unwrap());
        assert!(took < times * LIMIT + 2 * SLACK, "{took:?}: did it wait for itself?");
        let deadline = Deadline::of(&guard);
        let acquires = rig.requests(Acquire);
        assert!(acquires.len() > times as usize, "{acquires:?}");
        assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
        deadline.assert_counts_from(acquires[acquires.len() - 1].at);
        assert_eq!(rig.proxy.count(Look), 0);
        guard.unlock().unwrap();
        assert_eq!(count(&events.try_iter().collect::<Vec<_>>(), |event| matches!(event, Event::Waiting { .. })), 0);
        rig.assert_free_for_others();
    });
}

fn a_call_without_a_locker_gets_the_lease_whose_answer_was_lost(server: &Server) {
    each(unheard(), |fault| {
        let rig = Rig::used(server);
        rig.proxy.next(Acquire, fault);
        let mutex = rig.mutex(quick());
        let mut lease = mutex.acquire(LEASE).unwrap();
        assert_eq!(rig.only_acquired_id(), Some(lease.id().to_string()));
        assert!(lease.is_held());
        mutex.release(&mut lease).unwrap();
        rig.assert_free_for_others();
    });
}

fn a_fresh_account_is_set_up_though_every_answer_is_lost_once(server: &Server) {
    each(unheard(), |fault| {
        let rig = Rig::unused(server);
        for operation in [CreateContainer, CreateBlob, Acquire] {
            rig.proxy.next(operation, fault.clone());
        }
        // The first acquires only find out what is missing.
        rig.proxy.next(Acquire, Fault::DelayRequest(Duration::ZERO));
        rig.proxy.next(Acquire, fault);
        let guard = rig.locker(quick()).lock().unwrap();
        assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
        assert_eq!(rig.proxy.count(Look), 0);
        guard.unlock().unwrap();
        rig.assert_free_for_others();
    });
}

fn whoever_may_have_the_lock_asks_by_acquiring(server: &Server) {
    let rig = Rig::used(server);
    let neighbour = rig.neighbour().lock().unwrap();
    for _ in 0..3 {
        rig.proxy.next(Acquire, Fault::ResetBefore);
    }
    let locker = rig.locker(Policy::default());
    let waiter = thread::spawn(move || locker.lock().unwrap());
    assert!(rig.proxy.wait_for_status(Acquire, 1, SOON));
    assert!(!waiter.is_finished());
    neighbour.unlock().unwrap();
    let guard = waiter.join().unwrap();
    assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
    let asked = rig.proxy.operations();
    assert_eq!(asked[..4], [Acquire; 4], "a look would show it its own lease as somebody else's");
    guard.unlock().unwrap();
}
