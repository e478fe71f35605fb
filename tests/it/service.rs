//! What only the real service answers, played by a scripted server, and what every request carries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use azmutex::credential::Credential;
use azmutex::crossbeam_channel::unbounded;
use azmutex::event::Event;
use azmutex::lease::{Break, Lease, LockStatus, Lost};
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

// Throttling, and failures that may have been none.

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
        let told = (0..4).any(|_| {
            let error = impatient(&peer).lock_timeout(400 * MS).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
            std::error::Error::source(&error).is_some() && (error.http_status(), error.service_code()) == (status, code)
        });
        assert!(told, "{status:?} {code:?}");
    }
}

// What is not the service's word.

#[test]
fn a_portal_s_refusal_is_never_taken_for_the_service_s() {
    let cases = [
        (411, &[][..]),
        (400, &[]),
        (401, &[]),
        (403, &[]),
        (404, &[]),
        (409, &[]),
        (412, &[]),
        (502, &[]),
        (200, &[]),
        (201, &[("x-ms-lease-id", STRANGER)]),
        // With the code, but without the id that the service gives every request.
        (404, &[("x-ms-error-code", "BlobNotFound")]),
        (404, &[("x-ms-error-code", "ContainerNotFound")]),
        (409, &[("x-ms-error-code", "LeaseAlreadyPresent")]),
    ];
    for (status, headers) in cases {
        let peer = always(Operation::Acquire, portal(status, headers));
        let error = Locker::new(mutex(&peer)).try_lock().unwrap_err();
        if status != 401 {
            assert!(unclear(error.kind()), "{status} {headers:?}: {error:?}");
        }
        assert_eq!(error.http_status(), Some(status));
        assert_eq!((error.service_code(), error.request_id()), (None, None), "{status} {headers:?}");
        let asked = operations(&peer);
        let expected = |operation| matches!(operation, Operation::Acquire | Operation::Release);
        assert!(asked.iter().all(|operation| expected(*operation)), "{status} {headers:?}: {asked:?}");
        assert_eq!(peer.count(Operation::Acquire), 4, "{status} {headers:?}: {asked:?}");
    }
}

#[test]
fn a_portal_s_refusal_is_no_loss_of_a_lease() {
    for (status, code) in [
        (200, None),
        (403, None),
        (404, None),
        (409, None),
        (412, None),
        (404, Some("BlobNotFound")),
        (409, Some("LeaseIdMismatchWithLeaseOperation")),
        (409, Some("LeaseIsBrokenAndCannotBeRenewed")),
    ] {
        let headers: Vec<_> = code.iter().map(|code| ("x-ms-error-code", *code)).collect();
        let peer = always(Operation::Renew, portal(status, &headers));
        let mutex = mutex(&peer);
        let mut lease = mutex.acquire(LEASE).unwrap();
        let error = mutex.renew(&mut lease).unwrap_err();
        assert!(unclear(error.kind()), "{status} {code:?}: {error:?}");
        assert_eq!(error.lost_because(), None);
        assert!(lease.is_held(), "{status} {code:?}");
    }
}

