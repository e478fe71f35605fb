//! The lock at work, to be watched: two processes, one lock, and an operator who breaks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use azmutex::lease::Break;
use azmutex::{Container, Locker};

#[path = "../it/support/mod.rs"]
mod support;

use support::process::{self, say};

const CONTAINER: &str = "demo";
const LOCK: &str = "nightly-report";
const STEPS: &str = "AZMUTEX_DEMO_STEPS";
const STEP: Duration = Duration::from_millis(500);
/// For what takes milliseconds, on a machine that has much else to do.
const LONGEST_START: Duration = Duration::from_secs(60);

fn main() {
    // Asked for a list of its tests, as some test runners do, it has none to name.
    if env::args().any(|argument| argument == "--list") {
        return;
    }
    match process::given() {
        Some((container, _)) => work(&container),
        None => stage(),
    }
}

/// One of the two processes: it works under the lock until its work is done or the lock is lost.
fn work(container: &Container) {
    let steps: u32 = process::variable(STEPS).unwrap().parse().unwrap();
    let locker = Locker::builder(container.mutex(LOCK).unwrap())
        .lease(Duration::from_secs(15))
        .renew_every(Duration::from_secs(1))
        .on_event(|event| say(&event.to_string()))
        .build()
        .unwrap();
    let guard = locker.lock().unwrap();
    for step in 1..=steps {
        if let Err(error) = guard.ensure_held() {
            say(&format!("stops before step {step}: {error}"));
            return;
        }
        say(&format!("works, step {step} of {steps}"));
        thread::sleep(STEP);
    }
    guard.unlock().unwrap();
}

fn stage() {
    let start = Instant::now();
    let Some(azurite) = support::azurite::azurite() else { return };
    let store = azurite.connection_string();
    println!("Azurite is ready after {:.1?}. Two processes want the lock.\n", start.elapsed());
    let start = Instant::now();
    let lock = azurite.container(CONTAINER).mutex(LOCK).unwrap();
    let first = follow("first", 4, &store, start);
    while !lock.inspect().is_ok_and(|status| status.is_locked()) {
        assert!(!first.is_finished(), "the first is gone");
        assert!(start.elapsed() < LONGEST_START, "the first does not get the lock");
        thread::sleep(Duration::from_millis(20));
    }
    let second = follow("second", 60, &store, start);
    let first = first.join().unwrap();
    thread::sleep(STEP * 4);
    show(start, "operator", "breaks the lease by force");
    lock.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    let second = second.join().unwrap();
    assert!(first.contains("released") && second.contains("waiting") && second.contains("stops"), "{first}{second}");
    println!("\nThe lock was with one process at a time, and the one that lost it was told.");
}

fn show(start: Instant, who: &str, what: &str) {
    println!("{:>6.2} s  {who:>8}: {what}", start.elapsed().as_secs_f64());
}

/// Starts a process that works for so many steps, and shows what it says, with the time and its name.
fn follow(name: &'static str, steps: u32, store: &str, start: Instant) -> thread::JoinHandle<String> {
    let mut process = process::again(main).container(store, CONTAINER).env(STEPS, &steps.to_string()).start();
    thread::spawn(move || {
        let mut all = String::new();
        while let Some((line, _)) = process.may_say() {
            show(start, name, &line);
            all.push_str(&line);
        }
        assert!(process.ends_well());
        all
    })
}
