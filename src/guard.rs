//! A lock that is ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::{self, LONGEST_SLEEP, Moment};
use crate::error::{Error, Result};
use crate::fencing::Second;
use crate::hold::Holder;
use crate::hold::caller::{Farewell, Heard, Limits, Marking, Way};
use crate::lease::{FencingToken, LeaseId, Lost};
use crate::metadata::check_mark;
use crate::mutex::unwritten;
use crate::notes::Notes;
use crate::renewal::{Worker, unreleased};
use crate::sync::channel::{Receiver, RecvTimeoutError};
use crate::watchdog::Watch;

/// The lock is ours, from [`Locker::lock`](crate::Locker::lock) until [`unlock`](LockGuard::unlock), the drop of this
/// value, or a loss.
///
/// A lease can be lost: the network may be away for longer than it lasts, the machine suspended, the blob deleted.
/// Work that must not go on without the lock asks [`ensure_held`](LockGuard::ensure_held) before each step, or waits
/// for [`lost`](LockGuard::lost) beside it. The guard may be sent to another thread, and shared by reference.
///
/// # The `_` pitfall
///
/// `let _ = locker.lock()?;` unlocks at once, because `_` keeps nothing; no compiler warns. Give the guard a name:
/// `let _guard = locker.lock()?;`.
///
/// # Drop
///
/// Dropping releases the lock, as [`unlock`](LockGuard::unlock) does, but can report no failure other than to
/// [`on_event`](crate::locker::Builder::on_event). It waits for the release, because a script often ends right after
/// and would otherwise leave the lock taken until the lease runs out; but for 2 seconds at most
/// ([`drop_limit`](crate::locker::Builder::drop_limit)). It never panics. A guard that is leaked
/// (`std::mem::forget`) keeps the lock until the process ends, and a lease longer.
#[must_use = "if unused, the lock is released at once"]
#[clippy::has_significant_drop]
#[doc(alias = "MutexGuard")]
pub struct LockGuard {
    id: LeaseId,
    watch: Arc<Watch>,
    worker: Worker,
    limits: Limits,
    holder: Holder,
    /// What the lock's thread leaves in the metadata of the lock's blob.
    notes: Arc<Mutex<Notes>>,
    /// Who marks waits for it. Whether what came of the mark before is still to be heard.
    marking: Mutex<bool>,
}

impl LockGuard {
    pub(crate) fn new(
        id: LeaseId,
        watch: Arc<Watch>,
        worker: Worker,
        limits: Limits,
        holder: Holder,
        notes: Arc<Mutex<Notes>>,
    ) -> Self {
        LockGuard { id, watch, worker, limits, holder, notes, marking: Mutex::new(false) }
    }

