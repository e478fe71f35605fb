//! What we exit with where it is not the command's code.

use std::process::ExitStatus;

use azmutex::{Error, ErrorKind};

use crate::tell;

pub(crate) const USAGE: u8 = 2;
pub(crate) const NOT_OBTAINED: u8 = 3;
const NO_ACCESS: u8 = 4;
pub(crate) const FAILED: u8 = 5;
pub(crate) const LOST: u8 = 6;
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;

/// The end, with the reason.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// A failure of the system that nobody expects.
    pub(crate) fn system(doing: &str, error: &std::io::Error) -> Failure {
        Failure::new(FAILED, format!("could not {doing}: {error}"))
    }

    /// Says the reason. The code to exit with.
    pub(crate) fn told(self) -> u8 {
        tell::note(self.text);
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        // `Debug` is the sentence with its causes.
        Failure::new(code(error.kind()), format!("{error:?}"))
    }
}

pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => USAGE,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => NOT_OBTAINED,
        ErrorKind::Credential | ErrorKind::PermissionDenied | ErrorKind::ClockSkew => NO_ACCESS,
        ErrorKind::LeaseLost => LOST,
        _ => FAILED,
    }
}

/// As shells do it.
#[cfg(unix)]
pub(crate) fn signalled(signal: i32) -> u8 {
    u8::try_from(signal).map_or(FAILED, |signal| signal.saturating_add(128))
}

/// The command's own.
pub(crate) fn passed_on(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return signalled(signal);
    }
    // Only Windows has codes that do not fit; no part of them may turn into a success.
    status.code().map_or(FAILED, |code| u8::try_from(code).unwrap_or(u8::MAX))
}
