//! A lock and its unlock, and each request of them by itself.

use std::time::Duration;

use azmutex::{AzureMutex, Locker};
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::bare::{Action, Client, Place, Socket, Ureq, lease};
use crate::report::Report;
use crate::servers::Server;
use crate::stats::{Rounds, spent};
use crate::support::account::Account;
use crate::support::unique;

/// The candidates. The bare socket is the first, and ureq the second.
pub(crate) const NAMES: [&str; 4] = ["socket", "ureq", "AzureMutex", "Locker"];

const LOCK: &str = "job";
const LEASE: Duration = Duration::from_secs(30);

/// Whatever can take a lock and give it back.
pub(crate) trait Pair {
    fn lock(&mut self, and_then: &mut dyn FnMut());

    fn pair(&mut self) {
        self.lock(&mut || {});
    }
}

struct Bare<C>(C, Place);

impl<C: Client> Pair for Bare<C> {
    fn lock(&mut self, and_then: &mut dyn FnMut()) {
        let Bare(client, place) = self;
        let lease = lease();
        assert_eq!(client.ask(place, Action::Acquire, &lease), 201);
        and_then();
        assert_eq!(client.ask(place, Action::Release, &lease), 200);
    }
}

impl Pair for AzureMutex {
    fn lock(&mut self, and_then: &mut dyn FnMut()) {
        let mut lease = self.acquire(LEASE).unwrap();
        and_then();
        self.release(&mut lease).unwrap();
    }
}

impl Pair for Locker {
    fn lock(&mut self, and_then: &mut dyn FnMut()) {
        let guard = Locker::lock(self).unwrap();
        and_then();
        guard.unlock().unwrap();
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

/// The one of that name.
pub(crate) fn candidate(name: &str, account: &Account, container: &str) -> Box<dyn Pair> {
    let place = || Place::new(account.port(), container, LOCK);
    let mutex = || account.container(container).mutex(LOCK).unwrap();
    match name {
        "socket" => Box::new(Bare(Socket::new(account.port()), place())),
        "ureq" => Box::new(Bare(Ureq::new(), place())),
        "AzureMutex" => Box::new(mutex()),
        "Locker" => Box::new(Locker::new(mutex())),
        _ => panic!("no candidate: {name}"),
    }
}

/// In a round.
const PAIRS: u32 = 60;

pub(crate) fn pairs(report: &mut Report, server: &Server) {
    let container = prepared(server);
    let mut candidates = NAMES.map(|name| candidate(name, &server.account, &container));
    for candidate in &mut candidates {
        // What is made once, and connections.
        candidate.pair();
    }
    let measured =
        Rounds::of(server.rounds(), NAMES.len(), |i| spent(|| (0..PAIRS).for_each(|_| candidates[i].pair())));
    report.table(&format!("lock and unlock of an existing blob, on {}", server.title()));
    for (i, name) in NAMES.into_iter().enumerate() {
        let mut cells = measured.cells(i, PAIRS);
        let memory = Memory::of(&mut *candidates[i]);
        cells.push(("allocations", format!("{} + {} grown", memory.allocations, memory.grown)));
        cells.push(("bytes", memory.bytes.to_string()));
        report.row(name, cells);
    }
}

/// What one more pair allocates.
pub(crate) struct Memory {
    pub(crate) allocations: usize,
    grown: usize,
    bytes: usize,
}

impl Memory {
    pub(crate) fn of(candidate: &mut dyn Pair) -> Memory {
        let region = Region::new(ALLOCATOR);
        candidate.pair();
        let change = region.change();
        Memory { allocations: change.allocations, grown: change.reallocations, bytes: change.bytes_allocated }
    }
}

/// Nothing but so many pairs of that candidate, for whoever counts from outside.
pub(crate) fn some(name: &str, port: &str, container: &str, pairs: &str) {
    let mut candidate = candidate(name, &Account::at(port.parse().unwrap()), container);
    (0..pairs.parse::<u32>().unwrap()).for_each(|_| candidate.pair());
}
