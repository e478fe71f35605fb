//! A lock, kept alive.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::clock::{self, LONGEST_SLEEP, Moment};
use crate::container::Container;
use crate::credential::Failing;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Observer};
use crate::guard::LockGuard;
use crate::hold::caller::{Heard, Limits, Missed, Turn, Waiter};
use crate::hold::{Hold, Leaves, Settings, Wait, Why};
use crate::lease::{Card, DEFAULT_LEASE, LeaseId, Term};
use crate::metadata::Known;
use crate::mutex::{self, AzureMutex};
use crate::notes::Notes;
use crate::queue::line::{Next, Want};
use crate::queue::{Place, Queue};
use crate::renewal;
use crate::rest::{self, Exchange, Operation, Outcome};
use crate::retry;
use crate::sync::channel::{Receiver, TryRecvError, after, never, select};
use crate::watchdog::{self, Watch};
pub use crate::with::WithError;

/// The defaults.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// A lock that waits for its turn, renews itself, and tells when it is lost.
///
/// While a lock is waited for or held, one thread makes its requests; `lock` returns a [`LockGuard`] that says at any
/// time whether the lock is still ours. Clones are cheap and share the settings.
///
/// A lock is not re-entrant: a thread that keeps its guard and calls `lock` again **waits for itself, for ever**, as with a
/// `std::sync::Mutex`. So it does by a second locker of the same container for the same name.
///
/// ```no_run
/// let locker = azmutex::Container::from_env("locks")?.locker("nightly-report")?;
/// let guard = locker.lock()?; // blocks until it is ours
/// // ... the report ...
/// guard.unlock()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
///
/// # Turns
///
/// **Within a process** the lock goes to those who asked first: all lockers that are made from one [`Container`], or its
/// clones, for one name have a queue in common, whatever their settings. Only the first in it asks the service. The others cost no request and are
/// woken when their turn comes, which is when the release before it has ended; their time limits and [`Cancel`]s end
/// their waits as ever. A failure that ends the first one's wait also ends the waits behind it that have no limit, so that
/// a hundred threads do not lose their patience one after the other; that of a try does not. [`try_lock`](Locker::try_lock)
/// fails at once, without a request, if anybody in the queue has or wants the lock; it waits for one that has let go, until
/// its release is over. Lockers of containers that were built apart are
/// strangers to each other, as processes are: a test that plays two processes has two containers.
///
/// **Between processes** there is no order, but none keeps the others out by unlocking and locking again. A process that
/// has had the lock for 40 s in a row of turns leaves it alone until 4 s after the last one, of which
/// [`StandingBack`](Event::StandingBack) tells; once it has met another process, after 10 s. A waiter elsewhere that looks
/// with the default [`pauses`](Builder::pauses), and has its answers within a second, gets in by then: it waits for 44 s
/// at most, and for the hold that is in progress when the row is over. Where several wait, any one of them gets in; those
/// that have had a row let the others go first, as far as they can see them, where answers take a fifth of a second at
/// most. Nobody stands back in [`try_lock`](Locker::try_lock) or in a wait that is given 5 s or less, lest these fail for
/// it, though they may fail behind another one of this process that does: a process that takes the lock in such ways alone, over and over, can keep others out. So can holders that use
/// [`AzureMutex`], or other programs. The [guide](crate::guide::threads) has an example.
#[derive(Clone)]
#[doc(alias("mutex", "leader", "acquire"))]
pub struct Locker(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) mutex: AzureMutex,
    pub(crate) settings: Settings,
    pub(crate) drop_limit: Duration,
    pub(crate) observer: Option<Arc<Observer>>,
    /// The last row of failures of the credential's that the observer was told of.
    pub(crate) told: AtomicU64,
    card: Option<Card>,
    /// That of its container for its name, from the first wait on.
    queue: OnceLock<Arc<Queue>>,
    /// What the last hold left in the blob's metadata.
    known: Mutex<Option<Known>>,
}

impl Inner {
    fn queue(&self) -> Arc<Queue> {
        let queue = || self.mutex.container().queues().of(self.mutex.lock_name());
        self.queue.get_or_init(queue).current()
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(&self, notes: &Mutex<Notes>, operation: Operation, limit: Duration) -> Exchange {
        // Before the request, which may have the credential renewed, and the failure forgotten.
        if let Some(observer) = &self.observer
            && let Some(Failing { row, left, why }) = self.mutex.container().credential().failing()
            && self.told.fetch_max(row, Ordering::Relaxed) < row
        {
            let lock = self.mutex.lock_name();
            let error = rest::not_renewed(lock, why);
            observer.tell(Event::CredentialFailing { lock: lock.clone(), left, error });
        }
        let exchange = self.mutex.attempt_noting(notes, operation, limit);
        if matches!((operation, exchange.outcome), (Operation::Write(_), Outcome::Done)) {
            *self.known() = lock(notes).known().cloned();
        }
        exchange
    }
}

impl Container {
    /// The lock of that name in this container, with the default settings: short for
    /// [`Locker::new`]`(container.`[`mutex`](Container::mutex)`(name)?)`. Talks to nobody.
    ///
    /// All lockers of this container and its clones for one name take [turns](Locker#turns), first come first served. So
    /// two of them are one lock to a thread, too: if it keeps the guard of one and calls `lock` on the other, it waits for
    /// itself. A second container, built apart, is as another process.
    ///
    /// # Errors
    ///
    /// Those of [`Container::mutex`].
    pub fn locker(&self, name: &str) -> Result<Locker> {
        self.mutex(name).map(Locker::new)
    }
}

impl Locker {
    /// With the default settings of [`Builder`].
    pub fn new(mutex: AzureMutex) -> Locker {
        Locker::builder(mutex).assemble(Term::DEFAULT, DEFAULT_LEASE / 3, None)
    }

