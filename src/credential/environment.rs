//! The environment of the process, as far as it is about credentials.

use std::env;
use std::ffi::OsString;
#[cfg(feature = "entra")]
use std::path::PathBuf;

use super::Credential;
#[cfg(feature = "entra")]
use super::entra::{self, ManagedIdentity, ServicePrincipal, WorkloadIdentity, variable};
use crate::connection_string;
use crate::error::{Error, Result};
use crate::redact::Secret;

pub(crate) const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
pub(crate) const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT";
pub(crate) const KEY: &str = "AZURE_STORAGE_KEY";
pub(crate) const SAS_TOKEN: &str = "AZURE_STORAGE_SAS_TOKEN";
/// Which of Entra ID's sources is meant:
/// [credential chains](https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains).
#[cfg(feature = "entra")]
const TOKEN_CREDENTIALS: &str = "AZURE_TOKEN_CREDENTIALS";

/// Where variables are looked up. An empty one counts as absent.
pub(crate) struct Environment<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    pub(crate) fn of_process() -> Environment<'static> {
        Environment(&|name| env::var_os(name))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        let text = self.raw(name).map(OsString::into_string).transpose();
        text.map_err(|_| Error::input(format!("the environment variable {name} is not valid Unicode")))
    }

    /// As [`text`](Environment::text), of what is a secret.
    pub(crate) fn secret(&self, name: &str) -> Result<Option<Secret>> {
        Ok(self.text(name)?.map(Secret::new))
    }

    fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// In the order that [`Credential::from_env`] promises.
    pub(crate) fn credential(&self) -> Result<Credential> {
        if let Some(connection_string) = self.secret(CONNECTION_STRING)? {
            return Credential::of(connection_string::parse(connection_string.reveal())?.secret);
        }
        if let Some(key) = self.secret(KEY)? {
            let Some(account) = self.text(ACCOUNT)? else {
                return Err(Error::no_credential(format!("the environment has {KEY}, but not {ACCOUNT}")));
            };
            return Credential::shared_key(&account, key.reveal());
        }
        if let Some(token) = self.secret(SAS_TOKEN)? {
            return Credential::sas(token.reveal());
        }
        self.token_source()
    }

    #[cfg(not(feature = "entra"))]
    fn token_source(&self) -> Result<Credential> {
        Err(Error::no_credential(format!(
            "the environment has no credential: looked for {CONNECTION_STRING}, {KEY} and {SAS_TOKEN}; this build is \
             without Entra ID, which is the feature `entra`"
        )))
    }
}

#[cfg(feature = "entra")]
impl Environment<'_> {
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Variables that `what` cannot do without.
    pub(super) fn all<const N: usize>(&self, names: [&str; N], what: &str) -> Result<[String; N]> {
        let mut values = [const { String::new() }; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = self.text(name)?.ok_or_else(|| {
                Error::no_credential(format!("{what} needs the environment variable {name}, which is not set"))
            })?;
        }
        Ok(values)
    }

    /// Nobody is asked: only what is said here counts.
    fn token_source(&self) -> Result<Credential> {
        let chosen = Chosen::of(self.text(TOKEN_CREDENTIALS)?.as_deref())?;
        if chosen.allows(Named::Environment)
            && (self.has(variable::SECRET) || chosen == Chosen::One(Named::Environment))
        {
            return self.service_principal();
        }
        if chosen.allows(Named::Workload) && (self.has(variable::TOKEN_FILE) || chosen == Chosen::One(Named::Workload))
        {
            return WorkloadIdentity::from_variables(self)?.build();
        }
        let managed = self.has(variable::ENDPOINT) && self.has(variable::HEADER) || self.has(variable::METADATA_HOST);
        if chosen.allows(Named::Managed) && (managed || chosen != Chosen::Any) {
            return self.managed_identity();
        }
        let path = self.raw("PATH");
        if chosen.allows(Named::Cli) && (entra::find_cli(path.as_deref()).is_some() || chosen != Chosen::Any) {
            return Credential::azure_cli();
        }
        Err(Error::no_credential(format!(
            "the environment has no credential: looked for {CONNECTION_STRING}, {KEY}, {SAS_TOKEN}; for {} or {}, each \
             with {} and {}; for {} with {}; for {}; and for `az` on the PATH. On a virtual machine with a managed \
             identity set {TOKEN_CREDENTIALS}=ManagedIdentityCredential",
            variable::SECRET,
            variable::TOKEN_FILE,
            variable::TENANT,
            variable::CLIENT,
            variable::ENDPOINT,
            variable::HEADER,
            variable::METADATA_HOST,
        )))
    }

    fn service_principal(&self) -> Result<Credential> {
        let names = [variable::TENANT, variable::CLIENT, variable::SECRET];
        let [tenant, client_id, secret] = self.all(names, "a service principal")?;
        let principal = ServicePrincipal::secret(&tenant, &client_id, Secret::new(secret).reveal());
        match self.text(variable::AUTHORITY)? {
            Some(authority) => principal.authority(&authority).build(),
            None => principal.build(),
        }
    }

    fn managed_identity(&self) -> Result<Credential> {
        let identity = ManagedIdentity::from_variables(self)?;
        match self.text(variable::CLIENT)? {
            Some(client_id) => identity.client_id(&client_id).build(),
            None => identity.build(),
        }
    }
}

