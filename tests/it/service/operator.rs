//! The operator's calls.

use super::*;

#[test]
fn a_break_says_how_long_until_the_lock_is_free() {
    let cases = [("0", 0), ("7", 7), ("60", 60)];
    for (text, seconds) in cases {
        let peer = always(Operation::Break, answer(202, &[("x-ms-lease-time", text)]));
        let left = mutex(&peer).break_lease(Break::AtExpiry).unwrap();
        assert_eq!(left, Duration::from_secs(seconds));
        assert_eq!(peer.received()[0].request.header("x-ms-lease-break-period"), None);
        mutex(&peer).break_lease(Break::ForceWithin(Duration::from_secs(3))).unwrap();
        assert_eq!(peer.received()[1].request.header("x-ms-lease-break-period"), Some("3"));
    }
    let peer = always(Operation::Break, service_error(409, "LeaseNotPresentWithLeaseOperation"));
    assert_eq!(mutex(&peer).break_lease(Break::AtExpiry).unwrap(), Duration::ZERO);
    for code in ["BlobNotFound", "ContainerNotFound"] {
        let peer = always(Operation::Break, service_error(404, code));
        let error = mutex(&peer).break_lease(Break::AtExpiry).unwrap_err();
        assert_eq!((error.kind(), error.service_code()), (ErrorKind::NotFound, Some(code)), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Break]);
    }
}

#[test]
fn each_state_of_the_lock_is_told() {
    let cases = [
        ("available", "unlocked", None, LockState::Available),
        ("leased", "locked", Some("fixed"), LockState::Leased),
        ("leased", "locked", Some("infinite"), LockState::LeasedForever),
        ("expired", "unlocked", None, LockState::Expired),
        ("breaking", "locked", None, LockState::Breaking),
        ("broken", "unlocked", None, LockState::Broken),
    ];
    for (state, status, duration, expected) in cases {
        let mut headers = vec![("x-ms-lease-state", state), ("x-ms-lease-status", status), ("content-length", "12345")];
        headers.extend(duration.map(|duration| ("x-ms-lease-duration", duration)));
        let peer = always(Operation::Look, answer(200, &headers));
        let seen = mutex(&peer).inspect().unwrap();
        assert_eq!(seen.state(), expected);
        assert_eq!(seen.is_locked(), status == "locked", "{state}");
        assert_eq!(seen.state().is_locked(), status == "locked", "{state}");
        assert_eq!(operations(&peer), [Operation::Look]);
    }
}

#[test]
fn a_lock_that_is_not_there_is_missing_and_stays_so() {
    for code in ["BlobNotFound", "ContainerNotFound"] {
        let peer = always(Operation::Look, answer(404, &[("x-ms-error-code", code)]));
        assert_eq!(mutex(&peer).inspect().unwrap().state(), LockState::Missing);
        assert_eq!(operations(&peer), [Operation::Look]);
    }
    let peer = always(Operation::Look, portal(404, &[]));
    assert!(unclear(mutex(&peer).inspect().unwrap_err().kind()), "a portal's word");
}

#[test]
fn a_state_that_nobody_knows_is_an_error() {
    for headers in [&[("x-ms-lease-state", "undead")][..], &[], &[("x-ms-lease-state", "")]] {
        let peer = always(Operation::Look, answer(200, headers));
        let error = mutex(&peer).inspect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert_eq!(error.http_status(), Some(200));
    }
}
