//! One question about a lock, without a lease of ours: a look, a list, or the break of somebody else's lease.

use std::time::Duration;

use crate::clock::Moment;
use crate::rest::{Applied, Exchange, Operation, Outcome};
use crate::retry::Policy;

/// A question, and its repetitions where that does no harm.
#[derive(Clone, Debug)]
pub(crate) struct Question<F> {
    operation: Operation,
    policy: Policy,
    failures: u32,
    answer: Option<Exchange<F>>,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Task<F> {
    /// Make this request, give it no more than `limit`, and pass on what came of it.
    Send {
        operation: Operation,
        limit: Duration,
    },
    Sleep {
        until: Moment,
    },
    /// This is the answer, and, unless it did what was asked, how to tell a person.
    Done(Outcome, Option<F>),
}

impl<F> Question<F> {
    pub(crate) fn new(operation: Operation, policy: Policy) -> Question<F> {
        Question { operation, policy, failures: 0, answer: None }
    }

    pub(crate) fn answered(&mut self, answer: Exchange<F>) {
        self.answer = Some(answer);
    }

    /// `jitter` is any number, new for each step.
    pub(crate) fn next(&mut self, now: Moment, jitter: u32) -> Task<F> {
        let Some(Exchange { outcome, error, .. }) = self.answer.take() else {
            return Task::Send { operation: self.operation, limit: self.policy.attempt_limit };
        };
        self.failures += 1;
        match self.pause(outcome, jitter) {
            Some(pause) => Task::Sleep { until: now.after(pause) },
            None => Task::Done(outcome, error),
        }
    }

    /// How long to wait before the question is repeated, if it is.
    fn pause(&self, outcome: Outcome, jitter: u32) -> Option<Duration> {
        let (applied, retry_after) = match outcome {
            Outcome::Failed { applied, retry_after } => (applied, retry_after),
            Outcome::Void | Outcome::Filtered => (Applied::Perhaps, None),
            _ => return None,
        };
        let pause = self.policy.pause(self.failures, retry_after, jitter);
        // A break names no lease: one that was carried out unheard would, repeated, hit the next holder.
        let is_harmless = applied == Applied::No || self.operation.is_read();
        let is_worth_it = self.failures <= self.policy.retries && pause <= self.policy.longest_pause;
        Some(pause).filter(|_| is_harmless && is_worth_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);
    const NO_ANSWER: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
    const NOT_SENT: Outcome = Outcome::Failed { applied: Applied::No, retry_after: None };

    fn stay_away(pause: Duration) -> Outcome {
        Outcome::Failed { applied: Applied::No, retry_after: Some(pause) }
    }

    /// A question, and the clock it is played by. A failure is known by the number of its request.
    struct Play {
        question: Question<u32>,
        operation: Operation,
        now: Moment,
        requests: u32,
    }

    impl Play {
        fn of(operation: Operation) -> Play {
            let question = Question::new(operation, Policy::default());
            Play { question, operation, now: Moment::PAST.after(1_000 * S), requests: 0 }
        }

        #[track_caller]
        fn exchange(&mut self, outcome: Outcome) {
            let sent = Task::Send { operation: self.operation, limit: 5 * S };
            assert_eq!(self.question.next(self.now, 0), sent);
            self.requests += 1;
            self.question.answered(Exchange::new(self.now, outcome, Some(self.requests)));
        }

        #[track_caller]
        fn sleeps(&mut self, pause: Duration) {
            let until = self.now.after(pause);
            assert_eq!(self.question.next(self.now, 0), Task::Sleep { until });
            self.now = until;
        }

        #[track_caller]
        fn is_done(&mut self, outcome: Outcome) {
            assert_eq!(self.question.next(self.now, 0), Task::Done(outcome, Some(self.requests)));
        }
    }

    #[test]
    fn a_question_is_repeated_as_often_as_the_policy_says() {
        let mut play = Play::of(Operation::Look);
        for pause in [200, 400, 800] {
            play.exchange(NO_ANSWER);
            play.sleeps(pause * MS);
        }
        play.exchange(NOT_SENT);
        play.is_done(NOT_SENT);
    }

    #[test]
    fn a_question_ends_with_the_first_word_of_the_service() {
        for outcome in [Outcome::Breaking(9 * S), Outcome::NoLease, Outcome::Denied, Outcome::NoBlob] {
            let mut play = Play::of(Operation::Break { period: Some(0), only: None });
            play.exchange(outcome);
            play.is_done(outcome);
        }
    }

    #[test]
    fn a_break_that_may_have_been_carried_out_is_not_repeated() {
        let mut play = Play::of(Operation::Break { period: Some(0), only: None });
        play.exchange(NOT_SENT);
        play.sleeps(200 * MS);
        play.exchange(NO_ANSWER);
        play.is_done(NO_ANSWER);
    }

    #[test]
    fn a_question_is_not_put_again_before_the_service_wants_it() {
        let mut play = Play::of(Operation::Look);
        play.exchange(stay_away(5 * S));
        play.sleeps(5 * S);
        // As for all that does not wait.
        let too_long = stay_away(5 * S + MS);
        play.exchange(too_long);
        play.is_done(too_long);
    }
}
