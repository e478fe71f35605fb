//! GUIDs: lease ids and request ids.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Guid([u8; 16]);

impl Guid {
    /// Reads the forms that .NET calls N, D, B and P: 32 digits, with hyphens or without, the former also in braces
    /// or parentheses; in any case.
    pub(crate) fn parse(text: &str) -> Option<Guid> {
        let enclosed = |open, close| text.strip_prefix(open)?.strip_suffix(close);
        let inner = enclosed('{', '}').or_else(|| enclosed('(', ')'));
        let text = inner.unwrap_or(text).as_bytes();
        let hyphens = match text.len() {
            36 => true,
            32 if inner.is_none() => false,
            _ => return None,
        };
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (i, byte) in text.iter().enumerate() {
            if hyphens && matches!(i, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(*byte).to_digit(16)? as u8;
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
            digits += 1;
        }
        Some(Guid(bytes))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes ids that differ between servers, without a source of randomness that could fail.
#[derive(Default)]
pub(super) struct Guids {
    keys: RandomState,
    made: AtomicU64,
}

impl Guids {
    pub(super) fn next(&self) -> Guid {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.keys.hash_one((number, 0)).to_be_bytes());
        bytes[8..].copy_from_slice(&self.keys.hash_one((number, 1)).to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_has_several_forms() {
        let id = "0123abcd-89ab-cdef-0123-456789abcdef";
        for form in [
            id,
            "0123ABCD-89AB-CDEF-0123-456789ABCDEF",
            "0123abcd89abcdef0123456789abcdef",
            "{0123abcd-89ab-cdef-0123-456789abcdef}",
            "(0123abcd-89ab-cdef-0123-456789abcdef)",
        ] {
            assert_eq!(Guid::parse(form).map(|id| id.to_string()).as_deref(), Some(id), "{form}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "job",
            "0123abcd-89ab-cdef-0123-456789abcde",
            "0123abcd-89ab-cdef-0123-456789abcdeg",
            "0123abcd89ab-cdef-0123-456789abcdef-",
            "{0123abcd-89ab-cdef-0123-456789abcdef",
            "{0123abcd-89ab-cdef-0123-456789abcdef)",
            "{0123abcd89abcdef0123456789abcdef}",
            "\u{e9}123abcd-89ab-cdef-0123-456789abcde",
        ] {
            assert_eq!(Guid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn made_ids_differ_and_can_be_read() {
        let (some, others) = (Guids::default(), Guids::default());
        let ids = [some.next(), some.next(), others.next(), others.next()];
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(Guid::parse(&id.to_string()), Some(*id));
            assert!(!ids[..i].contains(id));
        }
    }
}
