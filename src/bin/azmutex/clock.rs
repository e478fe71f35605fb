//! The time by which a command is ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the time is looked at, which the system's timers do not count in suspend.
#[cfg(target_os = "linux")]
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Since the machine started, counting suspend: the same in all of its processes, so that a moment can be told to another.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Since 1970, for what is told.
pub(crate) fn wall() -> Duration {
    #[allow(clippy::disallowed_methods)] // nothing is decided by it
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
