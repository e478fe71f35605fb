//! A process that becomes the command: started while the lock is waited for, in the shell's own group and session, so
//! that the command is in them, too.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, fs};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use super::descent::Leader;
use super::{itself, wire};

/// The other side of it.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) leader: Arc<Leader>,
    control: UnixStream,
}

impl Launcher {
    /// It must be started by a thread that lives as long as the command: it is killed when that ends.
    pub(crate) fn start(line: &[OsString], stdin: OwnedFd) -> io::Result<Launcher> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = itself::again(itself::LAUNCHER)?;
        let child = command.args(line).stdin(OwnedFd::from(theirs)).spawn()?;
        let leader = Arc::new(Leader::of(Pid::from_child(&child)));
        wire::hand_over(&control, &[stdin.as_fd()])?;
        Ok(Launcher { leader, control })
    }

    /// Lets it become the command, which sees these variables, and none of those without a value. What is returned says how
    /// that went, when it is read.
    pub(crate) fn go(self, variables: &[(&str, Option<String>)]) -> io::Result<Launched> {
        let mut text = Vec::new();
        for (name, value) in variables {
            let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            text.extend_from_slice(format!("{name}{value}\0").as_bytes());
        }
        let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        (&self.control).write_all(&[&length.to_le_bytes()[..], &text].concat())?;
        Ok(Launched(self.control))
    }
}

#[derive(Debug)]
pub(crate) struct Launched(UnixStream);

impl Launched {
    /// Waits until it is the command, or has failed to be.
    pub(crate) fn result(mut self) -> io::Result<()> {
        let mut number = [0; 4];
        match self.0.read_exact(&mut number) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_le_bytes(number))),
            // It closes when another program takes its place.
            Err(_) => Ok(()),
        }
    }
}

/// In the process itself. Returns when there is nothing to become.
pub(crate) fn launch(line: Vec<OsString>) -> io::Result<()> {
    // Of all that the command starts, only this one ends if azmutex and its warden are killed at once.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let [stdin] = wire::take_over(&control)?;
    let mut length = [0; 4];
    if control.read_exact(&mut length).is_err() {
        return Ok(());
    }
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    control.read_exact(&mut text)?;
    let variables = text.split(|byte| *byte == 0).filter(|text| !text.is_empty()).map(|text| {
        let end = text.iter().position(|byte| *byte == b'=');
        let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        (part(&text[..end.unwrap_or(text.len())]), end.map(|end| part(&text[end + 1..])))
    });
    let error = become_command(&line, variables.collect(), stdin);
    control.write_all(&error.raw_os_error().unwrap_or(Errno::NOENT.raw_os_error()).to_le_bytes())
}

fn become_command(line: &[OsString], variables: Vec<(OsString, Option<OsString>)>, stdin: OwnedFd) -> io::Error {
    let Some((program, arguments)) = line.split_first() else { return io::ErrorKind::NotFound.into() };
    let with_variables = |mut command: Command| {
        for (name, value) in &variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    };
    let error = with_variables(Command::new(program)).args(arguments).stdin(Stdio::from(stdin)).exec();
    if error.raw_os_error() != Some(Errno::NOEXEC.raw_os_error()) {
        return error;
    }
    // A script without its first line: what a shell does with it. (The system's library may have done so already.)
    let Some(path) = search(program) else { return error };
    with_variables(Command::new("/bin/sh")).arg(path).args(arguments).exec()
}

/// The file that is meant by that word.
fn search(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| fs::metadata(path).is_ok())
}
