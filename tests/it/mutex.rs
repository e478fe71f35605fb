//! `AzureMutex`: one call at a time.

use std::time::Duration;

use azmutex::lease::{Break, LockStatus};
use azmutex::{AzureMutex, Container, ErrorKind};

use crate::support::{azurite::azurite, unique};

const LEASE: Duration = Duration::from_secs(15);

fn mutex(container: &str, name: &str) -> Option<AzureMutex> {
    let container = Container::from_connection_string(&azurite()?.connection_string(), container).unwrap();
    Some(container.mutex(name).unwrap())
}

#[test]
fn a_lease_is_taken_refused_renewed_and_released() {
    let container = unique("mutex");
    let (Some(mine), Some(other)) = (mutex(&container, "job"), mutex(&container, "job")) else { return };
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
    mine.release(&lease).unwrap();
    assert_eq!(mine.inspect().unwrap(), LockStatus::Available);
    let lease = other.acquire_infinite().unwrap();
    assert_eq!(lease.duration(), None);
    assert_eq!(lease.remaining(), Duration::MAX);
    assert_eq!(other.inspect().unwrap(), LockStatus::LeasedForever);
    assert_eq!(mine.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap(), Duration::ZERO);
    assert_eq!(mine.inspect().unwrap(), LockStatus::Broken);
}
