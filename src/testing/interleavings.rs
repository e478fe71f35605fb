//! What happens at the same time: the guard, the lock's thread, the watchdog and those who wait, against each other and
//! against a service that takes its time and loses answers.
//!
//! The rounds are played twice. On the machine's own threads, with random delays, until each outcome has come about
//! often enough: the counts are printed, and the seed, which `AZMUTEX_RACES_SEED` gives back. And, with
//! `RUSTFLAGS="--cfg shuttle"`, by a model of threads, locks, channels and time, whose scheduler tries thousands of
//! interleavings out, and notices when nobody can go on. It prints the schedule of a failure: given back as
//! `AZMUTEX_RACES_SCHEDULE`, that alone is played.

use std::collections::BTreeMap;
use std::hint;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::settable::SettableClock;
use crate::cancel::Cancel;
use crate::clock::{self, Moment, sleep};
use crate::container::Container;
use crate::credential::Credential;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Observer};
use crate::guard::LockGuard;
use crate::hold::Wait;
use crate::hold::caller::GRACE;
use crate::lease::{LeaseId, LockState, Lost, Term};
use crate::locker::Locker;
use crate::random::Jitter;
use crate::rest::{Applied, Exchange, Operation, Outcome};
use crate::retry::Policy;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, never, unbounded};
use crate::sync::{Mutex, MutexGuard, thread};

const MICRO: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
/// Longer than the lease is called ours.
const PAST_THE_DEADLINE: Duration = Duration::from_secs(13);
/// What should come at once has come by then, or never will.
const SOON: Duration = Duration::from_secs(20);
/// Of each outcome that a test names, so many are to be seen.
const OFTEN: u32 = 30;

/// What came of a round.
type Came = &'static str;

/// Chances that are the same for the same seed.
struct Chance(Jitter);

impl Chance {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.next() % bound
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    fn split(&mut self) -> Chance {
        Chance(Jitter::new(self.0.next().into()))
    }

    fn id(&mut self) -> LeaseId {
        LeaseId::parse(&format!("{:08x}-0000-4000-8000-{:012x}", self.0.next(), self.0.next())).unwrap()
    }

    /// Nothing, next to nothing, or some hundred microseconds.
    fn pause(&mut self) {
        match self.below(4) {
            0 => {}
            1 => (0..self.below(2_000)).for_each(|_| hint::spin_loop()),
            _ => sleep(self.below(150) * MICRO),
        }
    }

    fn pauses(&mut self, most: u32) {
        (0..self.below(most + 1)).for_each(|_| self.pause());
    }
}

/// The service, as far as one lock goes.
#[derive(Default)]
struct Service(Mutex<Option<LeaseId>>);

impl Service {
    fn holder(&self) -> MutexGuard<'_, Option<LeaseId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, operation: Operation) -> Outcome {
        let mut holder = self.holder();
        match (operation, *holder) {
            (Operation::Acquire { id, .. }, Some(other)) if id != other => Outcome::Busy,
            (Operation::Acquire { id, .. }, _) => {
                *holder = Some(id);
                Outcome::Leased(id)
            }
            (Operation::Renew { id }, Some(other)) if id == other => Outcome::Leased(id),
            (Operation::Release { id }, Some(other)) if id == other => {
                *holder = None;
                Outcome::Done
            }
            (Operation::Renew { .. } | Operation::Release { .. }, Some(_)) => Outcome::NotOurs,
            (Operation::Renew { .. } | Operation::Release { .. }, None) => Outcome::NoLease,
            (Operation::Look, Some(_)) => Outcome::Seen(LockState::Leased),
            (Operation::Look, None) => Outcome::Seen(LockState::Available),
            _ => Outcome::Refused,
        }
    }
}

/// A request of one hold.
struct Request {
    operation: Operation,
    /// The caller had said by then that it lets go.
    leaving: bool,
    /// Its guard could still be told of a loss.
    guarded: bool,
    /// `None` while it is under way.
    outcome: Option<Outcome>,
}

impl Request {
    fn is_renewal(&self) -> bool {
        matches!(self.operation, Operation::Renew { .. })
    }

    fn is_release(&self) -> bool {
        matches!(self.operation, Operation::Release { .. })
    }

