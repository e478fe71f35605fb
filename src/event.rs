//! What a lock tells while it is waited for, held and let go.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::card::Card;
use crate::error::{Error, ErrorKind, Result};
use crate::fencing::FencingToken;
use crate::lost::Lost;
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// What an observer that does not keep up may be behind by; after that the oldest events are dropped.
const QUEUE: usize = 256;

/// Something that happened to a lock, for a log. `Display` is one line.
///
/// Received by [`Builder::on_event`](crate::locker::Builder::on_event). Delivery is best effort: whoever works under the
/// lock asks the [`LockGuard`](crate::LockGuard). To `log`, `tracing`, JSON and metrics: see the
/// [guide](crate::guide::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "log")]
pub enum Event {
    /// Somebody else has the lock, and it is being waited for. When a wait begins, when its turn comes among those of this
    /// process and another process has the lock, and whenever another card is seen.
    #[non_exhaustive]
    Waiting {
        /// The lock's name.
        lock: Arc<str>,
        /// The last card left, once it was seen: the holder's, if all who use the lock leave cards.
        card: Option<Card>,
        /// How many waits and holds of this process are before this wait, which asks the service for nothing until its turn
        /// comes. With 0 it is none of those: another process has the lock, or this one by another container or an
        /// [`AzureMutex`](crate::AzureMutex), or what it left without a release.
        ahead: usize,
    },
    /// This process has had the lock in a long row of turns, and leaves it alone for a moment, so that others get in.
    #[non_exhaustive]
    StandingBack {
        /// The lock's name.
        lock: Arc<str>,
        /// For how long.
        pause: Duration,
    },
    /// A passing failure on the way to the lock; it is tried again.
    #[non_exhaustive]
    Retrying {
        /// The lock's name.
        lock: Arc<str>,
        /// What failed.
        error: Error,
    },
    /// The lock is ours.
    #[non_exhaustive]
    Acquired {
        /// The lock's name.
        lock: Arc<str>,
        /// For how long, unless it is renewed.
        left: Duration,
        /// The fencing token, with [`fencing`](crate::locker::Builder::fencing).
        fencing_token: Option<FencingToken>,
    },
    /// The card could not be left, and the lock is held without; or the fencing token could not be taken, and the lock is
    /// released.
    #[non_exhaustive]
    NotWritten {
        /// The lock's name.
        lock: Arc<str>,
        /// Why not.
        error: Error,
    },
    /// The lock stays ours.
    #[non_exhaustive]
    Renewed {
        /// The lock's name.
        lock: Arc<str>,
        /// For how long, unless it is renewed again.
        left: Duration,
    },
    /// The lock could not be renewed. It is still ours, and it is tried again.
    #[non_exhaustive]
    RenewalFailed {
        /// The lock's name.
        lock: Arc<str>,
        /// For how long it is still ours.
        left: Duration,
        /// What failed.
        error: Error,
    },
    /// The credential's token could not be renewed, at the first try or at one soon after. It is tried again, and until
    /// then the token at hand serves. Once for a row of failures, to each lock that is held or waited for meanwhile; when
    /// the token has ended, each request fails by itself.
    #[non_exhaustive]
    CredentialFailing {
        /// The lock's name.
        lock: Arc<str>,
        /// For how long the token at hand is still good.
        left: Duration,
        /// What failed.
        error: Error,
    },
    /// The lock is no longer ours.
    #[non_exhaustive]
    Lost {
        /// The lock's name.
        lock: Arc<str>,
        /// Why.
        why: Lost,
    },
    /// The lock was released, and is free.
    #[non_exhaustive]
    Released {
        /// The lock's name.
        lock: Arc<str>,
    },
    /// The lock could not be released, or was lost before. If it is still taken, its lease runs out by itself.
    #[non_exhaustive]
    ReleaseFailed {
        /// The lock's name.
        lock: Arc<str>,
        /// Why not.
        error: Error,
    },
    /// The observer did not keep up, and events were dropped.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: u64,
    },
}

/// How grave an [`Event`] is, for the level of a log. `Display` is one word.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// What happens all the time.
    Debug,
    /// The usual course of a lock.
    Info,
    /// Something failed, and the lock is still ours, or never was.
    Warning,
    /// The lock was lost: the work must stop, or another holder may have overlapped it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

impl Event {
    /// How grave it is.
    pub fn severity(&self) -> Severity {
        match self {
            Event::Renewed { .. } => Severity::Debug,
            Event::Waiting { .. } | Event::StandingBack { .. } | Event::Acquired { .. } | Event::Released { .. } => {
                Severity::Info
            }
            Event::ReleaseFailed { error, .. } if error.kind() == ErrorKind::LeaseLost => Severity::Error,
            Event::Retrying { .. }
            | Event::NotWritten { .. }
            | Event::RenewalFailed { .. }
            | Event::CredentialFailing { .. }
            | Event::ReleaseFailed { .. }
            | Event::Missed { .. } => Severity::Warning,
            Event::Lost { .. } => Severity::Error,
        }
    }

