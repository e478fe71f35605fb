//! Scenario 15: granted, and something is amiss after it.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_grant_that_comes_after_the_caller_left_is_released,
    a_grant_in_the_wait_for_another_holder_is_released_when_the_caller_leaves,
    nothing_is_acquired_once_the_caller_left,
);

fn a_grant_that_comes_after_the_caller_left_is_released(server: &Server) {
    const DELAY: Duration = Duration::from_secs(2);
    let rig = Rig::used(server);
    rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
    cancelled_at(&rig, Acquire, Policy::default());
    rig.assert_undone(DELAY + SLACK);
    let (acquired, released) = (rig.requests(Acquire)[0].answered.unwrap(), rig.requests(Release)[0].at);
    assert!(released >= acquired, "by the grant's answer, and not by the end of its limit");
    assert!(released - acquired < SLACK, "{:?}", released - acquired);
}

fn a_grant_in_the_wait_for_another_holder_is_released_when_the_caller_leaves(server: &Server) {
    let rig = Rig::used(server);
    let neighbour = rig.neighbour().lock().unwrap();
    let cancel = Cancel::new();
    let (locker, canceller) = (rig.locker(Policy::default()), cancel.clone());
    let waiter = thread::spawn(move || locker.lock_or_cancel(&cancel));
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    let refused = rig.proxy.count(Acquire);
    rig.proxy.always(Some(Acquire), Fault::DelayAnswer(SECOND));
    neighbour.unlock().unwrap();
    assert!(rig.proxy.wait_for_status(Acquire, refused + 1, SOON));
    canceller.cancel();
    assert_eq!(kind_of(waiter.join().unwrap()), ErrorKind::Cancelled);
    rig.assert_undone(SECOND + SLACK);
}

fn nothing_is_acquired_once_the_caller_left(server: &Server) {
    let rig = Rig::unused(server);
    rig.proxy.next(CreateBlob, Fault::DelayAnswer(SECOND));
    cancelled_at(&rig, CreateBlob, Policy::default());
    thread::sleep(SECOND + 500 * MS);
    let log = rig.proxy.log();
    assert_eq!(log.last().unwrap().operation, CreateBlob, "{log:?}");
    rig.assert_free_for_others();
}