    /// Whether it was carried out, to the best of the service's knowledge.
    fn may_have_worked(&self) -> bool {
        matches!(
            self.outcome,
            Some(Outcome::Leased(_) | Outcome::Done | Outcome::Failed { applied: Applied::Perhaps, .. })
        )
    }
}

#[derive(Default)]
struct Record {
    leaving: bool,
    /// Of the guard, which drops it when it lets go.
    listener: Option<Receiver<Lost>>,
    requests: Vec<Request>,
}

/// One hold of the lock, from its first request to the end of its thread.
struct Client {
    id: LeaseId,
    service: Arc<Service>,
    record: Arc<Mutex<Record>>,
    /// Disconnects when the thread is over.
    over: Receiver<()>,
    line: Option<Line>,
}

/// Between the lock's thread and the service.
struct Line {
    service: Arc<Service>,
    record: Arc<Mutex<Record>>,
    chance: Chance,
    /// How many answers, or requests, may yet be lost: fewer than it takes to give up.
    faults: u32,
    /// Of a wait that is given up: the one release that it sends arrives.
    is_safe_for_releases: bool,
    /// Some answers that grant the lock come later than anybody waits for them.
    is_slow: bool,
    /// Some renewals are the death of the lock's thread.
    is_deadly: bool,
    /// Of a queue, in which no two ask the service at the same time.
    queue: Option<Arc<Mutex<bool>>>,
    _alive: Sender<()>,
}

