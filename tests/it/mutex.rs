//! `AzureMutex`: one call at a time.

use std::time::Duration;

use azmutex::lease::{Break, LockState, Lost};
use azmutex::retry::Policy;
use azmutex::{AzureMutex, ErrorKind, container};

use crate::on_both_servers;
use crate::support::http::Operation;
use crate::support::process::{self, say};
use crate::support::proxy::{Fault, FaultProxy};
use crate::support::server::Server;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(15);

on_both_servers!(
    a_lease_is_taken_refused_renewed_and_released,
    a_lease_that_was_let_go_is_not_held_whatever_came_of_the_release,
    a_release_may_be_repeated_by_its_caller,
    a_release_that_was_not_carried_out_can_be_tried_again,
    a_lease_that_was_broken_stays_lost,
    a_lease_without_an_end_is_taken_up_again_after_its_process_has_ended,
    a_lease_with_an_end_that_is_taken_up_again_counts_as_the_shortest,
    a_lease_that_is_gone_is_not_taken_up_again,
    somebody_elses_lease_is_not_taken_up_and_stays_theirs,
    a_lease_is_taken_up_with_a_renewal_and_a_look,
);

fn a_lease_is_taken_refused_renewed_and_released(server: &Server) {
    let name = unique("mutex");
    let mutex = || server.container(&name).mutex("job").unwrap();
    let (mine, other) = (mutex(), mutex());
    assert_eq!(mine.inspect().unwrap().state(), LockState::Missing);
    let mut lease = mine.acquire(LEASE).unwrap();
    assert!(lease.is_held());
    assert_eq!(lease.duration(), Some(LEASE));
    assert_eq!(mine.inspect().unwrap().state(), LockState::Leased);
    let error = other.acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error:?}");
    let before = lease.remaining();
    mine.renew(&mut lease).unwrap();
    assert!(lease.remaining() >= before - Duration::from_secs(1));
    mine.release(&mut lease).unwrap();
    assert_eq!(mine.inspect().unwrap().state(), LockState::Available);
    let lease = other.acquire_infinite().unwrap();
    assert_eq!(lease.duration(), None);
    assert_eq!(lease.remaining(), Duration::MAX);
    assert_eq!(other.inspect().unwrap().state(), LockState::LeasedForever);
    assert_eq!(mine.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap(), Duration::ZERO);
    assert_eq!(mine.inspect().unwrap().state(), LockState::Broken);
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

fn a_release_that_was_not_carried_out_can_be_tried_again(server: &Server) {
    let (proxy, mutex) = proxied(server, "once-more");
    let mut lease = mutex.acquire_infinite().unwrap();
    proxy.next(Operation::Release, Fault::ResetBefore);
    assert_eq!(mutex.release(&mut lease).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(mutex.inspect().unwrap().state(), LockState::LeasedForever);
    mutex.release(&mut lease).unwrap();
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
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

/// Not a test of its own, but what another process does: takes the lock without an end, and ends.
#[test]
fn leaver() {
    let Some((container, _)) = process::given() else { return };
    let lease = container.mutex("job").unwrap().acquire_infinite().unwrap();
    say(&lease.id().to_string());
}

fn a_lease_without_an_end_is_taken_up_again_after_its_process_has_ended(server: &Server) {
    let name = unique("resume");
    let id = process::again(leaver).container(&server.connection_string(), &name).last_word();
    let mutex = server.container(&name).mutex("job").unwrap();
    assert_eq!(mutex.inspect().unwrap().state(), LockState::LeasedForever);
    assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock);

    let mut lease = mutex.resume(id.parse().unwrap()).unwrap();
    assert_eq!(lease.id().to_string(), id);
    assert_eq!(lease.lock_name(), "job");
    assert_eq!((lease.duration(), lease.remaining()), (None, Duration::MAX));
    assert!(lease.is_held());
    mutex.renew(&mut lease).unwrap();
    assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock);
    mutex.release(&mut lease).unwrap();
    assert!(!lease.is_held());
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
}

