//! Answers as typed outcomes, and as words for a person.

use std::time::{Duration, SystemTime};

use super::{Address, Applied, Operation, Outcome};
use crate::credential::{Credential, NoProof, Proof};
use crate::error::{Error, ErrorKind, ServiceAnswer};
use crate::lease::{LeaseId, LockStatus};
use crate::redact::tidy;
use crate::retry;
use crate::transport::{Because, NoAnswer, Reply};

/// The service refuses dates that are further off than this.
pub(crate) const SKEW_REFUSED: Duration = Duration::from_secs(15 * 60);
/// Room for the time between the making of our date and the service's.
const SKEW_SLACK: Duration = Duration::from_secs(60);

/// What was asked, as far as its answer needs it.
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    pub(crate) address: &'a Address<'a>,
    pub(crate) credential: &'a Credential,
    pub(crate) proof: Proof,
    pub(crate) date: SystemTime,
    pub(crate) limit: Duration,
}

pub(crate) fn read(asked: &Asked<'_>, reply: &Reply) -> (Outcome, Option<Error>) {
    let outcome = match outcome(asked.operation, reply, asked.date) {
        // Not the last word, if the next attempt has another proof.
        Outcome::Denied if is_unauthenticated(reply) && asked.credential.rejected(&asked.proof) => {
            Outcome::Failed { applied: Applied::No, retry_after: None }
        }
        outcome => outcome,
    };
    let error = match outcome {
        Outcome::Leased(_) | Outcome::Done | Outcome::Breaking(_) | Outcome::Seen(_) => None,
        Outcome::Busy | Outcome::Exists => None,
        _ => Some(asked.refused(reply, service_code(reply))),
    };
    (outcome, error)
}

/// What the answer means. `now` is for a `Retry-After` that is a date.
pub(crate) fn outcome(operation: Operation, reply: &Reply, now: SystemTime) -> Outcome {
    let code = service_code(reply);
    let definite = if is_service(reply) { success(operation, reply) } else { None };
    if let Some(outcome) = definite.or_else(|| listed(operation, reply.status, code?)) {
        return outcome;
    }
    // Carried out for all we know, unless the service says that it was too busy to.
    let too_busy = is_service(reply) && matches!((reply.status, code), (429, _) | (503, Some("ServerBusy")));
    let applied = if too_busy { Applied::No } else { Applied::Perhaps };
    Outcome::Failed { applied, retry_after: retry::retry_after(|name| reply.header(name), now) }
}

/// Whatever answers without a request id is not the service: a portal, a proxy, some other server on that port.
pub(super) fn is_service(reply: &Reply) -> bool {
    reply.header("x-ms-request-id").is_some()
}

/// What the service's clock shows.
pub(super) fn date_of(reply: &Reply) -> Option<SystemTime> {
    httpdate::parse_http_date(reply.header("date")?).ok()
}

fn service_code(reply: &Reply) -> Option<&str> {
    reply.header("x-ms-error-code").filter(|_| is_service(reply))
}

/// The service does not know who asks; not that it knows, and refuses what is asked.
fn is_unauthenticated(reply: &Reply) -> bool {
    reply.status == 401 || service_code(reply) == Some("AuthenticationFailed")
}

