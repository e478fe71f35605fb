//! How a [`Container`] is made: from a connection string, a URL, the environment, or piece by piece.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{Container, Inner, endpoint};
use crate::connection_string::{self, Parts};
use crate::credential::{Credential, Reach};
use crate::environment::{
    ACCOUNT, CONNECTION_STRING, Environment, Location, SAS_TOKEN, SERVICE_ENDPOINT, SERVICE_VERSION,
};
use crate::error::{Error, Result};
use crate::names;
use crate::queue::Queues;
use crate::redact::quoted;
use crate::rest::request::{OLDEST_VERSION, VERSION};
use crate::retry::Policy;
#[cfg(test)]
use crate::transport::CachingResolver;
use crate::transport::Transport;
use crate::transport::url::{self, Url};

impl Container {
    /// The container of that name in the account of an Azure Storage
    /// [connection string](https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string): with
    /// an account key or a `SharedAccessSignature`, a `BlobEndpoint` of its own, or `UseDevelopmentStorage=true`.
    ///
    /// A `BlobEndpoint` is the account's, without the container: `https://myaccount.blob.core.windows.net` has no path;
    /// at an IP address, `localhost` or a host of a single label the path is the account's name, as in
    /// `http://127.0.0.1:10000/devstoreaccount1`; at any other host there is none, or the `AccountName`. A slash at the
    /// end does not count.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the connection string or the container's name cannot be
    /// right; if its endpoint is a container's, another service's or the secondary one; or if it asks for plain http to
    /// another machine (see [`Builder::allow_http`]);
    /// [`Credential`](crate::ErrorKind::Credential) if it holds no secret.
    pub fn from_connection_string(connection_string: &str, container: &str) -> Result<Container> {
        Builder::from_connection_string(connection_string, container)?.build()
    }

    /// The container of a SAS URL such as `https://myaccount.blob.core.windows.net/locks?sv=..&sig=..`: what the portal
    /// and the Azure CLI make when they are asked for a container's shared access signature. For a single blob's there
    /// is [`AzureMutex::from_sas_url`](crate::AzureMutex::from_sas_url).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is no such URL, such as an account's, which names no
    /// container; or if it is plain http to another machine.
    pub fn from_sas_url(url: &str) -> Result<Container> {
        Builder::from_sas_url(url)?.build()
    }

    /// The container of that name in the account that the environment names, with the Azure CLI's variables:
    /// `AZURE_STORAGE_CONNECTION_STRING`; or else `AZURE_STORAGE_SERVICE_ENDPOINT`, a URL such as
    /// `https://myaccount.blob.core.usgovcloudapi.net`, of the form of a `BlobEndpoint` of
    /// [`from_connection_string`](Container::from_connection_string); or else `AZURE_STORAGE_ACCOUNT`, in the public
    /// cloud. With the credential of [`Credential::from_env`]. An empty variable counts as absent. If there are both, the
    /// account must be that of the endpoint, and an endpoint of your own host may have it for a path.
    /// `AZMUTEX_SERVICE_VERSION` is the version of the service's interface, for an Azure Stack Hub: see
    /// [`Builder::service_version`].
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential), naming what was looked for, if there is no account or no credential;
    /// as [`from_connection_string`](Container::from_connection_string) otherwise, with the name of the variable.
    pub fn from_env(container: &str) -> Result<Container> {
        Builder::from_env(container)?.build()
    }

    /// The container of that name in the storage emulator on `127.0.0.1:10000`, with its well-known key.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a container cannot have that name.
    pub fn development(container: &str) -> Result<Container> {
        Container::from_connection_string(connection_string::DEVELOPMENT, container)
    }

    /// The container at a URL such as `https://myaccount.blob.core.windows.net/locks`, with settings. Where the account
    /// is not in the host's name, as at an IP address, `localhost` or a single label, it is before the container:
    /// `http://127.0.0.1:10000/devstoreaccount1/locks`.
    ///
    /// ```
    /// use azmutex::{Container, credential::Credential};
    ///
    /// let key = Credential::shared_key("myaccount", "c2VjcmV0")?;
    /// let container = Container::builder("https://myaccount.blob.core.windows.net/locks", key)
    ///     .never_create_container()
    ///     .build()?;
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    pub fn builder(container_url: &str, credential: Credential) -> Builder {
        Builder {
            url: container_url.to_owned(),
            below: None,
            variable: None,
            credential,
            policy: Policy::default(),
            create: true,
            lower_cases: false,
            allow_http: false,
            version: VERSION.to_owned(),
        }
    }
}