#[test]
fn a_portal_in_front_of_a_renewal_is_outlasted() {
    let peer = first(Operation::Renew, [portal(409, &[]), portal(404, &[]), portal(403, &[]), portal(200, &[])]);
    let builder = Locker::builder(mutex(&peer)).lease(LEASE).renew_every(Duration::from_secs(1));
    let (locker, events) = observed(builder);
    let guard = locker.lock().unwrap();
    let mut failed = 0;
    loop {
        match events.recv_timeout(Duration::from_secs(8)).unwrap() {
            Event::RenewalFailed { .. } => failed += 1,
            Event::Renewed { .. } => break,
            Event::Lost { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    assert_eq!(failed, 4);
    assert!(guard.is_held());
    guard.unlock().unwrap();
}

#[test]
fn a_portal_in_front_of_a_look_makes_nothing() {
    let looks = AtomicUsize::new(0);
    let peer = Peer::start(move |received| match received.request.operation() {
        Operation::Acquire if received.number == 0 => busy(),
        Operation::Look if looks.fetch_add(1, Ordering::Relaxed) < 3 => portal(404, &[]),
        _ => well(received),
    });
    let guard = impatient(&peer).lock_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(peer.count(Operation::CreateBlob) + peer.count(Operation::CreateContainer), 0);
    assert_eq!(peer.count(Operation::Acquire), 2, "{:?}", operations(&peer));
    guard.unlock().unwrap();
}

// Credentials and rights.

#[test]
fn a_credential_that_is_not_accepted_is_told_with_the_service_s_own_words_and_not_tried_again() {
    let detail = "Issuer validation failed. Issuer did not match.";
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>X</Code><Message>Server failed to authenticate the \
         request.\nRequestId:1\nTime:2</Message><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    );
    let marked = format!("\u{feff}{body}");
    let challenge =
        ("www-authenticate", "Bearer authorization_uri=https://login.microsoftonline.com/t/oauth2/authorize");
    let cases = [
        (refusal(401, "InvalidAuthenticationInfo", &[challenge], &body), detail),
        (refusal(400, "InvalidAuthenticationInfo", &[], &body), detail),
        (refusal(403, "AuthenticationFailed", &[], &body), detail),
        (refusal(403, "AuthenticationFailed", &[], &marked), detail),
        (refusal(403, "AuthenticationFailed", &[], ""), "key"),
    ];
    for (reply, text) in cases {
        let peer = always(Operation::Acquire, reply);
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
        assert!(error.to_string().contains(text), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Acquire], "{error:?}");
    }
}

#[test]
fn a_refused_sort_of_key_and_a_refused_network_are_matters_of_permission() {
    for (code, text) in [
        ("KeyBasedAuthenticationNotPermitted", "key"),
        ("AuthorizationFailure", "firewall"),
        ("AuthorizationSourceIPMismatch", "address"),
        ("AccountIsDisabled", "disabled"),
        ("SomethingNewIn2030", "allow"),
    ] {
        let peer = always(Operation::Acquire, service_error(403, code));
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert_eq!(error.service_code(), Some(code));
        assert!(error.to_string().contains(text), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Acquire], "{error:?}");
    }
}

#[test]
fn the_missing_right_is_named_for_each_operation() {
    let rights =
        ["write (`w`)", "create (`c`)", "create containers", "write (`w`)", "write (`w`)", "(`w`)", "read (`r`)"];
    for (operation, right) in CALLS.into_iter().zip(rights) {
        for code in ["AuthorizationPermissionMismatch", "AuthorizationFailure"] {
            let peer = stage(operation, service_error(403, code));
            let error = call(operation, &mutex(&peer)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{operation:?}: {error:?}");
            assert!(format!("{error:?}").contains(right), "{operation:?}: {error:?}");
            assert_eq!(peer.count(operation), 1, "{operation:?}: {error:?}");
        }
    }
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much_and_which_way() {
    let off = Duration::from_secs(3 * 3600 + 30);
    for (shift, ahead) in [(off, true), (off, false)] {
        let peer = Peer::start(move |_| {
            let now = SystemTime::now();
            let theirs = http_date(if ahead { now - shift } else { now + shift });
            refusal(403, "AuthenticationFailed", &[("date", &theirs)], "")
        });
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClockSkew, "{error:?}");
        assert_eq!(peer.received().len(), 1);
        let text = error.to_string();
        assert!(text.contains("180 min"), "{text}");
        assert_eq!((text.contains("ahead"), text.contains("behind")), (ahead, !ahead), "{text}");
    }
}

#[test]
fn a_clock_that_is_right_enough_is_not_blamed() {
    let cases = [("AuthenticationFailed", 600), ("AuthorizationPermissionMismatch", 3 * 3600)];
    for (code, seconds) in cases {
        let peer = Peer::start(move |_| {
            let theirs = http_date(SystemTime::now() - Duration::from_secs(seconds));
            refusal(403, code, &[("date", &theirs)], "")
        });
        let error = mutex(&peer).acquire(LEASE).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::ClockSkew, "{error:?}");
        assert!(!error.to_string().contains("clock"), "{error:?}");
    }
}

// Making the blob and the container.

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

// Holding and letting go.

/// A renewal's answer, as [`AzureMutex::renew`] tells it, and whether the lease still counts as ours.
fn renewed(reply: Reply) -> (Error, Lease, Peer) {
    let peer = always(Operation::Renew, reply);
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    let error = mutex.renew(&mut lease).unwrap_err();
    (error, lease, peer)
}

// Scenario 9.
#[test]
fn a_definite_word_on_the_lease_is_its_loss_with_its_reason() {
    let cases = [
        (service_error(409, "LeaseIdMismatchWithLeaseOperation"), Lost::Taken),
        (service_error(409, "LeaseNotPresentWithLeaseOperation"), Lost::Taken),
        (leased(200, STRANGER), Lost::Taken),
        (service_error(409, "LeaseIsBrokenAndCannotBeRenewed"), Lost::Broken),
        (service_error(404, "BlobNotFound"), Lost::BlobDeleted),
        (service_error(404, "ContainerNotFound"), Lost::ContainerDeleted),
    ];
    for (reply, why) in cases {
        let (error, lease, peer) = renewed(reply);
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        assert!(!lease.is_held(), "{why:?}");
        assert_eq!(peer.count(Operation::Renew), 1, "{why:?}");
    }
}