    /// The name of the lock that it is about, if it is about one.
    pub fn lock_name(&self) -> Option<&str> {
        match self {
            Event::Waiting { lock, .. }
            | Event::StandingBack { lock, .. }
            | Event::Retrying { lock, .. }
            | Event::Acquired { lock, .. }
            | Event::NotWritten { lock, .. }
            | Event::Renewed { lock, .. }
            | Event::RenewalFailed { lock, .. }
            | Event::CredentialFailing { lock, .. }
            | Event::Lost { lock, .. }
            | Event::Released { lock, .. }
            | Event::ReleaseFailed { lock, .. } => Some(lock),
            Event::Missed { .. } => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Waiting { lock, ahead: ahead @ 1.., .. } => {
                write!(f, "lock {lock:?}: waiting, behind {ahead} of this process")
            }
            Event::Waiting { lock, card: None, .. } => write!(f, "lock {lock:?}: waiting, somebody else holds it"),
            Event::Waiting { lock, card: Some(card), .. } => {
                write!(f, "lock {lock:?}: waiting, somebody else holds it; the last card left: {card}")
            }
            Event::StandingBack { lock, pause } => {
                write!(f, "lock {lock:?}: standing back for {pause:.1?}, so that other processes get in")
            }
            Event::Retrying { error, .. } => write!(f, "{error:?}; trying again"),
            Event::Acquired { lock, left, fencing_token: None } => {
                write!(f, "lock {lock:?}: acquired, ours for {left:.1?}")
            }
            Event::Acquired { lock, left, fencing_token: Some(token) } => {
                write!(f, "lock {lock:?}: acquired, ours for {left:.1?}, with fencing token {token}")
            }
            Event::NotWritten { error, .. } => write!(f, "{error:?}"),
            Event::Renewed { lock, left } => write!(f, "lock {lock:?}: renewed, ours for {left:.1?}"),
            Event::RenewalFailed { left, error, .. } => write!(f, "{error:?}; ours for {left:.1?}, trying again"),
            Event::CredentialFailing { left, error, .. } => {
                write!(f, "{error:?}; the token at hand is good for {left:.0?}, trying again")
            }
            Event::Lost { lock, why } => write!(f, "lock {lock:?}: lost: {why}"),
            Event::Released { lock } => write!(f, "lock {lock:?}: released"),
            Event::ReleaseFailed { error, .. } => write!(f, "{error:?}"),
            Event::Missed { count } => write!(f, "{count} events were dropped"),
        }
    }
}

/// Passes events to a caller's function on a thread of its own, so that one who blocks (on a full pipe, say) does not
/// stop a renewal.
pub(crate) struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something was put in or taken out, or the end has come.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
    /// An event is being looked at just now.
    busy: bool,
    /// Somebody has waited in vain for that event to be heard.
    stuck: bool,
    closed: bool,
}

