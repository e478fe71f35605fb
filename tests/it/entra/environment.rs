//! What the environment says is done, and nothing is asked that it does not name.

use azmutex::container::Builder;
use azmutex::preflight::Subject;
use azmutex::retry::Policy;

use super::child::tell;
use super::cli::{Az, gives};
use super::{CLIENT, LEASE, SECOND, SECRET, TENANT, Tokens, authority, eager, form, json};
use crate::support::peer::{Peer, answer};
use crate::support::process::{Again, again, say, variable};

/// Not a test of its own, but what the other process does: takes the lock with what its environment says.
#[test]
fn child() {
    if variable("AZMUTEX_TEST_FROM_ENV").is_none() {
        return;
    }
    let container = Builder::from_env("locks").and_then(|builder| builder.retry(policy()).build());
    if variable("AZMUTEX_TEST_PREFLIGHT").is_some() {
        let preflight = container.unwrap().locker("job").unwrap().preflight();
        return say(preflight.check(Subject::Credential).unwrap().sentence());
    }
    tell(container.and_then(|container| container.mutex("job")?.acquire(LEASE)).map(drop));
}

/// Hasty, if the test is one of failures.
fn policy() -> Policy {
    if variable("AZMUTEX_TEST_HASTE").is_some() { eager().retries(1).attempt_limit(SECOND) } else { eager() }
}

pub(super) fn locking(storage: &Peer) -> Again {
    again(child)
        .without_credentials()
        .env("AZMUTEX_TEST_FROM_ENV", "1")
        .env("AZURE_STORAGE_SERVICE_ENDPOINT", &format!("{}/acct", storage.url()))
        .env("PATH", "")
}

pub(super) fn logging_in(child: Again, authority: &Peer) -> Again {
    let host = format!("{}/", authority.url());
    child.env("AZURE_TENANT_ID", TENANT).env("AZURE_CLIENT_ID", CLIENT).env("AZURE_AUTHORITY_HOST", &host)
}

#[test]
fn a_service_principal() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |received| {
        assert_eq!(form(&received.request)["client_secret"], SECRET);
        tokens.answer(3600 * SECOND)
    });
    assert_eq!(logging_in(locking(&storage), &login).env("AZURE_CLIENT_SECRET", SECRET).last_word(), "locked");
}

#[test]
fn what_is_around_a_secret_or_a_url_is_no_part_of_it() {
    for (before, after) in [("", "\n"), (" ", "\r\n"), ("\t", " "), ("\u{feff}", "")] {
        let around = |text: &str| format!("{before}{text}{after}");
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let source = tokens.clone();
        let login = authority(move |received| {
            assert_eq!(form(&received.request)["client_secret"], SECRET);
            source.answer(3600 * SECOND)
        });
        let child = locking(&storage)
            .env("AZURE_STORAGE_SERVICE_ENDPOINT", &around(&format!("{}/acct", storage.url())))
            .env("AZURE_TENANT_ID", &around(TENANT))
            .env("AZURE_CLIENT_ID", &around(CLIENT))
            .env("AZURE_AUTHORITY_HOST", &around(&login.url()));
        assert_eq!(child.env("AZURE_CLIENT_SECRET", &around(SECRET)).last_word(), "locked", "{before:?} {after:?}");

        let source = tokens.clone();
        let app = Peer::start(move |received| {
            assert_eq!(received.request.header("x-identity-header"), Some("853b9a84"));
            assert_eq!(received.request.path(), "/msi/token");
            source.answer(3600 * SECOND)
        });
        let child = locking(&storage).env("IDENTITY_HEADER", &around("853b9a84"));
        let child = child.env("IDENTITY_ENDPOINT", &around(&format!("{}/msi/token", app.url())));
        // White space alone is nothing.
        assert_eq!(child.env("AZURE_CLIENT_SECRET", &around(" ")).last_word(), "locked", "{before:?} {after:?}");

        let login = authority(move |received| {
            assert_eq!(form(&received.request)["client_assertion"], "platform");
            tokens.answer(3600 * SECOND)
        });
        let file = super::login::TokenFile::new(&around("platform"));
        let child = logging_in(locking(&storage), &login);
        let path = format!("{}{}", file.path(), after.trim_matches(' '));
        assert_eq!(child.env("AZURE_FEDERATED_TOKEN_FILE", &path).last_word(), "locked", "{before:?} {after:?}");
    }
}

