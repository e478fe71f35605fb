//! A program of checks in another language, which prints a line for each, and `advance N` where it wants the emulator's
//! clock to be moved on by so many seconds and a line on its input when that is done.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use azmutex::emulator::Emulator;

/// Runs it with a connection string as its last argument.
pub fn passes(command: &mut Command) {
    let emulator = Emulator::start().expect("a port");
    let mut script = command
        .arg(emulator.connection_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let mut answers = script.stdin.take().expect("a pipe was asked for");
    let mut checks = 0;
    for line in BufReader::new(script.stdout.take().expect("a pipe was asked for")).lines() {
        let line = line.expect("text");
        match line.strip_prefix("advance ") {
            Some(seconds) => {
                emulator.advance(Duration::from_secs(seconds.parse().expect("a number")));
                answers.write_all(b"\n").expect("it waits");
            }
            None => {
                println!("{line}");
                checks += 1;
            }
        }
    }
    assert!(script.wait().expect("its end").success(), "it failed after {checks} checks");
    assert!(checks > 0, "it checked nothing");
}
