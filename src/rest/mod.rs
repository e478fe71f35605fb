//! The Blob service's REST dialect: operations become requests, answers become typed outcomes.
//!
//! What a lock is, and what to do after an answer, is not known here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{self, Moment};
use crate::credential::Credential;
use crate::error::Error;
use crate::lease::{LeaseId, LockStatus, Term};
use crate::transport::Transport;

mod account;
pub(crate) mod answer;
pub(crate) mod request;

pub(crate) use account::{Account, account};
pub(crate) use answer::SKEW_REFUSED;
#[cfg(test)]
pub(crate) use answer::outcome;

/// What the service can be asked to do. Each is one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Acquire { id: LeaseId, term: Term },
    Renew { id: LeaseId },
    Release { id: LeaseId },
    Break { period: Option<u8> },
    Look,
    CreateBlob,
    CreateContainer,
}

/// What came of an operation. Only what the service itself says counts: a success as the operation's page promises
/// it, or an error code from its lists together with a request id. All else is a failure that may pass.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Acquired or renewed, under the id that the answer names.
    Leased(LeaseId),
    /// Released, or created.
    Done,
    /// Broken: a new lease can be had after this time.
    Breaking(Duration),
    /// The state of the lock.
    Seen(LockStatus),
    /// Somebody has the lease, or had it and it is still being broken.
    Busy,
    /// What was to be created is there.
    Exists,
    NoBlob,
    NoContainer,
    /// The container is being deleted; a new one of that name cannot be had yet.
    ContainerBeingDeleted,
    /// The lease that the request named is not the blob's.
    NotOurs,
    /// The lease that the request named was broken.
    Broken,
    /// There is no lease at all, where the request wanted one.
    NoLease,
    /// The credential was not accepted, or has no right to this.
    Denied,
    /// The request can never succeed.
    Refused,
    /// No answer, or a passing failure. `applied`: the service may have carried the operation out all the same.
    Failed {
        applied: Applied,
        retry_after: Option<Duration>,
    },
}

/// Whether an operation that failed may have been carried out.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Applied {
    No,
    Perhaps,
}

/// One attempt: when it was sent, what came of it, and, unless it did what was asked, how to tell a person.
pub(crate) struct Exchange {
    pub(crate) sent: Moment,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<Error>,
}

/// How far a request came.
#[derive(Debug)]
pub(crate) enum Contact {
    /// There was no proof to send it with.
    Unsent,
    Unanswered,
    Answered(Heard),
}

/// What an answer tells besides its outcome.
#[derive(Debug)]
pub(crate) struct Heard {
    /// From the sending to the end of the answer.
    pub(crate) took: Duration,
    /// What our clock showed before, and what the service's showed.
    pub(crate) ours: SystemTime,
    pub(crate) theirs: Option<SystemTime>,
    /// The service answered, and not whatever is in its place.
    pub(crate) is_service: bool,
}

/// Where a lock's requests go. Paths are percent-encoded, as they are sent and signed.
pub(crate) struct Address<'a> {
    /// Scheme and authority.
    pub(crate) origin: &'a str,
    /// The container, for a person.
    pub(crate) container: &'a str,
    pub(crate) container_path: &'a str,
    pub(crate) blob_path: &'a str,
    pub(crate) lock: &'a Arc<str>,
}

/// Less than this is no time to be taken off a limit: a proof that was at hand.
const AT_HAND: Duration = Duration::from_millis(10);

/// Makes one attempt at `operation`, in no more than `limit`. A credential that is not ready yet may take most of it;
/// the attempt counts from when the request itself is sent.
pub(crate) fn attempt(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    operation: Operation,
    limit: Duration,
) -> Exchange {
    attempt_and_listen(transport, credential, address, operation, limit).0
}

/// As [`attempt`], with what the answer tells besides.
pub(crate) fn attempt_and_listen(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    operation: Operation,
    limit: Duration,
) -> (Exchange, Contact) {
    let begun = clock::now();
    let date = clock::wall();
    let mut request = request::of(operation, address, date);
    let proof = match credential.authorize(&mut request, limit - limit / 4) {
        Ok(proof) => proof,
        Err(no_proof) => {
            let (outcome, error) = answer::unsent(operation, address, no_proof);
            return (Exchange { sent: clock::now(), outcome, error: Some(error) }, Contact::Unsent);
        }
    };
    let sent = clock::now();
    let waited = sent.since(begun);
    let limit = if waited < AT_HAND { limit } else { limit.saturating_sub(waited) };
    let asked = answer::Asked { operation, address, credential, proof, date, limit };
    let reply = transport.send(&request, limit);
    let contact = reply.as_ref().map_or(Contact::Unanswered, |reply| {
        Contact::Answered(Heard {
            took: clock::now().since(sent),
            ours: date,
            theirs: answer::date_of(reply),
            is_service: answer::is_service(reply),
        })
    });
    let (outcome, error) = match reply {
        Ok(reply) => answer::read(&asked, &reply),
        Err(no_answer) => answer::missing(&asked, no_answer),
    };
    (Exchange { sent, outcome, error }, contact)
}
