//! The clocks of the unit tests, which can be set: as a suspend sets the one that deadlines are counted on, and as people
//! and time servers set the other.
//!
//! There is one of each in a process, and one watchdog that looks at them. So whoever sets them is alone: the test runs
//! again in a process of its own.

use std::any;
use std::env;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::clock::{self, Moment};

/// A process that hangs is no test's answer.
const LONGEST_TEST: Duration = Duration::from_secs(120);

/// In nanoseconds.
static SLEPT: AtomicU64 = AtomicU64::new(0);
static WALL: Mutex<Wall> = Mutex::new(Wall::Right);

#[derive(Copy, Clone)]
enum Wall {
    Right,
    Ahead(Duration),
    Behind(Duration),
}

/// What the clock that deadlines are counted on shows, rather than `now`.
#[cfg_attr(shuttle, allow(unused_variables, reason = "the model has its own"))]
pub(crate) fn shown(now: Moment) -> Moment {
    #[cfg(shuttle)]
    let now = crate::testing::model::now();
    now.after(Duration::from_nanos(SLEPT.load(Ordering::SeqCst)))
}

/// What the wall clock shows, rather than `now`: whatever time the system can name.
pub(crate) fn moved(now: SystemTime) -> SystemTime {
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    let wall = *WALL.lock().unwrap_or_else(PoisonError::into_inner);
    match wall {
        Wall::Right => now,
        Wall::Ahead(by) => now + by.min(YEAR_10000),
        Wall::Behind(by) => now.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

#[derive(Copy, Clone)]
pub(crate) struct SettableClock(());

impl SettableClock {
    /// Runs `test`, which calls this, in a process of its own. `None` here, once it has passed there.
    pub(crate) fn alone<T: Fn()>(_test: T) -> Option<SettableClock> {
        const ALONE: &str = "AZMUTEX_TEST_CLOCK";
        if cfg!(shuttle) {
            // The model plays one test at a time.
            return Some(SettableClock(()));
        }
        let path = any::type_name::<T>();
        let name = path.split_once("::").expect("a path in this crate").1;
        if env::var(ALONE).is_ok_and(|given| given == name) {
            thread::spawn(|| {
                clock::sleep(LONGEST_TEST);
                eprintln!("not over after {LONGEST_TEST:?}");
                process::abort();
            });
            return Some(SettableClock(()));
        }
        let program = env::current_exe().expect("this program has a path");
        let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(ALONE, name).output();
        let output = output.expect("this program can be started");
        let [said, complained] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
        print!("{said}");
        None
    }

    /// As a machine that is suspended for that long: deadlines come nearer, and nobody wakes up for it.
    pub(crate) fn suspend(&self, time: Duration) {
        let nanos = time.as_nanos().try_into().expect("less than centuries");
        SLEPT.fetch_add(nanos, Ordering::SeqCst);
    }

    pub(crate) fn set_wall_ahead(&self, by: Duration) {
        set_wall(Wall::Ahead(by));
    }

    pub(crate) fn set_wall_behind(&self, by: Duration) {
        set_wall(Wall::Behind(by));
    }

    #[cfg_attr(shuttle, allow(dead_code, reason = "the model has no wall"))]
    pub(crate) fn set_wall_right(&self) {
        set_wall(Wall::Right);
    }
}

fn set_wall(wall: Wall) {
    *WALL.lock().unwrap_or_else(PoisonError::into_inner) = wall;
}
