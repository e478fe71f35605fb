//! What goes over the wire: how many requests, on how many connections, and which.

use std::thread;
use std::time::Duration;

use azmutex::Container;

use crate::support::azurite::{Azurite, azurite};
use crate::support::http::Operation::{self, *};
use crate::support::proxy::FaultProxy;
use crate::support::unique;

/// A proxy that only watches, and a container behind it.
fn watched(azurite: &Azurite) -> (FaultProxy, Container, String) {
    let proxy = FaultProxy::to(azurite.port());
    let name = unique("wire");
    let container = Container::from_connection_string(&azurite.connection_string_via(proxy.port()), &name).unwrap();
    (proxy, container, name)
}

fn seen(proxy: &FaultProxy) -> Vec<Operation> {
    let seen = proxy.operations();
    proxy.forget();
    seen
}

#[test]
fn lock_and_unlock_are_two_requests_and_five_on_a_fresh_account() {
    let Some(azurite) = azurite() else { return };
    let (proxy, container, name) = watched(azurite);
    let locker = container.locker("job").unwrap();
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, CreateContainer, CreateBlob, Acquire, Release]);
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, Release]);
    drop(locker.try_lock().unwrap());
    assert_eq!(seen(&proxy), [Acquire, Release]);
    let guard = locker.lock().unwrap();
    proxy.forget();
    locker.try_lock().unwrap_err();
    assert_eq!(seen(&proxy), [Acquire], "a refused try is one request");
    guard.unlock().unwrap();
    azurite.delete_blob(&name, "job", None);
    proxy.forget();
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, CreateBlob, Acquire, Release]);
    assert_eq!(proxy.connections(), 1, "one connection does for all");
}

#[test]
fn each_call_of_the_mutex_is_one_request() {
    let Some(azurite) = azurite() else { return };
    let (proxy, container, _) = watched(azurite);
    let mutex = container.mutex("job").unwrap();
    mutex.inspect().unwrap();
    assert_eq!(seen(&proxy), [Look], "looking makes nothing");
    let lease = mutex.acquire(Duration::from_secs(15)).unwrap();
    mutex.release(&lease).unwrap();
    proxy.forget();
    let mut lease = mutex.acquire(Duration::from_secs(15)).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.break_lease(Default::default()).unwrap();
    mutex.release(&lease).unwrap();
    assert_eq!(seen(&proxy), [Acquire, Renew, Break, Release]);
}

#[test]
fn a_waiter_causes_no_refusal_after_its_first_try() {
    let Some(azurite) = azurite() else { return };
    let (proxy, container, name) = watched(azurite);
    let holder = Container::from_connection_string(&azurite.connection_string(), &name).unwrap();
    let guard = holder.locker("job").unwrap().lock().unwrap();
    let locker = container.locker("job").unwrap();
    let waiter = thread::spawn(move || locker.lock().unwrap().unlock().unwrap());
    thread::sleep(Duration::from_secs(3));
    guard.unlock().unwrap();
    waiter.join().unwrap();
    let refused: Vec<_> = proxy.log().into_iter().filter(|entry| entry.status >= Some(400)).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].operation, Acquire);
    let seen = seen(&proxy);
    let looks = seen.len() - 3;
    assert_eq!(seen[0], Acquire);
    assert!(seen[1..=looks].iter().all(|operation| *operation == Look), "{seen:?}");
    assert_eq!(seen[looks + 1..], [Acquire, Release]);
    // In 3 s: four pauses up to 1 s, then one of 0.5 to 1 s each.
    assert!((4..=10).contains(&looks), "{looks} looks");
}
