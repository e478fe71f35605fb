//! The threads of several processes that want one lock, each process with the crate's own [`Line`], each turn with its
//! own [`Carrier`], on made-up time: who is next, who is woken, and how soon another process gets in.
//!
//! `AZMUTEX_TURNS_SEED` plays one run of trouble alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::clock::Moment;
use crate::hold::caller::Limits;
use crate::hold::carry::{Act, Carrier, Report};
use crate::hold::{Hold, Leaves, Settings, Wait, Why};
use crate::lease::{LeaseId, LockState, Term};
use crate::queue::line::{Line, Next, PAUSE, Ticket, Want};
use crate::random::Jitter;
use crate::rest::{Applied, Exchange, Operation, Outcome};
use crate::retry::Policy;

use super::number;
use super::random::Random;
use super::service::Time;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// How many runs each test plays.
const RUNS: u64 = if cfg!(debug_assertions) { 40 } else { 2_000 };
/// How long a process has the lock at most while it meets no other, and once it has met one.
const ROW: Duration = Duration::from_secs(40);
const CONTENDED_ROW: Duration = Duration::from_secs(10);

type Failure = u64;
/// A process, and one of its threads.
type Who = (usize, usize);
/// When it happens, in which order, to whom, and what makes it void.
type Scheduled = (Time, u64, Who, u64, Event);

/// What a thread does with the lock.
#[derive(Copy, Clone, Debug)]
struct Habit {
    begins: Time,
    /// How often; its waits have no end, or one after so long, or it only tries.
    uses: u32,
    patience: Option<Duration>,
    tries: bool,
    holds: Duration,
    pauses: Duration,
}

impl Habit {
    fn looping(holds: Duration) -> Habit {
        Habit { begins: Duration::ZERO, uses: u32::MAX, patience: None, tries: false, holds, pauses: Duration::ZERO }
    }

    fn once(begins: Time) -> Habit {
        Habit { begins, uses: 1, ..Habit::looping(Duration::ZERO) }
    }
}

#[derive(Default)]
struct Process {
    line: Line<Failure>,
    threads: Vec<Thread>,
    /// Those that were taken, in their order, and are not left.
    places: Vec<Place>,
    stood_back: Duration,
    /// When it got the lock last.
    granted: Time,
}

#[derive(Copy, Clone, Debug)]
struct Place {
    ticket: Ticket,
    thread: usize,
    /// Its caller went away from a thread that hangs: its turn is over then.
    gone_by: Option<Moment>,
}

struct Thread {
    habit: Habit,
    /// Grows with each thing that makes what was to happen next void.
    token: u64,
    usage: Option<Usage>,
    waits: Vec<Duration>,
    turns: u64,
    refused: u64,
}

/// One use of the lock.
struct Usage {
    number: u64,
    ticket: Ticket,
    wait: Wait,
    since: Time,
    /// When it looks again, in the queue.
    looks: Time,
    is_cancelled: bool,
    run: Option<Run>,
}

struct Run {
    carrier: Carrier<Failure>,
    jitter: Jitter,
    begun: Time,
    /// Until when it stood back.
    stands_back: Option<Time>,
    /// Since when its looks show that nobody has the lock, and how often somebody had got it by then.
    sees_free: Option<(Time, u64)>,
    left: bool,
    /// Its caller's leaving wakes it.
    wakes: bool,
    granted: bool,
    /// Nothing is heard of its thread any more.
    hangs: bool,
    /// It is over by then.
    ends: Moment,
    gone_by: Moment,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Come,
    Look,
    Cancel(u64),
    Decide,
    Arrive(u32, Moment),
    Answer,
    LetGo(u64),
}