/// Settings of a [`Container`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    url: String,
    /// Where the URL is only the account's: what is still to be appended.
    below: Option<Below>,
    /// The environment variable that the URL comes from.
    variable: Option<&'static str>,
    credential: Credential,
    policy: Policy,
    create: bool,
    lower_cases: bool,
    allow_http: bool,
    version: String,
}

/// A container below an account's URL.
#[derive(Clone)]
struct Below {
    container: String,
    /// The account's name, where that is said apart from the URL.
    account: Option<String>,
}

impl Builder {
    /// As [`Container::from_connection_string`], with settings to follow.
    ///
    /// # Errors
    ///
    /// Those of [`Container::from_connection_string`].
    pub fn from_connection_string(connection_string: &str, container: &str) -> Result<Builder> {
        let Parts { endpoint, account, auth } = connection_string::parse(connection_string)?;
        let credential = Credential::of(&auth)?;
        let below = Below { container: container.to_owned(), account };
        Ok(Builder { below: Some(below), ..Container::builder(&endpoint, credential) })
    }

    /// As [`Container::from_sas_url`], with settings to follow.
    ///
    /// # Errors
    ///
    /// Those of [`Container::from_sas_url`].
    pub fn from_sas_url(url: &str) -> Result<Builder> {
        let (container_url, credential) = take_sas(url)?;
        if credential.sas_terms().is_some_and(|terms| terms.reach == Reach::Blob) {
            return Err(Error::input("the SAS URL is a single blob's; use `AzureMutex::from_sas_url`"));
        }
        Ok(Container::builder(container_url, credential))
    }

    /// That of the blob of a SAS URL, and the blob's name.
    pub(crate) fn from_blob_sas_url(url: &str) -> Result<(Builder, String)> {
        let (blob_url, credential) = take_sas(url)?;
        let url = Url::parse(blob_url)?;
        let depth = if url.is_path_style() { 3 } else { 2 };
        let mut parts = url.path.splitn(depth + 1, '/');
        let base: Vec<_> = parts.by_ref().take(depth).collect();
        let name = parts.next().filter(|name| !name.is_empty());
        let Some(name) = name.and_then(|name| percent_decode_str(name).decode_utf8().ok()) else {
            return Err(Error::input(
                "the SAS URL names no blob; it is like https://account.blob.core.windows.net/container/blob?sv=..",
            ));
        };
        Ok((Container::builder(&format!("{}{}", url.origin, base.join("/")), credential), name.into_owned()))
    }

    /// As [`Container::from_env`], with settings to follow.
    ///
    /// # Errors
    ///
    /// Those of [`Container::from_env`].
    pub fn from_env(container: &str) -> Result<Builder> {
        Builder::from_variables(&Environment::of_process(), container)
    }

    pub(crate) fn from_variables(environment: &Environment<'_>, container: &str) -> Result<Builder> {
        let builder = Builder::from_location(environment, container)?;
        let Some(version) = environment.service_version()? else { return Ok(builder) };
        check_version(&version).map_err(|error| error.of_variable(SERVICE_VERSION))?;
        Ok(builder.service_version(&version))
    }

    fn from_location(environment: &Environment<'_>, container: &str) -> Result<Builder> {
        let (url, account, variable) = match environment.location()? {
            Location::ConnectionString(text) => {
                let builder = Builder::from_connection_string(text.reveal(), container);
                let builder = builder.map_err(|error| error.of_variable(CONNECTION_STRING))?;
                return Ok(Builder { variable: Some(CONNECTION_STRING), ..builder });
            }
            Location::Endpoint { url, account } => (url, account, SERVICE_ENDPOINT),
            Location::Account(account) => {
                let url = connection_string::endpoint("https", &account, connection_string::SUFFIX);
                (url.map_err(|error| error.of_variable(ACCOUNT))?, Some(account), ACCOUNT)
            }
        };
        let below = Below { container: container.to_owned(), account };
        let credential = Credential::from_variables(environment)?;
        Ok(Builder { below: Some(below), variable: Some(variable), ..Container::builder(&url, credential) })
    }

