//! Ending waits from outside.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::sync::Mutex;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Ends waits from another thread, such as one that handles a signal. Clones are one and the same.
///
/// ```
/// use azmutex::{Cancel, Container, ErrorKind};
///
/// let cancel = Cancel::new();
/// cancel.cancel(); // usually on another thread, later
/// let error = Container::development("locks")?.locker("nightly-report")?.lock_or_cancel(&cancel).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok::<(), azmutex::Error>(())
/// ```
///
/// A thread that waits for something else, too, selects on [`cancelled`](Cancel::cancelled):
///
/// ```
/// use azmutex::Cancel;
/// use azmutex::crossbeam_channel::{Receiver, select};
///
/// fn work(jobs: &Receiver<String>, cancel: &Cancel) {
///     let cancelled = cancel.cancelled();
///     loop {
///         select! {
///             recv(cancelled) -> _ => return,
///             recv(jobs) -> job => match job {
///                 Ok(job) => println!("{job}"),
///                 Err(_) => return,
///             },
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Flag>);

#[derive(Debug)]
struct Flag {
    /// Dropped by `cancel`, which wakes all who wait on the other side.
    waiting: Mutex<Option<Sender<()>>>,
    cancelled: Receiver<()>,
}

impl Cancel {
    /// Not cancelled yet.
    pub fn new() -> Cancel {
        let (sender, cancelled) = bounded(0);
        Cancel(Arc::new(Flag { waiting: Mutex::new(Some(sender)), cancelled }))
    }

    /// Ends all waits with this `Cancel` or a clone of it, now and in the future. Calling it again does nothing.
    pub fn cancel(&self) {
        drop(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Disconnects when [`cancel`](Cancel::cancel) is called, or has been; nothing is ever received from it. For
    /// `select!`; each call gives a receiver of its own.
    pub fn cancelled(&self) -> Receiver<()> {
        self.0.cancelled.clone()
    }

    /// Waits until [`cancel`](Cancel::cancel) is called, for `timeout` at most: whether it was.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cancel = azmutex::Cancel::new();
    /// assert!(!cancel.wait_cancelled(Duration::from_millis(10)));
    /// cancel.cancel();
    /// assert!(cancel.wait_cancelled(Duration::MAX));
    /// ```
    pub fn wait_cancelled(&self, timeout: Duration) -> bool {
        self.0.cancelled.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Cancel::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn a_cancel_wakes_who_waits_and_whoever_waits_after_it() {
        let cancel = Cancel::new();
        let (waits, others) = (cancel.clone(), cancel.cancelled());
        let waiter = thread::spawn(move || waits.wait_cancelled(Duration::from_secs(5)));
        assert!(!cancel.is_cancelled() && !cancel.wait_cancelled(Duration::from_millis(20)));
        cancel.clone().cancel();
        assert!(waiter.join().unwrap());
        assert_eq!(others.recv_timeout(Duration::from_secs(5)), Err(RecvTimeoutError::Disconnected));
        assert!(cancel.is_cancelled() && cancel.wait_cancelled(Duration::from_secs(5)));
    }
}
