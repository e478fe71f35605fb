//! What a preflight finds, and what it leaves behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use azmutex::credential::Credential;
use azmutex::lease::Card;
use azmutex::preflight::{Preflight, Status, Subject};
use azmutex::{AzureMutex, Container, ErrorKind, Locker, container, locker};

use crate::on_both_servers;
use crate::service::{always, key, mutex_with, policy, well, within};
use crate::support::http::{Operation, Response, http_date};
use crate::support::peer::{Peer, Reply, answer, leased, response, service_error};
use crate::support::sas::{self, ACCOUNT, FAR};
use crate::support::server::Server;
use crate::support::unique;

const SOON: Duration = Duration::from_secs(30);

on_both_servers!(
    on_a_fresh_account_all_is_well_and_the_lock_is_free_again,
    somebody_s_lock_stays_theirs,
    somebody_s_blob_stays_as_it_is,
    what_a_token_or_a_card_needs_is_found_out,
    the_least_rights_are_enough,
    a_missing_right_stands_in_the_way,
    a_missing_container_stands_in_the_way,
);

fn status(report: &Preflight, subject: Subject) -> Status {
    report.check(subject).unwrap().status()
}

#[track_caller]
fn stands_in_the_way(report: &Preflight, subject: Subject, kind: ErrorKind, text: &str) {
    let check = report.obstacle().unwrap_or_else(|| panic!("{report}"));
    assert_eq!(check.subject(), subject, "{report}");
    assert_eq!(check.error().map(azmutex::Error::kind), Some(kind), "{report}");
    assert!(check.sentence().contains(text), "{report}");
    assert!(!report.can_lock());
    assert!(report.to_string().contains(&format!("cannot lock here: see {subject}")), "{report}");
}

fn on_a_fresh_account_all_is_well_and_the_lock_is_free_again(server: &Server) {
    let locker = server.container(&unique("preflight")).locker("job").unwrap();
    for is_fresh in [true, false] {
        let report = locker.preflight();
        assert!(report.can_lock(), "{report}");
        for check in report.checks() {
            let may_be_left_out = match check.subject() {
                // The emulator does not say.
                Subject::Account => server.as_emulator().is_some(),
                Subject::Create => !is_fresh,
                Subject::Metadata => true,
                _ => false,
            };
            assert!(check.is_ok() || may_be_left_out && check.status() == Status::NotTried, "{report}");
        }
        let sas = report.least_sas();
        assert!(sas.contains("sr=b") && sas.contains("sp=rw") && sas.contains("srt=co") == is_fresh, "{report}");
        assert!(report.least_role().contains("Storage Blob Data Contributor"), "{report}");
        locker.try_lock().unwrap().unlock().unwrap();
    }
}

fn somebody_s_lock_stays_theirs(server: &Server) {
    let container = server.container(&unique("preflight"));
    let guard = container.locker("job").unwrap().lock().unwrap();
    let report = container.locker("job").unwrap().preflight();
    assert!(report.can_lock(), "{report}");
    assert_eq!(status(&report, Subject::Acquire), Status::Ok);
    for subject in [Subject::Renew, Subject::Release] {
        assert_eq!(status(&report, subject), Status::NotTried, "{report}");
    }
    guard.unlock().unwrap();
}

fn somebody_s_blob_stays_as_it_is(server: &Server) {
    let name = unique("preflight");
    server.create_container(&name);
    server.put_blob(&name, "data.csv", b"1,2,3", &[("owner", "somebody")]);
    let before = server.blob_headers(&name, "data.csv");
    let report = server.container(&name).locker("data.csv").unwrap().preflight();
    assert!(report.can_lock(), "{report}");
    assert_eq!(server.blob_body(&name, "data.csv"), b"1,2,3");
    assert_eq!(server.blob_headers(&name, "data.csv").header("etag"), before.header("etag"));
}

