//! Answers, and the want of one, in words for a person.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::answer::{belongs, date_of, in_body, is_service, service_code};
use super::request::{Address, Operation, RequestId};
#[cfg(feature = "list")]
use crate::credential::Reach;
use crate::credential::{Credential, NoProof, Proof};
use crate::error::{About, Error, ErrorKind, ServiceAnswer};
use crate::redact::tidy;
use crate::transport::{Because, NoAnswer, Reply};

/// The service refuses dates that are further off than this.
pub(crate) const SKEW_REFUSED: Duration = Duration::from_secs(15 * 60);
/// The least of the service's own roles that has all the rights of a lock.
pub(crate) const ROLE: &str = "Storage Blob Data Contributor";
/// Room for the time between the making of our date and the service's.
const SKEW_SLACK: Duration = Duration::from_secs(60);

/// What was asked, as far as its answer needs it.
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    pub(crate) address: &'a Address<'a>,
    pub(crate) credential: &'a Credential,
    pub(crate) proof: Proof,
    pub(crate) date: SystemTime,
    pub(crate) id: Option<RequestId>,
}

/// The request could not be made, for want of a proof.
pub(super) fn unsent(operation: Operation, address: &Address<'_>, no_proof: NoProof) -> Error {
    without_proof(&address.about, doing(operation), no_proof)
}

/// The proof that is at hand still serves, but could not be renewed.
pub(crate) fn not_renewed(lock: &Arc<str>, no_proof: NoProof) -> Error {
    without_proof(&lock.into(), "renew the credential's token", no_proof)
}

fn without_proof(about: &About, doing: &'static str, no_proof: NoProof) -> Error {
    let NoProof { hint, source, retry_after, .. } = no_proof;
    let kind = if retry_after.is_some() { ErrorKind::Unavailable } else { ErrorKind::Credential };
    Error::no_answer(about.clone(), kind, doing, hint, source)
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
        Operation::Write(_) => "write to the lock's metadata",
        #[cfg(feature = "list")]
        Operation::List => "list the locks",
    }
}

/// A line of what the service would have signed, without a lease's id, with which anybody could end that lease, and
/// without what others left in the metadata.
fn without_values(line: &str) -> Cow<'_, str> {
    match line.split_once(':') {
        Some((name, _)) if name.ends_with("lease-id") || name.starts_with("x-ms-meta-") => {
            Cow::Owned(format!("{name}:<redacted>"))
        }
        _ => Cow::Borrowed(line),
    }
}

/// What servers of https say to plain http, unless they just close the connection: nginx, Go's and Apache's.
fn is_of_https_port(reply: &Reply) -> bool {
    let body = reply.body().to_ascii_lowercase();
    !is_service(reply)
        && ["to https port", "to an https server", "ssl-enabled server port"].iter().any(|word| body.contains(word))
}

