//! What happens, and when: one queue of events on true time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::fencing::{Blob, Content};
use crate::hold::caller::Heard;
use crate::hold::carry::Act;
use crate::lease::LeaseId;

use super::client::{Caller, Client, Failure};
use super::network::{Packet, Storm};
use super::random::Random;
use super::rules::{Facts, Tokens, Violation};
use super::service::{Answer, Lease, Presence, Service, Time};
use super::tally::{Count, Tally};

const S: Duration = Duration::from_secs(1);
/// A run with more events than this is going round in circles.
const MOST_EVENTS: u64 = 3_000_000;
/// Trouble over and all packets delivered, somebody has the lock after this: the longest lease and what it may be off,
/// the longest `Retry-After`, the longest request, and the pauses between.
const SOON: Duration = Duration::from_secs(250);

/// What kind of run it is. Decided by the seed, too.
#[derive(Copy, Clone, Debug)]
pub(super) struct Setting {
    /// Nobody breaks by force, deletes, or freezes a machine: the promise is due.
    pub(super) lawful: bool,
    /// Nothing goes wrong at all.
    pub(super) calm: bool,
    /// Which clients look at the lock through a cache that goes on answering what it saw first.
    pub(super) cached: u32,
    /// Whose looks something in between answers.
    pub(super) filtered: u32,
    /// Who reaches the service through a proxy.
    pub(super) tunnelled: u32,
    /// When the trouble ends.
    pub(super) peace_at: Time,
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) setting: Setting,
    pub(super) random: Random,
    pub(super) service: Service,
    /// When its name moved, and what is left at its old address.
    pub(super) moved: Option<Time>,
    pub(super) former: Service,
    /// By how much the service's clock runs too fast, in parts in a million.
    pub(super) service_drift: i32,
    pub(super) clients: Vec<Client>,
    /// What is known of each claim to the lock, also after its client is gone.
    pub(super) facts: Vec<Facts>,
    pub(super) owners: HashMap<LeaseId, usize>,
    pub(super) storms: Vec<Storm>,
    /// When the last packet on its way arrives.
    pub(super) all_arrived: Time,
    pub(super) violation: Option<Violation>,
    pub(super) tally: Tally,
    pub(super) trace: Option<Vec<String>>,
    /// Somebody got the lock after the trouble had ended.
    pub(super) revived: bool,
    /// The answer that each client's cache goes on giving.
    pub(super) remembered: HashMap<usize, (Answer, Option<Blob>)>,
    pub(super) tokens: Tokens,
    /// The other region's copy, which lags behind.
    copy: Service,
    queue: BinaryHeap<Reverse<Scheduled>>,
    serial: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    /// The thread of a claim decides what to do.
    Decide {
        token: u64,
    },
    /// It does so.
    Act {
        token: u64,
        act: Act<Failure>,
    },
    /// The caller of a claim hears something of it.
    Hear {
        claim: usize,
        heard: Heard<Failure>,
    },
    Answered {
        call: u64,
        answer: Answer,
        /// What it tells of the blob.
        blob: Option<Blob>,
        /// The call that it says it is for, if it says that.
        of: Option<u64>,
        /// The number of its connection.
        on: u64,
    },
    Refused {
        call: u64,
    },
    GivesUp {
        call: u64,
    },
    Caller {
        claim: usize,
        does: Caller,
    },
    /// The watchdog looks at the deadline.
    Watch {
        claim: usize,
    },
    /// By now a loss has been told.
    Overdue {
        claim: usize,
    },
    Begin,
    Arrive(Packet),
    Trouble(Trouble, Duration),
    /// A machine that was frozen goes on, and its clock is behind.
    Thaw {
        who: usize,
        missed: Duration,
    },
    Peace,
    Verdict,
}

/// What goes wrong outside of the network.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    Storm,
    Stop,
    Suspend,
    Crash,
    Break,
    ForceBreak,
    DeleteBlob,
    ReplaceBlob,
    DeleteContainer,
    Freeze,
    FailOver,
    Move,
}

const LAWFUL: &[Trouble] =
    &[Trouble::Storm, Trouble::Stop, Trouble::Suspend, Trouble::Crash, Trouble::Break, Trouble::Move];
const LAWLESS: &[Trouble] = &[
    Trouble::Storm,
    Trouble::Stop,
    Trouble::Crash,
    Trouble::Break,
    Trouble::ForceBreak,
    Trouble::DeleteBlob,
    Trouble::ReplaceBlob,
    Trouble::DeleteContainer,
    Trouble::Freeze,
    Trouble::FailOver,
    Trouble::Move,
];

