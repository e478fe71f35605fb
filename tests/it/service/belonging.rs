//! Answers of another request, old reads, and refusals that explain themselves elsewhere than the service does today.

use std::sync::Mutex;
use std::time::Instant;

use super::*;

const ID: &str = "x-ms-client-request-id";
const FOREIGN: &str = "00000000000000000000000000000000";

/// A reply with another header.
fn with(reply: Reply, name: &str, value: &str) -> Reply {
    match reply {
        Reply::Answer(mut response) => {
            response.headers.push((name.to_owned(), value.to_owned()));
            Reply::Answer(response)
        }
        other => other,
    }
}

fn explained(status: u16, content_type: &str, body: &str) -> Reply {
    Reply::Answer(response(status, &[("content-type", content_type)], body.as_bytes().to_vec()))
}

#[test]
fn each_attempt_has_an_id_of_its_own() {
    let peer = Peer::start(well);
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.inspect().unwrap();
    mutex.release(&mut lease).unwrap();
    let mut ids: Vec<String> =
        peer.received().iter().map(|received| received.request.header(ID).unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 4);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
}

#[test]
fn an_answer_that_repeats_the_id_counts() {
    let peer = Peer::start(|received| {
        let id = received.request.header(ID).unwrap().to_owned();
        with(well(received), ID, &id)
    });
    Locker::new(mutex(&peer)).try_lock().unwrap().unlock().unwrap();
    assert_eq!(peer.received().len(), 2);
}

#[test]
fn an_id_that_a_gateway_repeats_beside_the_service_is_still_its_own() {
    let joined = |id: &str| vec![format!("{id}, {id}")];
    let added = |id: &str| vec![id.to_owned(), id.to_owned(), format!("{id},{id}")];
    for values in [joined as fn(&str) -> Vec<String>, added] {
        let peer = Peer::start(move |received| {
            let id = received.request.header(ID).unwrap();
            values(id).iter().fold(well(received), |reply, value| with(reply, ID, value))
        });
        Locker::new(mutex(&peer)).try_lock().unwrap().unlock().unwrap();
        assert_eq!(peer.received().len(), 2);
    }
}

#[test]
fn a_list_with_any_other_id_is_no_answer() {
    for values in [
        |id: &str| vec![format!("{id}, {FOREIGN}")],
        |id: &str| vec![format!("{FOREIGN},{id}")],
        |id: &str| vec![id.to_owned(), FOREIGN.to_owned()],
        |id: &str| vec![format!("{id},")],
        |id: &str| vec![format!("{id} {id}")],
        |_: &str| vec![String::new()],
    ] {
        let peer = Peer::start(move |received| {
            let id = received.request.header(ID).unwrap();
            values(id).iter().fold(well(received), |reply, value| with(reply, ID, value))
        });
        let error = mutex_with(&peer, key(), policy().retries(0)).acquire(LEASE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    }
}

// Scenario 32.
#[test]
fn the_answer_to_another_renewal_renews_nothing() {
    // As a proxy does that answers a renewal with what it kept of the one before.
    let kept = Mutex::new(None::<String>);
    let peer = Peer::start(move |received| {
        let own = received.request.header(ID).unwrap().to_owned();
        let id = match received.request.operation() {
            Operation::Renew => kept.lock().unwrap().get_or_insert(own).clone(),
            _ => own,
        };
        with(well(received), ID, &id)
    });
    let mutex = mutex_with(&peer, key(), policy().retries(1));
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap();
    let remaining = lease.remaining();
    let error = mutex.renew(&mut lease).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("replaces the request id, or is a cache that repeats old answers"), "{error:?}");
    assert!(text.contains("`x-ms-client-request-id`") && text.contains(&peer.url()), "{error:?}");
    assert!(lease.is_held() && lease.remaining() <= remaining, "it is ours for as long as it was");
    assert_eq!(peer.count(Operation::Renew), 3);
}

#[test]
fn a_grant_to_another_request_is_none() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => with(well(received), ID, FOREIGN),
        _ => well(received),
    });
    let error = mutex_with(&peer, key(), policy().retries(0)).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    // It may have been carried out, whatever that answer was.
    assert_eq!(peer.count(Operation::Release), 1);
}

