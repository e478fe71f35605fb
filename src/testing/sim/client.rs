//! A process that wants the lock. What decides is the crate's own: the lock's thread and the calls of `AzureMutex`
//! ([`Carrier`], [`Call`]), what the holder is told ([`Standing`]), and its caller ([`Waiter`], [`Farewell`]), who comes
//! and goes as callers do.

use std::time::Duration;

use crate::clock::Moment;
use crate::fencing::Blob;
use crate::hold::call::{Call, Verdict};
use crate::hold::caller::{Farewell, Heard, Limits, Missed, Turn, Waiter, Way};
use crate::hold::carry::{Act, Carrier, Notice, Report, Unreleased};
use crate::hold::write::Wish;
use crate::hold::{Hold, Leaves, Settings, Wait, Why};
use crate::kept::Kept;
use crate::lease::{LeaseId, Lost, Term};
use crate::question::{Question, Task};
use crate::queue::line::PAUSE;
use crate::random::Jitter;
use crate::rest::{Applied, Exchange, Operation, Outcome};
use crate::retry::Policy;
use crate::standing::{News, Standing};
use crate::watchdog::LOOK_EVERY;

use super::conduct::Record;
use super::link::Link;
use super::network::{Answered, Packet};
use super::random::Random;
use super::rules::{Facts, TOLD_WITHIN};
use super::service::{Answer, Time};
use super::tally::Count;
use super::time::Clock;
use super::world::{Event, World};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const MICRO: Duration = Duration::from_micros(1);
/// A thread that gets the processor back only then has met trouble.
const HELD_UP: Duration = Duration::from_millis(20);
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// A failure, known by the call that failed.
pub(super) type Failure = u64;

pub(super) struct Client {
    pub(super) clock: Clock,
    /// Grows with each restart.
    pub(super) life: u32,
    pub(super) still_until: Time,
    pub(super) frozen_until: Time,
    /// When it last met something that went wrong.
    pub(super) touched: Time,
    /// Until when it, or a thread of its, did not get the processor.
    pub(super) held_up: Time,
    /// What it left to the process that comes after it.
    estate: Option<Estate>,
    pub(super) claim: Option<Claim>,
    /// What the service has answered it.
    pub(super) answers: Vec<Answered>,
    pub(super) link: Link,
    /// What its last hold left in the blob's metadata.
    known: Option<Blob>,
}

/// The lease of a process that has ended.
struct Estate {
    id: LeaseId,
    settings: Settings,
}

/// One use of the lock, from the call to its end.
pub(super) struct Claim {
    pub(super) number: usize,
    /// By calls of `AzureMutex`, and not by a `Locker`.
    pub(super) one_shot: bool,
    pub(super) settings: Settings,
    pub(super) wait: Wait,
    id: LeaseId,
    pub(super) run: Option<Run>,
    /// What the guard asks.
    standing: Standing<usize>,
    /// The lock was granted.
    granted: bool,
    /// What each of the guard's receivers heard.
    pub(super) listeners: Vec<Option<Lost>>,
    /// What the `Lease` says.
    kept: Option<Kept>,
    pub(super) valid_until: Option<Moment>,
    /// When a renewal was sent before the caller was told of the grant: what came of it may be unheard of.
    pub(super) early_renewal: Option<Moment>,
    /// That is by a renewal, and not by the grant.
    pub(super) is_renewed: bool,
    /// Its caller, while it waits for the lock, and while it waits for the release.
    pub(super) waiter: Option<Waiter<Failure>>,
    farewell: Option<Farewell>,
    pub(super) way: Way,
    /// Its caller has the guard.
    pub(super) taken: bool,
    /// It was told that it does not get the lock.
    pub(super) failed: bool,
    /// The caller has left, or let go of its guard.
    pub(super) left: bool,
    /// When that was, and until when the lock was ours as far as was known.
    pub(super) left_at: Option<Moment>,
    pub(super) left_until: Option<Moment>,
    /// What was said last reaches the caller then.
    hears_at: Time,
    pub(super) lost_told: Option<Lost>,
    /// Whether the lock was held until it was let go, by the client's own clock.
    pub(super) held_at_last: Option<bool>,
    releases: u32,
    /// It waits for what comes of its mark.
    pub(super) marks: bool,
    /// What is known of the blob's metadata under this lease.
    known: Option<Blob>,
}

/// What is being carried out.
pub(super) struct Run {
    carried: Carried,
    jitter: Jitter,
    pub(super) purpose: Purpose,
    pub(super) record: Record,
    /// It was told that its caller has left.
    pub(super) left: bool,
    /// Of the event that it is waiting for.
    token: u64,
    /// The caller's leaving wakes it.
    wakes: bool,
    call: Option<(u64, Operation, Moment)>,
    /// The limit of that call, or of the last one, is but the rest of a longer time.
    is_rest: bool,
    /// The last call that was answered with a lease, and when it was sent.
    pub(super) last_call: u64,
    pub(super) last_sent: Moment,
    /// An answer that has come in.
    heard: Option<Exchange<Failure>>,
    /// What a look showed.
    seen: Option<Term>,
}

