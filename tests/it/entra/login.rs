//! Entra ID's token endpoint: service principals and workload identities.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use azmutex::credential::Credential;
use azmutex::credential::entra::{ServicePrincipal, TokenError, WorkloadIdentity};
use azmutex::retry::Policy;
use azmutex::{Error, ErrorKind};

use super::{
    CLIENT, LEASE, MS, SECOND, SECRET, TENANT, Tokens, authority, by_secret, container, form, json, mutex, refusal,
};
use crate::hostile::nobody;
use crate::service::{well, within};
use crate::support::peer::{Peer, Received, Reply, answer};
use crate::support::{prints, unique};

/// A file of this test alone, which goes with it.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    pub(crate) fn new(text: &str) -> TokenFile {
        let file = TokenFile(std::env::temp_dir().join(unique("token")));
        file.write(text);
        file
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn by_file(authority: &Peer, file: &TokenFile) -> Credential {
    WorkloadIdentity::new(TENANT, CLIENT, &file.0).authority(&authority.url()).build().unwrap()
}

/// A token endpoint that has no time for more than one try, and what is said of it.
fn error_of(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Error {
    let storage = Peer::start(well);
    let login = authority(answer);
    let policy = Policy::default().attempt_limit(SECOND).retries(0);
    let mutex = container(&storage, by_secret(&login), policy).mutex("job").unwrap();
    let error = within(5 * SECOND, "acquire", move || mutex.acquire(LEASE)).unwrap_err();
    assert!(storage.received().is_empty(), "{error:?}");
    error
}

#[test]
fn a_service_principal_by_its_secret() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |received| {
        let form = form(&received.request);
        assert_eq!(form["client_secret"], SECRET);
        assert_eq!(form.len(), 4);
        tokens.answer(3600 * SECOND)
    });
    let _lease = mutex(&storage, by_secret(&login)).acquire(LEASE).unwrap();
    assert_eq!(login.received().len(), 1);
}

#[test]
fn a_service_principal_by_an_assertion_made_for_each_token() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let login = authority(move |received| {
        let form = form(&received.request);
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(form["client_assertion"], format!("signed.{}", received.number));
        assert_eq!(form.len(), 5);
        source.answer(3600 * SECOND)
    });
    let made = AtomicUsize::new(0);
    let sign = move || Ok(format!("signed.{}", made.fetch_add(1, Ordering::Relaxed)));
    let principal = ServicePrincipal::assertion(TENANT, CLIENT, sign).authority(&login.url());
    let mutex = mutex(&storage, principal.build().unwrap());
    let mut lease = mutex.acquire(LEASE).unwrap();
    tokens.revoke_all();
    mutex.renew(&mut lease).unwrap();
    assert_eq!(login.received().len(), 2);
}

#[test]
fn an_assertion_that_cannot_be_made_is_told() {
    let storage = Peer::start(well);
    let credential =
        Credential::client_assertion(TENANT, CLIENT, || Err(TokenError::definite("the key is locked away")));
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    {
        let error = mutex(&storage, credential.unwrap()).acquire(LEASE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential);
        assert!(error.to_string().ends_with("the key is locked away"), "{error}");
    }
    #[cfg(not(any(feature = "rustls", feature = "platform-verifier")))]
    assert_eq!(credential.unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(storage);
}

#[test]
fn a_workload_identity_s_file_is_read_for_each_token() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let login = authority(move |received| {
        assert_eq!(form(&received.request)["client_assertion"], format!("platform.{}", received.number));
        source.answer(3600 * SECOND)
    });
    let file = TokenFile::new("platform.0");
    let mutex = mutex(&storage, by_file(&login, &file));
    let mut lease = mutex.acquire(LEASE).unwrap();
    file.write("platform.1\n");
    tokens.revoke_all();
    mutex.renew(&mut lease).unwrap();
    assert_eq!(login.received().len(), 2);
}

#[test]
fn a_workload_identity_without_its_file_is_told_so() {
    let storage = Peer::start(well);
    let login = authority(|_| json(200, "{}"));
    let file = TokenFile::new(" \n");
    let mutex = mutex(&storage, by_file(&login, &file));
    let error = mutex.acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it may be about to be written: {error:?}");
    let path = file.path().to_owned();
    assert!(error.to_string().contains(&path), "{error}");
    drop(file);
    // The failure is remembered for a little while.
    let end = Instant::now() + 20 * SECOND;
    loop {
        let error = mutex.acquire(LEASE).unwrap_err();
        if error.kind() == ErrorKind::Credential {
            assert!(error.to_string().contains(&path), "{error}");
            break;
        }
        assert!(Instant::now() < end, "{error:?}");
    }
    assert!(login.received().is_empty());
}

