//! Chaos with real processes on Azurite, through proxies that misbehave.
//!
//! Contenders take locks, work under them and write down what they were told, while a driver kills (-9), stops and
//! continues them, cuts them off, delays, loses and repeats their requests, gives them old answers and answers twice,
//! and breaks their leases without force.
//! Then all of that ends, for some seconds of calm; then half of them are asked to end, and the others killed. What does
//! not end by itself is left: connections on which something in between is one answer behind, and, until each lock was
//! had again, caches that go on saying that a dead holder has it. A run is one or more such rounds. In none of them may
//! there be
//!
//! - two holders at a time: see [`history`] for what that means where a process may be stopped between any two of its
//!   instructions;
//! - a lost update: the contenders of a lock add to a number, and each sum is written once. Half of the locks have
//!   the number in a file, which takes any write: their contenders look at the lock right before they write, and are
//!   killed and cut off but never stopped, since a lease is no fence and a holder that is stopped before a write may do
//!   it when the lock is another's. The others have it in the locked blob's metadata, which takes writes with the
//!   lease's id and no others: their contenders are stopped, too, and what they write too late must be refused;
//! - a lease left beyond its bound: the store is asked for each lease whose holder has let go, lost it or died. It must
//!   be over one lease and the longest delay of a packet later, or at once, if it was released in the calm. In the end
//!   each lock can be had by somebody else;
//! - a process that hangs: who is asked to end does so within its bound, whatever the network does;
//! - a loss for nothing: a lock that was taken in the calm is not lost.
//!
//! Azurite is not restarted: its leases read as expired after that.
//!
//! `AZMUTEX_CHAOS_SECONDS` says how long it takes, about, and `AZMUTEX_CHAOS_SEED` what the dice start with: the same
//! faults then come in the same order, though not at the same instants. With `AZMUTEX_CHAOS_TABLE=1` the figures go
//! into the guide.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

mod contender;
mod dice;
mod history;
mod journal;
mod network;
mod orphans;
mod report;
mod round;
mod tally;

#[path = "../it/support/mod.rs"]
mod support;

use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contender::{Orders, contend};
use dice::Dice;
use round::Round;
use support::azurite::azurite;
use support::process;
use tally::Tally;

const DEFAULT_SECONDS: u64 = 90;
const LONGEST_ROUND: u64 = 180;
/// What a round takes besides the chaos, usually.
const REST: u64 = 75;

/// Not a test of its own, but what each contender does.
#[test]
fn child() {
    let Some((container, name)) = process::given() else { return };
    contend(&container, &name, &Orders::given());
}

// Scenario 30, 32, 33.
#[test]
fn contenders_survive_kills_stops_and_a_hostile_network() {
    let Some(azurite) = azurite() else { return };
    let seconds = number("AZMUTEX_CHAOS_SECONDS").unwrap_or(DEFAULT_SECONDS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("AZMUTEX_CHAOS_SEED").unwrap_or(now.as_micros() as u64);
    println!("AZMUTEX_CHAOS_SEED={seed}");
    let rounds = seconds.div_ceil(LONGEST_ROUND);
    let disturbed = Duration::from_secs((seconds / rounds).saturating_sub(REST).max(20));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut dice = Dice::new(seed);
    let start = Instant::now();
    for round in 1..=rounds {
        let violations = Round::new(azurite, Arc::clone(&tally), dice.next()).run(disturbed);
        println!("round {round} of {rounds} is over after {:.0?}", start.elapsed());
        assert!(violations.is_empty(), "AZMUTEX_CHAOS_SEED={seed}:\n{}", violations.join("\n"));
    }
    let tally = tally.lock().unwrap();
    assert_eq!(tally.missing(), Vec::<&str>::new(), "never done");
    assert_eq!(tally.unseen(), Vec::<&str>::new(), "never seen");
    report::tell(&tally, start.elapsed(), seed);
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}
