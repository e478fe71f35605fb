//! Which process this is: a fork must not take the locks of the one that forked it for its own.
//!
//! The pid tells a fork at once, but only among processes that see each other: in nested pid namespaces the first of each
//! is pid 1. So the namespace counts, too. To ask for it costs some microseconds, and a check of a lock should not cost
//! one, so it is asked for at most every [`LOOK_EVERY`], and for a new lock every [`LOOK_FOR_NEW`]. What that cannot tell: a
//! fork with the same pid in a namespace of its own, for that long; and such a fork at all where there is no `/proc`.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Moment};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A fork that was mistaken for its parent when it took a lock would later take that for its parent's. So soon after it was
/// forked it has none.
const LOOK_FOR_NEW: Duration = Duration::from_millis(1);
/// No namespace has this number.
const UNKNOWN: u64 = 0;

/// A process, as it is known to itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    namespace: u64,
}

impl Process {
    /// This one, for a new lock.
    pub(crate) fn current() -> Process {
        Process { pid: process::id(), namespace: namespace(LOOK_FOR_NEW) }
    }

    /// This one, by a look that may be [`LOOK_EVERY`] old.
    pub(crate) fn recent() -> Process {
        Process { pid: process::id(), namespace: namespace(LOOK_EVERY) }
    }

    /// Whether it is this one.
    pub(crate) fn is_current(self) -> bool {
        self.pid == process::id() && self.is_in(namespace(LOOK_EVERY))
    }

    fn is_in(self, namespace: u64) -> bool {
        // A process can lose sight of `/proc`, and is none the less the same.
        self.namespace == namespace || self.namespace == UNKNOWN || namespace == UNKNOWN
    }

    /// One that is not.
    #[cfg(test)]
    pub(crate) fn other() -> Process {
        Process { pid: process::id().wrapping_add(1), namespace: UNKNOWN }
    }

    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.namespace.to_ne_bytes());
        bytes
    }
}

/// The name of this machine, for people; empty where there is none.
#[cfg(unix)]
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of this machine, for people; empty where there is none.
#[cfg(not(unix))]
pub(crate) fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// What the last look showed, and when that was. No lock: a fork could find it taken, by a thread that it has not.
static NAMESPACE: AtomicU64 = AtomicU64::new(UNKNOWN);
static LOOKED: AtomicU64 = AtomicU64::new(0);

/// By a look that is younger than `age`.
fn namespace(age: Duration) -> u64 {
    let (now, looked) = (clock::now(), Moment::of_nanos(LOOKED.load(Ordering::Acquire)));
    if now >= looked && now.since(looked) < age { NAMESPACE.load(Ordering::Relaxed) } else { look(now) }
}

fn look(now: Moment) -> u64 {
    let namespace = read();
    NAMESPACE.store(namespace, Ordering::Relaxed);
    LOOKED.store(now.nanos(), Ordering::Release);
    namespace
}

/// Other systems have no such namespaces.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read() -> u64 {
    use std::os::unix::fs::MetadataExt;

    std::fs::metadata("/proc/self/ns/pid").map_or(UNKNOWN, |namespace| namespace.ino())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read() -> u64 {
    UNKNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_knows_itself() {
        let process = Process::current();
        assert!(process.is_current());
        clock::sleep(2 * LOOK_EVERY);
        assert!(process.is_current());
        assert_eq!(Process::current(), process);
    }

    #[test]
    fn a_fork_is_another_process_by_its_pid_or_by_its_namespace() {
        let process = Process::current();
        assert!(!Process { pid: process.pid + 1, ..process }.is_current());
        #[cfg(target_os = "linux")]
        assert!(!Process { namespace: process.namespace + 1, ..process }.is_current(), "{process:?}");
    }

    #[test]
    fn without_a_look_at_the_namespace_the_pid_counts() {
        let known = Process { pid: 1, namespace: 7 };
        assert!(known.is_in(7) && known.is_in(UNKNOWN) && !known.is_in(8));
        assert!(Process { namespace: UNKNOWN, ..known }.is_in(7));
    }
}
