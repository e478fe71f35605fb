//! The guide's programs that end by signals, as processes. Its other ones are run as they stand in the documentation.
#![cfg(all(unix, feature = "cli"))]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::{Emulator, Fault, Operation};
use azmutex::lease::LockState;
use rustix::process::Signal;

use crate::on_the_emulator;
use crate::support::process::{self, Process};
use crate::support::server::Server;

on_the_emulator!(
    a_leader_leads_until_it_is_told_to_end_or_has_lost_the_lock,
    a_migration_ends_by_ctrl_c_and_goes_on_where_it_was,
    a_migration_says_by_its_exit_code_that_it_lost_its_lock,
    a_second_ctrl_c_ends_a_migration_that_hangs,
);

#[allow(clippy::print_stderr, reason = "it is a program")]
mod leader {
    include!("../../src/guide/leader.rs");

    #[test]
    pub(super) fn child() {
        if super::process::variable(super::CHILD).is_some() {
            main().unwrap();
        }
    }
}

#[allow(clippy::print_stderr, reason = "it is a program")]
mod migration {
    include!("../../src/guide/migration.rs");

    #[test]
    pub(super) fn child() {
        if super::process::variable(super::CHILD).is_some() {
            println!("ended: {:?}", main());
        }
    }
}

const CHILD: &str = "AZMUTEX_TEST_GUIDE";
const PATIENCE: Duration = Duration::from_secs(30);

fn start<T: Fn()>(child: T, server: &Server) -> Process {
    let again = process::again(child).without_credentials().env(CHILD, "1");
    again.env("AZURE_STORAGE_CONNECTION_STRING", &server.connection_string()).start()
}

/// Another one, which has begun to wait.
fn start_waiting<T: Fn()>(child: T, server: &Server) -> Process {
    let emulator = server.as_emulator().unwrap();
    let acquires = |emulator: &Emulator| {
        let requests = emulator.requests();
        requests.iter().filter(|request| request.operation == Operation::AcquireLease).count()
    };
    let before = acquires(emulator);
    let process = start(child, server);
    let since = Instant::now();
    while acquires(emulator) == before {
        assert!(since.elapsed() < PATIENCE, "it asks for nothing");
        thread::sleep(Duration::from_millis(5));
    }
    process
}

/// The token of the next step that is not one with that token.
fn leads(process: &mut Process, but: u64) -> u64 {
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < PATIENCE, "it goes on leading with {but}");
        let (line, _) = process.prints("leading with ");
        let token = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        if token != but {
            return token;
        }
    }
}

fn a_leader_leads_until_it_is_told_to_end_or_has_lost_the_lock(server: &Server) {
    let emulator = server.as_emulator().unwrap();
    let mut first = start(leader::child, server);
    let token = leads(&mut first, 0);
    let mut second = start_waiting(leader::child, server);
    first.signal(Signal::TERM);
    first.prints("ended");
    assert!(first.ends_well());
    let next = leads(&mut second, 0);
    assert!(next > token);

    // While it campaigns.
    let mut third = start_waiting(leader::child, server);
    third.signal(Signal::TERM);
    third.prints("ended");
    assert!(third.ends_well());

    // What was led stops, and then is campaigned for again.
    emulator.steal("locks", "leader").unwrap();
    emulator.advance(Duration::from_secs(60));
    let last = leads(&mut second, next);
    assert!(last > next);
    let inspected = server.container("locks").mutex("leader").unwrap().inspect().unwrap();
    assert_eq!(inspected.card().map(|card| card.label().to_owned()).as_deref(), Some("example of a leader"));
    assert_eq!(inspected.fencing_token().map(u64::from), Some(last));
    second.signal(Signal::TERM);
    second.prints("ended");
    assert!(second.ends_well());
}

fn a_migration_ends_by_ctrl_c_and_goes_on_where_it_was(server: &Server) {
    let mutex = server.container("locks").mutex("migration").unwrap();
    let mut first = start(migration::child, server);
    first.prints("step 1");
    let mut second = start(migration::child, server);
    second.prints("waiting");
    second.signal(Signal::INT);
    let (line, _) = second.prints("ended: ");
    assert!(line.ends_with(&ended(130)), "{line}");
    assert!(second.ends_well());
    assert!(mutex.inspect().unwrap().is_locked(), "the first one's");

    first.signal(Signal::INT);
    first.prints("interrupted; to go on");
    first.prints(&ended(130));
    assert!(first.ends_well());
    let after = mutex.inspect().unwrap();
    assert_eq!(after.state(), LockState::Available);
    let done: usize = after.mark().unwrap().parse().unwrap();
    let mut third = start(migration::child, server);
    let (line, _) = third.prints("step ");
    assert!(line.contains(&format!("step {}", done + 1)), "{line} after {done}");
    third.prints("all is done");
    third.prints(&ended(0));
    assert!(third.ends_well());
    let last = mutex.inspect().unwrap();
    assert_eq!((last.state(), last.mark()), (LockState::Available, Some("4")));
}

/// What is printed by one that ends with this exit code.
fn ended(code: u8) -> String {
    format!("ended: {:?}", ExitCode::from(code))
}

fn a_migration_says_by_its_exit_code_that_it_lost_its_lock(server: &Server) {
    let mut process = start(migration::child, server);
    process.prints("step 1");
    server.as_emulator().unwrap().steal("locks", "migration").unwrap();
    process.prints(&ended(70));
    assert!(process.ends_well());
}

fn a_second_ctrl_c_ends_a_migration_that_hangs(server: &Server) {
    let mut process = start(migration::child, server);
    process.prints("step 1");
    server.as_emulator().unwrap().fail_next_of(Operation::SetBlobMetadata, 100, Fault::Withhold);
    let since = Instant::now();
    let end = loop {
        if let Some(end) = process.end() {
            break end;
        }
        assert!(since.elapsed() < PATIENCE, "it does not end");
        process.signal(Signal::INT);
        // Two that came at once would be one.
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(end.code(), Some(130));
    assert!(server.container("locks").mutex("migration").unwrap().inspect().unwrap().is_locked());
}
