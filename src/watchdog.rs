//! What the holder of a lock is told, and the one thread of the process that sees to it that it is told in time.
//!
//! The thread does no I/O and runs nobody else's code, so nothing can hold it up. It wakes several times a second
//! while anything is held, because a machine that resumes from suspend does not say so.

use std::fmt;
use std::process;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::error::{Error, Result};
use crate::event::{Event, Observer};
use crate::hold::Standing;
use crate::lease::Lost;
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// How often the clock is looked at while something is held. A loss is told within 250 ms of a resume: less than half of
/// that is for this, and the rest for a machine that is busy, as machines are that resume.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Condition variables wait on a clock that stands still in suspend.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long the thread stays when nothing is held, so that a program which locks again and again does not start it
/// again and again.
const LINGER: Duration = Duration::from_secs(1);

/// One hold of a lock, as its holder sees it. Shared by the guard, the lock's thread and the watchdog.
pub(crate) struct Watch {
    lock: Arc<str>,
    process: u32,
    observer: Option<Arc<Observer>>,
    state: Mutex<State>,
    /// The loss was told.
    told: Condvar,
}

#[derive(Default)]
struct State {
    /// `None` until the lock is granted.
    standing: Option<Standing>,
    listeners: Vec<Sender<Lost>>,
    /// The loss was told, or the holder has let go: nothing is told any more.
    closed: bool,
}

impl Watch {
    pub(crate) fn new(lock: Arc<str>, observer: Option<Arc<Observer>>) -> Arc<Watch> {
        Arc::new(Watch { lock, process: process::id(), observer, state: Mutex::default(), told: Condvar::new() })
    }

    pub(crate) fn lock_name(&self) -> &Arc<str> {
        &self.lock
    }

