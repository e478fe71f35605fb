//! Holding and letting go.

use super::*;

/// A renewal's answer, as [`AzureMutex::renew`] tells it, and whether the lease still counts as ours.
fn renewed(reply: Reply) -> (Error, Lease, Peer) {
    let peer = always(Operation::Renew, reply);
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    let error = mutex.renew(&mut lease).unwrap_err();
    (error, lease, peer)
}

// Scenario 9.
#[test]
fn a_definite_word_on_the_lease_is_its_loss_with_its_reason() {
    let cases = [
        (service_error(409, "LeaseIdMismatchWithLeaseOperation"), Lost::Taken),
        (service_error(409, "LeaseNotPresentWithLeaseOperation"), Lost::Taken),
        (leased(200, STRANGER), Lost::Taken),
        (service_error(409, "LeaseIsBrokenAndCannotBeRenewed"), Lost::Broken),
        (service_error(404, "BlobNotFound"), Lost::BlobDeleted),
        (service_error(404, "ContainerNotFound"), Lost::ContainerDeleted),
    ];
    for (reply, why) in cases {
        let (error, lease, peer) = renewed(reply);
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        assert!(!lease.is_held(), "{why:?}");
        assert_eq!(peer.count(Operation::Renew), 1, "{why:?}");
    }
}

// Scenario 9, where nothing is lost.
#[test]
fn a_refused_credential_leaves_the_lease_ours_until_its_deadline() {
    let cases = [
        (403, "AuthorizationPermissionMismatch", ErrorKind::PermissionDenied),
        (403, "AuthorizationFailure", ErrorKind::PermissionDenied),
        (403, "AuthenticationFailed", ErrorKind::Credential),
        (401, "InvalidAuthenticationInfo", ErrorKind::Credential),
    ];
    for (status, code, kind) in cases {
        let (error, lease, _peer) = renewed(service_error(status, code));
        assert_eq!((error.kind(), error.lost_because()), (kind, None), "{error:?}");
        assert!(lease.is_held(), "{code}");
    }
}

#[test]
fn a_grant_that_does_not_name_our_id_is_none_and_is_undone() {
    let cases = [
        ("a stranger's", leased(201, STRANGER)),
        ("no id", answer(201, &[])),
        ("an empty id", leased(201, "")),
        ("no guid", leased(201, "mine")),
        ("not 201", leased(202, STRANGER)),
    ];
    for (name, reply) in cases {
        let peer = always(Operation::Acquire, reply);
        let mutex = mutex(&peer);
        let error = mutex.acquire(LEASE).err().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{name}: {error:?}");
        let id = proposed(&peer)[0].clone();
        assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id"), [id], "{name}");
        let error = Locker::new(mutex).try_lock().err().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{name}: {error:?}");
        let id = proposed(&peer).pop().unwrap();
        assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id").pop(), Some(id), "{name}");
    }
}

#[test]
fn a_grant_without_a_request_id_is_none_and_is_undone() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => {
            let id = received.request.header("x-ms-proposed-lease-id").unwrap();
            portal(201, &[("x-ms-lease-id", id)])
        }
        _ => well(received),
    });
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id"), [proposed(&peer)[0].clone()]);
}

#[test]
fn our_id_in_capitals_is_ours() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => {
            leased(201, &received.request.header("x-ms-proposed-lease-id").unwrap().to_ascii_uppercase())
        }
        Operation::Renew => leased(200, &received.request.header("x-ms-lease-id").unwrap().to_ascii_uppercase()),
        _ => well(received),
    });
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.release(&mut lease).unwrap();
}

#[test]
fn a_release_that_finds_the_lease_gone_says_that_it_was_lost() {
    let cases = [
        (service_error(409, "LeaseIdMismatchWithLeaseOperation"), Lost::Taken),
        (service_error(409, "LeaseNotPresentWithLeaseOperation"), Lost::Taken),
        (service_error(404, "BlobNotFound"), Lost::BlobDeleted),
        (service_error(404, "ContainerNotFound"), Lost::ContainerDeleted),
    ];
    for (reply, why) in cases {
        let peer = always(Operation::Release, reply);
        let mutex = mutex(&peer);
        let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        let error = Locker::new(mutex).lock().unwrap().unlock().unwrap_err();
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        assert_eq!(peer.count(Operation::Release), 2, "one each");
    }
}

#[test]
fn a_release_that_had_worked_without_our_hearing_of_it_has_worked() {
    let gone = [
        service_error(409, "LeaseIdMismatchWithLeaseOperation"),
        service_error(409, "LeaseNotPresentWithLeaseOperation"),
        service_error(404, "BlobNotFound"),
        service_error(404, "ContainerNotFound"),
    ];
    for unheard in [Reply::Close, Reply::Reset, service_error(500, "OperationTimedOut"), portal(502, &[])] {
        for gone in &gone {
            let peer = first(Operation::Release, [unheard.clone(), gone.clone()]);
            let mutex = mutex(&peer);
            mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_or_else(|error| panic!("{unheard:?}: {error:?}"));
            assert_eq!(peer.count(Operation::Release), 2, "{unheard:?}");
        }
    }
    let peer = first(Operation::Release, [Reply::Hang, gone[0].clone()]);
    let guard = Locker::new(mutex_with(&peer, key(), policy().attempt_limit(Duration::from_secs(1)))).lock().unwrap();
    guard.unlock().unwrap();
}

#[test]
fn a_release_that_the_service_was_too_busy_for_has_not_worked() {
    let gone = service_error(409, "LeaseIdMismatchWithLeaseOperation");
    let peer = first(Operation::Release, [service_error(503, "ServerBusy"), gone]);
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
    assert_eq!(error.lost_because(), Some(Lost::Taken), "{error:?}");
}

#[test]
fn a_release_that_is_refused_tells_why_and_when_the_lease_ends() {
    let peer = always(Operation::Release, service_error(403, "AuthorizationPermissionMismatch"));
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("15 s") || text.contains("14 s"), "{text}");
}

#[test]
fn a_lease_without_an_end_is_not_said_to_end() {
    let peer = always(Operation::Release, service_error(403, "AuthorizationPermissionMismatch"));
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire_infinite().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let text = error.to_string();
    assert!(!text.contains("ends by itself") && !text.contains("18446744073709551615"), "{text}");
}
