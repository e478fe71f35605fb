//! True time, and clocks that are not quite true.

use std::time::Duration;

use crate::clock::Moment;

use super::service::Time;

const MILLION: u128 = 1_000_000;

/// The clock of one machine. It goes on in suspend, as the crate's own does.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// What it showed at the start.
    pub(super) offset: Duration,
    /// By how many parts in a million it runs too fast.
    pub(super) drift: i32,
    /// For how long it stood still.
    pub(super) missed: Duration,
}

impl Clock {
    fn rate(&self) -> u128 {
        MILLION.saturating_add_signed(self.drift.into())
    }

    pub(super) fn at(&self, time: Time) -> Moment {
        let shown = time.saturating_sub(self.missed).as_nanos() * self.rate() / MILLION;
        Moment::PAST.after(self.offset).after(nanos(shown))
    }

    /// The first true time at which it shows `moment`, if it does not stand still until then.
    pub(super) fn when(&self, moment: Moment) -> Option<Time> {
        if moment == Moment::NEVER {
            return None;
        }
        let shown = moment.since(Moment::PAST).saturating_sub(self.offset).as_nanos();
        Some(nanos((shown * MILLION).div_ceil(self.rate())) + self.missed)
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_when_the_clock_shows_it() {
        for drift in [-10_000, 0, 3, 10_000] {
            let clock = Clock { offset: Duration::from_secs(77), drift, missed: Duration::from_millis(5) };
            for millis in [5, 6, 1_000, 123_456_789] {
                let moment = clock.at(Duration::from_millis(millis)).after(Duration::from_nanos(1));
                let when = clock.when(moment).unwrap();
                assert!(clock.at(when) >= moment && clock.at(when - Duration::from_nanos(1)) < moment);
            }
        }
    }
}
