//! Whether a program can lock here, found out before it has to.
//!
//! [`Locker::preflight`] asks the service for all that a lock needs, and says what came of each.

use crate::clock::Moment;
use crate::locker::Locker;

mod judge;
mod probe;
mod report;

pub use report::{Check, Preflight, Status, Subject};

use judge::Context;

impl Locker {
    /// Finds out whether this program can lock here: whether the service can be reached, and through which proxy, the
    /// clock is right, the credential is accepted and has the rights that a lock needs, the account is of a fitting kind,
    /// the way to it is short enough for the lease, and, for a locker with
    /// [`fencing`](crate::locker::Builder::fencing) or a [`card`](crate::locker::Builder::card), whether these can be left.
    ///
    /// It makes about a dozen requests, each bounded as the container's [`Policy`](crate::retry::Policy) says, and
    /// stops at the first that has no answer. **It takes the lock for a moment** if nobody has it, with a lease of 15 s,
    /// and releases it; if somebody has it, it stays theirs. What is missing, the container and an empty blob, is made
    /// and left there, as by a lock. Use the name of a lock that nobody waits for, unless the credential is for just one
    /// blob.
    ///
    /// ```
    /// # #[cfg(feature = "emulator")] {
    /// # let emulator = azmutex::emulator::Emulator::start().unwrap();
    /// # let connection_string = emulator.connection_string();
    /// use azmutex::{Container, preflight::Subject};
    ///
    /// let container = Container::from_connection_string(&connection_string, "locks")?;
    /// let report = container.locker("preflight")?.preflight();
    /// println!("{report}");
    /// assert!(report.can_lock());
    /// assert!(report.check(Subject::Acquire).is_some_and(|check| check.is_ok()));
    /// # }
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    pub fn preflight(&self) -> Preflight {
        let (mutex, settings) = (self.mutex(), self.settings());
        let container = mutex.container();
        let findings = probe::run(mutex, settings.leaves);
        judge::judge(
            &findings,
            &Context {
                origin: container.origin(),
                proxy: container.proxy(),
                container: container.name(),
                credential: container.credential().describe(),
                is_dated: container.credential().is_dated(),
                held_for: settings.term.valid_until(Moment::PAST).since(Moment::PAST),
                renew_every: settings.renew_every,
                lock: mutex.lock_name(),
                leaves: settings.leaves,
            },
        )
    }
}
