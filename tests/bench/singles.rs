//! Each request by itself.

use std::time::Duration;

use azmutex::AzureMutex;
use azmutex::lease::Lease;

use crate::bare::{Action, Client, Place, Socket, Ureq, lease};
use crate::report::Report;
use crate::servers::Server;
use crate::stats::{Rounds, spent};
use crate::support::unique;

const NAMES: [&str; 3] = ["socket", "ureq", "AzureMutex"];
/// In a round, so that a clock is read once for many.
const LOCKS: u32 = 50;
const LEASE: Duration = Duration::from_secs(30);

trait Singles {
    fn acquire(&mut self, lock: usize);
    fn renew(&mut self, lock: usize);
    fn release(&mut self, lock: usize);
}

struct Bare<C> {
    client: C,
    locks: Vec<(Place, String)>,
}

impl<C: Client> Bare<C> {
    fn ask(&mut self, lock: usize, action: Action, expected: u16) {
        let (place, lease) = &self.locks[lock];
        assert_eq!(self.client.ask(place, action, lease), expected);
    }
}

impl<C: Client> Singles for Bare<C> {
    fn acquire(&mut self, lock: usize) {
        self.locks[lock].1 = lease();
        self.ask(lock, Action::Acquire, 201);
    }

    fn renew(&mut self, lock: usize) {
        self.ask(lock, Action::Renew, 200);
    }

    fn release(&mut self, lock: usize) {
        self.ask(lock, Action::Release, 200);
    }
}

struct Mutexes(Vec<(AzureMutex, Option<Lease>)>);

impl Singles for Mutexes {
    fn acquire(&mut self, lock: usize) {
        let (mutex, lease) = &mut self.0[lock];
        *lease = Some(mutex.acquire(LEASE).unwrap());
    }

    fn renew(&mut self, lock: usize) {
        let (mutex, lease) = &mut self.0[lock];
        mutex.renew(lease.as_mut().unwrap()).unwrap();
    }

    fn release(&mut self, lock: usize) {
        let (mutex, lease) = &mut self.0[lock];
        mutex.release(lease.as_mut().unwrap()).unwrap();
    }
}

pub(crate) fn singles(report: &mut Report, server: &Server) {
    let (port, name) = (server.account.port(), unique("singles"));
    let container = server.account.container(&name);
    let locks = || (0..LOCKS).map(|lock| (Place::new(port, &name, &lock.to_string()), String::new())).collect();
    let mutexes = (0..LOCKS).map(|lock| (container.mutex(&lock.to_string()).unwrap(), None)).collect();
    let mut candidates: [Box<dyn Singles>; 3] = [
        Box::new(Bare { client: Socket::new(port), locks: locks() }),
        Box::new(Bare { client: Ureq::new(), locks: locks() }),
        Box::new(Mutexes(mutexes)),
    ];
    let mut turn = |candidate: usize| {
        let actions: [fn(&mut dyn Singles, usize); 3] =
            [|all, lock| all.acquire(lock), |all, lock| all.renew(lock), |all, lock| all.release(lock)];
        actions.map(|action| spent(|| (0..LOCKS as usize).for_each(|lock| action(&mut *candidates[candidate], lock))))
    };
    // Makes the connections; and the last one creates what there is to be.
    for candidate in (0..NAMES.len()).rev() {
        turn(candidate);
    }
    let measured = Rounds::of_parts(server.rounds(), NAMES.len(), turn);
    for (action, measured) in ["acquire", "renew", "release"].into_iter().zip(measured) {
        report.table(&format!("{action}, on {}", server.title()));
        for (i, name) in NAMES.into_iter().enumerate() {
            report.row(name, measured.cells(i, LOCKS));
        }
    }
}
