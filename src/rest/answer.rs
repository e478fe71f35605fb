//! Answers as typed outcomes.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::request::{META, Operation, REQUEST_ID, RequestId};
use crate::fencing::{Blob, ETag, Second, Version};
use crate::lease::{LeaseId, LockState};
use crate::metadata::Metadata;
use crate::retry;
use crate::transport::{Because, NoAnswer, Reply};

/// What came of an operation. Only what the service itself says counts: a success as the operation's page promises
/// it, or an error code from its lists together with a request id. All else is a failure that may pass.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Acquired or renewed, under the id that the answer names.
    Leased(LeaseId),
    /// Released, created, or listed.
    Done,
    /// Broken: a new lease can be had after this time.
    Breaking(Duration),
    /// The state of the lock.
    Seen(LockState),
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
    /// The blob is not of the version any more that the request named.
    Changed,
    /// A look or a list that was answered with what belongs to another request, and so tells nothing.
    Void,
    /// A look that was answered without a word on the lock: by something in between, as a rule. That may pass.
    Filtered,
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

/// What the answer to the request of that id means. `now` is for a `Retry-After` that is a date.
pub(crate) fn outcome(operation: Operation, id: Option<&RequestId>, reply: &Reply, now: SystemTime) -> Outcome {
    if !belongs(id, reply) {
        return match operation {
            operation if operation.is_read() => Outcome::Void,
            _ => Outcome::Failed { applied: Applied::Perhaps, retry_after: None },
        };
    }
    let code = service_code(reply);
    let code = code.as_deref();
    let definite = if is_service(reply) { success(operation, reply) } else { None };
    if let Some(outcome) = definite.or_else(|| listed(operation, reply.status, code?)) {
        return outcome;
    }
    if is_service(reply) && operation == Operation::Look && reply.status == 404 && code.is_none() {
        return Outcome::NoBlob;
    }
    if is_service(reply) && is_for_good(operation, reply.status, code) {
        return Outcome::Refused;
    }
    if operation == Operation::Look && !is_passing(reply.status) {
        return Outcome::Filtered;
    }
    // Carried out for all we know, unless the service says that it was too busy to.
    let too_busy = is_service(reply) && matches!((reply.status, code), (429, _) | (503, Some("ServerBusy")));
    let applied = if too_busy { Applied::No } else { Applied::Perhaps };
    Outcome::Failed { applied, retry_after: retry::retry_after(|name| reply.header(name), now) }
}

/// Whether it is an answer to that request, and not one that a cache or a proxy kept of another, or that came late. Not
/// every server repeats the id.
pub(super) fn belongs(id: Option<&RequestId>, reply: &Reply) -> bool {
    id.is_none_or(|RequestId(id)| reply.has_no_other(REQUEST_ID, id))
}

/// Whether its connection can be used again: if this is no answer of the service's to that request, the next one may not be
/// either, and a connection that is one answer behind stays so.
pub(crate) fn is_trusted(id: Option<&RequestId>, reply: &Reply) -> bool {
    is_service(reply) && belongs(id, reply)
}

/// Whether it says itself that it is the answer to that request.
pub(super) fn echoes(id: Option<&RequestId>, reply: &Reply) -> bool {
    belongs(id, reply) && id.is_some() && reply.header(REQUEST_ID).is_some()
}

/// Whatever answers without a request id is not the service: a portal, a proxy, some other server on that port.
pub(super) fn is_service(reply: &Reply) -> bool {
    reply.header("x-ms-request-id").is_some()
}

/// What the answer of that outcome tells of the lock's blob; and the blob's metadata, where it has them all.
pub(crate) fn blob(
    operation: Operation,
    id: Option<&RequestId>,
    outcome: Outcome,
    reply: &Reply,
) -> (Option<Blob>, Option<Metadata>) {
    let metadata = match (operation, outcome) {
        (Operation::Look, Outcome::Seen(_)) => Some(Metadata::new(reply.headers_with(META))),
        (Operation::CreateBlob, Outcome::Done) => Some(Metadata::default()),
        (Operation::Acquire { .. }, Outcome::Leased(_)) | (Operation::Write(_), Outcome::Done) => None,
        _ => return (None, None),
    };
    let version = version(reply).filter(|_| belongs(id, reply));
    let content = metadata.as_ref().map(Metadata::content);
    (version.map(|version| Blob { version, content }), metadata)
}

fn version(reply: &Reply) -> Option<Version> {
    let modified = httpdate::parse_http_date(reply.header("last-modified")?).ok()?;
    let etag = reply.header("etag").filter(|etag| reply.has_no_other("etag", etag))?;
    Some(Version { etag: ETag::parse(etag)?, modified: Second::of(modified)?, date: Second::of(date_of(reply)?)? })
}

