//! While the lock is held: what the command does, and what is done to it.

use std::time::Duration;

use azmutex::crossbeam_channel::{after, never, select};
use azmutex::{ErrorKind, LockGuard};
use rustix::process::{Signal, WaitStatus, getpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::ancestry;
use super::descent::{self, Process};
use super::launcher::Launcher;
use super::warden::{self, End, Message, Warden};
use super::wire::Order;
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
    guard: LockGuard,
    deadline: Duration,
    /// Of the command.
    session: i32,
    has_started: bool,
    status: Option<i32>,
    is_left_told: bool,
    ending: Option<Ending>,
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
        let session = Process::of(warden.leader).map_or(0, |process| process.session);
        let variables = [
            ("AZMUTEX_LOCK", Some(guard.lock_name().to_owned())),
            ("AZMUTEX_LEASE_ID", Some(guard.lease_id().to_string())),
            // Not that of another lock, in which this run is nested.
            ("AZMUTEX_FENCING_TOKEN", guard.fencing_token().map(|token| token.to_string())),
            (ancestry::VARIABLE, Some(ancestry::with(lock.mutex.url()))),
        ];
        // A last look.
        guard.ensure_held()?;
        let mut holding = Holding {
            warden,
            arguments,
            lock,
            guard,
            deadline: Duration::ZERO,
            session,
            has_started: false,
            status: None,
            is_left_told: false,
            ending: None,
        };
        holding.read_deadline();
        let launched = launcher.go(&variables).map_err(|error| Failure::system("start the command", &error))?;
        let sender = warden.sender.clone();
        let result = move || drop(sender.send(Message::Started(launched.result())));
        threads::start("launched", result).map_err(|error| Failure::system("start a thread", &error))?;
        Ok(holding)
    }

    pub(super) fn go(mut self) -> Result<End, Failure> {
        let mut lost = self.guard.lost();
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
            let look_every = if self.warden.is_front_behind() { warden::WAKE_EVERY } else { warden::LOOK_EVERY };
            let pause = self.next().saturating_sub(now).min(look_every);
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
                Some(Message::Child(pid, status)) if pid == self.warden.leader => self.follow(status),
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
        let deadline = before + self.guard.remaining();
        if deadline > self.deadline + SAME && self.ending.is_none() {
            self.deadline = deadline;
            self.warden.board.set(Some(deadline));
        }
    }

    /// Asks all of it to end.
    fn lose(&mut self, now: Duration) {
        let why = self.guard.ensure_held().err().and_then(|error| error.lost_because());
        let why = why.map_or_else(|| "it could not be renewed in time".to_owned(), |why| why.to_string());
        let lost = format!("lock {:?}: lost: {why}", self.guard.lock_name());
        let what = if self.status.is_none() { "the command" } else { "what the command had left behind" };
        let kill = Kill::At(self.lock.times.kill_after_loss(now, self.deadline));
        self.ending = Some(Ending { why: Why::Lost(format!("{lost}; {what} was ended")), kill });
        if !self.is_time_to_kill(now) {
            let all = self.all();
            descent::signal_each(&all, self.lock.asking);
            // One that is stopped could not obey.
            descent::signal_each(&all, Signal::CONT);
        }
    }

    /// Kills all of it. Whether all of it is gone.
    fn kill(&mut self) -> bool {
        let refused = descent::kill_all(&[]);
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
        self.warden.board.set(None);
        // Now: a renewal that is still under way must not keep the lock from the others.
        drop(self.guard);
        match self.ending {
            Some(Ending { why: Why::Lost(text), .. }) => Err(Failure::new(exit::LOST, text)),
            Some(Ending { why: Why::FrontGone, .. }) | None => Ok(End::Alone),
        }
    }

    /// The command has ended by itself.
    fn finish(self) -> Result<End, Failure> {
        self.warden.board.set(None);
        let daemons = self.all();
        if !daemons.is_empty() {
            let text =
                format!("the command left its session to others, which go on without the lock: {}", named(&daemons));
            self.warden.voice.happened("let_go", text);
        }
        if self.status == Some(0)
            && let Some(text) = lock::mark(self.arguments, self.lock, &self.guard)
        {
            self.warden.voice.happened("not_marked", text);
        }
        match self.guard.unlock() {
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

    /// What is in the command's session.
    fn session(&self) -> Vec<Process> {
        descent::descendants().into_iter().filter(|process| process.session == self.session).collect()
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
                if self.warden.is_to_go_on(turn) {
                    self.pass_on(Signal::CONT);
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
        let is_for_all = [
            Signal::INT,
            Signal::QUIT,
            Signal::TERM,
            Signal::HUP,
            Signal::CONT,
            Signal::TSTP,
            Signal::TTIN,
            Signal::TTOU,
        ];
        if is_for_all.contains(&signal) {
            descent::signal_each(&self.session(), signal);
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
