//! The command, and on Unix all that it starts, which is its process group.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::{self, Child, ExitStatus, Stdio};
#[cfg(unix)]
use std::time::Duration;

use azmutex::LockGuard;
#[cfg(unix)]
use azmutex::crossbeam_channel::{after, select};

#[cfg(unix)]
/// From TERM to KILL. A loss is told within 250 ms of the local deadline, and the lease ends 2 s after that at the
/// earliest: what is left is for a busy machine.
const GRACE: Duration = Duration::from_secs(1);
#[cfg(unix)]
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Command {
    child: Child,
    #[cfg(unix)]
    group: rustix::process::Pid,
}

impl Command {
    pub(crate) fn start(line: &[OsString], guard: &LockGuard) -> io::Result<Command> {
        let (program, arguments) = line.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = process::Command::new(program);
        command.args(arguments).env("AZMUTEX_LOCK", guard.lock_name());
        command.env("AZMUTEX_LEASE_ID", guard.lease_id().to_string());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if cfg!(unix) && io::stdin().is_terminal() {
            // A group in the background that reads from its terminal is stopped, and would keep the lock for ever.
            command.stdin(Stdio::null());
        }
        let child = command.spawn()?;
        Ok(Command {
            #[cfg(unix)]
            group: rustix::process::Pid::from_child(&child),
            child,
        })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: i32) {
        if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
            // It fails if all have ended, which is the end that was meant.
            let _ = rustix::process::kill_process_group(self.group, signal);
        }
    }

    #[cfg(unix)]
    pub(crate) fn kill(&mut self) {
        self.signal(signal_hook::consts::SIGKILL);
    }

    #[cfg(not(unix))]
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Asks all of it to end, and after a moment sees to it.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGCONT, SIGTERM};
            self.signal(SIGTERM);
            self.signal(SIGCONT); // one that is stopped could not obey
            self.wait_until_gone();
        }
        self.kill();
        self.child.wait()
    }

    #[cfg(unix)]
    fn wait_until_gone(&mut self) {
        let too_late = after(GRACE);
        while self.is_alive() {
            select! {
                recv(too_late) -> _ => return,
                default(LOOK_EVERY) => {}
            }
        }
    }

    /// Whether any process of the group is left.
    #[cfg(unix)]
    fn is_alive(&mut self) -> bool {
        let leader_is = matches!(self.child.try_wait(), Ok(None));
        leader_is || rustix::process::test_kill_process_group(self.group) != Err(rustix::io::Errno::SRCH)
    }
}
