//! Threads of one process and several processes that all want one lock, again and again: who gets it how often, after how
//! long, and for how many requests. A target of its own, for it needs the machine for itself.
//!
//! `AZMUTEX_TURNS_SECONDS` says for how long, `AZMUTEX_TURNS_RUNS` how often the processes do it, and
//! `cargo test --all-features --test turns -- --nocapture` shows the figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;
use azmutex::{Cancel, Container, ErrorKind, Locker};

#[path = "../it/support/mod.rs"]
mod support;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const HOLDS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(10), SECOND];

/// For how long each thread, or process, goes on.
fn length(default: Duration) -> Duration {
    env::var("AZMUTEX_TURNS_SECONDS").map_or(default, |text| Duration::from_secs(text.parse().unwrap()))
}

/// Of the processes, one after the other.
#[cfg(unix)]
fn runs() -> u32 {
    env::var("AZMUTEX_TURNS_RUNS").map_or(1, |text| text.parse().unwrap())
}

/// What some threads of this process have had.
#[derive(Default)]
struct Turns {
    /// Of each thread.
    turns: Vec<usize>,
    longest_wait: Duration,
    /// Between two turns of the process, whoever's they were, or before the first. Asked for by processes.
    #[cfg_attr(not(unix), allow(dead_code))]
    longest_gap: Duration,
}

impl Turns {
    fn all(&self) -> usize {
        self.turns.iter().sum()
    }
}

/// Has so many threads lock, hold and unlock, over and over.
fn take_turns(locker: &Locker, threads: usize, hold: Duration, length: Duration, most: usize) -> Turns {
    let (inside, cancel, last) = (AtomicUsize::new(0), Cancel::new(), Mutex::new((Instant::now(), Duration::ZERO)));
    let work = || {
        let (mut turns, mut longest) = (0, Duration::ZERO);
        while turns < most {
            let begun = Instant::now();
            let guard = match locker.lock_or_cancel(&cancel) {
                Err(error) if error.kind() == ErrorKind::Cancelled => break,
                locked => locked.unwrap(),
            };
            longest = longest.max(begun.elapsed());
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            {
                let mut last = last.lock().unwrap();
                *last = (Instant::now(), last.1.max(last.0.elapsed()));
            }
            thread::sleep(hold);
            turns += 1;
            inside.fetch_sub(1, Ordering::SeqCst);
            guard.unlock().unwrap();
        }
        (turns, longest)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        if most == usize::MAX {
            thread::sleep(length);
            cancel.cancel();
        }
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let longest_wait = ends.iter().map(|(_, longest)| *longest).max().unwrap();
        let longest_gap = last.lock().unwrap().1;
        Turns { turns: ends.into_iter().map(|(turns, _)| turns).collect(), longest_wait, longest_gap }
    })
}

// Scenario 21 and 41, in one process.
#[test]
fn all_threads_of_a_process_are_served_with_two_requests_a_lock() {
    for threads in [8, 32, 100] {
        for hold in HOLDS {
            // The emulator remembers the last thousands of requests, and each round needs its own.
            let emulator = Emulator::start().unwrap();
            let locker = Container::from_connection_string(&emulator.connection_string(), "locks")
                .unwrap()
                .locker("job")
                .unwrap();
            locker.lock().unwrap().unlock().unwrap();
            let (begun, serves) = (Instant::now(), Mutex::new(0));
            let counted = thread::scope(|scope| {
                let counting = scope.spawn(|| {
                    let mut seen = emulator.requests().last().unwrap().at;
                    let mut count = 0;
                    loop {
                        let is_over = *serves.lock().unwrap() > 0;
                        let requests = emulator.requests();
                        count += requests.iter().filter(|request| request.at > seen).count();
                        seen = requests.last().unwrap().at;
                        if is_over {
                            return count;
                        }
                        thread::sleep(50 * MS);
                    }
                });
                let turns = take_turns(&locker, threads, hold, length(3 * SECOND), usize::MAX);
                *serves.lock().unwrap() = 1;
                (turns, counting.join().unwrap())
            });
            let (turns, requests) = counted;
            let (fewest, most) = (*turns.turns.iter().min().unwrap(), *turns.turns.iter().max().unwrap());
            let locks = turns.all();
            println!(
                "{threads} threads, holds of {hold:?}: {locks} locks in {:.1?}, {fewest} to {most} each, \
                 {:.2} requests a lock, longest wait {:.1?}",
                begun.elapsed(),
                requests as f64 / locks as f64,
                turns.longest_wait
            );
            // Two that asked for the same nanosecond are hardly there, but a wait that is cancelled may have asked.
            assert!(requests <= 2 * locks + 2, "{requests} requests for {locks} locks");
            // Nobody has its second turn before all had their first, but those whom the machine kept from coming.
            assert!(fewest > 0 || most <= 1, "{fewest} to {most} turns");
        }
    }
}

