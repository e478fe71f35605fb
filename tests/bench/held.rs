//! Locks that are held: what they cost while nothing happens to them.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::bare::{Action, Client, Place, Ureq, lease};
use crate::process::{Process, heard, say};
use crate::report::Report;
use crate::servers;
use crate::stats::processor_time;
use crate::support::account::Account;

const LOCKS: [u32; 3] = [1, 200, 1_000];
const WATCHED: Duration = Duration::from_secs(60);
/// The default one.
const INTERVAL: Duration = Duration::from_secs(10);
/// That take locks at the same time.
const THREADS: u32 = 20;

const CANDIDATES: [&str; 2] = ["Locker", "ureq, one scheduler"];

/// All at the same time, as there is little to do.
pub(crate) fn held(report: &mut Report) {
    let measured: Vec<_> = thread::scope(|scope| {
        let each = LOCKS.into_iter().flat_map(|locks| CANDIDATES.map(|candidate| (locks, candidate)));
        let watches: Vec<_> = each.map(|(locks, candidate)| scope.spawn(move || watch(locks, candidate))).collect();
        watches.into_iter().map(|watch| watch.join().unwrap()).collect()
    });
    let mut measured = measured.into_iter();
    for locks in LOCKS {
        report.table(&format!("{locks} held, for a minute from when all had been taken, together"));
        for (candidate, measured) in CANDIDATES.into_iter().zip(&mut measured) {
            report.row(
                candidate,
                vec![
                    ("memory over the empty program", format!("{:.1} MB", measured.memory)),
                    ("at most", format!("{:.1} MB", measured.peak)),
                    ("threads", measured.threads.to_string()),
                    ("processor time", format!("{:.0} ms", measured.processor * 1e3)),
                    ("a renewal", format!("{:.0} us", measured.processor * 1e6 / measured.renewals)),
                    ("renewals", format!("{:.0}", measured.renewals)),
                    ("most in a second", measured.burst.to_string()),
                    ("new connections", measured.connections.to_string()),
                ],
            );
        }
    }
}

struct Measured {
    /// In megabytes.
    memory: f64,
    peak: f64,
    threads: u64,
    /// In seconds.
    processor: f64,
    renewals: f64,
    burst: u64,
    connections: u64,
}

fn watch(locks: u32, candidate: &str) -> Measured {
    let mut server = servers::start("canned").unwrap();
    let (count, port) = (locks.to_string(), server.account.port().to_string());
    let mut process = Process::start(&["held", candidate, &count, &port]);
    process.tell("take");
    process.says();
    server.counts();
    let [memory, peak, threads, processor] = process.ask("hold");
    let counts = server.counts();
    let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
    Measured {
        memory: megabytes(memory),
        peak: megabytes(peak),
        threads,
        processor: processor as f64 / 1e6,
        renewals: counts.requests as f64,
        burst: counts.burst,
        connections: counts.connections,
    }
}

/// Takes so many locks, and holds them.
pub(crate) fn some(candidate: &str, locks: &str, port: &str) {
    let (locks, port) = (locks.parse().unwrap(), port.parse().unwrap());
    // Waits for its word, so that what this takes belongs to the empty program.
    heard();
    let empty = status("VmRSS:");
    match candidate {
        "Locker" => lockers(locks, port, || hold(empty)),
        _ => scheduler(locks, port, || hold(empty)),
    }
}

fn hold(empty: u64) {
    say("");
    heard();
    let before = processor_time();
    thread::sleep(WATCHED);
    let spent = processor_time() - before;
    let [memory, peak, threads] = ["VmRSS:", "VmHWM:", "Threads:"].map(status);
    say(&format!("{} {} {threads} {}", memory - empty, peak - empty, spent.as_micros()));
}

fn lockers(locks: u32, port: u16, hold: impl FnOnce()) {
    let container = Account::at(port).container("held");
    let guards = Mutex::new(Vec::new());
    let take = |i: u32| {
        let guard = container.locker(&i.to_string()).unwrap().lock().unwrap();
        guards.lock().unwrap().push(guard);
    };
    thread::scope(|scope| {
        for first in 0..THREADS.min(locks) {
            let take = &take;
            scope.spawn(move || (first..locks).step_by(THREADS as usize).for_each(take));
        }
    });
    hold();
    for guard in guards.into_inner().unwrap() {
        guard.ensure_held().unwrap();
    }
}

/// One thread renews all, one after the other: the least that it takes.
fn scheduler(locks: u32, port: u16, hold: impl FnOnce()) {
    let mut client = Ureq::new();
    let locks: Vec<_> = (0..locks).map(|i| (Place::new(port, "held", &i.to_string()), lease())).collect();
    for (place, lease) in &locks {
        assert_eq!(client.ask(place, Action::Acquire, lease), 201);
    }
    thread::spawn(move || {
        let (begun, pause) = (Instant::now(), INTERVAL / locks.len() as u32);
        for (turn, (place, lease)) in (1..).zip(locks.iter().cycle()) {
            thread::sleep((begun + pause * turn).saturating_duration_since(Instant::now()));
            assert_eq!(client.ask(place, Action::Renew, lease), 200);
        }
    });
    hold();
}

/// What the system says of this process: of memory, in KiB.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