#[test]
fn documented_refusals() {
    let cases = [
        (400, "invalid_request", 90_002, ErrorKind::Credential),
        (400, "unauthorized_client", 700_016, ErrorKind::Credential),
        (401, "invalid_client", 7_000_215, ErrorKind::Credential),
        (401, "invalid_client", 700_024, ErrorKind::Credential),
        (400, "invalid_scope", 70_011, ErrorKind::Credential),
        (429, "temporarily_unavailable", 90_055, ErrorKind::Unavailable),
        (400, "temporarily_unavailable", 90_033, ErrorKind::Unavailable),
        (503, "service_unavailable", 90_033, ErrorKind::Unavailable),
        (504, "server_error", 90_012, ErrorKind::Unavailable),
    ];
    for (status, error, number, kind) in cases {
        let told = error_of(move |_| refusal(status, error, number, "The text."));
        assert_eq!(told.kind(), kind, "{told:?}");
        for word in [&format!("AADSTS{number}"), error, &status.to_string()] {
            assert!(told.to_string().contains(word), "{word}: {told}");
        }
    }
}

#[test]
fn retry_after_is_honoured() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |received| match received.number {
        0 => answer(429, &[("retry-after", "2")]),
        _ => tokens.answer(3600 * SECOND),
    });
    let _lease = mutex(&storage, by_secret(&login)).acquire(LEASE).unwrap();
    let received = login.received();
    assert!(received[1].at - received[0].at >= 2 * SECOND, "{:?}", received[1].at - received[0].at);
}

type Answer = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

/// Whatever answers there, a lock is told in time, in few words, and without the secret.
#[test]
fn hostile_endpoints() {
    let head = |status: u16| format!("HTTP/1.1 {status} \r\ncontent-type: application/json\r\n");
    let endless = |head: String, chunk: &[u8]| Reply::Endless { head: head.into_bytes(), chunk: chunk.to_vec() };
    let mirror = |status| {
        move |received: &Received| {
            let body = String::from_utf8(received.request.body.clone()).unwrap();
            json(status, &format!(r#"{{"error":"{SECRET}","error_description":"{SECRET} {body}"}}"#))
        }
    };
    let cases: Vec<(&str, Answer)> = vec![
        ("silence", Box::new(|_| Reply::Hang)),
        ("a trickle", Box::new(|_| Reply::Trickle { bytes: vec![b'H'; 10_000], every: 20 * MS })),
        ("an endless body", Box::new(move |_| endless(format!("{}\r\n", head(200)), &[b'{'; 4096]))),
        ("an endless head", Box::new(move |_| endless(head(200), b"x-a: b\r\n"))),
        ("nested", Box::new(|_| json(200, &"[".repeat(60_000)))),
        ("a large body", Box::new(|_| json(200, &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(1_000_000))))),
        (
            "a long token",
            Box::new(|_| json(200, &format!(r#"{{"expires_in":9,"access_token":"{}"}}"#, "x".repeat(20_000)))),
        ),
        ("a header in it", Box::new(|_| json(200, r#"{"expires_in":9,"access_token":"a\r\nx-ms-evil: b"}"#))),
        ("no life", Box::new(|_| json(200, r#"{"expires_in":0,"access_token":"a"}"#))),
        ("a page", Box::new(|_| json(403, "<html>Blocked</html>"))),
        ("another success", Box::new(|_| json(201, r#"{"expires_in":9,"access_token":"a"}"#))),
        ("no HTTP", Box::new(|_| Reply::Raw(b"220 mail.test ESMTP\r\n".to_vec()))),
        ("a mirror", Box::new(mirror(400))),
        ("a mirror that is down", Box::new(mirror(500))),
    ];
    for (name, answer) in cases {
        let error = error_of(answer);
        let text = prints(&error);
        assert!(!text.contains(SECRET) && !text.contains("Kn0wnToNone"), "{name}: {text}");
        assert!(text.len() < 4_000 && text.chars().all(|c| c == '\n' || !c.is_control()), "{name}: {text:?}");
        let kind = if matches!(name, "a mirror" | "a long token" | "a header in it") {
            ErrorKind::Credential
        } else {
            ErrorKind::Unavailable
        };
        assert_eq!(error.kind(), kind, "{name}: {error:?}");
    }
}

#[test]
fn a_redirect_takes_no_secret_along() {
    let elsewhere = Peer::start(|_| answer(200, &[]));
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/{TENANT}/oauth2/v2.0/token", elsewhere.url());
        let error = error_of(move |_| answer(status, &[("location", &target)]));
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(!error.to_string().contains(&elsewhere.url()), "{error}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn an_endpoint_that_is_not_there() {
    let storage = Peer::start(well);
    let (_socket, port) = nobody();
    let credential = ServicePrincipal::secret(TENANT, CLIENT, SECRET).authority(&format!("http://127.0.0.1:{port}"));
    let error = mutex(&storage, credential.build().unwrap()).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("nothing listens"), "{error}");
    assert!(std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("refused")), "{error:?}");
}

#[test]
fn settings_are_checked_and_not_shown() {
    let build = |authority: &str| ServicePrincipal::secret(TENANT, CLIENT, SECRET).authority(authority).build();
    assert_eq!(build("http://login.test").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(ServicePrincipal::secret(TENANT, CLIENT, "").build().unwrap_err().kind(), ErrorKind::InvalidInput);
    let principal = ServicePrincipal::secret(TENANT, CLIENT, SECRET);
    let texts = [format!("{principal:?}"), format!("{:?}", build("http://127.0.0.1:1").unwrap())];
    for text in texts {
        assert!(text.contains(CLIENT) && !text.contains("Kn0wnToNone"), "{text}");
    }
}
