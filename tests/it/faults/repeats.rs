//! Scenario 16: the network repeats requests.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    requests_answered_by_their_second_copy_change_nothing,
    requests_answered_by_their_first_copy_change_nothing,
);

/// A lock is made, held, renewed, waited for and handed over.
fn live_through(server: &Server, repeated: Option<Operation>, fault: &Fault) {
    let rig = Rig::unused(server);
    rig.proxy.always(repeated, fault.clone());
    let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
    let first = locker.lock().unwrap();
    let second = rig.locker(Policy::default());
    let waiter = thread::spawn(move || second.lock().unwrap());
    until(&events, SOON, is_renewed);
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    first.ensure_held().unwrap();
    assert!(!waiter.is_finished());
    let mut results = vec![first.unlock()];
    let second = waiter.join().unwrap();
    second.ensure_held().unwrap();
    results.push(second.unlock());

    let told_by_the_copy = matches!(fault, Fault::Repeat) && matches!(repeated, None | Some(Release));
    for result in results {
        match result {
            Ok(()) => {}
            Err(error) if told_by_the_copy => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}"),
            Err(error) => panic!("{repeated:?}: {error:?}"),
        }
    }
    let faults = rig.proxy.log().iter().filter(|entry| entry.fault).count();
    assert!(faults > 0, "{repeated:?} was never asked for");
    let failures: Vec<_> = events.try_iter().filter(|event| matches!(event, Event::RenewalFailed { .. })).collect();
    assert!(failures.is_empty(), "{failures:?}");
    rig.assert_free_for_others();
}

const REPEATED: [Option<Operation>; 7] =
    [Some(CreateContainer), Some(CreateBlob), Some(Acquire), Some(Look), Some(Renew), Some(Release), None];

fn requests_answered_by_their_second_copy_change_nothing(server: &Server) {
    each(REPEATED, |repeated| live_through(server, repeated, &Fault::Repeat));
}

fn requests_answered_by_their_first_copy_change_nothing(server: &Server) {
    each(REPEATED, |repeated| live_through(server, repeated, &Fault::RepeatFirst));
}