struct World {
    now: Time,
    random: Random,
    /// The longest way to the service or back, and that of the last process.
    way: Duration,
    way_of_last: Duration,
    holder: Option<(LeaseId, Time)>,
    is_down: Vec<(Time, Time)>,
    /// Threads die, hang and keep the lock, and waits are cancelled.
    trouble: bool,
    /// Nobody does, from the beginning to the end.
    is_calm: bool,
    /// Nothing new begins after that, or after one of the last process has had its turn.
    until: Time,
    is_for_last: bool,
    /// How often somebody got the lock that nobody had.
    grants: u64,
    /// How often one that stood back took the lock, having left it to all who waited.
    deferred: u64,
    processes: Vec<Process>,
    events: BinaryHeap<Reverse<Scheduled>>,
    under_way: Vec<(u64, Operation, Outcome, Moment)>,
    serial: u64,
    requests: u64,
}

fn settings() -> Settings {
    Settings {
        term: Term::Seconds(30),
        renew_every: 10 * S,
        first_pause: 100 * MS,
        longest_pause: S,
        create_container: true,
        leaves: Leaves::default(),
        policy: Policy::default(),
    }
}

impl Process {
    fn usage(&self, place: &Place) -> Option<&Usage> {
        self.threads[place.thread].usage.as_ref().filter(|_| place.gone_by.is_none())
    }

    /// Its turn must be over by now.
    fn is_past(&self, place: &Place, now: Moment) -> bool {
        let run = self.usage(place).and_then(|usage| usage.run.as_ref());
        run.map(|run| run.ends.min(run.gone_by)).or(place.gone_by).is_some_and(|over_by| over_by <= now)
    }

    /// Those before it whose turn may not be over.
    fn before(&self, ticket: Ticket, now: Moment) -> usize {
        let before = self.places.iter().take_while(|place| place.ticket != ticket);
        before.filter(|place| !self.is_past(place, now)).count()
    }
}

impl World {
    fn new(seed: u64, until: Time, way: Duration, habits: &[Vec<Habit>]) -> World {
        let mut world = World {
            now: Duration::ZERO,
            random: Random::new(seed),
            way,
            way_of_last: way,
            holder: None,
            is_down: Vec::new(),
            trouble: false,
            is_calm: true,
            until,
            is_for_last: false,
            grants: 0,
            deferred: 0,
            processes: Vec::new(),
            events: BinaryHeap::new(),
            under_way: Vec::new(),
            serial: 0,
            requests: 0,
        };
        for (process, habits) in habits.iter().enumerate() {
            let thread =
                |habit: &Habit| Thread { habit: *habit, token: 0, usage: None, waits: vec![], turns: 0, refused: 0 };
            let threads = habits.iter().map(thread).collect();
            world.processes.push(Process { threads, ..Process::default() });
            for (thread, habit) in habits.iter().enumerate() {
                world.schedule((process, thread), habit.begins, Event::Come);
            }
        }
        world
    }

    fn local(&self) -> Moment {
        Moment::PAST.after(1_000 * S).after(self.now)
    }

    fn true_time(moment: Moment) -> Time {
        moment.since(Moment::PAST.after(1_000 * S))
    }

    fn thread(&mut self, (process, thread): Who) -> &mut Thread {
        &mut self.processes[process].threads[thread]
    }

    fn usage(&mut self, who: Who) -> &mut Usage {
        self.thread(who).usage.as_mut().expect("it uses the lock")
    }

    fn run_of(&mut self, who: Who) -> &mut Run {
        self.usage(who).run.as_mut().expect("it has its turn")
    }

    fn schedule(&mut self, who: Who, time: Time, event: Event) {
        self.serial += 1;
        let token = self.thread(who).token;
        self.events.push(Reverse((time.max(self.now), self.serial, who, token, event)));
    }

    /// Makes this what it does next, whatever else was to be.
    fn next_is(&mut self, who: Who, time: Time, event: Event) {
        self.thread(who).token += 1;
        self.schedule(who, time, event);
    }