    /// Whether this is still the process that took the lock, and not a fork of it.
    pub(crate) fn is_own_process(&self) -> bool {
        process::id() == self.process
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

    pub(crate) fn grant(&self, valid_until: Moment) {
        self.state().standing = Some(Standing::new(valid_until));
        watchdog().changed.notify_all();
    }

    /// A renewal came in. Refused if the loss has been told, or could have been.
    pub(crate) fn extend(&self, valid_until: Moment) -> Result<(), Lost> {
        let mut state = self.state();
        let now = clock::now();
        let extended = state.standing.as_mut().map_or(Ok(()), |standing| standing.extend(now, valid_until));
        if let Err(lost) = extended {
            self.announce(&mut state, lost);
        }
        extended
    }

    pub(crate) fn lose(&self, lost: Lost) {
        let mut state = self.state();
        if let Some(standing) = &mut state.standing {
            let lost = standing.lose(lost);
            self.announce(&mut state, lost);
        }
    }

    /// Until when the lock is ours, by the clock and not by any thread's word.
    pub(crate) fn check(&self) -> Result<Moment, Lost> {
        if !self.is_own_process() {
            // Asked before the state, which another thread may have had locked when this process was forked.
            return Err(Lost::OtherProcess);
        }
        self.check_locked(&mut self.state())
    }

    fn check_locked(&self, state: &mut State) -> Result<Moment, Lost> {
        let standing = match &mut state.standing {
            Some(standing) => standing.check(clock::now()),
            None => Ok(Moment::NEVER),
        };
        if let Err(lost) = standing {
            self.announce(state, lost);
        }
        standing
    }

    /// The holder lets go. Says whether the lock was held until now; nothing is told from here on.
    pub(crate) fn close(&self) -> Result<Moment, Lost> {
        let mut state = self.state();
        let standing = self.check_locked(&mut state);
        state.closed = true;
        state.listeners.clear();
        standing
    }

    /// Hears of the loss, once; at once if it has happened. Disconnects when the holder lets go.
    pub(crate) fn listen(&self) -> Receiver<Lost> {
        let (sender, receiver) = bounded(1);
        let mut standing = self.check();
        if standing.is_ok() {
            let mut state = self.state();
            standing = self.check_locked(&mut state);
            if standing.is_ok() && !state.closed {
                state.listeners.push(sender);
                return receiver;
            }
        }
        if let Err(lost) = standing {
            // It has room for one.
            let _ = sender.try_send(lost);
        }
        receiver
    }

    /// Waits for the loss, for `timeout` at most. Leaves nothing behind, so it can be called again and again.
    pub(crate) fn wait_lost(&self, timeout: Duration) -> Option<Lost> {
        if let Err(lost) = self.check() {
            return Some(lost);
        }
        let end = clock::now().after(timeout);
        let mut state = self.state();
        loop {
            if let Err(lost) = self.check_locked(&mut state) {
                return Some(lost);
            }
            let left = end.left(clock::now()).min(LONGEST_WAIT);
            if left.is_zero() {
                return None;
            }
            state = self.told.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells the loss, the first time.
    fn announce(&self, state: &mut State, lost: Lost) {
        if state.closed {
            return;
        }
        state.closed = true;
        for listener in state.listeners.drain(..) {
            // Each has room for one, and gets no other. One that is gone need not hear it.
            let _ = listener.try_send(lost);
        }
        self.told.notify_all();
        self.tell(Event::Lost { lock: self.lock.clone(), why: lost });
    }

    /// When the watchdog must look again. `None`: it need not any more.
    fn next_look(&self) -> Option<Moment> {
        let mut state = self.state();
        let deadline = self.check_locked(&mut state).ok();
        deadline.filter(|_| !state.closed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

#[derive(Default)]
struct Watched {
    watches: Vec<Weak<Watch>>,
    /// The process whose thread is running; a fork has none.
    running_in: Option<u32>,
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: Watchdog =
        Watchdog { watched: Mutex::new(Watched { watches: Vec::new(), running_in: None }), changed: Condvar::new() };
    &WATCHDOG
}

/// Has the deadline of `watch` watched, from its grant until its holder lets go. Called before the lock is taken, so
/// that a thread which cannot be started strands no lease.
pub(crate) fn watch(watch: &Arc<Watch>) -> Result<()> {
    let watchdog = watchdog();
    let mut watched = watchdog.lock();
    watched.watches.push(Arc::downgrade(watch));
    if watched.running_in != Some(process::id()) {
        thread::Builder::new()
            .name("azmutex-watchdog".into())
            .stack_size(64 * 1024)
            .spawn(|| self::watchdog().run())
            .map_err(Error::no_thread)?;
        watched.running_in = Some(process::id());
    }
    Ok(())
}

impl Watchdog {
    fn run(&self) {
        let mut watched = self.lock();
        loop {
            let mut next = Moment::NEVER;
            watched.watches.retain(|watch| match watch.upgrade().and_then(|watch| watch.next_look()) {
                Some(moment) => {
                    next = next.min(moment);
                    true
                }
                None => false,
            });
            let pause = if watched.watches.is_empty() { LINGER } else { next.left(clock::now()).min(LOOK_EVERY) };
            let waited = self.changed.wait_timeout(watched, pause).unwrap_or_else(PoisonError::into_inner);
            watched = waited.0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lateness::Lateness;

    const TOLD_WITHIN: Duration = Duration::from_millis(250);

    fn held_for(left: Duration) -> Arc<Watch> {
        let hold = Watch::new("test".into(), None);
        watch(&hold).unwrap();
        hold.grant(clock::now().after(left));
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
        assert_eq!(hold.extend(clock::now().after(Duration::from_secs(9))), Err(Lost::Expired));
        assert_eq!(hold.check(), Err(Lost::Expired));
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
        assert_eq!(hold.state().listeners.len(), 0);
        let lateness = Lateness::from_now();
        assert_eq!(hold.wait_lost(Duration::MAX), Some(Lost::Expired));
        let told = clock::now();
        assert!(told >= deadline && told <= deadline.after(TOLD_WITHIN + lateness.of_two()), "{told:?}, {deadline:?}");
        assert_eq!(hold.wait_lost(Duration::ZERO), Some(Lost::Expired));
    }

    #[test]
    fn a_holder_who_let_go_is_told_nothing() {
        let hold = held_for(Duration::from_millis(50));
        let listener = hold.listen();
        assert!(hold.close().is_ok());
        assert!(listener.recv_timeout(Duration::from_secs(60)).is_err_and(|error| error.is_disconnected()));
    }
}
