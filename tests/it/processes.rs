//! Several processes of the operating system: this test program, run again with one test's name.
#![cfg(unix)]

use std::thread;
use std::time::{Duration, Instant};

use azmutex::Locker;
use rustix::process::Signal;

use crate::on_both_servers;
use crate::support::process::{self, Process, say};
use crate::support::server::Server;
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

on_both_servers!(
    another_process_gets_it_after_the_first_lets_go,
    another_process_gets_it_after_the_first_is_killed_and_its_lease_is_over,
);

/// Not a test of its own, but what the other process does: takes the lock, and answers questions about it.
#[test]
fn child() {
    let Some((container, _)) = process::given() else { return };
    let guard = quick(&container, "job").renew_every(5 * SECOND).build().unwrap().lock().unwrap();
    say("held");
    for line in std::io::stdin().lines() {
        match &*line.unwrap() {
            "check" => say(if guard.is_held() { "ours" } else { "lost" }),
            "id" => say(&guard.lease_id().to_string()),
            "unlock" => break,
            other => panic!("{other}"),
        }
    }
    say(if guard.unlock().is_ok() { "unlocked" } else { "not unlocked" });
}

/// A process that holds the lock, and a locker of our own for it.
struct Holder {
    process: Process,
    locker: Locker,
    container: String,
    /// Before it began.
    before: Instant,
}

fn holder(server: &Server, prefix: &str) -> Holder {
    let (container, before) = (unique(prefix), Instant::now());
    let mut process = process::again(child).container(&server.connection_string(), &container).start();
    assert_eq!(process.says().0, "held");
    let locker = quick(&server.container(&container), "job").build().unwrap();
    Holder { process, locker, container, before }
}

fn another_process_gets_it_after_the_first_lets_go(server: &Server) {
    let Holder { mut process, locker, .. } = holder(server, "letgo");
    let waiter = thread::spawn(move || {
        let guard = locker.lock().unwrap();
        (Instant::now(), guard)
    });
    thread::sleep(SECOND);
    assert!(!waiter.is_finished());
    let before = Instant::now();
    assert_eq!(process.ask("unlock"), "unlocked");
    let (got, guard) = waiter.join().unwrap();
    assert!(got >= before && got < before + 2 * SECOND, "{:?}", got - before);
    guard.unlock().unwrap();
}

// Scenario 3.
fn another_process_gets_it_after_the_first_is_killed_and_its_lease_is_over(server: &Server) {
    let Holder { process, locker, before, .. } = holder(server, "killed");
    process.signal(Signal::KILL);
    let killed = Instant::now();
    // The dead have no clock that this could be too early for.
    let moved = server.skip(LEASE - 3 * SECOND);
    let guard = locker.lock().unwrap();
    let got = Instant::now() + moved;
    println!("free {:?} after the kill", got - killed);
    // The lease began after `before` and was not renewed after `killed`.
    assert!(got >= before + LEASE, "{:?} too early", before + LEASE - got);
    assert!(got <= killed + LEASE + 3 * SECOND, "{:?}", got - killed);
    guard.unlock().unwrap();
}

// Scenario 4. By the clock of the process that is stopped, which no emulator moves.
#[test]
fn a_process_stopped_for_longer_than_its_lease_sees_the_loss_at_its_first_check() {
    let Some(server) = Server::azurite() else { return };
    let Holder { mut process, locker, container, .. } = holder(&server, "stopped");
    assert_eq!(process.ask("check"), "ours");
    let id = process.ask("id");
    let write = || {
        let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-lease-id", &*id)];
        server.raw("PUT", &format!("{container}/job"), &headers, b"work").status
    };
    assert_eq!(write(), 201);
    process.signal(Signal::STOP);
    let second = locker.lock().unwrap();
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "lost");
    assert_eq!(process.ask("unlock"), "not unlocked");
    assert_eq!(write(), 412, "the lease's id fences the locked blob itself");
    second.ensure_held().unwrap();
    second.unlock().expect("the loser's release is not ours");
}

// Scenario 5, as the one before.
#[test]
fn a_process_stopped_for_half_its_lease_still_has_it() {
    let Some(server) = Server::azurite() else { return };
    let Holder { mut process, locker, .. } = holder(&server, "paused");
    process.signal(Signal::STOP);
    thread::sleep(LEASE / 2);
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "ours");
    assert!(locker.try_lock().is_err());
    thread::sleep(SECOND);
    assert_eq!(process.ask("check"), "ours");
    assert_eq!(process.ask("unlock"), "unlocked");
}