    fn run(&mut self) {
        while let Some(Reverse((time, serial, who, token, event))) = self.events.pop() {
            if self.now >= self.until && self.trouble {
                self.trouble = false;
            }
            self.now = time;
            assert!(serial < 20_000_000, "it comes to no end");
            let (process, thread) = who;
            let is_due = self.thread(who).token == token;
            let is_of =
                |usage: u64| self.processes[process].threads[thread].usage.as_ref().is_some_and(|u| u.number == usage);
            match event {
                Event::Come => self.come(who),
                Event::Look if is_due => self.look(who),
                Event::Cancel(usage) if is_of(usage) => self.cancel(who),
                Event::Decide if is_due => self.decide(who),
                Event::Arrive(number, sent) => self.arrive(who, token, number as usize, sent),
                Event::Answer if is_due => self.answer(who, serial),
                Event::LetGo(usage) if is_of(usage) => self.let_go(who),
                _ => {}
            }
            self.wake(process);
        }
        for process in &self.processes {
            let stranded: Vec<_> = process.places.iter().filter(|place| place.gone_by.is_none()).collect();
            assert!(stranded.is_empty(), "stranded: {stranded:?}");
        }
    }

    /// Those whom it concerns look again at once, and nobody who should look sleeps.
    fn wake(&mut self, process: usize) {
        for ticket in self.processes[process].line.take_wakes() {
            let woken = self.processes[process].places.iter().find(|place| place.ticket == ticket);
            let Some(who) = woken.map(|place| (process, place.thread)) else { continue };
            if self.usage(who).run.is_none() {
                self.looks_at(who, self.now);
            }
        }
        let (now, local) = (self.now, self.local());
        let process = &self.processes[process];
        let waits = |place: &&Place| process.usage(place).is_some_and(|usage| usage.run.is_none());
        let Some(first) = process.places.iter().find(waits) else { return };
        let usage = process.usage(first).expect("it waits");
        let is_first = process.before(first.ticket, local) == 0;
        assert!(!is_first || usage.looks <= now, "nobody has woken {:?}", usage.ticket);
    }

    fn looks_at(&mut self, who: Who, time: Time) {
        self.usage(who).looks = time;
        self.next_is(who, time, Event::Look);
    }

    fn come(&mut self, who: Who) {
        let (now, local) = (self.now, self.local());
        if now >= self.until || self.thread(who).usage.is_some() {
            return;
        }
        let habit = self.thread(who).habit;
        let wait = match habit.patience {
            _ if habit.tries => Wait::Never,
            Some(patience) => Wait::Until(local.after(patience)),
            None => Wait::Forever,
        };
        let want = Want { wait, patience: settings().policy.patience, token: false };
        let process = &self.processes[who.0];
        let has_let_go = |place: &Place| match process.usage(place) {
            Some(usage) => usage.run.as_ref().is_some_and(|run| run.left),
            None => true,
        };
        let is_wanted = process.places.iter().any(|place| !has_let_go(place) && !process.is_past(place, local));
        match self.processes[who.0].line.join(local, want) {
            Err(ahead) => {
                assert!(wait == Wait::Never && is_wanted && ahead > 0);
                self.thread(who).refused += 1;
                self.again(who);
            }
            Ok(ticket) => {
                self.serial += 1;
                let number = self.serial;
                let usage = Usage { number, ticket, wait, since: now, looks: now, is_cancelled: false, run: None };
                self.thread(who).usage = Some(usage);
                self.processes[who.0].places.push(Place { ticket, thread: who.1, gone_by: None });
                self.looks_at(who, now);
                if self.trouble && wait != Wait::Never && self.random.one_in(4) {
                    let cancels = now + self.random.up_to(20 * S);
                    self.schedule(who, cancels, Event::Cancel(number));
                }
            }
        }
    }

    fn again(&mut self, who: Who) {
        let thread = self.thread(who);
        thread.habit.uses -= 1;
        thread.token += 1;
        if thread.habit.uses > 0 {
            let pause = thread.habit.pauses.max(MS / 100);
            self.schedule(who, self.now + pause, Event::Come);
        }
    }

