//! Managed identities: the metadata service of a machine, the token endpoint of an app. Each in a process of its own,
//! for both are found by the environment.

use std::time::Duration;

use azmutex::ErrorKind;
use azmutex::credential::Credential;
use azmutex::credential::entra::ManagedIdentity;

use super::{SECOND, Tokens, container, eager, json};
use crate::support::http::Request;
use crate::support::peer::{Peer, Received, Reply, answer};
use crate::support::process::{Again, again, variable};

const IDENTITY: &str = "11112222-bbbb-3333-cccc-4444dddd5555";
const HEADER: &str = "853b9a84-secret-header";

/// Not a test of its own, but what the other process does: takes the lock with its managed identity.
#[test]
fn child() {
    let Some(storage) = variable("AZMUTEX_TEST_STORAGE") else { return };
    let identity = ManagedIdentity::from_env().unwrap();
    let identity = match variable("AZMUTEX_TEST_IDENTITY").as_deref() {
        Some("client") => identity.client_id(IDENTITY),
        Some("object") => identity.object_id(IDENTITY),
        Some("resource") => identity.resource_id("/subscriptions/1/userAssignedIdentities/me"),
        _ => identity,
    };
    let policy = eager().longest_pause(20 * SECOND);
    super::child::take_the_lock(&storage, identity.build().unwrap(), policy);
}

fn locking(storage: &Peer) -> Again {
    again(child).without_credentials().env("AZMUTEX_TEST_STORAGE", &storage.url())
}

/// The metadata service, where `reply` says what comes of a request that is well made.
fn metadata(reply: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::start(move |received| {
        let request = &received.request;
        // It is like this that it tells requests of this machine's programs from others.
        if request.header("metadata") != Some("true") || request.header("x-forwarded-for").is_some() {
            return json(
                400,
                r#"{"error":"invalid_request","error_description":"Required metadata header not specified"}"#,
            );
        }
        assert_eq!((request.method.as_str(), request.path()), ("GET", "/metadata/identity/oauth2/token"));
        assert_eq!(request.query("api-version").as_deref(), Some("2018-02-01"));
        assert_eq!(request.query("resource").as_deref(), Some("https%3A%2F%2Fstorage.azure.com"));
        reply(received)
    })
}

/// As the metadata service gives it: all of it text.
fn metadata_token(tokens: &Tokens) -> Reply {
    let token = tokens.issue(3600 * SECOND);
    json(
        200,
        &format!(
            r#"{{"access_token":"{token}","client_id":"{IDENTITY}","expires_in":"3600","expires_on":"1506484173",
            "ext_expires_in":"86399","not_before":"1506480273","resource":"https://storage.azure.com","token_type":"Bearer"}}"#
        ),
    )
}

/// The endpoint of App Service, Functions and Container Apps.
fn app(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::start(move |received| {
        let request = &received.request;
        assert_eq!((request.method.as_str(), request.path()), ("GET", "/msi/token"));
        assert_eq!(request.query("api-version").as_deref(), Some("2019-08-01"));
        assert_eq!(request.query("resource").as_deref(), Some("https%3A%2F%2Fstorage.azure.com"));
        if request.header("x-identity-header") != Some(HEADER) {
            return json(401, r#"{"statusCode":401,"message":"Unauthorized"}"#);
        }
        reply(request)
    })
}

fn in_app(child: Again, app: &Peer) -> Again {
    child.env("IDENTITY_ENDPOINT", &format!("{}/msi/token", app.url())).env("IDENTITY_HEADER", HEADER)
}

#[test]
fn a_machine_s_own_identity_and_those_that_are_named() {
    for (named, parameter, value) in [
        ("own", None, ""),
        ("client", Some("client_id"), IDENTITY),
        ("object", Some("object_id"), IDENTITY),
        ("resource", Some("msi_res_id"), "%2Fsubscriptions%2F1%2FuserAssignedIdentities%2Fme"),
    ] {
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let metadata = metadata(move |received| {
            let request = &received.request;
            for other in ["client_id", "object_id", "msi_res_id", "mi_res_id"] {
                let expected = (Some(other) == parameter).then(|| value.to_owned());
                assert_eq!(request.query(other), expected, "{other}");
            }
            metadata_token(&tokens)
        });
        let child = locking(&storage).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url());
        assert_eq!(child.env("AZMUTEX_TEST_IDENTITY", named).last_word(), "locked", "{named}");
        assert_eq!(metadata.received().len(), 1);
    }
}

#[test]
fn a_metadata_service_that_is_updated_or_busy_is_asked_again_after_a_second_or_more() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let metadata = metadata(move |received| match received.number {
        0 => json(404, r#"{"error":"not_found","error_description":"updating"}"#),
        1 => answer(410, &[]),
        _ => metadata_token(&tokens),
    });
    let child = locking(&storage).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url());
    assert_eq!(child.last_word(), "locked");
    let at: Vec<_> = metadata.received().iter().map(|received| received.at).collect();
    assert_eq!(at.len(), 3);
    assert!(at[1] - at[0] >= SECOND && at[2] - at[1] >= 2 * SECOND, "{:?} {:?}", at[1] - at[0], at[2] - at[1]);
}

#[test]
fn a_machine_without_an_identity_is_told_so_at_once() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let metadata = metadata(|_| json(400, r#"{"error":"invalid_request","error_description":"Identity not found"}"#));
    let child = locking(&storage).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url());
    let said = child.last_word();
    assert!(said.starts_with("Credential: "), "{said}");
    for word in ["managed identity", "400 invalid_request: Identity not found", &metadata.url()] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(metadata.received().len(), 1);
}

