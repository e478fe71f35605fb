//! How late the threads of this machine are: what a test of a promised time must allow for, lest it blame the code for
//! its neighbours. On a quiet machine that is next to nothing.

#![allow(clippy::disallowed_methods, reason = "it measures beside the clock that is tested")]

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);
/// Some minutes of them.
const MOST_TICKS: usize = 50_000;

/// What is measured from one moment on.
#[derive(Debug)]
pub(crate) struct Lateness {
    from: Instant,
}

struct Tick {
    due: Instant,
    late: Duration,
}

impl Lateness {
    pub(crate) fn from_now() -> Lateness {
        ticks();
        Lateness { from: Instant::now() }
    }

    /// By so much may that be late for which two threads have to wake up, one after the other.
    pub(crate) fn of_two(&self) -> Duration {
        let ticks = ticks().lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = ticks.back().map_or(Duration::ZERO, |last| (last.due + last.late + TICK).elapsed());
        let since = ticks.iter().rev().take_while(|tick| tick.due + tick.late >= self.from);
        2 * since.map(|tick| tick.late).fold(overdue, Duration::max)
    }
}

/// A thread that does nothing but to wake up.
fn ticks() -> &'static Mutex<VecDeque<Tick>> {
    static TICKS: OnceLock<Mutex<VecDeque<Tick>>> = OnceLock::new();
    TICKS.get_or_init(|| {
        thread::spawn(|| {
            loop {
                let due = Instant::now() + TICK;
                thread::sleep(TICK);
                let late = due.elapsed();
                let mut ticks = ticks().lock().unwrap_or_else(PoisonError::into_inner);
                ticks.push_back(Tick { due, late });
                if ticks.len() > MOST_TICKS {
                    ticks.pop_front();
                }
            }
        });
        Mutex::default()
    })
}
