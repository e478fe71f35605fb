//! Once in a while: when a command was last done, by the label that it was done with, in the mark of the lock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// What the mark begins with; one that begins otherwise is somebody else's, and says nothing about us.
const BEGINNING: &str = "azmutex-done";
/// Bytes of a mark.
const LONGEST: usize = 1024;
/// What tells commands apart: characters of their name, and bytes of a digest.
const LONGEST_NAME: usize = 32;
const DIGEST: usize = 8;

/// By label, the second of the grant of the last run that was done. Seconds are the service's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done(BTreeMap<String, u64>);

impl Done {
    pub(crate) fn read(mark: Option<&str>) -> Done {
        let fields = mark.and_then(|mark| mark.strip_prefix(BEGINNING)).unwrap_or_default().split(' ');
        let entries = fields.filter_map(|field| field.split_once('='));
        Done(entries.filter_map(|(label, second)| Some((decoded(label)?, second.parse().ok()?))).collect())
    }

    /// How long ago it was done, if that is too short a time: less than nine tenths of `period`.
    pub(crate) fn too_soon(&self, label: &str, now: SystemTime, period: Duration) -> Option<Duration> {
        let ago = Duration::from_secs(second(now).checked_sub(*self.0.get(label)?)?);
        (ago < period - period / 10).then_some(ago)
    }

    /// Whether a mark has room for it.
    pub(crate) fn is_short_enough(label: &str) -> bool {
        BEGINNING.len() + entry(label, u64::MAX).len() <= LONGEST
    }

    /// The mark that says that it was done, too, and what gave way to it: what was done longest ago.
    pub(crate) fn with(mut self, label: &str, granted: SystemTime) -> (String, Vec<String>) {
        let mut forgotten = Vec::new();
        self.0.insert(label.to_owned(), second(granted));
        loop {
            let mark = self.0.iter().fold(BEGINNING.to_owned(), |mut mark, (label, second)| {
                mark.push_str(&entry(label, *second));
                mark
            });
            let oldest = self.0.iter().filter(|(other, _)| *other != label).min_by_key(|(_, second)| **second);
            match oldest.map(|(label, _)| label.clone()) {
                Some(oldest) if mark.len() > LONGEST => {
                    self.0.remove(&oldest);
                    forgotten.push(oldest);
                }
                _ => return (mark, forgotten),
            }
        }
    }
}

/// For a command that was given no label: what it is called, and a digest of all its words, as one may differ from another
/// in any of them.
pub(crate) fn default_label(name: &str, command: &[OsString]) -> String {
    let mut digest = Sha256::new();
    for word in command {
        let word = word.as_encoded_bytes();
        digest.update(u64::try_from(word.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(word);
    }
    let mut label: String = name.chars().take(LONGEST_NAME).collect();
    label.push('-');
    for byte in digest.finalize().iter().take(DIGEST) {
        let _ = write!(label, "{byte:02x}");
    }
    label
}

fn entry(label: &str, second: u64) -> String {
    format!(" {}={second}", encoded(label))
}

fn second(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn encoded(label: &str) -> String {
    let mut text = String::new();
    for byte in label.bytes() {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => write!(text, "{}", char::from(byte)),
            _ => write!(text, "%{byte:02x}"),
        };
    }
    text
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn what_was_done_is_known_by_its_label() {
        let (mark, _) = Done::default().with("a b=%é", at(1000));
        let (mark, forgotten) = Done::read(Some(&mark)).with("other", at(2000));
        assert!(forgotten.is_empty());
        let done = Done::read(Some(&mark));
        assert_eq!(done.too_soon("a b=%é", at(1500), DAY), Some(Duration::from_secs(500)));
        assert_eq!(done.too_soon("other", at(1500), DAY), None, "in the future");
        assert_eq!(done.too_soon("third", at(1500), DAY), None);
    }

    #[test]
    fn a_tenth_earlier_is_late_enough() {
        let done = Done::read(Some(&Done::default().with("x", at(0)).0));
        assert!(done.too_soon("x", at(77_759), DAY).is_some());
        assert!(done.too_soon("x", at(77_760), DAY).is_none());
    }

    #[test]
    fn a_mark_of_somebody_else_says_nothing() {
        for mark in [None, Some(""), Some("done x=5"), Some("azmutex-done"), Some("azmutex-done x=no %zz=1 y")] {
            assert_eq!(Done::read(mark), Done::default(), "{mark:?}");
        }
    }

    #[test]
    fn commands_are_told_apart_by_all_their_words() {
        let label = |words: &[&str]| default_label("sh", &words.iter().map(OsString::from).collect::<Vec<_>>());
        // It has to be the same on every machine, and in every version.
        assert_eq!(label(&["sh", "x"]), "sh-94565afb621ff7e0");
        for other in [&["sh"][..], &["sh", "y"], &["shx"], &["sh", "x", ""], &["s", "hx"]] {
            assert_ne!(label(other), label(&["sh", "x"]), "{other:?}");
        }
        assert!(Done::is_short_enough(&default_label(&"é".repeat(1000), &[])));
        assert!(!Done::is_short_enough(&"x".repeat(1000)));
    }

    #[test]
    fn the_oldest_gives_way_when_there_is_no_room() {
        let (mut mark, mut forgotten) = (String::new(), Vec::new());
        for i in 0..200 {
            (mark, forgotten) = Done::read(Some(&mark)).with(&format!("report number {i}"), at(1000 + i));
            assert!(mark.len() <= LONGEST);
        }
        assert_eq!(forgotten.len(), 1);
        let done = Done::read(Some(&mark));
        assert!(
            done.0.len() > 10 && done.0.contains_key("report number 199") && !done.0.contains_key("report number 0")
        );
    }
}