enum Carried {
    Thread(Carrier<Failure>),
    Call(Call<Failure>),
    Look(Box<Question<Failure>>, Box<Call<Failure>>),
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    Keep,
    Acquire,
    /// Before it resumes.
    Look,
    Resume,
    Renew,
    Release,
    /// Takes a token for a lease.
    Fence,
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Caller {
    /// Cancels its wait.
    Cancel,
    /// Unlocks, or drops the guard.
    Unlock,
    /// Asks for another receiver.
    Listen,
    /// Leaves a mark.
    Mark,
    Renew,
    Fence,
    Release,
    /// Ends, and leaves its lease to the process that comes next.
    Bequeath,
    /// Whichever of them it takes.
    Finish,
}

impl Client {
    pub(super) fn new(random: &mut Random) -> Client {
        let some = random.below(20_001) as i32 - 10_000;
        let drift = random.pick(&[-10_000, 10_000, 0, some]);
        let clock = Clock { offset: random.between(1_000 * S, 1_000_000 * S), drift, missed: Duration::ZERO };
        let never = Duration::ZERO;
        Client {
            clock,
            life: 0,
            still_until: never,
            frozen_until: never,
            touched: never,
            held_up: never,
            estate: None,
            claim: None,
            answers: Vec::new(),
            link: Link::new(),
            known: None,
        }
    }

    pub(super) fn claim(&self) -> &Claim {
        self.claim.as_ref().expect("nothing is claimed")
    }

    pub(super) fn claim_mut(&mut self) -> &mut Claim {
        self.claim.as_mut().expect("nothing is claimed")
    }

    pub(super) fn claim_number(&self) -> Option<usize> {
        self.claim.as_ref().map(|claim| claim.number)
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.claim.as_ref().and_then(|claim| claim.valid_until)
    }

    /// By when its holder has been told of the loss at its deadline: what stands still tells nothing.
    fn told_by(&self) -> Option<Time> {
        let deadline = self.clock.when(self.deadline()?)?;
        Some(deadline.max(self.still_until) + TOLD_WITHIN)
    }

    /// What the holder would hear if it asked now.
    pub(super) fn says_yes(&self, now: Time) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.says_yes(self.clock.at(now)))
    }

    /// Whether it has not given up on this packet.
    pub(super) fn waits_for(&self, packet: &Packet) -> bool {
        let run = self.claim.as_ref().and_then(|claim| claim.run.as_ref());
        let call = run.and_then(|run| run.call);
        self.life == packet.life && call.is_some_and(|(number, ..)| number == packet.call)
    }

    pub(super) fn stand_still(&mut self, now: Time, until: Time) {
        self.still_until = until.max(self.still_until).max(now);
        self.hold_up(self.still_until);
    }

    pub(super) fn hold_up(&mut self, until: Time) {
        self.held_up = self.held_up.max(until);
        self.touch(until);
    }

    pub(super) fn touch(&mut self, time: Time) {
        self.touched = self.touched.max(time);
    }

    /// `leaves`: the lease that it kept, if it kept one.
    pub(super) fn die(&mut self, leaves: bool) {
        self.life += 1;
        self.known = None;
        self.estate = self.claim.take().filter(|_| leaves).and_then(Claim::estate);
        self.still_until = Duration::ZERO;
        self.link = Link::new();
    }
}

impl Claim {
    fn says_yes(&self, now: Moment) -> bool {
        let guard = self.granted && self.stands(now).is_ok();
        let lease = self.kept.is_some_and(|kept| !kept.left(now).is_zero());
        guard && !self.left || lease
    }

    fn estate(self) -> Option<Estate> {
        let is_ours = self.kept.is_some_and(|kept| !kept.let_go && kept.lost.is_none());
        is_ours.then_some(Estate { id: self.id, settings: self.settings })
    }

    /// It is on its way to the lock, and does not know that it has the lease.
    pub(super) fn waits(&self) -> bool {
        !self.granted && self.run.as_ref().is_some_and(|run| !run.record.writes && run.purpose != Purpose::Fence)
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.granted
    }

    pub(super) fn is_obtained(&self) -> bool {
        self.granted || self.kept.is_some()
    }

    /// What its guard would say, which is not there yet or is not asked any more.
    pub(super) fn stands(&self, now: Moment) -> Result<Moment, Lost> {
        self.standing.clone().check(now)
    }

    pub(super) fn run(&self) -> &Run {
        self.run.as_ref().expect("nothing is carried out")
    }

    pub(super) fn run_mut(&mut self) -> &mut Run {
        self.run.as_mut().expect("nothing is carried out")
    }

    /// Neither its thread nor its caller has anything left to do.
    fn is_over(&self) -> bool {
        self.run.is_none() && self.waiter.is_none() && self.farewell.is_none() && (self.left || self.failed)
    }
}

impl Run {
    fn new(carried: Carried, purpose: Purpose, id: LeaseId) -> Run {
        Run {
            carried,
            jitter: Jitter::new(id.seed()),
            purpose,
            record: Record::default(),
            // A release is told so before it begins.
            left: purpose == Purpose::Release,
            token: 0,
            wakes: false,
            call: None,
            is_rest: false,
            last_call: 0,
            last_sent: Moment::PAST,
            heard: None,
            seen: None,
        }
    }

    fn next(&mut self, now: Moment) -> Act<Failure> {
        let jitter = self.jitter.next();
        match &mut self.carried {
            Carried::Thread(carrier) => carrier.next(now, jitter),
            Carried::Call(call) => call.next(now, jitter),
            Carried::Look(look, resumed) => match look.next(now, jitter) {
                Task::Send { operation, limit } => Act::Send { operation, limit },
                Task::Sleep { until } => Act::Sleep { until, for_leave: false },
                Task::Done(outcome, _) => {
                    self.seen = Some(resumed.seen(now, outcome));
                    Act::End
                }
            },
        }
    }

    fn answered(&mut self, exchange: Exchange<Failure>) {
        match &mut self.carried {
            Carried::Thread(carrier) => carrier.answered(exchange),
            Carried::Call(call) => call.answered(exchange),
            Carried::Look(look, _) => look.answered(exchange),
        }
    }

    fn perhaps_released(&self) -> bool {
        match &self.carried {
            Carried::Thread(carrier) => carrier.hold().perhaps_released(),
            Carried::Call(call) => call.carrier().hold().perhaps_released(),
            Carried::Look(..) => false,
        }
    }

