//! The process that the user started.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpgrp, getpid, kill_process, set_child_subreaper, setrlimit,
};
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGTSTP};

use super::second_guard::{SecondGuard, Taken, WARDEN_KILLED};
use super::signals::{self, Arrived};
use super::turns::{self, Step, Stops};
use super::wire::{self, Board, Order, Report};
use super::{descent, itself};
use crate::arguments::Run;
use crate::exit::{self, Failure};
use crate::tell::{self, LAST_WORDS, Voice};
use crate::{clock, threads};

/// A wait that is cancelled ends within a quarter of a second, with what it began undone.
const PARTING: Duration = Duration::from_millis(500);
/// How long the warden takes to end when all is done.
const FAREWELL: Duration = Duration::from_secs(1);
const REDRAW_EVERY: Duration = Duration::from_secs(1);
/// How long a terminal may take to show that a line is gone.
const CLEARING: Duration = Duration::from_millis(80);

enum Message {
    Signal(Arrived),
    Report(Report),
    /// The socket's end, while there was nothing to kill.
    WardenGone,
    /// The second guard has ended the command.
    Taken(Taken),
    /// It has left nothing behind.
    WardenReaped,
}

/// The exit code, unless it is a failure of ours; where the command died of a signal, so do we.
pub(crate) fn run(arguments: &Run) -> Result<u8, Failure> {
    let system = |doing: &str| {
        let doing = doing.to_owned();
        move |error: io::Error| Failure::system(&doing, &error)
    };
    // Children of a program that this one took the place of are nobody's business.
    let strangers = descent::descendants();
    descent::remember_session();
    set_child_subreaper(Some(getpid())).map_err(|error| system("adopt what the command starts")(error.into()))?;
    // If it were ignored, also by the warden, how the command ended would never be heard.
    signals::never_ignore(SIGCHLD).map_err(system("listen for signals"))?;
    let (sender, messages) = unbounded();
    let heard = sender.clone();
    let has_stop_arrived = signals::listen(move |signal| drop(heard.send(Message::Signal(signal))))
        .map_err(system("listen for signals"))?;
    let front =
        Front::start(arguments, strangers, has_stop_arrived, sender, messages).map_err(system("start a warden"))?;
    Ok(front.go())
}

struct Front<'a> {
    arguments: &'a Run,
    strangers: Vec<descent::Process>,
    messages: Receiver<Message>,
    warden: Pid,
    control: UnixStream,
    /// What the warden has not had room for yet.
    unsaid: Vec<Order>,
    board: Arc<Board>,
    voice: Voice,
    stage: Stage,
    stops: Stops,
    /// Maybe a TSTP that is not heard yet.
    has_stop_arrived: Arc<AtomicBool>,
    /// The signal that continued us is not heard yet, and its work is done.
    is_continued: bool,
    /// Since when the lock has been waited for, as far as that is shown.
    waiting_since: Option<Duration>,
    drawn: Option<Duration>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Holding,
}

impl<'a> Front<'a> {
    fn start(
        arguments: &'a Run,
        strangers: Vec<descent::Process>,
        has_stop_arrived: Arc<AtomicBool>,
        sender: Sender<Message>,
        messages: Receiver<Message>,
    ) -> io::Result<Front<'a>> {
        let voice = Voice::start_in_job(arguments.telling)?;
        let (control, theirs) = UnixStream::pair()?;
        let board = Arc::new(Board::new()?);
        let mut command = itself::again(itself::WARDEN)?;
        let child = command.args(env::args_os().skip(1)).stdin(OwnedFd::from(theirs)).spawn()?;
        // It keeps the other end of the socket open.
        drop(command);
        wire::hand_over(&control, &[io::stdin().as_fd(), board.open().as_fd()])?;
        let (reader, heard) = (control.try_clone()?, sender.clone());
        let (warden, (gone, has_gone)) = (Pid::from_child(&child), bounded(1));
        let guard = SecondGuard { board: board.clone(), warden, strangers: strangers.clone() };
        let ended = sender.clone();
        threads::start("second guard", move || {
            let _ = ended.send(guard.watch(&has_gone).map_or(Message::WardenGone, Message::Taken));
        })?;
        threads::start("reports", move || {
            while let Some(report) = wire::hear(&reader) {
                let _ = sender.send(Message::Report(report));
            }
            drop(gone);
        })?;
        threads::start("children", move || {
            loop {
                match descent::next_change(WaitOptions::UNTRACED) {
                    Ok(Some((pid, status))) if pid == warden => match status.stopping_signal() {
                        None => drop(heard.send(Message::WardenReaped)),
                        // By a key that came before it had left the terminal.
                        Some(signal) if signals::is_stop(signal) => drop(kill_process(warden, Signal::CONT)),
                        Some(_) => {}
                    },
                    // As the first process of a container we get orphans of others, too.
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        })?;
        Ok(Front {
            arguments,
            strangers,
            messages,
            warden,
            control,
            unsaid: Vec::new(),
            board,
            voice,
            stage: Stage::Waiting,
            stops: Stops::default(),
            has_stop_arrived,
            is_continued: false,
            waiting_since: None,
            drawn: None,
        })
    }

    fn go(mut self) -> u8 {
        loop {
            let message = self.messages.recv_timeout(clock::LOOK_EVERY);
            self.say_rest();
            self.draw();
            match message {
                Ok(Message::WardenReaped) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Signal(signal)) => {
                    if let Some(code) = self.signal(signal) {
                        return code;
                    }
                }
                Ok(Message::Report(report)) => {
                    if let Some(code) = self.report(report) {
                        return code;
                    }
                }
                Ok(Message::Taken(taken)) => return self.tell_taken(&taken),
                Ok(Message::WardenGone) | Err(RecvTimeoutError::Disconnected) => return self.bury(),
            }
        }
    }

