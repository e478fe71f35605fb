//! The lock over a network that misbehaves: scenarios 6 to 8 and 12 to 19 through the fault proxy to a server, and
//! waits through outages.
//!
//! They take their time on either server: a holder's deadline is its own clock's, which no server moves.

#![allow(clippy::disallowed_methods, reason = "the tests measure by other clocks than the library's")]

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::crossbeam_channel::{Receiver, bounded, unbounded};
use azmutex::event::Event;
use azmutex::lease::Lost;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Cancel, Error, ErrorKind, LockGuard, Locker, container, locker};

use super::server;
use crate::support::http::Operation::{self, Acquire, CreateBlob, CreateContainer, Look, Release, Renew};
use crate::support::lateness::Lateness;
use crate::support::proxy::{Entry, Fault, FaultProxy};
use crate::support::server::Server;
use crate::support::unique;

const LOCK: &str = "job";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The shortest that the service grants.
const LEASE: Duration = Duration::from_secs(15);
/// Such a lease without its margin, as the design promises it.
const VALID: Duration = Duration::from_millis(12_700);
/// So long after the deadline a loss is told at the latest. It is told at once, so this is its slack already.
const TOLD_WITHIN: Duration = Duration::from_millis(250);
/// So long after its end a wait returns at the latest.
const BACK_WITHIN: Duration = Duration::from_millis(250);
/// For threads, and an emulator, that wait for one of two busy cores. Less than the waits that a fault here could lead
/// to: five seconds for a request, fifteen for a lease.
const SLACK: Duration = Duration::from_secs(2);
/// What should come at once has come by then, or never will.
const SOON: Duration = Duration::from_secs(20);
/// The pauses after the first and the second failure, if they are shortened as far as they may be.
const LEAST_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

/// One lock in a container of its own, with a proxy before it.
struct Rig {
    server: Server,
    proxy: FaultProxy,
    container: String,
}

impl Rig {
    /// Nothing is there yet.
    fn unused() -> Option<Rig> {
        // One after the other: some hundred that begin at once would all be late.
        static BEGIN: Mutex<()> = Mutex::new(());
        let server = server()?;
        let _begin = BEGIN.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(10 * MS);
        let proxy = FaultProxy::to(server.port());
        Some(Rig { server, proxy, container: unique("faults") })
    }

    /// The container and the blob are there.
    fn used() -> Option<Rig> {
        let rig = Rig::unused()?;
        rig.server.create_container(&rig.container);
        rig.server.put_blob(&rig.container, LOCK, b"", &[]);
        Some(rig)
    }

    fn mutex_at(&self, port: u16, policy: Policy) -> AzureMutex {
        let connection = self.server.connection_string_via(port);
        let builder = container::Builder::from_connection_string(&connection, &self.container).unwrap();
        builder.retry(policy).build().unwrap().mutex(LOCK).unwrap()
    }

    fn mutex(&self, policy: Policy) -> AzureMutex {
        self.mutex_at(self.proxy.port(), policy)
    }

    fn builder(&self, policy: Policy) -> locker::Builder {
        Locker::builder(self.mutex(policy)).lease(LEASE)
    }

    fn locker(&self, policy: Policy) -> Locker {
        self.builder(policy).build().unwrap()
    }

    /// Another client, whose network is sound.
    fn neighbour(&self) -> Locker {
        let mutex = self.mutex_at(self.server.port(), Policy::default());
        Locker::builder(mutex).lease(LEASE).build().unwrap()
    }

    fn requests(&self, operation: Operation) -> Vec<Entry> {
        self.proxy.log().into_iter().filter(|entry| entry.operation == operation).collect()
    }

    fn is_free(&self) -> bool {
        let seen = self.server.blob_headers(&self.container, LOCK);
        matches!(seen.header("x-ms-lease-state"), None | Some("available" | "expired" | "broken"))
    }

    fn becomes_free(&self, limit: Duration) -> bool {
        let since = Instant::now();
        loop {
            if self.is_free() {
                return true;
            }
            if since.elapsed() > limit {
                return false;
            }
            thread::sleep(20 * MS);
        }
    }

    fn assert_free_for_others(&self) {
        self.neighbour().try_lock().unwrap().unlock().unwrap();
    }

    /// Of a wait that ended without the lock, though the service had granted it: one release took that back.
    fn assert_undone(&self, limit: Duration) {
        assert!(self.proxy.wait_for_status(Release, 1, limit), "{:?}", self.proxy.log());
        self.assert_free_for_others();
        // Long enough for a second release, if there were a retry.
        thread::sleep(300 * MS);
        let releases = self.requests(Release);
        assert_eq!(releases.len(), 1, "{releases:?}");
        assert_eq!(releases[0].status, Some(200));
        assert_eq!(releases[0].lease_id, self.only_acquired_id());
    }

    /// The id that all acquires had.
    fn only_acquired_id(&self) -> Option<String> {
        let acquires = self.requests(Acquire);
        let id = acquires[0].lease_id.clone();
        assert!(id.is_some() && acquires.iter().all(|acquire| acquire.lease_id == id), "{acquires:?}");
        id
    }
}

impl Drop for Rig {
    /// No test may leave a lease behind that it has not waited for.
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(self.becomes_free(SLACK), "an orphan: {:?}", self.proxy.log());
        }
    }
}

/// When a hold ends by itself, by what its guard says.
#[derive(Debug)]
struct Deadline(RangeInclusive<Instant>, Lateness);

impl Deadline {
    fn of(guard: &LockGuard) -> Deadline {
        let before = Instant::now();
        let left = guard.remaining();
        Deadline(before + left..=Instant::now() + left, Lateness::from_now())
    }

