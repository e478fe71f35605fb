//! The identity that Azure gives to the machine or the app that this runs in.

use std::fmt;
use std::sync::Arc;

use percent_encoding::utf8_percent_encode;

use super::authority::{Given, UNRESERVED, check_id};
use super::backoff::Backoff;
use super::endpoint::Endpoint;
use super::scope::{self, SCOPE, check_scope};
use super::source::{AccessToken, TokenError, TokenSource};
use crate::credential::Credential;
use crate::environment::{CLIENT, Environment, IDENTITY_ENDPOINT, METADATA_HOST, Platform};
use crate::error::{Error, Result};
use crate::transport::url::Url;

const METADATA_ADDRESS: &str = "http://169.254.169.254";
const METADATA_PATH: &str = "/metadata/identity/oauth2/token";

/// A managed identity: one that Azure gives to a virtual machine, a scale set, a container instance
/// ([metadata service](https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token)),
/// or to an app of App Service, Functions or Container Apps
/// ([token endpoint](https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference)).
/// The identity that is the machine's or the app's own, unless one is named.
///
/// The metadata service is asked over the link-local net, directly. While Azure updates it, for up to 70 s, a wait for a
/// lock without a limit ends after the [`patience`](crate::retry::Policy::patience) of its policy.
///
/// ```
/// use azmutex::credential::entra::ManagedIdentity;
///
/// let credential =
///     ManagedIdentity::from_env()?.client_id("00001111-aaaa-2222-bbbb-3333cccc4444").build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[must_use = "settings do nothing until `build`"]
pub struct ManagedIdentity {
    platform: Platform,
    identity: Identity,
    scope: String,
}

enum Identity {
    Own,
    Client(Given),
    Object(String),
    Resource(String),
}

impl ManagedIdentity {
    /// With `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` in the environment that of an app; the metadata service
    /// otherwise, at `AZURE_POD_IDENTITY_AUTHORITY_HOST` if that is set. Makes no network calls: where there is no metadata
    /// service, asking it for a token takes seconds to fail.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential) if the environment is one of Azure Arc or Service Fabric, whose
    /// identities this crate cannot use.
    pub fn from_env() -> Result<ManagedIdentity> {
        Ok(ManagedIdentity::of(Environment::of_process().platform()?, None))
    }

    /// With the `client_id` that the environment says.
    pub(in crate::credential) fn of(platform: Platform, client_id: Option<&str>) -> ManagedIdentity {
        let identity = client_id.map_or(Identity::Own, |id| Identity::Client(Given::by(CLIENT, id)));
        ManagedIdentity { platform, identity, scope: SCOPE.to_owned() }
    }

    /// The user-assigned identity with this client id, also called application id.
    pub fn client_id(mut self, id: &str) -> Self {
        self.identity = Identity::Client(id.into());
        self
    }

    /// The user-assigned identity with this object id, also called principal id.
    pub fn object_id(mut self, id: &str) -> Self {
        self.identity = Identity::Object(id.to_owned());
        self
    }

    /// The user-assigned identity with this resource id: `/subscriptions/.../userAssignedIdentities/name`.
    pub fn resource_id(mut self, id: &str) -> Self {
        self.identity = Identity::Resource(id.to_owned());
        self
    }

    /// What the token is for. Defaults to `https://storage.azure.com/.default`, in all clouds.
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = scope.to_owned();
        self
    }

    /// Checks the settings. Makes no network calls.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting, or the address that the environment gives, cannot
    /// be what was meant.
    pub fn build(self) -> Result<Credential> {
        check_scope(&self.scope)?;
        let (address, name, backoff) = match &self.platform {
            Platform::App { endpoint, .. } => (&**endpoint, IDENTITY_ENDPOINT, &Backoff::TOKENS),
            Platform::Metadata { host } => {
                (host.as_deref().unwrap_or(METADATA_ADDRESS), METADATA_HOST, &Backoff::METADATA)
            }
        };
        let url = Url::parse(address).ok().filter(Url::has_good_path);
        let url = url.ok_or_else(|| Error::input("it is no URL of an endpoint").of_variable(name))?;
        let endpoint = Endpoint::near(&url, backoff).map_err(|error| error.of_variable(name))?;
        let source = Source {
            endpoint,
            path: self.path(&url),
            query: self.query()?,
            name: self.name(),
            platform: self.platform,
        };
        Ok(Credential::entra(Arc::new(source)))
    }

    fn path(&self, url: &Url) -> String {
        match self.platform {
            Platform::App { .. } => url.path.clone(),
            Platform::Metadata { .. } => format!("{}{METADATA_PATH}", url.path.trim_end_matches('/')),
        }
    }

    fn query(&self) -> Result<String> {
        let (version, object, resource) = match self.platform {
            Platform::App { .. } => ("2019-08-01", "principal_id", "mi_res_id"),
            Platform::Metadata { .. } => ("2018-02-01", "object_id", "msi_res_id"),
        };
        let audience = utf8_percent_encode(scope::resource(&self.scope), UNRESERVED);
        let mut query = format!("api-version={version}&resource={audience}");
        let (parameter, id) = match &self.identity {
            Identity::Own => return Ok(query),
            Identity::Client(id) => {
                check_id(&id.text).map_err(|error| id.wrong(error))?;
                ("client_id", &id.text)
            }
            Identity::Object(id) => (object, id),
            Identity::Resource(id) => (resource, id),
        };
        check_id(id)?;
        query.push_str(&format!("&{parameter}={}", utf8_percent_encode(id, UNRESERVED)));
        Ok(query)
    }

    fn name(&self) -> String {
        match &self.identity {
            Identity::Own => "the managed identity".to_owned(),
            Identity::Client(Given { text: id, .. }) | Identity::Object(id) | Identity::Resource(id) => {
                format!("the managed identity {id}")
            }
        }
    }
}