fn what_a_token_or_a_card_needs_is_found_out(server: &Server) {
    let name = unique("preflight");
    let mutex = || server.container(&name).mutex("job").unwrap();
    let fenced = || Locker::builder(mutex()).fencing(true).build().unwrap();
    let carded = || Locker::builder(mutex()).card(Card::new("me")).build().unwrap();
    // On a fresh account, and on a blob that has a token.
    for _ in 0..2 {
        let report = fenced().preflight();
        assert_eq!(status(&report, Subject::Metadata), Status::Ok, "{report}");
        assert!(report.can_lock() && report.warnings().count() == 0, "{report}");
        fenced().lock().unwrap().unlock().unwrap();
    }
    for (wrong, kind, text) in [
        (("owner", "somebody"), ErrorKind::InvalidInput, "metadata of others"),
        (("azmutextoken", "none"), ErrorKind::Unexpected, "azmutextoken"),
    ] {
        server.set_metadata(&name, "job", None, &[wrong]);
        let before = server.blob_headers(&name, "job");
        stands_in_the_way(&fenced().preflight(), Subject::Metadata, kind, text);
        assert_eq!(fenced().lock().unwrap_err().kind(), kind, "as a lock says");
        assert_eq!(server.blob_headers(&name, "job").header("etag"), before.header("etag"));
    }
    // A card minds no token; and without it the lock is held.
    assert_eq!(status(&carded().preflight(), Subject::Metadata), Status::Ok);
    server.set_metadata(&name, "job", None, &[("owner", "somebody")]);
    let report = carded().preflight();
    assert_eq!(status(&report, Subject::Metadata), Status::Warning, "{report}");
    assert!(report.can_lock(), "{report}");
    let text = server.connection_string();
    let builder = container::Builder::from_connection_string(&text, &name).unwrap().lower_case_metadata();
    let accepting = Locker::builder(builder.build().unwrap().mutex("job").unwrap()).fencing(true).build().unwrap();
    assert_eq!(status(&accepting.preflight(), Subject::Metadata), Status::Ok);
}

/// The report of one who has these permissions for one blob.
fn with(server: &Server, container: &str, permissions: &str) -> Preflight {
    let query = sas::of_blob(&format!("{container}/job"), permissions, "", FAR);
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{container}/job?{query}", server.port());
    let report = Locker::new(AzureMutex::from_sas_url(&url).unwrap()).preflight();
    let credential = report.check(Subject::Credential).unwrap().sentence();
    let wanted = format!("a service SAS for one blob (`sp={permissions}`) until {FAR}");
    assert!(credential.starts_with(&wanted), "{credential}");
    let signature = query.rsplit_once("sig=").unwrap().1;
    assert!(!format!("{report} {report:?}").contains(&signature[..20]), "{report:?}");
    report
}

// Scenario 25.
fn the_least_rights_are_enough(server: &Server) {
    let name = unique("preflight");
    server.create_container(&name);
    let report = with(server, &name, "w");
    assert!(report.can_lock(), "{report}");
    assert_eq!(status(&report, Subject::Create), Status::Ok, "{report}");
    let read = report.check(Subject::Read).unwrap();
    assert_eq!(read.status(), Status::Warning, "{report}");
    assert!(!read.is_ok(), "{report}");
    assert!(read.sentence().contains("lacks the right to read (`r`)"), "{report}");
    assert_eq!(read.error().map(azmutex::Error::kind), Some(ErrorKind::PermissionDenied), "{report}");
    assert_eq!(report.warnings().map(|check| check.subject()).collect::<Vec<_>>(), [Subject::Read], "{report}");
    assert!(report.to_string().contains("\nThis program can lock here, with a warning: see read.\n"), "{report}");
    let report = with(server, &name, "rw");
    assert!(report.can_lock(), "{report}");
    assert_eq!(status(&report, Subject::Read), Status::Ok, "{report}");
    assert_eq!(report.warnings().count(), 0, "{report}");
    assert!(report.to_string().contains("\nThis program can lock here.\n"), "{report}");
}

// Scenario 25.
fn a_missing_right_stands_in_the_way(server: &Server) {
    let name = unique("preflight");
    server.create_container(&name);
    let report = with(server, &name, "r");
    stands_in_the_way(&report, Subject::Acquire, ErrorKind::PermissionDenied, "lacks the right to write (`w`)");
    assert_eq!(report.warnings().count(), 0, "{report}");
    for (subject, expected) in [
        (Subject::Credential, Status::Ok),
        (Subject::Container, Status::Ok),
        (Subject::Read, Status::Ok),
        (Subject::RoundTrip, Status::Ok),
        (Subject::Renew, Status::NotTried),
        (Subject::Release, Status::NotTried),
    ] {
        assert_eq!(status(&report, subject), expected, "{report}");
    }
}

fn a_missing_container_stands_in_the_way(server: &Server) {
    let name = unique("preflight");
    let report = with(server, &name, "rw");
    stands_in_the_way(&report, Subject::Container, ErrorKind::PermissionDenied, "create containers");

    let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{name}", server.port());
    let key = Credential::shared_key(ACCOUNT, sas::KEY).unwrap();
    let container = Container::builder(&url, key).never_create_container().build().unwrap();
    let report = container.locker("job").unwrap().preflight();
    stands_in_the_way(&report, Subject::Container, ErrorKind::NotFound, "there is no container");
}

