//! The command line, as its users meet it: real processes, against an emulator in this one.

// A test that meets what it did not expect is to panic, and it measures by other clocks than the library's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![cfg_attr(not(unix), allow(unused_imports, dead_code, reason = "most of these tests speak to a shell"))]

mod support;

// Scenario 29, between these.
mod arguments;
mod doctor;
mod emulator;
#[cfg(target_os = "linux")]
mod guards;
#[cfg(unix)]
mod guide;
#[cfg(unix)]
mod hold;
#[cfg(target_os = "linux")]
mod jobs;
mod options;
#[cfg(unix)]
mod processes;
mod run;
#[cfg(unix)]
mod signals;
mod status;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(windows)]
mod windows;
