//! A lock that is held for somebody else.

#[cfg(unix)]
use std::io::Write;
use std::io::{self, Read};
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use azmutex::lease::Card;
use azmutex::retry::Policy;
use azmutex::{Cancel, ErrorKind, LockGuard, Locker};

use crate::arguments::{self, Log};
use crate::exit::{self, Failure};
#[cfg(unix)]
use crate::known::Known;
use crate::place::Store;
use crate::tell::{self, LAST_WORDS, Voice};
use crate::{signals, threads};

/// How often the process is looked for whose end is ours.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The exit code, unless it is a failure of ours.
pub(crate) fn hold(arguments: &arguments::Hold) -> Result<u8, Failure> {
    // Before anything of ours is open under its number.
    let place = Place::of(arguments);
    let voice = Voice::start(arguments.telling, false).map_err(|error| Failure::system("start a thread", &error))?;
    let held = place.and_then(|place| obtain_and_hold(arguments, place, &voice));
    voice.flush(LAST_WORDS);
    match held {
        Err(failure) if arguments.telling.log == Log::Json => {
            tell::failed(arguments.telling, &failure);
            Ok(failure.code)
        }
        held => held,
    }
}

/// Why there is no more to hold, or to wait for.
#[derive(Copy, Clone, Debug)]
enum End {
    Signal(i32),
    OwnerGone,
}

fn obtain_and_hold(arguments: &arguments::Hold, place: Place, voice: &Voice) -> Result<u8, Failure> {
    let system = |error: io::Error| Failure::system("start a thread", &error);
    let (cancel, (sender, end)) = (Cancel::new(), bounded(3));
    let finish = move |sender: &Sender<End>, cancel: &Cancel, end: End| {
        let _ = sender.try_send(end);
        cancel.cancel();
    };
    #[cfg_attr(not(unix), allow(clippy::let_unit_value))] // nobody can be named there
    let victim = victim(arguments)?;
    let owner = Owner::of(arguments)?;
    let signals = signals::end().map_err(system)?;
    let (ending, cancels) = (sender.clone(), cancel.clone());
    threads::start("end", move || {
        if let Ok(signal) = signals.recv() {
            finish(&ending, &cancels, End::Signal(signal));
        }
    })
    .map_err(system)?;
    let cancels = cancel.clone();
    threads::start("owner", move || {
        owner.wait();
        finish(&sender, &cancels, End::OwnerGone);
    })
    .map_err(system)?;
    let limit = arguments.waiting.limit();
    let policy = Policy::default();
    let policy = if limit == Some(Duration::ZERO) { policy.retries(0) } else { policy };
    let store = Store::open(&arguments.place, policy)?;
    let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
    crate::run::ancestry::check(&arguments.name, mutex.url(), crate::run::ancestors)?;
    let builder = Locker::builder(mutex).lease(arguments.lease).on_event(voice.observer(false));
    let builder = match arguments.leaving.no_card {
        false => builder.fencing(true).card(Card::new(&arguments.leaving.label(&["azmutex hold".into()]))),
        true => builder,
    };
    let locker = builder.build().map_err(|error| Failure::usage(&error))?;
    let guard = match crate::run::obtain(&locker, limit, &cancel) {
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            return match end.try_recv() {
                Ok(End::Signal(signal)) => Ok(u8::try_from(signal).unwrap_or_default().saturating_add(128)),
                _ => {
                    let text = "not obtained, and whom it was to be held for has ended";
                    Err(Failure::new(exit::NOT_OBTAINED, format!("lock {:?}: {text}", arguments.name)))
                }
            };
        }
        guard => guard?,
    };
    let (lost, mut written) = (guard.lost(), ready(place, &guard)?);
    loop {
        select! {
            recv(lost) -> _ => return Err(lose(arguments, guard, victim)),
            recv(end) -> _ => break,
            recv(written) -> result => match result {
                // The lock is released as the guard is dropped: nobody knows of it.
                Ok(Err(failure)) => return Err(failure),
                _ => written = never(),
            }
        }
    }
    match guard.unlock() {
        Err(error) if error.kind() == ErrorKind::LeaseLost => return Err(error.into()),
        Err(error) => voice.happened("release_failed", exit::sentence(&error)),
        Ok(()) => {}
    }
    Ok(0)
}

/// Where it is said that the lock is there.
enum Place {
    Stdout,
    #[cfg(unix)]
    Descriptor(u32, std::fs::File),
}