/// What the operation's page promises for a success, and nothing else.
fn success(operation: Operation, reply: &Reply) -> Option<Outcome> {
    match (operation, reply.status) {
        (Operation::Acquire { .. }, 201) | (Operation::Renew { .. }, 200) => {
            reply.header("x-ms-lease-id").and_then(LeaseId::parse).map(Outcome::Leased)
        }
        (Operation::Release { .. }, 200) | (Operation::CreateBlob | Operation::CreateContainer, 201) => {
            Some(Outcome::Done)
        }
        (Operation::Break { .. }, 202) => {
            let seconds: u32 = reply.header("x-ms-lease-time")?.parse().ok()?;
            Some(Outcome::Breaking(Duration::from_secs(seconds.into())))
        }
        (Operation::Look, 200) => {
            let state = match (reply.header("x-ms-lease-state")?, reply.header("x-ms-lease-duration")) {
                ("available", _) => LockStatus::Available,
                ("leased", Some("infinite")) => LockStatus::LeasedForever,
                ("leased", _) => LockStatus::Leased,
                ("expired", _) => LockStatus::Expired,
                ("breaking", _) => LockStatus::Breaking,
                ("broken", _) => LockStatus::Broken,
                _ => return None,
            };
            Some(Outcome::Seen(state))
        }
        _ => None,
    }
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
        (401 | 403, _) | (409, "PublicAccessNotPermitted") | (400, "InvalidAuthenticationInfo") => Outcome::Denied,
        (404, "ResourceNotFound")
        | (409, "InvalidBlobType")
        | (412, "ConditionNotMet" | "LeaseIdMissing")
        | (
            400,
            "AccountRequiresHttps"
            | "EmptyMetadataKey"
            | "InvalidHeaderValue"
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
            | "UnsupportedQueryParameter",
        ) => Outcome::Refused,
        _ => return None,
    })
}

/// The request could not be made, for want of a proof.
pub(super) fn unsent(operation: Operation, address: &Address<'_>, no_proof: NoProof) -> (Outcome, Error) {
    let NoProof { hint, source, retry_after } = no_proof;
    let (outcome, kind) = match retry_after {
        Some(_) => (Outcome::Failed { applied: Applied::No, retry_after }, ErrorKind::Unavailable),
        None => (Outcome::Denied, ErrorKind::Credential),
    };
    (outcome, Error::no_answer(address.lock, kind, doing(operation), hint, source))
}

/// There was no answer.
pub(crate) fn missing(asked: &Asked<'_>, no_answer: NoAnswer) -> (Outcome, Option<Error>) {
    let origin = asked.address.origin;
    let hint = match no_answer.because {
        Because::NoSuchHost => format!("the name of {origin} cannot be resolved; check the account's name"),
        Because::NotHttp => format!("{origin} does not answer as the Blob service does"),
        _ => no_answer.hint(origin, asked.limit),
    };
    let kind = match no_answer.because {
        Because::NotHttp => ErrorKind::Unexpected,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::no_answer(asked.address.lock, kind, doing(asked.operation), hint, no_answer.source);
    let outcome = if no_answer.because == Because::Tls {
        Outcome::Refused
    } else if no_answer.because == Because::NotHttp && asked.operation == Operation::Look {
        // The answer to a look has all of the blob's metadata, which may be more headers than can be read.
        Outcome::Refused
    } else {
        let applied = if no_answer.unsent { Applied::No } else { Applied::Perhaps };
        Outcome::Failed { applied, retry_after: None }
    };
    (outcome, Some(error))
}

fn doing(operation: Operation) -> &'static str {
    match operation {
        Operation::Acquire { .. } => "acquire the lease",
        Operation::Renew { .. } => "renew the lease",
        Operation::Release { .. } => "release the lease",
        Operation::Break { .. } => "break the lease",
        Operation::Look => "look at the lock",
        Operation::CreateBlob => "create the lock's blob",
        Operation::CreateContainer => "create the lock's container",
    }
}