    /// With settings.
    pub fn builder(mutex: AzureMutex) -> Builder {
        Builder {
            mutex,
            lease: DEFAULT_LEASE,
            renew_every: None,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            drop_limit: DROP_LIMIT,
            fencing: false,
            card: None,
            on_event: None,
        }
    }

    pub(crate) fn mutex(&self) -> &AzureMutex {
        &self.0.mutex
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The same lock, with an observer.
    #[cfg(test)]
    pub(crate) fn observed_by(&self, observer: Arc<Observer>) -> Locker {
        self.in_queue(self.0.queue(), Some(observer))
    }

    /// The same lock, as another process has it.
    #[cfg(test)]
    pub(crate) fn apart(&self) -> Locker {
        self.in_queue(Arc::new(Queue::new()), self.0.observer.clone())
    }

    #[cfg(test)]
    fn in_queue(&self, queue: Arc<Queue>, observer: Option<Arc<Observer>>) -> Locker {
        let Inner { mutex, settings, drop_limit, card, .. } = &*self.0;
        let (mutex, settings, card) = (mutex.clone(), settings.clone(), card.clone());
        let (told, known, queue) = (AtomicU64::new(0), Mutex::new(None), queue.into());
        Locker(Arc::new(Inner { mutex, settings, drop_limit: *drop_limit, observer, told, card, queue, known }))
    }

    /// The name of the lock.
    pub fn name(&self) -> &str {
        self.0.mutex.name()
    }

    /// Waits until the lock is ours, for as long as somebody else has it.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](crate::ErrorKind::NotFound), [`PermissionDenied`](crate::ErrorKind::PermissionDenied),
    ///   [`Credential`](crate::ErrorKind::Credential), [`ClockSkew`](crate::ErrorKind::ClockSkew): the service
    ///   refused; waiting would not help, and the text says what to change.
    /// - [`Untrusted`](crate::ErrorKind::Untrusted): the server's certificate was refused, which ends a wait, too.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), [`Unexpected`](crate::ErrorKind::Unexpected): the service
    ///   could not be reached, or made no sense, for all of the policy's
    ///   [`patience`](crate::retry::Policy::patience), 30 s by default; of this wait, or of one of this process before it.
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): this process stood still, just when it got the lock, for longer
    ///   than the lease lasts.
    pub fn lock(&self) -> Result<LockGuard> {
        self.obtain(Wait::Forever, Duration::MAX, None)
    }

    /// Takes the lock if nobody has it, and nobody of this process waits for it. If one of this process has let go, or given
    /// up, it waits until the release of that is over.
    ///
    /// # Errors
    ///
    /// - [`WouldBlock`](crate::ErrorKind::WouldBlock): somebody else has it, or somebody of this process has it or waits for
    ///   it: with [`Error::ahead`] more than 0.
    /// - As [`lock`](Locker::lock), but after the policy's [`retries`](crate::retry::Policy::retries).
    #[doc(alias = "try_acquire")]
    pub fn try_lock(&self) -> Result<LockGuard> {
        self.obtain(Wait::Never, Duration::MAX, None)
    }

    /// Waits until the lock is ours, for `timeout` at most; [`Duration::MAX`] is for ever. Failures that may pass do
    /// not end the wait before its time. In a wait that is too short for one answer of the service (some
    /// milliseconds, or a tenth of a second from another continent) the lock cannot be had: use
    /// [`try_lock`](Locker::try_lock).
    ///
    /// It returns within a quarter of a second of its time, even if the service hangs. If a request without an
    /// answer may have taken the lock all the same, a release is sent after it; at worst the lock stays taken for one
    /// lease.
    ///
    /// # Errors
    ///
    /// - [`TimedOut`](crate::ErrorKind::TimedOut): not obtained in time; the source is the last failure, if the
    ///   reason was one; its own, or that of the one of this process that was before it.
    /// - The refusals of [`lock`](Locker::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<LockGuard> {
        self.obtain(Wait::Until(clock::now().after(timeout)), timeout, None)
    }

    /// Waits until the lock is ours or `cancel` is called, from any thread. It returns within a quarter of a second
    /// of that, as [`lock_timeout`](Locker::lock_timeout) does.
    ///
    /// # Errors
    ///
    /// - [`Cancelled`](crate::ErrorKind::Cancelled), also if it was called before; the source is the last failure, if
    ///   one stood in the way.
    /// - Those of [`lock`](Locker::lock).
    pub fn lock_or_cancel(&self, cancel: &Cancel) -> Result<LockGuard> {
        self.obtain(Wait::Forever, Duration::MAX, Some(cancel))
    }