#[test]
fn no_proxy_comes_between() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let metadata = metadata(move |_| metadata_token(&tokens));
    let proxy = Peer::start(|_| answer(502, &[]));
    let mut child = locking(&storage).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child = child.env(name, &proxy.url());
    }
    assert_eq!(child.last_word(), "locked");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn the_address_of_the_metadata_service_is_asked_without_a_proxy_too() {
    // Nobody answers there, on most machines; whoever does is no proxy.
    let proxy = Peer::start(|_| answer(502, &[]));
    let storage = Tokens::default().storage();
    let mut child = locking(&storage).env("AZMUTEX_TEST_HASTE", "1");
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        child = child.env(name, &proxy.url());
    }
    let said = child.last_word();
    assert!(said.contains("no token from the managed identity at http://169.254.169.254"), "{said}");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn an_app_s_own_identity_and_those_that_are_named() {
    for (named, parameter, value) in [
        ("own", None, ""),
        ("client", Some("client_id"), IDENTITY),
        ("object", Some("principal_id"), IDENTITY),
        ("resource", Some("mi_res_id"), "%2Fsubscriptions%2F1%2FuserAssignedIdentities%2Fme"),
    ] {
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let app = app(move |request| {
            for other in ["client_id", "principal_id", "object_id", "mi_res_id", "msi_res_id"] {
                let expected = (Some(other) == parameter).then(|| value.to_owned());
                assert_eq!(request.query(other), expected, "{other}");
            }
            app_token(&tokens, 3600 * SECOND)
        });
        let child = in_app(locking(&storage), &app).env("AZMUTEX_TEST_IDENTITY", named);
        // The metadata service is not for apps.
        assert_eq!(
            child.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1").last_word(),
            "locked",
            "{named}"
        );
    }
}

/// As App Service gives it: with the time of its end, by the wall clock, and nothing else.
fn app_token(tokens: &Tokens, life: Duration) -> Reply {
    let token = tokens.issue(life);
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + life;
    json(
        200,
        &format!(
            r#"{{"access_token":"{token}","expires_on":"{}","resource":"https://storage.azure.com",
            "token_type":"Bearer","client_id":"{IDENTITY}"}}"#,
            end.as_secs()
        ),
    )
}

#[test]
fn a_token_s_end_is_read_in_every_form() {
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + 3600 * SECOND;
    for form in [
        end.as_secs().to_string(),
        format!("{}.0", end.as_secs()),
        format!(r#""{}""#, end.as_secs()),
        format!(r#""{:.3}""#, end.as_secs_f64()),
        r#""1/31/2999 23:59:59 +00:00""#.to_owned(),
        r#""1/31/2999 11:59:59 PM +00:00""#.to_owned(),
        r#""2999-01-31T23:59:59Z""#.to_owned(),
    ] {
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let answer = form.clone();
        let app = app(move |_| {
            let token = tokens.issue(3600 * SECOND);
            json(200, &format!(r#"{{"access_token":"{token}","expires_on":{answer},"token_type":"Bearer"}}"#))
        });
        let child = in_app(locking(&storage), &app).env("AZMUTEX_TEST_HASTE", "1");
        assert_eq!(child.last_word(), "locked", "{form}");
    }
}

#[test]
fn what_an_app_s_endpoint_refuses_is_told_without_its_secret() {
    let storage = Tokens::default().storage();
    for (status, body, kind) in [
        (400, r#"{"statusCode":400,"message":"No User Assigned identity"}"#, ErrorKind::Credential),
        (401, r#"{"statusCode":401,"message":"853b9a84-secret-header is wrong"}"#, ErrorKind::Credential),
        (500, r#"{"statusCode":500,"message":"An unexpected error"}"#, ErrorKind::Unavailable),
    ] {
        let app = app(move |_| json(status, body));
        let said = in_app(locking(&storage), &app).env("AZMUTEX_TEST_HASTE", "1").last_word();
        assert!(said.starts_with(&format!("{kind:?}: ")), "{said}");
        assert!(said.contains(&status.to_string()) && !said.contains(HEADER), "{said}");
    }
}

/// Some have a slash at their end, and who knows whether they mean it.
#[test]
fn an_app_s_endpoint_is_asked_as_it_is_given() {
    for path in ["", "/msi/token", "/msi/token/"] {
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let app = Peer::start(move |_| app_token(&tokens, 3600 * SECOND));
        let endpoint = format!("{}{path}", app.url());
        let child = locking(&storage).env("IDENTITY_ENDPOINT", &endpoint).env("IDENTITY_HEADER", HEADER);
        assert_eq!(child.last_word(), "locked", "{path}");
        let asked = app.received()[0].request.path().to_owned();
        assert_eq!(asked, if path.is_empty() { "/" } else { path });
    }
}

#[test]
fn a_redirect_takes_no_header_along() {
    let elsewhere = Peer::start(|_| answer(200, &[]));
    let target = format!("{}/msi/token", elsewhere.url());
    let app = app(move |_| answer(307, &[("location", &target)]));
    let storage = Tokens::default().storage();
    let said = in_app(locking(&storage), &app).env("AZMUTEX_TEST_HASTE", "1").last_word();
    assert!(said.contains("answered 307"), "{said}");
    assert_eq!(elsewhere.connections(), 0);
}

/// Nothing of it needs a process of its own.
#[test]
fn a_managed_identity_is_made_without_asking_anybody() {
    let storage = Tokens::default().storage();
    let credential = Credential::managed_identity().unwrap();
    assert!(format!("{credential:?}").contains("managed identity"));
    drop(container(&storage, credential, eager()));
    assert!(storage.received().is_empty());
}
