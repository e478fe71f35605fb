//! The lock that a command is to run under.

use std::time::Duration;

use azmutex::event::Event;
use azmutex::lease::Card;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Cancel, Error, ErrorKind, LockGuard, Locker};
#[cfg(unix)]
use rustix::process::Signal;

use super::ancestry::{self, Ancestor};
use super::once::{self, Done};
use super::times::Times;
use crate::arguments::Run;
use crate::exit::{self, Failure};
use crate::place::Store;
use crate::tell::{self, Voice};

/// A wait that is shorter is one try.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

pub(crate) struct Lock {
    pub(crate) locker: Locker,
    pub(crate) times: Times,
    /// What asks the command to end.
    pub(crate) asking: Signal,
    pub(crate) mutex: AzureMutex,
    /// What it is held for, as others are told.
    label: String,
    /// What is marked as done.
    task: String,
    /// Keeps the emulator, if there is one.
    _store: Store,
}

impl Lock {
    /// Talks to nobody. `hear` hears what is told, too.
    pub(crate) fn of(
        arguments: &Run,
        voice: &Voice,
        is_live: bool,
        mut hear: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Lock, Failure> {
        let lease = arguments.lease;
        let times = Times::new(lease, arguments.grace).map_err(|text| Failure::new(exit::USAGE, text))?;
        let mut policy = Policy::default().attempt_limit(times.request_limit());
        if arguments.limit() == Some(Duration::ZERO) {
            // Who does not wait wants no second try either.
            policy = policy.retries(0);
        }
        let store = Store::open(&arguments.place, policy)?;
        let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
        let mut tell = voice.observer(is_live);
        let builder = Locker::builder(mutex.clone()).lease(lease).on_event(move |event| {
            hear(&event);
            tell(event);
        });
        let label = arguments.leaving.label(&arguments.command());
        let task = arguments.leaving.said().map(str::to_owned);
        let task = task.unwrap_or_else(|| once::default_label(&label, &arguments.command()));
        if arguments.once_per.is_some() && !Done::is_short_enough(&task) {
            return Err(Failure::new(exit::USAGE, "the label is too long for --once-per: the lock has no room for it"));
        }
        let builder = match arguments.leaving.no_card {
            false => builder.fencing(true).card(Card::new(&label)),
            true => builder,
        };
        let locker = builder.build().map_err(|error| Failure::usage(&error))?;
        let asking = signal(&arguments.signal)?;
        Ok(Lock { locker, times, asking, mutex, label, task, _store: store })
    }
}

#[cfg(not(target_os = "linux"))]
impl Lock {
    /// By its number.
    pub(crate) fn asking(&self) -> i32 {
        #[cfg(unix)]
        return self.asking.as_raw();
        #[cfg(not(unix))]
        return self.asking;
    }
}

/// What the command is told of the lock that it runs under, in its environment.
pub(crate) fn variables(lock: &Lock, guard: &LockGuard, itself: Ancestor) -> [(&'static str, Option<String>); 4] {
    [
        ("AZMUTEX_LOCK", Some(guard.lock_name().to_owned())),
        ("AZMUTEX_LEASE_ID", Some(guard.lease_id().to_string())),
        // Not that of another lock, in which this run is nested.
        ("AZMUTEX_FENCING_TOKEN", guard.fencing_token().map(|token| token.to_string())),
        (ancestry::VARIABLE, Some(ancestry::with(lock.mutex.url(), itself))),
    ]
}

/// Tells it.
#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(target_os = "linux", allow(dead_code))] // what uses it is tested here, too
pub(crate) fn tell(command: &mut std::process::Command, lock: &Lock, guard: &LockGuard, itself: Ancestor) {
    for (name, value) in variables(lock, guard, itself) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Whether it was done not long ago, so that there is nothing to do: what is told then.
pub(crate) fn is_done(arguments: &Run, lock: &Lock, guard: &LockGuard) -> Result<Option<String>, Failure> {
    let (Some(period), Some(granted)) = (arguments.once_per, guard.since()) else { return Ok(None) };
    let done = Done::read(lock.mutex.inspect()?.mark());
    Ok(done.too_soon(&lock.task, granted, period).map(|ago| {
        let ago = tell::time(ago);
        format!("lock {:?}: {:?} was done {ago} ago, so nothing was run", arguments.name, lock.label)
    }))
}

/// Leaves word that it was done. If that fails, it will be done again, and so may be what had to give way: what is told then.
pub(crate) fn mark(arguments: &Run, lock: &Lock, guard: &LockGuard) -> Option<String> {
    arguments.once_per?;
    let marked = match guard.since() {
        Some(granted) => lock.mutex.inspect().and_then(|status| {
            let (mark, forgotten) = Done::read(status.mark()).with(&lock.task, granted);
            guard.mark(&mark).map(|()| forgotten)
        }),
        None => return Some("the service does not tell the time, so the next run may come too soon".to_owned()),
    };
    match marked {
        Ok(forgotten) if forgotten.is_empty() => None,
        Ok(forgotten) => {
            let names: Vec<_> = forgotten.iter().map(|label| format!("{label:?}")).collect();
            let (lock, names) = (&arguments.name, names.join(", "));
            Some(format!("lock {lock:?}: forgotten for want of room, so its next run may come too soon: {names}"))
        }
        Err(error) => Some(format!("{}; so the next run may come too soon", exit::sentence(&error))),
    }
}

/// Waits for so long; `None` is for ever. One that does not wait is not cancelled either.
pub(crate) fn obtain(locker: &Locker, limit: Option<Duration>, cancel: &Cancel) -> azmutex::Result<LockGuard> {
    match limit {
        None => locker.lock_or_cancel(cancel),
        // In less time than that, nothing could be asked and answered.
        Some(limit) if limit < SHORTEST_WAIT => locker.try_lock(),
        Some(limit) => locker.lock_timeout_or_cancel(limit, cancel),
    }
}

/// Why there is no lock, and what to exit with.
pub(crate) fn not_obtained(arguments: &Run, error: &Error) -> Failure {
    let code = exit::code(error);
    let lock = format!("lock {:?}: ", arguments.name);
    let text = match (error.kind(), arguments.limit()) {
        (ErrorKind::TimedOut, Some(limit)) => {
            let card = error.last_card().map(|card| format!("; the last card left: {card}")).unwrap_or_default();
            let text = format!("{lock}not obtained within {limit:?}{card}");
            match exit::last_failure(error).map(exit::sentence) {
                // It is about the same lock.
                Some(last) => format!("{text}; the last failure was: {}", last.strip_prefix(&lock).unwrap_or(&last)),
                None => text,
            }
        }
        (ErrorKind::InvalidInput | ErrorKind::PermissionDenied, _) if !arguments.leaving.no_card => {
            format!("{}; with --no-card, less is needed", exit::sentence(error))
        }
        _ => exit::sentence(error),
    };
    match arguments.conflict_exit_code {
        Some(other) if code == exit::NOT_OBTAINED => Failure::new(other, text),
        _ => Failure::new(code, text),
    }
}

/// Where there are no signals, none is sent; but one that would be refused elsewhere is refused.
#[cfg(not(unix))]
type Signal = i32;

#[cfg(unix)]
const NAMES: &[(&str, Signal)] = &[
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("BUS", Signal::BUS),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("IO", Signal::IO),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("PROF", Signal::PROF),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("STOP", Signal::STOP),
    ("SYS", Signal::SYS),
    ("TERM", Signal::TERM),
    ("TRAP", Signal::TRAP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("VTALRM", Signal::VTALARM),
    ("WINCH", Signal::WINCH),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    #[cfg(target_os = "linux")]
    ("POLL", Signal::IO),
    #[cfg(target_os = "linux")]
    ("PWR", Signal::POWER),
];

#[cfg(not(unix))]
const NAMES: &[(&str, Signal)] = &[
    ("ABRT", 0),
    ("ALRM", 0),
    ("HUP", 0),
    ("INT", 0),
    ("KILL", 0),
    ("QUIT", 0),
    ("TERM", 0),
    ("USR1", 0),
    ("USR2", 0),
];

/// By its name or number.
fn signal(text: &str) -> Result<Signal, Failure> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(name, _)| *name == short).map(|(_, signal)| *signal);
    let signal = named.or_else(|| numbered(text.parse().ok()?));
    signal.ok_or_else(|| Failure::new(exit::USAGE, format!("{text:?} is no signal; it is like TERM, INT or 15")))
}

#[cfg(unix)]
fn numbered(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number)
}

#[cfg(not(unix))]
fn numbered(number: i32) -> Option<Signal> {
    (1..32).contains(&number).then_some(0)
}