    fn assert_told(&self, told: Instant) {
        let late = self.1.of_two();
        let took = told.saturating_duration_since(*self.0.start());
        println!("told {took:?} after the deadline, by threads that may be {late:?} late");
        assert!(told >= *self.0.start(), "told {:?} too early", *self.0.start() - told);
        assert!(told <= *self.0.end() + TOLD_WITHIN + late, "told {:?} after the deadline", told - *self.0.end());
    }

    /// It is counted from the sending of the request that arrived at that time.
    fn assert_counts_from(&self, arrived: Instant) {
        assert!(*self.0.start() <= arrived + VALID, "{:?} too late", *self.0.start() - (arrived + VALID));
        assert!(*self.0.end() + SLACK >= arrived + VALID, "{:?} too early", arrived + VALID - *self.0.end());
    }
}

fn hear(builder: locker::Builder) -> (Locker, Receiver<Event>) {
    let (sender, events) = unbounded();
    let observe = move |event| drop(sender.send(event));
    (builder.on_event(observe).build().unwrap(), events)
}

/// All that is told up to the first event that is wanted.
fn until(events: &Receiver<Event>, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let end = Instant::now() + limit;
    let mut heard = Vec::new();
    loop {
        match events.recv_deadline(end) {
            Ok(event) => heard.push(event),
            Err(error) => panic!("{error} after {heard:?}"),
        }
        if heard.last().is_some_and(&wanted) {
            return heard;
        }
    }
}

fn is_renewed(event: &Event) -> bool {
    matches!(event, Event::Renewed { .. })
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Lost { .. })
}

fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}

/// Runs the variants of a test side by side, for they mostly wait.
fn each<T: Send>(variants: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for variant in variants {
            scope.spawn(move || test(variant));
        }
    });
}

fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let since = Instant::now();
    let result = call();
    (result, since.elapsed())
}

fn status(status: u16) -> Fault {
    Fault::Status(status, Vec::new())
}

fn asking_to_wait(status: u16, seconds: u32) -> Fault {
    Fault::Status(status, vec![("retry-after".to_owned(), seconds.to_string())])
}

/// What was asked is done, and the client does not hear of it.
fn unheard() -> [Fault; 3] {
    [Fault::ResetAfter, Fault::Withhold, Fault::AppliedThen(500, Vec::new())]
}

/// Of a request, where the test has one hang.
const LIMIT: Duration = Duration::from_secs(2);

fn quick() -> Policy {
    Policy::default().attempt_limit(LIMIT)
}

fn ways() -> [fn(&Locker) -> azmutex::Result<LockGuard>; 3] {
    [Locker::lock, Locker::try_lock, |locker| locker.lock_timeout(SOON)]
}

fn kind_of<T>(result: azmutex::Result<T>) -> ErrorKind {
    result.map(drop).expect_err("a failure was due").kind()
}

// Scenario 6: loss by silence.

/// Nothing but the lease itself ends a request that hangs while the lock is held.
fn endless() -> Policy {
    Policy::default().attempt_limit(60 * SECOND)
}

#[test]
fn a_black_hole_on_renewals_is_told_at_the_deadline_and_nobody_has_the_lock_before() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.always(Some(Renew), Fault::BlackHole);
    let (locker, events) = hear(rig.builder(endless()));
    let guard = locker.lock().unwrap();
    let deadline = Deadline::of(&guard);
    let granted = rig.requests(Acquire)[0].at;
    deadline.assert_counts_from(granted);
    let neighbour = rig.neighbour();
    let next = thread::spawn(move || (neighbour.lock().unwrap(), Instant::now()));

    let listeners = [guard.lost(), guard.lost()];
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
            deadline.assert_told(Instant::now());
        });
        for listener in &listeners {
            assert_eq!(listener.recv_timeout(LEASE), Ok(Lost::Expired));
            deadline.assert_told(Instant::now());
        }
    });
    let told = Instant::now();
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(kind_of(guard.ensure_held()), ErrorKind::LeaseLost);
    let renewals = rig.requests(Renew);
    assert!(renewals.len() >= 2 && renewals.iter().all(|renewal| renewal.answered.is_none()), "{renewals:?}");
    assert_eq!(count(&until(&events, SOON, is_lost), is_lost), 1);

    let (next, taken) = next.join().unwrap();
    println!("taken over {:?} after the loss was told", taken - told);
    assert!(taken > told);
    assert!(taken < granted + LEASE + SECOND + SLACK, "a lease and a pause after {:?}", taken - granted);
    // The old holder lets go while somebody else holds it already.
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    next.unlock().unwrap();
    assert_eq!(count(&events.try_iter().collect::<Vec<_>>(), is_lost), 0, "told twice");
}

#[test]
fn an_unlock_after_the_loss_is_bounded_though_the_store_is_silent() {
    let Some(rig) = Rig::used() else { return };
    let guard = rig.locker(endless()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let deadline = Deadline::of(&guard);
    let granted = rig.requests(Acquire)[0].at;
    assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
    deadline.assert_told(Instant::now());
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    rig.neighbour().lock_timeout(granted + LEASE + SECOND + SLACK - Instant::now()).unwrap().unlock().unwrap();
}

#[test]
fn renewals_that_fail_at_once_are_not_repeated_without_measure_until_the_deadline() {
    each([Fault::ResetBefore, status(503)], |fault| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.always(Some(Renew), fault);
        let guard = rig.locker(Policy::default()).lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
        deadline.assert_told(Instant::now());
        // Some may have been on their way to the proxy when the deadline passed: each has half of what is left.
        thread::sleep(SLACK);
        let tries = rig.proxy.count(Renew);
        println!("{tries} renewals were tried");
        assert!((4..=40).contains(&tries), "{tries}");
        thread::sleep(SECOND);
        assert_eq!(rig.proxy.count(Renew), tries, "what was lost is still renewed");
        assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        rig.assert_free_for_others();
    });
}

