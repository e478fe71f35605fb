//! What endpoints that give tokens answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::source::{AccessToken, LONGEST_LIFE};
use crate::clock::Moment;
use crate::redact::{Secret, tidy};

const CLI_LEAST_LIFE: Duration = Duration::from_secs(5 * 60);

/// The token of a good answer, for which was asked at `asked`:
/// [successful response](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#successful-response-1).
/// Some endpoints write numbers as text, or with a fraction; that of App Service says only when the token ends, by the
/// wall clock, and in its older versions as a date.
pub(crate) fn token(body: &[u8], asked: Moment) -> Option<AccessToken> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let kind = answer.get("token_type").and_then(Value::as_str).unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    let good_for = seconds(answer.get("expires_in")).map(|seconds| seconds.min(LONGEST_LIFE.as_secs_f64()));
    let good_for = good_for.map(Duration::from_secs_f64);
    let end = end(answer.get("expires_on"));
    let Some(Value::String(text)) = answer.get_mut("access_token").map(Value::take) else {
        return None;
    };
    match (good_for, end) {
        (Some(good_for), _) => Some(AccessToken::counted_from(asked, text, good_for)),
        (None, Some(end)) => Some(AccessToken::until(text, end)),
        (None, None) => None,
    }
}

/// The assertion of a good answer of GitHub's:
/// [requesting the JWT](https://docs.github.com/actions/security-for-github-actions/security-hardening-your-deployments/configuring-openid-connect-in-cloud-providers#using-environment-variables-on-the-runner).
pub(crate) fn assertion(body: &[u8]) -> Option<Secret> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let Some(Value::String(text)) = answer.get_mut("value").map(Value::take) else {
        return None;
    };
    let text = Secret::new(text).trimmed();
    (!text.reveal().is_empty()).then_some(text)
}

/// The token that `az account get-access-token` prints. `expiresOn` is in the local time of a zone that is not said, so
/// before version 2.54, which has `expires_on`, all that is known is that it hands out none which ends within five
/// minutes.
pub(crate) fn cli_token(output: &[u8], asked: Moment) -> Option<AccessToken> {
    let mut answer: Value = serde_json::from_slice(output).ok()?;
    let end = end(answer.get("expires_on"));
    let Some(Value::String(text)) = answer.get_mut("accessToken").map(Value::take) else {
        return None;
    };
    Some(match end {
        Some(end) => AccessToken::until(text, end),
        None => AccessToken::counted_from(asked, text, CLI_LEAST_LIFE),
    })
}

fn seconds(value: Option<&Value>) -> Option<f64> {
    let seconds = match value? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    seconds.filter(|seconds| *seconds >= 0.0)
}

/// Seconds since 1970, or a date.
fn end(value: Option<&Value>) -> Option<SystemTime> {
    let since = match seconds(value) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        None => since_epoch(value?.as_str()?)?,
    };
    UNIX_EPOCH.checked_add(since)
}

/// Of a date in one of the forms that App Service has used: `9/14/2017 13:00:00 +00:00`, `9/14/2017 1:00:00 PM +00:00`,
/// or `2017-09-14T13:00:00Z`.
fn since_epoch(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(text.find([' ', 'T'])?)?;
    let numbers = |text: &str, between: char| -> Option<[u32; 3]> {
        let numbers: Vec<_> = text.split(between).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    let [year, month, day] = match numbers(date, '/') {
        Some([month, day, year]) => [year, month, day],
        None => numbers(date, '-')?,
    };
    let rest = rest[1..].trim_start();
    let (time, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))?);
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?;
    let rest = rest.trim_start();
    let (half, zone) = match rest.get(..2).map(str::to_ascii_uppercase).as_deref() {
        Some("AM") => (Some(0), rest[2..].trim_start()),
        Some("PM") => (Some(12), rest[2..].trim_start()),
        _ => (None, rest),
    };
    // Some write hours of the whole day before PM, too.
    let hour = match half {
        Some(half) if hour <= 12 => hour % 12 + half,
        _ => hour,
    };
    let east = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), zone) => {
            let (hours, minutes) = zone.split_once(':')?;
            let minutes = 60 * hours.parse::<u8>().map(i64::from).ok()? + minutes.parse::<u8>().map(i64::from).ok()?;
            if sign == "+" { minutes } else { -minutes }
        }
        _ => return None,
    };
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = (days(year, month, day) * 24 + i64::from(hour)) * 3600 + i64::from(minute * 60 + second);
    u64::try_from(seconds - 60 * east).ok().map(Duration::from_secs)
}