/// What the environment allows of Entra ID's sources.
#[cfg(feature = "entra")]
#[derive(Copy, Clone, PartialEq, Eq)]
enum Chosen {
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
impl Chosen {
    fn of(text: Option<&str>) -> Result<Chosen> {
        let Some(text) = text else { return Ok(Chosen::Any) };
        Ok(match &*text.trim().to_ascii_lowercase() {
            "prod" => Chosen::Production,
            "environmentcredential" => Chosen::One(Named::Environment),
            "workloadidentitycredential" => Chosen::One(Named::Workload),
            "managedidentitycredential" => Chosen::One(Named::Managed),
            "dev" | "azureclicredential" => Chosen::One(Named::Cli),
            _ => {
                return Err(Error::input(format!(
                    "{TOKEN_CREDENTIALS} in the environment is none that this crate knows: `prod`, `dev`, \
                     `EnvironmentCredential`, `WorkloadIdentityCredential`, `ManagedIdentityCredential` or \
                     `AzureCliCredential`"
                )));
            }
        })
    }

    fn allows(self, named: Named) -> bool {
        match self {
            Chosen::Any => true,
            Chosen::Production => named != Named::Cli,
            Chosen::One(one) => one == named,
        }
    }
}

impl Credential {
    /// The credential that the environment says, in this order:
    ///
    /// 1. `AZURE_STORAGE_CONNECTION_STRING`: the key or the SAS in it.
    /// 2. `AZURE_STORAGE_KEY`, with `AZURE_STORAGE_ACCOUNT`.
    /// 3. `AZURE_STORAGE_SAS_TOKEN`.
    /// 4. `AZURE_CLIENT_SECRET`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: a service principal.
    /// 5. `AZURE_FEDERATED_TOKEN_FILE`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: a workload identity.
    /// 6. `IDENTITY_ENDPOINT`, with `IDENTITY_HEADER`: the managed identity of an app; with `AZURE_CLIENT_ID`, the
    ///    user-assigned one. A virtual machine's has no variable of its own: it is meant if `AZURE_TOKEN_CREDENTIALS`
    ///    says so, or `AZURE_POD_IDENTITY_AUTHORITY_HOST` is set.
    /// 7. `az` on the `PATH`: whoever is logged in to the Azure CLI.
    ///
    /// From 4 on, it takes the feature `entra`; `AZURE_AUTHORITY_HOST` names another cloud for 4 and 5, and
    /// `AZURE_TOKEN_CREDENTIALS` chooses, as in the vendor's libraries: `EnvironmentCredential` is 4,
    /// `WorkloadIdentityCredential` 5, `ManagedIdentityCredential` 6, `AzureCliCredential` or `dev` 7, and `prod` is all
    /// but 7, with a virtual machine's managed identity if nothing else is there.
    ///
    /// The first that is there is taken, and nobody is asked: that it does not work is told when it is used. An empty
    /// variable counts as absent. For fallbacks: `Credential::chain`.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential) if there is none, naming what was looked for, or if a variable that
    /// belongs to another is missing; [`InvalidInput`](crate::ErrorKind::InvalidInput) if one cannot be what was meant.
    pub fn from_env() -> Result<Credential> {
        Environment::of_process().credential()
    }