    /// What a call of `AzureMutex` comes to.
    pub(super) fn verdict(&self) -> Option<&Verdict<Failure>> {
        match &self.carried {
            Carried::Call(call) => Some(call.verdict()),
            Carried::Thread(_) | Carried::Look(..) => None,
        }
    }
}

fn settings(random: &mut Random) -> Settings {
    let seconds = random.pick(&[15, 15, 30, 30, 60, 47]);
    let term = Duration::from_secs(seconds.into());
    let policy = Policy {
        attempt_limit: random.pick(&[200 * MS, S, 5 * S, 5 * S, 60 * S]),
        retries: random.pick(&[0, 0, 3, 10]),
        first_pause: random.pick(&[MS, 200 * MS, 200 * MS]),
        longest_pause: random.pick(&[S, 5 * S, 5 * S]),
        patience: random.pick(&[Duration::ZERO, 30 * S, 30 * S, 3_600 * S]),
    };
    let first_pause = random.pick(&[100 * MS, S, S]);
    Settings {
        term: Term::Seconds(seconds),
        renew_every: random.pick(&[term / 3, term / 3, term / 2, term / 5, S]),
        first_pause,
        longest_pause: first_pause * random.pick(&[1, 10]),
        create_container: true,
        leaves: Leaves { token: random.one_in(2), card: random.one_in(4), lower_cases: random.one_in(2) },
        policy,
    }
}

/// The caller.
impl World {
    pub(super) fn new_id(&mut self) -> (LeaseId, u32) {
        let (high, low) = (self.random.next(), self.random.next());
        let text = format!("{high:08x}-0000-4000-8000-{:012x}", low);
        (LeaseId::parse(&text).expect("a GUID"), low)
    }

    pub(super) fn begin(&mut self, who: usize) {
        match self.clients[who].estate.take() {
            Some(estate) => self.resume(who, estate),
            None => self.seek(who),
        }
    }

    fn seek(&mut self, who: usize) {
        let mut settings = settings(&mut self.random);
        let (id, _) = self.new_id();
        let number = self.facts.len();
        self.facts.push(Facts::default());
        self.owners.insert(id, number);
        let one_shot = self.random.one_in(4);
        if one_shot {
            settings.renew_every = Duration::ZERO;
            settings.leaves = Leaves { lower_cases: settings.leaves.lower_cases, ..Leaves::default() };
            if !self.setting.lawful && self.random.one_in(3) {
                settings.term = Term::Infinite;
            }
        }
        let now = self.clock(who);
        let wait = match self.random.below(6) {
            _ if one_shot => Wait::Never,
            _ if self.is_peace() => Wait::Forever,
            0 => Wait::Never,
            1 | 2 => Wait::Until(now.after(self.random.up_to(90 * S))),
            _ => Wait::Forever,
        };
        self.note(format_args!("client {who} begins claim {number}: one call {one_shot}, {wait:?}, {settings:?}"));
        let mut stands_back = None;
        let run = if one_shot {
            Run::new(Carried::Call(Call::acquire(settings.clone(), id)), Purpose::Acquire, id)
        } else {
            let mut hold = Hold::keep(settings.clone(), id, wait).knowing(self.clients[who].known);
            let until = now.after(self.random.up_to(PAUSE));
            let until = if let Wait::Until(end) = wait { until.min(end) } else { until };
            if wait != Wait::Never && self.random.one_in(4) {
                self.note(format_args!("client {who} stands back for {:?}", until.left(now)));
                self.tally.add(Count::StoodBack);
                hold = hold.standing_back(until);
                stands_back = Some(until);
            }
            Run::new(Carried::Thread(Carrier::new(hold)), Purpose::Keep, id)
        };
        self.claim(who, number, Estate { id, settings }, wait, run);
        self.clients[who].claim_mut().run_mut().record.stands_back = stands_back;
        self.listen(who);
        if wait != Wait::Never && self.random.one_in(3) {
            let cancels = self.now + self.random.up_to(60 * S);
            self.schedule_for(who, cancels, Event::Caller { claim: number, does: Caller::Cancel });
        }
        self.go(who);
    }

    fn claim(&mut self, who: usize, number: usize, Estate { id, settings }: Estate, wait: Wait, run: Run) {
        let one_shot = run.purpose != Purpose::Keep;
        self.clients[who].claim = Some(Claim {
            number,
            one_shot,
            settings,
            wait,
            id,
            run: Some(run),
            standing: Standing::default(),
            granted: false,
            listeners: Vec::new(),
            kept: None,
            valid_until: None,
            early_renewal: None,
            is_renewed: false,
            waiter: (!one_shot).then(|| Waiter::new(wait)),
            farewell: None,
            way: self.random.pick(&[Way::Unlock, Way::Drop]),
            taken: false,
            failed: false,
            left: false,
            left_at: None,
            left_until: None,
            hears_at: self.now,
            lost_told: None,
            held_at_last: None,
            releases: 0,
            marks: false,
            known: None,
        });
    }

    /// Takes up what the process before it left.
    fn resume(&mut self, who: usize, mut estate: Estate) {
        let number = self.facts.len();
        let before = self.owners.insert(estate.id, number).expect("it was somebody's");
        let Facts { broken, doubled, .. } = self.facts[before];
        self.facts.push(Facts { broken, doubled, resumed: true, ..Facts::default() });
        self.note(format_args!("client {who} resumes the lease of claim {before} as claim {number}"));
        let call = Call::resume(estate.settings.clone(), estate.id);
        let run = Run::new(Carried::Call(call), Purpose::Resume, estate.id);
        estate.settings.term = Term::SHORTEST;
        self.claim(who, number, estate, Wait::Never, run);
        self.go(who);
    }

