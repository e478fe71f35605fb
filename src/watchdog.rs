//! What the holder of a lock is told, and the one thread of the process that sees to it that it is told in time.
//!
//! The thread does no I/O and runs nobody else's code, not even a drop, so nothing can hold it up. It wakes several times a
//! second while anything is held, because a machine that resumes from suspend does not say so.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::error::{Error, Result};
use crate::event::{Event, Observer};
use crate::lease::Lost;
use crate::process::Process;
use crate::standing::{News, Standing};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// How often the clock is looked at while something is held. A loss is told within 250 ms of a resume: less than half of
/// that is for this, and the rest for a machine that is busy, as machines are that resume.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often those are looked for whose holders have let go. While nothing is held, it is not looked more often at all; and
/// the thread ends when there is nothing to watch for so long, so that a program which locks again and again does not start
/// it again and again.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Condition variables wait on a clock that stands still in suspend.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One hold of a lock, as its holder sees it. Shared by the guard, the lock's thread and the watchdog.
pub(crate) struct Watch {
    lock: Arc<str>,
    process: Process,
    observer: Option<Arc<Observer>>,
    standing: Mutex<Standing<Sender<Lost>>>,
    /// The loss was told.
    told: Condvar,
}

impl Watch {
    pub(crate) fn new(lock: Arc<str>, observer: Option<Arc<Observer>>) -> Arc<Watch> {
        Arc::new(Watch {
            lock,
            process: Process::current(),
            observer,
            standing: Mutex::default(),
            told: Condvar::new(),
        })
    }

    /// As a fork sees what its parent had.
    #[cfg(test)]
    #[cfg(not(shuttle))]
    pub(crate) fn of_the_parent() -> Arc<Watch> {
        let (observer, standing, told) = (None, Mutex::default(), Condvar::new());
        Arc::new(Watch { lock: "test".into(), process: Process::other(), observer, standing, told })
    }

    pub(crate) fn lock_name(&self) -> &Arc<str> {
        &self.lock
    }

    /// The one that took the lock.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Whether this is still the process that took the lock, and not a fork of it.
    pub(crate) fn is_own_process(&self) -> bool {
        self.process.is_current()
    }

    /// To the observer, if there is one.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(observer) = &self.observer {
            observer.tell(event);
        }
    }

    pub(crate) fn flush_events(&self, limit: Duration) {
        if let Some(observer) = &self.observer {
            observer.flush(limit);
        }
    }

    pub(crate) fn grant(&self, valid_until: Moment, ends: Moment) {
        self.change(|standing, _| standing.grant(valid_until, ends));
        watchdog().is_needed_by(valid_until);
    }

    /// A renewal came in: says until when the lock is ours now. Refused if the loss has been told, or could have been.
    pub(crate) fn extend(&self, valid_until: Moment, ends: Moment) -> Result<Moment, Lost> {
        self.change(|standing, now| standing.extend(now, valid_until, ends))
    }

    pub(crate) fn lose(&self, lost: Lost) {
        self.change(|standing, _| standing.lose(lost));
    }

    /// Until when the lock is ours, by the clock and not by any thread's word.
    pub(crate) fn check(&self) -> Result<Moment, Lost> {
        if !self.is_own_process() {
            // Asked before the standing, which another thread may have had locked when this process was forked.
            return Err(Lost::OtherProcess);
        }
        self.change(|standing, now| standing.check(now))
    }

    /// The holder lets go: nothing is told from here on. Says whether the lock was held until now, and when its lease
    /// ends by itself.
    pub(crate) fn close(&self) -> Result<Moment, Lost> {
        self.change(|standing, now| standing.close(now))
    }

    /// Hears of the loss, once; at once if it has happened. Disconnects when the holder lets go.
    pub(crate) fn listen(&self) -> Receiver<Lost> {
        let (sender, receiver) = bounded(1);
        if self.is_own_process() {
            self.change(|standing, now| standing.listen(now, sender));
        } else {
            // It has room for one.
            let _ = sender.try_send(Lost::OtherProcess);
        }
        receiver
    }

    /// Waits for the loss, for `timeout` at most. Leaves nothing behind, so it can be called again and again.
    pub(crate) fn wait_lost(&self, timeout: Duration) -> Option<Lost> {
        if !self.is_own_process() {
            return Some(Lost::OtherProcess);
        }
        let end = clock::now().after(timeout);
        let mut standing = self.standing();
        loop {
            if let Err(lost) = self.change_locked(&mut standing, |standing, now| standing.check(now)) {
                return Some(lost);
            }
            let left = end.left(clock::now()).min(LONGEST_WAIT);
            if left.is_zero() {
                return None;
            }
            standing = self.told.wait_timeout(standing, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn next_look(&self) -> Option<Moment> {
        self.change(|standing, now| standing.next_look(now))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Standing<Sender<Lost>>, Moment) -> T) -> T {
        self.change_locked(&mut self.standing(), change)
    }

    /// Delivers the news before anybody else can see what has changed.
    fn change_locked<T>(
        &self,
        standing: &mut Standing<Sender<Lost>>,
        change: impl FnOnce(&mut Standing<Sender<Lost>>, Moment) -> T,
    ) -> T {
        let result = change(standing, clock::now());
        if let Some(News { lost, listeners, is_first }) = standing.take_news() {
            for listener in listeners {
                // Each has room for one, and gets no other. One that is gone need not hear it.
                let _ = listener.try_send(lost);
            }
            if is_first {
                self.told.notify_all();
                self.tell(Event::Lost { lock: self.lock.clone(), why: lost });
            }
        }
        result
    }

    fn standing(&self) -> MutexGuard<'_, Standing<Sender<Lost>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("lock", &self.lock).finish_non_exhaustive()
    }
}

