//! What holders leave in the metadata of the lock's blob: the fencing token, the card of whoever had the lock last, and
//! a mark for whoever comes next.

use std::sync::Arc;

use percent_encoding::utf8_percent_encode;

use crate::card::{Card, ENCODED, decoded};
use crate::error::{Error, Result};
use crate::fencing::{Blob, Content, FencingToken, Second, Stored, WriteId};

/// Ours all begin like that. They have no `_`, since some proxies drop headers whose names have one.
const OURS: &str = "azmutex";
const TOKEN: &str = "azmutextoken";
const WRITE: &str = "azmutexwrite";
const CARD: &str = "azmutexcard";
const MARK: &str = "azmutexmark";
/// Bytes of a mark. All of a blob's metadata are 8 KiB at most.
const LONGEST_MARK: usize = 1024;

/// The metadata of a lock's blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Metadata {
    /// Names in lower case, as they come out of an answer, and in order.
    pairs: Vec<(String, String)>,
    /// A name stands there twice, or a value is no text.
    is_garbled: bool,
}

/// A version of the blob, and all of its metadata.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) blob: Blob,
    pub(crate) metadata: Arc<Metadata>,
}

/// What is to be written beside what stands there already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry<'a> {
    /// Of the new write; the old token stays if this brings none.
    pub(crate) token: Option<FencingToken>,
    /// When the lock was taken, and the holder's token.
    pub(crate) card: Option<(&'a Card, Second, Option<FencingToken>)>,
    pub(crate) mark: Option<&'a str>,
}

impl Metadata {
    /// Of names without their prefix, and of values that are texts.
    pub(crate) fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Metadata {
        let mut metadata = Metadata::default();
        for (name, value) in pairs {
            metadata.is_garbled |= value.is_none();
            metadata.pairs.push((name.to_ascii_lowercase(), value.unwrap_or_default().to_owned()));
        }
        metadata.pairs.sort();
        metadata.is_garbled |= metadata.pairs.windows(2).any(|two| two[0].0 == two[1].0);
        metadata
    }

    pub(crate) fn content(&self) -> Content {
        let token = self
            .get(TOKEN)
            .map_or(Stored::Nothing, |text| FencingToken::read(text).map_or(Stored::Unreadable, Stored::Token));
        Content {
            token,
            written_by: self.get(WRITE).and_then(WriteId::parse),
            has_others: self.pairs.iter().any(|(name, _)| !name.starts_with(OURS)),
            is_garbled: self.is_garbled,
        }
    }

    pub(crate) fn token(&self) -> Option<FencingToken> {
        match self.content().token {
            Stored::Token(token) => Some(token),
            Stored::Nothing | Stored::Unreadable => None,
        }
    }

    pub(crate) fn card(&self) -> Option<Card> {
        self.get(CARD).map(Card::from_text)
    }

    pub(crate) fn mark(&self) -> Option<String> {
        self.get(MARK).map(|text| decoded(text).into_owned())
    }

    /// All of it, with what is new.
    pub(crate) fn with(&self, entry: &Entry<'_>, write: WriteId) -> Metadata {
        let mut metadata = self.clone();
        metadata.set(WRITE, Some(write.to_string()));
        if let Some(token) = entry.token {
            metadata.set(TOKEN, Some(token.to_string()));
        }
        if let Some((card, since, token)) = entry.card {
            metadata.set(CARD, Some(card.filled_in(since, token).to_text()));
        }
        if let Some(mark) = entry.mark {
            let text = utf8_percent_encode(mark, ENCODED).to_string();
            metadata.set(MARK, Some(text).filter(|text| !text.is_empty()));
        }
        metadata
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        self.pairs.retain(|(other, _)| other != name);
        if let Some(value) = value {
            self.pairs.push((name.to_owned(), value));
            self.pairs.sort();
        }
    }
}

/// Refuses a mark that does not fit.
pub(crate) fn check_mark(text: &str) -> Result<()> {
    if text.len() > LONGEST_MARK {
        return Err(Error::input(format!("a mark has {LONGEST_MARK} bytes at most, not {}", text.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: WriteId = WriteId([1; 16]);

    fn of(pairs: &[(&str, &str)]) -> Metadata {
        Metadata::new(pairs.iter().map(|(name, value)| (*name, Some(*value))))
    }

    fn token(number: u64) -> FencingToken {
        FencingToken::new(number)
    }

    #[test]
    fn what_is_written_is_read_back_and_all_else_stays() {
        let before = of(&[("azmutexlater", "x"), ("buildid", "7")]);
        let card = Card::new("the north");
        let entry =
            Entry { token: Some(token(5)), card: Some((&card, Second(9), Some(token(5)))), mark: Some("done, 1 é\n") };
        let after = before.with(&entry, WRITER);
        assert_eq!(
            after.content(),
            Content { token: Stored::Token(token(5)), written_by: Some(WRITER), has_others: true, is_garbled: false }
        );
        let read = after.card().unwrap();
        assert_eq!((read.label(), read.pid()), ("the north", Some(std::process::id())));
        assert_eq!(read.since(), Second(9).time());
        assert_eq!(read.fencing_token(), Some(token(5)));
        assert_eq!(read.crate_version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(after.mark().as_deref(), Some("done, 1 é\n"));
        let sent: Vec<_> = after.pairs().collect();
        assert!(sent.contains(&("azmutexlater", "x")) && sent.contains(&("buildid", "7")), "{sent:?}");
        assert!(sent.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())), "{sent:?}");

        // The next one writes a card and nothing else.
        let next = after.with(&Entry { card: Some((&card, Second(10), None)), ..Entry::default() }, WriteId([2; 16]));
        assert_eq!((next.token(), next.mark()), (Some(token(5)), after.mark()));
        assert_eq!(next.card().unwrap().fencing_token(), None);
        let without = next.with(&Entry { mark: Some(""), ..Entry::default() }, WRITER);
        assert_eq!((without.mark(), without.token()), (None, Some(token(5))));
    }

    #[test]
    fn what_is_no_number_is_no_token_and_not_zero() {
        for text in ["", "x", "-1", "+1", "1.0", " 1", "9223372036854775808", "18446744073709551616"] {
            assert_eq!(of(&[("azmutextoken", text)]).content().token, Stored::Unreadable, "{text:?}");
        }
        let greatest = Stored::Token(token(i64::MAX.unsigned_abs()));
        assert_eq!(of(&[("azmutextoken", "9223372036854775807")]).content().token, greatest);
        assert_eq!(of(&[]).content(), Content::NOTHING);
    }

    #[test]
    fn what_cannot_be_sent_back_as_it_came_is_noticed() {
        assert!(!of(&[("azmutexx", "1"), ("b", "2")]).content().is_garbled);
        assert!(of(&[("b", "1"), ("B", "2")]).content().is_garbled);
        assert!(Metadata::new([("b", None)]).content().is_garbled);
    }

    #[test]
    fn a_mark_is_of_bounded_length() {
        check_mark(&"x".repeat(1024)).unwrap();
        assert_eq!(check_mark(&"x".repeat(1025)).unwrap_err().kind(), crate::ErrorKind::InvalidInput);
    }
}
