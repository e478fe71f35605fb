//! The only place that prints: each line by one write, so that lines of several programs do not mix. A reader who has gone
//! away is no reason to stop, and `println!` would panic; one who does not read must not keep us from ending a command.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use azmutex::crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};
use azmutex::event::Event;
use azmutex::lease::Card;
#[cfg(target_os = "linux")]
use rustix::process::{Signal, getpgrp};
#[cfg(target_os = "linux")]
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use crate::arguments::{Log, Telling};
use crate::exit::{self, Failure};
use crate::json::Object;
use crate::threads;

/// What our messages begin with, between those of the command.
pub(crate) const PREFIX: &str = "azmutex: ";
/// How long a wait is not told of, so that it can be told of with the card of who has the lock.
const DRAFT: Duration = Duration::from_millis(400);
/// For what is told last to be written, if nobody reads. A busy machine needs some of it where somebody does.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);
/// Takes away what is on the terminal's line.
const CLEAR: &str = "\r\x1b[K";

/// To stderr, as a message of ours between those of the command.
#[cfg(feature = "emulator")]
pub(crate) fn note(text: impl Display) {
    error_line(&format!("{PREFIX}{text}\n"));
}

/// To stdout, at once.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{text}\n").as_bytes()).and_then(|()| stdout.flush())
}

/// Whether a wait is shown on a line that changes.
#[cfg(target_os = "linux")]
pub(crate) fn is_live(telling: Telling) -> bool {
    let is_plain = telling.quiet || telling.verbose || telling.log != Log::Text;
    let is_able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    !is_plain && is_able && io::IsTerminal::is_terminal(&io::stderr())
}

