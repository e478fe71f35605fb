//! Ends the command if the warden is dead, or stands still: on a thread of the front's that reads the board and the clock,
//! and neither writes nor waits for anybody before it has killed.

use std::sync::Arc;
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::process::{Pid, Signal, kill_process};

use super::descent::{self, Killing, Process};
use super::wire::Board;
use crate::clock;
use crate::run::times;

pub(super) const WARDEN_KILLED: &str = "the warden was killed, so the command was ended";
const WARDEN_STOOD_STILL: &str = "the warden stood still, so the command was ended";
/// How long a warden may be at work while all but itself are killed here, too.
const HELP: Duration = Duration::from_millis(50);

pub(super) struct SecondGuard {
    pub(super) board: Arc<Board>,
    pub(super) warden: Pid,
    pub(super) strangers: Vec<Process>,
}

/// The command has been ended.
pub(super) struct Taken {
    pub(super) why: &'static str,
    /// Those that could not be.
    pub(super) left: Vec<Process>,
}

impl SecondGuard {
    /// Until the warden is gone. `None` if there was nothing to end then.
    pub(super) fn watch(&self, has_gone: &Receiver<()>) -> Option<Taken> {
        loop {
            let left = self.left();
            let why = match has_gone.recv_timeout(left.map_or(clock::LOOK_EVERY, |left| left.min(clock::LOOK_EVERY))) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    self.board.deadline()?;
                    WARDEN_KILLED
                }
                Err(RecvTimeoutError::Timeout) if self.left() == Some(Duration::ZERO) && !self.has_helped() => {
                    WARDEN_STOOD_STILL
                }
                Err(RecvTimeoutError::Timeout) => continue,
            };
            let _ = kill_process(self.warden, Signal::KILL);
            return Some(Taken { why, left: descent::kill_all(None, &self.strangers) });
        }
    }

    /// Until the warden must have ended the command.
    fn left(&self) -> Option<Duration> {
        self.board.deadline().map(|deadline| times::second_guard(deadline).saturating_sub(clock::now()))
    }

    /// Kills all but the warden, which may be at it, too. Whether that is through with it.
    fn has_helped(&self) -> bool {
        let warden = Process::of(self.warden);
        let (mut killing, until) = (Killing::default(), clock::now() + HELP);
        loop {
            let mut all = descent::descendants_without(&self.strangers);
            all.retain(|process| process.pid != self.warden);
            killing.kill(&all, warden.as_slice());
            let is_through = self.board.deadline().is_none();
            if is_through || clock::now() >= until {
                return is_through;
            }
            killing.pause();
        }
    }
}
