//! Servers that mean no good, or speak no HTTP: whatever they send, a call ends in time, in bounded memory, with an
//! error that has a kind; nothing secret is in it; and no thread stays behind.

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use azmutex::lease::Break;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Container, Error, ErrorKind, Locker};
use rustix::net;

use crate::service::{CALLS, call, key, mutex, mutex_with, policy, stage, well, within};
use crate::support::http::Operation;
use crate::support::peer::{Peer, Received, Reply, answer, response, service_error};

const LEASE: Duration = Duration::from_secs(15);
const MS: Duration = Duration::from_millis(1);
/// For a call of two attempts of 300 ms each: shorter than one attempt under the default limit.
const BOUND: Duration = Duration::from_secs(4);
const SAS: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=Kn0wnToNone%2BgSecret%2Fpart%3D";

fn short() -> Policy {
    Policy::default().attempt_limit(300 * MS).retries(1).first_pause(MS).longest_pause(2 * MS)
}

/// A locker and all that it tells, in both forms of print.
fn observed(mutex: AzureMutex) -> (Locker, Receiver<String>) {
    let (tell, events) = unbounded();
    let builder = Locker::builder(mutex).pauses(MS, 5 * MS);
    (builder.on_event(move |event| drop(tell.send(format!("{event}\n{event:?}")))).build().unwrap(), events)
}

/// What was told, once the lock's own threads have ended: they are what keeps the observer.
fn last_words(what: &str, events: &Receiver<String>) -> Vec<String> {
    let end = Instant::now() + BOUND;
    let mut words = Vec::new();
    loop {
        match events.recv_deadline(end) {
            Ok(line) => words.push(line),
            Err(RecvTimeoutError::Disconnected) => return words,
            Err(RecvTimeoutError::Timeout) => panic!("{what}: a thread stays behind, after {words:?}"),
        }
    }
}

/// Everything that a caller can print of an error.
fn prints(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{:?}\n{:?}", error.service_code(), error.request_id());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}\n{cause:?}"));
        source = cause.source();
    }
    text
}

/// What each call may say of a server whose answer tells nothing.
fn senseless(what: &str, error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unexpected), "{what}: {error:?}");
    let text = prints(error);
    assert!(text.len() < 8 * 1024, "{what}: {} bytes of text", text.len());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{what}: {text:?}");
}