#[test]
fn a_renewal_that_lands_after_the_loss_revives_nothing() {
    // After the holder was told, and the second in time to make the lease last longer on the service's side.
    each([(true, 10 * SECOND), (false, 8_700 * MS)], |(lets_go_first, lands_after)| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Renew, Fault::DelayRequest(lands_after));
        rig.proxy.always(Some(Renew), Fault::BlackHole);
        let guard = rig.locker(endless()).lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
        deadline.assert_told(Instant::now());
        assert_eq!(rig.requests(Renew)[0].status, None, "it landed too early for this test");
        if lets_go_first {
            assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
            rig.assert_free_for_others();
            assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
            assert_eq!(rig.requests(Renew)[0].status, Some(409));
        } else {
            assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
            assert_eq!(rig.requests(Renew)[0].status, Some(200), "it landed too late for this test");
            assert!(!rig.is_free());
            assert!(!guard.is_held());
            assert_eq!(guard.wait_lost(Duration::ZERO), Some(Lost::Expired));
            assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        }
        rig.assert_free_for_others();
    });
}

// Scenario 7: time is counted from the sending.

#[test]
fn a_delayed_answer_shortens_the_hold_by_its_delay() {
    // Less than half of what is left, which is a renewal's limit.
    const DELAY: Duration = Duration::from_secs(3);
    let renewal = || {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Renew, Fault::DelayAnswer(DELAY));
        // The next one is due as soon as the delayed answer is there.
        rig.proxy.always(Some(Renew), Fault::BlackHole);
        let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
        let guard = locker.lock().unwrap();
        let first = Deadline::of(&guard);
        let heard = until(&events, SOON, is_renewed);
        let second = Deadline::of(&guard);
        assert_eq!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })), 0, "{heard:?}");
        assert!(second.0.start() > first.0.end(), "the answer counted for nothing");
        assert!(*second.0.start() <= Instant::now() + VALID - DELAY);
        second.assert_counts_from(rig.requests(Renew)[0].at);
        guard.unlock().unwrap();
    };
    let acquire = || {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
        let guard = rig.locker(Policy::default()).lock().unwrap();
        let deadline = Deadline::of(&guard);
        assert_eq!(rig.proxy.count(Acquire), 1);
        assert!(*deadline.0.start() <= Instant::now() + VALID - DELAY);
        deadline.assert_counts_from(rig.requests(Acquire)[0].at);
        guard.unlock().unwrap();
    };
    let call = || {
        let Some(rig) = Rig::used() else { return };
        let mutex = rig.mutex(Policy::default());
        rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
        let mut lease = mutex.acquire(LEASE).unwrap();
        assert!(lease.remaining() <= VALID - DELAY && lease.remaining() > VALID - DELAY - SLACK);
        rig.proxy.next(Renew, Fault::DelayAnswer(DELAY));
        mutex.renew(&mut lease).unwrap();
        assert!(lease.remaining() <= VALID - DELAY && lease.remaining() > VALID - DELAY - SLACK);
        mutex.release(&mut lease).unwrap();
    };
    each([&renewal as &(dyn Fn() + Sync), &acquire, &call], |variant| variant());
}

#[test]
fn a_grant_that_is_over_when_it_is_heard_of_is_none() {
    const DELAY: Duration = Duration::from_secs(13);
    let Some(rig) = Rig::used() else { return };
    rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
    let guard = rig.locker(Policy::default().attempt_limit(LEASE)).lock().unwrap();
    let deadline = Deadline::of(&guard);
    let acquires = rig.requests(Acquire);
    assert_eq!(acquires.len(), 2);
    assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
    deadline.assert_counts_from(acquires[1].at);
    guard.ensure_held().unwrap();
    guard.unlock().unwrap();
}

// Scenario 8: failures that pass.

fn ride_out(fault: &Fault) {
    each([1, 2], |times| {
        let Some(rig) = Rig::used() else { return };
        for _ in 0..times {
            rig.proxy.next(Renew, fault.clone());
        }
        // So that two that hang do not use up the time.
        let (locker, events) = hear(rig.builder(Policy::default().attempt_limit(1_500 * MS)));
        let guard = locker.lock().unwrap();
        let heard = until(&events, SOON, is_renewed);
        let deadline = Deadline::of(&guard);
        guard.ensure_held().unwrap();
        assert!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })) >= times, "{heard:?}");
        assert_eq!(count(&heard, is_lost), 0, "{heard:?}");

        let renewals = rig.requests(Renew);
        assert!(renewals.len() > times, "{renewals:?}");
        let interval = renewals[0].at - rig.requests(Acquire)[0].at;
        let gaps: Vec<_> = renewals.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        println!("renewed after {interval:?}, again after {gaps:?}");
        for (gap, least) in gaps.iter().zip(LEAST_PAUSES).take(times) {
            assert!(*gap >= least && *gap < interval * 3 / 4, "{gaps:?}");
        }
        deadline.assert_counts_from(renewals[renewals.len() - 1].at);
        guard.unlock().unwrap();
        rig.assert_free_for_others();
    });
}

#[test]
fn one_or_two_renewals_answered_500_cost_nothing() {
    ride_out(&status(500));
}

