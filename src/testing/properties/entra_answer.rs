//! What holds for every answer about tokens.

use super::{KEY, SIGNATURE, shows_no_secret};
use crate::clock;
use crate::credential::entra::answer::{cli_token, error_response, token};
use crate::credential::entra::source::LONGEST_LIFE;

/// Of these bytes as an endpoint's answer, or as what the Azure CLI prints. Where they say `@KEY`, they send back what
/// the token was asked for with.
pub(crate) fn any_bytes(bytes: &[u8]) {
    let now = clock::now();
    for token in [token(bytes, now), cli_token(bytes, now)].into_iter().flatten() {
        assert!(token.good_until.left(clock::now()) <= LONGEST_LIFE);
    }
    let sent_back = String::from_utf8_lossy(bytes).replace("@KEY", KEY).replace("@SIGNATURE", SIGNATURE);
    if let Some(response) = error_response(sent_back.as_bytes(), &[KEY, SIGNATURE]) {
        let text = response.text;
        assert!(!text.is_empty() && text.chars().count() <= 600 && !text.contains(char::is_control), "{text:?}");
        shows_no_secret(&text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::testing::properties::holds;

    const NAMES: [&str; 12] = [
        "access_token",
        "accessToken",
        "token_type",
        "tokenType",
        "expires_in",
        "expires_on",
        "expiresOn",
        "error",
        "error_description",
        "message",
        "code",
        "",
    ];
    const VALUES: [&str; 16] = [
        "\"ey.J.x\"",
        "\"Bearer\"",
        "3599",
        "\"86399\"",
        "-1",
        "1e400",
        "18446744073709551615",
        "\"2026-01-01 00:00:00.000000\"",
        "null",
        "[]",
        "{}",
        "{\"code\": \"a\", \"message\": \"@KEY\"}",
        "\"@KEY\"",
        "\"sig=@SIGNATURE\\r\\n\\u0000\\ud83d\\udd12\"",
        "\"temporarily_unavailable\"",
        "\"\u{e9}",
    ];

    #[test]
    fn any_answer_is_a_token_an_error_response_or_neither() {
        let field = (select(&NAMES[..]), select(&VALUES[..])).prop_map(|(name, value)| format!("\"{name}\": {value}"));
        holds((vec(field, 0..6), ".{0,4}"), |(fields, more)| {
            any_bytes(format!("{{{}}}", fields.join(", ")).as_bytes());
            any_bytes(format!("{{{}}}{more}", fields.join(", ")).as_bytes());
        });
        holds(vec(any::<u8>(), 0..100), |bytes| any_bytes(&bytes));
        holds("[\\[{\"]{0,3000}", |text| any_bytes(text.as_bytes()));
        holds("[a-z\u{e9}]{0,2000}", |text| any_bytes(format!("{{\"error\": \"@KEY{text}\"}}").as_bytes()));
    }
}
