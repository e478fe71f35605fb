//! What the tests stand on: the servers, a scripted server, a proxy that misbehaves.

#![allow(dead_code, reason = "a vocabulary: no build of the tests uses every word of it")]
#![allow(unreachable_pub, reason = "the users of these modules are their neighbours")]

pub mod account;
pub mod azurite;
pub mod http;
#[path = "../../../src/testing/lateness.rs"]
pub mod lateness;
pub mod page;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod sas;
pub mod script;
pub mod server;
pub mod skipped;
#[path = "../../../src/emulator/stop.rs"]
mod stop;

use std::env;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azmutex::{Container, Error, Locker, locker};
use stop::Stop;

/// A name that no other test, process or run uses, fit to be the name of a container.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = std::process::id();
    let wanted = format!("{prefix:.24}-{id:x}-{:x}-{count:x}", since.as_micros());

    let mut name = String::new();
    for letter in wanted.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            name.push(letter);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name
}

/// Whether a test that cannot run is to fail, lest a build be green untested.
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// A locker with the shortest lease there is, renewed and looked for often.
pub fn quick(container: &Container, lock: &str) -> locker::Builder {
    Locker::builder(container.mutex(lock).expect("a lock's name"))
        .lease(Duration::from_secs(15))
        .renew_every(Duration::from_secs(1))
        .pauses(Duration::from_millis(5), Duration::from_millis(100))
}

/// Writes a line to the real stderr, because the test harness hides what `eprintln!` writes.
pub fn loud(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Everything that a caller can print of an error.
pub fn prints(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{:?}\n{:?}", error.service_code(), error.request_id());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}\n{cause:?}"));
        source = cause.source();
    }
    text
}