/// What the service's clock shows.
pub(super) fn date_of(reply: &Reply) -> Option<SystemTime> {
    httpdate::parse_http_date(reply.header("date")?).ok()
}

/// What the account keeps of the blob whatever is done to it, as far as an answer tells: by the headers of
/// [Get Blob Properties](https://learn.microsoft.com/rest/api/storageservices/get-blob-properties).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// Each write leaves a version.
    pub(crate) versions: bool,
    /// There is an immutability policy or a legal hold, which refuse each write.
    pub(crate) is_immutable: bool,
}

pub(super) fn keeping(reply: &Reply) -> Keeping {
    let policy = ["x-ms-immutability-policy-mode", "x-ms-immutability-policy-until-date"];
    let is_held = reply.header("x-ms-legal-hold").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Keeping {
        versions: reply.header("x-ms-version-id").is_some(),
        is_immutable: is_held || policy.iter().any(|name| reply.header(name).is_some()),
    }
}

/// The service's own code of an error: from the header, or, as old versions and Azure Stack Hub have none there, from
/// the body.
pub(super) fn service_code(reply: &Reply) -> Option<Cow<'_, str>> {
    if !is_service(reply) || reply.status < 400 {
        return None;
    }
    match reply.header("x-ms-error-code") {
        Some(code) => Some(Cow::Borrowed(code)),
        None => in_body(&reply.body(), "Code").map(Cow::Owned),
    }
}

/// What an error's body says under that name: an element in XML, a member with a small initial in JSON.
pub(super) fn in_body(body: &str, name: &str) -> Option<String> {
    const LONGEST: usize = 300;
    let text = between(body, &format!("<{name}>"), "<").or_else(|| {
        let (first, rest) = name.split_at_checked(1)?;
        let (_, behind) = body.split_once(&format!("\"{}{rest}\"", first.to_ascii_lowercase()))?;
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        between(value, "\"", "\"").filter(|_| value.starts_with('"'))
    })?;
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.to_owned())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// The service does not know who asks; not that it knows, and refuses what is asked.
pub(super) fn is_unauthenticated(reply: &Reply) -> bool {
    reply.status == 401 || service_code(reply).as_deref() == Some("AuthenticationFailed")
}

/// What the operation's page promises for a success, and nothing else.
fn success(operation: Operation, reply: &Reply) -> Option<Outcome> {
    match (operation, reply.status) {
        (Operation::Acquire { .. }, 201) | (Operation::Renew { .. }, 200) => {
            let id = reply.header("x-ms-lease-id").filter(|id| reply.has_no_other("x-ms-lease-id", id))?;
            LeaseId::parse(id).map(Outcome::Leased)
        }
        // A write makes another version, so an answer that names the old one, as one to a look would, is no answer to it.
        (Operation::Write(write), 200) => {
            let etag = reply.header("etag").filter(|etag| reply.has_no_other("etag", etag)).and_then(ETag::parse)?;
            (etag != write.only).then_some(Outcome::Done)
        }
        (Operation::Release { .. }, 200) | (Operation::CreateBlob | Operation::CreateContainer, 201) => {
            Some(Outcome::Done)
        }
        (Operation::Break { .. }, 202) => {
            let seconds: u32 = reply.header("x-ms-lease-time")?.parse().ok()?;
            Some(Outcome::Breaking(Duration::from_secs(seconds.into())))
        }
        (Operation::Look, 200) => {
            let state = lease_state(reply.header("x-ms-lease-state")?, reply.header("x-ms-lease-duration"))?;
            Some(Outcome::Seen(state))
        }
        #[cfg(feature = "list")]
        (Operation::List, 200) => Some(Outcome::Done),
        _ => None,
    }
}

pub(super) fn lease_state(state: &str, duration: Option<&str>) -> Option<LockState> {
    Some(match (state, duration) {
        ("available", _) => LockState::Available,
        ("leased", Some("infinite")) => LockState::LeasedForever,
        ("leased", _) => LockState::Leased,
        ("expired", _) => LockState::Expired,
        ("breaking", _) => LockState::Breaking,
        ("broken", _) => LockState::Broken,
        _ => return None,
    })
}