impl fmt::Debug for ManagedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedIdentity").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Credential {
    /// Entra ID's tokens for the identity that Azure gives to this machine or app. For one of several, and with other
    /// settings: [`ManagedIdentity`].
    ///
    /// # Errors
    ///
    /// Those of [`ManagedIdentity::from_env`] and [`ManagedIdentity::build`].
    pub fn managed_identity() -> Result<Credential> {
        ManagedIdentity::from_env()?.build()
    }
}

struct Source {
    endpoint: Endpoint,
    path: String,
    query: String,
    name: String,
    platform: Platform,
}

impl TokenSource for Source {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        match &self.platform {
            Platform::App { header, .. } => {
                let headers = vec![("x-identity-header", header.reveal().to_owned().into())];
                self.endpoint.get(&self.path, &self.query, headers, &[header.reveal()])
            }
            // Proves that it is no redirected request of somebody else's.
            Platform::Metadata { .. } => {
                self.endpoint.get(&self.path, &self.query, vec![("metadata", "true".into())], &[])
            }
        }
    }

    fn name(&self) -> String {
        format!("{} at {}", self.name, self.endpoint.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::environment::{IDENTITY_HEADER, IDENTITY_THUMBPRINT};

    fn identity(variables: &[(&str, &str)]) -> Result<ManagedIdentity> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        Ok(ManagedIdentity::of(Environment(&get).platform()?, None))
    }

    #[test]
    fn the_environment_says_which_platform_it_is() {
        let name = |variables: &[(&str, &str)]| format!("{:?}", identity(variables).unwrap().build().unwrap());
        assert!(name(&[]).contains("the managed identity at http://169.254.169.254"));
        assert!(name(&[(METADATA_HOST, "http://127.0.0.1:9/")]).contains("http://127.0.0.1:9"));
        let app = [(IDENTITY_ENDPOINT, "http://169.254.129.3:8081/msi/token"), (IDENTITY_HEADER, "secret")];
        assert!(name(&app).contains("http://169.254.129.3:8081") && !name(&app).contains("secret"));
        assert!(
            name(&[(IDENTITY_ENDPOINT, "http://localhost:1/msi/token"), (IDENTITY_HEADER, "x")])
                .contains("http://localhost:1")
        );
        for foreign in [
            &[(IDENTITY_ENDPOINT, "http://localhost:40342/metadata/identity/oauth2/token"), ("IMDS_ENDPOINT", "x")][..],
            &[
                (IDENTITY_ENDPOINT, "https://10.0.0.1:2377/metadata"),
                (IDENTITY_HEADER, "secret"),
                (IDENTITY_THUMBPRINT, "ab"),
            ],
        ] {
            let error = identity(foreign).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Credential, "{error}");
        }
    }

    #[test]
    fn an_endpoint_that_is_not_near_is_not_told_the_secret() {
        for endpoint in [
            "http://8.8.8.8/msi/token",
            "http://endpoint.test/msi",
            "http://[2001:db8::1]/x",
            "nonsense",
            "http://127.0.0.1/a/../b",
        ] {
            let error =
                identity(&[(IDENTITY_ENDPOINT, endpoint), (IDENTITY_HEADER, "secret")]).unwrap().build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{endpoint}");
        }
    }

    #[test]
    fn an_identity_is_named_as_each_platform_wants_it() {
        let app = [(IDENTITY_ENDPOINT, "http://localhost:1/msi/token"), (IDENTITY_HEADER, "x")];
        let query = |variables: &[(&str, &str)], named: fn(ManagedIdentity) -> ManagedIdentity| {
            let query = named(identity(variables).unwrap()).query().unwrap();
            query.split_once("&resource=https%3A%2F%2Fstorage.azure.com").unwrap().1.to_owned()
        };
        assert_eq!(query(&[], |identity| identity), "");
        assert_eq!(query(&[], |identity| identity.client_id("a")), "&client_id=a");
        assert_eq!(query(&[], |identity| identity.object_id("a")), "&object_id=a");
        assert_eq!(query(&[], |identity| identity.resource_id("/a(b)")), "&msi_res_id=%2Fa%28b%29");
        assert_eq!(query(&app, |identity| identity.client_id("a")), "&client_id=a");
        assert_eq!(query(&app, |identity| identity.object_id("a")), "&principal_id=a");
        assert_eq!(query(&app, |identity| identity.resource_id("/a")), "&mi_res_id=%2Fa");
        assert!(identity(&[]).unwrap().client_id("").build().is_err());
    }
}
