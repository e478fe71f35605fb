//! The vendor's Python client against the emulator in the box.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use azmutex::emulator::Emulator;

#[path = "../it/support/mod.rs"]
mod support;

use support::in_ci;
use support::skipped::skip;

/// Names an interpreter that has what `requirements.txt` lists. The checks set it, after installing that.
const PYTHON: &str = "AZMUTEX_TEST_PYTHON";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/lease_life_cycle.py");

#[test]
fn the_vendors_client_finds_the_service_it_knows() {
    let Some(python) = env::var_os(PYTHON) else {
        assert!(!in_ci(), "{PYTHON} names no interpreter");
        skip(&format!("{PYTHON} names no interpreter"));
        return;
    };
    let emulator = Emulator::start().unwrap();
    let mut script = Command::new(&python)
        .args([SCRIPT, &emulator.connection_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    let mut answers = script.stdin.take().expect("a pipe was asked for");
    let mut checks = 0;
    for line in BufReader::new(script.stdout.take().expect("a pipe was asked for")).lines() {
        let line = line.unwrap();
        match line.strip_prefix("advance ") {
            Some(seconds) => {
                emulator.advance(Duration::from_secs(seconds.parse().unwrap()));
                answers.write_all(b"\n").unwrap();
            }
            None => {
                println!("{line}");
                checks += 1;
            }
        }
    }
    assert!(script.wait().unwrap().success(), "it failed after {checks} checks");
    assert!(checks > 0, "it checked nothing");
}
