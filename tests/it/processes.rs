//! Several processes of the operating system: this test program, run again with one test's name.
#![cfg(unix)]

use std::thread;
use std::time::{Duration, Instant};

use azmutex::{Container, Locker};
use rustix::process::Signal;

use crate::support::azurite::azurite;
use crate::support::process::{self, Process, say};
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

/// Not a test of its own, but what the other process does: takes the lock, and answers questions about it.
#[test]
fn child() {
    let Some((container, _)) = process::given() else { return };
    let guard = quick(&container, "job").renew_every(5 * SECOND).build().unwrap().lock().unwrap();
    say("held");
    for line in std::io::stdin().lines() {
        match &*line.unwrap() {
            "check" => say(if guard.is_held() { "ours" } else { "lost" }),
            "unlock" => break,
            other => panic!("{other}"),
        }
    }
    say(if guard.unlock().is_ok() { "unlocked" } else { "not unlocked" });
}

/// A process that holds the lock, and a locker of our own for it.
fn holder(prefix: &str) -> Option<(Process, Locker, Instant)> {
    let (store, container) = (azurite()?.connection_string(), unique(prefix));
    let before = Instant::now();
    let mut process = Process::start("processes::child", &store, &container);
    assert_eq!(process.says().0, "held");
    let container = Container::from_connection_string(&store, &container).unwrap();
    Some((process, quick(&container, "job").build().unwrap(), before))
}

#[test]
fn another_process_gets_it_after_the_first_lets_go() {
    let Some((mut process, locker, _)) = holder("letgo") else { return };
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
#[test]
fn another_process_gets_it_after_the_first_is_killed_and_its_lease_is_over() {
    let Some((process, locker, before)) = holder("killed") else { return };
    process.signal(Signal::KILL);
    let killed = Instant::now();
    let guard = locker.lock().unwrap();
    let got = Instant::now();
    println!("free {:?} after the kill", got - killed);
    // The lease began after `before` and was not renewed after `killed`.
    assert!(got >= before + LEASE, "{:?} too early", before + LEASE - got);
    assert!(got <= killed + LEASE + 3 * SECOND, "{:?}", got - killed);
    guard.unlock().unwrap();
}

// Scenario 4.
#[test]
fn a_process_stopped_for_longer_than_its_lease_sees_the_loss_at_its_first_check() {
    let Some((mut process, locker, _)) = holder("stopped") else { return };
    assert_eq!(process.ask("check"), "ours");
    process.signal(Signal::STOP);
    let second = locker.lock().unwrap();
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "lost");
    assert_eq!(process.ask("unlock"), "not unlocked");
    second.ensure_held().unwrap();
    second.unlock().expect("the loser's release is not ours");
}

// Scenario 5.
#[test]
fn a_process_stopped_for_half_its_lease_still_has_it() {
    let Some((mut process, locker, _)) = holder("paused") else { return };
    process.signal(Signal::STOP);
    thread::sleep(LEASE / 2);
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "ours");
    assert!(locker.try_lock().is_err());
    thread::sleep(SECOND);
    assert_eq!(process.ask("check"), "ours");
    assert_eq!(process.ask("unlock"), "unlocked");
}
