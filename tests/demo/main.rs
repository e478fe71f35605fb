//! The lock at work, to be watched: two processes, one lock, and an operator who breaks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::lease::Break;
use azmutex::{Container, Locker};

#[path = "../it/support/mod.rs"]
mod support;

const NAME: &str = "AZMUTEX_DEMO_NAME";
const STORE: &str = "AZMUTEX_DEMO_STORE";
const STEPS: &str = "AZMUTEX_DEMO_STEPS";
const STEP: Duration = Duration::from_millis(500);
/// For what takes milliseconds, on a machine that has much else to do.
const LONGEST_START: Duration = Duration::from_secs(60);

fn main() {
    // Asked for a list of its tests, as some test runners do, it has none to name.
    if env::args().any(|argument| argument == "--list") {
        return;
    }
    match env::var(NAME) {
        Ok(_) => work(),
        Err(_) => stage(),
    }
}

/// One of the two processes: it works under the lock until its work is done or the lock is lost.
fn work() {
    let steps: u32 = env::var(STEPS).unwrap().parse().unwrap();
    let mutex = lock(&env::var(STORE).unwrap());
    let locker = Locker::builder(mutex)
        .lease(Duration::from_secs(15))
        .renew_every(Duration::from_secs(1))
        .on_event(|event| println!("{event}"))
        .build()
        .unwrap();
    let guard = locker.lock().unwrap();
    for step in 1..=steps {
        if let Err(error) = guard.ensure_held() {
            println!("stops before step {step}: {error}");
            return;
        }
        println!("works, step {step} of {steps}");
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
    let (mut first, lines) = process("first", 4, &store);
    let first_lines = follow("first", start, lines);
    while !lock(&store).inspect().is_ok_and(|status| status.is_locked()) {
        assert!(first.try_wait().unwrap().is_none(), "the first is gone");
        assert!(start.elapsed() < LONGEST_START, "the first does not get the lock");
        thread::sleep(Duration::from_millis(20));
    }
    let (mut second, lines) = process("second", 60, &store);
    let second_lines = follow("second", start, lines);
    assert!(first.wait().unwrap().success());
    thread::sleep(STEP * 4);
    show(start, "operator", "breaks the lease by force");
    lock(&store).break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    assert!(second.wait().unwrap().success());
    let (first, second) = (first_lines.join().unwrap(), second_lines.join().unwrap());
    assert!(first.contains("released") && second.contains("waiting") && second.contains("stops"), "{first}{second}");
    println!("\nThe lock was with one process at a time, and the one that lost it was told.");
}

fn lock(store: &str) -> azmutex::AzureMutex {
    Container::from_connection_string(store, "demo").unwrap().mutex("nightly-report").unwrap()
}

fn process(name: &str, steps: u32, store: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .envs([(NAME, name), (STEPS, &steps.to_string()), (STORE, store)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn show(start: Instant, who: &str, what: &str) {
    println!("{:>6.2} s  {who:>8}: {what}", start.elapsed().as_secs_f64());
}

/// Shows what a process says, with the time and its name.
fn follow(name: &'static str, start: Instant, lines: Lines<BufReader<ChildStdout>>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut all = String::new();
        for line in lines {
            let line = line.unwrap();
            show(start, name, &line);
            all.push_str(&line);
        }
        all
    })
}
