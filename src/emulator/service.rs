//! The operations of the Blob service that locks use, each with what it refuses. Which headers and parameters each knows
//! is in `known`.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::address::Address;
use super::answer::{self, leased, tell_metadata, tell_version};
use super::auth::{self, Account};
use super::call::{Call, LARGEST_SEQUENCE_NUMBER, LeaseAction, check_headers, operation};
use super::clock::{Clock, Moment};
use super::code::{Code, Refusal};
use super::condition::{Conditions, Verdict};
use super::guid::Guids;
use super::http::{Answer, HttpRequest};
use super::known;
use super::lease::Lease;
use super::listing::Listing;
use super::locked::locked;
use super::metadata;
use super::operation::Operation;
use super::properties::Properties;
use super::sas::{self, Right};
use super::store::{Blob, Content, Store};
use super::token::Tokens;

/// What a thief of a lock takes it for.
const STOLEN_FOR: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    account: Account,
    clock: Clock,
    guids: Guids,
    tokens: Tokens,
    store: Mutex<Store>,
}

impl Service {
    pub(crate) fn new(account: Account, clock: Clock) -> Service {
        let store = Mutex::new(Store::new(clock.date()));
        Service { account, clock, guids: Guids::default(), tokens: Tokens::default(), store }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn handle(&self, request: &HttpRequest, client: IpAddr) -> Answer {
        self.finished(request, self.outcome(request, client))
    }

    /// An answer that the service would give, but for no reason of its own; without a code, one of somebody in between.
    pub(super) fn pretend(&self, request: &HttpRequest, mut answer: Answer, code: Option<&str>) -> Answer {
        let Some(code) = code else { return answer };
        answer.set("x-ms-error-code", code);
        self.finished(request, Ok(answer))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    fn finished(&self, request: &HttpRequest, outcome: Result<Answer, Refusal>) -> Answer {
        answer::finished(request, outcome, self.guids.next(), self.clock.date())
    }

    fn outcome(&self, request: &HttpRequest, client: IpAddr) -> Result<Answer, Refusal> {
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
        if operation != Operation::Other {
            known::check(request, &address, operation)?;
        }
        // Read with the store in hand: nothing that is done later has an earlier time.
        let mut store = self.store();
        let (now, date) = (self.clock.now(), self.clock.date());
        let call = Call { request, address: &address, operation, right, now, date };
        match operation {
            Operation::CreateContainer => create_container(&call, &mut store),
            Operation::GetContainerProperties => container_properties(&call, &mut store),
            Operation::DeleteContainer => delete_container(&call, &mut store),
            Operation::ListBlobs => list_blobs(&call, &mut store),
            Operation::PutBlob => put_blob(&call, &mut store),
            Operation::GetBlob | Operation::GetBlobProperties | Operation::GetBlobMetadata => {
                read_blob(&call, &mut store)
            }
            Operation::DeleteBlob => delete_blob(&call, &mut store),
            Operation::SetBlobMetadata => set_metadata(&call, &mut store),
            Operation::SetBlobProperties => set_properties(&call, &mut store),
            Operation::AcquireLease
            | Operation::RenewLease
            | Operation::ChangeLease
            | Operation::ReleaseLease
            | Operation::BreakLease => lease(&call, &mut store, &self.guids),
            Operation::Other if call.is_for_lease() => Err(match call.request.header("x-ms-lease-action") {
                None => call.missing("x-ms-lease-action"),
                Some(_) => call.invalid("x-ms-lease-action"),
            }),
            Operation::Other => Err(Code::NotImplemented.into()),
        }
    }

    fn authenticate(&self, request: &HttpRequest, address: &Address, authorization: &str) -> Result<(), Refusal> {
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
        let mut store = self.store();
        let now = self.clock.now();
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

/// [Create Container](https://learn.microsoft.com/rest/api/storageservices/create-container)
fn create_container(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let metadata = metadata::of(call.request)?;
    let container = store.create_container(&call.address.container, metadata, call.now, call.date)?;
    let mut answer = Answer::new(201, "Created");
    tell_version(&mut answer, &container.etag, container.modified);
    Ok(answer)
}

/// [Get Container Properties](https://learn.microsoft.com/rest/api/storageservices/get-container-properties)
fn container_properties(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let lease_id = call.lease_id()?;
    let container = store.container(&call.address.container)?;
    if lease_id.is_some() {
        return Err(Code::LeaseNotPresentWithContainerOperation.into());
    }
    let mut answer = Answer::new(200, "OK");
    tell_version(&mut answer, &container.etag, container.modified);
    answer.set("x-ms-lease-status", "unlocked");
    answer.set("x-ms-lease-state", "available");
    tell_metadata(&mut answer, &container.metadata);
    Ok(answer)
}

/// [Delete Container](https://learn.microsoft.com/rest/api/storageservices/delete-container): the leases in it do
/// not hinder it.
fn delete_container(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let lease_id = call.lease_id()?;
    store.container(&call.address.container)?;
    if lease_id.is_some() {
        return Err(Code::LeaseNotPresentWithContainerOperation.into());
    }
    store.delete_container(&call.address.container, call.now)?;
    Ok(Answer::new(202, "Accepted"))
}

/// [List Blobs](https://learn.microsoft.com/rest/api/storageservices/list-blobs)
fn list_blobs(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let listing = Listing::of(call)?;
    let container = store.container(&call.address.container)?;
    Ok(listing.answer(call, container))
}

/// [Put Blob](https://learn.microsoft.com/rest/api/storageservices/put-blob)
fn put_blob(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let content = call.content()?;
    let properties = Properties::of_put(call.request);
    let metadata = metadata::of(call.request)?;
    let lease_id = call.lease_id()?;
    let conditions = Conditions::of(call.request)?;
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
    let blob = Blob { content, properties, metadata, etag, modified: call.date, created, lease };
    store.put(container, call.blob(), blob)?;
    Ok(answer)
}

/// [Get Blob](https://learn.microsoft.com/rest/api/storageservices/get-blob),
/// [Get Blob Properties](https://learn.microsoft.com/rest/api/storageservices/get-blob-properties) and
/// [Get Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/get-blob-metadata)
fn read_blob(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let lease_id = call.lease_id()?;
    let conditions = Conditions::of(call.request)?;
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
    blob.properties.tell(&mut answer, call.address);
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
    if call.operation == Operation::GetBlob
        && let Some((first, last)) = call.range()
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
fn delete_blob(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    const SNAPSHOTS: &str = "x-ms-delete-snapshots";
    match call.request.header(SNAPSHOTS).map(str::to_ascii_lowercase).as_deref() {
        // There are none.
        None | Some("include") => {}
        Some("only") => return Err(call.not_implemented(SNAPSHOTS)),
        Some(_) => return Err(call.invalid(SNAPSHOTS)),
    }
    call.writable(store)?;
    store.delete(&call.address.container, call.blob())?;
    let mut answer = Answer::new(202, "Accepted");
    answer.set("x-ms-delete-type-permanent", "true");
    Ok(answer)
}

/// [Set Blob Metadata](https://learn.microsoft.com/rest/api/storageservices/set-blob-metadata)
fn set_metadata(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    let metadata = metadata::of(call.request)?;
    let mut blob = call.writable(store)?;
    blob.metadata = metadata;
    write(call, store, blob)
}

/// [Set Blob Properties](https://learn.microsoft.com/rest/api/storageservices/set-blob-properties)
fn set_properties(call: &Call<'_>, store: &mut Store) -> Result<Answer, Refusal> {
    const ACTION: &str = "x-ms-sequence-number-action";
    const NUMBER: &str = "x-ms-blob-sequence-number";
    let given = call.sequence_number()?;
    let action = call.request.header(ACTION);
    let properties = Properties::of_change(call.request);
    let mut blob = call.writable(store)?;
    match (action, &mut blob.content) {
        (None, _) if given.is_some() => return Err(call.missing(ACTION)),
        (None, _) => blob.properties = Properties::default(),
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
    if let Some(properties) = properties {
        blob.properties = properties;
    }
    let number = match blob.content {
        Content::Page { sequence_number, .. } => Some(sequence_number),
        Content::Block(_) | Content::Append => None,
    };
    let mut answer = write(call, store, blob)?;
    if let Some(number) = number {
        answer.set(NUMBER, number.to_string());
    }
    Ok(answer)
}

fn write(call: &Call<'_>, store: &mut Store, mut blob: Blob) -> Result<Answer, Refusal> {
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
fn lease(call: &Call<'_>, store: &mut Store, guids: &Guids) -> Result<Answer, Refusal> {
    let action = call.lease_action(guids)?;
    let conditions = Conditions::of(call.request)?;
    if conditions.count() > 1 {
        return Err(Code::MultipleConditionHeadersNotSupported.into());
    }
    let blob = store.container(&call.address.container)?.blob(call.blob())?;
    if conditions.judge(Some(&blob.version())) != Verdict::Met {
        return Err(Code::ConditionNotMet.into());
    }
    let (lease, now) = (&mut blob.lease, call.now);
    let mut answer = match action {
        LeaseAction::Acquire { id, term } => {
            lease.acquire(now, id, term)?;
            leased(201, "Created", id)
        }
        LeaseAction::Renew { id } => {
            lease.renew(now, id)?;
            leased(200, "OK", id)
        }
        LeaseAction::Change { id, proposed } => {
            lease.change(now, id, proposed)?;
            leased(200, "OK", proposed)
        }
        LeaseAction::Release { id } => {
            lease.release(now, id)?;
            Answer::new(200, "OK")
        }
        LeaseAction::Break { period } => {
            let left = lease.break_within(now, period)?;
            let mut answer = Answer::new(202, "Accepted");
            answer.set("x-ms-lease-time", nearest_seconds(left).to_string());
            answer
        }
    };
    tell_version(&mut answer, &blob.etag, blob.modified);
    Ok(answer)
}

/// The service promises no more than about how long it takes: whoever comes back then may be early by half a second.
fn nearest_seconds(time: Duration) -> u64 {
    time.saturating_add(Duration::from_millis(500)).as_secs()
}

fn not_there(code: Code) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, code.message())
}
