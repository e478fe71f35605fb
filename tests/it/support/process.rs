//! Tests in a process of their own: this program, run again with one test's name.
//!
//! A whole test runs there if it begins with [`is_alone`]. Or a part of it does, which is a function of its own that is
//! marked as a test and returns at once but in such a process.

use std::any;
use std::env;
#[cfg(target_os = "linux")]
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use azmutex::Container;
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

const STORE: &str = "AZMUTEX_TEST_STORE";
const CONTAINER: &str = "AZMUTEX_TEST_CONTAINER";
const ALONE: &str = "AZMUTEX_TEST_ALONE";
/// What the parent listens for, among the harness's own lines.
const MARK: &str = "child: ";

/// Whether this process runs that test alone. If not, such a process has just done so, and it passed there.
pub fn is_alone<T: Fn()>(test: T) -> bool {
    let name = name_of::<T>();
    if variable(ALONE).as_deref() == Some(name) {
        return true;
    }
    again(test).env(ALONE, name).passes();
    false
}

/// In such a process, the container that it was started with, and its name.
pub fn given() -> Option<(Container, String)> {
    let (store, name) = (variable(STORE)?, variable(CONTAINER)?);
    Some((Container::from_connection_string(&store, &name).expect("a container"), name))
}

/// In such a process, what it was started with under that name.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
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

/// As the harness knows it: without the name of the crate.
fn name_of<T>() -> &'static str {
    let path = any::type_name::<T>();
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// A process that is to run that test.
pub fn again<T: Fn()>(_test: T) -> Again {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args(["--exact", name_of::<T>(), "--nocapture"]).stdin(Stdio::null());
    Again(command)
}

pub struct Again(Command);

impl Again {
    pub fn env(mut self, name: &str, value: &str) -> Again {
        self.0.env(name, value);
        self
    }

    /// For [`given`].
    pub fn container(self, store: &str, container: &str) -> Again {
        self.env(STORE, store).env(CONTAINER, container)
    }

    /// With nothing in its environment that is about Azure or proxies.
    pub fn without_credentials(mut self) -> Again {
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let upper = name.to_ascii_uppercase();
            if ["AZURE_", "IDENTITY_", "IMDS_", "MSI_", "ACTIONS_ID_", "AZMUTEX_AZ_", "AZMUTEX_SERVICE_"]
                .iter()
                .any(|prefix| upper.starts_with(prefix))
                || upper.ends_with("_PROXY")
            {
                self.0.env_remove(name);
            }
        }
        self
    }

    pub fn inside(mut self, directory: impl AsRef<Path>) -> Again {
        self.0.current_dir(directory);
        self
    }

    /// To be talked with.
    pub fn start(mut self) -> Process {
        let command = self.0.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
        let lines = BufReader::new(child.stdout.take().expect("a pipe was asked for")).lines();
        Process { child, lines }
    }

    /// Waits for its end, and fails if the test does there.
    pub fn passes(self) {
        print!("{}", self.outcome());
    }

    /// As [`Self::passes`]: the last thing that it says.
    pub fn last_word(self) -> String {
        let said = self.outcome();
        let last = said.lines().rev().find_map(|line| line.strip_prefix(MARK));
        last.unwrap_or_else(|| panic!("not a word: {said}")).to_owned()
    }

    fn outcome(mut self) -> String {
        let Output { status, stdout, stderr } = self.0.output().expect("this program can be started");
        let [said, complained] = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        // None would have passed under a wrong name.
        assert!(status.success() && said.contains("1 passed"), "{said}\n{complained}");
        said
    }
}

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// The next thing it says, and when.
    pub fn says(&mut self) -> (String, Instant) {
        self.may_say().unwrap_or_else(|| panic!("it ended without a word: {:?}", self.child.wait()))
    }

    /// As [`Self::says`], up to its end.
    pub fn may_say(&mut self) -> Option<(String, Instant)> {
        for line in &mut self.lines {
            if let Some(line) = line.expect("its output can be read").strip_prefix(MARK) {
                return Some((line.to_owned(), Instant::now()));
            }
        }
        None
    }

    /// The next line of its output, be it the harness's or its own, that has this in it; and when.
    pub fn prints(&mut self, part: &str) -> (String, Instant) {
        for line in &mut self.lines {
            let line = line.expect("its output can be read");
            if line.contains(part) {
                return (line, Instant::now());
            }
        }
        panic!("it ended without {part:?}: {:?}", self.child.wait())
    }

    pub fn ask(&mut self, question: &str) -> String {
        self.tell(question);
        self.says().0
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("a pipe was asked for"), "{line}").expect("it listens");
    }

    #[cfg(unix)]
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