    fn look(&mut self, who: Who) {
        let (now, local) = (self.now, self.local());
        let Usage { ticket, is_cancelled, wait, .. } = *self.usage(who);
        match self.processes[who.0].line.next(local, ticket, is_cancelled) {
            Next::Wait { ahead, until } => {
                assert_eq!(self.processes[who.0].before(ticket, local), ahead);
                self.usage(who).looks = Self::true_time(until).max(now);
                if until != Moment::NEVER {
                    let looks = self.usage(who).looks;
                    self.looks_at(who, looks);
                }
            }
            Next::Missed { why, .. } => {
                assert!(if why == Why::TimedOut {
                    matches!(wait, Wait::Until(end) if end <= local)
                } else {
                    is_cancelled
                });
                assert!(!matches!(wait, Wait::Until(end) if end.after(MS) < local), "its time was up before");
                self.over(who);
            }
            Next::Failed(_) => {
                assert_eq!(wait, Wait::Forever);
                self.over(who);
            }
            Next::Start { stands_back, failing_since } => self.start(who, stands_back, failing_since),
        }
    }

    fn start(&mut self, who: Who, stands_back: Option<Moment>, failing_since: Option<Moment>) {
        let local = self.local();
        let Usage { ticket, wait, since, .. } = *self.usage(who);
        assert_eq!(self.processes[who.0].before(ticket, local), 0, "{ticket:?} has jumped the queue");
        self.serial += 1;
        let id = LeaseId::parse(&format!("{:08x}-0000-4000-8000-{:012x}", self.random.next(), self.serial)).unwrap();
        let mut hold = Hold::keep(settings(), id, wait).failing_since(failing_since);
        if let Some(until) = stands_back {
            assert_ne!(wait, Wait::Never, "a try stands back");
            if let Wait::Until(end) = wait {
                assert!(Self::true_time(end) > since + PAUSE + S, "a short wait stands back");
                assert!(until <= end, "it stands back for longer than it waits");
            }
            assert!(until.left(local) <= PAUSE);
            self.processes[who.0].stood_back += until.left(local);
            hold = hold.standing_back(until);
        }
        let jitter = Jitter::new(self.random.next().into());
        self.usage(who).run = Some(Run {
            carrier: Carrier::new(hold),
            jitter,
            begun: self.now,
            stands_back: stands_back.map(Self::true_time),
            sees_free: None,
            left: false,
            wakes: false,
            granted: false,
            hangs: false,
            ends: Moment::NEVER,
            gone_by: Moment::NEVER,
        });
        self.next_is(who, self.now, Event::Decide);
    }

    fn cancel(&mut self, who: Who) {
        let usage = self.usage(who);
        usage.is_cancelled = true;
        match &usage.run {
            None => self.looks_at(who, self.now),
            Some(run) if !run.granted => self.leave(who),
            Some(_) => {}
        }
    }

    fn let_go(&mut self, who: Who) {
        self.leave(who);
    }

    fn leave(&mut self, who: Who) {
        let limits = Limits::new(settings().policy.attempt_limit, 2 * S, settings().term);
        let gone_by = self.local().after(limits.undoing());
        let ticket = self.usage(who).ticket;
        let run = self.run_of(who);
        if run.left {
            return;
        }
        (run.left, run.gone_by) = (true, gone_by);
        let (wakes, hangs) = (run.wakes, run.hangs);
        self.processes[who.0].line.leaves(ticket, gone_by);
        if hangs {
            // Its caller waits no longer than that, and comes again.
            self.give_up(who);
        } else if wakes {
            self.next_is(who, self.now, Event::Decide);
        }
    }

