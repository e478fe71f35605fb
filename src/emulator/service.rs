//! The operations of the Blob service that locks use.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::address::Address;
use super::auth::{self, Account};
use super::clock::{Clock, Moment};
use super::code::{Code, Refusal};
use super::condition::{Conditions, Verdict};
use super::guid::{Guid, Guids};
use super::http::{Answer, LONGEST_BODY, Request};
use super::lease::{Lease, Term};
use super::metadata::{self, Metadata};
use super::operation::{Kind, Operation};
use super::sas::{self, Right};
use super::store::{Blob, Content, Store};
use super::token::Tokens;

/// The published versions from the first that tells the code of every error in a header:
/// [Versioning](https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services).
pub(super) const VERSIONS: [&str; 36] = [
    "2017-07-29",
    "2017-11-09",
    "2018-03-28",
    "2018-11-09",
    "2019-02-02",
    "2019-07-07",
    "2019-10-10",
    "2019-12-12",
    "2020-02-10",
    "2020-04-08",
    "2020-06-12",
    "2020-08-04",
    "2020-10-02",
    "2020-12-06",
    "2021-02-12",
    "2021-04-10",
    "2021-06-08",
    "2021-08-06",
    "2021-10-04",
    "2021-12-02",
    "2022-11-02",
    "2023-01-03",
    "2023-08-03",
    "2023-11-03",
    "2024-02-04",
    "2024-05-04",
    "2024-08-04",
    "2024-11-04",
    "2025-01-05",
    "2025-05-05",
    "2025-07-05",
    "2025-11-05",
    "2026-02-06",
    "2026-04-06",
    "2026-06-06",
    "2026-10-06",
];
const SERVER: &str = concat!("azmutex-emulator/", env!("CARGO_PKG_VERSION"));
const PAGE: usize = 512;
const LARGEST_SEQUENCE_NUMBER: u64 = i64::MAX as u64;
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";
/// Whose tokens the service would take: it names the account's tenant to whoever has none that is good.
const TENANT: &str = "00000000-0000-0000-0000-000000000000";
/// What a thief of a lock takes it for.
const STOLEN_FOR: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    account: Account,
    clock: Clock,
    guids: Guids,
    tokens: Tokens,
    store: Mutex<Store>,
}

/// A request, and when and by whom it was made.
struct Call<'a> {
    request: &'a Request,
    address: &'a Address,
    operation: Operation,
    right: Right,
    now: Moment,
    date: SystemTime,
}

