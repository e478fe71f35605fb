//! Locks, channels, threads and time, made of shuttle's, which has no time: so that nothing but its scheduler, and the
//! numbers that it gives out, decides on what happens next.
//!
//! Time stands still while any thread has something to do, and goes on to the next deadline when all of them wait. But
//! an execution may be in [haste](run): then it goes on at any time, for a while, as if all threads were slow.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use shuttle::rand::{RngCore, thread_rng};
use shuttle::sync as shuttled;

use crate::clock::Moment;

static WORLD: shuttled::Mutex<World> = shuttled::Mutex::new(World {
    now: Moment::PAST,
    is_hasty: false,
    haste: Duration::ZERO,
    deadlines: Vec::new(),
    threads: 0,
    waiting: 0,
});
/// Something that somebody may be waiting for.
static CHANGED: shuttled::Condvar = shuttled::Condvar::new();
/// Something that makes time go on, or end.
static IDLE: shuttled::Condvar = shuttled::Condvar::new();

struct World {
    now: Moment,
    is_hasty: bool,
    /// For how long time may yet go on while there is something to do.
    haste: Duration,
    /// Of those who wait.
    deadlines: Vec<Moment>,
    threads: usize,
    waiting: usize,
}

fn world() -> shuttled::MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays `round` on the main thread of one execution, until all its threads have ended.
pub(crate) fn run(haste: Duration, round: impl FnOnce()) {
    let begin = Moment::PAST.after(Duration::from_secs(1_000));
    *world() = World { now: begin, is_hasty: !haste.is_zero(), haste, deadlines: Vec::new(), threads: 1, waiting: 0 };
    let time = shuttle::thread::spawn(pass_time);
    round();
    wait_until(None, |world| (world.threads == 1).then_some(()));
    change(|world| world.threads = 0);
    IDLE.notify_all();
    time.join().expect("time does not fail");
}

