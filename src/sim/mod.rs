//! Never two holders: many clients, each the crate's own [`Hold`](crate::hold::Hold), and one service on a network
//! that does what networks do, on made-up time.
//!
//! One seed decides everything that happens in a run, so a run that fails can be run again:
//!
//! ```sh
//! AZMUTEX_SIM_SEED=1234 cargo test --lib sim::replay -- --nocapture            # one run, event by event
//! AZMUTEX_SIM_EVENTS=1000000000 cargo test --release --lib sim:: -- --nocapture  # a long one
//! ```

mod client;
mod network;
mod random;
mod rules;
mod service;
mod tally;
mod time;
mod world;

use std::env;
use std::time::Instant;

use tally::{Count, Tally};
use world::World;

/// How many events a plain `cargo test` simulates.
const EVENTS: u64 = 10_000_000;

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

/// Every `step`th seed from `first` on, until there were so many events. Fails with the seed that broke a rule.
fn simulate(first: u64, step: usize, events: u64) -> Result<Tally, u64> {
    let mut tally = Tally::new();
    for seed in (first..).step_by(step) {
        tally.merge(&World::new(seed, false).run().map_err(|_| seed)?);
        if tally.of(Count::Events) >= events {
            break;
        }
    }
    Ok(tally)
}

// Scenario 2.
#[test]
#[allow(clippy::disallowed_methods)]
fn never_two_holders() {
    let started = Instant::now();
    let events = number("AZMUTEX_SIM_EVENTS").unwrap_or(EVENTS);
    let first = number("AZMUTEX_SIM_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let parts: Vec<_> = std::thread::scope(|scope| {
        let part = |i| scope.spawn(move || simulate(first + i as u64, threads, events / threads as u64));
        let parts: Vec<_> = (0..threads).map(part).collect();
        parts.into_iter().map(|part| part.join().expect("a simulation does not panic")).collect()
    });
    let mut tally = Tally::new();
    for part in parts {
        tally.merge(&part.unwrap_or_else(|seed| panic!("{}", tell(seed))));
    }
    println!("seeds from {first}, in {:?}:\n{tally}", started.elapsed());
    assert_eq!(tally.missing(), [""; 0], "these never happened");
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
