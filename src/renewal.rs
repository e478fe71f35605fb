//! The lock's thread. From the first look to the release it makes every request of one hold, one at a time, and
//! decides nothing: it carries out what [`Hold`] says.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::hold::{Do, Hold, Input, Released, Told, Why};
use crate::lease::Lost;
use crate::random::Jitter;
use crate::rest::{Exchange, Operation};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};
use crate::sync::thread;
use crate::watchdog::Watch;

/// Channels wait on a clock that stands still in suspend, so no wait is made in one piece.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// TLS and certificate checks included, in a debug build.
const STACK: usize = 512 * 1024;

/// What the lock's thread says to the caller's.
#[derive(Debug)]
pub(crate) enum Report {
    /// What stands between the caller and an answer of the service, or that nothing does any more.
    Failing(Option<Error>),
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
    thread::Builder::new()
        .name("azmutex".into())
        .stack_size(STACK)
        .spawn(move || {
            Thread { hold, watch, waited, stays, reports: sender, left: false, error: None, failure: None }.run(attempt)
        })
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
    /// The caller has left, and the hold knows.
    left: bool,
    /// What went wrong with the last request.
    error: Option<Error>,
    /// The failure that was told last, unless all went well since.
    failure: Option<Error>,
}

impl Thread {
    fn run(mut self, mut attempt: impl FnMut(Operation, Duration) -> Exchange) {
        let _mourner = Mourner(self.watch.clone());
        let mut jitter = Jitter::new(self.hold.id().seed());
        let mut input = Input::Go;
        loop {
            if !self.left && self.stays.try_recv() == Err(TryRecvError::Disconnected) {
                self.leave();
            }
            input = match self.hold.step(clock::now(), input, jitter.next()) {
                Do::Send { operation, limit } => {
                    let exchange = attempt(operation, limit);
                    self.error = exchange.error;
                    if self.error.is_none() && self.failure.take().is_some() {
                        self.report(Report::Failing(None));
                    }
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
        // Not whether the caller is there: who leaves between the hold's decision and this sleep is to end it.
        if self.left {
            clock::sleep(pause);
        } else if let Err(RecvTimeoutError::Disconnected) = self.stays.recv_timeout(pause) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.left = true;
        self.hold.leave();
    }

    fn tell(&mut self, told: Told) -> Input {
        let lock = self.watch.lock_name().clone();
        let left = |moment: Moment| moment.left(clock::now());
        match told {
            Told::Waiting => self.watch.tell(Event::Waiting { lock }),
            Told::Retrying => {
                let error = self.failure();
                self.failure = Some(error.clone());
                self.report(Report::Failing(Some(error.clone())));
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
                    Why::TimedOut => Error::timed_out(&lock, self.waited, self.failure.take()),
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

    fn failure(&self) -> Error {
        self.error.clone().unwrap_or_else(|| Error::unfitting(self.watch.lock_name(), "take the lock"))
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
        if thread::panicking() {
            self.0.lose(Lost::RenewalStopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::hold::{Rules, Wait};
    use crate::lease::{LeaseId, Term};
    use crate::rest::{Applied, Outcome};
    use crate::retry::Policy;

    const SECOND: Duration = Duration::from_secs(1);
    /// For what comes at once, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A lock's thread that is answered by `answer`, and its hold as the holder sees it.
    fn started(answer: impl Fn(Operation) -> Outcome + Send + 'static) -> (Worker, Arc<Watch>) {
        started_with(Duration::from_millis(20), answer)
    }

    fn started_with(
        renew_every: Duration,
        answer: impl Fn(Operation) -> Outcome + Send + 'static,
    ) -> (Worker, Arc<Watch>) {
        let rules = Rules {
            term: Term::Seconds(15),
            renew_every,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1),
            create_container: true,
            policy: Policy::default().first_pause(Duration::from_millis(1)),
        };
        let watch = Watch::new("test".into(), None);
        let hold = Hold::keep(rules, LeaseId::random().unwrap(), Wait::Forever);
        let attempt = move |operation, _| {
            let sent = clock::now();
            Exchange { sent, outcome: answer(operation), error: None }
        };
        (start(hold, watch.clone(), SECOND, attempt).unwrap(), watch)
    }

    fn obliging(operation: Operation) -> Outcome {
        match operation {
            Operation::Acquire { id, .. } | Operation::Renew { id } => Outcome::Leased(id),
            _ => Outcome::Done,
        }
    }

    /// A panic without its words: a backtrace takes seconds on a busy machine.
    fn die() -> ! {
        std::panic::resume_unwind(Box::new("on purpose"))
    }

    fn next(worker: &Worker) -> Option<Report> {
        worker.reports.recv_timeout(PATIENCE).ok()
    }

    #[test]
    fn the_lock_is_renewed_until_the_caller_leaves_and_then_released() {
        let (worker, watch) = started(obliging);
        assert!(matches!(next(&worker), Some(Report::Granted)));
        let first = watch.check().unwrap();
        let end = clock::now().after(PATIENCE);
        while watch.check().unwrap() == first {
            assert!(clock::now() < end, "it is not renewed");
            clock::sleep(Duration::from_millis(1));
        }
        let Worker { stay, reports } = worker;
        drop(stay);
        assert!(matches!(reports.recv_timeout(PATIENCE), Ok(Report::Released(Ok(())))));
        assert!(reports.recv_timeout(PATIENCE).is_err_and(|error| error.is_disconnected()));
    }

    #[test]
    fn a_caller_who_leaves_as_the_thread_goes_to_sleep_is_noticed_at_once() {
        for _ in 0..3_000 {
            let (worker, _watch) = started_with(5 * SECOND, obliging);
            assert!(matches!(next(&worker), Some(Report::Granted)));
            let Worker { stay, reports } = worker;
            drop(stay);
            // Shorter than the thread's sleep, which is until its next renewal if nobody wakes it.
            let released = reports.recv_timeout(LONGEST_SLEEP / 2);
            assert!(matches!(released, Ok(Report::Released(Ok(())))));
        }
    }

    #[test]
    fn a_caller_who_left_while_the_lock_was_granted_holds_nothing() {
        let (seen, operations) = unbounded();
        let (go, gate) = bounded::<()>(0);
        let (worker, _watch) = started(move |operation| {
            let _ = seen.send(operation);
            let _ = gate.recv();
            obliging(operation)
        });
        assert!(matches!(operations.recv_timeout(PATIENCE), Ok(Operation::Acquire { .. })));
        let Worker { stay, reports } = worker;
        drop(stay);
        drop(go);
        assert!(matches!(operations.recv_timeout(PATIENCE), Ok(Operation::Release { .. })));
        assert!(matches!(reports.recv_timeout(PATIENCE), Ok(Report::NotObtained(_))));
    }

    // Scenario 20.
    #[test]
    fn the_holder_learns_that_the_thread_died_and_is_not_kept_waiting() {
        let (worker, watch) = started(|operation| match operation {
            Operation::Renew { .. } => die(),
            operation => obliging(operation),
        });
        assert!(matches!(next(&worker), Some(Report::Granted)));
        assert_eq!(watch.listen().recv_timeout(PATIENCE), Ok(Lost::RenewalStopped));
        let guard = crate::LockGuard::new(LeaseId::random().unwrap(), watch, worker, SECOND, SECOND);
        assert!(!guard.is_held());
        let start = clock::now();
        let error = guard.unlock().unwrap_err();
        assert_eq!(error.lost_because(), Some(Lost::RenewalStopped));
        assert!(clock::now().since(start) < SECOND);
    }

    #[test]
    fn a_thread_that_dies_before_the_grant_ends_the_wait() {
        let (worker, _watch) = started(|_| die());
        assert!(worker.reports.recv_timeout(PATIENCE).is_err_and(|error| error.is_disconnected()));
    }

    // Scenario 20: the thread hangs for good.
    #[test]
    fn an_unlock_beside_a_thread_that_hangs_comes_back_within_its_bound() {
        let (_go, gate) = bounded::<()>(0);
        let (begun, hangs) = unbounded();
        let (worker, watch) = started(move |operation| match operation {
            Operation::Renew { .. } => {
                let _ = begun.send(());
                let _ = gate.recv();
                Outcome::Failed { applied: Applied::Perhaps, retry_after: None }
            }
            operation => obliging(operation),
        });
        assert!(matches!(next(&worker), Some(Report::Granted)));
        hangs.recv_timeout(PATIENCE).unwrap();
        let attempt = Duration::from_millis(50);
        let guard = crate::LockGuard::new(LeaseId::random().unwrap(), watch, worker, attempt, SECOND);
        guard.ensure_held().unwrap();
        let start = clock::now();
        let error = guard.unlock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        let took = clock::now().since(start);
        assert!(took < 2 * SECOND, "{took:?}");
    }
}