/// The codes that say something definite, from
/// [Blob service error codes](https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes) and
/// [common error codes](https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes).
fn listed(operation: Operation, status: u16, code: &str) -> Option<Outcome> {
    Some(match (status, code) {
        (409, "LeaseAlreadyPresent" | "LeaseIsBreakingAndCannotBeAcquired") => Outcome::Busy,
        (404, "BlobNotFound") => Outcome::NoBlob,
        (404, "ContainerNotFound") => Outcome::NoContainer,
        (409, "ContainerBeingDeleted") => Outcome::ContainerBeingDeleted,
        (409, "ContainerAlreadyExists" | "BlobAlreadyExists") | (403, "UnauthorizedBlobOverwrite") => Outcome::Exists,
        // The service's word for a create that met a leased blob.
        (412, "LeaseIdMissing") if operation == Operation::CreateBlob => Outcome::Exists,
        (409, "LeaseIdMismatchWithLeaseOperation") | (412, "LeaseIdMismatchWithBlobOperation" | "LeaseLost") => {
            Outcome::NotOurs
        }
        (409, "LeaseNotPresentWithLeaseOperation") | (412, "LeaseNotPresentWithBlobOperation") => Outcome::NoLease,
        (409, "LeaseIsBrokenAndCannotBeRenewed") => Outcome::Broken,
        (412, "ConditionNotMet") if matches!(operation, Operation::Write(_) | Operation::Break { .. }) => {
            Outcome::Changed
        }
        (401 | 403, _) | (409, "PublicAccessNotPermitted") | (400, "InvalidAuthenticationInfo") => Outcome::Denied,
        (404, "ResourceNotFound")
        | (
            409,
            "BlobArchived"
            | "BlobBeingRehydrated"
            | "BlobImmutableDueToPolicy"
            | "BlobUsesCustomerSpecifiedEncryption"
            | "InvalidBlobType",
        )
        | (412, "ConditionNotMet" | "LeaseIdMissing")
        | (
            400,
            "AccountRequiresHttps"
            | "EmptyMetadataKey"
            | "InvalidHeaderValue"
            | "InvalidInput"
            | "InvalidMetadata"
            | "InvalidQueryParameterValue"
            | "InvalidResourceName"
            | "InvalidUri"
            | "MetadataTooLarge"
            | "MissingRequiredHeader"
            | "MissingRequiredQueryParameter"
            | "OutOfRangeInput"
            | "OutOfRangeQueryParameterValue"
            | "UnsupportedHeader"
            | "UnsupportedHttpVerb"
            | "UnsupportedQueryParameter",
        ) => Outcome::Refused,
        _ => return None,
    })
}

/// Whether the service's refusal, of no listed code, cannot pass by waiting: an unsupported verb or operation. The answer
/// to a look has no body to explain itself in; whoever may not look can still try.
fn is_for_good(operation: Operation, status: u16, code: Option<&str>) -> bool {
    let unexplained = operation == Operation::Look && code.is_none();
    matches!(status, 405 | 501) || unexplained && matches!(status, 400..=499) && !matches!(status, 408 | 429)
}

/// A status that says that it would be otherwise another time, whoever says so.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..)
}