#[test]
fn two_different_lease_ids_are_no_answer() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => with(well(received), "x-ms-lease-id", STRANGER),
        _ => well(received),
    });
    let error = mutex_with(&peer, key(), policy().retries(0)).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    assert_eq!(peer.count(Operation::Release), 1);
}

#[test]
fn a_look_that_is_void_turns_the_waiter_to_acquiring_and_is_no_failure() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire if received.number < 6 => service_error(409, "LeaseAlreadyPresent"),
        Operation::Look => with(state("leased"), ID, FOREIGN),
        _ => well(received),
    });
    let (heard, events) = unbounded();
    let builder = Locker::builder(mutex(&peer)).pauses(MS, 5 * MS);
    let locker = builder.on_event(move |event| drop(heard.send(event))).build().unwrap();
    let guard = within(20 * LEASE, "the wait", move || locker.lock()).unwrap();
    guard.unlock().unwrap();
    assert_eq!(peer.count(Operation::Look), 1, "what answers one look so answers all");
    assert!(events.try_iter().all(|event| !matches!(event, Event::Retrying { .. })));
}

// Scenario 33.
#[test]
fn a_cache_that_keeps_an_old_look_does_not_keep_the_lock() {
    // Free, but for what a cache remembers of it.
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire if received.number == 0 => service_error(409, "LeaseAlreadyPresent"),
        Operation::Look => state("leased"),
        _ => well(received),
    });
    let locker = Locker::builder(mutex(&peer)).pauses(10 * MS, 100 * MS).build().unwrap();
    let guard = within(LEASE, "the wait", move || locker.lock_timeout(Duration::from_secs(2))).unwrap();
    guard.unlock().unwrap();
    assert_eq!(peer.count(Operation::Acquire), 2, "the first and the last try");
    let looks = peer.received();
    let asks = |received: &&Received| received.request.operation() == Operation::Look;
    assert!(looks.iter().filter(asks).all(|look| look.request.header("cache-control") == Some("no-cache")));
}

#[test]
fn a_waiter_tries_once_a_lease_though_each_look_says_that_the_lock_is_taken() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire if received.number == 0 => service_error(409, "LeaseAlreadyPresent"),
        Operation::Look => state("leased"),
        _ => well(received),
    });
    let locker = Locker::builder(mutex(&peer)).lease(LEASE).pauses(100 * MS, 500 * MS).build().unwrap();
    let begun = Instant::now();
    let guard = within(4 * LEASE, "the wait", move || locker.lock()).unwrap();
    guard.unlock().unwrap();
    let acquires: Vec<_> = peer.received();
    let tried: Vec<_> = acquires.iter().filter(|it| it.request.operation() == Operation::Acquire).collect();
    assert_eq!(tried.len(), 2);
    // The first one may be long on its way.
    assert!(tried[1].at - begun >= LEASE, "{:?}", tried[1].at - begun);
}

#[test]
fn a_code_may_stand_in_the_body_alone() {
    let xml =
        "<?xml version=\"1.0\"?><Error><Code>LeaseAlreadyPresent</Code><Message>There is a lease.</Message></Error>";
    let json = r#"{"odata.error": {"code": "LeaseAlreadyPresent", "message": {"value": "There is a lease."}}}"#;
    for (content_type, body) in [("application/xml", xml), ("application/json", json)] {
        let peer = Peer::start(move |received| match received.request.operation() {
            Operation::Acquire => explained(409, content_type, body),
            _ => well(received),
        });
        let error = mutex(&peer).acquire(LEASE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error:?}");
        assert_eq!(peer.received().len(), 1);
    }
}

#[test]
fn a_missing_blob_is_made_though_only_the_body_says_that_it_is_missing() {
    let peer = Peer::start(|received| match (received.request.operation(), received.number) {
        (Operation::Acquire, 0) => explained(404, "application/xml", "<Error><Code>BlobNotFound</Code></Error>"),
        _ => well(received),
    });
    let _lease = mutex(&peer).acquire(LEASE).unwrap();
    assert_eq!(peer.count(Operation::CreateBlob), 1);
}

