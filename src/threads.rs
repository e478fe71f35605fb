//! The threads of locks. One that has come to the end of its hold lingers for the next, of whatever lock of this process:
//! to start a thread costs more than all else that a lock takes.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Duration;

use crate::clock;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// TLS and certificate checks included, in a debug build.
const STACK: usize = 512 * 1024;
/// How long a thread stays that has nothing to do.
const LINGER: Duration = Duration::from_secs(1);
/// So many may linger at a time: more than that locks and unlocks again and again in few programs.
const MOST_IDLE: usize = 4;

/// Done once, and where it is: to call what is consumed would have it on the stack, too, for as long as a lock is held.
type Work = Box<dyn FnMut() + Send>;

struct Threads {
    /// Those of one process: a fork has none, and makes its own.
    pool: Mutex<Option<(Process, Arc<Pool>)>>,
}

#[derive(Default)]
struct Pool {
    waiting: Mutex<Waiting>,
    /// There is work.
    given: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Those that wait for work. There is never more of that than of them, and none of them goes without it.
    idle: usize,
    work: VecDeque<Work>,
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
        let pool = self.pool(process);
        let work = match &pool {
            Some(pool) => pool.offer(work),
            None => Some(work),
        };
        let Some(work) = work else { return Ok(()) };
        let live = move || {
            let mut next = Some(work);
            while let Some(mut work) = next.take() {
                work();
                drop(work);
                next = pool.as_ref().and_then(|pool| pool.linger());
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
    fn offer(&self, work: Work) -> Option<Work> {
        let mut waiting = self.waiting();
        if waiting.idle == waiting.work.len() {
            return Some(work);
        }
        waiting.work.push_back(work);
        drop(waiting);
        self.given.notify_one();
        None
    }

    /// What to do next; or nothing, after a while.
    fn linger(&self) -> Option<Work> {
        let mut waiting = self.waiting();
        if waiting.idle >= MOST_IDLE {
            return None;
        }
        waiting.idle += 1;
        let until = clock::now().after(LINGER);
        loop {
            let left = until.left(clock::now());
            if left.is_zero() || !waiting.work.is_empty() {
                waiting.idle -= 1;
                return waiting.work.pop_front();
            }
            waiting = self.given.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self as std_thread, ThreadId};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// On which thread it is done.
    fn done_by(threads: &Threads, process: Process) -> ThreadId {
        let (done, by) = mpsc::channel();
        threads.run(process, Box::new(move || done.send(std_thread::current().id()).unwrap())).unwrap();
        by.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_until_idle(pool: &Pool, count: usize) {
        let end = clock::now().after(PATIENCE);
        while pool.waiting().idle != count {
            assert!(clock::now() < end, "{count} are to linger");
            clock::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_thread_that_lingers_is_used_again_and_ends_after_a_while() {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        let first = done_by(&threads, process);
        wait_until_idle(&pool, 1);
        assert_eq!(done_by(&threads, process), first);
        wait_until_idle(&pool, 1);
        wait_until_idle(&pool, 0);
        assert_ne!(done_by(&threads, process), first);
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
                done.send(std_thread::current().id()).unwrap();
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
        assert!(threads.pool(process).unwrap().waiting().idle <= MOST_IDLE);
    }

    #[test]
    fn a_fork_has_none_of_them() {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        let first = done_by(&threads, process);
        wait_until_idle(&pool, 1);
        // As the fork sees what its parent had.
        let forked = Process::other();
        assert_ne!(done_by(&threads, forked), first);
        // And as it finds it if somebody was there.
        let _taken = threads.pool.lock().unwrap();
        assert_ne!(done_by(&threads, forked), first);
    }

    #[test]
    fn a_process_that_takes_itself_for_another_loses_nothing() {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        let first = done_by(&threads, process);
        wait_until_idle(&pool, 1);
        // It has been given something, and not taken it, when this one comes.
        let mut waiting = pool.waiting();
        let (done, did) = mpsc::channel();
        waiting.work.push_back(Box::new(move || done.send(()).unwrap()));
        assert_ne!(done_by(&threads, Process::other()), first);
        drop(waiting);
        did.recv_timeout(PATIENCE).unwrap();
        wait_until_idle(&pool, 0);
        assert_ne!(done_by(&threads, process), first);
    }

    #[test]
    fn what_is_given_as_a_thread_goes_is_done() {
        let (threads, process) = (Threads::new(), Process::current());
        let pool = threads.pool(process).unwrap();
        done_by(&threads, process);
        wait_until_idle(&pool, 1);
        // Until its time is over; and none is told that there is work.
        let mut waiting = pool.waiting();
        clock::sleep(LINGER + LINGER / 10);
        let (done, did) = mpsc::channel();
        waiting.work.push_back(Box::new(move || done.send(()).unwrap()));
        drop(waiting);
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
