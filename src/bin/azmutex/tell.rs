//! The only place that prints. A reader who has gone away is no reason to stop, and `println!` would panic.

use std::fmt::Display;
use std::io::{self, Write};

/// To stderr, as a message of ours between those of the command.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "azmutex: {text}");
}

/// To stdout, at once.
pub(crate) fn result(text: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
