//! What a request carries.

use super::*;

/// Leads to each request that there is.
fn all_requests(credential: Credential) -> Vec<Request> {
    let mut requests = Vec::new();
    for operation in CALLS {
        let peer = match operation {
            Operation::CreateBlob => first(Operation::Acquire, [service_error(404, "BlobNotFound")]),
            Operation::CreateContainer => first(Operation::Acquire, [service_error(404, "ContainerNotFound")]),
            _ => Peer::start(well),
        };
        call(operation, &mutex_with(&peer, credential.clone(), policy())).unwrap();
        requests.extend(peer.received().into_iter().map(|received| received.request));
    }
    for operation in CALLS {
        assert!(requests.iter().any(|request| request.operation() == operation), "{operation:?}");
    }
    requests
}

#[test]
fn each_request_is_framed_as_the_service_wants_it() {
    for credential in [key(), Credential::sas(SAS).unwrap()] {
        for request in all_requests(credential) {
            let put = request.method == "PUT";
            assert_eq!(request.header("content-length"), put.then_some("0"), "{request:?}");
            assert_eq!(request.header("x-ms-version"), Some("2021-12-02"), "{request:?}");
            let date = httpdate::parse_http_date(request.header("x-ms-date").unwrap()).unwrap();
            let off = SystemTime::now().duration_since(date).unwrap_or_default();
            assert!(off < Duration::from_secs(60), "{request:?}");
            let create = request.operation() == Operation::CreateBlob;
            assert_eq!(request.header("if-none-match"), create.then_some("*"), "{request:?}");
            assert_eq!(request.header("x-ms-blob-type"), create.then_some("BlockBlob"), "{request:?}");
            assert!(request.body.is_empty());
            // Each of these would be part of what is signed, or change how the request is understood.
            for header in [
                "transfer-encoding",
                "content-encoding",
                "content-language",
                "content-md5",
                "content-type",
                "date",
                "expect",
                "if-match",
                "if-modified-since",
                "if-unmodified-since",
                "range",
                "x-ms-range",
                "cookie",
            ] {
                assert_eq!(request.header(header), None, "{request:?}");
            }
            let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "a header twice: {request:?}");
        }
    }
}

/// The signature of the request as it arrived, worked out from the reference and not from the library.
fn signature(request: &Request) -> String {
    let length = request.header("content-length").filter(|length| *length != "0").unwrap_or_default();
    let none_match = request.header("if-none-match").unwrap_or_default();
    let mut own: Vec<_> = request.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort();
    let own: String = own.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (_, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut query: Vec<_> =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.replace('=', ":")).collect();
    query.sort();
    let query: String = query.iter().map(|pair| format!("\n{pair}")).collect();
    let text =
        format!("{}\n\n\n{length}\n\n\n\n\n\n{none_match}\n\n\n{own}/acct{}{query}", request.method, request.path());
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    format!("SharedKey acct:{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn each_request_is_signed_as_it_arrives() {
    for request in all_requests(key()) {
        assert_eq!(request.header("authorization"), Some(&*signature(&request)), "{request:?}");
    }
}

#[test]
fn a_sas_goes_with_each_request_as_it_was_given_and_nothing_else_does() {
    for request in all_requests(Credential::sas(SAS).unwrap()) {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        let (_, query) = request.target.split_once('?').unwrap();
        assert!(query.ends_with(SAS), "{query}");
        assert_eq!(query.matches("sig=").count(), 1, "{query}");
    }
}

#[test]
fn one_connection_serves_call_after_call() {
    let peer = Peer::start(well);
    let mutex = mutex(&peer);
    for _ in 0..3 {
        let mut lease = mutex.acquire(LEASE).unwrap();
        mutex.renew(&mut lease).unwrap();
        assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
        mutex.break_lease(Break::AtExpiry).unwrap();
        mutex.release(&mut lease).unwrap();
        Locker::new(mutex.clone()).lock().unwrap().unlock().unwrap();
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_refusal_with_a_body_keeps_the_connection() {
    let peer = always(Operation::Acquire, busy());
    let mutex = mutex(&peer);
    for _ in 0..5 {
        assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_is_replaced() {
    // It is closed behind an answer that promised to keep it.
    let peer = Peer::start(|received| match well(received) {
        Reply::Answer(response) => Reply::Raw(response.to_bytes(&received.request.method)),
        other => other,
    });
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    for _ in 0..5 {
        thread::sleep(20 * MS);
        mutex.renew(&mut lease).unwrap();
        assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
    }
    mutex.release(&mut lease).unwrap();
    assert!(peer.connections() >= 12);
}
