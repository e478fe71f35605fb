//! What each process does: takes its lock again and again, works under it, and writes down what it was told.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::lease::Lease;
use azmutex::{AzureMutex, Cancel, Container, Error, ErrorKind, LockGuard, Locker};

use crate::dice::Dice;
use crate::journal::{Event, Journal, Left, Time};
use crate::support::account::Account;
use crate::support::http::Response;

const JOURNAL: &str = "AZMUTEX_CHAOS_JOURNAL";
const LOCK: &str = "AZMUTEX_CHAOS_LOCK";
const NUMBER: &str = "AZMUTEX_CHAOS_NUMBER";
const DICE: &str = "AZMUTEX_CHAOS_DICE";
const PATIENT: &str = "AZMUTEX_CHAOS_PATIENT";

/// The name of the number in the blob's metadata, and of its header.
pub(crate) const NUMBER_NAME: &str = "number";
const META: &str = "x-ms-meta-number";

/// Mostly the shortest that there is, so that a death is over soon.
const LEASES: [u64; 7] = [15, 15, 15, 15, 15, 20, 30];
pub(crate) const LONGEST_LEASE: Duration = Duration::from_secs(30);

/// Where the number is that the contenders of a lock add to.
#[derive(Clone, Debug)]
pub(crate) enum Resource {
    /// In a file, which takes every write.
    File(PathBuf),
    /// In the metadata of the locked blob, on the server at this port, which takes writes with the lease's id and no
    /// others. Not in its content: Azurite clears up after that every ten minutes, and stands still for as long.
    Blob(u16),
}

/// What the driver wants of a contender, in its environment.
pub(crate) struct Orders {
    pub(crate) journal: PathBuf,
    pub(crate) lock: String,
    pub(crate) resource: Resource,
    pub(crate) seed: u64,
    /// It waits for the lock for as long as it takes.
    pub(crate) patient: bool,
}

impl Orders {
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        let resource = match &self.resource {
            Resource::File(path) => path.display().to_string(),
            Resource::Blob(port) => port.to_string(),
        };
        [
            (JOURNAL, self.journal.display().to_string()),
            (LOCK, self.lock.clone()),
            (NUMBER, resource),
            (DICE, self.seed.to_string()),
            (PATIENT, self.patient.to_string()),
        ]
    }

    pub(crate) fn given() -> Orders {
        let given = |name| env::var(name).unwrap();
        let number = given(NUMBER);
        Orders {
            journal: given(JOURNAL).into(),
            lock: given(LOCK),
            resource: number.parse().map_or_else(|_| Resource::File(number.into()), Resource::Blob),
            seed: given(DICE).parse().unwrap(),
            patient: given(PATIENT).parse().unwrap(),
        }
    }
}

/// Until stdin is closed. A number there has the lock that is held just now held for so many leases more, or until it is
/// lost.
pub(crate) fn contend(container: &Container, container_name: &str, orders: &Orders) {
    let (cancel, stay) = (Cancel::new(), Arc::new(AtomicU32::new(0)));
    let (stop, told) = (cancel.clone(), Arc::clone(&stay));
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            told.store(line.parse().unwrap(), Ordering::SeqCst);
        }
        stop.cancel();
    });
    let mut contender = Contender {
        mutex: container.mutex(&orders.lock).unwrap(),
        number: Number::new(&orders.resource, container_name, &orders.lock),
        dice: Dice::new(orders.seed),
        journal: Journal::open(&orders.journal),
        cancel,
        stay,
        patient: orders.patient,
        hold: 0,
    };
    while !contender.cancel.is_cancelled() {
        contender.hold += 1;
        contender.turn();
        thread::sleep(contender.dice.millis(20, 300));
    }
}

struct Contender {
    mutex: AzureMutex,
    number: Number,
    dice: Dice,
    journal: Journal,
    cancel: Cancel,
    /// For how many leases.
    stay: Arc<AtomicU32>,
    patient: bool,
    hold: u64,
}

