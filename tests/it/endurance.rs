//! Holding for long.

#![allow(clippy::disallowed_methods, reason = "the tests measure by other clocks than the library's")]

use std::time::{Duration, Instant};

use azmutex::ErrorKind;

use crate::slow_on_both_servers;
use crate::support::server::Server;
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

slow_on_both_servers!(a_held_lock_outlives_several_leases);

fn a_held_lock_outlives_several_leases(server: &Server) {
    let container = server.container(&unique("long"));
    // The emulator's leases age so much faster that they need renewals more often.
    let every = if server.as_emulator().is_some() { SECOND } else { 5 * SECOND };
    let locker = quick(&container, "job").renew_every(every).build().unwrap();
    let guard = locker.lock().unwrap();
    let (start, mut moved) = (Instant::now(), Duration::ZERO);
    while start.elapsed() + moved < 3 * LEASE + SECOND {
        moved += server.skip(6 * SECOND);
        assert_eq!(guard.wait_lost(SECOND), None);
        guard.ensure_held().unwrap();
        assert_eq!(locker.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    guard.unlock().unwrap();
    locker.try_lock().unwrap().unlock().unwrap();
}
