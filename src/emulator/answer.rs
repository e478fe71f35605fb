//! What an answer of the service carries: what is the same for all, what an operation tells, and how a refusal is said.

use std::time::SystemTime;

use super::code::Refusal;
use super::guid::Guid;
use super::http::{Answer, HttpRequest};
use super::metadata::Metadata;
use super::version::{LATEST, VERSIONS};

const SERVER: &str = concat!("azmutex-emulator/", env!("CARGO_PKG_VERSION"));
/// Whose tokens the service would take: it names the account's tenant to whoever has none that is good.
const TENANT: &str = "00000000-0000-0000-0000-000000000000";

/// The answer to `request`, whatever came of it, with what every answer has.
pub(super) fn finished(request: &HttpRequest, outcome: Result<Answer, Refusal>, id: Guid, date: SystemTime) -> Answer {
    let mut answer = outcome.unwrap_or_else(|refusal| of_refusal(&refusal, id, date));
    answer.set("Server", SERVER);
    answer.set("x-ms-request-id", id.to_string());
    let version = request.header("x-ms-version").filter(|version| VERSIONS.contains(version));
    answer.set("x-ms-version", version.unwrap_or(LATEST));
    if let Some(id) = request.header("x-ms-client-request-id") {
        answer.set("x-ms-client-request-id", id);
    }
    answer.set("Date", httpdate::fmt_http_date(date));
    answer
}

pub(super) fn leased(status: u16, reason: &'static str, id: Guid) -> Answer {
    let mut answer = Answer::new(status, reason);
    answer.set("x-ms-lease-id", id.to_string());
    answer
}

pub(super) fn tell_version(answer: &mut Answer, etag: &str, modified: SystemTime) {
    answer.set("ETag", etag);
    answer.set("Last-Modified", httpdate::fmt_http_date(modified));
}

pub(super) fn tell_metadata(answer: &mut Answer, metadata: &Metadata) {
    for (name, value) in metadata {
        answer.set(format!("x-ms-meta-{name}"), &**value);
    }
}

fn of_refusal(refusal: &Refusal, id: Guid, date: SystemTime) -> Answer {
    let code = refusal.code;
    let mut answer = Answer::new(code.status(), code.message());
    answer.set("x-ms-error-code", code.name());
    answer.set("Content-Type", "application/xml");
    if code.status() == 401 {
        let challenge = format!(
            "Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize \
             resource_id=https://storage.azure.com"
        );
        answer.set("WWW-Authenticate", challenge);
    }
    let details: String =
        refusal.details.iter().map(|(element, text)| format!("<{element}>{}</{element}>", escaped(text))).collect();
    // The service, too, begins it with a mark that some parsers trip over.
    answer.body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\n\
         RequestId:{id}\nTime:{}</Message>{details}</Error>",
        code.name(),
        escaped(code.message()),
        iso(date),
    )
    .into_bytes();
    answer
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' => escaped.push('\n'),
            char if char.is_control() => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// `2026-11-23T05:44:10.0000000Z`
fn iso(date: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = httpdate::fmt_http_date(date);
    let part = |range| text.get(range).unwrap_or_default();
    let month = MONTHS.find(part(8..11)).unwrap_or_default() / 3 + 1;
    format!("{}-{month:02}-{}T{}.0000000Z", part(12..16), part(5..7), part(17..25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_told_in_the_bodys_form() {
        let date = httpdate::parse_http_date("Mon, 23 Nov 2026 05:44:10 GMT").unwrap();
        assert_eq!(iso(date), "2026-11-23T05:44:10.0000000Z");
    }

    #[test]
    fn text_cannot_break_out_of_a_body() {
        assert_eq!(escaped("a<b>&\u{0}\n"), "a&lt;b&gt;&amp;?\n");
    }
}