    /// At once, or when there is room: a warden that does not read must not keep us from anything. Of what is the same, the
    /// last counts.
    fn say(&mut self, order: Order) {
        self.unsaid.retain(|unsaid| !order.takes_the_place_of(*unsaid));
        self.unsaid.push(order);
        self.say_rest();
    }

    fn say_rest(&mut self) {
        let said = self.unsaid.iter().take_while(|order| wire::has_said(&self.control, **order)).count();
        self.unsaid.drain(..said);
    }

    fn signal(&mut self, signal: Arrived) -> Option<u8> {
        match self.stage {
            _ if signal.number == SIGCONT => self.continued(),
            _ if signal.is_stop() => self.stop_arrived(signal),
            Stage::Waiting if signal.is_fatal() => return self.leave(signal.number),
            Stage::Holding if signal.is_key && signal.number != SIGHUP => {
                self.say(Order::Key(signal.number));
            }
            // The warden knows whether the command runs by now.
            Stage::Waiting | Stage::Holding => self.say(Order::Signal(signal.number)),
        }
        None
    }

    fn stop_arrived(&mut self, signal: Arrived) {
        match signal.number {
            SIGTSTP => self.has_stop_arrived.store(false, Ordering::SeqCst),
            // Of a job in the background, which the command is, too.
            _ if signal.is_key => return,
            _ => {}
        }
        if let Some(turn) = self.stops.heard(signal.is_key, self.board.turn()) {
            self.say(Order::Stop(turn));
        }
    }

    /// Looks whether the command has stopped, and stops for the shell, which watches us, until we are continued.
    fn look(&mut self, command: Option<Pid>) {
        // Nobody could continue us, if nobody watches.
        let has_stopped = || if descent::is_orphaned() { Some(false) } else { descent::is_stopped(command?) };
        match turns::step(self.board.turn(), has_stopped) {
            Step::SayBack(turn) => self.say(Order::Seen(turn)),
            Step::StopAt(turn) => {
                self.undraw();
                self.stops.before_own(self.has_stop_arrived.load(Ordering::SeqCst));
                signals::stop();
                self.pass_continued(turn);
                self.is_continued = true;
            }
            Step::Nothing => {}
        }
    }

    fn continued(&mut self) {
        let turn = self.board.turn();
        if !std::mem::take(&mut self.is_continued) {
            self.pass_continued(turn);
        }
        if !turns::is_stopped(turn) {
            self.say(Order::Seen(turn));
        }
    }

    /// That we were continued at that turn.
    fn pass_continued(&mut self, turn: i32) {
        let is_after_stop = self.stops.continued(turn);
        self.say(if is_after_stop { Order::Signal(SIGCONT) } else { Order::Continued(turn) });
    }

    /// A signal ended the wait, unless the command has just started, which got it then.
    fn leave(&mut self, signal: i32) -> Option<u8> {
        self.say(Order::Signal(signal));
        // What takes longer to undo, the warden undoes alone.
        let until = clock::now() + PARTING;
        while let Some(left) = until.checked_sub(clock::now()) {
            match self.messages.recv_timeout(left) {
                Ok(Message::Report(Report::Ended(_) | Report::Failed(_)) | Message::WardenGone) | Err(_) => break,
                Ok(Message::Report(Report::Held)) => return self.report(Report::Held),
                Ok(Message::Taken(taken)) => return Some(self.tell_taken(&taken)),
                Ok(Message::Signal(signal)) if signal.is_stop() => self.stop_arrived(signal),
                Ok(_) => {}
            }
        }
        self.undraw();
        Some(die_of(signal))
    }

