//! What the warden does, from its start to its end.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use azmutex::crossbeam_channel::after;
use azmutex::{ErrorKind, LockGuard};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use super::descent;
use super::holding::Holding;
use super::waiting::Obtained;
use super::warden::{End, FRONT_LIMIT, Message, WAKE_EVERY, Warden};
use super::wire::{self, Order, Report};
use crate::arguments::Run;
use crate::clock;
use crate::exit::Failure;
use crate::run::ancestry;
use crate::run::lock::{self, Lock};
use crate::tell::{self, LAST_WORDS, Voice};

/// How long a wait that was cancelled may take to undo what it began, alone, with all of its requests hanging.
const UNDOING: Duration = Duration::from_secs(12);
/// For a front to hear how it ended, which may have to be continued.
const HEARD_LIMIT: Duration = Duration::from_secs(1);

/// What to exit with, for nobody.
pub(crate) fn run(arguments: &Run) -> u8 {
    let is_live = tell::is_live(arguments.telling);
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let start = |control: &io::Result<UnixStream>| {
        let system = |error: io::Error| Failure::system("start a thread", &error);
        let voice = Voice::start(arguments.telling, is_live).map_err(system)?;
        let control = control.as_ref().map_err(|error| io::Error::from(error.kind()));
        let control = control.and_then(UnixStream::try_clone).map_err(system)?;
        Ok((Warden::start(control, arguments, voice.clone(), is_live)?, voice))
    };
    match start(&control) {
        Ok((warden, voice)) => {
            let code = warden.go(arguments);
            voice.flush(LAST_WORDS);
            code
        }
        Err(failure) => {
            tell::failed(arguments.telling, &failure);
            // So that the front does not tell of a warden that was killed.
            control.iter().for_each(|control| wire::say(control, Report::Failed(failure.code.into())));
            failure.code
        }
    }
}

impl Warden {
    fn go(mut self, arguments: &Run) -> u8 {
        let end = self.carry_out(arguments).unwrap_or_else(End::Failed);
        if let End::Failed(failure) = &end {
            self.voice.failed(failure);
        }
        // Before the front ends, after which the shell's prompt comes.
        self.voice.flush(LAST_WORDS);
        let (end, is_undone) = if let End::Undoing(end) = end { (*end, false) } else { (end, true) };
        if !is_undone {
            // Whoever waits for the end of our output is not to wait for that.
            if let Ok(null) = File::options().write(true).open("/dev/null") {
                let _ = dup2_stdout(&null).and_then(|()| dup2_stderr(&null));
            }
        }
        // Of the end of its socket the launcher ends, if it is not the command yet.
        self.launcher = None;
        match end {
            End::Ended(status) => self.last_report(Report::Ended(status)),
            End::Failed(failure) => self.last_report(Report::Failed(failure.code.into())),
            End::Alone | End::Undoing(_) => {}
        }
        let until = clock::now() + FRONT_LIMIT;
        while descent::has_child() && clock::now() < until {
            let _ = self.messages.recv_timeout(WAKE_EVERY);
        }
        if !is_undone {
            let _ = self.control.shutdown(Shutdown::Both);
            let _ = after(UNDOING).recv();
        }
        0
    }

    /// A front that is stopped could not tell its shell.
    fn last_report(&self, report: Report) {
        self.runs();
        self.say(report);
        let until = clock::now() + HEARD_LIMIT;
        while clock::now() < until {
            match self.messages.recv_timeout(WAKE_EVERY) {
                Ok(Message::Order(Order::Heard) | Message::FrontGone) => return,
                Err(_) => self.wake_front(),
                Ok(_) => {}
            }
        }
    }

    fn carry_out(&mut self, arguments: &Run) -> Result<End, Failure> {
        let lock = Lock::of(arguments, &self.voice, self.is_live, self.waiting())?;
        ancestry::check(&arguments.name, lock.mutex.url(), descent::ancestors)?;
        let until = arguments.limit().map(|limit| clock::now().saturating_add(limit));
        let until = until.filter(|_| arguments.limit() != Some(Duration::ZERO));
        loop {
            let obtained = self.obtain(&lock, until, arguments)?;
            let guard = match obtained {
                Obtained::Guard(guard) => guard,
                Obtained::Not(error) if arguments.skip_if_held && error.kind() == ErrorKind::WouldBlock => {
                    let text = format!("lock {:?}: somebody else holds it, so nothing was run", arguments.name);
                    self.voice.happened("skipped", text);
                    return Ok(End::Ended(0));
                }
                Obtained::Not(error) => return Err(lock::not_obtained(arguments, &error)),
                Obtained::Nothing(end) => return Ok(end),
            };
            if let Some(text) = lock::is_done(arguments, &lock, &guard)? {
                drop(guard);
                self.voice.happened("skipped", text);
                return Ok(End::Ended(0));
            }
            // A machine that stood still just now begins again.
            if lock.times.may_start(guard.remaining()) {
                return self.hold(arguments, &lock, guard);
            }
            drop(guard);
        }
    }

    fn hold(&mut self, arguments: &Run, lock: &Lock, guard: LockGuard) -> Result<End, Failure> {
        self.say(Report::Held);
        if self.is_live {
            self.wait_until_cleared();
        }
        let Some(launcher) = self.launcher.take() else { return Ok(End::Alone) };
        Holding::start(self, arguments, lock, guard, launcher)?.go()
    }

    /// Until the front has taken its line away.
    fn wait_until_cleared(&self) {
        let until = clock::now() + FRONT_LIMIT;
        let mut others = Vec::new();
        while let Some(left) = until.checked_sub(clock::now()) {
            match self.messages.recv_timeout(left) {
                Ok(Message::Order(Order::Cleared)) | Err(_) => break,
                Ok(other) => others.push(other),
            }
        }
        for other in others {
            let _ = self.sender.send(other);
        }
    }
}
