//! A command under a lock, by one process, on systems without what Linux has for it. What the command starts is in an
//! enclosure of the system's, and ends with it.

use std::time::Duration;

use azmutex::crossbeam_channel::{Receiver, bounded, select};
use azmutex::{Cancel, Error, ErrorKind, LockGuard};

use super::ancestry;
use super::lock::{self, Lock};
#[cfg(unix)]
use super::unix::{Enclosure, Group};
#[cfg(windows)]
use super::windows::{Enclosure, Group};
use crate::arguments::Run;
use crate::exit::{self, Failure};
use crate::tell::{LAST_WORDS, Voice};
use crate::{signals, threads};

/// Nothing tells that a child has ended, so it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much later we may hear of a key than the command.
const SAME_KEY: Duration = Duration::from_millis(250);
/// A wait that is cancelled ends within a quarter of a second, with what it began undone.
const PARTING: Duration = Duration::from_millis(500);

/// The exit code, unless it is a failure of ours.
pub(crate) fn run(arguments: &Run) -> Result<u8, Failure> {
    let voice = Voice::start(arguments.telling, false).map_err(|error| Failure::system("start a thread", &error))?;
    let code = carry_out(arguments, &voice).unwrap_or_else(|failure| {
        voice.failed(&failure);
        failure.code.into()
    });
    voice.flush(LAST_WORDS);
    #[cfg(windows)]
    // Which `ExitCode` has no room for, such as 3010.
    std::process::exit(code);
    #[cfg(not(windows))]
    Ok(u8::try_from(code).unwrap_or(exit::SYSTEM))
}

fn carry_out(arguments: &Run, voice: &Voice) -> Result<i32, Failure> {
    let enclosure = Enclosure::new(voice)?;
    let signals = signals::end().map_err(|error| Failure::system("listen for signals", &error))?;
    let lock = Lock::of(arguments, voice, false, |_| {})?;
    ancestry::check(&arguments.name, lock.mutex.url(), super::ancestors)?;
    let obtained = obtain(arguments, &lock, &signals)?;
    let guard = match obtained {
        Obtained::Guard(guard) => guard,
        Obtained::Not(error) if arguments.skip_if_held && error.kind() == ErrorKind::WouldBlock => {
            let text = format!("lock {:?}: somebody else holds it, so nothing was run", arguments.name);
            voice.happened("skipped", text);
            return Ok(0);
        }
        Obtained::Not(error) => return Err(lock::not_obtained(arguments, &error)),
        Obtained::Signal(signal) => return Ok(interrupted(voice, signal)),
    };
    if !lock.times.may_start(guard.remaining()) {
        let text = format!("lock {:?}: this machine stood still when it was obtained", arguments.name);
        return Err(Failure::new(exit::LOST, text));
    }
    if let Some(text) = lock::is_done(arguments, &lock, &guard)? {
        drop(guard);
        voice.happened("skipped", text);
        return Ok(0);
    }
    if let Ok(signal) = signals.try_recv() {
        drop(guard);
        return Ok(interrupted(voice, signal));
    }
    let mut group = match enclosure.start(arguments, &lock, &guard) {
        Ok(group) => group,
        Err(error) => {
            drop(guard);
            let program = arguments.command().first().map(|program| program.display().to_string()).unwrap_or_default();
            return Err(Failure::not_started(&program, &error));
        }
    };
    supervise(guard, &mut group, (arguments, &lock), voice, &signals)
}

/// Nothing was run.
fn interrupted(voice: &Voice, signal: i32) -> i32 {
    voice.in_detail("interrupted", "a signal ended the wait for the lock");
    exit::signalled(signal).into()
}

enum Obtained {
    Guard(LockGuard),
    Not(Error),
    Signal(i32),
}

