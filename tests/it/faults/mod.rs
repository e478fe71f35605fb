//! The lock over a network that misbehaves: scenarios 6 to 8, 12 to 19, 32 and 33 through the fault proxy to a server,
//! and waits through outages.
//!
//! They take their time on either server: a holder's deadline is its own clock's, which no server moves. So `it` runs
//! them on the emulator, and the target `slow` on Azurite.

#![allow(clippy::disallowed_methods, reason = "the tests measure by other clocks than the library's")]

mod abandoned_grants;
mod after_the_grant;
mod late_answers;
mod lost_grants;
mod lost_releases;
mod old_answers;
mod outages;
mod panics;
mod passing_failures;
mod repeats;
mod silence;
mod store_down;
mod unlock_beside_renewal;

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
struct Rig<'s> {
    server: &'s Server,
    proxy: FaultProxy,
    container: String,
}

impl Rig<'_> {
    /// Nothing is there yet.
    fn unused(server: &Server) -> Rig<'_> {
        // One after the other: some hundred that begin at once would all be late.
        static BEGIN: Mutex<()> = Mutex::new(());
        let _begin = BEGIN.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(10 * MS);
        let proxy = FaultProxy::to(server.port());
        Rig { server, proxy, container: unique("faults") }
    }

    /// The container and the blob are there.
    fn used(server: &Server) -> Rig<'_> {
        let rig = Rig::unused(server);
        rig.server.create_container(&rig.container);
        rig.server.put_blob(&rig.container, LOCK, b"", &[]);
        rig
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

impl Drop for Rig<'_> {
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
