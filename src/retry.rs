//! What is tried again, and when.
//!
//! There is one layer of retries, this one. Which answers are worth another try is decided from the service's error
//! table where answers are read; this module holds the numbers.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

/// A request's limit, where nobody says otherwise. A source of tokens has as much time as the storage service.
pub(crate) const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
const ATTEMPT_LIMITS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// No server puts us to sleep for longer, whatever its `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How one request to the service is bounded and repeated.
///
/// While a lock is *waited* for, failures are repeated until the wait's own deadline, or, without one, until they
/// have lasted for [`patience`](Policy::patience). While a lock is *held*, renewals are repeated until the lease's
/// deadline. [`retries`](Policy::retries) counts for everything that does not wait: `try_lock` and the methods of
/// [`AzureMutex`](crate::AzureMutex).
///
/// ```
/// use std::time::Duration;
/// use azmutex::retry::Policy;
///
/// // A lock nearby that is better given up early.
/// let policy = Policy::default().attempt_limit(Duration::from_secs(1)).patience(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Policy {
    pub(crate) attempt_limit: Duration,
    pub(crate) retries: u32,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attempt_limit: ATTEMPT_LIMIT,
            retries: 3,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            patience: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// The most time that one request may take, from the look-up of the host's name to the last byte of the answer.
    /// While a lock is held it is cut to half of what is left. From 10 ms to 60 s. Defaults to 5 s.
    pub fn attempt_limit(mut self, limit: Duration) -> Self {
        self.attempt_limit = limit;
        self
    }

    /// How often a call that does not wait is tried again after a passing failure. Defaults to 3.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The pause before the second try; each further one is twice as long, and each is shortened at random by up to
    /// a half. A `Retry-After` of the service that asks for more is honoured, up to 60 s. From 1 ms. Defaults to 200 ms.
    pub fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// The longest pause between two tries; no shorter than the first, at most 60 s. Defaults to 5 s.
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// How long a wait without a deadline tolerates a service that cannot be reached, or answers with errors, before it
    /// ends with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). Any proper answer starts it anew.
    /// Defaults to 30 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !ATTEMPT_LIMITS.contains(&self.attempt_limit) {
            return Err(Error::input(format!("the attempt limit must be 10 ms to 60 s, not {:?}", self.attempt_limit)));
        }
        check_pauses(self.first_pause, self.longest_pause)
    }

    /// The pause after the `failures`th failure in a row.
    pub(crate) fn pause(&self, failures: u32, retry_after: Option<Duration>, jitter: u32) -> Duration {
        let own = growing(self.first_pause, self.longest_pause, failures.saturating_sub(1), jitter);
        no_sooner_than(retry_after, own)
    }
}

/// How long a server asks us to stay away: `Retry-After` in seconds or as a date, or Azure's own in milliseconds.
pub(crate) fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let millis = ["x-ms-retry-after-ms", "retry-after-ms"].iter().find_map(|name| header(name)?.parse().ok());
    if let Some(millis) = millis {
        return Some(Duration::from_millis(millis));
    }
    let text = header("retry-after")?;
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
}