#[test]
fn one_or_two_renewals_answered_503_cost_nothing() {
    ride_out(&status(503));
}

#[test]
fn one_or_two_renewals_answered_429_cost_nothing() {
    ride_out(&status(429));
}

#[test]
fn one_or_two_renewals_reset_before_they_arrive_cost_nothing() {
    ride_out(&Fault::ResetBefore);
}

#[test]
fn one_or_two_renewals_reset_after_they_were_applied_cost_nothing() {
    ride_out(&Fault::ResetAfter);
}

#[test]
fn one_or_two_renewals_that_vanish_cost_nothing() {
    ride_out(&Fault::BlackHole);
}

#[test]
fn one_or_two_renewals_applied_without_an_answer_cost_nothing() {
    ride_out(&Fault::Withhold);
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it_but_not_the_lock() {
    each([(503, 2, 2 * SECOND + SLACK), (429, 3_600, VALID / 2)], |(code, seconds, longest)| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Renew, asking_to_wait(code, seconds));
        let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
        let guard = locker.lock().unwrap();
        let heard = until(&events, SOON, is_renewed);
        assert_eq!(count(&heard, is_lost), 0, "{heard:?}");
        guard.ensure_held().unwrap();
        let renewals = rig.requests(Renew);
        let pause = renewals[1].at - renewals[0].at;
        println!("asked for {seconds} s, waited {pause:?}");
        assert!(pause >= 2 * SECOND && pause < longest, "{pause:?}");
        guard.unlock().unwrap();
    });
}

#[test]
fn a_pooled_connection_that_the_server_closed_costs_no_renewal() {
    const INTERVAL: Duration = Duration::from_secs(8);
    let Some(rig) = Rig::used() else { return };
    if rig.server.as_emulator().is_some() {
        // The one in the box keeps an idle connection for longer than any interval.
        return;
    }
    let mutex = rig.mutex_at(rig.server.port(), Policy::default());
    let (locker, events) = hear(Locker::builder(mutex).lease(2 * INTERVAL).renew_every(INTERVAL));
    let guard = locker.lock().unwrap();

    // Does the emulator close a connection that has been idle for less than an interval?
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, rig.server.port())).unwrap();
    let path = format!("/devstoreaccount1/{}/{LOCK}", rig.container);
    stream.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
    stream.set_read_timeout(Some(INTERVAL)).unwrap();
    let (closed, idle) = timed(|| stream.read_to_end(&mut Vec::new()));
    assert!(closed.is_ok() && idle > SECOND && idle < INTERVAL * 9 / 10, "{closed:?} after {idle:?}");

    for _ in 0..2 {
        let heard = until(&events, INTERVAL + SOON, is_renewed);
        assert_eq!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })), 0, "{heard:?}");
    }
    guard.unlock().unwrap();
}

// Scenario 12: granted, and not heard of.

#[test]
fn a_grant_whose_answer_is_lost_is_had_by_the_same_acquire_again() {
    let ways = ways().into_iter().flat_map(|way| unheard().map(|fault| (way, fault)));
    each(ways.flat_map(|(way, fault)| [(way, fault.clone(), 1), (way, fault, 2)]), |(way, fault, times)| {
        let Some(rig) = Rig::used() else { return };
        for _ in 0..times {
            rig.proxy.next(Acquire, fault.clone());
        }
        let (locker, events) = hear(rig.builder(quick()));
        let (guard, took) = timed(|| way(&locker).unwrap());
        assert!(took < times * LIMIT + 2 * SLACK, "{took:?}: did it wait for itself?");
        let deadline = Deadline::of(&guard);
        let acquires = rig.requests(Acquire);
        assert!(acquires.len() > times as usize, "{acquires:?}");
        assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
        deadline.assert_counts_from(acquires[acquires.len() - 1].at);
        assert_eq!(rig.proxy.count(Look), 0);
        guard.unlock().unwrap();
        assert_eq!(count(&events.try_iter().collect::<Vec<_>>(), |event| matches!(event, Event::Waiting { .. })), 0);
        rig.assert_free_for_others();
    });
}

#[test]
fn a_call_without_a_locker_gets_the_lease_whose_answer_was_lost() {
    each(unheard(), |fault| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Acquire, fault);
        let mutex = rig.mutex(quick());
        let mut lease = mutex.acquire(LEASE).unwrap();
        assert_eq!(rig.only_acquired_id(), Some(lease.id().to_string()));
        assert!(lease.is_held());
        mutex.release(&mut lease).unwrap();
        rig.assert_free_for_others();
    });
}

#[test]
fn a_fresh_account_is_set_up_though_every_answer_is_lost_once() {
    each(unheard(), |fault| {
        let Some(rig) = Rig::unused() else { return };
        for operation in [CreateContainer, CreateBlob, Acquire] {
            rig.proxy.next(operation, fault.clone());
        }
        // The first acquires only find out what is missing.
        rig.proxy.next(Acquire, Fault::DelayRequest(Duration::ZERO));
        rig.proxy.next(Acquire, fault);
        let guard = rig.locker(quick()).lock().unwrap();
        assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
        assert_eq!(rig.proxy.count(Look), 0);
        guard.unlock().unwrap();
        rig.assert_free_for_others();
    });
}

#[test]
fn whoever_may_have_the_lock_asks_by_acquiring() {
    let Some(rig) = Rig::used() else { return };
    let neighbour = rig.neighbour().lock().unwrap();
    rig.proxy.next(Acquire, Fault::ResetBefore);
    let locker = rig.locker(Policy::default());
    let waiter = thread::spawn(move || locker.lock().unwrap());
    assert!(rig.proxy.wait_for_status(Acquire, 3, SOON));
    assert!(!waiter.is_finished());
    neighbour.unlock().unwrap();
    let guard = waiter.join().unwrap();
    assert_eq!(rig.only_acquired_id(), Some(guard.lease_id().to_string()));
    assert_eq!(rig.proxy.count(Look), 0, "a look would show it its own lease as somebody else's");
    guard.unlock().unwrap();
}