impl Line {
    fn attempt(&mut self, operation: Operation) -> Exchange {
        let sent = clock::now();
        let number = self.record(|record| {
            let listener = record.listener.as_ref().map(Receiver::try_recv);
            let (leaving, guarded) = (record.leaving, listener == Some(Err(TryRecvError::Empty)));
            record.requests.push(Request { operation, leaving, guarded, outcome: None });
            record.requests.len() - 1
        });
        self.asks(true);
        self.chance.pause();
        let outcome = self.outcome(operation);
        self.chance.pause();
        self.asks(false);
        if self.is_slow && matches!(outcome, Outcome::Leased(_)) && self.chance.one_in(2) {
            sleep(GRACE + 10 * MS);
        }
        if self.is_deadly && matches!(operation, Operation::Renew { .. }) && self.chance.one_in(2) {
            // Without the words of a panic.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        self.record(|record| record.requests[number].outcome = Some(outcome));
        Exchange::new(sent, outcome, None)
    }

    fn asks(&self, asks: bool) {
        if let Some(queue) = &self.queue {
            let mut is_asking = queue.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(*is_asking != asks, "two ask at the same time");
            *is_asking = asks;
        }
    }

    fn outcome(&mut self, operation: Operation) -> Outcome {
        let is_safe = self.is_safe_for_releases && matches!(operation, Operation::Release { .. });
        let goes_wrong = self.faults > 0 && !is_safe && self.chance.one_in(4);
        self.faults -= u32::from(goes_wrong);
        if goes_wrong && self.chance.one_in(3) {
            return Outcome::Failed { applied: Applied::No, retry_after: None };
        }
        let outcome = self.service.carry_out(operation);
        if goes_wrong { Outcome::Failed { applied: Applied::Perhaps, retry_after: None } } else { outcome }
    }

    fn record<T>(&self, note: impl FnOnce(&mut Record) -> T) -> T {
        note(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Client {
    fn new(service: &Arc<Service>, chance: &mut Chance) -> Client {
        let (alive, over) = bounded(0);
        let (service, record) = (service.clone(), Arc::new(Mutex::new(Record::default())));
        let line = Line {
            service: service.clone(),
            record: record.clone(),
            chance: chance.split(),
            faults: chance.below(3),
            is_safe_for_releases: false,
            is_slow: false,
            is_deadly: false,
            queue: None,
            _alive: alive,
        };
        Client { id: chance.id(), service, record, over, line: Some(line) }
    }

    fn obtain(&mut self, locker: &Locker, wait: Wait, cancelled: &Receiver<()>) -> Result<LockGuard> {
        let mut line = self.line.take().expect("one wait for each client");
        let attempt = move |operation, _| line.attempt(operation);
        let obtained = locker.obtain_by(attempt, self.id, wait, SOON, cancelled, Arc::default());
        self.record().listener = obtained.as_ref().ok().map(LockGuard::lost);
        obtained
    }

    fn lock(&mut self, locker: &Locker) -> LockGuard {
        self.obtain(locker, Wait::Forever, &never()).unwrap()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller is about to let go: says what its thread is at.
    fn leaves(&self) -> Came {
        let mut record = self.record();
        record.leaving = true;
        match record.requests.last() {
            Some(request) if request.is_renewal() && request.outcome.is_none() => "a renewal was under way",
            Some(request) if request.is_renewal() => "after a renewal",
            _ => "before the first renewal",
        }
    }

    fn has_lock(&self) -> bool {
        *self.service.holder() == Some(self.id)
    }

    fn may_have_had_lock(&self) -> bool {
        let acquire = |request: &Request| matches!(request.operation, Operation::Acquire { .. });
        self.record().requests.iter().any(|request| acquire(request) && request.may_have_worked())
    }

    fn may_have_released(&self) -> bool {
        self.record().requests.iter().any(|request| request.is_release() && request.may_have_worked())
    }

    /// The thread is over, and did what it did in order.
    fn assert_over(&self) {
        assert_eq!(self.over.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected), "its thread stays");
        let requests = &self.record().requests;
        let first = requests.iter().position(Request::is_release).unwrap_or(requests.len());
        assert!(requests[first..].iter().all(Request::is_release), "a request after the release");
        assert!(requests[first..].iter().all(|request| request.leaving), "released before it was let go");
        assert!(!requests[first..].iter().any(|request| request.guarded), "released before its guard was closed");
    }
}

/// As quick as can be.
fn locker() -> Locker {
    locker_renewing_every(300 * MICRO)
}

fn locker_renewing_every(interval: Duration) -> Locker {
    let url = "http://127.0.0.1:9/account/locks";
    let policy = Policy::default().first_pause(MS).longest_pause(MS);
    let container = Container::builder(url, Credential::shared_key("account", "a2V5").unwrap()).retry(policy);
    let builder = Locker::builder(container.build().unwrap().mutex("job").unwrap());
    builder.pauses(50 * MICRO, 200 * MICRO).assemble(Term::Seconds(15), interval, None)
}

#[derive(Default)]
struct Tally(BTreeMap<Came, u32>);

impl Tally {
    fn count(&mut self, came: Came) {
        *self.0.entry(came).or_default() += 1;
    }

    fn rounds(&self) -> u32 {
        self.0.values().sum()
    }

    fn is_enough(&self, wanted: &[Came]) -> bool {
        wanted.iter().all(|came| self.0.get(came).is_some_and(|times| *times >= OFTEN))
    }
}

/// Plays rounds, side by side in so many lanes, until each of the outcomes that are wanted has come about.
#[cfg(not(shuttle))]
fn play(lanes: u32, wanted: &[Came], round: impl Fn(&mut Chance) -> Came + Send + Sync + 'static) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    const FEWEST_OF_A_LANE: u32 = 750;
    const MOST: u32 = 20_000;
    let seed = std::env::var("AZMUTEX_RACES_SEED").map(|given| given.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|_| LeaseId::random().unwrap().seed());
    println!("AZMUTEX_RACES_SEED={seed}");
    let round = Arc::new(round);
    let (sender, outcomes) = unbounded();
    let is_enough = Arc::new(AtomicBool::new(false));
    for lane in 0..lanes {
        let (round, sender, is_enough) = (round.clone(), sender.clone(), is_enough.clone());
        let mut chance = Chance(Jitter::new(seed.wrapping_add(lane.into())));
        let mut play = move || catch_unwind(AssertUnwindSafe(|| round(&mut chance))).ok();
        thread::spawn(move || while sender.send(play()).is_ok() && !is_enough.load(Ordering::Relaxed) {});
    }
    drop(sender);
    let mut tally = Tally::default();
    while tally.rounds() < FEWEST_OF_A_LANE * lanes.min(4) || !tally.is_enough(wanted) {
        tally.count(outcomes.recv_timeout(SOON).expect("no round hangs").expect("no round fails"));
        assert!(tally.rounds() < MOST, "{wanted:?} are to be seen, not {:?}", tally.0);
    }
    is_enough.store(true, Ordering::Relaxed);
    let end = loop {
        match outcomes.recv_timeout(SOON) {
            Ok(came) => tally.count(came.expect("no round fails")),
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected, "a round of one of the lanes hangs");
    println!("{} rounds: {:?}", tally.rounds(), tally.0);
}

/// Plays rounds by two kinds of schedules: those in which anything may come next at any time, and those in which a few
/// threads are held up at a few moments.
#[cfg(shuttle)]
fn play(_lanes: u32, wanted: &[Came], round: impl Fn(&mut Chance) -> Came + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, Runner};

    use crate::testing::model;

    const SCHEDULES: usize = 3_000;
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().expect("no test can be played after one that failed");
    let (round, tally) = (Arc::new(round), Arc::new(std::sync::Mutex::new(Tally::default())));
    let play = {
        let tally = tally.clone();
        move || {
            let mut chance = Chance(Jitter::new(model::random()));
            let haste = [Duration::ZERO, MS, Duration::from_secs(1)][chance.below(3) as usize];
            model::run(haste, || {
                let came = round(&mut chance);
                tally.lock().unwrap().count(came);
            });
        }
    };
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    if let Ok(schedule) = std::env::var("AZMUTEX_RACES_SCHEDULE") {
        return shuttle::replay(play, &schedule);
    }
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(play.clone());
    Runner::new(PctScheduler::new(3, SCHEDULES), config).run(play);
    let tally = tally.lock().unwrap();
    println!("{} schedules: {:?}", tally.rounds(), tally.0);
    assert!(tally.is_enough(wanted), "{wanted:?} are to be seen, not {:?}", tally.0);
}

/// What a listener heard by the end of a hold: no more than one word.
fn heard(listener: &Receiver<Lost>) -> Option<Lost> {
    let heard = listener.try_recv();
    assert_eq!(listener.try_recv(), Err(TryRecvError::Disconnected), "after {heard:?}");
    heard.ok()
}

/// The same lock with an observer, and what that is told.
fn observed(locker: &Locker) -> (Locker, Receiver<Event>) {
    let (sender, events) = unbounded();
    let observer = Observer::start(move |event| drop(sender.send(event))).unwrap();
    (locker.observed_by(observer), events)
}

/// The observer was told of no other loss than the listener, and as often.
fn assert_observed(events: &Receiver<Event>, lost: Option<Lost>) {
    let mut losses = Vec::new();
    let end = loop {
        match events.recv_timeout(SOON) {
            Ok(Event::Lost { why, .. }) => losses.push(why),
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected, "its thread stays");
    assert_eq!(losses, Vec::from_iter(lost));
}

/// No longer than that; but on real threads nobody knows how long they were held up.
fn assert_took(limit: Duration, since: Moment, until: Moment) {
    #[cfg(not(shuttle))]
    let limit = limit + SOON;
    #[cfg(shuttle)]
    let limit = if crate::testing::model::is_hasty() { SOON } else { limit };
    assert!(until.since(since) <= limit, "{:?}", until.since(since));
}

// Scenario 17.
#[test]
fn an_unlock_against_a_renewal() {
    let locker = locker();
    let wanted = ["a renewal was under way", "after a renewal", "before the first renewal"];
    play(4, &wanted, move |chance| {
        let locker = locker.apart();
        let mut client = Client::new(&Arc::default(), chance);
        let guard = client.lock(&locker);
        let listener = guard.lost();
        chance.pauses(8);
        let came = client.leaves();
        guard.unlock().unwrap();
        assert_eq!(*client.service.holder(), None);
        assert_eq!(heard(&listener), None);
        client.assert_over();
        came
    });
}

#[test]
fn letting_go_against_a_loss() {
    let locker = locker();
    let wanted = ["told, then unlocked", "told, then dropped", "found by the unlock", "unlocked", "dropped"];
    play(4, &wanted, move |chance| {
        let (locker, events) = observed(&locker.apart());
        let mut client = Client::new(&Arc::default(), chance);
        let guard = client.lock(&locker);
        let listener = guard.lost();
        let thief = {
            let (service, mut chance, thief) = (client.service.clone(), chance.split(), chance.id());
            thread::spawn(move || {
                chance.pauses(8);
                *service.holder() = Some(thief);
            })
        };
        chance.pauses(10);
        client.leaves();
        let unlocked = if chance.one_in(2) {
            drop(guard);
            None
        } else {
            Some(guard.unlock().map_err(|error| error.lost_because()))
        };
        let lost = heard(&listener);
        let came = match (unlocked, lost) {
            (None, None) => "dropped",
            (None, Some(Lost::Taken)) => "told, then dropped",
            (Some(Ok(())), None) => "unlocked",
            (Some(Err(Some(Lost::Taken))), Some(Lost::Taken)) => "told, then unlocked",
            (Some(Err(Some(Lost::Taken))), None) => "found by the unlock",
            other => panic!("{other:?}"),
        };
        thief.join().unwrap();
        client.assert_over();
        drop(locker);
        assert_observed(&events, lost);
        assert!(!client.has_lock());
        assert!(came != "unlocked" || client.may_have_released());
        came
    });
}

#[test]
fn an_unlock_against_a_suspend() {
    let Some(clock) = SettableClock::alone(an_unlock_against_a_suspend) else { return };
    let locker = locker();
    play(1, &["told, then unlocked", "found by the unlock", "unlocked"], move |chance| {
        let locker = locker.apart();
        let mut client = Client::new(&Arc::default(), chance);
        let guard = client.lock(&locker);
        let listener = guard.lost();
        let sleeper = {
            let mut chance = chance.split();
            thread::spawn(move || {
                chance.pauses(8);
                clock.suspend(PAST_THE_DEADLINE);
            })
        };
        chance.pauses(8);
        client.leaves();
        let unlocked = guard.unlock();
        sleeper.join().unwrap();
        client.assert_over();
        let kind = unlocked.as_ref().map_err(|error| (error.kind(), error.lost_because()));
        match (kind, heard(&listener)) {
            (Ok(()), None) => {
                assert!(!client.has_lock());
                "unlocked"
            }
            (Err((_, Some(Lost::Expired))), Some(Lost::Expired)) => "told, then unlocked",
            // It was ours until the call, and over before the release was sent.
            (Err((_, Some(Lost::Expired))), None) => "found by the unlock",
            // The time for the release was over before its answer was there, or its repetition.
            (Err((ErrorKind::Unavailable, None)), None) => "not released",
            other => panic!("{other:?}"),
        }
    });
}

// Scenario 11.
#[test]
fn a_renewal_against_a_suspend() {
    let Some(clock) = SettableClock::alone(a_renewal_against_a_suspend) else { return };
    let locker = locker();
    play(1, &["a renewal was under way", "after a renewal", "before the first renewal"], move |chance| {
        let (locker, events) = observed(&locker.apart());
        let mut client = Client::new(&Arc::default(), chance);
        let guard = Arc::new(client.lock(&locker));
        let listener = guard.lost();
        let asker = {
            let (guard, mut chance) = (guard.clone(), chance.split());
            thread::spawn(move || {
                let answers: Vec<bool> = (0..10).map(|_| (chance.pause(), guard.is_held()).1).collect();
                assert!(answers.is_sorted_by(|before, after| before >= after), "lost and found: {answers:?}");
            })
        };
        chance.pauses(8);
        let came = client.leaves();
        clock.suspend(PAST_THE_DEADLINE);
        assert!(!guard.is_held());
        assert_eq!(heard(&listener), Some(Lost::Expired));
        chance.pauses(8);
        assert!(!guard.is_held());
        asker.join().unwrap();
        let guard = Arc::into_inner(guard).expect("the asker has let it go");
        assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
        client.assert_over();
        drop(locker);
        assert_observed(&events, Some(Lost::Expired));
        came
    });
}

#[test]
fn a_cancel_against_a_grant() {
    let locker = locker();
    let wanted = ["granted", "cancelled", "granted, cancelled and undone"];
    play(4, &wanted, move |chance| {
        let locker = locker.apart();
        let service = Arc::new(Service::default());
        let mut client = Client::new(&service, chance);
        client.line.iter_mut().for_each(|line| line.is_safe_for_releases = true);
        *service.holder() = Some(chance.id());
        let cancel = Cancel::new();
        let holder = {
            let (service, mut chance) = (service.clone(), chance.split());
            thread::spawn(move || {
                chance.pauses(4);
                *service.holder() = None;
            })
        };
        let canceller = {
            let (cancel, record, mut chance) = (cancel.clone(), client.record.clone(), chance.split());
            thread::spawn(move || {
                chance.pauses(12);
                record.lock().unwrap_or_else(PoisonError::into_inner).leaving = true;
                cancel.cancel();
            })
        };
        let obtained = client.obtain(&locker, Wait::Forever, &cancel.cancelled());
        canceller.join().unwrap();
        holder.join().unwrap();
        let came = match obtained {
            Ok(guard) => {
                guard.ensure_held().unwrap();
                assert!(client.has_lock());
                guard.unlock().unwrap();
                "granted"
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                if client.may_have_had_lock() { "granted, cancelled and undone" } else { "cancelled" }
            }
        };
        client.assert_over();
        assert_eq!(*service.holder(), None);
        came
    });
}

#[test]
fn the_end_of_a_wait_against_a_grant() {
    let locker = locker();
    let wanted = ["granted", "timed out", "granted, timed out and undone"];
    // Waiting for the most part: shorter waits ask for nothing.
    play(16, &wanted, move |chance| {
        let locker = locker.apart();
        let service = Arc::new(Service::default());
        let mut client = Client::new(&service, chance);
        client.line.iter_mut().for_each(|line| {
            line.is_safe_for_releases = true;
            line.is_slow = true;
        });
        *service.holder() = Some(chance.id());
        let holder = {
            let (service, pause) = (service.clone(), chance.below(12_000) * MICRO);
            thread::spawn(move || {
                sleep(pause);
                *service.holder() = None;
            })
        };
        let deadline = clock::now().after(10 * MS);
        // It lets go when it gives up.
        client.leaves();
        let obtained = client.obtain(&locker, Wait::Until(deadline), &never());
        holder.join().unwrap();
        let came = match obtained {
            Ok(guard) => {
                guard.ensure_held().unwrap();
                assert!(client.has_lock());
                guard.unlock().unwrap();
                "granted"
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                if client.may_have_had_lock() { "granted, timed out and undone" } else { "timed out" }
            }
        };
        client.assert_over();
        assert_eq!(*service.holder(), None);
        came
    });
}

#[test]
fn a_try_against_a_release() {
    let locker = locker();
    let wanted = ["refused", "obtained beside the release", "obtained after the release"];
    play(4, &wanted, move |chance| {
        let locker = locker.apart();
        let service = Arc::new(Service::default());
        let mut first = Client::new(&service, chance);
        let guard = first.lock(&locker);
        let record = first.record.clone();
        let holder = {
            let mut chance = chance.split();
            thread::spawn(move || {
                chance.pauses(6);
                first.leaves();
                guard.unlock().unwrap();
                first
            })
        };
        chance.pauses(10);
        let mut second = Client::new(&service, chance);
        second.leaves();
        let came = match second.obtain(&locker.apart(), Wait::Never, &never()) {
            Ok(guard) => {
                guard.ensure_held().unwrap();
                let record = record.lock().unwrap_or_else(PoisonError::into_inner);
                let answered = record.requests.last().is_some_and(|release| release.outcome == Some(Outcome::Done));
                drop(record);
                assert!(second.has_lock());
                guard.unlock().unwrap();
                if answered { "obtained after the release" } else { "obtained beside the release" }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                "refused"
            }
        };
        holder.join().unwrap().assert_over();
        second.assert_over();
        assert_eq!(*service.holder(), None);
        came
    });
}

#[test]
fn listening_against_a_loss() {
    let locker = locker();
    play(4, &["listened before the loss", "listened after the loss"], move |chance| {
        let (locker, events) = observed(&locker.apart());
        let mut client = Client::new(&Arc::default(), chance);
        let guard = Arc::new(client.lock(&locker));
        let first = guard.lost();
        let waiter = {
            let (guard, mut chance) = (guard.clone(), chance.split());
            thread::spawn(move || {
                chance.pauses(8);
                let since = clock::now();
                (guard.wait_lost(SOON), since, clock::now())
            })
        };
        let listener = {
            let (guard, mut chance) = (guard.clone(), chance.split());
            thread::spawn(move || {
                chance.pauses(8);
                let (was_lost, since) = (!guard.is_held(), clock::now());
                (guard.lost().recv_timeout(SOON), since, clock::now(), was_lost)
            })
        };
        chance.pauses(8);
        *client.service.holder() = Some(chance.id());
        assert_eq!(first.recv_timeout(SOON), Ok(Lost::Taken));
        let told = clock::now();

        let (lost, since, waited) = waiter.join().unwrap();
        assert_eq!(lost, Some(Lost::Taken));
        assert_took(Duration::ZERO, told.max(since), waited);
        let (lost, since, listened, was_lost) = listener.join().unwrap();
        assert_eq!(lost, Ok(Lost::Taken));
        assert_took(Duration::ZERO, told.max(since), listened);
        assert_eq!(heard(&first), None);

        let guard = Arc::into_inner(guard).expect("the others have let it go");
        client.leaves();
        assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Taken));
        client.assert_over();
        drop(locker);
        assert_observed(&events, Some(Lost::Taken));
        if was_lost { "listened after the loss" } else { "listened before the loss" }
    });
}

/// One of those that wait behind each other in a queue.
struct Waits {
    number: usize,
    client: Client,
    wait: Wait,
    cancel: Cancel,
}

impl Waits {
    /// Waits, and holds the lock for a little. Whether it had it, which is noted in the order of the turns.
    fn turn(mut self, locker: &Locker, turns: &Mutex<Vec<usize>>, mut chance: Chance) -> bool {
        self.client.leaves();
        let is_held = match self.client.obtain(locker, self.wait, &self.cancel.cancelled()) {
            Ok(guard) => {
                guard.ensure_held().unwrap();
                turns.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
                chance.pauses(3);
                if chance.one_in(2) {
                    guard.unlock().unwrap()
                } else {
                    drop(guard)
                }
                true
            }
            Err(error) => {
                let expected = if self.wait == Wait::Forever { ErrorKind::Cancelled } else { ErrorKind::TimedOut };
                assert_eq!(error.kind(), expected);
                false
            }
        };
        self.client.assert_over();
        let mut record = self.client.record();
        assert!(
            record.requests.drain(..).all(|request| request.outcome != Some(Outcome::Busy)),
            "asked before its turn"
        );
        is_held
    }
}

// Scenario 21: in the order in which they came, one at a time, and whoever gives up holds up nobody.
#[test]
fn the_turns_of_those_who_wait() {
    let locker = locker();
    let wanted = ["all had their turns", "the first gave up", "another gave up"];
    play(4, &wanted, move |chance| {
        let locker = locker.apart();
        let (service, queue) = (Arc::new(Service::default()), Arc::new(Mutex::new(false)));
        let client = |chance: &mut Chance| {
            let mut client = Client::new(&service, chance);
            client.line.iter_mut().for_each(|line| {
                line.is_safe_for_releases = true;
                line.queue = Some(queue.clone());
            });
            client
        };
        let mut first = client(chance);
        let guard = first.lock(&locker);
        let turns = Arc::new(Mutex::new(Vec::new()));
        let (mut threads, mut cancels) = (Vec::new(), Vec::new());
        for number in 0..3 {
            // Its time may be up before it could say that it waits, so nobody comes after it.
            let is_timed = number == 2 && chance.one_in(3);
            let wait = if is_timed { Wait::Until(clock::now().after(chance.below(3) * MS)) } else { Wait::Forever };
            let waits = Waits { number, client: client(chance), wait, cancel: Cancel::new() };
            if !is_timed && chance.one_in(3) {
                cancels.push(waits.cancel.clone());
            }
            let (clone, turns, chance) = (locker.clone(), turns.clone(), chance.split());
            threads.push(thread::spawn(move || waits.turn(&clone, &turns, chance)));
            // By its place, as events may be dropped where so many renewals are told.
            while !is_timed && locker.try_lock().unwrap_err().ahead() < number + 2 {
                sleep(20 * MICRO);
            }
        }
        let canceller = {
            let mut chance = chance.split();
            thread::spawn(move || {
                for cancel in cancels {
                    chance.pauses(4);
                    cancel.cancel();
                }
            })
        };
        let mut trial = client(chance);
        trial.leaves();
        assert_eq!(trial.obtain(&locker, Wait::Never, &never()).map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
        chance.pauses(6);
        first.leaves();
        guard.unlock().unwrap();
        let had: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        canceller.join().unwrap();
        first.assert_over();
        assert!(trial.record().requests.is_empty(), "a try has barged in");
        let turns = turns.lock().unwrap_or_else(PoisonError::into_inner).split_off(0);
        assert!(turns.is_sorted(), "{turns:?}");
        assert_eq!(*service.holder(), None);
        match had[..] {
            [true, true, true] => "all had their turns",
            [false, ..] => "the first gave up",
            _ => "another gave up",
        }
    });
}

// Scenario 20. Not in the model, where nobody may panic.
#[cfg(not(shuttle))]
#[test]
fn an_unlock_against_the_death_of_the_thread() {
    let locker = locker();
    play(4, &["told, then unlocked", "found by the unlock", "unlocked"], move |chance| {
        let locker = locker.apart();
        let mut client = Client::new(&Arc::default(), chance);
        client.line.iter_mut().for_each(|line| line.is_deadly = true);
        let guard = match client.obtain(&locker, Wait::Forever, &never()) {
            Ok(guard) => guard,
            Err(error) => {
                assert_eq!(error.lost_because(), Some(Lost::RenewalStopped));
                return "found by the wait";
            }
        };
        let listener = guard.lost();
        chance.pauses(8);
        client.leaves();
        let start = clock::now();
        let unlocked = guard.unlock().map_err(|error| error.lost_because());
        assert!(clock::now().since(start) < Duration::from_secs(5), "it waited for the dead");
        client.assert_over();
        match (unlocked, heard(&listener)) {
            (Ok(()), None) => {
                assert!(!client.has_lock());
                "unlocked"
            }
            (Err(Some(Lost::RenewalStopped)), Some(Lost::RenewalStopped)) => "told, then unlocked",
            (Err(Some(Lost::RenewalStopped)), None) => "found by the unlock",
            other => panic!("{other:?}"),
        }
    });
}

/// Only in the model, which need not wait for it.
#[cfg(shuttle)]
#[test]
fn a_lock_against_the_end_of_the_watchdog() {
    let clock = SettableClock::alone(a_lock_against_the_end_of_the_watchdog).unwrap();
    let locker = locker_renewing_every(Duration::from_secs(5));
    play(1, &["watched by the first", "watched by another"], move |chance| {
        let locker = locker.apart();
        let mut first = Client::new(&Arc::default(), chance);
        let guard = first.lock(&locker);
        first.leaves();
        let start = clock::now();
        guard.unlock().unwrap();
        // With a pause and two for each answer that is lost.
        assert_took(10 * MS, start, clock::now());
        first.assert_over();
        // The watchdog stays for a second when it finds nothing to watch, which it does at its next sweep.
        sleep(Duration::from_millis(950) + chance.below(9) * 200 * MS);
        let is_over = crate::testing::model::threads() == 1;
        let mut second = Client::new(&first.service, chance);
        let guard = second.lock(&locker);
        let listener = guard.lost();
        clock.suspend(PAST_THE_DEADLINE);
        let resumed = clock::now();
        assert_eq!(listener.recv_timeout(SOON), Ok(Lost::Expired));
        assert_took(250 * MS, resumed, clock::now());
        second.leaves();
        assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
        second.assert_over();
        if is_over { "watched by another" } else { "watched by the first" }
    });
}

/// Only in the model, which need not wait for it.
#[cfg(shuttle)]
#[test]
fn a_lock_against_the_end_of_the_thread_of_another() {
    let locker = locker_renewing_every(Duration::from_secs(5));
    play(1, &["as the other lingers", "as it goes", "after it has gone"], move |chance| {
        let mut first = Client::new(&Arc::default(), chance);
        let guard = first.lock(&locker);
        first.leaves();
        guard.unlock().unwrap();
        first.assert_over();
        // It stays for a second.
        let late = chance.below(5) * 25 * MS;
        sleep(Duration::from_millis(950) + late);
        // Two at a time, of which one can have it.
        let threads = [(); 2].map(|()| {
            let (locker, mut client) = (locker.clone(), Client::new(&Arc::default(), chance));
            thread::spawn(move || {
                let guard = client.lock(&locker);
                guard.ensure_held().unwrap();
                client.leaves();
                guard.unlock().unwrap();
                client.assert_over();
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        match late.cmp(&(50 * MS)) {
            std::cmp::Ordering::Less => "as the other lingers",
            std::cmp::Ordering::Equal => "as it goes",
            std::cmp::Ordering::Greater => "after it has gone",
        }
    });
}
