//! All of it at random: commands of several contenders for one lock, while their guards are killed, stopped and cut off.
//!
//! Each command and whatever it starts has a file open that is locked, by the machine's own means, by whoever opened it
//! first: if a command finds it locked, something of an earlier one still runs. Only one thing may lead to that, a front
//! and its warden that are killed, or stopped, at the same time; so at most one of the two has trouble at a time.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use azmutex::emulator::{Emulator, Fault, Operation};
use azmutex::lease::Break;
use rustix::process::{Pid, Signal, kill_process};

use crate::family::{LEASE, NAME, mutex};

const CONTENDERS: usize = 6;
const SECOND: Duration = Duration::from_secs(1);

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What it writes: when it had the lock, and what it found.
struct Scene {
    emulator: Emulator,
    oracle: PathBuf,
    journal: PathBuf,
}

impl Scene {
    fn contend(&self, dice: &mut Dice) -> Contender {
        let (oracle, journal) = (self.oracle.display(), self.journal.display());
        let millis = 100 + dice.below(1500);
        // All of it ends by itself at about the same time, so that what is let go is gone, too.
        let script = format!(
            "exec 9>> {oracle}; flock -n 9 || {{ echo OVERLAP >> {journal}; exit 99; }}
             trap 'echo asked >> {journal}' TERM
             s={}.{:03}
             sleep $s & setsid sleep $s & (setsid sh -c \"sleep $s &\" &) ; timeout 1000 sleep $s
             wait; sleep 0.3; echo held >> {journal}; exit {}",
            millis / 1000,
            millis % 1000,
            dice.below(3)
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_azmutex"));
        command.args(["run", "--quiet", "--lease", LEASE, "--wait", "60", NAME, "sh", "-c", &script]);
        command.env("AZURE_STORAGE_CONNECTION_STRING", self.emulator.connection_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Contender { front: command.spawn().unwrap(), stopped: None }
    }
}

struct Contender {
    front: Child,
    /// Who is stopped, and until when.
    stopped: Option<(Pid, Instant)>,
}

impl Contender {
    fn front(&self) -> Pid {
        Pid::from_child(&self.front)
    }

    fn warden(&self) -> Option<Pid> {
        let pid = self.front().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let warden = Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)?;
        let name = fs::read_to_string(format!("/proc/{}/comm", warden.as_raw_nonzero())).ok()?;
        name.starts_with("azmutex-warden").then_some(warden)
    }

    fn trouble(&mut self, dice: &mut Dice) -> &'static str {
        let Some(warden) = self.warden() else { return "none" };
        let (who, name) = if dice.below(2) == 0 { (self.front(), "front") } else { (warden, "warden") };
        let (signal, what) = match (dice.below(6), name) {
            (0, "front") => (Signal::KILL, "front killed"),
            (0, _) => (Signal::KILL, "warden killed"),
            (1..=3, _) => {
                self.stopped = Some((who, Instant::now() + Duration::from_millis(dice.below(18_000))));
                (Signal::STOP, if name == "front" { "front stopped" } else { "warden stopped" })
            }
            _ => {
                let _ = kill_process(self.front(), Signal::TERM);
                return "asked to end";
            }
        };
        let _ = kill_process(who, signal);
        what
    }

    fn go_on(&mut self, now: Instant) {
        if let Some((who, until)) = self.stopped
            && now >= until
        {
            let _ = kill_process(who, Signal::CONT);
            self.stopped = None;
        }
    }
}

/// Requests of all of them, so that a holder is cut off for longer than its lease now and then.
fn weather(emulator: &Emulator, dice: &mut Dice) -> &'static str {
    let operation = [Operation::RenewLease, Operation::AcquireLease, Operation::ReleaseLease][dice.below(3) as usize];
    let (fault, name) = match dice.below(6) {
        0 => (Fault::ResetBefore, "reset before"),
        1 => (Fault::ResetAfter, "reset after"),
        2 => (Fault::Withhold, "withheld"),
        3 => (Fault::DelayRequest(Duration::from_millis(dice.below(8000))), "delayed"),
        4 => (Fault::status(503, "ServerBusy"), "busy"),
        _ => {
            let _ = mutex(emulator).break_lease(Break::AtExpiry);
            return "broken";
        }
    };
    emulator.fail_next_of(operation, 1 + dice.below(30) as usize, fault);
    name
}

#[test]
fn nothing_of_a_command_runs_beside_the_next_one() {
    let seconds = number("AZMUTEX_WRAPPED_SECONDS").unwrap_or(30);
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("AZMUTEX_WRAPPED_SEED").unwrap_or_else(clock) | 1;
    println!("AZMUTEX_WRAPPED_SEED={seed}, for {seconds} s");
    let mut dice = Dice(seed);
    let file = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wrapped-{seed}-{name}"));
    let scene = Scene { emulator: Emulator::start().unwrap(), oracle: file("oracle"), journal: file("journal") };
    fs::write(&scene.journal, "").unwrap();
    let mut contenders: Vec<_> = (0..CONTENDERS).map(|_| scene.contend(&mut dice)).collect();
    let mut happened = std::collections::BTreeMap::<_, u32>::new();
    let (end, mut next) = (Instant::now() + Duration::from_secs(seconds), Instant::now());
    while Instant::now() < end {
        let now = Instant::now();
        for contender in &mut contenders {
            contender.go_on(now);
            if contender.front.try_wait().unwrap().is_some() {
                *contender = scene.contend(&mut dice);
            }
        }
        if now >= next {
            next = now + Duration::from_millis(100 + dice.below(1500));
            let what = if dice.below(4) == 0 {
                weather(&scene.emulator, &mut dice)
            } else {
                let contender = &mut contenders[dice.below(CONTENDERS as u64) as usize];
                if contender.stopped.is_some() { "none" } else { contender.trouble(&mut dice) }
            };
            *happened.entry(what).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.emulator.clear_faults();
    for contender in &mut contenders {
        contender.go_on(Instant::now() + 60 * SECOND);
        let _ = kill_process(contender.front(), Signal::TERM);
    }
    let limit = Instant::now() + 60 * SECOND;
    for contender in &mut contenders {
        while contender.front.try_wait().unwrap().is_none() {
            assert!(Instant::now() < limit, "{} never ends", contender.front.id());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let journal = fs::read_to_string(&scene.journal).unwrap();
    let count = |what: &str| journal.lines().filter(|line| *line == what).count();
    println!("{happened:?}; {} holds to the end, {} asked to end", count("held"), count("asked"));
    assert_eq!(count("OVERLAP"), 0, "AZMUTEX_WRAPPED_SEED={seed}");
    assert!(count("held") > 0);
    fs::remove_file(&scene.journal).unwrap();
    fs::remove_file(&scene.oracle).unwrap();
}
