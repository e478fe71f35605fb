//! A round: contenders are started, disturbed, left in peace, and ended; then their journals are read.

use std::env;
use std::fs::{self, File};
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::contender::{LONGEST_LEASE, NUMBER_NAME, Number, Orders, Resource};
use crate::dice::{Deck, Dice};
use crate::history::{self, Hold, Record};
use crate::journal::Time;
use crate::network::{LATEST, Network};
use crate::orphans::{BEYOND_LEASE, Orphans};
use crate::support::account::Account;
use crate::support::process::{self, Process};
use crate::support::proxy::FaultProxy;
use crate::support::unique;
use crate::tally::{Deed, Tally};

mod deeds;

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LOCKS: usize = 12;
/// Of each lock.
pub(crate) const CONTENDERS: usize = 3;
/// The client gives up a request after 5 s, and the network is through with it later: so long after the last fault no
/// call suffers from one.
const OVERHANG: Duration = LATEST.saturating_add(SECOND);
/// Longer than the shortest lease, so that a lock which is not renewed would be lost.
const CALM: Duration = Duration::from_secs(16);
/// How long one call of the library takes at most while the network is ill, and a little.
const LEAVE_LIMIT: Duration = Duration::from_secs(45);
/// The same while it is well.
const QUIET_LEAVE_LIMIT: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(40);

/// A contender's place: it has one way to the store, and one process after the other.
struct Seat {
    lock: usize,
    way: FaultProxy,
    process: Process,
    /// Of its process.
    record: usize,
    state: State,
    cut: Option<Cut>,
}

#[derive(Copy, Clone, PartialEq)]
enum State {
    Running,
    Stopped {
        since: Instant,
        until: Instant,
        holding: Option<Duration>,
    },
    /// Asked to end.
    Leaving {
        since: Instant,
    },
}

struct Cut {
    since: Instant,
    until: Instant,
    /// The lease that it was cut off from, if it held one.
    holding: Option<Duration>,
    deed: Deed,
}

pub(crate) struct Round<'a> {
    account: &'a Account,
    container: String,
    files: PathBuf,
    network: Arc<Network>,
    tally: Arc<Mutex<Tally>>,
    dice: Dice,
    deck: Deck<Deed>,
    seats: Vec<Seat>,
    records: Vec<Record>,
    orphans: Orphans<'a>,
    /// From when on there is nothing to suffer from.
    calm: Option<Time>,
    /// Since when there are no caches, either.
    uncovered: Option<Time>,
    /// What was done when and to whom, for those who have to find out.
    diary: File,
    violations: Vec<String>,
}