    /// After that, and while it is ours, it looks whether the lease has an end.
    fn look(&mut self, who: usize, resumed: Call<Failure>) {
        let left = resumed.kept().left(self.clock(who));
        let claim = self.clients[who].claim_mut();
        let limit = claim.settings.policy.attempt_limit.min(left / 2);
        let look = Question::new(Operation::Look, Policy { retries: 0, attempt_limit: limit, ..Policy::default() });
        claim.run = Some(Run::new(Carried::Look(Box::new(look), Box::new(resumed)), Purpose::Look, claim.id));
        self.go(who);
    }

    pub(super) fn caller(&mut self, who: usize, number: usize, does: Caller) {
        let local = self.clock(who);
        let client = &mut self.clients[who];
        let Some(claim) = client.claim.as_mut().filter(|claim| claim.number == number) else { return };
        match does {
            Caller::Cancel => {
                self.hear(who, number, Heard::Cancel);
                self.check_cancelled(who, number);
            }
            Caller::Unlock if claim.taken && !claim.left => self.unlock(who),
            Caller::Listen if claim.taken && !claim.left => {
                claim.standing.listen(local, claim.listeners.len());
                claim.listeners.push(None);
                self.deliver(who);
                self.check_listener(who);
            }
            Caller::Mark if claim.taken && !claim.left && !claim.marks => self.mark(who),
            Caller::Renew if claim.run.is_none() => self.renew(who),
            Caller::Fence if claim.run.is_none() => self.fence(who),
            Caller::Release if claim.run.is_none() => self.release(who),
            Caller::Bequeath if claim.run.is_none() => self.end_life(who, true),
            Caller::Finish if !claim.one_shot => self.caller(who, number, Caller::Unlock),
            Caller::Finish => self.caller(who, number, Caller::Release),
            _ => {}
        }
    }

    /// What the lock's thread says reaches the caller soon, one word after the other.
    fn say(&mut self, who: usize, heard: Heard<Failure>) {
        let rarely = if matches!(heard, Heard::Report(Report::Granted(_))) { 100 } else { 5_000 };
        let soon = self.now + self.stall(who, rarely);
        let claim = self.clients[who].claim_mut();
        claim.hears_at = claim.hears_at.max(soon);
        let (claim, time) = (claim.number, claim.hears_at);
        self.schedule_for(who, time, Event::Hear { claim, heard });
    }

    /// The caller hears nothing for as long as it listens.
    fn listen(&mut self, who: usize) {
        let claim = self.clients[who].claim();
        let until = match (&claim.waiter, &claim.farewell) {
            (Some(waiter), _) => waiter.until(),
            (None, Some(farewell)) => farewell.until(),
            (None, None) => return,
        };
        let number = claim.number;
        if let Some(time) = self.clients[who].clock.when(until) {
            self.schedule_for(who, time, Event::Hear { claim: number, heard: Heard::Silence });
        }
    }

    /// A clock that stood still has not come to the end of the silence.
    fn listen_on(&mut self, who: usize, is_silence: bool) {
        if is_silence {
            self.listen(who);
        }
    }

    pub(super) fn hear(&mut self, who: usize, number: usize, heard: Heard<Failure>) {
        let local = self.clock(who);
        let is_silence = heard == Heard::Silence;
        let client = &mut self.clients[who];
        let Some(claim) = client.claim.as_mut().filter(|claim| claim.number == number) else { return };
        if let Some(farewell) = &claim.farewell {
            match farewell.hear(local, heard) {
                Some(result) => {
                    claim.farewell = None;
                    self.check_farewell(who, &result);
                    self.finish(who);
                }
                None => self.listen_on(who, is_silence),
            }
            return;
        }
        let Some(waiter) = &mut claim.waiter else { return };
        let turn = waiter.hear(local, heard, || claim.standing.check(local));
        self.deliver(who);
        match turn {
            Turn::Listen => self.listen_on(who, is_silence),
            Turn::Take(_) => self.take(who),
            Turn::Leave => {
                self.check_wait(who);
                self.leave(who);
                self.listen(who);
            }
            Turn::Return(missed) => {
                self.clients[who].claim_mut().waiter = None;
                self.check_missed(who, &missed);
                if matches!(missed, Missed::NotObtained { why: Why::TimedOut | Why::GivenUp, failure: Some(_), .. }) {
                    self.tally.add(Count::EndedByFailure);
                }
                self.finish(who);
            }
        }
    }

    /// The caller gets its guard.
    fn take(&mut self, who: usize) {
        self.check_take(who);
        let claim = self.clients[who].claim_mut();
        (claim.waiter, claim.taken) = (None, true);
        let number = claim.number;
        let work = match self.random.below(3) {
            0 => self.random.up_to(S),
            1 => self.random.up_to(20 * S),
            _ => self.random.up_to(120 * S),
        };
        for _ in 0..self.random.below(3) {
            let listens = self.now + self.random.up_to(work);
            self.schedule_for(who, listens, Event::Caller { claim: number, does: Caller::Listen });
        }
        for _ in 0..self.random.below(3) {
            let marks = self.now + self.random.up_to(work);
            self.schedule_for(who, marks, Event::Caller { claim: number, does: Caller::Mark });
        }
        self.schedule_for(who, self.now + work, Event::Caller { claim: number, does: Caller::Unlock });
    }

