//! What goes over the wire: how many requests, on how many connections, and which.

use std::thread;
use std::time::{Duration, Instant};

use azmutex::{Container, ErrorKind};

use crate::on_both_servers;
use crate::support::http::Operation::{self, *};
use crate::support::proxy::FaultProxy;
use crate::support::server::Server;
use crate::support::unique;

on_both_servers!(
    lock_and_unlock_are_two_requests_and_five_on_a_fresh_account,
    each_call_of_the_mutex_is_one_request,
    a_waiter_causes_no_refusal_after_its_first_try,
);

/// A proxy that only watches, and a container behind it.
fn watched(server: &Server) -> (FaultProxy, Container, String) {
    let proxy = FaultProxy::to(server.port());
    let name = unique("wire");
    let container = Container::from_connection_string(&server.connection_string_via(proxy.port()), &name).unwrap();
    (proxy, container, name)
}

fn seen(proxy: &FaultProxy) -> Vec<Operation> {
    let seen = proxy.operations();
    proxy.forget();
    seen
}

fn lock_and_unlock_are_two_requests_and_five_on_a_fresh_account(server: &Server) {
    let (proxy, container, name) = watched(server);
    let locker = container.locker("job").unwrap();
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, CreateContainer, CreateBlob, Acquire, Release]);
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, Release]);
    drop(locker.try_lock().unwrap());
    assert_eq!(seen(&proxy), [Acquire, Release]);
    let guard = locker.lock().unwrap();
    proxy.forget();
    let error = locker.try_lock().unwrap_err();
    assert_eq!((error.kind(), error.ahead()), (ErrorKind::WouldBlock, 1));
    assert_eq!(seen(&proxy), [], "what this process has, it need not ask for");
    guard.unlock().unwrap();
    let guard = server.container(&name).locker("job").unwrap().lock().unwrap();
    proxy.forget();
    locker.try_lock().unwrap_err();
    assert_eq!(seen(&proxy), [Acquire], "a refused try is one request");
    guard.unlock().unwrap();
    server.delete_blob(&name, "job", None);
    proxy.forget();
    locker.lock().unwrap().unlock().unwrap();
    assert_eq!(seen(&proxy), [Acquire, CreateBlob, Acquire, Release]);
    assert_eq!(proxy.connections(), 1, "one connection does for all");
}

fn each_call_of_the_mutex_is_one_request(server: &Server) {
    let (proxy, container, _) = watched(server);
    let mutex = container.mutex("job").unwrap();
    mutex.inspect().unwrap();
    assert_eq!(seen(&proxy), [Look], "looking makes nothing");
    let mut lease = mutex.acquire(Duration::from_secs(15)).unwrap();
    mutex.release(&mut lease).unwrap();
    proxy.forget();
    let mut lease = mutex.acquire(Duration::from_secs(15)).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.break_lease(Default::default()).unwrap();
    mutex.release(&mut lease).unwrap();
    assert_eq!(seen(&proxy), [Acquire, Renew, Break, Release]);
}

fn a_waiter_causes_no_refusal_after_its_first_try(server: &Server) {
    let (proxy, container, name) = watched(server);
    let holder = server.container(&name);
    let guard = holder.locker("job").unwrap().lock().unwrap();
    let locker = container.locker("job").unwrap();
    let start = Instant::now();
    let waiter = thread::spawn(move || locker.lock().unwrap().unlock().unwrap());
    assert!(proxy.wait_for(Look, 5, Duration::from_secs(20)));
    guard.unlock().unwrap();
    waiter.join().unwrap();
    let took = start.elapsed();
    let refused: Vec<_> = proxy.log().into_iter().filter(|entry| entry.status >= Some(400)).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].operation, Acquire);
    let seen = seen(&proxy);
    let looks = seen.len() - 3;
    assert_eq!(seen[0], Acquire);
    assert!(seen[1..=looks].iter().all(|operation| *operation == Look), "{seen:?}");
    assert_eq!(seen[looks + 1..], [Acquire, Release]);
    // Four pauses of 1 s together at the least, then one of 0.66 s at the least each.
    let most = 4.0 + took.saturating_sub(Duration::from_secs(1)).as_secs_f64() / 0.66;
    assert!(looks as f64 <= most, "{looks} looks in {took:?}");
}