impl Service {
    pub(crate) fn new(account: Account, clock: Clock) -> Service {
        let store = Mutex::new(Store::new(clock.date()));
        Service { account, clock, guids: Guids::default(), tokens: Tokens::default(), store }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn handle(&self, request: &Request, client: IpAddr) -> Answer {
        self.finished(request, self.outcome(request, client))
    }

    /// An answer that the service would give, but for no reason of its own; without a code, one of somebody in between.
    pub(super) fn pretend(&self, request: &Request, mut answer: Answer, code: Option<&str>) -> Answer {
        let Some(code) = code else { return answer };
        answer.set("x-ms-error-code", code);
        self.finished(request, Ok(answer))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, request: &Request, outcome: Result<Answer, Refusal>) -> Answer {
        let id = self.guids.next();
        let date = self.clock.date();
        let mut answer = outcome.unwrap_or_else(|refusal| refused(&refusal, id, date));
        answer.set("Server", SERVER);
        answer.set("x-ms-request-id", id.to_string());
        let version = request.header("x-ms-version").filter(|version| VERSIONS.contains(version));
        answer.set("x-ms-version", version.unwrap_or(VERSIONS[VERSIONS.len() - 1]));
        if let Some(id) = request.header("x-ms-client-request-id") {
            answer.set("x-ms-client-request-id", id);
        }
        answer.set("Date", httpdate::fmt_http_date(date));
        answer
    }

    fn outcome(&self, request: &Request, client: IpAddr) -> Result<Answer, Refusal> {
        let address = Address::of(request)?;
        if address.account != self.account.name() {
            return Err(Code::ResourceNotFound.into());
        }
        check_headers(request, &address)?;
        let operation = operation(request, &address);
        if operation != Operation::Other {
            address.check_names()?;
        }
        let date = self.clock.date();
        let right = match request.header("authorization") {
            _ if address.parameter("sig").is_some() => sas::check(&self.account, &address, operation, date, client)?,
            Some(authorization) => {
                self.authenticate(request, &address, authorization)?;
                Right::Full
            }
            None => return Err(Code::NoAuthenticationInformation.into()),
        };
        let call = Call { request, address: &address, operation, right, now: self.clock.now(), date };
        match operation {
            Operation::CreateContainer => self.create_container(&call),
            Operation::GetContainerProperties => self.container_properties(&call),
            Operation::DeleteContainer => self.delete_container(&call),
            Operation::PutBlob => self.put_blob(&call),
            Operation::GetBlob | Operation::GetBlobProperties | Operation::GetBlobMetadata => self.read_blob(&call),
            Operation::DeleteBlob => self.delete_blob(&call),
            Operation::SetBlobMetadata => self.set_metadata(&call),
            Operation::SetBlobProperties => self.set_properties(&call),
            Operation::AcquireLease
            | Operation::RenewLease
            | Operation::ChangeLease
            | Operation::ReleaseLease
            | Operation::BreakLease => self.lease(&call),
            Operation::Other if call.is_for_lease() => Err(match call.request.header("x-ms-lease-action") {
                None => call.missing("x-ms-lease-action"),
                Some(_) => call.invalid("x-ms-lease-action"),
            }),
            Operation::Other => Err(Code::NotImplemented.into()),
        }
    }

    fn authenticate(&self, request: &Request, address: &Address, authorization: &str) -> Result<(), Refusal> {
        match authorization.split_once(' ') {
            Some(("Bearer", token)) => self.tokens.check(token, request.header("x-ms-version"), self.clock.now()),
            _ => auth::check(&self.account, request, address, authorization, self.clock.sender_date()),
        }
    }

    pub(super) fn issue_token(&self, life: Duration) -> String {
        self.tokens.issue(self.guids.next(), self.clock.now(), life)
    }

    pub(super) fn revoke_tokens(&self) {
        self.tokens.revoke();
    }

    /// [Create Container](https://learn.microsoft.com/rest/api/storageservices/create-container)
    fn create_container(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        if let Some(value) = call.request.header("x-ms-blob-public-access") {
            return Err(Refusal::header(Code::UnsupportedHeader, "x-ms-blob-public-access", Some(value)));
        }
        let metadata = metadata::of(call.request)?;
        let mut store = self.store();
        let container = store.create_container(&call.address.container, metadata, call.now, call.date)?;
        let mut answer = Answer::new(201, "Created");
        tell_version(&mut answer, &container.etag, container.modified);
        Ok(answer)
    }

    /// [Get Container Properties](https://learn.microsoft.com/rest/api/storageservices/get-container-properties)
    fn container_properties(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let mut store = self.store();
        let container = store.container(&call.address.container)?;
        let mut answer = Answer::new(200, "OK");
        tell_version(&mut answer, &container.etag, container.modified);
        answer.set("x-ms-lease-status", "unlocked");
        answer.set("x-ms-lease-state", "available");
        tell_metadata(&mut answer, &container.metadata);
        Ok(answer)
    }

    /// [Delete Container](https://learn.microsoft.com/rest/api/storageservices/delete-container): the leases in it do
    /// not hinder it.
    fn delete_container(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        self.store().delete_container(&call.address.container, call.now)?;
        Ok(Answer::new(202, "Accepted"))
    }

    /// [Put Blob](https://learn.microsoft.com/rest/api/storageservices/put-blob)
    fn put_blob(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let content = call.content()?;
        let content_type = call.content_type();
        let metadata = metadata::of(call.request)?;
        let lease_id = call.lease_id()?;
        let conditions = Conditions::of(call.request)?;
        let mut store = self.store();
        let container = &call.address.container;
        let (created, lease) = match store.container(container)?.blob(call.blob()) {
            Err(_) => {
                if lease_id.is_some() {
                    return Err(Code::LeaseNotPresentWithBlobOperation.into());
                }
                if conditions.judge(None) != Verdict::Met {
                    return Err(Code::ConditionNotMet.into());
                }
                (call.date, Lease::default())
            }
            Ok(blob) => {
                if call.right == Right::CreateOnly {
                    return Err(Code::UnauthorizedBlobOverwrite.into());
                }
                // Whoever only asks whether there is a blob hears of its lease first.
                blob.lease.allows(call.now, lease_id)?;
                if conditions.wants_none() {
                    return Err(Code::BlobAlreadyExists.into());
                }
                if conditions.judge(Some(&blob.version())) != Verdict::Met {
                    return Err(Code::ConditionNotMet.into());
                }
                if blob.content.blob_type() != content.blob_type() {
                    return Err(Code::InvalidBlobType.into());
                }
                let mut lease = blob.lease;
                lease.written(call.now);
                (blob.created, lease)
            }
        };
        let etag = store.etag();
        let mut answer = Answer::new(201, "Created");
        tell_version(&mut answer, &etag, call.date);
        answer.set("x-ms-request-server-encrypted", "true");
        let blob = Blob { content, content_type, metadata, etag, modified: call.date, created, lease };
        store.put(container, call.blob(), blob)?;
        Ok(answer)
    }

    /// [Get Blob](https://learn.microsoft.com/rest/api/storageservices/get-blob),
    /// [Get Blob Properties](https://learn.microsoft.com/rest/api/storageservices/get-blob-properties) and
    /// [Get Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/get-blob-metadata)
    fn read_blob(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let lease_id = call.lease_id()?;
        let conditions = Conditions::of(call.request)?;
        let mut store = self.store();
        let blob = store.container(&call.address.container)?.blob(call.blob())?;
        if lease_id.is_some() {
            blob.lease.allows(call.now, lease_id)?;
        }
        match conditions.judge(Some(&blob.version())) {
            Verdict::Met => {}
            Verdict::NotMet => return Err(Code::ConditionNotMet.into()),
            Verdict::NotModified => {
                let mut answer = Answer::new(304, "Not Modified");
                tell_version(&mut answer, &blob.etag, blob.modified);
                answer.set("x-ms-error-code", Code::ConditionNotMet.name());
                return Ok(answer);
            }
        }
        let mut answer = Answer::new(200, "OK");
        tell_version(&mut answer, &blob.etag, blob.modified);
        tell_metadata(&mut answer, &blob.metadata);
        if call.operation == Operation::GetBlobMetadata {
            return Ok(answer);
        }
        answer.set("Content-Type", &*blob.content_type);
        answer.set("Accept-Ranges", "bytes");
        answer.set("x-ms-blob-type", blob.content.blob_type());
        answer.set("x-ms-creation-time", httpdate::fmt_http_date(blob.created));
        answer.set("x-ms-server-encrypted", "true");
        answer.set("x-ms-lease-status", blob.lease.status(call.now));
        answer.set("x-ms-lease-state", blob.lease.state(call.now));
        if let Some(duration) = blob.lease.duration(call.now) {
            answer.set("x-ms-lease-duration", duration);
        }
        match blob.content {
            Content::Block(_) => {}
            Content::Page { sequence_number, .. } => {
                answer.set("x-ms-blob-sequence-number", sequence_number.to_string());
            }
            Content::Append => answer.set("x-ms-blob-committed-block-count", "0"),
        }
        answer.body = blob.content.to_bytes();
        let range = call.request.header("x-ms-range").or_else(|| call.request.header("range"));
        if call.operation == Operation::GetBlob
            && let Some((first, last)) = range.and_then(range_of)
        {
            let length = answer.body.len();
            if first >= length {
                return Err(Code::InvalidRange.into());
            }
            let last = last.min(length - 1);
            answer.body = answer.body[first..=last].to_vec();
            answer.set("Content-Range", format!("bytes {first}-{last}/{length}"));
            answer.status = 206;
            answer.reason = "Partial Content";
        }
        Ok(answer)
    }

    /// [Delete Blob](https://learn.microsoft.com/rest/api/storageservices/delete-blob)
    fn delete_blob(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let mut store = self.store();
        call.writable(&mut store)?;
        store.delete(&call.address.container, call.blob())?;
        Ok(Answer::new(202, "Accepted"))
    }

    /// [Set Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/set-blob-metadata)
    fn set_metadata(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let metadata = metadata::of(call.request)?;
        let mut store = self.store();
        let mut blob = call.writable(&mut store)?;
        blob.metadata = metadata;
        self.write(call, &mut store, blob)
    }

    /// [Set Blob Properties](https://learn.microsoft.com/rest/api/storageservices/set-blob-properties), of which the
    /// content type and the sequence number are kept.
    fn set_properties(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        const ACTION: &str = "x-ms-sequence-number-action";
        const NUMBER: &str = "x-ms-blob-sequence-number";
        let given = call.sequence_number()?;
        let action = call.request.header(ACTION);
        if let Some(value) = call.request.header("x-ms-blob-content-length") {
            return Err(Refusal::header(Code::UnsupportedHeader, "x-ms-blob-content-length", Some(value)));
        }
        let mut store = self.store();
        let mut blob = call.writable(&mut store)?;
        match (action, &mut blob.content) {
            (None, _) if given.is_some() => return Err(call.missing(ACTION)),
            (None, _) => blob.content_type = call.content_type(),
            (Some(action), Content::Page { sequence_number, .. }) => {
                let stored = *sequence_number;
                *sequence_number = match (action.to_ascii_lowercase().as_str(), given) {
                    ("increment", Some(_)) => return Err(call.invalid(NUMBER)),
                    ("increment", None) if stored == LARGEST_SEQUENCE_NUMBER => {
                        return Err(Code::SequenceNumberIncrementTooLarge.into());
                    }
                    ("increment", None) => stored + 1,
                    ("max" | "update", None) => return Err(call.missing(NUMBER)),
                    ("max", Some(given)) => given.max(stored),
                    ("update", Some(given)) => given,
                    _ => return Err(call.invalid(ACTION)),
                };
            }
            (Some(_), _) => return Err(Code::InvalidBlobType.into()),
        }
        let number = match blob.content {
            Content::Page { sequence_number, .. } => Some(sequence_number),
            Content::Block(_) | Content::Append => None,
        };
        let mut answer = self.write(call, &mut store, blob)?;
        if let Some(number) = number {
            answer.set(NUMBER, number.to_string());
        }
        Ok(answer)
    }

    fn write(&self, call: &Call<'_>, store: &mut Store, mut blob: Blob) -> Result<Answer, Refusal> {
        blob.etag = store.etag();
        blob.modified = call.date;
        blob.lease.written(call.now);
        let mut answer = Answer::new(200, "OK");
        tell_version(&mut answer, &blob.etag, blob.modified);
        answer.set("x-ms-request-server-encrypted", "true");
        store.put(&call.address.container, call.blob(), blob)?;
        Ok(answer)
    }

    /// [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob), which changes neither the blob's
    /// ETag nor its date.
    fn lease(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        let action = call.lease_action(&self.guids)?;
        let conditions = Conditions::of(call.request)?;
        if conditions.count() > 1 {
            return Err(Code::MultipleConditionHeadersNotSupported.into());
        }
        let mut store = self.store();
        let blob = store.container(&call.address.container)?.blob(call.blob())?;
        if conditions.judge(Some(&blob.version())) != Verdict::Met {
            return Err(Code::ConditionNotMet.into());
        }
        let (lease, now) = (&mut blob.lease, call.now);
        let mut answer = match action {
            Action::Acquire { id, term } => {
                lease.acquire(now, id, term)?;
                leased(201, "Created", id)
            }
            Action::Renew { id } => {
                lease.renew(now, id)?;
                leased(200, "OK", id)
            }
            Action::Change { id, proposed } => {
                lease.change(now, id, proposed)?;
                leased(200, "OK", proposed)
            }
            Action::Release { id } => {
                lease.release(now, id)?;
                Answer::new(200, "OK")
            }
            Action::Break { period } => {
                let left = lease.break_within(now, period)?;
                let mut answer = Answer::new(202, "Accepted");
                // Up, or a new lease could not be had yet when that time is over.
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                answer.set("x-ms-lease-time", seconds.to_string());
                answer
            }
        };
        tell_version(&mut answer, &blob.etag, blob.modified);
        Ok(answer)
    }

    /// What somebody with the right to do so could do, too.
    pub(super) fn break_lock(&self, container: &str, name: &str) -> io::Result<()> {
        self.meddle(container, name, |lease, now| lease.break_within(now, Some(Duration::ZERO)).map(drop))
    }

    pub(super) fn steal(&self, container: &str, name: &str) -> io::Result<()> {
        let thief = self.guids.next();
        self.meddle(container, name, |lease, now| {
            lease.break_within(now, Some(Duration::ZERO))?;
            lease.acquire(now, thief, Some(STOLEN_FOR))
        })
    }

    fn meddle(
        &self,
        container: &str,
        name: &str,
        change: impl FnOnce(&mut Lease, Moment) -> Result<(), Code>,
    ) -> io::Result<()> {
        let now = self.clock.now();
        let mut store = self.store();
        let blob = store.container(container).and_then(|container| container.blob(name)).map_err(not_there)?;
        change(&mut blob.lease, now).map_err(not_there)
    }

    pub(crate) fn delete(&self, container: &str, name: &str) -> io::Result<()> {
        self.store().delete(container, name).map_err(not_there)
    }

    pub(super) fn remove_container(&self, container: &str) -> io::Result<()> {
        self.store().delete_container(container, self.clock.now()).map_err(not_there)
    }
}

fn not_there(code: Code) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, code.message())
}