fn a_lease_with_an_end_that_is_taken_up_again_counts_as_the_shortest(server: &Server) {
    let name = unique("resume-fixed");
    let mutex = server.container(&name).mutex("job").unwrap();
    let id = mutex.acquire(4 * LEASE).unwrap().id();
    let mut lease = mutex.resume(id).unwrap();
    for _ in 0..2 {
        assert_eq!(lease.duration(), Some(LEASE));
        let left = lease.remaining();
        assert!(left <= Duration::from_millis(12_700) && left > Duration::from_secs(8), "{left:?}");
        mutex.renew(&mut lease).unwrap();
    }
    // Renewing keeps what was granted.
    server.skip(3 * LEASE);
    assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock);
    mutex.release(&mut lease).unwrap();
    let mut next = mutex.acquire(LEASE).unwrap();
    mutex.release(&mut next).unwrap();
}

fn a_lease_that_is_gone_is_not_taken_up_again(server: &Server) {
    let name = unique("resume-gone");
    let container = server.container(&name);
    let mutex = container.mutex("job").unwrap();
    let lost = |id| {
        let error = mutex.resume(id).unwrap_err();
        assert_eq!((error.kind(), error.lock_name()), (ErrorKind::LeaseLost, Some("job")), "{error:?}");
        error.lost_because().unwrap()
    };
    let mut lease = mutex.acquire_infinite().unwrap();
    let id = lease.id();
    mutex.release(&mut lease).unwrap();
    assert_eq!(lost(id), Lost::Taken, "it was released");

    let id = mutex.acquire_infinite().unwrap().id();
    mutex.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    assert_eq!(lost(id), Lost::Broken);
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Broken, "it is as it was");

    let id = mutex.acquire_infinite().unwrap().id();
    server.delete_blob(&name, "job", Some(&id.to_string()));
    assert_eq!(lost(id), Lost::BlobDeleted);
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Missing, "nothing is made");
}

fn somebody_elses_lease_is_not_taken_up_and_stays_theirs(server: &Server) {
    let name = unique("resume-other");
    let mutex = server.container(&name).mutex("job").unwrap();
    for is_infinite in [false, true] {
        let gone = {
            let mut lease = mutex.acquire(LEASE).unwrap();
            mutex.release(&mut lease).unwrap();
            lease.id()
        };
        let theirs = if is_infinite { mutex.acquire_infinite() } else { mutex.acquire(LEASE) };
        let mut theirs = theirs.unwrap();
        let error = mutex.resume(gone).unwrap_err();
        assert_eq!((error.kind(), error.lost_because()), (ErrorKind::LeaseLost, Some(Lost::Taken)), "{error:?}");
        mutex.renew(&mut theirs).unwrap();
        mutex.release(&mut theirs).unwrap();
    }
}

fn a_lease_is_taken_up_with_a_renewal_and_a_look(server: &Server) {
    let (proxy, mutex) = proxied(server, "resume-wire");
    let id = mutex.acquire_infinite().unwrap().id();
    proxy.forget();
    let lease = mutex.resume(id).unwrap();
    assert_eq!(proxy.operations(), [Operation::Renew, Operation::Look]);
    assert_eq!(lease.duration(), None);

    // Without the look nobody tells that it has no end.
    proxy.next(Operation::Look, Fault::ResetBefore);
    let mut lease = mutex.resume(id).unwrap();
    assert_eq!(lease.duration(), Some(LEASE));
    mutex.renew(&mut lease).unwrap();

    // An answer that is lost leaves the lease where it can be taken up once more.
    proxy.next(Operation::Renew, Fault::ResetAfter);
    assert_eq!(mutex.resume(id).unwrap_err().kind(), ErrorKind::Unavailable);
    let mut lease = mutex.resume(id).unwrap();
    mutex.release(&mut lease).unwrap();
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Available);
}