/// Whoever is asked to stay away for longer does, within reason.
pub(crate) fn no_sooner_than(retry_after: Option<Duration>, own: Duration) -> Duration {
    own.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

/// A pair of pauses: from 1 ms, the second no shorter than the first and at most 60 s.
pub(crate) fn check_pauses(first: Duration, longest: Duration) -> Result<()> {
    if first < SHORTEST_PAUSE || longest < first || longest > LONGEST_PAUSE {
        return Err(Error::input(format!(
            "pauses must grow from at least 1 ms to at most 60 s, not from {first:?} to {longest:?}"
        )));
    }
    Ok(())
}

/// `first`, doubled `times` times, at most `longest`, then shortened at random by up to a half.
pub(crate) fn growing(first: Duration, longest: Duration, times: u32, jitter: u32) -> Duration {
    shortened(doubled(first, longest, times), 2, jitter)
}

/// `first`, doubled `times` times, at most `longest`.
pub(crate) fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

/// `pause`, shortened by up to one `part`th of it, so that many clients do not act together.
pub(crate) fn shortened(pause: Duration, part: u32, jitter: u32) -> Duration {
    let share = pause / part;
    let cut = (share.as_nanos() * u128::from(jitter)) >> 32;
    pause - Duration::from_nanos(u64::try_from(cut).unwrap_or(u64::MAX)).min(share)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::holds;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_grow_to_a_bound_and_lose_up_to_a_half() {
        let policy = Policy::default();
        assert_eq!(policy.pause(1, None, 0), 200 * MS);
        assert_eq!(policy.pause(2, None, 0), 400 * MS);
        assert_eq!(policy.pause(5, None, 0), 3_200 * MS);
        assert_eq!(policy.pause(6, None, 0), 5_000 * MS);
        assert_eq!(policy.pause(u32::MAX, None, 0), 5_000 * MS);
        let least = policy.pause(1, None, u32::MAX);
        assert!(least >= 100 * MS && least < 101 * MS, "{least:?}");
    }

    #[test]
    fn a_longer_retry_after_wins() {
        let policy = Policy::default();
        assert_eq!(policy.pause(1, Some(7_000 * MS), 0), 7_000 * MS);
        assert_eq!(policy.pause(1, Some(MS), 0), 200 * MS);
        assert_eq!(policy.pause(1, Some(Duration::MAX), 0), 60_000 * MS);
    }

    #[test]
    fn a_policy_has_what_it_was_given() {
        let policy = Policy::default().retries(7).patience(MS);
        assert_eq!((policy.retries, policy.patience), (7, MS));
        assert_eq!(Policy { retries: 3, patience: 30_000 * MS, ..policy }, Policy::default());
    }

    #[test]
    fn retry_after_is_seconds_a_date_or_azures_milliseconds() {
        let now = SystemTime::UNIX_EPOCH + 1_000 * MS;
        let of = |name: &str, text: &'static str| super::retry_after(|asked| (asked == name).then_some(text), now);
        assert_eq!(of("retry-after", "7"), Some(7_000 * MS));
        assert_eq!(of("retry-after", "Thu, 01 Jan 1970 00:00:04 GMT"), Some(3_000 * MS));
        assert_eq!(of("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), None, "that is over");
        assert_eq!(of("retry-after", "soon"), None);
        assert_eq!(of("retry-after-ms", "7"), Some(7 * MS));
        assert_eq!(of("x-ms-retry-after-ms", "7"), Some(7 * MS));
        assert_eq!(of("date", "7"), None);
    }

    #[test]
    fn pauses_have_bounds_that_are_within_them() {
        for (first, longest) in [(MS, MS), (MS, 60_000 * MS), (60_000 * MS, 60_000 * MS)] {
            assert!(check_pauses(first, longest).is_ok(), "{first:?}, {longest:?}");
        }
        for (first, longest) in [(MS / 2, MS), (2 * MS, MS), (MS, 60_001 * MS)] {
            assert!(check_pauses(first, longest).is_err(), "{first:?}, {longest:?}");
        }
    }

    #[test]
    fn a_pause_is_shortened_by_as_much_as_the_jitter_says() {
        assert_eq!(shortened(100 * MS, 2, 0), 100 * MS);
        assert_eq!(shortened(100 * MS, 2, 1 << 31), 75 * MS);
        assert_eq!(shortened(100 * MS, 10, 1 << 31), 95 * MS);
    }

    #[test]
    fn a_policy_is_checked() {
        assert!(Policy::default().check().is_ok());
        assert!(Policy::default().attempt_limit(Duration::ZERO).check().is_err());
        assert!(Policy::default().attempt_limit(Duration::MAX).check().is_err());
        assert!(Policy::default().first_pause(Duration::ZERO).check().is_err());
        assert!(Policy::default().first_pause(Duration::from_secs(6)).check().is_err());
        assert!(Policy::default().longest_pause(Duration::MAX).check().is_err());
    }

    /// From 1 ms, the second no shorter than the first and at most 60 s.
    fn pauses() -> impl Strategy<Value = (Duration, Duration)> {
        let nanos = 1_000_000..=60_000_000_000_u64;
        (nanos.clone(), nanos)
            .prop_map(|(one, other)| (Duration::from_nanos(one.min(other)), Duration::from_nanos(one.max(other))))
    }

    fn retry_after() -> impl Strategy<Value = Option<Duration>> {
        option::of(prop_oneof![
            any::<u64>().prop_map(Duration::from_secs),
            (0..100_000_u64).prop_map(Duration::from_millis)
        ])
    }

    #[test]
    fn any_pause_is_within_its_bounds() {
        let failures = prop_oneof![1..40_u32, any::<u32>()];
        holds(
            (pauses(), failures, retry_after(), any::<u32>()),
            |((first, longest), failures, retry_after, jitter)| {
                let policy = Policy::default().first_pause(first).longest_pause(longest);
                assert!(policy.check().is_ok());
                let mut full = first;
                for _ in 1..failures.min(100) {
                    full = (full + full).min(longest);
                }
                let asked = retry_after.unwrap_or_default().min(60_000 * MS);
                let pause = policy.pause(failures, retry_after, jitter);
                assert!((full / 2).max(asked) <= pause && pause <= full.max(asked), "{pause:?} of {full:?}");
                assert_eq!(policy.pause(failures, retry_after, 0), full.max(asked));
                assert!(policy.pause(failures, retry_after, jitter / 2) >= pause);
            },
        );
    }

    #[test]
    fn any_part_can_be_cut_off() {
        holds((0..=u64::MAX / 2, 1..20_u32, any::<u32>()), |(nanos, part, jitter)| {
            let pause = Duration::from_nanos(nanos);
            let left = shortened(pause, part, jitter);
            assert!(pause - pause / part <= left && left <= pause, "{left:?}");
        });
    }
}