    /// Releases the lock and says whether that worked. `Ok` means that the lock was ours until this call, and is free.
    /// (If the answer to the release is lost, and its repetition finds the lease gone, that counts as released; were
    /// the lease broken or deleted at that very moment, this could not be told apart.)
    ///
    /// It first waits for a renewal that is under way, so that none lands after the release. With the service out of
    /// reach it gives up after three [attempt limits](crate::retry::Policy::attempt_limit), 15 s by default, and in
    /// no case much after the lease's end.
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): the lock was lost before, so another holder may have overlapped. Also
    ///   if it ran out or was broken between this call and its release, where a renewal was under way or the process
    ///   was held up.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), or another kind of failure or refusal: the lock was ours
    ///   until now, but the service did not confirm the release. If the lock is still taken, it frees itself when
    ///   the lease runs out.
    #[doc(alias = "release")]
    pub fn unlock(mut self) -> Result<()> {
        self.let_go(Way::Unlock)
    }

    /// Whether the lock is still ours, by this machine's clock and what the service has said so far. Makes no request and
    /// costs next to nothing. Once `false`, it stays so. After a `fork` it is `false` in the child.
    pub fn is_held(&self) -> bool {
        self.watch.check().is_ok()
    }

    /// [`is_held`](LockGuard::is_held) for the `?` operator: call it before each step that needs the lock.
    ///
    /// ```no_run
    /// # fn steps() -> [fn(); 0] { [] }
    /// let guard = azmutex::Container::from_env("locks")?.locker("migration")?.lock()?;
    /// for step in steps() {
    ///     guard.ensure_held()?;
    ///     step();
    /// }
    /// guard.unlock()?;
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost), with its reason.
    pub fn ensure_held(&self) -> Result<()> {
        self.watch.check().map(drop).map_err(|lost| Error::lost(self.watch.lock_name(), lost))
    }

    /// How long the lock stays ours if no further renewal succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        self.watch.check().map_or(Duration::ZERO, |valid_until| valid_until.left(clock::now()))
    }

    /// A channel that says once, in time, when and why the lock was lost: a receiver of
    /// [`azmutex::crossbeam_channel`](crate::crossbeam_channel), for its `select!`. It disconnects
    /// without a word when the lock is let go. Each call makes a new receiver, which the lock remembers until its end
    /// (so make one, and not one in each turn of a loop); one made after the loss hears of it at once.
    ///
    /// ```no_run
    /// use azmutex::crossbeam_channel::{Receiver, select};
    ///
    /// fn work(jobs: &Receiver<String>, guard: &azmutex::LockGuard) -> azmutex::Result<()> {
    ///     let lost = guard.lost();
    ///     loop {
    ///         select! {
    ///             recv(lost) -> _ => return guard.ensure_held(),
    ///             recv(jobs) -> job => match job {
    ///                 Ok(job) => println!("{job}"),
    ///                 Err(_) => return Ok(()),
    ///             },
    ///         }
    ///     }
    /// }
    /// ```
    #[doc(alias = "HandleLostToken")]
    pub fn lost(&self) -> Receiver<Lost> {
        self.watch.listen()
    }

    /// Waits until the lock is lost, for `timeout` at most: `None` if it is still ours then. Costs nothing to call again
    /// and again.
    pub fn wait_lost(&self, timeout: Duration) -> Option<Lost> {
        self.watch.wait_lost(timeout)
    }

    /// The id of the lease, for those who write to the locked blob itself: with it as `x-ms-lease-id` the service
    /// refuses the write when the lease is no longer ours.
    pub fn lease_id(&self) -> LeaseId {
        self.id
    }

    /// The number of this hold: greater than those of all holds before it. `None` without
    /// [`Builder::fencing`](crate::locker::Builder::fencing).
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.holder.token
    }

    /// When the lock was taken, by the service's clock, to the second.
    pub fn since(&self) -> Option<SystemTime> {
        self.holder.since.and_then(Second::time)
    }

    /// Leaves a text of at most 1,024 bytes for whoever comes next, such as "done, at", in the metadata of the lock's
    /// blob: [`inspect`](crate::AzureMutex::inspect) shows it, until somebody leaves another one. An empty text takes it
    /// away. One or two requests, by the lock's thread, under the lease: nobody else's mark is overwritten after a loss.
    ///
    /// With a service that does not answer it takes four [attempt limits](crate::retry::Policy::attempt_limit) and a second
    /// at most, 21 s by default, and in no case much longer than the lock is ours; threads that mark at once do so one after
    /// the other.
    ///
    /// It needs no setting; what [`Builder::fencing`](crate::locker::Builder::fencing) says of costs, rights and metadata
    /// of others holds here, too.
    ///
    /// ```no_run
    /// let mutex = azmutex::Container::from_env("locks")?.mutex("nightly-report")?;
    /// let guard = azmutex::Locker::new(mutex.clone()).lock()?;
    /// if mutex.inspect()?.mark() != Some("report of 2026-11-26") {
    ///     // ... the report ...
    ///     guard.mark("report of 2026-11-26")?;
    /// }
    /// guard.unlock()?;
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): the lock is lost. If it was lost during this call, the mark may have
    ///   been left before.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the text is too long, and nothing was sent; or there are metadata
    ///   of others.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), or another kind of failure or refusal: the mark is not left; or,
    ///   where there was no answer, it may be.
    pub fn mark(&self, text: &str) -> Result<()> {
        check_mark(text)?;
        if !self.watch.is_own_process() {
            // Another thread may have been marking at the fork, and is not here.
            return Err(Error::lost(self.watch.lock_name(), Lost::OtherProcess));
        }
        // One after the other: each hears what comes of its own.
        let mut is_behind = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        let valid_until = self.watch.check().map_err(|lost| Error::lost(self.watch.lock_name(), lost))?;
        let mut marking = Marking::new(clock::now(), valid_until, &self.limits, *is_behind);
        if !*is_behind {
            self.order_mark(text);
        }
        *is_behind = true;
        let marked = loop {
            let heard = self.hear(marking.until());
            let was_behind = marking.is_behind();
            if let Some(marked) = marking.hear(clock::now(), heard) {
                break marked;
            }
            if was_behind && !marking.is_behind() {
                self.order_mark(text);
            }
        };
        let lock = self.watch.lock_name();
        match marked {
            Some(written) => {
                *is_behind = false;
                written.map(drop).map_err(|(why, failure)| unwritten(lock, why, failure))
            }
            None => Err(Error::not_marked(lock)),
        }
    }

    fn order_mark(&self, text: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).mark = Some(text.into());
        self.worker.mark();
    }

    fn hear(&self, until: Moment) -> Heard<Error> {
        // Channels wait on a clock that stands still in suspend. Who hears silence too early goes on listening.
        match self.worker.reports.recv_timeout(until.left(clock::now()).min(LONGEST_SLEEP)) {
            Ok(report) => Heard::Report(report),
            Err(RecvTimeoutError::Disconnected) => Heard::End,
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
        }
    }

    /// The name of the lock.
    pub fn lock_name(&self) -> &str {
        self.watch.lock_name()
    }

    fn let_go(&mut self, way: Way) -> Result<()> {
        if self.worker.has_left() {
            return Ok(());
        }
        if !self.watch.is_own_process() {
            // The lock's thread is the parent's, and so is the lock.
            self.worker.abandon();
            return Err(Error::lost(self.watch.lock_name(), Lost::OtherProcess));
        }
        let begun = clock::now();
        let farewell = Farewell::new(begun, self.watch.close(), &self.limits, way);
        self.worker.leave(begun.after(self.limits.undoing()));
        let result = loop {
            let heard = self.hear(farewell.until());
            if let Some(result) = farewell.hear(clock::now(), heard) {
                break result;
            }
        };
        self.watch.flush_events(farewell.flush(clock::now()));
        result.map_err(|why| unreleased(self.watch.lock_name(), why))
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // The lock's thread tells the observer what comes of it, even if that takes longer than we wait here.
        let _ = self.let_go(Way::Drop);
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lock", &self.lock_name())
            .field("lease_id", &self.id)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::event::{Event, Observer};
    use crate::hold::{Hold, Leaves, Settings, Wait};
    use crate::lease::Term;
    use crate::queue::Place;
    use crate::renewal;
    use crate::rest::{Exchange, Operation, Outcome};
    use crate::retry::Policy;

    const SECOND: Duration = Duration::from_secs(1);
    /// For what comes at once, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// How long the observer is waited for.
    const FLUSH: Duration = Duration::from_millis(200);

    /// A guard of a lock that is granted, and the requests that are made for it. The holder is told by `watch`.
    fn guard(watch: Arc<Watch>) -> (LockGuard, mpsc::Receiver<Operation>) {
        guard_with(watch, Duration::ZERO)
    }

    /// The same, with a release that takes so long; it is received when it has been answered.
    fn guard_with(watch: Arc<Watch>, release_takes: Duration) -> (LockGuard, mpsc::Receiver<Operation>) {
        let policy = Policy::default();
        let (first_pause, longest_pause) = (policy.first_pause, policy.longest_pause);
        let (term, renew_every) = (Term::Seconds(15), 5 * SECOND);
        let settings = Settings {
            term,
            renew_every,
            first_pause,
            longest_pause,
            create_container: true,
            leaves: Leaves::default(),
            policy,
        };
        let (id, (seen, requests)) = (LeaseId::random().unwrap(), mpsc::channel());
        let attempt = move |operation, _| {
            let sent = clock::now();
            let is_release = matches!(operation, Operation::Release { .. });
            if is_release {
                clock::sleep(release_takes);
            }
            let _ = seen.send(operation);
            Exchange::new(sent, if is_release { Outcome::Done } else { Outcome::Leased(id) }, None)
        };
        let worker =
            renewal::start(Hold::keep(settings, id, Wait::Forever), watch.clone(), Place::alone(), attempt).unwrap();
        worker.reports.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(requests.recv(), Ok(Operation::Acquire { .. })));
        (
            LockGuard::new(
                id,
                watch,
                worker,
                Limits::new(SECOND, 10 * SECOND, term),
                Holder::default(),
                Arc::default(),
            ),
            requests,
        )
    }

    #[test]
    fn a_drop_has_released_the_lock_when_it_returns() {
        let watch = Watch::new("test".into(), None);
        // Long enough that a thread which nobody waits for is not done by chance.
        let (guard, requests) = guard_with(watch, SECOND / 2);
        let listener = guard.lost();
        drop(guard);
        assert!(matches!(requests.try_recv(), Ok(Operation::Release { .. })));
        assert!(listener.try_recv().is_err_and(|error| error.is_disconnected()));
    }

    #[test]
    fn the_observer_has_heard_of_the_release_when_the_unlock_returns() {
        let (heard, events) = mpsc::channel();
        let observe = move |event| {
            // Longer than it takes to unlock.
            clock::sleep(FLUSH / 10);
            let _ = heard.send(matches!(event, Event::Released { .. }));
        };
        let observer = Observer::start(observe).unwrap();
        let (guard, _requests) = guard(Watch::new("test".into(), Some(observer)));
        let begun = clock::now();
        guard.unlock().unwrap();
        let took = clock::now().since(begun);
        assert!(events.try_iter().any(|is_release| is_release) || took >= FLUSH, "after {took:?}");
    }

    #[test]
    fn in_a_process_that_was_forked_the_lock_is_not_held_and_nothing_is_sent() {
        for unlocks in [true, false] {
            let (guard, requests) = guard(Watch::of_the_parent());
            assert!(!guard.is_held());
            if unlocks {
                assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::OtherProcess));
            } else {
                drop(guard);
            }
            let sent = requests.recv_timeout(Duration::from_millis(100));
            assert_eq!(sent, Err(mpsc::RecvTimeoutError::Timeout));
        }
    }
}