impl Asked<'_> {
    fn right(&self) -> &'static str {
        match self.operation {
            Operation::Acquire { .. } | Operation::Renew { .. } | Operation::Release { .. } | Operation::Write(_) => {
                "write (`w`) blobs"
            }
            Operation::Break { .. } => "write (`w`) or delete (`d`) blobs",
            Operation::Look => "read (`r`) blobs",
            Operation::CreateBlob => "create (`c`) or write (`w`) blobs",
            Operation::CreateContainer => "create containers, which of SAS tokens only an account SAS gives",
            #[cfg(feature = "list")]
            Operation::List => {
                "list (`l`) blobs, which of SAS tokens one for the container gives, or an account SAS for containers \
                 (`srt=c`)"
            }
        }
    }

    /// The error of an answer that is a refusal or a failure.
    pub(super) fn failed(&self, reply: &Reply) -> Error {
        let (kind, hint) = if belongs(self.id.as_ref(), reply) {
            self.explain(reply, service_code(reply).as_deref())
        } else {
            let origin = self.address.origin;
            let hint = format!(
                "the answer has another request id (`x-ms-client-request-id`) than the request, so it does not count: \
                 something in between replaces the request id, or is a cache that repeats old answers; whatever is \
                 before {origin} must pass that header on unchanged, and cache nothing"
            );
            (ErrorKind::Unexpected, hint)
        };
        self.answered(reply, kind, hint)
    }

    /// The error of a page that cannot be read.
    #[cfg(feature = "list")]
    pub(super) fn unreadable(&self, reply: &Reply, wrong: &str) -> Error {
        let hint = format!("what came from {} {wrong}; is a proxy in between?", self.address.origin);
        self.answered(reply, ErrorKind::Unexpected, hint)
    }

    fn answered(&self, reply: &Reply, kind: ErrorKind, hint: String) -> Error {
        let answer = ServiceAnswer {
            status: reply.status,
            code: service_code(reply).map(|code| self.tidy(&code)),
            request_id: reply.header("x-ms-request-id").map(|id| self.tidy(id)),
        };
        Error::refused(self.address.about.clone(), kind, doing(self.operation), answer, hint)
    }

    /// There was no answer.
    pub(super) fn unanswered(&self, no_answer: NoAnswer) -> Error {
        let origin = self.address.origin;
        let hint = match no_answer.because {
            Because::NoSuchHost => format!("the name of {origin} cannot be resolved; check the account's name"),
            _ => no_answer.hint(origin),
        };
        let kind = match no_answer.because {
            Because::NotHttp => ErrorKind::Unexpected,
            _ if no_answer.is_untrusted() => ErrorKind::Untrusted,
            _ => ErrorKind::Unavailable,
        };
        Error::no_answer(self.address.about.clone(), kind, doing(self.operation), hint, no_answer.source)
    }

    fn explain(&self, reply: &Reply, code: Option<&str>) -> (ErrorKind, String) {
        if let Some(explained) = code.and_then(|code| self.explain_sas(reply, code)) {
            return explained;
        }
        let container = self.address.container;
        let foreign =
            || format!("{} does not answer as the Blob service does; is a proxy in between?", self.address.origin);
        match (reply.status, code) {
            (400, None) if self.address.origin.starts_with("http://") && is_of_https_port(reply) => {
                let origin = self.address.origin;
                (ErrorKind::Unexpected, format!("{origin} speaks https, so its URL begins with https://"))
            }
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
                    "the identity lacks the right to {}; give it the role `{ROLE}` for this \
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
            #[cfg(feature = "list")]
            (_, Some("ContainerNotFound")) if self.operation == Operation::List => (
                ErrorKind::NotFound,
                format!("there is no container {container:?}; nothing has been locked in it yet, or the name is wrong"),
            ),
            (_, Some("ContainerNotFound")) => (
                ErrorKind::NotFound,
                format!("there is no container {container:?}; create it, or have this program do so"),
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
            (_, Some("BlobImmutableDueToPolicy")) => (
                ErrorKind::PermissionDenied,
                "an immutability policy or a legal hold lets nobody write to the lock's blob; put the lock into a \
                 container without one"
                    .to_owned(),
            ),
            (_, Some("AccountRequiresHttps")) => {
                (ErrorKind::PermissionDenied, "the account takes https only; correct the URL".to_owned())
            }
            (_, Some("ServerBusy")) | (429 | 503, _) => {
                (ErrorKind::Unavailable, "the service is busy or throttles; try again later".to_owned())
            }
            (405 | 501, _) => (
                ErrorKind::Unexpected,
                self.with_reason("the service does not support this request; is it a Blob endpoint?", reply),
            ),
            (500.., _) | (408, _) => (ErrorKind::Unavailable, "the service failed; try again later".to_owned()),
            (200..300, _) | (_, None) => (ErrorKind::Unexpected, foreign()),
            (_, Some(_)) => (ErrorKind::Unexpected, self.with_reason("the service refused the request", reply)),
        }
    }

    /// With the service's first sentence, and the header that it is about, where it says so.
    fn with_reason(&self, hint: &str, reply: &Reply) -> String {
        let body = reply.body();
        let mut text = hint.to_owned();
        if let Some(message) = in_body(&body, "Message") {
            let first = message.split(['\n', '\r']).next().unwrap_or_default();
            let sentence = first.split_once(". ").map_or(first, |(sentence, _)| sentence);
            text.push_str(&format!("; it says: {}", self.tidy(sentence.trim_end_matches('.'))));
        }
        if let Some(header) = in_body(&body, "HeaderName") {
            text.push_str(&format!(" (header `{}`)", self.tidy(&header)));
        }
        text
    }

    /// What a SAS says of itself, as far as that is why it was refused.
    fn explain_sas(&self, reply: &Reply, code: &str) -> Option<(ErrorKind, String)> {
        let terms = self.credential.sas_terms()?;
        #[cfg(feature = "list")]
        if self.operation == Operation::List && terms.reach == Reach::Blob {
            let hint = format!("the SAS is for one blob, and lists none; the right is to {}", self.right());
            return Some((ErrorKind::PermissionDenied, hint)).filter(|_| reply.status == 403);
        }
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
            Some((detail, _)) => {
                let lines: Vec<_> = detail.split('\n').map(without_values).collect();
                format!("{hint}; it says: {}", self.tidy(&lines.join("\n")))
            }
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
