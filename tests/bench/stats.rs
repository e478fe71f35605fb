//! What many measurements come to.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::report::Cells;

/// Of this process and all its threads, also those that have ended.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds of a clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// How long it took, and how much of that this process computed.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
}

pub(crate) fn spent(work: impl FnOnce()) -> Spent {
    let (begun, before) = (Instant::now(), processor_time());
    work();
    Spent { wall: begun.elapsed(), processor: processor_time() - before }
}

/// What the candidates spent in rounds in which they took turns. The bare socket is the first of them, and ureq the second.
pub(crate) struct Rounds(Vec<Vec<Spent>>);

impl Rounds {
    pub(crate) fn of(rounds: usize, candidates: usize, mut turn: impl FnMut(usize) -> Spent) -> Rounds {
        let [measured] = Rounds::of_parts(rounds, candidates, |candidate| [turn(candidate)]);
        measured
    }

    /// Where each turn has parts.
    pub(crate) fn of_parts<const PARTS: usize>(
        rounds: usize,
        candidates: usize,
        mut turn: impl FnMut(usize) -> [Spent; PARTS],
    ) -> [Rounds; PARTS] {
        let mut measured = [(); PARTS].map(|()| Rounds((0..candidates).map(|_| Vec::new()).collect()));
        for round in 0..rounds {
            for i in 0..candidates {
                let i = (i + round) % candidates;
                for (part, spent) in measured.iter_mut().zip(turn(i)) {
                    part.0[i].push(spent);
                }
            }
        }
        measured
    }

    /// The median of what one of so many in a round took.
    pub(crate) fn each(&self, candidate: usize, of: u32, part: Part) -> f64 {
        median(self.0[candidate].iter().map(|spent| micros(part(spent)) / f64::from(of)).collect())
    }

    pub(crate) fn ratio(&self, candidate: usize, other: usize, part: Part) -> f64 {
        let rounds = self.0[candidate].iter().zip(&self.0[other]);
        median(rounds.map(|(this, other)| part(this).div_duration_f64(part(other))).collect())
    }

    pub(crate) fn cells(&self, candidate: usize, of: u32) -> Cells {
        let ratios = |part| format!("{:.2} / {:.2}", self.ratio(candidate, 0, part), self.ratio(candidate, 1, part));
        vec![
            ("time", format!("{:.1} us", self.each(candidate, of, WALL))),
            ("time, x socket / ureq", ratios(WALL)),
            ("processor time", format!("{:.1} us", self.each(candidate, of, PROCESSOR))),
            ("processor time, x socket / ureq", ratios(PROCESSOR)),
        ]
    }
}

type Part = fn(&Spent) -> Duration;
pub(crate) const WALL: Part = |spent| spent.wall;
pub(crate) const PROCESSOR: Part = |spent| spent.processor;

/// In microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
