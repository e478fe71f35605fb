//! Other processes: this test program, run again with one test's name.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use azmutex::Container;
use rustix::process::{Pid, Signal, kill_process};

const STORE: &str = "AZMUTEX_TEST_STORE";
const CONTAINER: &str = "AZMUTEX_TEST_CONTAINER";
/// What the parent listens for, among the harness's own lines.
const MARK: &str = "child: ";

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// In such a process, the container that it was started with, and its name.
pub fn given() -> Option<(Container, String)> {
    let (store, name) = (env::var(STORE).ok()?, env::var(CONTAINER).ok()?);
    Some((Container::from_connection_string(&store, &name).expect("a container"), name))
}

/// In such a process, a word for the one that started it.
pub fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// The library's threads in this process, by their names.
#[cfg(target_os = "linux")]
pub fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a process has threads");
    // A thread may end while it is looked at.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("azmutex")).collect()
}

impl Process {
    /// Runs the test of that name, which finds its container by [`given`].
    pub fn start(test: &str, store: &str, container: &str) -> Process {
        Process::start_with(test, store, container, &[])
    }

    /// As [`Self::start`], with more in its environment.
    pub fn start_with(test: &str, store: &str, container: &str, environment: &[(&str, &str)]) -> Process {
        let mut child = Command::new(env::current_exe().expect("this program has a path"))
            .args(["--exact", test, "--nocapture"])
            .envs([(STORE, store), (CONTAINER, container)])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let lines = BufReader::new(child.stdout.take().expect("a pipe was asked for")).lines();
        Process { child, lines }
    }

    /// The next thing it says, and when.
    pub fn says(&mut self) -> (String, Instant) {
        for line in &mut self.lines {
            if let Some(line) = line.expect("its output can be read").strip_prefix(MARK) {
                return (line.to_owned(), Instant::now());
            }
        }
        panic!("it ended without a word: {:?}", self.child.wait());
    }

    pub fn ask(&mut self, question: &str) -> String {
        self.tell(question);
        self.says().0
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("a pipe was asked for"), "{line}").expect("it listens");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is alive");
    }

    /// Closes its stdin.
    pub fn hang_up(&mut self) {
        self.child.stdin.take();
    }

    /// How it ended, if it has.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it was started")
    }

    /// Waits for its end: whether that was a good one.
    pub fn ends_well(&mut self) -> bool {
        self.child.wait().expect("it was started").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Stopped processes, too, die of this one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
