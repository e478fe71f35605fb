//! What is decided about the threads of one process that want one lock: whose turn it is, who is woken, whose wait ends
//! with another one's failure, and when all of them stand back for other processes.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::card::Card;
use crate::clock::Moment;
use crate::hold::carry::{Act, Notice, Report};
use crate::hold::write::Unwritten;
use crate::hold::{Wait, Why};

/// How long the lock is left alone by one who stands back. A waiter elsewhere may have just seen that it is taken: it
/// hears of that within a second, looks again within another, has its answer within a third, and its acquire arrives
/// within a fourth.
pub(crate) const PAUSE: Duration = Duration::from_secs(4);
/// How long a process may have the lock in a row of turns, while no other one is met. A pause after each costs a tenth
/// of its time, where nobody else wants it.
const ROW: Duration = Duration::from_secs(40);
/// The same, once another process was met.
const CONTENDED_ROW: Duration = Duration::from_secs(10);
/// A wait that is given no more time than the pause and this does not stand back, lest it come to nothing for that.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// A thread's place in the queue, by the order in which they came.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What one who comes wants.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Want {
    pub(crate) wait: Wait,
    /// For how long it bears with failures, if its wait has no end of its own.
    pub(crate) patience: Duration,
    /// It does not hold the lock without a fencing token.
    pub(crate) token: bool,
}

/// The queue. Its first one talks to the service, the others wait. `F` is a failure, for people.
#[derive(Clone, Debug)]
pub(crate) struct Line<F> {
    places: VecDeque<Place>,
    /// Whose wait was ended by the failure of the first one, and who have not heard of it yet.
    failed: Vec<(Ticket, Option<F>)>,
    /// What stands between those who wait and an answer of the service, and since when.
    failing: Option<(Moment, Option<F>)>,
    /// The last card that was seen while others had the lock.
    card: Option<Arc<Card>>,
    issued: u64,
    /// The turns in which this process has had the lock, without a pause in which others could have got in.
    row: Option<Row>,
    /// Another process was met, since this one stood back in vain.
    is_contended: bool,
    wakes: Vec<Ticket>,
    /// What those in front knew last.
    front: Front,
}

#[derive(Copy, Clone, Debug)]
struct Place {
    ticket: Ticket,
    want: Want,
    joined: Moment,
    /// From when on it may ask the service, once it has its turn.
    started: Option<Moment>,
    stands_back: bool,
    /// It met another process that has the lock.
    has_met: bool,
    is_granted: bool,
    /// When its lease ends by itself.
    ends: Moment,
    /// By when what it began is undone, once it has let go.
    gone_by: Moment,
}

#[derive(Copy, Clone, Debug)]
struct Row {
    since: Moment,
    /// When the last of its turns was over.
    last: Moment,
}

/// Whoever is first, and the one behind it, with the time at which that one has to look again.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Front {
    first: Option<Ticket>,
    second: Option<(Ticket, Moment)>,
}

/// What a thread in the queue is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next<F> {
    /// Wait until it is woken or until then, and ask again.
    Wait { ahead: usize, until: Moment },
    /// It is its turn. If it is to stand back, it asks the service for nothing before that time. Its patience counts from
    /// when it began to meet the failures of those before it.
    Start { stands_back: Option<Moment>, failing_since: Option<Moment> },
    /// Its time is up, or it was cancelled.
    Missed { why: Why, ahead: usize, failure: Option<F>, card: Option<Arc<Card>> },
    /// By this failure, as the first one's wait, or because its own patience is over.
    Failed(Option<F>),
}

impl<F> Default for Line<F> {
    fn default() -> Line<F> {
        Line {
            places: VecDeque::new(),
            failed: Vec::new(),
            failing: None,
            card: None,
            issued: 0,
            row: None,
            is_contended: false,
            wakes: Vec::new(),
            front: Front::default(),
        }
    }
}