/// `Other` for what cannot be told from the request, too.
pub(super) fn operation(request: &Request, address: &Address) -> Operation {
    let Some(kind) = kind(address) else { return Operation::Other };
    Operation::of(&request.method, kind, address.parameter("comp"), request.header("x-ms-lease-action"))
}

/// `None` for what is not kept here.
fn kind(address: &Address) -> Option<Kind> {
    if ["snapshot", "versionid"].iter().any(|name| address.parameter(name).is_some()) {
        return None;
    }
    match (address.parameter("restype"), &address.blob) {
        (Some("container"), None) => Some(Kind::Container),
        (None, Some(_)) => Some(Kind::Blob),
        _ => None,
    }
}

/// What is the same for all operations.
fn check_headers(request: &Request, address: &Address) -> Result<(), Refusal> {
    let mut own: Vec<_> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    own.retain(|name| name.starts_with("x-ms-"));
    own.sort_unstable();
    if let Some(twice) = own.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Refusal::header(Code::InvalidHeaderValue, &twice[0], None));
    }
    // A SAS says itself by which version it is to be understood.
    let signed = address.parameter("sig").and_then(|_| address.parameter("sv"));
    match request.header("x-ms-version").or(signed) {
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

enum Action {
    Acquire { id: Guid, term: Term },
    Renew { id: Guid },
    Change { id: Guid, proposed: Guid },
    Release { id: Guid },
    Break { period: Option<Duration> },
}

impl Call<'_> {
    fn blob(&self) -> &str {
        self.address.blob.as_deref().unwrap_or_default()
    }

    /// Whatever is to be done with the lease.
    fn is_for_lease(&self) -> bool {
        let is_blob = kind(self.address) == Some(Kind::Blob);
        is_blob && self.request.method == "PUT" && self.address.parameter("comp") == Some("lease")
    }

    fn missing(&self, name: &str) -> Refusal {
        Refusal::header(Code::MissingRequiredHeader, name, None)
    }

    fn invalid(&self, name: &str) -> Refusal {
        Refusal::header(Code::InvalidHeaderValue, name, self.request.header(name))
    }

    fn guid(&self, name: &str) -> Result<Option<Guid>, Refusal> {
        let Some(text) = self.request.header(name) else { return Ok(None) };
        Guid::parse(text).map(Some).ok_or_else(|| self.invalid(name))
    }

    fn lease_id(&self) -> Result<Option<Guid>, Refusal> {
        self.guid("x-ms-lease-id")
    }

    fn lease_action(&self, guids: &Guids) -> Result<Action, Refusal> {
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
                Action::Acquire { id: self.guid(PROPOSED)?.unwrap_or_else(|| guids.next()), term }
            }
            Operation::RenewLease => Action::Renew { id: id()? },
            Operation::ChangeLease => {
                Action::Change { id: id()?, proposed: self.guid(PROPOSED)?.ok_or_else(|| self.missing(PROPOSED))? }
            }
            Operation::ReleaseLease => Action::Release { id: id()? },
            _ => {
                let period = self.request.header(PERIOD).map(|text| {
                    let seconds = text.parse().ok().filter(|seconds| *seconds <= 60);
                    seconds.map(Duration::from_secs).ok_or_else(|| self.invalid(PERIOD))
                });
                Action::Break { period: period.transpose()? }
            }
        })
    }

    fn content(&self) -> Result<Content, Refusal> {
        const LENGTH: &str = "x-ms-blob-content-length";
        const TYPE: &str = "x-ms-blob-type";
        let empty = |content| {
            if self.request.body.is_empty() { Ok(content) } else { Err(self.invalid("Content-Length")) }
        };
        match self.request.header(TYPE) {
            None => Err(self.missing(TYPE)),
            Some("BlockBlob") => Ok(Content::Block(self.request.body.clone())),
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
            Some("AppendBlob") => empty(Content::Append),
            Some(_) => Err(self.invalid(TYPE)),
        }
    }

    fn content_type(&self) -> String {
        let given = self.request.header("x-ms-blob-content-type");
        let given = given.or_else(|| self.request.header("content-type").filter(|_| !self.request.body.is_empty()));
        given.unwrap_or(DEFAULT_CONTENT_TYPE).to_owned()
    }

    fn sequence_number(&self) -> Result<Option<u64>, Refusal> {
        const NUMBER: &str = "x-ms-blob-sequence-number";
        let Some(text) = self.request.header(NUMBER) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= LARGEST_SEQUENCE_NUMBER);
        number.map(Some).ok_or_else(|| self.invalid(NUMBER))
    }

    /// The blob, if the call may change or delete it.
    fn writable(&self, store: &mut Store) -> Result<Blob, Refusal> {
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

fn leased(status: u16, reason: &'static str, id: Guid) -> Answer {
    let mut answer = Answer::new(status, reason);
    answer.set("x-ms-lease-id", id.to_string());
    answer
}

fn tell_version(answer: &mut Answer, etag: &str, modified: SystemTime) {
    answer.set("ETag", etag);
    answer.set("Last-Modified", httpdate::fmt_http_date(modified));
}

fn tell_metadata(answer: &mut Answer, metadata: &Metadata) {
    for (name, value) in metadata {
        answer.set(format!("x-ms-meta-{name}"), &**value);
    }
}

/// `bytes=0-9` or `bytes=0-`. What cannot be read counts as absent, as in HTTP.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
    let first = first.parse().ok()?;
    (first <= last).then_some((first, last))
}