impl Contender {
    fn turn(&mut self) {
        let lease = Duration::from_secs(self.dice.pick(&LEASES));
        let held = if !self.patient && self.dice.one_in(4) { self.take_by_hand(lease) } else { self.take(lease) };
        let Some(mut held) = held else { return };
        self.note(Event::Granted { lease_id: held.lease_id(), lease });
        if self.work(&mut held, lease) {
            self.let_go(held);
        }
    }

    fn note(&mut self, event: Event) {
        self.journal.note(self.hold, event);
    }

    fn take(&mut self, lease: Duration) -> Option<Held> {
        let renew_every = self.dice.pick(&[lease / 3, lease / 3, Duration::from_secs(1)]);
        let locker = Locker::builder(self.mutex.clone()).lease(lease).renew_every(renew_every).build().unwrap();
        while !self.cancel.is_cancelled() {
            self.note(Event::Asks { at: Time::now() });
            let taken = if !self.patient && self.dice.one_in(4) {
                locker.lock_timeout(self.dice.millis(300, 5_000))
            } else {
                locker.lock_or_cancel(&self.cancel)
            };
            match taken {
                Ok(guard) => return Some(Held::Guard(guard)),
                Err(error) => self.missed(&error),
            }
        }
        None
    }

    fn take_by_hand(&mut self, lease: Duration) -> Option<Held> {
        while !self.cancel.is_cancelled() {
            self.note(Event::Asks { at: Time::now() });
            match self.mutex.acquire(lease) {
                Ok(taken) => {
                    return Some(Held::Lease {
                        mutex: self.mutex.clone(),
                        lease: taken,
                        renew_at: Instant::now() + lease / 3,
                    });
                }
                Err(error) => self.missed(&error),
            }
            thread::sleep(self.dice.millis(100, 500));
        }
        None
    }

    fn missed(&mut self, error: &Error) {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Cancelled => {}
            _ => self.note(Event::Misses { at: Time::now(), why: format!("{error:?}") }),
        }
    }

    /// Whether the lock is still to be let go.
    fn work(&mut self, held: &mut Held, lease: Duration) -> bool {
        let time = match self.dice.below(4) {
            0 => self.dice.millis(8_000, 18_000),
            1 => self.dice.millis(1_500, 6_000),
            _ => self.dice.millis(50, 1_200),
        };
        let mut end = Instant::now() + time;
        self.stay.store(0, Ordering::SeqCst);
        loop {
            let before = Time::now();
            let yes = held.is_held();
            let after = Time::now();
            if !yes {
                self.note(Event::Lost { at: after, why: held.loss() });
                // Or else it is dropped without a word.
                return self.dice.one_in(2);
            }
            self.note(Event::Yes { before, after });
            if self.cancel.is_cancelled() || Instant::now() >= end {
                return true;
            }
            match self.stay.swap(0, Ordering::SeqCst) {
                0 => {}
                leases => end = Instant::now() + lease * leases,
            }
            if self.dice.one_in(3) {
                self.add(held);
            }
            held.keep();
            thread::sleep(Duration::from_millis(15));
        }
    }

    fn add(&mut self, held: &Held) {
        let Ok(read) = self.number.read() else { return };
        let number = read + 1;
        self.note(Event::Intends { number });
        // Long enough to be stopped or killed here.
        thread::sleep(self.dice.millis(1, 50));
        match self.number.write(number, held) {
            Ok(true) => self.note(Event::Wrote { number }),
            Ok(false) => self.note(Event::Refused { number }),
            // It may have come to pass, as with one who is killed here.
            Err(_) => {}
        }
    }

    fn let_go(&mut self, held: Held) {
        self.note(Event::Leaves { at: Time::now() });
        let drops = self.dice.one_in(8);
        let how = held.let_go(drops);
        self.note(Event::Left { at: Time::now(), how });
    }
}

