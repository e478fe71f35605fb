//! Processes that are nobody's children here.

use std::fs;

use rustix::process::{Pid, Signal};

/// From what it said.
pub(crate) fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Whether this process was started to ignore it, as one in a shell's background is: its children do, too, and a shell
/// among them cannot trap it.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

/// What the system says of a process.
#[cfg(target_os = "linux")]
pub(crate) struct Stat {
    pub(crate) pid: Pid,
    pub(crate) name: String,
    state: String,
    parent: i32,
    group: i32,
    pub(crate) session: i32,
    /// The group that has its terminal.
    foreground: i32,
}

#[cfg(target_os = "linux")]
impl Stat {
    pub(crate) fn of(pid: Pid) -> Option<Stat> {
        Stat::read(&pid.as_raw_nonzero().to_string())
    }

    fn read(pid: &str) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let number = |at: usize| fields[at].parse().ok();
        Some(Stat {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            name: name.to_owned(),
            state: fields[0].to_owned(),
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            foreground: number(5)?,
        })
    }

    pub(crate) fn all() -> impl Iterator<Item = Stat> {
        let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| Stat::read(name.to_str()?))
    }

    pub(crate) fn parent_of(pid: Pid) -> Pid {
        Pid::from_raw(Stat::of(pid).unwrap().parent).unwrap()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state == "T"
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.group == self.foreground
    }
}

/// A process that has ended may stay as a zombie, if nobody reaps orphans here.
pub(crate) fn is_alive(pid: Pid) -> bool {
    #[cfg(target_os = "linux")]
    return Stat::of(pid).is_some_and(|stat| stat.state != "Z");
    #[cfg(not(target_os = "linux"))]
    return rustix::process::test_kill_process(pid).is_ok();
}

#[cfg(target_os = "linux")]
pub(crate) fn is_stopped(pid: Pid) -> bool {
    Stat::of(pid).unwrap().is_stopped()
}
