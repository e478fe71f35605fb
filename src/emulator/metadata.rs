//! `x-ms-meta-` headers.

use super::code::{Code, Refusal};
use super::http::HttpRequest;

const PREFIX: &str = "x-ms-meta-";
const LARGEST: usize = 8 * 1024;

pub(super) type Metadata = Vec<(String, String)>;

/// Names keep their case and are compared without it: the sending of one twice is refused with the other headers.
pub(super) fn of(request: &HttpRequest) -> Result<Metadata, Refusal> {
    let mut metadata = Vec::new();
    let mut size = 0;
    for (header, value) in &request.headers {
        let Some(name) = named(header) else { continue };
        if name.is_empty() {
            return Err(Code::EmptyMetadataKey.into());
        }
        if !is_identifier(name) {
            return Err(Code::InvalidMetadata.into());
        }
        size += name.len() + value.len();
        metadata.push((name.to_owned(), value.clone()));
    }
    if size > LARGEST { Err(Code::MetadataTooLarge.into()) } else { Ok(metadata) }
}

fn named(header: &str) -> Option<&str> {
    let (prefix, name) = header.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(name)
}

/// As C# has them, of which a header can only carry what is ASCII.
fn is_identifier(name: &str) -> bool {
    !name.starts_with(|char: char| char.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<Metadata, Code> {
        let request = HttpRequest {
            method: "PUT".into(),
            path: "/".into(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Vec::new(),
            keep_alive: true,
        };
        of(&request).map_err(|refusal| refusal.code)
    }

    #[test]
    fn only_its_headers_are_metadata_and_keep_their_case() {
        let headers = [("x-ms-date", "now"), ("X-Ms-Meta-Owner", "me"), ("x-ms-meta-_a1", ""), ("x-ms-me", "")];
        let expected = vec![("Owner".to_owned(), "me".to_owned()), ("_a1".to_owned(), String::new())];
        assert_eq!(read(&headers), Ok(expected));
    }

    #[test]
    fn names_are_identifiers_and_the_whole_is_limited() {
        for name in ["a-b", "1abc", "a.b"] {
            assert_eq!(read(&[(&format!("x-ms-meta-{name}"), "v")]), Err(Code::InvalidMetadata), "{name}");
        }
        assert_eq!(read(&[("x-ms-meta-", "v")]), Err(Code::EmptyMetadataKey));
        let value = "v".repeat(LARGEST);
        assert!(read(&[("x-ms-meta-a", &value[1..])]).is_ok());
        assert_eq!(read(&[("x-ms-meta-a", &value)]), Err(Code::MetadataTooLarge));
    }
}