// Scenario 13: granted, and given up.

fn timeout_of(rig: &Rig, policy: Policy, timeout: Duration) -> Error {
    let (result, took) = timed(|| rig.locker(policy).lock_timeout(timeout));
    let error = result.unwrap_err();
    println!("back {:?} after the end of the wait", took.saturating_sub(timeout));
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(took >= timeout && took < timeout + BACK_WITHIN + SLACK, "{took:?}");
    error
}

/// Cancels a wait when `rig` has applied such a request.
fn cancelled_at(rig: &Rig, operation: Operation, policy: Policy) {
    let cancel = Cancel::new();
    let (locker, canceller) = (rig.locker(policy), cancel.clone());
    let waiter = thread::spawn(move || (locker.lock_or_cancel(&cancel), Instant::now()));
    assert!(rig.proxy.wait_for_status(operation, 1, SOON));
    let called = Instant::now();
    canceller.cancel();
    let (result, back) = waiter.join().unwrap();
    let took = back - called;
    println!("back {took:?} after the call of cancel");
    assert_eq!(kind_of(result), ErrorKind::Cancelled);
    assert!(took < BACK_WITHIN + SLACK, "{took:?}");
}

#[test]
fn a_grant_unheard_of_by_the_end_of_the_wait_is_undone() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.always(Some(Acquire), Fault::Withhold);
    timeout_of(&rig, Policy::default(), SECOND);
    rig.assert_undone(SLACK);
}

#[test]
fn a_grant_unheard_of_when_the_wait_is_cancelled_is_undone() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.next(Acquire, Fault::Withhold);
    cancelled_at(&rig, Acquire, Policy::default());
    rig.assert_undone(5 * SECOND + SLACK);
}

#[test]
fn a_grant_unheard_of_in_all_tries_is_undone() {
    each([true, false], |kept| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.always(Some(Acquire), Fault::Withhold);
        let policy = quick().retries(1);
        let (result, took) = if kept {
            timed(|| rig.locker(policy).try_lock().map(drop))
        } else {
            timed(|| rig.mutex(policy).acquire(LEASE).map(drop))
        };
        assert_eq!(kind_of(result), ErrorKind::Unavailable);
        assert!(took < 2 * LIMIT + 200 * MS + BACK_WITHIN + SLACK, "{took:?}");
        assert_eq!(rig.proxy.count(Acquire), 2);
        rig.assert_undone(SLACK);
    });
}

#[test]
fn a_wait_ends_in_time_though_the_undoing_hangs() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.always(Some(Acquire), Fault::Withhold);
    rig.proxy.always(Some(Release), Fault::BlackHole);
    timeout_of(&rig, Policy::default(), SECOND);
    assert!(!rig.is_free());
    let granted = rig.requests(Acquire).pop().unwrap().at;
    assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
    assert_eq!(rig.proxy.count(Release), 1, "one release, bounded");
}

#[test]
fn a_wait_ends_in_time_though_the_store_is_silent() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.always(None, Fault::BlackHole);
    timeout_of(&rig, Policy::default(), 1_500 * MS);
    let cancel = Cancel::new();
    let (locker, canceller) = (rig.locker(Policy::default()), cancel.clone());
    let tries = rig.proxy.count(Acquire);
    let waiter = thread::spawn(move || locker.lock_or_cancel(&cancel));
    assert!(rig.proxy.wait_for(Acquire, tries + 1, SOON));
    let called = Instant::now();
    canceller.cancel();
    assert_eq!(kind_of(waiter.join().unwrap()), ErrorKind::Cancelled);
    assert!(called.elapsed() < BACK_WITHIN + SLACK, "{:?}", called.elapsed());
}

#[test]
fn a_wait_that_failed_until_its_end_says_why() {
    each([status(503), Fault::BlackHole], |fault| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.always(None, fault);
        let error = timeout_of(&rig, Policy::default().attempt_limit(LIMIT / 4), LIMIT);
        assert!(error.source().is_some(), "the last failure is the source, say the docs");
    });
}

#[test]
fn a_grant_that_lands_when_nobody_wants_it_any_more_lasts_one_lease() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.next(Acquire, Fault::Late(2 * SECOND));
    let result = rig.locker(Policy::default().retries(0)).try_lock();
    assert_eq!(kind_of(result), ErrorKind::Unavailable);
    assert!(rig.proxy.wait_for_status(Release, 1, SOON));
    assert_eq!(rig.requests(Acquire)[0].status, None, "it landed too early for this test");
    assert!(rig.proxy.wait_for_status(Acquire, 1, SOON));
    let landed = Instant::now();
    assert!(!rig.is_free());
    let limit = LEASE + 2 * SECOND;
    assert!(rig.becomes_free(limit));
    println!("free {:?} after the late grant", landed.elapsed());
    let guard = rig.neighbour().try_lock().unwrap();
    assert_eq!(rig.proxy.count(Release), 1);
    guard.unlock().unwrap();
}

// Scenario 14: released, and not heard of.

