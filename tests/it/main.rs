//! The lock against a real server, one file a topic.

// A test that meets what it did not expect is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// And it measures by other clocks than the library's.
#![allow(clippy::disallowed_methods)]

mod conformance;
mod emulator;
#[cfg(feature = "entra")]
mod entra;
mod faults;
mod hostile;
mod locker;
mod loss;
mod mutex;
mod names;
mod preflight;
mod processes;
mod sas;
#[cfg(all(unix, feature = "entra"))]
mod secrets;
mod service;
mod support;
mod tls;
mod wire;