    fn report(&mut self, report: Report) -> Option<u8> {
        match report {
            Report::Waiting => {
                self.waiting_since = Some(clock::now());
                if tell::is_live(self.arguments.telling) && !has_terminal() {
                    self.voice.note(format_args!("lock {:?}: waiting, somebody else holds it", self.arguments.name));
                }
            }
            Report::Held => {
                self.stage = Stage::Holding;
                self.undraw();
                self.waiting_since = None;
                self.say(Order::Cleared);
            }
            Report::Turned(command) => self.look(Pid::from_raw(command)),
            Report::Ended(status) => {
                self.see_off();
                return Some(self.pass_on(ExitStatus::from_raw(status)));
            }
            Report::Failed(code) => {
                self.see_off();
                return Some(u8::try_from(code).unwrap_or(exit::SYSTEM));
            }
        }
        None
    }

    /// Until the warden has ended, so that nothing of us is left.
    fn see_off(&mut self) {
        self.undraw();
        self.say(Order::Heard);
        let until = clock::now() + FAREWELL;
        while let Some(left) = until.checked_sub(clock::now()) {
            if let Ok(Message::WardenReaped) | Err(_) = self.messages.recv_timeout(left) {
                return;
            }
        }
    }

    fn pass_on(&self, status: ExitStatus) -> u8 {
        match status.signal() {
            Some(signal) => die_of(signal),
            None => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::SYSTEM),
        }
    }

    /// The warden is dead, and there was nothing to kill by a deadline.
    fn bury(&mut self) -> u8 {
        let _ = kill_process(self.warden, Signal::KILL);
        let left = descent::kill_all(None, &self.strangers);
        if self.stage == Stage::Holding {
            return self.tell_taken(&Taken { why: WARDEN_KILLED, left });
        }
        let name = &self.arguments.name;
        self.fail(&Failure::new(exit::SYSTEM, format!("lock {name:?}: the warden ended while it waited for the lock")))
    }

    fn tell_taken(&mut self, taken: &Taken) -> u8 {
        let (name, why) = (&self.arguments.name, taken.why);
        let names: Vec<_> = taken.left.iter().map(descent::Process::name).collect();
        let but = if names.is_empty() { String::new() } else { format!(", but for {}", names.join(", ")) };
        self.fail(&Failure::new(exit::LOST, format!("lock {name:?}: {why}{but}; the lock frees itself")))
    }

    fn fail(&mut self, failure: &Failure) -> u8 {
        self.undraw();
        self.voice.failed(failure);
        self.voice.flush(LAST_WORDS);
        failure.code
    }

    fn draw(&mut self) {
        let Some(since) =
            self.waiting_since.filter(|_| self.stage == Stage::Waiting && tell::is_live(self.arguments.telling))
        else {
            return;
        };
        let now = clock::now();
        if self.drawn.is_some_and(|drawn| now < drawn + REDRAW_EVERY) || !has_terminal() {
            return;
        }
        self.drawn = Some(now);
        let waited = tell::time(now.saturating_sub(since));
        let holder = match self.board.holder() {
            card if card.is_empty() => "somebody else holds it".to_owned(),
            card => format!("the last card left: {card}"),
        };
        let text = format!("lock {:?}: waiting for {waited}, {holder}", self.arguments.name);
        // What does not fit into the line could not be taken away again.
        let width = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let text: String = text.chars().take(width.saturating_sub(tell::PREFIX.len() + 1)).collect();
        self.voice.live(&text, env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    }

    fn undraw(&mut self) {
        if self.drawn.take().is_some() {
            self.voice.clear();
            // The command, or the shell's prompt, comes next.
            self.voice.flush(CLEARING);
        }
    }
}

/// Whether our job is the one in the foreground: another's must not be written over.
fn has_terminal() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp())
}

/// In a process that has become this one, with the signal that it is to die of.
pub(crate) fn end(signal: &str) -> u8 {
    let number = signal.parse().unwrap_or_default();
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = kill_process(getpid(), signal);
    }
    u8::try_from(number).map_or(exit::SYSTEM, |number| number.saturating_add(128))
}

/// As the command did, so that a shell's script ends, too. It returns what to exit with where that is not possible.
fn die_of(signal: i32) -> u8 {
    if process::id() != 1 {
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        // Of the others not even that is known, but that a program which is started has no handlers.
        let _ = itself::again(itself::ENDING).map(|mut again| again.arg(signal.to_string()).exec());
    }
    u8::try_from(signal).map_or(exit::SYSTEM, |signal| signal.saturating_add(128))
}
