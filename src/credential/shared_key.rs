//! [Authorize with Shared Key](https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::names;
use crate::redact::Secret;
use crate::transport::Request;

/// The headers whose values are signed without their names, in the order of the reference.
pub(crate) const STANDARD_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

pub(super) struct SharedKey {
    account: String,
    mac: Hmac<Sha256>,
}

impl SharedKey {
    pub(super) fn new(account: &str, key: &str) -> Result<SharedKey> {
        names::check_account(account)?;
        let bytes = STANDARD.decode(key.trim()).ok().filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes.map(Zeroizing::new) else {
            return Err(Error::input(format!(
                "the key of account {account:?} is not base64; copy it whole from the account's access keys"
            )));
        };
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| Error::input("the account's key has a wrong length"))?;
        Ok(SharedKey { account: account.to_owned(), mac })
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn sign(&self, request: &mut Request<'_>) -> Secret {
        let mut mac = self.mac.clone();
        say_what_is_signed(&self.account, request, |piece| mac.update(piece.as_bytes()));
        let signature = Secret::new(STANDARD.encode(mac.finalize().into_bytes()));
        let authorization = format!("SharedKey {}:{}", self.account, signature.reveal());
        request.headers.push(("authorization", authorization.into()));
        signature
    }
}

/// The text that the service will make of the request, too. The path goes in as it is sent, percent-encoded; the
/// query's values go in decoded. An empty body's length is an empty line.
#[cfg(any(test, fuzzing))]
pub(crate) fn string_to_sign(account: &str, request: &Request<'_>) -> String {
    let mut text = String::new();
    say_what_is_signed(account, request, |piece| text.push_str(piece));
    text
}

/// That text, piece by piece.
fn say_what_is_signed(account: &str, request: &Request<'_>, mut say: impl FnMut(&str)) {
    let header = |name: &str| request.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| &**value);
    say(request.method.name());
    say("\n");
    for name in STANDARD_HEADERS {
        say(header(name).unwrap_or_default());
        say("\n");
    }

    let named = request.headers.iter().map(|(name, value)| (*name, &**value));
    let metadata = request.metadata.iter().map(|(name, value)| (&**name, &**value));
    let mut own = Vec::with_capacity(request.headers.len() + request.metadata.len());
    own.extend(named.chain(metadata).filter(|(name, _)| name.starts_with("x-ms-")));
    own.sort_unstable_by(|(one, _), (other, _)| as_signed(one).cmp(as_signed(other)).then_with(|| one.cmp(other)));
    for (name, value) in own {
        [name, ":", value.trim(), "\n"].into_iter().for_each(&mut say);
    }

    ["/", account, request.path].into_iter().for_each(&mut say);
    let pairs = request.query.split('&').filter(|pair| !pair.is_empty());
    let mut parameters: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    parameters.sort_unstable();
    for (name, value) in parameters {
        let value = percent_decode_str(value).decode_utf8_lossy();
        ["\n", &name.to_ascii_lowercase(), ":", &value].into_iter().for_each(&mut say);
    }
}

