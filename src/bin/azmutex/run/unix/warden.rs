//! A second process, which kills the command's process group if the first one is killed: it holds the other end of a pipe.
//!
//! It is in a group of its own, so that whoever kills all of azmutex's, as a shell does with a job, does not mean it. The
//! command's group is begun by a third process, its **leader**, so there is no moment at which the command is in a group
//! that nobody would kill. Once the command is in, too, the leader moves to the warden's. It stays there, so that its
//! number, which is the command's group's, is nobody else's.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, getpgid, getppid, kill_process, kill_process_group, setpgid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use crate::threads;

/// What ps shows of them.
const WARDEN: &str = "azmutex-warden";
const LEADER: &str = "azmutex-leader";
/// What is said to each other; a number follows the first answer.
const COMMAND_IS_IN: u8 = b'l';
const DONE: u8 = 6;
/// How often a leader is continued that somebody may have stopped.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which of them this process is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Warden,
    Leader,
}

pub(crate) fn role() -> Option<Role> {
    match env::args_os().next()?.to_str()? {
        WARDEN => Some(Role::Warden),
        LEADER => Some(Role::Leader),
        _ => None,
    }
}

/// Does what it is there for, until its end.
pub(crate) fn play(role: Role) -> io::Result<()> {
    match role {
        Role::Warden => watch(&mut again(LEADER)?),
        Role::Leader => lead(),
    }
}

/// This program again, as the warden.
pub(super) fn warden() -> io::Result<Command> {
    again(WARDEN)
}

fn again(name: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg0(name);
    Ok(command)
}

pub(super) struct Warden {
    child: Child,
    /// Its end is ours.
    pipe: ChildStdin,
    answers: ChildStdout,
    group: Pid,
}

impl Warden {
    /// Returns when it watches.
    pub(super) fn start(command: &mut Command) -> io::Result<Warden> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let (Some(pipe), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut warden = Warden { group: Pid::from_child(&child), child, pipe, answers };
        hear_done(&mut warden.answers)?;
        let mut number = [0; 4];
        warden.answers.read_exact(&mut number)?;
        warden.group = Pid::from_raw(i32::from_le_bytes(number)).ok_or(io::ErrorKind::InvalidData)?;
        Ok(warden)
    }

    /// The group that it kills.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// From now on, the group is the command's alone.
    pub(super) fn command_is_in(&mut self) -> io::Result<()> {
        self.pipe.write_all(&[COMMAND_IS_IN])?;
        hear_done(&mut self.answers)
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
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
pub(super) fn watch(leader: &mut Command) -> io::Result<()> {
    disregard_signals()?;
    let mut leader =
        leader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn()?;
    let (group, (sender, moved)) = (Pid::from_child(&leader), bounded(1));
    let answers = leader.stdout.take();
    threads::start("leader", move || {
        if answers.is_some_and(|mut answers| hear_done(&mut answers).is_ok()) {
            let _ = sender.send(());
        }
    })?;
    say_done()?;
    io::stdout().write_all(&group.as_raw_nonzero().get().to_le_bytes())?;
    io::stdout().flush()?;
    let mut word = [0];
    while let Ok(1) = io::stdin().read(&mut word) {
        if word == [COMMAND_IS_IN] {
            move_out(&leader, &moved);
            // Whoever does not hear it is dead, which the pipe's end tells next.
            let _ = say_done();
        }
    }
    kill_process_group(group, Signal::KILL)?;
    Ok(())
}

/// Has the leader move to our group.
fn move_out(leader: &Child, moved: &Receiver<()>) {
    let _ = leader.stdin.as_ref().map(|mut stdin| stdin.write_all(&[COMMAND_IS_IN]));
    // If it is dead, it is out as well.
    while moved.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let _ = kill_process(Pid::from_child(leader), Signal::CONT);
    }
}

/// Is in the command's group until that is in, too, and then in the warden's, until the warden is gone.
pub(super) fn lead() -> io::Result<()> {
    disregard_signals()?;
    let mut word = [0];
    while let Ok(1) = io::stdin().read(&mut word) {
        if word == [COMMAND_IS_IN] {
            getpgid(getppid()).and_then(|wardens| setpgid(None, Some(wardens)))?;
            say_done()?;
        }
    }
    Ok(())
}

/// Those that a terminal, or somebody who means all of us, sends are for the others.
fn disregard_signals() -> io::Result<()> {
    let heard = Arc::new(AtomicBool::new(false));
    let mut signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU].into_iter();
    signals.try_for_each(|signal| signal_hook::flag::register(signal, heard.clone()).map(drop))
}

fn hear_done(answers: &mut ChildStdout) -> io::Result<()> {
    let mut word = [0];
    while word != [DONE] {
        answers.read_exact(&mut word)?;
    }
    Ok(())
}

fn say_done() -> io::Result<()> {
    io::stdout().write_all(&[DONE])?;
    io::stdout().flush()
}
