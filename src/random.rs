//! Random numbers: the system's, and a sequence of our own that can be played again.

/// The system's, of which no other process has the same.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes)?;
    Ok(bytes)
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