/// A lock that is held in one of the two ways there are.
enum Held {
    Guard(LockGuard),
    Lease { mutex: AzureMutex, lease: Lease, renew_at: Instant },
}

impl Held {
    fn is_held(&self) -> bool {
        match self {
            Held::Guard(guard) => guard.is_held(),
            Held::Lease { lease, .. } => lease.is_held(),
        }
    }

    fn lease_id(&self) -> String {
        match self {
            Held::Guard(guard) => guard.lease_id().to_string(),
            Held::Lease { lease, .. } => lease.id().to_string(),
        }
    }

    fn loss(&mut self) -> String {
        let lost = match self {
            Held::Guard(guard) => guard.ensure_held(),
            // Nothing is sent any more.
            Held::Lease { mutex, lease, .. } => mutex.renew(lease),
        };
        lost.err().and_then(|error| error.lost_because()).map_or("no reason".into(), |why| format!("{why:?}"))
    }

    fn keep(&mut self) {
        if let Held::Lease { mutex, lease, renew_at } = self
            && Instant::now() >= *renew_at
        {
            let pause = match mutex.renew(lease) {
                Ok(()) => lease.duration().unwrap_or_default() / 3,
                Err(_) => Duration::from_millis(300),
            };
            *renew_at = Instant::now() + pause;
        }
    }

    fn let_go(self, drops: bool) -> Left {
        let result = match self {
            Held::Guard(guard) if drops => {
                drop(guard);
                return Left::Dropped;
            }
            Held::Guard(guard) => guard.unlock(),
            Held::Lease { mutex, mut lease, .. } => mutex.release(&mut lease),
        };
        match result {
            Ok(()) => Left::Released,
            Err(error) if error.kind() == ErrorKind::LeaseLost => Left::Lost,
            Err(_) => Left::Failed,
        }
    }
}

/// The number that the contenders of a lock add to. The driver begins it with 0.
pub(crate) enum Number {
    File(PathBuf),
    Blob { account: Account, path: String },
}

impl Number {
    pub(crate) fn new(resource: &Resource, container: &str, lock: &str) -> Number {
        match resource {
            Resource::File(path) => Number::File(path.clone()),
            Resource::Blob(port) => Number::Blob { account: Account::at(*port), path: format!("{container}/{lock}") },
        }
    }

    pub(crate) fn read(&self) -> io::Result<u64> {
        let text = match self {
            Number::File(path) => fs::read_to_string(path)?,
            Number::Blob { account, path } => {
                let answer = account.try_raw("HEAD", path, &[], b"")?;
                answer.header(META).ok_or_else(|| unexpected(&answer))?.to_owned()
            }
        };
        text.parse().map_err(io::Error::other)
    }

    /// Whether it was written, and not refused.
    fn write(&self, number: u64, held: &Held) -> io::Result<bool> {
        match self {
            Number::File(path) => write_under(held, path, number),
            Number::Blob { account, path } => {
                let headers = [(META, &*number.to_string()), ("x-ms-lease-id", &held.lease_id())];
                let answer = account.try_raw("PUT", &format!("{path}?comp=metadata"), &headers, b"")?;
                match answer.status {
                    200 => Ok(true),
                    412 => Ok(false),
                    _ => Err(unexpected(&answer)),
                }
            }
        }
    }
}

fn unexpected(answer: &Response) -> io::Error {
    io::Error::other(format!("{} {:?}", answer.status, answer.code()))
}

/// Right after a look at the lock, and with nothing to wait for, since this resource refuses nobody. So few bytes are
/// written at once or not at all, however this process ends.
fn write_under(held: &Held, path: &Path, number: u64) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).open(path)?;
    let text = format!("{number:020}");
    let still = held.is_held();
    if still {
        file.write_all_at(text.as_bytes(), 0)?;
    }
    Ok(still)
}