    fn unlock(&mut self, who: usize) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let standing = claim.standing.close(local);
        let limits = Limits::new(claim.settings.policy.attempt_limit, DROP_LIMIT, claim.settings.term);
        claim.held_at_last = Some(standing.is_ok());
        claim.farewell = Some(Farewell::new(local, standing, &limits, claim.way));
        self.deliver(who);
        self.check_closed(who, standing);
        self.leave(who);
        self.listen(who);
    }

    fn leave(&mut self, who: usize) {
        self.note(format_args!("the caller of client {who} leaves"));
        let (now, local) = (self.now, self.clock(who));
        let claim = self.clients[who].claim_mut();
        (claim.left, claim.left_at, claim.left_until) = (true, Some(local), claim.valid_until);
        let number = claim.number;
        let wakes = claim.run.as_ref().is_some_and(|run| run.wakes);
        self.facts[number].left = Some(now);
        if wakes {
            self.go(who);
        }
    }

    /// Goes on to the next claim if this one is over.
    fn finish(&mut self, who: usize) {
        if self.clients[who].claim().is_over() {
            self.done(who);
        }
    }

    fn renew(&mut self, who: usize) {
        let claim = self.clients[who].claim_mut();
        let (number, Some(kept)) = (claim.number, claim.kept) else { return };
        match Call::renew(claim.settings.clone(), claim.id, &kept) {
            Ok(call) => {
                claim.run = Some(Run::new(Carried::Call(call), Purpose::Renew, claim.id));
                self.go(who);
            }
            Err(_) => self.plan(who, number),
        }
    }

    fn release(&mut self, who: usize) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let Some(kept) = &mut claim.kept else { return };
        claim.held_at_last.get_or_insert(!kept.left(local).is_zero());
        claim.releases += 1;
        let call = Call::release(claim.settings.clone(), claim.id, kept);
        claim.left = true;
        let number = claim.number;
        self.facts[number].left = Some(self.now);
        match call {
            Some(call) => {
                let claim = self.clients[who].claim_mut();
                claim.run = Some(Run::new(Carried::Call(call), Purpose::Release, claim.id));
                self.go(who);
            }
            None => self.done(who),
        }
    }

    /// The holder wants a mark to be left.
    fn mark(&mut self, who: usize) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        if claim.stands(local).is_err() {
            return;
        }
        claim.marks = true;
        if let Some(Run { carried: Carried::Thread(carrier), wakes, record, .. }) = &mut claim.run {
            // Somebody wants something new.
            record.not_before = None;
            carrier.write(Wish { mark: true, ..Wish::default() });
            if *wakes {
                self.go(who);
            }
        }
    }

    fn fence(&mut self, who: usize) {
        let (token, mark) = (self.random.one_in(2), self.random.one_in(2));
        let wish = Wish { token, card: self.random.one_in(2).then_some(None), mark };
        let (seed, _) = self.new_id();
        let claim = self.clients[who].claim_mut();
        let (number, known, Some(kept)) = (claim.number, claim.known.take(), claim.kept) else { return };
        match Call::write(claim.settings.clone(), claim.id, &kept, wish, known, seed) {
            Ok(call) => {
                claim.run = Some(Run::new(Carried::Call(call), Purpose::Fence, claim.id));
                self.go(who);
            }
            Err(_) => self.plan(who, number),
        }
    }

    /// What the owner of a `Lease` does next.
    fn plan(&mut self, who: usize, number: usize) {
        let (term, rarely) = match self.clients[who].claim().settings.term.duration() {
            Some(term) => (term, 8),
            // There are so few of them.
            None => (60 * S, 2),
        };
        let mut does = self.random.pick(&[Caller::Renew, Caller::Renew, Caller::Fence, Caller::Release]);
        if !self.is_peace() && self.random.one_in(rarely) {
            does = Caller::Bequeath;
        }
        let pause = if self.is_peace() { S } else { self.random.up_to(term * 6 / 5) };
        self.schedule_for(who, self.now + pause, Event::Caller { claim: number, does });
    }

    /// The process is gone, and another one comes.
    pub(super) fn end_life(&mut self, who: usize, leaves: bool) {
        if let Some(claim) = self.clients[who].claim_number() {
            self.facts[claim].left.get_or_insert(self.now);
        }
        self.clients[who].die(leaves);
        let back = self.now + self.random.up_to(30 * S);
        self.schedule_for(who, back, Event::Begin);
    }

    /// The claim is over, and the client goes on to the next.
    fn done(&mut self, who: usize) {
        let number = self.clients[who].claim().number;
        self.facts[number].left.get_or_insert(self.now);
        self.clients[who].claim = None;
        let pause = if self.is_peace() { MS } else { self.random.up_to(5 * S) };
        self.schedule_for(who, self.now + pause, Event::Begin);
    }
}

/// The thread that carries out a hold.
impl World {
    pub(super) fn clock(&self, who: usize) -> Moment {
        self.clients[who].clock.at(self.now)
    }

    /// How long a thread takes from one step to the next.
    fn hiccup(&mut self, who: usize) -> Duration {
        // The worst time for it is shortly before the deadline.
        let deadline = self.clients[who].deadline().map(|deadline| deadline.left(self.clock(who)));
        let rarely = if deadline.is_some_and(|left| left < 3 * S) { 10 } else { 1_000 };
        if self.setting.calm || self.is_peace() || !self.random.one_in(rarely) {
            return self.random.between(5 * MICRO, 200 * MICRO);
        }
        let hiccup = self.random.up_to(3 * S);
        if hiccup > HELD_UP {
            self.tally.add(Count::Preempted);
            let until = self.now + hiccup;
            self.clients[who].hold_up(until);
        }
        hiccup
    }

    /// The same, or now and then until the deadline has just passed: whatever is to be done then comes too late.
    fn stall(&mut self, who: usize, rarely: u32) -> Duration {
        let client = &self.clients[who];
        let deadline = client.deadline().and_then(|deadline| client.clock.when(deadline));
        match deadline {
            Some(deadline) if !self.setting.calm && !self.is_peace() && self.random.one_in(rarely) => {
                let until = deadline.max(self.now) + self.random.up_to(2 * S);
                self.tally.add(Count::Preempted);
                self.clients[who].hold_up(until);
                until - self.now
            }
            _ => self.hiccup(who),
        }
    }

