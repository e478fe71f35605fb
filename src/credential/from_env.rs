//! The credential that the environment says, and that of a connection string.

use super::Credential;
#[cfg(feature = "entra")]
use super::entra::{AzureCli, GitHubActions, ManagedIdentity, ServicePrincipal, WorkloadIdentity};
use crate::connection_string::{self, Auth};
use crate::environment::{ACCOUNT, CONNECTION_STRING, Chosen, Environment, KEY, SAS_TOKEN};
use crate::error::Result;
use crate::names;

impl Credential {
    /// The credential that the environment says, in this order:
    ///
    /// 1. `AZURE_STORAGE_CONNECTION_STRING`: the key or the SAS in it.
    /// 2. `AZURE_STORAGE_KEY`, with `AZURE_STORAGE_ACCOUNT`.
    /// 3. `AZURE_STORAGE_SAS_TOKEN`.
    /// 4. `AZURE_CLIENT_SECRET`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: a service principal.
    /// 5. `AZURE_CLIENT_CERTIFICATE_PATH`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: a service principal by its
    ///    certificate, in a PEM file with the certificate and its RSA key. One that cannot be used (a PFX file, an
    ///    encrypted key, `AZURE_CLIENT_CERTIFICATE_PASSWORD`) is an error, even if something else of 4 to 9 is there.
    /// 6. `AZURE_FEDERATED_TOKEN_FILE`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: a workload identity.
    /// 7. `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, which GitHub sets for a job with the
    ///    permission `id-token: write`, with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`: that job's identity, see
    ///    `GitHubActions` in `credential::entra`. Without the latter two it is passed over: such a job has logged in by
    ///    other means, and is found by 9.
    /// 8. `IDENTITY_ENDPOINT`, with `IDENTITY_HEADER`: the managed identity of an app; with `AZURE_CLIENT_ID`, the
    ///    user-assigned one. A virtual machine's has no variable of its own: it is meant if `AZURE_TOKEN_CREDENTIALS`
    ///    says so, or `AZURE_POD_IDENTITY_AUTHORITY_HOST` is set.
    /// 9. `az` on the `PATH`: whoever is logged in to the Azure CLI. `AZMUTEX_AZ_SECONDS` says how many seconds a run of
    ///    it may take, 1 to 300; otherwise 10.
    ///
    /// From 4 on, it takes the feature `entra`; `AZURE_AUTHORITY_HOST` names another cloud for 4 to 7, and
    /// `AZURE_TOKEN_CREDENTIALS` chooses, as in the vendor's libraries: `EnvironmentCredential` is 4 and 5,
    /// `WorkloadIdentityCredential` 6 and 7, `ManagedIdentityCredential` 8, `AzureCliCredential` or `dev` 9, and `prod`
    /// is all but 9, with a virtual machine's managed identity if nothing else is there.
    ///
    /// The first that is there is taken, and nobody is asked: that it does not work is told when it is used. An empty
    /// variable counts as absent; white space and line ends around a value are not part of it. For fallbacks:
    /// `Credential::chain`.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::ErrorKind::Credential) if there is none, naming what was looked for, if a variable that
    /// belongs to another is missing, or if one says what this crate cannot use; [`InvalidInput`](crate::ErrorKind::InvalidInput) if one is invalid.
    pub fn from_env() -> Result<Credential> {
        Credential::from_variables(&Environment::of_process())
    }

    pub(crate) fn from_variables(environment: &Environment<'_>) -> Result<Credential> {
        match environment.credential()? {
            Chosen::ConnectionString(text) => {
                let parts = connection_string::parse(text.reveal());
                let credential = parts.and_then(|parts| Credential::of(&parts.auth));
                credential.map_err(|error| error.of_variable(CONNECTION_STRING))
            }
            Chosen::SharedKey { account, key } => {
                names::check_account(&account).map_err(|error| error.of_variable(ACCOUNT))?;
                Credential::shared_key(&account, key.reveal()).map_err(|error| error.of_variable(KEY))
            }
            Chosen::Sas(token) => Credential::sas(token.reveal()).map_err(|error| error.of_variable(SAS_TOKEN)),
            #[cfg(feature = "entra")]
            Chosen::ServicePrincipal { application, secret, certificate } => {
                if let Some(file) = certificate {
                    ServicePrincipal::of_certificate(&application, file).build()?;
                }
                ServicePrincipal::of(&application, &secret).build()
            }
            #[cfg(feature = "entra")]
            Chosen::ClientCertificate { application, file } => {
                ServicePrincipal::of_certificate(&application, file).build()
            }
            #[cfg(feature = "entra")]
            Chosen::WorkloadIdentity { application, token_file } => {
                WorkloadIdentity::of(&application, token_file).build()
            }
            #[cfg(feature = "entra")]
            Chosen::GitHubActions { application, job } => GitHubActions::of(&application, job).build(),
            #[cfg(feature = "entra")]
            Chosen::ManagedIdentity { platform, client_id } => {
                ManagedIdentity::of(platform, client_id.as_deref()).build()
            }
            #[cfg(feature = "entra")]
            Chosen::AzureCli => AzureCli::new().build_in(environment),
        }
    }

