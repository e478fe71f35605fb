//! The identity of a job of GitHub Actions.

use std::fmt;
use std::sync::Arc;

use percent_encoding::utf8_percent_encode;

use super::authority::{Authority, Login, UNRESERVED};
use super::endpoint::Endpoint;
use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::Credential;
use crate::environment::{Application, Environment, GITHUB_TOKEN, GITHUB_URL, Job};
use crate::error::{Error, Result};
use crate::redact::Secret;
use crate::transport::url::Url;

/// What applications are told to expect:
/// [GitHub Actions](https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust).
const AUDIENCE: &str = "api://AzureADTokenExchange";
const LONGEST_AUDIENCE: usize = 1024;

/// A job of a workflow of GitHub's, and an application that
/// [trusts](https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust) its repository, branch
/// or environment. No secret is stored anywhere, and the workflow needs no step that logs in: GitHub is asked for a new
/// assertion each time that Entra ID is asked for a token, so a job keeps its lock for however long it runs.
///
/// The job must be permitted to ask (`id-token: write`), and say which application it is. With this in the environment,
/// [`Credential::from_env`] chooses it:
///
/// ```yaml
/// on:
///   push:
///     branches: [main]
///
/// permissions:
///   id-token: write # without it, GitHub gives the job no identity
///   contents: read
///
/// jobs:
///   migrate:
///     runs-on: ubuntu-latest
///     env:
///       AZURE_CLIENT_ID: 00001111-aaaa-2222-bbbb-3333cccc4444 # of the application, or of a user-assigned identity
///       AZURE_TENANT_ID: aaaabbbb-0000-cccc-1111-dddd2222eeee
///       AZURE_STORAGE_ACCOUNT: myaccount
///     steps:
///       - uses: actions/checkout@v4
///       - run: cargo install azmutex --features cli,entra
///       - run: azmutex doctor migration
///       - run: azmutex run migration -- ./migrate.sh
/// ```
///
/// The application trusts such a job by a federated credential, made once, and has the role `Storage Blob Data
/// Contributor` for the container:
///
/// ```sh
/// az ad app federated-credential create --id 00001111-aaaa-2222-bbbb-3333cccc4444 --parameters '{
///   "name": "migrate",
///   "issuer": "https://token.actions.githubusercontent.com",
///   "subject": "repo:contoso/app:ref:refs/heads/main",
///   "audiences": ["api://AzureADTokenExchange"]
/// }'
/// ```
///
/// In code, with settings:
///
/// ```no_run
/// use azmutex::credential::entra::GitHubActions;
///
/// let credential = GitHubActions::from_env()?.build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[must_use = "settings do nothing until `build`"]
pub struct GitHubActions {
    login: Login,
    job: Job,
    audience: String,
}

impl GitHubActions {
    /// The application `client_id` of a tenant (its id, or one of its domain names), with the URL and the token that
    /// GitHub gives the job to ask with. The URL is https, or http on this machine.
    pub fn new(tenant: &str, client_id: &str, request_url: &str, request_token: &str) -> GitHubActions {
        let job = Job { url: request_url.to_owned(), token: Secret::new(request_token.to_owned()) };
        GitHubActions { login: Login::new(tenant, client_id), job, audience: AUDIENCE.to_owned() }
    }

    /// As the job's environment says: `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, which GitHub
    /// sets; `AZURE_CLIENT_ID` and `AZURE_TENANT_ID`, which the workflow sets; and, if it is there,
    /// `AZURE_AUTHORITY_HOST`.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential) if one is missing.
    pub fn from_env() -> Result<GitHubActions> {
        let (application, job) = Environment::of_process().github_actions()?;
        Ok(GitHubActions::of(&application, job))
    }

    pub(in crate::credential) fn of(application: &Application, job: Job) -> GitHubActions {
        GitHubActions { login: Login::of(application), job, audience: AUDIENCE.to_owned() }
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

    /// Whom GitHub's assertion is for, as in the application's federated credential. Defaults to
    /// `api://AzureADTokenExchange`.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = audience.to_owned();
        self
    }

    /// Checks the settings. Makes no network calls.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting, or what GitHub gives, is invalid, or one of the two
    /// endpoints is https and the crate was built without a TLS feature.
    pub fn build(self) -> Result<Credential> {
        let audience = &self.audience;
        if audience.is_empty()
            || audience.len() > LONGEST_AUDIENCE
            || !audience.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::input("the audience must be one, like `api://AzureADTokenExchange`"));
        }
        let audience = utf8_percent_encode(audience, UNRESERVED);
        let (base, query) = self.job.url.split_once('?').unwrap_or((&self.job.url, ""));
        let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte));
        let url = Url::parse(base).ok().filter(|url| fits(&url.path) && fits(query));
        let url = url.ok_or_else(|| Error::input(format!("GitHub's {GITHUB_URL} is no URL of an endpoint")))?;
        if !url.https && !url.is_loopback() {
            return Err(Error::input(format!("GitHub's {GITHUB_URL} must be https")));
        }
        let token = self.job.token.reveal();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::input(format!("GitHub's {GITHUB_TOKEN} is no token")));
        }
        let join = if query.is_empty() { "" } else { "&" };
        let source = Source {
            authority: self.login.build()?,
            endpoint: Endpoint::remote(&url)?,
            path: url.path,
            query: format!("{query}{join}audience={audience}"),
            token: self.job.token,
        };
        Ok(Credential::entra(Arc::new(source)))
    }
}

impl fmt::Debug for GitHubActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubActions").field("client_id", &self.login.client_id.text).finish_non_exhaustive()
    }
}

impl Credential {
    /// Entra ID's tokens for the application that this job of GitHub Actions says it is. With settings, and a whole
    /// workflow: [`GitHubActions`].
    ///
    /// # Errors
    ///
    /// Those of [`GitHubActions::from_env`] and [`GitHubActions::build`].
    pub fn github_actions() -> Result<Credential> {
        GitHubActions::from_env()?.build()
    }
}

struct Source {
    authority: Authority,
    /// GitHub's.
    endpoint: Endpoint,
    path: String,
    query: String,
    token: Secret,
}

impl TokenSource for Source {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        let assertion = self.endpoint.assertion(&self.path, &self.query, &self.token)?;
        self.authority.by_assertion(assertion.reveal())
    }

    fn name(&self) -> String {
        format!("the workload identity {} of GitHub Actions at {}", self.authority.client_id(), self.authority.origin())
    }
}
