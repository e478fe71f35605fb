//! Processes that wait for each other.

use std::process;
use std::thread;
use std::time::Duration;

use azmutex::crossbeam_channel::bounded;

use crate::bare::{Action, Client, Place, Ureq, lease};
use crate::process::{Process, heard, say};
use crate::report::{Cells, Report};
use crate::servers::{self, Counts, Server};
use crate::stats::{median, now};
use crate::support::account::Account;

const SECOND: Duration = Duration::from_secs(1);
const CANDIDATES: [&str; 2] = ["Locker", "ureq, a try each second"];

/// Pairs of processes, each pair with a lock of its own.
const PAIRS: usize = 10;
const HAND_OVERS: usize = 6;
/// For how long one waits at least.
const HOLD: Duration = Duration::from_secs(2);

pub(crate) fn hand_overs(report: &mut Report) {
    let measured: Vec<_> = thread::scope(|scope| {
        CANDIDATES.map(|candidate| scope.spawn(move || hand_over(candidate))).map(|some| some.join().unwrap()).into()
    });
    report.table(&format!("hand-over between two processes, {} times: from before the unlock", PAIRS * HAND_OVERS));
    for (candidate, cells) in CANDIDATES.into_iter().zip(measured) {
        report.row(candidate, cells);
    }
}

fn hand_over(candidate: &str) -> Cells {
    let mut server = servers::start("emulator").unwrap();
    prepare(&server, PAIRS);
    let port = server.account.port().to_string();
    server.counts();
    let measured: Vec<(f64, f64)> = thread::scope(|scope| {
        let pairs: Vec<_> = (0..PAIRS)
            .map(|pair| {
                scope.spawn({
                    let port = &port;
                    move || {
                        let start = || Process::start(&["waits", candidate, port, &pair.to_string(), "1"]);
                        let (mut holder, mut waiter) = (start(), start());
                        let [_] = holder.ask("lock");
                        let mut measured = Vec::new();
                        for turn in 0..HAND_OVERS {
                            let begun = now();
                            waiter.tell("lock");
                            // At any time of a second of the waiter's.
                            thread::sleep(HOLD + SECOND * ((pair + PAIRS * turn) * 37 % 100) as u32 / 100);
                            let [released] = holder.ask("unlock");
                            let [locked] = waiter.numbers();
                            measured.push(((locked - released) as f64 / 1e9, (released - begun) as f64 / 1e9));
                            (holder, waiter) = (waiter, holder);
                        }
                        let [_] = holder.ask("unlock");
                        measured
                    }
                })
            })
            .collect();
        pairs.into_iter().flat_map(|pair| pair.join().unwrap()).collect()
    });
    let Counts { reads, refused, .. } = server.counts();
    let times: Vec<_> = measured.iter().map(|(time, _)| *time).collect();
    let most = times.iter().copied().fold(0.0, f64::max);
    let waited: f64 = measured.iter().map(|(time, waited)| time + waited).sum();
    vec![
        ("median", format!("{:.2} s", median(times))),
        ("at most", format!("{most:.2} s")),
        ("reads a second", format!("{:.2}", reads as f64 / waited)),
        ("4xx a lock", format!("{:.2}", refused as f64 / measured.len() as f64)),
    ]
}

/// Creates so many locks.
fn prepare(server: &Server, locks: usize) {
    let container = server.account.container("waits");
    for lock in 0..locks {
        container.locker(&lock.to_string()).unwrap().lock().unwrap().unlock().unwrap();
    }
}

/// For how long those who wait are counted.
const WATCHED: Duration = Duration::from_secs(10);
/// Until their pauses are as long as they get.
const SETTLED: Duration = Duration::from_secs(5);

/// Who waits for one lock: processes, and threads of each; and how many such crowds are measured at the same time.
const CROWDS: [(&str, &str, usize, usize, usize); 5] = [
    ("one thread", "Locker", 1, 1, 12),
    ("200 threads of a process", "Locker", 1, 200, 5),
    ("4 processes of 50 threads", "Locker", 4, 50, 3),
    ("50 processes", "Locker", 50, 1, 3),
    ("200 threads of ureq, a try each second", "ureq, a try each second", 1, 200, 1),
];

