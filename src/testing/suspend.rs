//! Clocks that are set while a lock is waited for and held: the machine's by a suspend, the wall's by whoever sets it.
//! With the lock's thread, the watchdog and the guard as they are, before the emulator.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, unbounded};

use super::lateness::Lateness;
use super::settable::SettableClock;
use crate::clock::{self, sleep};
use crate::container::{self, Container};
use crate::credential::Credential;
use crate::emulator::{self, Emulator, Fault};
use crate::error::ErrorKind;
use crate::event::Event;
use crate::guard::LockGuard;
use crate::hold::Wait;
use crate::lease::{LeaseId, LockState, Lost};
use crate::locker::{Builder, Locker};
use crate::mutex::AzureMutex;
use crate::rest::{Exchange, Operation, Outcome};
use crate::retry::Policy;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const LEASE: Duration = Duration::from_secs(15);
/// Longer than such a lease is called ours, which is 12.7 s, and shorter than it lasts.
const PAST_THE_DEADLINE: Duration = Duration::from_secs(13);
const TOLD_WITHIN: Duration = Duration::from_millis(250);
/// No thread sleeps for longer without a look at the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(2);
/// What should come at once has come by then, or never will.
const SOON: Duration = Duration::from_secs(20);

/// One lock, and the two machines that it is between.
struct Rig {
    clock: SettableClock,
    emulator: Emulator,
    mutex: AzureMutex,
}

impl Rig {
    fn alone<T: Fn()>(test: T) -> Option<Rig> {
        let clock = SettableClock::alone(test)?;
        let emulator = Emulator::start().unwrap();
        let builder = container::Builder::from_connection_string(&emulator.connection_string(), "locks").unwrap();
        let container = builder.retry(Policy::default().attempt_limit(SECOND)).build().unwrap();
        let mutex = container.mutex("job").unwrap();
        Some(Rig { clock, emulator, mutex })
    }

    fn builder(&self) -> Builder {
        Locker::builder(self.mutex.clone()).lease(LEASE).renew_every(7 * SECOND)
    }

    fn lock(&self) -> LockGuard {
        self.builder().build().unwrap().lock().unwrap()
    }

    /// The machine sleeps, and the service does not.
    fn suspend(&self, time: Duration) {
        self.emulator.advance(time);
        self.clock.suspend(time);
    }

    fn count(&self, operation: emulator::Operation) -> usize {
        self.emulator.requests().iter().filter(|request| request.operation == operation).count()
    }

    /// Waits until there is such a request of that status, among those after the first `begun`.
    fn wait_for(&self, operation: emulator::Operation, status: Option<u16>, begun: usize) {
        let since = clock::now();
        while !self.emulator.requests()[begun..].iter().any(|it| it.operation == operation && it.status == status) {
            assert!(clock::now().since(since) < SOON, "{operation:?} did not come");
            sleep(MS);
        }
    }
}

fn hear(builder: Builder) -> (Locker, Receiver<Event>) {
    let (sender, events) = unbounded();
    (builder.on_event(move |event| drop(sender.send(event))).build().unwrap(), events)
}

/// The next event of that sort, and all before it.
fn until(events: &Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut heard = Vec::new();
    while !heard.last().is_some_and(&wanted) {
        match events.recv_timeout(SOON) {
            Ok(event) => heard.push(event),
            Err(error) => panic!("{error} after {heard:?}"),
        }
    }
    heard
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Lost { .. })
}

fn is_renewed(event: &Event) -> bool {
    matches!(event, Event::Renewed { .. })
}

/// The loss is told within the time that is promised, and what this machine is late by.
fn assert_told(lost: &Receiver<Lost>) {
    let (start, lateness) = (clock::now(), Lateness::from_now());
    assert_eq!(lost.recv_timeout(SOON), Ok(Lost::Expired));
    let (took, late) = (clock::now().since(start), lateness.of_two());
    println!("told after {took:?}, by threads that may be {late:?} late");
    assert!(took <= TOLD_WITHIN + late, "{took:?}");
}

#[track_caller]
fn assert_lost(guard: &LockGuard) {
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(guard.ensure_held().unwrap_err().lost_because(), Some(Lost::Expired));
    assert_eq!(guard.wait_lost(Duration::ZERO), Some(Lost::Expired));
}

