//! Never two holders: many clients, each the crate's own [`Hold`](crate::hold::Hold), and one service on a network
//! that does what networks do, on made-up time.
//!
//! `world` has the queue of events and the trouble, `network` and `service` what becomes of a request, `link` on which
//! connection it goes, `client` the processes, `rules` what must be true of the lock, and `conduct` how they must behave
//! on the way. One seed decides everything that happens in a run, so a run that fails can be run again. `model` does
//! without chance: it visits every state of a smaller system.
//!
//! ```sh
//! AZMUTEX_SIM_SEED=1234 cargo test --lib sim::replay -- --nocapture              # one run, event by event
//! AZMUTEX_SIM_EVENTS=1000000000 cargo test --release --lib sim:: -- --nocapture  # a long simulation
//! cargo test --test teeth                                                        # would it find a mistake?
//! ```

mod client;
mod conduct;
mod link;
mod model;
mod network;
mod random;
mod rules;
mod service;
mod tally;
mod time;
mod turns;
mod world;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tally::{Count, Tally};
use world::World;

/// How many events are simulated, unless the environment says otherwise.
const EVENTS: u64 = if cfg!(debug_assertions) { 500_000 } else { 20_000_000 };
/// In so many events each thing that can go wrong has.
const ENOUGH: u64 = 10_000_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs `seed` again to tell what led to its violation.
fn tell(seed: u64) -> String {
    match World::new(seed, true).run() {
        Ok(_) => format!("seed {seed} does not fail again"),
        Err((violation, trace)) => {
            let last = trace.len().saturating_sub(60);
            format!("seed {seed} {violation}\n{}", trace[last..].join("\n"))
        }
    }
}

/// How much to simulate, and where to begin.
struct Extent {
    first: u64,
    runs: u64,
    events: u64,
}

impl Extent {
    fn of_environment() -> Extent {
        let runs = number("AZMUTEX_SIM_RUNS");
        Extent {
            first: number("AZMUTEX_SIM_SEED").unwrap_or(0),
            runs: runs.unwrap_or(u64::MAX),
            events: number("AZMUTEX_SIM_EVENTS").unwrap_or(if runs.is_some() { u64::MAX } else { EVENTS }),
        }
    }
}

/// Runs one seed after the other, on all processors. Fails with the first one that broke a rule.
fn simulate(extent: &Extent) -> Result<Tally, u64> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let tally = Mutex::new(Tally::new());
    let work = || {
        while tally.lock().unwrap().of(Count::Events) < extent.events {
            let run = next.fetch_add(1, Relaxed);
            if run >= extent.runs || failed.load(Relaxed) < extent.first + run {
                return;
            }
            match World::new(extent.first + run, false).run() {
                Ok(run) => tally.lock().unwrap().merge(&run),
                Err(_) => drop(failed.fetch_min(extent.first + run, Relaxed)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |count| count.get()) {
            scope.spawn(work);
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(tally.into_inner().unwrap()),
        seed => Err(seed),
    }
}

// Scenario 2, 28, 32, 33, 34.
#[test]
#[allow(clippy::disallowed_methods)]
fn never_two_holders() {
    let started = Instant::now();
    let extent = Extent::of_environment();
    let tally = simulate(&extent).unwrap_or_else(|seed| panic!("{}", tell(seed)));
    println!("seeds from {}, in {:?}:\n{tally}", extent.first, started.elapsed());
    if tally.of(Count::Events) >= ENOUGH {
        assert_eq!(tally.missing(), [""; 0], "these never happened");
    }
}

/// Prints a run event by event.
#[test]
fn replay() {
    let Some(seed) = number("AZMUTEX_SIM_SEED") else { return };
    match World::new(seed, true).run() {
        Ok(tally) => println!("{tally}"),
        Err((violation, trace)) => panic!("{}\nseed {seed} {violation}", trace.join("\n")),
    }
}
