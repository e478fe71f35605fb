//! What a preflight's answers mean.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::probe::{Finding, Findings, is_of_account};
use super::report::{Check, Preflight, Status, Subject};
use crate::error::{Error, ErrorKind};
use crate::hold::Leaves;
use crate::mutex;
use crate::rest::{AccountInfo, Contact, Heard, Outcome, ROLE, SKEW_REFUSED};
use crate::transport::proxy::Proxy;

/// A date has whole seconds, and is made before the answer comes.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// So many requests must fit into the time from one renewal to the lease's deadline.
const TRIES: u32 = 4;

/// What was asked, and with what.
pub(super) struct Context<'a> {
    pub(super) origin: &'a str,
    /// On the way there.
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) container: &'a str,
    pub(super) credential: String,
    pub(super) is_dated: bool,
    /// How long a lease counts as ours.
    pub(super) held_for: Duration,
    pub(super) renew_every: Duration,
    pub(super) lock: &'a Arc<str>,
    pub(super) leaves: Leaves,
}

pub(super) fn judge(findings: &Findings, context: &Context<'_>) -> Preflight {
    let checks = vec![
        proxy(findings, context),
        endpoint(findings, context),
        clock(findings, context),
        credential(findings, context),
        account(findings),
        container(findings, context),
        create(findings),
        acquire(findings),
        renew(findings),
        release(findings),
        read(findings),
        metadata(findings, context),
        round_trip(findings, context),
    ];
    let makes_container = findings.create_container.is_some();
    Preflight { checks, least_role: least_role(makes_container), least_sas: least_sas(makes_container) }
}

fn ok(subject: Subject, sentence: impl Into<String>) -> Check {
    Check { subject, status: Status::Ok, sentence: sentence.into(), error: None }
}

fn not_tried(subject: Subject, sentence: impl Into<String>) -> Check {
    Check { subject, status: Status::NotTried, sentence: sentence.into(), error: None }
}

fn failed(subject: Subject, error: &Error) -> Check {
    Check { subject, status: Status::Failed, sentence: error.sentence(), error: Some(error.clone()) }
}

fn failed_since(subject: Subject, sentence: impl Into<String>) -> Check {
    Check { subject, status: Status::Failed, sentence: sentence.into(), error: None }
}

impl Findings {
    /// In the order in which they were asked for.
    fn answers(&self) -> impl Iterator<Item = &Finding> {
        let all = [&self.look, &self.create_container, &self.create_blob, &self.acquire, &self.renew, &self.release];
        all.into_iter().flatten()
    }

    fn errors(&self) -> impl Iterator<Item = &Error> {
        self.answers().filter_map(|answer| answer.error.as_ref())
    }

    fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.answers().filter_map(Finding::heard)
    }

    fn is_reached(&self) -> bool {
        self.heard().next().is_some()
    }

    /// Every question was refused by the one code that does not say why.
    fn is_shut_out(&self) -> bool {
        self.look.is_some() && self.answers().all(|answer| answer.is_denied_with("AuthorizationFailure"))
    }

    fn error_of(&self, kind: ErrorKind) -> Option<&Error> {
        self.errors().find(|error| error.kind() == kind)
    }
}

fn proxy(findings: &Findings, context: &Context<'_>) -> Check {
    let subject = Subject::Proxy;
    let Some(proxy) = context.proxy else { return ok(subject, "none: connections are direct") };
    match findings.look.as_ref().map(|look| (&look.contact, &look.error)) {
        Some((Contact::Blocked, Some(error))) => failed(subject, error),
        Some((Contact::Answered(_) | Contact::Unanswered, _)) => ok(subject, proxy.to_string()),
        _ => not_tried(subject, format!("{proxy}; whether it opens a connection is not known")),
    }
}

fn endpoint(findings: &Findings, context: &Context<'_>) -> Check {
    let subject = Subject::Endpoint;
    if let Some(error) = &findings.no_id {
        return failed(subject, error);
    }
    let first = findings.look.as_ref().map(|look| (&look.contact, &look.error));
    match first {
        _ if findings.is_reached() => ok(subject, format!("{} answers", context.origin)),
        Some((Contact::Unsent, _)) => not_tried(subject, format!("nothing to ask {} with", context.origin)),
        Some((Contact::Answered(_) | Contact::Unanswered, Some(error))) => failed(subject, error),
        _ => not_tried(subject, BEFORE),
    }
}