#[test]
fn a_release_whose_answer_is_lost_has_worked() {
    // A second release that is given up on leaves no time for a third.
    let twice = [(Fault::ResetAfter, 2), (Fault::AppliedThen(500, Vec::new()), 2)];
    each(unheard().map(|fault| (fault, 1)).into_iter().chain(twice), |(fault, times)| {
        let Some(rig) = Rig::used() else { return };
        for _ in 0..times {
            rig.proxy.next(Release, fault.clone());
        }
        let (locker, events) = hear(rig.builder(quick()));
        let guard = locker.lock().unwrap();
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < times * LIMIT + 2 * SLACK, "{took:?}");
        assert!(rig.proxy.count(Release) > times as usize);
        let heard = until(&events, SOON, |event| matches!(event, Event::Released { .. }));
        assert_eq!(count(&heard, |event| matches!(event, Event::ReleaseFailed { .. })), 0, "{heard:?}");
        rig.assert_free_for_others();
    });
}

#[test]
fn a_call_that_releases_has_worked_though_its_answer_is_lost() {
    each(unheard(), |fault| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Release, fault);
        let mutex = rig.mutex(quick());
        let mut lease = mutex.acquire(LEASE).unwrap();
        mutex.release(&mut lease).unwrap();
        rig.assert_free_for_others();
    });
}

#[test]
fn a_repeated_release_neither_fails_nor_disturbs_the_next_holder() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.next(Release, Fault::ResetAfter);
    rig.proxy.next(Release, Fault::DelayRequest(4 * SECOND));
    let guard = rig.locker(Policy::default().attempt_limit(8 * SECOND)).lock().unwrap();
    let neighbour = rig.neighbour();
    let next = thread::spawn(move || neighbour.lock().unwrap());
    thread::scope(|scope| {
        let unlocking = scope.spawn(|| guard.unlock());
        let next = next.join().unwrap();
        let second = rig.requests(Release).into_iter().nth(1);
        assert!(second.is_none_or(|second| second.status.is_none()), "it landed too early for this test");
        unlocking.join().unwrap().unwrap();
        assert_eq!(rig.requests(Release)[1].status, Some(409));
        assert!(!rig.is_free());
        next.unlock().unwrap();
    });
}

#[test]
fn a_release_that_found_the_lease_gone_and_cannot_have_worked_tells_the_loss() {
    // With 429 the service says that it has not carried it out.
    each([None, Some(status(429))], |first| {
        let Some(rig) = Rig::used() else { return };
        let guard = rig.locker(Policy::default()).lock().unwrap();
        rig.server.break_lease(&rig.container, LOCK, Some(0));
        let next = rig.neighbour().try_lock().unwrap();
        if let Some(fault) = first {
            rig.proxy.next(Release, fault);
        }
        assert_eq!(kind_of(guard.unlock()), ErrorKind::LeaseLost);
        next.unlock().unwrap();
    });
}

// Scenario 15: granted, and something is amiss after it.

#[test]
fn a_grant_that_comes_after_the_caller_left_is_released() {
    const DELAY: Duration = Duration::from_secs(2);
    let Some(rig) = Rig::used() else { return };
    rig.proxy.next(Acquire, Fault::DelayAnswer(DELAY));
    cancelled_at(&rig, Acquire, Policy::default());
    rig.assert_undone(DELAY + SLACK);
    let (acquired, released) = (rig.requests(Acquire)[0].answered.unwrap(), rig.requests(Release)[0].at);
    assert!(released >= acquired, "by the grant's answer, and not by the end of its limit");
    assert!(released - acquired < SLACK, "{:?}", released - acquired);
}

#[test]
fn a_grant_in_the_wait_for_another_holder_is_released_when_the_caller_leaves() {
    let Some(rig) = Rig::used() else { return };
    let neighbour = rig.neighbour().lock().unwrap();
    let cancel = Cancel::new();
    let (locker, canceller) = (rig.locker(Policy::default()), cancel.clone());
    let waiter = thread::spawn(move || locker.lock_or_cancel(&cancel));
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    let refused = rig.proxy.count(Acquire);
    rig.proxy.always(Some(Acquire), Fault::DelayAnswer(SECOND));
    neighbour.unlock().unwrap();
    assert!(rig.proxy.wait_for_status(Acquire, refused + 1, SOON));
    canceller.cancel();
    assert_eq!(kind_of(waiter.join().unwrap()), ErrorKind::Cancelled);
    rig.assert_undone(SECOND + SLACK);
}

#[test]
fn nothing_is_acquired_once_the_caller_left() {
    let Some(rig) = Rig::unused() else { return };
    rig.proxy.next(CreateBlob, Fault::DelayAnswer(SECOND));
    cancelled_at(&rig, CreateBlob, Policy::default());
    thread::sleep(SECOND + 500 * MS);
    let log = rig.proxy.log();
    assert_eq!(log.last().unwrap().operation, CreateBlob, "{log:?}");
    rig.assert_free_for_others();
}

// Scenario 16: the network repeats requests.

/// A lock is made, held, renewed, waited for and handed over.
fn live_through(repeated: Option<Operation>, fault: &Fault) {
    let Some(rig) = Rig::unused() else { return };
    rig.proxy.always(repeated, fault.clone());
    let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
    let first = locker.lock().unwrap();
    let second = rig.locker(Policy::default());
    let waiter = thread::spawn(move || second.lock().unwrap());
    until(&events, SOON, is_renewed);
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    first.ensure_held().unwrap();
    assert!(!waiter.is_finished());
    let mut results = vec![first.unlock()];
    let second = waiter.join().unwrap();
    second.ensure_held().unwrap();
    results.push(second.unlock());

    let told_by_the_copy = matches!(fault, Fault::Repeat) && matches!(repeated, None | Some(Release));
    for result in results {
        match result {
            Ok(()) => {}
            Err(error) if told_by_the_copy => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}"),
            Err(error) => panic!("{repeated:?}: {error:?}"),
        }
    }
    let faults = rig.proxy.log().iter().filter(|entry| entry.fault).count();
    assert!(faults > 0, "{repeated:?} was never asked for");
    let failures: Vec<_> = events.try_iter().filter(|event| matches!(event, Event::RenewalFailed { .. })).collect();
    assert!(failures.is_empty(), "{failures:?}");
    rig.assert_free_for_others();
}

