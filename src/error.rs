//! One error type for the whole crate.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::card::Card;
use crate::lost::Lost;

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
///
/// Match on [`kind`](Error::kind). The text names the lock, or the container, and says what to do next; the cause, where there is one,
/// is the [`source`](StdError::source). `Debug`, which `fn main() -> Result` prints, reads as a sentence with its
/// causes. No text contains a key, a token or a shared access signature.
///
/// ```
/// use azmutex::{Container, ErrorKind};
///
/// let error = Container::from_connection_string("AccountName=me", "locks").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Credential);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    about: Option<About>,
    problem: Problem,
}

/// What an error is about, by its name.
#[derive(Clone)]
pub(crate) enum About {
    Lock(Arc<str>),
    #[cfg(feature = "list")]
    Container(Arc<str>),
}

impl From<&Arc<str>> for About {
    fn from(lock: &Arc<str>) -> About {
        About::Lock(lock.clone())
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Lock(name) => write!(f, "lock {name:?}"),
            #[cfg(feature = "list")]
            About::Container(name) => write!(f, "container {name:?}"),
        }
    }
}

/// What sort of failure an [`Error`] is, and whether the same call is worth trying again later. `Display` is two or three
/// words, for a line of a log or of a table. The guide has [all of them in a table](crate::guide::troubleshooting#the-kinds).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Somebody else holds the lock, or another thread of this process holds it or waits for it, and nothing else is wrong.
    /// `try_lock` and `AzureMutex::acquire` say so.
    ///
    /// Try again: yes, later; or wait for it with `lock`.
    WouldBlock,
    /// The lock could not be had within the time given.
    ///
    /// Try again: yes, later.
    TimedOut,
    /// The wait was ended by its [`Cancel`](crate::Cancel).
    ///
    /// Try again: no, and not with that `Cancel`, which stays cancelled.
    Cancelled,
    /// The lock was ours and no longer is.
    ///
    /// Try again: yes, with a new `lock`, when the work under the old one has stopped.
    LeaseLost,
    /// What was seen of the lock is over: another holder's token or card is the last one. Nothing was done.
    ///
    /// Try again: yes, after a new look, if that says that it is still to be done.
    Outdated,
    /// A name, a duration, a setting or a connection string is invalid. Nothing was sent, or what was begun is undone.
    ///
    /// Try again: no; change the input.
    InvalidInput,
    /// The container does not exist, and creating it was switched off; or there is no such lock to break, or no such
    /// container to list.
    ///
    /// Try again: no; make the container, or correct the name.
    NotFound,
    /// The credential is known, but lacks a right; or the account refuses this network or this sort of key.
    ///
    /// Try again: no; give it the right, which takes some minutes to take effect.
    PermissionDenied,
    /// There is no credential, the service did not accept it, or Entra ID gives no token for it.
    ///
    /// Try again: no; give it another credential.
    Credential,
    /// The service refused a request because this machine's clock is wrong.
    ///
    /// Try again: no; set the clock right.
    ClockSkew,
    /// There is no trusted TLS connection: the certificate or the TLS of the server, or of an https proxy, was refused.
    /// Nothing was sent, and waiting does not help.
    ///
    /// Try again: no; trust the certificate.
    Untrusted,
    /// The service, or the source of its tokens, could not be reached, did not answer in time, or answered with a
    /// passing failure.
    ///
    /// Try again: yes, later. What waits has tried for some time already.
    Unavailable,
    /// An answer that fits nothing known: a fault here or on the way; or this system has no thread or no random number left.
    ///
    /// Try again: yes, a few times; what lasts is for people.
    Unexpected,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ErrorKind::WouldBlock => "held by somebody else",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::LeaseLost => "lease lost",
            ErrorKind::Outdated => "outdated",
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::NotFound => "not found",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::Credential => "no accepted credential",
            ErrorKind::ClockSkew => "clock skew",
            ErrorKind::Untrusted => "untrusted connection",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Unexpected => "unexpected failure",
        })
    }
}

/// What the service said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceAnswer {
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl fmt::Display for ServiceAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request id {id}")?;
        }
        Ok(())
    }
}