impl<F: Clone> Line<F> {
    /// A place at the end. For one who does not wait there is none if anybody before it wants the lock: how many are
    /// before it. One that has let go does not: whether the lock can be had is known when that is over.
    pub(crate) fn join(&mut self, now: Moment, want: Want) -> Result<Ticket, usize> {
        self.pass_over(now);
        if want.wait == Wait::Never && !self.places.iter().all(Place::has_let_go) {
            return Err(self.places.len());
        }
        self.issued += 1;
        let ticket = Ticket(self.issued);
        self.places.push_back(Place {
            ticket,
            want,
            joined: now,
            started: None,
            stands_back: false,
            has_met: false,
            is_granted: false,
            ends: Moment::NEVER,
            gone_by: Moment::NEVER,
        });
        Ok(ticket)
    }

    pub(crate) fn next(&mut self, now: Moment, ticket: Ticket, is_cancelled: bool) -> Next<F> {
        self.pass_over(now);
        if let Some(at) = self.failed.iter().position(|(failed, _)| *failed == ticket) {
            return Next::Failed(self.failed.swap_remove(at).1);
        }
        let ahead = self.ahead_of(ticket);
        let Some((ahead, place)) = ahead.and_then(|ahead| Some((ahead, *self.places.get(ahead)?))) else {
            return Next::Start { stands_back: None, failing_since: None };
        };
        let deadline = place.deadline();
        if ahead > 0 && now >= deadline {
            return self.missed(Why::TimedOut, ahead);
        }
        if is_cancelled {
            return self.missed(Why::GivenUp, ahead);
        }
        let failing = self.failing.as_ref().map(|(since, failure)| (since.max(&place.joined), failure));
        if ahead > 0 {
            let mut until = deadline;
            if let Some((since, failure)) = failing.filter(|_| place.want.wait == Wait::Forever) {
                let patience_ends = since.after(place.want.patience);
                if now >= patience_ends {
                    return Next::Failed(failure.clone());
                }
                until = patience_ends;
            }
            // Only the second one watches the first.
            let first = self.front().second.filter(|(second, _)| *second == ticket);
            return Next::Wait { ahead, until: first.map_or(until, |(_, over_by)| until.min(over_by)) };
        }
        let failing_since = failing.map(|(since, _)| *since);
        let stands_back = self.stands_back(now, &place);
        if let Some(place) = self.places.front_mut() {
            place.started = Some(stands_back.unwrap_or(now));
            place.stands_back = stands_back.is_some();
        }
        Next::Start { stands_back, failing_since }
    }

    fn missed(&self, why: Why, ahead: usize) -> Next<F> {
        let failure = self.failing.as_ref().and_then(|(_, failure)| failure.clone());
        Next::Missed { why, ahead, failure, card: self.card.clone() }
    }

    /// Until when the first one stands back, if it does. By the time that it was given, not by what the queue has left
    /// of that: in a long queue all have little left.
    fn stands_back(&self, now: Moment, first: &Place) -> Option<Moment> {
        let row = self.row?;
        let until = row.last.after(PAUSE).min(first.deadline());
        let longest = if self.is_contended { CONTENDED_ROW } else { ROW };
        let given = if first.want.wait == Wait::Never { Duration::ZERO } else { first.deadline().since(first.joined) };
        (now.since(row.since) >= longest && now < until && given > PAUSE + LEAST_LEFT).then_some(until)
    }

    /// Whoever has its turn does this.
    pub(crate) fn carried_out(&mut self, now: Moment, ticket: Ticket, act: &Act<F>) {
        if self.ahead_of(ticket) == Some(0) {
            self.heard(now, act);
        }
        match act {
            Act::Grant { ends, .. } => self.granted(now, ticket, *ends),
            Act::Extend { ends, .. } => {
                if let Some(place) = self.place(ticket) {
                    place.ends = *ends;
                }
            }
            Act::Notify(Notice::Waiting { .. }) | Act::Report(Report::NotObtained { why: Why::Busy, .. }) => {
                if let Some(place) = self.place(ticket) {
                    place.has_met = true;
                    (self.row, self.is_contended) = (None, true);
                }
            }
            Act::Report(Report::NotObtained { why: Why::Failed, failure }) => {
                self.fail(ticket, failure.as_ref(), |_| true);
            }
            Act::Report(Report::NotObtained { why: Why::NoToken(Unwritten::Failed), failure }) => {
                self.fail(ticket, failure.as_ref(), |want| want.token);
            }
            // Before its caller hears of it, and comes again.
            Act::Lose(_) | Act::Report(Report::Released(_)) => self.end(now, ticket),
            _ => {}
        }
    }