// Scenario 11, and the next ones.
#[test]
fn a_suspend_past_the_deadline_is_a_loss_at_once() {
    let Some(rig) = Rig::alone(a_suspend_past_the_deadline_is_a_loss_at_once) else { return };
    for time in [PAST_THE_DEADLINE, HOUR, 100 * 365 * 24 * HOUR] {
        let guard = rig.lock();
        guard.ensure_held().unwrap();
        let listener = guard.lost();
        rig.suspend(time);
        assert_lost(&guard);
        assert_eq!(listener.try_recv(), Ok(Lost::Expired), "whoever asks hears it first");
        assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
    }
}

#[test]
fn a_suspend_past_the_deadline_is_told_in_time_and_not_one_renewal_later() {
    let Some(rig) = Rig::alone(a_suspend_past_the_deadline_is_told_in_time_and_not_one_renewal_later) else { return };
    let (locker, events) = hear(rig.builder());
    // Wherever the watchdog is in its sleep.
    for phase in 0..8 {
        let guard = locker.lock().unwrap();
        let listener = guard.lost();
        sleep(phase * 25 * MS);
        rig.suspend(PAST_THE_DEADLINE);
        assert_told(&listener);
        assert_lost(&guard);
        drop(guard);
    }

    let guard = locker.lock().unwrap();
    rig.suspend(PAST_THE_DEADLINE);
    // The lock's thread wakes up and finds nothing to do but to wait for the holder.
    sleep(LONGEST_SLEEP + 300 * MS);
    assert_eq!(rig.count(emulator::Operation::RenewLease), 0);
    assert_eq!(rig.count(emulator::Operation::ReleaseLease), 8);
    assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
    assert_eq!(rig.count(emulator::Operation::ReleaseLease), 9);
    drop(locker);
    assert_eq!(events.iter().filter(is_lost).count(), 9, "once each");
}

#[test]
fn a_suspend_is_noticed_by_whoever_waits_for_the_loss() {
    let Some(rig) = Rig::alone(a_suspend_is_noticed_by_whoever_waits_for_the_loss) else { return };
    let guard = rig.lock();
    let (told, waited) = unbounded();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = guard.wait_lost(Duration::MAX).map(|why| told.send(why));
        });
        sleep(100 * MS);
        rig.suspend(PAST_THE_DEADLINE);
        assert_told(&waited);
    });
}

#[test]
fn a_suspend_while_a_renewal_hangs_is_told_and_its_answer_revives_nothing() {
    let Some(rig) = Rig::alone(a_suspend_while_a_renewal_hangs_is_told_and_its_answer_revives_nothing) else { return };
    let (locker, events) = hear(rig.builder().renew_every(10 * MS));
    // The second is carried out when the loss has been told; of the third nothing is ever heard.
    let delay = 500 * MS;
    for (fault, status) in
        [(Fault::DelayAnswer(delay), Some(200)), (Fault::DelayRequest(delay), None), (Fault::Withhold, Some(200))]
    {
        let begun = rig.emulator.requests().len();
        rig.emulator.fail_next_of(emulator::Operation::RenewLease, 1, fault.clone());
        let guard = locker.lock().unwrap();
        let listener = guard.lost();
        rig.wait_for(emulator::Operation::RenewLease, status, begun);
        rig.suspend(PAST_THE_DEADLINE);
        assert_told(&listener);
        assert_lost(&guard);
        // Its answer is there.
        sleep(delay + 300 * MS);
        assert_eq!(rig.mutex.inspect().unwrap().state(), LockState::Leased, "{fault:?} was to revive the lease");
        assert_lost(&guard);
        assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
    }
    drop(locker);
    let heard: Vec<Event> = events.iter().collect();
    assert_eq!((heard.iter().filter(|event| is_lost(event)).count(), heard.iter().any(is_renewed)), (3, false));
}