// Scenario 9, where nothing is lost.
#[test]
fn a_refused_credential_leaves_the_lease_ours_until_its_deadline() {
    let cases = [
        (403, "AuthorizationPermissionMismatch", ErrorKind::PermissionDenied),
        (403, "AuthorizationFailure", ErrorKind::PermissionDenied),
        (403, "AuthenticationFailed", ErrorKind::Credential),
        (401, "InvalidAuthenticationInfo", ErrorKind::Credential),
    ];
    for (status, code, kind) in cases {
        let (error, lease, _peer) = renewed(service_error(status, code));
        assert_eq!((error.kind(), error.lost_because()), (kind, None), "{error:?}");
        assert!(lease.is_held(), "{code}");
    }
}

#[test]
fn a_grant_that_does_not_name_our_id_is_none_and_is_undone() {
    let cases = [
        ("a stranger's", leased(201, STRANGER)),
        ("no id", answer(201, &[])),
        ("an empty id", leased(201, "")),
        ("no guid", leased(201, "mine")),
        ("not 201", leased(202, STRANGER)),
    ];
    for (name, reply) in cases {
        let peer = always(Operation::Acquire, reply);
        let mutex = mutex(&peer);
        let error = mutex.acquire(LEASE).err().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{name}: {error:?}");
        let id = proposed(&peer)[0].clone();
        assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id"), [id], "{name}");
        let error = Locker::new(mutex).try_lock().err().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{name}: {error:?}");
        let id = proposed(&peer).pop().unwrap();
        assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id").pop(), Some(id), "{name}");
    }
}

#[test]
fn a_grant_without_a_request_id_is_none_and_is_undone() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => {
            let id = received.request.header("x-ms-proposed-lease-id").unwrap();
            portal(201, &[("x-ms-lease-id", id)])
        }
        _ => well(received),
    });
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    assert_eq!(values(&peer, Operation::Release, "x-ms-lease-id"), [proposed(&peer)[0].clone()]);
}

#[test]
fn our_id_in_capitals_is_ours() {
    let peer = Peer::start(|received| match received.request.operation() {
        Operation::Acquire => {
            leased(201, &received.request.header("x-ms-proposed-lease-id").unwrap().to_ascii_uppercase())
        }
        Operation::Renew => leased(200, &received.request.header("x-ms-lease-id").unwrap().to_ascii_uppercase()),
        _ => well(received),
    });
    let mutex = mutex(&peer);
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.release(&mut lease).unwrap();
}

#[test]
fn a_release_that_finds_the_lease_gone_says_that_it_was_lost() {
    let cases = [
        (service_error(409, "LeaseIdMismatchWithLeaseOperation"), Lost::Taken),
        (service_error(409, "LeaseNotPresentWithLeaseOperation"), Lost::Taken),
        (service_error(404, "BlobNotFound"), Lost::BlobDeleted),
        (service_error(404, "ContainerNotFound"), Lost::ContainerDeleted),
    ];
    for (reply, why) in cases {
        let peer = always(Operation::Release, reply);
        let mutex = mutex(&peer);
        let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        let error = Locker::new(mutex).lock().unwrap().unlock().unwrap_err();
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(why)), "{error:?}");
        assert_eq!(peer.count(Operation::Release), 2, "one each");
    }
}

#[test]
fn a_release_that_had_worked_without_our_hearing_of_it_has_worked() {
    let gone = [
        service_error(409, "LeaseIdMismatchWithLeaseOperation"),
        service_error(409, "LeaseNotPresentWithLeaseOperation"),
        service_error(404, "BlobNotFound"),
        service_error(404, "ContainerNotFound"),
    ];
    for unheard in [Reply::Close, Reply::Reset, service_error(500, "OperationTimedOut"), portal(502, &[])] {
        for gone in &gone {
            let peer = first(Operation::Release, [unheard.clone(), gone.clone()]);
            let mutex = mutex(&peer);
            mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_or_else(|error| panic!("{unheard:?}: {error:?}"));
            assert_eq!(peer.count(Operation::Release), 2, "{unheard:?}");
        }
    }
    let peer = first(Operation::Release, [Reply::Hang, gone[0].clone()]);
    let guard = Locker::new(mutex_with(&peer, key(), policy().attempt_limit(Duration::from_secs(1)))).lock().unwrap();
    guard.unlock().unwrap();
}