    /// What the first one meets, the others would.
    fn heard(&mut self, now: Moment, act: &Act<F>) {
        match act {
            Act::Report(Report::Failing(failure)) => {
                let since = self.failing.as_ref().map(|(since, _)| *since);
                if since.is_none() {
                    // Their patience may end before their turn comes.
                    let behind = self.places.iter().skip(1).filter(|place| place.want.wait == Wait::Forever);
                    self.wakes.extend(behind.map(|place| place.ticket));
                }
                self.failing = Some((since.unwrap_or(now), failure.clone()));
            }
            Act::Report(Report::Seen(card)) => self.card = Some(card.clone()),
            Act::Grant { .. } => (self.failing, self.card) = (None, None),
            Act::Notify(Notice::Waiting(_)) | Act::Report(Report::Recovered) => self.failing = None,
            _ => {}
        }
    }

    fn granted(&mut self, now: Moment, ticket: Ticket, ends: Moment) {
        let Some(place) = self.place(ticket) else { return };
        (place.is_granted, place.ends) = (true, ends);
        let Place { started, stands_back, has_met, .. } = *place;
        let begun = started.unwrap_or(now);
        if self.row.is_none_or(|row| begun >= row.last.after(PAUSE)) {
            self.row = Some(Row { since: now, last: now });
            self.is_contended &= has_met || !stands_back;
        }
    }

    /// A failure that ended the first one's wait ends those that have no end of their own and would meet it, too, one
    /// after the other. Not that of one who does not wait: it has no patience.
    fn fail(&mut self, ticket: Ticket, failure: Option<&F>, would_meet: impl Fn(&Want) -> bool) {
        if !self.places.front().is_some_and(|first| first.ticket == ticket && first.want.wait != Wait::Never) {
            return;
        }
        let stays = |Place { want, .. }: &Place| want.wait != Wait::Forever || !would_meet(want);
        let (first, behind): (Vec<Place>, Vec<Place>) =
            self.places.iter().partition(|place| place.ticket == ticket || stays(place));
        self.places = first.into();
        for Place { ticket, .. } in behind {
            self.failed.push((ticket, failure.cloned()));
            self.wakes.push(ticket);
        }
    }

    /// Whoever has its turn lets go of the lock, or gives it up. By then that is over, whatever comes of it.
    pub(crate) fn leaves(&mut self, ticket: Ticket, gone_by: Moment) {
        if let Some(place) = self.place(ticket) {
            place.gone_by = gone_by;
        }
    }

    /// It has nothing to do with the lock any more. Saying it again does nothing.
    pub(crate) fn end(&mut self, now: Moment, ticket: Ticket) {
        self.failed.retain(|(failed, _)| *failed != ticket);
        let Some(at) = self.ahead_of(ticket) else { return };
        let ended = self.places.remove(at);
        if self.places.is_empty() {
            (self.failing, self.card) = (None, None);
        }
        if let (Some(row), Some(Place { is_granted: true, .. })) = (&mut self.row, ended) {
            row.last = now;
        }
    }

    /// Those whose turn must be over by now are out of the queue.
    fn pass_over(&mut self, now: Moment) {
        while let Some(first) = self.places.front().filter(|first| first.over_by() <= now) {
            self.end(now, first.ticket);
        }
    }

