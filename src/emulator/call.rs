//! A request to the service, read: which operation it is for, and what its headers say.

use std::time::{Duration, SystemTime};

use super::address::Address;
use super::clock::Moment;
use super::code::{Code, Refusal};
use super::condition::{Conditions, Verdict};
use super::guid::{Guid, Guids};
use super::http::{HttpRequest, LONGEST_BODY};
use super::lease::Term;
use super::operation::{Operation, Resource};
use super::sas::Right;
use super::store::{Blob, Content, Store};
use super::version::VERSIONS;

const NUMBER: &str = "x-ms-blob-sequence-number";
const PAGE: usize = 512;
pub(super) const LARGEST_SEQUENCE_NUMBER: u64 = i64::MAX as u64;

/// A request, and when and by whom it was made.
pub(super) struct Call<'a> {
    pub(super) request: &'a HttpRequest,
    pub(super) address: &'a Address,
    pub(super) operation: Operation,
    pub(super) right: Right,
    pub(super) now: Moment,
    pub(super) date: SystemTime,
}

/// `Other` for what cannot be told from the request, too.
pub(super) fn operation(request: &HttpRequest, address: &Address) -> Operation {
    let Some(resource) = resource(address) else { return Operation::Other };
    Operation::of(&request.method, resource, address.parameter("comp"), request.header("x-ms-lease-action"))
}

/// `None` for what is not kept here.
fn resource(address: &Address) -> Option<Resource> {
    if ["snapshot", "versionid"].iter().any(|name| address.parameter(name).is_some()) {
        return None;
    }
    match (address.parameter("restype"), &address.blob) {
        (Some("container"), None) => Some(Resource::Container),
        (None, Some(_)) => Some(Resource::Blob),
        _ => None,
    }
}

/// What is the same for all operations.
pub(super) fn check_headers(request: &HttpRequest, address: &Address) -> Result<(), Refusal> {
    let mut own: Vec<_> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    own.retain(|name| name.starts_with("x-ms-"));
    own.sort_unstable();
    if let Some(twice) = own.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Refusal::header(Code::InvalidHeaderValue, &twice[0], None));
    }
    match version(request, address) {
        None => Err(Refusal::header(Code::MissingRequiredHeader, "x-ms-version", None)),
        Some(version) if !VERSIONS.contains(&version) => {
            Err(Refusal::header(Code::InvalidHeaderValue, "x-ms-version", Some(version)))
        }
        Some(_) if address.parameter("timeout").is_some_and(|seconds| seconds.parse::<u32>().is_err()) => {
            Err(Code::InvalidQueryParameterValue.into())
        }
        Some(_) => Ok(()),
    }
}

/// A SAS says itself by which version it is to be understood.
fn version<'a>(request: &'a HttpRequest, address: &'a Address) -> Option<&'a str> {
    let signed = || address.parameter("sig").and_then(|_| address.parameter("sv"));
    request.header("x-ms-version").or_else(signed)
}

/// What is to be done with a lease.
pub(super) enum LeaseAction {
    Acquire { id: Guid, term: Term },
    Renew { id: Guid },
    Change { id: Guid, proposed: Guid },
    Release { id: Guid },
    Break { period: Option<Duration> },
}

