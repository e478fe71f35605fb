//! This program, started again.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

use super::signals;

/// What ps shows of the process that has the lock.
pub(crate) const WARDEN: &str = "azmutex-warden";
/// And of the one that becomes the command, until then.
pub(crate) const LAUNCHER: &str = "azmutex-launcher";

/// This program again, under another name.
pub(crate) fn again(name: &str) -> Command {
    let program = env::current_exe().ok().map(|_| "/proc/self/exe".into());
    let mut command = Command::new(program.unwrap_or_else(|| env::args_os().next().unwrap_or_default()));
    command.arg0(name);
    command
}

/// Whoever started us may have left signals blocked, which we could then not hear: another start of this program unblocks
/// them. It returns if that was not needed, or not possible.
pub(crate) fn unblock_signals() -> io::Result<()> {
    if signals::mask("SigBlk") == 0 {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("azmutex"));
    Err(Command::new("/proc/self/exe").arg0(name).args(arguments).exec())
}
