//! Locks with the tokens of Entra ID, against doubles of its endpoints and of the storage service.

mod cache;
#[cfg(unix)]
pub(crate) mod certificate;
mod child;
#[cfg(unix)]
pub(crate) mod cli;
mod end_to_end;
#[cfg(unix)]
mod environment;
#[cfg(unix)]
mod github;
mod identity;
pub(crate) mod login;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::credential::entra::ServicePrincipal;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Container};

use crate::service::well;
use crate::support::http::{Request, Response};
use crate::support::peer::{Peer, Received, Reply, response};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);
const TENANT: &str = "contoso.onmicrosoft.com";
const CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
const SECRET: &str = "Kn0wnToNone~t/+value=";
const CHALLENGE: &str = "Bearer authorization_uri=https://login.microsoftonline.com/72f988bf-0000-0000-0000-000000000000/\
                         oauth2/authorize resource_id=https://storage.azure.com";

/// The tokens that were issued and are still good, for both doubles to know.
#[derive(Clone, Default)]
struct Tokens(Arc<Issued>);

#[derive(Default)]
struct Issued {
    count: AtomicUsize,
    good: Mutex<HashMap<String, Instant>>,
}

impl Tokens {
    /// A new one, good for this long.
    fn issue(&self, life: Duration) -> String {
        let token = format!("ey.Kn0wnToNone.{}", self.0.count.fetch_add(1, Ordering::Relaxed));
        self.0.good.lock().unwrap().insert(token.clone(), Instant::now() + life);
        token
    }

    /// As the token endpoint does, and the metadata service: `life` in whole seconds.
    fn answer(&self, life: Duration) -> Reply {
        let token = self.issue(life);
        json(200, &format!(r#"{{"token_type":"Bearer","expires_in":{},"access_token":"{token}"}}"#, life.as_secs()))
    }

    fn issued(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    fn revoke_all(&self) {
        self.0.good.lock().unwrap().clear();
    }

    /// The storage service, which knows good tokens.
    fn storage(&self) -> Peer {
        let tokens = self.clone();
        Peer::start(move |received| if tokens.admit(&received.request) { well(received) } else { unauthenticated() })
    }

    fn admit(&self, request: &Request) -> bool {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        self.0.good.lock().unwrap().get(token).is_some_and(|end| Instant::now() < *end)
    }
}

/// What the service answers to a token that it does not take.
fn unauthenticated() -> Reply {
    let headers = [("x-ms-error-code", "InvalidAuthenticationInfo"), ("www-authenticate", CHALLENGE)];
    let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>InvalidAuthenticationInfo</Code>\
                <AuthenticationErrorDetail>Lifetime validation failed. The token is expired.\
                </AuthenticationErrorDetail></Error>";
    Reply::Answer(response(401, &headers, body.as_bytes().to_vec()))
}

fn json(status: u16, body: &str) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
    Reply::Answer(Response { status, headers, body: body.as_bytes().to_vec() })
}

/// What Entra ID answers to a request that it refuses.
fn refusal(status: u16, error: &str, number: u32, text: &str) -> Reply {
    json(
        status,
        &format!(
            r#"{{"error":"{error}","error_description":"AADSTS{number}: {text} Trace ID: 1\r\nTimestamp: 2026-01-01",
            "error_codes":[{number}],"trace_id":"1","correlation_id":"2"}}"#
        ),
    )
}

/// A token endpoint, where `answer` says what comes of a request that is well made.
fn authority(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::start(move |received| {
        let request = &received.request;
        assert_eq!(request.method, "POST");
        assert_eq!(request.target, format!("/{TENANT}/oauth2/v2.0/token"));
        let types = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        assert_eq!(types.map(|(_, value)| &**value).collect::<Vec<_>>(), ["application/x-www-form-urlencoded"]);
        assert_eq!(request.header("content-length"), Some(&*request.body.len().to_string()));
        let form = form(request);
        assert_eq!(form["client_id"], CLIENT);
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["scope"], "https://storage.azure.com/.default");
        answer(received)
    })
}

/// The fields of a form, decoded.
fn form(request: &Request) -> HashMap<String, String> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let body = String::from_utf8(request.body.clone()).unwrap();
    body.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (decoded(k), decoded(v))).collect()
}

fn by_secret(authority: &Peer) -> Credential {
    ServicePrincipal::secret(TENANT, CLIENT, SECRET).authority(&authority.url()).build().unwrap()
}

/// Tries again at once.
fn eager() -> Policy {
    Policy::default().first_pause(MS).longest_pause(2 * SECOND)
}

fn mutex(storage: &Peer, credential: Credential) -> AzureMutex {
    container(storage, credential, eager()).mutex("job").unwrap()
}

fn container(storage: &Peer, credential: Credential, policy: Policy) -> Container {
    Container::builder(&format!("{}/acct/locks", storage.url()), credential).retry(policy).build().unwrap()
}
