//! Who has a lock, and its end by an operator.

use std::process::Output;

use azmutex::emulator::Emulator;
use azmutex::lease::{Card, LockState};
use azmutex::{Container, Locker};

use crate::support::{NAME, azmutex, code, locker, stderr};

fn on(emulator: &Emulator, arguments: &[&str]) -> Output {
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn with_card(emulator: &Emulator) -> Locker {
    let container = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
    Locker::builder(container.mutex(NAME).unwrap()).fencing(true).card(Card::new("the north")).build().unwrap()
}

#[test]
fn a_lock_is_told_of_to_people_and_to_programs() {
    let emulator = Emulator::start().unwrap();
    assert_eq!(said(&on(&emulator, &["status", "job"])), "lock \"job\": free; nobody has ever taken it\n");
    let guard = with_card(&emulator).lock().unwrap();
    let token = guard.fencing_token().unwrap();
    let text = said(&on(&emulator, &["status", NAME, "job"]));
    let start = format!("lock {NAME:?}: held; last token {token}; last card \"the north\", host ");
    assert!(text.starts_with(&start) && text.lines().count() == 2, "{text}");
    for arguments in [&["status", "--json", NAME][..], &["status", "--json", "--all"]] {
        let object: serde_json::Value = serde_json::from_str(&said(&on(&emulator, arguments))).unwrap();
        assert_eq!((&object["lock"], &object["held"]), (&NAME.into(), &true.into()), "{object}");
        assert_eq!(object["card"]["label"], "the north");
        assert_eq!(object["fencing_token"].as_u64(), Some(token.get()));
    }
    guard.unlock().unwrap();
    assert!(said(&on(&emulator, &["status", "--all"])).contains("free"));
}

#[test]
fn who_watches_is_told_of_each_change() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let mut child = command.args(["status", "--watch", NAME]).spawn().unwrap();
    let (first, stdout) = crate::support::first_line(&mut child);
    assert!(first.ends_with("held"), "{first}");
    guard.unlock().unwrap();
    child.stdout = Some(stdout);
    let (second, _stdout) = crate::support::first_line(&mut child);
    assert!(second.ends_with("free"), "{second}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// As `status --watch | head -1` wants it, although nothing changes any more.
#[test]
#[cfg(unix)]
fn who_watches_ends_when_nobody_reads() {
    let emulator = Emulator::start().unwrap();
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let mut child = command.args(["status", "--watch", NAME]).spawn().unwrap();
    let (first, stdout) = crate::support::first_line(&mut child);
    assert!(first.contains("free"), "{first}");
    drop(stdout);
    crate::support::eventually("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn what_could_not_be_printed_is_a_failure() {
    let emulator = Emulator::start().unwrap();
    for arguments in [&["status", NAME][..], &["doctor"], &["man"], &["break", NAME]] {
        let mut command = azmutex();
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.args(arguments).stdout(full).output().unwrap();
        assert!(code(&output) == 71 && stderr(&output).contains("stdout"), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_lock_is_broken_by_who_agrees() {
    let emulator = Emulator::start().unwrap();
    assert!(said(&on(&emulator, &["break", NAME])).contains("nobody holds it"));
    let guard = with_card(&emulator).lock().unwrap();
    // Nobody is there to be asked.
    assert_eq!(code(&on(&emulator, &["break", NAME])), 64);
    assert_eq!(code(&on(&emulator, &["break", "--yes", "--if-token", "1", NAME])), 75);
    let status = || {
        let container = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
        container.mutex(NAME).unwrap().inspect().unwrap().state()
    };
    assert_eq!(status(), LockState::Leased);
    let token = guard.fencing_token().unwrap().to_string();
    assert!(said(&on(&emulator, &["break", "--yes", "--if-token", &token, NAME])).contains("it is free in"));
    assert_eq!(status(), LockState::Breaking);
    assert!(said(&on(&emulator, &["break", "--yes", "--force", NAME])).contains("broken, and free"));
    assert_eq!(status(), LockState::Broken);
    drop(guard);
}

#[test]
#[cfg(target_os = "linux")]
fn who_breaks_a_lock_is_asked_at_a_terminal() {
    use crate::terminal::Terminal;

    let emulator = Emulator::start().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    let guard = with_card(&emulator).lock().unwrap();
    for (answer, code) in [("n", 75), ("y", 0)] {
        terminal.line(&format!("{} break {NAME}", env!("CARGO_BIN_EXE_azmutex")));
        terminal.expect("break the lock \"nightly-report\" of \"the north\", host ");
        terminal.expect("? [y/N] ");
        terminal.line(answer);
        terminal.expect("$> ");
        assert_eq!(terminal.code(), code);
    }
    drop(guard);
}