/// With such a server, whatever is asked of it.
fn endure(cases: Vec<(&'static str, Reply)>) {
    endure_when(&CALLS, cases);
}

fn endure_when(asked: &[Operation], cases: Vec<(&'static str, Reply)>) {
    thread::scope(|scope| {
        for (name, reply) in cases {
            scope.spawn(move || {
                let peer = Peer::start({
                    let reply = reply.clone();
                    move |_| reply.clone()
                });
                endure_seeking(name, mutex_with(&peer, key(), short()));
                for &operation in asked {
                    let peer = stage(operation, reply.clone());
                    // One attempt each: the way to it needs its time, too.
                    endure_call(name, operation, mutex_with(&peer, key(), short().retries(0)));
                }
            });
        }
    });
}

fn endure_seeking(name: &str, mutex: AzureMutex) {
    let (locker, events) = observed(mutex);
    let clone = locker.clone();
    let error = within(BOUND, name, move || clone.try_lock().map(drop)).unwrap_err();
    senseless(name, &error);
    let clone = locker.clone();
    let error = within(BOUND, name, move || clone.lock_timeout(100 * MS).map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{name}: {error:?}");
    drop(locker);
    last_words(name, &events);
}

fn endure_call(name: &str, operation: Operation, mutex: AzureMutex) {
    let what = format!("{name}, {operation:?}");
    let error = within(BOUND, &what, move || call(operation, &mutex)).err().unwrap_or_else(|| panic!("{what}: Ok"));
    senseless(&what, &error);
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

/// A head as of the service, up to where more headers could come.
fn head(status: u16) -> String {
    format!("HTTP/1.1 {status} \r\nx-ms-request-id: 00000000-0000-4000-8000-000000000001\r\n")
}

/// A port that refuses connections for as long as the socket lives: it is bound, and nobody listens.
pub(crate) fn nobody() -> (OwnedFd, u16) {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = SocketAddr::try_from(net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

// Silence.

#[test]
fn a_server_that_says_nothing_is_given_up() {
    endure(vec![
        ("silence", Reply::Hang),
        ("half a status line", Reply::RawKeep(b"HTTP/1.1 20".to_vec())),
        ("half a head", Reply::RawKeep(head(201).into_bytes())),
    ]);
}

#[test]
fn a_server_that_does_not_even_accept_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), key()).retry(short());
    endure_seeking("not accepted", container.build().unwrap().mutex("job").unwrap());
}

#[test]
fn a_server_that_is_not_there_is_told_so() {
    let (_socket, port) = nobody();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), key()).retry(short());
    let (locker, events) = observed(container.build().unwrap().mutex("job").unwrap());
    let error = within(BOUND, "refused", move || locker.try_lock().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("listens"), "{error:?}");
    last_words("refused", &events);
}

#[test]
fn a_server_that_answers_a_byte_at_a_time_is_given_up() {
    let answer = format!("{}x-ms-lease-id: 1\r\ncontent-length: 0\r\n\r\n", head(201)).into_bytes();
    let trickle = |bytes: Vec<u8>| Reply::Trickle { bytes, every: 20 * MS };
    let body = [head(500).as_bytes(), b"content-length: 4000\r\n\r\n", &[b'x'; 4000]].concat();
    endure(vec![("a trickled head", trickle(answer))]);
    let peer = Peer::start(move |_| Reply::Trickle { bytes: body.clone(), every: 20 * MS });
    endure_seeking("a trickled body", mutex_with(&peer, key(), short()));
}

// Too much of something.

#[test]
fn a_head_without_an_end_is_given_up() {
    let endless = |start: String, chunk: &[u8]| Reply::Endless { head: start.into_bytes(), chunk: chunk.to_vec() };
    let many: String = (0..5_000).map(|i| format!("x-ms-meta-{i}: v\r\n")).collect();
    let some: String = (0..300).map(|i| format!("x-{i}: v\r\n")).collect();
    endure(vec![
        ("an endless header", endless(format!("{}x: ", head(201)), &[b'a'; 4096])),
        ("an endless name", endless(head(201), &[b'a'; 4096])),
        ("endless headers", endless(head(201), b"x-a: b\r\n")),
        ("an endless status line", endless("HTTP/1.1 201 ".into(), &[b'a'; 4096])),
        ("thousands of headers", raw(&format!("{}{many}content-length: 0\r\n\r\n", head(201)))),
        ("hundreds of headers", raw(&format!("{}{some}content-length: 0\r\n\r\n", head(201)))),
        ("a header of 30 KB", raw(&format!("{}x: {}\r\ncontent-length: 0\r\n\r\n", head(201), "a".repeat(30_000)))),
        ("a header of 200 KB", raw(&format!("{}x: {}\r\ncontent-length: 0\r\n\r\n", head(201), "a".repeat(200_000)))),
    ]);
}

#[test]
fn a_body_without_an_end_is_given_up() {
    let endless = |head: String, chunk: &[u8]| Reply::Endless { head: head.into_bytes(), chunk: chunk.to_vec() };
    let chunked = |status| format!("{}transfer-encoding: chunked\r\n\r\n", head(status));
    endure(vec![
        ("500", endless(format!("{}\r\n", head(500)), &[b'x'; 4096])),
        ("409", endless(format!("{}\r\n", head(409)), &[b'x'; 4096])),
        ("endless chunks", endless(chunked(500), b"1\r\nx\r\n")),
        ("an endless chunk", endless(format!("{}fffffffffffffff0\r\n", chunked(500)), &[b'x'; 4096])),
        ("an endless chunk size", endless(chunked(500), b"0000000000")),
        ("an endless chunk extension", endless(format!("{}1;", chunked(500)), b"xxxxxxxxxx")),
        ("endless trailers", endless(format!("{}0\r\n", chunked(500)), b"x-a: b\r\n")),
        ("a chunk size beyond all numbers", raw(&format!("{}fffffffffffffffffffff\r\nx", chunked(500)))),
        ("a negative chunk size", raw(&format!("{}-1\r\nx\r\n0\r\n\r\n", chunked(500)))),
    ]);
}

#[test]
fn a_head_that_tells_all_counts_whatever_comes_after_it() {
    let code = "x-ms-error-code: LeaseAlreadyPresent\r\n";
    let bodies: [(&str, &str, &[u8], bool); 4] = [
        ("endless", "\r\n", &[b'x'; 4096], true),
        ("too short", "content-length: 1000\r\n\r\n", b"x", false),
        ("endless chunks", "transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", true),
        ("bad chunks", "transfer-encoding: chunked\r\n\r\n", b"zz\r\n", false),
    ];
    // Nothing here needs the limit, so a busy machine may take its time.
    let policy = || short().attempt_limit(MS * 1_500);
    thread::scope(|scope| {
        for (name, framing, body, endless) in bodies {
            scope.spawn(move || {
                let reply = move |head: String| {
                    let head = format!("{head}{framing}").into_bytes();
                    match endless {
                        true => Reply::Endless { head, chunk: body.to_vec() },
                        false => Reply::Raw([&head, body].concat()),
                    }
                };
                let busy = Peer::start(move |_| reply(format!("{}{code}", head(409))));
                let (locker, events) = observed(mutex_with(&busy, key(), policy()));
                let error = within(BOUND, name, move || locker.try_lock().map(drop)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}: {error:?}");
                last_words(name, &events);

                let free = Peer::start(move |received| match received.request.operation() {
                    Operation::Acquire => {
                        let id = received.request.header("x-ms-proposed-lease-id").unwrap();
                        reply(format!("{}x-ms-lease-id: {id}\r\n", head(201)))
                    }
                    _ => reply(head(200)),
                });
                let (locker, events) = observed(mutex_with(&free, key(), policy()));
                within(BOUND, name, move || locker.try_lock().and_then(|guard| guard.unlock())).unwrap();
                last_words(name, &events);
            });
        }
    });
}

/// What this process has had in memory at most, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn an_endless_answer_costs_bounded_memory() {
    let starts = [
        format!("{}x-ms-error-code: InternalError\r\n\r\n", head(500)),
        format!("{}content-length: 99999999999\r\n\r\n", head(409)),
        format!("{}x-ms-lease-id: 99999999-9999-4999-8999-999999999999\r\n\r\n", head(201)),
        format!("{}x: ", head(201)),
    ];
    for start in starts {
        // The connections that it takes, and what they took from it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicU64::new(0));
        let counter = taken.clone();
        let bytes = start.clone();
        thread::spawn(move || {
            // Try, release, no more.
            for stream in listener.incoming().take(2) {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(bytes.as_bytes());
                let chunk = [b'x'; 64 * 1024];
                while let Ok(written) = stream.write(&chunk) {
                    counter.fetch_add(written as u64, Ordering::Relaxed);
                }
            }
        });
        let policy = short().attempt_limit(Duration::from_secs(1)).retries(0);
        let url = format!("http://127.0.0.1:{port}/acct/locks");
        let mutex = Container::builder(&url, key()).retry(policy).build().unwrap().mutex("job").unwrap();
        let before = peak_memory();
        let error = within(BOUND, &start, move || mutex.acquire(LEASE).map(drop)).unwrap_err();
        senseless(&start, &error);
        // What the two sockets' buffers hold counts as taken: some megabytes each.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < 48 << 20, "{start:?}: {taken} bytes were taken");
        if let (Some(before), Some(after)) = (before, peak_memory()) {
            assert!(after.saturating_sub(before) < 64 << 10, "{start:?}: {before} KiB grew to {after} KiB");
        }
    }
}

