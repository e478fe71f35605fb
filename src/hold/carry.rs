//! What the lock's thread does for one hold, and who is told what, in which order.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::write::{Unwritten, Wish};
use super::{Hold, Holder, Input, Released, Step, Told, Why};
use crate::card::Card;
use crate::clock::{LONGEST_SLEEP, Moment};
use crate::fencing::FencingToken;
use crate::lease::{LeaseId, Lost};
use crate::rest::{Exchange, Operation, Outcome};

/// What is to be done next. `F` is a failure, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act<F> {
    /// Make this request, give it no more than `limit`, and pass on what came of it.
    Send { operation: Operation, limit: Duration },
    /// Wait until then; or, if `for_leave`, until the caller leaves.
    Sleep { until: Moment, for_leave: bool },
    /// The holder's standing begins.
    Grant { valid_until: Moment, ends: Moment },
    /// The holder's standing is prolonged, if it still can be. Pass on whether that worked.
    Extend { valid_until: Moment, ends: Moment },
    /// The holder's standing ends.
    Lose(Lost),
    /// Tell the observer.
    Notify(Notice<F>),
    /// Tell the caller.
    Report(Report<F>),
    /// It is over.
    End,
}

/// What an observer is told. A loss is not among it: whoever notices it first tells that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Notice<F> {
    /// With the last card that was seen.
    Waiting(Option<Arc<Card>>),
    Retrying(Option<F>),
    Acquired {
        left: Duration,
        token: Option<FencingToken>,
    },
    /// The holder's card is not left, or it takes no token.
    NotLeft {
        why: Unwritten,
        failure: Option<F>,
    },
    Renewed {
        left: Duration,
    },
    RenewalFailed {
        left: Duration,
        failure: Option<F>,
    },
    Released,
    ReleaseFailed(Unreleased<F>),
}

/// What the lock's thread says to the caller's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Report<F> {
    /// This stands between the caller and an answer of the service.
    Failing(Option<F>),
    /// Nothing does any more.
    Recovered,
    /// This is the last card that was seen.
    Seen(Arc<Card>),
    Granted(Holder),
    /// What came of a write that the holder asked for.
    Written(Result<Option<FencingToken>, (Unwritten, Option<F>)>),
    NotObtained {
        why: Why,
        failure: Option<F>,
    },
    Released(Result<(), Unreleased<F>>),
}

/// Why a release cannot be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unreleased<F> {
    /// There was nothing of ours left to release.
    Lost(Lost),
    /// The lease ends by itself after `left`.
    Failed { left: Duration, failure: Option<F> },
}

/// Carries a hold out: asks it what to do, and remembers what it does not need to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Carrier<F> {
    hold: Hold,
    input: Input,
    /// The caller has left, and the hold knows.
    left: bool,
    /// What went wrong with the last request.
    error: Option<F>,
    /// That request had only the rest of the wait's time, and that was too short for an answer.
    cut_off: bool,
    /// The service has said something.
    heard: bool,
    /// The failure that was told last, unless the service has answered since.
    failing: Option<Option<F>>,
    /// Why there is no token, if a failure is why.
    no_token: Option<F>,
    /// The caller was told that it waits.
    waits: bool,
    /// The last card that was seen.
    card: Option<Arc<Card>>,
    /// What is still to be done of what the hold said last.
    due: VecDeque<Act<F>>,
}

