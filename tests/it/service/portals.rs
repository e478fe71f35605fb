//! What is not the service's word.

use super::*;

#[test]
fn a_portal_s_refusal_is_never_taken_for_the_service_s() {
    let cases = [
        (411, &[][..]),
        (400, &[]),
        (401, &[]),
        (403, &[]),
        (404, &[]),
        (409, &[]),
        (412, &[]),
        (502, &[]),
        (200, &[]),
        (201, &[("x-ms-lease-id", STRANGER)]),
        // With the code, but without the id that the service gives every request.
        (404, &[("x-ms-error-code", "BlobNotFound")]),
        (404, &[("x-ms-error-code", "ContainerNotFound")]),
        (409, &[("x-ms-error-code", "LeaseAlreadyPresent")]),
    ];
    for (status, headers) in cases {
        let peer = always(Operation::Acquire, portal(status, headers));
        let error = Locker::new(mutex(&peer)).try_lock().unwrap_err();
        if status != 401 {
            assert!(unclear(error.kind()), "{status} {headers:?}: {error:?}");
        }
        assert_eq!(error.http_status(), Some(status));
        assert_eq!((error.service_code(), error.request_id()), (None, None), "{status} {headers:?}");
        let asked = operations(&peer);
        let expected = |operation| matches!(operation, Operation::Acquire | Operation::Release);
        assert!(asked.iter().all(|operation| expected(*operation)), "{status} {headers:?}: {asked:?}");
        assert_eq!(peer.count(Operation::Acquire), 4, "{status} {headers:?}: {asked:?}");
    }
}

#[test]
fn a_portal_s_refusal_is_no_loss_of_a_lease() {
    for (status, code) in [
        (200, None),
        (403, None),
        (404, None),
        (409, None),
        (412, None),
        (404, Some("BlobNotFound")),
        (409, Some("LeaseIdMismatchWithLeaseOperation")),
        (409, Some("LeaseIsBrokenAndCannotBeRenewed")),
    ] {
        let headers: Vec<_> = code.iter().map(|code| ("x-ms-error-code", *code)).collect();
        let peer = always(Operation::Renew, portal(status, &headers));
        let mutex = mutex(&peer);
        let mut lease = mutex.acquire(LEASE).unwrap();
        let error = mutex.renew(&mut lease).unwrap_err();
        assert!(unclear(error.kind()), "{status} {code:?}: {error:?}");
        assert_eq!(error.lost_because(), None);
        assert!(lease.is_held(), "{status} {code:?}");
    }
}

#[test]
fn a_portal_in_front_of_a_renewal_is_outlasted() {
    let peer = first(Operation::Renew, [portal(409, &[]), portal(404, &[]), portal(403, &[]), portal(200, &[])]);
    let builder = Locker::builder(mutex(&peer)).lease(LEASE).renew_every(Duration::from_secs(1));
    let (locker, events) = observed(builder);
    let guard = locker.lock().unwrap();
    let mut failed = 0;
    loop {
        match events.recv_timeout(Duration::from_secs(8)).unwrap() {
            Event::RenewalFailed { .. } => failed += 1,
            Event::Renewed { .. } => break,
            Event::Lost { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    assert_eq!(failed, 4);
    assert!(guard.is_held());
    guard.unlock().unwrap();
}

#[test]
fn a_portal_in_front_of_a_look_makes_nothing() {
    let looks = AtomicUsize::new(0);
    let peer = Peer::start(move |received| match received.request.operation() {
        Operation::Acquire if received.number == 0 => busy(),
        Operation::Look if looks.fetch_add(1, Ordering::Relaxed) < 3 => portal(404, &[]),
        _ => well(received),
    });
    let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(peer.count(Operation::CreateBlob) + peer.count(Operation::CreateContainer), 0);
    assert_eq!(peer.count(Operation::Acquire), 2, "{:?}", operations(&peer));
    guard.unlock().unwrap();
}
