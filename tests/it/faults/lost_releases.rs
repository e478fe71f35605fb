//! Scenario 14: released, and not heard of.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_release_whose_answer_is_lost_has_worked,
    a_call_that_releases_has_worked_though_its_answer_is_lost,
    a_repeated_release_neither_fails_nor_disturbs_the_next_holder,
    a_release_that_found_the_lease_gone_and_cannot_have_worked_tells_the_loss,
);

fn a_release_whose_answer_is_lost_has_worked(server: &Server) {
    // A second release that is given up on leaves no time for a third.
    let twice = [(Fault::ResetAfter, 2), (Fault::AppliedThen(500, Vec::new()), 2)];
    each(unheard().map(|fault| (fault, 1)).into_iter().chain(twice), |(fault, times)| {
        let rig = Rig::used(server);
        for _ in 0..times {
            rig.proxy.next(Release, fault.clone());
        }
        let (locker, events) = hear(rig.builder(quick()));
        let guard = locker.lock().unwrap();
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < times * LIMIT + 2 * SLACK, "{took:?}");
        assert!(rig.proxy.count(Release) > times as usize);
        let heard = until(&events, SOON, |event| matches!(event, Event::Released { .. }));
        assert_eq!(count(&heard, |event| matches!(event, Event::ReleaseFailed { .. })), 0, "{heard:?}");
        rig.assert_free_for_others();
    });
}

fn a_call_that_releases_has_worked_though_its_answer_is_lost(server: &Server) {
    each(unheard(), |fault| {
        let rig = Rig::used(server);
        rig.proxy.next(Release, fault);
        let mutex = rig.mutex(quick());
        let mut lease = mutex.acquire(LEASE).unwrap();
        mutex.release(&mut lease).unwrap();
        rig.assert_free_for_others();
    });
}

fn a_repeated_release_neither_fails_nor_disturbs_the_next_holder(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.next(Release, Fault::ResetAfter);
    rig.proxy.next(Release, Fault::DelayRequest(4 * SECOND));
    let guard = rig.locker(Policy::default().attempt_limit(8 * SECOND)).lock().unwrap();
    let neighbour = rig.neighbour();
    let next = thread::spawn(move || neighbour.lock().unwrap());
    thread::scope(|scope| {
        let unlocking = scope.spawn(|| guard.unlock());
        let next = next.join().unwrap();
        let second = rig.requests(Release).into_iter().nth(1);
        assert!(second.is_none_or(|second| second.status.is_none()), "it landed too early for this test");
        unlocking.join().unwrap().unwrap();
        assert_eq!(rig.requests(Release)[1].status, Some(409));
        assert!(!rig.is_free());
        next.unlock().unwrap();
    });
}

fn a_release_that_found_the_lease_gone_and_cannot_have_worked_tells_the_loss(server: &Server) {
    // With 429 the service says that it has not carried it out.
    each([None, Some(status(429))], |first| {
        let rig = Rig::used(server);
        let guard = rig.locker(Policy::default()).lock().unwrap();
        rig.server.break_lease(&rig.container, LOCK, Some(0));
        let next = rig.neighbour().try_lock().unwrap();
        if let Some(fault) = first {
            rig.proxy.next(Release, fault);
        }
        assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        next.unlock().unwrap();
    });
}
