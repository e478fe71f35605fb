//! The threads of locks. One that has come to the end of its hold lingers for the next, of whatever lock, that is taken by
//! the thread for which it was started: to start a thread costs more than all else that a lock takes.
//!
//! By no other thread, for one inherits from its starter what Linux keeps of each: its network, its sandbox, its priority.

use std::mem;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::Process;
use crate::sync::channel::{Receiver, Sender, TrySendError, bounded};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, MutexGuard};

/// TLS and certificate checks included, in a debug build.
const STACK: usize = 512 * 1024;
/// How long a thread stays that has nothing to do.
const LINGER: Duration = Duration::from_secs(1);
/// So many may linger at a time: more threads than that lock and unlock again and again in few programs.
const MOST_IDLE: usize = 32;

/// Done once, and where it is: to call what is consumed would have it on the stack, too, for as long as a lock is held.
type Work = Box<dyn FnMut() + Send>;

struct Threads {
    /// Those of one process: a fork has none, and makes its own.
    pool: Mutex<Option<(Process, Arc<Pool>)>>,
}

/// Those that linger.
#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<Idle>>,
}

/// Who takes it out of the pool either gives it work, or is that thread, which ends.
struct Idle {
    thread: ThreadId,
    starter: ThreadId,
    inbox: Sender<Work>,
}

fn threads() -> &'static Threads {
    static THREADS: Threads = Threads::new();
    &THREADS
}

/// Has a thread of this process do this, and nothing else meanwhile.
pub(crate) fn run(process: Process, work: impl FnMut() + Send + 'static) -> Result<()> {
    threads().run(process, Box::new(work))
}

impl Threads {
    const fn new() -> Threads {
        Threads { pool: Mutex::new(None) }
    }

    fn run(&self, process: Process, work: Work) -> Result<()> {
        let (pool, starter) = (self.pool(process), thread::current().id());
        let work = match &pool {
            Some(pool) => pool.offer(starter, work),
            None => Some(work),
        };
        let Some(work) = work else { return Ok(()) };
        let live = move || {
            // Not before it is needed: a lock may be held for long.
            let mut inbox = None;
            let mut next = Some(work);
            while let Some(mut work) = next.take() {
                work();
                drop(work);
                next = pool.as_ref().and_then(|pool| pool.linger(starter, inbox.get_or_insert_with(|| bounded(1))));
            }
        };
        thread::Builder::new().name("azmutex".into()).stack_size(STACK).spawn(live).map(drop).map_err(Error::no_thread)
    }

    /// That of this process, unless somebody else is at it. Never waits: in a fork it would do so for ever, if another
    /// thread of the parent's was here at that moment.
    fn pool(&self, process: Process) -> Option<Arc<Pool>> {
        let mut pool = match self.pool.try_lock() {
            Ok(pool) => pool,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some((of, pool)) = &*pool
            && *of == process
        {
            return Some(pool.clone());
        }
        let own = Arc::new(Pool::default());
        // A process may take itself for another one, when it no longer sees `/proc`: then what lingers still has its pool, and
        // all that it was given. In a fork, the parent's is better not touched.
        mem::forget(pool.replace((process, own.clone())));
        Some(own)
    }
}

impl Pool {
    /// Gives it back if nobody is there to take it.
    fn offer(&self, starter: ThreadId, work: Work) -> Option<Work> {
        let mut idle = self.idle();
        let at = idle.iter().position(|idle| idle.starter == starter);
        let Some(at) = at else { return Some(work) };
        let Idle { inbox, .. } = idle.swap_remove(at);
        drop(idle);
        inbox.try_send(work).err().map(TrySendError::into_inner)
    }