    /// Waits until the lock is ours, for `timeout` at most, or until `cancel` is called; [`Duration::MAX`] is for ever.
    /// As [`lock_timeout`](Locker::lock_timeout) and [`lock_or_cancel`](Locker::lock_or_cancel) in one.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use azmutex::{Cancel, Container, ErrorKind};
    ///
    /// let cancel = Cancel::new(); // a clone of it is called by a signal handler, say
    /// let locker = Container::from_env("locks")?.locker("migration")?;
    /// match locker.lock_timeout_or_cancel(Duration::from_secs(60), &cancel) {
    ///     Ok(guard) => guard.unlock()?,
    ///     Err(error) if error.kind() == ErrorKind::Cancelled => println!("stopped"),
    ///     Err(error) if error.kind() == ErrorKind::TimedOut => println!("somebody else is at it"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TimedOut`](crate::ErrorKind::TimedOut) or [`Cancelled`](crate::ErrorKind::Cancelled), whichever came first;
    ///   the source is the last failure, if one stood in the way.
    /// - The refusals of [`lock`](Locker::lock).
    pub fn lock_timeout_or_cancel(&self, timeout: Duration, cancel: &Cancel) -> Result<LockGuard> {
        self.obtain(Wait::Until(clock::now().after(timeout)), timeout, Some(cancel))
    }

    /// Waits until the lock is ours, as [`lock`](Locker::lock) does, works, and unlocks. Gives what the work came to; where
    /// that is a `Result`, a second `?` has its error, as it is. A panic of the work's releases the lock.
    ///
    /// ```
    /// use std::fs;
    ///
    /// # let emulator = azmutex::emulator::Emulator::start()?;
    /// # let container = azmutex::Container::from_connection_string(&emulator.connection_string(), "locks")?;
    /// # let path = std::env::temp_dir().join(format!("azmutex-with-{}", std::process::id()));
    /// let length = container.locker("nightly-report")?.with(|guard| {
    ///     let report = "all is well";
    ///     guard.ensure_held().map_err(std::io::Error::from)?;
    ///     fs::write(&path, report)?;
    ///     Ok::<_, std::io::Error>(report.len())
    /// })??;
    /// # fs::remove_file(&path)?;
    /// # assert_eq!(length, 11);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`WithError::NotObtained`]: with the errors of [`lock`](Locker::lock). The work was not begun.
    /// - [`WithError::NotReleased`]: with those of [`unlock`](LockGuard::unlock), such as a lock that was lost, and with what
    ///   the work came to.
    pub fn with<R>(&self, work: impl FnOnce(&LockGuard) -> R) -> Result<R, WithError<R>> {
        let guard = self.lock().map_err(WithError::NotObtained)?;
        let result = work(&guard);
        match guard.unlock() {
            Ok(()) => Ok(result),
            Err(error) => Err(WithError::NotReleased { error, result }),
        }
    }

    fn obtain(&self, wait: Wait, waited: Duration, cancel: Option<&Cancel>) -> Result<LockGuard> {
        if cancel.is_some_and(Cancel::is_cancelled) {
            return Err(Error::cancelled(self.0.mutex.lock_name(), None, None));
        }
        let notes = Arc::new(Mutex::new(Notes::new(self.0.card.clone(), None, None)));
        let (inner, noted) = (self.0.clone(), notes.clone());
        let attempt = move |operation, limit| inner.attempt(&noted, operation, limit);
        let cancelled = cancel.map_or_else(never, |cancel| cancel.watched().clone());
        self.obtain_by(attempt, LeaseId::random()?, wait, waited, &cancelled, notes)
    }

