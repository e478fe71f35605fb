//! The Blob service's REST dialect: operations become requests, answers become typed outcomes.
//!
//! What a lock is, and what to do after an answer, is not known here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{self, Moment};
use crate::credential::{Credential, NoProof};
use crate::error::Error;
use crate::fencing::Blob;
use crate::metadata::Metadata;
use crate::transport::{Because, NoAnswer, Reply, Request, Transport};

mod account;
mod answer;
pub(crate) mod explain;
#[cfg(feature = "list")]
mod listing;
pub(crate) mod request;

pub(crate) use account::{AccountInfo, account_info};
pub(crate) use answer::{Applied, Outcome};
#[cfg(test)]
pub(crate) use answer::{blob, is_trusted, outcome};
pub(crate) use explain::{ROLE, SKEW_REFUSED, not_renewed};
#[cfg(all(feature = "list", any(test, fuzzing)))]
pub(crate) use listing::read as read_page;
#[cfg(feature = "list")]
pub(crate) use listing::{Listed, Page};
#[cfg(feature = "list")]
pub(crate) use request::Wanted;
pub(crate) use request::{Address, Operation, Write};

use self::explain::Asked;
pub(crate) use self::request::RequestId;

/// One attempt: when it was sent, what came of it, and, unless it did what was asked, how to tell a person.
#[derive(Clone, Debug)]
pub(crate) struct Exchange<F = Error> {
    pub(crate) sent: Moment,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<F>,
    /// What the service's answer tells of the lock's blob.
    pub(crate) blob: Option<Blob>,
    /// All of the blob's metadata, if they are in the answer.
    pub(crate) metadata: Option<Arc<Metadata>>,
    /// It ended because time was up, and had less of it than a request has otherwise: what came of it tells of some
    /// deadline, and little of the service.
    pub(crate) cut_off: bool,
}

impl<F> Exchange<F> {
    pub(crate) fn new(sent: Moment, outcome: Outcome, error: Option<F>) -> Exchange<F> {
        Exchange { sent, outcome, error, blob: None, metadata: None, cut_off: false }
    }
}

/// How far a request came.
#[derive(Debug)]
pub(crate) enum Contact<H = Heard> {
    /// There was no proof to send it with.
    Unsent,
    /// The proxy on the way let nothing through.
    Blocked,
    Unanswered,
    Answered(H),
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
    /// It repeated the request's id, so nothing in between answered with what it kept.
    pub(crate) is_echoed: bool,
    pub(crate) keeping: answer::Keeping,
}

/// Less than this is no time to be taken off a limit: a proof that was at hand.
const AT_HAND: Duration = Duration::from_millis(10);

impl Heard {
    fn of(asked: &Asked<'_>, reply: &Reply, took: Duration) -> Heard {
        Heard {
            took,
            ours: asked.date,
            theirs: answer::date_of(reply),
            is_service: answer::is_service(reply),
            is_echoed: answer::echoes(asked.id.as_ref(), reply),
            keeping: answer::keeping(reply),
        }
    }
}

/// Makes one attempt at `operation`, in no more than `limit`. A credential that is not ready yet may take most of it;
/// the attempt counts from when the request itself is sent. `metadata` is what a write is to leave.
pub(crate) fn attempt(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    operation: Operation,
    metadata: Option<&Metadata>,
    limit: Duration,
) -> Exchange {
    let make = |date, id: Option<&RequestId>| {
        let mut request = request::of(operation, address, date, id);
        if let Some(metadata) = metadata {
            request::carry(&mut request, metadata);
        }
        request
    };
    exchange(transport, credential, address, operation, limit, make, |asked, reply, _| (read(asked, reply), ())).0
}

/// The same without metadata, and with what the answer tells besides.
pub(crate) fn attempt_and_listen(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    operation: Operation,
    limit: Duration,
) -> (Exchange, Contact) {
    let make = |date, id: Option<&RequestId>| request::of(operation, address, date, id);
    let listen = |asked: &Asked<'_>, reply: &Reply, took| (read(asked, reply), Heard::of(asked, reply, took));
    exchange(transport, credential, address, operation, limit, make, listen)
}

