//! A command under a lock.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, select};
use azmutex::{ErrorKind, LockGuard, Locker};

use crate::arguments::Run;
use crate::command::Command;
use crate::exit::{self, Failure};
use crate::signals::{self, Signal, Wait};
use crate::store::Store;
use crate::tell;

/// The exit code, unless it is a failure of ours.
pub(crate) fn run(arguments: Run) -> Result<u8, Failure> {
    let Run { container, emulator, timeout, lease, verbose, name, command } = arguments;
    let wait = Wait::default();
    let signals = signals::listen(wait.clone()).map_err(|error| Failure::system("listen for signals", &error))?;
    let store = if emulator { Store::emulator(&container)? } else { Store::account(&container)? };
    let mut locker = Locker::builder(store.container.mutex(&name)?).lease(Duration::from_secs(lease));
    if verbose {
        locker = locker.on_event(|event| tell::note(&event));
    }
    let guard = obtain(&locker.build()?, timeout, &wait, &signals)?;
    match Command::start(&command, &guard) {
        Ok(running) => supervise(guard, running, &signals),
        Err(error) => Err(not_started(guard, &command, &error)),
    }
}

/// The lock, unless a signal or the end of the time comes first.
fn obtain(
    locker: &Locker,
    timeout: Option<Duration>,
    wait: &Wait,
    signals: &Receiver<Signal>,
) -> Result<LockGuard, Failure> {
    let result = match timeout {
        None => locker.lock_or_cancel(&wait.end),
        Some(Duration::ZERO) => locker.try_lock(),
        Some(timeout) => locker.lock_timeout_or_cancel(timeout, &wait.end),
    };
    wait.over.cancel();
    if let Some(end) = signals.try_iter().find_map(signals::before_the_lock) {
        // A guard that came at the same moment is dropped, which releases the lock.
        drop(result);
        return Err(end);
    }
    result.map_err(|error| match timeout {
        Some(timeout) if error.kind() == ErrorKind::TimedOut => timed_out(locker.name(), timeout, error.source()),
        _ => error.into(),
    })
}

fn timed_out(name: &str, timeout: Duration, last_failure: Option<&dyn Error>) -> Failure {
    let lock = format!("lock {name:?}: ");
    let mut text = format!("{lock}not obtained within {timeout:?}");
    if let Some(failure) = last_failure.map(|failure| format!("{failure:?}")) {
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