    pub(crate) fn of(secret: connection_string::Secret) -> Result<Credential> {
        match secret {
            connection_string::Secret::SharedKey { account, key } => Credential::shared_key(&account, &key),
            connection_string::Secret::Sas(token) => Credential::sas(&token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn chosen(variables: &[(&str, &str)]) -> Result<String> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        Environment(&get).credential().map(|credential| format!("{credential:?}"))
    }

    #[test]
    fn keys_come_first() {
        let account = (ACCOUNT, "me");
        let string = (CONNECTION_STRING, "AccountName=other;AccountKey=AAAA");
        let key = (KEY, "AAAA");
        let sas = (SAS_TOKEN, "sig=x");
        assert_eq!(chosen(&[account, key, sas, string]).unwrap(), r#"SharedKey { account: "other", .. }"#);
        assert_eq!(chosen(&[account, key, sas]).unwrap(), r#"SharedKey { account: "me", .. }"#);
        assert_eq!(chosen(&[account, (KEY, ""), sas]).unwrap(), "Sas { .. }");
        assert_eq!(chosen(&[key]).unwrap_err().kind(), ErrorKind::Credential);
    }

    #[test]
    fn where_there_is_none_all_that_was_looked_for_is_named() {
        let error = chosen(&[(ACCOUNT, "me")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential);
        for name in [CONNECTION_STRING, KEY, SAS_TOKEN] {
            assert!(error.to_string().contains(name), "{error}");
        }
        #[cfg(feature = "entra")]
        for name in
            ["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "`az`", TOKEN_CREDENTIALS]
        {
            assert!(error.to_string().contains(name), "{error}");
        }
        #[cfg(feature = "entra")]
        assert!(error.to_string().contains(variable::METADATA_HOST), "{error}");
    }

    #[cfg(feature = "entra")]
    #[test]
    fn tokens_in_the_order_of_the_documentation() {
        let principal = [
            (variable::TENANT, "t"),
            (variable::CLIENT, "c"),
            (variable::SECRET, "s"),
            (variable::AUTHORITY, "http://127.0.0.1:9"),
        ];
        let workload = (variable::TOKEN_FILE, "/token");
        let app = [(variable::ENDPOINT, "http://127.0.0.1:8/msi"), (variable::HEADER, "h")];
        let all = [&principal[..], &[workload], &app].concat();
        let with = |skipped: &[&str], said: Option<&'static str>| {
            let mut variables: Vec<_> = all.iter().filter(|(name, _)| !skipped.contains(name)).copied().collect();
            variables.extend(said.map(|said| (TOKEN_CREDENTIALS, said)));
            chosen(&variables)
        };
        let none: &[&str] = &[];
        assert!(with(none, None).unwrap().contains("the service principal c at http://127.0.0.1:9"));
        assert!(with(&[variable::SECRET], None).unwrap().contains("the workload identity c at http://127.0.0.1:9"));
        let fileless = [variable::SECRET, variable::TOKEN_FILE];
        assert!(with(&fileless, None).unwrap().contains("the managed identity c at http://127.0.0.1:8"));
        let identityless = [&fileless[..], &[variable::CLIENT]].concat();
        assert!(with(&identityless, None).unwrap().contains("the managed identity at http://127.0.0.1:8"));

        assert!(with(none, Some("EnvironmentCredential")).unwrap().contains("the service principal"));
        assert!(with(none, Some("workloadidentitycredential")).unwrap().contains("the workload identity"));
        assert!(with(none, Some("ManagedIdentityCredential")).unwrap().contains("the managed identity"));
        assert!(with(none, Some("AzureCliCredential")).unwrap().contains("the Azure CLI"));
        assert!(with(none, Some("dev")).unwrap().contains("the Azure CLI"));
        assert!(with(none, Some("prod")).unwrap().contains("the service principal"));
        let virtual_machine = chosen(&[(TOKEN_CREDENTIALS, "prod")]).unwrap();
        assert!(virtual_machine.contains("the managed identity at http://169.254.169.254"), "{virtual_machine}");
        assert_eq!(with(none, Some("Nonsense")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[cfg(feature = "entra")]
    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[(variable::SECRET, "s"), (variable::CLIENT, "c")], variable::TENANT),
            (&[(variable::TOKEN_FILE, "f"), (variable::TENANT, "t")], variable::CLIENT),
            (&[(TOKEN_CREDENTIALS, "EnvironmentCredential")], variable::TENANT),
            (&[(TOKEN_CREDENTIALS, "WorkloadIdentityCredential")], variable::TENANT),
        ];
        for (variables, missing) in cases {
            let error = chosen(variables).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Credential);
            assert!(error.to_string().contains(missing), "{error}");
        }
        let foreign = (variable::ENDPOINT, "http://localhost:40342/x");
        assert!(chosen(&[foreign]).unwrap_err().to_string().contains("looked for"), "no managed identity of ours");
        let error = chosen(&[foreign, (TOKEN_CREDENTIALS, "ManagedIdentityCredential")]).unwrap_err();
        assert!(error.kind() == ErrorKind::Credential && error.to_string().contains("Azure Arc"), "{error}");
    }
}