/// One attempt at a page of the container's blobs: it, if that is what came.
#[cfg(feature = "list")]
pub(crate) fn list(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    wanted: &Wanted<'_>,
    limit: Duration,
) -> (Exchange, Option<Page>) {
    let make = |date, id: Option<&RequestId>| request::of_list(address, wanted, date, id);
    let understand = |asked: &Asked<'_>, reply: &Reply, _| match read(asked, reply) {
        (Outcome::Done, _) => match listing::read(reply.bytes()) {
            Ok(page) => ((Outcome::Done, None), Some(page)),
            Err(wrong) => {
                let outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
                ((outcome, Some(asked.unreadable(reply, wrong))), None)
            }
        },
        other => (other, None),
    };
    let (exchange, contact) = exchange(transport, credential, address, Operation::List, limit, make, understand);
    let page = if let Contact::Answered(page) = contact { page } else { None };
    (exchange, page)
}

/// `understand` says what came of it, and whatever else its caller is to know, from an answer and how long that took.
fn exchange<'a, H>(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'a>,
    operation: Operation,
    limit: Duration,
    make: impl FnOnce(SystemTime, Option<&RequestId>) -> Request<'a>,
    understand: impl FnOnce(&Asked<'_>, &Reply, Duration) -> ((Outcome, Option<Error>), H),
) -> (Exchange, Contact<H>) {
    let begun = clock::now();
    let is_rest = limit < transport.limit;
    let date = clock::wall();
    let id = RequestId::random();
    let mut request = make(date, id.as_ref());
    let proof = match credential.authorize(&mut request, request::for_proof(limit)) {
        Ok(proof) => proof,
        Err(no_proof) => {
            let cut_off = is_rest && no_proof.is_late;
            let (outcome, error) = unsent(operation, address, no_proof);
            let (sent, error) = (clock::now(), Some(error));
            return (Exchange { sent, outcome, error, blob: None, metadata: None, cut_off }, Contact::Unsent);
        }
    };
    let sent = clock::now();
    let waited = sent.since(begun);
    let limit = if waited < AT_HAND { limit } else { limit.saturating_sub(waited) };
    let asked = Asked { operation, address, credential, proof, date, id };
    let reply = transport.send(&request, limit);
    if let Ok(reply) = &reply
        && !answer::is_trusted(asked.id.as_ref(), reply)
    {
        reply.distrust();
    }
    match reply {
        Ok(reply) => {
            let ((outcome, error), heard) = understand(&asked, &reply, clock::now().since(sent));
            let (blob, metadata) = answer::blob(operation, asked.id.as_ref(), outcome, &reply);
            let metadata = metadata.map(Arc::new);
            (Exchange { sent, outcome, error, blob, metadata, cut_off: false }, Contact::Answered(heard))
        }
        Err(no_answer) => {
            let cut_off = is_rest && no_answer.is_late();
            let is_blocked = matches!(no_answer.because, Because::Proxy(_));
            let (outcome, error) = missing(&asked, no_answer);
            let exchange = Exchange { sent, outcome, error, blob: None, metadata: None, cut_off };
            (exchange, if is_blocked { Contact::Blocked } else { Contact::Unanswered })
        }
    }
}

/// The request could not be made, for want of a proof.
fn unsent(operation: Operation, address: &Address<'_>, no_proof: NoProof) -> (Outcome, Error) {
    let outcome = match no_proof.retry_after {
        retry_after @ Some(_) => Outcome::Failed { applied: Applied::No, retry_after },
        None => Outcome::Denied,
    };
    (outcome, explain::unsent(operation, address, no_proof))
}

pub(crate) fn read(asked: &Asked<'_>, reply: &Reply) -> (Outcome, Option<Error>) {
    let outcome = match answer::outcome(asked.operation, asked.id.as_ref(), reply, asked.date) {
        // Not the last word, if the next attempt has another proof.
        Outcome::Denied if answer::is_unauthenticated(reply) && asked.credential.rejected(&asked.proof) => {
            Outcome::Failed { applied: Applied::No, retry_after: None }
        }
        outcome => outcome,
    };
    let error = match outcome {
        Outcome::Leased(_) | Outcome::Done | Outcome::Breaking(_) | Outcome::Seen(_) => None,
        Outcome::Busy | Outcome::Exists => None,
        _ => Some(asked.failed(reply)),
    };
    (outcome, error)
}

/// There was no answer.
pub(crate) fn missing(asked: &Asked<'_>, no_answer: NoAnswer) -> (Outcome, Option<Error>) {
    let outcome = answer::unanswered(asked.operation, &no_answer);
    (outcome, Some(asked.unanswered(no_answer)))
}
