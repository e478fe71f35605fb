//! The threads of one process that want one lock, in a queue: all lockers that are made from one
//! [`Container`](crate::Container) and its clones for one name have one in common. [`line`] decides, and this wakes
//! those whom it concerns.

use std::collections::HashMap;
use std::fmt;
use std::sync::{self, Arc, OnceLock, PoisonError};

use crate::clock::{self, Moment};
use crate::error::Error;
#[cfg(test)]
use crate::hold::Wait;
use crate::hold::carry::Act;
use crate::process::Process;
use crate::sync::channel::{Receiver, Sender, bounded, never};
use crate::sync::{Mutex, MutexGuard};

use self::line::{Line, Next, Ticket, Want};

pub(crate) mod line;

/// The queues of one container, by the names of the locks.
#[derive(Default)]
pub(crate) struct Queues(sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    queues: HashMap<Arc<str>, Arc<Queue>>,
    /// How many there were when those that are not needed had been forgotten last.
    kept: usize,
}

impl Queues {
    pub(crate) fn of(&self, lock: &Arc<str>) -> Arc<Queue> {
        let Known { queues, kept } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(lock) {
            return queue.clone();
        }
        // Not at each new name, which would take longer and longer where there are many.
        if queues.len() >= 2 * *kept {
            // One that nobody has any more is kept for as long as it remembers something.
            let now = clock::now();
            queues.retain(|_, queue| Arc::strong_count(queue) > 1 || queue.change(|line| line.is_in_use(now)));
            *kept = queues.len();
        }
        queues.entry(lock.clone()).or_insert_with(|| Arc::new(Queue::new())).clone()
    }
}

/// The queue for one lock.
pub(crate) struct Queue {
    process: Process,
    /// That of the process that was forked from this one: none of those who wait here is there.
    heir: OnceLock<Arc<Queue>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    line: Line<Error>,
    bells: HashMap<Ticket, Sender<()>>,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue { process: Process::current(), heir: OnceLock::new(), waiting: Mutex::default() }
    }

    /// The one of this process. After a fork the other one's may be locked for good.
    pub(crate) fn current(self: &Arc<Queue>) -> Arc<Queue> {
        if self.process.is_current() {
            return self.clone();
        }
        self.heir.get_or_init(|| Arc::new(Queue::new())).current()
    }

    /// A place at the end. For one who does not wait there is none if anybody before it wants the lock: how many are
    /// before it.
    pub(crate) fn join(self: &Arc<Queue>, want: Want) -> Result<Place, usize> {
        let (now, (bell, woken)) = (clock::now(), bounded(1));
        let mut waiting = self.waiting();
        let joined = waiting.line.join(now, want);
        if let Ok(ticket) = joined {
            waiting.bells.insert(ticket, bell);
        }
        // Also if there is no place: it may have found that another one's turn is over.
        waiting.wake();
        drop(waiting);
        joined.map(|ticket| Place { queue: self.clone(), ticket, woken })
    }

    /// As a fork sees that of its parent.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn of_a_parent() -> Arc<Queue> {
        Arc::new(Queue { process: Process::other(), ..Queue::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Line<Error>) -> T) -> T {
        let mut waiting = self.waiting();
        let changed = change(&mut waiting.line);
        waiting.wake();
        changed
    }
}

impl Waiting {
    fn wake(&mut self) {
        for ticket in self.line.take_wakes() {
            if let Some(bell) = self.bells.get(&ticket) {
                // One that has been woken already has yet to look.
                let _ = bell.try_send(());
            }
        }
    }
}

/// A thread's place in the queue, which it leaves by dropping it.
pub(crate) struct Place {
    queue: Arc<Queue>,
    ticket: Ticket,
    woken: Receiver<()>,
}

impl Place {
    /// Receives something when it is time to ask for what is next.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// Its turn has come: nothing needs to wake it any more, and the lock may be held for long.
    pub(crate) fn begin(&mut self) {
        self.queue.waiting().bells.remove(&self.ticket);
        self.woken = never();
    }

    pub(crate) fn next(&self, is_cancelled: bool) -> Next<Error> {
        let now = clock::now();
        self.queue.change(|line| line.next(now, self.ticket, is_cancelled))
    }

    /// The lock is not wanted any more. What was begun is undone by then, or never.
    pub(crate) fn leaves(&self, gone_by: Moment) {
        self.queue.change(|line| line.leaves(self.ticket, gone_by));
    }

    /// The only one of a queue, with its turn.
    #[cfg(test)]
    pub(crate) fn alone() -> Arc<Place> {
        Place::two().0
    }

    /// One that has its turn, and one behind it that has been told to wait.
    #[cfg(test)]
    pub(crate) fn two() -> (Arc<Place>, Place) {
        let queue = Arc::new(Queue::new());
        let [first, second] = [(); 2].map(|()| queue.join(Wait::Forever.into()).expect("there is room"));
        first.next(false);
        second.next(false);
        (Arc::new(first), second)
    }