    /// Who has to ask again, because of what has changed.
    pub(crate) fn take_wakes(&mut self) -> Vec<Ticket> {
        let front = self.front();
        let before = mem::replace(&mut self.front, front);
        let Front { first, second } = self.front;
        let is_waiting = self.places.front().is_some_and(|first| first.started.is_none());
        self.wakes.extend(first.filter(|_| is_waiting && first != before.first));
        if let Some((ticket, over_by)) = second {
            let known = before.second.filter(|(second, _)| *second == ticket).map_or(Moment::NEVER, |(_, by)| by);
            self.wakes.extend(Some(ticket).filter(|_| over_by < known));
        }
        mem::take(&mut self.wakes)
    }

    fn front(&self) -> Front {
        let mut places = self.places.iter();
        let first = places.next();
        let over_by = first.map_or(Moment::NEVER, Place::over_by);
        Front { first: first.map(|first| first.ticket), second: places.next().map(|second| (second.ticket, over_by)) }
    }

    /// Whether there is anything that one who comes next should know.
    pub(crate) fn is_in_use(&self, now: Moment) -> bool {
        !self.places.is_empty() || self.row.is_some_and(|row| now < row.last.after(PAUSE))
    }

    fn ahead_of(&self, ticket: Ticket) -> Option<usize> {
        self.places.iter().position(|place| place.ticket == ticket)
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.ticket == ticket)
    }
}

impl Place {
    fn deadline(&self) -> Moment {
        if let Wait::Until(deadline) = self.want.wait { deadline } else { Moment::NEVER }
    }

    fn has_let_go(&self) -> bool {
        self.gone_by < Moment::NEVER
    }

    /// When its turn is over, even if nothing is heard of it.
    fn over_by(&self) -> Moment {
        self.ends.min(self.gone_by)
    }
}