struct Watchdog {
    watched: Mutex<Watched>,
    changed: Condvar,
}

struct Watched {
    watches: Vec<Weak<Watch>>,
    /// No deadline is before that: none, or renewals have moved it since.
    next: Moment,
    /// The thread sleeps for long, as nothing was held.
    dozes: bool,
    /// The process whose thread is running; a fork has none.
    running_in: Option<Process>,
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: Watchdog = Watchdog::new();
    &WATCHDOG
}

/// Registers `watch`: its deadline is watched from its grant until its holder lets go. Called before the lock is taken, so
/// that a thread which cannot be started strands no lease.
pub(crate) fn watch(watch: &Arc<Watch>) -> Result<()> {
    let start = || {
        let thread = thread::Builder::new().name("azmutex-watchdog".into()).stack_size(64 * 1024);
        thread.spawn(|| self::watchdog().run()).map(drop)
    };
    watchdog().register(watch, start)
}

impl Watchdog {
    const fn new() -> Watchdog {
        let watched = Watched { watches: Vec::new(), next: Moment::NEVER, dozes: false, running_in: None };
        Watchdog { watched: Mutex::new(watched), changed: Condvar::new() }
    }

    /// Something is held, until this deadline at least.
    fn is_needed_by(&self, deadline: Moment) {
        let mut watched = self.lock();
        watched.next = watched.next.min(deadline);
        if mem::take(&mut watched.dozes) {
            self.changed.notify_all();
        }
    }

    /// `start` starts the thread that [`run`](Watchdog::run)s. Nothing is kept of a watch if that fails: nobody would
    /// ever throw it away.
    fn register(&self, watch: &Arc<Watch>, start: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let mut watched = self.lock();
        if !watched.running_in.is_some_and(Process::is_current) {
            start().map_err(Error::no_thread)?;
            watched.running_in = Some(watch.process);
        }
        watched.watches.push(Arc::downgrade(watch));
        Ok(())
    }