impl Asked<'_> {
    fn right(&self) -> &'static str {
        match self.operation {
            Operation::Acquire { .. } | Operation::Renew { .. } | Operation::Release { .. } => "write (`w`) blobs",
            Operation::Break { .. } => "write (`w`) or delete (`d`) blobs",
            Operation::Look => "read (`r`) blobs",
            Operation::CreateBlob => "create (`c`) or write (`w`) blobs",
            Operation::CreateContainer => "create containers, which of SAS tokens only an account SAS gives",
        }
    }

    fn refused(&self, reply: &Reply, code: Option<&str>) -> Error {
        let (kind, hint) = self.explain(reply, code);
        let answer = ServiceAnswer {
            status: reply.status,
            code: code.map(|code| self.tidy(code)),
            request_id: reply.header("x-ms-request-id").map(|id| self.tidy(id)),
        };
        Error::refused(self.address.lock, kind, doing(self.operation), answer, hint)
    }

    fn explain(&self, reply: &Reply, code: Option<&str>) -> (ErrorKind, String) {
        if let Some(explained) = code.and_then(|code| self.explain_sas(reply, code)) {
            return explained;
        }
        let container = self.address.container;
        let foreign =
            || format!("{} does not answer as the Blob service does; is a proxy in between?", self.address.origin);
        match (reply.status, code) {
            (200..408 | 409..429, None) if !is_service(reply) => (ErrorKind::Unexpected, foreign()),
            (_, Some("AuthenticationFailed")) if self.skew(reply).is_some() => {
                let skew = self.skew(reply).unwrap_or_default();
                (ErrorKind::ClockSkew, format!("this machine's clock is {skew}; set it right"))
            }
            (401, _) | (_, Some("AuthenticationFailed")) if self.credential.is_token() => {
                let hint = "the token was not accepted: it may be of another tenant than the account's, or for another \
                            service";
                (ErrorKind::Credential, self.with_tenant(self.with_detail(hint, reply), reply))
            }
            (_, Some("AuthenticationFailed")) => {
                let hint = "the account key was not accepted; it may have been rotated, or belong to another account";
                (ErrorKind::Credential, self.with_detail(hint, reply))
            }
            (401, _)
            | (_, Some("InvalidAuthenticationInfo" | "NoAuthenticationInformation" | "PublicAccessNotPermitted")) => {
                (ErrorKind::Credential, self.with_detail("the credential was not accepted", reply))
            }
            (_, Some("KeyBasedAuthenticationNotPermitted")) => (
                ErrorKind::PermissionDenied,
                "the account refuses its keys, and whatever is signed with them; use an Entra ID credential, or a user \
                 delegation SAS"
                    .to_owned(),
            ),
            (_, Some("AuthorizationPermissionMismatch")) if self.credential.is_token() => (
                ErrorKind::PermissionDenied,
                format!(
                    "the identity lacks the right to {}; give it the role `Storage Blob Data Contributor` for this \
                     container or account, and some minutes until that counts",
                    self.right()
                ),
            ),
            (_, Some("AuthorizationPermissionMismatch")) => {
                (ErrorKind::PermissionDenied, format!("the credential lacks the right to {}", self.right()))
            }
            (_, Some("AuthorizationFailure")) => (
                ErrorKind::PermissionDenied,
                format!(
                    "not authorized to {}; the account's firewall may refuse this network, the SAS may not cover \
                     it, or (an emulator says so) the key is wrong",
                    self.right()
                ),
            ),
            (_, Some("AuthorizationProtocolMismatch")) => {
                (ErrorKind::PermissionDenied, "the SAS token allows https only".to_owned())
            }
            (_, Some("AuthorizationSourceIPMismatch")) => {
                (ErrorKind::PermissionDenied, "the SAS token does not allow this machine's address".to_owned())
            }
            (_, Some("AuthorizationServiceMismatch")) => {
                (ErrorKind::PermissionDenied, "the SAS token is for another service than Blob".to_owned())
            }
            (_, Some("AuthorizationResourceTypeMismatch")) => (
                ErrorKind::PermissionDenied,
                format!("the SAS token does not cover this type of resource; it must allow to {}", self.right()),
            ),
            (_, Some("AccountIsDisabled")) => (ErrorKind::PermissionDenied, "the account is disabled".to_owned()),
            (403, Some(_)) => {
                (ErrorKind::PermissionDenied, format!("the service does not allow it to {}", self.right()))
            }
            (_, Some("ContainerNotFound")) => (
                ErrorKind::NotFound,
                format!("there is no container {container:?}; create it, or let the builder do so"),
            ),
            (_, Some("BlobNotFound")) if !matches!(self.operation, Operation::Break { .. }) => {
                (ErrorKind::Unexpected, "the lock's blob vanishes as soon as it is made".to_owned())
            }
            (_, Some("BlobNotFound")) => {
                (ErrorKind::NotFound, format!("there is no such lock in container {container:?}"))
            }
            (_, Some("ResourceNotFound")) => {
                (ErrorKind::NotFound, format!("there is no such account at {}", self.address.origin))
            }
            (_, Some("ContainerBeingDeleted")) => (
                ErrorKind::Unavailable,
                format!("container {container:?} is being deleted; its name is free again in half a minute or more"),
            ),
            (_, Some("AccountRequiresHttps")) => {
                (ErrorKind::PermissionDenied, "the account takes https only; correct the URL".to_owned())
            }
            (_, Some("ServerBusy")) | (429 | 503, _) => {
                (ErrorKind::Unavailable, "the service is busy or throttles; try again later".to_owned())
            }
            (500.., _) | (408, _) => (ErrorKind::Unavailable, "the service failed; try again later".to_owned()),
            (200..300, _) | (_, None) => (ErrorKind::Unexpected, foreign()),
            (_, Some(_)) => (ErrorKind::Unexpected, "the service refused the request".to_owned()),
        }
    }

    /// What a SAS says of itself, as far as that is why it was refused.
    fn explain_sas(&self, reply: &Reply, code: &str) -> Option<(ErrorKind, String)> {
        let terms = self.credential.sas_terms()?;
        // Azurite says the second of a SAS that is over.
        if matches!(code, "AuthenticationFailed" | "AuthorizationFailure")
            && let Some(hint) = terms.out_of_time(date_of(reply).unwrap_or(self.date))
        {
            return Some((ErrorKind::Credential, hint));
        }
        match code {
            "AuthenticationFailed" => Some((ErrorKind::Credential, self.with_detail(&terms.doubts(), reply))),
            "AuthorizationPermissionMismatch" => Some((
                ErrorKind::PermissionDenied,
                format!("the SAS{} lacks the right to {}", terms.permissions(), self.right()),
            )),
            "AuthorizationSourceIPMismatch" => Some((
                ErrorKind::PermissionDenied,
                format!("the SAS is for the address {} only, which is not this machine's", terms.addresses()?),
            )),
            _ => None,
        }
    }

    /// How far our clock is off, if it is so far that the service refuses.
    fn skew(&self, reply: &Reply) -> Option<String> {
        let theirs = date_of(reply)?;
        let (off, direction) = match self.date.duration_since(theirs) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(behind) => (behind.duration(), "behind"),
        };
        let refused = off >= SKEW_REFUSED - SKEW_SLACK && self.credential.is_dated();
        refused.then(|| format!("{} min {direction} the service's", off.as_secs() / 60))
    }

    /// With the service's own explanation, where it gave one.
    fn with_detail(&self, hint: &str, reply: &Reply) -> String {
        let body = reply.body();
        let detail = body
            .split_once("<AuthenticationErrorDetail>")
            .and_then(|(_, rest)| rest.split_once("</AuthenticationErrorDetail>"));
        match detail {
            Some((detail, _)) => format!("{hint}; it says: {}", self.tidy(detail)),
            None => hint.to_owned(),
        }
    }

    /// With the account's own tenant, which the service names when it refuses a token.
    fn with_tenant(&self, hint: String, reply: &Reply) -> String {
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        let authority = challenge.split([' ', ',']).find_map(|part| part.strip_prefix("authorization_uri="));
        let tenant = authority.and_then(|uri| uri.trim_matches('"').split('/').nth(3)).unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if tenant.is_empty() || tenant.len() > 64 || !tenant.bytes().all(fits) {
            return hint;
        }
        format!("{hint}; it wants one of tenant {}", self.tidy(tenant))
    }

    /// A server's text on one line, of bounded length, and without our proof, should it have sent that back.
    fn tidy(&self, text: &str) -> String {
        tidy(text, &[self.proof.secret()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let outcome = outcome(Operation::CreateBlob, &Reply::new(status, headers), SystemTime::UNIX_EPOCH);
            assert_eq!(outcome, Outcome::Failed { applied: expected, retry_after: None }, "{status}, {headers:?}");
        }
    }
}
