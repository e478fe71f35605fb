//! Signals, and the loss of the lock in mid-run.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
#[cfg(target_os = "linux")]
use std::process::Stdio;
use std::process::{Child, ChildStdout, Command};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use azmutex::ErrorKind;
use azmutex::emulator::{Emulator, Fault, Operation};
use rustix::process::{Pid, Signal, kill_process};

#[cfg(target_os = "linux")]
use crate::processes::is_stopped;
use crate::processes::{is_alive, is_ignored, pid};
use crate::support::{SOON, assert_free, break_lock, code, died, eventually, first_line, locker, run, script, stderr};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The signals that end things, with what is exited with; but for those that no child of this process can hear.
fn endings() -> impl Iterator<Item = (Signal, i32)> {
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .map(|signal| (signal, signal.as_raw()))
}

#[test]
fn a_signal_before_the_lock_ends_the_wait() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    for (signal, expected) in endings() {
        let before = emulator.requests().len();
        let child = run(&emulator, &[], &["echo", "ran"]).spawn().unwrap();
        eventually("a wait", || emulator.requests().len() > before + 1);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!((died(&output.status), output.stdout.len()), (expected, 0), "{}", stderr(&output));
    }
    guard.unlock().unwrap();
    assert_free(&emulator);
}

#[test]
fn a_signal_ends_a_wait_whose_request_hangs() {
    for options in [&[][..], &["--timeout", "0"], &["--timeout", "60"]] {
        let emulator = Emulator::start().unwrap();
        emulator.fail_next_of(Operation::AcquireLease, 1000, Fault::Withhold);
        let child = run(&emulator, options, &["echo", "ran"]).spawn().unwrap();
        let acquired = || emulator.requests().iter().any(|request| request.operation == Operation::AcquireLease);
        eventually("a request", acquired);
        let start = Instant::now();
        send(&child, Signal::TERM);
        let output = child.wait_with_output().unwrap();
        assert_eq!((died(&output.status), output.stdout.len()), (15, 0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        assert!(start.elapsed() < Duration::from_secs(2), "{options:?}: {:?}", start.elapsed());
    }
}

/// ^Z.
#[test]
#[cfg(target_os = "linux")]
fn a_wait_stops_and_continues() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let before = emulator.requests().len();
    let child = run(&emulator, &[], &["echo", "ran"]).process_group(0).spawn().unwrap();
    eventually("a wait", || emulator.requests().len() > before + 1);
    for _ in 0..2 {
        send(&child, Signal::TSTP);
        eventually("a stop", || is_stopped(Pid::from_child(&child)));
        send(&child, Signal::CONT);
        eventually("its end", || !is_stopped(Pid::from_child(&child)));
    }
    guard.unlock().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), &*output.stdout), (0, &b"ran\n"[..]), "{}", stderr(&output));
    assert_free(&emulator);
}

#[test]
fn a_signal_is_passed_on_and_the_lock_is_free_at_once() {
    let emulator = Emulator::start().unwrap();
    for (signal, expected) in endings() {
        // A shell that waits for a child of its own: the signal must reach both.
        let mut child = script(&emulator, &[], "echo up; sleep 600; exit 1").spawn().unwrap();
        let (_, _stdout) = first_line(&mut child);
        // A shell may swallow one that comes between the fork and the exec of its child.
        eventually("its end", || {
            send(&child, signal);
            thread::sleep(Duration::from_millis(100));
            child.try_wait().unwrap().is_some()
        });
        assert_eq!(died(&child.wait().unwrap()), expected);
        assert_free(&emulator);
    }
}