    /// How requests are bounded and repeated. Defaults to [`Policy::default`].
    pub fn retry(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Do not create the container when it is missing; the lock is then [`NotFound`](crate::ErrorKind::NotFound). By
    /// default it is created. The lock's blob is created in either case, and nothing is ever deleted or overwritten.
    pub fn never_create_container(mut self) -> Self {
        self.create = false;
        self
    }

    /// Allow plain http to another machine, such as an emulator on a private network, with an account's key.
    /// Everybody on the way can then read and change what is sent. By default only this machine's own loopback
    /// addresses are spoken to without TLS; a SAS or a token never goes anywhere else, since whoever reads it has it.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Accept that metadata which others left on a lock's blob are written back with their names in lower case.
    ///
    /// A fencing token, a card and a mark are metadata of the lock's blob, and the service takes all of them at once; but
    /// HTTP libraries tell names in lower case only. So where there are names of others, nothing is written, and the error
    /// says so, unless this was called. It changes `BuildId` to `buildid`, and no value. Some proxies (nginx, unless it is
    /// told otherwise) drop headers whose names have a `_`, so names like that may be lost behind one.
    pub fn lower_case_metadata(mut self) -> Self {
        self.lower_cases = true;
        self
    }

    /// The [version](https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services) of
    /// the service's interface, a date from `2017-11-09` on: for an Azure Stack Hub, which does not know newer ones than
    /// its own. Defaults to what `AZMUTEX_SERVICE_VERSION` says, if the container comes
    /// [from the environment](Builder::from_env), and otherwise to `2021-12-02`.
    pub fn service_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Checks the settings. Makes no network calls.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the URL, the container's name or a setting cannot be right;
    /// if the URL is plain http to another machine, without [`allow_http`](Builder::allow_http); if it is https and
    /// the crate was built without a TLS feature; or if the environment names a proxy for it that cannot be used.
    pub fn build(self) -> Result<Container> {
        self.build_on(|url, limit| {
            let proxy = Environment::of_process().proxies().on_the_way_to(url)?;
            Ok(Transport::new(limit, proxy))
        })
    }

    /// With connections to whatever `names` stand for.
    #[cfg(test)]
    #[cfg_attr(shuttle, allow(dead_code, reason = "the model has no network"))]
    pub(crate) fn build_that_knows(self, names: &CachingResolver) -> Result<Container> {
        self.build_on(|_, limit| Ok(Transport::that_knows(names, limit)))
    }

    fn build_on(self, transport: impl FnOnce(&Url, Duration) -> Result<Transport>) -> Result<Container> {
        self.policy.check()?;
        check_version(&self.version)?;
        if let Some(below) = &self.below {
            names::check_container(&below.container)?;
        }
        let place = self.place();
        let (url, path, name) = place.map_err(|error| match self.variable {
            Some(variable) => error.of_variable(variable),
            None => error,
        })?;
        url.check_tls()?;
        let transport = transport(&url, self.policy.attempt_limit)?;
        Ok(Container(Arc::new(Inner {
            origin: url.origin,
            name,
            path,
            credential: self.credential,
            transport,
            policy: self.policy,
            create: self.create,
            lower_cases: self.lower_cases,
            version: self.version,
            queues: Queues::default(),
        })))
    }

    /// Where the container is, and its path and name there.
    fn place(&self) -> Result<(Url, String, String)> {
        if self.variable == Some(SERVICE_ENDPOINT) && self.url.contains('?') {
            return Err(Error::input(format!(
                "it is a SAS URL, or another with a query; it should be the account's endpoint alone, and a SAS token \
                 goes into {SAS_TOKEN}"
            )));
        }
        let url = Url::parse(&self.url)?;
        endpoint::check_host(&url)?;
        let (base, name) = match &self.below {
            Some(Below { container, account }) => {
                (endpoint::base_of_endpoint(&url, account.as_deref(), container)?, &**container)
            }
            None => endpoint::base_of_container(&url)?,
        };
        names::check_container(name)?;
        check_base_path(base)?;
        self.check_http(&url)?;
        let (path, name) = (format!("{base}/{name}"), name.to_owned());
        Ok((url, path, name))
    }

    fn check_http(&self, url: &Url) -> Result<()> {
        let origin = &url.origin;
        if url.https || url.is_loopback() {
            return Ok(());
        }
        if self.credential.is_bearer() {
            return Err(Error::input(format!(
                "{origin} would be sent a SAS or a token without TLS, which would give it to everybody on the way; use \
                 https"
            )));
        }
        match (self.allow_http, self.variable) {
            (true, _) => Ok(()),
            (false, None) => Err(Error::input(format!(
                "{origin} would be spoken to without TLS; use https, or call `allow_http` if the network may be trusted"
            ))),
            // Whoever sets it need not be the one who wrote the program.
            (false, Some(_)) => Err(Error::input(format!("{origin} would be spoken to without TLS; use https"))),
        }
    }
}

impl fmt::Debug for Builder {
    /// Without the URL, which has not been checked and may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// Takes a SAS URL apart. The errors do not show it.
fn take_sas(url: &str) -> Result<(&str, Credential)> {
    let Some((url, token)) = url.trim().split_once('?') else {
        return Err(Error::input("the SAS URL has no `?` with a shared access signature after it"));
    };
    Ok((url, Credential::sas(token)?))
}

/// A date that is one, and not too old.
fn check_version(version: &str) -> Result<()> {
    let part = |range: std::ops::Range<usize>| {
        version.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<u32>().ok()
    };
    let is_date = version.len() == 10
        && [4, 7].iter().all(|at| version.as_bytes()[*at] == b'-')
        && part(0..4).is_some()
        && part(5..7).is_some_and(|month| (1..=12).contains(&month))
        && part(8..10).is_some_and(|day| (1..=31).contains(&day));
    if is_date && version >= OLDEST_VERSION {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} is no service version: a date such as {VERSION}, from {OLDEST_VERSION} on",
        quoted(version)
    )))
}