fn clock(findings: &Findings, context: &Context<'_>) -> Check {
    let subject = Subject::Clock;
    if let Some(error) = findings.error_of(ErrorKind::ClockSkew) {
        return failed(subject, error);
    }
    let Some((ours, theirs)) = findings.heard().find_map(|heard| Some((heard.ours, heard.theirs?))) else {
        return not_tried(subject, "the service's time is not known");
    };
    let (off, direction) = apart(ours, theirs);
    if off <= CLOCK_SLACK {
        return ok(subject, "as the service's");
    }
    let sentence = format!("{} {direction} the service's", words(off));
    match (context.is_dated, off < SKEW_REFUSED) {
        (false, _) => ok(subject, format!("{sentence}, which does not matter with this credential")),
        (true, true) => {
            ok(subject, format!("{sentence}; from {} on it would refuse the account's key", words(SKEW_REFUSED)))
        }
        (true, false) => failed_since(subject, format!("{sentence}; set it right")),
    }
}

fn apart(ours: SystemTime, theirs: SystemTime) -> (Duration, &'static str) {
    match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    }
}

/// As long as a person needs to know.
fn words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

fn credential(findings: &Findings, context: &Context<'_>) -> Check {
    let (subject, sort) = (Subject::Credential, &context.credential);
    let is_unsent = |answer: &&Finding| matches!(answer.contact, Contact::Unsent);
    let no_proof = findings.answers().find(is_unsent).and_then(|answer| answer.error.as_ref());
    if let Some(error) = no_proof.or_else(|| findings.error_of(ErrorKind::Credential)) {
        let text = format!("{sort}: {}", error.sentence());
        return Check { sentence: text, ..failed(subject, error) };
    }
    let is_accepted = |answer: &Finding| {
        let tells_nothing = tells_nothing(answer.outcome) || matches!(answer.outcome, Outcome::Failed { .. });
        let is_denied = answer.outcome == Outcome::Denied && !answer.is_denied_with("AuthorizationPermissionMismatch");
        answer.heard().is_some() && !tells_nothing && !is_denied
    };
    if findings.answers().any(is_accepted) {
        return ok(subject, format!("{sort}, which the service accepts"));
    }
    not_tried(subject, format!("{sort}; whether the service accepts it is not known"))
}

fn tells_nothing(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused | Outcome::Void | Outcome::Filtered)
}

fn account(findings: &Findings) -> Check {
    let subject = Subject::Account;
    let of_account = |error: &&Error| error.service_code().is_some_and(is_of_account);
    if let Some(error) = findings.errors().find(of_account) {
        return failed(subject, error);
    }
    if findings.is_shut_out()
        && let Some(error) = findings.errors().next()
    {
        let text = "it refuses everything, whatever the right: its firewall may not let this network in, or the \
                    credential is for something else";
        return Check { sentence: text.to_owned(), ..failed(subject, error) };
    }
    match &findings.account {
        Some(account) => of_kind(account),
        None => not_tried(subject, "the service does not tell its kind"),
    }
}

/// [Storage account overview](https://learn.microsoft.com/azure/storage/common/storage-account-overview): which kinds
/// have block blobs.
fn of_kind(account: &AccountInfo) -> Check {
    let AccountInfo { kind, sku, hierarchical } = account;
    let namespace = if *hierarchical { " with a hierarchical namespace" } else { "" };
    let sentence = format!("{kind} {sku}{namespace}");
    if kind == "FileStorage" || sku.starts_with("Premium") && kind != "BlockBlobStorage" {
        return failed_since(Subject::Account, format!("{sentence}, which has no block blobs, and so no locks"));
    }
    if sku.contains("GRS") || sku.contains("GZRS") {
        return ok(
            Subject::Account,
            format!("{sentence}; a failover to its other region could lose a lock that was taken just before"),
        );
    }
    ok(Subject::Account, sentence)
}

fn container(findings: &Findings, context: &Context<'_>) -> Check {
    let (subject, name) = (Subject::Container, context.container);
    if let Some(made) = &findings.create_container {
        return match &made.error {
            None => ok(subject, format!("{name:?} was missing, and is made now")),
            Some(error) => failed(subject, error),
        };
    }
    let is_missing = |answer: &&Finding| answer.outcome == Outcome::NoContainer;
    let missing = findings.acquire.as_ref().filter(is_missing).and_then(|answer| answer.error.as_ref());
    if let Some(error) = missing {
        return failed(subject, error);
    }
    let shows_it = |answer: &Finding| {
        matches!(answer.outcome, Outcome::Seen(_) | Outcome::NoBlob | Outcome::Leased(_) | Outcome::Busy)
    };
    if findings.answers().any(shows_it) {
        return ok(subject, format!("{name:?} is there"));
    }
    not_tried(subject, format!("whether {name:?} is there is not known"))
}

