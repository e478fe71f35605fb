//! The only place that asks for the time or sleeps.
//!
//! Deadlines are counted on a clock that goes on while the machine is suspended: a lease runs out on the service
//! whether or not the holder's lid is closed. std's `Instant` does that on Windows and, on macOS, through
//! `CLOCK_MONOTONIC`; on Linux it takes `CLOCK_BOOTTIME`.

use std::time::{Duration, SystemTime};

/// A point on this process's clock, in nanoseconds. All arithmetic saturates.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Before anything that has happened.
    pub(crate) const PAST: Moment = Moment(0);
    /// After anything that will happen.
    pub(crate) const NEVER: Moment = Moment(u64::MAX);

    pub(crate) fn after(self, pause: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(pause)))
    }

    pub(crate) fn before(self, pause: Duration) -> Moment {
        if self == Moment::NEVER { self } else { Moment(self.0.saturating_sub(nanos(pause))) }
    }

    /// How long from `now` until this moment: zero if it has passed, [`Duration::MAX`] if it never comes.
    pub(crate) fn left(self, now: Moment) -> Duration {
        if self == Moment::NEVER { Duration::MAX } else { Duration::from_nanos(self.0.saturating_sub(now.0)) }
    }

    /// How long after `earlier` this is; zero if it is not.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(unix)]
pub(crate) fn now() -> Moment {
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;

    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(not(unix))]
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Moment {
    use std::sync::LazyLock;
    use std::time::Instant;

    // One nanosecond on, so that nothing ever happens at `Moment::PAST`.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment(nanos(START.elapsed()).saturating_add(1))
}

/// The wall clock, for the date that a request carries and for nothing else: within the years that such a date can
/// name, however wrong the clock is.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
    SystemTime::now().clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + YEAR_9999)
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_its_edges() {
        let moment = Moment(5);
        assert_eq!(moment.after(Duration::MAX), Moment::NEVER);
        assert_eq!(moment.before(Duration::from_secs(1)), Moment::PAST);
        assert_eq!(Moment::NEVER.before(Duration::from_secs(1)), Moment::NEVER);
        assert_eq!(Moment::NEVER.left(moment), Duration::MAX);
        assert_eq!(moment.left(Moment(7)), Duration::ZERO);
        assert_eq!(moment.left(Moment(3)), Duration::from_nanos(2));
    }

    #[test]
    fn the_clock_moves_forward() {
        let before = now();
        sleep(Duration::from_millis(2));
        assert!(now() >= before.after(Duration::from_millis(2)));
        assert!(before > Moment::PAST);
    }
}
