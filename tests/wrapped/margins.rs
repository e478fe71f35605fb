//! Each case for itself.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::{Emulator, Fault, Operation};
use azmutex::lease::Break;
use rustix::process::{Pid, Signal, kill_process};

use crate::family::{Family, locker, mutex};

const SECOND: Duration = Duration::from_secs(1);
/// How many families there are at a time, in all cases together.
const AT_A_TIME: usize = 16;
/// Later than any lease ends.
const PATIENCE: Duration = Duration::from_secs(40);
/// The guards' deadline, of a lease of 15 s: two seconds and a fiftieth before its end.
const DEADLINE: Duration = Duration::from_millis(12_700);

static ROOM: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

fn runs() -> usize {
    env::var("AZMUTEX_WRAPPED_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(3)
}

/// What goes wrong, from when the command runs: it may make the service's clock go faster.
type Trouble = fn(&Emulator, &Family);

fn margin(trouble: Trouble, processor: Option<&str>) -> Duration {
    let emulator = Emulator::start().unwrap();
    let family = Family::spreading(&emulator, processor);
    trouble(&emulator, &family);
    let other = locker(&emulator);
    let start = Instant::now();
    loop {
        match other.try_lock() {
            Ok(guard) => {
                let taken = Instant::now();
                assert!(family.has_ended(), "somebody else has the lock, and the family is alive");
                emulator.clear_faults();
                drop(guard);
                // A busy machine may have told the thread later.
                return taken.saturating_duration_since(family.end());
            }
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error:?}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// All of it is gone before anybody else has the lock, each time.
fn case(name: &str, trouble: Trouble, processor: Option<&str>) {
    let runs = runs();
    let margins: Vec<_> = thread::scope(|scope| {
        let run = || {
            let mut room = ROOM.1.wait_while(ROOM.0.lock().unwrap(), |busy| *busy >= AT_A_TIME).unwrap();
            *room += 1;
            drop(room);
            let margin = std::panic::catch_unwind(|| margin(trouble, processor));
            *ROOM.0.lock().unwrap() -= 1;
            ROOM.1.notify_one();
            margin
        };
        let threads: Vec<_> = (0..runs).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let margins: Vec<_> = margins.into_iter().map(|margin| margin.expect("the family is gone in time")).collect();
    let smallest = margins.iter().min().unwrap();
    println!("{name}: {runs} runs, and the smallest margin was {:.3} s", smallest.as_secs_f64());
}

/// No renewal reaches the service, and no release either.
fn cut(emulator: &Emulator) {
    for operation in [Operation::RenewLease, Operation::ReleaseLease] {
        emulator.fail_next_of(operation, usize::MAX / 2, Fault::ResetBefore);
    }
}

#[test]
fn the_network_is_cut() {
    case("the network is cut", |emulator, _| cut(emulator), None);
}

#[test]
fn the_network_is_a_black_hole() {
    let trouble: Trouble = |emulator, _| {
        for operation in [Operation::RenewLease, Operation::ReleaseLease] {
            emulator.fail_next_of(operation, usize::MAX / 2, Fault::DelayRequest(120 * SECOND));
        }
    };
    case("the network is a black hole", trouble, None);
}

#[test]
fn the_service_ends_leases_early() {
    let trouble: Trouble = |emulator, _| {
        cut(emulator);
        emulator.advance(2 * SECOND);
    };
    case("the network is cut, and the service ends leases 2 s early", trouble, None);
}

#[test]
fn the_warden_is_stopped() {
    let trouble: Trouble = |_, family| kill_process(family.warden(), Signal::STOP).unwrap();
    case("the warden is stopped", trouble, None);
}

#[test]
fn the_warden_is_stopped_at_the_deadline() {
    let trouble: Trouble = |emulator, family| {
        cut(emulator);
        emulator.advance(2 * SECOND);
        thread::sleep(DEADLINE - Duration::from_millis(400));
        // It may be through with it already.
        let _ = kill_process(family.warden(), Signal::STOP);
    };
    case("the warden is stopped right before the deadline, and the lease ends early", trouble, None);
}

#[test]
fn the_front_is_stopped_at_the_deadline() {
    let trouble: Trouble = |emulator, family| {
        cut(emulator);
        emulator.advance(2 * SECOND);
        thread::sleep(DEADLINE - Duration::from_millis(400));
        let _ = kill_process(family.front(), Signal::STOP);
    };
    case("the front is stopped right before the deadline, and the lease ends early", trouble, None);
}

#[test]
fn the_front_is_killed() {
    let trouble: Trouble = |_, family| {
        thread::sleep(SECOND / 4);
        kill_process(family.front(), Signal::KILL).unwrap();
    };
    case("the front is killed", trouble, None);
}

#[test]
fn the_warden_is_killed() {
    let trouble: Trouble = |_, family| {
        thread::sleep(SECOND / 4);
        kill_process(family.warden(), Signal::KILL).unwrap();
    };
    case("the warden is killed", trouble, None);
}

#[test]
fn the_lease_is_broken() {
    let trouble: Trouble = |emulator, _| {
        mutex(emulator).break_lease(Break::AtExpiry).unwrap();
    };
    case("the lease is broken without force", trouble, None);
}

#[test]
fn the_processor_is_another_ones() {
    let hog = || {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0", "sh", "-c", "while :; do :; done"]);
        Hog(command.stdin(Stdio::null()).spawn().unwrap())
    };
    let _hogs: Vec<_> = (0..6).map(|_| hog()).collect();
    let trouble: Trouble = |emulator, _| {
        cut(emulator);
        emulator.advance(2 * SECOND);
    };
    case("starved by 6 others on its processor, the network cut, and the lease ends early", trouble, Some("0"));
}

struct Hog(Child);

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}
