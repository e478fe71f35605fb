//! This program, started again.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

/// What ps shows of the process that has the lock.
pub(crate) const WARDEN: &str = "azmutex-warden";
/// And of the one that becomes the command, until then.
pub(crate) const LAUNCHER: &str = "azmutex-launcher";

/// And of the front when it is to die of a signal.
pub(crate) const ENDING: &str = "azmutex-ending";

/// This program again, under another name. Nothing else tells which file it is: its own name may be one of these.
pub(crate) fn again(name: &str) -> io::Result<Command> {
    env::current_exe().map_err(|_| io::Error::new(io::ErrorKind::NotFound, "it takes /proc, which is not there"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name);
    Ok(command)
}
