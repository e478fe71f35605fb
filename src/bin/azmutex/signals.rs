//! What asks this process to end, for the actions that run no command.

use std::io;

use azmutex::crossbeam_channel::Receiver;

/// The signal, when one comes. Those that we were started to ignore, as by `nohup`, stay ignored.
#[cfg(target_os = "linux")]
pub(crate) fn end() -> io::Result<Receiver<i32>> {
    let (sender, receiver) = azmutex::crossbeam_channel::unbounded();
    crate::run::linux::listen(move |signal| {
        if signal.is_fatal() {
            let _ = sender.send(signal.number);
        } else if signal.is_stop() {
            crate::run::linux::stop();
        }
    })?;
    Ok(receiver)
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn end() -> io::Result<Receiver<i32>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT])?;
    let (sender, receiver) = azmutex::crossbeam_channel::unbounded();
    crate::threads::start("signals", move || {
        for signal in signals.forever() {
            let _ = sender.send(signal);
        }
    })?;
    Ok(receiver)
}

/// ^C and ^Break. When the console is closed, this process is ended by the system.
#[cfg(windows)]
pub(crate) fn end() -> io::Result<Receiver<i32>> {
    /// As shells know it.
    const INTERRUPT: i32 = 2;
    let (sender, receiver) = azmutex::crossbeam_channel::unbounded();
    let heard = move || {
        let _ = sender.send(INTERRUPT);
    };
    ctrlc::set_handler(heard).map_err(io::Error::other)?;
    Ok(receiver)
}
