//! [Entra ID's tokens](https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory), as
//! far as the service needs to know them: which are good, and until when.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::clock::Moment;
use super::code::{Code, Refusal};
use super::guid::Guid;
use super::locked::locked;

/// The first service version that takes tokens.
const FIRST_VERSION: &str = "2017-11-09";

/// Those that were issued, and when they end.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Moment>>);

impl Tokens {
    pub(super) fn issue(&self, id: Guid, now: Moment, life: Duration) -> String {
        let token = format!("azmutex.emulator.{id}");
        locked(&self.0).insert(token.clone(), now.saturating_add(life));
        token
    }

    pub(super) fn revoke(&self) {
        locked(&self.0).clear();
    }

    /// Of a request with this service version.
    pub(super) fn check(&self, token: &str, version: Option<&str>, now: Moment) -> Result<(), Refusal> {
        if version < Some(FIRST_VERSION) {
            return Err(Refusal::authentication("Authentication scheme Bearer is not supported in this version."));
        }
        let detail = match locked(&self.0).get(token) {
            Some(end) if now < *end => return Ok(()),
            Some(_) => "Lifetime validation failed. The token is expired.",
            None => "Signature validation failed.",
        };
        let details = vec![("AuthenticationErrorDetail", detail.to_owned())];
        Err(Refusal { code: Code::InvalidToken, details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const VERSION: Option<&str> = Some("2021-12-02");

    fn guid(digits: u8) -> Guid {
        Guid::parse(&format!("{digits:032x}")).unwrap()
    }

    fn detail(result: Result<(), Refusal>) -> (Code, String) {
        let refusal = result.unwrap_err();
        (refusal.code, refusal.details.into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn a_token_is_good_from_its_issue_to_its_end() {
        let tokens = Tokens::default();
        let short = tokens.issue(guid(1), SECOND, 2 * SECOND);
        let long = tokens.issue(guid(2), SECOND, Duration::MAX);
        assert!(tokens.check(&short, VERSION, 3 * SECOND - Duration::from_nanos(1)).is_ok());
        let (code, text) = detail(tokens.check(&short, VERSION, 3 * SECOND));
        assert_eq!(code, Code::InvalidToken);
        assert!(text.contains("The token is expired"), "{text}");
        assert!(tokens.check(&long, VERSION, 1_000_000 * SECOND).is_ok());
        tokens.revoke();
        assert!(detail(tokens.check(&long, VERSION, SECOND)).1.contains("Signature validation failed"));
        assert_eq!(detail(tokens.check("", VERSION, SECOND)).0, Code::InvalidToken);
    }

    #[test]
    fn versions_before_there_were_tokens_take_none() {
        let tokens = Tokens::default();
        let token = tokens.issue(guid(1), Duration::ZERO, SECOND);
        assert!(tokens.check(&token, Some(FIRST_VERSION), Duration::ZERO).is_ok());
        for version in [Some("2017-07-29"), None] {
            assert_eq!(detail(tokens.check(&token, version, Duration::ZERO)).0, Code::AuthenticationFailed);
        }
    }
}
