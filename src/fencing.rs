//! Fencing tokens: numbers that only grow, one for each holder, and what they are computed from.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A token's lowest bits count what happens within one second of the service's clock.
const COUNT_BITS: u32 = 20;

/// The number of one hold of a lock: each is greater than all that were given out before it, for as long as the account
/// exists.
///
/// A lease alone is no fence: a holder may be stopped between a look at its lock and a write, and go on when somebody
/// else has the lock. Whatever is guarded by the lock can refuse such a write, if it remembers the greatest token that
/// it has seen and takes nothing that comes with a smaller one.
///
/// It is the service's time in seconds, shifted by 20 bits, or the last token and one, whichever is greater. So it fits
/// into a signed 64-bit integer of a database, and until the year 2242 into a JSON number.
///
/// ```
/// use azmutex::lease::FencingToken;
///
/// let token: FencingToken = "1882947183214592".parse()?;
/// assert_eq!(token.get(), 1_882_947_183_214_592);
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    #[cfg(test)]
    pub(crate) fn new(number: u64) -> FencingToken {
        FencingToken(number)
    }

    /// Digits and nothing else; none is so great that a signed number could not hold it.
    pub(crate) fn read(text: &str) -> Option<FencingToken> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = text.parse().ok().filter(|_| is_number)?;
        Some(FencingToken(number.unsigned_abs()))
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The second in which it was given out, at the latest.
    fn second(self) -> Second {
        Second(self.0 >> COUNT_BITS)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> u64 {
        token.0
    }
}

/// A second of the service's clock, counted from the Unix epoch.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Second(pub(crate) u64);

impl Second {
    pub(crate) fn of(time: SystemTime) -> Option<Second> {
        time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| Second(since.as_secs()))
    }

    /// `None` if this system knows no such time.
    pub(crate) fn time(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.0))
    }
}

/// The version of a blob, as the service names it. Longer ones than there are do not fit.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ETag {
    length: u8,
    bytes: [u8; ETag::LONGEST],
}

impl ETag {
    const LONGEST: usize = 47;

    /// `None` if it is none that can be sent back, or that names one version and no other.
    pub(crate) fn parse(text: &str) -> Option<ETag> {
        let is_strong = text.len() > 2 && text.starts_with('"') && text.ends_with('"');
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_strong || !is_visible || text.len() > ETag::LONGEST {
            return None;
        }
        let mut bytes = [0; ETag::LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(ETag { length: text.len() as u8, bytes })
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.bytes[..self.length.into()]).unwrap_or_default())
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
    }
}

/// What an answer says of the version of the lock's blob.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    pub(crate) etag: ETag,
    pub(crate) modified: Second,
    /// What the service's clock showed when it answered.
    pub(crate) date: Second,
}

/// What an answer tells of the lock's blob: its version, and what is in its metadata, if that is in the answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Blob {
    pub(crate) version: Version,
    pub(crate) content: Option<Content>,
}

/// The token that is in a blob's metadata.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stored {
    Nothing,
    Token(FencingToken),
    Unreadable,
}

/// By which one who wrote to the blob's metadata knows its write again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WriteId(pub(crate) [u8; 16]);

impl WriteId {
    pub(crate) fn parse(text: &str) -> Option<WriteId> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_one).map(|number| WriteId(number.to_be_bytes()))
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What is to be decided by of what stands in a blob's metadata.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) token: Stored,
    pub(crate) written_by: Option<WriteId>,
    /// There are other names than ours, whose letters' case was not kept on the way.
    pub(crate) has_others: bool,
    /// There is something that cannot be sent back as it came: a name that stands there twice, a value that is no text.
    pub(crate) is_garbled: bool,
}

impl Content {
    /// Of a blob that was made just now.
    #[cfg(test)]
    pub(crate) const NOTHING: Content =
        Content { token: Stored::Nothing, written_by: None, has_others: false, is_garbled: false };
}

