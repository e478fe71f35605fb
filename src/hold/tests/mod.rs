//! Each test is a story on a made-up clock: what was asked, what was answered, what was told.

use super::carry::{Act, Carrier, Notice, Report, Unreleased};
use super::*;
use crate::lease::LockState;
use crate::rest::{Exchange, Write};

mod anything;
mod bill;
mod call;
mod caller;
mod deadline;
mod free;
mod held;
mod one_call;
mod patience;
mod picture;
mod releasing;
mod unsure;
mod waiting;
mod write;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// How long a lease of 30 s is called ours: 2 s and a fiftieth less.
const VALID: Duration = Duration::from_millis(27_400);

const NO_ANSWER: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
const NOT_SENT: Outcome = Outcome::Failed { applied: Applied::No, retry_after: None };

fn stay_away(pause: Duration) -> Outcome {
    Outcome::Failed { applied: Applied::No, retry_after: Some(pause) }
}

fn ours() -> LeaseId {
    LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap()
}

fn theirs() -> LeaseId {
    LeaseId::parse("fedcba98-7654-4210-8edc-ba9876543210").unwrap()
}

fn acquire() -> Operation {
    Operation::Acquire { id: ours(), term: Term::Seconds(30) }
}

fn renew() -> Operation {
    Operation::Renew { id: ours() }
}

fn release() -> Operation {
    Operation::Release { id: ours() }
}

fn start() -> Moment {
    Moment::PAST.after(1_000 * S)
}

