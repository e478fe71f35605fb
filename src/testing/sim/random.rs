//! All chance of a run comes from its seed.

use std::time::Duration;

use crate::random::Jitter;

pub(super) struct Random(Jitter);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        // Seeds that follow each other give unlike runs.
        Random(Jitter::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub(super) fn next(&mut self) -> u32 {
        self.0.next()
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    pub(super) fn one_in(&mut self, of: u32) -> bool {
        self.below(of) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    pub(super) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let width = to.saturating_sub(from).as_nanos();
        from + Duration::from_nanos(((width * u128::from(self.next())) >> 32) as u64)
    }

    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        self.between(Duration::ZERO, most)
    }
}
