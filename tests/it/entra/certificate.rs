//! A service principal that proves itself with a certificate. The files are of OpenSSL's making, and so are the
//! thumbprints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use super::cli::Az;
use super::environment::{locking, logging_in};
use super::login::TokenFile;
use super::{CLIENT, SECOND, SECRET, TENANT, Tokens, authority, form, json};
use crate::support::http::Request;
use crate::support::peer::{Peer, answer};

const CERTIFICATE: &str = include_str!("certificate/cert.pem");
pub(crate) const PKCS8: &str = include_str!("certificate/pkcs8.pem");
const PKCS1: &str = include_str!("certificate/pkcs1.pem");
const PUBLIC: &[u8] = include_bytes!("certificate/public.der");
const SHA256: &str = "TeUBq7nCZsRmXIXO8gDjPXzPIVQ9dwmAQtLhs_PJi0U";
const SHA1: &str = "jFpRZkk5MJwc7TwvKyGWBR6Bjco";
/// Of another key, and of another kind.
const OTHER_CERTIFICATE: &str = include_str!("../support/tls/cert.pem");
const OTHER_KEY: &str = include_str!("../support/tls/key.pem");

pub(crate) fn in_one_file() -> String {
    format!("{CERTIFICATE}{PKCS8}")
}

/// The claims of the assertion in a request to `url`, if it is as it should be.
fn claims(request: &Request, url: &str) -> Value {
    let form = form(request);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(!form.contains_key("client_secret"));
    let (signed, signature) = form["client_assertion"].rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC).verify(signed.as_bytes(), &signature).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (header, claims) = (read(header), read(claims));
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT", "x5t": SHA1, "x5t#S256": SHA256}));
    assert_eq!(claims["aud"], format!("{url}/{TENANT}/oauth2/v2.0/token"));
    assert_eq!((&claims["iss"], &claims["sub"]), (&CLIENT.into(), &CLIENT.into()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (begin, end) = (claims["nbf"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(begin <= now && begin + 30 > now && end == begin + 600, "{claims}");
    claims
}

#[test]
fn a_certificate_and_its_key_in_one_file() {
    let key_first = format!("Bag Attributes\r\n    friendlyName: é\r\n{PKCS8}\r\n{CERTIFICATE}").replace('\n', "\r\n");
    let files = [
        in_one_file(),
        format!("{CERTIFICATE}{PKCS1}"),
        key_first,
        format!("\u{feff}  \n{OTHER_CERTIFICATE}{CERTIFICATE}{PKCS8}"),
    ];
    let mut ids = std::collections::HashSet::new();
    for text in &files {
        let tokens = Tokens::default();
        let storage = tokens.storage();
        let login = authority(move |_| tokens.answer(3600 * SECOND));
        let file = TokenFile::new(text);
        // Before what else there is.
        let az = Az::new("exit 1");
        let child = logging_in(locking(&storage), &login).env("PATH", az.path());
        let child = child.env("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent");
        assert_eq!(child.env("AZURE_CLIENT_CERTIFICATE_PATH", file.path()).last_word(), "locked", "{text}");
        let received = login.received();
        assert_eq!(received.len(), 1);
        ids.insert(claims(&received[0].request, &login.url())["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), files.len(), "each assertion is good once");
}

#[test]
fn a_secret_comes_first() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let login = authority(move |received| {
        assert_eq!(form(&received.request)["client_secret"], SECRET);
        tokens.answer(3600 * SECOND)
    });
    let file = TokenFile::new(&in_one_file());
    let child = logging_in(locking(&storage), &login).env("AZURE_CLIENT_SECRET", SECRET);
    assert_eq!(child.env("AZURE_CLIENT_CERTIFICATE_PATH", file.path()).last_word(), "locked");
}

/// It is not passed over for another identity that is there as well.
#[test]
fn what_cannot_be_used_is_named_and_nobody_else_is_asked() {
    let good = in_one_file();
    let encrypted = good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let header = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n";
    let old = format!("{CERTIFICATE}{}", PKCS1.replace("-----BEGIN RSA PRIVATE KEY-----", header));
    let cut = &good[..good.len() - 60];
    let cases = [
        ("\u{1}0\u{82}\u{9}\u{c5}\u{2}\u{1}\u{3}0", "PFX"),
        ("", "PFX"),
        (&*encrypted, "encrypted"),
        (&old, "encrypted"),
        (CERTIFICATE, "no private key"),
        (PKCS8, "no certificate"),
        (&format!("{OTHER_CERTIFICATE}{PKCS8}"), "another key"),
        (&format!("{OTHER_CERTIFICATE}{OTHER_KEY}"), "RSA"),
        (&format!("{good}{OTHER_KEY}"), "two private keys"),
        (&good.replace('M', "~"), "base64"),
        (cut, "END"),
    ];
    let storage = Peer::start(|_| answer(500, &[]));
    let login = authority(|_| json(500, "{}"));
    let az = Az::new("echo here >> runs; exit 1");
    let last_word = |path: &str, more: &[(&str, &str)]| {
        let child = logging_in(locking(&storage), &login).env("PATH", az.path());
        let child = child.env("AZURE_FEDERATED_TOKEN_FILE", path).env("AZURE_CLIENT_CERTIFICATE_PATH", path);
        more.iter().fold(child, |child, (name, value)| child.env(name, value)).last_word()
    };
    for (text, word) in cases {
        let file = TokenFile::new(text);
        for secret in ["", SECRET] {
            let said = last_word(file.path(), &[("AZURE_CLIENT_SECRET", secret)]);
            assert!(said.starts_with("Credential: ") && said.contains(word), "{word}: {said}");
            assert!(said.contains("AZURE_CLIENT_CERTIFICATE_PATH") && said.contains(file.path()), "{word}: {said}");
            assert!(text.lines().filter(|line| line.len() > 60).all(|line| !said.contains(line)), "{said}");
        }
    }
    let said = last_word("/nonexistent/certificate.pem", &[]);
    assert!(said.starts_with("Credential: ") && said.contains("/nonexistent/certificate.pem"), "{said}");
    // What should be in the file, and not in its place.
    for content in [&*good, &good.replace('\n', "\\n"), &URL_SAFE_NO_PAD.encode(&good)] {
        let said = last_word("/token", &[("AZURE_CLIENT_CERTIFICATE_PATH", content)]);
        assert!(said.starts_with("Credential: ") && said.contains("AZURE_CLIENT_CERTIFICATE_PATH"), "{said}");
        assert!(said.len() < 500, "{said}");
    }
    let file = TokenFile::new(&good);
    let said = last_word(file.path(), &[("AZURE_CLIENT_CERTIFICATE_PASSWORD", "s3cret")]);
    assert!(said.starts_with("Credential: ") && said.contains("AZURE_CLIENT_CERTIFICATE_PASSWORD"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    for missing in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"] {
        let said = last_word(file.path(), &[(missing, "")]);
        assert!(said.starts_with("Credential: ") && said.contains(missing), "{said}");
    }
    assert_eq!((storage.connections(), login.connections()), (0, 0));
    assert_eq!(az.wrote("runs"), "");
}

#[test]
fn whoever_chooses_another_source_is_not_asked_for_it() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let metadata = Peer::start(move |_| tokens.answer(3600 * SECOND));
    let child = locking(&storage)
        .env("AZURE_CLIENT_CERTIFICATE_PATH", "/nonexistent")
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &metadata.url());
    assert_eq!(child.env("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential").last_word(), "locked");
}

#[test]
fn an_account_s_own_secrets_still_come_first() {
    let storage = Peer::start(|received| {
        assert!(received.request.query("sig").is_some());
        crate::service::well(received)
    });
    let child = locking(&storage).env("AZURE_CLIENT_CERTIFICATE_PATH", "/nonexistent");
    assert_eq!(child.env("AZURE_STORAGE_SAS_TOKEN", "sv=2021-12-02&sr=c&sp=racw&sig=x").last_word(), "locked");
}

/// The names of a user and its password, which other libraries take, and this one does not.
#[test]
fn a_user_s_password_is_refused_and_not_passed_over() {
    let storage = Peer::start(|_| answer(500, &[]));
    let az = Az::new("echo here >> runs; exit 1");
    let child = locking(&storage).env("PATH", az.path()).env("AZURE_CLIENT_ID", CLIENT);
    let said = child.env("AZURE_USERNAME", "me").env("AZURE_PASSWORD", "Kn0wnToNone").last_word();
    assert!(said.starts_with("Credential: ") && said.contains("AZURE_USERNAME"), "{said}");
    assert!(!said.contains("Kn0wnToNone"), "{said}");
    assert_eq!(az.wrote("runs"), "");
}