#[test]
fn a_release_that_the_service_was_too_busy_for_has_not_worked() {
    let gone = service_error(409, "LeaseIdMismatchWithLeaseOperation");
    let peer = first(Operation::Release, [service_error(503, "ServerBusy"), gone]);
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
    assert_eq!(error.lost_because(), Some(Lost::Taken), "{error:?}");
}

#[test]
fn a_release_that_is_refused_tells_why_and_when_the_lease_ends() {
    let peer = always(Operation::Release, service_error(403, "AuthorizationPermissionMismatch"));
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire(LEASE).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("15 s") || text.contains("14 s"), "{text}");
}

#[test]
fn a_lease_without_an_end_is_not_said_to_end() {
    let peer = always(Operation::Release, service_error(403, "AuthorizationPermissionMismatch"));
    let mutex = mutex(&peer);
    let error = mutex.release(&mut mutex.acquire_infinite().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let text = error.to_string();
    assert!(!text.contains("ends by itself") && !text.contains("18446744073709551615"), "{text}");
}

// The operator's calls.

#[test]
fn a_break_says_how_long_until_the_lock_is_free() {
    let cases = [("0", 0), ("7", 7), ("60", 60)];
    for (text, seconds) in cases {
        let peer = always(Operation::Break, answer(202, &[("x-ms-lease-time", text)]));
        let left = mutex(&peer).break_lease(Break::AtExpiry).unwrap();
        assert_eq!(left, Duration::from_secs(seconds));
        assert_eq!(peer.received()[0].request.header("x-ms-lease-break-period"), None);
        mutex(&peer).break_lease(Break::ForceWithin(Duration::from_secs(3))).unwrap();
        assert_eq!(peer.received()[1].request.header("x-ms-lease-break-period"), Some("3"));
    }
    let peer = always(Operation::Break, service_error(409, "LeaseNotPresentWithLeaseOperation"));
    assert_eq!(mutex(&peer).break_lease(Break::AtExpiry).unwrap(), Duration::ZERO);
    for code in ["BlobNotFound", "ContainerNotFound"] {
        let peer = always(Operation::Break, service_error(404, code));
        let error = mutex(&peer).break_lease(Break::AtExpiry).unwrap_err();
        assert_eq!((error.kind(), error.service_code()), (ErrorKind::NotFound, Some(code)), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Break]);
    }
}

#[test]
fn each_state_of_the_lock_is_told() {
    let cases = [
        ("available", "unlocked", None, LockStatus::Available),
        ("leased", "locked", Some("fixed"), LockStatus::Leased),
        ("leased", "locked", Some("infinite"), LockStatus::LeasedForever),
        ("expired", "unlocked", None, LockStatus::Expired),
        ("breaking", "locked", None, LockStatus::Breaking),
        ("broken", "unlocked", None, LockStatus::Broken),
    ];
    for (state, status, duration, expected) in cases {
        let mut headers = vec![("x-ms-lease-state", state), ("x-ms-lease-status", status), ("content-length", "12345")];
        headers.extend(duration.map(|duration| ("x-ms-lease-duration", duration)));
        let peer = always(Operation::Look, answer(200, &headers));
        let seen = mutex(&peer).inspect().unwrap();
        assert_eq!(seen, expected);
        assert_eq!(seen.is_locked(), status == "locked", "{state}");
        assert_eq!(operations(&peer), [Operation::Look]);
    }
}

#[test]
fn a_lock_that_is_not_there_is_missing_and_stays_so() {
    for code in ["BlobNotFound", "ContainerNotFound"] {
        let peer = always(Operation::Look, answer(404, &[("x-ms-error-code", code)]));
        assert_eq!(mutex(&peer).inspect().unwrap(), LockStatus::Missing);
        assert_eq!(operations(&peer), [Operation::Look]);
    }
    let peer = always(Operation::Look, portal(404, &[]));
    assert!(unclear(mutex(&peer).inspect().unwrap_err().kind()), "a portal's word");
}

#[test]
fn a_state_that_nobody_knows_is_an_error() {
    for headers in [&[("x-ms-lease-state", "undead")][..], &[], &[("x-ms-lease-state", "")]] {
        let peer = always(Operation::Look, answer(200, headers));
        let error = mutex(&peer).inspect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert_eq!(error.http_status(), Some(200));
    }
}

// Waiting.

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
                0 => Some(unheard.clone()),
                1..5 => Some(busy()),
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

// What a request carries.

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
        assert_eq!(mutex.inspect().unwrap(), LockStatus::Available);
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
        assert_eq!(mutex.inspect().unwrap(), LockStatus::Available);
    }
    mutex.release(&mut lease).unwrap();
    assert!(peer.connections() >= 12);
}