    /// The caller's side of the wait. `attempt` makes one request.
    pub(crate) fn obtain_by(
        &self,
        attempt: impl FnMut(Operation, Duration) -> Exchange + Send + 'static,
        id: LeaseId,
        wait: Wait,
        waited: Duration,
        cancelled: &Receiver<()>,
        notes: Arc<Mutex<Notes>>,
    ) -> Result<LockGuard> {
        let Inner { mutex, settings, drop_limit, observer, .. } = &*self.0;
        let (place, stands_back, failing_since) = self.queue_up(wait, waited, cancelled)?;
        let watch = Watch::new(mutex.lock_name().clone(), observer.clone());
        watchdog::watch(&watch)?;
        // Not before it is our turn: whoever was before us has written.
        let known = self.0.known().clone();
        let blob = known.as_ref().map(|known| known.blob);
        lock(&notes).knows(known);
        let mut hold = Hold::keep(settings.clone(), id, wait).knowing(blob).failing_since(failing_since);
        if let Some(until) = stands_back {
            hold = hold.standing_back(until);
            watch.tell(Event::StandingBack { lock: mutex.lock_name().clone(), pause: until.left(clock::now()) });
        }
        let limits = Limits::new(settings.policy.attempt_limit, *drop_limit, settings.term);
        let mut worker = renewal::start(hold, watch.clone(), Arc::new(place), attempt)?;
        let (mut waiter, mut cancelled) = (Waiter::new(wait), cancelled.clone());
        loop {
            let until = waiter.until();
            // Channels wait on a clock that stands still in suspend. Who hears silence too early goes on listening.
            let left = until.left(clock::now()).min(LONGEST_SLEEP);
            let silence = if until == Moment::NEVER { never() } else { after(left) };
            let heard = select! {
                recv(worker.reports) -> report => report.map_or(Heard::End, Heard::Report),
                recv(cancelled) -> _ => Heard::Cancel,
                recv(silence) -> _ => Heard::Silence,
            };
            match waiter.hear(clock::now(), heard, || watch.check()) {
                Turn::Listen => {}
                Turn::Take(holder) => {
                    return Ok(LockGuard::new(id, watch, worker, limits, holder, notes));
                }
                Turn::Leave => {
                    worker.leave(clock::now().after(limits.undoing()));
                    cancelled = never();
                }
                Turn::Return(missed) => return Err(not_obtained(mutex.lock_name(), missed, waited)),
            }
        }
    }

    /// Waits for the turn among those of this process. With the time until which this process stands back, if it does,
    /// and since when those before it have met failures, if they have.
    fn queue_up(
        &self,
        wait: Wait,
        waited: Duration,
        cancelled: &Receiver<()>,
    ) -> Result<(Place, Option<Moment>, Option<Moment>)> {
        let Inner { mutex, settings, .. } = &*self.0;
        let lock = mutex.lock_name();
        let want = Want { wait, patience: settings.policy.patience, token: settings.leaves.token };
        let place = self.0.queue().join(want);
        let mut place = place.map_err(|ahead| Error::queued(lock, ErrorKind::WouldBlock, waited, ahead, None, None))?;
        let mut is_told = false;
        loop {
            // Also if its turn has come at the same time: who is cancelled asks for nothing any more.
            let is_cancelled = cancelled.try_recv() != Err(TryRecvError::Empty);
            match place.next(is_cancelled) {
                Next::Missed { why: Why::GivenUp, ahead: 0, failure, card } => {
                    return Err(Error::cancelled(lock, card, failure));
                }
                Next::Start { stands_back, failing_since } => {
                    place.begin();
                    return Ok((place, stands_back, failing_since));
                }
                Next::Failed(failure) => return Err(failure.unwrap_or_else(|| renewal::unexplained(lock))),
                Next::Missed { why, ahead, failure, card } => {
                    let kind = if why == Why::TimedOut { ErrorKind::TimedOut } else { ErrorKind::Cancelled };
                    return Err(Error::queued(lock, kind, waited, ahead, card, failure));
                }
                Next::Wait { ahead, until } => {
                    if let Some(observer) = self.0.observer.as_ref().filter(|_| !is_told) {
                        observer.tell(Event::Waiting { lock: lock.clone(), card: None, ahead });
                        is_told = true;
                    }
                    // Channels wait on a clock that stands still in suspend.
                    let left = until.left(clock::now()).min(LONGEST_SLEEP);
                    let silence = if until < Moment::NEVER { after(left) } else { never() };
                    select! {
                        recv(place.woken()) -> _ => {},
                        recv(cancelled) -> _ => {},
                        recv(silence) -> _ => {},
                    }
                }
            }
        }
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_obtained(lock: &Arc<str>, missed: Missed<Error>, waited: Duration) -> Error {
    match missed {
        Missed::NotObtained { why: Why::Busy, .. } => Error::busy(lock),
        Missed::NotObtained { why: Why::TimedOut, failure, card } => Error::timed_out(lock, waited, card, failure),
        Missed::NotObtained { why: Why::GivenUp, failure, card } => Error::cancelled(lock, card, failure),
        Missed::NotObtained { why: Why::Failed, failure, .. } => failure.unwrap_or_else(|| renewal::unexplained(lock)),
        Missed::NotObtained { why: Why::NoToken(why), failure, .. } => mutex::unwritten(lock, why, failure),
        Missed::Lost(lost) => Error::lost(lock, lost),
        Missed::Died => Error::thread_died(lock),
    }
}

impl fmt::Debug for Locker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locker")
            .field("mutex", &self.0.mutex)
            .field("lease", &self.0.settings.term.duration())
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Locker`].
///
/// ```
/// use std::time::Duration;
/// use azmutex::{Container, Locker};
///
/// let mutex = Container::development("locks")?.mutex("nightly-report")?;
/// let locker = Locker::builder(mutex)
///     .lease(Duration::from_secs(60))
///     .on_event(|event| eprintln!("{event}"))
///     .build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    mutex: AzureMutex,
    lease: Duration,
    renew_every: Option<Duration>,
    first_pause: Duration,
    longest_pause: Duration,
    drop_limit: Duration,
    fencing: bool,
    card: Option<Card>,
    on_event: Option<Box<dyn FnMut(Event) + Send>>,
}

impl Builder {
    /// How long the lease lasts without a renewal, and so for how long a holder that crashed blocks the others: 15 to
    /// 60 whole seconds. Defaults to 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often the lease is renewed: from 10 ms (less than a second is for tests, against an emulator) to a half of
    /// the lease. Each renewal comes up to a tenth earlier, at random, and the first one up to a half, so that many locks are
    /// not renewed at once.
    /// Defaults to a third of the lease.
    pub fn renew_every(mut self, interval: Duration) -> Self {
        self.renew_every = Some(interval);
        self
    }

