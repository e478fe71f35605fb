//! All that a process started, and what those started: found by their parents in `/proc`, and signalled so that no
//! stranger who got a number again is hit.
//!
//! Whose parent ends becomes a child of the nearest ancestor that is a subreaper, so nobody leaves this family; and all of
//! it is gone when `wait` says that there is no child. A walk through `/proc` cannot say so: a chain of forks outruns it.
//! Where some are spared, it is gone when a walk saw nobody and nobody ended meanwhile: who is alive then was there when
//! the walk began, as a child of ours, or below one that was alive, too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use azmutex::crossbeam_channel::after;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, kill_process_group, pidfd_open,
    pidfd_send_signal, wait, waitid,
};

use crate::run::ancestry::Ancestor;

/// The session that azmutex was started in: what is in another one among its descendants was started by them.
static FIRST_SESSION: OnceLock<i32> = OnceLock::new();
/// Who holds it is the only one who reaps.
static REAPING: Mutex<()> = Mutex::new(());

/// A process, as it was a moment ago.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: i32,
    group: i32,
    pub(crate) session: i32,
    started: u64,
    ended: bool,
    /// As ^Z does it.
    pub(crate) stopped: bool,
}

impl Process {
    pub(crate) fn of(pid: Pid) -> Option<Process> {
        if !is_proc_ours() {
            return None;
        }
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        read(pid, &String::from_utf8_lossy(&stat))
    }

    /// Whether it has ended, be it waited for or not. Another one may have its number by now.
    pub(crate) fn is_gone(&self) -> bool {
        Process::of(self.pid).is_none_or(|now| now.ended || now.started != self.started)
    }

    fn is(&self, other: &Process) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    pub(crate) fn is_in_group_of(&self, other: &Process) -> bool {
        self.group == other.group
    }

    /// What ps shows of it.
    pub(crate) fn name(&self) -> String {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid.as_raw_nonzero())).unwrap_or_default();
        format!("{} ({})", self.pid.as_raw_nonzero(), name.trim_end())
    }

    fn ancestor(&self) -> Ancestor {
        Ancestor { id: self.pid.as_raw_nonzero().get().unsigned_abs(), started: self.started }
    }

    fn parent(&self) -> Option<Process> {
        Process::of(Pid::from_raw(self.parent)?)
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let open = match pidfd_open(self.pid, PidfdFlags::empty()) {
            // An old kernel.
            Err(Errno::NOSYS) => return rustix::process::kill_process(self.pid, signal),
            open => open?,
        };
        // The number may have become another's before it was opened.
        match Process::of(self.pid) {
            Some(now) if now.started == self.started => pidfd_send_signal(open, signal),
            _ => Err(Errno::SRCH),
        }
    }
}

/// A child of ours, which nobody can be taken for: also without `/proc`.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) pid: Pid,
    /// `None` on an old kernel.
    open: Option<OwnedFd>,
}

