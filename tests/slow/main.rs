//! The slow tests of `it`, which has them on the emulator, on Azurite; and how long nobody leads. A minute of waiting,
//! which a plain `cargo test` does without.

// A test that meets what it did not expect is to panic, and it measures by other clocks than the library's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../it/endurance.rs"]
mod endurance;
mod failover;
#[path = "../it/faults/mod.rs"]
mod faults;
#[path = "../it/support/mod.rs"]
mod support;

use crate::on_azurite as slow_on_both_servers;