    fn decide(&mut self, who: Who) {
        let local = self.local();
        let run = self.run_of(who);
        run.wakes = false;
        if run.left {
            run.carrier.leave();
        }
        let jitter = run.jitter.next();
        let act = run.carrier.next(local, jitter);
        let ticket = self.usage(who).ticket;
        self.processes[who.0].line.carried_out(local, ticket, &act);
        match act {
            Act::Send { operation, .. } => return self.send(who, operation),
            Act::Sleep { until, for_leave } => {
                let run = self.run_of(who);
                run.wakes = for_leave;
                let until = Self::true_time(until);
                return self.next_is(who, until, Event::Decide);
            }
            Act::Grant { ends, .. } => self.granted(who, ends),
            Act::Extend { valid_until, ends } => {
                let run = self.run_of(who);
                run.ends = ends;
                run.carrier.extended(local, Ok(valid_until));
            }
            Act::Report(Report::NotObtained { why, .. }) => {
                self.thread(who).refused += u64::from(why == Why::Busy);
                if why == Why::Failed && self.usage(who).wait == Wait::Forever {
                    self.check_failed(who.0, ticket);
                }
                self.leave(who);
            }
            // It has passed its turn on.
            Act::Lose(_) => {
                self.leave_place(who);
                self.leave(who);
            }
            Act::Report(Report::Released(_)) => self.leave_place(who),
            Act::End => {
                self.processes[who.0].line.end(local, ticket);
                return self.over(who);
            }
            Act::Notify(_) | Act::Report(_) => {}
        }
        self.next_is(who, self.now, Event::Decide);
    }

    /// Nobody behind it goes on to wait for ever.
    fn check_failed(&mut self, process: usize, first: Ticket) {
        let local = self.local();
        for place @ Place { ticket, thread, .. } in self.processes[process].places.clone() {
            let Some(Usage { wait, run: None, .. }) = self.processes[process].usage(&place) else { continue };
            if ticket != first && *wait == Wait::Forever {
                let next = self.processes[process].line.next(local, ticket, false);
                assert!(matches!(next, Next::Failed(Some(_))), "{ticket:?} goes on to wait: {next:?}");
                self.over((process, thread));
            }
        }
    }

    fn granted(&mut self, who: Who, ends: Moment) {
        if self.is_calm {
            self.check_granted(who);
        }
        self.processes[who.0].granted = self.now;
        let now = self.now;
        let trouble = self.trouble;
        let fate = self.random.below(12);
        let usage = self.usage(who);
        let (number, waited) = (usage.number, now - usage.since);
        let run = self.run_of(who);
        (run.granted, run.ends) = (true, ends);
        let thread = self.thread(who);
        thread.waits.push(waited);
        thread.turns += 1;
        let mut holds = thread.habit.holds;
        if trouble && fate == 0 {
            // Kept, as one that was leaked, until the trouble is over.
            holds = self.until.saturating_sub(now) + S;
        }
        self.schedule(who, now + holds, Event::LetGo(number));
        if self.is_for_last && who.0 + 1 == self.processes.len() {
            self.until = now;
        }
    }

    /// Whoever stood back has let the others go first.
    fn check_granted(&mut self, who: Who) {
        let Run { stands_back: Some(until), sees_free, .. } = *self.run_of(who) else { return };
        // Nobody had it since a look has shown that it is free.
        let free_since = sees_free.filter(|(_, grants)| *grants + 1 == self.grants).map(|(since, _)| since);
        self.deferred += u64::from(free_since.is_some());
        let paused = until.saturating_sub(PAUSE);
        let others = || self.processes.iter().enumerate().filter(|(process, _)| *process != who.0);
        let waiters = others().flat_map(|(_, process)| &process.threads).filter_map(|thread| {
            let run = thread.usage.as_ref()?.run.as_ref()?;
            (!run.granted && run.stands_back.is_none()).then_some(run.begun)
        });
        let Some(first) = waiters.min() else { return };
        let has_let_in = others().any(|(_, process)| process.granted >= paused);
        assert!(
            first >= paused || has_let_in,
            "nobody got in from {paused:?} to {until:?}, one waited since {first:?}"
        );
        // A pause, a look and an acquire fit into the time for which it defers. No look can tell that the lock was taken
        // and freed again in between: so one may find it free twice between two turns of somebody else, and have deferred
        // to nobody. Nor does it defer in the try that is made once a lease, lest an old look be believed.
        if let Some(since) = free_since.filter(|_| self.way_of_last <= 50 * MS) {
            assert!(first >= since, "it was free from {since:?} on, one had waited since {first:?}, and was overtaken");
        }
    }