// No HTTP, or wrong HTTP.

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

// Cut connections.

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

// Secrets.

#[test]
fn a_redirect_is_not_followed() {
    for credential in [key(), Credential::sas(SAS).unwrap()] {
        for status in [300, 301, 302, 303, 307, 308] {
            for operation in CALLS {
                let elsewhere = Peer::start(well);
                let target = format!("{}/acct/locks/job?comp=lease&{SAS}", elsewhere.url());
                let peer = stage(operation, answer(status, &[("location", &target)]));
                let error = call(operation, &mutex_with(&peer, credential.clone(), policy().retries(1))).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unexpected, "{status} {operation:?}: {error:?}");
                assert_eq!(elsewhere.connections(), 0, "{status} {operation:?}");
            }
        }
    }
}

/// The secret of a request, as it was sent.
fn secret_of(received: &Received) -> String {
    let request = &received.request;
    let key = || request.header("authorization").and_then(|value| value.split_once(':')).map(|(_, mac)| mac.to_owned());
    request.query("sig").or_else(key).unwrap()
}

/// The secret in the forms in which a server may send it back without meaning to.
fn forms(secret: &str) -> [String; 3] {
    let decoded = secret.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    [secret.to_owned(), decoded, secret.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")]
}

/// Answers with the secret everywhere.
pub(crate) fn reflections(secret: &str) -> Vec<Reply> {
    let body = format!(
        "<Error><Code>{secret}</Code><Message>{secret}</Message><AuthenticationErrorDetail>The signature {secret} did \
         not match; {secret}</AuthenticationErrorDetail></Error>"
    );
    let reply = |status, code: &str, id: &str| {
        let headers = [("x-ms-error-code", code), ("x-ms-request-id", id), ("www-authenticate", secret)];
        Reply::Answer(response(status, &headers, body.clone().into_bytes()))
    };
    let line = |text: String| Reply::Raw(text.into_bytes());
    vec![
        reply(403, secret, secret),
        reply(403, "AuthenticationFailed", secret),
        reply(401, "InvalidAuthenticationInfo", secret),
        reply(400, secret, secret),
        reply(503, "ServerBusy", secret),
        reply(418, secret, secret),
        answer(307, &[("location", secret), ("x-ms-request-id", secret)]),
        answer(307, &[("location", &format!("http://[{secret}")), ("x-ms-request-id", secret)]),
        line(format!("{secret}\r\n\r\n")),
        line(format!("HTTP/1.1 {secret}\r\n\r\n")),
        line(format!("{}{secret}\r\n\r\n", head(500))),
        line(format!("{}content-length: {secret}\r\n\r\n", head(500))),
        line(format!("{}transfer-encoding: {secret}\r\n\r\n", head(500))),
        line(format!("{}transfer-encoding: chunked\r\n\r\n{secret}\r\n", head(500))),
        line(format!("{}retry-after: {secret}\r\nx-ms-lease-id: {secret}\r\ndate: {secret}\r\n\r\n", head(201))),
    ]
}

/// Whatever a server sends back of a secret, no print of an error or an event shows it.
fn reflects(credential: &Credential, form: usize) {
    for kind in 0..reflections("").len() {
        reflects_once(credential, form, kind);
    }
}

fn reflects_once(credential: &Credential, form: usize, kind: usize) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let peer = Peer::start(move |received| {
        let secret = secret_of(received);
        log.lock().unwrap().extend(forms(&secret));
        reflections(&forms(&secret)[form]).swap_remove(kind)
    });
    let mutex = mutex_with(&peer, credential.clone(), short().attempt_limit(Duration::from_secs(2)));
    let (locker, events) = observed(mutex.clone());
    let mut prints = vec![prints(&locker.try_lock().unwrap_err())];
    prints.push(self::prints(&locker.lock_timeout(20 * MS).unwrap_err()));
    prints.push(self::prints(&mutex.break_lease(Break::AtExpiry).unwrap_err()));
    prints.push(self::prints(&mutex.inspect().unwrap_err()));
    prints.push(format!("{mutex:?} {locker:?} {credential:?}"));
    drop(locker);
    prints.extend(last_words("reflected", &events));
    for secret in seen.lock().unwrap().iter() {
        for print in &prints {
            assert!(!print.contains(secret), "form {form}, kind {kind}: {secret} in {print}");
        }
    }
}

