//! The requests of a preflight, and what came of them.

use std::time::Duration;

use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::fencing::Blob;
use crate::hold::Leaves;
use crate::hold::write::{Unwritten, Writer};
use crate::lease::{LeaseId, Term};
use crate::mutex::AzureMutex;
use crate::rest::{AccountInfo, Applied, Contact, Heard, Operation, Outcome};

/// The shortest there is: it is released at once.
const TERM: Term = Term::SHORTEST;
/// How many round trips are measured.
const TRIPS: usize = 5;

/// What each request came to; `None` where it was not made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) look: Option<Finding>,
    pub(super) create_container: Option<Finding>,
    pub(super) create_blob: Option<Finding>,
    /// The last of them, if there were two.
    pub(super) acquire: Option<Finding>,
    pub(super) renew: Option<Finding>,
    pub(super) release: Option<Finding>,
    pub(super) account: Option<AccountInfo>,
    /// How long more looks took.
    pub(super) trips: Vec<Duration>,
    /// Why no token or card could be written beside what is in the blob's metadata.
    pub(super) unwritable: Option<Unwritten>,
    /// There was no randomness for a lease's id, without which nothing can be asked for.
    pub(super) no_id: Option<Error>,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    /// Unless it did what was asked.
    pub(super) error: Option<Error>,
    pub(super) contact: Contact,
    pub(super) blob: Option<Blob>,
}

impl Finding {
    /// What the service's answer tells besides, if it was the service that answered.
    pub(super) fn heard(&self) -> Option<&Heard> {
        match &self.contact {
            Contact::Answered(heard) => Some(heard).filter(|heard| heard.is_service),
            Contact::Unsent | Contact::Blocked | Contact::Unanswered => None,
        }
    }

    pub(super) fn is_denied_with(&self, code: &str) -> bool {
        self.error.as_ref().and_then(Error::service_code) == Some(code)
    }

    /// Whether there is no sense in asking for anything else.
    fn is_end(&self) -> bool {
        let is_general = |error: &Error| {
            matches!(error.kind(), ErrorKind::Credential | ErrorKind::ClockSkew)
                || error.service_code().is_some_and(is_of_account)
        };
        self.heard().is_none() || self.error.as_ref().is_some_and(is_general)
    }

    /// Whether it is a look alone that failed so: something in between answered it, or its answer could not be read.
    fn is_of_looks_alone(&self) -> bool {
        let is_unreadable = self.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Unexpected);
        self.outcome == Outcome::Filtered || self.outcome == Outcome::Refused && is_unreadable
    }
}

/// The codes of refusals that have nothing to do with what was asked for.
pub(super) fn is_of_account(code: &str) -> bool {
    matches!(
        code,
        "KeyBasedAuthenticationNotPermitted"
            | "AccountIsDisabled"
            | "AccountRequiresHttps"
            | "ResourceNotFound"
            | "InsufficientAccountPermissions"
    )
}

/// Asks for all that a lock needs.
pub(super) fn run(mutex: &AzureMutex, leaves: Leaves) -> Findings {
    let mut findings = Findings::default();
    match LeaseId::random() {
        Ok(id) => ask_all(mutex, id, leaves, &mut findings),
        Err(error) => findings.no_id = Some(error),
    }
    findings
}

fn ask_all(mutex: &AzureMutex, id: LeaseId, leaves: Leaves, findings: &mut Findings) {
    let look = findings.look.insert(ask(mutex, Operation::Look));
    if let Outcome::Seen(_) = look.outcome {
        findings.unwritable = unwritable(id, leaves, look.blob);
    }
    if look.is_end() && !look.is_of_looks_alone() {
        return;
    }
    if take(mutex, id, findings) {
        return;
    }
    let limit = mutex.container().policy().attempt_limit;
    findings.account = mutex.container().account_info(mutex.place(), limit);
    for _ in 1..TRIPS {
        match ask(mutex, Operation::Look).heard() {
            Some(heard) => findings.trips.push(heard.took),
            None => return,
        }
    }
}

/// What whoever got the lock now would find out before it writes.
fn unwritable(id: LeaseId, leaves: Leaves, blob: Option<Blob>) -> Option<Unwritten> {
    if blob.is_none() {
        return Some(Unwritten::NoVersion);
    }
    Writer::new((id, id), leaves.wish(), leaves.lower_cases, None, blob, 0).next(clock::now()).err()
}

/// Takes the lock and gives it back, with what has to be made before. Whether to end there.
fn take(mutex: &AzureMutex, id: LeaseId, findings: &mut Findings) -> bool {
    let acquire = Operation::Acquire { id, term: TERM };
    let mut taken = ask(mutex, acquire);
    if taken.outcome == Outcome::NoContainer && mutex.container().creates() {
        let made = findings.create_container.insert(ask(mutex, Operation::CreateContainer));
        if matches!(made.outcome, Outcome::Done | Outcome::Exists) {
            taken.outcome = Outcome::NoBlob;
        }
    }
    if taken.outcome == Outcome::NoBlob {
        let made = findings.create_blob.insert(ask(mutex, Operation::CreateBlob));
        if matches!(made.outcome, Outcome::Done | Outcome::Exists) {
            taken = ask(mutex, acquire);
        }
    }
    let end = match taken.outcome {
        Outcome::Leased(granted) if granted == id => {
            let renew = findings.renew.insert(ask(mutex, Operation::Renew { id })).is_end();
            let release = findings.release.insert(ask(mutex, Operation::Release { id })).is_end();
            renew || release
        }
        // It may have been taken all the same.
        Outcome::Leased(_) | Outcome::Failed { applied: Applied::Perhaps, .. } => {
            ask(mutex, Operation::Release { id });
            taken.is_end()
        }
        _ => taken.is_end(),
    };
    findings.acquire = Some(taken);
    end
}

/// One attempt; two if the first token was not accepted, and another one may be.
fn ask(mutex: &AzureMutex, operation: Operation) -> Finding {
    let limit = mutex.container().policy().attempt_limit;
    let once = || {
        let (exchange, contact) = mutex.container().attempt_and_listen(mutex.place(), operation, limit);
        Finding { outcome: exchange.outcome, error: exchange.error, contact, blob: exchange.blob }
    };
    let answer = once();
    let was_refused = answer.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Credential);
    if was_refused && matches!(answer.outcome, Outcome::Failed { .. }) { once() } else { answer }
}
