//! What holds for every shared access signature.

use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;

use super::{prints, shows_no_secret};
use crate::credential::sas::Sas;

/// Of any text at all.
pub(crate) fn any_token(token: &str) {
    let sas = match Sas::new(token) {
        Ok(sas) => sas,
        Err(error) => return shows_no_secret(&prints(&error)),
    };
    is_fit_to_print(&sas);
    for first in ["", "comp=lease"] {
        let mut query = first.to_owned();
        let signature = sas.append_to(&mut query).reveal().to_owned();
        super::transport::sent_as_written("https://me.blob.core.windows.net", "/locks/job", &query);
        let added = query.strip_prefix(first).unwrap_or_default();
        let added = if first.is_empty() { added } else { added.strip_prefix('&').unwrap_or_default() };
        assert_eq!(added, token.trim().strip_prefix('?').unwrap_or(token.trim()).trim_matches('&'));
        // What no text may show is all of what proves the right.
        let mut signatures = added.split('&').filter_map(|pair| pair.strip_prefix("sig="));
        let is_it = |encoded: &str| percent_decode_str(encoded).decode_utf8_lossy() == signature;
        assert!(signatures.any(is_it) && !signature.is_empty(), "{query}");
    }
}

/// What it says of itself, on one line and of bounded length, whatever is in it.
fn is_fit_to_print(sas: &Sas) {
    let terms = sas.terms();
    let times = [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 37)];
    let told = times.map(|now| terms.out_of_time(now).unwrap_or_default()).concat();
    let text =
        format!("{terms}{}{}{}{told}", terms.doubts(), terms.permissions(), terms.addresses().unwrap_or_default());
    assert!(text.len() < 1024 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
    shows_no_secret(&text);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::sample::select;

    use super::*;
    use crate::testing::properties::{SAS, holds};

    const PIECES: [&str; 24] = [
        "se=2026-01-02T03:04:05Z",
        "ske=9999-12-31",
        "st=1970-01-01T24:00Z",
        "skoid=x",
        "si=policy",
        "sp=rw%0A",
        "sip=10.0.0.1",
        "srt=sco",
        "sig=",
        "sig=x",
        "SIG=x",
        "sv=2021-12-02",
        "&",
        "?",
        "=",
        "%",
        "%3D",
        "%ff",
        "#",
        "\"",
        "://",
        " ",
        "\u{e9}",
        SAS,
    ];

    #[test]
    fn any_token_is_sent_as_it_is_or_refused() {
        holds(".*", |token| any_token(&token));
        holds(vec(select(&PIECES[..]), 0..8), |pieces| any_token(&pieces.concat()));
        holds(("[ ?&]{0,3}", "[!-~]{0,40}", "[ &\n]{0,3}"), |(before, rest, after)| {
            any_token(&format!("{before}{SAS}&{rest}{after}"));
        });
    }
}