// Scenario 25.
#[test]
fn who_may_not_read_can_leave_no_token() {
    let denied = || always(Operation::Look, service_error(403, "AuthorizationPermissionMismatch"));
    let told = leaving(&denied(), |builder| builder.fencing(true));
    stands_in_the_way(&told, Subject::Metadata, ErrorKind::PermissionDenied, "cannot read");
    let told = leaving(&denied(), |builder| builder.card(Card::new("me")));
    assert_eq!(status(&told, Subject::Metadata), Status::Warning, "{told}");
    assert!(told.can_lock(), "{told}");
}

#[test]
fn what_the_account_keeps_is_told_before_it_costs() {
    const ALONE: (&str, &str) = ("x-ms-legal-hold", "false");
    const VERSIONS: &str = "the account keeps versions";
    for (header, fenced, carded, text) in [
        (ALONE, Status::Ok, Status::Ok, ""),
        (("x-ms-version-id", "2026-11-26T10:00:00.0000000Z"), Status::Warning, Status::Warning, VERSIONS),
        (("x-ms-immutability-policy-until-date", "Thu, 26 Nov 2099 10:00:00 GMT"), Status::Failed, Status::Warning, ""),
        (("x-ms-immutability-policy-mode", "unlocked"), Status::Failed, Status::Warning, "immutability policy"),
        (("x-ms-legal-hold", "true"), Status::Failed, Status::Warning, "legal hold"),
    ] {
        let version = [("etag", "\"1\""), ("last-modified", "Thu, 26 Nov 2026 10:00:00 GMT")];
        let look = answer(200, &[("x-ms-lease-state", "available"), version[0], version[1], header]);
        let peer = || always(Operation::Look, look.clone());
        let expect = |told: &Preflight, expected| {
            let check = told.check(Subject::Metadata).unwrap();
            assert_eq!(check.status(), expected, "{header:?}: {told}");
            assert!(check.sentence().contains(text), "{header:?}: {told}");
            assert_eq!(told.can_lock(), expected != Status::Failed, "{told}");
        };
        expect(&leaving(&peer(), |builder| builder.fencing(true)), fenced);
        expect(&leaving(&peer(), |builder| builder.card(Card::new("me"))), carded);
        expect(&leaving(&peer(), |builder| builder), Status::NotTried);
    }
    // Where there was no blob yet, the one that was made tells.
    let made = AtomicBool::new(false);
    let peer = Peer::start(move |received| match received.request.operation() {
        Operation::CreateBlob => {
            made.store(true, Ordering::SeqCst);
            answer(201, &[("x-ms-version-id", "2026-11-26T10:00:00.0000000Z")])
        }
        _ if made.load(Ordering::SeqCst) => well(received),
        _ => service_error(404, "BlobNotFound"),
    });
    let told = leaving(&peer, |builder| builder.fencing(true));
    assert_eq!(status(&told, Subject::Metadata), Status::Warning, "{told}");
}

/// The report for a locker with these settings.
fn leaving(peer: &Peer, settings: impl FnOnce(locker::Builder) -> locker::Builder) -> Preflight {
    let locker = settings(Locker::builder(mutex_with(peer, key(), policy()))).build().unwrap();
    within(SOON, "a preflight", move || locker.preflight())
}

/// What a service that answers so comes to, within bounds.
fn report(peer: &Peer, credential: Credential) -> Preflight {
    let mutex = mutex_with(peer, credential, policy());
    within(SOON, "a preflight", move || Locker::new(mutex).preflight())
}

fn dated(reply: Reply, date: SystemTime) -> Reply {
    match reply {
        Reply::Answer(mut response) => {
            response.headers.retain(|(name, _)| name != "date");
            response.headers.push(("date".to_owned(), http_date(date)));
            Reply::Answer(response)
        }
        other => other,
    }
}