/// An account in the path. It is sent and signed as it stands.
fn check_base_path(path: &str) -> Result<()> {
    if url::is_good_path(path) {
        return Ok(());
    }
    Err(Error::input("the URL's path is not valid; it is the account (for an emulator) and the container"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::environment::KEY;

    fn key() -> Credential {
        Credential::shared_key("me", "AAAA").unwrap()
    }

    fn url_of(container_url: &str) -> Result<String> {
        let container = Container::builder(container_url, key()).allow_http().build()?;
        Ok(format!("{}{}", container.0.origin, container.0.path))
    }

    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn urls_of_both_styles() {
        let good = [
            ("https://me.blob.core.windows.net/locks", "https://me.blob.core.windows.net/locks"),
            ("https://me.blob.core.windows.net/locks/", "https://me.blob.core.windows.net/locks"),
            ("HTTPS://Me.Blob.Core.Windows.Net:443/locks", "https://me.blob.core.windows.net:443/locks"),
            ("http://127.0.0.1:10000/devstoreaccount1/locks", "http://127.0.0.1:10000/devstoreaccount1/locks"),
            ("http://[::1]:10000/devstoreaccount1/locks", "http://[::1]:10000/devstoreaccount1/locks"),
            ("https://10.0.0.5/me/locks", "https://10.0.0.5/me/locks"),
            ("https://azurite.default.svc/me/locks", "https://azurite.default.svc/me/locks"),
            ("https://locks.example/locks", "https://locks.example/locks"),
        ];
        for (given, expected) in good {
            assert_eq!(url_of(given).unwrap(), expected);
        }
    }

    #[test]
    fn a_url_with_more_than_a_container_is_refused_lest_one_name_be_two_locks() {
        for bad in [
            "http://127.0.0.1:10000/me/locks/locks",
            "http://127.0.0.1:10000/me/locks/job",
            "http://127.0.0.1:10000/locks/locks",
            "http://10.0.0.5/gate/me/locks",
            "http://azurite.default.svc/me-secondary/locks",
            "http://locks.example/locks/locks",
            "http://locks.example/me/locks/job",
            "http://me.blob.core.windows.net/locks/locks",
        ] {
            assert_eq!(url_of(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn what_is_no_container_url_is_refused() {
        let bad = [
            "",
            "locks",
            "ftp://me/locks",
            "https://",
            "https:///locks",
            "https://me.blob.core.windows.net",
            "https://me.blob.core.windows.net/",
            "https://me.blob.core.windows.net/Locks",
            "https://me.blob.core.windows.net//locks",
            "https://me.blob.core.windows.net/a/../locks",
            "https://user:pass@me.blob.core.windows.net/locks",
            "https://me.blob.core.windows.net:0/locks",
            "https://me.blob.core.windows.net:99999/locks",
            "https://me.blob.core.windows.net/locks?sv=1&sig=x",
            "https://me.blob.core.windows.net/locks#x",
            "https://m e/locks",
            "https://mé/locks",
            "https://[::1/locks",
            "https://[me]/locks",
        ];
        for url in bad {
            let error = url_of(url).err().unwrap_or_else(|| panic!("{url}"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
            assert!(!format!("{error:?}").contains("sig=x"));
            assert!(!format!("{error:?}").contains("pass"));
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_shown() {
        const SECRET: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        const SAS_URL: &str = "https://me.blob.core.windows.net/locks?sv=1&sig=Eby8vd";
        let connection_string = format!("AccountName=me;AccountKey={SECRET}");
        let texts = [
            format!("{:?}", Credential::shared_key(SECRET, "me").unwrap_err()),
            format!("{:?}", Container::from_connection_string(&format!("AccountName={SECRET};AccountKey=me"), "locks")),
            format!("{:?}", Container::development(SAS_URL).unwrap_err()),
            format!("{:?}", Container::development("locks").unwrap().mutex(SAS_URL).unwrap_err()),
            format!("{:?}", from_variables(&[(ACCOUNT, &connection_string), (KEY, "AAAA")]).unwrap_err()),
            format!("{:?}", from_variables(&[(ACCOUNT, &connection_string), (SAS_TOKEN, "sig=x")]).unwrap_err()),
            format!("{:?}", Container::builder(SAS_URL, key())),
            format!("{:?}", Container::builder(SAS_URL, key()).build().unwrap_err()),
            format!("{:?}", Credential::sas(SAS_URL).unwrap_err()),
        ];
        for text in texts {
            assert!(!text.contains("Eby8vd"), "{text}");
        }
    }

    #[test]
    fn http_is_for_loopback_unless_allowed() {
        let build = |url: &str| Container::builder(url, key()).build();
        for url in [
            "http://127.0.0.1:1/me/locks",
            "http://127.8.9.1/me/locks",
            "http://localhost/me/locks",
            "http://[::1]/me/locks",
        ] {
            assert!(build(url).is_ok(), "{url}");
        }
        for url in ["http://10.0.0.1/me/locks", "http://azurite:10000/me/locks", "http://me.localhost/locks"] {
            assert_eq!(build(url).unwrap_err().kind(), ErrorKind::InvalidInput, "{url}");
            assert!(Container::builder(url, key()).allow_http().build().is_ok());
        }
    }

    #[test]
    fn a_sas_never_goes_over_http_to_another_machine() {
        let sas = Credential::sas("sv=1&sig=abc").unwrap();
        for allowed in [false, true] {
            let builder = Container::builder("http://10.0.0.1/me/locks", sas.clone());
            let error = if allowed { builder.allow_http() } else { builder }.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        }
        assert!(Container::builder("http://127.0.0.1:1/me/locks", sas).build().is_ok());
        let error = Container::from_sas_url("http://10.0.0.1/me/locks?sv=1&sig=abc").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(!format!("{error:?}").contains("abc"), "{error:?}");
    }

    #[test]
    fn sas_urls_of_containers() {
        for (url, expected) in [
            ("http://127.0.0.1:1/me/locks?sr=c&sig=abc", "http://127.0.0.1:1/me/locks"),
            (" http://localhost/me/locks/?sv=1&sig=abc\n", "http://localhost/me/locks"),
        ] {
            let container = Container::from_sas_url(url).unwrap();
            assert_eq!(format!("{}{}", container.0.origin, container.0.path), expected);
            assert!(!format!("{container:?}").contains("abc"));
        }
        let bad = ["", "?", "http://127.0.0.1/me/locks", "http://127.0.0.1/me/locks?sv=1"];
        let worse = ["http://127.0.0.1/me/locks/job?sr=b&sig=abc", "127.0.0.1/locks?sig=abc"];
        for url in bad.into_iter().chain(worse) {
            let error = Container::from_sas_url(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
            assert!(!format!("{error:?}").contains("abc"), "{error:?}");
        }
    }

    #[test]
    fn sas_urls_of_blobs() {
        for (url, container, name) in [
            (
                "https://me.blob.core.windows.net/locks/job?sr=b&sig=abc",
                "https://me.blob.core.windows.net/locks",
                "job",
            ),
            ("https://me.example/locks/a%20b/c%2Bd?sig=abc", "https://me.example/locks", "a b/c+d"),
            ("http://127.0.0.1:1/me/locks/a/b?sig=abc", "http://127.0.0.1:1/me/locks", "a/b"),
            ("http://[::1]:1/me/locks/job?sig=abc", "http://[::1]:1/me/locks", "job"),
            ("http://azurite:1/me/locks/job?sig=abc", "http://azurite:1/me/locks", "job"),
        ] {
            let (builder, blob) = Builder::from_blob_sas_url(url).unwrap();
            assert_eq!((&*builder.url, &*blob), (container, name));
        }
        let bad =
            ["https://me.example/locks?sig=abc", "https://me.example/locks/?sig=abc", "https://me.example?sig=abc"];
        for url in bad.into_iter().chain(["http://127.0.0.1/me/locks?sig=abc", "https://me.example/locks/%ff?sig=abc"])
        {
            let error = Builder::from_blob_sas_url(url).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
            assert!(!format!("{error:?}").contains("abc"), "{error:?}");
        }
    }

    #[cfg(not(any(feature = "rustls", feature = "platform-verifier")))]
    #[test]
    fn https_without_a_tls_feature_is_said_at_once() {
        let error = Container::builder("https://me.blob.core.windows.net/locks", key()).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("feature"), "{error}");
    }

    fn from_variables(variables: &[(&str, &str)]) -> Result<Container> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        Builder::from_variables(&Environment(&get), "locks")?.build()
    }

    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn the_environment_in_the_order_of_the_documentation() {
        let account = (ACCOUNT, "me");
        let debug = |variables: &[(&str, &str)]| format!("{:?}", from_variables(variables).unwrap());
        let key = debug(&[account, (KEY, "AAAA"), (SAS_TOKEN, "sig=x")]);
        assert_eq!(
            key,
            "Container { url: \"https://me.blob.core.windows.net/locks\", credential: SharedKey { account: \"me\", .. \
             }, .. }"
        );
        assert!(debug(&[account, (KEY, ""), (SAS_TOKEN, "sig=x")]).contains("Sas { .. }"));
        let all = debug(&[account, (KEY, "AAAA"), (CONNECTION_STRING, "UseDevelopmentStorage=true")]);
        assert!(all.contains("127.0.0.1:10000"), "{all}");
    }

    #[test]
    fn an_endpoint_of_its_own_wins() {
        let endpoint = (SERVICE_ENDPOINT, "http://127.0.0.1:9/me/");
        let container = from_variables(&[endpoint, (ACCOUNT, "me"), (KEY, "AAAA")]).unwrap();
        assert!(format!("{container:?}").contains(r#"url: "http://127.0.0.1:9/me/locks""#), "{container:?}");
        let error = from_variables(&[(SERVICE_ENDPOINT, "http://storage.test/"), (SAS_TOKEN, "sig=x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    /// A connection string with this endpoint, which is of the account `me` unless `who` says something else.
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    fn by_endpoint(endpoint: &str, who: &str) -> Result<Container> {
        Builder::from_connection_string(&format!("BlobEndpoint={endpoint};{who}"), "locks")?.allow_http().build()
    }

    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    const KEYED: &str = "AccountName=me;AccountKey=AAAA";
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    const SIGNED: &str = "SharedAccessSignature=sv=1&sig=abc";

    // Scenario 36.
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn an_endpoint_is_the_account_s_and_nothing_below_it() {
        let good = [
            ("https://me.blob.core.windows.net", "", KEYED),
            ("https://me.blob.core.windows.net/", "", SIGNED),
            ("https://ME.z07.blob.storage.azure.net/", "", KEYED),
            ("https://me.privatelink.blob.core.windows.net", "", KEYED),
            ("https://me.blob.local.azurestack.external", "", SIGNED),
            ("http://127.0.0.1:10000/me", "/me", KEYED),
            ("http://127.0.0.1:10000/me/", "/me", SIGNED),
            ("http://[::1]:10000/me", "/me", KEYED),
            ("https://localhost/me", "/me", SIGNED),
            ("http://azurite:10000/me", "/me", KEYED),
            // An account may be called as the container is.
            ("http://azurite:10000/locks", "/locks", "AccountName=locks;AccountKey=AAAA"),
            ("https://storage.example", "", SIGNED),
            ("https://storage.example:8443/", "", KEYED),
            ("http://azurite.default.svc:10000/me", "/me", KEYED),
            ("http://azurite.blob.svc.cluster.local/me/", "/me", KEYED),
            ("http://azurite.web/me", "/me", KEYED),
            ("https://storage.example/me", "/me", "AccountName=me;SharedAccessSignature=sv=1&sig=abc"),
            // Hosts of somebody's own, whatever they are called.
            ("http://x.web.internal", "", KEYED),
            ("https://x.file.contoso.com", "", SIGNED),
            ("https://x.file.contoso.com/me", "/me", KEYED),
            ("https://me.queue.east.contoso.com", "", KEYED),
            ("https://locks.blob.contoso.com", "", KEYED),
            ("https://locks.blob.contoso.com/me", "/me", KEYED),
            ("https://locks-secondary.blob.contoso.com", "", KEYED),
            ("https://x.dfs.storage.azure.example.com", "", KEYED),
        ];
        let mut wrong = Vec::new();
        for (endpoint, base, who) in good {
            match by_endpoint(endpoint, who) {
                Ok(container) if container.0.path == format!("{base}/locks") => {}
                other => wrong.push(format!("{endpoint}: {other:?}")),
            }
        }
        let bad = [
            ("https://me.blob.core.windows.net/locks", KEYED),
            ("https://me.blob.core.windows.net/locks/", SIGNED),
            ("https://me.blob.core.windows.net/me", KEYED),
            ("https://me.z07.blob.storage.azure.net/locks", KEYED),
            ("https://me.blob.local.azurestack.external/locks", KEYED),
            ("http://127.0.0.1:10000", KEYED),
            ("http://127.0.0.1:10000/", SIGNED),
            ("http://127.0.0.1:10000/me/locks", KEYED),
            ("http://127.0.0.1:10000/me/locks/", SIGNED),
            ("http://127.0.0.1:10000/locks", SIGNED),
            ("http://127.0.0.1:10000/locks", KEYED),
            ("http://127.0.0.1:10000/you", KEYED),
            ("http://127.0.0.1:10000/ME", SIGNED),
            ("http://127.0.0.1:10000/%6cocks", SIGNED),
            ("http://[::1]:10000/me/locks", KEYED),
            ("https://localhost", SIGNED),
            ("http://azurite:10000/me/locks", KEYED),
            ("https://storage.example/locks", SIGNED),
            ("https://storage.example/locks", KEYED),
            ("https://storage.example/me/locks", KEYED),
            ("https://storage.example/gate", KEYED),
            ("https://storage.example/me", SIGNED),
            ("http://azurite.default.svc:10000/me/locks", KEYED),
            ("https://me.blob.core.windows.net/locks?sv=1&sig=abc", ""),
        ];
        for (endpoint, who) in bad {
            match by_endpoint(endpoint, who) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    let text = format!("{error:?}");
                    assert!(!text.contains("abc"), "{text}");
                    if endpoint.trim_end_matches('/').ends_with("/locks") && !text.contains("container") {
                        wrong.push(format!("{endpoint}: {text}"));
                    }
                }
                other => wrong.push(format!("{endpoint}: {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    // Scenario 36, of an endpoint in the environment.
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn what_is_wrong_in_the_environment_is_told_with_its_variable() {
        let (key, account) = ((KEY, "AAAA"), (ACCOUNT, "me"));
        let cases: [(&[(&str, &str)], &str); 14] = [
            (&[(SERVICE_ENDPOINT, "https://me.blob.core.windows.net/locks"), (SAS_TOKEN, "sig=abc")], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "http://127.0.0.1:10000/me/locks"), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "http://127.0.0.1:10000/you"), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "https://me.example/?sig=abc"), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "http://storage.example"), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "storage.example"), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "\"https://me.blob.core.windows.net\""), account, key], SERVICE_ENDPOINT),
            (&[(SERVICE_ENDPOINT, "https://me.dfs.core.windows.net"), account, key], SERVICE_ENDPOINT),
            (&[(ACCOUNT, "me.blob.core.windows.net"), (SAS_TOKEN, "sig=abc")], ACCOUNT),
            (&[(ACCOUNT, "Me"), key], ACCOUNT),
            (&[account, (KEY, "!")], KEY),
            (&[account, (SAS_TOKEN, "abc")], SAS_TOKEN),
            (&[(CONNECTION_STRING, "AccountName=me")], CONNECTION_STRING),
            (
                &[(CONNECTION_STRING, "BlobEndpoint=https://me.example/x;SharedAccessSignature=sig=abc")],
                CONNECTION_STRING,
            ),
        ];
        let mut wrong = Vec::new();
        for (variables, name) in cases {
            let error = from_variables(variables).err();
            let text = error.as_ref().map(|error| format!("{error:?}")).unwrap_or_default();
            // No word of an API, which the command line's user does not use.
            if !text.contains(name) || text.contains("abc") || text.contains("allow_http") || text.contains("::") {
                wrong.push(format!("{variables:?}: {error:?}"));
            }
        }
        let stays =
            from_variables(&[(SERVICE_ENDPOINT, "https://storage.example/me"), account, (SAS_TOKEN, "sig=abc")]);
        wrong.extend(stays.err().map(|error| format!("{error:?}")));
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_environment_may_say_the_service_version() {
        let string = (CONNECTION_STRING, "BlobEndpoint=http://127.0.0.1:1/me;AccountName=me;AccountKey=AAAA");
        let (account, key) = ((ACCOUNT, "me"), (KEY, "AAAA"));
        for from in [string, (SERVICE_ENDPOINT, "http://127.0.0.1:1/me")] {
            assert_eq!(from_variables(&[from, key, account]).unwrap().0.version, VERSION);
            let said = |said| {
                from_variables(&[from, key, account, (SERVICE_VERSION, said)])
                    .map(|container| container.0.version.clone())
            };
            assert_eq!(said("2017-11-09\n").unwrap(), "2017-11-09");
            assert_eq!(said("").unwrap(), VERSION);
            let error = said("2016-05-31").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with("AZMUTEX_SERVICE_VERSION in the environment: "), "{error}");
        }
    }

    // Scenario 36: nor are there locks on what is no Blob endpoint.
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn hosts_of_other_services_and_of_the_secondary_are_refused_with_the_right_one() {
        let right = "https://me.blob.core.windows.net";
        let cases = [
            ("https://me.dfs.core.windows.net", right),
            ("https://me.file.core.windows.net", right),
            ("https://me.queue.core.windows.net", right),
            ("https://me.table.core.windows.net", right),
            ("https://me.web.core.windows.net", right),
            ("https://me.z6.web.core.windows.net", right),
            ("https://me.privatelink.dfs.core.windows.net", right),
            ("https://me-secondary.blob.core.windows.net", right),
            ("https://ME-Secondary.dfs.core.windows.net", right),
            ("https://me.z07.queue.storage.azure.net", "https://me.z07.blob.storage.azure.net"),
            ("https://me-secondary.z07.blob.storage.azure.net", "https://me.z07.blob.storage.azure.net"),
            ("https://me.table.local.azurestack.external", "https://me.blob.local.azurestack.external"),
            ("https://me.dfs.core.chinacloudapi.cn", "https://me.blob.core.chinacloudapi.cn"),
            ("https://me.queue.core.usgovcloudapi.net", "https://me.blob.core.usgovcloudapi.net"),
            ("https://me.z6.dfs.storage.azure.us", "https://me.z6.blob.storage.azure.us"),
            ("http://127.0.0.1:10000/me-secondary", "http://127.0.0.1:10000/me"),
        ];
        let mut wrong = Vec::new();
        for (endpoint, right) in cases {
            let builds = [
                by_endpoint(endpoint, SIGNED),
                Container::builder(&format!("{endpoint}/locks"), key()).build(),
                Container::from_sas_url(&format!("{endpoint}/locks?sig=abc")),
                Builder::from_blob_sas_url(&format!("{endpoint}/locks/job?sig=abc"))
                    .and_then(|(builder, _)| builder.build()),
            ];
            for built in builds {
                let text = built.as_ref().map_or_else(|error| format!("{error:?}"), |_| String::new());
                let is_said = text.split([' ', ',', ';']).any(|word| word == right);
                if !is_said || built.is_err_and(|error| error.kind() != ErrorKind::InvalidInput) {
                    wrong.push(format!("{endpoint}: {text}"));
                }
            }
        }
        let by_name = Container::from_connection_string("AccountName=me-secondary;AccountKey=AAAA", "locks");
        wrong.extend(by_name.ok().map(|container| format!("{container:?}")));
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    // Scenario 36, of URLs that say it all.
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn a_container_s_url_has_a_container_and_no_more_than_that() {
        let mut wrong = Vec::new();
        for url in
            ["https://me.blob.core.windows.net/locks/job", "http://127.0.0.1:10000/locks", "http://localhost/locks/"]
        {
            wrong.extend(url_of(url).ok());
            wrong.extend(
                Container::from_sas_url(&format!("{url}?sig=abc")).ok().map(|container| format!("{container:?}")),
            );
        }
        for url in
            ["https://me.blob.core.windows.net", "https://me.blob.core.windows.net/", "http://127.0.0.1:10000/me"]
        {
            let text = format!("{:?}", Container::from_sas_url(&format!("{url}?sig=abc")).unwrap_err());
            if !text.contains("names no container") {
                wrong.push(text);
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn who_may_not_go_over_http_is_not_told_to_allow_it() {
        let texts = |credential: Credential| {
            let [plain, allowed] = [false, true].map(|allowed| {
                let builder = Container::builder("http://10.0.0.1/me/locks", credential.clone());
                if allowed { builder.allow_http() } else { builder }.build()
            });
            format!("{:?} {allowed:?}", plain.unwrap_err())
        };
        assert!(texts(key()).contains("allow_http"));
        let text = texts(Credential::sas("sv=1&sig=abc").unwrap());
        assert!(!text.contains("allow_http") && text.contains("https"), "{text}");
    }

    #[test]
    fn an_environment_without_an_account_says_what_was_looked_for() {
        let error = from_variables(&[(CONNECTION_STRING, "")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential);
        for name in [CONNECTION_STRING, ACCOUNT, SERVICE_ENDPOINT] {
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(from_variables(&[(ACCOUNT, "me")]).unwrap_err().kind(), ErrorKind::Credential);
        assert_eq!(from_variables(&[(ACCOUNT, "me"), (KEY, "!")]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
