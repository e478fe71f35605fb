//! What the system tells this process, as messages.

use std::io;

use azmutex::Cancel;
use azmutex::crossbeam_channel::Receiver;

#[cfg(unix)]
use crate::exit;
use crate::exit::Failure;

/// A wait that is cancelled ends within a quarter of a second, with what it began undone.
#[cfg(unix)]
const PARTING: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Copy, Clone)]
pub(crate) enum Signal {
    /// A child may have ended.
    Child,
    /// One that asks us to end.
    #[cfg(unix)]
    End(i32),
    /// ^Z, which would stop us and leave the command running without its lock.
    #[cfg(unix)]
    Stop,
}

/// A wait for the lock, during which nobody looks at what arrives: a stop is a stop then, and an end comes soon,
/// whatever the wait hangs on.
#[derive(Clone, Default)]
pub(crate) struct Wait {
    /// Called when a signal asks us to end.
    pub(crate) end: Cancel,
    /// To be called when the wait is over.
    pub(crate) over: Cancel,
}

impl Wait {
    /// For those who look from the first on.
    #[cfg(feature = "emulator")]
    pub(crate) fn none() -> Wait {
        let wait = Wait::default();
        wait.over.cancel();
        wait
    }
}

/// From now on signals do nothing else than arrive here, and end that wait.
#[cfg(unix)]
pub(crate) fn listen(wait: Wait) -> io::Result<Receiver<Signal>> {
    use azmutex::crossbeam_channel::unbounded;
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

    let ignored = ignored();
    let asked =
        [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(asked.chain([SIGCHLD]))?;
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGCHLD => Signal::Child,
                SIGTSTP if !wait.over.is_cancelled() => {
                    stop();
                    continue;
                }
                SIGTSTP => Signal::Stop,
                other => Signal::End(other),
            };
            // Before the wait is ended, so that whoever waited finds it.
            if sender.send(signal).is_err() {
                return;
            }
            if let Signal::End(signal) = signal {
                wait.end.cancel();
                if !wait.over.wait_cancelled(PARTING) {
                    std::process::exit(ended_by(signal).told().into());
                }
            }
        }
    })?;
    Ok(receiver)
}

/// Without a lock there is nothing to take care of: the end, if the signal asks for that.
pub(crate) fn before_the_lock(signal: Signal) -> Option<Failure> {
    match signal {
        Signal::Child => None,
        #[cfg(unix)]
        Signal::Stop => {
            stop();
            None
        }
        #[cfg(unix)]
        Signal::End(signal) => Some(ended_by(signal)),
    }
}

#[cfg(unix)]
fn ended_by(signal: i32) -> Failure {
    Failure::new(exit::signalled(signal), "a signal ended the wait for the lock")
}

/// The signals that we were started to ignore, as by `nohup`: the lowest bit is signal 1. Where there is no `/proc`,
/// none is known.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Stops this process, as if we did not listen, until it is continued.
#[cfg(unix)]
pub(crate) fn stop() {
    let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP);
}

/// ^C goes to the command as well as to us, and ends both. Nothing tells that a child has ended, so it is looked for.
#[cfg(not(unix))]
pub(crate) fn listen(_: Wait) -> io::Result<Receiver<Signal>> {
    use azmutex::crossbeam_channel::{bounded, tick};

    let (sender, receiver) = bounded(0);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in tick(std::time::Duration::from_millis(20)) {
            if sender.send(Signal::Child).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
