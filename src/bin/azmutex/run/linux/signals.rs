//! The signals that reach this process, as messages.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use azmutex::crossbeam_channel::after;
use rustix::process::Signal;
use signal_hook::consts::*;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

use crate::threads;

/// How often blocked signals are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// As the kernel says where a signal comes from, if it is from itself: a key, or a terminal that closes.
const OF_THE_KERNEL: i32 = 0x80;

/// All that can be caught, but for those that a fault of our own raises, CHLD, which is waited for in another way, and
/// PIPE and XFSZ, which come of what we write ourselves.
const ALL: [i32; 22] = [
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTRAP,
    SIGABRT,
    SIGUSR1,
    SIGUSR2,
    SIGALRM,
    SIGTERM,
    SIGCONT,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGURG,
    SIGXCPU,
    SIGVTALRM,
    SIGPROF,
    SIGWINCH,
    SIGIO,
    SIGSYS,
    // Without names in signal-hook.
    Signal::STKFLT.as_raw(),
    Signal::POWER.as_raw(),
];

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) number: i32,
    /// A key, and no process: all of the group in the foreground has got it.
    pub(crate) is_key: bool,
}

impl Arrived {
    /// Whether it ends a process that does not know it.
    pub(crate) fn is_fatal(self) -> bool {
        is_fatal(self.number)
    }

    pub(crate) fn is_stop(self) -> bool {
        is_stop(self.number)
    }
}

pub(crate) fn is_fatal(signal: i32) -> bool {
    !is_stop(signal) && !matches!(signal, SIGCONT | SIGURG | SIGWINCH)
}

/// One that stops a process which does not know it: a key's, or that of a job in the background which uses its terminal.
pub(crate) fn is_stop(signal: i32) -> bool {
    matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU)
}

/// From now on they do nothing but call `hear`, on threads of its own. Those that we were started to ignore, as by
/// `nohup`, stay ignored: a handler would take that from the command.
///
/// What is returned says at once that a TSTP has arrived, however late it is heard.
pub(crate) fn listen(hear: impl Fn(Arrived) + Clone + Send + 'static) -> io::Result<Arc<AtomicBool>> {
    let ignored = mask("SigIgn");
    let has_stop_arrived = Arc::new(AtomicBool::new(false));
    if !is_in(ignored, SIGTSTP) {
        // Before the other handler, so that nothing is heard that is not known to have arrived.
        signal_hook::flag::register(SIGTSTP, has_stop_arrived.clone())?;
    }
    if !is_in(ignored, SIGXFSZ) {
        // A file that may not grow is no reason to end.
        never_ignore(SIGXFSZ)?;
    }
    let heard = ALL.into_iter().filter(|signal| !is_in(ignored, *signal));
    let mut signals = SignalsInfo::<WithRawSiginfo>::new(heard)?;
    if ALL.into_iter().any(|signal| is_in(mask("SigBlk"), signal)) {
        let hear = hear.clone();
        threads::start("blocked signals", move || look_for_blocked(hear))?;
    }
    threads::start("signals", move || {
        loop {
            let mut all: Vec<_> = signals
                .wait()
                .map(|info| Arrived { number: info.si_signo, is_key: info.si_code == OF_THE_KERNEL })
                .collect();
            // Which of them came first cannot be known, and one that stays stopped is worse than one that goes on.
            all.sort_by_key(|arrived| arrived.number == SIGCONT);
            all.into_iter().for_each(&hear);
        }
    })?;
    Ok(has_stop_arrived)
}

/// Whoever started us may have left signals blocked. They do not come then, but it is seen that they are there, once.
fn look_for_blocked(hear: impl Fn(Arrived)) {
    let mut seen = 0;
    loop {
        let there = mask("ShdPnd") & !seen;
        for number in ALL.into_iter().filter(|signal| is_in(there, *signal)) {
            hear(Arrived { number, is_key: false });
        }
        seen |= there;
        let _ = after(LOOK_EVERY).recv();
    }
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

/// Whether we were started to ignore it.
pub(crate) fn is_ignored(signal: i32) -> bool {
    is_in(mask("SigIgn"), signal)
}

/// Lets it come, and does nothing with it. A command that is started gets it as if nobody had ever ignored it.
pub(crate) fn never_ignore(signal: i32) -> io::Result<()> {
    signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map(drop)
}

/// None of them does anything, but for those that we were started to ignore, which stay so.
pub(crate) fn disregard_all() -> io::Result<()> {
    let ignored = mask("SigIgn");
    ALL.into_iter().chain([SIGXFSZ]).filter(|signal| !is_in(ignored, *signal)).try_for_each(never_ignore)
}

/// A mask of signals of this process: the lowest bit is signal 1. Where there is no `/proc`, none is known.
fn mask(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Stops this process, as a signal would if we did not listen, until it is continued.
pub(crate) fn stop() {
    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
}
