//! What gives tokens, what it gives, and why it gives none.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::backoff::Backoff;
use crate::clock::{self, Moment};
use crate::redact::Secret;

/// Where only the wall clock says when a token ends, it may be wrong. A token that was given just now is tried for so
/// long; if it is no good, the service says so, and another one is fetched.
const LEAST_BY_WALL: Duration = Duration::from_secs(60);
/// No token lives for longer, whatever an endpoint or a clock says.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where tokens for the Blob service come from.
///
/// Any function that returns a token is one. A type of its own can give itself a name for error texts.
pub trait TokenSource: Send + Sync + 'static {
    /// Gets a new token: do not return a cached one, unless it is still good for long. It may block: it
    /// runs on a thread of its own, and is not called again before it returns. Nobody waits for it for longer than a
    /// request's limit.
    ///
    /// # Errors
    ///
    /// Whether it makes sense to try again: see [`TokenError`].
    fn fetch(&self) -> Result<AccessToken, TokenError>;

    /// What it is, for error texts and `Debug`: `no token from <name>`. No secrets. It must not block, on what
    /// [`fetch`](TokenSource::fetch) has locked for example: whoever holds a lock asks for it. Defaults to
    /// `the program's own source`.
    fn name(&self) -> String {
        "the program's own source".to_owned()
    }

    /// How long one [`fetch`](TokenSource::fetch) may take, if it is bounded, for the error of whoever does not wait for
    /// so long. It must not block. Defaults to `None`.
    fn limit(&self) -> Option<Duration> {
        None
    }
}

impl<F> TokenSource for F
where
    F: Fn() -> Result<AccessToken, TokenError> + Send + Sync + 'static,
{
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        self()
    }
}

/// A token, and how long it is good. `Debug` does not show it; it is wiped when it is dropped.
pub struct AccessToken {
    pub(super) text: Secret,
    pub(crate) good_until: Moment,
}

impl AccessToken {
    /// One that is good for this time from now on: `expires_in` of most endpoints. Counted on a clock that nobody
    /// sets, so this is better than [`until`](AccessToken::until) where there is a choice.
    pub fn new(token: impl Into<String>, good_for: Duration) -> AccessToken {
        AccessToken::counted_from(clock::now(), token.into(), good_for)
    }

    /// One that is good until this time: `expires_on` of some endpoints. If this machine's clock is wrong, that time is,
    /// too: it is taken to be at least a minute and at most a day from now. A token that has ended by then is refused by
    /// the service, and fetched anew.
    pub fn until(token: impl Into<String>, end: SystemTime) -> AccessToken {
        let left = end.duration_since(clock::wall()).unwrap_or_default();
        AccessToken::new(token, left.clamp(LEAST_BY_WALL, LONGEST_LIFE))
    }

    /// One whose life began no earlier than when it was asked for.
    pub(super) fn counted_from(asked: Moment, text: String, good_for: Duration) -> AccessToken {
        AccessToken { text: Secret::new(text), good_until: asked.after(good_for) }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("good_for", &self.good_until.left(clock::now())).finish_non_exhaustive()
    }
}

/// Why a source has no token. Its text is shown in errors: no secrets.
///
/// Every other error becomes one that may pass, so that `?` can be used in a source.
#[derive(Clone)]
pub struct TokenError {
    pub(super) cause: Arc<dyn StdError + Send + Sync>,
    pub(super) passing: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) backoff: &'static Backoff,
}

impl TokenError {
    /// Trying again would not help: a wrong secret, an identity that is not there. Whoever wants the lock is told so at
    /// once, with [`ErrorKind::Credential`](crate::ErrorKind::Credential). Whoever holds it keeps it for as long as the
    /// old token and then the lease last.
    pub fn definite(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> TokenError {
        TokenError { passing: false, ..TokenError::passing(cause) }
    }

    /// It may pass: an endpoint that is busy or cannot be reached. It is tried again, in the end as
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    pub fn passing(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> TokenError {
        TokenError { cause: cause.into().into(), passing: true, retry_after: None, backoff: &Backoff::TOKENS }
    }

    /// Not before this time is over, up to 60 s.
    pub fn retry_after(mut self, pause: Duration) -> TokenError {
        self.retry_after = Some(pause);
        self
    }

    /// Whether it makes sense to try again.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    /// What follows after its own text.
    pub(in crate::credential) fn beneath(&self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.cause.source()?;
        Some(Box::new(Beneath(self.cause.clone())))
    }

    pub(super) fn pause(&self, failures: u32, left: Duration, jitter: u32) -> Duration {
        self.backoff.pause(failures, left, self.retry_after, jitter)
    }
}

// The cause may be of any type, but it is only read.
impl UnwindSafe for TokenError {}
impl RefUnwindSafe for TokenError {}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for TokenError {
    fn from(cause: E) -> TokenError {
        TokenError::passing(cause)
    }
}

/// The causes of an error whose own text has been said.
struct Beneath(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Beneath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |source| fmt::Display::fmt(source, f))
    }
}

impl fmt::Debug for Beneath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Beneath {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()?.source()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::credential::Credential;

    #[test]
    fn a_wrong_clock_makes_a_token_neither_dead_nor_immortal() {
        let left = |token: AccessToken| token.good_until.left(clock::now());
        let hour = Duration::from_secs(3600);
        let token = left(AccessToken::until("a", clock::wall() + hour));
        assert!(token <= hour && token > hour - Duration::from_secs(5), "{token:?}");
        let ahead = left(AccessToken::until("a", SystemTime::UNIX_EPOCH));
        assert!(ahead <= LEAST_BY_WALL && ahead > LEAST_BY_WALL / 2, "{ahead:?}");
        let behind = left(AccessToken::until("a", clock::wall() + 1000 * 24 * hour));
        assert!(behind <= LONGEST_LIFE, "{behind:?}");
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = io::Error::other(io::Error::new(io::ErrorKind::NotFound, "below"));
        let error = TokenError::from(cause);
        assert!(error.is_passing());
        let beneath = error.beneath();
        assert_eq!(
            format!("{error}, {}", beneath.map_or("nothing".into(), |cause| cause.to_string())),
            "below, nothing"
        );
        assert_eq!(format!("{:?}", TokenError::definite("no")), "no");
    }

    #[test]
    fn debug_shows_no_token() {
        let token = AccessToken::new("secret", Duration::from_secs(60));
        let source = || -> Result<AccessToken, TokenError> { Ok(AccessToken::new("secret", Duration::MAX)) };
        let text = format!("{token:?} {:?}", Credential::token_source(source));
        assert!(!text.contains("secret") && text.contains("the program's own source"), "{text}");
    }
}
