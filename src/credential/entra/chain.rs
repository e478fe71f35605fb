//! The first source that has a token.

use std::sync::{Arc, OnceLock};

use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::{Credential, Kind};
use crate::error::{Error, Result};

impl Credential {
    /// The first of these credentials that gives a token, for programs that run in several places. They are asked in
    /// this order until one of them does; that one is kept. Each failure costs its timeout: the metadata service
    /// of a [`managed_identity`](Credential::managed_identity), where there is none, 5 s. [`from_env`] chooses without
    /// asking.
    ///
    /// ```
    /// use azmutex::credential::Credential;
    ///
    /// let credential = Credential::chain([Credential::azure_cli()?, Credential::managed_identity()?])?;
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there are none, or one is a key or a SAS, which cannot tell
    /// whether it would do.
    ///
    /// [`from_env`]: Credential::from_env
    pub fn chain(credentials: impl IntoIterator<Item = Credential>) -> Result<Credential> {
        let source = |credential: Credential| match &*credential.0 {
            Kind::Tokens(cache) => Ok(cache.source().clone()),
            Kind::SharedKey(_) | Kind::Sas(_) => {
                Err(Error::input("a chain of credentials is of such that give tokens, not of keys or SAS tokens"))
            }
        };
        let sources: Vec<_> = credentials.into_iter().map(source).collect::<Result<_>>()?;
        if sources.is_empty() {
            return Err(Error::input("a chain of credentials needs one at least"));
        }
        Ok(Credential::entra(Arc::new(Chain { sources, chosen: OnceLock::new() })))
    }
}

struct Chain {
    sources: Vec<Arc<dyn TokenSource>>,
    chosen: OnceLock<Arc<dyn TokenSource>>,
}

impl TokenSource for Chain {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        if let Some(source) = self.chosen.get() {
            return source.fetch();
        }
        let mut errors = Vec::new();
        for source in &self.sources {
            match source.fetch() {
                Ok(token) => {
                    // One fetch at a time: nobody else has chosen meanwhile.
                    let _ = self.chosen.set(source.clone());
                    return Ok(token);
                }
                Err(error) => errors.push((source.name(), error)),
            }
        }
        Err(all_failed(&errors))
    }

    fn name(&self) -> String {
        self.chosen.get().map_or_else(|| "any source of the chain".to_owned(), |source| source.name())
    }
}

/// It may pass if one of them may.
fn all_failed(errors: &[(String, TokenError)]) -> TokenError {
    let text = errors.iter().map(|(name, error)| format!("{name}: {error}")).collect::<Vec<_>>().join("; ");
    let passing: Vec<_> = errors.iter().map(|(_, error)| error).filter(|error| error.is_passing()).collect();
    let Some(backoff) = passing.iter().map(|error| error.backoff).max() else {
        return TokenError::definite(text);
    };
    let retry_after = passing.iter().filter_map(|error| error.retry_after).max();
    TokenError { backoff, retry_after, ..TokenError::passing(text) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::credential::entra::backoff::Backoff;

    struct Scripted(&'static str, Mutex<Vec<Result<AccessToken, TokenError>>>);

    impl TokenSource for Scripted {
        fn fetch(&self) -> Result<AccessToken, TokenError> {
            self.1.lock().unwrap().remove(0)
        }

        fn name(&self) -> String {
            self.0.to_owned()
        }
    }

    fn scripted(name: &'static str, answers: Vec<Result<AccessToken, TokenError>>) -> Arc<dyn TokenSource> {
        Arc::new(Scripted(name, Mutex::new(answers)))
    }

    fn token(text: &str) -> Result<AccessToken, TokenError> {
        Ok(AccessToken::new(text, Duration::from_secs(60)))
    }

    fn chain(sources: Vec<Arc<dyn TokenSource>>) -> Chain {
        Chain { sources, chosen: OnceLock::new() }
    }

    #[test]
    fn the_first_that_has_a_token_is_kept_come_what_may() {
        let first = scripted("a", vec![Err(TokenError::definite("no")), token("of a stranger")]);
        let second = scripted("b", vec![token("b1"), Err(TokenError::passing("down")), token("b2")]);
        let chain = chain(vec![first, second]);
        assert_eq!(chain.fetch().unwrap().text.reveal(), "b1");
        assert_eq!(chain.name(), "b");
        assert_eq!(chain.fetch().unwrap_err().to_string(), "down");
        assert_eq!(chain.fetch().unwrap().text.reveal(), "b2");
    }

    #[test]
    fn when_all_fail_each_is_told() {
        let pause = Duration::from_secs(7);
        let first =
            scripted("a", vec![Err(TokenError::passing("down").retry_after(pause)), Err(TokenError::definite("no"))]);
        let second = scripted("b", vec![Err(TokenError::definite("gone")), Err(TokenError::definite("gone"))]);
        let chain = chain(vec![first, second]);
        let error = chain.fetch().unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_passing()), ("a: down; b: gone", true));
        assert_eq!(error.retry_after, Some(pause));
        assert!(!chain.fetch().unwrap_err().is_passing());
    }

    #[test]
    fn whoever_wants_to_be_left_alone_for_longest_is() {
        let updating = TokenError { backoff: &Backoff::METADATA, ..TokenError::passing("updating") };
        let first = scripted("a", vec![Err(updating)]);
        let second = scripted("b", vec![Err(TokenError::passing("down"))]);
        let error = chain(vec![first, second]).fetch().unwrap_err();
        let pause = |backoff: &Backoff| backoff.pause(1, Duration::ZERO, None, 0);
        assert_eq!(error.pause(1, Duration::ZERO, 0), pause(&Backoff::METADATA));
        assert!(pause(&Backoff::METADATA) > pause(&Backoff::TOKENS));
    }

    #[test]
    fn a_chain_is_of_tokens_and_not_empty() {
        assert!(Credential::chain([]).is_err());
        let key = Credential::shared_key("me", "AAAA").unwrap();
        assert!(Credential::chain([Credential::azure_cli().unwrap(), key]).is_err());
    }
}
