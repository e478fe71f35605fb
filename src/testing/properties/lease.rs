//! What holds for every lease id.

use crate::error::ErrorKind;
use crate::lease::LeaseId;

/// Of any text at all.
pub(crate) fn any_text(text: &str) {
    let parts: Vec<_> = text.split('-').collect();
    let is_id = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit());
    let read = LeaseId::parse(text).map(|id| id.to_string());
    assert_eq!(read, is_id.then(|| text.to_ascii_lowercase()));
    match text.parse::<LeaseId>() {
        Ok(id) => assert_eq!(Some(id), LeaseId::parse(text)),
        Err(error) => {
            assert!(!is_id && error.kind() == ErrorKind::InvalidInput && error.to_string().len() < 500, "{error}");
        }
    }
    #[cfg(feature = "emulator")]
    super::emulator::any_guid(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::holds;

    #[test]
    fn an_id_is_read_or_refused() {
        holds(".*", |text| any_text(&text));
        holds("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", |text| any_text(&text));
        holds("[{(]?[0-9a-fA-Fg]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}[})]?", |text| any_text(&text));
        let damaged = ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", 0..36_usize, any::<char>());
        holds(damaged, |(text, at, char)| any_text(&format!("{}{char}{}", &text[..at], &text[at + 1..])));
    }
}