    /// That of a connection string.
    pub(crate) fn of(auth: &Auth) -> Result<Credential> {
        match auth {
            Auth::SharedKey { account, key } => Credential::shared_key(account, key),
            Auth::Sas(token) => Credential::sas(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    #[cfg(feature = "entra")]
    use crate::environment::*;

    fn chosen(variables: &[(&str, &str)]) -> Result<String> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        Credential::from_variables(&Environment(&get)).map(|credential| format!("{credential:?}"))
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
        assert!(error.to_string().contains(METADATA_HOST), "{error}");
    }

    #[cfg(feature = "entra")]
    #[test]
    fn tokens_in_the_order_of_the_documentation() {
        let principal = [(TENANT, "t"), (CLIENT, "c"), (CLIENT_SECRET, "s"), (AUTHORITY, "http://127.0.0.1:9")];
        let workload = (TOKEN_FILE, "/token");
        let app = [(IDENTITY_ENDPOINT, "http://127.0.0.1:8/msi"), (IDENTITY_HEADER, "h")];
        let all = [&principal[..], &[workload], &app].concat();
        let with = |skipped: &[&str], said: Option<&'static str>| {
            let mut variables: Vec<_> = all.iter().filter(|(name, _)| !skipped.contains(name)).copied().collect();
            variables.extend(said.map(|said| (TOKEN_CREDENTIALS, said)));
            chosen(&variables)
        };
        let none: &[&str] = &[];
        assert!(with(none, None).unwrap().contains("the service principal c at http://127.0.0.1:9"));
        assert!(with(&[CLIENT_SECRET], None).unwrap().contains("the workload identity c at http://127.0.0.1:9"));
        let fileless = [CLIENT_SECRET, TOKEN_FILE];
        assert!(with(&fileless, None).unwrap().contains("the managed identity c at http://127.0.0.1:8"));
        let identityless = [&fileless[..], &[CLIENT]].concat();
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
    fn what_cannot_be_used_is_named_by_its_variable() {
        let right = [(TENANT, "t"), (CLIENT, "c"), (AUTHORITY, "http://127.0.0.1:9")];
        let app = [(IDENTITY_ENDPOINT, "http://127.0.0.1:8/msi"), (IDENTITY_HEADER, "h")];
        let job = [(GITHUB_URL, "http://127.0.0.1:7/token"), (GITHUB_TOKEN, "t")];
        let sources: [&[(&str, &str)]; 3] = [&[(CLIENT_SECRET, "s")], &[(TOKEN_FILE, "/token")], &job];
        for (name, wrong) in [
            (TENANT, "a tenant"),
            (CLIENT, "a client"),
            (AUTHORITY, "https://login.example/tenant"),
            (AUTHORITY, "http://login.example"),
        ] {
            for source in sources {
                let mut variables = [&right[..], source].concat();
                assert!(chosen(&variables).is_ok(), "{source:?}");
                variables.retain(|(other, _)| *other != name);
                variables.push((name, wrong));
                let error = chosen(&variables).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().starts_with(&format!("{name} in the environment: ")), "{error}");
            }
        }
        let host = (METADATA_HOST, "http://login.example");
        let cases: [(&[(&str, &str)], &str); 3] = [
            (&[app[0], app[1], (CLIENT, "a client")], CLIENT),
            (&[(IDENTITY_ENDPOINT, "nowhere"), app[1]], IDENTITY_ENDPOINT),
            (&[host], METADATA_HOST),
        ];
        for (variables, name) in cases {
            let error = chosen(variables).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{name} in the environment: ")), "{error}");
        }
    }

    /// Whoever set the variables need not be the one who wrote the program.
    #[cfg(feature = "entra")]
    #[test]
    fn no_error_of_the_environment_speaks_of_the_api() {
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[(IDENTITY_ENDPOINT, "http://localhost:40342/x")],
            &[(OLD_IDENTITY_ENDPOINT, "http://localhost:40342/x"), (TOKEN_CREDENTIALS, "ManagedIdentityCredential")],
            &[(IDENTITY_ENDPOINT, "http://localhost:40342/x"), (TOKEN_CREDENTIALS, "ManagedIdentityCredential")],
        ];
        for variables in cases {
            let error = chosen(variables).unwrap_err().to_string();
            assert!(!error.contains("::") && !error.contains("crate"), "{error}");
        }
    }

    #[cfg(feature = "entra")]
    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[(CLIENT_SECRET, "s"), (CLIENT, "c")], TENANT),
            (&[(TOKEN_FILE, "f"), (TENANT, "t")], CLIENT),
            (&[(TOKEN_CREDENTIALS, "EnvironmentCredential")], TENANT),
            (&[(TOKEN_CREDENTIALS, "WorkloadIdentityCredential")], TENANT),
        ];
        for (variables, missing) in cases {
            let error = chosen(variables).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Credential);
            assert!(error.to_string().contains(missing), "{error}");
        }
        let foreign = (IDENTITY_ENDPOINT, "http://localhost:40342/x");
        assert!(chosen(&[foreign]).unwrap_err().to_string().contains("looked for"), "no managed identity of ours");
        let error = chosen(&[foreign, (TOKEN_CREDENTIALS, "ManagedIdentityCredential")]).unwrap_err();
        assert!(error.kind() == ErrorKind::Credential && error.to_string().contains("Azure Arc"), "{error}");
    }
}
