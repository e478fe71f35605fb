//! Which locks are held for a command that this process is part of: it would wait for itself.

use std::env;

use rustix::process::{Pid, getpid};

use super::descent::Process;

/// A line for each lock: the number of its warden, when that was started, and the lock's URL.
pub(crate) const VARIABLE: &str = "AZMUTEX_HELD";

/// Whether an ancestor of this process holds the lock at that URL.
pub(crate) fn holds(url: &str) -> bool {
    let held = env::var(VARIABLE).unwrap_or_default();
    held.lines().filter_map(holder).any(|(pid, started, held)| held == url && is_ancestor(pid, started))
}

/// For the command of this process, which holds the lock at that URL.
pub(crate) fn with(url: &str) -> String {
    let own = Process::of(getpid()).map_or(0, |process| process.started());
    let mut held = env::var(VARIABLE).unwrap_or_default();
    held.push_str(&format!("{} {own} {url}\n", getpid().as_raw_nonzero()));
    held
}

fn holder(line: &str) -> Option<(i32, u64, &str)> {
    let (pid, rest) = line.split_once(' ')?;
    let (started, url) = rest.split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?, url))
}

fn is_ancestor(pid: i32, started: u64) -> bool {
    let mut process = Process::of(getpid());
    while let Some(ancestor) = process.and_then(|process| process.parent()) {
        if Pid::from_raw(pid) == Some(ancestor.pid) {
            return ancestor.started() == started;
        }
        process = Some(ancestor);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_holds_what() {
        assert_eq!(holder("12 345 https://host/a b"), Some((12, 345, "https://host/a b")));
        for bad in ["", "12", "12 345", "x 345 url", "12 x url"] {
            assert_eq!(holder(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_an_ancestor_counts_and_not_who_has_its_number_now() {
        let parent = Process::of(getpid()).unwrap().parent().unwrap();
        let number = parent.pid.as_raw_nonzero().get();
        assert!(is_ancestor(number, parent.started()));
        assert!(!is_ancestor(number, parent.started() + 1));
        assert!(!is_ancestor(getpid().as_raw_nonzero().get(), Process::of(getpid()).unwrap().started()));
    }
}
