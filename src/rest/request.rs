//! What the service can be asked for, and where, as requests.

use std::time::{Duration, SystemTime};

use crate::fencing::{ETag, FencingToken, Second, WriteId};
#[cfg(feature = "list")]
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::About;
use crate::lease::{LeaseId, Term};
use crate::metadata::Metadata;
use crate::random;
use crate::transport::{Header, Method, Request};

/// What the service can be asked to do. Each is one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Acquire {
        id: LeaseId,
        term: Term,
    },
    Renew {
        id: LeaseId,
    },
    Release {
        id: LeaseId,
    },
    /// Only if the blob is still of that version, if one is named.
    Break {
        period: Option<u8>,
        only: Option<ETag>,
    },
    Look,
    CreateBlob,
    CreateContainer,
    /// Replaces the blob's metadata.
    Write(Write),
    /// A page of the container's blobs.
    #[cfg(feature = "list")]
    List,
}

/// A write to the metadata of the lock's blob: what decides of it. The texts are joined to it where it is sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// The lease under which it is done.
    pub(crate) lease: LeaseId,
    /// Only if the blob is still of that version, from whose metadata the new ones are made.
    pub(crate) only: ETag,
    pub(crate) id: WriteId,
    /// The new token, if it is to bring one.
    pub(crate) token: Option<FencingToken>,
    /// When the lock was taken, by the service's clock, if the holder's card is to be left; and the holder's token.
    pub(crate) card: Option<(Second, Option<FencingToken>)>,
    /// Whether the holder's mark is to be left.
    pub(crate) mark: bool,
}

impl Operation {
    /// Whether it changes nothing, and so may be repeated whatever came of it.
    pub(crate) fn is_read(self) -> bool {
        match self {
            Operation::Look => true,
            #[cfg(feature = "list")]
            Operation::List => true,
            _ => false,
        }
    }
}

/// Where requests go. Paths are percent-encoded, as they are sent and signed.
pub(crate) struct Address<'a> {
    /// Scheme and authority.
    pub(crate) origin: &'a str,
    /// The container, for a person.
    pub(crate) container: &'a str,
    pub(crate) container_path: &'a str,
    /// Empty where no lock is asked about.
    pub(crate) blob_path: &'a str,
    pub(crate) about: About,
    /// Of the service's interface.
    pub(crate) version: &'a str,
}

/// New enough for an error code in every answer, old enough for every emulator. Leases need nothing newer.
pub(crate) const VERSION: &str = "2021-12-02";
/// From this one on all that a lock needs is there.
pub(crate) const OLDEST_VERSION: &str = "2017-11-09";

/// The name under which a request's id goes out, and comes back with its answer.
pub(crate) const REQUEST_ID: &str = "x-ms-client-request-id";

/// How the names of metadata begin, as headers.
pub(super) const META: &str = "x-ms-meta-";
/// How many blobs a page may have at most. Few enough that the longest names and metadata there are fit into
/// [`LARGEST_PAGE`]: 64 KiB each, with whatever has to be escaped escaped.
#[cfg(feature = "list")]
const MOST_LISTED: u32 = 250;
#[cfg(feature = "list")]
const LARGEST_PAGE: u64 = 16 * 1024 * 1024;

/// Which page of a container's blobs is wanted.
#[cfg(feature = "list")]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// Of names. May be empty.
    pub(crate) prefix: &'a str,
    /// What the page before said, if there was one.
    pub(crate) marker: Option<&'a str>,
}

