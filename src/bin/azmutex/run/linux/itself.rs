//! This program, started again.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What ps shows of the process that has the lock.
pub(crate) const WARDEN: &str = "azmutex-warden";
/// And of the one that becomes the command, until then.
pub(crate) const LAUNCHER: &str = "azmutex-launcher";

/// And of the front when it is to die of a signal.
pub(crate) const ENDING: &str = "azmutex-ending";

/// This program again, under another name.
pub(crate) fn again(name: &str) -> Command {
    let program = env::current_exe().ok().map(|_| "/proc/self/exe".into());
    let mut command = Command::new(program.unwrap_or_else(|| env::args_os().next().unwrap_or_default()));
    command.arg0(name);
    command
}
