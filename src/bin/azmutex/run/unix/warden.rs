//! A second process, which kills the command's process group if the first one is killed: it holds the other end of a pipe.
//!
//! It is started as the first member of that group, so there is no moment at which the command is in a group that nobody
//! would kill; and once the command is in, too, it leaves the group, whose number is its own, and nobody else's as long as
//! it lives.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Pid, Signal, getpgid, getpgrp, getppid, kill_process_group, setpgid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

/// What ps shows of it.
const NAME: &str = "azmutex-warden";
/// What is said to each other.
const LEAVE: u8 = b'l';
const DONE: u8 = 6;

/// Whether this process is one.
pub(crate) fn is_one() -> bool {
    env::args_os().next().is_some_and(|name| name == NAME)
}

/// This program again, as one.
pub(super) fn again() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg0(NAME);
    Ok(command)
}

pub(super) struct Warden {
    child: Child,
    /// Its end is ours.
    pipe: ChildStdin,
    answers: ChildStdout,
}

impl Warden {
    /// Returns when it watches.
    pub(super) fn start(command: &mut Command) -> io::Result<Warden> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let (Some(pipe), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut warden = Warden { child, pipe, answers };
        warden.hear_done()?;
        Ok(warden)
    }

    /// The group that it kills.
    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Without it, the group is the command's.
    pub(super) fn leave_group(&mut self) -> io::Result<()> {
        self.pipe.write_all(&[LEAVE])?;
        self.hear_done()
    }

    fn hear_done(&mut self) -> io::Result<()> {
        let mut word = [0];
        while word != [DONE] {
            self.answers.read_exact(&mut word)?;
        }
        Ok(())
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// It kills nobody then.
    pub(super) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.end();
    }
}

/// Watches, from stdin.
pub(crate) fn watch() -> io::Result<()> {
    // Those that a terminal, or somebody who means all of us, sends are for the others.
    let heard = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP] {
        signal_hook::flag::register(signal, heard.clone())?;
    }
    let group = getpgrp();
    say_done()?;
    let mut word = [0];
    while let Ok(1) = io::stdin().read(&mut word) {
        if word == [LEAVE] {
            // It fails if our parent has just been killed, which the pipe's end tells next.
            let _ = getpgid(getppid()).and_then(|parents| setpgid(None, Some(parents)));
            say_done()?;
        }
    }
    kill_process_group(group, Signal::KILL)?;
    Ok(())
}

fn say_done() -> io::Result<()> {
    io::stdout().write_all(&[DONE])?;
    io::stdout().flush()
}
