//! Hundreds of waiters and a thousand holders: how much they ask for, and what they cost. On the emulator, which can
//! bear them, and in a target of its own, for cargo runs one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::crossbeam_channel::bounded;
use azmutex::emulator::{Emulator, Operation};
use azmutex::{Cancel, Container, Locker};

#[path = "../it/support/mod.rs"]
mod support;

const SECOND: Duration = Duration::from_secs(1);

// Scenario 22.
#[test]
fn two_hundred_waiters_keep_to_their_budget_and_none_starves() {
    const WAITERS: usize = 200;
    const WATCHED: Duration = Duration::from_secs(10);
    // A look every 0.83 s on average, and for each an acquire when it saw the lock free; and a tenth.
    const BUDGET: usize = (WAITERS * 10 * 6 / 5 + WAITERS) * 11 / 10;
    let emulator = Emulator::start().unwrap();
    // A client of its own for each, as other processes have.
    let locker =
        || Container::from_connection_string(&emulator.connection_string(), "locks").unwrap().locker("job").unwrap();
    let guard = locker().lock().unwrap();
    let (is_first, (taken, released)) = (AtomicBool::new(true), bounded(1));
    let wait = |locker: Locker| {
        let guard = locker.lock_timeout(120 * SECOND).unwrap();
        if is_first.swap(false, Ordering::SeqCst) {
            taken.send(()).unwrap();
            thread::sleep(WATCHED);
        }
        guard.ensure_held().unwrap();
        guard.unlock().unwrap();
        Instant::now()
    };
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS).map(|_| locker()).map(|locker| scope.spawn(|| wait(locker))).collect();
        let count = |wanted| emulator.requests().iter().filter(|request| request.operation == wanted).count();
        let start = Instant::now();
        while count(Operation::AcquireLease) < WAITERS {
            assert!(start.elapsed() < 60 * SECOND, "not all have come");
            thread::sleep(Duration::from_millis(20));
        }
        // Until their pauses have grown.
        thread::sleep(3 * SECOND);
        let before = emulator.requests().last().unwrap().at;
        guard.unlock().unwrap();
        released.recv_timeout(60 * SECOND).unwrap();
        thread::sleep(WATCHED);
        let since = emulator.requests().iter().filter(|request| request.at > before).count();
        let free = Instant::now();
        let ends: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        println!(
            "{since} requests in {WATCHED:?}, of {BUDGET}; all had it {:?} later",
            *ends.iter().max().unwrap() - free
        );
        assert!(since <= BUDGET, "{since} requests");
    });
}

#[test]
fn two_hundred_threads_of_one_process_ask_for_as_much_as_one() {
    const WAITERS: usize = 200;
    const WATCHED: Duration = Duration::from_secs(10);
    let emulator = Emulator::start().unwrap();
    let container = || Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
    let guard = container().locker("job").unwrap().lock().unwrap();
    let locker = container().locker("job").unwrap();
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| locker.lock_or_cancel(&cancel).err())).collect();
        while locker.try_lock().unwrap_err().ahead() != WAITERS {
            thread::sleep(Duration::from_millis(20));
        }
        // Until the pauses of the first have grown.
        thread::sleep(3 * SECOND);
        let (before, begun) = (emulator.requests().len(), Instant::now());
        thread::sleep(WATCHED);
        let requests = emulator.requests();
        // One and a quarter a second; and two, for chance and for when the counting begins.
        let most = (begun.elapsed().as_secs_f64() * 1.25) as usize + 2;
        let asked =
            requests[before..].iter().filter(|request| request.operation == Operation::GetBlobProperties).count();
        let others = requests.len() - before - asked;
        cancel.cancel();
        let errors = waiters.into_iter().filter_map(|waiter| waiter.join().unwrap()).count();
        assert_eq!(errors, WAITERS);
        // The holder's renewal may be among them, and an acquire of the one who waits, which it makes once in a lease.
        assert!(
            (1..=most).contains(&asked) && others <= 3,
            "{asked} looks in {WATCHED:?}, and {others} other requests"
        );
        println!("{asked} looks in {WATCHED:?}, and {others} other requests");
    });
    guard.unlock().unwrap();
}

