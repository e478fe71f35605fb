//! Commands under `azmutex run` whose lock is lost, or whose guards are killed, stopped or starved, many times: how long
//! before anybody else could have had the lock the last of what they had started was gone; and then all of that at random.
//!
//! What a command starts is a family that ends for nothing less than KILL, and that spreads in all ways there are. Each of
//! it has a pipe open: the end of that is the end of the last of them.
//!
//! `AZMUTEX_WRAPPED_RUNS` says how often each case is run (3), and `AZMUTEX_WRAPPED_SECONDS` for how long the chaos goes
//! on (30). `AZMUTEX_WRAPPED_SEED` is what the dice start with. `cargo test --all-features --test wrapped speed -- --nocapture`
//! prints the time from the start to the command, beside `flock`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

mod chaos;
mod family;
mod margins;
mod speed;
