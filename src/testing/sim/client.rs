//! A process that wants the lock: it carries out what the crate's own [`Hold`] says, as the lock's thread and the
//! methods of `AzureMutex` do, and its caller comes and goes as callers do.

use std::time::Duration;

use crate::clock::Moment;
use crate::hold::{Do, Hold, Input, Released, Rules, Standing, Told, Wait, Why};
use crate::lease::{Kept, LeaseId, Lost, Term};
use crate::mutex;
use crate::random::Jitter;
use crate::rest::{Applied, Operation, Outcome};
use crate::retry::Policy;

use super::conduct::Record;
use super::network::Packet;
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
/// No sleep of the lock's thread is longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);

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
    claim: Option<Claim>,
}

/// One use of the lock, from the call to its end.
pub(super) struct Claim {
    pub(super) number: usize,
    /// By calls of `AzureMutex`, and not by a `Locker`.
    pub(super) one_shot: bool,
    pub(super) rules: Rules,
    pub(super) wait: Wait,
    id: LeaseId,
    pub(super) run: Option<Run>,
    /// What the guard says.
    standing: Option<Standing>,
    /// What the `Lease` says.
    kept: Option<Kept>,
    pub(super) valid_until: Option<Moment>,
    /// It was told that it does not get the lock.
    pub(super) failed: bool,
    /// The caller has left, or let go of its guard.
    pub(super) left: bool,
    pub(super) lost_told: Option<Lost>,
    /// Whether the lock was held until it was let go, by the client's own clock.
    held_at_last: Option<bool>,
    releases: u32,
}

/// A hold that is being carried out.
pub(super) struct Run {
    hold: Hold,
    jitter: Jitter,
    purpose: Purpose,
    pub(super) record: Record,
    /// The hold knows that its caller has left.
    pub(super) left: bool,
    /// Of the event that the thread is waiting for.
    token: u64,
    sleeping: bool,
    call: Option<(u64, Operation, Moment)>,
    pub(super) last_call: u64,
    told: Option<Told>,
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    Keep,
    Acquire,
    Renew,
    Release,
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Caller {
    /// Cancels, or has waited for long enough.
    Leave,
    /// Unlocks, or drops the guard.
    Unlock,
    Renew,
    Release,
    /// Whichever of them it takes.
    Finish,
}

impl Client {
    pub(super) fn new(random: &mut Random) -> Client {
        let some = random.below(20_001) as i32 - 10_000;
        let drift = random.pick(&[-10_000, 10_000, 0, some]);
        let clock = Clock { offset: random.between(1_000 * S, 1_000_000 * S), drift, missed: Duration::ZERO };
        let never = Duration::ZERO;
        Client { clock, life: 0, still_until: never, frozen_until: never, touched: never, held_up: never, claim: None }
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

    pub(super) fn die(&mut self) {
        self.life += 1;
        self.claim = None;
        self.still_until = Duration::ZERO;
    }
}

impl Claim {
    fn says_yes(&self, now: Moment) -> bool {
        let guard = self.standing.as_ref().is_some_and(|standing| standing.clone().check(now).is_ok());
        let lease = self.kept.is_some_and(|kept| !kept.left(now).is_zero());
        guard && !self.left || lease
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.standing.is_some()
    }

    pub(super) fn is_obtained(&self) -> bool {
        self.standing.is_some() || self.kept.is_some()
    }