#[cfg(unix)]
mod processes {
    use super::*;
    use support::process::{self, say};

    const PLAN: &str = "AZMUTEX_TURNS_PLAN";
    /// What is promised to one that waits elsewhere, beyond the hold in progress: a row and a pause; and what a busy
    /// machine takes.
    const BOUND: Duration = Duration::from_secs(40 + 4 + 4);
    /// The same for one that comes third: the second may get in before it, and goes on for a short row and a pause.
    const BOUND_OF_THIRD: Duration = Duration::from_secs(40 + 4 + 10 + 4 + 6);

    /// Not a test of its own, but what each process does.
    #[test]
    fn child() {
        let Some((container, _)) = process::given() else { return };
        let plan = process::variable(PLAN).unwrap();
        let [threads, hold, seconds, most] =
            plan.split(' ').map(|word| word.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{plan}");
        };
        let most = if most == 0 { usize::MAX } else { most as usize };
        let locker = container.locker("job").unwrap();
        let turns = take_turns(&locker, threads as usize, hold as u32 * MS, seconds as u32 * SECOND, most);
        say(&format!("{} {}", turns.all(), turns.longest_gap.as_millis()));
    }

    struct Plan {
        what: &'static str,
        threads: u64,
        hold: Duration,
        third: bool,
    }

    fn run(emulator: &Emulator, plan: &Plan, run: u32) {
        let length = length(75 * SECOND);
        let name = support::unique("turns");
        let start = |threads: u64, most: usize| {
            let (hold, seconds) = (plan.hold.as_millis(), length.as_secs());
            let process = process::again(child).container(&emulator.connection_string(), &name);
            process.env(PLAN, &format!("{threads} {hold} {seconds} {most}")).start()
        };
        let mut loops = vec![start(plan.threads, 0), start(plan.threads, 0)];
        if plan.third {
            // At different times of the others' rows.
            thread::sleep(length / 10 + run % 5 * SECOND);
            loops.push(start(1, 1));
        }
        let mut said = String::new();
        for (number, mut process) in loops.into_iter().enumerate() {
            let words = process.says().0;
            let (turns, gap) = words.split_once(' ').unwrap();
            let gap = Duration::from_millis(gap.parse().unwrap());
            said.push_str(&format!("; {turns} turns, at most {gap:.1?} without one"));
            let bound = if plan.third { BOUND_OF_THIRD } else { BOUND } + 2 * plan.hold;
            assert!(turns != "0" && gap <= bound, "{}: process {number}: {words}", plan.what);
            assert!(process.ends_well());
        }
        println!("run {run}: {}, holds of {:?}{said}", plan.what, plan.hold);
    }

    // Scenario 21 and 41, in several processes.
    #[test]
    fn another_process_gets_in_within_the_bound() {
        let two = |hold| Plan { what: "two processes", threads: 1, hold, third: false };
        let [quick, short, long] = HOLDS.map(two);
        let crowds = Plan { what: "two processes of 50 threads", threads: 50, hold: 10 * MS, third: false };
        let third = Plan { what: "two processes and one that comes once", threads: 1, hold: 10 * MS, third: true };
        for number in 1..=runs() {
            let emulator = &Emulator::start().unwrap();
            thread::scope(|scope| {
                for plan in [&quick, &short, &long, &crowds, &third] {
                    scope.spawn(move || run(emulator, plan, number));
                }
            });
        }
    }
}
