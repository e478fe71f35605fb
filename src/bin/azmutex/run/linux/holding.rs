//! While the lock is held: what the command does, and what is done to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use azmutex::crossbeam_channel::{Sender, after, bounded, never, select};
use azmutex::{ErrorKind, LockGuard};
use rustix::process::{Signal, WaitStatus, getpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::descent::{self, Leader, Process};
use super::launcher::{Launched, Launcher};
use super::warden::{self, End, Message, Warden};
use super::wire::{Board, Order};
use crate::arguments::Run;
use crate::exit::{self, Failure};
use crate::run::lock::{self, Lock};
use crate::{clock, threads};

/// A deadline that moves by less is the same one, read with less care.
const SAME: Duration = Duration::from_millis(10);
/// How many processes are named.
const NAMED: usize = 5;

pub(super) struct Holding<'a> {
    warden: &'a Warden,
    arguments: &'a Run,
    lock: &'a Lock,
    guard: Guarded,
    deadline: Duration,
    /// Of the command, at its start.
    session: i32,
    /// What follows the command's start.
    starting: Sender<Launched>,
    has_started: bool,
    status: Option<i32>,
    is_left_told: bool,
    /// A stop was passed on to all of the session, and not taken back yet.
    has_stopped_all: bool,
    ending: Option<Ending>,
}

/// The lock, as long as something may run under it: it is not let go before all of that is killed, whatever fails, unless
/// it is known that nothing has to be.
struct Guarded {
    guard: Option<LockGuard>,
    board: Arc<Board>,
    leader: Arc<Leader>,
}

impl Guarded {
    fn get(&self) -> Option<&LockGuard> {
        self.guard.as_ref()
    }

    /// Nothing has to end any more before the lock is let go.
    fn let_go(mut self) -> Option<LockGuard> {
        self.board.set(None);
        self.guard.take()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.guard.is_some() {
            descent::kill_all(Some(&self.leader), &[]);
            self.board.set(None);
        }
    }
}

/// All is to end.
struct Ending {
    why: Why,
    kill: Kill,
}

enum Why {
    /// With what is told.
    Lost(String),
    FrontGone,
}

#[derive(Copy, Clone)]
enum Kill {
    At(Duration),
    /// Only those of other users are left.
    Done,
}

