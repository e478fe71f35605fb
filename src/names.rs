//! What an account, a container and a lock may be called.

use crate::error::{Error, Result};
use crate::redact::quoted;

/// [Naming and referencing containers, blobs, and metadata](https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata).
const LONGEST_BLOB_NAME: usize = 1024;
const MOST_SEGMENTS: usize = 254;

/// A storage account's name, which goes into a host name and a header.
pub(crate) fn check_account(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Error::input(format!(
            "{} cannot be an account's name: lower-case letters and digits",
            quoted(name)
        )));
    }
    Ok(())
}

/// A container's name.
pub(crate) fn check_container(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} cannot be a container's name: 3 to 63 lower-case letters, digits and single dashes, with no dash at either end",
        quoted(name)
    )))
}

/// A lock's name, which is its blob's: refused is what the service would refuse, or would take for another blob's name.
/// It is never changed to fit.
pub(crate) fn check_lock(name: &str) -> Result<()> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.encode_utf16().count() > LONGEST_BLOB_NAME {
        "is longer than 1,024 characters"
    } else if name.contains('\\') {
        "has a backslash, which the service takes for a slash"
    } else if name.chars().any(is_forbidden) {
        "has a control character or a Unicode noncharacter"
    } else if name.split('/').count() > MOST_SEGMENTS {
        "has more than 254 segments"
    } else if name.split('/').any(str::is_empty) {
        "begins or ends with a slash, or has two in a row"
    } else if name.split('/').any(|segment| segment.ends_with('.')) {
        "has a segment that ends with a dot"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("{} cannot be a lock's name: it {wrong}", quoted(name))))
}

/// What a lock's name can begin with.
#[cfg(feature = "list")]
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    let wrong = if prefix.encode_utf16().count() > LONGEST_BLOB_NAME {
        "is longer than 1,024 characters"
    } else if prefix.contains('\\') {
        "has a backslash, which the service takes for a slash"
    } else if prefix.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("no lock's name begins with {}: it {wrong}", quoted(prefix))))
}

fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || code == 0xe000 || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn container_names() {
        for good in ["abc", "a-b-c", "0locks9", &"a".repeat(63)] {
            assert!(check_container(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Abc", "a--b", "-abc", "abc-", "a_b", "a.b", "$root", "äbc", "a/b", &"a".repeat(64)] {
            assert!(check_container(bad).is_err(), "{bad}");
        }
    }

    // Scenario 26.
    #[test]
    fn blob_names_that_the_service_refuses_or_changes_are_refused() {
        let segments = |count: usize| vec!["s"; count].join("/");
        let good =
            ["a", ".a", "a b", "%2F", "ü", "a?b#c", "🔒", "A", &"x".repeat(1024), &"é".repeat(1024), &segments(254)];
        for name in good {
            assert!(check_lock(name).is_ok(), "{name}");
        }
        let bad = [
            "",
            ".",
            "..",
            "a.",
            "a/",
            "/a",
            "a//b",
            "a./b",
            "a/../b",
            "a\\b",
            "a\nb",
            "a\0",
            "a\u{7f}",
            "a\u{81}",
            "\u{e000}",
            "\u{fffe}",
            "\u{fdd0}",
            &"x".repeat(1025),
            &"🔒".repeat(513),
            &segments(255),
        ];
        for name in bad {
            assert_eq!(check_lock(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