impl Leader {
    /// It must not have been waited for.
    pub(crate) fn of(pid: Pid) -> Leader {
        Leader { pid, open: pidfd_open(pid, PidfdFlags::empty()).ok() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match &self.open {
            Some(open) => drop(pidfd_send_signal(open, signal)),
            None => drop(Process::of(self.pid).map(|process| process.signal(signal))),
        }
    }

    /// Waits until it has ended.
    fn wait(&self) {
        if let Some(open) = &self.open {
            let _ = waitid(WaitId::PidFd(open.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
    }
}

/// From `/proc/PID/stat`, in which the program's name may hold anything.
fn read(pid: Pid, stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse().ok();
    Some(Process {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        ended: matches!(fields.first(), Some(&("Z" | "X"))),
        stopped: fields.first() == Some(&"T"),
    })
}

/// Who started this process, and who started that, and so on.
pub(crate) fn ancestors() -> Vec<Ancestor> {
    let parent = |process: &Process| process.parent();
    std::iter::successors(Process::of(getpid()).and_then(|own| own.parent()), parent)
        .map(|process| process.ancestor())
        .collect()
}

pub(crate) fn itself() -> Ancestor {
    Process::of(getpid()).map_or(Ancestor { id: std::process::id(), started: 0 }, |own| own.ancestor())
}

/// Whether `/proc` is there, and tells of the processes that have numbers here: not of those of another namespace, in
/// which the same numbers mean others.
pub(crate) fn is_proc_ours() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| {
        let own = getpid().as_raw_nonzero().to_string();
        fs::read_link("/proc/self").is_ok_and(|link| link == Path::new(&own))
    })
}

/// In the session that azmutex was started in.
pub(crate) fn remember_session() {
    if let Some(own) = Process::of(getpid()) {
        let _ = FIRST_SESSION.set(own.session);
    }
}

/// What happens next to a child, unless somebody else reaps it first.
pub(crate) fn next_change(options: WaitOptions) -> Result<Option<(Pid, WaitStatus)>, Errno> {
    let mut changes = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    changes.set(WaitIdOptions::STOPPED, options.contains(WaitOptions::UNTRACED));
    changes.set(WaitIdOptions::CONTINUED, options.contains(WaitOptions::CONTINUED));
    waitid(WaitId::All, changes)?;
    let _alone = REAPING.lock().unwrap_or_else(PoisonError::into_inner);
    wait(options | WaitOptions::NOHANG)
}

/// All living descendants of this process, parents first.
pub(crate) fn descendants() -> Vec<Process> {
    descendants_without(&[])
}

/// But for those, and for what they started.
pub(crate) fn descendants_without(spared: &[Process]) -> Vec<Process> {
    let mut all = Vec::new();
    if !is_proc_ours() {
        return all;
    }
    let mut parents = vec![getpid()];
    let mut families = None;
    while let Some(parent) = parents.pop() {
        let children = listed_children(parent).unwrap_or_else(|| {
            let families = families.get_or_insert_with(families_by_search);
            families.get(&parent.as_raw_nonzero().get()).cloned().unwrap_or_default()
        });
        for child in children {
            let process = Process::of(child);
            if process.is_some_and(|process| spared.iter().any(|spared| spared.is(&process))) {
                continue;
            }
            parents.push(child);
            all.extend(process.filter(|process| !process.ended));
        }
    }
    all
}

/// Those that the kernel lists for each thread; `None` if it was built without that.
fn listed_children(parent: Pid) -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else { return Some(children) };
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))),
            Err(_) if thread.path().join("stat").exists() => return None,
            Err(_) => {}
        }
    }
    Some(children)
}

fn families_by_search() -> HashMap<i32, Vec<Pid>> {
    let mut families = HashMap::<_, Vec<_>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        if let Some(process) = pid.and_then(Process::of) {
            families.entry(process.parent).or_default().push(process.pid);
        }
    }
    families
}

/// Sends it to each of them. Those that this user may not signal.
pub(crate) fn signal_each(processes: &[Process], signal: Signal) -> Vec<Process> {
    let refused = |process: &&Process| process.signal(signal) == Err(Errno::PERM);
    processes.iter().filter(refused).copied().collect()
}

/// Kills until nobody is left, but for those that `spared` names with what they started, and for those that this user may
/// not signal: which are returned. Reaps whoever ends. Without `/proc`, of the others only the leader is known.
pub(crate) fn kill_all(leader: Option<&Leader>, spared: &[Process]) -> Vec<Process> {
    let _alone = REAPING.lock().unwrap_or_else(PoisonError::into_inner);
    leader.into_iter().for_each(|leader| leader.signal(Signal::KILL));
    if !is_proc_ours() {
        leader.into_iter().for_each(Leader::wait);
    }
    let mut killing = Killing::default();
    loop {
        let all = descendants_without(spared);
        let refused = killing.kill(&all, &[]);
        let is_only_rest = all.len() == refused.len() && (!refused.is_empty() || !spared.is_empty());
        let mut has_reaped = false;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => has_reaped = true,
                Err(Errno::INTR) => {}
                Ok(None) if is_only_rest && !has_reaped => return refused,
                // Nobody can be found.
                Ok(None) if !is_proc_ours() => return Vec::new(),
                Ok(None) => break,
                Err(_) => return Vec::new(),
            }
        }
        killing.pause();
    }
}

