//! An application of Entra ID that proves itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::authority::{Authority, Login};
use super::certificate::CertificateFile;
use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::Credential;
use crate::environment::{Application, CLIENT_CERTIFICATE};
use crate::error::{Error, Result};
use crate::redact::{Secret, trim};

/// A service principal: an application that proves itself with a secret, with a certificate, or with an assertion that
/// somebody whom it trusts has signed:
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
    Certificate(CertificateFile),
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

    /// The application `client_id` of a tenant, with one of its
    /// [certificates](https://learn.microsoft.com/entra/identity-platform/certificate-credentials): a PEM file that has
    /// the certificate and its RSA key, PKCS #8 or PKCS #1, without a password. A chain of certificates may be in it, and
    /// is not sent. The file is read when the credential is built, and anew for each token, so that the certificate can
    /// be replaced while a lock is held.
    ///
    /// Of a PFX file, which this crate does not read: `openssl pkcs12 -nodes -in app.pfx -out app.pem`.
    pub fn certificate(tenant: &str, client_id: &str, file: impl Into<PathBuf>) -> ServicePrincipal {
        let file = CertificateFile::new(file.into(), "the client certificate");
        ServicePrincipal { login: Login::new(tenant, client_id), grant: Grant::Certificate(file) }
    }

    pub(in crate::credential) fn of_certificate(application: &Application, file: PathBuf) -> ServicePrincipal {
        let file = CertificateFile::new(file, CLIENT_CERTIFICATE);
        ServicePrincipal { login: Login::of(application), grant: Grant::Certificate(file) }
    }

    /// The application `client_id` of a tenant, with an assertion: a JWT that the application signed itself, with a key
    /// that is in no file for example, or that is from an issuer that the application
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
        self.login.authority = url.into();
        self
    }

    /// What the token is for. Defaults to `https://storage.azure.com/.default`, in all clouds.
    pub fn scope(mut self, scope: &str) -> Self {
        self.login.scope = scope.to_owned();
        self
    }

    /// Checks the settings. Makes no network calls.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting is invalid, or the authority is
    /// https and the crate was built without a TLS feature. [`Credential`](crate::ErrorKind::Credential) if the
    /// certificate's file cannot be used.
    pub fn build(self) -> Result<Credential> {
        match &self.grant {
            Grant::Secret(secret) if secret.reveal().is_empty() => {
                return Err(Error::input("the client secret is empty"));
            }
            Grant::Secret(secret) if trim(secret.reveal()) != secret.reveal() => {
                return Err(Error::input("the client secret has white space or a line's end around it"));
            }
            Grant::Certificate(file) => drop(file.load().map_err(Error::no_credential)?),
            Grant::Secret(_) | Grant::Assertion(_) => {}
        }
        let source = Source { authority: self.login.build()?, grant: self.grant };
        Ok(Credential::entra(Arc::new(source)))
    }
}

impl fmt::Debug for ServicePrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePrincipal").field("client_id", &self.login.client_id.text).finish_non_exhaustive()
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

    /// Entra ID's tokens for the application `client_id` of a tenant, by a certificate and its key in a PEM file. With
    /// settings: [`ServicePrincipal::certificate`].
    ///
    /// # Errors
    ///
    /// Those of [`ServicePrincipal::build`].
    pub fn client_certificate(tenant: &str, client_id: &str, file: impl Into<PathBuf>) -> Result<Credential> {
        ServicePrincipal::certificate(tenant, client_id, file).build()
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
            Grant::Certificate(file) => {
                // It was good, and may be just about to be replaced.
                let signer = file.load().map_err(TokenError::passing)?;
                let assertion = signer.assertion(&self.authority.url(), self.authority.client_id());
                self.authority.by_assertion(assertion.map_err(TokenError::passing)?.reveal())
            }
            Grant::Assertion(assertion) => self.authority.by_assertion(Secret::new(assertion()?).reveal()),
        }
    }

    fn name(&self) -> String {
        let by = if matches!(self.grant, Grant::Certificate(_)) { " with its certificate" } else { "" };
        format!("the service principal {}{by} at {}", self.authority.client_id(), self.authority.origin())
    }
}