#[test]
fn a_suspend_between_the_decision_to_renew_and_its_sending_revives_nothing() {
    let test = a_suspend_between_the_decision_to_renew_and_its_sending_revives_nothing;
    let Some(Rig { clock, mutex, emulator: _emulator }) = Rig::alone(test) else { return };
    let (locker, events) = hear(Locker::builder(mutex).lease(LEASE).renew_every(10 * MS));
    // However soon the renewal comes, the lock has been handed over before it.
    let (obtained, handed_over) = bounded::<()>(0);
    let attempt = move |operation, _| {
        if matches!(operation, Operation::Renew { .. }) {
            let _ = handed_over.recv();
            clock.suspend(PAST_THE_DEADLINE);
        }
        let sent = clock::now();
        let outcome = match operation {
            Operation::Acquire { id, .. } | Operation::Renew { id } => Outcome::Leased(id),
            _ => Outcome::Done,
        };
        Exchange::new(sent, outcome, None)
    };
    let guard = locker
        .obtain_by(
            attempt,
            LeaseId::random().unwrap(),
            Wait::Forever,
            Duration::MAX,
            &never(),
            std::sync::Arc::default(),
        )
        .unwrap();
    drop(obtained);
    until(&events, is_lost);
    assert_lost(&guard);
    assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));
    drop(locker);
    assert!(!events.iter().any(|event| is_renewed(&event) || is_lost(&event)));
}

#[test]
fn a_suspend_shorter_than_what_is_left_loses_nothing() {
    let Some(rig) = Rig::alone(a_suspend_shorter_than_what_is_left_loses_nothing) else { return };
    let (locker, events) = hear(rig.builder());
    let guard = locker.lock().unwrap();
    let listener = guard.lost();
    for _ in 0..2 {
        rig.suspend(8 * SECOND);
        guard.ensure_held().unwrap();
        let left = guard.remaining();
        assert!(left < 5 * SECOND, "{left:?}");
        let resumed = clock::now();
        let heard = until(&events, is_renewed);
        let took = clock::now().since(resumed);
        assert!(took < LONGEST_SLEEP + SLACK, "a renewal was due, and came after {took:?}");
        assert!(guard.remaining() > 10 * SECOND);
        assert_eq!(heard.iter().filter(|event| is_lost(event)).count(), 0);
    }
    assert!(listener.is_empty());
    guard.unlock().unwrap();
    drop(locker);
    assert!(!events.iter().any(|event| is_lost(&event)));
}

#[test]
fn a_wait_whose_time_is_over_in_a_suspend_ends_soon_after() {
    let Some(rig) = Rig::alone(a_wait_whose_time_is_over_in_a_suspend_ends_soon_after) else { return };
    let _lease = rig.mutex.acquire_infinite().unwrap();
    let waiter = thread::spawn({
        let locker = rig.builder().build().unwrap();
        move || locker.lock_timeout(HOUR)
    });
    rig.wait_for(emulator::Operation::GetBlobProperties, Some(200), 0);
    assert!(!waiter.is_finished());
    rig.suspend(HOUR);
    let resumed = clock::now();
    let error = waiter.join().unwrap().unwrap_err();
    let took = clock::now().since(resumed);
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(took < LONGEST_SLEEP + SLACK, "{took:?}");
}

#[test]
fn a_wait_for_the_loss_ends_by_the_same_clock() {
    let Some(rig) = Rig::alone(a_wait_for_the_loss_ends_by_the_same_clock) else { return };
    let guard = rig.lock();
    thread::scope(|scope| {
        let (begins, begun) = bounded(1);
        let waiter = scope.spawn({
            let guard = &guard;
            move || {
                begins.send(()).unwrap();
                (guard.wait_lost(8 * SECOND), clock::now())
            }
        });
        begun.recv().unwrap();
        sleep(300 * MS);
        rig.suspend(8 * SECOND);
        let resumed = clock::now();
        let (lost, ended) = waiter.join().unwrap();
        assert_eq!(lost, None);
        assert!(ended.since(resumed) < LONGEST_SLEEP + SLACK, "{:?}", ended.since(resumed));
    });
    guard.unlock().unwrap();
}