/// The rounds of killing.
#[derive(Default)]
pub(crate) struct Killing {
    /// Who was killed once.
    known: HashSet<(Pid, u64)>,
    /// In so many rounds nobody new was seen.
    quiet_rounds: u32,
}

impl Killing {
    /// Those that this user may not signal. The groups of those that are `spared` are not killed as such.
    pub(crate) fn kill(&mut self, all: &[Process], spared: &[Process]) -> Vec<Process> {
        let groups = own_groups(all, spared);
        for group in groups.iter().filter_map(|group| Pid::from_raw(*group)) {
            // No fork gets out of it, which would outrun a walk.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let is_known = |process: &Process| self.known.contains(&(process.pid, process.started));
        let single: Vec<_> =
            all.iter().filter(|process| !groups.contains(&process.group) || is_known(process)).copied().collect();
        let refused = signal_each(&single, Signal::KILL);
        let before = self.known.len();
        self.known.extend(all.iter().map(|process| (process.pid, process.started)));
        self.quiet_rounds = if self.known.len() == before { self.quiet_rounds.saturating_add(1) } else { 0 };
        refused
    }

    /// One that is in the middle of input or output ends after it, which may take a while.
    pub(crate) fn pause(&self) {
        if self.quiet_rounds > 0 {
            let _ = after(Duration::from_micros(100) * self.quiet_rounds.min(100)).recv();
        }
    }
}

/// Groups in which are none but descendants: in a session that one of them began, or with the number of one of them.
fn own_groups(all: &[Process], spared: &[Process]) -> HashSet<i32> {
    let Some(first) = FIRST_SESSION.get() else { return HashSet::new() };
    let own = Process::of(getpid());
    let numbers: HashSet<_> = all.iter().map(|process| process.pid.as_raw_nonzero().get()).collect();
    let is_own = |process: &&Process| process.session != *first || numbers.contains(&process.group);
    let is_spared = |group: i32| own.iter().chain(spared).any(|process| process.group == group);
    all.iter().filter(is_own).map(|process| process.group).filter(|group| *group > 1 && !is_spared(*group)).collect()
}

/// Whether there is a child, be it one that has ended and was not waited for.
pub(crate) fn has_child() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// Whether it is stopped at this moment; one that has ended is not. Where there is no `/proc`, that is not known.
pub(crate) fn is_stopped(pid: Pid) -> Option<bool> {
    let process = Process::of(pid);
    process.map(|process| process.stopped).or_else(|| Process::of(getpid()).map(|_| false))
}

/// Whether nobody watches over this process's job, so that its stop would be for good: a stop by the keyboard's signal
/// does not count there either.
pub(crate) fn is_orphaned() -> bool {
    let Some(own) = Process::of(getpid()) else { return true };
    let mut ancestor = own.parent();
    while let Some(process) = ancestor.filter(|process| process.session == own.session) {
        if process.group != own.group {
            return false;
        }
        ancestor = process.parent();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest() {
        let text = "42 (a) b) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10 18446744073709551615";
        let process = read(Pid::from_raw(42).unwrap(), text).unwrap();
        assert_eq!((process.parent, process.group, process.session, process.started), (7, 8, 9, 4711));
        assert!(!process.ended);
        assert!(read(process.pid, &text.replace(" S ", " Z ")).unwrap().ended);
        assert!(!process.stopped && read(process.pid, &text.replace(" S ", " T ")).unwrap().stopped);
        assert_eq!(read(process.pid, "42 (a"), None);
        assert_eq!(read(process.pid, ""), None);
    }

    #[test]
    fn a_child_is_found_in_both_ways() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(descendants().iter().any(|process| process.pid == pid));
        assert!(families_by_search()[&getpid().as_raw_nonzero().get()].contains(&pid));
        let process = Process::of(pid).unwrap();
        assert_eq!(Process { started: process.started + 1, ..process }.signal(Signal::KILL), Err(Errno::SRCH));
        assert!(signal_each(&[process], Signal::KILL).is_empty());
        assert!(!child.wait().unwrap().success());
    }
}
