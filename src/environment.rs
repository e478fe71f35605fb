//! The environment variables that this crate reads: their names, and the order in which they count.

use std::env;
#[cfg(feature = "entra")]
use std::ffi::OsStr;
use std::ffi::OsString;
#[cfg(feature = "entra")]
use std::path::{Path, PathBuf};
#[cfg(feature = "entra")]
use std::time::Duration;

use crate::error::{Error, Result};
use crate::redact::{Secret, trim};
use crate::transport::proxy::{Proxies, Setting};

pub(crate) const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
pub(crate) const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT";
pub(crate) const KEY: &str = "AZURE_STORAGE_KEY";
pub(crate) const SAS_TOKEN: &str = "AZURE_STORAGE_SAS_TOKEN";
/// The account's own address, where it is not of the usual form: in another cloud, on a private net, an emulator.
pub(crate) const SERVICE_ENDPOINT: &str = "AZURE_STORAGE_SERVICE_ENDPOINT";
/// Our own: the version of the service's interface, where it knows none that is new enough.
pub(crate) const SERVICE_VERSION: &str = "AZMUTEX_SERVICE_VERSION";

/// The proxies, as curl calls them: the first that is set counts. Other than for curl, that is upper case for http, too:
/// there the variable may come from a request's header, if the program is a CGI's.
const HTTPS_PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP_PROXY: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
/// What is reached without a proxy.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Those of Entra ID's sources, as the platforms, and the vendor's libraries, call them.
#[cfg(feature = "entra")]
mod entra {
    pub(crate) const TENANT: &str = "AZURE_TENANT_ID";
    pub(crate) const CLIENT: &str = "AZURE_CLIENT_ID";
    pub(crate) const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";
    pub(crate) const CLIENT_CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
    /// Of a file that is encrypted, which this crate cannot read.
    pub(crate) const CERTIFICATE_PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
    /// With its password and a client id, what the vendor's libraries log in as a user with. This crate does not.
    pub(crate) const USERNAME: &str = "AZURE_USERNAME";
    pub(crate) const PASSWORD: &str = "AZURE_PASSWORD";
    pub(crate) const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
    pub(crate) const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
    /// Of a job of GitHub Actions that may ask for a token about itself.
    pub(crate) const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
    pub(crate) const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
    pub(crate) const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
    pub(crate) const IDENTITY_HEADER: &str = "IDENTITY_HEADER";
    /// Of Service Fabric.
    pub(crate) const IDENTITY_THUMBPRINT: &str = "IDENTITY_SERVER_THUMBPRINT";
    /// Of App Service before 2019, of Cloud Shell, and of Azure Machine Learning.
    pub(crate) const OLD_IDENTITY_ENDPOINT: &str = "MSI_ENDPOINT";
    /// For what stands in for the metadata service.
    pub(crate) const METADATA_HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
    /// Which of the sources is meant:
    /// [credential chains](https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains).
    pub(crate) const TOKEN_CREDENTIALS: &str = "AZURE_TOKEN_CREDENTIALS";
    /// Not read, but set for the Azure CLI.
    pub(crate) const CLI_NO_COLOR: &str = "AZURE_CORE_NO_COLOR";
    /// Our own: how many seconds a run of the Azure CLI may take.
    pub(crate) const CLI_SECONDS: &str = "AZMUTEX_AZ_SECONDS";
    pub(crate) const PATH: &str = "PATH";
}

#[cfg(feature = "entra")]
pub(crate) use entra::*;

/// What files of variables, which are no shell scripts, leave around a value.
const QUOTED: &str = "the value is in quotes, which are no part of it; docker's `--env-file`, for one, keeps \
                                 them: write it without";

fn is_quoted(text: &str) -> bool {
    let inner = |quote| text.trim().strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).is_some()
}

/// Where variables are looked up. One that is empty, or white space alone, counts as absent; white space and line ends
/// around a text are not part of it.
pub(crate) struct Environment<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

/// Which account is meant.
pub(crate) enum Location {
    ConnectionString(Secret),
    /// The account's URL, and its name if that is said, too.
    Endpoint {
        url: String,
        account: Option<String>,
    },
    /// An account of the public cloud.
    Account(String),
}

