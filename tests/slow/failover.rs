//! How long nobody leads, with the guide's leader: after a crash, and after a clean end.
#![cfg(all(unix, feature = "cli"))]

use std::thread;
use std::time::{Duration, Instant};

use azmutex::lease::Card;
use rustix::process::Signal;

use crate::on_both_servers;
use crate::support::process::{self, Process};
use crate::support::server::Server;

on_both_servers!(another_one_leads_after_a_crash_and_after_a_clean_end);

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

const CHILD: &str = "AZMUTEX_TEST_GUIDE";
const SECOND: Duration = Duration::from_secs(1);
/// The leader's own, and the longest pause of those who wait.
const LEASE: Duration = Duration::from_secs(15);
const PAUSE: Duration = SECOND;

/// A server has one leader of them all.
fn start(server: &Server) -> Process {
    let again = process::again(leader::child).without_credentials().env(CHILD, "1");
    again.env("AZURE_STORAGE_CONNECTION_STRING", &server.connection_string()).start()
}

/// Another one comes, and the leader is ended by that signal: who leads then, and for how long nobody did.
fn succession(leading: Process, server: &Server, signal: Signal) -> (Process, Duration) {
    let mut next = start(server);
    // Until it waits, with the longest of its pauses.
    thread::sleep(4 * SECOND);
    let mutex = server.container("locks").mutex("leader").unwrap();
    let before = mutex.inspect().unwrap();
    let ended = Instant::now();
    leading.signal(signal);
    if signal == Signal::KILL {
        // What an operator sees until the lease is over.
        assert_eq!(mutex.inspect().unwrap(), before);
    }
    let (_, led) = next.prints("leading with ");
    let after = mutex.inspect().unwrap();
    println!("{signal:?}: before, {}", before.card().unwrap());
    println!("{signal:?}: after, {}", after.card().unwrap());
    assert!(before.is_locked() && after.is_locked());
    assert!(after.fencing_token() > before.fencing_token());
    assert_ne!(after.card().and_then(Card::pid), before.card().and_then(Card::pid));
    (next, led - ended)
}

fn another_one_leads_after_a_crash_and_after_a_clean_end(server: &Server) {
    let mut first = start(server);
    first.prints("leading with ");
    let (second, crashed) = succession(first, server, Signal::KILL);
    let (_third, ended) = succession(second, server, Signal::TERM);
    println!("nobody led for {crashed:.1?} after a crash, and for {ended:.1?} after a clean end");
    // A lease, the service's 2 s and a pause.
    assert!(crashed <= LEASE + 2 * SECOND + PAUSE, "{crashed:?}");
    // A pause, and what is left of a step, and the requests.
    assert!(ended <= PAUSE + SECOND, "{ended:?}");
}