    fn end(&self) {
        // The threads of a process that forked are not in the other's queue.
        if self.queue.process.is_current() {
            let now = clock::now();
            self.queue.change(|line| line.end(now, self.ticket));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end();
        if self.queue.process.is_current() {
            self.queue.waiting().bells.remove(&self.ticket);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.ticket).finish()
    }
}

/// What the lock's thread has of its caller's place. Whatever way the thread ends, the next one's turn comes.
pub(crate) struct Turn(Arc<Place>);

impl Turn {
    pub(crate) fn of(place: &Arc<Place>) -> Turn {
        Turn(place.clone())
    }

    /// The lock's thread is about to do this.
    pub(crate) fn carries_out(&self, act: &Act<Error>) {
        if !matches!(act, Act::Send { .. } | Act::Sleep { .. } | Act::End) {
            let now = clock::now();
            self.0.queue.change(|line| line.carried_out(now, self.0.ticket, act));
        }
    }

    /// The lock is not ours any more.
    pub(crate) fn pass(&self) {
        self.0.end();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass();
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn lockers_of_one_container_for_one_name_have_one_queue() {
        let (queues, other) = (Queues::default(), Queues::default());
        let [job, task] = ["job", "task"].map(Arc::<str>::from);
        let queue = queues.of(&job);
        assert!(Arc::ptr_eq(&queue, &queues.of(&job)));
        assert!(!Arc::ptr_eq(&queue, &queues.of(&task)));
        assert!(!Arc::ptr_eq(&queue, &other.of(&job)));
    }

    #[test]
    fn a_queue_that_nobody_has_is_kept_as_long_as_it_remembers_something() {
        let queues = Queues::default();
        let names: Vec<Arc<str>> = (0..5).map(|number| number.to_string().into()).collect();
        let known = || queues.0.lock().unwrap().queues.len();
        queues.of(&names[0]);
        let place = queues.of(&names[1]).join(Wait::Forever.into()).unwrap();
        assert_eq!(known(), 1, "the first one is forgotten");
        let now = clock::now();
        place.next(false);
        place
            .queue
            .change(|line| line.carried_out(now, place.ticket, &Act::Grant { valid_until: now, ends: Moment::NEVER }));
        drop(place);
        queues.of(&names[2]);
        assert_eq!(known(), 2, "there was a turn just now");
        queues.of(&names[3]);
        queues.of(&names[4]);
        assert_eq!(known(), 2, "what has been used once is forgotten when there are twice as many as are needed");
    }

    #[test]
    fn what_is_not_needed_is_not_looked_for_at_each_new_name() {
        let queues = Queues::default();
        let of = |number: usize| queues.of(&number.to_string().into());
        let _held: Vec<_> = (0..4).map(of).collect();
        // The fifth looks, and finds that all four are needed.
        (4..8).for_each(|number| drop(of(number)));
        assert_eq!(queues.0.lock().unwrap().queues.len(), 8);
        of(8);
        assert_eq!(queues.0.lock().unwrap().queues.len(), 5);
    }

    #[test]
    fn who_comes_in_vain_wakes_those_whose_turn_it_is_by_then() {
        let queue = Arc::new(Queue::new());
        let [first, second] = [(); 2].map(|()| queue.join(Wait::Forever.into()).unwrap());
        first.next(false);
        second.next(false);
        while second.woken().try_recv().is_ok() {}
        let now = clock::now();
        // Its lease ends unseen.
        queue.waiting().line.carried_out(now, first.ticket, &Act::Grant { valid_until: now, ends: now });
        assert_eq!(queue.join(Wait::Never.into()).err(), Some(1));
        second.woken().try_recv().unwrap();
    }

    #[test]
    fn a_fork_has_a_queue_of_its_own_though_its_parents_is_locked() {
        let parents = Queue::of_a_parent();
        let _locked = parents.waiting();
        let queue = parents.current();
        assert!(Arc::ptr_eq(&queue, &parents.current()) && !Arc::ptr_eq(&queue, &parents));
        queue.join(Wait::Never.into()).unwrap();
        // Its place there is not touched, either.
        drop(Place {
            queue: parents.clone(),
            ticket: queue.join(Wait::Never.into()).unwrap().ticket,
            woken: bounded(1).1,
        });
    }

    #[test]
    fn a_place_that_is_dropped_wakes_the_next() {
        let queue = Arc::new(Queue::new());
        let first = queue.join(Wait::Forever.into()).unwrap();
        let second = queue.join(Wait::Forever.into()).unwrap();
        assert!(matches!(second.next(false), Next::Wait { ahead: 1, .. }));
        thread::spawn(move || drop(first)).join().unwrap();
        second.woken().try_recv().unwrap();
        assert!(matches!(second.next(false), Next::Start { stands_back: None, .. }));
    }
}