    fn on_its_way(&mut self, who: Who) -> Duration {
        let is_last = who.0 + 1 == self.processes.len();
        self.random.up_to(if is_last { self.way_of_last } else { self.way })
    }

    fn send(&mut self, who: Who, operation: Operation) {
        self.requests += 1;
        if self.trouble {
            match self.random.below(60) {
                // The thread dies, and what is on its stack is dropped.
                0 => {
                    let (local, ticket) = (self.local(), self.usage(who).ticket);
                    self.processes[who.0].line.end(local, ticket);
                    return self.over(who);
                }
                1 if self.run_of(who).granted => {
                    self.run_of(who).hangs = true;
                    self.thread(who).token += 1;
                    if self.run_of(who).left {
                        self.give_up(who);
                    }
                    return;
                }
                _ => {}
            }
        }
        let (out, sent) = (self.on_its_way(who), self.local());
        let number = self.under_way.len();
        self.under_way.push((0, operation, Outcome::Refused, sent));
        self.thread(who).token += 1;
        self.schedule(who, self.now + out, Event::Arrive(number as u32, sent));
    }

    fn arrive(&mut self, who: Who, token: u64, number: usize, sent: Moment) {
        let operation = self.under_way[number].1;
        let outcome = self.carry_out(operation);
        let saw = (self.now, self.grants);
        if let Some(run) = self.thread(who).usage.as_mut().and_then(|usage| usage.run.as_mut()) {
            match outcome {
                Outcome::Seen(LockState::Available) => drop(run.sees_free.get_or_insert(saw)),
                Outcome::Seen(_) | Outcome::Busy => run.sees_free = None,
                _ => {}
            }
        }
        let back = self.on_its_way(who);
        self.serial += 1;
        let serial = self.serial;
        self.under_way[number] = (serial, operation, outcome, sent);
        self.events.push(Reverse((self.now + back, serial, who, token, Event::Answer)));
    }

    fn answer(&mut self, who: Who, serial: u64) {
        let at = self.under_way.iter().rposition(|(answer, ..)| *answer == serial).expect("it was asked");
        let (_, _, outcome, sent) = self.under_way[at];
        let failure = matches!(outcome, Outcome::Failed { .. }).then_some(serial);
        self.run_of(who).carrier.answered(Exchange::new(sent, outcome, failure));
        self.next_is(who, self.now, Event::Decide);
    }

    fn carry_out(&mut self, operation: Operation) -> Outcome {
        let now = self.now;
        if self.is_down.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            return Outcome::Failed { applied: Applied::No, retry_after: None };
        }
        self.holder = self.holder.filter(|(_, until)| *until > now);
        let ours = |id: LeaseId| self.holder.is_none_or(|(holder, _)| holder == id);
        match operation {
            Operation::Acquire { id, .. } | Operation::Renew { id } if ours(id) => {
                self.grants += u64::from(self.holder.is_none());
                self.holder = Some((id, now + 30 * S));
                Outcome::Leased(id)
            }
            Operation::Acquire { .. } => Outcome::Busy,
            Operation::Release { id } if self.holder.is_some() && ours(id) => {
                self.holder = None;
                Outcome::Done
            }
            Operation::Look if self.holder.is_some() => Outcome::Seen(LockState::Leased),
            Operation::Look => Outcome::Seen(LockState::Available),
            _ => Outcome::NotOurs,
        }
    }

    /// The lock's thread has passed its turn on, and goes on.
    fn leave_place(&mut self, who: Who) {
        let ticket = self.usage(who).ticket;
        self.processes[who.0].places.retain(|place| place.ticket != ticket);
    }

    /// The use is over, and the next one comes.
    fn over(&mut self, who: Who) {
        let (local, ticket) = (self.local(), self.usage(who).ticket);
        self.processes[who.0].line.end(local, ticket);
        self.forget(who);
        self.again(who);
    }

    /// Its caller leaves a thread alone that hangs, and comes again.
    fn give_up(&mut self, who: Who) {
        let ticket = self.usage(who).ticket;
        let run = self.run_of(who);
        let gone_by = run.gone_by.min(run.ends);
        let place = self.processes[who.0].places.iter_mut().find(|place| place.ticket == ticket);
        place.into_iter().for_each(|place| place.gone_by = Some(gone_by));
        self.thread(who).usage = None;
        self.thread(who).token += 1;
        self.schedule(who, Self::true_time(gone_by), Event::Come);
    }

    fn forget(&mut self, who: Who) {
        self.leave_place(who);
        self.thread(who).usage = None;
    }

    fn turns(&self, process: usize) -> u64 {
        self.processes[process].threads.iter().map(|thread| thread.turns).sum()
    }
}

