//! Shared access signatures: the least that will do, what is missing, and when they end. Scenario 25.

use std::thread;
use std::time::{Duration, SystemTime};

use azmutex::credential::Credential;
use azmutex::lease::LockState;
use azmutex::{AzureMutex, Container, Error, ErrorKind, Locker};

use crate::on_both_servers;
use crate::service::{mutex_with, policy, well};
use crate::support::http::{Operation, http_date};
use crate::support::peer::{Peer, Reply, response};
use crate::support::sas::{self, ACCOUNT, FAR};
use crate::support::server::Server;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(15);
const MS: Duration = Duration::from_millis(1);
const PAST: &str = "2020-01-02T03:04:05Z";

on_both_servers!(
    the_right_to_write_one_blob_is_enough,
    with_the_right_to_read_a_waiter_looks,
    a_missing_right_is_named,
    a_container_that_is_missing_needs_more_than_a_service_sas,
    a_sas_that_is_over_says_since_when,
    a_container_s_url_locks_any_blob,
);

/// The URL of a blob, with that query.
fn url(server: &Server, container: &str, blob: &str, query: &str) -> String {
    format!("http://127.0.0.1:{}/{ACCOUNT}/{container}/{blob}?{query}", server.port())
}

/// The lock `job` in that container, with these permissions for just that blob.
fn mutex(server: &Server, container: &str, permissions: &str) -> AzureMutex {
    let query = sas::of_blob(&format!("{container}/job"), permissions, "", FAR);
    AzureMutex::from_sas_url(&url(server, container, "job", &query)).unwrap()
}

fn container(server: &Server) -> String {
    let name = unique("sas");
    server.create_container(&name);
    name
}

/// One who waits gets the lock from one who has it.
fn hand_over(mutex: AzureMutex) {
    let locker = Locker::builder(mutex).lease(LEASE).pauses(5 * MS, 50 * MS).build().unwrap();
    let guard = locker.lock().unwrap();
    assert_eq!(locker.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    let waiting = thread::spawn(move || locker.lock_timeout(Duration::from_secs(20)));
    thread::sleep(200 * MS);
    guard.unlock().unwrap();
    waiting.join().unwrap().unwrap().unlock().unwrap();
}

// Scenario 25.
fn the_right_to_write_one_blob_is_enough(server: &Server) {
    let name = container(server);
    let mutex = mutex(server, &name, "w");
    // It makes the blob, too.
    hand_over(mutex.clone());
    let error = mutex.inspect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.to_string().contains("the SAS (`sp=w`) lacks the right to read (`r`)"), "{error}");
}

// Scenario 25.
fn with_the_right_to_read_a_waiter_looks(server: &Server) {
    let name = container(server);
    server.put_blob(&name, "job", b"1,2,3", &[]);
    let mutex = mutex(server, &name, "rw");
    hand_over(mutex.clone());
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
    assert_eq!(server.blob_body(&name, "job"), b"1,2,3");
}

// Scenario 25.
fn a_missing_right_is_named(server: &Server) {
    let name = container(server);
    for blob_is_there in [false, true] {
        for permissions in ["c", "r", "rd"] {
            let error = mutex(server, &name, permissions).acquire(LEASE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
            let wanted = format!("the SAS (`sp={permissions}`) lacks the right to write (`w`) blobs");
            assert!(error.to_string().contains(&wanted), "blob is there: {blob_is_there}: {error}");
        }
        server.put_blob(&name, "job", b"", &[]);
    }
}

// Scenario 25.
fn a_container_that_is_missing_needs_more_than_a_service_sas(server: &Server) {
    let error = mutex(server, &unique("sas"), "rcw").acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.to_string().contains("create containers, which of SAS tokens only an account SAS gives"), "{error}");
}

// Scenario 25.
fn a_sas_that_is_over_says_since_when(server: &Server) {
    let name = container(server);
    let refused = |start, end| {
        let query = sas::of_blob(&format!("{name}/job"), "rw", start, end);
        let error = AzureMutex::from_sas_url(&url(server, &name, "job", &query)).unwrap().acquire(LEASE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
        error.to_string()
    };
    let text = refused("", PAST);
    assert!(text.contains("could not acquire the lease: the SAS expired at 2020-01-02T03:04:05Z"), "{text}");
    let text = refused("2098-01-01", FAR);
    assert!(text.contains("the SAS is not valid before 2098-01-01T00:00:00Z"), "{text}");
}

fn a_container_s_url_locks_any_blob(server: &Server) {
    let name = container(server);
    let query = sas::of_container(ACCOUNT, sas::KEY, &name, "rcw", FAR);
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{name}?{query}", server.port());
    let container = Container::from_sas_url(&url).unwrap();
    for lock in ["job", "team a/job"] {
        hand_over(container.mutex(lock).unwrap());
    }
}

/// What is said when the service does not accept a SAS that ended in 2020, and its clock shows this.
fn refused_at(date: Option<SystemTime>) -> Error {
    let peer = Peer::start(move |_| {
        let mut answer = response(403, &[("x-ms-error-code", "AuthenticationFailed")], Vec::new());
        answer.headers.retain(|(name, _)| name != "date");
        answer.headers.extend(date.map(|date| ("date".to_owned(), http_date(date))));
        Reply::Answer(answer)
    });
    let credential = Credential::sas(&format!("sr=b&sp=rw&se={PAST}&sig=c2VjcmV0")).unwrap();
    let error = mutex_with(&peer, credential, policy()).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
    assert_eq!(peer.received().len(), 1);
    error
}

#[test]
fn whether_a_sas_is_over_is_a_matter_of_the_service_s_clock() {
    let in_2019 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_550_000_000);
    for date in [None, Some(SystemTime::now())] {
        assert!(refused_at(date).to_string().contains("expired at 2020-01-02"), "{date:?}");
    }
    let error = refused_at(Some(in_2019)).to_string();
    assert!(!error.contains("expired"), "{error}");
    assert!(error.contains("another blob"), "{error}");
}

#[test]
fn a_sas_that_is_over_by_our_clock_is_tried() {
    for end in [PAST, "yesterday"] {
        let peer = Peer::start(well);
        let credential = Credential::sas(&format!("sr=b&sp=rw&se={end}&sig=c2VjcmV0")).unwrap();
        let mutex = mutex_with(&peer, credential, policy());
        let mut lease = mutex.acquire(LEASE).unwrap();
        mutex.release(&mut lease).unwrap();
        assert_eq!(peer.count(Operation::Acquire), 1);
    }
}
