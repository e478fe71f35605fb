//! Threads of one process that take turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::bare::{Action, Client, Place, Ureq, lease};
use crate::process::{Process, say};
use crate::report::Report;
use crate::servers;
use crate::support::account::Account;

const THREADS: [u32; 3] = [8, 32, 100];
const HOLDS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(10)];
const LENGTH: Duration = Duration::from_secs(3);
const CANDIDATES: [&str; 2] = ["Locker", "ureq behind a std Mutex"];

pub(crate) fn turns(report: &mut Report) {
    for hold in HOLDS {
        for threads in THREADS {
            report.table(&format!("{threads} threads that lock, hold for {hold:?} and unlock for {LENGTH:?}"));
            for candidate in CANDIDATES {
                let mut server = servers::start("emulator").unwrap();
                let port = server.account.port().to_string();
                // Creates what there is to be.
                server.account.container("turns").locker("job").unwrap().lock().unwrap().unlock().unwrap();
                server.counts();
                let (threads, hold) = (threads.to_string(), hold.as_millis().to_string());
                let mut process = Process::start(&["turns", candidate, &port, &threads, &hold]);
                let [locks, late, fewest, most, longest] = process.numbers();
                let requests = server.counts().requests as f64;
                report.row(
                    candidate,
                    vec![
                        ("locks", locks.to_string()),
                        ("requests a lock", format!("{:.2}", requests / (locks + late) as f64)),
                        ("fewest to most", format!("{fewest} to {most}")),
                        ("longest wait", format!("{longest} ms")),
                    ],
                );
            }
        }
    }
}

pub(crate) fn some(candidate: &str, port: &str, threads: &str, hold: &str) {
    let port = port.parse().unwrap();
    let locker = Account::at(port).container("turns").locker("job").unwrap();
    let hold = Duration::from_millis(hold.parse().unwrap());
    let bare = Mutex::new((Ureq::new(), Place::new(port, "turns", "job")));
    take(threads.parse().unwrap(), |locked| {
        if candidate == "Locker" {
            let guard = locker.lock().unwrap();
            locked();
            thread::sleep(hold);
            guard.unlock().unwrap();
        } else {
            let mut bare = bare.lock().unwrap();
            let ((client, place), lease) = (&mut *bare, lease());
            assert_eq!(client.ask(place, Action::Acquire, &lease), 201);
            locked();
            thread::sleep(hold);
            assert_eq!(client.ask(place, Action::Release, &lease), 200);
        }
    });
}

/// Says how many turns there were, how many that came after the end, the fewest and the most of a thread, and the longest
/// wait in milliseconds. A turn calls back when it has the lock.
fn take(threads: usize, turn: impl Fn(&mut dyn FnMut()) + Sync) {
    let (ended, together) = (AtomicBool::new(false), Barrier::new(threads + 1));
    let work = || {
        let (mut turns, mut late, mut longest) = (0, 0, Duration::ZERO);
        together.wait();
        while !ended.load(Ordering::Relaxed) {
            let begun = Instant::now();
            turn(&mut || longest = longest.max(begun.elapsed()));
            let is_late = ended.load(Ordering::Relaxed);
            *if is_late { &mut late } else { &mut turns } += 1;
        }
        (turns, late, longest)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        together.wait();
        thread::sleep(LENGTH);
        ended.store(true, Ordering::Relaxed);
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let turns = || ends.iter().map(|(turns, ..)| *turns);
        let late: u32 = ends.iter().map(|(_, late, _)| late).sum();
        let longest = ends.iter().map(|(.., longest)| longest.as_millis()).max().unwrap();
        let (all, fewest, most) = (turns().sum::<u32>(), turns().min().unwrap(), turns().max().unwrap());
        say(&format!("{all} {late} {fewest} {most} {longest}"));
    });
}