fn pass_time() {
    let mut world = world();
    while world.threads > 0 {
        let next = world.deadlines.iter().copied().min();
        let pause = next.map_or(Duration::MAX, |next| next.left(world.now));
        let idle = world.waiting == world.threads;
        if next.is_none() || !idle && pause > world.haste {
            world = IDLE.wait(world).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        if !idle {
            world.haste -= pause;
        }
        world.now = world.now.after(pause);
        wake(&mut world);
        drop(world);
        // Schedules that favour a thread would else let it end the haste at once.
        shuttle::thread::yield_now();
        world = self::world();
    }
}

fn wake(world: &mut World) {
    world.deadlines.clear();
    world.waiting = 0;
    CHANGED.notify_all();
}

/// Does what others may be waiting for.
fn change<T>(deed: impl FnOnce(&mut World) -> T) -> T {
    let mut world = world();
    let done = deed(&mut world);
    wake(&mut world);
    done
}

/// Waits until there is something, or the deadline has come.
fn wait_until<T>(deadline: Option<Moment>, mut something: impl FnMut(&World) -> Option<T>) -> Option<T> {
    let mut world = world();
    loop {
        if let Some(found) = something(&world) {
            return Some(found);
        }
        if deadline.is_some_and(|deadline| world.now >= deadline) {
            return None;
        }
        world.deadlines.extend(deadline.filter(|deadline| *deadline != Moment::NEVER));
        world.waiting += 1;
        if world.waiting == world.threads || world.haste > Duration::ZERO {
            IDLE.notify_all();
        }
        world = CHANGED.wait(world).unwrap_or_else(PoisonError::into_inner);
    }
}

pub(crate) fn now() -> Moment {
    world().now
}

/// How many threads there are, without those that have ended.
pub(crate) fn threads() -> usize {
    world().threads
}

/// Whether time goes on although there is something to do.
pub(crate) fn is_hasty() -> bool {
    world().is_hasty
}

/// Any number, of which the scheduler knows.
pub(crate) fn random() -> u64 {
    thread_rng().next_u64()
}

pub(crate) struct Mutex<T>(shuttled::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    inner: shuttled::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(shuttled::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { mutex: self, inner })
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(inner) => Ok(MutexGuard { mutex: self, inner }),
            Err(TryLockError::Poisoned(poisoned)) => Ok(MutexGuard { mutex: self, inner: poisoned.into_inner() }),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[derive(Default)]
pub(crate) struct Condvar {
    notified: std::sync::Mutex<u64>,
}

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar { notified: std::sync::Mutex::new(0) }
    }

    fn count(&self) -> u64 {
        *self.notified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        change(|_| *self.notified.lock().unwrap_or_else(PoisonError::into_inner) += 1);
    }

    /// Who waits must expect to be woken for nothing, so all are.
    pub(crate) fn notify_one(&self) {
        self.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_timeout(guard, Duration::MAX)
            .map(|waited| waited.0)
            .map_err(|error| PoisonError::new(error.into_inner().0))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline = now().after(limit);
        while condition(&mut guard) {
            let (next, waited) = self.wait_timeout(guard, deadline.left(now()))?;
            guard = next;
            if waited.timed_out() {
                return Ok((guard, waited));
            }
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (mutex, count, deadline) = (guard.mutex, self.count(), now().after(limit));
        drop(guard);
        let notified = wait_until(Some(deadline), |_| (self.count() > count).then_some(()));
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((guard, WaitTimeoutResult(notified.is_none())))
    }
}

pub(crate) mod thread {
    use std::io;

    use super::channel::{Receiver, Sender, bounded};
    use super::*;

    pub(crate) use shuttle::thread::{ThreadId, current};
    pub(crate) use std::thread::panicking;

    pub(crate) fn sleep(pause: Duration) {
        let until = now().after(pause);
        wait_until::<()>(Some(until), |_| None);
    }

    pub(crate) struct Builder;

    impl Builder {
        pub(crate) fn new() -> Builder {
            Builder
        }

        pub(crate) fn name(self, _: String) -> Builder {
            self
        }

        pub(crate) fn stack_size(self, _: usize) -> Builder {
            self
        }

        #[allow(clippy::unnecessary_wraps, reason = "std's can fail")]
        pub(crate) fn spawn<T: Send + 'static>(
            self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let (sender, result) = bounded(1);
            change(|world| world.threads += 1);
            shuttle::thread::spawn(move || work_to_the_end(work, sender));
            Ok(JoinHandle(result))
        }
    }

    fn work_to_the_end<T>(work: impl FnOnce() -> T, result: Sender<T>) {
        let _ = result.try_send(work());
        drop(result);
        change(|world| world.threads -= 1);
    }

    pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        Builder.spawn(work).expect("the model has threads enough")
    }

    pub(crate) struct JoinHandle<T>(Receiver<T>);

    impl<T> JoinHandle<T> {
        pub(crate) fn join(self) -> std::thread::Result<T> {
            self.0.recv().map_err(|error| Box::new(error) as _)
        }
    }
}

/// As crossbeam's, as far as it is used.
pub(crate) mod channel {
    use std::collections::VecDeque;
    use std::sync::Arc;

    pub(crate) use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

    use super::*;
    pub(crate) use crate::testing::model::select;

    /// Touched only by one who holds the world.
    struct Channel<T>(std::sync::Mutex<State<T>>);

    struct State<T> {
        messages: VecDeque<T>,
        room: usize,
        senders: usize,
        receivers: usize,
    }

    impl<T> Channel<T> {
        fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    pub(crate) struct Sender<T>(Arc<Channel<T>>);

    pub struct Receiver<T>(Source<T>);

    enum Source<T> {
        Channel(Arc<Channel<T>>),
        At(Moment),
        Never,
    }

