//! Waiting.

use super::*;

/// A lock that is taken at first: how its looks and its later acquires are answered, by their number.
fn taken_at_first(
    look: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static,
    acquire: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static,
) -> Peer {
    let (looks, acquires) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Peer::start(move |received| {
        let special = match received.request.operation() {
            Operation::Look => look(looks.fetch_add(1, Ordering::Relaxed)),
            Operation::Acquire => acquire(acquires.fetch_add(1, Ordering::Relaxed)),
            _ => None,
        };
        special.unwrap_or_else(|| well(received))
    })
}

#[test]
fn a_waiter_looks_until_the_lock_is_free_and_then_takes_it() {
    let peer = taken_at_first(
        |look| {
            let states = ["leased", "leased", "breaking", "breaking", "leased"];
            states.get(look).map(|name| state(name))
        },
        |acquire| (acquire == 0).then(busy),
    );
    let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
    use Operation::{Acquire, Look};
    assert_eq!(operations(&peer), [Acquire, Look, Look, Look, Look, Look, Look, Acquire]);
    guard.unlock().unwrap();
}

#[test]
fn a_waiter_that_may_not_look_asks_by_trying() {
    for (status, code) in [(403, "AuthorizationPermissionMismatch"), (403, "AuthorizationFailure")] {
        let peer = taken_at_first(move |_| Some(service_error(status, code)), |acquire| (acquire < 5).then(busy));
        let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(peer.count(Operation::Look), 1, "{:?}", operations(&peer));
        assert_eq!(peer.count(Operation::Acquire), 6, "{:?}", operations(&peer));
        guard.unlock().unwrap();
    }
}

#[test]
fn a_waiter_that_may_neither_look_nor_try_gives_up() {
    let denied = || service_error(403, "AuthorizationFailure");
    let peer =
        taken_at_first(move |_| Some(denied()), move |acquire| Some(if acquire == 0 { busy() } else { denied() }));
    let error = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}

#[test]
fn a_waiter_whose_acquire_had_no_answer_does_not_wait_for_its_own_lease() {
    for unheard in [Reply::Close, Reply::Reset, service_error(500, "InternalError")] {
        let peer = taken_at_first(
            |_| Some(state("leased")),
            move |acquire| match acquire {
                0..5 => Some(unheard.clone()),
                _ => None,
            },
        );
        let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(peer.count(Operation::Look), 0, "{:?}", operations(&peer));
        let mut ids = proposed(&peer);
        assert_eq!(ids.len(), 6);
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        guard.unlock().unwrap();
    }
}

#[test]
fn a_blob_that_vanishes_while_it_is_waited_for_is_made_again() {
    let gone = || answer(404, &[("x-ms-error-code", "BlobNotFound")]);
    let peer = taken_at_first(
        move |_| Some(gone()),
        |acquire| match acquire {
            0 => Some(busy()),
            1 => Some(service_error(404, "BlobNotFound")),
            _ => None,
        },
    );
    let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
    use Operation::{Acquire, CreateBlob, Look};
    assert_eq!(operations(&peer), [Acquire, Look, Acquire, CreateBlob, Acquire]);
    guard.unlock().unwrap();
}

/// A user's own blob may be the lock, with up to 8 KiB of metadata: more headers than some readers of HTTP take.
#[test]
fn a_blob_with_much_metadata_is_waited_for() {
    for count in [50, 400] {
        let names: Vec<_> = (0..count).map(|i| format!("x-ms-meta-key{i}")).collect();
        let mut headers: Vec<_> = names.iter().map(|name| (&**name, "value")).collect();
        headers.push(("x-ms-lease-state", "available"));
        let look = answer(200, &headers);
        let peer = taken_at_first(move |_| Some(look.clone()), |acquire| (acquire < 3).then(busy));
        let guard = impatient(&peer).lock_timeout(Duration::from_secs(3));
        guard.unwrap_or_else(|error| panic!("{count}: {error:?}")).unlock().unwrap();
    }
}

#[test]
fn a_waiter_leaves_a_busy_service_alone_for_as_long_as_it_asks() {
    let peer = taken_at_first(
        |look| (look == 0).then(|| refusal(503, "ServerBusy", &[("retry-after", "1")], "")),
        |acquire| (acquire == 0).then(busy),
    );
    impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap().unlock().unwrap();
    let received = peer.received();
    let pause = received[2].at - received[1].at;
    assert!(pause >= Duration::from_secs(1), "{pause:?}");
}