    /// The thread goes on, soon.
    fn go(&mut self, who: usize) {
        let time = self.now + self.hiccup(who);
        self.go_at(who, time, false);
    }

    fn go_at(&mut self, who: usize, time: Time, wakes: bool) {
        let token = self.fresh();
        let run = self.clients[who].claim_mut().run_mut();
        (run.token, run.wakes) = (token, wakes);
        self.schedule_for(who, time, Event::Decide { token });
    }

    /// The run that waits for this event, if it still does.
    fn awaited(&mut self, who: usize, token: u64) -> Option<&mut Claim> {
        let claim = self.clients[who].claim.as_mut()?;
        claim.run.as_ref().is_some_and(|run| run.token == token).then_some(claim)
    }

    pub(super) fn decide(&mut self, who: usize, token: u64) {
        let local = self.clock(who);
        let Some(claim) = self.awaited(who, token) else { return };
        let left = claim.left;
        let heard = claim.run_mut().heard.take();
        if let Some(exchange) = heard.clone() {
            self.take_down(who, &exchange);
            self.clients[who].claim_mut().run_mut().answered(exchange);
        }
        let run = self.clients[who].claim_mut().run_mut();
        run.wakes = false;
        if let (Carried::Thread(carrier), true) = (&mut run.carried, left) {
            carrier.leave();
            run.left = true;
        }
        let act = run.next(local);
        let outcome = heard.map(|exchange| exchange.outcome);
        self.note(format_args!("client {who}: {outcome:?} -> {act:?}"));
        self.check_act(who, outcome, &act);
        let token = self.fresh();
        self.clients[who].claim_mut().run_mut().token = token;
        let rarely = if matches!(act, Act::Lose(_) | Act::Extend { .. }) { 50 } else { 5_000 };
        let time = self.now + self.stall(who, rarely);
        self.schedule_for(who, time, Event::Act { token, act });
    }

    pub(super) fn act(&mut self, who: usize, token: u64, act: Act<Failure>) {
        if self.awaited(who, token).is_none() {
            return;
        }
        match act {
            Act::Send { operation, limit } => return self.call(who, operation, limit),
            Act::Sleep { until, for_leave } => return self.sleep(who, until, for_leave),
            Act::End => return self.end(who),
            Act::Grant { valid_until, ends } => self.grant(who, valid_until, ends),
            Act::Extend { valid_until, ends } => self.extend(who, valid_until, ends),
            Act::Lose(lost) => self.lose(who, lost),
            Act::Notify(notice) => self.notice(who, &notice),
            Act::Report(report) => self.report(who, report),
        }
        self.go(who);
    }

    fn call(&mut self, who: usize, operation: Operation, limit: Duration) {
        self.check_request(who, operation);
        let sent = self.clock(who);
        let number = self.fresh();
        let client = &mut self.clients[who];
        let gives_up = client.clock.when(sent.after(limit)).unwrap_or(Duration::MAX);
        let claim = client.claim_mut();
        let run = claim.run.as_mut().expect("it calls");
        run.call = Some((number, operation, sent));
        run.is_rest = limit < claim.settings.policy.attempt_limit;
        let (claim, purpose) = (claim.number, run.purpose);
        match operation {
            Operation::Acquire { id, .. } => {
                if self.owners.insert(id, claim).is_some() && self.facts[claim].asked {
                    self.tally.add(Count::AcquireAgain);
                }
                self.facts[claim].asked = true;
            }
            Operation::Release { .. } => {
                self.facts[claim].release_sent = true;
                let silent = purpose == Purpose::Acquire || !self.clients[who].claim().is_guarded();
                if silent && purpose != Purpose::Release {
                    self.tally.add(Count::Undone);
                }
            }
            _ => {}
        }
        self.schedule_for(who, gives_up, Event::GivesUp { call: number });
        self.transmit(who, number, operation, gives_up);
    }

    /// The call that waits for this, if it still does.
    fn called(&mut self, who: usize, call: u64) -> Option<(Operation, Moment)> {
        let run = self.clients[who].claim.as_mut()?.run.as_mut()?;
        let (_, operation, sent) = run.call.take_if(|(number, ..)| *number == call)?;
        Some((operation, sent))
    }

    pub(super) fn answered(
        &mut self,
        who: usize,
        call: u64,
        (answer, blob): (Answer, Option<Blob>),
        of: Option<u64>,
        on: u64,
    ) {
        if let Some((operation, sent)) = self.called(who, call) {
            let is_trusted = answer.is_trusted(operation, call, of);
            let is_own = of.is_none_or(|of| of == call) && !matches!(answer, Answer::Foreign(_));
            self.clients[who].link.read(on, is_trusted, is_own);
            let (outcome, blob) = answer.read(blob, operation, call, of);
            self.came(who, call, sent, outcome, blob, false);
        }
    }

    pub(super) fn refused(&mut self, who: usize, call: u64) {
        let local = self.clock(who);
        if let Some((_, sent)) = self.called(who, call) {
            self.clients[who].link.refused(local);
            self.came(who, call, sent, Outcome::Failed { applied: Applied::No, retry_after: None }, None, false);
        }
    }

    pub(super) fn gives_up(&mut self, who: usize, call: u64) {
        if let Some((_, sent)) = self.called(who, call) {
            self.clients[who].link.close();
            let cut_off = self.clients[who].claim().run().is_rest;
            let failed = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
            self.came(who, call, sent, failed, None, cut_off);
        }
    }

