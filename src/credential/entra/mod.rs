//! [Entra ID](https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory): tokens instead
//! of keys, from whatever gives this program its identity. Feature `entra`.
//!
//! What gives tokens is a [`TokenSource`]. There is one for each place where a program can run, and
//! [`Credential::token_source`] takes any other:
//!
//! ```
//! use std::time::Duration;
//! use azmutex::credential::{Credential, entra::{AccessToken, TokenError}};
//! # fn ask_the_vault() -> std::io::Result<String> { Ok("a token".into()) }
//!
//! fn token() -> Result<AccessToken, TokenError> {
//!     let token = ask_the_vault()?; // an error that may pass, and is tried again
//!     Ok(AccessToken::new(token, Duration::from_secs(3600)))
//! }
//!
//! let credential = Credential::token_source(token);
//! ```
//!
//! All clones of a credential share one token. It is fetched when it is first needed, and again, on a thread of its
//! own, at half of its life, while the one at hand goes on serving; failures are repeated with growing pauses. The first
//! of them is told to each lock that is held or waited for, with the time that the token at hand is still good:
//! [`Event::CredentialFailing`](crate::event::Event::CredentialFailing). When the service refuses a token that should be
//! good, one more is fetched at once.
//!
//! Tokens and secrets are in no text that this crate makes, and its copies of them are wiped when they are done with.
//! They go over https or to this machine, and never after a redirect. Only a platform's endpoint for managed identities may be
//! plain http next to this machine, at a link-local or private address; no proxy comes between.

pub(crate) mod answer;
mod authority;
mod azure_cli;
mod backoff;
pub(super) mod cache;
mod certificate;
mod chain;
mod command;
mod endpoint;
mod github_actions;
mod managed_identity;
mod pem;
mod scope;
mod service_principal;
pub(crate) mod source;
mod workload_identity;

use std::sync::Arc;

pub use azure_cli::AzureCli;
pub use github_actions::GitHubActions;
pub use managed_identity::ManagedIdentity;
pub use service_principal::ServicePrincipal;
pub use source::{AccessToken, TokenError, TokenSource};
pub use workload_identity::WorkloadIdentity;

use self::cache::TokenCache;
use super::{Credential, Kind};

impl Credential {
    /// Tokens from any other source than those of this crate. See [`entra`](self).
    pub fn token_source(source: impl TokenSource) -> Credential {
        Credential::entra(Arc::new(source))
    }

    fn entra(source: Arc<dyn TokenSource>) -> Credential {
        Credential(Arc::new(Kind::Tokens(TokenCache::new(source))))
    }
}
