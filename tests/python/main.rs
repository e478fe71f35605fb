//! The vendor's Python client against the emulator in the box, and the guide's SQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::process::Command;
use std::time::Duration;

use azmutex::emulator::Emulator;
use azmutex::{Container, Locker};

#[path = "../it/support/mod.rs"]
mod support;

use support::skipped::skip;
use support::{in_ci, script};

/// Names an interpreter that has what `requirements.txt` lists. The checks set it, after installing that.
const PYTHON: &str = "AZMUTEX_TEST_PYTHON";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/lease_life_cycle.py");

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/fenced_table.py");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/fencing.md");

fn python() -> Option<Command> {
    let python = env::var_os(PYTHON);
    if python.is_none() {
        assert!(!in_ci(), "{PYTHON} names no interpreter");
        skip(&format!("{PYTHON} names no interpreter"));
    }
    python.map(Command::new)
}

#[test]
fn the_vendors_client_finds_the_service_it_knows() {
    let Some(mut python) = python() else { return };
    script::passes(python.arg(SCRIPT));
}

#[test]
fn the_guides_statement_refuses_who_comes_too_late() {
    let Some(mut python) = python() else { return };
    let emulator = Emulator::start().unwrap();
    // The second one is another process, as far as it matters.
    let locker = || {
        let container = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
        Locker::builder(container.mutex("report").unwrap()).fencing(true).build().unwrap()
    };
    let first = locker().lock().unwrap();
    // As if it were stopped for so long.
    emulator.advance(Duration::from_secs(60));
    let second = locker().lock().unwrap();
    let tokens = [&first, &second].map(|guard| guard.fencing_token().unwrap().to_string());
    assert!(python.args([TABLE, PAGE]).args(&tokens).status().unwrap().success());
}
