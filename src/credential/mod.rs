//! What proves to the service that we may use the container.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::redact::Secret;
use crate::transport::Request;

#[cfg(feature = "entra")]
#[cfg_attr(docsrs, doc(cfg(feature = "entra")))]
pub mod entra;
mod from_env;
pub(crate) mod sas;
pub(crate) mod shared_key;

#[cfg(feature = "entra")]
use self::entra::cache::{NoToken, Token, TokenCache};
use sas::Sas;
pub(crate) use sas::{Reach, Terms};
use shared_key::SharedKey;

/// A storage account's key, a shared access signature (SAS), or, with the feature `entra`, a source of Entra ID's
/// tokens.
///
/// `Debug` never shows the secret.
///
/// ```
/// use azmutex::credential::Credential;
///
/// let key = Credential::shared_key("myaccount", "c2VjcmV0")?;
/// assert_eq!(format!("{key:?}"), r#"SharedKey { account: "myaccount", .. }"#);
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone)]
pub struct Credential(Arc<Kind>);

// A source of tokens may be of any type, but it runs on a thread of its own, where its panic ends.
impl UnwindSafe for Credential {}
impl RefUnwindSafe for Credential {}

enum Kind {
    SharedKey(SharedKey),
    Sas(Sas),
    #[cfg(feature = "entra")]
    Tokens(TokenCache),
}

/// What went with a request to prove that we may make it. No text may show it.
pub(crate) enum Proof {
    /// Good for this request again, or, in a SAS, for any other.
    Signature(Secret),
    #[cfg(feature = "entra")]
    Token(Arc<Token>),
}

impl Proof {
    pub(crate) fn secret(&self) -> &str {
        match self {
            Proof::Signature(signature) => signature.reveal(),
            #[cfg(feature = "entra")]
            Proof::Token(token) => token.text(),
        }
    }
}

/// Why a request could not be given its proof.
pub(crate) struct NoProof {
    /// For a person.
    pub(crate) hint: String,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// It makes sense to try again, after this pause.
    pub(crate) retry_after: Option<Duration>,
    /// Time was up.
    pub(crate) is_late: bool,
}

#[cfg(feature = "entra")]
impl NoProof {
    fn of(no_token: &NoToken, source: &str) -> NoProof {
        let NoToken { error, retry_after, is_late } = no_token;
        NoProof {
            hint: format!("no token from {source}: {error}"),
            retry_after: error.is_passing().then_some(*retry_after),
            source: error.beneath(),
            is_late: *is_late,
        }
    }
}

/// The proof at hand could not be renewed, and is good for the time `left`.
pub(crate) struct Failing {
    /// Grows with each row of failures: 1 is the first.
    pub(crate) row: u64,
    pub(crate) left: Duration,
    pub(crate) why: NoProof,
}

impl Credential {
    /// A storage account and one of its two keys, as the portal shows it (base64).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the account's name has other characters than lower-case
    /// letters, digits and `-`, or the key is not base64.
    pub fn shared_key(account: &str, key: &str) -> Result<Credential> {
        Ok(Credential(Arc::new(Kind::SharedKey(SharedKey::new(account, key)?))))
    }

    /// A SAS token, of an account, a service or a user delegation: the text after the `?` of a SAS URL, with or without
    /// that `?`. It is sent as it stands, and never over plain http to another machine. For a whole URL there are
    /// [`Container::from_sas_url`](crate::Container::from_sas_url) and
    /// [`AzureMutex::from_sas_url`](crate::AzureMutex::from_sas_url).
    ///
    /// The least that will do is the right to write (`w`) one blob: it makes that blob, if it is missing, and takes,
    /// renews and releases its lease. With read (`r`), waiting costs a tenth. Only an *account* SAS can make the
    /// container. When the service refuses it after it has expired, the error says since when; no clock of this machine
    /// is asked before that.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not the query of a URL, or has no signature.
    pub fn sas(token: &str) -> Result<Credential> {
        Ok(Credential(Arc::new(Kind::Sas(Sas::new(token)?))))
    }

    /// Adds to `request` what proves that we may make it. Where that has to be got first, no longer than `limit`.
    #[cfg_attr(not(feature = "entra"), expect(unused_variables, reason = "keys and signatures are always at hand"))]
    pub(crate) fn authorize(&self, request: &mut Request<'_>, limit: Duration) -> Result<Proof, NoProof> {
        match &*self.0 {
            Kind::SharedKey(key) => Ok(Proof::Signature(key.sign(request))),
            Kind::Sas(sas) => Ok(Proof::Signature(sas.append_to(request.query.to_mut()))),
            #[cfg(feature = "entra")]
            Kind::Tokens(cache) => {
                let token = cache.token(limit).map_err(|no_token| NoProof::of(&no_token, &cache.source().name()))?;
                request.headers.push(("authorization", format!("Bearer {}", token.text()).into()));
                Ok(Proof::Token(token))
            }
        }
    }

    /// Whether what proves it could not be renewed, when that was tried last, though it still serves. Never waits.
    pub(crate) fn failing(&self) -> Option<Failing> {
        match &*self.0 {
            #[cfg(feature = "entra")]
            Kind::Tokens(cache) => {
                let entra::cache::Failing { row, left, why } = cache.failing()?;
                Some(Failing { row, left, why: NoProof::of(&why, &cache.source().name()) })
            }
            _ => None,
        }
    }

    /// The service did not accept `proof`. Whether there may be a better one by the next
    /// [`authorize`](Credential::authorize).
    pub(crate) fn rejected(&self, proof: &Proof) -> bool {
        match (&*self.0, proof) {
            #[cfg(feature = "entra")]
            (Kind::Tokens(cache), Proof::Token(token)) => cache.rejected(token),
            _ => false,
        }
    }

    /// What it says about itself, if it is a SAS.
    pub(crate) fn sas_terms(&self) -> Option<&Terms> {
        match &*self.0 {
            Kind::Sas(sas) => Some(sas.terms()),
            _ => None,
        }
    }

    /// Of which sort it is, for a person.
    pub(crate) fn describe(&self) -> String {
        match &*self.0 {
            Kind::SharedKey(_) => "an account key".to_owned(),
            Kind::Sas(sas) => sas.terms().to_string(),
            #[cfg(feature = "entra")]
            Kind::Tokens(cache) => format!("a token of {}", cache.source().name()),
        }
    }

    /// Whether whoever reads one request can make others, in its name.
    pub(crate) fn is_bearer(&self) -> bool {
        !matches!(*self.0, Kind::SharedKey(_))
    }

    /// Whether it signs with the date, and so depends on this machine's clock.
    pub(crate) fn is_dated(&self) -> bool {
        matches!(*self.0, Kind::SharedKey(_))
    }

    /// Whether it is Entra ID's.
    pub(crate) fn is_token(&self) -> bool {
        #[cfg(feature = "entra")]
        return matches!(*self.0, Kind::Tokens(_));
        #[cfg(not(feature = "entra"))]
        false
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::SharedKey(key) => {
                f.debug_struct("SharedKey").field("account", &key.account()).finish_non_exhaustive()
            }
            Kind::Sas(_) => f.debug_struct("Sas").finish_non_exhaustive(),
            #[cfg(feature = "entra")]
            Kind::Tokens(cache) => {
                f.debug_struct("Tokens").field("source", &cache.source().name()).finish_non_exhaustive()
            }
        }
    }
}