/// Of a gateway that lets no HEAD through, and of one that answers it with what belongs to another request.
#[test]
fn a_look_that_is_filtered_is_a_warning_when_the_lock_can_be_taken() {
    let filtered = |status| Reply::Answer(Response { status, headers: Vec::new(), body: Vec::new() });
    let replaced = answer(200, &[("x-ms-lease-state", "available"), ("x-ms-client-request-id", "another")]);
    let refused = answer(405, &[]);
    let unreadable = Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec());
    for look in [filtered(403), filtered(405), filtered(200), replaced, refused, unreadable] {
        let told = report(&always(Operation::Look, look.clone()), key());
        assert!(told.can_lock(), "{look:?}: {told}");
        for subject in [Subject::Endpoint, Subject::Credential, Subject::Acquire, Subject::Renew, Subject::Release] {
            assert_eq!(status(&told, subject), Status::Ok, "{look:?}: {told}");
        }
        let read = told.check(Subject::Read).unwrap();
        assert_eq!(read.status(), Status::Warning, "{look:?}: {told}");
        assert!(read.sentence().contains("a wait tries to take the lock instead"), "{told}");
        assert_eq!(read.error().map(azmutex::Error::kind), Some(ErrorKind::Unexpected), "{told}");
    }
    // Nothing comes through.
    let peer = Peer::start(move |_| filtered(403));
    let told = report(&peer, key());
    stands_in_the_way(&told, Subject::Endpoint, ErrorKind::Unexpected, "does not answer as the Blob service does");
    for subject in [Subject::Acquire, Subject::Read] {
        assert_eq!(status(&told, subject), Status::NotTried, "{told}");
    }
}

#[test]
fn a_gateway_that_replaces_the_request_id_is_told() {
    let peer = Peer::start(|received| match well(received) {
        Reply::Answer(mut response) => {
            response.headers.push(("x-ms-client-request-id".to_owned(), "another".to_owned()));
            Reply::Answer(response)
        }
        other => other,
    });
    let told = report(&peer, key());
    let text = "something in between replaces the request id";
    stands_in_the_way(&told, Subject::Acquire, ErrorKind::Unexpected, text);
    assert_eq!(status(&told, Subject::Read), Status::NotTried, "{told}");
}

#[test]
fn a_clock_that_is_off_is_told_before_it_is_refused() {
    let minutes = |count: u64| Duration::from_secs(count * 60 + 5);
    let peer = Peer::start(move |received| dated(well(received), SystemTime::now() + minutes(7)));
    let told = report(&peer, key());
    assert!(told.can_lock(), "{told}");
    let clock = told.check(Subject::Clock).unwrap();
    assert!(clock.sentence().contains("7 min behind the service's"), "{told}");

    let peer =
        Peer::start(move |_| dated(service_error(403, "AuthenticationFailed"), SystemTime::now() - minutes(180)));
    let told = report(&peer, key());
    stands_in_the_way(&told, Subject::Clock, ErrorKind::ClockSkew, "180 min ahead of the service's");
    assert_eq!(peer.received().len(), 1);
}

#[test]
fn an_account_that_refuses_whatever_is_asked_is_told_once() {
    for (status, code, kind, text) in [
        (403, "KeyBasedAuthenticationNotPermitted", ErrorKind::PermissionDenied, "Entra ID"),
        (403, "AccountIsDisabled", ErrorKind::PermissionDenied, "disabled"),
        (400, "AccountRequiresHttps", ErrorKind::PermissionDenied, "https only"),
        (404, "ResourceNotFound", ErrorKind::NotFound, "no such account"),
    ] {
        let peer = Peer::start(move |_| service_error(status, code));
        let told = report(&peer, key());
        stands_in_the_way(&told, Subject::Account, kind, text);
        assert_eq!(peer.received().len(), 1, "{told}");
    }
}

#[test]
fn a_firewall_is_told_apart_from_a_missing_right() {
    let peer = Peer::start(|_| service_error(403, "AuthorizationFailure"));
    let told = report(&peer, key());
    stands_in_the_way(&told, Subject::Account, ErrorKind::PermissionDenied, "firewall");
    assert_eq!(status(&told, Subject::Credential), Status::NotTried, "{told}");

    let peer = always(Operation::Acquire, service_error(403, "AuthorizationFailure"));
    let told = report(&peer, key());
    stands_in_the_way(&told, Subject::Acquire, ErrorKind::PermissionDenied, "write (`w`)");
}

#[test]
fn a_credential_that_is_not_accepted_is_told_once() {
    let peer = Peer::start(|_| service_error(403, "AuthenticationFailed"));
    let told = report(&peer, key());
    stands_in_the_way(&told, Subject::Credential, ErrorKind::Credential, "an account key: could not look at the lock");
    assert_eq!(peer.received().len(), 1, "{told}");
}

