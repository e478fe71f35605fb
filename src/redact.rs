//! What may be shown, and what never: secrets, and the texts of others in which one may be.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// Characters of somebody else's text.
const LONGEST: usize = 600;
/// Names are no longer, and account keys are.
const LONGEST_NAME: usize = 63;
/// Few paths are longer, and keys and tokens in a text are.
#[cfg(feature = "entra")]
const LONGEST_PATH: usize = 255;
/// No token is shorter.
#[cfg(feature = "entra")]
const LEAST_TOKEN: usize = 21;

/// Text that nobody may see. Wiped when it is dropped. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// Without the white space and line ends around it.
    pub(crate) fn trimmed(self) -> Secret {
        let text = trim(&self.0);
        if text.len() == self.0.len() { self } else { Secret::new(text.to_owned()) }
    }

    /// Its text, for whoever sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// What people and editors leave around a text: white space, line ends, a byte order mark.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// A server's text on one line, of bounded length, and without our secrets, should it have sent them back.
pub(crate) fn tidy(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "<redacted>");
        if percent_decode_str(&text).decode_utf8_lossy().contains(secret) {
            return "<redacted>".to_owned();
        }
    }
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(LONGEST).collect()
}

/// A name that was refused, for the error that says so; unless it may be a secret in the wrong place.
pub(crate) fn quoted(name: &str) -> String {
    if name.len() <= LONGEST_NAME && !name.contains(['=', '&', '?', '@', '~']) {
        format!("{name:?}")
    } else {
        "what was given".to_owned()
    }
}

/// The name of a file that cannot be used, for the error that says so; unless it may be what should be in the file.
#[cfg(feature = "entra")]
pub(crate) fn shown_path(path: &std::path::Path) -> String {
    let name = path.to_string_lossy();
    let is_secret =
        name.len() > LONGEST_PATH || name.contains(['=', '&', '?', '@', '~', '+', '\n', '\r']) || name.contains("eyJ");
    if is_secret && !path.exists() { "what was given".to_owned() } else { name.into_owned() }
}

/// Without what looks like a token: a JWT begins with the encoding of `{"`.
#[cfg(feature = "entra")]
pub(crate) fn without_tokens(text: &str) -> String {
    let part_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+' | '/');
    let words = text.split_inclusive(|c| !part_of_token(c));
    words.map(|word| if word.len() >= LEAST_TOKEN && word.contains("eyJ") { "<redacted> " } else { word }).collect()
}

#[cfg(all(test, feature = "entra"))]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_unless_it_may_be_what_should_be_in_the_file() {
        let shown = |path: &str| shown_path(std::path::Path::new(path));
        for path in ["/run/secrets/azure/app.pem", r"C:\certs\my app.pem", "token", env!("CARGO_MANIFEST_DIR")] {
            assert_eq!(shown(path), path);
        }
        let long = "MIIJ".repeat(100);
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIE";
        for secret in [pem, &long, "c2VjcmV0c2VjcmV0==", "eyJ0eXAi.eyJhdWQi.x", "abc8Q~secret", "sig=x&sp=r", "a+b/c"] {
            assert_eq!(shown(secret), "what was given");
        }
    }

    #[test]
    fn what_looks_like_a_token_is_not_shown() {
        let text = r#"ERROR: {"accessToken": "eyJ0eXAiOiJKV1QiLCJhbGciOi.J9.x_y-z", "a": 1} of b"#;
        let shown = without_tokens(text);
        assert!(!shown.contains("eyJ") && shown.starts_with("ERROR: ") && shown.ends_with("of b"), "{shown}");
    }
}
