//! No HTTP, or wrong HTTP.

use super::*;

#[test]
fn what_is_no_http_is_an_error() {
    endure(vec![
        ("nothing, and closed", Reply::Close),
        ("reset", Reply::Reset),
        ("garbage", Reply::Raw((0..=255).cycle().take(5_000).collect())),
        ("zeros", Reply::Raw(vec![0; 5_000])),
        ("http/0.9", raw("<html>hello</html>")),
        ("another protocol", raw("SSH-2.0-OpenSSH_9.6\r\n")),
        ("http/2", raw("HTTP/2 201 \r\n\r\n")),
        ("http/9.9", raw("HTTP/9.9 201 Created\r\ncontent-length: 0\r\n\r\n")),
        ("no status", raw("HTTP/1.1  \r\ncontent-length: 0\r\n\r\n")),
        ("status 99", raw("HTTP/1.1 099 \r\ncontent-length: 0\r\n\r\n")),
        ("status 999", raw(&format!("{}content-length: 0\r\n\r\n", head(999)))),
        ("a status of letters", raw("HTTP/1.1 abc \r\ncontent-length: 0\r\n\r\n")),
        ("a header without a colon", raw(&format!("{}nonsense\r\n\r\n", head(201)))),
        ("a header without a name", raw(&format!("{}: x\r\n\r\n", head(201)))),
        ("cut in the status line", raw("HTTP/1.1 2")),
        ("cut in the head", raw(&format!("{}x-ms-le", head(201)))),
    ]);
}

#[test]
fn wrong_lengths_are_errors() {
    let with = |status, framing: &str| raw(&format!("{}{framing}\r\n", head(status)));
    endure(vec![
        ("a negative length", with(500, "content-length: -1\r\n")),
        ("a length in letters", with(500, "content-length: ten\r\n")),
        ("a length beyond all numbers", with(500, "content-length: 99999999999999999999999\r\n")),
        ("the greatest length", with(500, "content-length: 18446744073709551615\r\n")),
        ("two lengths", with(500, "content-length: 1\r\ncontent-length: 2\r\n")),
        ("both framings", with(500, "content-length: 1\r\ntransfer-encoding: chunked\r\n")),
        ("an unknown coding", with(500, "transfer-encoding: rot13\r\n")),
        ("an unknown encoding", with(500, "content-encoding: gzip\r\ncontent-length: 0\r\n")),
        ("shorter than its length", with(500, "content-length: 1000\r\n")),
        (
            "silent before its length is reached",
            Reply::RawKeep(format!("{}content-length: 9\r\n\r\nx", head(500)).into_bytes()),
        ),
    ]);
}

#[test]
fn preliminary_answers_lead_nowhere() {
    let endless = |chunk: &[u8]| Reply::Endless { head: Vec::new(), chunk: chunk.to_vec() };
    endure(vec![
        ("a flood of 100", endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
        ("a flood of 102", endless(b"HTTP/1.1 102 Processing\r\n\r\n")),
        ("a flood of 103", endless(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")),
        ("one 100", Reply::RawKeep(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())),
        ("another protocol", raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nx")),
    ]);
}

#[test]
fn headers_of_a_wrong_sort_are_no_answer() {
    let bytes = |status, header: &[u8]| {
        Reply::Raw([head(status).as_bytes(), header, b"\r\ncontent-length: 0\r\n\r\n"].concat())
    };
    endure_when(
        &[Operation::Acquire],
        vec![
            ("a lease id of no ASCII", bytes(201, b"x-ms-lease-id: \xff\xfe\xc3\xa9")),
            ("a lease id of 36 letters of no ASCII", bytes(201, "x-ms-lease-id: éééééééééééééééééé".as_bytes())),
            ("a long lease id", bytes(201, format!("x-ms-lease-id: {}", "1".repeat(9_000)).as_bytes())),
        ],
    );
    endure_when(
        &[Operation::Break],
        vec![
            ("a break time of letters", bytes(202, b"x-ms-lease-time: soon")),
            ("a negative break time", bytes(202, b"x-ms-lease-time: -5")),
            ("a break time beyond all numbers", bytes(202, b"x-ms-lease-time: 99999999999999999999999")),
        ],
    );
    endure_when(
        &[Operation::Look],
        vec![
            ("a state of no ASCII", bytes(200, b"x-ms-lease-state: \xff")),
            ("a long state", bytes(200, format!("x-ms-lease-state: {}", "leased".repeat(1_000)).as_bytes())),
        ],
    );
    endure(vec![
        ("a code of no ASCII", bytes(409, b"x-ms-error-code: \xff\xfe")),
        ("a long code", bytes(409, format!("x-ms-error-code: {}", "A".repeat(9_000)).as_bytes())),
        ("a negative retry", bytes(503, b"retry-after: -1")),
        ("a retry of letters", bytes(503, b"retry-after: soon")),
        ("a long retry", bytes(503, b"retry-after: 18446744073709551615")),
        ("a retry beyond all numbers", bytes(503, b"retry-after: 99999999999999999999999")),
        ("a retry at the end of time", bytes(503, b"retry-after: Fri, 31 Dec 9999 23:59:59 GMT")),
        ("a retry in the past", bytes(503, b"retry-after: Sun, 06 Nov 1994 08:49:37 GMT")),
        ("a retry of many milliseconds", bytes(503, b"x-ms-retry-after-ms: 18446744073709551615")),
    ]);
}

#[test]
fn a_date_of_a_wrong_sort_is_no_skew() {
    for date in ["yesterday", "Thu, 99 Foo 9999 99:99:99 GMT", "", "-1"] {
        let headers = [("x-ms-error-code", "AuthenticationFailed"), ("date", date)];
        let peer = stage(Operation::Acquire, Reply::Answer(response(403, &headers, Vec::new())));
        let error = mutex(&peer).acquire(LEASE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential, "{date}: {error:?}");
    }
}

#[test]
fn what_follows_an_answer_is_not_taken_for_the_next() {
    // Behind the grant comes what would do for each of the next answers, were it read as one.
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => {
            let id = received.request.header("x-ms-proposed-lease-id").unwrap();
            let grant = format!("{}x-ms-lease-id: {id}\r\ncontent-length: 0\r\n\r\n", head(201));
            let next = format!("{}x-ms-lease-id: {id}\r\ncontent-length: 0\r\n\r\n", head(200));
            Reply::RawKeep(format!("{grant}{next}{next}").into_bytes())
        }
        Operation::Renew => service_error(409, "LeaseIdMismatchWithLeaseOperation"),
        _ => well(received),
    });
    let mutex = mutex_with(&peer, key(), policy().attempt_limit(500 * MS));
    let mut lease = mutex.acquire(LEASE).unwrap();
    let error = within(BOUND, "renew", move || mutex.renew(&mut lease)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}");
}