    fn run(&self) {
        let mut watched = self.lock();
        let mut sweep_at = Moment::PAST;
        loop {
            let now = clock::now();
            if now >= watched.next.min(sweep_at) {
                watched.sweep();
                sweep_at = now.after(SWEEP_EVERY);
            }
            watched.dozes = watched.next == Moment::NEVER;
            let pause = pause(watched.next, clock::now());
            let waited = self.changed.wait_timeout(watched, pause).unwrap_or_else(PoisonError::into_inner);
            watched = waited.0;
            watched.dozes = false;
            if waited.1.timed_out() && watched.watches.is_empty() {
                watched.running_in = None;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Has each loss told that is to be, and forgets those whose holders have let go.
    fn sweep(&mut self) {
        let mut next = Moment::NEVER;
        self.watches.retain(|watch| match watch.upgrade().and_then(|watch| watch.next_look()) {
            Some(moment) => {
                next = next.min(moment);
                true
            }
            None => false,
        });
        self.next = next;
    }
}

/// How long to sleep if there is no deadline before `next`.
fn pause(next: Moment, now: Moment) -> Duration {
    if next == Moment::NEVER { SWEEP_EVERY } else { next.left(now).min(LOOK_EVERY) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lateness::Lateness;

    const TOLD_WITHIN: Duration = Duration::from_millis(250);

    fn held_for(left: Duration) -> Arc<Watch> {
        let hold = Watch::new("test".into(), None);
        watch(&hold).unwrap();
        let deadline = clock::now().after(left);
        hold.grant(deadline, deadline);
        hold
    }

    #[test]
    fn the_loss_is_told_at_the_deadline_to_each_listener() {
        let hold = held_for(Duration::from_secs(1));
        let listeners = [hold.listen(), hold.listen()];
        let deadline = hold.check().unwrap();
        let lateness = Lateness::from_now();
        for listener in &listeners {
            assert_eq!(listener.recv_timeout(Duration::from_secs(60)), Ok(Lost::Expired));
        }
        let told = clock::now();
        assert!(told >= deadline && told <= deadline.after(TOLD_WITHIN + lateness.of_two()), "{told:?}, {deadline:?}");
        assert_eq!(hold.check(), Err(Lost::Expired));
        assert_eq!(hold.listen().try_recv(), Ok(Lost::Expired));
    }

    #[test]
    fn a_renewal_after_the_deadline_does_not_undo_the_loss() {
        let hold = held_for(Duration::ZERO);
        assert_eq!(hold.extend(Moment::NEVER, Moment::NEVER), Err(Lost::Expired));
        assert_eq!(hold.check(), Err(Lost::Expired));
    }

    #[test]
    fn of_a_hold_that_nobody_watches_nothing_is_kept() {
        let watchdog = Watchdog::new();
        let hold = Watch::new("test".into(), None);
        let error = watchdog.register(&hold, || Err(io::ErrorKind::WouldBlock.into())).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unexpected, "{error:?}");
        assert_eq!(Arc::weak_count(&hold), 0);
        assert!(watchdog.register(&hold, || Ok(())).is_ok(), "the next one tries again");
        assert_eq!(Arc::weak_count(&hold), 1);
    }

    #[test]
    fn the_first_reason_stays() {
        let hold = held_for(Duration::from_secs(9));
        hold.lose(Lost::Broken);
        hold.lose(Lost::Taken);
        assert_eq!(hold.check(), Err(Lost::Broken));
    }

    #[test]
    fn waiting_for_the_loss_leaves_nothing_behind() {
        let hold = held_for(Duration::from_secs(1));
        let deadline = hold.check().unwrap();
        for _ in 0..100 {
            assert_eq!(hold.wait_lost(Duration::ZERO), None);
        }
        assert_eq!(hold.standing().listener_count(), 0);
        let lateness = Lateness::from_now();
        assert_eq!(hold.wait_lost(Duration::MAX), Some(Lost::Expired));
        let told = clock::now();
        assert!(told >= deadline && told <= deadline.after(TOLD_WITHIN + lateness.of_two()), "{told:?}, {deadline:?}");
        assert_eq!(hold.wait_lost(Duration::ZERO), Some(Lost::Expired));
    }

    #[test]
    fn who_waits_for_the_loss_is_told_when_another_thread_sees_it() {
        let hold = held_for(Duration::from_secs(60));
        let waiter = {
            let hold = hold.clone();
            thread::spawn(move || (hold.wait_lost(Duration::from_secs(60)), clock::now()))
        };
        // So that it waits.
        clock::sleep(Duration::from_millis(100));
        let (lateness, lost) = (Lateness::from_now(), clock::now());
        hold.lose(Lost::Broken);
        let (why, told) = waiter.join().unwrap();
        assert_eq!(why, Some(Lost::Broken));
        assert!(told.since(lost) <= TOLD_WITHIN + lateness.of_two(), "{:?}", told.since(lost));
    }

    #[test]
    fn the_observer_is_told_of_the_loss() {
        let (sender, events) = bounded(1);
        let observer = Observer::start(move |event| drop(sender.try_send(event))).unwrap();
        let hold = Watch::new("test".into(), Some(observer));
        hold.grant(Moment::NEVER, Moment::NEVER);
        hold.lose(Lost::Broken);
        let event = events.recv_timeout(Duration::from_secs(10));
        assert!(matches!(event, Ok(Event::Lost { why: Lost::Broken, .. })), "{event:?}");
    }

    #[test]
    fn what_was_waited_for_for_long_is_watched_when_it_is_granted() {
        let hold = Watch::new("test".into(), None);
        watch(&hold).unwrap();
        // Until it dozes.
        clock::sleep(SWEEP_EVERY / 10);
        let listener = hold.listen();
        let deadline = clock::now().after(LOOK_EVERY);
        let lateness = Lateness::from_now();
        hold.grant(deadline, deadline);
        assert_eq!(listener.recv_timeout(Duration::from_secs(5)), Ok(Lost::Expired));
        let told = clock::now();
        assert!(told >= deadline && told <= deadline.after(TOLD_WITHIN + lateness.of_two()), "{told:?}, {deadline:?}");
    }

    #[test]
    fn the_clock_is_looked_at_at_the_deadline_and_often_before() {
        let now = clock::now();
        assert_eq!(pause(now.after(LOOK_EVERY / 2), now), LOOK_EVERY / 2);
        assert_eq!(pause(now.after(2 * LOOK_EVERY), now), LOOK_EVERY);
        assert_eq!(pause(now, now), Duration::ZERO);
        assert_eq!(pause(Moment::NEVER, now), SWEEP_EVERY, "nothing is held");
    }

    #[test]
    fn while_somebody_only_waits_it_is_looked_once_a_second() {
        let watchdog = Watchdog::new();
        let waits = Watch::new("test".into(), None);
        watchdog.register(&waits, || Ok(())).unwrap();
        let mut watched = watchdog.lock();
        watched.sweep();
        assert_eq!((pause(watched.next, clock::now()), watched.watches.len()), (SWEEP_EVERY, 1));
        waits.change(|standing, now| standing.grant(now.after(10 * SWEEP_EVERY), Moment::NEVER));
        watched.sweep();
        assert_eq!(pause(watched.next, clock::now()), LOOK_EVERY);
    }

    #[test]
    fn a_holder_who_let_go_is_told_nothing() {
        let hold = held_for(Duration::from_millis(50));
        let listener = hold.listen();
        assert!(hold.close().is_ok());
        assert!(listener.recv_timeout(Duration::from_secs(60)).is_err_and(|error| error.is_disconnected()));
    }
}
