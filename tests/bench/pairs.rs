//! A lock and its unlock, and each request of them by itself.

use std::time::Duration;

use azmutex::{AzureMutex, Locker};
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::bare::{Action, Client, Place, Socket, Ureq, lease};
use crate::servers::Server;
use crate::stats::{Spent, median, micros, spent};
use crate::support::account::Account;
use crate::support::unique;

const LOCK: &str = "job";
const LEASE: Duration = Duration::from_secs(30);

/// Whatever can take a lock and give it back.
trait Pair {
    fn name(&self) -> &'static str;
    fn pair(&mut self);
}

struct Bare<C>(&'static str, C);

impl<C: Client> Pair for Bare<C> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn pair(&mut self) {
        let lease = lease();
        assert_eq!(self.1.ask(Action::Acquire, &lease), 201);
        assert_eq!(self.1.ask(Action::Release, &lease), 200);
    }
}

impl Pair for AzureMutex {
    fn name(&self) -> &'static str {
        "AzureMutex"
    }

    fn pair(&mut self) {
        let mut lease = self.acquire(LEASE).unwrap();
        self.release(&mut lease).unwrap();
    }
}

impl Pair for Locker {
    fn name(&self) -> &'static str {
        "Locker"
    }

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

/// The bare socket is the first, and ureq the second.
fn candidates(account: &Account, name: &str) -> [Box<dyn Pair>; 4] {
    let place = || Place::new(account.port(), name, LOCK);
    let container = || account.container(name);
    [
        Box::new(Bare("socket", Socket::new(place()))),
        Box::new(Bare("ureq", Ureq::new(place()))),
        Box::new(container().mutex(LOCK).unwrap()),
        Box::new(container().locker(LOCK).unwrap()),
    ]
}

/// Rounds, and pairs in each.
fn size(server: &Server) -> (usize, u32) {
    match server.name {
        "azurite" => (15, 60),
        _ => (25, 200),
    }
}

pub(crate) fn pairs(server: &Server) {
    let (rounds, pairs) = size(server);
    let mut candidates = candidates(&server.account, &prepared(server));
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
    let each = |spent: Duration| micros(spent) / f64::from(pairs);
    for (i, candidate) in candidates.iter_mut().enumerate() {
        let wall = median(measured[i].iter().map(|spent| each(spent.wall)).collect());
        let processor = median(measured[i].iter().map(|spent| each(spent.processor)).collect());
        let beside = |other: usize, part: fn(&Spent) -> Duration| {
            let rounds = measured[i].iter().zip(&measured[other]);
            median(rounds.map(|(this, other)| part(this).div_duration_f64(part(other))).collect())
        };
        let region = Region::new(ALLOCATOR);
        candidate.pair();
        let change = region.change();
        println!(
            "lock + unlock, {:<9} {:<11} time: {wall:>7.1} us ({:.2} x socket, {:.2} x ureq)   processor: {processor:>6.1} us \
             ({:.2}, {:.2})   allocations: {:>4} + {} grown ({} bytes)",
            server.name,
            candidate.name(),
            beside(0, |spent| spent.wall),
            beside(1, |spent| spent.wall),
            beside(0, |spent| spent.processor),
            beside(1, |spent| spent.processor),
            change.allocations,
            change.reallocations,
            change.bytes_allocated,
        );
    }
}

/// Nothing but so many pairs of that candidate, for whoever counts from outside.
pub(crate) fn some(name: &str, port: &str, container: &str, pairs: &str) {
    let account = Account::at(port.parse().unwrap());
    let mut candidates = candidates(&account, container);
    let candidate = candidates.iter_mut().find(|candidate| candidate.name() == name).expect("a candidate");
    (0..pairs.parse::<u32>().unwrap()).for_each(|_| candidate.pair());
}
