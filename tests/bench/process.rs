//! The other processes of a benchmark: this program again, as one of its parts.

use std::env;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::CHILD;

/// Ends with its input, and so with this one.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(part: &[&str]) -> Process {
        let mut command = Command::new(env::current_exe().expect("this program has a path"));
        Process::of(command.arg(CHILD).args(part))
    }

    pub(crate) fn of(command: &mut Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { stdin: child.stdin.take(), child, lines }
    }

    pub(crate) fn says(&mut self) -> String {
        self.lines.next().expect("it ended without a word").unwrap()
    }

    /// The numbers that it says.
    pub(crate) fn numbers<const N: usize>(&mut self) -> [u64; N] {
        let said = self.says();
        let numbers: Vec<u64> = said.split(' ').map(|word| word.parse().expect("a number")).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("not {N} numbers: {said}"))
    }

    /// All else that it says.
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = String> {
        (&mut self.lines).map(Result::unwrap)
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn ask<const N: usize>(&mut self, question: &str) -> [u64; N] {
        self.tell(question);
        self.numbers()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// In such a process, a line for the one that started it.
pub(crate) fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().unwrap();
}

/// In such a process, the next line of the one that started it. `None` if that has ended.
pub(crate) fn heard() -> Option<String> {
    io::stdin().lines().next().map(Result::unwrap)
}
