//! The identity of a job of GitHub Actions, whose assertions come from a double of GitHub's endpoint.

use super::cli::{Az, gives};
use super::environment::{locking, logging_in};
use super::login::TokenFile;
use super::{SECOND, Tokens, authority, form, json, refusal};
use crate::support::http::Request;
use crate::support::peer::{Peer, Received, Reply, answer};
use crate::support::process::Again;

const REQUEST_TOKEN: &str = "ey.Kn0wnToNone-request-token-of-the-job.x";
const PATH: &str = "/94//idtoken/7394c9b0-1a2b-4c3d-9e8f-000011112222/ba1e?api-version=2.0";

/// GitHub's endpoint, where `reply` says what comes of a request that is well made.
fn github(reply: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::start(move |received| {
        let Request { method, target, body, .. } = &received.request;
        let audience = "api%3A%2F%2FAzureADTokenExchange";
        assert_eq!((&**method, target), ("GET", &format!("{PATH}&audience={audience}")));
        assert_eq!(received.request.header("authorization"), Some(&*format!("bearer {REQUEST_TOKEN}")));
        assert!(body.is_empty());
        reply(received)
    })
}

fn assertion(number: usize) -> String {
    format!("ey.Kn0wnToNone-assertion-{number}.x")
}

fn value(received: &Received) -> Reply {
    json(200, &format!(r#"{{"count":1234,"value":"{}"}}"#, assertion(received.number)))
}

fn in_job(child: Again, github: &Peer) -> Again {
    let url = format!("{}{PATH}", github.url());
    child.env("ACTIONS_ID_TOKEN_REQUEST_URL", &url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN)
}

/// A token endpoint that takes each assertion once, in the order in which they were given.
fn once_each(tokens: &Tokens) -> Peer {
    let tokens = tokens.clone();
    authority(move |received| {
        let form = form(&received.request);
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(form["client_assertion"], assertion(received.number));
        tokens.answer(3600 * SECOND)
    })
}

#[test]
fn a_job_logs_in_without_a_step_of_its_own() {
    let tokens = Tokens::default();
    let (storage, login, github) = (tokens.storage(), once_each(&tokens), github(value));
    // Before what else there is.
    let az = Az::new("exit 1");
    let child = in_job(logging_in(locking(&storage), &login), &github).env("PATH", az.path());
    let child = child.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
    assert_eq!(child.last_word(), "locked");
    assert_eq!((github.received().len(), login.received().len()), (1, 1));
}

#[test]
fn variables_with_a_line_s_end_are_as_good() {
    let tokens = Tokens::default();
    let (storage, login, github) = (tokens.storage(), once_each(&tokens), github(value));
    let url = format!(" {}{PATH}\r\n", github.url());
    let child = logging_in(locking(&storage), &login).env("ACTIONS_ID_TOKEN_REQUEST_URL", &url);
    let child = child.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &format!("{REQUEST_TOKEN}\n"));
    assert_eq!(child.last_word(), "locked");
}

#[test]
fn a_job_that_logs_in_by_a_step_of_its_own_uses_that_login() {
    let tokens = Tokens::default();
    let (storage, github) = (tokens.storage(), github(value));
    let az = Az::new(&gives(&tokens.issue(3600 * SECOND)));
    for missing in ["AZURE_CLIENT_ID", "AZURE_TENANT_ID"] {
        let login = authority(|_| json(500, "{}"));
        let child = in_job(logging_in(locking(&storage), &login), &github);
        assert_eq!(child.env(missing, "").env("PATH", az.path()).last_word(), "locked", "without {missing}");
        assert_eq!((github.connections(), login.connections()), (0, 0));
    }
}

#[test]
fn a_file_of_the_platform_s_comes_first() {
    let tokens = Tokens::default();
    let (storage, github) = (tokens.storage(), github(value));
    let login = authority(move |received| {
        assert_eq!(form(&received.request)["client_assertion"], "platform");
        tokens.answer(3600 * SECOND)
    });
    let file = TokenFile::new("platform");
    for said in ["", "prod", "WorkloadIdentityCredential"] {
        let child = in_job(logging_in(locking(&storage), &login), &github).env("AZURE_TOKEN_CREDENTIALS", said);
        assert_eq!(child.env("AZURE_FEDERATED_TOKEN_FILE", file.path()).last_word(), "locked", "{said}");
    }
    assert_eq!(github.connections(), 0);
}

#[test]
fn it_is_a_workload_identity_to_whoever_chooses() {
    let tokens = Tokens::default();
    let (storage, login, github) = (tokens.storage(), once_each(&tokens), github(value));
    let choosing =
        |said: &str| in_job(logging_in(locking(&storage), &login), &github).env("AZURE_TOKEN_CREDENTIALS", said);
    for said in ["WorkloadIdentityCredential", "prod"] {
        assert_eq!(choosing(said).last_word(), "locked", "{said}");
    }
    let said = choosing("WorkloadIdentityCredential").env("AZURE_TENANT_ID", "").last_word();
    assert!(said.starts_with("Credential: ") && said.contains("AZURE_TENANT_ID"), "{said}");
    let said = choosing("EnvironmentCredential").last_word();
    assert!(said.contains("AZURE_CLIENT_SECRET"), "{said}");
    let none = locking(&storage).env("AZURE_TENANT_ID", "t").env("AZURE_CLIENT_ID", "c");
    let said = none.env("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential").last_word();
    for name in ["AZURE_FEDERATED_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL"] {
        assert!(said.starts_with("Credential: ") && said.contains(name), "{name}: {said}");
    }
}

#[test]
fn what_github_refuses_is_told_without_the_secret() {
    let storage = Peer::start(|_| answer(500, &[]));
    let login = authority(|_| json(500, "{}"));
    let cases: [(&str, u16, String, &str); 6] = [
        ("a refusal", 401, format!(r#"{{"message":"Bad token {REQUEST_TOKEN}"}}"#), "Credential: "),
        ("no permission", 403, r#"{"message":"Resource not accessible by integration"}"#.into(), "Credential: "),
        ("trouble", 503, r#"{"message":"later"}"#.into(), "Unavailable: "),
        ("a page", 200, "<html>".into(), "Unavailable: "),
        ("no value", 200, r#"{"count":1}"#.into(), "Unavailable: "),
        ("an empty value", 200, r#"{"value":" "}"#.into(), "Unavailable: "),
    ];
    for (name, status, body, kind) in cases {
        let github = github(move |_| json(status, &body));
        let child = in_job(logging_in(locking(&storage), &login), &github);
        let said = child.env("AZMUTEX_TEST_HASTE", "1").last_word();
        assert!(said.starts_with(kind) && said.contains("of GitHub Actions"), "{name}: {said}");
        assert!(said.contains(&github.url()) && !said.contains("Kn0wnToNone"), "{name}: {said}");
    }
    assert_eq!((storage.connections(), login.connections()), (0, 0));
}

#[test]
fn what_entra_refuses_of_it_is_told_without_the_assertion() {
    let (storage, github) = (Peer::start(|_| answer(500, &[])), github(value));
    let login = authority(|_| {
        refusal(400, "invalid_request", 70_021, "No matching federated identity: ey.Kn0wnToNone-assertion-0.x")
    });
    let said = in_job(logging_in(locking(&storage), &login), &github).last_word();
    assert!(said.starts_with("Credential: ") && said.contains("AADSTS70021"), "{said}");
    assert!(!said.contains("Kn0wnToNone"), "{said}");
}

#[test]
fn its_secret_goes_nowhere_without_tls() {
    let storage = Peer::start(|_| answer(500, &[]));
    let login = authority(|_| json(500, "{}"));
    for url in ["http://10.0.0.1/x?api-version=2.0", "http://actions.test/x", "ftp://127.0.0.1/x", "x", "https://a b/"]
    {
        let child = logging_in(locking(&storage), &login).env("ACTIONS_ID_TOKEN_REQUEST_URL", url);
        let said = child.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN).last_word();
        assert!(said.starts_with("InvalidInput: ") && said.contains("ACTIONS_ID_TOKEN_REQUEST_URL"), "{url}: {said}");
    }
}
