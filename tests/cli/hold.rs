//! A lock that is held for a script.

use std::fs;
use std::process::{Child, Command, Stdio};

use azmutex::emulator::Emulator;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    NAME, Scratch, assert_free, azmutex, break_lock, code, died, eventually, first_line, is_free, locker, stderr,
};

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
    // Nobody has waited for it yet, as a script does that reads our output first.
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    other.wait().unwrap();
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

/// A group, or everybody, is nobody whose end can be ours.
#[test]
fn only_one_process_can_be_named_and_it_has_to_be_there() {
    let emulator = Emulator::start().unwrap();
    for wrong in ["--pid=-1", "--pid=0", "--kill-on-loss=-1", "--kill-on-loss=0", "--kill-on-loss=999999999"] {
        let output = hold(&emulator, &[wrong]).output().unwrap();
        assert_eq!(code(&output), 64, "{wrong}: {}", stderr(&output));
    }
    assert!(emulator.requests().is_empty(), "nothing was asked for");
}

#[test]
fn who_waits_for_a_lock_ends_with_its_owner() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let count = emulator.requests().len();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let child = hold(&emulator, &["--pid", &other.id().to_string()]).spawn().unwrap();
    eventually("it waits", || emulator.requests().len() > count + 1);
    other.kill().unwrap();
    other.wait().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(code(&output) == 75 && stderr(&output).contains("has ended"), "{}", stderr(&output));

    let count = emulator.requests().len();
    let mut child = hold(&emulator, &[]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("it waits", || emulator.requests().len() > count + 1);
    drop(child.stdin.take());
    assert_eq!(code(&child.wait_with_output().unwrap()), 75);
    guard.unlock().unwrap();
    assert_free(&emulator);
}

/// What `azmutex hold --fd FD` says, started by a shell that does `redirection` before: until `done`, or its own end.
fn hold_on(emulator: &Emulator, fd: &str, redirection: &str, done: impl Fn() -> bool) -> std::process::Output {
    let azmutex = env!("CARGO_BIN_EXE_azmutex");
    let script = format!("exec {redirection}; exec {azmutex} hold --pid $0 --fd {fd} {NAME}");
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, &other.id().to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    shell.stderr(Stdio::piped()).env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let mut shell = shell.spawn().unwrap();
    eventually("it is ready, or has ended", || done() || shell.try_wait().unwrap().is_some());
    other.kill().unwrap();
    other.wait().unwrap();
    shell.wait_with_output().unwrap()
}

#[test]
fn a_descriptor_is_written_to_as_it_was_inherited() {
    let emulator = Emulator::start().unwrap();
    let log = Scratch::new();
    fs::write(
        log.path(),
        "what was there before, and is longer than what is written now, by a lot of bytes, so it stays\n",
    )
    .unwrap();
    let text = || fs::read_to_string(log.path()).unwrap();
    let output =
        hold_on(&emulator, "7", &format!("7>>{}", log.path()), || text().ends_with('\n') && text().contains("\nready"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let all = text();
    assert!(all.starts_with("what was there before") && all.contains("so it stays\nready "), "{all}");

    // Where the shell has read or written so far is where it is written.
    fs::write(log.path(), "first\n").unwrap();
    let output = hold_on(&emulator, "7", &format!("7<>{}; read -r line <&7", log.path()), || text().len() > 60);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(text().starts_with("first\nready "), "{}", text());
}

#[test]
fn a_descriptor_that_cannot_be_written_to_is_refused_before_the_lock_is_asked_for() {
    let emulator = Emulator::start().unwrap();
    let fifo = Scratch::new();
    assert!(Command::new("mkfifo").arg(fifo.path()).status().unwrap().success());
    for (fd, redirection) in [
        ("3", "3>&-"),
        ("4", "4>&-"),
        ("5", "5>&-"),
        ("7", "7</dev/null"),
        ("7", &format!("8<>{0}; exec 7>{0} 8<&-", fifo.path())),
    ] {
        let output = hold_on(&emulator, fd, redirection, || false);
        let told = stderr(&output);
        assert!(code(&output) == 64 && told.contains(&format!("file descriptor {fd}")), "{redirection}: {told}");
    }
    assert!(emulator.requests().is_empty(), "nothing was asked for");
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_of_which_nobody_can_be_told_is_released() {
    use std::io::Read;

    let emulator = Emulator::start().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = hold(&emulator, &[]).stdout(full).output().unwrap();
    assert_eq!(code(&output), 71, "{}", stderr(&output));
    assert_free(&emulator);

    let mut child = hold(&emulator, &[]).spawn().unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().code() == Some(71) && told.contains("stdout"), "{told}");
    assert_free(&emulator);
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_that_is_held_for_whoever_asks_is_refused() {
    let emulator = Emulator::start().unwrap();
    let inner = format!("{} hold -w 20 {NAME}", env!("CARGO_BIN_EXE_azmutex"));
    let output = crate::support::script(&emulator, &[], &inner).output().unwrap();
    assert_eq!(code(&output), 64, "{}", stderr(&output));
}