    /// The pauses between two looks while somebody else has the lock: each is twice as long as the one before, up to
    /// the longest, and is shortened at random by up to a third. From 1 ms to 60 s. Defaults to 100 ms and 1 s, which
    /// hands a lock over in about half a second.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// How long the drop of a guard waits for its release. It goes on in the background if the program does. Defaults
    /// to 2 s.
    pub fn drop_limit(mut self, limit: Duration) -> Self {
        self.drop_limit = limit;
        self
    }

    /// Whether to take a [`FencingToken`](crate::lease::FencingToken) with each lock, for
    /// [`LockGuard::fencing_token`]. Without one the lock is not held. Defaults to `false`.
    ///
    /// The token stands in the metadata of the lock's blob. It takes one request more where the blob is as a look or the
    /// last hold of this locker left it, and two otherwise; and, where the blob was changed in this very second by a write
    /// that brought no token (at its first use, or after a card without one, or a mark), a second's wait. The credential
    /// needs the rights to read and to write the blob.
    ///
    /// With blob versioning each token makes a version of the blob, which is stored and costs, until a lifecycle rule
    /// deletes it (`"actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 1}}}`). With an immutability
    /// policy it is refused. Deleting the blob, its container, or restoring an old copy does not set the tokens back: they
    /// contain the service's time, of which is assumed that it does not go back, and that the `Date` of an answer and the
    /// `Last-Modified` of a blob are by clocks that agree to a part of a second. So a proxy must pass on the service's
    /// `Date`. What others left in the metadata is
    /// not overwritten: see [`lower_case_metadata`](crate::container::Builder::lower_case_metadata).
    ///
    /// # Errors
    ///
    /// `lock` and its like then fail as for any request, when the token cannot be taken, and as follows. In each case the
    /// lock is released before.
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): there are metadata of others.
    /// - [`Unexpected`](crate::ErrorKind::Unexpected): what stands where the last token should is none, and so not known to
    ///   be smaller.
    ///
    /// ```no_run
    /// use azmutex::{Container, Locker};
    ///
    /// # fn write(_: u64) -> azmutex::Result<()> { Ok(()) }
    /// let mutex = Container::from_env("locks")?.mutex("nightly-report")?;
    /// let locker = Locker::builder(mutex).fencing(true).build()?;
    /// let guard = locker.lock()?;
    /// if let Some(token) = guard.fencing_token() {
    ///     write(token.get())?; // refused there if a greater one was seen
    /// }
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    pub fn fencing(mut self, fencing: bool) -> Self {
        self.fencing = fencing;
        self
    }

    /// Leaves this card with each lock, for those who wait and for [`inspect`](AzureMutex::inspect). In the same request
    /// as the token with [`fencing`](Builder::fencing), and else in one or two more; what is said there of costs, rights
    /// and metadata of others holds here, too. If it cannot be left, the lock is held without, and
    /// [`on_event`](Builder::on_event) is told ([`NotWritten`](Event::NotWritten)).
    pub fn card(mut self, card: Card) -> Self {
        self.card = Some(card);
        self
    }

    /// Calls `observe` with everything that happens to the lock, on a thread of its own. One that is slow or panics
    /// does not disturb the lock; of events that it leaves waiting, all but the last 256 are dropped.
    pub fn on_event(mut self, observe: impl FnMut(Event) + Send + 'static) -> Self {
        self.on_event = Some(Box::new(observe));
        self
    }

    /// Checks the settings. Talks to nobody; with [`on_event`](Builder::on_event) it starts a thread.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting is out of its range;
    /// [`Unexpected`](crate::ErrorKind::Unexpected) if the thread cannot be started.
    pub fn build(mut self) -> Result<Locker> {
        let term = Term::new(self.lease)?;
        let renew_every = self.renew_every.unwrap_or(self.lease / 3);
        if renew_every < Duration::from_millis(10) || renew_every > self.lease / 2 {
            return Err(Error::input(format!(
                "a lease of {:?} is renewed every 10 ms to {:?}, not every {renew_every:?}",
                self.lease,
                self.lease / 2
            )));
        }
        retry::check_pauses(self.first_pause, self.longest_pause)?;
        let observer = self.on_event.take().map(Observer::start).transpose()?;
        Ok(self.assemble(term, renew_every, observer))
    }