#[test]
#[cfg(feature = "entra")]
fn a_token_that_cannot_be_had_is_told() {
    use azmutex::credential::entra::{AccessToken, TokenError};

    for (passing, kind) in [(false, ErrorKind::Credential), (true, ErrorKind::Unavailable)] {
        let none = move || -> Result<AccessToken, TokenError> {
            Err(if passing {
                TokenError::passing("the vault is shut")
            } else {
                TokenError::definite("the vault is shut")
            })
        };
        let peer = Peer::start(well);
        let told = report(&peer, Credential::token_source(none));
        stands_in_the_way(&told, Subject::Credential, kind, "the vault is shut");
        assert!(peer.received().is_empty(), "{told}");
    }
}

#[test]
fn a_service_that_is_not_there_is_told() {
    let peer = Peer::start(|_| answer(200, &[]));
    let mutex = mutex_with(&peer, key(), policy());
    drop(peer);
    let told = within(SOON, "a preflight", move || Locker::new(mutex).preflight());
    stands_in_the_way(&told, Subject::Endpoint, ErrorKind::Unavailable, "nothing listens");

    let portal = Peer::start(|_| {
        let mut page = response(200, &[("x-ms-lease-state", "available")], b"<h1>Log in</h1>".to_vec());
        page.headers.retain(|(name, _)| name != "x-ms-request-id");
        Reply::Answer(page)
    });
    stands_in_the_way(&report(&portal, key()), Subject::Endpoint, ErrorKind::Unexpected, "proxy");
}

#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
#[test]
fn an_account_whose_name_is_unknown_is_told() {
    let container = Container::builder("https://acct.blob.invalid/locks", key()).build().unwrap();
    let told = within(SOON, "a preflight", move || container.locker("job").unwrap().preflight());
    stands_in_the_way(&told, Subject::Endpoint, ErrorKind::Unavailable, "https://acct.blob.invalid");
}

#[test]
fn a_service_that_falls_silent_ends_it_and_is_asked_for_the_release() {
    for (operation, subject, requests) in [
        (Operation::Look, Subject::Endpoint, vec![Operation::Look]),
        (Operation::Acquire, Subject::Acquire, vec![Operation::Look, Operation::Acquire, Operation::Release]),
        (
            Operation::Renew,
            Subject::Renew,
            vec![Operation::Look, Operation::Acquire, Operation::Renew, Operation::Release],
        ),
    ] {
        let peer = always(operation, Reply::Hang);
        let mutex = mutex_with(&peer, key(), policy().attempt_limit(Duration::from_secs(2)));
        let told = within(SOON, "a preflight", move || Locker::new(mutex).preflight());
        stands_in_the_way(&told, subject, ErrorKind::Unavailable, "no answer");
        let asked: Vec<_> = peer.received().iter().map(|received| received.request.operation()).collect();
        assert_eq!(asked, requests, "{told}");
    }
}

#[test]
fn a_grant_to_somebody_else_is_none_and_is_undone() {
    let peer = always(Operation::Acquire, leased(201, "99999999-9999-4999-8999-999999999999"));
    let told = report(&peer, key());
    assert_eq!(told.obstacle().map(|check| check.subject()), Some(Subject::Acquire), "{told}");
    assert_eq!(peer.count(Operation::Release), 1);
}

#[test]
fn the_account_s_kind_is_told() {
    for (kind, sku, expected, text) in [
        ("StorageV2", "Standard_LRS", Status::Ok, "StorageV2 Standard_LRS with a hierarchical namespace"),
        ("StorageV2", "Standard_RAGZRS", Status::Ok, "failover"),
        ("BlockBlobStorage", "Premium_LRS", Status::Ok, "Premium_LRS"),
        ("StorageV2", "Premium_LRS", Status::Failed, "no block blobs"),
        ("FileStorage", "Premium_ZRS", Status::Failed, "no block blobs"),
    ] {
        let peer = Peer::start(move |received| {
            if received.request.query("restype").as_deref() == Some("account") {
                let headers = [("x-ms-account-kind", kind), ("x-ms-sku-name", sku), ("x-ms-is-hns-enabled", "true")];
                return answer(200, &headers);
            }
            well(received)
        });
        let told = report(&peer, key());
        let account = told.check(Subject::Account).unwrap();
        assert_eq!(account.status(), expected, "{told}");
        assert!(account.sentence().contains(text), "{told}");
        assert_eq!(told.can_lock(), expected == Status::Ok);
        assert!(peer.received().len() <= 12);
    }
}
