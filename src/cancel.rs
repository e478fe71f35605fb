//! Ending waits from outside.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::{self, LONGEST_SLEEP};
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
#[doc(alias = "CancellationToken")]
pub struct Cancel(Arc<Flag>);

#[derive(Debug)]
struct Flag {
    /// Dropped by `cancel`, which wakes all who wait on the other side.
    waiting: Mutex<Option<Sender<()>>>,
    cancelled: Receiver<()>,
    /// There may be receivers that are kept for longer than this.
    outlived: AtomicBool,
}

impl Drop for Flag {
    fn drop(&mut self) {
        if self.outlived.load(Ordering::Relaxed) {
            // To a receiver its disappearance would look like a `cancel` that nobody has called.
            mem::forget(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Cancel {
    /// Not cancelled yet.
    pub fn new() -> Cancel {
        let (sender, cancelled) = bounded(0);
        Cancel(Arc::new(Flag { waiting: Mutex::new(Some(sender)), cancelled, outlived: AtomicBool::new(false) }))
    }

    /// Ends all waits with this `Cancel` or a clone of it, now and in the future. Calling it again does nothing.
    pub fn cancel(&self) {
        drop(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Disconnects when [`cancel`](Cancel::cancel) is called, or has been; nothing is ever received from it. For
    /// `select!`; each call gives a receiver of its own. One that outlives the last clone of its `Cancel` never
    /// disconnects, since nobody can cancel any more.
    pub fn cancelled(&self) -> Receiver<()> {
        self.0.outlived.store(true, Ordering::Relaxed);
        self.0.cancelled.clone()
    }

    /// The same, for as long as this `Cancel` is there.
    pub(crate) fn watched(&self) -> &Receiver<()> {
        &self.0.cancelled
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
        let end = clock::now().after(timeout);
        loop {
            // Channels wait on a clock that stands still in suspend.
            let left = end.left(clock::now()).min(LONGEST_SLEEP);
            match self.0.cancelled.recv_timeout(left) {
                Err(RecvTimeoutError::Disconnected) => return true,
                _ if left.is_zero() => return false,
                _ => {}
            }
        }
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
#[cfg(not(shuttle))]
mod tests {
    use crossbeam_channel::TryRecvError;

    use super::*;
    use crate::sync::thread;

    #[test]
    fn a_receiver_that_outlives_its_cancel_is_not_cancelled() {
        let cancel = Cancel::new();
        let cancelled = cancel.cancelled();
        drop(cancel.clone());
        drop(cancel);
        assert_eq!(cancelled.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_receiver_hears_of_a_cancel_before_and_after_it_was_made() {
        let cancel = Cancel::new();
        let before = cancel.cancelled();
        cancel.clone().cancel();
        for receiver in [before, cancel.cancelled()] {
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        }
        drop(cancel);
    }

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
