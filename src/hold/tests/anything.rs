//! Anything at all.

use std::collections::BTreeSet;

use super::*;
use crate::random::Jitter;
use crate::standing::Standing;

fn granted_until(valid_until: Moment) -> Standing<()> {
    let mut standing = Standing::default();
    standing.grant(valid_until, valid_until);
    standing
}

/// Plays one hold against chance, and holds it to what must be true at every step. It follows the machine from the
/// outside: what it knows are inputs and outputs.
pub(super) struct Walk {
    random: Jitter,
    settings: Settings,
    driver: Driver,
    pub(super) once: bool,
    wait: Option<Wait>,
    now: Moment,
    story: Vec<(Moment, Input, Step)>,
    /// From which state it went to which.
    pub(super) ways: BTreeSet<(String, String)>,

    left: Option<usize>,
    /// The request under way, or just answered.
    asked: Option<(Operation, Moment, Outcome)>,
    /// An acquire may have been carried out without a word of it to the caller.
    unsure: bool,
    /// Nothing definite was heard since.
    unheard: bool,
    standing: Option<Standing<()>>,
    lost: Option<Lost>,
    obtained: bool,
    not_obtained: bool,
    released: Option<Released>,
    releases: u32,
    sends_in_a_row: u32,
}

impl Walk {
    pub(super) fn new(seed: u64) -> Walk {
        let mut random = Jitter::new(seed);
        let policy = Policy {
            attempt_limit: pick(&mut random, &[10 * MS, 100 * MS, 5 * S, 5 * S, 60 * S]),
            retries: pick(&mut random, &[0, 1, 3]),
            first_pause: pick(&mut random, &[MS, 200 * MS]),
            longest_pause: pick(&mut random, &[200 * MS, 5 * S]),
            patience: pick(&mut random, &[Duration::ZERO, 30 * S, 30 * S, Duration::MAX]),
        };
        let term = pick(
            &mut random,
            &[Term::Seconds(15), Term::Seconds(30), Term::Seconds(60), Term::Seconds(60), Term::Infinite],
        );
        let settings = Settings {
            term,
            renew_every: pick(&mut random, &[S, 5 * S, 7 * S]),
            first_pause: pick(&mut random, &[MS, 100 * MS]),
            longest_pause: pick(&mut random, &[100 * MS, S, 60 * S]),
            create_container: pick(&mut random, &[true, true, false]),
            leaves: Leaves::default(),
            policy,
        };
        let waits =
            [Wait::Never, Wait::Until(at(MS)), Wait::Until(at(700 * MS)), Wait::Until(at(90 * S)), Wait::Forever];
        let wait = pick(&mut random, &waits);
        let (hold, once, wait, standing) = match pick(&mut random, &[0, 0, 0, 0, 1, 2]) {
            0 => (Hold::keep(settings.clone(), ours(), wait), false, Some(wait), None),
            1 => (Hold::acquire(settings.clone(), ours()), true, Some(Wait::Never), None),
            _ => {
                let valid_until = term.valid_until(start());
                let hold = Hold::of_lease(settings.clone(), ours(), valid_until, term.ends(start()));
                (hold, true, None, Some(granted_until(valid_until)))
            }
        };
        let now = at(pick(&mut random, &[Duration::ZERO, Duration::ZERO, 12 * S]));
        Walk {
            obtained: standing.is_some(),
            random,
            settings,
            driver: Driver::new(hold),
            once,
            wait,
            now,
            story: Vec::new(),
            ways: BTreeSet::new(),
            left: None,
            asked: None,
            unsure: false,
            unheard: false,
            standing,
            lost: None,
            not_obtained: false,
            released: None,
            releases: 0,
            sends_in_a_row: 0,
        }
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.next().is_multiple_of(of)
    }

    fn some(&mut self, most: Duration) -> Duration {
        most.min(1_000 * S).mul_f64(f64::from(self.random.next()) / f64::from(u32::MAX))
    }

    /// To the end; says how many steps it took.
    pub(super) fn run(&mut self) -> usize {
        let patience = pick(&mut self.random, &[4, 20, 100]);
        let mut input = Input::Go;
        loop {
            if self.left.is_none() && self.chance(patience) {
                self.driver.leave();
                self.left = Some(self.story.len());
            }
            let jitter = self.random.next();
            match input {
                Input::Go => {}
                Input::Answer { sent, outcome, .. } => self.driver.answered(sent, outcome),
                Input::Lapsed(lost) => self.driver.lapses(self.now, lost),
            }
            let before = self.driver.hold().state_name();
            let step = self.driver.step(self.now, jitter);
            let after = self.driver.hold().state_name();
            if before != after {
                self.ways.insert((before, after));
            }
            self.story.push((self.now, input, step));
            if let Some(left) = self.left {
                assert!(self.story.len() - left <= 60, "it does not come to an end");
            } else if self.wait == Some(Wait::Never) && !self.obtained {
                assert!(self.story.len() <= 300, "it should not have waited");
            }
            input = match step {
                Step::Send { operation, limit } => self.send(operation, limit),
                Step::Sleep { until } => self.sleep(until),
                Step::Tell(told) => self.tell(told),
                Step::End => break,
            };
        }
        self.end();
        self.story.len()
    }

