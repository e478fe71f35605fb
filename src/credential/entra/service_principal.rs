//! An application of Entra ID that proves itself.

use std::fmt;
use std::sync::Arc;

use super::authority::{Authority, Login};
use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::Credential;
use crate::environment::Application;
use crate::error::{Error, Result};
use crate::redact::{Secret, trim};

/// A service principal: an application that proves itself with a secret, or with an assertion that it, or somebody whom
/// it trusts, has signed:
/// [client credentials flow](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
///
/// ```
/// use azmutex::credential::entra::ServicePrincipal;
///
/// let tenant = "contoso.onmicrosoft.com";
/// let client_id = "00001111-aaaa-2222-bbbb-3333cccc4444";
/// # #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
/// let credential = ServicePrincipal::secret(tenant, client_id, "secret")
///     .authority("https://login.microsoftonline.us") // the cloud of the US government
///     .build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[must_use = "settings do nothing until `build`"]
pub struct ServicePrincipal {
    login: Login,
    grant: Grant,
}

enum Grant {
    Secret(Secret),
    Assertion(Box<dyn Fn() -> Result<String, TokenError> + Send + Sync>),
}

impl ServicePrincipal {
    /// The application `client_id` of a tenant (its id, or one of its domain names), with one of its secrets: the
    /// value of the secret, not its id.
    pub fn secret(tenant: &str, client_id: &str, secret: &str) -> ServicePrincipal {
        ServicePrincipal { login: Login::new(tenant, client_id), grant: Grant::Secret(Secret::new(secret.to_owned())) }
    }

    pub(in crate::credential) fn of(application: &Application, secret: &Secret) -> ServicePrincipal {
        ServicePrincipal { login: Login::of(application), grant: Grant::Secret(secret.clone()) }
    }

    /// The application `client_id` of a tenant, with an assertion: a JWT that is signed with the application's
    /// [certificate](https://learn.microsoft.com/entra/identity-platform/certificate-credentials), or that is from an
    /// issuer that the application
    /// [trusts](https://learn.microsoft.com/entra/workload-id/workload-identity-federation). `assertion` is called for
    /// each token, on a thread of its own.
    pub fn assertion(
        tenant: &str,
        client_id: &str,
        assertion: impl Fn() -> Result<String, TokenError> + Send + Sync + 'static,
    ) -> ServicePrincipal {
        ServicePrincipal { login: Login::new(tenant, client_id), grant: Grant::Assertion(Box::new(assertion)) }
    }

    /// Where it logs in: `https://login.microsoftonline.us` or `https://login.chinacloudapi.cn`, for the other clouds.
    /// https, or http on this machine. Defaults to `https://login.microsoftonline.com`.
    pub fn authority(mut self, url: &str) -> Self {
        self.login.authority = url.to_owned();
        self
    }

    /// What the token is for. Defaults to `https://storage.azure.com/.default`, in all clouds.
    pub fn scope(mut self, scope: &str) -> Self {
        self.login.scope = scope.to_owned();
        self
    }

    /// Checks the settings. Talks to nobody.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting cannot be what was meant, or the authority is
    /// https and the crate was built without a TLS feature.
    pub fn build(self) -> Result<Credential> {
        if let Grant::Secret(secret) = &self.grant
            && secret.reveal().is_empty()
        {
            return Err(Error::input("the client secret is empty"));
        }
        if let Grant::Secret(secret) = &self.grant
            && trim(secret.reveal()) != secret.reveal()
        {
            return Err(Error::input("the client secret has white space or a line's end around it"));
        }
        let source = Source { authority: self.login.build()?, grant: self.grant };
        Ok(Credential::entra(Arc::new(source)))
    }
}

impl fmt::Debug for ServicePrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePrincipal").field("client_id", &self.login.client_id).finish_non_exhaustive()
    }
}

impl Credential {
    /// Entra ID's tokens for the application `client_id` of a tenant, by one of its secrets. With settings:
    /// [`ServicePrincipal::secret`].
    ///
    /// # Errors
    ///
    /// Those of [`ServicePrincipal::build`].
    pub fn client_secret(tenant: &str, client_id: &str, secret: &str) -> Result<Credential> {
        ServicePrincipal::secret(tenant, client_id, secret).build()
    }

    /// Entra ID's tokens for the application `client_id` of a tenant, by a JWT that `assertion` supplies for each
    /// token. With settings: [`ServicePrincipal::assertion`].
    ///
    /// # Errors
    ///
    /// Those of [`ServicePrincipal::build`].
    pub fn client_assertion(
        tenant: &str,
        client_id: &str,
        assertion: impl Fn() -> Result<String, TokenError> + Send + Sync + 'static,
    ) -> Result<Credential> {
        ServicePrincipal::assertion(tenant, client_id, assertion).build()
    }
}

struct Source {
    authority: Authority,
    grant: Grant,
}

impl TokenSource for Source {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        match &self.grant {
            Grant::Secret(secret) => self.authority.by_secret(secret.reveal()),
            Grant::Assertion(assertion) => self.authority.by_assertion(Secret::new(assertion()?).reveal()),
        }
    }

    fn name(&self) -> String {
        format!("the service principal {} at {}", self.authority.client_id(), self.authority.origin())
    }
}
