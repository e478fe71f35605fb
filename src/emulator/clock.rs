//! The server's clock: the only place in the emulator that asks for the time or sleeps.
#![allow(clippy::disallowed_methods, reason = "it must not share a clock with the client, whose clock those guard")]

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, the last that a header can tell, in seconds since 1970.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// By one call: however far a test goes, there is as much left for it to go on by.
const FARTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Time since the server's start.
pub(super) type Moment = Duration;

pub(crate) struct Clock {
    start: Instant,
    advanced: Mutex<Duration>,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now(), advanced: Mutex::default() }
    }

    /// What leases and containers go by.
    pub(super) fn now(&self) -> Moment {
        self.uptime().saturating_add(self.advanced())
    }

    /// What connections go by: time that was only declared to have passed brings no bytes.
    pub(super) fn uptime(&self) -> Moment {
        self.start.elapsed()
    }

    /// What the server tells as its date, and ends signatures by.
    pub(super) fn date(&self) -> SystemTime {
        let last = UNIX_EPOCH + LAST_DATE;
        SystemTime::now().checked_add(self.advanced()).map_or(last, |date| date.clamp(UNIX_EPOCH, last))
    }

    /// What the date of a request is compared with: its sender's clock is deemed to have been advanced along.
    pub(super) fn sender_date(&self) -> SystemTime {
        SystemTime::now().max(UNIX_EPOCH)
    }

    pub(super) fn advance(&self, time: Duration) {
        let mut advanced = self.advanced.lock().unwrap_or_else(PoisonError::into_inner);
        *advanced = advanced.saturating_add(time.min(FARTHEST));
    }

    fn advanced(&self) -> Duration {
        *self.advanced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn sleep(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_however_far_it_has_gone() {
        let clock = Clock::start();
        for _ in 0..1000 {
            clock.advance(Duration::MAX);
        }
        let before = clock.now();
        clock.advance(Duration::from_secs(15));
        assert!(clock.now() >= before + Duration::from_secs(15));
        assert_eq!(clock.date(), UNIX_EPOCH + LAST_DATE);
    }
}
