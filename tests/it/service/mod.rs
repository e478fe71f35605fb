//! What only the real service answers, played by a scripted server, and what every request carries.

mod belonging;
mod creation;
mod holding;
mod operator;
mod portals;
mod requests;
mod rights;
mod throttling;
mod waiting;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use azmutex::credential::Credential;
use azmutex::crossbeam_channel::unbounded;
use azmutex::event::Event;
use azmutex::lease::{Break, Lease, LockState, Lost};
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Container, Error, ErrorKind, Locker};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::http::{Operation, Request, Response, http_date};
use crate::support::peer::{Peer, Received, Reply, answer, leased, response, service_error};

const LEASE: Duration = Duration::from_secs(15);
const MS: Duration = Duration::from_millis(1);
const STRANGER: &str = "99999999-9999-4999-8999-999999999999";
const KEY: &str = "c2VjcmV0";
const SAS: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=Kn0wnToNone%2Bg%3D";

/// A limit that a busy machine does not reach by itself, and pauses that cost the tests nothing.
pub(crate) fn policy() -> Policy {
    Policy::default().first_pause(MS).longest_pause(2 * MS)
}

/// For servers that say nothing.
fn hasty() -> Policy {
    policy().attempt_limit(300 * MS)
}

/// Runs it aside, so that a call which never ends fails its test and no more.
pub(crate) fn within<T: Send + 'static>(limit: Duration, what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = mpsc::channel();
    thread::spawn(move || done.send(run()));
    match end.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: not over within {limit:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what}: panicked"),
    }
}

pub(crate) fn key() -> Credential {
    Credential::shared_key("acct", KEY).unwrap()
}

pub(crate) fn mutex_with(peer: &Peer, credential: Credential, policy: Policy) -> AzureMutex {
    let url = format!("{}/acct/locks", peer.url());
    Container::builder(&url, credential).retry(policy).build().unwrap().mutex("job").unwrap()
}

pub(crate) fn mutex(peer: &Peer) -> AzureMutex {
    mutex_with(peer, key(), policy())
}

fn impatient(peer: &Peer) -> Locker {
    Locker::builder(mutex(peer)).pauses(MS, 5 * MS).build().unwrap()
}

/// What the service answers when the lock is free and all is well.
pub(crate) fn well(received: &Received) -> Reply {
    let request = &received.request;
    match request.operation() {
        Operation::Acquire => leased(201, request.header("x-ms-proposed-lease-id").unwrap_or_default()),
        Operation::Renew => leased(200, request.header("x-ms-lease-id").unwrap_or_default()),
        Operation::CreateBlob | Operation::CreateContainer => answer(201, &[]),
        Operation::Break => answer(202, &[("x-ms-lease-time", "0")]),
        Operation::Look => state("available"),
        _ => answer(200, &[]),
    }
}

fn state(state: &str) -> Reply {
    answer(200, &[("x-ms-lease-state", state)])
}

/// Answers the first requests for `operation` with these, and all else well.
pub(crate) fn first(operation: Operation, replies: impl Into<Vec<Reply>>) -> Peer {
    let (replies, asked) = (replies.into(), AtomicUsize::new(0));
    Peer::start(move |received| {
        if received.request.operation() != operation {
            return well(received);
        }
        replies.get(asked.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or_else(|| well(received))
    })
}

/// Answers every request for `operation` with this, and all else well.
pub(crate) fn always(operation: Operation, reply: Reply) -> Peer {
    Peer::start(move |received| if received.request.operation() == operation { reply.clone() } else { well(received) })
}

/// An answer that is not the service's: it has none of its headers but these.
fn portal(status: u16, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![("content-type".to_owned(), "text/html".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Reply::Answer(Response { status, headers: all, body: b"<!DOCTYPE html><h1>Not what you wanted</h1>".to_vec() })
}

fn busy() -> Reply {
    service_error(409, "LeaseAlreadyPresent")
}

/// A refusal with more to it than its code.
fn refusal(status: u16, code: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut all = vec![("x-ms-error-code", code)];
    all.extend_from_slice(headers);
    Reply::Answer(response(status, &all, body.as_bytes().to_vec()))
}

fn operations(peer: &Peer) -> Vec<Operation> {
    peer.received().iter().map(|received| received.request.operation()).collect()
}

/// The values of a header over all requests for `operation`.
fn values(peer: &Peer, operation: Operation, header: &str) -> Vec<String> {
    let received = peer.received();
    let requests = received.iter().map(|received| &received.request).filter(|request| request.operation() == operation);
    requests.map(|request| request.header(header).unwrap_or_default().to_owned()).collect()
}

fn proposed(peer: &Peer) -> Vec<String> {
    values(peer, Operation::Acquire, "x-ms-proposed-lease-id")
}

/// A locker, and what it tells.
fn observed(builder: azmutex::locker::Builder) -> (Locker, azmutex::crossbeam_channel::Receiver<Event>) {
    let (tell, events) = unbounded();
    (builder.on_event(move |event| drop(tell.send(event))).build().unwrap(), events)
}

fn unclear(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unexpected | ErrorKind::Unavailable)
}

/// What `AzureMutex` can ask for.
pub(crate) const CALLS: [Operation; 7] = [
    Operation::Acquire,
    Operation::CreateBlob,
    Operation::CreateContainer,
    Operation::Renew,
    Operation::Release,
    Operation::Break,
    Operation::Look,
];

/// Answers every request for `operation` with this, what must come before it so that it comes, and all else well.
pub(crate) fn stage(operation: Operation, reply: Reply) -> Peer {
    Peer::start(move |received| match (received.request.operation(), operation) {
        (asked, wanted) if asked == wanted => reply.clone(),
        (Operation::Acquire, Operation::CreateBlob) => service_error(404, "BlobNotFound"),
        (Operation::Acquire, Operation::CreateContainer) => service_error(404, "ContainerNotFound"),
        _ => well(received),
    })
}

/// The call that leads to `operation` on a [`stage`].
pub(crate) fn call(operation: Operation, mutex: &AzureMutex) -> azmutex::Result<()> {
    match operation {
        Operation::Renew => {
            let mut lease = mutex.acquire(LEASE)?;
            mutex.renew(&mut lease)
        }
        Operation::Release => mutex.release(&mut mutex.acquire(LEASE)?),
        Operation::Break => mutex.break_lease(Break::default()).map(drop),
        Operation::Look => mutex.inspect().map(drop),
        _ => mutex.acquire(LEASE).map(drop),
    }
}