#[test]
fn a_sas_that_a_server_sends_back_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 0);
}

#[test]
fn a_sas_that_a_server_sends_back_decoded_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 1);
}

/// `%2b` and `%2B` are the same, and servers on the way may write either.
#[test]
fn a_sas_that_a_server_sends_back_encoded_anew_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 2);
}

/// Good for a quarter of an hour, for whoever reads it in a log.
#[test]
fn a_request_s_signature_that_a_server_sends_back_is_not_shown() {
    reflects(&key(), 0);
}

#[test]
fn an_unreachable_server_s_error_has_no_secret() {
    let (_socket, port) = nobody();
    let sas = Credential::sas(SAS).unwrap();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), sas).retry(short());
    let mutex = container.build().unwrap().mutex("job").unwrap();
    let (locker, events) = observed(mutex.clone());
    let mut text = prints(&locker.try_lock().unwrap_err());
    text.push_str(&prints(&mutex.inspect().unwrap_err()));
    drop(locker);
    text.push_str(&last_words("unreachable", &events).join("\n"));
    for secret in forms("Kn0wnToNone%2BgSecret%2Fpart%3D") {
        assert!(!text.contains(&secret), "{text}");
    }
}

/// What a server says ends up on terminals and in logs.
#[test]
fn a_server_s_words_are_shown_on_one_line_and_cut() {
    let detail = format!("one\r\ntwo\u{1b}[2Jthree\u{9b}2Jfour\0{}", "five".repeat(10_000));
    let body = format!("<Error><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>");
    let headers = [("x-ms-error-code", "AuthenticationFailed")];
    let peer = stage(Operation::Acquire, Reply::Answer(response(403, &headers, body.into_bytes())));
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("one") && text.contains("four"), "{text:?}");
    assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    assert!(text.len() < 4_000, "{} bytes", text.len());
}
