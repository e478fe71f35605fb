//! Which processes there are, as `ps` tells, which every Unix has.

use std::collections::HashSet;
use std::io::Read;
use std::iter;
use std::process::{Command, Stdio};
use std::time::Duration;

use azmutex::crossbeam_channel::bounded;
use rustix::process::Pid;

use crate::run::ancestry::Ancestor;
use crate::threads;

/// How long it may take to find out who started whom.
const ANCESTORS: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    parent: u32,
    group: u32,
    name: String,
}

/// The command's descendants in other groups.
pub(super) fn strays(command: u32, group: Pid, limit: Duration) -> Vec<String> {
    named(outside(all(limit), command, number(group)))
}

/// Those of a group.
pub(super) fn members(group: Pid, limit: Duration) -> Vec<String> {
    let group = number(group);
    named(all(limit).into_iter().filter(|process| process.group == group).collect())
}

/// Who started this process, and who started that, and so on.
pub(crate) fn ancestors() -> Vec<Ancestor> {
    above(&all(ANCESTORS), std::process::id())
}

pub(super) fn itself() -> Ancestor {
    ancestor(std::process::id())
}

/// When a process was started, `ps` says in many ways.
fn ancestor(id: u32) -> Ancestor {
    Ancestor { id, started: 0 }
}

fn above(all: &[Process], id: u32) -> Vec<Ancestor> {
    let parent = |id: &u32| all.iter().find(|one| one.id == *id && one.parent != *id).map(|one| one.parent);
    // Processes that end meanwhile may make it a circle.
    iter::successors(parent(&id), parent).take(all.len()).map(ancestor).collect()
}

fn number(group: Pid) -> u32 {
    group.as_raw_nonzero().get().unsigned_abs()
}

fn named(processes: Vec<Process>) -> Vec<String> {
    processes.into_iter().map(|process| format!("{} ({})", process.name, process.id)).collect()
}

fn outside(all: Vec<Process>, command: u32, group: u32) -> Vec<Process> {
    let mut family = HashSet::from([command]);
    while let Some(child) = all.iter().find(|one| family.contains(&one.parent) && !family.contains(&one.id)) {
        family.insert(child.id);
    }
    all.into_iter().filter(|process| family.contains(&process.id) && process.group != group).collect()
}

/// None, if that is not told in time.
fn all(limit: Duration) -> Vec<Process> {
    let (sender, told) = bounded(1);
    let ask = move || {
        let mut ps = Command::new("ps");
        // Without titles, each of which would go to the end of its word.
        ps.args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid=", "-o", "stat=", "-o", "comm="])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut ps) = ps.stdout(Stdio::piped()).spawn() else { return };
        let mut text = Vec::new();
        let read = ps.stdout.take().map(|mut stdout| stdout.read_to_end(&mut text));
        let _ = ps.wait();
        if let Some(Ok(_)) = read {
            let _ = sender.send(String::from_utf8_lossy(&text).lines().filter_map(process).collect());
        }
    };
    if threads::start("census", ask).is_err() {
        return Vec::new();
    }
    told.recv_timeout(limit).unwrap_or_default()
}

/// One that has not ended.
fn process(line: &str) -> Option<Process> {
    let mut rest = line;
    let mut word = || {
        let (word, others) = rest.trim_start().split_once(' ')?;
        rest = others;
        Some(word)
    };
    let (id, parent, group) = (word()?.parse().ok()?, word()?.parse().ok()?, word()?.parse().ok()?);
    if word()?.starts_with('Z') {
        return None;
    }
    // Some systems give the whole path.
    let name = rest.trim().rsplit('/').next().unwrap_or_default();
    Some(Process { id, parent, group, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(text: &str) -> Vec<Process> {
        text.lines().filter_map(process).collect()
    }

    #[test]
    fn a_line_of_ps_is_read_with_what_is_in_its_name() {
        let expected = Process { id: 7, parent: 1, group: 70, name: "a b".to_owned() };
        assert_eq!(process("    7     1    70 Ss+  /usr/bin/a b"), Some(expected));
        for odd in ["  PID  PPID  PGID STAT COMM", "1 2 3", "1 2 3 S", "7 1 70 Z+ <defunct>"] {
            assert_eq!(process(odd), None, "{odd}");
        }
    }

    #[test]
    fn who_started_whom_is_followed_up_to_the_first_process() {
        let all = processes(
            "1 0 1 Ss launchd\n2 1 2 S sh\n5 2 2 S azmutex\n6 5 6 R job\n7 7 7 S odd\n8 9 8 S a\n9 8 8 S b\n",
        );
        assert_eq!(above(&all, 6), [5, 2, 1, 0].map(ancestor));
        assert_eq!(above(&all, 7), []);
        assert_eq!(above(&all, 8).len(), all.len());
        assert!(ancestors().iter().any(|ancestor| ancestor.id == std::os::unix::process::parent_id()));
    }

    #[test]
    fn strays_are_descendants_in_other_groups() {
        let all = processes(
            "2 1 2 S azmutex\n5 6 9 S late\n3 2 30 S sh\n4 3 30 S in\n6 3 6 S left\n7 6 30 S back\n8 1 8 S other\n",
        );
        let names: Vec<_> = outside(all, 3, 30).into_iter().map(|process| process.name).collect();
        assert_eq!(names, ["late", "left"]);
    }
}