/// How many turns there were.
fn trouble(seed: u64) -> u64 {
    let mut random = Random::new(seed ^ 0x7175_6575);
    let habits: Vec<Vec<Habit>> = (0..1 + random.below(2))
        .map(|_| {
            let habit = |_| Habit {
                begins: random.up_to(5 * S),
                uses: u32::MAX,
                patience: random.pick(&[None, None, Some(random_patience(seed))]),
                tries: random.one_in(6),
                holds: random.pick(&[Duration::ZERO, 10 * MS, S, 20 * S]),
                pauses: random.pick(&[100 * MS, S, 10 * S]),
            };
            (0..8).map(habit).collect()
        })
        .collect();
    let mut world = World::new(seed, 300 * S, 100 * MS, &habits);
    (world.trouble, world.is_calm) = (true, false);
    if seed.is_multiple_of(2) {
        world.is_down = vec![(60 * S, 110 * S), (180 * S, 200 * S)];
    }
    world.run();
    (0..habits.len()).map(|process| world.turns(process)).sum()
}

fn random_patience(seed: u64) -> Duration {
    [2 * S, 6 * S, 30 * S][(seed % 3) as usize]
}

// Scenario 21.
#[test]
fn everybody_has_its_turn_in_order_or_is_told_why_not() {
    let seeds = match number("AZMUTEX_TURNS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..RUNS,
    };
    let mut turns = 0;
    for seed in seeds {
        println!("seed {seed}");
        turns += trouble(seed);
    }
    println!("{turns} turns");
    assert!(turns > 100);
}