    /// Something came of a call.
    fn came(&mut self, who: usize, call: u64, sent: Moment, outcome: Outcome, blob: Option<Blob>, cut_off: bool) {
        let error = Some(call).filter(|_| !is_word(outcome));
        if matches!(outcome, Outcome::Leased(_)) {
            let run = self.clients[who].claim_mut().run_mut();
            (run.last_call, run.last_sent) = (call, sent);
        }
        let exchange = Exchange { blob, cut_off, ..Exchange::new(sent, outcome, error) };
        self.clients[who].claim_mut().run_mut().heard = Some(exchange);
        self.go(who);
    }

    fn sleep(&mut self, who: usize, until: Moment, for_leave: bool) {
        let claim = self.clients[who].claim();
        // The caller of a call does not leave.
        let for_leave = for_leave && !claim.one_shot;
        if for_leave && claim.left {
            return self.go(who);
        }
        let until = self.clients[who].clock.when(until).unwrap_or(Duration::MAX);
        self.go_at(who, until, for_leave);
    }

    fn grant(&mut self, who: usize, valid_until: Moment, ends: Moment) {
        self.check_yes(who, valid_until);
        self.revived |= self.is_peace();
        let claim = self.clients[who].claim_mut();
        claim.valid_until = Some(valid_until);
        if claim.one_shot {
            return self.tally.add(Count::GrantedToOneShot);
        }
        claim.standing.grant(valid_until, ends);
        claim.granted = true;
        self.tally.add(Count::Granted);
        self.watch_out(who);
    }

    fn extend(&mut self, who: usize, valid_until: Moment, ends: Moment) {
        self.check_yes(who, valid_until);
        self.tally.add(Count::RenewedTold);
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        if claim.one_shot {
            claim.valid_until = Some(valid_until);
            return;
        }
        let said_no = claim.stands(local).is_err();
        let extended = claim.standing.extend(local, valid_until, ends);
        if let Carried::Thread(carrier) = &mut claim.run_mut().carried {
            carrier.extended(local, extended);
        }
        match extended {
            Ok(_) if said_no => self.breach("what is lost stays lost", format_args!("client {who}")),
            Ok(_) => {
                let claim = self.clients[who].claim_mut();
                (claim.valid_until, claim.is_renewed) = (Some(valid_until), true);
            }
            Err(_) => self.tally.add(Count::LostFirstSeenByHolder),
        }
        self.deliver(who);
    }

    fn lose(&mut self, who: usize, lost: Lost) {
        self.check_lost(who, lost);
        let claim = self.clients[who].claim_mut();
        if claim.granted {
            claim.standing.lose(lost);
            self.deliver(who);
            self.check_is_lost(who);
        } else {
            claim.lost_told = Some(lost);
        }
    }

    fn notice(&mut self, who: usize, notice: &Notice<Failure>) {
        self.check_notice(who, notice);
        match notice {
            Notice::Waiting(_) => self.tally.add(Count::Waiting),
            Notice::Retrying(_) => self.tally.add(Count::Retrying),
            Notice::RenewalFailed { .. } => self.tally.add(Count::RenewalFailed),
            Notice::NotLeft { .. } => self.tally.add(Count::NotLeft),
            Notice::Acquired { .. } | Notice::Renewed { .. } | Notice::Released | Notice::ReleaseFailed(_) => {}
        }
    }

    /// What is known of the blob stays with the process.
    fn remember(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if let Some(Run { carried: Carried::Thread(carrier), .. }) = &client.claim().run {
            client.known = carrier.hold().blob();
        }
    }

    fn report(&mut self, who: usize, report: Report<Failure>) {
        self.check_report(who, &report);
        match &report {
            Report::NotObtained { why, .. } => {
                self.clients[who].claim_mut().failed = true;
                self.tally.add(match why {
                    Why::Busy => Count::Busy,
                    Why::TimedOut => Count::TimedOut,
                    Why::GivenUp => Count::GivenUp,
                    Why::Failed => Count::Failed,
                    Why::NoToken(_) => Count::NoToken,
                });
            }
            Report::Released(how) => self.released(who, how),
            Report::Granted(holder) => {
                self.remember(who);
                self.check_token(who, holder.token);
            }
            Report::Written(_) => {
                self.remember(who);
                self.clients[who].claim_mut().marks = false;
            }
            Report::Failing(_) | Report::Recovered | Report::Seen(_) => {}
        }
        if !self.clients[who].claim().one_shot {
            self.say(who, Heard::Report(report));
        }
    }