pub(crate) fn crowds(report: &mut Report) {
    report.table("who waits for a lock, and one release");
    let measured: Vec<Vec<_>> = thread::scope(|scope| {
        let crowds = CROWDS.map(|(_, candidate, processes, threads, crowds)| {
            let one = |_| scope.spawn(move || crowd(candidate, processes, threads));
            (0..crowds).map(one).collect::<Vec<_>>()
        });
        let ends = crowds.into_iter().map(|crowds| crowds.into_iter().map(|crowd| crowd.join().unwrap()).collect());
        ends.collect()
    });
    for ((name, .., crowds), measured) in CROWDS.into_iter().zip(measured) {
        let each = |part: fn(&Crowd) -> f64| measured.iter().map(part);
        let mean = |part| each(part).sum::<f64>() / crowds as f64;
        report.row(
            name,
            vec![
                ("requests in 10 s of waiting", format!("{:.1}", mean(|crowd| crowd.before))),
                ("in 10 s after the release", format!("{:.1}", mean(|crowd| crowd.after))),
                ("to the next holder", format!("{:.2} s", median(each(|crowd| crowd.next).collect()))),
            ],
        );
    }
}

struct Crowd {
    /// Requests.
    before: f64,
    after: f64,
    /// In seconds.
    next: f64,
}

fn crowd(candidate: &str, processes: usize, threads: usize) -> Crowd {
    let mut server = servers::start("emulator").unwrap();
    prepare(&server, 1);
    let port = server.account.port().to_string();
    let mut holder = Process::start(&["waits", "Locker", &port, "0", "1"]);
    let [_] = holder.ask("lock");
    let start = || Process::start(&["waits", candidate, &port, "0", &threads.to_string()]);
    let mut crowd: Vec<_> = (0..processes).map(|_| start()).collect();
    crowd.iter_mut().for_each(|process| process.tell("lock"));
    thread::sleep(SETTLED);
    server.counts();
    thread::sleep(WATCHED);
    let before = server.counts().requests as f64;
    let [released] = holder.ask("unlock");
    thread::sleep(WATCHED);
    let after = server.counts().requests as f64;
    // Whoever has it says so, and keeps it to the end.
    crowd.iter_mut().for_each(|process| process.tell("end"));
    let locked = crowd.iter_mut().flat_map(Process::rest).next().expect("a next holder");
    let locked: u64 = locked.parse().expect("a time");
    Crowd { before, after, next: (locked - released) as f64 / 1e9 }
}

/// Threads that lock when they are told so, say when they have it, and unlock when they are told that.
pub(crate) fn some(candidate: &str, port: &str, lock: &str, threads: &str) {
    let (port, threads) = (port.parse().unwrap(), threads.parse().unwrap());
    let place = &Place::new(port, "waits", lock);
    let locker = &Account::at(port).container("waits").locker(lock).unwrap();
    let (word, unlocks) = bounded::<()>(0);
    let held = || {
        say(&now().to_string());
        unlocks.recv().unwrap();
        say(&now().to_string());
    };
    let wait = || {
        if candidate == "Locker" {
            let guard = locker.lock().unwrap();
            held();
            guard.unlock().unwrap();
        } else {
            let (mut client, lease) = (Ureq::new(), lease());
            while client.ask(place, Action::Acquire, &lease) != 201 {
                thread::sleep(SECOND);
            }
            held();
            assert_eq!(client.ask(place, Action::Release, &lease), 200);
        }
    };
    thread::scope(|scope| {
        loop {
            match heard().as_deref() {
                Some("lock") => (0..threads).for_each(|_| drop(scope.spawn(wait))),
                Some("unlock") => word.send(()).unwrap(),
                // Whoever still waits would go on doing so.
                _ => process::exit(0),
            }
        }
    });
}
