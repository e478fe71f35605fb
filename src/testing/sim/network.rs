//! What becomes of a request on its way to the service and back.

use std::time::Duration;

use crate::fencing::Blob;
use crate::lease::Term;
use crate::rest::Operation;

use super::link::{OLD, Route};
use super::service::{Answer, Time};
use super::tally::Count;
use super::world::{Event, World};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// No packet is on its way for longer.
pub(super) const LATEST: Duration = Duration::from_secs(300);
/// The service ends a lease so much too early or too late.
const INEXACT: Duration = Duration::from_secs(2);

/// One request.
#[derive(Copy, Clone, Debug)]
pub(super) struct Packet {
    pub(super) who: usize,
    pub(super) life: u32,
    pub(super) claim: usize,
    pub(super) call: u64,
    pub(super) operation: Operation,
    carried_out: bool,
    /// What the client gets to read, if not the service's word on this call.
    instead: Option<Answer>,
    /// What that tells of the blob.
    blob: Option<Blob>,
    /// The call that the answer says it is for, if it says that.
    of: Option<u64>,
    /// How long the answer takes, if it arrives.
    back: Option<Duration>,
    route: Route,
}

/// An answer that a client got, or could have got.
#[derive(Copy, Clone, Debug)]
pub(super) struct Answered {
    call: u64,
    operation: Operation,
    answer: Answer,
    blob: Option<Blob>,
}

fn same_kind(one: Operation, other: Operation) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

/// A time of trouble for some clients.
#[derive(Clone, Debug)]
pub(super) struct Storm {
    until: Time,
    clients: u32,
    fault: Fault,
}

/// What happens to a request.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Fault {
    None,
    Cut,
    AnswerCut,
    Slow,
    Late,
    Twice,
    TwiceSwapped,
    Refused,
    ErrorBefore,
    ErrorAfter,
    Throttled,
    Portal,
    Denied,
    Replayed,
    Behind,
    Copied,
    Misdirected,
}

const FAULTS: &[Fault] = &[
    Fault::Cut,
    Fault::AnswerCut,
    Fault::Slow,
    Fault::Late,
    Fault::Late,
    Fault::Twice,
    Fault::TwiceSwapped,
    Fault::Refused,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::Throttled,
    Fault::Portal,
    Fault::Denied,
    Fault::Replayed,
    Fault::Replayed,
    Fault::Behind,
    Fault::Copied,
    Fault::Misdirected,
];

impl World {
    pub(super) fn storm(&mut self) {
        let length = match self.random.below(3) {
            0 => self.random.up_to(S),
            1 => self.random.up_to(10 * S),
            _ => self.random.up_to(90 * S),
        };
        let clients = if self.random.one_in(3) { u32::MAX } else { self.random.next() };
        let storm = Storm { until: self.now + length, clients, fault: self.fault() };
        self.note(format_args!("{storm:?}"));
        let now = self.now;
        self.storms.retain(|storm| storm.until > now);
        self.storms.push(storm);
    }

    fn fault(&mut self) -> Fault {
        match self.random.pick(FAULTS) {
            // No service or network does that by itself.
            Fault::Misdirected if self.setting.lawful => Fault::Cut,
            fault => fault,
        }
    }

    fn fault_for(&mut self, who: usize, operation: Operation) -> Fault {
        if self.setting.calm || self.is_peace() {
            return Fault::None;
        }
        // There are so many of the others.
        let rarely = if matches!(operation, Operation::Release { .. }) { 5 } else { 200 };
        let now = self.now;
        let met = self.storms.iter().find(|storm| storm.until > now && storm.clients >> who & 1 == 1);
        match met.map(|storm| storm.fault) {
            Some(fault) if !self.random.one_in(6) => fault,
            _ if self.random.one_in(rarely) => self.fault(),
            _ => Fault::None,
        }
    }

