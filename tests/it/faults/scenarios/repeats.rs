//! Scenario 16: the network repeats requests.

use super::*;

/// A lock is made, held, renewed, waited for and handed over.
fn live_through(repeated: Option<Operation>, fault: &Fault) {
    let Some(rig) = Rig::unused() else { return };
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

#[test]
fn requests_answered_by_their_second_copy_change_nothing() {
    each(REPEATED, |repeated| live_through(repeated, &Fault::Repeat));
}

#[test]
fn requests_answered_by_their_first_copy_change_nothing() {
    each(REPEATED, |repeated| live_through(repeated, &Fault::RepeatFirst));
}