/// What follows from the want of an answer.
pub(super) fn unanswered(operation: Operation, no_answer: &NoAnswer) -> Outcome {
    match no_answer.because {
        _ if no_answer.is_untrusted() => Outcome::Refused,
        // The answer to a look has all of the blob's metadata, which may be more headers than can be read.
        Because::NotHttp if operation == Operation::Look => Outcome::Refused,
        _ => {
            let applied = if no_answer.unsent { Applied::No } else { Applied::Perhaps };
            Outcome::Failed { applied, retry_after: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Term;
    use crate::rest::Write;

    const FAILED: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };

    /// What the service means by that.
    fn of(operation: Operation, status: u16, headers: &[(&'static str, &str)], body: &str) -> Outcome {
        let mut reply = Reply::new(status, &[&[("x-ms-request-id", "1")], headers].concat());
        reply.body = body.into();
        outcome(operation, None, &reply, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn two_different_lease_ids_are_no_answer() {
        let [ours, theirs] = ["01234567-89ab-4def-8123-456789abcdef", "fedcba98-7654-4210-8edc-ba9876543210"]
            .map(|id| ("x-ms-lease-id", id));
        let id = LeaseId::parse(ours.1).unwrap();
        for (operation, status) in
            [(Operation::Acquire { id, term: Term::DEFAULT }, 201), (Operation::Renew { id }, 200)]
        {
            for twice in [&[ours][..], &[ours, ours]] {
                assert_eq!(of(operation, status, twice, ""), Outcome::Leased(id), "{twice:?}");
            }
            for different in [[ours, theirs], [theirs, ours]] {
                assert_eq!(of(operation, status, &different, ""), FAILED, "{different:?}");
            }
        }
    }

    #[test]
    fn a_code_may_stand_in_the_body() {
        let renew = Operation::Renew { id: LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap() };
        for (body, expected) in [
            ("<?xml version=\"1.0\"?><Error><Code>LeaseIsBrokenAndCannotBeRenewed</Code></Error>", Outcome::Broken),
            (r#"{"odata.error": {"code": "LeaseIsBrokenAndCannotBeRenewed"}}"#, Outcome::Broken),
            (r#"{"error":{"code" : "LeaseIsBrokenAndCannotBeRenewed"}}"#, Outcome::Broken),
            (r#"{"error":{"code":409}}"#, FAILED),
            ("<Error><Code></Code></Error>", FAILED),
            ("LeaseIsBrokenAndCannotBeRenewed", FAILED),
        ] {
            assert_eq!(of(renew, 409, &[], body), expected, "{body}");
        }
        // What the header says counts.
        let body = "<Error><Code>LeaseIsBrokenAndCannotBeRenewed</Code></Error>";
        assert_eq!(of(renew, 409, &[("x-ms-error-code", "LeaseAlreadyPresent")], body), Outcome::Busy);
    }

    #[test]
    fn what_no_code_explains_is_told_by_its_status() {
        let create = Operation::CreateBlob;
        for (operation, status, expected) in [
            (Operation::Look, 404, Outcome::NoBlob),
            (Operation::Look, 400, Outcome::Refused),
            (Operation::Look, 409, Outcome::Refused),
            (Operation::Look, 405, Outcome::Refused),
            (Operation::Look, 501, Outcome::Refused),
            (Operation::Look, 408, FAILED),
            (Operation::Look, 500, FAILED),
            (create, 405, Outcome::Refused),
            (create, 501, Outcome::Refused),
            (create, 404, FAILED),
            (create, 400, FAILED),
        ] {
            assert_eq!(of(operation, status, &[], ""), expected, "{operation:?}, {status}");
        }
        for code in ["InvalidInput", "UnsupportedHeader", "UnsupportedHttpVerb"] {
            assert_eq!(of(create, 400, &[("x-ms-error-code", code)], ""), Outcome::Refused, "{code}");
        }
        assert_eq!(of(create, 501, &[("x-ms-error-code", "NotImplemented")], ""), Outcome::Refused);
    }

    #[test]
    fn a_look_that_is_answered_without_a_word_on_the_lock_is_no_failure_of_the_service() {
        const NOW: SystemTime = SystemTime::UNIX_EPOCH;
        let service = [("x-ms-request-id", "1"), ("x-ms-error-code", "SomethingNew")];
        for (status, headers) in [(200, &[][..]), (200, &service[..1]), (302, &[]), (403, &[]), (405, &[]), (501, &[])]
            .into_iter()
            .chain([(400, &service[..]), (404, &[])])
        {
            let reply = Reply::new(status, headers);
            assert_eq!(outcome(Operation::Look, None, &reply, NOW), Outcome::Filtered, "{status}, {headers:?}");
            let created = outcome(Operation::CreateBlob, None, &reply, NOW);
            assert!(matches!(created, Outcome::Failed { .. }) || !headers.is_empty(), "{status}: {created:?}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            let outcome = outcome(Operation::Look, None, &Reply::new(status, &[]), NOW);
            assert!(matches!(outcome, Outcome::Failed { .. }), "{status}: {outcome:?}");
        }
    }

    #[test]
    fn a_write_is_carried_out_where_the_answer_names_another_version() {
        use crate::fencing::WriteId;
        let lease = LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap();
        let only = ETag::parse("\"1\"").unwrap();
        let write = Operation::Write(Write { lease, only, id: WriteId([0; 16]), token: None, card: None, mark: true });
        for (etags, expected) in [
            (&["\"2\""][..], Outcome::Done),
            (&["\"1\""], Outcome::Failed { applied: Applied::Perhaps, retry_after: None }),
            (&[], Outcome::Failed { applied: Applied::Perhaps, retry_after: None }),
            (&["W/\"2\""], Outcome::Failed { applied: Applied::Perhaps, retry_after: None }),
        ] {
            let etags = etags.iter().map(|etag| ("etag", *etag));
            let headers: Vec<_> = std::iter::once(("x-ms-request-id", "1")).chain(etags).collect();
            let reply = Reply::new(200, &headers);
            assert_eq!(outcome(write, None, &reply, SystemTime::UNIX_EPOCH), expected, "{headers:?}");
        }
    }

    #[test]
    fn only_a_refusal_of_the_service_says_that_nothing_was_done() {
        const CODE: &str = "x-ms-error-code";
        const ID: (&str, &str) = ("x-ms-request-id", "1");
        for (status, headers, expected) in [
            (503, &[ID, (CODE, "ServerBusy")][..], Applied::No),
            (429, &[ID], Applied::No),
            (429, &[], Applied::Perhaps),
            (503, &[(CODE, "ServerBusy")], Applied::Perhaps),
            (503, &[ID], Applied::Perhaps),
            (500, &[ID, (CODE, "ServerBusy")], Applied::Perhaps),
            (200, &[ID, (CODE, "ServerBusy")], Applied::Perhaps),
        ] {
            let outcome = outcome(Operation::CreateBlob, None, &Reply::new(status, headers), SystemTime::UNIX_EPOCH);
            assert_eq!(outcome, Outcome::Failed { applied: expected, retry_after: None }, "{status}, {headers:?}");
        }
    }
}
