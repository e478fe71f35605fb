//! [Conditional headers](https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations).

use std::time::{SystemTime, UNIX_EPOCH};

use super::code::{Code, Refusal};
use super::http::HttpRequest;

#[derive(Debug, Default)]
pub(super) struct Conditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<SystemTime>,
    if_unmodified_since: Option<SystemTime>,
}

/// What conditions are about. `None` instead of it is a blob that does not exist.
pub(super) struct Version<'a> {
    pub(super) etag: &'a str,
    pub(super) modified: SystemTime,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// A reader has the newest version already.
    NotModified,
}

impl Conditions {
    pub(super) fn of(request: &HttpRequest) -> Result<Conditions, Refusal> {
        let date = |name| {
            let Some(text) = request.header(name) else { return Ok(None) };
            let refusal = |_| Refusal::header(Code::InvalidHeaderValue, name, Some(text));
            httpdate::parse_http_date(text).map(Some).map_err(refusal)
        };
        Ok(Conditions {
            if_match: request.header("if-match").map(str::to_owned),
            if_none_match: request.header("if-none-match").map(str::to_owned),
            if_modified_since: date("if-modified-since")?,
            if_unmodified_since: date("if-unmodified-since")?,
        })
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.if_match.is_some())
            + usize::from(self.if_none_match.is_some())
            + usize::from(self.if_modified_since.is_some())
            + usize::from(self.if_unmodified_since.is_some())
    }

    /// `If-None-Match: *`, which asks that there be no blob.
    pub(super) fn wants_none(&self) -> bool {
        self.if_none_match.as_deref() == Some("*")
    }

    /// An ETag is a stronger word than a date, and rules it out.
    pub(super) fn judge(&self, version: Option<&Version<'_>>) -> Verdict {
        let since = |date: SystemTime| version.is_some_and(|version| seconds(version.modified) > seconds(date));
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => version.is_some_and(|version| lists(tags, version.etag)),
            (None, Some(date)) => !since(date),
            (None, None) => true,
        };
        let is_new = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => version.is_none_or(|version| !lists(tags, version.etag)),
            (None, Some(date)) => since(date),
            (None, None) => true,
        };
        match (holds, is_new) {
            (true, true) => Verdict::Met,
            (false, _) => Verdict::NotMet,
            (true, false) => Verdict::NotModified,
        }
    }
}

fn lists(tags: &str, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_matches('"').to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| bare(tag) == bare(etag))
}

/// A header tells no more of a date.
fn seconds(date: SystemTime) -> u64 {
    date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EARLIER: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
    const SAME: &str = "Mon, 01 Jan 2024 00:00:01 GMT";

    fn verdict(headers: &[(&str, &str)], exists: bool) -> Verdict {
        let request = HttpRequest {
            method: "GET".into(),
            path: "/".into(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Vec::new(),
            keep_alive: true,
        };
        let modified = httpdate::parse_http_date(SAME).unwrap() + Duration::from_millis(900);
        let version = Version { etag: "\"0x1\"", modified };
        Conditions::of(&request).unwrap().judge(exists.then_some(&version))
    }

    #[test]
    fn each_condition_has_its_verdict() {
        for (name, value, existing, missing) in [
            ("If-Match", "\"0x1\"", Verdict::Met, Verdict::NotMet),
            ("If-Match", "\"0x2\"", Verdict::NotMet, Verdict::NotMet),
            ("If-Match", "\"0x2\", \"0x1\"", Verdict::Met, Verdict::NotMet),
            ("If-Match", "*", Verdict::Met, Verdict::NotMet),
            ("If-None-Match", "\"0x1\"", Verdict::NotModified, Verdict::Met),
            ("If-None-Match", "\"0x2\"", Verdict::Met, Verdict::Met),
            ("If-None-Match", "*", Verdict::NotModified, Verdict::Met),
            ("If-Modified-Since", EARLIER, Verdict::Met, Verdict::NotModified),
            ("If-Modified-Since", SAME, Verdict::NotModified, Verdict::NotModified),
            ("If-Unmodified-Since", EARLIER, Verdict::NotMet, Verdict::Met),
            ("If-Unmodified-Since", SAME, Verdict::Met, Verdict::Met),
        ] {
            assert_eq!(verdict(&[(name, value)], true), existing, "{name}: {value}");
            assert_eq!(verdict(&[(name, value)], false), missing, "{name}: {value}");
        }
        assert_eq!(verdict(&[], true), Verdict::Met);
    }

    #[test]
    fn a_tag_rules_out_a_date() {
        let stale = [("If-Match", "\"0x1\""), ("If-Unmodified-Since", EARLIER)];
        assert_eq!(verdict(&stale, true), Verdict::Met);
    }
}
