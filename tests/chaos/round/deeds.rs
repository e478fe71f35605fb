//! What the driver does to the contenders' processes and to their ways to the store.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Cut, LOCKS, Round, Seat, State, is_cached, name};
use crate::journal::Time;
use crate::support::http::Operation;
use crate::support::proxy::Fault;
use crate::tally::Deed;

pub(super) const ALL: [Deed; 14] = [
    Deed::KillHolder,
    Deed::KillOther,
    Deed::StopShort,
    Deed::StopShort,
    Deed::StopLong,
    Deed::StopOther,
    Deed::BreakLease,
    Deed::AskToLeave,
    Deed::CutShort,
    Deed::CutLong,
    Deed::CutAfterAnswer,
    Deed::ReplayLong,
    Deed::ErrorBurst,
    Deed::Portal,
];

/// So late that a deadline counted from it would be after the lease's end, and not so late that it is not waited for.
const LAST_ANSWER: Duration = Duration::from_millis(3_600);

impl Round<'_> {
    /// Whether there was somebody to do it to.
    pub(super) fn act(&mut self, deed: Deed) -> bool {
        let seats = self.candidates(deed);
        if seats.is_empty() {
            return false;
        }
        let seat = self.dice.pick(&seats);
        writeln!(self.diary, "{} {deed:?} to process {}", Time::now(), self.seats[seat].record).unwrap();
        let lease = self.holding(seat).map(|hold| hold.lease).unwrap_or_default();
        let some_seconds = self.dice.millis(1_000, 5_000);
        let beyond_lease = lease + self.dice.millis(2_000, 5_000);
        match deed {
            Deed::KillHolder | Deed::KillOther => self.kill(seat),
            Deed::StopShort => {
                let half = (lease / 2).as_millis() as u64;
                let time = self.dice.millis(300, half - 500);
                self.stop(seat, time);
            }
            Deed::StopLong => self.stop(seat, beyond_lease),
            Deed::StopOther => {
                let time = self.dice.millis(500, 20_000);
                self.stop(seat, time);
            }
            Deed::BreakLease => return self.break_lease(seat),
            Deed::AskToLeave => {
                self.seats[seat].process.hang_up();
                self.seats[seat].state = State::Leaving { since: Instant::now() };
                self.tally().count(deed);
            }
            Deed::CutLong => {
                self.have_stay(seat, 1);
                self.cut(seat, deed, None, Fault::BlackHole, beyond_lease);
            }
            Deed::CutAfterAnswer => {
                self.have_stay(seat, 1);
                self.seats[seat].way.next(Operation::Renew, Fault::DelayAnswer(LAST_ANSWER));
                // That renewal is due within a third of the lease.
                self.cut(seat, deed, None, Fault::BlackHole, beyond_lease + lease / 2);
            }
            Deed::ReplayLong => {
                // So long that it would be told yes when another one has the lock.
                self.have_stay(seat, 2);
                self.cut(seat, deed, Some(Operation::Renew), Fault::Replay { forwarded: false }, beyond_lease + lease);
            }
            Deed::Portal => self.cut(seat, deed, None, Fault::Portal, some_seconds),
            Deed::ErrorBurst => {
                let status = self.dice.pick(&[500, 503]);
                self.cut(seat, deed, None, Fault::Status(status, Vec::new()), some_seconds);
            }
            _ => self.cut(seat, deed, None, Fault::BlackHole, some_seconds),
        }
        true
    }

    fn candidates(&self, deed: Deed) -> Vec<usize> {
        let mut seats = match deed {
            Deed::KillOther | Deed::StopOther => self.undisturbed(false),
            Deed::AskToLeave | Deed::CutShort | Deed::ErrorBurst | Deed::Portal => {
                [self.undisturbed(true), self.undisturbed(false)].concat()
            }
            _ => self.undisturbed(true),
        };
        if matches!(deed, Deed::StopShort | Deed::StopLong | Deed::StopOther) {
            seats.retain(|seat| Self::is_fenced(self.seats[*seat].lock));
        }
        seats
    }

    /// Who is at work and neither cut off nor stopped, and holds its lock or does not.
    fn undisturbed(&self, holding: bool) -> Vec<usize> {
        let fits = |seat: &usize| {
            let Seat { state, cut, .. } = &self.seats[*seat];
            *state == State::Running && cut.is_none() && self.holding(*seat).is_some() == holding
        };
        (0..self.seats.len()).filter(fits).collect()
    }

    /// It is when a lock is lost that it matters what its holder is told.
    fn have_stay(&mut self, seat: usize, leases: u32) {
        self.seats[seat].process.tell(&leases.to_string());
    }

    /// The last ills there are, and the only ones that do not pass by themselves. Connections on which something in
    /// between is one answer behind; whoever kept one would suffer from it in the calm. And caches, before locks whose
    /// holders have just died: whoever trusted them would wait for ever.
    pub(super) fn leave_behind(&mut self) {
        for seat in 0..self.seats.len() {
            let Seat { lock, way, .. } = &self.seats[seat];
            if !is_cached(*lock) {
                for operation in [Operation::Acquire, Operation::Renew, Operation::Look] {
                    way.next(operation, Fault::Behind);
                }
            }
        }
        for lock in (0..LOCKS).filter(|lock| is_cached(*lock)) {
            let mut seats: Vec<usize> = (0..self.seats.len()).filter(|seat| self.seats[*seat].lock == lock).collect();
            // Who holds it comes last, so that nobody new finds it free.
            seats.sort_by_key(|seat| self.holding(*seat).is_some());
            let is_held = seats.last().is_some_and(|seat| self.holding(*seat).is_some());
            for seat in seats {
                self.seats[seat].way.always(Some(Operation::Look), Fault::StaleLook);
                self.kill(seat);
            }
            if is_held {
                self.tally().cached += 1;
            }
        }
    }

    /// No more caches.
    pub(super) fn uncover(&mut self) {
        for seat in self.seats.iter().filter(|seat| is_cached(seat.lock)) {
            seat.way.clear();
        }
    }

    fn kill(&mut self, seat: usize) {
        self.seats[seat].process.signal(Signal::KILL);
        let killed = Time::now();
        let record = self.seats[seat].record;
        self.replace(seat);
        let deed = if self.records[record].holding().is_some() { Deed::KillHolder } else { Deed::KillOther };
        self.tally().count(deed);
        if let Some(hold) = self.records[record].holds.last().filter(|hold| hold.end.is_none()) {
            self.orphans.add_of_dead(name(self.seats[seat].lock), hold, killed);
        }
    }

    fn stop(&mut self, seat: usize, time: Duration) {
        self.seats[seat].process.signal(Signal::STOP);
        let since = Instant::now();
        self.read(seat);
        let holding = self.holding(seat).map(|hold| hold.lease);
        self.seats[seat].state = State::Stopped { since, until: since + time, holding };
    }

    /// If it is stopped.
    pub(super) fn go_on(&mut self, seat: usize) {
        let State::Stopped { since, holding, .. } = self.seats[seat].state else { return };
        let time = since.elapsed();
        self.seats[seat].process.signal(Signal::CONT);
        self.seats[seat].state = State::Running;
        let mut tally = self.tally();
        tally.count(Deed::Continue);
        match holding {
            Some(lease) if time > lease => tally.count(Deed::StopLong),
            Some(lease) if time < lease / 2 => tally.count(Deed::StopShort),
            Some(_) => {}
            None => tally.count(Deed::StopOther),
        }
    }

    fn break_lease(&mut self, seat: usize) -> bool {
        self.have_stay(seat, 1);
        let path = format!("{}/{}?comp=lease", self.container, name(self.seats[seat].lock));
        let answer = self.account.try_raw("PUT", &path, &[("x-ms-lease-action", "break")], b"");
        // The holder may have let go in between.
        let broken = answer.is_ok_and(|answer| answer.status == 202);
        if broken {
            self.tally().count(Deed::BreakLease);
        }
        broken
    }

    fn cut(&mut self, seat: usize, deed: Deed, from: Option<Operation>, fault: Fault, time: Duration) {
        let holding = self.holding(seat).map(|hold| hold.lease);
        let since = Instant::now();
        let seat = &mut self.seats[seat];
        seat.way.always(from, fault);
        seat.cut = Some(Cut { since, until: since + time, holding, deed });
    }

    /// If it is cut off.
    pub(super) fn reconnect(&mut self, seat: usize) {
        let Some(cut) = self.seats[seat].cut.take() else { return };
        self.seats[seat].way.clear();
        let is_long = matches!(cut.deed, Deed::CutLong | Deed::CutAfterAnswer | Deed::ReplayLong);
        if !is_long || cut.holding.is_some_and(|lease| cut.since.elapsed() > lease) {
            self.tally().count(cut.deed);
        }
    }
}
