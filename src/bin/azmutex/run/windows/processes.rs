//! What the system knows of processes: what they are called, and who started whom.

use std::iter;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::run::ancestry::Ancestor;

/// Of one that has ended since, no more than its number is known.
pub(super) fn named(ids: &[usize]) -> Vec<String> {
    let ids: Vec<_> = ids.iter().copied().map(Pid::from).collect();
    let system = read(ProcessesToUpdate::Some(&ids));
    let name = |id: &Pid| {
        system.process(*id).map_or_else(|| id.to_string(), |process| format!("{} ({id})", process.name().display()))
    };
    ids.iter().map(name).collect()
}

/// Who started this process, and who started that, and so on.
pub(crate) fn ancestors() -> Vec<Ancestor> {
    let system = read(ProcessesToUpdate::All);
    // The number of one that has ended may be another's by now, who was started later.
    let parent = |child: &&Process| {
        let parent = system.process(child.parent()?)?;
        (parent.start_time() <= child.start_time() && parent.pid() != child.pid()).then_some(parent)
    };
    let own = system.process(Pid::from_u32(std::process::id()));
    // Should two have started each other at the same second, that has an end, too.
    iter::successors(own, parent).skip(1).take(1000).map(ancestor).collect()
}

pub(crate) fn itself() -> Ancestor {
    let id = Pid::from_u32(std::process::id());
    read(ProcessesToUpdate::Some(&[id])).process(id).map_or(Ancestor { id: id.as_u32(), started: 0 }, ancestor)
}

fn ancestor(process: &Process) -> Ancestor {
    Ancestor { id: process.pid().as_u32(), started: process.start_time() }
}

fn read(which: ProcessesToUpdate<'_>) -> System {
    let mut system = System::new();
    system.refresh_processes_specifics(which, true, ProcessRefreshKind::nothing());
    system
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_name_of_its_program_and_who_is_gone_a_number() {
        let own = usize::try_from(std::process::id()).unwrap();
        let named = named(&[own, 1]);
        assert!(named[0].starts_with("azmutex-") && named[0].ends_with(&format!(".exe ({own})")), "{named:?}");
        assert_eq!(named[1], "1");
    }
}
