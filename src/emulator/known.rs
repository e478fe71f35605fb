//! What a request may ask for. Anything more might change what becomes of it at the service, so it is refused rather
//! than carried out by half.

use super::address::Address;
use super::code::{Code, Refusal};
use super::http::HttpRequest;
use super::operation::Operation;
use super::properties;

/// They change nothing.
const ALWAYS: &[&str] = &[
    "x-ms-client-request-id",
    "x-ms-client-session-id",
    "x-ms-correlation-request-id",
    "x-ms-date",
    "x-ms-return-client-request-id",
    "x-ms-useragent",
    "x-ms-version",
];
const CONDITIONS: &[&str] = &["if-match", "if-modified-since", "if-none-match", "if-unmodified-since"];
const LEASE: &str = "x-ms-lease-id";
const ACTION: &str = "x-ms-lease-action";
/// Of all names that begin so.
const METADATA: &str = "x-ms-meta-";

/// Of all operations, beside [`properties::signed`].
const PARAMETERS: &[&str] = &["comp", "restype", "timeout"];
const LISTING: &[&str] = &["include", "marker", "maxresults", "prefix"];
/// Of signatures: what is evaluated.
const SIGNED: &[&str] = &["se", "ses", "sig", "sip", "sp", "spr", "sr", "srt", "ss", "st", "sv"];

pub(super) fn check(request: &HttpRequest, address: &Address, operation: Operation) -> Result<(), Refusal> {
    let groups = headers(operation);
    for (header, value) in &request.headers {
        let name = header.to_ascii_lowercase();
        let is_metadata = name.starts_with(METADATA) && groups.iter().any(|group| group.contains(&METADATA));
        let is_known = groups.iter().chain(&[ALWAYS]).any(|group| group.contains(&&*name)) || is_metadata;
        if may_matter(&name) && !is_known {
            return Err(Refusal::header(Code::NotImplemented, header, Some(value)));
        }
    }
    // An account's signature says nothing of headers.
    let is_of_service = address.parameter("sr").is_some();
    let is_known = |name: &str| {
        let is_header = is_of_service && properties::signed().any(|own| own == name);
        let is_listing = operation == Operation::ListBlobs && LISTING.contains(&name);
        PARAMETERS.contains(&name) || is_listing || SIGNED.contains(&name) || is_header
    };
    match address.query.iter().find(|(name, _)| !is_known(name)) {
        Some((name, value)) => Err(Refusal::parameter(Code::NotImplemented, name, value)),
        None => Ok(()),
    }
}

/// Whether a header could change the outcome of any operation. Others are HTTP's own, or for somebody in between.
fn may_matter(name: &str) -> bool {
    name.starts_with("x-ms-") || name.starts_with("if-") || name == "content-md5"
}

fn headers(operation: Operation) -> &'static [&'static [&'static str]] {
    match operation {
        Operation::CreateContainer => &[&[METADATA]],
        Operation::GetContainerProperties | Operation::DeleteContainer => &[&[LEASE]],
        Operation::PutBlob => &[
            &[LEASE, METADATA, "x-ms-blob-type", "x-ms-blob-content-length", "x-ms-blob-sequence-number"],
            CONDITIONS,
            properties::SET_BY,
        ],
        Operation::GetBlob => &[&[LEASE, "x-ms-range"], CONDITIONS],
        Operation::GetBlobProperties | Operation::GetBlobMetadata => &[&[LEASE], CONDITIONS],
        Operation::DeleteBlob => &[&[LEASE, "x-ms-delete-snapshots"], CONDITIONS],
        Operation::SetBlobMetadata => &[&[LEASE, METADATA], CONDITIONS],
        Operation::SetBlobProperties => {
            &[&[LEASE, "x-ms-blob-sequence-number", "x-ms-sequence-number-action"], CONDITIONS, properties::SET_BY]
        }
        Operation::AcquireLease => &[&[ACTION, "x-ms-lease-duration", "x-ms-proposed-lease-id"], CONDITIONS],
        Operation::RenewLease | Operation::ReleaseLease => &[&[ACTION, LEASE], CONDITIONS],
        Operation::ChangeLease => &[&[ACTION, LEASE, "x-ms-proposed-lease-id"], CONDITIONS],
        Operation::BreakLease => &[&[ACTION, LEASE, "x-ms-lease-break-period"], CONDITIONS],
        Operation::ListBlobs | Operation::Other => &[],
    }
}