/// The next token, and after how many seconds it may be given out: then the service's clock shows the second that it is
/// of. `Err` if there is none.
///
/// Without a token, or with one from before the blob's last change, something may be gone that was greater: metadata
/// that somebody wiped, a blob that was deleted and made again, or replaced by an old copy. What is gone was given out in
/// the second of the last change at the latest, so the next token has to be from a later one.
pub(crate) fn next(stored: Stored, version: &Version) -> Result<(FencingToken, u64), NoToken> {
    let last = match stored {
        Stored::Nothing => None,
        Stored::Token(token) => Some(token),
        Stored::Unreadable => return Err(NoToken::Unreadable),
    };
    let is_certain = last.is_some_and(|token| token.second() >= version.modified);
    let earliest = if is_certain { version.date.0 } else { version.date.0.max(version.modified.0.saturating_add(1)) };
    let greatest = i64::MAX.unsigned_abs();
    let after = last.map_or(Some(0), |token| token.0.checked_add(1).filter(|next| *next <= greatest));
    let after = after.ok_or(NoToken::Unreadable)?;
    let of_time = earliest.checked_mul(1 << COUNT_BITS).filter(|number| *number <= greatest).ok_or(NoToken::Clock)?;
    Ok((FencingToken(of_time.max(after)), earliest - version.date.0))
}

/// Why there is no next token.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NoToken {
    /// What stands in the metadata is no token, or the last that there is.
    Unreadable,
    /// The service's clock shows no time that can be.
    Clock,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"0x8D4BCC2E4835CD0\"";

    fn version(modified: u64, date: u64) -> Version {
        Version { etag: ETag::parse(ETAG).unwrap(), modified: Second(modified), date: Second(date) }
    }

    fn token(second: u64, count: u64) -> FencingToken {
        FencingToken((second << COUNT_BITS) + count)
    }

    #[test]
    fn a_token_is_the_services_time_or_the_last_one_and_one() {
        let next = |stored, modified, date| next(stored, &version(modified, date)).unwrap();
        for (stored, modified, date, expected) in [
            // A blob that has had no token.
            (Stored::Nothing, 100, 200, (token(200, 0), 0)),
            (Stored::Nothing, 200, 200, (token(201, 0), 1)),
            (Stored::Nothing, 202, 200, (token(203, 0), 3)),
            // The last change was the token's own.
            (Stored::Token(token(100, 0)), 100, 200, (token(200, 0), 0)),
            (Stored::Token(token(200, 0)), 200, 200, (token(200, 1), 0)),
            (Stored::Token(token(200, 7)), 200, 200, (token(200, 8), 0)),
            // A token that is ahead of the clock.
            (Stored::Token(token(900, 0)), 200, 200, (token(900, 1), 0)),
            // Something else was the last change.
            (Stored::Token(token(100, 5)), 150, 200, (token(200, 0), 0)),
            (Stored::Token(token(199, 5)), 200, 200, (token(201, 0), 1)),
            (Stored::Token(FencingToken(3)), 100, 200, (token(200, 0), 0)),
        ] {
            assert_eq!(next(stored, modified, date), expected, "{stored:?}, {modified}, {date}");
        }
    }

    #[test]
    fn no_token_follows_what_is_none_or_the_last() {
        for stored in [Stored::Unreadable, Stored::Token(FencingToken(i64::MAX.unsigned_abs()))] {
            assert_eq!(next(stored, &version(1, 2)), Err(NoToken::Unreadable));
        }
        assert_eq!(next(Stored::Nothing, &version(1, u64::MAX)), Err(NoToken::Clock));
        assert_eq!(next(Stored::Nothing, &version(u64::MAX, 1)), Err(NoToken::Clock));
    }

    #[test]
    fn an_etag_is_sent_back_as_it_came_or_not_at_all() {
        for text in [ETAG, "\"1\"", "\"0x1D2F3A4B5C6D7E8F\""] {
            assert_eq!(ETag::parse(text).unwrap().to_string(), text);
        }
        let long = format!("\"{}\"", "x".repeat(46));
        for text in ["", "\"\"", "*", "W/\"1\"", "1", "\"a b\"", "\"é\"", &long] {
            assert!(ETag::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_write_is_known_by_its_own_text_only() {
        let id = WriteId([0xa7; 16]);
        assert_eq!(WriteId::parse(&id.to_string()), Some(id));
        for text in ["", "a7", "+a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a", "ga7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a"] {
            assert_eq!(WriteId::parse(text), None, "{text}");
        }
    }
}
