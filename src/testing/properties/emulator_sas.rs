//! What holds for every shared access signature that the emulator is shown.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::emulator::address::Address;
use crate::emulator::auth::Account;
use crate::emulator::http::HttpRequest;
use crate::emulator::sas::{check, of_account, of_service, parse_date};
use crate::emulator::{ACCOUNT, KEY, Operation};

/// Thu, 01 Jan 2026 00:00:00 GMT
const NOW: Duration = Duration::from_secs(1_767_225_600);

/// Of any query: signed, it gives a right to what was signed until its end, if any; otherwise, none.
pub(crate) fn any_query(query: &str) {
    let Some(mut job) = address("job", query) else { return };
    job.query.iter().for_each(|(_, value)| any_date(value));
    assert!(!allows(&job, NOW), "unsigned");
    let account = Account::new(ACCOUNT, KEY).unwrap();
    let is_of_account = job.parameter("ss").is_some();
    let text = if is_of_account { Ok(of_account(&account, &job)) } else { of_service(&account, &job) };
    let Ok(text) = text else { return };
    job.query.push(("sig".to_owned(), signature(&text)));
    if !allows(&job, NOW) {
        return;
    }
    let end = parse_date(job.parameter("se").unwrap()).unwrap();
    assert!(!allows(&job, end.duration_since(UNIX_EPOCH).unwrap()), "for good");
    let is_of_blob = !is_of_account && job.parameter("sr") == Some("b");
    let other = Address { blob: Some("other".to_owned()), ..job };
    assert_eq!(allows(&other, NOW), !is_of_blob, "for another blob");
}

/// Without a signature, if it can be a query.
fn address(blob: &str, query: &str) -> Option<Address> {
    let request = HttpRequest {
        method: "PUT".to_owned(),
        path: format!("/{ACCOUNT}/locks/{blob}"),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        keep_alive: true,
    };
    let mut address = Address::of(&request).ok()?;
    address.query.retain(|(name, _)| name != "sig");
    Some(address)
}

fn allows(address: &Address, at: Duration) -> bool {
    let account = Account::new(ACCOUNT, KEY).unwrap();
    check(&account, address, Operation::RenewLease, UNIX_EPOCH + at, Ipv4Addr::LOCALHOST.into()).is_ok()
}

fn signature(text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap().chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Of any text where a date should be: what is read is what is written.
fn any_date(text: &str) {
    let Some(date) = parse_date(text) else { return };
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00Z"));
    let time = time.trim_end_matches('Z').split('.').next().unwrap();
    assert_eq!(told(date), format!("{day}T{time}{}", if time.len() == 5 { ":00" } else { "" }));
}

/// By another's arithmetic.
fn told(date: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = httpdate::fmt_http_date(date);
    let month = MONTHS.iter().position(|month| *month == &text[8..11]).unwrap() + 1;
    format!("{}-{month:02}-{}T{}", &text[12..16], &text[5..7], &text[17..25])
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::testing::properties::holds;

    const FIELDS: [&str; 14] =
        ["sv", "sr", "ss", "srt", "sp", "st", "se", "sip", "spr", "si", "ses", "skoid", "sig", ""];
    const VALUES: [&str; 22] = [
        "",
        "2021-12-02",
        "2017-04-17",
        "b",
        "c",
        "sco",
        "bfqt",
        "racw",
        "rwdlac",
        "w",
        "2025-12-31",
        "2026-01-01T00%3A00Z",
        "2099-01-01T00%3A00%3A00Z",
        "9999-12-31T23%3A59%3A59.9999999Z",
        "https",
        "https,http",
        "127.0.0.1",
        "127.0.0.0-127.0.0.2",
        "%ff",
        "%C3%A9",
        "%0A",
        "x",
    ];

    #[test]
    fn a_signature_gives_no_more_than_was_signed() {
        let field = (select(&FIELDS[..]), select(&VALUES[..])).prop_map(|(name, value)| format!("{name}={value}"));
        // Mostly a good one with something odd in it, since chance alone makes no good one.
        let good =
            select(vec!["", "sv=2021-12-02&sr=b&sp=w&se=2099-01-01", "sv=2021-12-02&ss=b&srt=o&sp=w&se=2099-01-01"]);
        holds((vec(field, 0..8), good, any::<bool>()), |(mut fields, good, first)| {
            fields.insert(if first { 0 } else { fields.len() }, good.to_owned());
            any_query(&fields.join("&"));
        });
        holds(".*", |query| any_query(&query));
    }

    #[test]
    fn a_date_is_what_is_written() {
        holds("[0-9]{4}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{1,7})?)?Z)?", |text| {
            any_date(&text)
        });
        holds("[0-9TZ:.-]{0,24}", |text| any_date(&text));
        holds(".*", |text| any_date(&text));
    }
}
