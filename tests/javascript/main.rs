//! The vendor's JavaScript client against the emulator in the box.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::process::Command;

#[path = "../it/support/mod.rs"]
mod support;

use support::skipped::skip;
use support::{in_ci, script};

/// Names a directory of modules, with what `package.json` lists. The checks set it, after installing that.
const MODULES: &str = "AZMUTEX_TEST_NODE_MODULES";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/javascript/lease_life_cycle.js");

#[test]
fn the_vendors_client_finds_the_service_it_knows() {
    let Some(modules) = env::var_os(MODULES) else {
        assert!(!in_ci(), "{MODULES} names no directory");
        skip(&format!("{MODULES} names no directory"));
        return;
    };
    // No proxy between two programs of one machine.
    script::passes(Command::new("node").arg(SCRIPT).env("NODE_PATH", modules).env("NO_PROXY", "127.0.0.1"));
}