impl Place {
    fn of(arguments: &arguments::Hold) -> Result<Place, Failure> {
        let Some(number) = arguments.fd else { return Ok(Place::Stdout) };
        #[cfg(unix)]
        return match crate::descriptor::inherited(number) {
            Ok(file) => Ok(Place::Descriptor(number, file)),
            Err(error) => {
                Err(Failure::new(exit::USAGE, format!("file descriptor {number} cannot be written to: {error}")))
            }
        };
        #[cfg(not(unix))]
        return Err(Failure::new(exit::USAGE, format!("--fd {number} is for Unix")));
    }

    fn write(self, line: &str) -> Result<(), Failure> {
        match self {
            Place::Stdout => tell::result(line).map_err(|error| Failure::not_printed(&error)),
            #[cfg(unix)]
            Place::Descriptor(number, mut file) => file
                .write_all(format!("{line}\n").as_bytes())
                .map_err(|error| Failure::system(&format!("write to file descriptor {number}"), &error)),
        }
    }
}

/// Says that the lock is there, and then whether that could be said. A reader who does not read keeps nobody from releasing
/// the lock.
fn ready(place: Place, guard: &LockGuard) -> Result<Receiver<Result<(), Failure>>, Failure> {
    let token = guard.fencing_token().map(|token| format!(" {token}")).unwrap_or_default();
    let line = format!("ready {}{token}", guard.lease_id());
    let (sender, written) = bounded(1);
    threads::start("ready", move || drop(sender.send(place.write(&line))))
        .map_err(|error| Failure::system("start a thread", &error))?;
    Ok(written)
}

#[cfg(unix)]
type Victim = Option<Known>;
#[cfg(not(unix))]
type Victim = ();

/// Whom a loss is to kill: known from now on, and not by a number that is another's by then.
#[cfg(unix)]
fn victim(arguments: &arguments::Hold) -> Result<Victim, Failure> {
    arguments.kill_on_loss.map(known).transpose()
}

#[cfg(not(unix))]
fn victim(arguments: &arguments::Hold) -> Result<Victim, Failure> {
    match (arguments.pid, arguments.kill_on_loss) {
        (None, None) => Ok(()),
        _ => Err(Failure::new(exit::USAGE, "--pid and --kill-on-loss are for Unix")),
    }
}

#[cfg(unix)]
fn known(number: i32) -> Result<Known, Failure> {
    Known::of(number).ok_or_else(|| Failure::new(exit::USAGE, format!("there is no process {number}")))
}

fn lose(arguments: &arguments::Hold, guard: LockGuard, victim: Victim) -> Failure {
    #[cfg(unix)]
    victim.iter().for_each(Known::kill);
    #[cfg(not(unix))]
    let () = victim;
    let error = guard.ensure_held().err().map(|error| exit::sentence(&error));
    drop(guard);
    Failure::new(exit::LOST, error.unwrap_or_else(|| format!("lock {:?}: lost", arguments.name)))
}

/// Whose lock it is: its end is the end of the hold.
struct Owner {
    /// Says when stdin ends.
    input: Receiver<()>,
    /// A process that `--pid` names.
    #[cfg(unix)]
    process: Option<Known>,
    #[cfg(unix)]
    parent: Option<rustix::process::Pid>,
}

impl Owner {
    #[cfg(unix)]
    fn of(arguments: &arguments::Hold) -> Result<Owner, Failure> {
        let process = arguments.pid.map(known).transpose()?;
        let input = if process.is_none() { end_of_input()? } else { never() };
        Ok(Owner { input, process, parent: rustix::process::getppid() })
    }

    #[cfg(not(unix))]
    fn of(_: &arguments::Hold) -> Result<Owner, Failure> {
        Ok(Owner { input: end_of_input()? })
    }

    #[cfg(unix)]
    fn is_gone(&self) -> bool {
        match &self.process {
            Some(process) => process.is_gone(),
            None => rustix::process::getppid() != self.parent,
        }
    }

    #[cfg(not(unix))]
    fn is_gone(&self) -> bool {
        false
    }

    /// Until its end.
    fn wait(&self) {
        while !self.is_gone() {
            select! {
                recv(self.input) -> _ => return,
                recv(after(LOOK_EVERY)) -> _ => {}
            }
        }
    }
}

/// Of a pipe. A shell gives `/dev/null` to what it starts in the background, and a terminal has other readers.
fn end_of_input() -> Result<Receiver<()>, Failure> {
    #[cfg(unix)]
    {
        use rustix::fs::{FileType, fstat};

        let kind = fstat(io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if !matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
            return Ok(never());
        }
    }
    let (ending, end) = bounded(0);
    threads::start("input", move || {
        let _ending = ending;
        while matches!(io::stdin().lock().read(&mut [0; 4096]), Ok(1..)) {}
    })
    .map_err(|error| Failure::system("start a thread", &error))?;
    Ok(end)
}
