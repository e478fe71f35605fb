//! One question to an endpoint that gives tokens.

use std::error::Error as StdError;
use std::time::Duration;

use super::answer::{self, ErrorResponse};
use super::backoff::Backoff;
use super::source::{AccessToken, TokenError};
use crate::clock::{self, Moment};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::redact::Secret;
use crate::retry;
use crate::transport::proxy::Proxy;
use crate::transport::url::Url;
use crate::transport::{Header, Method, Request, Transport};

/// Nobody waits for the whole of it: see the token cache.
const LIMIT: Duration = retry::ATTEMPT_LIMIT;

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{hint}")]
struct Unreached {
    hint: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Whether what is on the net there may be told secrets.
pub(super) fn check_remote(url: &Url) -> Result<()> {
    if !url.https && !url.is_loopback() {
        return Err(Error::input(format!("{} would be told secrets without TLS; use https", url.origin)));
    }
    url.check_tls()
}

pub(super) struct Endpoint {
    origin: String,
    backoff: &'static Backoff,
    transport: Transport,
}

impl Endpoint {
    /// One on the net, over https, and through the proxy that the environment names, if it names one. Plain http only
    /// on this machine.
    pub(super) fn remote(url: &Url) -> Result<Endpoint> {
        check_remote(url)?;
        let proxy = Environment::of_process().proxies().on_the_way_to(url)?;
        Ok(Endpoint::new(url, &Backoff::TOKENS, proxy))
    }

    /// One of the platform that this runs on: on this machine, or next to it, where no proxy can reach it or should.
    pub(super) fn near(url: &Url, backoff: &'static Backoff) -> Result<Endpoint> {
        if !url.https && !url.is_near() {
            return Err(Error::input(format!(
                "{} is not next to this machine, and would be told secrets without TLS",
                url.origin
            )));
        }
        url.check_tls()?;
        Ok(Endpoint::new(url, backoff, None))
    }

    fn new(url: &Url, backoff: &'static Backoff, proxy: Option<Proxy>) -> Endpoint {
        Endpoint { origin: url.origin.clone(), backoff, transport: Transport::new(LIMIT, proxy) }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Posts `form`, of which the `secrets` are in no error.
    pub(super) fn post(&self, path: &str, form: String, secrets: &[&str]) -> Result<AccessToken, TokenError> {
        let headers = vec![("content-type", "application/x-www-form-urlencoded".into())];
        let mut request = Request::new(Method::Post, &self.origin, path, "", headers);
        request.body = form;
        self.ask(&request, secrets, answer::token)
    }

    /// Gets what is at `path`; the `secrets` of the headers are in no error.
    pub(super) fn get(
        &self,
        path: &str,
        query: &str,
        headers: Vec<Header>,
        secrets: &[&str],
    ) -> Result<AccessToken, TokenError> {
        self.ask(&Request::new(Method::Get, &self.origin, path, query.to_owned(), headers), secrets, answer::token)
    }

    /// Gets a token about this program from whoever vouches for it, by showing it `token`.
    pub(super) fn assertion(&self, path: &str, query: &str, token: &Secret) -> Result<Secret, TokenError> {
        let headers = vec![("authorization", format!("bearer {}", token.reveal()).into())];
        let request = Request::new(Method::Get, &self.origin, path, query.to_owned(), headers);
        self.ask(&request, &[token.reveal()], |body, _| answer::assertion(body))
    }

    /// `read` gets the token out of a good answer, for which was asked at that time.
    fn ask<T>(
        &self,
        request: &Request<'_>,
        secrets: &[&str],
        read: impl FnOnce(&[u8], Moment) -> Option<T>,
    ) -> Result<T, TokenError> {
        let asked = clock::now();
        let reply = match self.transport.send(request, LIMIT) {
            Ok(reply) => reply,
            Err(no_answer) => {
                let passing = !no_answer.is_untrusted();
                let unreached = Unreached { hint: no_answer.hint(&self.origin), source: no_answer.source };
                return Err(if passing { self.passing(unreached) } else { TokenError::definite(unreached) });
            }
        };
        if reply.status == 200 {
            return read(reply.bytes(), asked)
                .ok_or_else(|| self.passing(format!("{} answered with something that is no token", self.origin)));
        }
        let status = reply.status;
        let error = match answer::error_response(reply.bytes(), secrets) {
            Some(ErrorResponse { text, passing }) if (400..600).contains(&status) => {
                let text = format!("{} answered {status} {text}", self.origin);
                if !passing && !self.backoff.is_passing(status) {
                    return Err(TokenError::definite(text));
                }
                self.passing(text)
            }
            // What gives no reason may be something else, on the way there.
            _ => self.passing(format!("{} answered {status}, and not as a token endpoint does", self.origin)),
        };
        match retry::retry_after(|name| reply.header(name), clock::wall()) {
            Some(pause) => Err(error.retry_after(pause)),
            None => Err(error),
        }
    }

    fn passing(&self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> TokenError {
        TokenError { backoff: self.backoff, ..TokenError::passing(cause) }
    }
}