/// Which credential is meant. Nothing of it has been checked.
pub(crate) enum Chosen {
    ConnectionString(Secret),
    SharedKey {
        account: String,
        key: Secret,
    },
    Sas(Secret),
    #[cfg(feature = "entra")]
    ServicePrincipal {
        application: Application,
        secret: Secret,
        /// Not used beside a secret, but it must be one.
        certificate: Option<PathBuf>,
    },
    #[cfg(feature = "entra")]
    ClientCertificate {
        application: Application,
        file: PathBuf,
    },
    #[cfg(feature = "entra")]
    WorkloadIdentity {
        application: Application,
        token_file: PathBuf,
    },
    #[cfg(feature = "entra")]
    GitHubActions {
        application: Application,
        job: Job,
    },
    #[cfg(feature = "entra")]
    ManagedIdentity {
        platform: Platform,
        client_id: Option<String>,
    },
    #[cfg(feature = "entra")]
    AzureCli,
}

/// An application of Entra ID's, and where it logs in, if that is said.
#[cfg(feature = "entra")]
pub(crate) struct Application {
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) authority: Option<String>,
}

/// Where a job of GitHub Actions asks for tokens about itself.
#[cfg(feature = "entra")]
pub(crate) struct Job {
    pub(crate) url: String,
    pub(crate) token: Secret,
}

/// Where managed identities come from.
#[cfg(feature = "entra")]
pub(crate) enum Platform {
    /// App Service and its kin, who give each process an address and a secret for it.
    App { endpoint: String, header: Secret },
    /// A virtual machine's metadata service, at another address than the usual one if there is a `host`.
    Metadata { host: Option<String> },
}

impl Environment<'_> {
    pub(crate) fn of_process() -> Environment<'static> {
        Environment(&|name| env::var_os(name))
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.secret(name)?.map(|text| text.reveal().to_owned()))
    }

    /// As [`text`](Environment::text), of what is a secret.
    fn secret(&self, name: &str) -> Result<Option<Secret>> {
        let text = self.raw(name).map(OsString::into_string).transpose();
        let text = text.map_err(|_| Error::input(format!("the environment variable {name} is not valid Unicode")))?;
        match text.map(|text| Secret::new(text).trimmed()) {
            Some(text) if is_quoted(text.reveal()) => Err(Error::input(QUOTED).of_variable(name)),
            text => Ok(text),
        }
    }

    fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| value.to_str().is_none_or(|text| !trim(text).is_empty()))
    }

    /// What is said of proxies.
    pub(crate) fn proxies(&self) -> Proxies {
        let first = |variables: &[&'static str]| {
            variables.iter().find_map(|&variable| {
                // What is no Unicode will be no URL, either.
                let value = self.raw(variable)?.to_string_lossy().trim().to_owned();
                (!value.is_empty()).then(|| Setting { variable, url: Secret::new(value) })
            })
        };
        Proxies {
            http: first(&HTTP_PROXY),
            https: first(&HTTPS_PROXY),
            direct: first(&NO_PROXY).map(|list| list.url.reveal().to_owned()).unwrap_or_default(),
        }
    }

    /// In the order that [`Container::from_env`](crate::Container::from_env) promises.
    pub(crate) fn location(&self) -> Result<Location> {
        if let Some(connection_string) = self.secret(CONNECTION_STRING)? {
            return Ok(Location::ConnectionString(connection_string));
        }
        match (self.text(SERVICE_ENDPOINT)?, self.text(ACCOUNT)?) {
            (Some(url), account) => Ok(Location::Endpoint { url, account }),
            (None, Some(account)) => Ok(Location::Account(account)),
            (None, None) => Err(Error::no_credential(format!(
                "the environment names no storage account: looked for {CONNECTION_STRING}, {ACCOUNT} and \
                 {SERVICE_ENDPOINT}"
            ))),
        }
    }

    /// Which version the service is to speak, if that is said.
    pub(crate) fn service_version(&self) -> Result<Option<String>> {
        self.text(SERVICE_VERSION)
    }

    /// In the order that [`Credential::from_env`](crate::credential::Credential::from_env) promises.
    pub(crate) fn credential(&self) -> Result<Chosen> {
        if let Some(connection_string) = self.secret(CONNECTION_STRING)? {
            return Ok(Chosen::ConnectionString(connection_string));
        }
        if let Some(key) = self.secret(KEY)? {
            let Some(account) = self.text(ACCOUNT)? else {
                return Err(Error::no_credential(format!("the environment has {KEY}, but not {ACCOUNT}")));
            };
            return Ok(Chosen::SharedKey { account, key });
        }
        if let Some(token) = self.secret(SAS_TOKEN)? {
            return Ok(Chosen::Sas(token));
        }
        self.token_source()
    }

    #[cfg(not(feature = "entra"))]
    fn token_source(&self) -> Result<Chosen> {
        Err(Error::no_credential(format!(
            "the environment has no credential: looked for {CONNECTION_STRING}, {KEY} and {SAS_TOKEN}; this build is \
             without Entra ID, which is the feature `entra`"
        )))
    }
}

