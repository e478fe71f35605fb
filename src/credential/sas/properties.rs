//! What holds for every shared access signature.

use percent_encoding::percent_decode_str;

use super::Sas;
use crate::properties::{prints, shows_no_secret};
use crate::transport;

/// Of any text at all.
pub(crate) fn any_token(token: &str) {
    let sas = match Sas::new(token) {
        Ok(sas) => sas,
        Err(error) => return shows_no_secret(&prints(&error)),
    };
    for first in ["", "comp=lease"] {
        let mut query = first.to_owned();
        let signature = sas.append_to(&mut query).reveal().to_owned();
        transport::properties::sent_as_written("https://me.blob.core.windows.net", "/locks/job", &query);
        let added = query.strip_prefix(first).unwrap_or_default();
        let added = if first.is_empty() { added } else { added.strip_prefix('&').unwrap_or_default() };
        assert_eq!(added, token.trim().strip_prefix('?').unwrap_or(token.trim()).trim_matches('&'));
        // What no text may show is all of what proves the right.
        let mut signatures = added.split('&').filter_map(|pair| pair.strip_prefix("sig="));
        let is_it = |encoded: &str| percent_decode_str(encoded).decode_utf8_lossy() == signature;
        assert!(signatures.any(is_it) && !signature.is_empty(), "{query}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::sample::select;

    use super::*;
    use crate::properties::{SAS, holds};

    const PIECES: [&str; 16] = [
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
