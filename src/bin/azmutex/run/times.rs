//! When a command may start, and when it has to end: a function of the lock's deadline.

use std::time::Duration;

/// From TERM to KILL, if nothing else is asked for.
const GRACE: Duration = Duration::from_secs(2);
/// KILL comes so long before the deadline, that a busy machine is through with it by then.
const AHEAD: Duration = Duration::from_millis(250);
/// The second guard's KILL, if the first one is stopped or starved.
#[cfg(target_os = "linux")]
const SECOND_GUARD_AHEAD: Duration = Duration::from_millis(150);
/// What a command must have at least, beside the grace.
const WORTH_STARTING: Duration = Duration::from_secs(1);
/// Between two renewals, and for the second's way back.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(300);
/// The library's own limit of a request.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);

/// All moments are on one clock, since some moment in the past.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    lease: Duration,
    grace: Duration,
}

impl Times {
    pub(crate) fn new(lease: Duration, grace: Option<Duration>) -> Result<Times, String> {
        let most = lease / 5;
        match grace {
            Some(grace) if grace > most => {
                Err(format!("a grace of {grace:?} is more than a fifth of the lease, which is {most:?}"))
            }
            grace => Ok(Times { lease, grace: grace.unwrap_or(GRACE.min(most)) }),
        }
    }

    /// When the command is asked to end.
    pub(crate) fn ask(&self, deadline: Duration) -> Duration {
        self.kill(deadline).saturating_sub(self.grace)
    }

    /// When it is killed.
    pub(crate) fn kill(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(AHEAD)
    }

    /// When it is killed after a loss that was told now.
    pub(crate) fn kill_after_loss(&self, now: Duration, deadline: Duration) -> Duration {
        self.kill(deadline).min(now + self.grace)
    }

    /// Whether there is enough left to start with.
    pub(crate) fn may_start(&self, left: Duration) -> bool {
        left >= AHEAD + self.grace + WORTH_STARTING
    }

    /// The limit of a request with which two renewals fit between the first one's time and the end of the command.
    pub(crate) fn request_limit(&self) -> Duration {
        let margin = Duration::from_secs(2) + self.lease / 50;
        let end = self.ask(self.lease.saturating_sub(margin));
        let both = end.saturating_sub(self.lease / 3);
        (both / 2).saturating_sub(BETWEEN_RENEWALS).clamp(Duration::from_millis(500), LONGEST_REQUEST)
    }
}

/// When whoever did not get the command killed is killed itself, with all of it.
#[cfg(target_os = "linux")]
pub(crate) fn second_guard(deadline: Duration) -> Duration {
    deadline.saturating_sub(SECOND_GUARD_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn times(lease: u64, grace: Option<u64>) -> Result<Times, String> {
        Times::new(Duration::from_secs(lease), grace.map(millis))
    }

    #[test]
    fn kill_comes_before_the_deadline_and_the_question_a_grace_before_that() {
        let deadline = millis(100_000);
        for (grace, asked) in [(None, 97_750), (Some(0), 99_750), (Some(6000), 93_750)] {
            let times = times(30, grace).unwrap();
            assert_eq!((times.ask(deadline), times.kill(deadline)), (millis(asked), millis(99_750)));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_second_guard_comes_after_the_first_and_before_the_deadline() {
        let deadline = millis(100_000);
        assert!(times(30, None).unwrap().kill(deadline) < second_guard(deadline) && second_guard(deadline) < deadline);
    }

    #[test]
    fn after_a_loss_the_grace_counts_from_now_and_never_past_the_deadline() {
        let times = times(30, None).unwrap();
        assert_eq!(times.kill_after_loss(millis(10_000), millis(20_000)), millis(12_000));
        assert_eq!(times.kill_after_loss(millis(19_000), millis(20_000)), millis(19_750));
        assert_eq!(times.kill_after_loss(millis(30_000), millis(20_000)), millis(19_750));
    }

    #[test]
    fn a_grace_is_a_fifth_of_the_lease_at_most() {
        assert!(times(15, Some(3000)).is_ok());
        assert!(times(15, Some(3001)).is_err());
    }

    #[test]
    fn nothing_starts_with_less_than_its_grace_and_a_second() {
        let times = times(30, None).unwrap();
        assert!(times.may_start(millis(3250)));
        assert!(!times.may_start(millis(3249)));
    }

    #[test]
    fn two_renewals_fit_before_the_command_is_asked_to_end() {
        for lease in 15..=60 {
            for grace in [None, Some(0), Some(lease * 200)] {
                let times = times(lease, grace).unwrap();
                let (lease, limit) = (Duration::from_secs(lease), times.request_limit());
                let deadline = lease - Duration::from_secs(2) - lease / 50;
                assert!(lease / 3 + 2 * limit + BETWEEN_RENEWALS < times.ask(deadline), "{times:?}: {limit:?}");
                assert!(limit >= millis(1500), "{times:?}: {limit:?}");
            }
        }
    }
}