impl Call<'_> {
    pub(super) fn blob(&self) -> &str {
        self.address.blob.as_deref().unwrap_or_default()
    }

    /// Whatever is to be done with the lease.
    pub(super) fn is_for_lease(&self) -> bool {
        let is_blob = resource(self.address) == Some(Resource::Blob);
        is_blob && self.request.method == "PUT" && self.address.parameter("comp") == Some("lease")
    }

    /// Of the interface.
    pub(super) fn version(&self) -> &str {
        version(self.request, self.address).unwrap_or_default()
    }

    pub(super) fn missing(&self, name: &str) -> Refusal {
        Refusal::header(Code::MissingRequiredHeader, name, None)
    }

    pub(super) fn invalid(&self, name: &str) -> Refusal {
        Refusal::header(Code::InvalidHeaderValue, name, self.request.header(name))
    }

    pub(super) fn not_implemented(&self, name: &str) -> Refusal {
        Refusal::header(Code::NotImplemented, name, self.request.header(name))
    }

    fn guid(&self, name: &str) -> Result<Option<Guid>, Refusal> {
        let Some(text) = self.request.header(name) else { return Ok(None) };
        Guid::parse(text).map(Some).ok_or_else(|| self.invalid(name))
    }

    pub(super) fn lease_id(&self) -> Result<Option<Guid>, Refusal> {
        self.guid("x-ms-lease-id")
    }

    pub(super) fn lease_action(&self, guids: &Guids) -> Result<LeaseAction, Refusal> {
        const ID: &str = "x-ms-lease-id";
        const PROPOSED: &str = "x-ms-proposed-lease-id";
        const DURATION: &str = "x-ms-lease-duration";
        const PERIOD: &str = "x-ms-lease-break-period";
        let id = || self.lease_id()?.ok_or_else(|| self.missing(ID));
        Ok(match self.operation {
            Operation::AcquireLease => {
                let term = match self.request.header(DURATION).map(str::parse) {
                    None => return Err(self.missing(DURATION)),
                    Some(Ok(-1)) => None,
                    Some(Ok(seconds @ 15..=60)) => Some(Duration::from_secs(u64::from(seconds.unsigned_abs()))),
                    Some(Ok::<i32, _>(_) | Err(_)) => return Err(self.invalid(DURATION)),
                };
                LeaseAction::Acquire { id: self.guid(PROPOSED)?.unwrap_or_else(|| guids.next()), term }
            }
            Operation::RenewLease => LeaseAction::Renew { id: id()? },
            Operation::ChangeLease => {
                LeaseAction::Change { id: id()?, proposed: self.guid(PROPOSED)?.ok_or_else(|| self.missing(PROPOSED))? }
            }
            Operation::ReleaseLease => LeaseAction::Release { id: id()? },
            _ => {
                let period = self.request.header(PERIOD).map(|text| {
                    let seconds = text.parse().ok().filter(|seconds| *seconds <= 60);
                    seconds.map(Duration::from_secs).ok_or_else(|| self.invalid(PERIOD))
                });
                LeaseAction::Break { period: period.transpose()? }
            }
        })
    }

    pub(super) fn content(&self) -> Result<Content, Refusal> {
        const LENGTH: &str = "x-ms-blob-content-length";
        const TYPE: &str = "x-ms-blob-type";
        let without_pages = |content| match [LENGTH, NUMBER].iter().find(|name| self.request.header(name).is_some()) {
            Some(name) => Err(self.not_implemented(name)),
            None => Ok(content),
        };
        let empty = |content| {
            if self.request.body.is_empty() { Ok(content) } else { Err(self.invalid("Content-Length")) }
        };
        match self.request.header(TYPE) {
            None => Err(self.missing(TYPE)),
            Some("BlockBlob") => without_pages(Content::Block(self.request.body.clone())),
            Some("PageBlob") => {
                let length = self.request.header(LENGTH).ok_or_else(|| self.missing(LENGTH))?;
                let length: usize = length.parse().map_err(|_| self.invalid(LENGTH))?;
                if length > LONGEST_BODY {
                    return Err(Code::OutOfRangeInput.into());
                }
                if !length.is_multiple_of(PAGE) {
                    return Err(self.invalid(LENGTH));
                }
                empty(Content::Page { length, sequence_number: self.sequence_number()?.unwrap_or(0) })
            }
            Some("AppendBlob") => without_pages(Content::Append).and_then(empty),
            Some(_) => Err(self.invalid(TYPE)),
        }
    }

    /// The first and the last byte that are wanted.
    pub(super) fn range(&self) -> Option<(usize, usize)> {
        range_of(self.request.header("x-ms-range").or_else(|| self.request.header("range"))?)
    }

    pub(super) fn sequence_number(&self) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.request.header(NUMBER) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= LARGEST_SEQUENCE_NUMBER);
        number.map(Some).ok_or_else(|| self.invalid(NUMBER))
    }

    /// The blob, if the call may change or delete it.
    pub(super) fn writable(&self, store: &mut Store) -> Result<Blob, Refusal> {
        let lease_id = self.lease_id()?;
        let conditions = Conditions::of(self.request)?;
        let blob = store.container(&self.address.container)?.blob(self.blob())?;
        blob.lease.allows(self.now, lease_id)?;
        if conditions.judge(Some(&blob.version())) != Verdict::Met {
            return Err(Code::ConditionNotMet.into());
        }
        Ok(blob.clone())
    }
}

/// `bytes=0-9` or `bytes=0-`. What cannot be read counts as absent, as in HTTP.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
    let first = first.parse().ok()?;
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read() {
        assert_eq!(range_of("bytes=0-9"), Some((0, 9)));
        assert_eq!(range_of("bytes=5-"), Some((5, usize::MAX)));
        for text in ["bytes=", "bytes=-5", "bytes=9-5", "lines=1-2", "bytes=0-9,20-29"] {
            assert_eq!(range_of(text), None, "{text}");
        }
    }
}
