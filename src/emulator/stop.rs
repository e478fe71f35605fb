//! The sign to stop.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::locked::locked;

/// A stop sign that ends waits at once.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn stop(&self) {
        *locked(&self.stopped) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        *locked(&self.stopped)
    }

    /// Waits for `time`; `true` when stopped before its end.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let (stopped, _) = self
            .changed
            .wait_timeout_while(locked(&self.stopped), time, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}