fn create(findings: &Findings) -> Check {
    let subject = Subject::Create;
    match findings.create_blob.as_ref().map(|made| &made.error) {
        Some(None) => ok(subject, "the lock's blob was missing, and is made now"),
        Some(Some(error)) => failed(subject, error),
        None if is_there(findings) => not_tried(subject, "the lock's blob is there"),
        None => not_tried(subject, BEFORE),
    }
}

const BEFORE: &str = "something else stands in the way";

fn is_there(findings: &Findings) -> bool {
    let shows_it = |answer: &Finding| matches!(answer.outcome, Outcome::Seen(_) | Outcome::Leased(_) | Outcome::Busy);
    findings.answers().any(shows_it)
}

fn acquire(findings: &Findings) -> Check {
    let subject = Subject::Acquire;
    match findings.acquire.as_ref().map(|answer| (answer.outcome, &answer.error)) {
        Some((Outcome::Leased(_), _)) if findings.renew.is_some() => ok(subject, "the lock was taken for a moment"),
        Some((Outcome::Busy, _)) => ok(subject, "allowed; somebody has the lock now"),
        Some((Outcome::NoBlob | Outcome::NoContainer, _)) | None => not_tried(subject, BEFORE),
        // Not even a look was: that is told of the endpoint.
        Some((Outcome::Failed { .. }, _)) if !findings.is_reached() => not_tried(subject, BEFORE),
        Some((_, Some(error))) => failed(subject, error),
        Some((_, None)) => failed_since(subject, "the service's answer does not fit the request"),
    }
}

fn renew(findings: &Findings) -> Check {
    while_held(Subject::Renew, "the lock was renewed", &findings.renew, findings)
}

fn release(findings: &Findings) -> Check {
    while_held(Subject::Release, "the lock is free again", &findings.release, findings)
}

fn while_held(subject: Subject, done: &str, answer: &Option<Finding>, findings: &Findings) -> Check {
    match answer.as_ref().map(|answer| &answer.error) {
        Some(None) => ok(subject, done),
        Some(Some(error)) => failed(subject, error),
        None if findings.acquire.as_ref().is_some_and(|taken| taken.outcome == Outcome::Busy) => {
            not_tried(subject, "somebody has the lock; it takes the right that acquire takes")
        }
        None => not_tried(subject, BEFORE),
    }
}

fn read(findings: &Findings) -> Check {
    let subject = Subject::Read;
    let Some(look) = &findings.look else { return not_tried(subject, BEFORE) };
    if let Outcome::Seen(_) | Outcome::NoBlob | Outcome::NoContainer = look.outcome {
        return ok(subject, "a wait looks at the lock");
    }
    match unread(findings) {
        Some(error) => {
            let text = format!(
                "{}; a wait tries to take the lock instead, which costs ten times as much and fills the account's \
                 metrics with 409s",
                error.sentence()
            );
            Check { status: Status::Warning, sentence: text, ..failed(subject, error) }
        }
        None => not_tried(subject, BEFORE),
    }
}

/// Why the lock cannot be looked at, where that is all that stands in the way.
fn unread(findings: &Findings) -> Option<&Error> {
    let look = findings.look.as_ref()?;
    let acquired = findings.acquire.as_ref().map(|answer| answer.outcome);
    let is_had = matches!(acquired, Some(Outcome::Leased(_) | Outcome::Busy));
    let is_it = look.outcome == Outcome::Denied && acquired.is_some() || tells_nothing(look.outcome) && is_had;
    look.error.as_ref().filter(|_| is_it)
}

