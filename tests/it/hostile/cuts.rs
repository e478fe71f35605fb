//! Cut connections.

use super::*;

#[test]
fn a_reset_at_any_stage_is_told_and_leaves_a_lease_ours() {
    for operation in CALLS {
        for reply in [Reply::Reset, Reply::Close, Reply::After(20 * MS, Box::new(Reply::Reset))] {
            let peer = stage(operation, reply);
            let mutex = mutex(&peer);
            let error = within(BOUND, "reset", move || call(operation, &mutex)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{operation:?}: {error:?}");
            assert_eq!(error.lost_because(), None);
            // A break that may have been carried out would, repeated, hit whoever has the lock by then.
            let tries = if operation == Operation::Break { 1 } else { 4 };
            assert_eq!(peer.count(operation), tries, "{operation:?}: {error:?}");
        }
    }
    let peer = stage(Operation::Renew, Reply::Reset);
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap_err();
    assert!(lease.is_held());
}

#[test]
fn a_reset_at_any_stage_is_got_over() {
    for operation in CALLS.into_iter().filter(|operation| *operation != Operation::Break) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let peer = Peer::start(move |received| {
            let request = &received.request;
            let asked = request.operation();
            if asked == operation && count.fetch_add(1, Ordering::Relaxed) == 0 {
                return Reply::Reset;
            }
            let before = count.load(Ordering::Relaxed) == 0;
            match (asked, operation) {
                (Operation::Acquire, Operation::CreateBlob) if before => service_error(404, "BlobNotFound"),
                (Operation::Acquire, Operation::CreateContainer) if before => service_error(404, "ContainerNotFound"),
                _ => well(received),
            }
        });
        let mutex = mutex(&peer);
        within(BOUND, "reset", move || call(operation, &mutex))
            .unwrap_or_else(|error| panic!("{operation:?}: {error:?}"));
        assert_eq!(peer.count(operation), 2, "{operation:?}");
    }
}
