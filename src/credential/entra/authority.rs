//! Entra ID's token endpoint:
//! [client credentials flow](https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::endpoint::{self, Endpoint};
use super::scope::{SCOPE, check_scope};
use super::source::{AccessToken, TokenError};
use crate::environment::{AUTHORITY, Application, CLIENT, TENANT};
use crate::error::{Error, Result};
use crate::transport::url::Url;

/// Of the public cloud.
pub(super) const PUBLIC: &str = "https://login.microsoftonline.com";
pub(super) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A domain name is no longer.
const LONGEST_TENANT: usize = 255;
const LONGEST_ID: usize = 1024;

/// Who logs in, where, for what.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) tenant: Given,
    pub(super) client_id: Given,
    pub(super) authority: Given,
    pub(super) scope: String,
}

/// A setting, and the environment variable that it comes from, if it does.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    variable: Option<&'static str>,
}

impl Given {
    pub(super) fn by(variable: &'static str, text: &str) -> Given {
        Given { text: text.to_owned(), variable: Some(variable) }
    }

    /// What is wrong with it, with the variable's name.
    pub(super) fn wrong(&self, error: Error) -> Error {
        match self.variable {
            Some(variable) => error.of_variable(variable),
            None => error,
        }
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Given {
        Given { text: text.to_owned(), variable: None }
    }
}

impl Login {
    pub(super) fn new(tenant: &str, client_id: &str) -> Login {
        Login { tenant: tenant.into(), client_id: client_id.into(), authority: PUBLIC.into(), scope: SCOPE.to_owned() }
    }

    pub(super) fn of(application: &Application) -> Login {
        let authority = application.authority.as_deref().map(|authority| Given::by(AUTHORITY, authority));
        Login {
            tenant: Given::by(TENANT, &application.tenant),
            client_id: Given::by(CLIENT, &application.client_id),
            authority: authority.unwrap_or_else(|| PUBLIC.into()),
            scope: SCOPE.to_owned(),
        }
    }

    pub(super) fn build(self) -> Result<Authority> {
        check_tenant(&self.tenant.text).map_err(|error| self.tenant.wrong(error))?;
        check_id(&self.client_id.text).map_err(|error| self.client_id.wrong(error))?;
        check_scope(&self.scope)?;
        let url = authority_url(&self.authority.text).map_err(|error| self.authority.wrong(error))?;
        Ok(Authority { endpoint: Endpoint::remote(&url)?, login: self })
    }
}

pub(super) struct Authority {
    endpoint: Endpoint,
    login: Login,
}

impl Authority {
    pub(super) fn client_id(&self) -> &str {
        &self.login.client_id.text
    }

    pub(super) fn origin(&self) -> &str {
        self.endpoint.origin()
    }

    /// Where tokens are asked for.
    pub(super) fn url(&self) -> String {
        format!("{}{}", self.origin(), self.path())
    }

    fn path(&self) -> String {
        format!("/{}/oauth2/v2.0/token", self.login.tenant.text)
    }

    /// A token for whoever knows this secret.
    pub(super) fn by_secret(&self, secret: &str) -> Result<AccessToken, TokenError> {
        self.redeem(&[("client_secret", secret)], secret)
    }

    /// A token for whoever has this assertion, a JWT: one that the application signed itself, or that another issuer
    /// signed whom the application trusts.
    pub(super) fn by_assertion(&self, assertion: &str) -> Result<AccessToken, TokenError> {
        let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        self.redeem(&[kind, ("client_assertion", assertion)], assertion)
    }

    fn redeem(&self, proof: &[(&str, &str)], secret: &str) -> Result<AccessToken, TokenError> {
        let who = [
            ("client_id", &*self.login.client_id.text),
            ("grant_type", "client_credentials"),
            ("scope", &*self.login.scope),
        ];
        self.endpoint.post(&self.path(), form(who.iter().chain(proof)), &[secret])
    }
}

/// The authority's, which secrets may be told to.
fn authority_url(authority: &str) -> Result<Url> {
    let authority = authority.trim_end_matches('/');
    // Some platforms give the bare host.
    let url = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
    let url = Url::parse(&url).ok().filter(|url| url.path.is_empty());
    let url = url.ok_or_else(|| Error::input(format!("the authority must be like {PUBLIC}, without a path")))?;
    endpoint::check_remote(&url)?;
    Ok(url)
}

fn form<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)> + Clone) -> String {
    // Made in one piece, so that nothing of it is left behind where it grew.
    let size = fields.clone().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut text = String::with_capacity(size);
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.extend(utf8_percent_encode(value, UNRESERVED));
    }
    text
}

/// It goes into a path and into a command line.
pub(super) fn check_tenant(tenant: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if tenant.is_empty() || tenant.len() > LONGEST_TENANT || tenant.starts_with(['-', '.']) || !tenant.bytes().all(fits)
    {
        return Err(Error::input("the tenant must be its id, a GUID, or one of its domain names"));
    }
    Ok(())
}

/// A GUID, or the path of a resource. It is told of, so it must not be able to be a secret in the wrong place.
pub(super) fn check_id(id: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./()".contains(&byte);
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(fits) {
        return Err(Error::input("the identity's id is empty, or has characters that no id has"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_form_is_encoded() {
        let fields = [("a", "b c"), ("client_secret", "~a+b/c=&é"), ("scope", "https://x/.default")];
        assert_eq!(
            form(fields.iter()),
            "a=b%20c&client_secret=~a%2Bb%2Fc%3D%26%C3%A9&scope=https%3A%2F%2Fx%2F.default"
        );
    }

    #[test]
    fn a_login_is_checked_without_showing_what_may_be_a_secret() {
        let login = || Login::new("contoso.onmicrosoft.com", "11111111-1111-1111-1111-111111111111");
        for tenant in ["", "a/b", "../common", "a?b", "-a", "a b", "SECRET/", &"a".repeat(300)] {
            let error = Login { tenant: tenant.into(), ..login() }.build().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{tenant}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
        for id in ["", "a b", "é", "SECRET+/==", "AccountName=me;AccountKey=SECRET", "SECRET~"] {
            let error = Login { client_id: id.into(), ..login() }.build().err().unwrap();
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
        for scope in ["", "a b"] {
            assert!(Login { scope: scope.into(), ..login() }.build().is_err(), "{scope}");
        }
        for authority in ["", "http://login.test", "https://login.test/tenant", "https://a@b", "ftp://login.test"] {
            assert!(Login { authority: authority.into(), ..login() }.build().is_err(), "{authority}");
        }
    }

    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    #[test]
    fn authorities_of_all_clouds() {
        for (given, origin) in [
            ("https://login.microsoftonline.us/", "https://login.microsoftonline.us"),
            ("login.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            let login = Login { authority: given.into(), ..Login::new("t", "c") };
            assert_eq!(login.build().ok().unwrap().origin(), origin);
        }
    }
}