impl<'a> Round<'a> {
    pub(crate) fn new(account: &'a Account, tally: Arc<Mutex<Tally>>, seed: u64) -> Round<'a> {
        let container = unique("chaos");
        let files = memory().join(&container);
        fs::create_dir(&files).unwrap();
        account.create_container(&container);
        let mut dice = Dice::new(seed);
        let network = Network::new(Arc::clone(&tally), dice.next());
        let orphans = Orphans::new(account, &container);
        let diary = File::create(files.join("diary")).unwrap();
        Round {
            account,
            container,
            files,
            network,
            tally,
            dice,
            deck: Deck::of(&deeds::ALL),
            seats: Vec::new(),
            records: Vec::new(),
            orphans,
            calm: None,
            uncovered: None,
            diary,
            violations: Vec::new(),
        }
    }

    /// What it found that must not be.
    pub(crate) fn run(mut self, disturbed: Duration) -> Vec<String> {
        for lock in 0..LOCKS {
            self.account.put_blob(&self.container, &name(lock), b"", &[(NUMBER_NAME, "0")]);
            if let Resource::File(path) = self.resource(lock) {
                fs::write(path, "0").unwrap();
            }
        }
        for number in 0..LOCKS * CONTENDERS {
            let way = self.network.way_to(self.account.port());
            let lock = number % LOCKS;
            let (process, record) = self.start(lock, way.port());
            self.seats.push(Seat { lock, way, process, record, state: State::Running, cut: None });
        }
        self.disturb(disturbed);
        self.settle();
        self.watch(CALM);
        self.end();
        self.judge();
        if self.violations.is_empty() {
            fs::remove_dir_all(&self.files).unwrap();
        } else {
            self.write_down();
        }
        mem::take(&mut self.violations)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&mut self, words: String) {
        println!("*** {words}");
        self.violations.push(words);
    }

    /// Whether the contenders of this lock may be stopped, because their resource refuses who comes too late.
    fn is_fenced(lock: usize) -> bool {
        lock >= LOCKS / 2
    }

    fn resource(&self, lock: usize) -> Resource {
        if Self::is_fenced(lock) {
            Resource::Blob(self.account.port())
        } else {
            Resource::File(self.files.join(format!("{}.number", name(lock))))
        }
    }

    /// A process for this lock that reaches the store through this port, and where its record is.
    fn start(&mut self, lock: usize, port: u16) -> (Process, usize) {
        let record = self.records.len();
        let journal = self.files.join(format!("{record}.journal"));
        let seed = self.dice.next();
        let (resource, patient) = (self.resource(lock), is_cached(lock));
        let orders = Orders { journal: journal.clone(), lock: name(lock), resource, seed, patient };
        let store = self.account.connection_string_via(port);
        let again = process::again(crate::child).container(&store, &self.container);
        let process = orders.environment().iter().fold(again, |again, (name, value)| again.env(name, value)).start();
        self.records.push(Record::of(journal, lock));
        self.tally().processes += 1;
        (process, record)
    }

    /// Another process in that seat. The one before is killed if it has not ended.
    fn replace(&mut self, seat: usize) {
        let (lock, port) = (self.seats[seat].lock, self.seats[seat].way.port());
        let (process, record) = self.start(lock, port);
        let seat = &mut self.seats[seat];
        seat.process = process;
        seat.state = State::Running;
        let before = mem::replace(&mut seat.record, record);
        self.records[before].close();
    }

    fn disturb(&mut self, time: Duration) {
        let end = Instant::now() + time;
        // Until each has had its turn, too.
        let latest = end + 60 * SECOND;
        let mut next = Instant::now() + SECOND;
        while Instant::now() < end || (Instant::now() < latest && !self.tally().missing().is_empty()) {
            self.tick();
            if Instant::now() >= next {
                let deed = self.deck.deal(&mut self.dice);
                if self.act(deed) {
                    next = Instant::now() + self.dice.millis(400, 1_800);
                } else {
                    self.deck.put_back(deed);
                }
            }
        }
    }

    /// Ends all disturbances and waits until each lock is had again.
    fn settle(&mut self) {
        self.network.heal();
        for seat in 0..self.seats.len() {
            self.go_on(seat);
            self.reconnect(seat);
        }
        self.leave_behind();
        let calm = Time::now().after(OVERHANG);
        self.calm = Some(calm);
        // Who waits behind a cache tries once a lease.
        let limit = OVERHANG + LATEST + LONGEST_LEASE + BEYOND_LEASE + LONGEST_LEASE;
        let since = Instant::now();
        loop {
            self.tick();
            let waiting: Vec<usize> = (0..LOCKS).filter(|lock| !self.is_had_since(*lock, calm)).collect();
            if waiting.is_empty() {
                break;
            }
            if since.elapsed() > limit {
                self.violation(format!("after {limit:?} without a fault nobody has got locks {waiting:?}"));
                break;
            }
        }
        self.uncover();
        self.uncovered = Some(Time::now());
    }

    fn is_had_since(&self, lock: usize, time: Time) -> bool {
        let records = self.records.iter().filter(|record| record.lock == lock);
        records.flat_map(|record| &record.holds).any(|hold| hold.began_after(time))
    }

    fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.tick();
        }
    }

    fn tick(&mut self) {
        thread::sleep(TICK);
        for seat in 0..self.seats.len() {
            self.read(seat);
            match self.seats[seat].state {
                State::Stopped { until, .. } if Instant::now() >= until => self.go_on(seat),
                _ => {}
            }
            if self.seats[seat].cut.as_ref().is_some_and(|cut| Instant::now() >= cut.until) {
                self.reconnect(seat);
            }
            self.reap(seat);
        }
        self.look_after_leases();
    }

    fn read(&mut self, seat: usize) {
        let record = self.seats[seat].record;
        self.records[record].read();
    }

    /// What it holds, as far as is known.
    fn holding(&self, seat: usize) -> Option<&Hold> {
        self.records[self.seats[seat].record].holding()
    }

    /// Sees to it that nobody ends unasked, and everybody does who was asked.
    fn reap(&mut self, seat: usize) {
        let Seat { process, state, record, .. } = &mut self.seats[seat];
        let (state, record) = (*state, *record);
        match (process.end(), state) {
            (None, State::Leaving { since }) if since.elapsed() < LEAVE_LIMIT => {}
            (None, State::Leaving { .. }) => {
                self.violation(format!("process {record} hangs: asked to end {LEAVE_LIMIT:?} ago"));
                self.replace(seat);
            }
            (None, _) => {}
            (Some(end), State::Leaving { since }) if end.success() => {
                Tally::raise(&mut self.tally().longest_farewell, since.elapsed());
                self.replace(seat);
            }
            (Some(end), _) => {
                self.violation(format!("process {record} ended by itself: {end}"));
                self.replace(seat);
            }
        }
    }

    fn look_after_leases(&mut self) {
        self.orphans.find(&self.records, self.calm);
        let (longest, violations) = self.orphans.look();
        Tally::raise(&mut self.tally().longest_orphan, longest);
        for words in violations {
            self.violation(words);
        }
    }

    /// Half of the processes are asked to end, the others killed. Then each lock is to be had by somebody who has met
    /// no fault, within the bound.
    fn end(&mut self) {
        let leaving = self.dice.below(2);
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if (number / LOCKS + number) % 2 == leaving {
                seat.process.hang_up();
                seat.state = State::Leaving { since: Instant::now() };
            } else {
                seat.process.signal(Signal::KILL);
            }
        }
        let killed = Instant::now();
        let bound = LONGEST_LEASE + BEYOND_LEASE;
        let container = self.account.container(&self.container);
        let waits: Vec<_> = (0..LOCKS)
            .map(|lock| {
                let locker = container.locker(&name(lock)).unwrap();
                thread::spawn(move || {
                    locker.lock_timeout(bound).and_then(|guard| guard.unlock()).map(|()| killed.elapsed())
                })
            })
            .collect();
        for seat in 0..self.seats.len() {
            self.see_off(seat);
        }
        for (lock, wait) in waits.into_iter().enumerate() {
            match wait.join().unwrap() {
                Ok(time) => Tally::raise(&mut self.tally().longest_orphan, time),
                Err(error) => self.violation(format!("lock {lock} is not to be had when all are gone: {error:?}")),
            }
        }
    }

    fn see_off(&mut self, seat: usize) {
        let Seat { process, state, record, .. } = &mut self.seats[seat];
        let record = *record;
        if let State::Leaving { since } = *state {
            let end = loop {
                match process.end() {
                    None if since.elapsed() < QUIET_LEAVE_LIMIT => thread::sleep(TICK),
                    end => break end,
                }
            };
            match end {
                None => self.violation(format!("process {record} hangs: asked to end {QUIET_LEAVE_LIMIT:?} ago")),
                Some(end) if !end.success() => self.violation(format!("process {record} ended: {end}")),
                Some(_) => {}
            }
        } else {
            process.ends_well();
        }
        self.records[record].close();
    }

    fn judge(&mut self) {
        let calm = self.calm.unwrap_or_else(Time::now);
        let mut found = Vec::new();
        for lock in 0..LOCKS {
            let records: Vec<&Record> = self.records.iter().filter(|record| record.lock == lock).collect();
            let holds: Vec<&Hold> = records.iter().flat_map(|record| &record.holds).collect();
            for (one, other) in history::overlaps(&holds) {
                found.push(format!("two holders of lock {lock} at a time: {one:?} and {other:?}"));
            }
            let number = Number::new(&self.resource(lock), &self.container, &name(lock)).read().unwrap();
            let refused = records.iter().map(|record| record.refused).sum();
            self.tally().add_number(Self::is_fenced(lock), number, refused);
            if let Err(words) = history::check_number(number, &records) {
                found.push(format!("the number of lock {lock}: {words}"));
            }
            for hold in holds.iter().filter(|hold| hold.began_after(calm)) {
                if let Some(end) = hold.end.as_ref().filter(|end| end.is_bad()) {
                    found.push(format!("lost without a reason, lock {lock}: {end:?} of {hold:?}"));
                }
            }
            for (at, why) in records.iter().flat_map(|record| &record.misses) {
                if *at >= calm {
                    found.push(format!("not obtained without a reason, lock {lock}: {why}"));
                }
            }
            // A hand-over behind a cache takes as long as a lease.
            let calm = if is_cached(lock) { self.uncovered.unwrap_or(calm) } else { calm };
            self.tally().add(&records, calm);
        }
        let crossed: usize = self.seats.iter().map(|seat| seat.way.crossed()).sum();
        self.tally().crossed += crossed as u64;
        let behind: usize = self.seats.iter().map(|seat| seat.way.answers_behind()).sum();
        self.tally().behind += behind as u64;
        for words in found {
            self.violation(words);
        }
    }

    /// What is needed to find out what went wrong.
    fn write_down(&self) {
        for (number, seat) in self.seats.iter().enumerate() {
            let requests: Vec<String> = seat.way.log().iter().map(|entry| format!("{entry:?}\n")).collect();
            fs::write(self.files.join(format!("{number}.requests")), requests.concat()).unwrap();
        }
        println!("*** the journals, the requests and a diary are in {}", self.files.display());
    }
}

/// A folder in the memory, if there is one: a disk can have a writer wait for seconds, just when its lock runs out.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { env::temp_dir() }
}

/// Whether the contenders of this lock wait for as long as it takes, and behind caches in the end.
fn is_cached(lock: usize) -> bool {
    lock % 4 == 3
}

pub(crate) fn name(lock: usize) -> String {
    format!("lock-{lock}")
}