#[test]
fn a_command_may_answer_a_signal_in_its_own_way() {
    let emulator = Emulator::start().unwrap();
    let text = "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done";
    let mut child = script(&emulator, &[], text).spawn().unwrap();
    let (_, _stdout) = first_line(&mut child);
    send(&child, Signal::TERM);
    assert_eq!(code(&child.wait_with_output().unwrap()), 42);
    assert_free(&emulator);
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_that_was_ignored_stays_so() {
    let emulator = Emulator::start().unwrap();
    let inner = script(&emulator, &[], "echo up; sleep 600");
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (_, _stdout) = first_line(&mut child);
    send(&child, Signal::HUP);
    // It would have been the first to end it.
    send(&child, Signal::TERM);
    assert_eq!(died(&child.wait().unwrap()), 15);
}

/// A stop that a process sends, and no key.
#[test]
#[cfg(target_os = "linux")]
fn the_command_stops_and_continues_with_us() {
    let emulator = Emulator::start().unwrap();
    let mut child = script(&emulator, &[], "sleep 600 & echo $$; wait").process_group(0).spawn().unwrap();
    let (line, _stdout) = first_line(&mut child);
    send(&child, Signal::TSTP);
    eventually("both stopped", || is_stopped(pid(&line)) && is_stopped(Pid::from_child(&child)));
    send(&child, Signal::CONT);
    eventually("both continued", || !is_stopped(pid(&line)) && !is_stopped(Pid::from_child(&child)));
    send(&child, Signal::TERM);
    assert_eq!(died(&child.wait().unwrap()), 15);
    assert_free(&emulator);
}

/// As `timeout` is, which has a group of its own: a shell continues the job's group only.
#[test]
#[cfg(target_os = "linux")]
fn what_is_in_another_group_stops_and_continues_with_us() {
    let emulator = Emulator::start().unwrap();
    let text = "timeout 600 sleep 600 & echo $! $$; wait";
    let mut child = script(&emulator, &[], text).process_group(0).spawn().unwrap();
    let (line, _stdout) = first_line(&mut child);
    let (other, command) = line.split_once(' ').unwrap();
    let group = Pid::from_child(&child);
    let all = [pid(other), pid(command), group];
    // It has to have begun its group.
    eventually("a group", || rustix::process::getpgid(Some(pid(other))) == Ok(pid(other)));
    for _ in 0..2 {
        send(&child, Signal::TSTP);
        eventually("all stopped", || all.into_iter().all(is_stopped));
        rustix::process::kill_process_group(group, Signal::CONT).unwrap();
        eventually("all continued", || !all.into_iter().any(is_stopped));
    }
    send(&child, Signal::TERM);
    assert_eq!(died(&child.wait().unwrap()), 15);
    assert_free(&emulator);
}

const POLITE: &str = "trap 'echo asked; exit' TERM";
const DEAF: &str = "trap '' TERM";

/// A command with a child of its own, and how each meets TERM; it says their process ids.
fn family(command: &str, child: &str) -> String {
    let work = "while :; do sleep 0.05; done";
    format!("({child}; {work}) & {command}; echo $! $$; {work}")
}

struct Family {
    child: Child,
    members: Vec<Pid>,
    stdout: ChildStdout,
}

impl Family {
    fn of(azmutex: &mut Command) -> Family {
        let mut child = azmutex.spawn().unwrap();
        let (line, stdout) = first_line(&mut child);
        let members: Vec<_> = line.split(' ').map(pid).collect();
        assert!(members.iter().copied().all(is_alive), "{line}");
        Family { child, members, stdout }
    }

    fn living(&self) -> usize {
        self.members.iter().filter(|pid| is_alive(**pid)).count()
    }

    /// `azmutex` ends and says that the lock was lost; then what the family said, and what `azmutex` did.
    fn end(mut self) -> (String, String) {
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(code(&output), 70, "{}", stderr(&output));
        (said, stderr(&output))
    }
}

fn lost_in_mid_run(command: &str, child: &str) -> String {
    lost_with(&[], command, child)
}

fn lost_with(options: &[&str], command: &str, child: &str) -> String {
    let emulator = Emulator::start().unwrap();
    let options = [&["--lease", "15"], options].concat();
    let family = Family::of(&mut script(&emulator, &options, &family(command, child)));
    break_lock(&emulator);
    eventually("the end of the family", || family.living() == 0);
    let (said, told) = family.end();
    assert!(told.contains("broke"), "{told}");
    assert_free(&emulator);
    said
}

/// A pipe that is full, and that nobody reads.
pub(crate) fn clogged() -> (PipeReader, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    let (wrote, written) = mpsc::channel();
    // Stands still when there is no more room, and ends with the reader.
    thread::spawn(move || while filler.write_all(&[b'.'; 512]).is_ok() && wrote.send(()).is_ok() {});
    while written.recv_timeout(Duration::from_secs(1)).is_ok() {}
    (reader, writer)
}

#[test]
fn a_loss_ends_the_family_though_nobody_reads_what_is_said_of_it() {
    for options in [&["--lease", "15"][..], &["--lease", "15", "--verbose"]] {
        let emulator = Emulator::start().unwrap();
        let (unread, full) = clogged();
        let family = Family::of(script(&emulator, options, &family(POLITE, POLITE)).stderr(full));
        break_lock(&emulator);
        eventually("the end of the family", || family.living() == 0);
        drop(unread);
        family.end();
    }
}

#[test]
fn a_loss_asks_the_whole_family_to_end() {
    assert_eq!(lost_in_mid_run(POLITE, POLITE), "asked\nasked\n");
}

#[test]
fn a_loss_asks_by_the_signal_that_was_chosen_and_not_without_a_grace() {
    let by = |signal: &str| format!("trap 'echo {signal}; exit' {signal}");
    assert_eq!(lost_with(&["--signal", "USR1"], &by("USR1"), &by("USR1")), "USR1\nUSR1\n");
    assert_eq!(lost_with(&["-s", "sigint", "--grace", "1"], &by("INT"), "trap '' INT"), "INT\n");
    assert_eq!(lost_with(&["--grace", "0"], POLITE, POLITE), "");
}

#[test]
fn a_loss_ends_a_family_that_does_not_listen() {
    assert_eq!(lost_in_mid_run(DEAF, DEAF), "");
}

#[test]
fn a_loss_ends_the_child_of_a_command_that_went_ahead() {
    assert_eq!(lost_in_mid_run(POLITE, DEAF), "asked\n");
}

/// The service cannot be reached, and the lease runs out by itself.
#[test]
fn the_family_is_dead_before_anybody_else_has_the_lock() {
    let emulator = Emulator::start().unwrap();
    let family = Family::of(&mut script(&emulator, &["--lease", "15"], &family(POLITE, DEAF)));
    emulator.fail_next_of(Operation::RenewLease, 1000, Fault::status(503, "ServerBusy"));
    let start = Instant::now();
    let guard = loop {
        match locker(&emulator).try_lock() {
            Ok(guard) => break guard,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(start.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(family.living(), 0);
    // At the grace before that.
    assert_eq!(family.end().0, "asked\n");
    guard.unlock().unwrap();
}