    pub(crate) fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
        let state = State { messages: VecDeque::new(), room, senders: 1, receivers: 1 };
        let channel = Arc::new(Channel(std::sync::Mutex::new(state)));
        (Sender(channel.clone()), Receiver(Source::Channel(channel)))
    }

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        bounded(usize::MAX)
    }

    pub(crate) fn never<T>() -> Receiver<T> {
        Receiver(Source::Never)
    }

    pub(crate) fn after(pause: Duration) -> Receiver<()> {
        Receiver(Source::At(now().after(pause)))
    }

    impl<T> Sender<T> {
        /// Fails where it would have to wait: nobody here waits for room.
        pub(crate) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
            change(|_| {
                let mut state = self.0.state();
                if state.receivers == 0 {
                    return Err(TrySendError::Disconnected(message));
                }
                if state.messages.len() == state.room {
                    return Err(TrySendError::Full(message));
                }
                state.messages.push_back(message);
                Ok(())
            })
        }

        pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
            match self.try_send(message) {
                Err(TrySendError::Full(_)) => panic!("nobody here waits for room"),
                sent => sent.map_err(|error| SendError(error.into_inner())),
            }
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Sender<T> {
            self.0.state().senders += 1;
            Sender(self.0.clone())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            change(|_| self.0.state().senders -= 1);
        }
    }

    impl<T> fmt::Debug for Sender<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Sender")
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            let world = world();
            self.look(&world).unwrap_or(Err(TryRecvError::Empty))
        }

        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            let answer = wait_until(None, |world| self.look(world));
            answer.unwrap_or(Err(TryRecvError::Disconnected)).map_err(|_| RecvError)
        }

        pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
            let deadline = now().after(limit);
            match wait_until(Some(deadline), |world| self.look(world)) {
                Some(answer) => answer.map_err(|_| RecvTimeoutError::Disconnected),
                None => Err(RecvTimeoutError::Timeout),
            }
        }

        /// A message or the end, if there is one.
        fn look(&self, _: &World) -> Option<Result<T, TryRecvError>> {
            let Source::Channel(channel) = &self.0 else { return None };
            let mut state = channel.state();
            match state.messages.pop_front() {
                Some(message) => Some(Ok(message)),
                None => (state.senders == 0).then_some(Err(TryRecvError::Disconnected)),
            }
        }

        fn is_ready(&self, world: &World) -> bool {
            match &self.0 {
                Source::Channel(channel) => {
                    let state = channel.state();
                    state.senders == 0 || !state.messages.is_empty()
                }
                Source::At(moment) => world.now >= *moment,
                Source::Never => false,
            }
        }

        /// What a ready one has: nobody else may have taken it.
        pub(crate) fn take(&self) -> Result<T, RecvError> {
            self.try_recv().map_err(|_| RecvError)
        }

        pub(crate) fn arm(&self) -> Arm<'_> {
            let deadline = if let Source::At(moment) = self.0 { Some(moment) } else { None };
            Arm { deadline, is_ready: Box::new(|world| self.is_ready(world)) }
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Receiver<T> {
            Receiver(match &self.0 {
                Source::Channel(channel) => {
                    channel.state().receivers += 1;
                    Source::Channel(channel.clone())
                }
                Source::At(moment) => Source::At(*moment),
                Source::Never => Source::Never,
            })
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            if let Source::Channel(channel) = &self.0 {
                let left = change(|_| {
                    let mut state = channel.state();
                    state.receivers -= 1;
                    if state.receivers == 0 { mem::take(&mut state.messages) } else { VecDeque::new() }
                });
                drop(left);
            }
        }
    }

    impl<T> fmt::Debug for Receiver<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Receiver")
        }
    }

    /// One of those that a `select!` waits for.
    pub(crate) struct Arm<'a> {
        deadline: Option<Moment>,
        is_ready: Box<dyn Fn(&World) -> bool + 'a>,
    }

    /// Waits until one of them is ready, and says which: any one of those that are.
    pub(crate) fn first_ready<const N: usize>(arms: [Arm<'_>; N]) -> usize {
        loop {
            let deadline = arms.iter().filter_map(|arm| arm.deadline).min();
            let ready = |world: &World| (0..N).filter(|i| (arms[*i].is_ready)(world)).collect::<Vec<_>>();
            let found = wait_until(deadline, |world| Some(ready(world)).filter(|ready| !ready.is_empty()));
            if let Some(found) = found {
                return found[random() as usize % found.len()];
            }
        }
    }
}

/// As crossbeam's, of three.
macro_rules! select {
    (
        recv($a:expr) -> $x:pat => $first:expr,
        recv($b:expr) -> $y:pat => $second:expr,
        recv($c:expr) -> $z:pat => $third:expr $(,)?
    ) => {{
        let (a, b, c) = (&$a, &$b, &$c);
        match $crate::testing::model::channel::first_ready([a.arm(), b.arm(), c.arm()]) {
            0 => {
                let $x = a.take();
                $first
            }
            1 => {
                let $y = b.take();
                $second
            }
            _ => {
                let $z = c.take();
                $third
            }
        }
    }};
}
pub(crate) use select;