    fn send(&mut self, operation: Operation, limit: Duration) -> Input {
        assert!(limit >= 5 * MS && limit <= self.settings.policy.attempt_limit, "{limit:?}");
        self.sends_in_a_row += 1;
        assert!(self.sends_in_a_row <= 20, "so many requests without a pause");
        match operation {
            Operation::Release { id } => {
                assert!(id == ours() && (self.left.is_some() || self.not_obtained));
                self.releases += 1;
            }
            Operation::Renew { id } => {
                assert!(id == ours() && self.left.is_none() && self.obtained && self.lost.is_none());
                let valid_until = self.standing.as_mut().unwrap().check(self.now).expect("it is not ours any more");
                assert!(valid_until == Moment::NEVER || self.now.after(limit * 2) <= valid_until);
            }
            _ => {
                assert!(self.left.is_none() && !self.obtained && !self.not_obtained);
                let wait = self.wait.unwrap();
                assert!(operation != Operation::Look || !self.unheard && wait != Wait::Never);
                assert!(operation != Operation::CreateContainer || self.settings.create_container);
                if let Wait::Until(deadline) = wait {
                    assert!(self.now < deadline && self.now.after(limit) <= deadline);
                }
            }
        }
        let outcome = self.outcome(operation);
        let sent = self.now.after(self.some(MS));
        let takes = match self.random.next() % 16 {
            0..6 => Duration::ZERO,
            6..10 => self.some(100 * MS),
            10..13 => self.some(limit),
            13..15 => limit,
            // The machine was suspended.
            _ => self.some(100 * S),
        };
        self.now = sent.after(takes);
        let may_have_worked = match outcome {
            Outcome::Failed { applied: Applied::Perhaps, .. } => matches!(operation, Operation::Acquire { .. }),
            // Even where no lease was asked for.
            Outcome::Leased(_) => true,
            _ => false,
        };
        self.unsure |= may_have_worked;
        self.unheard |= may_have_worked;
        if matches!((operation, outcome), (Operation::Acquire { .. }, Outcome::Busy)) {
            self.unheard = false;
        }
        self.asked = Some((operation, sent, outcome));
        Input::Answer { sent, outcome, blob: None }
    }

    fn outcome(&mut self, operation: Operation) -> Outcome {
        let failed = Outcome::Failed {
            applied: pick(&mut self.random, &[Applied::No, Applied::Perhaps]),
            retry_after: pick(&mut self.random, &[None, None, None, Some(S), Some(60 * S), Some(Duration::MAX)]),
        };
        let status = pick(&mut self.random, &[LockState::Leased, LockState::Leased, LockState::Expired]);
        if self.chance(12) {
            let any = [
                Outcome::Leased(ours()),
                Outcome::Leased(theirs()),
                Outcome::Done,
                Outcome::Breaking(S),
                Outcome::Seen(status),
                Outcome::Busy,
                Outcome::Exists,
                Outcome::NoBlob,
                Outcome::NoContainer,
                Outcome::ContainerBeingDeleted,
                Outcome::NotOurs,
                Outcome::Broken,
                Outcome::NoLease,
                Outcome::Denied,
                Outcome::Refused,
                Outcome::Void,
                Outcome::Filtered,
            ];
            return pick(&mut self.random, &any);
        }
        let likely: &[Outcome] = match operation {
            Operation::Acquire { .. } => {
                &[Outcome::Leased(ours()), Outcome::Busy, Outcome::Busy, failed, Outcome::NoBlob, Outcome::NoContainer]
            }
            Operation::Renew { .. } => &[Outcome::Leased(ours()), Outcome::Leased(ours()), failed, Outcome::Denied],
            Operation::Release { .. } => &[Outcome::Done, failed, failed, Outcome::NotOurs],
            Operation::Look => {
                &[Outcome::Seen(status), Outcome::Seen(status), failed, Outcome::Filtered, Outcome::NoBlob]
            }
            _ => &[Outcome::Done, Outcome::Done, Outcome::Exists, failed, Outcome::NoContainer],
        };
        pick(&mut self.random, likely)
    }