    pub(crate) fn assemble(self, term: Term, renew_every: Duration, observer: Option<Arc<Observer>>) -> Locker {
        let settings = Settings {
            term,
            renew_every,
            first_pause: self.first_pause,
            longest_pause: self.longest_pause,
            create_container: self.mutex.container().creates(),
            leaves: Leaves {
                token: self.fencing,
                card: self.card.is_some(),
                lower_cases: self.mutex.container().lower_cases(),
            },
            policy: self.mutex.container().policy().clone(),
        };
        let Builder { mutex, drop_limit, card, .. } = self;
        let (told, known, queue) = (AtomicU64::new(0), Mutex::new(None), OnceLock::new());
        Locker(Arc::new(Inner { mutex, settings, drop_limit, observer, told, card, queue, known }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("mutex", &self.mutex).field("lease", &self.lease).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::rest::{Applied, Outcome};
    use crate::sync::channel::{bounded, unbounded};
    use crate::sync::thread;

    const FAILED: Outcome = Outcome::Failed { applied: Applied::No, retry_after: None };

    /// For what comes at once, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn locker() -> Locker {
        Container::development("locks").unwrap().locker("job").unwrap()
    }

    /// What comes of a wait, if it ends.
    fn error_of(
        attempt: impl FnMut(Operation, Duration) -> Exchange + Send + 'static,
        wait: Wait,
        cancel: &Cancel,
    ) -> Error {
        let (cancelled, (done, ended)) = (cancel.cancelled(), bounded(1));
        let wait = move || {
            let id = LeaseId::random().unwrap();
            let obtained = locker().obtain_by(attempt, id, wait, Duration::from_secs(2), &cancelled, Arc::default());
            let _ = done.send(obtained.map(drop));
        };
        thread::spawn(wait);
        ended.recv_timeout(PATIENCE).expect("the wait ends").unwrap_err()
    }

    /// A wait whose first request fails, and whose second has the given answer; the third hangs for good.
    fn wait_behind(second: Outcome) -> Error {
        let (_hangs, gate) = bounded::<()>(0);
        let mut requests = 0;
        let attempt = move |_, _| {
            requests += 1;
            if requests == 3 {
                let _ = gate.recv();
            }
            let outcome = if requests == 2 { second } else { FAILED };
            let error = (outcome == FAILED).then(|| Error::thread_died(&"job".into()));
            Exchange::new(clock::now(), outcome, error)
        };
        error_of(attempt, Wait::Until(clock::now().after(Duration::from_secs(2))), &Cancel::new())
    }

    fn obliging(operation: Operation, _: Duration) -> Exchange {
        let outcome = if let Operation::Acquire { id, .. } = operation { Outcome::Leased(id) } else { Outcome::Done };
        Exchange::new(clock::now(), outcome, None)
    }

    fn try_at(locker: &Locker) -> Result<LockGuard> {
        locker.obtain_by(obliging, LeaseId::random()?, Wait::Never, Duration::MAX, &never(), Arc::default())
    }

    #[test]
    fn whoever_has_let_go_can_try_again_at_once() {
        /// Holds up the end of the lock's thread, which has said by then that the lock is released.
        struct Late;

        impl Drop for Late {
            fn drop(&mut self) {
                clock::sleep(Duration::from_millis(50));
            }
        }

        let locker = locker();
        for unlocks in [true, false, true] {
            let late = Late;
            let attempt = move |operation, limit| {
                let _ = &late;
                obliging(operation, limit)
            };
            let id = LeaseId::random().unwrap();
            let guard = locker.obtain_by(attempt, id, Wait::Never, Duration::MAX, &never(), Arc::default()).unwrap();
            if unlocks { guard.unlock().unwrap() } else { drop(guard) }
        }
    }

    #[test]
    fn a_try_does_not_ask_for_what_this_process_has() {
        let locker = locker();
        let guard = try_at(&locker).unwrap();
        let asked = |_, _| panic!("it asks");
        let id = LeaseId::random().unwrap();
        let error =
            locker.clone().obtain_by(asked, id, Wait::Never, Duration::MAX, &never(), Arc::default()).unwrap_err();
        assert_eq!((error.kind(), error.ahead()), (ErrorKind::WouldBlock, 1));
        assert!(guard.is_held());
    }

    #[test]
    fn a_try_is_not_refused_for_what_another_one_only_undoes() {
        let policy = retry::Policy::default().retries(0);
        let container =
            crate::container::Builder::from_connection_string("UseDevelopmentStorage=true", "locks").unwrap();
        let locker = container.retry(policy).build().unwrap().locker("job").unwrap();
        let (go, gate) = bounded::<()>(0);
        // Nobody has the lock. An acquire has no answer, and its release takes its time.
        let unanswered = move |operation, _| match operation {
            Operation::Release { .. } => {
                let _ = gate.recv();
                Exchange::new(clock::now(), Outcome::NoLease, None)
            }
            _ => Exchange::new(clock::now(), Outcome::Failed { applied: Applied::Perhaps, retry_after: None }, None),
        };
        let id = LeaseId::random().unwrap();
        locker.obtain_by(unanswered, id, Wait::Never, Duration::MAX, &never(), Arc::default()).unwrap_err();
        let (done, ended) = bounded(1);
        thread::spawn(move || drop(done.send(try_at(&locker).map(drop))));
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits until that is over");
        drop(go);
        ended.recv_timeout(PATIENCE).expect("it ends").unwrap();
    }

    #[test]
    fn a_panic_of_the_holder_leaves_its_turn_to_the_next() {
        let locker = locker();
        let guard = try_at(&locker).unwrap();
        let (done, ended) = bounded(1);
        let waits = locker.clone();
        thread::spawn(move || {
            let id = LeaseId::random().unwrap();
            let obtained = waits.obtain_by(obliging, id, Wait::Forever, Duration::MAX, &never(), Arc::default());
            let _ = done.send(obtained.map(drop));
        });
        let holder = thread::spawn(move || {
            let _guard = guard;
            // A panic without its words.
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        assert!(holder.join().is_err());
        ended.recv_timeout(PATIENCE).expect("the wait ends").unwrap();
    }

    #[test]
    fn wherever_a_locks_thread_dies_the_next_one_has_its_turn() {
        for dies_at in ["acquire", "renew", "release"] {
            let mutex = Container::development("locks").unwrap().mutex("job").unwrap();
            let locker = Locker::builder(mutex).renew_every(Duration::from_millis(10)).build().unwrap();
            let attempt = move |operation, limit| {
                let name = match operation {
                    Operation::Acquire { .. } => "acquire",
                    Operation::Renew { .. } => "renew",
                    _ => "release",
                };
                if name == dies_at {
                    // A panic without its words.
                    std::panic::resume_unwind(Box::new("on purpose"))
                }
                obliging(operation, limit)
            };
            let id = LeaseId::random().unwrap();
            let first = locker.obtain_by(attempt, id, Wait::Forever, Duration::MAX, &never(), Arc::default());
            let (done, ended) = bounded(1);
            let waits = locker.clone();
            thread::spawn(move || {
                let id = LeaseId::random().unwrap();
                let obtained = waits.obtain_by(obliging, id, Wait::Forever, Duration::MAX, &never(), Arc::default());
                let _ = done.send(obtained.map(drop));
            });
            match dies_at {
                "acquire" => assert!(first.is_err()),
                // Its guard may be kept for as long as anybody likes.
                "renew" => match &first {
                    Ok(guard) => assert!(guard.wait_lost(PATIENCE).is_some()),
                    // It died before its caller could take the guard.
                    Err(error) => assert_eq!(error.lost_because(), Some(crate::lease::Lost::RenewalStopped)),
                },
                _ => drop(first.unwrap().unlock().unwrap_err()),
            }
            ended.recv_timeout(PATIENCE).expect(dies_at).unwrap();
        }
    }

    #[test]
    fn a_fork_does_not_wait_behind_its_parents_threads() {
        let parents = Queue::of_a_parent();
        let _waits_there = parents.join(Wait::Forever.into()).unwrap();
        let locker = locker().in_queue(parents, None);
        let _guard = try_at(&locker).unwrap();
        assert_eq!(try_at(&locker).unwrap_err().ahead(), 1);
    }

    #[test]
    fn a_wait_in_the_queue_ends_when_its_time_is_up_or_it_is_cancelled() {
        let locker = locker();
        // As one that is leaked.
        let _guard = try_at(&locker).unwrap();
        let (cancel, pause) = (Cancel::new(), Duration::from_millis(50));
        let wait = |wait| {
            let (locker, cancelled) = (locker.clone(), cancel.cancelled());
            let (done, ended) = bounded(1);
            thread::spawn(move || {
                let id = LeaseId::random().unwrap();
                let obtained = locker.obtain_by(obliging, id, wait, pause, &cancelled, Arc::default());
                let _ = done.send(obtained.map(drop));
            });
            ended
        };
        let error = wait(Wait::Until(clock::now().after(pause))).recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!((error.kind(), error.ahead()), (ErrorKind::TimedOut, 1));
        assert_eq!(error.to_string(), "lock \"job\": not obtained within 50ms; behind 1 of this process");
        let ended = wait(Wait::Forever);
        assert!(ended.recv_timeout(2 * pause).is_err(), "it waits");
        cancel.cancel();
        let error = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!((error.kind(), error.ahead()), (ErrorKind::Cancelled, 1));
    }

    /// One that bears an outage for 200 ms.
    fn impatient() -> Locker {
        let policy =
            retry::Policy::default().patience(Duration::from_millis(200)).first_pause(Duration::from_millis(1));
        let container =
            crate::container::Builder::from_connection_string("UseDevelopmentStorage=true", "locks").unwrap();
        container.retry(policy).build().unwrap().locker("job").unwrap()
    }

    #[test]
    fn who_waits_behind_one_with_a_long_limit_gives_up_in_an_outage_and_says_why() {
        let locker = impatient();
        let (asked, asks) = unbounded();
        let wait = |wait, cancelled: Receiver<()>| {
            let ((done, ended), locker, asked) = (bounded(1), locker.clone(), asked.clone());
            thread::spawn(move || {
                let fails = move |_, _| {
                    let _ = asked.send(());
                    Exchange::new(clock::now(), FAILED, Some(Error::thread_died(&"job".into())))
                };
                let id = LeaseId::random().unwrap();
                let obtained = locker.obtain_by(fails, id, wait, Duration::ZERO, &cancelled, Arc::default());
                let _ = done.send(obtained.map(drop));
            });
            ended
        };
        let cancel = Cancel::new();
        let first = wait(Wait::Until(clock::now().after(100 * PATIENCE)), cancel.cancelled());
        asks.recv_timeout(PATIENCE).unwrap();
        // The first failure has been told when the second request is made.
        asks.recv_timeout(PATIENCE).unwrap();
        let limited = wait(Wait::Until(clock::now().after(Duration::from_millis(50))), never());
        let error = limited.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!((error.kind(), error.ahead()), (ErrorKind::TimedOut, 1));
        assert!(error.source().is_some(), "{error:?}");
        // Not before: two threads come in either order, and the place would be luck.
        let patient = wait(Wait::Forever, never());
        assert_eq!(patient.recv_timeout(PATIENCE).unwrap().unwrap_err().kind(), ErrorKind::Unexpected);
        cancel.cancel();
        first.recv_timeout(PATIENCE).unwrap().unwrap_err();
    }

    #[test]
    fn a_hundred_threads_give_up_with_the_first_of_them() {
        let locker = impatient();
        let (done, ended) = unbounded();
        for _ in 0..100 {
            let (locker, done) = (locker.clone(), done.clone());
            thread::spawn(move || {
                let fails = |_, _| Exchange::new(clock::now(), FAILED, Some(Error::thread_died(&"job".into())));
                let id = LeaseId::random().unwrap();
                let obtained = locker.obtain_by(fails, id, Wait::Forever, Duration::MAX, &never(), Arc::default());
                let _ = done.send(obtained.map(drop));
            });
        }
        let begun = clock::now();
        for _ in 0..100 {
            ended.recv_timeout(PATIENCE).expect("the wait ends").unwrap_err();
        }
        // One after the other they would take twenty seconds.
        assert!(clock::now().since(begun) < PATIENCE, "{:?}", clock::now().since(begun));
    }

    #[test]
    fn who_is_cancelled_when_its_turn_comes_asks_for_nothing() {
        let cancel = Cancel::new();
        cancel.cancel();
        let error = error_of(|_, _| panic!("it asks"), Wait::Forever, &cancel);
        assert_eq!((error.kind(), error.ahead()), (ErrorKind::Cancelled, 0));
        assert_eq!(error.to_string(), "lock \"job\": the wait was cancelled");
    }

    #[test]
    fn a_cancel_ends_a_wait_though_a_request_hangs() {
        let (_hangs, gate) = bounded::<()>(0);
        let (begun, begins) = bounded(1);
        let attempt = move |_, _| {
            let _ = begun.send(());
            let _ = gate.recv();
            Exchange::new(clock::now(), FAILED, None)
        };
        let cancel = Cancel::new();
        let cancels = cancel.clone();
        thread::spawn(move || {
            begins.recv_timeout(PATIENCE).unwrap();
            cancels.cancel();
        });
        let error = error_of(attempt, Wait::Forever, &cancel);
        assert_eq!(error.kind(), crate::ErrorKind::Cancelled);
    }

    /// Cancels a wait while its acquire is under way, which is granted: whether it was given back when the wait returned.
    fn is_undone_in_time() -> bool {
        let cancel = Cancel::new();
        let (cancels, (seen, requests)) = (cancel.clone(), unbounded());
        let attempt = move |operation, _| {
            let sent = clock::now();
            cancels.cancel();
            // Long enough to be heard, and much shorter than what was begun is waited for.
            clock::sleep(Duration::from_millis(20));
            if let Operation::Release { .. } = operation {
                // Long enough that one which begins when the wait has returned is not done by chance.
                clock::sleep(Duration::from_millis(60));
            }
            let _ = seen.send(operation);
            let outcome =
                if let Operation::Acquire { id, .. } = operation { Outcome::Leased(id) } else { Outcome::Done };
            Exchange::new(sent, outcome, None)
        };
        assert_eq!(error_of(attempt, Wait::Forever, &cancel).kind(), crate::ErrorKind::Cancelled);
        requests.try_iter().any(|operation| matches!(operation, Operation::Release { .. }))
    }

    #[test]
    fn who_gives_up_has_undone_what_it_began_when_it_returns() {
        // On a busy machine it may take longer, now and then.
        assert!((0..20).any(|_| is_undone_in_time()));
    }

    #[test]
    fn a_wait_ends_with_the_failure_that_stood_in_its_way_though_the_next_request_hangs() {
        let error = wait_behind(FAILED);
        assert_eq!(error.kind(), crate::ErrorKind::TimedOut);
        assert!(error.source().is_some(), "{error:?}");
    }

    #[test]
    fn a_wait_does_not_end_with_a_failure_that_is_over() {
        let error = wait_behind(Outcome::Busy);
        assert_eq!(error.kind(), crate::ErrorKind::TimedOut);
        assert!(error.source().is_none(), "{error:?}");
    }
}
