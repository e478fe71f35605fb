//! What becomes of work under a lock.

use std::fmt;

use crate::error::Error;

/// Why [`Locker::with`](crate::Locker::with) does not simply give what the work came to.
///
/// `Debug`, which `main` prints, has the lock's error with its causes and what the work came to.
#[non_exhaustive]
pub enum WithError<R> {
    /// The lock was not obtained, and the work not begun.
    NotObtained(Error),
    /// The work has ended, but the lock was lost before, so another holder may have overlapped, or its release is not confirmed:
    /// see [`LockGuard::unlock`](crate::LockGuard::unlock).
    #[non_exhaustive]
    NotReleased {
        /// What came of the unlock.
        error: Error,
        /// What the work came to, be it an error.
        result: R,
    },
}

impl<R> WithError<R> {
    /// What was the matter with the lock.
    pub fn error(&self) -> &Error {
        match self {
            WithError::NotObtained(error) | WithError::NotReleased { error, .. } => error,
        }
    }

    /// The same, without what the work came to.
    pub fn into_error(self) -> Error {
        match self {
            WithError::NotObtained(error) | WithError::NotReleased { error, .. } => error,
        }
    }
}

impl<R> fmt::Display for WithError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WithError::NotObtained(error) => write!(f, "the work was not begun: {error}"),
            WithError::NotReleased { error, .. } => write!(f, "the work has ended, but {error}"),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for WithError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WithError::NotObtained(error) => write!(f, "the work was not begun: {error:?}"),
            WithError::NotReleased { error, result } => {
                write!(f, "the work has ended, but {error:?}; it came to {result:?}")
            }
        }
    }
}

impl<R: fmt::Debug> std::error::Error for WithError<R> {
    /// The cause of the lock's error, whose own text is in this one's.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.error())
    }
}