impl<'a> Holding<'a> {
    pub(super) fn start(
        warden: &'a Warden,
        arguments: &'a Run,
        lock: &'a Lock,
        guard: LockGuard,
        launcher: Launcher,
    ) -> Result<Holding<'a>, Failure> {
        let session = Process::of(warden.leader.pid).map_or(0, |process| process.session);
        let variables = lock::variables(lock, &guard, descent::itself());
        // A last look.
        guard.ensure_held()?;
        // Before anything runs: what fails from here on must not be for want of a thread.
        let (starting, started) = bounded::<Launched>(1);
        let sender = warden.sender.clone();
        let follow = move || started.iter().for_each(|launched| drop(sender.send(Message::Started(launched.result()))));
        threads::start("launched", follow).map_err(|error| Failure::system("start a thread", &error))?;
        let mut holding = Holding {
            warden,
            arguments,
            lock,
            guard: Guarded { guard: Some(guard), board: warden.board.clone(), leader: warden.leader.clone() },
            deadline: Duration::ZERO,
            session,
            starting,
            has_started: false,
            status: None,
            is_left_told: false,
            has_stopped_all: false,
            ending: None,
        };
        holding.read_deadline();
        if holding.warden.board.deadline() != Some(holding.deadline) {
            // As with a limit on the size of files: the second guard would know of nothing.
            return Err(Failure::system("write in memory", &io::ErrorKind::FileTooLarge.into()));
        }
        if !descent::is_proc_ours() {
            let text =
                "/proc does not show what runs here, so only the command itself can be ended, not what it starts";
            warden.voice.happened("no_proc", text);
        }
        let launched = launcher.go(&variables).map_err(|error| Failure::system("start the command", &error))?;
        let _ = holding.starting.send(launched);
        Ok(holding)
    }

    pub(super) fn go(mut self) -> Result<End, Failure> {
        let mut lost = self.guard.get().map_or_else(never, LockGuard::lost);
        let mut is_lost = false;
        loop {
            self.read_deadline();
            let now = clock::now();
            if self.ending.is_none() && (is_lost || now >= self.lock.times.ask(self.deadline)) {
                self.lose(now);
            }
            if self.is_time_to_kill(now) && self.kill() {
                return self.gone();
            }
            if self.ending.is_none() && self.status.is_some() && self.has_started {
                let rest = self.session();
                if rest.is_empty() {
                    return self.finish();
                }
                self.tell_left(&rest);
            }
            let pause = self.next().saturating_sub(now).min(self.warden.look_every());
            let message = select! {
                recv(self.warden.messages) -> message => message.ok(),
                recv(lost) -> _ => {
                    (is_lost, lost) = (true, never());
                    None
                }
                recv(after(pause)) -> _ => None,
            };
            match message {
                Some(Message::NoChild) if self.ending.is_some() => return self.gone(),
                Some(Message::NoChild) if self.has_started => return self.finish(),
                Some(Message::Started(Err(error))) => {
                    let program = self.arguments.command();
                    let program = program.first().map(|program| program.display().to_string()).unwrap_or_default();
                    return Err(Failure::not_started(&program, &error));
                }
                Some(Message::Started(Ok(()))) => self.has_started = true,
                Some(Message::Child(pid, status)) if pid == self.warden.leader.pid => self.follow(status),
                Some(Message::Order(order)) => self.obey(order),
                Some(Message::FrontGone) if !matches!(self.ending, Some(Ending { why: Why::FrontGone, .. })) => {
                    self.warden.voice.happened("killed", "azmutex was killed, so the command is ended");
                    self.ending = Some(Ending { why: Why::FrontGone, kill: Kill::At(now) });
                }
                _ => {}
            }
        }
    }

    /// When there is something to do, if nothing else happens.
    fn next(&self) -> Duration {
        match self.ending {
            None => self.lock.times.ask(self.deadline),
            Some(Ending { kill: Kill::At(at), .. }) => at,
            Some(Ending { kill: Kill::Done, .. }) => Duration::MAX,
        }
    }

    fn is_time_to_kill(&self, now: Duration) -> bool {
        matches!(self.ending, Some(Ending { kill: Kill::At(at), .. }) if now >= at)
    }

    /// The deadline moves with each renewal. What was asked to end is not spared by one that comes then.
    fn read_deadline(&mut self) {
        let before = clock::now();
        let deadline = before + self.guard.get().map(LockGuard::remaining).unwrap_or_default();
        if deadline > self.deadline + SAME && self.ending.is_none() {
            self.deadline = deadline;
            self.warden.board.set(Some(deadline));
        }
    }

    /// Asks all of it to end.
    fn lose(&mut self, now: Duration) {
        let held = self.guard.get().map_or(Ok(()), LockGuard::ensure_held);
        let why = held.err().and_then(|error| error.lost_because());
        let why = why.map_or_else(|| "it could not be renewed in time".to_owned(), |why| why.to_string());
        let lost = format!("lock {:?}: lost: {why}", self.arguments.name);
        let what = if self.status.is_none() { "the command" } else { "what the command had left behind" };
        let kill = Kill::At(self.lock.times.kill_after_loss(now, self.deadline));
        self.ending = Some(Ending { why: Why::Lost(format!("{lost}; {what} was ended")), kill });
        if !self.is_time_to_kill(now) {
            let all = self.all();
            self.signal_with_leader(&all, self.lock.asking);
            // One that is stopped could not obey.
            self.signal_with_leader(&all, Signal::CONT);
        }
    }

    /// Kills all of it. Whether all of it is gone.
    fn kill(&mut self) -> bool {
        let refused = descent::kill_all(Some(&self.warden.leader), &[]);
        if refused.is_empty() {
            return true;
        }
        let names = named(&refused);
        self.warden.voice.happened("not_ended", format!("of another user, and cannot be ended: {names}"));
        // There is nothing that the second guard could do.
        self.warden.board.set(None);
        if let Some(ending) = &mut self.ending {
            ending.kill = Kill::Done;
        }
        false
    }

    /// All of it has ended, because it had to.
    fn gone(self) -> Result<End, Failure> {
        // Now: a renewal that is still under way must not keep the lock from the others.
        drop(self.guard.let_go());
        match self.ending {
            Some(Ending { why: Why::Lost(text), .. }) => Err(Failure::new(exit::LOST, text)),
            Some(Ending { why: Why::FrontGone, .. }) | None => Ok(End::Alone),
        }
    }

    /// The command has ended by itself.
    fn finish(self) -> Result<End, Failure> {
        let daemons = self.all();
        let Some(guard) = self.guard.let_go() else { return Ok(End::Alone) };
        if !daemons.is_empty() {
            let text =
                format!("the command left its session to others, which go on without the lock: {}", named(&daemons));
            self.warden.voice.happened("let_go", text);
        }
        if self.status == Some(0)
            && let Some(text) = lock::mark(self.arguments, self.lock, &guard)
        {
            self.warden.voice.happened("not_marked", text);
        }
        match guard.unlock() {
            Err(error) if error.kind() == ErrorKind::LeaseLost => return Err(error.into()),
            // The work was done alone, and the lock frees itself.
            Err(error) => self.warden.voice.happened("release_failed", exit::sentence(&error)),
            Ok(()) => {}
        }
        self.status.map(End::Ended).ok_or_else(|| Failure::new(exit::SYSTEM, "nobody told how the command ended"))
    }

    /// All that the command started. What serves the lock, such as a program that fetches a token, is in our session.
    fn all(&self) -> Vec<Process> {
        let own = getpid().as_raw_nonzero().get();
        descent::descendants().into_iter().filter(|process| process.session != own).collect()
    }

    /// What is in the command's session: the one that it was started in, or that it has begun itself since.
    fn session(&self) -> Vec<Process> {
        let own = self.warden.leader.pid.as_raw_nonzero().get();
        let is_its = |session| session == self.session || session == own;
        descent::descendants().into_iter().filter(|process| is_its(process.session)).collect()
    }

    /// What is in the command's session, but in a group that it has begun.
    fn outside_of_job(&self) -> Vec<Process> {
        let Some(leader) = Process::of(self.warden.leader.pid) else { return Vec::new() };
        self.session().into_iter().filter(|process| !process.is_in_group_of(&leader)).collect()
    }

    /// The command itself in any case, which is known without `/proc`, too.
    fn signal_with_leader(&self, processes: &[Process], signal: Signal) {
        self.warden.signal_leader(signal);
        let is_other = |process: &&Process| process.pid != self.warden.leader.pid;
        let others: Vec<_> = processes.iter().filter(is_other).copied().collect();
        descent::signal_each(&others, signal);
    }

    fn tell_left(&mut self, rest: &[Process]) {
        if !std::mem::replace(&mut self.is_left_told, true) {
            let text = format!("the command has ended; what it left behind keeps the lock: {}", named(rest));
            self.warden.voice.happened("left_behind", text);
        }
    }

    fn follow(&mut self, status: WaitStatus) {
        if warden::has_ended(status) {
            self.status = Some(status.as_raw());
            self.warden.runs();
        } else if status.stopped() {
            self.warden.stopped();
        } else if status.continued() {
            self.warden.runs();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Seen(turn) => self.warden.seen(turn),
            Order::Continued(turn) => {
                let others_are_stopped = std::mem::take(&mut self.has_stopped_all);
                if self.warden.is_to_go_on(turn) {
                    self.pass_on(Signal::CONT);
                } else if others_are_stopped {
                    // Whoever continued the job did not mean the other groups of its session, which we had stopped.
                    descent::signal_each(&self.outside_of_job(), Signal::CONT);
                }
            }
            Order::Stop(turn) => {
                if self.warden.is_to_stop(turn) {
                    self.pass_on(Signal::TSTP);
                    self.has_stopped_all = true;
                }
            }
            // The job in the foreground has got it, too; but nobody is left in it who would obey.
            Order::Key(SIGINT | SIGQUIT | SIGHUP | SIGTERM) if self.status.is_some() => self.pass_on(Signal::TERM),
            Order::Signal(number) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.pass_on(signal);
                }
            }
            Order::Key(_) | Order::Cleared | Order::Heard => {}
        }
    }

    fn pass_on(&self, signal: Signal) {
        let is_for_all = [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP, Signal::CONT, Signal::TSTP];
        if is_for_all.contains(&signal) {
            self.signal_with_leader(&self.session(), signal);
        } else {
            self.warden.signal_leader(signal);
        }
    }
}

fn named(processes: &[Process]) -> String {
    let names: Vec<_> = processes.iter().take(NAMED).map(Process::name).collect();
    match processes.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