    /// Sends a request of the client's claim, which it gives up at `gives_up`.
    pub(super) fn transmit(&mut self, who: usize, call: u64, operation: Operation, gives_up: Time) {
        let fault = self.fault_for(who, operation);
        let limit = gives_up - self.now;
        let claim = self.clients[who].claim().number;
        let route = self.route(who);
        let mut packet = Packet {
            who,
            life: self.clients[who].life,
            claim,
            call,
            operation,
            carried_out: true,
            instead: None,
            blob: None,
            of: Some(call),
            back: Some(self.random.between(MS / 5, 30 * MS)),
            route,
        };
        let mut out = self.random.between(MS / 5, 30 * MS);
        if fault != Fault::None || self.leads_astray(route) {
            // Now, and not when the client gives up: for how long a request may hang is the client's business.
            self.clients[who].touch(self.now);
        }
        let count = match fault {
            Fault::None => None,
            Fault::Cut => {
                self.tally.add(Count::Cut);
                return;
            }
            Fault::AnswerCut => {
                packet.back = None;
                Some(Count::AnswerCut)
            }
            Fault::Slow => {
                out = self.random.up_to(limit * 3 / 2);
                packet.back = Some(self.random.up_to(limit));
                Some(Count::Slow)
            }
            Fault::Late => {
                out = limit + self.random.up_to(180 * S);
                Some(Count::Late)
            }
            Fault::Twice | Fault::TwiceSwapped => {
                let after = if self.random.one_in(2) { self.random.up_to(S) } else { self.random.up_to(150 * S) };
                let mut copy = Packet { back: None, ..packet };
                if fault == Fault::TwiceSwapped {
                    (copy.back, packet.back) = (packet.back, None);
                }
                self.facts[claim].doubled |= operation != Operation::Look;
                self.send(out + after, copy);
                Some(if fault == Fault::Twice { Count::Twice } else { Count::TwiceSwapped })
            }
            Fault::Refused => {
                self.tally.add(Count::ConnectionRefused);
                self.schedule_for(who, self.now + out, Event::Refused { call });
                return;
            }
            Fault::ErrorBefore => {
                packet.carried_out = false;
                packet.instead = Some(self.random.pick(&[
                    Answer::Refusal(500, "InternalError"),
                    Answer::Refusal(500, "OperationTimedOut"),
                    Answer::Foreign(502),
                ]));
                Some(Count::ErrorBefore)
            }
            Fault::ErrorAfter => {
                packet.instead = Some(self.random.pick(&[
                    Answer::Refusal(500, "InternalError"),
                    Answer::Refusal(500, "OperationTimedOut"),
                    Answer::Foreign(504),
                ]));
                Some(Count::ErrorAfter)
            }
            Fault::Throttled => {
                packet.carried_out = false;
                let seconds = self.random.pick(&[0, 1, 30, 300]);
                packet.instead = Some(match seconds {
                    0 => Answer::Refusal(503, "ServerBusy"),
                    _ => Answer::TryLater(503, "ServerBusy", seconds),
                });
                Some(Count::Throttled)
            }
            Fault::Portal => {
                packet.carried_out = false;
                packet.instead = Some(Answer::Foreign(self.random.pick(&[404, 404, 200, 403, 409])));
                Some(Count::Portal)
            }
            Fault::Denied => {
                packet.carried_out = false;
                packet.instead = Some(Answer::Refusal(403, "AuthenticationFailed"));
                Some(Count::Denied)
            }
            Fault::Replayed => {
                // By a proxy that remembers, or a copy of an answer that comes late on a connection used again.
                let kept = self.random.one_in(2);
                let like = |answered: &&Answered| !kept || same_kind(answered.operation, operation);
                match self.clients[who].answers.iter().rev().find(like) {
                    Some(answered) => {
                        (packet.instead, packet.blob) = (Some(answered.answer), answered.blob);
                        packet.of = Some(answered.call);
                    }
                    None => packet.back = None,
                }
                packet.carried_out = self.random.one_in(2);
                Some(Count::Replayed)
            }
            // No answer to a write names a lease.
            Fault::Misdirected if matches!(operation, Operation::Write(_)) => {
                packet.back = None;
                None
            }
            Fault::Behind => {
                self.clients[who].link.fall_behind();
                None
            }
            Fault::Copied => {
                let after = self.random.up_to(3 * S);
                self.clients[who].link.copy_next(after);
                None
            }
            Fault::Misdirected => {
                packet.carried_out = self.random.one_in(2);
                let (foreign, _) = self.new_id();
                packet.instead = Some(Answer::Leased(foreign));
                self.facts[claim].misled = true;
                Some(Count::Misdirected)
            }
        };
        if let Some(count) = count {
            self.tally.add(count);
        }
        self.send(out, packet);
    }

