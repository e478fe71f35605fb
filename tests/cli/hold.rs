//! A lock that is held for a script.

use std::process::{Child, Command, Stdio};

use azmutex::emulator::Emulator;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{NAME, assert_free, azmutex, break_lock, code, died, eventually, first_line, is_free, locker};

fn hold(emulator: &Emulator, options: &[&str]) -> Command {
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    command.arg("hold").args(options).arg(NAME);
    command
}

/// The lock is held, as the first line says.
fn ready(child: &mut Child) {
    let (line, stdout) = first_line(child);
    child.stdout = Some(stdout);
    let words: Vec<_> = line.split(' ').collect();
    assert!(words[0] == "ready" && words[1].len() == 36 && words[2].parse::<u64>().is_ok(), "{line}");
}

#[test]
fn a_lock_is_held_until_the_end_of_stdin() {
    let emulator = Emulator::start().unwrap();
    let mut child = hold(&emulator, &[]).stdin(Stdio::piped()).spawn().unwrap();
    ready(&mut child);
    assert!(locker(&emulator).try_lock().is_err());
    drop(child.stdin.take());
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    assert_free(&emulator);
}

#[test]
fn a_lock_is_held_until_a_process_ends() {
    let emulator = Emulator::start().unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let mut child = hold(&emulator, &["--pid", &other.id().to_string()]).spawn().unwrap();
    ready(&mut child);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    assert_free(&emulator);
    assert_eq!(code(&hold(&emulator, &["--pid", "999999999"]).output().unwrap()), 64);
}

/// A script that starts it in the background, and ends without a word.
#[test]
fn a_lock_is_held_until_the_parent_ends() {
    let emulator = Emulator::start().unwrap();
    let azmutex = env!("CARGO_BIN_EXE_azmutex");
    let script = format!("{azmutex} hold --fd 3 {NAME} 3>&1 > /dev/null & read x; exit 3");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string()).spawn().unwrap();
    ready(&mut shell);
    assert!(!is_free(&emulator));
    drop(shell.stdin.take());
    assert_eq!(shell.wait().unwrap().code(), Some(3));
    eventually("the lock is free", || is_free(&emulator));
}

#[test]
fn who_is_asked_to_end_lets_the_lock_go() {
    let emulator = Emulator::start().unwrap();
    let mut child = hold(&emulator, &[]).spawn().unwrap();
    ready(&mut child);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    assert_free(&emulator);
}

#[test]
fn a_loss_is_told_and_kills_whom_it_is_to_kill() {
    let emulator = Emulator::start().unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let options = ["--lease", "15", "--kill-on-loss", &other.id().to_string()];
    let mut child = hold(&emulator, &options).spawn().unwrap();
    ready(&mut child);
    break_lock(&emulator);
    assert_eq!(code(&child.wait_with_output().unwrap()), 70);
    assert_eq!(died(&other.wait().unwrap()), 9);
}