#[test]
fn a_lease_kept_by_hand_is_over_after_a_suspend() {
    let Some(rig) = Rig::alone(a_lease_kept_by_hand_is_over_after_a_suspend) else { return };
    let mut lease = rig.mutex.acquire(LEASE).unwrap();
    rig.suspend(12 * SECOND);
    assert!(lease.is_held());
    rig.mutex.renew(&mut lease).unwrap();
    rig.suspend(PAST_THE_DEADLINE);
    assert!(!lease.is_held());
    let renewals = rig.count(emulator::Operation::RenewLease);
    assert_eq!(rig.mutex.renew(&mut lease).unwrap_err().lost_because(), Some(Lost::Expired));
    assert_eq!(rig.count(emulator::Operation::RenewLease), renewals, "nothing was sent");
    assert_eq!(rig.mutex.release(&mut lease).unwrap_err().kind(), ErrorKind::LeaseLost);
}

/// For the container `locks` of the account that all emulators have, made by another implementation.
const SAS: &str =
    "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=iDXzrPYugxUraQR753UmBCoDr6P5JJS9VTr9MGR8tLg%3D";

// Scenario 11, its second half.
#[test]
fn a_wall_clock_set_by_an_hour_changes_nothing() {
    let Some(rig) = Rig::alone(a_wall_clock_set_by_an_hour_changes_nothing) else { return };
    // Signed in advance, so that no date is looked at.
    rig.mutex.acquire_infinite().map(|mut lease| rig.mutex.release(&mut lease)).unwrap().unwrap();
    let url = format!("{}/locks", rig.emulator.url());
    let container = Container::builder(&url, Credential::sas(SAS).unwrap()).build().unwrap();
    let (locker, events) = hear(Locker::builder(container.mutex("job").unwrap()).lease(LEASE).renew_every(50 * MS));
    let guard = locker.lock().unwrap();
    let listener = guard.lost();
    for set in [SettableClock::set_wall_ahead, SettableClock::set_wall_behind] {
        set(&rig.clock, HOUR);
        guard.ensure_held().unwrap();
        assert!(guard.remaining() > 10 * SECOND && guard.remaining() < PAST_THE_DEADLINE);
        let _before = until(&events, is_renewed);
        for _ in 0..3 {
            let heard = until(&events, is_renewed);
            assert_eq!(heard.len(), 1, "{heard:?}");
        }
        assert!(guard.remaining() > 10 * SECOND && guard.remaining() < PAST_THE_DEADLINE);
        let other = Locker::new(container.mutex("another").unwrap());
        other.lock_timeout(SOON).unwrap().unlock().unwrap();
    }
    assert!(listener.is_empty());
    guard.unlock().unwrap();
}

#[test]
fn a_wall_clock_that_the_service_refuses_is_told_as_such_and_loses_nothing_before_the_deadline() {
    let test = a_wall_clock_that_the_service_refuses_is_told_as_such_and_loses_nothing_before_the_deadline;
    let Some(rig) = Rig::alone(test) else { return };
    let (locker, events) = hear(rig.builder().renew_every(50 * MS));
    for (set, text) in [
        (SettableClock::set_wall_ahead as fn(&_, _), "min ahead of the service's"),
        (SettableClock::set_wall_behind, "min behind the service's"),
    ] {
        let guard = locker.lock().unwrap();
        let listener = guard.lost();
        set(&rig.clock, HOUR);
        let refused = until(&events, |event| matches!(event, Event::RenewalFailed { .. })).pop();
        let Some(Event::RenewalFailed { error, left, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), ErrorKind::ClockSkew);
        assert!(left > 10 * SECOND, "{left:?}");
        guard.ensure_held().unwrap();

        // Nobody who comes now is made to wait for what will not change.
        let other = Locker::new(rig.mutex.container().mutex("another").unwrap());
        for error in [other.lock().unwrap_err(), other.try_lock().unwrap_err(), rig.mutex.acquire(LEASE).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::ClockSkew);
            assert!(error.to_string().contains(text), "{error}");
        }

        rig.clock.set_wall_right();
        until(&events, is_renewed);
        guard.ensure_held().unwrap();
        assert!(listener.is_empty());
        set(&rig.clock, HOUR);
        assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::ClockSkew, "it was ours until then");
        rig.clock.set_wall_right();
        assert_eq!(rig.mutex.inspect().unwrap().state(), LockState::Leased);
        rig.emulator.advance(LEASE);
        assert_eq!(rig.mutex.inspect().unwrap().state(), LockState::Expired, "it ends by itself");
    }
}
