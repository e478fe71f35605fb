//! The server's clock: the only place in the emulator that asks for the time or sleeps.
#![allow(clippy::disallowed_methods, reason = "it must not share a clock with the client, whose clock those guard")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, the last that a header can tell, in seconds since 1970.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// Time since the server's start.
pub(super) type Moment = Duration;

pub(super) struct Clock {
    start: Instant,
    advanced_nanos: AtomicU64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now(), advanced_nanos: AtomicU64::new(0) }
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
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let _ = self
            .advanced_nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |advanced| Some(advanced.saturating_add(nanos)));
    }

    fn advanced(&self) -> Duration {
        Duration::from_nanos(self.advanced_nanos.load(Ordering::Relaxed))
    }
}

pub(super) fn sleep(pause: Duration) {
    thread::sleep(pause);
}