const REPEATED: [Option<Operation>; 7] =
    [Some(CreateContainer), Some(CreateBlob), Some(Acquire), Some(Look), Some(Renew), Some(Release), None];

#[test]
fn requests_answered_by_their_second_copy_change_nothing() {
    each(REPEATED, |repeated| live_through(repeated, &Fault::Repeat));
}

#[test]
fn requests_answered_by_their_first_copy_change_nothing() {
    each(REPEATED, |repeated| live_through(repeated, &Fault::RepeatFirst));
}

// Scenario 17: unlock beside a renewal.

#[test]
fn an_unlock_lets_a_renewal_under_way_end_first() {
    const DELAY: Duration = Duration::from_millis(1_500);
    each([Fault::DelayAnswer(DELAY), Fault::DelayRequest(DELAY)], |fault| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Renew, fault);
        let guard = rig.builder(Policy::default()).renew_every(SECOND).build().unwrap().lock().unwrap();
        let lost = guard.lost();
        assert!(rig.proxy.wait_for(Renew, 1, SOON));
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < DELAY + 2 * SLACK, "{took:?}");
        assert!(lost.recv().is_err(), "it was not lost");
        rig.assert_free_for_others();
        let (renewals, releases) = (rig.requests(Renew), rig.requests(Release));
        assert_eq!((renewals.len(), releases.len()), (1, 1));
        assert!(releases[0].at >= renewals[0].answered.unwrap());
        assert_eq!(releases[0].status, Some(200));
    });
}

#[test]
fn a_renewal_that_was_given_up_and_lands_after_the_release_is_refused() {
    each([true, false], |handed_over| {
        let Some(rig) = Rig::used() else { return };
        rig.proxy.next(Renew, Fault::DelayRequest(3 * LIMIT));
        let guard = rig.builder(quick()).renew_every(SECOND).build().unwrap().lock().unwrap();
        assert!(rig.proxy.wait_for(Renew, 1, SOON));
        guard.unlock().unwrap();
        let next = handed_over.then(|| rig.neighbour().try_lock().unwrap());
        assert_eq!(rig.requests(Renew)[0].status, None, "it landed too early for this test");
        assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
        assert_eq!(rig.requests(Renew)[0].status, Some(409));
        if let Some(next) = next {
            next.unlock().unwrap();
        }
        assert!(rig.is_free());
    });
}

// Scenario 18: letting go while the store is down.

#[test]
fn a_drop_is_bounded_though_the_store_is_down_and_the_lease_ends_by_itself() {
    // The last of each is the bound: a limit of its own makes the drop faster than the usual one would.
    let variants = [
        (Fault::BlackHole, None, 2 * SECOND + SLACK),
        (Fault::BlackHole, Some(100 * MS), 1_900 * MS),
        (Fault::ResetBefore, None, 2 * SECOND + SLACK),
    ];
    each(variants, |(fault, drop_limit, bound)| {
        let Some(rig) = Rig::used() else { return };
        let builder = rig.builder(Policy::default());
        let (locker, events) = hear(match drop_limit {
            Some(limit) => builder.drop_limit(limit),
            None => builder,
        });
        let guard = locker.lock().unwrap();
        rig.proxy.always(None, fault);
        let ((), took) = timed(|| drop(guard));
        println!("dropped in {took:?}");
        assert!(took < bound, "{took:?}");
        let heard = until(&events, LEASE, |event| matches!(event, Event::ReleaseFailed { .. }));
        assert_eq!(count(&heard, is_lost), 0, "nobody is left to be told: {heard:?}");
        let granted = rig.requests(Acquire)[0].at;
        assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
        assert_eq!(rig.proxy.count(Renew), 0, "nobody renews what was let go");
    });
}