#[cfg(target_os = "linux")]
mod holders {
    use std::collections::HashMap;
    use std::fs;
    use std::sync::Mutex;

    use azmutex::emulator::Request;

    use super::*;
    use support::process::{self, say, threads};

    const LOCKS: usize = 1_000;
    /// Long, so that a fifth of the half by which first renewals are spread is longer than threads are late.
    const INTERVAL: Duration = Duration::from_secs(20);
    /// What a lock may cost, with its thread, in a build without optimization.
    const MOST_KIB: usize = 160;

    /// Not a test of its own, but what the other process does: takes a thousand locks, and says what that costs.
    #[test]
    fn child() {
        let Some((container, _)) = process::given() else { return };
        let lock = |i: usize| {
            let locker = Locker::builder(container.mutex(&i.to_string()).unwrap());
            locker.lease(60 * SECOND).renew_every(INTERVAL).build().unwrap().lock().unwrap()
        };
        let _first = lock(LOCKS);
        let before = resident();
        let guards = Mutex::new(Vec::new());
        let take = |i| {
            let guard = lock(i);
            guards.lock().unwrap().push(guard);
        };
        thread::scope(|scope| {
            for first in 0..20 {
                let take = &take;
                scope.spawn(move || (first..LOCKS).step_by(20).for_each(take));
            }
        });
        let each = (resident() - before) / LOCKS;
        // And the watchdog, and the first lock's.
        assert_eq!(threads().len(), LOCKS + 2);
        assert!(each <= MOST_KIB, "{each} KiB each");
        say(&format!("{LOCKS} locks, {} threads, {each} KiB each", LOCKS + 2));
        thread::sleep(INTERVAL * 5 / 4);
        let mut guards = guards.into_inner().unwrap();
        thread::scope(|scope| {
            while !guards.is_empty() {
                let some = guards.split_off(guards.len().saturating_sub(LOCKS / 20));
                scope.spawn(|| some.into_iter().for_each(|guard| guard.unlock().unwrap()));
            }
        });
    }

    /// In KiB.
    fn resident() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// When each lock was acquired, and when it was renewed for the first time.
    #[derive(Default)]
    struct Seen {
        acquired: HashMap<String, Duration>,
        renewed: HashMap<String, Duration>,
    }

    impl Seen {
        /// Again and again, for the emulator forgets the oldest.
        fn look(&mut self, emulator: &Emulator) {
            for Request { operation, path, at, .. } in emulator.requests() {
                match operation {
                    // The first finds out that the blob is missing.
                    Operation::AcquireLease => drop(self.acquired.insert(path, at)),
                    Operation::RenewLease => drop(self.renewed.entry(path).or_insert(at)),
                    _ => {}
                }
            }
        }
    }

    // Scenario 23.
    #[test]
    fn a_thousand_locks_are_held_and_their_renewals_are_spread() {
        const PARTS: usize = 5;
        let emulator = Emulator::start().unwrap();
        let mut process = process::again(child).container(&emulator.connection_string(), "locks").start();
        let mut seen = Seen::default();
        let child = thread::spawn(move || (process.says().0, process.ends_well()));
        while !child.is_finished() {
            thread::sleep(SECOND / 2);
            seen.look(&emulator);
        }
        let (said, is_well) = child.join().unwrap();
        println!("{said}");
        assert!(is_well);

        // How many come in each part of the half of an interval by which the first ones are early at random.
        let mut parts = [0; PARTS];
        for (path, renewed) in seen.renewed {
            let after = renewed - seen.acquired[&path];
            let early = after.saturating_sub(INTERVAL / 2).div_duration_f64(INTERVAL / 2);
            parts[((early * PARTS as f64) as usize).min(PARTS - 1)] += 1;
        }
        println!("renewals in each part of the second half of the interval: {parts:?}");
        assert!(parts.iter().all(|part| *part >= LOCKS / PARTS / 2), "{parts:?}");
    }
}