#[cfg(feature = "entra")]
impl Environment<'_> {
    fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A file's name. Some have white space around it, but none a line's end.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.raw(name)?;
        Some(path.to_str().map_or_else(|| PathBuf::from(&path), |path| path.trim_matches(['\r', '\n']).into()))
    }

    /// A variable that `what` cannot do without.
    fn needed<T>(value: Option<T>, name: &str, what: &str) -> Result<T> {
        value.ok_or_else(|| {
            Error::no_credential(format!("{what} needs the environment variable {name}, which is not set"))
        })
    }

    /// The application that `what` logs in as.
    fn application(&self, what: &str) -> Result<Application> {
        let tenant = Environment::needed(self.text(TENANT)?, TENANT, what)?;
        let client_id = Environment::needed(self.text(CLIENT)?, CLIENT, what)?;
        Ok(Application { tenant, client_id, authority: self.text(AUTHORITY)? })
    }

    /// Nobody is asked: only what is said here counts.
    fn token_source(&self) -> Result<Chosen> {
        let allowed = Allowed::of(self.text(TOKEN_CREDENTIALS)?.as_deref())?;
        if allowed.allows(Named::Environment)
            && let Some(chosen) = self.service_principal(allowed == Allowed::One(Named::Environment))?
        {
            return Ok(chosen);
        }
        if allowed.allows(Named::Workload)
            && let Some(chosen) = self.federated(allowed == Allowed::One(Named::Workload))?
        {
            return Ok(chosen);
        }
        let is_named = self.has(IDENTITY_ENDPOINT) && self.has(IDENTITY_HEADER) || self.has(METADATA_HOST);
        let managed = is_named && self.unusable_platform().is_none();
        if allowed.allows(Named::Managed) && (managed || allowed != Allowed::Any) {
            return Ok(Chosen::ManagedIdentity { platform: self.platform()?, client_id: self.text(CLIENT)? });
        }
        if allowed.allows(Named::Cli) && (self.azure_cli().is_some() || allowed != Allowed::Any) {
            return Ok(Chosen::AzureCli);
        }
        let unusable = self.unusable_platform().map(|(what, platform)| {
            format!(". What it has is {what}, as of {platform}, whose identities azmutex cannot use")
        });
        Err(Error::no_credential(format!(
            "the environment has no credential: looked for {CONNECTION_STRING}, {KEY}, {SAS_TOKEN}; for \
             {CLIENT_SECRET}, {CLIENT_CERTIFICATE}, {TOKEN_FILE} or {GITHUB_URL} and {GITHUB_TOKEN}, each with {TENANT} \
             and {CLIENT}; for {IDENTITY_ENDPOINT} with {IDENTITY_HEADER}; for {METADATA_HOST}; and for `az` on the PATH. \
             On a virtual machine with a managed identity set {TOKEN_CREDENTIALS}=ManagedIdentityCredential{}",
            unusable.unwrap_or_default()
        )))
    }

    /// A secret, or a certificate. What is set and cannot be used is an error, and not passed over: the identity that
    /// comes next may be somebody else.
    fn service_principal(&self, is_chosen: bool) -> Result<Option<Chosen>> {
        const WHAT: &str = "a service principal";
        let certificate = self.path(CLIENT_CERTIFICATE);
        if certificate.is_some() && self.has(CERTIFICATE_PASSWORD) {
            return Err(Error::no_credential(format!(
                "the environment has {CERTIFICATE_PASSWORD}, and azmutex reads no encrypted keys: decrypt the key in \
                 the file that {CLIENT_CERTIFICATE} names with `openssl pkey`, and unset the password"
            )));
        }
        match (self.secret(CLIENT_SECRET)?, certificate) {
            (Some(secret), certificate) => {
                Ok(Some(Chosen::ServicePrincipal { application: self.application(WHAT)?, secret, certificate }))
            }
            (None, Some(file)) => Ok(Some(Chosen::ClientCertificate { application: self.application(WHAT)?, file })),
            (None, None) if [CLIENT, USERNAME, PASSWORD].iter().all(|name| self.has(name)) => {
                Err(Error::no_credential(format!(
                    "the environment has {USERNAME} and {PASSWORD}, with which azmutex does not log in; use \
                     {CLIENT_SECRET} or {CLIENT_CERTIFICATE}, or unset them"
                )))
            }
            (None, None) if is_chosen => {
                self.application(WHAT)?;
                Err(Error::no_credential(format!(
                    "{WHAT} needs the environment variable {CLIENT_SECRET} or {CLIENT_CERTIFICATE}, and neither is set"
                )))
            }
            (None, None) => Ok(None),
        }
    }

    /// What an application trusts: the platform's tokens in a file, or GitHub's.
    fn federated(&self, is_chosen: bool) -> Result<Option<Chosen>> {
        let is_job = self.has(GITHUB_URL) && self.has(GITHUB_TOKEN);
        if self.has(TOKEN_FILE) {
            let (application, token_file) = self.workload_identity()?;
            return Ok(Some(Chosen::WorkloadIdentity { application, token_file }));
        }
        // A job that may ask for tokens may have logged in by other means, and says then who it is to those alone.
        if is_job && (is_chosen || self.has(TENANT) && self.has(CLIENT)) {
            let (application, job) = self.github_actions()?;
            return Ok(Some(Chosen::GitHubActions { application, job }));
        }
        if is_chosen {
            self.application("a workload identity")?;
            return Err(Error::no_credential(format!(
                "a workload identity needs {TOKEN_FILE}, or {GITHUB_URL} and {GITHUB_TOKEN}, which are not set"
            )));
        }
        Ok(None)
    }

    /// A workload identity, and the file that its platform's token is in.
    pub(crate) fn workload_identity(&self) -> Result<(Application, PathBuf)> {
        const WHAT: &str = "a workload identity";
        let token_file = Environment::needed(self.path(TOKEN_FILE), TOKEN_FILE, WHAT)?;
        Ok((self.application(WHAT)?, token_file))
    }

    /// The identity of a job of GitHub Actions.
    pub(crate) fn github_actions(&self) -> Result<(Application, Job)> {
        const WHAT: &str = "the identity of a job of GitHub Actions";
        let needed = |value, name| match value {
            Some(value) => Ok(value),
            None => Err(Error::no_credential(format!(
                "{WHAT} needs {name}, which is not set: the job lacks the permission `id-token: write`"
            ))),
        };
        let url = needed(self.secret(GITHUB_URL)?, GITHUB_URL)?.reveal().to_owned();
        let token = needed(self.secret(GITHUB_TOKEN)?, GITHUB_TOKEN)?;
        Ok((self.application(WHAT)?, Job { url, token }))
    }

    /// What managed identities come from here.
    pub(crate) fn platform(&self) -> Result<Platform> {
        if let Some((what, platform)) = self.unusable_platform() {
            return Err(unsupported(&what, platform));
        }
        match (self.text(IDENTITY_ENDPOINT)?, self.secret(IDENTITY_HEADER)?) {
            (Some(endpoint), Some(header)) => Ok(Platform::App { endpoint, header }),
            _ => Ok(Platform::Metadata { host: self.text(METADATA_HOST)? }),
        }
    }

    /// What the environment has of a platform whose identities this crate cannot use, and that platform.
    fn unusable_platform(&self) -> Option<(String, &'static str)> {
        match (self.has(IDENTITY_ENDPOINT), self.has(IDENTITY_HEADER)) {
            (true, true) => self.has(IDENTITY_THUMBPRINT).then(|| (IDENTITY_THUMBPRINT.to_owned(), "Service Fabric")),
            (true, false) => Some((format!("{IDENTITY_ENDPOINT} without {IDENTITY_HEADER}"), "Azure Arc")),
            (false, _) if self.has(OLD_IDENTITY_ENDPOINT) && !self.has(METADATA_HOST) => {
                Some((OLD_IDENTITY_ENDPOINT.to_owned(), "an old App Service, Cloud Shell or Azure Machine Learning"))
            }
            (false, _) => None,
        }
    }

    /// How long a run of the Azure CLI may take, if that is said.
    pub(crate) fn azure_cli_limit(&self) -> Result<Option<Duration>> {
        let Some(text) = self.text(CLI_SECONDS)? else { return Ok(None) };
        let seconds = text.parse().map_err(|_| {
            Error::input(format!("{CLI_SECONDS} in the environment is no whole number of seconds, such as 30"))
        })?;
        Ok(Some(Duration::from_secs(seconds)))
    }

    /// The Azure CLI's program.
    pub(crate) fn azure_cli(&self) -> Option<PathBuf> {
        const NAMES: &[&str] = if cfg!(windows) { &["az.cmd", "az.exe"] } else { &["az"] };
        find(NAMES, &self.raw(PATH)?)
    }
}