#[test]
fn an_unlock_while_the_store_is_down_is_bounded_and_says_so() {
    let Some(rig) = Rig::used() else { return };
    let guard = rig.locker(quick()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let (unlocked, took) = timed(|| guard.unlock());
    let error = unlocked.unwrap_err();
    println!("{error:?} after {took:?}");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it was ours until the call: {error:?}");
    // A renewal's limit and two tries of the release.
    assert!(took < 3 * LIMIT + SLACK, "{took:?}");
    let granted = rig.requests(Acquire)[0].at;
    assert!(rig.becomes_free((granted + LEASE + SLACK).saturating_duration_since(Instant::now())));
}

#[test]
fn an_unlock_does_not_outlast_the_lease() {
    let Some(rig) = Rig::used() else { return };
    let guard = rig.locker(Policy::default()).lock().unwrap();
    rig.proxy.always(None, Fault::BlackHole);
    let granted = rig.requests(Acquire)[0].at;
    // With a renewal under way, and with less time left than the release's own limit.
    thread::sleep(11 * SECOND);
    let (unlocked, took) = timed(|| guard.unlock());
    let after = granted.elapsed();
    println!("back {took:?} after the call, {after:?} after the grant");
    assert_eq!(kind_of(unlocked), ErrorKind::Unavailable);
    assert!(after < LEASE + SLACK, "{after:?}");
}

// Scenario 19: panics, and observers that misbehave.

fn block(gate: &Receiver<()>) {
    let _ = gate.recv();
}

#[test]
fn a_panic_while_holding_releases() {
    let Some(rig) = Rig::used() else { return };
    let guard = rig.locker(Policy::default()).lock().unwrap();
    let holder = thread::spawn(move || {
        guard.ensure_held().unwrap();
        panic!("on purpose");
    });
    assert!(holder.join().is_err());
    assert_eq!(rig.proxy.count(Release), 1);
    rig.assert_free_for_others();
}

#[test]
fn an_observer_that_panics_or_blocks_does_not_disturb_the_lock() {
    if server().is_none() {
        return;
    }
    let (open, gate) = bounded::<()>(0);
    let (heard, calls) = unbounded();
    let panics: Box<dyn FnMut(Event) + Send> = Box::new(move |event| {
        heard.send(event).unwrap();
        panic!("on purpose");
    });
    let blocks: Box<dyn FnMut(Event) + Send> = Box::new(move |_| block(&gate));
    each([panics, blocks], |observe| {
        let Some(rig) = Rig::used() else { return };
        let builder = rig.builder(Policy::default()).renew_every(SECOND);
        let guard = builder.on_event(observe).build().unwrap().lock().unwrap();
        assert!(rig.proxy.wait_for_status(Renew, 3, SOON));
        guard.ensure_held().unwrap();
        let renewals = rig.requests(Renew);
        let gaps: Vec<_> = renewals.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert!(gaps.iter().all(|gap| *gap < SECOND + SLACK), "{gaps:?}");
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < 2 * SLACK, "{took:?}");
        rig.assert_free_for_others();
    });
    drop(open);
    let heard: Vec<_> = calls.iter().collect();
    assert!(count(&heard, is_renewed) >= 2, "it is called again after a panic: {heard:?}");
}

#[test]
fn a_loss_is_told_in_time_though_the_observer_blocks() {
    let Some(rig) = Rig::used() else { return };
    rig.proxy.always(Some(Renew), status(500));
    let (open, gate) = bounded::<()>(0);
    let builder = rig.builder(Policy::default()).on_event(move |_| block(&gate));
    let guard = builder.build().unwrap().lock().unwrap();
    let deadline = Deadline::of(&guard);
    assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
    deadline.assert_told(Instant::now());
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    rig.assert_free_for_others();
    drop(open);
}

// Waiting through an outage.

type Waited = (azmutex::Result<LockGuard>, Instant);

/// A lock of the neighbour's, and what comes of a wait for it.
fn waiting(rig: &Rig, policy: Policy) -> (LockGuard, Receiver<Waited>) {
    let neighbour = rig.neighbour().lock().unwrap();
    let locker = rig.locker(policy.longest_pause(300 * MS));
    let (sender, waited) = bounded(1);
    thread::spawn(move || sender.send((locker.lock(), Instant::now())));
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    (neighbour, waited)
}

#[test]
fn a_wait_survives_an_outage_that_its_patience_bears() {
    each([Fault::BlackHole, Fault::ResetBefore, Fault::Withhold, status(503)], |fault| {
        let Some(rig) = Rig::used() else { return };
        let (neighbour, waited) = waiting(&rig, quick());
        rig.proxy.always(None, fault);
        thread::sleep(SECOND);
        neighbour.unlock().unwrap();
        thread::sleep(2 * SECOND);
        assert!(waited.is_empty());
        rig.proxy.clear();
        let over = Instant::now();
        let (result, obtained) = waited.recv_timeout(SOON).unwrap();
        let took = obtained - over;
        println!("obtained {took:?} after the outage");
        // A request that still hangs, a pause, and perhaps another for the acquire.
        assert!(took < LIMIT + 600 * MS + 2 * SLACK, "{took:?}");
        result.unwrap().unlock().unwrap();
    });
}

#[test]
fn a_wait_ends_when_an_outage_outlasts_its_patience() {
    const PATIENCE: Duration = Duration::from_secs(2);
    each([Fault::BlackHole, Fault::ResetBefore, status(500), asking_to_wait(503, 3_600)], |fault| {
        let Some(rig) = Rig::used() else { return };
        let (neighbour, waited) = waiting(&rig, quick().patience(PATIENCE));
        rig.proxy.always(None, fault);
        let began = Instant::now();
        let (result, ended) = waited.recv_timeout(SOON).unwrap();
        let took = ended - began;
        println!("given up after {took:?}");
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(took >= PATIENCE, "{took:?}");
        // A pause before the first failure and its limit, and another of each, as long as patience at most.
        assert!(took < PATIENCE + SECOND + LIMIT + PATIENCE + LIMIT + SLACK, "{took:?}");
        neighbour.unlock().unwrap();
    });
}

#[test]
fn patience_begins_anew_with_a_proper_answer() {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Some(rig) = Rig::used() else { return };
    let (neighbour, waited) = waiting(&rig, quick().patience(PATIENCE));
    for _ in 0..2 {
        rig.proxy.always(None, Fault::ResetBefore);
        thread::sleep(3 * SECOND);
        rig.proxy.clear();
        // It may ask by a look or by an acquire.
        let answers = || rig.proxy.log().iter().filter(|entry| entry.answered.is_some()).count();
        let (before, since) = (answers(), Instant::now());
        while answers() == before {
            assert!(since.elapsed() < SOON, "{:?}", rig.proxy.log());
            thread::sleep(10 * MS);
        }
    }
    neighbour.unlock().unwrap();
    let (result, _) = waited.recv_timeout(SOON).unwrap();
    result.unwrap().unlock().unwrap();
}
