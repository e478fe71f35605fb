//! Whoever is logged in to the Azure CLI.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::answer;
use super::authority::check_tenant;
use super::command::{self, Exit};
use super::scope::{SCOPE, check_scope, resource};
use super::source::{AccessToken, TokenError, TokenSource};
use crate::clock;
use crate::credential::Credential;
use crate::environment::{self, CLI_SECONDS, Environment};
use crate::error::{Error, Result};
use crate::redact::{tidy, without_tokens};

const LIMIT: Duration = Duration::from_secs(10);
const LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Whoever is logged in to the [Azure CLI](https://learn.microsoft.com/cli/azure/account#az-account-get-access-token):
/// on a developer's machine by `az login`, in a workflow by a step that logs in. Each token is one run of `az`, which is
/// looked for in the absolute directories of `PATH`.
///
/// ```
/// use azmutex::credential::entra::AzureCli;
///
/// let credential = AzureCli::new().tenant("contoso.onmicrosoft.com").build()?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build`"]
pub struct AzureCli {
    tenant: Option<String>,
    limit: Option<Duration>,
    scope: String,
}

impl AzureCli {
    /// The account and tenant that the CLI has chosen.
    pub fn new() -> AzureCli {
        AzureCli { tenant: None, limit: None, scope: SCOPE.to_owned() }
    }

    /// A tenant: its id, or one of its domain names. Defaults to the one that the CLI has chosen.
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// How long one run of `az` may take, from 1 s to 5 min; after that it is killed. Defaults to what the environment
    /// variable `AZMUTEX_AZ_SECONDS` says, and without it to 10 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// What the token is for. Defaults to `https://storage.azure.com/.default`, in all clouds.
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = scope.to_owned();
        self
    }

    /// Checks the settings. Runs nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a setting is invalid.
    pub fn build(self) -> Result<Credential> {
        self.build_in(&Environment::of_process())
    }

    pub(in crate::credential) fn build_in(self, environment: &Environment<'_>) -> Result<Credential> {
        self.tenant.as_deref().map_or(Ok(()), check_tenant)?;
        check_scope(&self.scope)?;
        let given = match self.limit {
            Some(limit) => Some(limit),
            None => environment.azure_cli_limit()?,
        };
        let limit = given.unwrap_or(LIMIT);
        if !LIMITS.contains(&limit) {
            let named = if self.limit.is_none() { format!("{CLI_SECONDS}: ") } else { String::new() };
            return Err(Error::input(format!("{named}a run of `az` may take 1 s to 5 min, not {limit:?}")));
        }
        let is_set_in_code = self.limit.is_some();
        Ok(Credential::entra(Arc::new(Source { tenant: self.tenant, scope: self.scope, limit, is_set_in_code })))
    }
}

impl Default for AzureCli {
    fn default() -> Self {
        AzureCli::new()
    }
}

impl Credential {
    /// Entra ID's tokens for whoever is logged in to the Azure CLI. With settings: [`AzureCli`].
    ///
    /// # Errors
    ///
    /// Those of [`AzureCli::build`]; that `az` is not there is told when it is needed.
    pub fn azure_cli() -> Result<Credential> {
        AzureCli::new().build()
    }
}

struct Source {
    tenant: Option<String>,
    scope: String,
    limit: Duration,
    is_set_in_code: bool,
}

impl TokenSource for Source {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        let Some(program) = Environment::of_process().azure_cli() else {
            return Err(TokenError::definite("there is no `az` on the PATH; install it, or choose another credential"));
        };
        let asked = clock::now();
        let finished = command::run(&mut self.command(&program), self.limit);
        let finished =
            finished.map_err(|error| TokenError::definite(format!("{} cannot be run: {error}", program.display())))?;
        let stderr = without_tokens(&String::from_utf8_lossy(&finished.stderr));
        let said = if stderr.trim().is_empty() { String::new() } else { format!(": {}", tidy(stderr.trim(), &[])) };
        match finished.exit {
            Exit::OutOfTime => {
                let limit = self.limit;
                let more = if self.is_set_in_code { String::new() } else { format!("; {CLI_SECONDS} gives it more") };
                Err(TokenError::passing(format!("`az` did not end within {limit:?}{said}{more}")))
            }
            Exit::With(status) if !status.success() => {
                Err(TokenError::definite(format!("`az` ended with {status}{said}")))
            }
            Exit::With(_) | Exit::Unseen => answer::cli_token(&finished.stdout, asked)
                .ok_or_else(|| TokenError::definite(format!("`az` gave something that is no token{said}"))),
        }
    }

    fn name(&self) -> String {
        "the Azure CLI".to_owned()
    }

    fn limit(&self) -> Option<Duration> {
        Some(self.limit)
    }
}

impl Source {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["account", "get-access-token", "--output", "json", "--resource", resource(&self.scope)]);
        if let Some(tenant) = &self.tenant {
            command.args(["--tenant", tenant]);
        }
        // Where it is, nobody has put anything that it would take for a part of itself.
        if let Some(directory) = program.parent() {
            command.current_dir(directory);
        }
        command.env(environment::CLI_NO_COLOR, "true");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        for tenant in ["", "--debug", "a b", "a;b", "$(x)"] {
            assert!(AzureCli::new().tenant(tenant).build().is_err(), "{tenant}");
        }
        assert!(AzureCli::new().limit(Duration::ZERO).build().is_err());
        assert!(AzureCli::new().limit(Duration::MAX).build().is_err());
        assert!(AzureCli::new().scope("").build().is_err());
        assert!(AzureCli::new().tenant("contoso.onmicrosoft.com").build().is_ok());
    }

    #[test]
    fn what_is_run() {
        let (tenant, scope) = (Some("t".to_owned()), SCOPE.to_owned());
        let source = Source { tenant, scope, limit: LIMIT, is_set_in_code: false };
        let command = source.command(Path::new("/opt/bin/az"));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(
            arguments.join(" "),
            "account get-access-token --output json --resource https://storage.azure.com --tenant t"
        );
        assert_eq!(command.get_current_dir(), Some(Path::new("/opt/bin")));
    }
}
