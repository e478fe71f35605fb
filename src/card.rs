//! Who has a lock, for people.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::fencing::{FencingToken, Second};
use crate::process;

/// What a text in metadata is made of: letters that no header, signature or proxy changes on the way.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Characters of a text on a card.
const LONGEST_TEXT: usize = 100;

/// Who has a lock, or had it last: what [`card`](crate::locker::Builder::card) leaves in the metadata of the lock's
/// blob with each lock, for those who wait and for operators.
///
/// It is the **last card left**, and tells who holds the lock now only if all who use the lock leave cards. It is no
/// proof of anything: whoever may write to the blob can write another one.
///
/// ```
/// use azmutex::lease::Card;
/// use azmutex::{Container, Locker};
///
/// let mutex = Container::development("locks")?.mutex("nightly-report")?;
/// let locker = Locker::builder(mutex).card(Card::new("report of the north")).build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Card {
    label: Box<str>,
    host: Box<str>,
    pid: Option<u32>,
    since: Option<Second>,
    version: Box<str>,
    token: Option<FencingToken>,
}

impl Card {
    /// With a label of yours, this host, this process and the version of this crate. What could disturb a terminal is
    /// replaced in the texts, and what is longer than 100 characters is cut off.
    pub fn new(label: &str) -> Card {
        Card {
            label: safe(label),
            host: safe(&process::host()),
            pid: Some(std::process::id()),
            since: None,
            version: env!("CARGO_PKG_VERSION").into(),
            token: None,
        }
    }

    /// What the holder calls itself, or its work.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The name of the holder's machine; empty where it is not known.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The holder's process, as it is numbered on its machine or in its container.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// When the holder got the lock, by the service's clock, to the second.
    pub fn since(&self) -> Option<SystemTime> {
        self.since.and_then(Second::time)
    }

    /// The version of this crate that left the card.
    pub fn crate_version(&self) -> &str {
        &self.version
    }

    /// The holder's fencing token, if it took one.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.token
    }

    /// As it is left by whoever got the lock then, with that token.
    pub(crate) fn filled_in(&self, since: Second, token: Option<FencingToken>) -> Card {
        Card { since: Some(since), token, ..self.clone() }
    }

    pub(crate) fn to_text(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut text = format!("label={}&host={}", encoded(&self.label), encoded(&self.host));
        let numbers = [
            ("pid", self.pid.map(u64::from)),
            ("since", self.since.map(|Second(second)| second)),
            ("token", self.token.map(FencingToken::get)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                text.push_str(&format!("&{name}={number}"));
            }
        }
        text + "&version=" + &encoded(&self.version)
    }

    /// Whatever else stands there is passed over: a later version may say more.
    pub(crate) fn from_text(text: &str) -> Card {
        let field = |name: &str| {
            let values = text.split('&').filter_map(|field| field.split_once('='));
            values.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
        };
        let text = |name: &str| safe(&field(name).map(decoded).unwrap_or_default());
        Card {
            label: text("label"),
            host: text("host"),
            pid: field("pid").and_then(|pid| pid.parse().ok()),
            since: field("since").and_then(|second| second.parse().ok()).map(Second),
            version: text("version"),
            token: field("token").and_then(FencingToken::read),
        }
    }
}

impl fmt::Display for Card {
    /// One line, such as `"report of the north", host "build-7", process 4711, since Thu, 26 Nov 2026 10:00:00 GMT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.label)?;
        if !self.host.is_empty() {
            write!(f, ", host {:?}", self.host)?;
        }
        if let Some(pid) = self.pid {
            write!(f, ", process {pid}")?;
        }
        // What is formatted knows four digits of a year.
        if let Some(since) = self.since.filter(|second| second.0 < 253_402_300_800).and_then(Second::time) {
            write!(f, ", since {}", httpdate::fmt_http_date(since))?;
        }
        if let Some(token) = self.token {
            write!(f, ", token {token}")?;
        }
        Ok(())
    }
}

pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// A text of bounded length that does nothing to a terminal, and has no letters that hide or turn others.
fn safe(text: &str) -> Box<str> {
    let disturbs = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{e0000}'..='\u{e007f}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().take(LONGEST_TEXT).map(|c| if disturbs(c) { '\u{fffd}' } else { c }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::holds;

    #[test]
    fn a_card_shows_nothing_that_disturbs_and_has_an_end() {
        let card = Card::new(&("a\u{1b}[2J\n\u{202e}b".to_owned() + &"é".repeat(300)));
        assert_eq!(card.label().chars().count(), 100);
        assert!(card.label().starts_with("a\u{fffd}[2J\u{fffd}\u{fffd}b"), "{card}");
        assert!(
            Card::from_text("label=%1b%5B2J&since=99999999999999999999&pid=-1&host=&&=&x").label() == "\u{fffd}[2J"
        );
        let long = format!("label={}", "%41".repeat(5000));
        assert_eq!(Card::from_text(&long).label().len(), 100);
    }

    #[test]
    fn any_text_is_a_card_and_every_card_a_line() {
        holds(any::<String>(), |text| {
            let card = Card::from_text(&text);
            assert!(!card.to_string().chars().any(char::is_control), "{card:?}");
            let again = Card::from_text(&card.to_text());
            assert_eq!(again, card);
        });
    }
}
