//! The lock's thread. From the first look to the release it makes every request of one hold, one at a time, and
//! decides nothing: it carries out what its [`Carrier`] says.

use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::hold::Hold;
use crate::hold::carry::{Act, Carrier, Notice, Report, Unreleased};
use crate::hold::write::Wish;
use crate::lease::Lost;
use crate::mutex::unwritten;
use crate::queue::{Place, Turn};
use crate::random::Jitter;
use crate::rest::{Exchange, Operation};
use crate::sync::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};
use crate::threads;
use crate::watchdog::Watch;

/// How many reports there is room for. While the lock is held two are unread at most, what came of a mark and of the
/// release; and who waits for it reads them all. A channel without such a bound has room for dozens from the start.
const UNREAD: usize = 4;

/// The caller's side of the lock's thread.
#[derive(Debug)]
pub(crate) struct Worker {
    /// When it is dropped, the thread lets go of the lock.
    stay: Option<Stay>,
    /// Disconnects when the thread has ended, whatever way: its only sender is that thread's.
    pub(crate) reports: Receiver<Report<Error>>,
    place: Arc<Place>,
}

/// What the caller's side says to the lock's thread.
#[derive(Debug, PartialEq)]
enum Order {
    /// The holder's mark is to be written.
    Mark,
    /// The lock is not wanted any more.
    Leave,
}

/// The caller's end of the orders. To drop it is the order to leave.
struct Stay {
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

impl Stay {
    fn say(&self, order: Order) {
        // A thread that has ended says so by its reports.
        let _ = self.orders.send(order);
        self.bell.ring();
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.say(Order::Leave);
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stay")
    }
}

/// Wakes the lock's thread for an order. To wait for the channel itself would have it look there in some rounds before and
/// after each sleep, of which it has one every two seconds.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.has_rung() = true;
        self.rings.notify_one();
    }

    /// Until it has rung since the last wait, or for so long; or shorter.
    fn wait(&self, pause: Duration) {
        let mut has_rung = self.has_rung();
        if !*has_rung {
            has_rung = self.rings.wait_timeout(has_rung, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        *has_rung = false;
    }

    fn has_rung(&self) -> MutexGuard<'_, bool> {
        self.has_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// The lock is not wanted any more. What was begun is undone by then, or never.
    pub(crate) fn leave(&mut self, gone_by: Moment) {
        self.place.leaves(gone_by);
        self.stay = None;
    }

    /// The holder's mark is to be written. To be said again only after a [`Report::Written`].
    pub(crate) fn mark(&self) {
        if let Some(stay) = &self.stay {
            stay.say(Order::Mark);
        }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.stay.is_none()
    }

    /// In a process that was forked: the thread is the parent's, and may have been using what they share at that moment, so
    /// it is better not touched.
    pub(crate) fn abandon(&mut self) {
        mem::forget(self.stay.take());
        mem::forget(self.place.clone());
    }
}

/// Starts the thread, whose turn it is by this place in the queue. `attempt` makes one request.
pub(crate) fn start(
    hold: Hold,
    watch: Arc<Watch>,
    place: Arc<Place>,
    mut attempt: impl FnMut(Operation, Duration) -> Exchange + Send + 'static,
) -> Result<Worker> {
    let turn = Turn::of(&place);
    let ((sender, orders), bell) = (unbounded(), Arc::<Bell>::default());
    let stay = Stay { orders: sender, bell: bell.clone() };
    let (sender, reports) = bounded(UNREAD);
    let process = watch.process();
    let mut thread = Thread { carrier: Carrier::new(hold), watch, orders, bell, turn, reports: sender };
    threads::run(process, move || thread.run(&mut attempt))?;
    Ok(Worker { stay: Some(stay), reports, place })
}

struct Thread {
    carrier: Carrier<Error>,
    watch: Arc<Watch>,
    orders: Receiver<Order>,
    bell: Arc<Bell>,
    /// Dropped before the caller hears that the thread has ended, and comes again.
    turn: Turn,
    reports: Sender<Report<Error>>,
}

impl Thread {
    fn run(&mut self, attempt: &mut impl FnMut(Operation, Duration) -> Exchange) {
        let _dies = LoseOnPanic(self.watch.clone());
        let mut jitter = Jitter::new(self.carrier.id().seed());
        loop {
            self.obey();
            let act = self.carrier.next(clock::now(), jitter.next());
            self.turn.carries_out(&act);
            match act {
                Act::Send { operation, limit } => self.carrier.answered(attempt(operation, limit)),
                Act::Sleep { until, for_leave } => self.sleep(until, for_leave),
                Act::Grant { valid_until, ends } => self.watch.grant(valid_until, ends),
                Act::Extend { valid_until, ends } => {
                    let extended = self.watch.extend(valid_until, ends);
                    if extended.is_err() {
                        self.turn.pass();
                    }
                    self.carrier.extended(clock::now(), extended);
                }
                Act::Lose(lost) => self.watch.lose(lost),
                Act::Notify(notice) => self.watch.tell(event(self.watch.lock_name(), notice)),
                // A caller who has left need not hear it.
                Act::Report(report) => drop(self.reports.send(report)),
                Act::End => return,
            }
        }
    }

    /// All that has been said: the bell rings for all of it once.
    fn obey(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Mark) => self.carrier.write(Wish { mark: true, ..Wish::default() }),
                Ok(Order::Leave) => self.carrier.leave(),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn sleep(&self, until: Moment, for_leave: bool) {
        let pause = until.left(clock::now());
        if for_leave {
            self.bell.wait(pause);
        } else {
            clock::sleep(pause);
        }
    }
}

/// Tells the holder if the thread that should renew the lock dies.
struct LoseOnPanic(Arc<Watch>);

impl Drop for LoseOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lose(Lost::RenewalStopped);
        }
    }
}