    /// What to do next; or nothing, after a while.
    fn linger(&self, starter: ThreadId, (inbox, given): &(Sender<Work>, Receiver<Work>)) -> Option<Work> {
        let this = thread::current().id();
        {
            let mut idle = self.idle();
            if idle.len() >= MOST_IDLE {
                return None;
            }
            idle.push(Idle { thread: this, starter, inbox: inbox.clone() });
        }
        if let Ok(work) = given.recv_timeout(LINGER) {
            return Some(work);
        }
        let mut idle = self.idle();
        match idle.iter().position(|idle| idle.thread == this) {
            Some(at) => {
                idle.swap_remove(at);
                None
            }
            // It was found at the last moment, for what is on its way.
            None => {
                drop(idle);
                given.recv().ok()
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::clock;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// On which thread it is done.
    fn done_by(threads: &Threads, process: Process) -> ThreadId {
        let (done, by) = mpsc::channel();
        threads.run(process, Box::new(move || done.send(thread::current().id()).unwrap())).unwrap();
        by.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_until_idle(pool: &Pool, count: usize) {
        let end = clock::now().after(PATIENCE);
        while pool.idle().len() != count {
            assert!(clock::now() < end, "{count} are to linger");
            clock::sleep(Duration::from_millis(1));
        }
    }

    /// With their process and pool, and the one that lingers.
    fn with_one_idle() -> (Threads, Process, Arc<Pool>, ThreadId) {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        let first = done_by(&threads, process);
        wait_until_idle(&pool, 1);
        (threads, process, pool, first)
    }

    #[test]
    fn a_thread_that_lingers_is_used_again_and_ends_after_a_while() {
        let (threads, process, pool, first) = with_one_idle();
        assert_eq!(done_by(&threads, process), first);
        wait_until_idle(&pool, 1);
        wait_until_idle(&pool, 0);
        assert_ne!(done_by(&threads, process), first);
    }

    #[test]
    fn a_thread_lingers_for_the_one_alone_that_started_it() {
        let (threads, process, pool, first) = with_one_idle();
        let other = thread::spawn(move || (done_by(&threads, process), threads)).join().unwrap();
        assert_ne!(other.0, first);
        wait_until_idle(&pool, 2);
        assert_eq!(done_by(&other.1, process), first);
    }

    #[test]
    fn what_is_done_at_a_time_is_done_by_as_many_of_whom_few_linger() {
        let (threads, process) = (Threads::new(), Process::current());
        let count = 2 * MOST_IDLE;
        let (go, (done, by)) = (mpsc::sync_channel::<()>(0), mpsc::channel());
        let gates = std::sync::Arc::new(std::sync::Mutex::new(go.1));
        for _ in 0..count {
            let (gates, done) = (gates.clone(), done.clone());
            let work = move || {
                done.send(thread::current().id()).unwrap();
                let _ = gates.lock().unwrap().recv();
            };
            threads.run(process, Box::new(work)).unwrap();
        }
        let by: std::collections::HashSet<_> = (0..count).map(|_| by.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(by.len(), count);
        drop(go.0);
        // One that finds another at the door ends.
        let end = clock::now().after(PATIENCE);
        while std::sync::Arc::strong_count(&gates) > 1 {
            assert!(clock::now() < end, "they are to end");
            clock::sleep(Duration::from_millis(1));
        }
        assert!(threads.pool(process).unwrap().idle().len() <= MOST_IDLE);
    }

    #[test]
    fn a_fork_has_none_of_them() {
        let (threads, _, _, first) = with_one_idle();
        // As the fork sees what its parent had.
        let forked = Process::other();
        assert_ne!(done_by(&threads, forked), first);
        // And as it finds it if somebody was there.
        let _taken = threads.pool.lock().unwrap();
        assert_ne!(done_by(&threads, forked), first);
    }

    #[test]
    fn a_process_that_takes_itself_for_another_loses_nothing() {
        let (threads, process, pool, first) = with_one_idle();
        // Somebody is about to give it something when this one comes.
        let found = pool.idle().pop().unwrap();
        assert_ne!(done_by(&threads, Process::other()), first);
        let (done, did) = mpsc::channel();
        found.inbox.send(Box::new(move || done.send(()).unwrap())).unwrap();
        did.recv_timeout(PATIENCE).unwrap();
        wait_until_idle(&pool, 0);
        assert_ne!(done_by(&threads, process), first);
    }

    #[test]
    fn what_is_given_as_a_thread_goes_is_done() {
        let (_threads, _, pool, _) = with_one_idle();
        // Found as its time is over, and given it a little later.
        let found = pool.idle().pop().unwrap();
        clock::sleep(LINGER + LINGER / 10);
        let (done, did) = mpsc::channel();
        found.inbox.send(Box::new(move || done.send(()).unwrap())).unwrap();
        did.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn one_that_dies_does_not_linger() {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        // A panic without its words.
        threads.run(process, Box::new(|| std::panic::resume_unwind(Box::new("on purpose")))).unwrap();
        done_by(&threads, process);
        wait_until_idle(&pool, 1);
    }
}
