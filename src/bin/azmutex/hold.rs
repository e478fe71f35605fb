//! A lock that is held for somebody else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

#[cfg(unix)]
use azmutex::crossbeam_channel::never;
use azmutex::crossbeam_channel::{Receiver, bounded, select};
use azmutex::lease::Card;
use azmutex::retry::Policy;
use azmutex::{Cancel, ErrorKind, LockGuard, Locker};

use crate::arguments::{self, Log};
use crate::exit::{self, Failure};
use crate::place::Store;
use crate::tell::{self, Voice};
use crate::{signals, threads};

/// How often the process is looked for whose end is ours.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The exit code, unless it is a failure of ours.
pub(crate) fn hold(arguments: &arguments::Hold) -> Result<u8, Failure> {
    let voice = Voice::start(arguments.telling, false).map_err(|error| Failure::system("start a thread", &error))?;
    let held = obtain_and_hold(arguments, &voice);
    voice.flush(LAST_WORDS);
    match held {
        Err(failure) if arguments.telling.log == Log::Json => {
            tell::failed(arguments.telling, &failure);
            Ok(failure.code)
        }
        held => held,
    }
}

fn obtain_and_hold(arguments: &arguments::Hold, voice: &Voice) -> Result<u8, Failure> {
    let system = |error: io::Error| Failure::system("start a thread", &error);
    let (cancel, (sender, end)) = (Cancel::new(), bounded(1));
    let (signals, cancels) = (signals::end().map_err(system)?, cancel.clone());
    threads::start("end", move || {
        if let Ok(signal) = signals.recv() {
            let _ = sender.send(signal);
            cancels.cancel();
        }
    })
    .map_err(system)?;
    let owner = Owner::of(arguments)?;
    let limit = arguments.waiting.limit();
    let policy = Policy::default();
    let policy = if limit == Some(Duration::ZERO) { policy.retries(0) } else { policy };
    let store = Store::open(&arguments.place, policy)?;
    let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
    let builder = Locker::builder(mutex).lease(arguments.lease).on_event(voice.observer(false));
    let builder = match arguments.leaving.no_card {
        false => builder.fencing(true).card(Card::new(&arguments.leaving.label(&["azmutex hold".into()]))),
        true => builder,
    };
    let locker = builder.build().map_err(|error| Failure::usage(&error))?;
    let guard = match limit {
        None => locker.lock_or_cancel(&cancel),
        Some(Duration::ZERO) => locker.try_lock(),
        Some(limit) => locker.lock_timeout_or_cancel(limit, &cancel),
    };
    let guard = match guard {
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            let signal = end.try_recv().ok().and_then(|signal| u8::try_from(signal).ok()).unwrap_or_default();
            return Ok(signal.saturating_add(128));
        }
        guard => guard?,
    };
    ready(arguments, &guard)?;
    let lost = guard.lost();
    loop {
        select! {
            recv(lost) -> _ => return Err(lose(arguments, guard)),
            recv(end) -> _ => break,
            recv(owner.input) -> _ => break,
            default(LOOK_EVERY) => {
                if owner.is_gone() {
                    break;
                }
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

fn ready(arguments: &arguments::Hold, guard: &LockGuard) -> Result<(), Failure> {
    let token = guard.fencing_token().map(|token| format!(" {token}")).unwrap_or_default();
    let line = format!("ready {}{token}", guard.lease_id());
    let Some(fd) = arguments.fd else {
        tell::result(line);
        return Ok(());
    };
    let written = File::options().write(true).open(format!("/dev/fd/{fd}"));
    let written = written.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|error| Failure::new(exit::USAGE, format!("could not write to file descriptor {fd}: {error}")))
}

fn lose(arguments: &arguments::Hold, guard: LockGuard) -> Failure {
    #[cfg(unix)]
    if let Some(pid) = arguments.kill_on_loss.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
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
    process: Option<rustix::process::Pid>,
    #[cfg(unix)]
    parent: Option<rustix::process::Pid>,
}

impl Owner {
    #[cfg(unix)]
    fn of(arguments: &arguments::Hold) -> Result<Owner, Failure> {
        use rustix::process::{Pid, getppid, test_kill_process};

        let process = arguments.pid.and_then(Pid::from_raw);
        let is_there = process.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        if let Some(pid) = arguments.pid
            && !is_there
        {
            return Err(Failure::new(exit::USAGE, format!("there is no process {pid}")));
        }
        let input = if process.is_none() { end_of_input()? } else { never() };
        Ok(Owner { input, process, parent: getppid() })
    }

    #[cfg(not(unix))]
    fn of(arguments: &arguments::Hold) -> Result<Owner, Failure> {
        if arguments.pid.is_some() || arguments.kill_on_loss.is_some() {
            return Err(Failure::new(exit::USAGE, "--pid and --kill-on-loss are for Unix"));
        }
        Ok(Owner { input: end_of_input()? })
    }

    #[cfg(unix)]
    fn is_gone(&self) -> bool {
        match self.process {
            Some(pid) => rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
            None => rustix::process::getppid() != self.parent,
        }
    }

    #[cfg(not(unix))]
    fn is_gone(&self) -> bool {
        false
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