impl<F: Clone> Carrier<F> {
    pub(crate) fn new(hold: Hold) -> Carrier<F> {
        Carrier {
            hold,
            input: Input::Go,
            left: false,
            error: None,
            cut_off: false,
            heard: false,
            failing: None,
            no_token: None,
            waits: false,
            card: None,
            due: VecDeque::new(),
        }
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.hold.id()
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The caller wants the lock no more. Saying it again does nothing.
    pub(crate) fn leave(&mut self) {
        if !mem::replace(&mut self.left, true) {
            self.hold.leave();
        }
    }

    /// The holder wants something to be written, after it was told what came of the last such wish.
    pub(crate) fn write(&mut self, wish: Wish) {
        self.hold.write(wish);
    }

    /// What came of the last request.
    pub(crate) fn answered(&mut self, exchange: Exchange<F>) {
        if matches!(exchange.outcome, Outcome::Seen(state) if self.waits && state.is_locked()) {
            self.see(exchange.metadata.as_ref().and_then(|metadata| metadata.card()));
        }
        self.input = Input::Answer { sent: exchange.sent, outcome: exchange.outcome, blob: exchange.blob };
        (self.error, self.cut_off) = (exchange.error, exchange.cut_off);
        self.heard |= self.error.is_none();
        if self.error.is_none() && self.failing.take().is_some() {
            self.due.push_back(Act::Report(Report::Recovered));
        }
    }

    /// Whoever waits is told of each new card.
    fn see(&mut self, card: Option<Card>) {
        let Some(card) = card.filter(|card| self.card.as_deref() != Some(card)) else { return };
        let card = Arc::new(card);
        self.card = Some(card.clone());
        self.due.push_back(Act::Report(Report::Seen(card.clone())));
        self.due.push_back(Act::Notify(Notice::Waiting(Some(card))));
    }

    /// Whether the holder's standing could be prolonged, and when that was.
    pub(crate) fn extended(&mut self, now: Moment, extended: Result<Moment, Lost>) {
        match extended {
            Ok(valid_until) => {
                self.due.push_back(Act::Notify(Notice::Renewed { left: valid_until.left(now) }));
            }
            Err(lost) => self.input = Input::Lapsed(lost),
        }
    }

    /// `jitter` is any number, new for each call.
    pub(crate) fn next(&mut self, now: Moment, jitter: u32) -> Act<F> {
        loop {
            if let Some(act) = self.due.pop_front() {
                return act;
            }
            let input = mem::replace(&mut self.input, Input::Go);
            match self.hold.step(now, input, jitter) {
                Step::Send { operation, limit } => return Act::Send { operation, limit },
                // For the caller's leaving, unless the hold knows of it: who leaves between the hold's decision and the
                // sleep is to end it.
                Step::Sleep { until } => {
                    return Act::Sleep { until: until.min(now.after(LONGEST_SLEEP)), for_leave: !self.left };
                }
                Step::Tell(told) => self.tell(told, now),
                Step::End => return Act::End,
            }
        }
    }

    fn tell(&mut self, told: Told, now: Moment) {
        match told {
            Told::Waiting => {
                self.waits = true;
                self.due.push_back(Act::Notify(Notice::Waiting(None)));
            }
            Told::Retrying => {
                let failure = self.error.clone();
                // That a wait's end cut a request short tells less than what came before it, failure or answer.
                if !self.cut_off || self.failing.is_none() && !self.heard {
                    self.failing = Some(failure.clone());
                    self.due.push_back(Act::Report(Report::Failing(failure.clone())));
                }
                self.due.push_back(Act::Notify(Notice::Retrying(failure)));
            }
            // Whoever hears of the grant finds that the lock is held.
            Told::Granted { valid_until, ends, holder } => {
                self.waits = false;
                self.due.push_back(Act::Grant { valid_until, ends });
                let left = valid_until.left(now);
                self.due.push_back(Act::Notify(Notice::Acquired { left, token: holder.token }));
                self.due.push_back(Act::Report(Report::Granted(holder)));
            }
            Told::NotLeft(why) => {
                let failure = self.error.clone();
                self.no_token = failure.clone();
                self.due.push_back(Act::Notify(Notice::NotLeft { why, failure }));
            }
            Told::Written(written) => {
                let written = written.map_err(|why| (why, self.error.clone()));
                self.due.push_back(Act::Report(Report::Written(written)));
            }
            Told::Renewed { valid_until, ends } => self.due.push_back(Act::Extend { valid_until, ends }),
            Told::RenewalFailed { left } => {
                let failure = self.error.clone();
                self.due.push_back(Act::Notify(Notice::RenewalFailed { left, failure }));
            }
            Told::Lost(lost) => self.due.push_back(Act::Lose(lost)),
            Told::NotObtained(why) => {
                let failure = match why {
                    Why::Busy => None,
                    Why::TimedOut | Why::GivenUp => self.failing.take().flatten(),
                    Why::Failed => self.error.clone(),
                    Why::NoToken(_) => self.no_token.take(),
                };
                self.due.push_back(Act::Report(Report::NotObtained { why, failure }));
            }
            // The caller may end the program right after the report, so the observer comes first.
            Told::Released(Released::Done) => {
                self.due.push_back(Act::Notify(Notice::Released));
                self.due.push_back(Act::Report(Report::Released(Ok(()))));
            }
            Told::Released(Released::Lost(lost)) => self.not_released(Unreleased::Lost(lost)),
            Told::Released(Released::Failed) => {
                let left = self.hold.ends().left(now);
                let failure = self.error.take();
                self.not_released(Unreleased::Failed { left, failure });
            }
        }
    }

    fn not_released(&mut self, why: Unreleased<F>) {
        self.due.push_back(Act::Notify(Notice::ReleaseFailed(why.clone())));
        self.due.push_back(Act::Report(Report::Released(Err(why))));
    }
}
