//! Benchmarks: what a lock costs beside a bare socket and bare ureq, on a server that is nothing but an answer, on the
//! emulator and on Azurite.
//!
//! Read the ratios: times belong to a machine and its hour. The candidates take turns in short rounds, and a ratio is the
//! median of those of the rounds. A server is always another process, so that its time and memory are not counted.
//!
//! `cargo test --release --all-features --test bench` runs all; words behind `--` pick some: a server's name (`canned`,
//! `emulator`, `azurite`: one client there), `bounds` (what the checks
//! guard), `instructions`, `clients` (the vendor's), `turns`, `waits`, `held`. With `--write` the tables go into the guide.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::alloc::System;
use std::env;

use cores::OneCore;
use report::Report;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[path = "../it/support/mod.rs"]
mod support;

mod bare;
mod bounds;
mod clients;
mod cores;
mod first;
mod goals;
mod held;
mod instructions;
mod pairs;
mod process;
mod report;
mod servers;
mod singles;
mod stats;
mod turns;
mod waits;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The first argument of a process that is another part of a benchmark.
const CHILD: &str = "child";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--no")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // Asked for a list of its tests, as some test runners do, it has none to name.
        ["--list", ..] => {}
        [CHILD, "canned"] => servers::canned(),
        [CHILD, "emulator"] => servers::emulator(),
        [CHILD, "pairs", name, port, container, pairs] => pairs::some(name, port, container, pairs),
        [CHILD, "first", name, port] => first::one(name, port),
        [CHILD, "client", name, port] => clients::one(name, port),
        [CHILD, "turns", name, port, threads, hold] => turns::some(name, port, threads, hold),
        [CHILD, "waits", name, port, lock, threads] => waits::some(name, port, lock, threads),
        [CHILD, "held", name, locks, port] => held::some(name, locks, port),
        _ => run(&words),
    }
}

fn run(words: &[&str]) {
    let (flags, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let wanted = |name: &str| words.is_empty() || words.contains(&name);
    if cfg!(debug_assertions) {
        println!("built without optimization: the figures say little (use --release)");
    }
    let mut report = Report::default();
    if wanted("bounds") {
        bounds::bounds(&mut report);
    }
    let one_core = OneCore::new();
    for server in servers::NAMES.into_iter().filter(|name| wanted(name)).filter_map(servers::start) {
        if server.is_canned() {
            singles::singles(&mut report, &server);
            first::cold(&mut report, &server);
        } else {
            first::uses(&mut report, &server);
        }
        pairs::pairs(&mut report, &server);
    }
    drop(one_core);
    if wanted("instructions") {
        instructions::instructions(&mut report);
    }
    if wanted("clients") {
        clients::clients(&mut report);
    }
    if wanted("turns") {
        turns::turns(&mut report);
    }
    if wanted("waits") {
        waits::hand_overs(&mut report);
        waits::crowds(&mut report);
    }
    if wanted("held") {
        held::held(&mut report);
    }
    if flags.contains(&"--write") {
        report.write();
    }
}
