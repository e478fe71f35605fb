//! The first lock: of a blob that is not there yet, and of a process.

use std::time::Duration;

use azmutex::Locker;

use crate::bare::{Action, Client, Place, Socket, Ureq, lease};
use crate::pairs::{self, NAMES};
use crate::process::{Process, say};
use crate::report::Report;
use crate::servers::Server;
use crate::stats::{Rounds, Spent, median, now, processor_time, spent};
use crate::support::account::Account;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(30);
/// A process that takes no lock.
const EMPTY: &str = "nothing but a start";
const STARTS: usize = 40;

/// One that creates what is missing, with a connection of its own. It is always another lock.
fn first_use(candidate: &str, account: &Account, container: &str, is_new: bool) -> Spent {
    let lock = unique("first");
    let bare = |client: &mut dyn Client| {
        let (place, lease) = (Place::new(account.port(), container, &lock), lease());
        assert_eq!(client.ask(&place, Action::Acquire, &lease), 404);
        if is_new {
            assert_eq!(client.ask(&place, Action::CreateContainer, ""), 201);
        }
        assert_eq!(client.ask(&place, Action::CreateBlob, ""), 201);
        assert_eq!(client.ask(&place, Action::Acquire, &lease), 201);
        assert_eq!(client.ask(&place, Action::Release, &lease), 200);
    };
    let mutex = || account.container(container).mutex(&lock).unwrap();
    spent(|| match candidate {
        "socket" => bare(&mut Socket::new(account.port())),
        "ureq" => bare(&mut Ureq::new()),
        "AzureMutex" => {
            let mutex = mutex();
            let mut lease = mutex.acquire(LEASE).unwrap();
            mutex.release(&mut lease).unwrap();
        }
        _ => Locker::new(mutex()).lock().unwrap().unlock().unwrap(),
    })
}

pub(crate) fn uses(report: &mut Report, server: &Server) {
    let common = unique("first");
    server.account.create_container(&common);
    for is_new in [false, true] {
        let turn = |i: usize| {
            let new = unique("first");
            first_use(NAMES[i], &server.account, if is_new { &new } else { &common }, is_new)
        };
        for i in 0..NAMES.len() {
            turn(i);
        }
        let measured = Rounds::of(server.rounds(), NAMES.len(), turn);
        let missing = if is_new { "the container and the blob" } else { "the blob" };
        report.table(&format!(
            "first lock and unlock, which creates {missing}, with a new connection, on {}",
            server.title()
        ));
        for (i, name) in NAMES.into_iter().enumerate() {
            report.row(name, measured.cells(i, 1));
        }
    }
}

/// From the start of a process to its first lock.
pub(crate) fn cold(report: &mut Report, server: &Server) {
    let port = server.account.port().to_string();
    let names = [EMPTY].into_iter().chain(NAMES);
    let mut measured: Vec<_> = names.map(|name| (name, Vec::new(), Vec::new())).collect();
    for _ in 0..STARTS {
        for (name, times, processor) in &mut measured {
            let begun = now();
            let [locked, spent] = Process::start(&["first", name, &port]).numbers();
            times.push((locked - begun) as f64 / 1e6);
            processor.push(spent as f64 / 1e6);
        }
    }
    report.table("from the start of a process to its first lock");
    let (socket, ureq) = (&measured[1].1, &measured[2].1);
    for (name, times, processor) in &measured {
        let beside = |other: &[f64], how: fn((&f64, &f64)) -> f64| median(times.iter().zip(other).map(how).collect());
        let ratio = |other| beside(other, |(this, other)| this / other);
        report.row(
            name,
            vec![
                ("time", format!("{:.2} ms", median(times.clone()))),
                ("x socket / ureq", format!("{:.2} / {:.2}", ratio(socket), ratio(ureq))),
                ("beyond ureq", format!("{:+.2} ms", beside(ureq, |(this, other)| this - other))),
                ("processor time", format!("{:.2} ms", median(processor.clone()))),
            ],
        );
    }
}

/// A process that has its first lock, or none, and says when, and what it computed for it.
pub(crate) fn one(candidate: &str, port: &str) {
    let mut locked = || say(&format!("{} {}", now(), processor_time().as_nanos()));
    match candidate {
        EMPTY => locked(),
        _ => pairs::candidate(candidate, &Account::at(port.parse().unwrap()), "first").lock(&mut locked),
    }
}