    pub(super) fn run(&self) -> &Run {
        self.run.as_ref().expect("nothing is carried out")
    }
}

impl Run {
    fn new(hold: Hold, purpose: Purpose, left: bool) -> Run {
        let jitter = Jitter::new(hold.id().seed());
        let record = Record::default();
        Run { hold, jitter, purpose, record, left, token: 0, sleeping: false, call: None, last_call: 0, told: None }
    }
}

fn rules(random: &mut Random) -> Rules {
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
    Rules {
        term: Term::Seconds(seconds),
        renew_every: random.pick(&[term / 3, term / 3, term / 2, term / 5, S]),
        first_pause,
        longest_pause: first_pause * random.pick(&[1, 10]),
        create_container: true,
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
        let mut rules = rules(&mut self.random);
        let (id, _) = self.new_id();
        let number = self.facts.len();
        self.facts.push(Facts::default());
        self.owners.insert(id, number);
        let one_shot = self.random.one_in(4);
        if one_shot {
            rules.renew_every = Duration::ZERO;
            if !self.setting.lawful && self.random.one_in(4) {
                rules.term = Term::Infinite;
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
        self.note(format_args!("client {who} begins claim {number}: one call {one_shot}, {wait:?}, {rules:?}"));
        let hold = if one_shot { Hold::acquire(rules.clone(), id) } else { Hold::keep(rules.clone(), id, wait) };
        let purpose = if one_shot { Purpose::Acquire } else { Purpose::Keep };
        self.clients[who].claim = Some(Claim {
            number,
            one_shot,
            rules,
            wait,
            id,
            run: Some(Run::new(hold, purpose, false)),
            standing: None,
            kept: None,
            valid_until: None,
            failed: false,
            left: false,
            lost_told: None,
            held_at_last: None,
            releases: 0,
        });
        let leaves = match wait {
            Wait::Until(deadline) => self.clients[who].clock.when(deadline.after(50 * MS)),
            Wait::Forever if self.random.one_in(3) => Some(self.now + self.random.up_to(60 * S)),
            Wait::Forever | Wait::Never => None,
        };
        if let Some(leaves) = leaves {
            self.schedule_for(who, leaves, Event::Caller { claim: number, does: Caller::Leave });
        }
        self.go(who, Input::Go);
    }

    pub(super) fn caller(&mut self, who: usize, number: usize, does: Caller) {
        let local = self.clock(who);
        let client = &mut self.clients[who];
        let Some(claim) = client.claim.as_mut().filter(|claim| claim.number == number) else { return };
        match does {
            Caller::Leave if !claim.left && claim.standing.is_none() => {
                self.check_wait(who);
                self.leave(who);
            }
            Caller::Unlock if !claim.left => {
                if let Some(standing) = &mut claim.standing {
                    claim.held_at_last = Some(standing.check(local).is_ok());
                    self.leave(who);
                }
            }
            Caller::Renew if claim.run.is_none() => self.renew(who),
            Caller::Release if claim.run.is_none() => self.release(who),
            Caller::Finish if !claim.one_shot => self.caller(who, number, Caller::Unlock),
            Caller::Finish => self.caller(who, number, Caller::Release),
            _ => {}
        }
    }

    fn leave(&mut self, who: usize) {
        self.note(format_args!("the caller of client {who} leaves"));
        let now = self.now;
        let claim = self.clients[who].claim_mut();
        claim.left = true;
        let number = claim.number;
        let sleeping = claim.run.as_ref().is_some_and(|run| run.sleeping && !run.left);
        self.facts[number].left = Some(now);
        if sleeping {
            self.go(who, Input::Go);
        }
    }

    fn renew(&mut self, who: usize) {
        let claim = self.clients[who].claim_mut();
        let (number, Some(kept)) = (claim.number, claim.kept) else { return };
        match mutex::renewal(claim.rules.clone(), claim.id, &kept) {
            Ok(hold) => {
                claim.run = Some(Run::new(hold, Purpose::Renew, false));
                self.go(who, Input::Go);
            }
            Err(_) => self.plan(who, number),
        }
    }

    fn release(&mut self, who: usize) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        let Some(before) = claim.kept else { return };
        claim.held_at_last.get_or_insert(!before.left(local).is_zero());
        claim.releases += 1;
        if let Some(kept) = &mut claim.kept {
            kept.let_go = true;
        }
        let hold = mutex::release(claim.rules.clone(), claim.id, &before);
        self.facts[self.clients[who].claim().number].left = Some(self.now);
        match hold {
            Some(hold) => {
                self.clients[who].claim_mut().run = Some(Run::new(hold, Purpose::Release, true));
                self.go(who, Input::Go);
            }
            None => self.done(who),
        }
    }

    /// What the owner of a `Lease` does next.
    fn plan(&mut self, who: usize, number: usize) {
        let term = self.clients[who].claim().rules.term.duration().unwrap_or(60 * S);
        let does = self.random.pick(&[Caller::Renew, Caller::Renew, Caller::Release]);
        let pause = if self.is_peace() { S } else { self.random.up_to(term * 6 / 5) };
        self.schedule_for(who, self.now + pause, Event::Caller { claim: number, does });
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

    /// The thread steps again, soon.
    fn go(&mut self, who: usize, input: Input) {
        let time = self.now + self.hiccup(who);
        self.step_at(who, time, input, false);
    }

    fn step_at(&mut self, who: usize, time: Time, input: Input, sleeping: bool) {
        let token = self.fresh();
        let run = self.clients[who].claim_mut().run.as_mut().expect("nothing is carried out");
        (run.token, run.sleeping) = (token, sleeping);
        self.schedule_for(who, time, Event::Decide { token, input });
    }

    /// The run that waits for this event, if it still does.
    fn awaited(&mut self, who: usize, token: u64) -> Option<&mut Claim> {
        let claim = self.clients[who].claim.as_mut()?;
        claim.run.as_ref().is_some_and(|run| run.token == token).then_some(claim)
    }

    pub(super) fn decide(&mut self, who: usize, token: u64, input: Input) {
        let local = self.clock(who);
        let Some(claim) = self.awaited(who, token) else { return };
        let left = claim.left;
        self.take_down(who, input);
        let run = self.clients[who].claim_mut().run.as_mut().expect("it is awaited");
        run.sleeping = false;
        if left && !run.left {
            run.left = true;
            run.hold.leave();
        }
        let jitter = run.jitter.next();
        let step = run.hold.step(local, input, jitter);
        self.note(format_args!("client {who}: {input:?} -> {step:?}"));
        self.check_step(who, input, step);
        let token = self.fresh();
        self.clients[who].claim_mut().run.as_mut().expect("it is awaited").token = token;
        let time = self.now + self.hiccup(who);
        self.schedule_for(who, time, Event::Act { token, step });
    }

    pub(super) fn act(&mut self, who: usize, token: u64, step: Do) {
        if self.awaited(who, token).is_none() {
            return;
        }
        match step {
            Do::Send { operation, limit } => self.call(who, operation, limit),
            Do::Sleep { until } => self.sleep(who, until),
            Do::Tell(told) => {
                self.check_told(who, told);
                let input = self.tell(who, told);
                self.go(who, input);
            }
            Do::End => self.end(who),
        }
    }

    fn call(&mut self, who: usize, operation: Operation, limit: Duration) {
        self.check_request(who, operation);
        let sent = self.clock(who);
        let number = self.fresh();
        let client = &mut self.clients[who];
        let gives_up = client.clock.when(sent.after(limit)).unwrap_or(Duration::MAX);
        let claim = client.claim_mut();
        let run = claim.run.as_mut().expect("it is awaited");
        run.call = Some((number, operation, sent));
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
        run.last_call = call;
        Some((operation, sent))
    }

    pub(super) fn answered(&mut self, who: usize, call: u64, answer: Answer) {
        if let Some((operation, sent)) = self.called(who, call) {
            self.hear(who, sent, answer.read(operation));
        }
    }

    pub(super) fn refused(&mut self, who: usize, call: u64) {
        if let Some((_, sent)) = self.called(who, call) {
            self.hear(who, sent, Outcome::Failed { applied: Applied::No, retry_after: None });
        }
    }

    pub(super) fn gives_up(&mut self, who: usize, call: u64) {
        if let Some((_, sent)) = self.called(who, call) {
            self.hear(who, sent, Outcome::Failed { applied: Applied::Perhaps, retry_after: None });
        }
    }

    fn hear(&mut self, who: usize, sent: Moment, outcome: Outcome) {
        self.go(who, Input::Answer { sent, outcome });
    }

    fn sleep(&mut self, who: usize, until: Moment) {
        let claim = self.clients[who].claim();
        if claim.left && !claim.run().left {
            return self.go(who, Input::Go);
        }
        let longest = self.now + LONGEST_SLEEP;
        let until = self.clients[who].clock.when(until).unwrap_or(Duration::MAX).min(longest);
        self.step_at(who, until, Input::Go, true);
    }

    fn tell(&mut self, who: usize, told: Told) -> Input {
        let local = self.clock(who);
        self.clients[who].claim_mut().run.as_mut().expect("it tells").told = Some(told);
        match told {
            Told::Waiting => self.tally.add(Count::Waiting),
            Told::Retrying => self.tally.add(Count::Retrying),
            Told::Granted { valid_until, ends } => self.granted(who, valid_until, ends),
            Told::Renewed { valid_until, .. } => {
                self.tally.add(Count::RenewedTold);
                let claim = self.clients[who].claim_mut();
                let Some(standing) = &mut claim.standing else { return Input::Go };
                let said_no = standing.clone().check(local).is_err();
                if let Err(lost) = standing.extend(local, valid_until) {
                    self.tally.add(Count::LostFirstSeenByHolder);
                    self.hear_loss(who, lost);
                    return Input::Lapsed(lost);
                }
                if said_no {
                    self.breach("what is lost stays lost", format_args!("client {who}"));
                }
                self.clients[who].claim_mut().valid_until = Some(valid_until);
            }
            Told::RenewalFailed { .. } => self.tally.add(Count::RenewalFailed),
            Told::Lost(lost) => {
                let claim = self.clients[who].claim_mut();
                match &mut claim.standing {
                    Some(standing) => {
                        let lost = standing.lose(lost);
                        self.hear_loss(who, lost);
                        self.check_is_lost(who);
                    }
                    None => claim.lost_told = Some(lost),
                }
            }
            Told::NotObtained(why) => {
                self.clients[who].claim_mut().failed = true;
                self.tally.add(match why {
                    Why::Busy => Count::Busy,
                    Why::TimedOut => Count::TimedOut,
                    Why::GivenUp => Count::GivenUp,
                    Why::Failed => Count::Failed,
                });
            }
            Told::Released(how) => self.released(who, how),
            Told::Answered(_) => {}
        }
        Input::Go
    }

    fn granted(&mut self, who: usize, valid_until: Moment, ends: Moment) {
        self.revived |= self.is_peace();
        let claim = self.clients[who].claim_mut();
        let number = claim.number;
        claim.valid_until = Some(valid_until);
        if claim.one_shot {
            claim.kept = Some(Kept::new(valid_until, ends));
            return self.tally.add(Count::GrantedToOneShot);
        }
        claim.standing = Some(Standing::new(valid_until));
        self.tally.add(Count::Granted);
        self.watch_out(who);
        let work = match self.random.below(3) {
            0 => self.random.up_to(S),
            1 => self.random.up_to(20 * S),
            _ => self.random.up_to(120 * S),
        };
        self.schedule_for(who, self.now + work, Event::Caller { claim: number, does: Caller::Unlock });
    }

    fn released(&mut self, who: usize, how: Released) {
        let local = self.clock(who);
        let claim = self.clients[who].claim_mut();
        // A caller who gave up has no guard to ask.
        let held = *claim.held_at_last.get_or_insert(claim.standing.as_mut().is_some_and(|s| s.check(local).is_ok()));
        // The guard knows by itself that it was lost.
        if claim.one_shot || held {
            self.check_released(who, how, held);
        }
        self.tally.add(match how {
            _ if !held => Count::UnlockedLost,
            Released::Done if self.clients[who].claim().run().hold.perhaps_released() => Count::UnlockedAfterSilence,
            Released::Done => Count::Unlocked,
            Released::Lost(_) => Count::UnlockedLost,
            Released::Failed => Count::UnlockFailed,
        });
    }

    fn end(&mut self, who: usize) {
        let claim = self.clients[who].claim_mut();
        let number = claim.number;
        let (purpose, told) = (claim.run().purpose, claim.run().told);
        self.check_end(who, purpose);
        self.check_parting(who);
        let claim = self.clients[who].claim_mut();
        let run = claim.run.take().expect("it ends");
        match (purpose, &mut claim.kept) {
            (Purpose::Renew, Some(kept)) => {
                mutex::renewed(kept, &run.hold, told);
                claim.valid_until = Some(kept.valid_until);
                self.check_is_lost(who);
                self.plan(who, number);
            }
            (Purpose::Release, Some(kept)) => {
                mutex::released(kept, &run.hold, told);
                let again = claim.releases < 3;
                if again && self.random.one_in(2) {
                    self.tally.add(Count::ReleasedAgain);
                    let then = self.now + self.random.up_to(20 * S);
                    return self.schedule_for(who, then, Event::Caller { claim: number, does: Caller::Release });
                }
                self.done(who);
            }
            (Purpose::Acquire, Some(_)) => self.plan(who, number),
            _ => self.done(who),
        }
    }
}

/// The watchdog.
impl World {
    fn watch_out(&mut self, who: usize) {
        let client = &self.clients[who];
        let claim = client.claim().number;
        if let Some(deadline) = client.deadline().and_then(|moment| client.clock.when(moment)) {
            let looks = deadline + self.random.up_to(200 * MS);
            self.schedule_for(who, looks, Event::Watch { claim });
        }
    }

    pub(super) fn watch(&mut self, who: usize, number: usize) {
        let local = self.clock(who);
        let client = &mut self.clients[who];
        let Some(claim) = client.claim.as_mut().filter(|claim| claim.number == number && !claim.left) else { return };
        match claim.standing.as_mut().and_then(|standing| standing.check(local).err()) {
            Some(lost) => self.hear_loss(who, lost),
            None => self.watch_out(who),
        }
    }

    /// The holder is told that the lock is lost.
    fn hear_loss(&mut self, who: usize, lost: Lost) {
        let client = &mut self.clients[who];
        let claim = client.claim.as_mut().expect("it is lost");
        if claim.left {
            return;
        }
        if let Some(first) = claim.lost_told.replace(lost) {
            if first != lost {
                self.breach("the first reason of a loss stays", format_args!("client {who}: {first:?}, then {lost:?}"));
            }
            return;
        }
        self.tally.add(match lost {
            Lost::Expired => Count::LostExpired,
            Lost::Taken => Count::LostTaken,
            Lost::Broken => Count::LostBroken,
            Lost::BlobDeleted => Count::LostBlob,
            _ => Count::LostContainer,
        });
        let client = &self.clients[who];
        let deadline = client.deadline().and_then(|moment| client.clock.when(moment));
        let in_time = deadline.map_or(Duration::MAX, |end| end.max(client.still_until) + TOLD_WITHIN);
        if self.now > in_time {
            self.breach("a loss is told in time", format_args!("client {who}: due {deadline:?}"));
        }
        self.check_lost(who, lost);
    }
}
