//! Throttling, and failures that may have been none.

use super::*;

#[test]
fn a_busy_service_is_left_alone_for_as_long_as_it_asks() {
    let cases = [
        (503, "ServerBusy", "retry-after", "1", 1_000),
        (429, "TooManyRequests", "retry-after", "1", 1_000),
        (503, "ServerBusy", "x-ms-retry-after-ms", "400", 400),
        (503, "ServerBusy", "retry-after-ms", "400", 400),
    ];
    thread::scope(|scope| {
        for (status, code, header, value, millis) in cases {
            scope.spawn(move || {
                let peer = first(Operation::Acquire, [refusal(status, code, &[(header, value)], "")]);
                let mutex = mutex_with(&peer, key(), policy().longest_pause(Duration::from_secs(2)));
                let guard = Locker::new(mutex).try_lock().unwrap_or_else(|error| panic!("{header}: {error:?}"));
                let received = peer.received();
                let pause = received[1].at - received[0].at;
                assert!(pause >= MS * millis, "{status} {header}: {pause:?}");
                assert!(pause < MS * millis + Duration::from_secs(4), "{status} {header}: {pause:?}");
                assert_eq!(received.len(), 2);
                guard.unlock().unwrap();
            });
        }
    });
}

#[test]
fn a_retry_after_may_be_a_date() {
    let peer = Peer::start(|received| match received.number {
        0 => {
            let when = http_date(SystemTime::now() + Duration::from_secs(2));
            refusal(503, "ServerBusy", &[("retry-after", &when)], "")
        }
        _ => well(received),
    });
    let mutex = mutex_with(&peer, key(), policy().longest_pause(Duration::from_secs(5)));
    let _lease = mutex.acquire(LEASE).unwrap();
    let received = peer.received();
    // A date has whole seconds, so up to one of the two is cut off.
    assert!(received[1].at - received[0].at >= MS * 900, "{received:?}");
}

#[test]
fn a_call_that_does_not_wait_ends_when_the_service_wants_to_be_left_alone_for_long() {
    for operation in [Operation::Acquire, Operation::CreateBlob, Operation::Renew, Operation::Release] {
        ends_at_once(operation);
    }
}

#[test]
fn a_question_ends_when_the_service_wants_to_be_left_alone_for_long() {
    for operation in [Operation::Look, Operation::Break] {
        ends_at_once(operation);
    }
}

fn ends_at_once(operation: Operation) {
    let id = "11111111-2222-4333-8444-555555555555";
    let peer = stage(
        operation,
        refusal(503, "ServerBusy", &[("retry-after", "3600"), ("x-ms-request-id", id)], "<Error></Error>"),
    );
    let error = call(operation, &mutex(&peer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{operation:?}: {error:?}");
    assert_eq!(error.http_status(), Some(503), "{operation:?}: {error:?}");
    assert_eq!(error.service_code(), Some("ServerBusy"), "{operation:?}: {error:?}");
    assert_eq!(error.request_id(), Some(id), "{operation:?}: {error:?}");
    assert_eq!(error.lock_name(), Some("job"));
    assert_eq!(peer.count(operation), 1, "{operation:?}: asked again although the service had asked for an hour");
}

#[test]
fn try_lock_ends_when_the_service_wants_to_be_left_alone_for_long() {
    let peer = always(Operation::Acquire, refusal(503, "ServerBusy", &[("retry-after", "3600")], ""));
    let error = Locker::new(mutex(&peer)).try_lock().unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unavailable, Some(503)), "{error:?}");
    assert_eq!(error.service_code(), Some("ServerBusy"));
    assert_eq!(error.request_id().map(str::len), Some(36));
    let text = format!("{error:?}");
    assert!(text.contains("503 ServerBusy") && text.contains("request id"), "{text}");
    // Not carried out, says the service: there is nothing to undo.
    assert_eq!(operations(&peer), [Operation::Acquire]);
}

#[test]
fn an_acquire_of_unknown_outcome_is_repeated_under_the_same_id() {
    let cases = [
        ("OperationTimedOut", service_error(500, "OperationTimedOut"), policy()),
        ("InternalError", service_error(500, "InternalError"), policy()),
        ("bare 502", portal(502, &[]), policy()),
        ("closed", Reply::Close, policy()),
        ("reset", Reply::Reset, policy()),
        ("silence", Reply::Hang, hasty()),
    ];
    for (name, failure, policy) in cases {
        let peer = first(Operation::Acquire, [failure]);
        let locker = Locker::new(mutex_with(&peer, key(), policy));
        let clone = locker.clone();
        let guard = within(Duration::from_secs(20), name, move || clone.try_lock());
        let guard = guard.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let ids = proposed(&peer);
        assert!(ids.len() >= 2, "{name}: {ids:?}");
        assert!(ids.iter().all(|id| *id == guard.lease_id().to_string()), "{name}: {ids:?}");
        guard.unlock().unwrap();
        let next = locker.try_lock().unwrap();
        assert_ne!(next.lease_id().to_string(), ids[0], "{name}: an id of its own for each hold");
    }
}

#[test]
fn an_acquire_of_unknown_outcome_is_undone_when_it_is_given_up() {
    let peer = always(Operation::Acquire, service_error(500, "OperationTimedOut"));
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    assert_eq!((error.kind(), error.service_code()), (ErrorKind::Unavailable, Some("OperationTimedOut")));
    assert_eq!(peer.count(Operation::Acquire), 4, "the first and three retries");
    assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id"), [proposed(&peer)[0].clone()]);
}

#[test]
fn a_wait_that_times_out_tells_of_the_failure_that_it_met_last() {
    let cases = [
        (service_error(500, "InternalError"), Some(500), Some("InternalError")),
        (refusal(503, "ServerBusy", &[("retry-after", "3600")], ""), Some(503), Some("ServerBusy")),
        (portal(502, &[]), Some(502), None),
    ];
    for (reply, status, code) in cases {
        let peer = always(Operation::Acquire, reply);
        // A busy machine may keep the lock's thread from its last word, or cut the last request short.
        let told = (0..20).any(|_| {
            let error = impatient(&peer).lock_timeout(400 * MS).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
            std::error::Error::source(&error).is_some() && (error.http_status(), error.service_code()) == (status, code)
        });
        assert!(told, "{status:?} {code:?}");
    }
}
