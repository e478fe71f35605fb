//! The only place that asks for the time or sleeps.
//!
//! Deadlines are counted on a clock that goes on while the machine is suspended: a lease runs out on the service
//! whether or not the holder's lid is closed. std's `Instant` does that on Windows and, on macOS, through
//! `CLOCK_MONOTONIC`; on Linux it takes `CLOCK_BOOTTIME`.

use std::time::{Duration, SystemTime};

use crate::sync::thread;

/// A point on this process's clock, in nanoseconds. All arithmetic saturates.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

/// No sleep should be longer: threads and channels wait on a clock that stands still in suspend.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(2);

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

    pub(crate) fn of_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> Moment {
    let now = machine_time();
    #[cfg(test)]
    let now = crate::testing::settable::shown(now);
    now
}

#[cfg(unix)]
fn machine_time() -> Moment {
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
fn machine_time() -> Moment {
    use std::sync::LazyLock;
    use std::time::Instant;

    // One nanosecond on, so that nothing ever happens at `Moment::PAST`.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment(nanos(START.elapsed()).saturating_add(1))
}

/// The wall clock, for the date that a request carries, and for tokens of which only the date of their end is known:
/// within the years that such a date can name, however wrong the clock is. Nothing is decided by it but how long to try
/// such a token.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
    let now = SystemTime::now();
    #[cfg(test)]
    let now = crate::testing::settable::moved(now);
    now.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + YEAR_9999)
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn sleep(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settable::SettableClock;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NANO: Duration = Duration::from_nanos(1);

    #[test]
    fn arithmetic_saturates_at_its_edges() {
        let moment = Moment(5);
        assert_eq!(moment.after(Duration::MAX), Moment::NEVER);
        assert_eq!(moment.before(Duration::from_secs(1)), Moment::PAST);
        assert_eq!(moment.left(Moment(7)), Duration::ZERO);
        assert_eq!(moment.left(Moment(3)), Duration::from_nanos(2));
        assert_eq!(moment.since(Moment(7)), Duration::ZERO);
        assert_eq!(moment.since(Moment(3)), Duration::from_nanos(2));
        assert_eq!(Moment::PAST.before(Duration::MAX), Moment::PAST);
        assert_eq!(Moment::PAST.after(NANO).before(NANO), Moment::PAST);
    }

    #[test]
    fn never_comes_and_goes_by_no_pause() {
        let last = Moment(u64::MAX - 1);
        assert!(last < Moment::NEVER);
        assert_eq!(last.after(NANO), Moment::NEVER);
        for pause in [Duration::ZERO, NANO, Duration::from_secs(1), Duration::MAX] {
            assert_eq!(Moment::NEVER.before(pause), Moment::NEVER);
            assert_eq!(Moment::NEVER.after(pause), Moment::NEVER);
        }
        for now in [Moment::PAST, Moment(5), last, Moment::NEVER] {
            assert_eq!(Moment::NEVER.left(now), Duration::MAX);
        }
        assert_eq!(last.left(Moment::PAST), Duration::from_nanos(u64::MAX - 1), "the longest that is waited for");
    }

    #[test]
    fn nothing_overflows_wherever_it_begins() {
        let moments = [0, 1, 2, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 2, u64::MAX - 1, u64::MAX].map(Moment);
        let longest = Duration::from_nanos(u64::MAX);
        let pauses = [Duration::ZERO, NANO, HOUR, longest - NANO, longest, longest + NANO, Duration::MAX];
        for moment in moments {
            for pause in pauses {
                let (later, earlier) = (moment.after(pause), moment.before(pause));
                assert!(later >= moment && earlier <= moment, "{moment:?} {pause:?}");
                assert!(later.since(moment) <= pause && moment.since(earlier) <= pause, "{moment:?} {pause:?}");
                assert!(later == Moment::NEVER || later.left(moment) == pause, "{moment:?} {pause:?}");
                assert!(earlier == Moment::PAST || later.before(pause) >= moment, "{moment:?} {pause:?}");
            }
            for other in moments {
                assert!(moment.left(other).is_zero() || moment > other || moment == Moment::NEVER);
                assert_eq!(moment.since(other).is_zero(), moment <= other);
            }
        }
    }

    #[test]
    fn the_clock_moves_forward() {
        let before = now();
        sleep(Duration::from_millis(2));
        assert!(now() >= before.after(Duration::from_millis(2)));
        assert!(before > Moment::PAST);
    }

    #[test]
    fn the_two_clocks_are_set_apart_from_each_other() {
        let Some(clock) = SettableClock::alone(the_two_clocks_are_set_apart_from_each_other) else { return };
        let (began, date) = (now(), wall());
        clock.suspend(HOUR);
        assert!(now() >= began.after(HOUR) && now() < began.after(2 * HOUR));
        assert!(wall() < date + HOUR, "a suspend is no business of the wall clock's here");
        clock.set_wall_ahead(HOUR);
        assert!(wall() >= date + HOUR);
        clock.set_wall_behind(HOUR);
        assert!(wall() < date);
        assert!(now() < began.after(2 * HOUR));
    }

    #[test]
    fn a_wall_clock_beyond_all_bounds_still_names_a_date() {
        let Some(clock) = SettableClock::alone(a_wall_clock_beyond_all_bounds_still_names_a_date) else { return };
        let year = |date| httpdate::fmt_http_date(date)[12..16].to_owned();
        for (far, first, last) in [(HOUR * 24 * 365 * 200, "1970", "2"), (Duration::MAX, "1970", "9999")] {
            clock.set_wall_behind(far);
            assert_eq!(year(wall()), first);
            clock.set_wall_ahead(far);
            assert!(year(wall()).starts_with(last), "{}", year(wall()));
        }
    }
}