fn refused(refusal: &Refusal, id: Guid, date: SystemTime) -> Answer {
    let code = refusal.code;
    let mut answer = Answer::new(code.status(), code.message());
    answer.set("x-ms-error-code", code.name());
    answer.set("Content-Type", "application/xml");
    if code.status() == 401 {
        let challenge = format!(
            "Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize \
             resource_id=https://storage.azure.com"
        );
        answer.set("WWW-Authenticate", challenge);
    }
    let details: String =
        refusal.details.iter().map(|(element, text)| format!("<{element}>{}</{element}>", escaped(text))).collect();
    // The service, too, begins it with a mark that some parsers trip over.
    answer.body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\n\
         RequestId:{id}\nTime:{}</Message>{details}</Error>",
        code.name(),
        escaped(code.message()),
        iso(date),
    )
    .into_bytes();
    answer
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' => escaped.push('\n'),
            char if char.is_control() => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// `2026-11-23T05:44:10.0000000Z`
fn iso(date: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = httpdate::fmt_http_date(date);
    let part = |range| text.get(range).unwrap_or_default();
    let month = MONTHS.find(part(8..11)).unwrap_or_default() / 3 + 1;
    format!("{}-{month:02}-{}T{}.0000000Z", part(12..16), part(5..7), part(17..25))
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

    #[test]
    fn a_date_is_told_in_the_bodys_form() {
        let date = httpdate::parse_http_date("Mon, 23 Nov 2026 05:44:10 GMT").unwrap();
        assert_eq!(iso(date), "2026-11-23T05:44:10.0000000Z");
    }

    #[test]
    fn text_cannot_break_out_of_a_body() {
        assert_eq!(escaped("a<b>&\u{0}\n"), "a&lt;b&gt;&amp;?\n");
    }
}
