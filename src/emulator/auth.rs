//! [Authorize with Shared Key](https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key), the
//! server's side. Written apart from the client's signer, so that the two can disagree.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::address::Address;
use super::code::{Code, Refusal};
use super::http::HttpRequest;

const LARGEST_SKEW: Duration = Duration::from_secs(15 * 60);

/// The account and its key.
pub(crate) struct Account {
    name: String,
    mac: Hmac<Sha256>,
}

impl Account {
    /// `None` if the key is not base64.
    pub(crate) fn new(name: &str, key: &str) -> Option<Account> {
        let key = STANDARD.decode(key).ok().filter(|key| !key.is_empty())?;
        Some(Account { name: name.to_owned(), mac: Hmac::new_from_slice(&key).ok()? })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature`, in base64, is this account's under `text`.
    pub(super) fn signed(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        self.mac.clone().chain_update(text).verify_slice(&signature).is_ok()
    }
}

/// Of a request with this `Authorization` header. `date` is what its sender's clock should show.
pub(super) fn check(
    account: &Account,
    request: &HttpRequest,
    address: &Address,
    authorization: &str,
    date: SystemTime,
) -> Result<(), Refusal> {
    let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if scheme != "SharedKey" {
        return Err(Code::InvalidAuthenticationInfo.into());
    }
    let (name, signature) = value.trim().split_once(':').ok_or(Code::InvalidAuthenticationInfo)?;
    if name != account.name {
        return Err(Refusal::authentication(format!("The account {name:?} is not the one that the request is for.")));
    }

    let sent = request.header("x-ms-date").or_else(|| request.header("date"));
    let Some(sent) = sent.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return Err(Refusal::authentication("The Date header in the request is missing or incorrect."));
    };
    let skew = date.duration_since(sent).unwrap_or_else(|ahead| ahead.duration());
    if skew > LARGEST_SKEW {
        let [sent, now] = [sent, date].map(httpdate::fmt_http_date);
        let detail = format!("Request date header too old: '{sent}', the server's date is '{now}'.");
        return Err(Refusal::authentication(detail));
    }

    let text = string_to_sign(account, request, address);
    if !account.signed(&text, signature) {
        return Err(Refusal::authentication(format!(
            "The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. \
             Server used following string to sign: '{text}'."
        )));
    }
    Ok(())
}

fn string_to_sign(account: &Account, request: &HttpRequest, address: &Address) -> String {
    let header = |name| request.header(name).unwrap_or_default();
    let content_length = Some(header("content-length")).filter(|length| *length != "0").unwrap_or_default();
    let date = if request.header("x-ms-date").is_some() { "" } else { header("date") };
    let mut lines = vec![
        request.method.clone(),
        header("content-encoding").to_owned(),
        header("content-language").to_owned(),
        content_length.to_owned(),
        header("content-md5").to_owned(),
        header("content-type").to_owned(),
        date.to_owned(),
        header("if-modified-since").to_owned(),
        header("if-match").to_owned(),
        header("if-none-match").to_owned(),
        header("if-unmodified-since").to_owned(),
        header("range").to_owned(),
    ];

    let own = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut own: Vec<_> = own.filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort_by(|(one, _), (other, _)| in_order(one, other));
    lines.extend(own.into_iter().map(|(name, value)| format!("{name}:{value}")));

    lines.push(format!("/{}{}", account.name, request.path));
    let mut parameters = address.query.clone();
    parameters.sort();
    parameters.dedup_by(|(name, value), (earlier, values)| {
        let same = name == earlier;
        if same {
            values.push(',');
            values.push_str(value);
        }
        same
    });
    lines.extend(parameters.into_iter().map(|(name, value)| format!("{name}:{value}")));
    lines.join("\n")
}

/// The order of a language, not of bytes: hyphens do not count at first, and `_` comes before digits.
fn in_order(one: &str, other: &str) -> Ordering {
    let weights = |name: &str| -> Vec<u8> {
        name.bytes().filter(|byte| *byte != b'-').map(|byte| if byte == b'_' { b'!' } else { byte }).collect()
    };
    weights(one).cmp(&weights(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The emulators' well-known account. The signatures below were made by another implementation, and accepted by
    /// another server.
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    const DATE: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
    const A: &str = "11111111-2222-3333-4444-555555555555";

    struct Vector {
        name: &'static str,
        method: &'static str,
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
        signature: &'static str,
    }

    const CREATE: [(&str, &str); 3] =
        [("x-ms-blob-type", "BlockBlob"), ("If-None-Match", "*"), ("Content-Length", "0")];
    const ACQUIRE: [(&str, &str); 3] =
        [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "15"), ("x-ms-proposed-lease-id", A)];
    const ACQUIRE_60: [(&str, &str); 3] =
        [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "60"), ("x-ms-proposed-lease-id", A)];

    #[rustfmt::skip]
    const VECTORS: [Vector; 12] = [
        Vector {
            name: "V1", method: "PUT", target: "/devstoreaccount1/locks?restype=container", headers: &[],
            signature: "67NlkqP4fiAHf2gUIRjek2A3r0np8NxOk1C8sMPdJmk=",
        },
        Vector {
            name: "V2", method: "PUT", target: "/devstoreaccount1/locks/job-a", headers: &CREATE,
            signature: "zvYMXN1WXGrlRaQnbzU+z6vQKxFjVhM/vYGNgAWI7o4=",
        },
        Vector {
            name: "V3", method: "PUT", target: "/devstoreaccount1/locks/job-a?comp=lease", headers: &ACQUIRE,
            signature: "YS3DjpIp/yb0irsKGvjSLWTKU7wdTmlmpW1cMxlZhmc=",
        },
        Vector {
            name: "V4", method: "PUT", target: "/devstoreaccount1/locks/job-a?comp=lease",
            headers: &[("x-ms-lease-action", "renew"), ("X-MS-Lease-Id", A)],
            signature: "JnufV4v7tb/+nMzIg6uryAIc2lCv40l8kLTMQ1ZZSQA=",
        },
        Vector {
            name: "V5", method: "HEAD", target: "/devstoreaccount1/locks/job-a", headers: &[],
            signature: "gllahEb5MkpA00R2c/L8GKQ8wA75ECcAiOPj7y5zB7s=",
        },
        Vector {
            name: "V6", method: "PUT", target: "/devstoreaccount1/locks/job-a?comp=metadata",
            headers: &[("x-ms-meta-token", "7"), ("x-ms-lease-id", A), ("x-ms-meta-owner", "host-1 (pid 42)")],
            signature: "tXN4lFpcqGLtfBStsOeKvZBVpnXj0EBvbA8abna6Th4=",
        },
        Vector {
            name: "V7", method: "PUT", target: "/devstoreaccount1/locks/body",
            headers: &[("x-ms-blob-type", "BlockBlob"), ("Content-Type", "text/plain"), ("Content-Length", "5")],
            signature: "HcPr6CtRmcWNGF6yfXL4+br/yBLgiy+pdllmFviO5cU=",
        },
        Vector {
            name: "V8", method: "PUT", target: "/devstoreaccount1/locks/team%20a/r%C3%A9sum%C3%A9%3F%25%2B",
            headers: &CREATE, signature: "I6c1xU15/iQKeUXAMKZpTg6uvzx1FL6c4qKHcM/96Ow=",
        },
        Vector {
            name: "V9", method: "PUT", target: "/devstoreaccount1/locks/job-a?comp=lease",
            headers: &[("x-ms-lease-action", "release"), ("x-ms-lease-id", A)],
            signature: "82Bb0V1/PWTbxS2x6zh4Urz2XS3vu1Tkl+eEbDWh11g=",
        },
        Vector {
            name: "V10", method: "DELETE", target: "/devstoreaccount1/locks/body", headers: &[],
            signature: "iFVZaKqEgpAwIYdFhBpTx/bRQDj6Qtmo7QRZmIx9nPE=",
        },
        Vector {
            name: "V11", method: "PUT", target: "/devstoreaccount1/locks/job-a?timeout=5&comp=lease",
            headers: &ACQUIRE_60, signature: "PhcbHqst2P57HLaGHMcmeoMjKNJuXzu5NzEtCHfLAn0=",
        },
        Vector {
            name: "V12", method: "PUT", target: "/locks/job-a?comp=lease", headers: &ACQUIRE,
            signature: "KDIV7B8ncLrn+04LMQhTkWHworte1MPkJnRi5Ms4/bs=",
        },
    ];

    fn account() -> Account {
        Account::new("devstoreaccount1", KEY).unwrap()
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> (HttpRequest, Address) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = if path.starts_with("/devstoreaccount1/") { "127.0.0.1" } else { "devstoreaccount1.blob.localhost" };
        let mut all = vec![("Host", host), ("x-ms-version", "2021-12-02")];
        all.extend_from_slice(headers);
        if all.iter().all(|(name, _)| *name != "Date") {
            all.push(("x-ms-date", DATE));
        }
        let request = HttpRequest {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: all.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            body: Vec::new(),
            keep_alive: true,
        };
        let address = Address::of(&request).unwrap();
        (request, address)
    }

    fn detail(refusal: Refusal) -> String {
        assert_eq!(refusal.code, Code::AuthenticationFailed);
        refusal.details.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn signatures_of_another_implementation_are_accepted() {
        let date = httpdate::parse_http_date(DATE).unwrap();
        for vector in VECTORS {
            let (request, address) = request(vector.method, vector.target, vector.headers);
            let authorization = format!("SharedKey devstoreaccount1:{}", vector.signature);
            let outcome = check(&account(), &request, &address, &authorization, date);
            assert!(outcome.is_ok(), "{}: {outcome:?}", vector.name);

            let (other, address) = self::request("GET", vector.target, vector.headers);
            let outcome = check(&account(), &other, &address, &authorization, date);
            assert!(outcome.is_err(), "{}: the same signature for another request", vector.name);
        }
    }

    #[test]
    fn a_wrong_signature_is_told_the_string_to_sign() {
        let date = httpdate::parse_http_date(DATE).unwrap();
        let (request, address) = request("HEAD", "/devstoreaccount1/locks/job-a", &[]);
        let refusal = check(&account(), &request, &address, "SharedKey devstoreaccount1:AAAA", date).unwrap_err();
        let text = format!(
            "HEAD{}x-ms-date:{DATE}\nx-ms-version:2021-12-02\n/devstoreaccount1/devstoreaccount1/locks/job-a",
            "\n".repeat(12)
        );
        assert!(detail(refusal).contains(&text));
    }

    #[test]
    fn the_date_may_be_in_its_old_header() {
        let (request, address) = request("GET", "/devstoreaccount1/c/b", &[("Date", DATE)]);
        let text = string_to_sign(&account(), &request, &address);
        assert!(text.starts_with(&format!("GET\n\n\n\n\n\n{DATE}\n\n\n\n\n\nx-ms-version:")), "{text}");
    }

    #[test]
    fn a_clock_may_be_off_by_a_quarter_of_an_hour() {
        let (request, address) = request("HEAD", "/devstoreaccount1/locks/job-a", &[]);
        let at = |date| {
            let signature = "SharedKey devstoreaccount1:gllahEb5MkpA00R2c/L8GKQ8wA75ECcAiOPj7y5zB7s=";
            check(&account(), &request, &address, signature, date)
        };
        let sent = httpdate::parse_http_date(DATE).unwrap();
        assert!(at(sent + LARGEST_SKEW).is_ok() && at(sent - LARGEST_SKEW).is_ok());
        let late = at(sent + LARGEST_SKEW + Duration::from_secs(1)).unwrap_err();
        assert!(detail(late).contains("date header"));
        assert!(at(sent - LARGEST_SKEW - Duration::from_secs(1)).is_err());
    }

    #[test]
    fn what_is_no_shared_key_is_refused() {
        let date = httpdate::parse_http_date(DATE).unwrap();
        let (request, address) = request("HEAD", "/devstoreaccount1/locks/job-a", &[]);
        for (authorization, code) in [
            ("", Code::InvalidAuthenticationInfo),
            ("SharedKey", Code::InvalidAuthenticationInfo),
            ("SharedKey devstoreaccount1", Code::InvalidAuthenticationInfo),
            ("Basic eHg6eHg=", Code::InvalidAuthenticationInfo),
            ("SharedKey other:AAAA", Code::AuthenticationFailed),
            ("SharedKey devstoreaccount1:not base64", Code::AuthenticationFailed),
        ] {
            let refusal = check(&account(), &request, &address, authorization, date).unwrap_err();
            assert_eq!(refusal.code, code, "{authorization}");
        }
    }

    #[test]
    fn several_values_of_one_parameter_are_joined() {
        let (request, address) = request("GET", "/devstoreaccount1/c?include=b&comp=list&include=a", &[]);
        assert!(string_to_sign(&account(), &request, &address).ends_with("/c\ncomp:list\ninclude:a,b"));
    }

    #[test]
    fn headers_are_in_the_order_of_a_language() {
        let mut names = ["x-ms-meta-a1", "x-ms-meta-aa", "x-ms-meta-a_", "x-ms-meta-a", "x-ms-lease-id"];
        names.sort_by(|one, other| in_order(one, other));
        assert_eq!(names, ["x-ms-lease-id", "x-ms-meta-a", "x-ms-meta-a_", "x-ms-meta-a1", "x-ms-meta-aa"]);
    }
}
