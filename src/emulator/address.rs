//! What a request's URL names.
//! [Naming and referencing](https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata).

use percent_encoding::percent_decode_str;

use super::code::Code;
use super::http::HttpRequest;

const LONGEST_BLOB_NAME: usize = 1024;
const MOST_SEGMENTS: usize = 254;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) account: String,
    /// Whether the path names the account, and not the host.
    pub(crate) is_path_style: bool,
    /// Empty where the URL names none.
    pub(crate) container: String,
    /// `None` where the URL names the container itself, or the account.
    pub(crate) blob: Option<String>,
    /// Decoded as forms are, so that a plus is a space; names in lower case.
    pub(crate) query: Vec<(String, String)>,
}

impl Address {
    pub(crate) fn of(request: &HttpRequest) -> Result<Address, Code> {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let host = request.header("host").unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let account_of_host = host.strip_suffix(".blob.localhost");
        let (account, path) = match account_of_host {
            Some(account) => (account.to_owned(), path),
            None => {
                let (account, path) = path.split_once('/').unwrap_or((path, ""));
                (decoded(account)?, path)
            }
        };
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        // The service takes either slash for the same.
        let blob = decoded(blob)?.replace('\\', "/");
        let blob = Some(blob).filter(|blob| !blob.is_empty());

        let mut query = Vec::new();
        for pair in request.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decoded(&text.replace('+', " "));
            query.push((decoded(name)?.to_ascii_lowercase(), decoded(value)?));
        }
        let is_path_style = account_of_host.is_none();
        Ok(Address { account, is_path_style, container: decoded(container)?, blob, query })
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The account's URL, at that host.
    pub(super) fn endpoint(&self, host: &str) -> String {
        let account = if self.is_path_style { &*self.account } else { "" };
        format!("http://{host}/{account}")
    }

    pub(super) fn check_names(&self) -> Result<(), Code> {
        check_container(&self.container)?;
        self.blob.as_deref().map_or(Ok(()), check_blob)
    }
}

fn decoded(text: &str) -> Result<String, Code> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| Code::InvalidUri)?;
    Ok(text.into_owned())
}

fn check_container(name: &str) -> Result<(), Code> {
    if matches!(name, "$root" | "$web") {
        return Ok(());
    }
    if !(3..=63).contains(&name.chars().count()) {
        return Err(Code::OutOfRangeInput);
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(fits) || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return Err(Code::InvalidResourceName);
    }
    Ok(())
}

fn check_blob(name: &str) -> Result<(), Code> {
    if name.chars().count() > LONGEST_BLOB_NAME || name.split('/').count() > MOST_SEGMENTS {
        return Err(Code::OutOfRangeInput);
    }
    if name.chars().any(|char| char.is_control() || char == '\u{e000}') {
        return Err(Code::InvalidResourceName);
    }
    // On the way to the service they would have been resolved, and named another blob.
    if name.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Code::InvalidUri);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, path: &str, query: &str) -> Result<Address, Code> {
        Address::of(&HttpRequest {
            method: "GET".into(),
            path: path.into(),
            query: query.into(),
            headers: vec![("Host".into(), host.into())],
            body: Vec::new(),
            keep_alive: true,
        })
    }

    fn named(host: &str, path: &str) -> (String, String, Option<String>) {
        let address = address(host, path, "").unwrap();
        (address.account, address.container, address.blob)
    }

    #[test]
    fn the_account_is_in_the_path_or_in_the_host() {
        let expected = ("me".to_owned(), "locks".to_owned(), Some("a b/c".to_owned()));
        for (host, path) in [
            ("127.0.0.1:10000", "/me/locks/a%20b/c"),
            ("localhost", "/me/locks/a%20b%2Fc"),
            ("azurite.internal:1", "/me/locks/a%20b%5cc"),
            ("me.blob.localhost:10000", "/locks/a%20b/c"),
            ("me.blob.localhost", "/locks/a%20b/c"),
        ] {
            assert_eq!(named(host, path), expected, "{host} {path}");
        }
        assert_eq!(named("h", "/me/locks"), ("me".to_owned(), "locks".to_owned(), None));
        assert_eq!(named("h", "/me"), ("me".to_owned(), String::new(), None));
        assert_eq!(named("h", "/"), (String::new(), String::new(), None));
    }

    #[test]
    fn parameters_are_decoded() {
        let address = address("h", "/me/c", "COMP=lease&sig=a%2Bb+c&&x").unwrap();
        assert_eq!(address.parameter("comp"), Some("lease"));
        assert_eq!(address.parameter("sig"), Some("a+b c"));
        assert_eq!(address.parameter("x"), Some(""));
        assert_eq!(address.parameter("y"), None);
    }

    #[test]
    fn what_is_not_utf8_names_nothing() {
        assert_eq!(address("h", "/me/c/%ff", "").err(), Some(Code::InvalidUri));
        assert_eq!(address("h", "/me/c/b", "a=%ff").err(), Some(Code::InvalidUri));
    }

    #[test]
    fn names_have_limits() {
        let long = "c".repeat(63);
        for name in ["abc", "a-b-c", "0a0", "$root", "$web", &long] {
            assert_eq!(check_container(name), Ok(()), "{name}");
        }
        for name in ["", "ab", &format!("{long}c")] {
            assert_eq!(check_container(name), Err(Code::OutOfRangeInput), "{name}");
        }
        for name in ["Abc", "-abc", "abc-", "a--b", "a_b", "a.b", "\u{e9}bc"] {
            assert_eq!(check_container(name), Err(Code::InvalidResourceName), "{name}");
        }
        assert_eq!(check_blob(&"\u{e9}".repeat(1024)), Ok(()));
        assert_eq!(check_blob(&"b".repeat(1025)), Err(Code::OutOfRangeInput));
        assert_eq!(check_blob(&vec!["b"; 254].join("/")), Ok(()));
        assert_eq!(check_blob(&vec!["b"; 255].join("/")), Err(Code::OutOfRangeInput));
        assert_eq!(check_blob("a\u{81}"), Err(Code::InvalidResourceName));
        assert_eq!(check_blob("a/../b"), Err(Code::InvalidUri));
    }
}