#[test]
fn two_requests_a_lock_and_nobody_is_left_out() {
    for threads in [8, 32, 100] {
        for holds in [Duration::ZERO, 10 * MS, S] {
            let mut world = World::new(1, 60 * S, 2 * MS, &[vec![Habit::looping(holds); threads]]);
            world.run();
            let turns: Vec<u64> = world.processes[0].threads.iter().map(|thread| thread.turns).collect();
            let (fewest, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
            assert!(most - fewest <= 1, "{fewest} to {most} turns");
            assert_eq!(world.requests, 2 * turns.iter().sum::<u64>());
        }
    }
}

/// How long one waits who wants the lock once, from any time in the rows of those who loop.
/// With how often one that stood back took the lock, having left it to all who waited.
fn waits(loops: &[Vec<Habit>], (way, way_of_last): (Duration, Duration), seed: u64) -> (Duration, u64) {
    let mut habits = loops.to_vec();
    habits.push(vec![Habit::once(Random::new(seed).between(S, 100 * S))]);
    let mut world = World::new(seed, 300 * S, way, &habits);
    (world.is_for_last, world.way_of_last) = (true, way_of_last);
    world.run();
    (world.processes.last().unwrap().threads[0].waits[0], world.deferred)
}

/// What is promised to a waiter elsewhere, however slow its answers are: the row, the pause, and the hold in progress.
#[test]
fn another_process_gets_in_between_two_rows() {
    let mut longest = Duration::ZERO;
    // All that is mixed here comes together once.
    for seed in 0..RUNS.max(96) {
        let holds = [Duration::ZERO, 10 * MS, S, 15 * S][(seed % 4) as usize];
        let threads = [1, 50][(seed / 4 % 2) as usize];
        let way = [5 * MS, 500 * MS][(seed / 8 % 2) as usize];
        // Their limits are used up in the queue, where many wait; and a short turn may come near the end of a pause.
        let patience = [None, Some(10 * S), Some(30 * S)][(seed / 16 % 3) as usize];
        let pauses = [Duration::ZERO, 3_900 * MS][(seed / 48 % 2) as usize];
        let habit = Habit { patience, pauses, ..Habit::looping(holds) };
        let (waited, _) = waits(&[vec![habit; threads]], (5 * MS, way), seed);
        // A hold takes a request at either end.
        assert!(waited <= ROW + PAUSE + holds + 4 * way, "{waited:?} with holds of {holds:?}, seed {seed}");
        longest = longest.max(waited.saturating_sub(holds));
    }
    println!("{longest:?} at most, beyond the hold in progress");
}

/// Where several are there, those come first who have not had it.
#[test]
fn a_third_process_gets_in_after_the_second() {
    let (mut longest, mut deferred) = (Duration::ZERO, 0);
    for seed in 0..RUNS {
        let holds = [Duration::ZERO, 10 * MS, S][(seed % 3) as usize];
        let threads = [1, 50][(seed / 4 % 2) as usize];
        let loops = vec![vec![Habit::looping(holds); threads]; 2];
        let (waited, deferred_now) = waits(&loops, (50 * MS, 50 * MS), seed);
        deferred += deferred_now;
        let bound = ROW + CONTENDED_ROW + 2 * (PAUSE + holds + S);
        assert!(waited <= bound, "{waited:?} of {bound:?} with holds of {holds:?}, seed {seed}");
        longest = longest.max(waited);
    }
    println!("{longest:?} at most; {deferred} turns of those that had stood back, and had let all others go first");
    assert!(deferred > 0);
}

#[test]
fn two_processes_that_loop_share_the_lock() {
    for holds in [Duration::ZERO, 10 * MS, S] {
        let loops = vec![vec![Habit::looping(holds)]; 2];
        let mut world = World::new(3, 300 * S, 10 * MS, &loops);
        world.run();
        let (one, other) = (world.turns(0), world.turns(1));
        println!("holds of {holds:?}: {one} and {other} turns");
        assert!(one.abs_diff(other) * 4 < one + other, "{one} and {other}");
        let longest = world.processes.iter().flat_map(|process| &process.threads[0].waits).max().unwrap();
        assert!(*longest <= ROW + PAUSE + holds + S, "{longest:?}");
    }
}

#[test]
fn a_loop_that_nobody_disturbs_loses_no_more_than_a_tenth() {
    for habit in [Habit::looping(Duration::ZERO), Habit { pauses: 3 * S, ..Habit::looping(S) }] {
        let mut world = World::new(7, 1_000 * S, 20 * MS, &[vec![habit]]);
        world.run();
        let lost = world.processes[0].stood_back;
        assert!(lost > Duration::ZERO && lost <= 100 * S, "{lost:?} of 1,000 s");
    }
}

#[test]
fn a_try_that_nobody_disturbs_is_never_refused() {
    let habit = Habit { tries: true, ..Habit::looping(10 * MS) };
    let mut world = World::new(7, 200 * S, 5 * MS, &[vec![habit]]);
    world.run();
    assert_eq!((world.processes[0].stood_back, world.processes[0].threads[0].refused), (Duration::ZERO, 0));
    assert!(world.turns(0) > 5_000);
}