/// The lock, unless a signal or the end of the time comes first.
fn obtain(arguments: &Run, lock: &Lock, signals: &Receiver<i32>) -> Result<Obtained, Failure> {
    let (cancel, (sender, obtained)) = (Cancel::new(), bounded(1));
    let (locker, limit, cancelled) = (lock.locker.clone(), arguments.limit(), cancel.clone());
    threads::start("wait", move || drop(sender.send(lock::obtain(&locker, limit, &cancelled))))
        .map_err(|error| Failure::system("start a thread", &error))?;
    select! {
        recv(obtained) -> result => Ok(match result {
            Ok(Ok(guard)) => Obtained::Guard(guard),
            Ok(Err(error)) => Obtained::Not(error),
            Err(_) => return Err(Failure::new(exit::SYSTEM, "the thread that was to take the lock died")),
        }),
        recv(signals) -> signal => {
            cancel.cancel();
            // A guard that came at the same moment is dropped, which releases the lock.
            drop(obtained.recv_timeout(PARTING));
            Ok(Obtained::Signal(signal.unwrap_or_default()))
        }
    }
}

/// Until the command has ended, by itself or because the lock is lost.
fn supervise(
    guard: LockGuard,
    group: &mut Group,
    (arguments, lock): (&Run, &Lock),
    voice: &Voice,
    signals: &Receiver<i32>,
) -> Result<i32, Failure> {
    let lost = guard.lost();
    let (mut is_asked_to_end, mut is_left_told) = (false, false);
    loop {
        select! {
            recv(lost) -> _ => return Err(end(guard, group, (lock, voice), None)),
            recv(signals) -> signal => if let Ok(signal) = signal {
                is_asked_to_end = true;
                group.signal(signal);
            },
            default(LOOK_EVERY) => {}
        }
        let status = match group.ended() {
            Ok(status) => status,
            Err(error) => return Err(end(guard, group, (lock, voice), Some(error))),
        };
        // Who was to end as well as the command, and has not yet, was not left behind on purpose. The command may have heard
        // the key before us.
        let is_left = status.is_some() && group.is_left();
        is_asked_to_end = is_asked_to_end || is_left && signals.recv_timeout(SAME_KEY).is_ok();
        let is_kept = is_left && is_asked_to_end;
        if is_kept && !std::mem::replace(&mut is_left_told, true) {
            let left = group.left().join(", ");
            voice.happened("left_behind", format!("the command has ended; what it left behind keeps the lock: {left}"));
        }
        match status.filter(|_| !is_kept) {
            Some(status) => {
                let left = group
                    .let_go()
                    .map_err(|error| Failure::system("let go of what the command left behind", &error))?;
                if !left.is_empty() {
                    let text =
                        format!("the command left others behind, which go on without the lock: {}", left.join(", "));
                    voice.happened("let_go", text);
                }
                if status.success()
                    && let Some(text) = lock::mark(arguments, lock, &guard)
                {
                    voice.happened("not_marked", text);
                }
                match guard.unlock() {
                    Err(error) if error.kind() == ErrorKind::LeaseLost => return Err(error.into()),
                    // The work was done alone, and the lock frees itself.
                    Err(error) => voice.happened("release_failed", exit::sentence(&error)),
                    Ok(()) => {}
                }
                return Ok(exit::passed_on(status));
            }
            None if is_time(lock, &guard) => return Err(end(guard, group, (lock, voice), None)),
            None => {}
        }
    }
}

/// Whether the command has to be asked to end. A moment is told here by how long it is from now.
fn is_time(lock: &Lock, guard: &LockGuard) -> bool {
    lock.times.ask(guard.remaining()).is_zero()
}

fn end(guard: LockGuard, group: &mut Group, (lock, voice): (&Lock, &Voice), error: Option<std::io::Error>) -> Failure {
    let lost = guard.ensure_held().err().and_then(|error| error.lost_because());
    let lost = lost.map_or_else(|| "it could not be renewed in time".to_owned(), |lost| lost.to_string());
    let now = Duration::ZERO;
    group.end(lock.asking(), lock.times.kill_after_loss(now, guard.remaining()), voice);
    let name = guard.lock_name().to_owned();
    // Now that the command is gone: a renewal that is still under way must not keep the lock from the others.
    drop(guard);
    if let Some(error) = error {
        return Failure::system("wait for the command", &error);
    }
    Failure::new(exit::LOST, format!("lock {name:?}: lost: {lost}; the command was ended"))
}
