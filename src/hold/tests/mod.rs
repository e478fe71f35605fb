//! Each test is a story on a made-up clock: what was asked, what was answered, what was told.

use std::mem;

use super::*;
use crate::lease::LockStatus;

mod anything;
mod deadline;
mod free;
mod held;
mod one_call;
mod patience;
mod releasing;
mod standing;
mod unsure;
mod waiting;

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

fn rules() -> Rules {
    Rules {
        term: Term::Seconds(30),
        renew_every: 10 * S,
        first_pause: 100 * MS,
        longest_pause: S,
        create_container: true,
        policy: Policy::default(),
    }
}

fn granted(sent: Moment) -> Told {
    Told::Granted { valid_until: sent.after(VALID), ends: sent.after(30 * S) }
}

fn renewed(sent: Moment) -> Told {
    Told::Renewed { valid_until: sent.after(VALID), ends: sent.after(30 * S) }
}

/// One hold, and the clock it is played by. Without jitter pauses have their full length.
struct Play {
    hold: Hold,
    now: Moment,
    sent: Moment,
    input: Input,
    jitter: u32,
}

impl Play {
    fn new(hold: Hold) -> Play {
        Play { hold, now: start(), sent: start(), input: Input::Go, jitter: 0 }
    }

    fn waiting(wait: Wait) -> Play {
        Play::new(Hold::keep(rules(), ours(), wait))
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

    fn step(&mut self) -> Do {
        let input = mem::replace(&mut self.input, Input::Go);
        self.hold.step(self.now, input, self.jitter)
    }

    /// The next step is this request; says how long it may take.
    #[track_caller]
    fn sends(&mut self, expected: Operation) -> Duration {
        self.sent = self.now;
        match self.step() {
            Do::Send { operation, limit } if operation == expected => limit,
            other => panic!("{expected:?} should have been sent, not {other:?}"),
        }
    }

    fn answers(&mut self, outcome: Outcome) {
        self.input = Input::Answer { sent: self.sent, outcome };
    }

    #[track_caller]
    fn exchange(&mut self, expected: Operation, outcome: Outcome) {
        self.sends(expected);
        self.answers(outcome);
    }

    #[track_caller]
    fn told(&mut self) -> Told {
        match self.step() {
            Do::Tell(told) => told,
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
            Do::Sleep { until } => {
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
        assert_eq!(self.step(), Do::Sleep { until: Moment::NEVER });
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(self.step(), Do::End);
        assert_eq!(self.step(), Do::End);
    }

    fn passes(&mut self, pause: Duration) {
        self.now = self.now.after(pause);
    }

    fn leaves(&mut self) {
        self.hold.leave();
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