    fn released(&mut self, who: usize, how: &Result<(), Unreleased<Failure>>) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        // A caller who gave up has no guard to ask.
        let ours = claim.granted && claim.stands(local).is_ok();
        let held = *claim.held_at_last.get_or_insert(ours);
        // The guard knows by itself that it was lost.
        if claim.one_shot || held {
            self.check_released(who, how, held);
        }
        self.tally.add(match how {
            _ if !held => Count::UnlockedLost,
            Ok(()) if self.clients[who].claim().run().perhaps_released() => Count::UnlockedAfterSilence,
            Ok(()) => Count::Unlocked,
            Err(Unreleased::Lost(_)) => Count::UnlockedLost,
            Err(Unreleased::Failed { .. }) => Count::UnlockFailed,
        });
    }

    fn end(&mut self, who: usize) {
        let local = self.clock(who);
        let run = self.clients[who].claim().run();
        let (purpose, seen) = (run.purpose, run.seen);
        let (mut resumed, mut fenced) = (None, None);
        match &run.carried {
            Carried::Call(call) if purpose == Purpose::Resume => {
                resumed = Some(call.clone()).filter(|call| *call.verdict() == Verdict::Done);
                self.check_verdict(who);
            }
            Carried::Call(call) => {
                // Only what was granted becomes a `Lease`.
                let kept =
                    Some(*call.kept()).filter(|_| purpose != Purpose::Acquire || *call.verdict() == Verdict::Done);
                fenced = match call.verdict() {
                    Verdict::Written(token) => Some(*token),
                    _ => None,
                };
                let known = call.carrier().hold().blob();
                let claim = self.clients[who].claim_mut();
                (claim.kept, claim.known) = (kept, known);
                self.check_verdict(who);
            }
            Carried::Look(_, resumed) => {
                let kept = *resumed.kept();
                let claim = self.clients[who].claim_mut();
                (claim.kept, claim.valid_until) = (Some(kept), Some(kept.valid_until));
                claim.settings.term = seen.expect("it looked");
            }
            Carried::Thread(_) => {}
        }
        self.check_end(who, purpose);
        self.check_parting(who);
        let claim = self.clients[who].claim_mut();
        let number = claim.number;
        claim.run = None;
        match (purpose, claim.kept) {
            (Purpose::Renew, Some(kept)) => {
                claim.valid_until = Some(kept.valid_until);
                self.check_is_lost(who);
                self.plan(who, number);
            }
            (Purpose::Fence, Some(_)) => {
                if let Some(token) = fenced {
                    self.check_token(who, token);
                }
                self.check_is_lost(who);
                self.plan(who, number);
            }
            (Purpose::Release, Some(kept)) => {
                let again = claim.releases < 3;
                if again && (!kept.released || self.random.one_in(2)) {
                    self.tally.add(Count::ReleasedAgain);
                    let then = self.now + self.random.up_to(20 * S);
                    return self.schedule_for(who, then, Event::Caller { claim: number, does: Caller::Release });
                }
                self.done(who);
            }
            (Purpose::Acquire, Some(_)) => self.plan(who, number),
            (Purpose::Look, _) => {
                let is_infinite = claim.settings.term == Term::Infinite;
                self.tally.add(if is_infinite { Count::ResumedInfinite } else { Count::Resumed });
                self.plan(who, number);
            }
            (Purpose::Resume, _) => match resumed.filter(|call| !call.kept().left(local).is_zero()) {
                Some(call) => self.look(who, call),
                None => {
                    self.tally.add(Count::NotResumed);
                    self.done(who);
                }
            },
            (Purpose::Keep, _) => {
                self.say(who, Heard::End);
                self.finish(who);
            }
            _ => self.done(who),
        }
    }
}

/// Whether the service said what it was asked for, or who has the lock.
fn is_word(outcome: Outcome) -> bool {
    use Outcome::{Breaking, Busy, Done, Exists, Leased, Seen};
    matches!(outcome, Leased(_) | Done | Breaking(_) | Seen(_) | Busy | Exists)
}

/// The watchdog.
impl World {
    fn watch_out(&mut self, who: usize) {
        let number = self.clients[who].claim().number;
        self.watch(who, number);
        self.overdue(who, number);
    }

    pub(super) fn watch(&mut self, who: usize, number: usize) {
        let local = self.clock(who);
        let Some(claim) = self.clients[who].claim.as_mut().filter(|claim| claim.number == number) else { return };
        let next = claim.standing.next_look(local);
        self.deliver(who);
        if let Some(next) = next.and_then(|next| self.clients[who].clock.when(next)) {
            let looks = next + self.random.up_to(LOOK_EVERY);
            self.schedule_for(who, looks, Event::Watch { claim: number });
        }
    }

    /// Sees to it that the loss has been told.
    pub(super) fn overdue(&mut self, who: usize, number: usize) {
        let client = &self.clients[who];
        let claim = client.claim.as_ref().filter(|claim| claim.number == number);
        if claim.is_none_or(|claim| claim.left || claim.lost_told.is_some()) {
            return;
        }
        match client.told_by() {
            // The deadline was moved, the clock was behind, or nothing could be told.
            Some(time) if time > self.now => self.schedule_for(who, time, Event::Overdue { claim: number }),
            due => self.breach("a loss is told in time", format_args!("client {who}: due {due:?}")),
        }
    }

    /// What the standing has to tell is told to whom it may concern.
    fn deliver(&mut self, who: usize) {
        let claim = self.clients[who].claim.as_mut().expect("it is told");
        let Some(News { lost, listeners, is_first }) = claim.standing.take_news() else { return };
        for listener in listeners {
            if claim.listeners[listener].replace(lost).is_some() {
                self.breach("a loss is told once", format_args!("client {who}: {lost:?}"));
                return;
            }
        }
        if claim.listeners.contains(&None) {
            self.breach("a loss is told to all who listen", format_args!("client {who}: {lost:?}"));
        }
        if is_first {
            self.hear_loss(who, lost);
        }
    }

    /// The holder is told that the lock is lost.
    fn hear_loss(&mut self, who: usize, lost: Lost) {
        let client = &mut self.clients[who];
        let claim = client.claim.as_mut().expect("it is lost");
        if claim.left {
            if claim.taken {
                self.breach("who has let go is told nothing", format_args!("client {who}: {lost:?}"));
            }
            return;
        }
        if let Some(first) = claim.lost_told.replace(lost) {
            self.breach("a loss is told once", format_args!("client {who}: {first:?}, then {lost:?}"));
            return;
        }
        self.tally.add(match lost {
            Lost::Expired => Count::LostExpired,
            Lost::Taken => Count::LostTaken,
            Lost::Broken => Count::LostBroken,
            Lost::BlobDeleted => Count::LostBlob,
            _ => Count::LostContainer,
        });
        let due = self.clients[who].told_by();
        if due.is_some_and(|due| self.now > due) {
            self.breach("a loss is told in time", format_args!("client {who}: due {due:?}"));
        }
        self.check_lost(who, lost);
    }
}
