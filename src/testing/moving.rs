//! A name that moves while its old address goes on answering: a lock's thread, its connections and the sockets as they
//! are, before one emulator at the old address and one at the new. Only what the name stands for, and the time, are given:
//! no process can steer what the system's resolver says of a name.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::settable::SettableClock;
use crate::clock::{self, sleep};
use crate::container::{self, Container};
use crate::emulator::{Emulator, Operation};
use crate::retry::Policy;
use crate::transport::CachingResolver;
use crate::transport::name::GONE;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Much longer than the test takes: at the old address nothing ends.
const LEFT_BEHIND: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn address(emulator: &Emulator) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, emulator.port()))
}

fn looks(emulator: &Emulator) -> usize {
    emulator.requests().iter().filter(|request| request.operation == Operation::GetBlobProperties).count()
}

fn wait_for_looks(emulator: &Emulator, count: usize) {
    let since = clock::now();
    while looks(emulator) < count {
        assert!(clock::now().since(since) < SOON, "{:?}", emulator.requests());
        sleep(MS);
    }
}

/// The emulator's account, at this host.
fn builder(emulator: &Emulator, host: &str) -> container::Builder {
    let own = format!("127.0.0.1:{}", emulator.port());
    let account = emulator.connection_string().replace(&own, host);
    let builder = container::Builder::from_connection_string(&account, "locks").unwrap().allow_http();
    builder.retry(Policy::default().attempt_limit(SECOND))
}

fn job(container: &Container) -> crate::AzureMutex {
    container.mutex("job").unwrap()
}

// Scenario 34.
#[test]
fn a_waiter_gets_a_free_lock_though_the_old_address_of_its_name_says_that_it_is_taken() {
    let test = a_waiter_gets_a_free_lock_though_the_old_address_of_its_name_says_that_it_is_taken;
    let Some(clock) = SettableClock::alone(test) else { return };
    let (old, new) = (Emulator::start().unwrap(), Emulator::start().unwrap());
    let direct = builder(&old, &format!("127.0.0.1:{}", old.port())).build().unwrap();
    let _left_behind = job(&direct).acquire(LEFT_BEHIND).unwrap();

    let names = CachingResolver::default();
    names.set("storage.test:80", &[address(&old)], clock::now());
    let container = builder(&old, "storage.test").build_that_knows(&names).unwrap();
    let (granted, grant) = bounded(1);
    let waiter = thread::spawn(move || drop(granted.send(container.locker("job").unwrap().lock())));
    wait_for_looks(&old, 2);

    names.set("storage.test:80", &[address(&new)], clock::now());
    // It may come back: names stand for other addresses at times.
    clock.suspend(GONE - 20 * SECOND);
    let before = looks(&old);
    wait_for_looks(&old, before + 2);
    assert!(grant.is_empty() && new.requests().is_empty(), "{:?}", new.requests());
    clock.suspend(20 * SECOND);
    let guard = grant.recv_timeout(SOON).expect("it is free").unwrap();
    guard.unlock().unwrap();
    assert!(new.requests().iter().any(|request| request.operation == Operation::AcquireLease), "{:?}", new.requests());
    waiter.join().unwrap();
}
