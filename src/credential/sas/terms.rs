//! What a SAS says about itself: for error texts and advice. The service alone decides what it allows.
//!
//! Read leniently: what cannot be read is as if it were not there. The parameters are those of
//! [an account SAS](https://learn.microsoft.com/rest/api/storageservices/create-account-sas), of
//! [a service SAS](https://learn.microsoft.com/rest/api/storageservices/create-service-sas) and of
//! [a user delegation SAS](https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas).

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// `st`, or the start of the key behind it, if that is later.
    starts: Option<Date>,
    /// `se`, or the end of the key behind it, if that is sooner.
    ends: Option<Date>,
    /// `sp`.
    permissions: Option<String>,
    /// `sip`.
    addresses: Option<String>,
    pub(crate) reach: Reach,
    /// `skoid`: signed with a key that Entra ID gave to somebody.
    delegated: bool,
    /// `si`: dates and permissions may be in a policy of the container's.
    policy: bool,
}

/// What it is for: `sr`, or `ss` and `srt`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    Account,
    Container,
    Blob,
    #[default]
    Unknown,
}

impl Terms {
    pub(super) fn read(query: &str) -> Terms {
        let get = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(other, _)| *other == name)?;
            percent_decode_str(value).decode_utf8().ok()
        };
        let date = |name: &str| get(name).and_then(|text| Date::parse(&text));
        Terms {
            starts: [date("st"), date("skt")].into_iter().flatten().max(),
            ends: [date("se"), date("ske")].into_iter().flatten().min(),
            permissions: get("sp").filter(|text| is_plain(text, |byte| byte.is_ascii_lowercase())).map(Cow::into_owned),
            addresses: get("sip")
                .filter(|text| is_plain(text, |byte| byte.is_ascii_hexdigit() || b".:-".contains(&byte)))
                .map(Cow::into_owned),
            reach: match (get("srt").is_some(), get("sr").as_deref()) {
                (true, _) => Reach::Account,
                (_, Some("c")) => Reach::Container,
                (_, Some("b")) => Reach::Blob,
                _ => Reach::Unknown,
            },
            delegated: get("skoid").is_some(),
            policy: get("si").is_some(),
        }
    }

    /// Why it cannot be good at `now`, if it cannot.
    pub(crate) fn out_of_time(&self, now: SystemTime) -> Option<String> {
        match (&self.starts, &self.ends) {
            (_, Some(ends)) if ends.at <= now => Some(format!("the SAS expired at {ends}; get a new one")),
            (Some(starts), _) if starts.at > now => Some(format!("the SAS is not valid before {starts}")),
            _ => None,
        }
    }

    /// What may be wrong with it, where its dates are not.
    pub(crate) fn doubts(&self) -> String {
        let mut text = "the SAS token was not accepted: it may have been altered, or signed with a key that was \
                        rotated since"
            .to_owned();
        if self.reach == Reach::Blob {
            text.push_str(", or be for another blob than the lock's");
        }
        if self.delegated {
            text.push_str(", or its user delegation key may have been revoked");
        }
        if self.policy {
            text.push_str(", or its stored access policy may have ended");
        } else if self.ends.is_none() {
            text.push_str("; it has no expiry date");
        }
        text
    }

    /// `(sp=rw)`, for a text about what it lacks.
    pub(crate) fn permissions(&self) -> String {
        self.permissions.as_ref().map(|letters| format!(" (`sp={letters}`)")).unwrap_or_default()
    }

    pub(crate) fn addresses(&self) -> Option<&str> {
        self.addresses.as_deref()
    }
}

/// As a credential is told to a person: of which sort it is, and what it says of itself.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match (self.delegated, self.reach) {
            (true, _) => "a user delegation SAS",
            (false, Reach::Account) => "an account SAS",
            (false, Reach::Container | Reach::Blob) => "a service SAS",
            (false, Reach::Unknown) => "a SAS",
        };
        f.write_str(sort)?;
        match self.reach {
            Reach::Container => f.write_str(" for the container")?,
            Reach::Blob => f.write_str(" for one blob")?,
            Reach::Account | Reach::Unknown => {}
        }
        f.write_str(&self.permissions())?;
        match &self.ends {
            Some(ends) => write!(f, " until {ends}"),
            None if self.policy => f.write_str(" with a stored access policy"),
            None => Ok(()),
        }
    }
}

