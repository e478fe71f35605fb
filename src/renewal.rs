//! The lock's thread. From the first look to the release it makes every request of one hold, one at a time, and
//! decides nothing: it carries out what [`Hold`] says.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};

use crate::clock::{self, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::hold::{Do, Hold, Input, Released, Told, Why};
use crate::lease::Lost;
use crate::rest::{Exchange, Operation};
use crate::retry::Jitter;
use crate::watchdog::Watch;

/// Channels wait on a clock that stands still in suspend, so no wait is made in one piece.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// TLS and certificate checks included, in a debug build.
const STACK: usize = 512 * 1024;

/// What the lock's thread says to the caller's.
#[derive(Debug)]
pub(crate) enum Report {
    /// Ours; the service frees it at `ends` at the earliest.
    Granted,
    NotObtained(Error),
    Released(Result<()>),
}

/// The caller's side of the lock's thread. When `stay` is dropped, the thread lets go of the lock.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) stay: Sender<Stay>,
    /// Disconnects when the thread has ended, whatever way: its only sender is on that thread's stack.
    pub(crate) reports: Receiver<Report>,
}

/// Never sent: the channel says what it has to say by being there.
#[derive(Debug, PartialEq)]
pub(crate) enum Stay {}

/// Starts the thread. `attempt` makes one request.
pub(crate) fn start(
    hold: Hold,
    watch: Arc<Watch>,
    waited: Duration,
    attempt: impl FnMut(Operation, Duration) -> Exchange + Send + 'static,
) -> Result<Worker> {
    let (stay, stays) = bounded(0);
    let (sender, reports) = unbounded();
    std::thread::Builder::new()
        .name("azmutex".into())
        .stack_size(STACK)
        .spawn(move || Thread { hold, watch, waited, stays, reports: sender, error: None }.run(attempt))
        .map_err(Error::no_thread)?;
    Ok(Worker { stay, reports })
}

struct Thread {
    hold: Hold,
    watch: Arc<Watch>,
    /// For the words of a wait that timed out.
    waited: Duration,
    stays: Receiver<Stay>,
    reports: Sender<Report>,
    /// The failure met last.
    error: Option<Error>,
}

impl Thread {
    fn run(mut self, mut attempt: impl FnMut(Operation, Duration) -> Exchange) {
        let _mourner = Mourner(self.watch.clone());
        let mut jitter = Jitter::new(self.hold.id().seed());
        let mut input = Input::Go;
        loop {
            if self.stays.try_recv() == Err(TryRecvError::Disconnected) {
                self.hold.leave();
            }
            input = match self.hold.step(clock::now(), input, jitter.next()) {
                Do::Send { operation, limit } => {
                    let exchange = attempt(operation, limit);
                    self.error = exchange.error;
                    Input::Answer { sent: exchange.sent, outcome: exchange.outcome }
                }
                Do::Sleep { until } => {
                    self.sleep(until);
                    Input::Go
                }
                Do::Tell(told) => self.tell(told),
                Do::End => return,
            }
        }
    }

    /// Until the given time, or a little; or until the caller leaves, if it has not yet.
    fn sleep(&mut self, until: Moment) {
        let pause = until.left(clock::now()).min(LONGEST_SLEEP);
        if self.stays.try_recv() == Err(TryRecvError::Disconnected) {
            clock::sleep(pause);
        } else if let Err(RecvTimeoutError::Disconnected) = self.stays.recv_timeout(pause) {
            self.hold.leave();
        }
    }

    fn tell(&mut self, told: Told) -> Input {
        let lock = self.watch.lock_name().clone();
        let left = |moment: Moment| moment.left(clock::now());
        match told {
            Told::Waiting => self.watch.tell(Event::Waiting { lock }),
            Told::Retrying => {
                let error = self.failure();
                self.watch.tell(Event::Retrying { lock, error });
            }
            Told::Granted { valid_until, .. } => {
                self.watch.grant(valid_until);
                self.watch.tell(Event::Acquired { lock, left: left(valid_until) });
                self.report(Report::Granted);
            }
            Told::Renewed { valid_until, .. } => {
                if let Err(lost) = self.watch.extend(valid_until) {
                    return Input::Lapsed(lost);
                }
                self.watch.tell(Event::Renewed { lock, left: left(valid_until) });
            }
            Told::RenewalFailed { left } => {
                let error = self.failure();
                self.watch.tell(Event::RenewalFailed { lock, left, error });
            }
            Told::Lost(lost) => self.watch.lose(lost),
            Told::NotObtained(why) => {
                let error = match why {
                    Why::Busy => Error::busy(&lock),
                    Why::TimedOut => Error::timed_out(&lock, self.waited, self.error.take()),
                    Why::GivenUp => Error::cancelled(&lock),
                    Why::Failed => self.failure(),
                };
                self.report(Report::NotObtained(error));
            }
            Told::Released(Released::Done) => {
                self.watch.tell(Event::Released { lock });
                self.report(Report::Released(Ok(())));
            }
            Told::Released(Released::Lost(lost)) => self.not_released(Error::lost(&lock, lost)),
            Told::Released(Released::Failed) => {
                let error = Error::not_released(&lock, left(self.hold.ends()), self.error.take());
                self.not_released(error);
            }
            Told::Answered(_) => {}
        }
        Input::Go
    }

    fn not_released(&self, error: Error) {
        let lock = self.watch.lock_name().clone();
        self.watch.tell(Event::ReleaseFailed { lock, error: error.clone() });
        self.report(Report::Released(Err(error)));
    }

    fn failure(&mut self) -> Error {
        self.error.take().unwrap_or_else(|| {
            let hint = "the service's answer does not fit the request";
            Error::no_answer(self.watch.lock_name(), ErrorKind::Unexpected, "take the lock", hint, None)
        })
    }

    fn report(&self, report: Report) {
        // A caller who has left need not hear it.
        let _ = self.reports.send(report);
    }
}

/// Tells the holder if the thread that should renew the lock dies.
struct Mourner(Arc<Watch>);

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lose(Lost::RenewalStopped);
        }
    }
}
