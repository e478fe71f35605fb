//! Shared access signatures for requests behind the library's back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// The account and the key that all emulators have, published by their vendor.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const VERSION: &str = "2021-12-02";
pub const FAR: &str = "2099-01-01T00:00:00Z";

/// Everything there is to do, in the account.
pub fn full(account: &str, key: &str) -> String {
    of_account(account, key, "rwdlac", "sco", FAR)
}

/// The same, with a plus sign in the signature.
pub fn with_plus(account: &str, key: &str) -> String {
    let dates = (2030..2099).map(|year| format!("{year}-01-01T00:00:00Z"));
    let mut all = dates.map(|expiry| of_account(account, key, "rwdlac", "sco", &expiry));
    all.find(|sas| sas.contains("%2B")).expect("most signatures have one")
}

/// A query for the account with these permissions on these types of resource.
pub fn of_account(account: &str, key: &str, permissions: &str, types: &str, expiry: &str) -> String {
    let text = format!("{account}\n{permissions}\nb\n{types}\n\n{expiry}\n\n\n{VERSION}\n\n");
    let fields = [("ss", "b"), ("srt", types), ("sp", permissions), ("se", expiry)];
    query(&fields, key, &text)
}

/// A query for one container with these permissions.
pub fn of_container(account: &str, key: &str, container: &str, permissions: &str, expiry: &str) -> String {
    let resource = format!("/blob/{account}/{container}");
    let text = format!("{permissions}\n\n{expiry}\n{resource}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n\n");
    query(&[("sr", "c"), ("sp", permissions), ("se", expiry)], key, &text)
}

/// A query to read what is in one container, with answers that have these headers.
pub fn with_headers(container: &str, cache_control: &str, content_type: &str) -> String {
    let resource = format!("/blob/{ACCOUNT}/{container}");
    let text = format!("r\n\n{FAR}\n{resource}\n\n\n\n{VERSION}\nc\n\n\n{cache_control}\n\n\n\n{content_type}");
    let headers = [("rscc", cache_control), ("rsct", content_type)];
    query(&[&[("sr", "c"), ("sp", "r"), ("se", FAR)], &headers[..]].concat(), KEY, &text)
}

/// A query for one blob with these permissions, for the time between these dates.
pub fn of_blob(place: &str, permissions: &str, start: &str, expiry: &str) -> String {
    let resource = format!("/blob/{ACCOUNT}/{place}");
    let text = format!("{permissions}\n{start}\n{expiry}\n{resource}\n\n\n\n{VERSION}\nb\n\n\n\n\n\n\n");
    let mut fields = vec![("sr", "b"), ("sp", permissions), ("se", expiry)];
    fields.extend((!start.is_empty()).then_some(("st", start)));
    query(&fields, KEY, &text)
}

fn query(fields: &[(&str, &str)], key: &str, text: &str) -> String {
    let key = STANDARD.decode(key).expect("a key in base64");
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do").chain_update(text);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let mut query = format!("sv={VERSION}");
    for (name, value) in fields.iter().chain(&[("sig", signature.as_str())]) {
        query.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }
    query
}