fn is_plain(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Date {
    at: SystemTime,
    text: String,
}

impl Date {
    /// `2026-01-02`, `2026-01-02T03:04Z`, `2026-01-02T03:04:05Z`, or with a fraction, which does not count.
    fn parse(text: &str) -> Option<Date> {
        let (day, time) = text.split_once('T').unwrap_or((text, ""));
        let time = time.strip_suffix('Z').unwrap_or(time);
        let time = time.split_once('.').map_or(time, |(time, _)| time);
        let [year, month, day] = numbers(day, '-', 3)?;
        let [hour, minute, second] = if time.is_empty() { [0; 3] } else { numbers(time, ':', 2)? };
        let good = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !good || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        Some(Date {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            text: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Three numbers, or, with the last one left out, at least so many.
fn numbers(text: &str, separator: char, least: usize) -> Option<[u64; 3]> {
    let mut all = [0; 3];
    let mut count = 0;
    for part in text.split(separator) {
        let fits = matches!(part.len(), 2 | 4) && part.bytes().all(|byte| byte.is_ascii_digit());
        *all.get_mut(count)? = part.parse().ok().filter(|_| fits)?;
        count += 1;
    }
    (count >= least).then_some(all)
}

/// From the beginning of 1970. A year is counted from March here, so that the day that leap years add is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::properties::holds;

    fn date(http: &str) -> SystemTime {
        httpdate::parse_http_date(http).unwrap()
    }

    fn at(text: &str) -> SystemTime {
        Date::parse(text).unwrap_or_else(|| panic!("{text}")).at
    }

    #[test]
    fn dates_as_tokens_have_them() {
        for (text, http) in [
            ("1970-01-01", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
            ("2026-01-02T03:04Z", "Fri, 02 Jan 2026 03:04:00 GMT"),
            ("2026-03-01T03:04:05.1234567Z", "Sun, 01 Mar 2026 03:04:05 GMT"),
            ("2000-12-31", "Sun, 31 Dec 2000 00:00:00 GMT"),
            ("2100-03-01", "Mon, 01 Mar 2100 00:00:00 GMT"),
            ("9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(at(text), date(http), "{text}");
        }
        assert_eq!(Date::parse("2026-01-02T03:04Z").unwrap().to_string(), "2026-01-02T03:04:00Z");
    }

    #[test]
    fn any_date_is_the_one_that_is_written() {
        holds(0..253_402_300_800_u64, |seconds| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let http = httpdate::fmt_http_date(at);
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&http[8..11]).unwrap() / 3 + 1;
            let text = format!("{}-{month:02}-{}T{}Z", &http[12..16], &http[5..7], &http[17..25]);
            assert_eq!(Date::parse(&text), Some(Date { at, text }));
        });
    }

    #[test]
    fn what_is_no_date_is_as_if_it_were_not_there() {
        let bad = ["", "soon", "2026", "2026-13-01", "2026-00-01", "2026-01-32", "0000-01-01", "1969-12-31"];
        let worse =
            ["2026-01-02T25:00Z", "2026-01-02T03", "2026-01-02T03:04:05+02:00", "99999999999999-01-01", "é-01-01"];
        let odd = ["2026-01-02T03:60Z", "2026-01-02T03:04:60Z", "2026-1-02", "2026-+1-02"];
        for text in bad.into_iter().chain(worse).chain(odd) {
            assert_eq!(Date::parse(text), None, "{text}");
            assert_eq!(Terms::read(&format!("se={text}&sig=x")), Terms::default(), "{text}");
        }
    }

    #[test]
    fn the_time_in_which_it_can_be_good() {
        let terms = Terms::read("st=2026-01-01&se=2026-01-02T03%3A04%3A05Z&sig=x");
        let told = |now: &str| terms.out_of_time(at(now));
        assert_eq!(told("2025-12-31T23:59:59Z").unwrap(), "the SAS is not valid before 2026-01-01T00:00:00Z");
        assert_eq!(told("2026-01-01"), None);
        assert_eq!(told("2026-01-02T03:04:04Z"), None);
        assert!(told("2026-01-02T03:04:05Z").unwrap().starts_with("the SAS expired at 2026-01-02T03:04:05Z"));
    }

    #[test]
    fn the_key_behind_a_token_may_end_before_it() {
        let query = "skoid=o&skt=2026-01-03&ske=2026-01-05&st=2026-01-01&se=2026-01-09&sr=b&sp=rw&sig=x";
        let terms = Terms::read(query);
        assert!(terms.out_of_time(at("2026-01-02")).unwrap().contains("before 2026-01-03"));
        assert!(terms.out_of_time(at("2026-01-06")).unwrap().contains("expired at 2026-01-05"));
        assert_eq!(terms.to_string(), "a user delegation SAS for one blob (`sp=rw`) until 2026-01-05T00:00:00Z");
    }

    #[test]
    fn what_may_be_wrong_with_a_token_that_is_in_time() {
        let any =
            "the SAS token was not accepted: it may have been altered, or signed with a key that was rotated since";
        for (query, more) in [
            ("sr=c&se=2026-01-02", ""),
            ("sr=b&se=2026-01-02", ", or be for another blob than the lock's"),
            ("sr=c&se=2026-01-02&skoid=o", ", or its user delegation key may have been revoked"),
            ("sr=c&si=policy-1", ", or its stored access policy may have ended"),
            ("sr=c", "; it has no expiry date"),
        ] {
            assert_eq!(Terms::read(&format!("{query}&sig=x")).doubts(), format!("{any}{more}"), "{query}");
        }
    }

    #[test]
    fn what_a_token_says_of_itself() {
        for (query, text) in [
            ("ss=b&srt=sco&sp=rwc&se=2026-01-02", "an account SAS (`sp=rwc`) until 2026-01-02T00:00:00Z"),
            ("sr=c&sp=rcw", "a service SAS for the container (`sp=rcw`)"),
            ("sr=b&si=policy-1", "a service SAS for one blob with a stored access policy"),
            ("sp=<script>&sip=not%20one", "a SAS"),
        ] {
            assert_eq!(Terms::read(&format!("{query}&sig=x")).to_string(), text);
        }
        assert_eq!(Terms::read("sip=10.0.0.1-10.0.0.9&sig=x").addresses(), Some("10.0.0.1-10.0.0.9"));
    }
}