#[test]
fn the_body_of_a_stranger_says_nothing() {
    let peer = Peer::start(|_| {
        Reply::Raw(
            b"HTTP/1.1 409 Conflict\r\ncontent-length: 46\r\nconnection: close\r\n\r\n\
              <Error><Code>LeaseAlreadyPresent</Code></Error>"
                .to_vec(),
        )
    });
    let error = mutex_with(&peer, key(), policy().retries(0)).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
}

#[test]
fn what_is_not_supported_is_not_tried_again() {
    for (status, code) in
        [(405, "UnsupportedHttpVerb"), (501, "NotImplemented"), (400, "UnsupportedHeader"), (400, "InvalidInput")]
    {
        let peer = Peer::start(move |_| service_error(status, code));
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert!(error.to_string().contains(&format!("The text of {code}")), "{error:?}");
        assert_eq!(peer.received().len(), 1, "{status} {code}");
    }
    for status in [405, 501] {
        let peer = Peer::start(move |_| answer(status, &[]));
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unexpected, Some(status)), "{error:?}");
        assert_eq!(peer.received().len(), 1, "{status}");
    }
}

#[test]
fn a_refused_header_is_named_with_the_first_sentence_of_the_service() {
    let body = "<Error><Code>InvalidHeaderValue</Code><Message>The value for one of the HTTP headers is not in the \
                correct format.\nRequestId:1f2e\nTime:2026-01-01</Message><HeaderName>x-ms-version</HeaderName>\
                <HeaderValue>2021-12-02</HeaderValue></Error>";
    let peer = Peer::start(move |_| explained(400, "application/xml", body));
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("it says: The value for one of the HTTP headers is not in the correct format"), "{text}");
    assert!(text.contains("(header `x-ms-version`)") && !text.contains("RequestId"), "{text}");
    assert_eq!(error.service_code(), Some("InvalidHeaderValue"));
}

#[test]
fn a_look_that_is_refused_without_a_word_means_acquiring() {
    for status in [400, 404, 405, 501] {
        let peer = Peer::start(move |received| match received.request.operation() {
            Operation::Acquire if received.number < 3 => service_error(409, "LeaseAlreadyPresent"),
            Operation::Look => answer(status, &[]),
            _ => well(received),
        });
        let locker = impatient(&peer);
        within(4 * LEASE, "the wait", move || locker.lock()).unwrap().unlock().unwrap();
        // What is missing is looked for again.
        assert_eq!(peer.count(Operation::Look), if status == 404 { 2 } else { 1 }, "{status}");
    }
}

/// As behind a gateway that lets no HEAD through.
#[test]
fn looks_that_something_in_between_answers_keep_nobody_from_a_free_lock() {
    for status in [403, 405, 200] {
        let peer = Peer::start(move |received| match received.request.operation() {
            Operation::Acquire if received.number < 6 => service_error(409, "LeaseAlreadyPresent"),
            Operation::Look => Reply::Answer(Response { status, headers: Vec::new(), body: Vec::new() }),
            _ => well(received),
        });
        let locker = impatient(&peer);
        within(LEASE, "the wait", move || locker.lock()).unwrap().unlock().unwrap();
        // Three looks in a row, and not another one for a lease.
        assert_eq!(peer.count(Operation::Look), 3, "{status}");
        assert_eq!(peer.count(Operation::Acquire), 4, "{status}");
    }
}

#[test]
fn a_missing_lock_is_missing_though_an_old_service_says_so_without_a_code() {
    let peer = Peer::start(|_| answer(404, &[]));
    assert_eq!(mutex(&peer).inspect().unwrap().state(), LockState::Missing);
}

#[test]
fn the_service_version_can_be_set_for_an_older_service() {
    let peer = Peer::start(well);
    let builder = Container::builder(&format!("{}/acct/locks", peer.url()), key()).retry(policy());
    let mutex = builder.service_version("2017-11-09").build().unwrap().mutex("job").unwrap();
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.release(&mut lease).unwrap();
    for received in peer.received() {
        assert_eq!(received.request.header("x-ms-version"), Some("2017-11-09"));
    }
    for bad in ["", "2017-11-08", "2017-11", "latest", "2021-13-02", "2021-12-02\r\nx: y", "2999-12-02x"] {
        let builder = Container::builder(&format!("{}/acct/locks", peer.url()), key()).service_version(bad);
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
}
