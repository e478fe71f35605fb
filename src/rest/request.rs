//! What the service can be asked for, and where, as requests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::lease::{LeaseId, Term};
use crate::random;
use crate::transport::{Method, Request};

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

/// Where a lock's requests go. Paths are percent-encoded, as they are sent and signed.
pub(crate) struct Address<'a> {
    /// Scheme and authority.
    pub(crate) origin: &'a str,
    /// The container, for a person.
    pub(crate) container: &'a str,
    pub(crate) container_path: &'a str,
    pub(crate) blob_path: &'a str,
    pub(crate) lock: &'a Arc<str>,
    /// Of the service's interface.
    pub(crate) version: &'a str,
}

/// New enough for an error code in every answer, old enough for every emulator. Leases need nothing newer.
pub(crate) const VERSION: &str = "2021-12-02";
/// From this one on all that a lock needs is there.
pub(crate) const OLDEST_VERSION: &str = "2017-11-09";

/// The name under which a request's id goes out, and comes back with its answer.
pub(crate) const REQUEST_ID: &str = "x-ms-client-request-id";

/// What tells the answer to one attempt from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) String);

impl RequestId {
    /// `None` if the system has no random numbers: then any answer counts.
    pub(crate) fn random() -> Option<RequestId> {
        let bytes: [u8; 16] = random::bytes().ok()?;
        Some(RequestId(format!("{:032x}", u128::from_be_bytes(bytes))))
    }
}

/// The request for `operation`, without its authorization. Each has its page in the REST reference:
/// [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob),
/// [Get Blob Properties](https://learn.microsoft.com/rest/api/storageservices/get-blob-properties),
/// [Put Blob](https://learn.microsoft.com/rest/api/storageservices/put-blob) and
/// [Create Container](https://learn.microsoft.com/rest/api/storageservices/create-container).
///
/// It carries `id`, which the service repeats in its answer.
pub(crate) fn of(operation: Operation, address: &Address<'_>, date: SystemTime, id: Option<&RequestId>) -> Request {
    let mut headers = vec![("x-ms-date", httpdate::fmt_http_date(date)), ("x-ms-version", address.version.to_owned())];
    if let Some(RequestId(id)) = id {
        headers.push((REQUEST_ID, id.clone()));
    }
    let mut lease = |action: &str| headers.push(("x-ms-lease-action", action.to_owned()));
    let (method, path, query) = match operation {
        Operation::Acquire { id, term } => {
            lease("acquire");
            let seconds = term.duration().map_or_else(|| "-1".to_owned(), |duration| duration.as_secs().to_string());
            headers.push(("x-ms-lease-duration", seconds));
            headers.push(("x-ms-proposed-lease-id", id.to_string()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Renew { id } => {
            lease("renew");
            headers.push(("x-ms-lease-id", id.to_string()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Release { id } => {
            lease("release");
            headers.push(("x-ms-lease-id", id.to_string()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Break { period } => {
            lease("break");
            if let Some(seconds) = period {
                headers.push(("x-ms-lease-break-period", seconds.to_string()));
            }
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Look => {
            // What a cache in between remembers of the lock is of no use.
            headers.push(("cache-control", "no-cache".to_owned()));
            (Method::Head, address.blob_path, "")
        }
        Operation::CreateBlob => {
            headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
            // Only where there is none: the blob may be somebody's data.
            headers.push(("if-none-match", "*".to_owned()));
            (Method::Put, address.blob_path, "")
        }
        Operation::CreateContainer => (Method::Put, address.container_path, "restype=container"),
    };
    Request::new(method, address.origin, path, query, headers)
}

/// The request for [Get Account Information](https://learn.microsoft.com/rest/api/storageservices/get-account-information),
/// at the lock's blob, which whoever may use no more than that blob may ask, too.
pub(super) fn of_account(address: &Address<'_>, date: SystemTime) -> Request {
    let headers = vec![("x-ms-date", httpdate::fmt_http_date(date)), ("x-ms-version", address.version.to_owned())];
    Request::new(Method::Head, address.origin, address.blob_path, "restype=account&comp=properties", headers)
}

/// How much of a request's `limit` the credential may take. The rest is for the request itself.
pub(super) fn for_proof(limit: Duration) -> Duration {
    limit - limit / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_in_the_version_that_is_set() {
        let id = LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap();
        let address = Address {
            origin: "http://127.0.0.1:1",
            container: "locks",
            container_path: "/me/locks",
            blob_path: "/me/locks/job",
            lock: &"job".into(),
            version: OLDEST_VERSION,
        };
        let of = |operation| super::of(operation, &address, SystemTime::UNIX_EPOCH, None);
        for request in [
            of(Operation::Acquire { id, term: Term::DEFAULT }),
            of(Operation::Renew { id }),
            of(Operation::Release { id }),
            of(Operation::Break { period: None }),
            of(Operation::Look),
            of(Operation::CreateBlob),
            of(Operation::CreateContainer),
            of_account(&address, SystemTime::UNIX_EPOCH),
        ] {
            assert!(request.headers.contains(&("x-ms-version", OLDEST_VERSION.to_owned())));
        }
    }
}
