//! Making the blob and the container.

use super::*;

#[test]
fn what_another_has_just_made_is_as_good_as_made() {
    use Operation::{Acquire, CreateBlob, CreateContainer};
    let blob = || service_error(404, "BlobNotFound");
    let container = || service_error(404, "ContainerNotFound");
    let blob_only = vec![Acquire, CreateBlob, Acquire];
    let cases = [
        (blob(), vec![service_error(412, "LeaseIdMissing")], blob_only.clone()),
        (blob(), vec![service_error(409, "BlobAlreadyExists")], blob_only.clone()),
        (blob(), vec![service_error(403, "UnauthorizedBlobOverwrite")], blob_only.clone()),
        (blob(), vec![answer(201, &[])], blob_only),
        (
            container(),
            vec![service_error(409, "ContainerAlreadyExists"), service_error(412, "LeaseIdMissing")],
            vec![Acquire, CreateContainer, CreateBlob, Acquire],
        ),
    ];
    for (missing, creations, expected) in cases {
        for leased_meanwhile in [false, true] {
            let mut answers = vec![missing.clone()];
            answers.extend(creations.clone());
            if leased_meanwhile {
                answers.push(busy());
            }
            let peer =
                Peer::start(move |received| answers.get(received.number).cloned().unwrap_or_else(|| well(received)));
            let result = mutex(&peer).acquire(LEASE);
            assert_eq!(operations(&peer), expected);
            match result {
                Ok(lease) => assert!(!leased_meanwhile && lease.is_held()),
                Err(error) => assert!(leased_meanwhile && error.kind() == ErrorKind::WouldBlock, "{error:?}"),
            }
        }
    }
}

#[test]
fn a_container_that_is_being_deleted_ends_a_call_that_does_not_wait() {
    let peer = stage(Operation::CreateContainer, service_error(409, "ContainerBeingDeleted"));
    let error = Locker::new(mutex(&peer)).try_lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.service_code(), Some("ContainerBeingDeleted"));
    let text = error.to_string();
    assert!(text.contains("\"locks\"") && text.contains("being deleted"), "{text}");
    assert_eq!(peer.count(Operation::CreateContainer), 1);
}

#[test]
fn a_container_that_is_being_deleted_is_waited_for() {
    let (refusals, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let peer = Peer::start(move |received| match received.request.operation() {
        Operation::CreateContainer if refusals.fetch_add(1, Ordering::Relaxed) < 5 => {
            service_error(409, "ContainerBeingDeleted")
        }
        Operation::CreateContainer => {
            made.store(1, Ordering::Relaxed);
            answer(201, &[])
        }
        _ if made.load(Ordering::Relaxed) == 0 => service_error(404, "ContainerNotFound"),
        _ => well(received),
    });
    let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(peer.count(Operation::CreateContainer), 6);
    guard.unlock().unwrap();
}

#[test]
fn a_container_that_stays_being_deleted_is_the_reason_of_the_time_out() {
    let peer = stage(Operation::CreateContainer, service_error(409, "ContainerBeingDeleted"));
    let error = impatient(&peer).lock_timeout(Duration::from_secs(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(peer.count(Operation::CreateContainer) > 1);
}
