//! A process that is none of ours, known by more than its number, which may be another's some day.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

#[derive(Debug)]
pub(crate) struct Known {
    pid: Pid,
    #[cfg(target_os = "linux")]
    by: By,
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
enum By {
    Handle(OwnedFd),
    /// Where the kernel, or who shields us from it, has no handles: by when it was started, if there is a `/proc`.
    Start(Option<crate::run::linux::Process>),
}

impl Known {
    /// `None` if there is no such process.
    pub(crate) fn of(number: i32) -> Option<Known> {
        // A negative one is a group, and 0 is our own.
        let pid = Pid::from_raw(number.max(0))?;
        #[cfg(target_os = "linux")]
        let known = {
            use rustix::process::{PidfdFlags, pidfd_open};

            let by = match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) => By::Handle(handle),
                Err(Errno::SRCH | Errno::INVAL) => return None,
                Err(_) => By::Start(crate::run::linux::Process::of(pid)),
            };
            Known { pid, by }
        };
        #[cfg(not(target_os = "linux"))]
        let known = Known { pid };
        (!known.is_gone()).then_some(known)
    }

    /// Whether it has ended, be it waited for or not, as far as the system tells.
    pub(crate) fn is_gone(&self) -> bool {
        #[cfg(target_os = "linux")]
        match &self.by {
            By::Handle(handle) => {
                let mut ended = [PollFd::new(handle, PollFlags::IN)];
                return poll(&mut ended, Some(&Timespec::default())).is_ok_and(|count| count > 0);
            }
            By::Start(Some(process)) if process.is_gone() => return true,
            By::Start(_) => {}
        }
        test_kill_process(self.pid) == Err(Errno::SRCH)
    }

    /// It, and nobody who has its number now.
    pub(crate) fn kill(&self) {
        #[cfg(target_os = "linux")]
        if let By::Handle(handle) = &self.by {
            let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
            return;
        }
        if !self.is_gone() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_is_gone_before_it_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let known = Known::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!known.is_gone());
        known.kill();
        assert!(!child.wait().unwrap().success());
        assert!(known.is_gone());
        known.kill();
    }

    #[test]
    fn groups_and_nobody_are_no_process() {
        for number in [0, -1, -4711, i32::MIN, 999_999_999] {
            assert!(Known::of(number).is_none(), "{number}");
        }
    }
}
