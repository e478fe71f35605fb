//! A lock and its unlock, and each request of them by itself.

use std::time::Duration;

use azmutex::{AzureMutex, Locker};
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::bare::{Action, Client, Place, Socket, Ureq, lease};
use crate::report::Report;
use crate::servers::Server;
use crate::stats::{Spent, median, micros, spent};
use crate::support::account::Account;
use crate::support::unique;

/// The candidates. The bare socket is the first, and ureq the second.
pub(crate) const NAMES: [&str; 4] = ["socket", "ureq", "AzureMutex", "Locker"];

const LOCK: &str = "job";
const LEASE: Duration = Duration::from_secs(30);

/// Whatever can take a lock and give it back.
trait Pair {
    fn pair(&mut self);
}

impl<C: Client> Pair for C {
    fn pair(&mut self) {
        let lease = lease();
        assert_eq!(self.ask(Action::Acquire, &lease), 201);
        assert_eq!(self.ask(Action::Release, &lease), 200);
    }
}

impl Pair for AzureMutex {
    fn pair(&mut self) {
        let mut lease = self.acquire(LEASE).unwrap();
        self.release(&mut lease).unwrap();
    }
}

impl Pair for Locker {
    fn pair(&mut self) {
        self.lock().unwrap().unlock().unwrap();
    }
}

/// A container with the blob, and whatever else comes but once.
fn prepared(server: &Server) -> String {
    let name = unique("pairs");
    if !server.is_canned() {
        server.account.create_container(&name);
        server.account.container(&name).locker(LOCK).unwrap().pair();
    }
    name
}

/// One that comes by its name.
fn candidate(name: &str, account: &Account, container: &str) -> Box<dyn Pair> {
    let place = || Place::new(account.port(), container, LOCK);
    let mutex = || account.container(container).mutex(LOCK).unwrap();
    match name {
        "socket" => Box::new(Socket::new(place())),
        "ureq" => Box::new(Ureq::new(place())),
        "AzureMutex" => Box::new(mutex()),
        "Locker" => Box::new(Locker::new(mutex())),
        _ => panic!("no candidate: {name}"),
    }
}

/// Rounds, and pairs in each.
fn size(server: &Server) -> (usize, u32) {
    match server.name {
        "azurite" => (15, 60),
        _ => (25, 200),
    }
}

pub(crate) fn pairs(report: &mut Report, server: &mut Server) {
    let (rounds, pairs) = size(server);
    let container = prepared(server);
    let mut candidates = NAMES.map(|name| candidate(name, &server.account, &container));
    for candidate in &mut candidates {
        // What is made once, and connections.
        candidate.pair();
    }
    let mut measured: Vec<Vec<Spent>> = candidates.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for i in 0..candidates.len() {
            let i = (i + round) % candidates.len();
            measured[i].push(spent(|| (0..pairs).for_each(|_| candidates[i].pair())));
        }
    }
    report.table(&format!("lock and unlock of an existing blob, on {}", server.title()));
    let each = |spent: Duration| micros(spent) / f64::from(pairs);
    for (i, candidate) in candidates.iter_mut().enumerate() {
        let wall = median(measured[i].iter().map(|spent| each(spent.wall)).collect());
        let processor = median(measured[i].iter().map(|spent| each(spent.processor)).collect());
        let beside = |other: usize, part: fn(&Spent) -> Duration| {
            let rounds = measured[i].iter().zip(&measured[other]);
            median(rounds.map(|(this, other)| part(this).div_duration_f64(part(other))).collect())
        };
        let beside = |part| format!("{:.2} / {:.2}", beside(0, part), beside(1, part));
        let region = Region::new(ALLOCATOR);
        candidate.pair();
        let change = region.change();
        report.row(
            NAMES[i],
            vec![
                ("time", format!("{wall:.1} us")),
                ("x socket / ureq", beside(|spent| spent.wall)),
                ("processor time", format!("{processor:.1} us")),
                ("x socket / ureq", beside(|spent| spent.processor)),
                ("allocations", change.allocations.to_string()),
                ("grown", change.reallocations.to_string()),
                ("bytes", change.bytes_allocated.to_string()),
            ],
        );
    }
}

/// Nothing but so many pairs of that candidate, for whoever counts from outside.
pub(crate) fn some(name: &str, port: &str, container: &str, pairs: &str) {
    let mut candidate = candidate(name, &Account::at(port.parse().unwrap()), container);
    (0..pairs.parse::<u32>().unwrap()).for_each(|_| candidate.pair());
}
