//! Losing: scenarios 9 and 10.

use std::thread;
use std::time::{Duration, Instant};

use azmutex::crossbeam_channel::{Receiver, unbounded};
use azmutex::event::{Event, Severity};
use azmutex::lease::{Break, Lost};
use azmutex::{ErrorKind, LockGuard, Locker};

use crate::on_both_servers;
use crate::support::server::Server;
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

on_both_servers!(
    a_lock_taken_over_is_lost,
    a_lock_broken_by_force_is_lost,
    a_lock_whose_blob_is_deleted_is_lost,
    a_lock_whose_container_is_deleted_is_lost,
    a_lock_broken_without_force_is_nobodys_before_its_deadline,
    a_break_that_nobody_has_noticed_or_used_is_no_loss,
    a_mark_notices_a_break_before_the_next_renewal,
    a_loss_that_is_noticed_during_the_work_is_told_twice_and_one_that_unlock_notices_once,
);

/// A held lock; its loss is due within a renewal interval of what is done to it.
fn held(server: &Server, container: &str) -> LockGuard {
    quick(&server.container(container), "job").build().unwrap().lock().unwrap()
}

// Scenario 9, and 10 for a lease that is broken by force.
fn assert_lost(guard: LockGuard, why: Lost) {
    let start = Instant::now();
    let lost = guard.lost().recv_timeout(5 * SECOND);
    println!("{why:?} told after {:?}", start.elapsed());
    assert_eq!(lost, Ok(why));
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(guard.ensure_held().unwrap_err().lost_because(), Some(why));
    assert_eq!(guard.wait_lost(Duration::ZERO), Some(why), "heard again by whoever asks later");
    let start = Instant::now();
    let error = guard.unlock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(error.lost_because(), Some(why));
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
}

/// A held lock that is not renewed soon, and what is told of it.
fn watched(server: &Server, container: &str) -> (LockGuard, Receiver<Event>) {
    let (heard, events) = unbounded();
    let mutex = server.container(container).mutex("job").unwrap();
    let builder = Locker::builder(mutex).on_event(move |event| drop(heard.send(event)));
    (builder.build().unwrap().lock().unwrap(), events)
}

/// As the guide says of `unlock`, and of the exit code of the command line.
fn a_break_that_nobody_has_noticed_or_used_is_no_loss(server: &Server) {
    let name = unique("unnoticed");
    let (guard, _events) = watched(server, &name);
    server.break_lease(&name, "job", Some(0));
    guard.unlock().unwrap();
}

fn a_mark_notices_a_break_before_the_next_renewal(server: &Server) {
    let name = unique("marked");
    let (guard, _events) = watched(server, &name);
    server.break_lease(&name, "job", Some(0));
    assert!(guard.is_held(), "only the service knows");
    assert_eq!(guard.mark("done").unwrap_err().lost_because(), Some(Lost::Taken));
    assert!(!guard.is_held());
}

/// The observer has heard everything when the guard is gone.
fn a_loss_that_is_noticed_during_the_work_is_told_twice_and_one_that_unlock_notices_once(server: &Server) {
    let grave = |events: &Receiver<Event>| -> Vec<bool> {
        let grave = events.try_iter().filter(|event| event.severity() == Severity::Error);
        grave.map(|event| matches!(event, Event::Lost { .. })).collect()
    };
    let name = unique("during");
    let (guard, events) = watched(server, &name);
    server.break_lease(&name, "job", Some(0));
    guard.mark("done").unwrap_err();
    drop(guard);
    assert_eq!(grave(&events), [true, false]);

    let name = unique("at-the-end");
    let (guard, events) = watched(server, &name);
    server.break_lease(&name, "job", Some(0));
    let thief = server.container(&name).mutex("job").unwrap();
    let mut stolen = thief.acquire(LEASE).unwrap();
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(grave(&events), [false]);
    thief.release(&mut stolen).unwrap();
}

fn a_lock_taken_over_is_lost(server: &Server) {
    let name = unique("taken");
    let guard = held(server, &name);
    let thief = server.container(&name).mutex("job").unwrap();
    thief.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    let mut stolen = thief.acquire(LEASE).unwrap();
    assert_lost(guard, Lost::Taken);
    thief.release(&mut stolen).expect("the loser's release is not ours");
}

fn a_lock_broken_by_force_is_lost(server: &Server) {
    let name = unique("forced");
    let guard = held(server, &name);
    server.break_lease(&name, "job", Some(0));
    assert_lost(guard, Lost::Broken);
}

fn a_lock_whose_blob_is_deleted_is_lost(server: &Server) {
    let name = unique("deleted");
    let guard = held(server, &name);
    let id = guard.lease_id().to_string();
    server.delete_blob(&name, "job", Some(&id));
    assert_lost(guard, Lost::BlobDeleted);
}

fn a_lock_whose_container_is_deleted_is_lost(server: &Server) {
    let name = unique("gone");
    let guard = held(server, &name);
    server.delete_container(&name);
    assert_lost(guard, Lost::ContainerDeleted);
}

// Scenario 10.
fn a_lock_broken_without_force_is_nobodys_before_its_deadline(server: &Server) {
    let name = unique("broken");
    let guard = held(server, &name);
    let operator = server.container(&name).mutex("job").unwrap();
    let waiter = thread::spawn({
        let locker = quick(&server.container(&name), "job").build().unwrap();
        move || {
            let guard = locker.lock().unwrap();
            (Instant::now(), guard)
        }
    });
    thread::sleep(SECOND / 2);
    let left = guard.remaining();
    let deadline = Instant::now() + left;
    let free_in = operator.break_lease(Break::AtExpiry).unwrap();
    assert!(free_in > left && free_in <= LEASE, "{free_in:?} {left:?}");
    assert_eq!(guard.lost().recv_timeout(5 * SECOND), Ok(Lost::Broken));
    // The holder keeps its guard for as long as it likes: the release waits for it.
    let moved = server.skip(LEASE - 5 * SECOND);
    let (got, second) = waiter.join().unwrap();
    assert!(got + moved >= deadline, "{:?} too early", deadline - got - moved);
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::LeaseLost);
    second.unlock().expect("the loser's release is not ours");
}
