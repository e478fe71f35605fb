//! Whether a program can lock here, found out before it has to.
//!
//! [`Locker::preflight`] asks the service for all that a lock needs, and says what came of each.

use std::fmt;

use crate::clock::Moment;
use crate::error::Error;
use crate::locker::Locker;

mod judge;
mod probe;

use judge::Setting;

/// What [`Locker::preflight`] found. `Display` is a list to read, with the smallest rights that would do at its end.
/// It holds no secret.
#[derive(Clone, Debug)]
#[must_use = "it says whether the lock can be had"]
pub struct Preflight {
    checks: Vec<Check>,
    least_role: String,
    least_sas: String,
}

/// One thing that a lock needs, and what came of it.
#[derive(Clone, Debug)]
pub struct Check {
    subject: Subject,
    status: Status,
    sentence: String,
    error: Option<Error>,
}

/// What a [`Check`] is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The service answers at its address.
    Endpoint,
    /// This machine's clock agrees with the service's.
    Clock,
    /// Which sort of credential it is, and that the service accepts it.
    Credential,
    /// The account is of a kind that has locks, and lets this credential and this network in.
    Account,
    /// The container is there, or was made.
    Container,
    /// The right to make the lock's blob. Not needed if it is there.
    Create,
    /// The right to take the lock.
    Acquire,
    /// The right to renew it.
    Renew,
    /// The right to release it.
    Release,
    /// The right to look at it. A wait costs ten times as much without, and works.
    Read,
    /// The time that a request takes, against the lease and how often it is renewed.
    RoundTrip,
}

/// What came of a [`Check`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It stands in the way, or, of [`Subject::Read`], makes waiting dearer.
    Failed,
    /// Not asked for, because something before it failed, or nothing would have been learned.
    NotTried,
}

impl Locker {
    /// Finds out whether this program can lock here: whether the service can be reached, the clock is right, the
    /// credential is accepted and has the rights that a lock needs, the account is of a fitting kind, and the way to it
    /// is short enough for the lease.
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
        let findings = probe::run(mutex);
        judge::judge(
            &findings,
            &Setting {
                origin: container.origin(),
                container: container.name(),
                credential: container.credential().sort(),
                is_dated: container.credential().is_dated(),
                held_for: settings.term.valid_until(Moment::PAST).since(Moment::PAST),
                renew_every: settings.renew_every,
            },
        )
    }
}

impl Preflight {
    /// Whether nothing stands in the way of a lock.
    pub fn can_lock(&self) -> bool {
        self.obstacle().is_none()
    }

    /// The first check that stands in the way.
    pub fn obstacle(&self) -> Option<&Check> {
        let failed = |check: &&Check| check.status == Status::Failed && check.subject != Subject::Read;
        self.checks.iter().find(failed).or_else(|| self.check(Subject::Acquire).filter(|check| !check.is_ok()))
    }

    /// All of them, in the order in which one depends on another.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The one about that.
    pub fn check(&self, subject: Subject) -> Option<&Check> {
        self.checks.iter().find(|check| check.subject == subject)
    }

    /// The smallest role of Entra ID's that would do.
    pub fn least_role(&self) -> &str {
        &self.least_role
    }

    /// The smallest shared access signature that would do.
    pub fn least_sas(&self) -> &str {
        &self.least_sas
    }
}

impl Check {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// What came of it.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether it is as it should be.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// What came of it, for a person.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What the service's refusal, or its silence, would be as the error of a lock.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        match self.obstacle() {
            None => writeln!(f, "\nThis program can lock here.")?,
            Some(check) => writeln!(f, "\nThis program cannot lock here: see {}.", check.subject)?,
        }
        writeln!(f, "The smallest role that would do: {}.", self.least_role)?;
        write!(f, "The smallest SAS that would do: {}.", self.least_sas)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, subject) = (self.status.to_string(), self.subject.to_string());
        write!(f, "{status:<9}  {subject:<10}  {}", self.sentence)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Endpoint => "endpoint",
            Subject::Clock => "clock",
            Subject::Credential => "credential",
            Subject::Account => "account",
            Subject::Container => "container",
            Subject::Create => "create",
            Subject::Acquire => "acquire",
            Subject::Renew => "renew",
            Subject::Release => "release",
            Subject::Read => "read",
            Subject::RoundTrip => "round trip",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "ok",
            Status::Failed => "FAILED",
            Status::NotTried => "not tried",
        })
    }
}
