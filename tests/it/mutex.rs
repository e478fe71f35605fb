//! `AzureMutex`: one call at a time.

use std::time::Duration;

use azmutex::lease::{Break, LockStatus, Lost};
use azmutex::retry::Policy;
use azmutex::{AzureMutex, ErrorKind, container};

use crate::on_both_servers;
use crate::support::http::Operation;
use crate::support::proxy::{Fault, FaultProxy};
use crate::support::server::Server;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(15);

on_both_servers!(
    a_lease_is_taken_refused_renewed_and_released,
    a_lease_that_was_let_go_is_not_held_whatever_came_of_the_release,
    a_release_may_be_repeated_by_its_caller,
    a_lease_that_was_broken_stays_lost,
);

fn a_lease_is_taken_refused_renewed_and_released(server: &Server) {
    let name = unique("mutex");
    let mutex = || server.container(&name).mutex("job").unwrap();
    let (mine, other) = (mutex(), mutex());
    assert_eq!(mine.inspect().unwrap(), LockStatus::Missing);
    let mut lease = mine.acquire(LEASE).unwrap();
    assert!(lease.is_held());
    assert_eq!(lease.duration(), Some(LEASE));
    assert_eq!(mine.inspect().unwrap(), LockStatus::Leased);
    let error = other.acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error:?}");
    let before = lease.remaining();
    mine.renew(&mut lease).unwrap();
    assert!(lease.remaining() >= before - Duration::from_secs(1));
    mine.release(&mut lease).unwrap();
    assert_eq!(mine.inspect().unwrap(), LockStatus::Available);
    let lease = other.acquire_infinite().unwrap();
    assert_eq!(lease.duration(), None);
    assert_eq!(lease.remaining(), Duration::MAX);
    assert_eq!(other.inspect().unwrap(), LockStatus::LeasedForever);
    assert_eq!(mine.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap(), Duration::ZERO);
    assert_eq!(mine.inspect().unwrap(), LockStatus::Broken);
}

/// A lock behind a proxy, whose calls are not repeated.
fn proxied(server: &Server, prefix: &str) -> (FaultProxy, AzureMutex) {
    let proxy = FaultProxy::to(server.port());
    let text = server.connection_string_via(proxy.port());
    let builder = container::Builder::from_connection_string(&text, &unique(prefix)).unwrap();
    let policy = Policy::default().retries(0).attempt_limit(Duration::from_secs(4));
    let mutex = builder.retry(policy).build().unwrap().mutex("job").unwrap();
    (proxy, mutex)
}

fn a_lease_that_was_let_go_is_not_held_whatever_came_of_the_release(server: &Server) {
    let (proxy, mutex) = proxied(server, "letgo");
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.release(&mut lease).unwrap();
    assert!(!lease.is_held());
    assert_eq!(lease.remaining(), Duration::ZERO);
    proxy.forget();
    let error = mutex.renew(&mut lease).unwrap_err();
    assert_eq!(error.lost_because(), Some(Lost::Released));
    assert_eq!(proxy.operations(), [], "nothing was sent");

    // On its way for longer than its caller waited: it will free the lease, and no renewal may come before it.
    let mut lease = mutex.acquire(LEASE).unwrap();
    proxy.forget();
    proxy.next(Operation::Release, Fault::Late(Duration::from_secs(6)));
    assert_eq!(mutex.release(&mut lease).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!lease.is_held());
    assert_eq!(mutex.renew(&mut lease).unwrap_err().lost_because(), Some(Lost::Released));
    assert!(proxy.wait_for_status(Operation::Release, 1, LEASE));
    let mut next = mutex.acquire(LEASE).unwrap();
    mutex.release(&mut next).unwrap();
}

fn a_release_may_be_repeated_by_its_caller(server: &Server) {
    let (proxy, mutex) = proxied(server, "again");
    let mut lease = mutex.acquire(LEASE).unwrap();
    proxy.next(Operation::Release, Fault::ResetAfter);
    assert_eq!(mutex.release(&mut lease).unwrap_err().kind(), ErrorKind::Unavailable);
    mutex.release(&mut lease).expect("the first try had worked");
    mutex.release(&mut lease).expect("so had both");
}

fn a_lease_that_was_broken_stays_lost(server: &Server) {
    let (_proxy, mutex) = proxied(server, "broken");
    let mut lease = mutex.acquire_infinite().unwrap();
    assert_eq!(mutex.break_lease(Break::AtExpiry).unwrap(), Duration::ZERO, "it has no expiry to wait for");
    for _ in 0..2 {
        let error = mutex.renew(&mut lease).unwrap_err();
        assert_eq!(error.lost_because(), Some(Lost::Broken));
        assert!(!lease.is_held());
    }
    assert_eq!(mutex.release(&mut lease).unwrap_err().lost_because(), Some(Lost::Broken));
}