    fn send(&mut self, out: Duration, packet: Packet) {
        let arrives = self.now + out;
        debug_assert!(out <= LATEST);
        self.all_arrived = self.all_arrived.max(arrives + packet.back.unwrap_or_default());
        self.schedule(arrives, Event::Arrive(packet));
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        let Packet { who, life, call, operation, .. } = packet;
        let (mut answer, mut blob) = (Answer::Done, None);
        if self.leads_astray(packet.route) {
            // Perhaps it was sent before the name moved.
            self.clients[who].touch(self.now);
            answer = self.answer_of_former(operation);
            self.note(format_args!("the old address: {operation:?} of client {who}, call {call}: {answer:?}"));
            self.tally.add(Count::AtOldAddress);
        } else if packet.carried_out {
            self.service.settle(self.now);
            let before = self.service.lease;
            // A service whose clock runs too fast ends it sooner.
            let inexact = self.random.pick(&[Duration::ZERO, INEXACT, 2 * INEXACT]);
            let fast = self.service_drift;
            let lasts = |term: Term| match term.duration() {
                Some(term) => term.mul_f64(1.0 / (1.0 + f64::from(fast) / 1e6)) + inexact - INEXACT,
                None => Duration::MAX,
            };
            answer = self.service.handle(self.now, operation, lasts);
            blob = self.service.tells(self.now, operation, answer);
            self.note(format_args!("service: {operation:?} of client {who}, call {call}: {answer:?}"));
            self.check_handled(&packet, before, answer);
        }
        let Some(back) = packet.back.filter(|_| self.clients[who].life == life) else { return };
        let mut of = packet.of;
        if let Some(instead) = packet.instead {
            (answer, blob) = (instead, packet.blob);
        }
        if matches!(answer, Answer::Foreign(_)) {
            of = None;
        }
        if of == Some(call) {
            self.clients[who].answers.push(Answered { call, operation, answer, blob });
        }
        if operation == Operation::Look && self.setting.filtered >> who & 1 == 1 {
            (answer, of) = (Answer::Foreign(self.random.pick(&[200, 403, 405])), None);
            self.tally.add(Count::Filtered);
        }
        if operation == Operation::Look && self.setting.cached >> who & 1 == 1 {
            if matches!(answer, Answer::Seen(status) if status.is_locked()) {
                self.remembered.entry(who).or_insert((answer, blob));
            }
            if let Some(old) = self.remembered.get(&who) {
                ((answer, blob), of) = (*old, None);
                self.tally.add(Count::Remembered);
            }
        }
        let on = packet.route.connection;
        let ((answer, blob, of), is_behind) = self.clients[who].link.passes(on, (answer, blob, of), self.now + back);
        if is_behind {
            self.clients[who].touch(self.now);
            self.tally.add(Count::Behind);
        }
        self.schedule_for(who, self.now + back, Event::Answered { call, answer, blob, of, on });
    }

    /// To the old address of a name that has moved.
    fn leads_astray(&self, route: Route) -> bool {
        self.moved.is_some() && route.leads_to == OLD
    }
}
