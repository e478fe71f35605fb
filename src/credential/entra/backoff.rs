//! When a source of tokens that failed is asked again.

use std::time::Duration;

use crate::retry::{growing, no_sooner_than};

/// The greater one asks less often.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backoff {
    first: Duration,
    /// While the old token still serves.
    longest: Duration,
    /// When there is no token any more: a lease is running out meanwhile.
    longest_without: Duration,
    /// The HTTP statuses that may pass, besides those from 500 on.
    passing: &'static [u16],
}

impl Backoff {
    /// Entra ID's token endpoint, that of App Service, and whatever a program supplies.
    pub(super) const TOKENS: Backoff = Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(30),
        longest_without: Duration::from_secs(2),
        passing: &[408, 429],
    };

    /// A virtual machine's metadata service wants to be left alone for a second at least, and answers 404 and 410 while
    /// it is updated:
    /// [error handling](https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling).
    pub(super) const METADATA: Backoff = Backoff {
        first: Duration::from_secs(2),
        longest: Duration::from_secs(30),
        longest_without: Duration::from_secs(4),
        passing: &[404, 408, 410, 429],
    };

    pub(super) fn is_passing(&self, status: u16) -> bool {
        status >= 500 || self.passing.contains(&status)
    }

    /// The pause after the `failures`th failure in a row, when the old token serves for the time `left`.
    pub(super) fn pause(&self, failures: u32, left: Duration, retry_after: Option<Duration>, jitter: u32) -> Duration {
        let longest = self.longest.min(left.max(self.longest_without));
        no_sooner_than(retry_after, growing(self.first, longest, failures.saturating_sub(1), jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn sources_of_tokens_have_tables_of_their_own() {
        let pauses = |backoff: Backoff, left: u32| {
            [1, 2, 3, u32::MAX].map(|failures| backoff.pause(failures, 1_000 * left * MS, None, 0).as_millis())
        };
        assert_eq!(pauses(Backoff::TOKENS, 3_600), [500, 1_000, 2_000, 30_000]);
        assert_eq!(pauses(Backoff::TOKENS, 10), [500, 1_000, 2_000, 10_000], "it is tried when the token ends");
        assert_eq!(pauses(Backoff::TOKENS, 0), [500, 1_000, 2_000, 2_000]);
        assert_eq!(pauses(Backoff::METADATA, 3_600), [2_000, 4_000, 8_000, 30_000]);
        assert_eq!(pauses(Backoff::METADATA, 0), [2_000, 4_000, 4_000, 4_000]);
        assert!(Backoff::METADATA.pause(1, Duration::ZERO, None, u32::MAX) >= 1_000 * MS, "the service's own wish");
        assert_eq!(Backoff::METADATA.pause(1, Duration::ZERO, Some(30_000 * MS), 0), 30_000 * MS);
        assert_eq!(Backoff::TOKENS.pause(1, Duration::ZERO, Some(Duration::MAX), 0), 60_000 * MS);
        for status in [429, 500, 503, 504] {
            assert!(Backoff::TOKENS.is_passing(status) && Backoff::METADATA.is_passing(status), "{status}");
        }
        for status in [404, 410] {
            assert!(!Backoff::TOKENS.is_passing(status) && Backoff::METADATA.is_passing(status), "{status}");
        }
        for status in [400, 401, 403] {
            assert!(!Backoff::TOKENS.is_passing(status) && !Backoff::METADATA.is_passing(status), "{status}");
        }
    }
}
