//! What a preflight tells.

use std::fmt;

use crate::error::Error;

/// What [`Locker::preflight`](crate::Locker::preflight) found. `Display` is a list to read, with the smallest rights that would do at its end.
/// It holds no secret.
#[derive(Clone, Debug)]
#[must_use = "it says whether the lock can be had"]
pub struct Preflight {
    pub(super) checks: Vec<Check>,
    pub(super) least_role: String,
    pub(super) least_sas: String,
}

/// One thing that a lock needs, and what came of it.
#[derive(Clone, Debug)]
pub struct Check {
    pub(super) subject: Subject,
    pub(super) status: Status,
    pub(super) sentence: String,
    pub(super) error: Option<Error>,
}

/// What a [`Check`] is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// Which proxy is on the way to the service, if there is one, and that it opens a connection.
    Proxy,
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
    /// The right to look at it. Without it a wait works, by trying to take the lock: that costs ten times as much, and
    /// each try is a 409 in the account's metrics. So it is a [`Status::Warning`] if it is missing, or if something in
    /// between lets no look through.
    Read,
    /// Whether a fencing token or a card can be left in the metadata of the lock's blob, as far as that can be seen without
    /// doing so: the blob can be read, has no metadata of others and no unreadable token, and neither an immutability policy
    /// nor a legal hold is on it. For a locker that leaves a card and no token, what stands in its way is a
    /// [`Status::Warning`]; and so it is for both that each of them makes a version of the blob, which costs, on an account
    /// with versioning. For one that leaves neither it is [`Status::NotTried`].
    Metadata,
    /// The time that a request takes, against the lease and how often it is renewed.
    RoundTrip,
}

/// What came of a [`Check`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// As it should be.
    Ok,
    /// One can lock, but not as well as with it: without [`Subject::Read`], waiting costs more; see also
    /// [`Subject::Metadata`].
    Warning,
    /// It stands in the way.
    Failed,
    /// Not asked for, because something before it failed, or nothing would have been learned.
    NotTried,
}

impl Preflight {
    /// Whether nothing stands in the way of a lock. [Warnings](Preflight::warnings) do not.
    pub fn can_lock(&self) -> bool {
        self.obstacle().is_none()
    }

    /// The first check that stands in the way.
    pub fn obstacle(&self) -> Option<&Check> {
        let failed = |check: &&Check| check.status == Status::Failed;
        self.checks.iter().find(failed).or_else(|| self.check(Subject::Acquire).filter(|check| !check.is_ok()))
    }

    /// The checks that do not stand in the way, and are yet not as they should be.
    pub fn warnings(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Warning)
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
        let mut warnings = self.warnings().map(|check| check.subject.to_string()).peekable();
        match self.obstacle() {
            Some(check) => writeln!(f, "\nThis program cannot lock here: see {}.", check.subject)?,
            None if warnings.peek().is_none() => writeln!(f, "\nThis program can lock here.")?,
            None => {
                let subjects = warnings.collect::<Vec<_>>().join(", ");
                writeln!(f, "\nThis program can lock here, with a warning: see {subjects}.")?;
            }
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
            Subject::Proxy => "proxy",
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
            Subject::Metadata => "metadata",
            Subject::RoundTrip => "round trip",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "ok",
            Status::Warning => "WARNING",
            Status::Failed => "FAILED",
            Status::NotTried => "not tried",
        })
    }
}
