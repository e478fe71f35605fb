//! While the lock is waited for.

use std::time::Duration;

use azmutex::event::Event;
use azmutex::{Cancel, Error, ErrorKind, LockGuard};
use rustix::process::Signal;
use signal_hook::consts::SIGCONT;

use super::warden::{self, End, Message, Warden};
use super::wire::{self, Order, Report};
use super::{descent, signals};
use crate::arguments::Run;
use crate::exit::Failure;
use crate::run::lock::{self, Lock};
use crate::{clock, threads};

/// How long is waited for a wait to end that was cancelled.
const PARTING: Duration = Duration::from_millis(400);
/// A wait for less has no time for one answer.
const SHORTEST: Duration = Duration::from_millis(500);

pub(super) enum Obtained {
    Guard(LockGuard),
    Not(Error),
    Nothing(End),
}

impl Warden {
    /// Has the front told when the lock has to be waited for.
    pub(super) fn waiting(&self) -> impl FnMut(&Event) + Send + 'static {
        let (control, board, mut is_told) = (self.control.clone(), self.board.clone(), false);
        move |event| {
            if let Event::Waiting { card, .. } = event {
                board.set_holder(&card.as_ref().map(ToString::to_string).unwrap_or_default());
                if !std::mem::replace(&mut is_told, true) {
                    wire::say(&control, Report::Waiting);
                }
            }
        }
    }

    /// The lock, unless a signal or the end of the time comes first.
    pub(super) fn obtain(&self, lock: &Lock, until: Option<Duration>, arguments: &Run) -> Result<Obtained, Failure> {
        let (mut is_wanted, mut running) = (true, None::<Cancel>);
        // The launcher has stopped, and so is the wait to do.
        let mut pausing_until = None::<Duration>;
        loop {
            if is_wanted && running.is_none() {
                let cancel = Cancel::new();
                running = Some(cancel.clone());
                let (locker, sender) = (lock.locker.clone(), self.sender.clone());
                // A wait that was stopped may be past its time, and looks once more.
                let least = SHORTEST.min(arguments.limit().unwrap_or_default());
                let left = until.map(|until| until.saturating_sub(clock::now()).max(least));
                let limit = left.or(arguments.limit());
                let wait = move || drop(sender.send(Message::Obtained(lock::obtain(&locker, limit, &cancel))));
                threads::start("wait", wait).map_err(|error| Failure::system("start a thread", &error))?;
            }
            if pausing_until.is_some_and(|until| running.is_none() || clock::now() >= until) {
                pausing_until = None;
                self.stopped();
            }
            let pause = self.look_every();
            match self.messages.recv_timeout(pause) {
                Ok(Message::Obtained(obtained)) => {
                    running = None;
                    match obtained {
                        // What comes while it is not wanted is given back.
                        _ if !is_wanted || descent::is_stopped(self.leader.pid) == Some(true) => {}
                        Ok(guard) => return Ok(Obtained::Guard(guard)),
                        Err(error) if error.kind() == ErrorKind::Cancelled => {}
                        Err(error) => return Ok(Obtained::Not(error)),
                    }
                }
                Ok(Message::Child(pid, status)) if pid == self.leader.pid && status.stopped() => {
                    is_wanted = false;
                    pausing_until = Some(clock::now() + PARTING);
                    running.iter().for_each(Cancel::cancel);
                }
                Ok(Message::Child(pid, status)) if pid == self.leader.pid && status.continued() => {
                    (is_wanted, pausing_until) = (true, None);
                    self.runs();
                }
                Ok(Message::Order(Order::Signal(SIGCONT))) => self.signal_leader(Signal::CONT),
                Ok(Message::Order(Order::Stop(turn))) => {
                    if self.is_to_stop(turn) {
                        self.signal_leader(Signal::TSTP);
                    }
                }
                Ok(Message::Order(Order::Seen(turn))) => self.seen(turn),
                Ok(Message::Order(Order::Continued(turn))) => {
                    if self.is_to_go_on(turn) {
                        self.signal_leader(Signal::CONT);
                    }
                }
                Ok(Message::Order(Order::Signal(number))) if signals::is_fatal(number) => {
                    self.voice.in_detail("interrupted", "a signal ended the wait for the lock");
                    return Ok(Obtained::Nothing(self.leave(running, End::Alone)));
                }
                Ok(Message::FrontGone) => return Ok(Obtained::Nothing(self.leave(running, End::Alone))),
                Ok(Message::Child(pid, status)) if pid == self.leader.pid && warden::has_ended(status) => {
                    // A key's signal reached it before us, or somebody killed it.
                    return Ok(Obtained::Nothing(self.leave(running, End::Ended(status.as_raw()))));
                }
                Ok(
                    Message::Order(Order::Signal(_) | Order::Key(_) | Order::Cleared | Order::Heard)
                    | Message::Child(..)
                    | Message::Started(_)
                    | Message::NoChild,
                )
                | Err(_) => {}
            }
        }
    }

    /// Ends a wait, with what it began undone.
    fn leave(&self, running: Option<Cancel>, end: End) -> End {
        let Some(cancel) = running else { return end };
        cancel.cancel();
        let until = clock::now() + PARTING;
        while let Some(left) = until.checked_sub(clock::now()) {
            match self.messages.recv_timeout(left) {
                Ok(Message::Obtained(obtained)) => {
                    drop(obtained);
                    // Unless a request hangs, it ends at once.
                    let is_soon = until.saturating_sub(clock::now()) > PARTING / 2;
                    return if is_soon { end } else { End::Undoing(Box::new(end)) };
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        End::Undoing(Box::new(end))
    }
}
