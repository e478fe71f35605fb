//! A command under a lock.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, after, bounded, never, select};
use azmutex::event::Event;
use azmutex::{Cancel, ErrorKind, LockGuard, Locker};

use crate::arguments::Run;
use crate::command::Command;
use crate::exit::{self, Failure};
use crate::signals::{self, Signal};
use crate::store::Store;
use crate::tell;

/// A wait that is cancelled ends within a quarter of a second, with what it began undone.
const PARTING: Duration = Duration::from_millis(500);

/// The exit code, unless it is a failure of ours.
pub(crate) fn run(arguments: Run) -> Result<u8, Failure> {
    let Run { container, emulator, timeout, lease, verbose, name, command } = arguments;
    let signals = signals::listen().map_err(|error| Failure::system("listen for signals", &error))?;
    let store = if emulator { Store::emulator(&container)? } else { Store::account(&container)? };
    let last_failure = LastFailure::default();
    let observer = last_failure.clone();
    let locker = Locker::builder(store.container.mutex(&name)?)
        .lease(Duration::from_secs(lease))
        .on_event(move |event| {
            if verbose {
                tell::note(&event);
            }
            observer.hear(&event);
        })
        .build()?;
    let guard = obtain(locker, &name, timeout, &signals, &last_failure)?;
    match Command::start(&command, &guard) {
        Ok(running) => supervise(guard, running, &signals),
        Err(error) => Err(not_started(guard, &command, &error)),
    }
}

/// The lock, unless a signal or the end of the time comes first.
fn obtain(
    locker: Locker,
    name: &str,
    timeout: Option<Duration>,
    signals: &Receiver<Signal>,
    last_failure: &LastFailure,
) -> Result<LockGuard, Failure> {
    let cancel = Cancel::new();
    let (sender, result) = bounded(1);
    let waiting = cancel.clone();
    thread::Builder::new()
        .name("wait".into())
        .spawn(move || sender.send(wait(&locker, timeout, &waiting)))
        .map_err(|error| Failure::system("start a thread", &error))?;
    let time_up = timeout.filter(|time| !time.is_zero()).map_or_else(never, after);
    loop {
        select! {
            recv(result) -> result => return match result {
                Ok(result) => Ok(result?),
                Err(_) => Err(Failure::new(exit::FAILED, "the thread that waited for the lock died")),
            },
            recv(time_up) -> _ => {
                cancel.cancel();
                return match result.recv_timeout(PARTING) {
                    Ok(Ok(guard)) => Ok(guard),
                    Ok(Err(error)) if error.kind() != ErrorKind::Cancelled => Err(error.into()),
                    _ => Err(timed_out(name, timeout.unwrap_or_default(), last_failure)),
                };
            }
            recv(signals) -> signal => if let Some(end) = signal.ok().and_then(before_the_lock) {
                cancel.cancel();
                // A guard that came at the same moment is dropped, which releases the lock.
                drop(result.recv_timeout(PARTING));
                return Err(end);
            },
        }
    }
}

/// Without a lock there is nothing to take care of: the end, if the signal asks for that.
fn before_the_lock(signal: Signal) -> Option<Failure> {
    match signal {
        Signal::Child => None,
        #[cfg(unix)]
        Signal::Stop => {
            signals::stop();
            None
        }
        #[cfg(unix)]
        Signal::End(signal) => Some(Failure::new(exit::signalled(signal), "a signal ended the wait for the lock")),
    }
}

fn wait(locker: &Locker, timeout: Option<Duration>, cancel: &Cancel) -> azmutex::Result<LockGuard> {
    match timeout {
        None => locker.lock_or_cancel(cancel),
        Some(Duration::ZERO) => locker.try_lock(),
        // A failure that may pass does not end a wait before its time; the end of the time is a `cancel`.
        Some(_) => loop {
            match locker.lock_or_cancel(cancel) {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                result => return result,
            }
        },
    }
}

fn timed_out(name: &str, timeout: Duration, last_failure: &LastFailure) -> Failure {
    let lock = format!("lock {name:?}: ");
    let mut text = format!("{lock}not obtained within {timeout:?}");
    if let Some(failure) = last_failure.get() {
        // It is about the same lock.
        text = format!("{text}; the last failure was: {}", failure.strip_prefix(&lock).unwrap_or(&failure));
    }
    Failure::new(exit::NOT_OBTAINED, text)
}

fn not_started(guard: LockGuard, command: &[OsString], error: &io::Error) -> Failure {
    drop(guard);
    let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::NOT_EXECUTABLE };
    let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
    Failure::new(code, format!("could not run {program}: {error}"))
}

/// Until the command has ended, by itself or because the lock is lost.
fn supervise(guard: LockGuard, mut command: Command, signals: &Receiver<Signal>) -> Result<u8, Failure> {
    let lost = guard.lost();
    loop {
        select! {
            recv(lost) -> _ => return Err(end(guard, command)),
            recv(signals) -> signal => match signal {
                Ok(Signal::Child) => match command.ended() {
                    Ok(None) => {}
                    Ok(Some(status)) => return finish(guard, status),
                    Err(error) => {
                        let _ = command.end();
                        return Err(Failure::system("wait for the command", &error));
                    }
                },
                #[cfg(unix)]
                Ok(Signal::Stop) => pause(&guard, &mut command),
                #[cfg(unix)]
                Ok(Signal::End(signal)) => command.signal(signal),
                // Nothing would tell of its end any more.
                Err(_) => {
                    let _ = command.end();
                    return Err(Failure::new(exit::FAILED, "the thread that hears signals died"));
                }
            }
        }
    }
}

/// Nobody renews the lock while we are stopped, and nobody would end the command: so it is stopped with us.
#[cfg(unix)]
fn pause(guard: &LockGuard, command: &mut Command) {
    use signal_hook::consts::{SIGCONT, SIGSTOP};

    command.signal(SIGSTOP);
    signals::stop();
    if guard.is_held() {
        command.signal(SIGCONT);
    } else {
        // Long since lost, perhaps: no moment more.
        command.kill();
    }
}

fn end(guard: LockGuard, mut command: Command) -> Failure {
    let lost = guard.ensure_held().err();
    let ended = command.end();
    // Now that the command is gone: a renewal that is still under way must not keep the lock from the others.
    drop(guard);
    // Not before: nobody may be reading.
    if let Some(error) = lost {
        tell::note(format_args!("{error:?}"));
    }
    if let Err(error) = ended {
        tell::note(format_args!("could not wait for the command: {error}"));
    }
    Failure::new(exit::LOST, "the command was ended, because the lock was lost")
}

fn finish(guard: LockGuard, status: ExitStatus) -> Result<u8, Failure> {
    match guard.unlock() {
        Err(error) if error.kind() == ErrorKind::LeaseLost => return Err(error.into()),
        // The work was done alone, and the lock frees itself.
        Err(error) => tell::note(format_args!("{error:?}")),
        Ok(()) => {}
    }
    Ok(exit::passed_on(status))
}

/// What a wait that ends without the lock may have been held up by.
#[derive(Clone, Default)]
struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn hear(&self, event: &Event) {
        if let Event::Retrying { error, .. } = event {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:?}"));
        }
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