fn event(lock: &Arc<str>, notice: Notice<Error>) -> Event {
    let failure = |failure: Option<Error>| failure.unwrap_or_else(|| unexplained(lock));
    let name = lock.clone();
    match notice {
        Notice::Waiting(card) => Event::Waiting { lock: name, card: card.map(Arc::unwrap_or_clone), ahead: 0 },
        Notice::Retrying(error) => Event::Retrying { lock: name, error: failure(error) },
        Notice::Acquired { left, token } => Event::Acquired { lock: name, left, fencing_token: token },
        Notice::NotLeft { why, failure } => Event::NotWritten { lock: name, error: unwritten(lock, why, failure) },
        Notice::Renewed { left } => Event::Renewed { lock: name, left },
        Notice::RenewalFailed { left, failure: error } => {
            Event::RenewalFailed { lock: name, left, error: failure(error) }
        }
        Notice::Released => Event::Released { lock: name },
        Notice::ReleaseFailed(why) => Event::ReleaseFailed { lock: name, error: unreleased(lock, why) },
    }
}

/// A failure of which no request told, such as a grant that came too late.
pub(crate) fn unexplained(lock: &Arc<str>) -> Error {
    Error::unfitting(lock, "take the lock")
}

pub(crate) fn unreleased(lock: &Arc<str>, why: Unreleased<Error>) -> Error {
    match why {
        Unreleased::Lost(lost) => Error::lost(lock, lost),
        Unreleased::Failed { left, failure } => Error::not_released(lock, left, failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::LONGEST_SLEEP;
    use crate::error::ErrorKind;
    use crate::hold::caller::Limits;
    use crate::hold::{Holder, Leaves, Settings, Wait};
    use crate::lease::{LeaseId, Term};
    use crate::rest::{Applied, Outcome};
    use crate::retry::Policy;
    use crate::sync::channel::unbounded;

    const SECOND: Duration = Duration::from_secs(1);
    const TERM: Term = Term::SHORTEST;
    /// For what comes at once, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A lock's thread that is answered by `answer`, and its hold as the holder sees it.
    fn started(answer: impl Fn(Operation) -> Outcome + Send + 'static) -> (Worker, Arc<Watch>) {
        started_with(Duration::from_millis(20), answer)
    }

    fn settings(renew_every: Duration) -> Settings {
        Settings {
            term: TERM,
            renew_every,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1),
            create_container: true,
            leaves: Leaves::default(),
            policy: Policy::default().first_pause(Duration::from_millis(1)),
        }
    }

    fn started_with(
        renew_every: Duration,
        answer: impl Fn(Operation) -> Outcome + Send + 'static,
    ) -> (Worker, Arc<Watch>) {
        let watch = Watch::new("test".into(), None);
        let hold = Hold::keep(settings(renew_every), LeaseId::random().unwrap(), Wait::Forever);
        let attempt = move |operation, _| {
            let sent = clock::now();
            Exchange::new(sent, answer(operation), None)
        };
        (start(hold, watch.clone(), Place::alone(), attempt).unwrap(), watch)
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

    /// Of a lock whose requests take no longer than `attempt`.
    fn guard(watch: Arc<Watch>, worker: Worker, attempt: Duration) -> crate::LockGuard {
        let limits = Limits::new(attempt, SECOND, TERM);
        crate::LockGuard::new(LeaseId::random().unwrap(), watch, worker, limits, Holder::default(), Arc::default())
    }

    fn next(worker: &Worker) -> Option<Report<Error>> {
        worker.reports.recv_timeout(PATIENCE).ok()
    }

    #[test]
    fn the_lock_is_renewed_until_the_caller_leaves_and_then_released() {
        let (mut worker, watch) = started(obliging);
        assert!(matches!(next(&worker), Some(Report::Granted(_))));
        let first = watch.check().unwrap();
        let end = clock::now().after(PATIENCE);
        while watch.check().unwrap() == first {
            assert!(clock::now() < end, "it is not renewed");
            clock::sleep(Duration::from_millis(1));
        }
        worker.leave(Moment::NEVER);
        assert!(matches!(worker.reports.recv_timeout(PATIENCE), Ok(Report::Released(Ok(())))));
        assert!(worker.reports.recv_timeout(PATIENCE).is_err_and(|error| error.is_disconnected()));
    }

    #[test]
    fn the_deadline_counts_from_the_sending_of_the_renewal_and_not_from_its_answer() {
        let (sent, sendings) = unbounded();
        let (worker, watch) = started_with(SECOND / 2, move |operation| {
            let _ = sent.send(clock::now());
            clock::sleep(Duration::from_millis(20));
            obliging(operation)
        });
        assert!(matches!(next(&worker), Some(Report::Granted(_))));
        let first = watch.check().unwrap();
        let end = clock::now().after(PATIENCE);
        while watch.check().unwrap() == first {
            assert!(clock::now() < end, "it is not renewed");
            clock::sleep(Duration::from_millis(1));
        }
        let [_acquire, renewal] = [(); 2].map(|()| sendings.recv_timeout(PATIENCE).unwrap());
        let second = watch.check().unwrap();
        // Of 15 s, less the margin.
        let ours = Duration::from_millis(12_700);
        assert!(second <= renewal.after(ours) || sendings.try_recv().is_ok(), "{second:?}, {renewal:?}");
    }

    #[test]
    fn a_renewal_that_comes_after_the_holder_was_told_of_the_loss_is_the_last() {
        let (seen, operations) = unbounded();
        let (mut worker, watch) = started(move |operation| {
            let _ = seen.send(operation);
            obliging(operation)
        });
        assert!(matches!(next(&worker), Some(Report::Granted(_))));
        watch.lose(Lost::Broken);
        while operations.try_recv().is_ok() {}
        clock::sleep(Duration::from_millis(300));
        // One was under way, perhaps, and the next one has no use.
        let renewals = std::iter::from_fn(|| operations.try_recv().ok()).count();
        assert!(renewals <= 2, "{renewals}");
        worker.leave(Moment::NEVER);
        assert!(matches!(worker.reports.recv_timeout(PATIENCE), Ok(Report::Released(Err(Unreleased::Lost(_))))));
    }

    #[test]
    fn a_caller_who_leaves_as_the_thread_goes_to_sleep_is_noticed_at_once() {
        for _ in 0..3_000 {
            let (mut worker, _watch) = started_with(5 * SECOND, obliging);
            assert!(matches!(next(&worker), Some(Report::Granted(_))));
            worker.leave(Moment::NEVER);
            // Shorter than the thread's sleep, which is until its next renewal if nobody wakes it.
            let released = worker.reports.recv_timeout(LONGEST_SLEEP / 2);
            assert!(matches!(released, Ok(Report::Released(Ok(())))));
        }
    }

    #[test]
    fn a_caller_who_left_while_the_lock_was_granted_holds_nothing() {
        let (seen, operations) = unbounded();
        let (go, gate) = bounded::<()>(0);
        let (mut worker, _watch) = started(move |operation| {
            let _ = seen.send(operation);
            let _ = gate.recv();
            obliging(operation)
        });
        assert!(matches!(operations.recv_timeout(PATIENCE), Ok(Operation::Acquire { .. })));
        worker.leave(Moment::NEVER);
        drop(go);
        assert!(matches!(operations.recv_timeout(PATIENCE), Ok(Operation::Release { .. })));
        assert!(matches!(worker.reports.recv_timeout(PATIENCE), Ok(Report::NotObtained { .. })));
    }

    // Scenario 20.
    #[test]
    fn the_holder_learns_that_the_thread_died_and_is_not_kept_waiting() {
        let (worker, watch) = started(|operation| match operation {
            Operation::Renew { .. } => die(),
            operation => obliging(operation),
        });
        assert!(matches!(next(&worker), Some(Report::Granted(_))));
        assert_eq!(watch.listen().recv_timeout(PATIENCE), Ok(Lost::RenewalStopped));
        let guard = guard(watch, worker, SECOND);
        assert!(!guard.is_held());
        let start = clock::now();
        let error = guard.unlock().unwrap_err();
        assert_eq!(error.lost_because(), Some(Lost::RenewalStopped));
        assert!(clock::now().since(start) < SECOND);
    }

    #[test]
    fn a_thread_that_dies_leaves_its_turn_to_the_next() {
        let (place, next) = Place::two();
        let watch = Watch::new("test".into(), None);
        let hold = Hold::acquire(settings(SECOND), LeaseId::random().unwrap());
        let _worker = start(hold, watch, place, |_, _| die()).unwrap();
        next.woken().recv_timeout(PATIENCE).unwrap();
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
        assert!(matches!(next(&worker), Some(Report::Granted(_))));
        hangs.recv_timeout(PATIENCE).unwrap();
        let attempt = Duration::from_millis(50);
        let guard = guard(watch, worker, attempt);
        guard.ensure_held().unwrap();
        let start = clock::now();
        let error = guard.unlock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        let took = clock::now().since(start);
        assert!(took < 2 * SECOND, "{took:?}");
    }
}
