//! Several processes of the operating system: this test program, run again with one test's name.
#![cfg(unix)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::event::Event;
use azmutex::{Container, Locker};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::azurite::azurite;
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);
const ROLE: &str = "AZMUTEX_TEST_ROLE";
const STORE: &str = "AZMUTEX_TEST_STORE";
const CONTAINER: &str = "AZMUTEX_TEST_CONTAINER";
const FILES: &str = "AZMUTEX_TEST_FILES";
/// What the parent listens for, among the harness's own lines.
const MARK: &str = "child: ";
const PROCESSES: usize = 8;
const INCREMENTS: usize = 50;

/// Not a test of its own: what the other processes do.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let container = Container::from_connection_string(&env::var(STORE).unwrap(), &env::var(CONTAINER).unwrap());
    let container = container.unwrap();
    match &*role {
        "hold" => hold(&container),
        "count" => count(&container),
        other => panic!("{other}"),
    }
}

fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// Takes the lock, and answers questions about it until stdin ends.
fn hold(container: &Container) {
    let locker = quick(container, "job").renew_every(5 * SECOND).build().unwrap();
    let guard = locker.lock().unwrap();
    say("held");
    for line in std::io::stdin().lines() {
        match &*line.unwrap() {
            "check" => say(if guard.is_held() { "ours" } else { "lost" }),
            "unlock" => break,
            other => panic!("{other}"),
        }
    }
    say(if guard.unlock().is_ok() { "unlocked" } else { "not unlocked" });
}

/// Adds to a number in a file that nothing else protects.
fn count(container: &Container) {
    let files = PathBuf::from(env::var(FILES).unwrap());
    let mut waits = 0;
    for _ in 0..INCREMENTS {
        let (sender, events) = azmutex::crossbeam_channel::unbounded();
        let locker = quick(container, "counter")
            .pauses(Duration::from_millis(4), Duration::from_millis(20))
            .on_event(move |event| sender.send(event).unwrap())
            .build()
            .unwrap();
        let guard = locker.lock().unwrap();
        let number: usize = fs::read_to_string(files.join("number")).unwrap().parse().unwrap();
        let history = fs::read_to_string(files.join("history")).unwrap();
        // Long enough for another to come in between, if it could.
        thread::sleep(Duration::from_millis(1));
        fs::write(files.join("number"), (number + 1).to_string()).unwrap();
        fs::write(files.join("history"), format!("{history}{} ", std::process::id())).unwrap();
        guard.unlock().unwrap();
        drop(locker);
        // Room for the others, who have just looked in vain.
        thread::sleep(Duration::from_millis(20));
        waits += events.iter().filter(|event| matches!(event, Event::Waiting { .. })).count();
    }
    say(&format!("waited {waits} times"));
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, store: &str, container: &str, files: &str) -> Process {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--nocapture"])
            .env(ROLE, role)
            .env(STORE, store)
            .env(CONTAINER, container)
            .env(FILES, files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    /// The next thing it says, and when.
    fn says(&mut self) -> (String, Instant) {
        for line in &mut self.lines {
            if let Some(line) = line.unwrap().strip_prefix(MARK) {
                return (line.to_owned(), Instant::now());
            }
        }
        panic!("it ended without a word: {:?}", self.child.wait());
    }

    fn ask(&mut self, question: &str) -> String {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{question}").unwrap();
        self.says().0
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Stopped processes, too, die of this one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that holds the lock, and a locker of our own for it.
fn holder(prefix: &str) -> Option<(Process, Locker, Instant)> {
    let (store, container) = (azurite()?.connection_string(), unique(prefix));
    let before = Instant::now();
    let mut process = Process::start("hold", &store, &container, "");
    assert_eq!(process.says().0, "held");
    let container = Container::from_connection_string(&store, &container).unwrap();
    Some((process, quick(&container, "job").build().unwrap(), before))
}

#[test]
fn another_process_gets_it_after_the_first_lets_go() {
    let Some((mut process, locker, _)) = holder("letgo") else { return };
    let waiter = thread::spawn(move || {
        let guard = locker.lock().unwrap();
        (Instant::now(), guard)
    });
    thread::sleep(SECOND);
    assert!(!waiter.is_finished());
    let before = Instant::now();
    assert_eq!(process.ask("unlock"), "unlocked");
    let (got, guard) = waiter.join().unwrap();
    assert!(got >= before && got < before + 2 * SECOND, "{:?}", got - before);
    guard.unlock().unwrap();
}

// Scenario 3.
#[test]
fn another_process_gets_it_after_the_first_is_killed_and_its_lease_is_over() {
    let Some((process, locker, before)) = holder("killed") else { return };
    process.signal(Signal::KILL);
    let killed = Instant::now();
    let guard = locker.lock().unwrap();
    let got = Instant::now();
    println!("free {:?} after the kill", got - killed);
    // The lease began after `before` and was not renewed after `killed`.
    assert!(got >= before + LEASE, "{:?} too early", before + LEASE - got);
    assert!(got <= killed + LEASE + 3 * SECOND, "{:?}", got - killed);
    guard.unlock().unwrap();
}

// Scenario 4.
#[test]
fn a_process_stopped_for_longer_than_its_lease_sees_the_loss_at_its_first_check() {
    let Some((mut process, locker, _)) = holder("stopped") else { return };
    assert_eq!(process.ask("check"), "ours");
    process.signal(Signal::STOP);
    let second = locker.lock().unwrap();
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "lost");
    assert_eq!(process.ask("unlock"), "not unlocked");
    second.ensure_held().unwrap();
    second.unlock().expect("the loser's release is not ours");
}

// Scenario 5.
#[test]
fn a_process_stopped_for_half_its_lease_still_has_it() {
    let Some((mut process, locker, _)) = holder("paused") else { return };
    process.signal(Signal::STOP);
    thread::sleep(LEASE / 2);
    process.signal(Signal::CONT);
    assert_eq!(process.ask("check"), "ours");
    assert!(locker.try_lock().is_err());
    thread::sleep(SECOND);
    assert_eq!(process.ask("check"), "ours");
    assert_eq!(process.ask("unlock"), "unlocked");
}

// Scenario 1, its first half.
#[test]
fn eight_processes_count_exactly() {
    let Some(azurite) = azurite() else { return };
    let container = unique("counter");
    let files = env::temp_dir().join(&container);
    fs::create_dir(&files).unwrap();
    fs::write(files.join("number"), "0").unwrap();
    fs::write(files.join("history"), "").unwrap();
    let start = || Process::start("count", &azurite.connection_string(), &container, files.to_str().unwrap());
    let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start()).collect();
    let said: Vec<String> = processes.iter_mut().map(|process| process.says().0).collect();
    let ended: Vec<bool> = processes.iter_mut().map(|process| process.child.wait().unwrap().success()).collect();
    let number = fs::read_to_string(files.join("number")).unwrap();
    let history = fs::read_to_string(files.join("history")).unwrap();
    fs::remove_dir_all(&files).unwrap();
    let turns: Vec<&str> = history.split_whitespace().collect();
    let changes = turns.windows(2).filter(|turns| turns[0] != turns[1]).count();
    println!("{said:?}; of {} turns {changes} came after another process's", turns.len());
    assert_eq!(ended, [true; PROCESSES]);
    assert_eq!(number, (PROCESSES * INCREMENTS).to_string());
    assert_eq!(turns.len(), PROCESSES * INCREMENTS);
    assert!(changes > PROCESSES * INCREMENTS / 2, "they hardly met: {changes} changes");
}