#[cfg(feature = "entra")]
fn unsupported(what: &str, platform: &str) -> Error {
    Error::no_credential(format!(
        "the environment has {what}, as of {platform}, whose identities azmutex cannot use; use a service principal's \
         there"
    ))
}

/// A program of one of these names, in an absolute directory of `path`: what lies in the working directory is not trusted.
#[cfg(feature = "entra")]
fn find(names: &[&str], path: &OsStr) -> Option<PathBuf> {
    let directories = env::split_paths(path).filter(|directory| directory.is_absolute());
    directories.flat_map(|directory| names.iter().map(move |name| directory.join(name))).find(|file| is_program(file))
}

#[cfg(feature = "entra")]
fn is_program(file: &Path) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    #[cfg(unix)]
    let runs = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let runs = true;
    metadata.is_file() && runs
}

/// What the environment allows of Entra ID's sources.
#[cfg(feature = "entra")]
#[derive(Copy, Clone, PartialEq, Eq)]
enum Allowed {
    Any,
    /// What a deployed service has.
    Production,
    One(Named),
}

#[cfg(feature = "entra")]
#[derive(Copy, Clone, PartialEq, Eq)]
enum Named {
    Environment,
    Workload,
    Managed,
    Cli,
}

#[cfg(feature = "entra")]
impl Allowed {
    fn of(text: Option<&str>) -> Result<Allowed> {
        let Some(text) = text else { return Ok(Allowed::Any) };
        Ok(match &*text.trim().to_ascii_lowercase() {
            "prod" => Allowed::Production,
            "environmentcredential" => Allowed::One(Named::Environment),
            "workloadidentitycredential" => Allowed::One(Named::Workload),
            "managedidentitycredential" => Allowed::One(Named::Managed),
            "dev" | "azureclicredential" => Allowed::One(Named::Cli),
            _ => {
                return Err(Error::input(format!(
                    "{TOKEN_CREDENTIALS} in the environment is none that azmutex knows: `prod`, `dev`, \
                     `EnvironmentCredential`, `WorkloadIdentityCredential`, `ManagedIdentityCredential` or \
                     `AzureCliCredential`"
                )));
            }
        })
    }

    fn allows(self, named: Named) -> bool {
        match self {
            Allowed::Any => true,
            Allowed::Production => named != Named::Cli,
            Allowed::One(one) => one == named,
        }
    }
}
