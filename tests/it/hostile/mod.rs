//! Servers that mean no good, or speak no HTTP: whatever they send, a call ends in time, in bounded memory, with an
//! error that has a kind; nothing secret is in it; and no thread stays behind.

mod cuts;
mod excess;
mod malformed;
pub(crate) mod reflection;
mod silence;
mod words;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use azmutex::lease::Break;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Container, Error, ErrorKind, Locker};

use crate::service::{CALLS, call, key, mutex, mutex_with, policy, stage, well, within};
use crate::support::http::Operation;
use crate::support::peer::{Peer, Received, Reply, answer, response, service_error};
use crate::support::prints;

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
#[cfg(unix)]
pub(crate) fn nobody() -> (std::os::fd::OwnedFd, u16) {
    use std::net::SocketAddr;

    use rustix::net;

    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = SocketAddr::try_from(net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

/// A port that refuses connections, unless somebody else takes it.
#[cfg(not(unix))]
pub(crate) fn nobody() -> ((), u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ((), listener.local_addr().unwrap().port())
}