    fn sleep(&mut self, until: Moment) -> Input {
        assert!(until > self.now, "a sleep until now spins");
        self.sends_in_a_row = 0;
        // Some sleeps are cut short, some go on for too long.
        self.now = match self.random.next() % 8 {
            0 => until.min(self.now.after(2 * S)),
            1 => until.min(self.now.after(100 * S)).after(self.some(40 * S)),
            _ => until.min(self.now.after(100 * S)),
        };
        Input::Go
    }

    fn tell(&mut self, told: Told) -> Input {
        self.sends_in_a_row = 0;
        let asked = self.asked.take();
        match told {
            Told::Waiting | Told::Retrying => assert!(!self.obtained && !self.not_obtained && self.left.is_none()),
            Told::Granted { valid_until, ends, .. } => {
                let Some((Operation::Acquire { .. }, sent, Outcome::Leased(id))) = asked else {
                    panic!("nothing was granted")
                };
                assert!(id == ours() && self.left.is_none() && !self.obtained && !self.not_obtained);
                assert!(valid_until == self.settings.term.valid_until(sent) && ends == self.settings.term.ends(sent));
                assert!(valid_until > self.now);
                self.obtained = true;
                self.unsure = false;
                self.standing = Some(granted_until(valid_until));
            }
            Told::Renewed { valid_until, .. } => {
                let Some((Operation::Renew { .. }, sent, Outcome::Leased(id))) = asked else {
                    panic!("nothing was renewed")
                };
                assert!(id == ours() && self.lost.is_none());
                assert_eq!(valid_until, self.settings.term.valid_until(sent));
                let standing = self.standing.as_mut().unwrap();
                standing.check(self.now).expect("it was lost already");
                // The holder's own clock may be past the old deadline by now.
                let late = pick(&mut self.random, &[Duration::ZERO, Duration::ZERO, Duration::ZERO, 60 * S]);
                self.now = self.now.after(late);
                if let Err(lost) = standing.extend(self.now, valid_until, valid_until) {
                    self.lost = Some(lost);
                    return Input::Lapsed(lost);
                }
            }
            Told::RenewalFailed { left } => {
                let valid_until = self.standing.as_mut().unwrap().check(self.now).expect("it was lost already");
                assert!(left > Duration::ZERO && left == valid_until.left(self.now));
            }
            Told::Lost(lost) => {
                assert!(self.obtained && self.lost.is_none());
                let expired = self.standing.as_mut().unwrap().check(self.now).is_err();
                assert_eq!(lost == Lost::Expired, expired);
                self.lost = Some(lost);
            }
            Told::NotObtained(why) => {
                assert!(!self.obtained && !self.not_obtained);
                self.not_obtained = true;
                match why {
                    Why::Busy => assert_eq!(self.wait, Some(Wait::Never)),
                    Why::TimedOut => assert!(matches!(self.wait, Some(Wait::Until(end)) if self.now >= end)),
                    Why::GivenUp => assert!(self.left.is_some()),
                    Why::Failed => assert!(asked.is_some(), "it failed of itself"),
                    Why::NoToken(_) => panic!("no token was asked for"),
                }
            }
            Told::NotLeft(_) | Told::Written(_) => panic!("nothing was to be written"),
            Told::Released(how) => {
                assert!(self.obtained && self.left.is_some() && self.released.is_none());
                assert!(self.lost.is_none_or(|lost| how == Released::Lost(lost)));
                self.released = Some(how);
            }
        }
        self.now = self.now.after(self.some(MS));
        Input::Go
    }

    fn end(&mut self) {
        assert_eq!(self.driver.step(self.now, 0), Step::End);
        assert!(self.left.is_some() || self.not_obtained || self.once);
        if self.obtained {
            let kept = self.once && (self.left.is_none() || self.released.is_none());
            assert!(kept || self.released.is_some(), "nobody heard how it ended");
            assert!(kept || self.releases >= 1);
            if self.lost.is_some() && self.released.is_some() {
                assert_eq!(self.releases, 1);
            }
        } else {
            assert!(self.not_obtained);
            assert_eq!(self.unsure, self.releases > 0, "an orphan, or a release for nothing");
        }
        assert!(self.releases <= self.settings.policy.retries + 1);
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} {:?}", self.wait, self.settings);
            for (now, input, step) in &self.story {
                eprintln!("{:>12.3?} {input:?} -> {step:?}", now.since(start()));
            }
        }
    }
}

fn pick<T: Copy>(random: &mut Jitter, from: &[T]) -> T {
    from[random.next() as usize % from.len()]
}

#[test]
fn whatever_happens_it_keeps_its_promises_and_comes_to_an_end() {
    let (mut steps, mut seed) = (0, 0);
    while steps < 200_000 {
        println!("seed {seed}");
        steps += Walk::new(seed).run();
        seed += 1;
    }
}