struct Scheduled {
    time: Time,
    serial: u64,
    /// The client that it happens to, and which of its lives.
    to: Option<(usize, u32)>,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.serial).cmp(&(other.time, other.serial))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> World {
        let mut random = Random::new(seed);
        let calm = seed.is_multiple_of(16);
        let peace_at = random.between(60 * S, 900 * S);
        let cached = if calm { 0 } else { random.pick(&[0, 0, 0, 0x55, u32::MAX]) };
        let filtered = if calm { 0 } else { random.pick(&[0, 0, 0, 0, 0xaa]) };
        let tunnelled = random.pick(&[0, 0, 0x99, u32::MAX]);
        let setting = Setting { lawful: seed % 4 != 3, calm, cached, filtered, tunnelled, peace_at };
        let mut service = Service::new();
        service.revives_for_strangers = random.one_in(3);
        if random.one_in(2) {
            service.container = Presence::There;
            if random.one_in(2) {
                service.put(Duration::ZERO, Content::NOTHING);
            }
        }
        let copy = service.clone();
        let service_drift = random.pick(&[-10_000, 0, 10_000]);
        let clients = (0..2 + random.below(5)).map(|_| Client::new(&mut random)).collect();
        let mut world = World {
            now: Duration::ZERO,
            setting,
            random,
            moved: None,
            former: service.clone(),
            service,
            service_drift,
            clients,
            facts: Vec::new(),
            owners: HashMap::new(),
            storms: Vec::new(),
            all_arrived: Duration::ZERO,
            violation: None,
            tally: Tally::new(),
            trace: traced.then(Vec::new),
            revived: false,
            remembered: HashMap::new(),
            tokens: Tokens::default(),
            copy,
            queue: BinaryHeap::new(),
            serial: 0,
        };
        world.schedule(setting.peace_at, Event::Peace);
        for who in 0..world.clients.len() {
            let begin = world.random.up_to(2 * S);
            world.schedule_for(who, begin, Event::Begin);
        }
        if !setting.calm {
            for trouble in if setting.lawful { LAWFUL } else { LAWLESS } {
                if let Some(respite) = world.random.pick(&[None, Some(10 * S), Some(60 * S), Some(300 * S)]) {
                    world.brew(*trouble, respite);
                }
            }
        }
        world
    }

    /// To the end: what happened, or what should not have.
    pub(super) fn run(mut self) -> Result<Tally, (Violation, Vec<String>)> {
        self.tally.add(Count::Runs);
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.time;
            self.happen(next);
            if let Some(violation) = self.violation.take() {
                return Err((violation, self.trace.unwrap_or_default()));
            }
            if self.revived {
                break;
            }
        }
        Ok(self.tally)
    }

    fn happen(&mut self, Scheduled { to, event, .. }: Scheduled) {
        if let Some((who, life)) = to {
            let client = &self.clients[who];
            if client.life != life {
                return;
            }
            if client.still_until > self.now {
                // A stopped process does it when it goes on.
                let until = client.still_until;
                self.serial += 1;
                self.queue.push(Reverse(Scheduled { time: until, serial: self.serial, to, event }));
                return;
            }
        }
        self.tally.add(Count::Events);
        if self.tally.of(Count::Events) > MOST_EVENTS {
            self.breach("it comes to an end", format_args!("{MOST_EVENTS} events"));
        }
        let who = to.map_or(usize::MAX, |(who, _)| who);
        match event {
            Event::Decide { token } => self.decide(who, token),
            Event::Act { token, act } => self.act(who, token, act),
            Event::Hear { claim, heard } => self.hear(who, claim, heard),
            Event::Answered { call, answer, blob, of, on } => self.answered(who, call, (answer, blob), of, on),
            Event::Refused { call } => self.refused(who, call),
            Event::GivesUp { call } => self.gives_up(who, call),
            Event::Caller { claim, does } => self.caller(who, claim, does),
            Event::Watch { claim } => self.watch(who, claim),
            Event::Overdue { claim } => self.overdue(who, claim),
            Event::Begin => self.begin(who),
            Event::Arrive(packet) => self.arrive(packet),
            Event::Trouble(trouble, respite) => self.trouble(trouble, respite),
            Event::Thaw { who, missed } => self.clients[who].clock.missed += missed,
            Event::Peace => self.peace(),
            Event::Verdict => self.breach("somebody gets the lock when all is well", format_args!("nobody did")),
        }
    }

    pub(super) fn schedule(&mut self, time: Time, event: Event) {
        self.push(time, None, event);
    }

    pub(super) fn schedule_for(&mut self, who: usize, time: Time, event: Event) {
        let life = self.clients[who].life;
        self.push(time, Some((who, life)), event);
    }

    fn push(&mut self, time: Time, to: Option<(usize, u32)>, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled { time: time.max(self.now), serial: self.serial, to, event }));
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.6} {what}", self.now.as_secs_f64()));
        }
    }

    /// `respite`: how much time lies between two troubles of this kind, on average.
    fn brew(&mut self, trouble: Trouble, respite: Duration) {
        let time = self.now + self.random.up_to(2 * respite);
        if time < self.setting.peace_at {
            self.schedule(time, Event::Trouble(trouble, respite));
        }
    }

    fn trouble(&mut self, trouble: Trouble, respite: Duration) {
        self.brew(trouble, respite);
        if self.random.one_in(2) {
            self.copy = self.service.clone();
        }
        let who = self.random.below(self.clients.len() as u32) as usize;
        let pause = match self.random.below(3) {
            0 => self.random.up_to(2 * S),
            1 => self.random.up_to(20 * S),
            _ => self.random.up_to(150 * S),
        };
        match trouble {
            Trouble::Storm => self.storm(),
            Trouble::Stop | Trouble::Suspend => {
                let (who, pause) = self.at_the_worst_time().unwrap_or((who, pause));
                let how = if trouble == Trouble::Stop { Count::Stopped } else { Count::Suspended };
                self.stand_still(who, pause, how);
            }
            Trouble::Freeze => self.freeze(who, pause),
            Trouble::Crash => self.crash(who),
            Trouble::Break => self.break_lease(None),
            Trouble::ForceBreak => self.break_lease(Some(self.now.subsec_nanos() as u8 % 3)),
            Trouble::DeleteBlob => {
                self.note(format_args!("the blob is deleted"));
                self.tally.add(Count::BlobDeleted);
                self.service.delete_blob();
            }
            Trouble::ReplaceBlob => self.replace_blob(),
            Trouble::DeleteContainer => {
                self.note(format_args!("the container is deleted"));
                self.tally.add(Count::ContainerDeleted);
                let until = self.now + self.random.between(30 * S, 60 * S);
                self.service.delete_container(until);
            }
            Trouble::Move => self.move_name(),
            Trouble::FailOver => {
                self.note(format_args!("fail-over to an older copy"));
                self.tally.add(Count::FailedOver);
                let now = std::mem::replace(&mut self.service, self.copy.clone());
                self.service.follow(&now);
                self.check_fail_over();
            }
        }
    }

    /// Somebody wipes the metadata, or restores an old copy, of a blob that is not leased.
    fn replace_blob(&mut self) {
        self.service.settle(self.now);
        if self.service.holder().is_some() || self.service.container != Presence::There {
            return;
        }
        let old = self.copy.blob.map(|data| data.content).filter(|_| self.random.one_in(2));
        let content = old.unwrap_or(Content::NOTHING);
        self.note(format_args!("the blob is replaced: {content:?}"));
        self.tally.add(Count::BlobReplaced);
        self.service.put(self.now, content);
        self.service.lease = Lease::Available;
    }

    /// Half of the time: who has the lock, and a pause that ends when it does, or nearly.
    fn at_the_worst_time(&mut self) -> Option<(usize, Duration)> {
        let who = (0..self.clients.len()).find(|who| self.clients[*who].says_yes(self.now))?;
        let end = self.clients[who].deadline().and_then(|moment| self.clients[who].clock.when(moment))?;
        let off = self.random.up_to(2 * S);
        self.random.one_in(2).then(|| (who, (end + off).saturating_sub(self.now + S)))
    }

    fn stand_still(&mut self, who: usize, pause: Duration, how: Count) {
        self.tally.add(how);
        self.note(format_args!("client {who} stands still for {pause:?}: {how:?}"));
        let until = self.now + pause;
        self.clients[who].stand_still(self.now, until);
    }

    /// The clock of the machine does not notice.
    fn freeze(&mut self, who: usize, pause: Duration) {
        if self.clients[who].frozen_until > self.now {
            return;
        }
        let pause = pause.min(self.setting.peace_at - self.now);
        self.clients[who].frozen_until = self.now + pause;
        self.stand_still(who, pause, Count::Frozen);
        self.schedule(self.now + pause, Event::Thaw { who, missed: pause });
    }

    fn crash(&mut self, who: usize) {
        if self.clients[who].frozen_until > self.now {
            return;
        }
        self.note(format_args!("client {who} is killed"));
        self.tally.add(Count::Crashed);
        let leaves = self.random.one_in(2);
        self.end_life(who, leaves);
    }

    pub(super) fn break_lease(&mut self, period: Option<u8>) {
        let Some((id, _)) = self.service.holder() else { return };
        let forced = period.is_some();
        self.note(format_args!("an operator breaks the lease, within {period:?}"));
        self.tally.add(if forced { Count::BrokenByForce } else { Count::BrokenAtExpiry });
        self.facts_of(id).broken = true;
        self.service.handle(self.now, crate::rest::Operation::Break { period, only: None }, |_| Duration::ZERO);
    }

    /// From here on nothing goes wrong, and who has the lock gives it back.
    fn peace(&mut self) {
        self.note(format_args!("peace"));
        self.storms.clear();
        for who in 0..self.clients.len() {
            if let Some(claim) = self.clients[who].claim_number() {
                let soon = self.now + S;
                self.schedule_for(who, soon, Event::Caller { claim, does: Caller::Finish });
            }
        }
        if !self.setting.lawful {
            // Also what is taken by an acquire on its way: a lease without an end has nobody to release it.
            for time in [self.now, self.all_arrived] {
                self.schedule(time, Event::Trouble(Trouble::ForceBreak, Duration::ZERO));
            }
        }
        let awake = self.clients.iter().map(|client| client.still_until).max().unwrap_or_default();
        let verdict = self.now.max(self.all_arrived).max(awake).max(self.all_moved()) + SOON;
        self.schedule(verdict, Event::Verdict);
    }

    pub(super) fn is_peace(&self) -> bool {
        self.now >= self.setting.peace_at
    }
}
