//! What the system tells this process, as messages.

use std::io;

use azmutex::crossbeam_channel::Receiver;

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

/// From now on signals do nothing else than arrive here.
#[cfg(unix)]
pub(crate) fn listen() -> io::Result<Receiver<Signal>> {
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
                SIGTSTP => Signal::Stop,
                other => Signal::End(other),
            };
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
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
pub(crate) fn listen() -> io::Result<Receiver<Signal>> {
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
