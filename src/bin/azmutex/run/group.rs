//! The command, and on Unix all that it starts, which is its process group.

use std::ffi::OsString;
use std::io;
use std::process::{self, Child, ExitStatus};
use std::time::Duration;

use azmutex::LockGuard;
#[cfg(unix)]
use azmutex::crossbeam_channel::{after, select};

#[cfg(unix)]
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Group {
    child: Child,
    #[cfg(unix)]
    group: rustix::process::Pid,
}

impl Group {
    pub(crate) fn start(line: &[OsString], guard: &LockGuard) -> io::Result<Group> {
        let (program, arguments) = line.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = process::Command::new(program);
        command.args(arguments).env("AZMUTEX_LOCK", guard.lock_name());
        command.env("AZMUTEX_LEASE_ID", guard.lease_id().to_string());
        match guard.fencing_token() {
            Some(token) => command.env("AZMUTEX_FENCING_TOKEN", token.to_string()),
            // Not that of another lock, in which this run is nested.
            None => command.env_remove("AZMUTEX_FENCING_TOKEN"),
        };
        #[cfg(unix)]
        {
            use std::io::IsTerminal;

            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            if io::stdin().is_terminal() {
                // A group in the background that reads from its terminal is stopped, and would keep the lock for ever.
                command.stdin(process::Stdio::null());
            }
        }
        let child = command.spawn()?;
        Ok(Group {
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

    /// ^C reaches the command as well as us.
    #[cfg(not(unix))]
    pub(crate) fn signal(&self, _: i32) {}

    /// Asks all of it to end, and sees to it when the grace is over.
    pub(crate) fn end(&mut self, asking: i32, grace: Duration) {
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGCONT, SIGKILL};
            self.signal(asking);
            self.signal(SIGCONT); // one that is stopped could not obey
            self.wait_until_gone(grace);
            self.signal(SIGKILL);
        }
        #[cfg(not(unix))]
        {
            let _ = (asking, grace);
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    #[cfg(unix)]
    fn wait_until_gone(&mut self, grace: Duration) {
        let too_late = after(grace);
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
