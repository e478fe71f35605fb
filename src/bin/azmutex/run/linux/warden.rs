//! The process that has the lock: what it knows, and what it hears.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use azmutex::LockGuard;
use azmutex::crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, set_child_subreaper, setsid,
};
use rustix::stdio::dup2_stdin;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::descent::{self, Leader};
use super::launcher::Launcher;
use super::signals;
use super::turns::Turns;
use super::wire::{self, Board, Order, Report};
use crate::arguments::Run;
use crate::exit::Failure;
use crate::tell::Voice;
use crate::{clock, threads};

/// How often a front is looked for that may have to be continued.
pub(super) const WAKE_EVERY: Duration = Duration::from_millis(10);
/// A stopped or busy front is waited for so long.
pub(super) const FRONT_LIMIT: Duration = Duration::from_millis(100);

pub(super) enum Message {
    Order(Order),
    /// The socket's end.
    FrontGone,
    Child(Pid, WaitStatus),
    /// All that was ever started has ended.
    NoChild,
    Obtained(azmutex::Result<LockGuard>),
    Started(io::Result<()>),
}

pub(super) struct Warden {
    pub(super) control: Arc<UnixStream>,
    pub(super) board: Arc<Board>,
    pub(super) voice: Voice,
    pub(super) is_live: bool,
    pub(super) sender: Sender<Message>,
    pub(super) messages: Receiver<Message>,
    pub(super) front: Option<Pid>,
    pub(super) leader: Arc<Leader>,
    /// Until it is the command.
    pub(super) launcher: Option<Launcher>,
    turns: Cell<Turns>,
}

/// How it ends.
pub(super) enum End {
    /// The command ended, with this status.
    Ended(i32),
    Failed(Failure),
    /// The front is dead, or ends in its own way.
    Alone,
    /// A request may be on its way that has to be undone.
    Undoing(Box<End>),
}

impl Warden {
    pub(super) fn start(control: UnixStream, arguments: &Run, voice: Voice, is_live: bool) -> Result<Warden, Failure> {
        Warden::set_up(control, arguments, voice, is_live).map_err(|error| Failure::system("start the command", &error))
    }

    /// On the process's first thread: the command is killed when that ends.
    fn set_up(control: UnixStream, arguments: &Run, voice: Voice, is_live: bool) -> io::Result<Warden> {
        descent::remember_session();
        set_child_subreaper(Some(getpid()))?;
        let [stdin, board] = wire::take_over(&control)?;
        dup2_stdin(File::open("/dev/null")?)?;
        let launcher = Launcher::start(&arguments.command(), stdin)?;
        // Only now: the command is in the session of the front. In the same session as a stopped job, we would keep it
        // from being ended when its terminal closes.
        setsid()?;
        // Nobody means us alone: by a stop, or by what somebody sends to all processes of a name, a user or a service.
        signals::disregard_all()?;
        pass_to_front()?;
        let (sender, messages) = unbounded();
        let (heard, reader) = (sender.clone(), control.try_clone()?);
        threads::start("orders", move || {
            while let Some(order) = wire::hear(&reader) {
                let _ = heard.send(Message::Order(order));
            }
            let _ = heard.send(Message::FrontGone);
        })?;
        let heard = sender.clone();
        threads::start("children", move || {
            loop {
                let message = match descent::next_change(WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
                    Ok(Some((pid, status))) => Message::Child(pid, status),
                    Err(Errno::CHILD) => break,
                    Ok(None) | Err(_) => continue,
                };
                let _ = heard.send(message);
            }
            let _ = heard.send(Message::NoChild);
        })?;
        // A front that is stopped must not keep us from what we have to do.
        control.set_write_timeout(Some(FRONT_LIMIT))?;
        let (front, leader, launcher) = (getppid(), launcher.leader.clone(), Some(launcher));
        let (control, board) = (Arc::new(control), Arc::new(Board::of(board)));
        let turns = Cell::default();
        Ok(Warden { control, board, voice, is_live, sender, messages, front, leader, launcher, turns })
    }

    pub(super) fn say(&self, report: Report) {
        wire::say(&self.control, report);
    }

    /// The command has stopped, or what is to become it.
    pub(super) fn stopped(&self) {
        let mut turns = self.turns.get();
        turns.stopped();
        self.turn(turns);
    }

    /// It goes on, or has ended.
    pub(super) fn runs(&self) {
        let mut turns = self.turns.get();
        if turns.runs() {
            self.turn(turns);
        }
    }

    fn turn(&self, turns: Turns) {
        self.turns.set(turns);
        self.board.set_turn(turns.now());
        // If there is no room, the front has not read of others yet, and looks at the board when it does.
        let _ = wire::has_said(&self.control, Report::Turned(self.leader.pid.as_raw_nonzero().get()));
    }

    pub(super) fn seen(&self, turn: i32) {
        let mut turns = self.turns.get();
        turns.seen(turn);
        self.turns.set(turns);
    }

    /// Whether whoever continued the front at that turn meant the command, which did not get the signal itself.
    pub(super) fn is_to_go_on(&self, turn: i32) -> bool {
        self.turns.get().is_to_go_on(turn) && descent::is_stopped(self.leader.pid).unwrap_or(true)
    }

    /// Whether who stopped the front at that turn meant the command as it is now, and it has not got that stop itself.
    pub(super) fn is_to_stop(&self, turn: i32) -> bool {
        self.turns.get().is_to_stop(turn) && !descent::is_stopped(self.leader.pid).unwrap_or(false)
    }

    /// Sees to it that the front runs if the command does. Whether that is not known yet.
    fn is_front_behind(&self) -> bool {
        let is_behind = self.turns.get().is_front_behind();
        if is_behind {
            self.wake_front();
        }
        is_behind
    }

    /// How long to wait for a message at most. Sees to it that the front runs if the command does.
    pub(super) fn look_every(&self) -> Duration {
        if self.is_front_behind() { WAKE_EVERY } else { clock::LOOK_EVERY }
    }

    pub(super) fn wake_front(&self) {
        if let Some(front) = self.front.filter(|front| descent::is_stopped(*front).unwrap_or(true)) {
            let _ = kill_process(front, Signal::CONT);
        }
    }

    pub(super) fn signal_leader(&self, signal: Signal) {
        self.leader.signal(signal);
    }
}

/// The card names this process, so that is where somebody sends what is to end the command. It is for the front, which
/// knows what that means at each stage.
fn pass_to_front() -> io::Result<()> {
    let front = getppid();
    let passed = [SIGINT, SIGQUIT, SIGHUP, SIGTERM].into_iter().filter(|signal| !signals::is_ignored(*signal));
    let mut signals = Signals::new(passed)?;
    threads::start("signals", move || {
        for number in signals.forever() {
            // Whoever has adopted us since is not meant.
            if let Some((front, signal)) = front.filter(|_| getppid() == front).zip(Signal::from_named_raw(number)) {
                let _ = kill_process(front, signal);
            }
        }
    })
}

pub(super) fn has_ended(status: WaitStatus) -> bool {
    status.exited() || status.signaled()
}