fn metadata(findings: &Findings, context: &Context<'_>) -> Check {
    let subject = Subject::Metadata;
    let is = |kept: fn(&Heard) -> bool| findings.heard().any(kept);
    let (versions, is_immutable) = (is(|heard| heard.keeping.versions), is(|heard| heard.keeping.is_immutable));
    let what = match (context.leaves.token, context.leaves.card) {
        (true, true) => "a fencing token and a card",
        (true, false) => "a fencing token",
        (false, true) => "a card",
        (false, false) if is_immutable => return not_tried(subject, format!("nothing to leave there; {IMMUTABLE}")),
        (false, false) if versions => return not_tried(subject, format!("nothing to leave there; {VERSIONS}")),
        (false, false) => return not_tried(subject, "nothing to leave there: neither a fencing token nor a card"),
    };
    // Without a card the lock is held.
    let missing = if context.leaves.token { Status::Failed } else { Status::Warning };
    if let Some(error) = unread(findings) {
        let text = format!("{what} cannot be left by who cannot read what is there: {}", error.sentence());
        return Check { status: missing, sentence: text, ..failed(subject, error) };
    }
    if let Some(why) = findings.unwritable {
        return Check { status: missing, ..failed(subject, &mutex::unwritten(context.lock, why, None)) };
    }
    if is_immutable {
        let text = format!("{what} cannot be left; {IMMUTABLE}");
        return Check { status: missing, ..failed_since(subject, text) };
    }
    match &findings.acquire {
        Some(Finding { outcome: Outcome::Leased(_) | Outcome::Busy, .. }) if versions => {
            let text = format!("{what} can be left; {VERSIONS}");
            Check { status: Status::Warning, ..ok(subject, text) }
        }
        Some(Finding { outcome: Outcome::Leased(_) | Outcome::Busy, .. }) => ok(subject, format!("{what} can be left")),
        _ => not_tried(subject, BEFORE),
    }
}

const VERSIONS: &str = "the account keeps versions, so each token, card or mark makes one more of the lock's blob, which \
                        costs until a lifecycle rule deletes it";
const IMMUTABLE: &str = "an immutability policy or a legal hold on the lock's blob refuses each token, card or mark: take a \
                         container without";

fn round_trip(findings: &Findings, context: &Context<'_>) -> Check {
    let subject = Subject::RoundTrip;
    let mut trips = findings.trips.clone();
    trips.sort_unstable();
    let Some(median) = trips.get(trips.len() / 2).copied() else { return not_tried(subject, BEFORE) };
    let first = findings.heard().next().map(|heard| words(heard.took)).unwrap_or_default();
    let room = context.held_for.saturating_sub(context.renew_every);
    let sentence =
        format!("median {}, first request {first}; a renewal that fails has {} more", words(median), words(room));
    if median.saturating_mul(TRIES) > room {
        return failed_since(subject, format!("{sentence}, which is too little for so slow a way: use a longer lease"));
    }
    ok(subject, sentence)
}

/// [Permissions for calling data operations](https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory).
fn least_role(makes_container: bool) -> String {
    const BASE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers";
    let place = if makes_container { "account" } else { "container" };
    let action = if makes_container { format!(", and the action {BASE}/write") } else { String::new() };
    format!(
        "`{ROLE}` on the {place}, or one of your own with the data actions {BASE}/blobs/write \
         and {BASE}/blobs/read{action}"
    )
}

/// The permissions of [a service SAS](https://learn.microsoft.com/rest/api/storageservices/create-service-sas) and of
/// [an account SAS](https://learn.microsoft.com/rest/api/storageservices/create-account-sas).
fn least_sas(makes_container: bool) -> String {
    if makes_container {
        "of the account, `ss=b`, `srt=co`, `sp=rw`; with the container made beforehand, of one blob, `sr=b`, `sp=rw`"
    } else {
        "of one blob, `sr=b`, `sp=rw`; without the `r`, a wait costs ten times as much"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(trips: &[u64], lease: u64) -> Check {
        let findings =
            Findings { trips: trips.iter().map(|trip| Duration::from_millis(*trip)).collect(), ..Findings::default() };
        let context = Context {
            origin: "https://me.example",
            proxy: None,
            container: "locks",
            credential: "an account key".to_owned(),
            is_dated: true,
            held_for: Duration::from_secs(lease - 3),
            renew_every: Duration::from_secs(lease / 3),
            lock: &"job".into(),
            leaves: Leaves::default(),
        };
        round_trip(&findings, &context)
    }

    #[test]
    fn the_way_must_be_short_enough_for_the_lease() {
        assert_eq!(slow(&[], 15).status, Status::NotTried);
        assert_eq!(slow(&[30, 20, 9000], 15).status, Status::Ok, "one that is slow is no matter");
        assert_eq!(slow(&[1750, 1750, 1750, 1750], 15).status, Status::Ok);
        let check = slow(&[1760, 1760, 1760, 1760], 15);
        assert_eq!(check.status, Status::Failed);
        assert!(check.sentence.contains("median 1 s") && check.sentence.contains("longer lease"), "{check:?}");
        assert_eq!(slow(&[1760, 1760, 1760, 1760], 30).status, Status::Ok);
    }

    #[test]
    fn times_are_said_as_people_do() {
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (119_000, "119 s"), (180_000, "3 min")] {
            assert_eq!(words(Duration::from_millis(millis)), text);
        }
    }
}