impl Observer {
    pub(crate) fn start(mut observe: impl FnMut(Event) + Send + 'static) -> Result<Arc<Observer>> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let observer = Arc::new(Observer { shared: shared.clone() });
        let run = move || {
            while let Some(event) = shared.next() {
                // A panic of the caller's is the caller's: its hook has said so, and the lock lives on. What it threw
                // is not dropped, since that could panic, too.
                if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| observe(event))) {
                    mem::forget(thrown);
                }
            }
        };
        thread::Builder::new().name("azmutex-events".into()).spawn(run).map_err(Error::no_thread)?;
        Ok(observer)
    }

    /// Never waits.
    pub(crate) fn tell(&self, event: Event) {
        let mut queue = self.shared.lock();
        // What is displaced may hold a cause of a caller's, whose drop is the caller's code. So a loss displaces nothing, which
        // the watchdog tells, with locks that everybody needs; and everybody else drops it without one. A lock is lost once
        // between two other events, so there are few.
        let surplus =
            if matches!(event, Event::Lost { .. }) { 0 } else { (queue.events.len() + 1).saturating_sub(QUEUE) };
        let displaced: Vec<_> = queue.events.drain(..surplus).collect();
        queue.missed += surplus as u64;
        queue.events.push_back(event);
        drop(queue);
        self.shared.changed.notify_all();
        drop(displaced);
    }

    /// Waits until everything was heard, but no longer than `limit`: a program may end right after. Of an observer that
    /// blocks, once and not each time.
    pub(crate) fn flush(&self, limit: Duration) {
        let queue = self.shared.lock();
        let unheard = |queue: &mut Queue| (queue.busy || !queue.events.is_empty()) && !queue.stuck;
        let waited = self.shared.changed.wait_timeout_while(queue, limit, unheard);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.stuck |= waited.timed_out();
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Event> {
        let mut queue = self.lock();
        (queue.busy, queue.stuck) = (false, false);
        self.changed.notify_all();
        loop {
            let event = match queue.missed {
                0 => queue.events.pop_front(),
                count => {
                    queue.missed = 0;
                    Some(Event::Missed { count })
                }
            };
            if event.is_some() {
                queue.busy = true;
                return event;
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, unbounded};

    /// For what comes at once, however busy the machine is. A panic's backtrace alone takes seconds on such a one.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn waiting(name: &str) -> Event {
        Event::Waiting { lock: name.into(), card: None, ahead: 0 }
    }

    #[test]
    fn a_blocked_observer_costs_the_oldest_events_and_nobody_else() {
        let (go, gate) = bounded::<()>(0);
        let (heard, events) = unbounded();
        let observer = Observer::start(move |event| {
            let _ = gate.recv();
            let _ = heard.send(event.to_string());
        })
        .unwrap();
        for i in 0..QUEUE + 10 {
            observer.tell(waiting(&i.to_string()));
        }
        drop(go);
        observer.flush(PATIENCE);
        let lines: Vec<String> = events.try_iter().collect();
        assert!(lines.iter().any(|line| line.ends_with("events were dropped")), "{lines:?}");
        assert!(lines.last().unwrap().contains(&format!("\"{}\"", QUEUE + 9)));
    }

    #[test]
    fn a_loss_displaces_nothing_and_the_next_event_the_more() {
        let (go, gate) = bounded::<()>(0);
        let (heard, events) = unbounded();
        let observer = Observer::start(move |_| {
            let _ = heard.send(());
            let _ = gate.recv();
        })
        .unwrap();
        observer.tell(waiting("heard"));
        events.recv_timeout(PATIENCE).unwrap();
        let of = |queue: &Queue| (queue.events.len(), queue.missed);
        (0..QUEUE).for_each(|_| observer.tell(waiting("first")));
        (0..3).for_each(|_| observer.tell(Event::Lost { lock: "job".into(), why: Lost::Taken }));
        assert_eq!(of(&observer.shared.lock()), (QUEUE + 3, 0));
        observer.tell(waiting("next"));
        assert_eq!(of(&observer.shared.lock()), (QUEUE, 4));
        drop(go);
    }

    #[test]
    fn a_blocked_observer_is_waited_for_once() {
        let (go, gate) = bounded::<()>(0);
        let (heard, events) = unbounded();
        let observer = Observer::start(move |event| {
            let _ = heard.send(event.to_string());
            let _ = gate.recv();
        })
        .unwrap();
        observer.tell(waiting("one"));
        events.recv_timeout(PATIENCE).unwrap();
        observer.flush(Duration::from_millis(1));
        // It would wait for longer than this test may take.
        observer.tell(waiting("two"));
        observer.flush(Duration::MAX);
        drop(go);
        observer.flush(PATIENCE);
        assert!(events.recv_timeout(PATIENCE).unwrap().contains("\"two\""));
        assert!(!observer.shared.lock().stuck, "it goes on, and is waited for again");
    }

    /// How many of two events are heard by an observer that fails with `fail` at the first.
    fn heard_beside(fail: fn()) -> usize {
        let (heard, events) = unbounded();
        let observer = Observer::start(move |event| {
            let line = event.to_string();
            if line.contains("\"bad\"") {
                fail();
            }
            let _ = heard.send(line);
        })
        .unwrap();
        observer.tell(waiting("bad"));
        observer.tell(waiting("good"));
        observer.flush(PATIENCE);
        events.try_iter().count()
    }

    #[test]
    fn an_observer_that_panics_hears_the_next_event() {
        assert_eq!(heard_beside(|| panic!("on purpose")), 1);
    }

    #[test]
    fn an_observer_that_throws_what_cannot_be_dropped_hears_the_next_event() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        assert_eq!(heard_beside(|| std::panic::panic_any(Bomb)), 1);
    }

    #[test]
    fn the_thread_ends_with_the_observer() {
        let (alive, gone) = bounded::<()>(0);
        let observer = Observer::start(move |_| {
            let _ = &alive;
        })
        .unwrap();
        observer.tell(waiting("last"));
        drop(observer);
        assert!(gone.recv_timeout(PATIENCE).is_err_and(|error| error.is_disconnected()));
    }
}