fn error_line(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Why it ends so, without a [`Voice`].
pub(crate) fn failed(telling: Telling, failure: &Failure) {
    last(of_failure(telling, failure));
}

/// The same in plain words.
pub(crate) fn last_note(text: impl Display) {
    last(format!("{PREFIX}{text}\n"));
}

/// Before this process ends, which nobody who does not read may keep from it.
fn last(text: String) {
    let (done, written) = bounded::<()>(0);
    let written_by_thread = threads::start("last words", move || {
        error_line(&text);
        drop(done);
    });
    if written_by_thread.is_ok() {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

fn of_failure(telling: Telling, failure: &Failure) -> String {
    match telling.log {
        Log::Json => {
            let object = Object::new().text("event", "failed").number("exit_code", failure.code.into());
            object.text("text", &failure.text).with_time().line()
        }
        Log::Text => format!("{PREFIX}{}\n", failure.text),
    }
}

/// Tells on a thread of its own.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    telling: Telling,
    lines: Sender<Line>,
}

#[derive(Debug)]
enum Line {
    Text(String),
    /// One that a better one may follow soon, which then takes its place.
    Draft(String),
    Flush(Sender<()>),
}

impl Voice {
    /// `is_live` where there may be a line on the terminal that has to give way.
    pub(crate) fn start(telling: Telling, is_live: bool) -> io::Result<Voice> {
        Voice::by(telling, move |text| if is_live { error_line(&format!("{CLEAR}{text}")) } else { error_line(text) })
    }

    /// Of a process that shares a terminal with other jobs, and whose own way it is to meet TTOU.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_in_job(telling: Telling) -> io::Result<Voice> {
        let has_to_ask = !crate::run::linux::is_ignored(Signal::TTOU.as_raw());
        Voice::by(telling, move |text| {
            let mut rest = text.as_bytes();
            // The terminal would stop all of the job, the command, too, for as long as we write.
            while !(rest.is_empty() || has_to_ask && is_output_refused()) {
                match io::stderr().lock().write(rest) {
                    Ok(0) => return,
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn by(telling: Telling, write: impl Fn(&str) + Send + 'static) -> io::Result<Voice> {
        let (lines, told) = unbounded();
        threads::start("voice", move || {
            let mut draft = None::<String>;
            loop {
                let line = match draft {
                    Some(_) => told.recv_timeout(DRAFT),
                    None => told.recv().map_err(RecvTimeoutError::from),
                };
                match line {
                    Ok(Line::Draft(text)) => draft = Some(text),
                    other => {
                        draft.take().iter().for_each(|text| write(text));
                        match other {
                            Ok(Line::Text(text)) => write(&text),
                            Ok(Line::Flush(done)) => drop(done),
                            Ok(Line::Draft(_)) | Err(RecvTimeoutError::Timeout) => {}
                            Err(RecvTimeoutError::Disconnected) => return,
                        }
                    }
                }
            }
        })?;
        Ok(Voice { telling, lines })
    }

    /// What an observer of the lock is to do. While a `live` line says that the lock is waited for, nothing else has to.
    pub(crate) fn observer(&self, is_live: bool) -> impl FnMut(Event) + Send + 'static {
        let (voice, mut choice) = (self.clone(), Choice { telling: self.telling, is_live, ..Choice::default() });
        move |event| match voice.telling.log {
            Log::Json => voice.line(of_event(&event).with_time().line()),
            Log::Text if choice.tells(&event) => {
                let line = format!("{PREFIX}{event}\n");
                let is_draft = matches!(event, Event::Waiting { .. }) && !voice.telling.verbose;
                let _ = voice.lines.send(if is_draft { Line::Draft(line) } else { Line::Text(line) });
            }
            Log::Text => {}
        }
    }

    /// What happens beside the lock's own events.
    pub(crate) fn happened(&self, event: &str, text: impl Display) {
        match self.telling.log {
            Log::Json => self.line(Object::new().text("event", event).text("text", text).with_time().line()),
            Log::Text if self.telling.quiet => {}
            Log::Text => self.line(format!("{PREFIX}{text}\n")),
        }
    }

    /// The same, for those who want to hear all.
    pub(crate) fn in_detail(&self, event: &str, text: impl Display) {
        if self.telling.verbose || self.telling.log == Log::Json {
            self.happened(event, text);
        }
    }

    /// Why it ends so.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.line(of_failure(self.telling, failure));
    }

    /// What somebody has to know who reads the words, and no observer of the lock tells.
    #[cfg(target_os = "linux")]
    pub(crate) fn note(&self, text: impl Display) {
        self.line(format!("{PREFIX}{text}\n"));
    }

    /// A line that the next one takes the place of: unless the one before it is not read yet.
    #[cfg(target_os = "linux")]
    pub(crate) fn live(&self, text: &str, has_colour: bool) {
        let (dim, bright) = if has_colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        if self.lines.is_empty() {
            self.line(format!("{CLEAR}{dim}{PREFIX}{text}{bright}"));
        }
    }

    /// Takes that line away.
    #[cfg(target_os = "linux")]
    pub(crate) fn clear(&self) {
        self.line(CLEAR.to_owned());
    }

    fn line(&self, text: String) {
        let _ = self.lines.send(Line::Text(text));
    }

    /// Until all of it is written, or for no longer than this.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, written) = bounded(0);
        let _ = self.lines.send(Line::Flush(done));
        let _ = written.recv_timeout(limit);
    }
}

/// Whether the terminal lets only the job in the foreground write, and we are another.
#[cfg(target_os = "linux")]
fn is_output_refused() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group != getpgrp())
        && tcgetattr(io::stderr()).is_ok_and(|terminal| terminal.local_modes.contains(LocalModes::TOSTOP))
}

/// Which events are told in words: with `verbose` all, else those that somebody who waits in front of it has to know. A
/// loss is told once, at the end.
#[derive(Default)]
struct Choice {
    telling: Telling,
    is_live: bool,
    has_waited: bool,
    has_card: bool,
    is_out: bool,
}

impl Choice {
    fn tells(&mut self, event: &Event) -> bool {
        let is_news = match event {
            Event::Lost { .. } | Event::ReleaseFailed { .. } => return false,
            Event::Waiting { card, .. } => {
                // When it begins, and once with a card.
                let is_first = !std::mem::replace(&mut self.has_waited, true);
                let has_card = card.is_some() && !std::mem::replace(&mut self.has_card, true);
                (is_first || has_card) && !self.is_live
            }
            Event::Retrying { .. } | Event::RenewalFailed { .. } => !std::mem::replace(&mut self.is_out, true),
            Event::CredentialFailing { .. } | Event::NotWritten { .. } => true,
            Event::Acquired { .. } | Event::Renewed { .. } => {
                self.is_out = false;
                false
            }
            _ => false,
        };
        self.telling.verbose || is_news && !self.telling.quiet
    }
}

fn of_event(event: &Event) -> Object {
    let named = |name, lock: &str| Object::new().text("event", name).text("lock", lock);
    let object = match event {
        Event::Waiting { lock, card, .. } => {
            let object = named("waiting", lock);
            card.as_ref().map_or(object.clone(), |card| object.object("card", &of_card(card)))
        }
        Event::Retrying { lock, error, .. } => named("retrying", lock).text("error", exit::sentence(error)),
        Event::Acquired { lock, left, fencing_token, .. } => {
            let object = named("acquired", lock).seconds("left_seconds", *left);
            fencing_token.map_or(object.clone(), |token| object.number("fencing_token", token.get()))
        }
        Event::NotWritten { lock, error, .. } => named("not_written", lock).text("error", exit::sentence(error)),
        Event::Renewed { lock, left, .. } => named("renewed", lock).seconds("left_seconds", *left),
        Event::RenewalFailed { lock, left, error, .. } => {
            named("renewal_failed", lock).seconds("left_seconds", *left).text("error", exit::sentence(error))
        }
        Event::CredentialFailing { lock, left, error, .. } => {
            named("credential_failing", lock).seconds("left_seconds", *left).text("error", exit::sentence(error))
        }
        Event::Lost { lock, why, .. } => named("lost", lock).text("why", why),
        Event::Released { lock, .. } => named("released", lock),
        Event::ReleaseFailed { lock, error, .. } => named("release_failed", lock).text("error", exit::sentence(error)),
        Event::Missed { count, .. } => Object::new().text("event", "missed").number("count", *count),
        other => Object::new().text("event", "other").text("text", other),
    };
    object.text("severity", event.severity()).text("text", event)
}

/// A holder, as it left word of itself.
pub(crate) fn of_card(card: &Card) -> Object {
    let mut object = Object::new().text("label", card.label()).text("host", card.host());
    if let Some(pid) = card.pid() {
        object = object.number("pid", pid.into());
    }
    if let Some(since) = card.since() {
        object = object.time("since", since.duration_since(UNIX_EPOCH).unwrap_or_default());
    }
    if let Some(token) = card.fencing_token() {
        object = object.number("fencing_token", token.get());
    }
    object.text("version", card.crate_version())
}

/// Such as `1m05s`.
pub(crate) fn time(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    let mut text = String::new();
    let _ = match (hours, minutes) {
        (0, 0) => write!(text, "{seconds}s"),
        (0, _) => write!(text, "{minutes}m{seconds:02}s"),
        _ => write!(text, "{hours}h{minutes:02}m"),
    };
    text
}

/// On stderr, without an end of the line.
pub(crate) fn question(text: impl Display) {
    error_line(&format!("{PREFIX}{text}"));
}
