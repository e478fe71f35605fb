//! What endpoints that give tokens answer.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::source::{AccessToken, LONGEST_LIFE};
use crate::clock::Moment;
use crate::redact::tidy;

const CLI_LEAST_LIFE: Duration = Duration::from_secs(5 * 60);

/// The token of a good answer, for which was asked at `asked`:
/// [successful response](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#successful-response-1).
/// Some endpoints write numbers as text; that of App Service says only when the token ends, by the wall clock.
pub(crate) fn token(body: &[u8], asked: Moment) -> Option<AccessToken> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let kind = answer.get("token_type").and_then(Value::as_str).unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    let good_for = number(answer.get("expires_in")).map(Duration::from_secs);
    let end = number(answer.get("expires_on")).and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let Some(Value::String(text)) = answer.get_mut("access_token").map(Value::take) else {
        return None;
    };
    match (good_for, end) {
        (Some(good_for), _) => Some(AccessToken::counted_from(asked, text, good_for.min(LONGEST_LIFE))),
        (None, Some(end)) => Some(AccessToken::until(text, end)),
        (None, None) => None,
    }
}

/// The token that `az account get-access-token` prints. `expiresOn` is in the local time of a zone that is not said, so
/// before version 2.54, which has `expires_on`, all that is known is that it hands out none which ends within five
/// minutes.
pub(crate) fn cli_token(output: &[u8], asked: Moment) -> Option<AccessToken> {
    let mut answer: Value = serde_json::from_slice(output).ok()?;
    let end = number(answer.get("expires_on")).and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let Some(Value::String(text)) = answer.get_mut("accessToken").map(Value::take) else {
        return None;
    };
    Some(match end {
        Some(end) => AccessToken::until(text, end),
        None => AccessToken::counted_from(asked, text, CLI_LEAST_LIFE),
    })
}

fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// An error response in words.
pub(crate) struct ErrorResponse {
    /// Without any of the secrets that it was to be told from.
    pub(crate) text: String,
    pub(super) passing: bool,
}

/// What was refused, as the endpoints of Entra ID say it:
/// [error response](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#error-response-1).
/// App Service's say `message`. `None`: it does not say, so it may be something else that answers, such as a proxy.
pub(crate) fn error_response(body: &[u8], secrets: &[&str]) -> Option<ErrorResponse> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let error = answer.get("error");
    let code = text(error).or_else(|| text(error?.get("code")));
    let message = ["error_description", "message", "Message"].iter().find_map(|name| text(answer.get(name)));
    let message = message.or_else(|| text(error?.get("message")));
    let passing = matches!(code.as_deref(), Some("temporarily_unavailable" | "server_error"));
    let words = [code, message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    (!words.is_empty()).then(|| ErrorResponse { text: tidy(&words, secrets), passing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn life(body: &str) -> Option<Duration> {
        let now = clock::now();
        token(body.as_bytes(), now).map(|token| {
            assert_eq!(token.text.reveal(), "ey.J.x");
            token.good_until.left(now)
        })
    }

    #[test]
    fn what_the_endpoints_answer() {
        let second = Duration::from_secs(1);
        let entra = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"ey.J.x"}"#;
        assert_eq!(life(entra), Some(3599 * second));
        let metadata = r#"{"access_token":"ey.J.x","client_id":"c","expires_in":"86399","expires_on":"1",
            "ext_expires_in":"86399","not_before":"1","resource":"https://storage.azure.com","token_type":"Bearer"}"#;
        assert_eq!(life(metadata), Some(86_399 * second), "not by the wall clock, where there is a choice");
        let in_an_hour = clock::wall().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
        let app_service = format!(
            r#"{{"access_token":"ey.J.x","expires_on":"{in_an_hour}","resource":"r","token_type":"Bearer","client_id":"c"}}"#
        );
        let left = life(&app_service).unwrap();
        assert!(left > 3590 * second && left <= 3601 * second, "{left:?}");
        assert_eq!(life(&format!(r#"{{"access_token":"ey.J.x","expires_in":{}}}"#, u64::MAX)), Some(LONGEST_LIFE));
        assert!(life(&format!(r#"{{"access_token":"ey.J.x","expires_on":{}}}"#, u64::MAX)).is_none());
    }

    #[test]
    fn what_is_no_answer() {
        let nested = "[".repeat(60_000);
        let bad = [
            "",
            "<html>",
            "null",
            "[]",
            "{}",
            r#"{"access_token":"ey.J.x"}"#,
            r#"{"access_token":1,"expires_in":1}"#,
            r#"{"access_token":"ey.J.x","expires_in":-1}"#,
            r#"{"access_token":"ey.J.x","expires_in":"soon"}"#,
            r#"{"access_token":"ey.J.x","expires_in":1,"token_type":"pop"}"#,
            r#"{"access_token":"ey.J.x","expires_in":1"#,
            &nested,
        ];
        for body in bad {
            assert!(life(body).is_none(), "{body:.60}");
            assert!(error_response(body.as_bytes(), &[]).is_none(), "{body:.60}");
        }
    }

    #[test]
    fn what_the_cli_prints() {
        let now = clock::now();
        let life = |body: &str| cli_token(body.as_bytes(), now).map(|token| token.good_until.left(now));
        let in_an_hour = clock::wall().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
        let left = life(&format!(
            r#"{{"accessToken":"ey.J.x","expiresOn":"2026-01-01 12:00:00.000000","expires_on":{in_an_hour},
            "subscription":"s","tenant":"t","tokenType":"Bearer"}}"#
        ));
        assert!(left.is_some_and(|left| left > Duration::from_secs(3590)), "{left:?}");
        let old = r#"{"accessToken":"ey.J.x","expiresOn":"2026-01-01 12:00:00.000000","tokenType":"Bearer"}"#;
        assert_eq!(life(old), Some(CLI_LEAST_LIFE));
        for bad in ["", "WARNING", "{}", r#"{"accessToken":null}"#] {
            assert!(life(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn error_responses_in_words() {
        let said = |body: &str, secrets: &[&str]| error_response(body.as_bytes(), secrets).unwrap();
        let secret = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: x",
            "error_codes":[7000215]}"#;
        assert_eq!(said(secret, &[]).text, "invalid_client: AADSTS7000215: Invalid client secret.  Trace ID: x");
        assert!(!said(secret, &[]).passing);
        assert!(said(r#"{"error":"temporarily_unavailable"}"#, &[]).passing);
        let metadata = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
        assert_eq!(said(metadata, &[]).text, "invalid_request: Identity not found");
        assert_eq!(said(r#"{"statusCode":400,"message":"No identity"}"#, &[]).text, "No identity");
        assert_eq!(said(r#"{"error":{"code":"a","message":"b"}}"#, &[]).text, "a: b");
        let mirror = r#"{"error":"x","error_description":"you sent s\u0033cr~t/ and s3cr%7Et%2F"}"#;
        assert!(!said(mirror, &["s3cr~t/"]).text.contains("s3cr"));
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(60_000));
        assert!(said(&long, &[]).text.len() <= 600);
    }
}