/// Since 1970: [days from civil](https://howardhinnant.github.io/date_algorithms.html#days_from_civil).
fn days(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(if month <= 2 { year - 1 } else { year });
    let (era, of_era) = (year / 400, year % 400);
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
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
    fn a_token_s_end_in_all_the_forms_there_are() {
        // As GNU date has it.
        let noon = UNIX_EPOCH + Duration::from_secs(1_505_390_400);
        for text in [
            "1505390400",
            r#""1505390400""#,
            "1505390400.0",
            r#"" 1505390400.0 ""#,
            r#""9/14/2017 12:00:00 +00:00""#,
            r#""09/14/2017 12:00:00 PM +00:00""#,
            r#""09/14/2017 00:00:00 PM +00:00""#,
            r#""9/14/2017 2:00:00 pm +02:00""#,
            r#""9/14/2017 11:00:00 AM -01:00""#,
            r#""9/14/2017 14:00:00 PM +02:00""#,
            r#""2017-09-14T12:00:00Z""#,
            r#""2017-09-14T12:00:00.1234567+00:00""#,
            r#""2017-09-14 06:30:00 -05:30""#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(end(Some(&value)), Some(noon), "{text}");
        }
        for (text, seconds) in [
            ("1/1/1970 12:00:00 AM +00:00", 0),
            ("2/29/2024 23:59:59 +00:00", 1_709_251_199),
            ("12/31/2099 0:00:00 +00:00", 4_102_358_400_u64),
            ("3/1/2100 0:00:00 +00:00", 4_107_542_400),
        ] {
            assert_eq!(since_epoch(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "soon",
            "NaN",
            "inf",
            "-1",
            "9/14/2017",
            "9/14/2017 12:00:00",
            "9/14/2017 12:00 +00:00",
            "T",
            "1T",
            "13/1/2017 12:00:00 +00:00",
            "0/1/2017 12:00:00 +00:00",
            "9/14/2017 24:00:00 +00:00",
            "1/1/1969 0:00:00 +00:00",
            "2017-09-14T12:00:00",
            "2017-09-14T12:00:00é",
            "9/14/2017 é",
            "9/14/2017 1:00:00 é",
            "1/1/1970 0:00:00 +01:00",
            "4294967295/4294967295/4294967295 1:1:1 Z",
            "1/1/2017 4294967295:0:0 PM Z",
            "99999999999999999999999999/1/1 1:1:1 Z",
        ] {
            assert_eq!(end(Some(&Value::from(text))), None, "{text}");
        }
        let life_of = |text: &str| life(&format!(r#"{{"access_token":"ey.J.x","expires_in":{text}}}"#));
        assert_eq!(life_of("3599.5"), Some(Duration::from_millis(3_599_500)));
        assert_eq!(life_of(r#""3599.5""#), Some(Duration::from_millis(3_599_500)));
    }

    #[test]
    fn what_github_answers() {
        let value = |body: &str| assertion(body.as_bytes()).map(|text| text.reveal().to_owned());
        assert_eq!(value(r#"{"count":1,"value":"ey.J.x\n"}"#), Some("ey.J.x".to_owned()));
        for body in ["", "{}", "[]", r#"{"value":" "}"#, r#"{"value":1}"#, r#"{"value":null}"#] {
            assert_eq!(value(body), None, "{body}");
        }
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