#[test]
fn platforms_whose_identities_cannot_be_used_are_named_beside_what_was_looked_for() {
    let storage = Peer::start(|_| answer(500, &[]));
    let old: &[_] = &[("MSI_ENDPOINT", "http://127.0.0.1:41741/msi/token/"), ("MSI_SECRET", "s3cret")];
    let arc: &[_] = &[
        ("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token"),
        ("IMDS_ENDPOINT", "http://localhost:40342"),
    ];
    let fabric: &[_] = &[
        ("IDENTITY_ENDPOINT", "https://10.0.0.1:2377/metadata/identity/oauth2/token"),
        ("IDENTITY_HEADER", "s3cret"),
        ("IDENTITY_SERVER_THUMBPRINT", "ab"),
    ];
    let cases = [
        (old, &["MSI_ENDPOINT", "old App Service"][..]),
        (arc, &["IDENTITY_ENDPOINT without IDENTITY_HEADER", "Azure Arc"]),
        (fabric, &["IDENTITY_SERVER_THUMBPRINT", "Service Fabric"]),
    ];
    for (variables, words) in cases {
        let with = |child: Again| variables.iter().fold(child, |child, (name, value)| child.env(name, value));
        let said = with(locking(&storage)).last_word();
        for word in words.iter().chain(&["AZURE_STORAGE_KEY", "AZURE_CLIENT_CERTIFICATE_PATH", "`az`"]) {
            assert!(said.starts_with("Credential: ") && said.contains(word), "{word}: {said}");
        }
        for meant in ["ManagedIdentityCredential", "prod"] {
            let said = with(locking(&storage)).env("AZURE_TOKEN_CREDENTIALS", meant).last_word();
            for word in words {
                assert!(said.starts_with("Credential: ") && said.contains(word), "{word}: {said}");
            }
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
    // Where they are no hindrance, they are none.
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let az = Az::new(&gives(&tokens.issue(3600 * SECOND)));
    for variables in [old, arc] {
        let with = |child: Again| variables.iter().fold(child, |child, (name, value)| child.env(name, value));
        assert_eq!(with(locking(&storage)).env("PATH", az.path()).last_word(), "locked");
    }
}

#[test]
fn a_preflight_tells_which_identity_it_is() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |_| tokens.answer(3600 * SECOND));
    let github = Peer::start(|_| json(200, r#"{"value":"ey.J.x"}"#));
    let file = super::login::TokenFile::new(&super::certificate::in_one_file());
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("AZURE_CLIENT_SECRET", SECRET)], "the service principal CLIENT at"),
        (&[("AZURE_CLIENT_CERTIFICATE_PATH", file.path())], "the service principal CLIENT with its certificate at"),
        (&[("AZURE_FEDERATED_TOKEN_FILE", file.path())], "the workload identity CLIENT at"),
        (
            &[("ACTIONS_ID_TOKEN_REQUEST_URL", &github.url()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ey")],
            "the workload identity CLIENT of GitHub Actions at",
        ),
    ];
    for (variables, name) in cases {
        let child = logging_in(locking(&storage), &login).env("AZMUTEX_TEST_PREFLIGHT", "1");
        let said = variables.iter().fold(child, |child, (name, value)| child.env(name, value)).last_word();
        let name = name.replace("CLIENT", CLIENT);
        assert!(said.contains(&name) && said.contains("which the service accepts"), "{name}: {said}");
    }
}

#[test]
fn a_workload_identity() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |received| {
        assert_eq!(form(&received.request)["client_assertion"], "platform");
        tokens.answer(3600 * SECOND)
    });
    let file = super::login::TokenFile::new("platform");
    let child = logging_in(locking(&storage), &login);
    assert_eq!(child.env("AZURE_FEDERATED_TOKEN_FILE", file.path()).last_word(), "locked");
}

#[test]
fn the_identity_of_an_app_with_several() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let app = Peer::start(move |received| {
        assert_eq!(received.request.query("client_id").as_deref(), Some(CLIENT));
        tokens.answer(3600 * SECOND)
    });
    let child = locking(&storage).env("IDENTITY_ENDPOINT", &app.url()).env("IDENTITY_HEADER", "x");
    assert_eq!(child.env("AZURE_CLIENT_ID", CLIENT).last_word(), "locked");
}

#[test]
fn whoever_is_logged_in_to_the_cli() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let az = Az::new(&gives(&tokens.issue(3600 * SECOND)));
    assert_eq!(locking(&storage).env("PATH", az.path()).last_word(), "locked");
}

#[test]
fn what_is_meant_is_taken_and_the_rest_left_alone() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let az = Az::new("exit 1");
    let login = authority(|_| json(500, "{}"));
    let metadata = Peer::start(move |_| tokens.answer(3600 * SECOND));
    let child = logging_in(locking(&storage), &login)
        .env("AZURE_CLIENT_SECRET", SECRET)
        .env("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url())
        .env("PATH", az.path());
    assert_eq!(child.last_word(), "locked");
    assert_eq!((login.connections(), metadata.received().len()), (0, 1));
}

#[test]
fn nothing_is_probed() {
    let storage = Peer::start(|_| answer(500, &[]));
    let before = std::time::Instant::now();
    let said = locking(&storage).last_word();
    assert!(before.elapsed() < 5 * SECOND, "{:?}", before.elapsed());
    assert!(said.starts_with("Credential: "), "{said}");
    for name in ["AZURE_STORAGE_KEY", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "`az`"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert_eq!(storage.connections(), 0);
}