#[derive(thiserror::Error)]
enum Problem {
    #[error("somebody else holds it; try again later, or wait for it")]
    Busy,
    #[error("not obtained within {waited:?}{}", of(.card))]
    TimedOut { waited: Duration, card: Option<Arc<Card>>, source: Option<Error> },
    #[error("the wait was cancelled{}", of(.card))]
    Cancelled { card: Option<Arc<Card>>, source: Option<Error> },
    #[error("{what}; behind {ahead} of this process{}", of(.card))]
    Queued { kind: ErrorKind, what: String, ahead: usize, card: Option<Arc<Card>>, source: Option<Error> },
    #[error("another holder has it by now; nothing was done")]
    Outdated,
    #[error("lost: {0}; stop the work that it guarded")]
    Lost(Lost),
    #[error("{0}")]
    Input(String),
    #[error("{0}")]
    NoCredential(String),
    #[error("could not {doing}: {hint} (the service answered {answer})")]
    Refused { kind: ErrorKind, doing: &'static str, answer: ServiceAnswer, hint: String },
    #[error("could not {doing}: {hint}")]
    NoAnswer {
        kind: ErrorKind,
        doing: &'static str,
        hint: String,
        #[source]
        source: Option<AnyError>,
    },
    #[error("{0}")]
    NotReleased(String, #[source] Option<Error>),
    #[error("could not start a thread")]
    NoThread(#[source] io::Error),
    #[error("the operating system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}

/// The last card that was seen, as the end of a sentence.
fn of(card: &Option<Arc<Card>>) -> String {
    card.as_ref().map(|card| format!("; the last card left: {card}")).unwrap_or_default()
}

type AnyError = Box<dyn StdError + Send + Sync>;

impl Error {
    fn new(problem: Problem) -> Error {
        Error(Arc::new(Inner { about: None, problem }))
    }

    fn about(about: impl Into<About>, problem: Problem) -> Error {
        Error(Arc::new(Inner { about: Some(about.into()), problem }))
    }

    pub(crate) fn input(text: impl Into<String>) -> Error {
        Error::new(Problem::Input(text.into()))
    }

    pub(crate) fn no_credential(text: impl Into<String>) -> Error {
        Error::new(Problem::NoCredential(text.into()))
    }

    /// The same, of something that the environment variable `name` says.
    pub(crate) fn of_variable(self, name: &str) -> Error {
        let text = |text: &str| format!("{name} in the environment: {text}");
        match &self.0.problem {
            Problem::Input(wrong) => Error::input(text(wrong)),
            Problem::NoCredential(missing) => Error::no_credential(text(missing)),
            _ => self,
        }
    }

    pub(crate) fn no_thread(source: io::Error) -> Error {
        Error::new(Problem::NoThread(source))
    }

    pub(crate) fn no_randomness(source: getrandom::Error) -> Error {
        Error::new(Problem::NoRandomness(source))
    }

    pub(crate) fn busy(lock: &Arc<str>) -> Error {
        Error::about(lock, Problem::Busy)
    }

    pub(crate) fn timed_out(
        lock: &Arc<str>,
        waited: Duration,
        card: Option<Arc<Card>>,
        source: Option<Error>,
    ) -> Error {
        Error::about(lock, Problem::TimedOut { waited, card, source })
    }

    pub(crate) fn cancelled(lock: &Arc<str>, card: Option<Arc<Card>>, source: Option<Error>) -> Error {
        Error::about(lock, Problem::Cancelled { card, source })
    }

    /// Not obtained, with so many of this process before it.
    pub(crate) fn queued(
        lock: &Arc<str>,
        kind: ErrorKind,
        waited: Duration,
        ahead: usize,
        card: Option<Arc<Card>>,
        source: Option<Error>,
    ) -> Error {
        let what = match kind {
            ErrorKind::TimedOut => format!("not obtained within {waited:?}"),
            ErrorKind::Cancelled => "the wait was cancelled".to_owned(),
            _ => "taken; try again later, or wait for it".to_owned(),
        };
        Error::about(lock, Problem::Queued { kind, what, ahead, card, source })
    }

    /// The service did not confirm a mark in time.
    pub(crate) fn not_marked(lock: &Arc<str>) -> Error {
        let hint =
            "the service did not confirm the mark, which may be left or not; inspect the lock, or leave it again";
        Error::no_answer(lock, ErrorKind::Unavailable, "write to the lock's metadata", hint, None)
    }

    pub(crate) fn outdated(lock: &Arc<str>) -> Error {
        Error::about(lock, Problem::Outdated)
    }

    pub(crate) fn lost(lock: &Arc<str>, lost: Lost) -> Error {
        Error::about(lock, Problem::Lost(lost))
    }

    /// The service answered something else than what it was asked.
    pub(crate) fn unfitting(lock: &Arc<str>, doing: &'static str) -> Error {
        Error::no_answer(lock, ErrorKind::Unexpected, doing, "the service's answer does not fit the request", None)
    }

    /// The lock's thread ended without a word.
    pub(crate) fn thread_died(lock: &Arc<str>) -> Error {
        Error::no_answer(lock, ErrorKind::Unexpected, "take the lock", "the thread that was to do so died", None)
    }

    /// `left`: how long until the lease ends by itself.
    pub(crate) fn not_released(lock: &Arc<str>, left: Duration, last: Option<Error>) -> Error {
        let text = match left {
            Duration::MAX => {
                "the service did not confirm the release; the lock stays taken until it is released or broken"
                    .to_owned()
            }
            left => {
                let seconds = left.as_secs().saturating_add(1);
                format!("the service did not confirm the release; the lease expires in about {seconds} s")
            }
        };
        Error::about(lock, Problem::NotReleased(text, last))
    }

    pub(crate) fn refused(
        about: impl Into<About>,
        kind: ErrorKind,
        doing: &'static str,
        answer: ServiceAnswer,
        hint: impl Into<String>,
    ) -> Error {
        Error::about(about, Problem::Refused { kind, doing, answer, hint: hint.into() })
    }

    pub(crate) fn no_answer(
        about: impl Into<About>,
        kind: ErrorKind,
        doing: &'static str,
        hint: impl Into<String>,
        source: Option<AnyError>,
    ) -> Error {
        Error::about(about, Problem::NoAnswer { kind, doing, hint: hint.into(), source })
    }

    /// What `Debug` says, without the name of what it is about.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.0.problem.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            match cause.downcast_ref::<Error>() {
                // It is about the same lock.
                Some(error) => text.push_str(&format!(": {}", error.0.problem)),
                None => text.push_str(&format!(": {cause}")),
            }
            source = cause.source();
        }
        text
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match &self.0.problem {
            Problem::Busy => ErrorKind::WouldBlock,
            Problem::TimedOut { .. } => ErrorKind::TimedOut,
            Problem::Cancelled { .. } => ErrorKind::Cancelled,
            Problem::Queued { kind, .. } => *kind,
            Problem::Outdated => ErrorKind::Outdated,
            Problem::Lost(_) => ErrorKind::LeaseLost,
            Problem::Input(_) => ErrorKind::InvalidInput,
            Problem::NoCredential(_) => ErrorKind::Credential,
            Problem::Refused { kind, .. } | Problem::NoAnswer { kind, .. } => *kind,
            Problem::NotReleased(_, last) => last.as_ref().map_or(ErrorKind::Unavailable, Error::kind),
            Problem::NoThread(_) | Problem::NoRandomness(_) => ErrorKind::Unexpected,
        }
    }

    /// Why the lock was lost, if this is [`ErrorKind::LeaseLost`].
    pub fn lost_because(&self) -> Option<Lost> {
        match &self.0.problem {
            Problem::Lost(lost) => Some(*lost),
            _ => None,
        }
    }

    /// The card that was seen last by a wait that did not get the lock: whose turn it was then, if all who use the lock
    /// [leave cards](crate::locker::Builder::card). It may have been seen by the one of this process that was before it.
    /// `None` for a try, which looks at nothing:
    /// [`inspect`](crate::AzureMutex::inspect) does.
    pub fn last_card(&self) -> Option<&Card> {
        match &self.0.problem {
            Problem::TimedOut { card, .. } | Problem::Cancelled { card, .. } | Problem::Queued { card, .. } => {
                card.as_deref()
            }
            _ => None,
        }
    }

    /// How many waits and holds of this process were before this wait when its time was up, it was cancelled, or it was not
    /// to wait: more than zero if its turn to ask the service had not come. Zero also for a wait that ended with a failure,
    /// though that was another one's, and for one that was cancelled before it began.
    pub fn ahead(&self) -> usize {
        if let Problem::Queued { ahead, .. } = &self.0.problem { *ahead } else { 0 }
    }

    /// The name of the lock that this is about, if it is about one.
    pub fn lock_name(&self) -> Option<&str> {
        match self.0.about.as_ref()? {
            About::Lock(name) => Some(name),
            #[cfg(feature = "list")]
            About::Container(_) => None,
        }
    }

    /// The HTTP status of the service's refusal, if there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    /// The service's own error code, such as `AuthorizationPermissionMismatch`:
    /// [Blob service error codes](https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes).
    pub fn service_code(&self) -> Option<&str> {
        self.answer()?.code.as_deref()
    }

    /// The id under which the service logged the request, for a support case.
    pub fn request_id(&self) -> Option<&str> {
        self.answer()?.request_id.as_deref()
    }

    fn answer(&self) -> Option<&ServiceAnswer> {
        match &self.0.problem {
            Problem::Refused { answer, .. } => Some(answer),
            Problem::TimedOut { source: Some(last), .. }
            | Problem::Cancelled { source: Some(last), .. }
            | Problem::NotReleased(_, Some(last)) => last.answer(),
            _ => None,
        }
    }
}

// A cause may be of any type, but it is only read.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(about) = &self.0.about {
            write!(f, "{about}: ")?;
        }
        write!(f, "{}", self.0.problem)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(about) = &self.0.about {
            write!(f, "{about}: ")?;
        }
        f.write_str(&self.sentence())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.problem.source()
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            // Not `Interrupted`: std's own loops repeat what fails with that.
            ErrorKind::Cancelled => io::ErrorKind::Other,
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::PermissionDenied | ErrorKind::Credential => io::ErrorKind::PermissionDenied,
            ErrorKind::LeaseLost
            | ErrorKind::Outdated
            | ErrorKind::ClockSkew
            | ErrorKind::Untrusted
            | ErrorKind::Unavailable
            | ErrorKind::Unexpected => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Arc<str> {
        "nightly".into()
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn each_kind_is_a_few_words() {
        macro_rules! kinds {
            ($($kind:ident => $text:literal,)*) => {{
                // Does not compile unless all of them are there.
                let _ = |kind: ErrorKind| match kind { $(ErrorKind::$kind => (),)* };
                [$((ErrorKind::$kind, $text),)*]
            }};
        }
        let kinds = kinds! {
            WouldBlock => "held by somebody else",
            TimedOut => "timed out",
            Cancelled => "cancelled",
            LeaseLost => "lease lost",
            Outdated => "outdated",
            InvalidInput => "invalid input",
            NotFound => "not found",
            PermissionDenied => "permission denied",
            Credential => "no accepted credential",
            ClockSkew => "clock skew",
            Untrusted => "untrusted connection",
            Unavailable => "unavailable",
            Unexpected => "unexpected failure",
        };
        for (kind, text) in kinds {
            assert_eq!(kind.to_string(), text);
            assert_eq!(text, text.to_ascii_lowercase());
        }
        assert_eq!(format!("[{:>9}]", ErrorKind::Cancelled), "[cancelled]");
        assert_eq!(format!("[{:<11}]", ErrorKind::LeaseLost), "[lease lost ]");
    }

    #[test]
    fn debug_reads_as_a_sentence_and_says_each_cause_once() {
        let io = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let last = Error::no_answer(
            &lock(),
            ErrorKind::Unavailable,
            "acquire the lease",
            "nothing listens at 127.0.0.1:10000",
            Some(Box::new(io)),
        );
        let error = Error::timed_out(&lock(), Duration::from_secs(10), None, Some(last));
        assert_eq!(
            format!("{error:?}"),
            "lock \"nightly\": not obtained within 10s: could not acquire the lease: nothing listens at \
             127.0.0.1:10000: connection refused"
        );
        assert_eq!(error.to_string(), "lock \"nightly\": not obtained within 10s");
    }

    #[test]
    fn an_answer_shows_through_the_error_that_wraps_it() {
        let answer = ServiceAnswer { status: 503, code: Some("ServerBusy".into()), request_id: Some("r-1".into()) };
        let last = Error::refused(&lock(), ErrorKind::Unavailable, "renew the lease", answer, "the service is busy");
        let error = Error::timed_out(&lock(), Duration::from_secs(1), None, Some(last));
        assert_eq!(error.http_status(), Some(503));
        assert_eq!(error.service_code(), Some("ServerBusy"));
        assert_eq!(error.request_id(), Some("r-1"));
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn it_becomes_an_io_error_and_stays_inside() {
        let error: io::Error = Error::busy(&lock()).into();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let inside = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).unwrap();
        assert_eq!(inside.kind(), ErrorKind::WouldBlock);
    }
}