/// By what the service puts the names in order: as in a language, hyphens do not count at first, and `_` comes before
/// digits.
fn as_signed(name: &str) -> impl Iterator<Item = u8> {
    let letters = name.bytes().filter(|byte| *byte != b'-');
    letters.map(|byte| if byte == b'_' { 0 } else { byte })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Method;

    /// The emulator's well-known account. The expected signatures below were made by another implementation, and
    /// accepted by a server.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    const A: &str = "11111111-2222-3333-4444-555555555555";

    fn signature(method: Method, path: &str, query: &'static str, headers: &[(&'static str, &str)]) -> String {
        let mut all = vec![("x-ms-date", "Mon, 01 Jan 2024 00:00:00 GMT"), ("x-ms-version", "2021-12-02")];
        all.extend_from_slice(headers);
        let headers = all.into_iter().map(|(name, value)| (name, value.to_owned().into())).collect();
        let mut request = Request::new(method, "", path, query, headers);
        let signature = SharedKey::new(ACCOUNT, KEY).unwrap().sign(&mut request).reveal().to_owned();
        assert_eq!(request.headers.pop(), Some(("authorization", format!("SharedKey {ACCOUNT}:{signature}").into())));
        signature
    }

    fn put(path: &str, query: &'static str, headers: &[(&'static str, &str)]) -> String {
        signature(Method::Put, &format!("/devstoreaccount1{path}"), query, headers)
    }

    #[test]
    fn signatures_are_those_of_another_implementation() {
        let create = [("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")];
        let acquire = |seconds| {
            [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", seconds), ("x-ms-proposed-lease-id", A)]
        };
        let renew = [("x-ms-lease-action", "renew"), ("x-ms-lease-id", A)];
        let release = [("x-ms-lease-action", "release"), ("x-ms-lease-id", A)];
        let metadata = [("x-ms-lease-id", A), ("x-ms-meta-owner", "host-1 (pid 42)"), ("x-ms-meta-token", "7")];
        let body = [("x-ms-blob-type", "BlockBlob"), ("content-type", "text/plain"), ("content-length", "5")];
        let vectors = [
            ("V1", put("/locks", "restype=container", &[]), "67NlkqP4fiAHf2gUIRjek2A3r0np8NxOk1C8sMPdJmk="),
            ("V2", put("/locks/job-a", "", &create), "zvYMXN1WXGrlRaQnbzU+z6vQKxFjVhM/vYGNgAWI7o4="),
            ("V3", put("/locks/job-a", "comp=lease", &acquire("15")), "YS3DjpIp/yb0irsKGvjSLWTKU7wdTmlmpW1cMxlZhmc="),
            ("V4", put("/locks/job-a", "comp=lease", &renew), "JnufV4v7tb/+nMzIg6uryAIc2lCv40l8kLTMQ1ZZSQA="),
            (
                "V5",
                signature(Method::Head, "/devstoreaccount1/locks/job-a", "", &[]),
                "gllahEb5MkpA00R2c/L8GKQ8wA75ECcAiOPj7y5zB7s=",
            ),
            ("V6", put("/locks/job-a", "comp=metadata", &metadata), "tXN4lFpcqGLtfBStsOeKvZBVpnXj0EBvbA8abna6Th4="),
            ("V7", put("/locks/body", "", &body), "HcPr6CtRmcWNGF6yfXL4+br/yBLgiy+pdllmFviO5cU="),
            (
                "V8",
                put("/locks/team%20a/r%C3%A9sum%C3%A9%3F%25%2B", "", &create),
                "I6c1xU15/iQKeUXAMKZpTg6uvzx1FL6c4qKHcM/96Ow=",
            ),
            ("V9", put("/locks/job-a", "comp=lease", &release), "82Bb0V1/PWTbxS2x6zh4Urz2XS3vu1Tkl+eEbDWh11g="),
            (
                "V11",
                put("/locks/job-a", "comp=lease&timeout=5", &acquire("60")),
                "PhcbHqst2P57HLaGHMcmeoMjKNJuXzu5NzEtCHfLAn0=",
            ),
            (
                "V12",
                signature(Method::Put, "/locks/job-a", "comp=lease", &acquire("15")),
                "KDIV7B8ncLrn+04LMQhTkWHworte1MPkJnRi5Ms4/bs=",
            ),
        ];
        for (name, ours, theirs) in vectors {
            assert_eq!(ours, theirs, "{name}");
        }
    }

    #[test]
    fn parameters_are_sorted_and_decoded() {
        let request = Request::new(Method::Put, "", "/c/b", "b=2%2C3&A=%20x", Vec::new());
        assert!(string_to_sign("me", &request).ends_with("/me/c/b\na: x\nb:2,3"));
    }

    #[test]
    fn a_key_says_whose_it_is() {
        assert_eq!(SharedKey::new("me", "AAAA").unwrap().account(), "me");
    }

    #[test]
    fn a_bad_key_is_refused_without_being_shown() {
        let error = SharedKey::new("me", "not base64!").err().unwrap();
        assert!(!format!("{error:?}").contains("not base64!"));
        assert!(SharedKey::new("me", "").is_err());
        assert!(SharedKey::new("Me", "AAAA").is_err());
        assert!(SharedKey::new("", "AAAA").is_err());
    }
}