#[cfg(test)]
impl From<Wait> for Want {
    fn from(wait: Wait) -> Want {
        Want { wait, patience: Duration::from_secs(30), token: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Holder;
    use crate::hold::carry::Act;
    use crate::lease::Lost;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn at(since_start: Duration) -> Moment {
        Moment::PAST.after(1_000 * S).after(since_start)
    }

    fn line() -> Line<u32> {
        Line::default()
    }

    /// What a lock's thread does when it has got the lock, at that time.
    fn grant(line: &mut Line<u32>, now: Moment, ticket: Ticket) {
        line.carried_out(now, ticket, &Act::Grant { valid_until: now.after(27 * S), ends: now.after(30 * S) });
        line.carried_out(now, ticket, &Act::Report(Report::Granted(Holder::default())));
    }

    const RELEASED: Act<u32> = Act::Report(Report::Released(Ok(())));
    const WAITING: Act<u32> = Act::Notify(Notice::Waiting(None));

    const FAILING: Act<u32> = Act::Report(Report::Failing(Some(7)));

    fn failed(failure: u32) -> Act<u32> {
        Act::Report(Report::NotObtained { why: Why::Failed, failure: Some(failure) })
    }

    /// One turn, from then to then, of one who waits like that. Until when it stood back.
    fn turn(line: &mut Line<u32>, (from, to): (Moment, Moment), wait: Wait) -> Option<Moment> {
        let ticket = line.join(from, wait.into()).unwrap();
        let Next::Start { stands_back, .. } = line.next(from, ticket, false) else { panic!("somebody is before it") };
        if stands_back.is_none() {
            grant(line, from, ticket);
        }
        line.carried_out(to, ticket, &RELEASED);
        line.end(to, ticket);
        stands_back
    }

    #[test]
    fn they_come_one_after_the_other_and_each_is_woken_when_its_turn_comes() {
        let mut line = line();
        let now = at(S);
        let [one, two, three] = [(); 3].map(|()| line.join(now, Wait::Forever.into()).unwrap());
        assert_eq!(line.take_wakes(), [one]);
        assert_eq!(line.next(now, one, false), Next::Start { stands_back: None, failing_since: None });
        assert_eq!(line.next(now, three, false), Next::Wait { ahead: 2, until: Moment::NEVER });
        assert_eq!(line.next(now, two, false), Next::Wait { ahead: 1, until: Moment::NEVER });
        grant(&mut line, now, one);
        assert_eq!(line.take_wakes(), [two], "it watches the lease");
        assert_eq!(line.next(now, two, false), Next::Wait { ahead: 1, until: now.after(30 * S) });
        line.carried_out(now, one, &RELEASED);
        assert_eq!(line.take_wakes(), [two]);
        assert_eq!(line.next(now, two, false), Next::Start { stands_back: None, failing_since: None });
        line.end(now, one);
        assert_eq!(line.next(now, three, false), Next::Wait { ahead: 1, until: Moment::NEVER });
        line.end(now, two);
        assert_eq!(line.take_wakes(), [three]);
    }

    #[test]
    fn whoever_leaves_the_queue_leaves_nobody_behind() {
        let mut line = line();
        let now = at(S);
        let [one, two, three] = [(); 3].map(|()| line.join(now, Wait::Forever.into()).unwrap());
        line.next(now, one, false);
        grant(&mut line, now, one);
        line.take_wakes();
        assert_eq!(line.next(now, two, true), Next::Missed { why: Why::GivenUp, ahead: 1, failure: None, card: None });
        line.end(now, two);
        assert_eq!(line.take_wakes(), [three], "it watches the lease now");
        assert_eq!(line.next(now, three, false), Next::Wait { ahead: 1, until: now.after(30 * S) });
        line.carried_out(now, one, &Act::Lose(Lost::Broken));
        assert_eq!(line.take_wakes(), [three], "though the guard is still there");
    }

    #[test]
    fn a_turn_is_over_at_the_end_of_its_lease_or_of_what_it_undoes() {
        let mut line = line();
        let now = at(S);
        let [one, two] = [(); 2].map(|()| line.join(now, Wait::Forever.into()).unwrap());
        line.next(now, one, false);
        grant(&mut line, now, one);
        let (later, ends) = (now.after(10 * S), now.after(40 * S));
        line.carried_out(later, one, &Act::Extend { valid_until: ends, ends });
        assert_eq!(line.next(now.after(30 * S), two, false), Next::Wait { ahead: 1, until: ends });
        line.take_wakes();
        let by = now.after(36 * S);
        line.leaves(one, by);
        assert_eq!(line.take_wakes(), [two]);
        assert_eq!(line.next(by.before(MS), two, false), Next::Wait { ahead: 1, until: by });
        assert_eq!(line.next(by, two, false), Next::Start { stands_back: None, failing_since: None });
        // What is heard of it after that changes nothing.
        line.carried_out(by, one, &RELEASED);
        line.end(by, one);
        assert_eq!(line.join(by, Wait::Never.into()), Err(1));
    }

    #[test]
    fn a_wait_ends_in_the_queue_when_its_time_is_up() {
        let mut line = line();
        let (now, end) = (at(S), at(3 * S));
        let [one, two] = [Wait::Forever, Wait::Until(end)].map(|wait| line.join(now, wait.into()).unwrap());
        line.next(now, one, false);
        assert_eq!(line.next(now, two, false), Next::Wait { ahead: 1, until: end });
        assert_eq!(line.next(end, two, true), Next::Missed { why: Why::TimedOut, ahead: 1, failure: None, card: None });
    }

    #[test]
    fn a_try_does_not_wait_behind_anybody() {
        let mut line = line();
        let now = at(S);
        let one = line.join(now, Wait::Never.into()).unwrap();
        assert_eq!(line.join(now, Wait::Never.into()), Err(1));
        let two = line.join(now, Wait::Forever.into()).unwrap();
        line.end(now, one);
        assert_eq!(line.join(now, Wait::Never.into()), Err(1), "the other one was there before");
        line.end(now, two);
        line.join(now, Wait::Never.into()).unwrap();
    }

    #[test]
    fn a_try_waits_for_those_that_have_only_to_undo_what_they_began() {
        let mut line = line();
        let (now, by) = (at(S), at(17 * S));
        let one = line.join(now, Wait::Never.into()).unwrap();
        line.next(now, one, false);
        line.leaves(one, by);
        let two = line.join(now, Wait::Never.into()).unwrap();
        assert_eq!(line.next(now, two, false), Next::Wait { ahead: 1, until: by });
        assert_eq!(line.join(now, Wait::Never.into()), Err(2), "that one does want the lock");
        line.take_wakes();
        line.end(now, one);
        assert_eq!(line.take_wakes(), [two]);
        assert_eq!(line.next(now, two, false), Next::Start { stands_back: None, failing_since: None });
        line.leaves(two, by);
        let three = line.join(now, Wait::Never.into()).unwrap();
        assert_eq!(
            line.next(by, three, false),
            Next::Start { stands_back: None, failing_since: None },
            "though nothing was heard of it"
        );
    }

    #[test]
    fn who_is_in_no_place_changes_nobody_elses() {
        let mut line = line();
        let [one, two] = [Wait::Never, Wait::Forever].map(|wait| line.join(at(S), wait.into()).ok());
        let two = two.or(one).unwrap();
        line.take_wakes();
        line.next(at(S), Ticket(99), false);
        assert!(line.places.iter().all(|place| place.started.is_none()), "{two:?} has not asked");
    }

    #[test]
    fn a_failure_ends_the_waits_behind_it_that_have_no_end_of_their_own() {
        let mut line = line();
        let now = at(S);
        let waits = [Wait::Forever, Wait::Forever, Wait::Until(at(99 * S)), Wait::Forever];
        let [one, two, three, four] = waits.map(|wait| line.join(now, wait.into()).unwrap());
        line.next(now, one, false);
        line.take_wakes();
        line.carried_out(now, one, &failed(7));
        assert_eq!(line.take_wakes(), [two, four]);
        let late = line.join(now, Wait::Forever.into()).unwrap();
        line.end(now, one);
        assert_eq!(line.next(now, two, false), Next::Failed(Some(7)));
        assert_eq!(line.next(now, four, false), Next::Failed(Some(7)));
        assert_eq!(line.next(now, three, false), Next::Start { stands_back: None, failing_since: None });
        assert_eq!(line.next(now, late, false), Next::Wait { ahead: 1, until: Moment::NEVER });
    }

    #[test]
    fn who_waits_behind_one_with_a_limit_loses_its_patience_all_the_same() {
        let mut line = line();
        let waits = [Wait::Until(at(999 * S)), Wait::Forever, Wait::Until(at(99 * S))];
        let [one, two, three] = waits.map(|wait| line.join(at(S), wait.into()).unwrap());
        line.next(at(S), one, false);
        line.take_wakes();
        line.carried_out(at(2 * S), one, &FAILING);
        assert_eq!(line.take_wakes(), [two]);
        let (until, late) = (at(32 * S), line.join(at(12 * S), Wait::Forever.into()).unwrap());
        assert_eq!(line.next(at(2 * S), two, false), Next::Wait { ahead: 1, until });
        line.carried_out(at(3 * S), one, &FAILING);
        assert_eq!(line.take_wakes(), [], "it has been failing since then");
        assert_eq!(line.next(until, two, false), Next::Failed(Some(7)));
        line.end(until, two);
        assert_eq!(line.next(until, three, false), Next::Wait { ahead: 1, until: at(99 * S) });
        assert_eq!(line.next(until, late, false), Next::Wait { ahead: 2, until: at(42 * S) });
        line.carried_out(until, one, &Act::Report(Report::Recovered));
        assert_eq!(line.next(until, late, false), Next::Wait { ahead: 2, until: Moment::NEVER });
    }

    #[test]
    fn patience_is_handed_on_and_not_new_with_each_who_comes_first() {
        let mut line = line();
        let [one, two] = [Wait::Until(at(9 * S)), Wait::Forever].map(|wait| line.join(at(S), wait.into()).unwrap());
        line.next(at(S), one, false);
        line.carried_out(at(2 * S), one, &FAILING);
        line.end(at(9 * S), one);
        let failing_since = Some(at(2 * S));
        assert_eq!(line.next(at(9 * S), two, false), Next::Start { stands_back: None, failing_since });
        line.end(at(9 * S), two);
        let alone = line.join(at(9 * S), Wait::Forever.into()).unwrap();
        assert_eq!(line.next(at(9 * S), alone, false), Next::Start { stands_back: None, failing_since: None });
    }

    #[test]
    fn who_misses_its_turn_hears_what_the_first_one_met() {
        let mut line = line();
        let [one, two] = [(); 2].map(|()| line.join(at(S), Wait::Forever.into()).unwrap());
        line.next(at(S), one, false);
        let card = Arc::new(Card::new("theirs"));
        line.carried_out(at(S), one, &Act::Report(Report::Seen(card.clone())));
        line.carried_out(at(S), one, &FAILING);
        let missed = |failure, card| Next::Missed { why: Why::GivenUp, ahead: 1, failure, card };
        assert_eq!(line.next(at(S), two, true), missed(Some(7), Some(card)));
        grant(&mut line, at(S), one);
        assert_eq!(line.next(at(S), two, true), missed(None, None), "it is ours now");
    }

    #[test]
    fn a_token_that_fails_ends_the_waits_behind_it_that_want_one() {
        let mut line = line();
        let now = at(S);
        let [one, two, three] = [true, false, true].map(|token| {
            let want = Want { token, ..Wait::Forever.into() };
            line.join(now, want).unwrap()
        });
        line.next(now, one, false);
        let why = Why::NoToken(Unwritten::Failed);
        line.carried_out(now, one, &Act::Report(Report::NotObtained { why, failure: Some(7) }));
        assert_eq!(line.next(now, two, false), Next::Wait { ahead: 1, until: Moment::NEVER });
        assert_eq!(line.next(now, three, false), Next::Failed(Some(7)));
    }

    #[test]
    fn the_failure_of_one_who_does_not_wait_is_its_own() {
        let mut line = line();
        let now = at(S);
        let [one, two] = [Wait::Never, Wait::Forever].map(|wait| line.join(now, wait.into()).unwrap());
        line.next(now, one, false);
        line.carried_out(now, one, &failed(7));
        line.end(now, one);
        assert_eq!(line.next(now, two, false), Next::Start { stands_back: None, failing_since: None });
    }

    /// Turns of one second, with so long between them, until one stands back: after how long, and for how long.
    fn row(line: &mut Line<u32>, begins: Duration, gap: Duration) -> (Duration, Duration) {
        let mut now = begins;
        while now < begins + 1_000 * S {
            if let Some(until) = turn(line, (at(now), at(now + S)), Wait::Forever) {
                return (now - begins, until.left(at(now)));
            }
            now += S + gap;
        }
        (Duration::MAX, Duration::ZERO)
    }

    #[test]
    fn after_a_long_row_all_stand_back() {
        assert_eq!(row(&mut line(), S, Duration::ZERO), (ROW, PAUSE));
        assert_eq!(row(&mut line(), S, 3 * S), (ROW, S), "what is left of the pause");
        assert_eq!(row(&mut line(), S, PAUSE), (Duration::MAX, Duration::ZERO), "others could have got in");
    }

    #[test]
    fn one_long_turn_is_a_row_also_if_it_ends_with_a_loss() {
        let next = |length: Duration| {
            let (mut line, now) = (line(), at(S));
            let leader = line.join(now, Wait::Forever.into()).unwrap();
            line.next(now, leader, false);
            line.carried_out(now, leader, &WAITING);
            grant(&mut line, now, leader);
            let lost = now.after(length);
            line.carried_out(lost, leader, &Act::Lose(Lost::Broken));
            let again = line.join(lost, Wait::Forever.into()).unwrap();
            line.next(lost, again, false)
        };
        assert_eq!(
            next(CONTENDED_ROW),
            Next::Start { stands_back: Some(at(S).after(CONTENDED_ROW + PAUSE)), failing_since: None }
        );
        assert_eq!(next(CONTENDED_ROW - MS), Next::Start { stands_back: None, failing_since: None });
    }

    #[test]
    fn a_pause_ends_the_row_and_so_does_another_process() {
        let mut line = line();
        let (after, _) = row(&mut line, S, Duration::ZERO);
        // The turn that stood back came to nothing here; the pause is over.
        let begins = S + after + PAUSE;
        assert_eq!(row(&mut line, begins, Duration::ZERO).0, ROW);
        let begins = begins + ROW + PAUSE;
        turn(&mut line, (at(begins), at(begins + 5 * S)), Wait::Forever);
        let met = begins + 5 * S;
        let ticket = line.join(at(met), Wait::Forever.into()).unwrap();
        line.next(at(met), ticket, false);
        line.carried_out(at(met), ticket, &WAITING);
        grant(&mut line, at(met + S), ticket);
        line.end(at(met + 2 * S), ticket);
        assert_eq!(row(&mut line, met + 2 * S, Duration::ZERO).0, CONTENDED_ROW - S);
    }

    #[test]
    fn whoever_stood_back_in_vain_has_a_long_row_again() {
        let mut line = line();
        line.is_contended = true;
        let (after, pause) = row(&mut line, S, Duration::ZERO);
        assert_eq!(after, CONTENDED_ROW);
        let resumes = S + after + pause;
        let ticket = line.join(at(resumes - S), Wait::Forever.into()).unwrap();
        assert_eq!(
            line.next(at(resumes - S), ticket, false),
            Next::Start { stands_back: Some(at(resumes)), failing_since: None }
        );
        grant(&mut line, at(resumes), ticket);
        line.end(at(resumes + S), ticket);
        assert_eq!(row(&mut line, resumes + S, Duration::ZERO).0, ROW - S);
    }

    #[test]
    fn no_try_stands_back_nor_a_wait_that_is_given_no_more_than_the_pause() {
        let mut line = line();
        turn(&mut line, (at(S), at(S + ROW)), Wait::Forever);
        let now = at(S + ROW);
        assert_eq!(turn(&mut line, (now, now), Wait::Never), None);
        let enough = now.after(PAUSE + LEAST_LEFT);
        assert_eq!(turn(&mut line, (now, now), Wait::Until(enough)), None);
        assert_eq!(turn(&mut line, (now, now), Wait::Until(enough.after(MS))), Some(now.after(PAUSE)));
    }

    #[test]
    fn a_wait_stands_back_though_it_has_used_up_its_time_in_the_queue() {
        let mut line = line();
        let [one, two, three] = [1, 2, 3].map(|second| {
            let joins = at(second * S);
            line.join(joins, Wait::Until(joins.after(ROW + 2 * S)).into()).unwrap()
        });
        line.next(at(S), one, false);
        grant(&mut line, at(S), one);
        let now = at(S + ROW);
        line.end(now, one);
        assert_eq!(
            line.next(now, two, false),
            Next::Start { stands_back: Some(now.after(3 * S)), failing_since: None },
            "until its end"
        );
        line.end(now.after(3 * S), two);
        let until = now.after(PAUSE);
        assert_eq!(
            line.next(now.after(3 * S), three, false),
            Next::Start { stands_back: Some(until), failing_since: None }
        );
    }

    #[test]
    fn a_queue_is_in_use_while_it_remembers_a_row() {
        let mut line = line();
        assert!(!line.is_in_use(at(S)));
        turn(&mut line, (at(S), at(2 * S)), Wait::Forever);
        assert!(line.is_in_use(at(5 * S)));
        assert!(!line.is_in_use(at(6 * S)));
        line.join(at(6 * S), Wait::Forever.into()).unwrap();
        assert!(line.is_in_use(at(6 * S)));
    }
}
