//! An identity that the platform vouches for, by a token in a file.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::authority::{Authority, Login};
use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::Credential;
use crate::environment::{Application, Environment};
use crate::error::Result;
use crate::redact::{Secret, shown_path, trim};

/// Tokens of real platforms have one or two thousand characters.
const LONGEST: u64 = 64 * 1024;

/// A workload identity: an application that trusts the tokens which the program's platform puts into a file. In
/// Kubernetes they come from the cluster
/// ([AKS](https://learn.microsoft.com/azure/aks/workload-identity-overview)). It is read anew for each token, since the
/// platform replaces it. A job of GitHub Actions needs no file: [`GitHubActions`](super::GitHubActions).
///
/// ```
/// use azmutex::credential::entra::WorkloadIdentity;
///
/// let client_id = "00001111-aaaa-2222-bbbb-3333cccc4444";
/// # #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
/// let credential = WorkloadIdentity::new("contoso.onmicrosoft.com", client_id, "/run/token").build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "settings do nothing until `build`"]
pub struct WorkloadIdentity {
    login: Login,
    token_file: PathBuf,
}

impl WorkloadIdentity {
    /// The application `client_id` of a tenant (its id, or one of its domain names), with the platform's token in this
    /// file.
    pub fn new(tenant: &str, client_id: &str, token_file: impl Into<PathBuf>) -> WorkloadIdentity {
        WorkloadIdentity { login: Login::new(tenant, client_id), token_file: token_file.into() }
    }

    /// As the platform says: `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and, if it is there,
    /// `AZURE_AUTHORITY_HOST`. AKS sets them all.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential) if one is missing.
    pub fn from_env() -> Result<WorkloadIdentity> {
        let (application, token_file) = Environment::of_process().workload_identity()?;
        Ok(WorkloadIdentity::of(&application, token_file))
    }

    pub(in crate::credential) fn of(application: &Application, token_file: PathBuf) -> WorkloadIdentity {
        WorkloadIdentity { login: Login::of(application), token_file }
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

    /// Checks the settings. Makes no network calls, and does not read the file yet.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting is invalid, or the authority is
    /// https and the crate was built without a TLS feature.
    pub fn build(self) -> Result<Credential> {
        let source = Source { authority: self.login.build()?, token_file: self.token_file };
        Ok(Credential::entra(Arc::new(source)))
    }
}

impl fmt::Debug for WorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadIdentity")
            .field("client_id", &self.login.client_id.text)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Entra ID's tokens for the workload identity that the platform tells in the environment. With settings:
    /// [`WorkloadIdentity`].
    ///
    /// # Errors
    ///
    /// Those of [`WorkloadIdentity::from_env`] and [`WorkloadIdentity::build`].
    pub fn workload_identity() -> Result<Credential> {
        WorkloadIdentity::from_env()?.build()
    }
}

struct Source {
    authority: Authority,
    token_file: PathBuf,
}

impl TokenSource for Source {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        self.authority.by_assertion(read(&self.token_file)?.reveal())
    }

    fn name(&self) -> String {
        format!("the workload identity {} at {}", self.authority.client_id(), self.authority.origin())
    }
}

fn read(path: &Path) -> Result<Secret, TokenError> {
    let mut text = String::with_capacity(8 * 1024);
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let text = Secret::new(text);
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(TokenError::definite(format!(
            "there is no file {}, which should hold the platform's token",
            shown_path(path)
        ))),
        Err(error) => {
            Err(TokenError::passing(format!("cannot read the platform's token from {}: {error}", shown_path(path))))
        }
        // It may be just about to be replaced.
        Ok(_) if trim(text.reveal()).is_empty() => Err(TokenError::passing(format!(
            "the file {}, which should hold the platform's token, is empty",
            shown_path(path)
        ))),
        Ok(_) => Ok(text.trimmed()),
    }
}
