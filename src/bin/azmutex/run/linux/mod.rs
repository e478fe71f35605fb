//! A command under a lock, by three processes.
//!
//! The **front** is the process that the user started: a member of the shell's job, which stops, continues and ends as
//! the command does, and passes signals on. The **warden** has a session of its own, where no key of the terminal reaches
//! it: it waits for the lock, holds it, and ends the command, with all that it started, before the lock can be anybody
//! else's. The **launcher** becomes the command; it stays in the job.
//!
//! Whoever has a parent that ends becomes a child of the warden, and, when that ends, of the front (both are subreapers).
//! The front's end is the end of a socket, on which the warden kills everything, and releases the lock; the warden's
//! is the same for the front. Each knows the deadline, and kills by a timer of its own: the front on a thread which does
//! nothing else, so that no output, and no message that nobody reads, can keep it.

mod descent;
mod front;
mod guarding;
mod holding;
mod itself;
mod launcher;
mod second_guard;
mod signals;
mod turns;
mod waiting;
mod warden;
mod wire;

use std::env;
use std::ffi::CString;

use rustix::thread::set_name;

use crate::arguments::Run;
use crate::exit::Failure;

pub(crate) use descent::{Process, ancestors};
pub(crate) use front::run;
pub(crate) use signals::{is_ignored, listen, stop};

/// What another process of this program is to do, by the name that it was started with.
pub(crate) fn role() -> Option<Role> {
    let name = env::args_os().next()?;
    let roles = [(itself::LAUNCHER, Role::Launcher), (itself::WARDEN, Role::Warden), (itself::ENDING, Role::Ending)];
    let (name, role) = roles.into_iter().find(|(known, _)| name == *known)?;
    // As it was started by way of /proc, it would be called after that.
    let _ = CString::new(name).map(|name| set_name(&name));
    Some(role)
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Launcher,
    Warden,
    Ending,
}

/// As the command did. It returns what to exit with where that is not possible.
pub(crate) fn end() -> u8 {
    front::end(&env::args().nth(1).unwrap_or_default())
}

/// The exit code, unless it is a failure of ours. It returns only if there is no command to become.
pub(crate) fn launch() -> Result<u8, Failure> {
    launcher::launch(env::args_os().skip(1).collect()).map_err(|error| Failure::system("start the command", &error))?;
    Ok(0)
}

/// The exit code, unless it is a failure of ours.
pub(crate) fn guard(arguments: &Run) -> u8 {
    guarding::run(arguments)
}