fn at(since_start: Duration) -> Moment {
    start().after(since_start)
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

fn granted(sent: Moment) -> Told {
    Told::Granted { valid_until: sent.after(VALID), ends: sent.after(30 * S), holder: Holder::default() }
}

fn renewed(sent: Moment) -> Told {
    Told::Renewed { valid_until: sent.after(VALID), ends: sent.after(30 * S) }
}

/// Drives the carrier of one hold, as the lock's thread does, and sees to it that everybody is told in the right order and
/// of the right failure. A failure is known by the number of its request.
struct Driver {
    carrier: Carrier<u32>,
    left: bool,
    requests: u32,
    /// The failure of the last request.
    error: Option<u32>,
    /// The failure that was told last, unless the service has answered since.
    failing: Option<Option<u32>>,
    /// A renewal was told to the holder's standing, and not yet how that went.
    extends: Option<Moment>,
}

impl Driver {
    fn new(hold: Hold) -> Driver {
        let carrier = Carrier::new(hold);
        Driver { carrier, left: false, requests: 0, error: None, failing: None, extends: None }
    }

    fn hold(&self) -> &Hold {
        self.carrier.hold()
    }

    fn leave(&mut self) {
        self.left = true;
        self.carrier.leave();
    }

    fn answered(&mut self, sent: Moment, outcome: Outcome) {
        self.came(sent, outcome, None, false);
    }

    fn answered_of(&mut self, sent: Moment, outcome: Outcome, blob: Option<Blob>) {
        self.came(sent, outcome, blob, false);
    }

    fn came(&mut self, sent: Moment, outcome: Outcome, blob: Option<Blob>, cut_off: bool) {
        use Outcome::{Breaking, Busy, Done, Exists, Leased, Seen};
        self.requests += 1;
        let is_word = matches!(outcome, Leased(_) | Done | Breaking(_) | Seen(_) | Busy | Exists);
        self.error = Some(self.requests).filter(|_| !is_word);
        self.carrier.answered(Exchange { blob, cut_off, ..Exchange::new(sent, outcome, self.error) });
    }

    fn lapses(&mut self, now: Moment, lost: Lost) {
        assert!(self.extends.take().is_some(), "nothing was renewed");
        self.carrier.extended(now, Err(lost));
    }

    /// What is next, as the hold says it; what is told to whom is checked here.
    #[track_caller]
    fn step(&mut self, now: Moment, jitter: u32) -> Step {
        if let Some(valid_until) = self.extends.take() {
            self.carrier.extended(now, Ok(valid_until));
            assert_eq!(self.carrier.next(now, jitter), Act::Notify(Notice::Renewed { left: valid_until.left(now) }));
        }
        let before = self.hold().clone();
        let mut act = self.carrier.next(now, jitter);
        if act == Act::Report(Report::Recovered) {
            assert!(self.failing.is_some() && self.error.is_none());
            self.failing = None;
            act = self.carrier.next(now, jitter);
        }
        match act {
            Act::Send { operation, limit } => Step::Send { operation, limit },
            Act::Sleep { until, for_leave } => {
                let Step::Sleep { until: whole } = self.hold().clone().step(now, Input::Go, jitter) else {
                    panic!("{before:?} sleeps without a reason")
                };
                assert_eq!((until, for_leave), (whole.min(now.after(2 * S)), !self.left));
                Step::Sleep { until: whole }
            }
            Act::End => Step::End,
            act => Step::Tell(self.told(act, now, jitter)),
        }
    }

    #[track_caller]
    fn told(&mut self, act: Act<u32>, now: Moment, jitter: u32) -> Told {
        let mut next = || self.carrier.next(now, jitter);
        match act {
            Act::Notify(Notice::Waiting(None)) => Told::Waiting,
            // Nothing new for the caller: what it knows tells more.
            Act::Notify(Notice::Retrying(failure)) => {
                assert_eq!(failure, self.error);
                assert!(self.failing.is_some() || self.requests > 1);
                Told::Retrying
            }
            Act::Report(Report::Failing(failure)) => {
                assert_eq!(failure, self.error);
                assert_eq!(next(), Act::Notify(Notice::Retrying(failure)));
                self.failing = Some(failure);
                Told::Retrying
            }
            Act::Grant { valid_until, ends } => {
                let Act::Notify(Notice::Acquired { left, token }) = next() else { panic!("nobody hears of the grant") };
                assert_eq!(left, valid_until.left(now));
                let Act::Report(Report::Granted(holder)) = next() else { panic!("the caller hears of no grant") };
                assert_eq!(holder.token, token);
                Told::Granted { valid_until, ends, holder }
            }
            Act::Extend { valid_until, ends } => {
                self.extends = Some(valid_until);
                Told::Renewed { valid_until, ends }
            }
            Act::Notify(Notice::RenewalFailed { left, failure }) => {
                assert_eq!(failure, self.error);
                Told::RenewalFailed { left }
            }
            Act::Notify(Notice::NotLeft { why, failure }) => {
                assert_eq!(failure, self.error);
                Told::NotLeft(why)
            }
            Act::Report(Report::Written(written)) => Told::Written(written.map_err(|(why, failure)| {
                assert_eq!(failure, self.error);
                why
            })),
            Act::Lose(lost) => Told::Lost(lost),
            Act::Report(Report::NotObtained { why, failure }) => {
                let expected = match why {
                    Why::Busy => None,
                    Why::TimedOut | Why::GivenUp => self.failing.flatten(),
                    Why::Failed => self.error,
                    // Of the write, and not of the release after it.
                    Why::NoToken(_) => failure,
                };
                assert_eq!(failure, expected);
                Told::NotObtained(why)
            }
            Act::Notify(Notice::Released) => {
                assert_eq!(next(), Act::Report(Report::Released(Ok(()))));
                Told::Released(Released::Done)
            }
            Act::Notify(Notice::ReleaseFailed(why)) => {
                assert_eq!(next(), Act::Report(Report::Released(Err(why.clone()))));
                match why {
                    Unreleased::Lost(lost) => Told::Released(Released::Lost(lost)),
                    Unreleased::Failed { left, failure } => {
                        assert_eq!((left, failure), (self.hold().ends().left(now), self.error));
                        Told::Released(Released::Failed)
                    }
                }
            }
            act => panic!("{act:?} comes out of order"),
        }
    }
}

/// One hold, and the clock it is played by. Without jitter pauses have their full length.
struct Play {
    driver: Driver,
    now: Moment,
    sent: Moment,
    jitter: u32,
}

impl Play {
    fn new(hold: Hold) -> Play {
        Play { driver: Driver::new(hold), now: start(), sent: start(), jitter: 0 }
    }

    fn hold(&self) -> &Hold {
        self.driver.hold()
    }

    fn waiting(wait: Wait) -> Play {
        Play::new(Hold::keep(settings(), ours(), wait))
    }

    fn until(timeout: Duration) -> Play {
        Play::waiting(Wait::Until(at(timeout)))
    }

    /// Granted at the start, by an acquire that was answered at once.
    fn held() -> Play {
        let mut play = Play::waiting(Wait::Forever);
        play.exchange(acquire(), Outcome::Leased(ours()));
        play.tells(granted(start()));
        play
    }

    /// Told of the first busy answer, and about to rest.
    fn queued(wait: Wait) -> Play {
        let mut play = Play::waiting(wait);
        play.exchange(acquire(), Outcome::Busy);
        play.tells(Told::Waiting);
        play
    }

    #[track_caller]
    fn step(&mut self) -> Step {
        self.driver.step(self.now, self.jitter)
    }

    /// The next step is this request; says how long it may take.
    #[track_caller]
    fn sends(&mut self, expected: Operation) -> Duration {
        self.sent = self.now;
        match self.step() {
            Step::Send { operation, limit } if operation == expected => limit,
            other => panic!("{expected:?} should have been sent, not {other:?}"),
        }
    }

    fn answers(&mut self, outcome: Outcome) {
        self.driver.answered(self.sent, outcome);
    }

    /// By nothing, within a limit that was but the rest of the wait's time.
    fn is_cut_off(&mut self) {
        self.driver.came(self.sent, NO_ANSWER, None, true);
    }

    /// The next step is a write, which is answered like that.
    #[track_caller]
    fn writes(&mut self, outcome: Outcome, blob: Option<Blob>) -> Write {
        self.sent = self.now;
        match self.step() {
            Step::Send { operation: Operation::Write(write), .. } => {
                self.driver.answered_of(self.sent, outcome, blob);
                write
            }
            other => panic!("something should have been written, not {other:?}"),
        }
    }

    #[track_caller]
    fn exchange_of(&mut self, expected: Operation, outcome: Outcome, blob: Blob) {
        self.sends(expected);
        self.driver.answered_of(self.sent, outcome, Some(blob));
    }

    #[track_caller]
    fn exchange(&mut self, expected: Operation, outcome: Outcome) {
        self.sends(expected);
        self.answers(outcome);
    }

    #[track_caller]
    fn told(&mut self) -> Told {
        match self.step() {
            Step::Tell(told) => told,
            other => panic!("something should have been told, not {other:?}"),
        }
    }

    #[track_caller]
    fn tells(&mut self, expected: Told) {
        assert_eq!(self.told(), expected);
    }

    #[track_caller]
    fn renewal_fails(&mut self) {
        let told = self.told();
        assert!(matches!(told, Told::RenewalFailed { .. }), "{told:?}");
    }

    /// Sleeps for as long as it is told to, and says how long that was.
    #[track_caller]
    fn sleeps(&mut self) -> Duration {
        match self.step() {
            Step::Sleep { until } => {
                let slept = until.left(self.now);
                assert!(slept > Duration::ZERO, "a sleep until now spins");
                self.now = until;
                slept
            }
            other => panic!("it should have slept, not {other:?}"),
        }
    }

    /// Sleeps until it is left alone no longer: nothing is to be done by itself any more.
    #[track_caller]
    fn rests(&mut self) {
        assert_eq!(self.step(), Step::Sleep { until: Moment::NEVER });
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(self.step(), Step::End);
        assert_eq!(self.step(), Step::End);
    }

    fn passes(&mut self, pause: Duration) {
        self.now = self.now.after(pause);
    }

    fn leaves(&mut self) {
        self.driver.leave();
    }

    /// The holder's standing is over by the time that it would be prolonged.
    fn lapses(&mut self, lost: Lost) {
        self.driver.lapses(self.now, lost);
    }
}

/// An acquire was sent, was perhaps carried out, and is about to be repeated.
fn unsure(wait: Wait) -> Play {
    let mut play = Play::waiting(wait);
    play.exchange(acquire(), NO_ANSWER);
    play.tells(Told::Retrying);
    play.sleeps();
    play
}