#[cfg(feature = "list")]
impl Wanted<'_> {
    /// As parameters, behind those that are there.
    fn add_to(&self, query: &mut String) {
        query.push_str(&format!("&include=metadata&maxresults={MOST_LISTED}"));
        for (name, value) in [("prefix", Some(self.prefix)), ("marker", self.marker)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                query.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
    }
}

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
/// [Put Blob](https://learn.microsoft.com/rest/api/storageservices/put-blob),
/// [Set Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/set-blob-metadata),
/// [Create Container](https://learn.microsoft.com/rest/api/storageservices/create-container) and
/// [List Blobs](https://learn.microsoft.com/rest/api/storageservices/list-blobs).
///
/// It carries `id`, which the service repeats in its answer.
pub(crate) fn of<'a>(
    operation: Operation,
    address: &Address<'a>,
    date: SystemTime,
    id: Option<&RequestId>,
) -> Request<'a> {
    // Room for all that an operation has, and the authorization.
    let mut headers: Vec<Header> = Vec::with_capacity(8);
    headers.extend(dated(address, date));
    if let Some(RequestId(id)) = id {
        headers.push((REQUEST_ID, id.clone().into()));
    }
    let mut lease = |action: &'static str| headers.push(("x-ms-lease-action", action.into()));
    let (method, path, query) = match operation {
        Operation::Acquire { id, term } => {
            lease("acquire");
            let seconds = term.duration().map_or("-1".into(), |duration| duration.as_secs().to_string().into());
            headers.push(("x-ms-lease-duration", seconds));
            headers.push(("x-ms-proposed-lease-id", id.to_string().into()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Renew { id } => {
            lease("renew");
            headers.push(("x-ms-lease-id", id.to_string().into()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Release { id } => {
            lease("release");
            headers.push(("x-ms-lease-id", id.to_string().into()));
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Break { period, only } => {
            lease("break");
            if let Some(seconds) = period {
                headers.push(("x-ms-lease-break-period", seconds.to_string().into()));
            }
            if let Some(etag) = only {
                headers.push(("if-match", etag.to_string().into()));
            }
            (Method::Put, address.blob_path, "comp=lease")
        }
        Operation::Look => {
            // What a cache in between remembers of the lock is of no use.
            headers.push(("cache-control", "no-cache".into()));
            (Method::Head, address.blob_path, "")
        }
        Operation::CreateBlob => {
            headers.push(("x-ms-blob-type", "BlockBlob".into()));
            // Only where there is none: the blob may be somebody's data.
            headers.push(("if-none-match", "*".into()));
            (Method::Put, address.blob_path, "")
        }
        Operation::CreateContainer => (Method::Put, address.container_path, "restype=container"),
        Operation::Write(write) => {
            headers.push(("x-ms-lease-id", write.lease.to_string().into()));
            headers.push(("if-match", write.only.to_string().into()));
            (Method::Put, address.blob_path, "comp=metadata")
        }
        #[cfg(feature = "list")]
        Operation::List => {
            headers.push(("cache-control", "no-cache".into()));
            (Method::Get, address.container_path, "restype=container&comp=list")
        }
    };
    Request::new(method, address.origin, path, query, headers)
}

fn dated(address: &Address<'_>, date: SystemTime) -> [Header; 2] {
    [("x-ms-date", httpdate::fmt_http_date(date).into()), ("x-ms-version", address.version.to_owned().into())]
}

/// Joins the metadata that a write is to leave to its request.
pub(super) fn carry(request: &mut Request<'_>, metadata: &Metadata) {
    request.metadata = metadata.pairs().map(|(name, value)| (format!("{META}{name}"), value.to_owned())).collect();
}

/// The request for that page of the container's blobs.
#[cfg(feature = "list")]
pub(crate) fn of_list<'a>(
    address: &Address<'a>,
    wanted: &Wanted<'_>,
    date: SystemTime,
    id: Option<&RequestId>,
) -> Request<'a> {
    let mut request = of(Operation::List, address, date, id);
    wanted.add_to(request.query.to_mut());
    request.largest_body = LARGEST_PAGE;
    request
}

/// The request for [Get Account Information](https://learn.microsoft.com/rest/api/storageservices/get-account-information),
/// at the lock's blob, which whoever may use no more than that blob may ask, too.
pub(super) fn of_account<'a>(address: &Address<'a>, date: SystemTime) -> Request<'a> {
    let headers = dated(address, date).to_vec();
    Request::new(Method::Head, address.origin, address.blob_path, "restype=account&comp=properties", headers)
}

/// How much of a request's `limit` the credential may take. The rest is for the request itself.
pub(super) fn for_proof(limit: Duration) -> Duration {
    limit - limit / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> LeaseId {
        LeaseId::parse("01234567-89ab-4def-8123-456789abcdef").unwrap()
    }

    fn address() -> Address<'static> {
        Address {
            origin: "http://127.0.0.1:1",
            container: "locks",
            container_path: "/me/locks",
            blob_path: "/me/locks/job",
            about: About::Lock("job".into()),
            version: OLDEST_VERSION,
        }
    }

    #[test]
    fn what_is_conditional_says_on_what() {
        let only = ETag::parse("\"1\"").unwrap();
        let write = Write { lease: id(), only, id: WriteId([0; 16]), token: None, card: None, mark: true };
        for (operation, is_conditional) in [
            (Operation::Write(write), true),
            (Operation::Break { period: Some(0), only: Some(only) }, true),
            (Operation::Break { period: Some(0), only: None }, false),
            (Operation::Renew { id: id() }, false),
        ] {
            let request = of(operation, &address(), SystemTime::UNIX_EPOCH, None);
            let condition = request.headers.iter().find(|(name, _)| *name == "if-match").map(|(_, value)| &**value);
            assert_eq!(condition, is_conditional.then_some("\"1\""), "{operation:?}");
        }
    }

    #[test]
    fn every_request_is_in_the_version_that_is_set() {
        let (id, address) = (id(), address());
        let of = |operation| super::of(operation, &address, SystemTime::UNIX_EPOCH, None);
        for request in [
            of(Operation::Acquire { id, term: Term::DEFAULT }),
            of(Operation::Renew { id }),
            of(Operation::Release { id }),
            of(Operation::Break { period: None, only: None }),
            of(Operation::Look),
            of(Operation::CreateBlob),
            of(Operation::CreateContainer),
            of_account(&address, SystemTime::UNIX_EPOCH),
        ] {
            assert!(request.headers.contains(&("x-ms-version", OLDEST_VERSION.into())));
        }
    }

    #[cfg(feature = "list")]
    #[test]
    fn what_is_asked_for_is_encoded() {
        let query = |prefix, marker| {
            let mut query = "comp=list".to_owned();
            Wanted { prefix, marker }.add_to(&mut query);
            query
        };
        assert_eq!(query("", None), "comp=list&include=metadata&maxresults=250");
        assert_eq!(
            query("a b/é", Some("2!4!a+/=")),
            "comp=list&include=metadata&maxresults=250&prefix=a%20b%2F%C3%A9&marker=2%214%21a%2B%2F%3D"
        );
    }
}
