//! Random numbers: the system's, and a sequence of our own that can be played again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::clock::{self, Moment};
use crate::process::Process;

/// The system's, of which no other process has the same.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes)?;
    Ok(bytes)
}

/// Bytes that nobody else draws, not even a copy of this machine that has the same random numbers to come: it has other
/// clocks. Nor does a process that was forked, or another call.
pub(crate) fn unique() -> Result<[u8; 16], getrandom::Error> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let whole = Occasion {
        random: bytes()?,
        wall: clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        now: clock::now(),
        // Only one of what tells calls apart, so an old look will do.
        process: Process::recent(),
        call: CALLS.fetch_add(1, Ordering::Relaxed),
    };
    Ok(whole.mixed())
}

/// All that makes one call another one.
#[derive(Clone)]
struct Occasion {
    random: [u8; 32],
    wall: Duration,
    now: Moment,
    process: Process,
    call: u64,
}

impl Occasion {
    fn mixed(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.random);
        hash.update(self.wall.as_nanos().to_ne_bytes());
        hash.update(self.now.nanos().to_ne_bytes());
        hash.update(self.process.to_bytes());
        hash.update(self.call.to_ne_bytes());
        let mut mixed = [0; 16];
        mixed.copy_from_slice(&hash.finalize()[..16]);
        mixed
    }
}

/// A sequence of random numbers that need not be secret (SplitMix64).
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// One that no other process has, if the system has random numbers.
    #[cfg(feature = "entra")]
    pub(crate) fn random() -> Jitter {
        Jitter(bytes().map(u64::from_ne_bytes).unwrap_or_default())
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario 37: of copies of a machine, the first thing that differs is a clock.
    #[test]
    fn with_the_same_random_numbers_each_occasion_still_has_its_own() {
        let now = clock::now();
        let one = Occasion { random: [7; 32], wall: Duration::from_secs(1), now, process: Process::current(), call: 0 };
        let nano = Duration::from_nanos(1);
        let others = [
            Occasion { random: [8; 32], ..one.clone() },
            Occasion { wall: one.wall + nano, ..one.clone() },
            Occasion { now: now.after(nano), ..one.clone() },
            Occasion { process: Process::other(), ..one.clone() },
            Occasion { call: 1, ..one.clone() },
        ];
        assert_eq!(one.mixed(), one.clone().mixed());
        let mut all: Vec<_> = others.iter().chain([&one]).map(Occasion::mixed).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn jitter_is_that_of_the_published_algorithm_but_for_the_last_bit() {
        let mut jitter = Jitter::new(0);
        for published in [0xe220_a839_u32, 0x6e78_9e6a, 0x06c4_5d18, 0xf88b_b8a8] {
            assert_eq!(jitter.next() >> 1, published >> 1);
        }
    }

    #[test]
    fn jitter_spreads() {
        let mut jitter = Jitter::new(7);
        let numbers: Vec<u32> = (0..1000).map(|_| jitter.next()).collect();
        let low = numbers.iter().filter(|n| **n < u32::MAX / 2).count();
        assert!((400..600).contains(&low), "{low}");
    }
}
