//! The vendor's Python client against the emulator in the box.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::process::Command;

#[path = "../it/support/mod.rs"]
mod support;

use support::skipped::skip;
use support::{in_ci, script};

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
    script::passes(Command::new(python).arg(SCRIPT));
}
