//! One HTTP request, bounded in time and memory. The only place that knows ureq.
//!
//! Nothing is repeated or followed here: a second try is for those who know what the first one may have done, and a
//! redirect would carry a signature to another host.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use ureq::http::{HeaderMap, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Timeout};

use crate::clock::{self, Moment};

/// A connection's buffers. An answer's head must fit: at most 8 KiB of it is metadata.
const BUFFER: usize = 16 * 1024;
const LARGEST_HEAD: usize = 32 * 1024;
/// Of an answer's body no more is read than an error message needs.
const LARGEST_BODY: u64 = 64 * 1024;
/// Longer than any renewal interval, so that a renewal finds its connection open.
const IDLE: Duration = Duration::from_secs(90);
const IDLE_CONNECTIONS: usize = 64;
/// A storage account's address may change when it fails over.
const NAME_FRESH: Duration = Duration::from_secs(30);
/// Look-ups that may hang at once; each occupies a thread until the system gives up on it.
const LOOKUPS: usize = 4;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Put,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Head => "HEAD",
            Method::Put => "PUT",
        }
    }
}

/// A request without a body. May carry secrets in its query and headers, so it cannot be printed.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Scheme and authority.
    pub(crate) origin: String,
    /// Percent-encoded, and sent as it stands.
    pub(crate) path: String,
    /// Without the `?`; may be empty.
    pub(crate) query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    /// A header's value, unless it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    pub(crate) because: Because,
    /// The request never left, so it cannot have been carried out.
    pub(crate) unsent: bool,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    TimedOut,
    NoSuchHost,
    ConnectionRefused,
    Connection,
    Proxy,
    /// The server's certificate or its TLS is not acceptable. Trying again would not help.
    Tls,
    NotHttp,
}

/// Agents and their pools. Cheap to share, not to make.
pub(crate) struct Transport {
    agent: Agent,
    /// The agent's own limit. A request with just this limit needs no settings of its own; ureq would otherwise build
    /// the TLS configuration anew for each connection that it opens before its first request without any.
    limit: Duration,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// `limit` is the usual time limit of a request. A `local` server is reached directly, whatever proxy the
    /// environment names.
    pub(crate) fn new(limit: Duration, local: bool) -> Transport {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("azmutex/", env!("CARGO_PKG_VERSION")))
            .accept("")
            .accept_encoding("")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_response_header_size(LARGEST_HEAD)
            .max_idle_age(IDLE)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .timeout_global(Some(limit));
        if local {
            config = config.proxy(None);
        }
        #[cfg(feature = "platform-verifier")]
        {
            use ureq::tls::{RootCerts, TlsConfig};
            config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::new(), CachingResolver::default());
        Transport { agent, limit }
    }

    /// One attempt, over within `limit` from the look-up of the name to the end of the answer.
    pub(crate) fn send(&self, request: &Request, limit: Duration) -> Result<Reply, NoAnswer> {
        let mark = if request.query.is_empty() { "" } else { "?" };
        let url = format!("{}{}{mark}{}", request.origin, request.path, request.query);
        let answer = match request.method {
            Method::Head => {
                let mut call = self.agent.head(&url);
                for (name, value) in &request.headers {
                    call = call.header(*name, value);
                }
                if limit == self.limit { call.call() } else { call.config().timeout_global(Some(limit)).build().call() }
            }
            Method::Put => {
                let mut call = self.agent.put(&url);
                for (name, value) in &request.headers {
                    call = call.header(*name, value);
                }
                // With an explicit length of zero: the service refuses a PUT that leaves it out.
                if limit == self.limit {
                    call.send_empty()
                } else {
                    call.config().timeout_global(Some(limit)).build().send_empty()
                }
            }
        };
        let (head, mut body) = answer.map_err(no_answer)?.into_parts();
        // Read even where it is not needed: an unread body costs the connection. Whatever goes wrong with it, the
        // head has told what there is to know.
        let body = body.with_config().limit(LARGEST_BODY).read_to_vec().unwrap_or_default();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// Whether https can be spoken: without a TLS feature ureq would connect first, and fail then.
pub(crate) const HAS_TLS: bool = cfg!(any(feature = "rustls", feature = "platform-verifier"));

/// Whether ureq will take this as the beginning of a URL.
pub(crate) fn is_origin(origin: &str) -> bool {
    let uri = origin.parse::<Uri>();
    uri.is_ok_and(|uri| uri.authority().is_some_and(|authority| !authority.host().is_empty()))
}

fn no_answer(error: ureq::Error) -> NoAnswer {
    let (because, unsent) = match &error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => (Because::TimedOut, true),
        ureq::Error::Timeout(_) => (Because::TimedOut, false),
        ureq::Error::HostNotFound => (Because::NoSuchHost, true),
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => (Because::ConnectionRefused, true),
        ureq::Error::Io(io) if is_certificate(io) => (Because::Tls, true),
        ureq::Error::Io(_) => (Because::Connection, false),
        ureq::Error::ConnectionFailed => (Because::Connection, true),
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => (Because::Proxy, true),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => (Because::Tls, true),
        #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
        ureq::Error::Rustls(_) => (Because::Tls, true),
        _ => (Because::NotHttp, false),
    };
    let source: Option<Box<dyn std::error::Error + Send + Sync>> = match error {
        // The kind says it all.
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => None,
        // These texts hold a URL, and so perhaps a signature.
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) | ureq::Error::ConnectProxyFailed(_) => None,
        ureq::Error::Io(io) => Some(Box::new(io)),
        other => Some(Box::new(other)),
    };
    NoAnswer { because, unsent, source }
}

/// Whether the server's certificate was refused, which happens before a request is sent. rustls' error type is not
/// ours to name, so its text is looked at; if that changed, the failure would merely be tried again for a while.
fn is_certificate(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        && error.get_ref().is_some_and(|inner| inner.to_string().starts_with("invalid peer certificate"))
}

/// Looks names up, and remembers them for half a minute.
///
/// Without a time limit ureq looks a name up for every request, pooled connection or not; with one it starts a thread
/// for each look-up. Here only a look-up that is really needed takes a thread, and while a name server is out the old
/// addresses serve.
#[derive(Clone, Default)]
struct CachingResolver {
    names: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Names {
    /// Few: the host, and perhaps a proxy.
    known: Vec<(String, Known)>,
    lookups: usize,
}

struct Known {
    addresses: Vec<SocketAddr>,
    fresh_until: Moment,
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachingResolver")
    }
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let addresses = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.look_up(format!("{host}:{port}"), *timeout.after)?,
        };
        let mut resolved = self.empty();
        addresses.iter().take(16).for_each(|address| resolved.push(*address));
        Ok(resolved)
    }
}

impl CachingResolver {
    fn look_up(&self, name: String, limit: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
        let stale = {
            let names = self.names();
            let known = names.known.iter().find(|(known, _)| *known == name);
            match known {
                Some((_, known)) if clock::now() < known.fresh_until => return Ok(known.addresses.clone()),
                _ if names.lookups >= LOOKUPS => {
                    return known.map(|(_, old)| old.addresses.clone()).ok_or(ureq::Error::Timeout(Timeout::Resolve));
                }
                known => known.map(|(_, old)| old.addresses.clone()),
            }
        };
        // With old addresses at hand a slow name server may cost some of the request's time, not all of it.
        let limit = if stale.is_some() { limit / 4 } else { limit };
        let (found, answer) = crossbeam_channel::bounded(1);
        let this = self.clone();
        self.names().lookups += 1;
        let thread = std::thread::Builder::new().name("azmutex-dns".into()).spawn(move || {
            let addresses = name.to_socket_addrs().map(|addresses| addresses.collect::<Vec<_>>());
            this.remember(name, addresses.as_deref().unwrap_or_default());
            // Nobody may be waiting any more.
            let _ = found.send(addresses.unwrap_or_default());
        });
        if let Err(error) = thread {
            self.names().lookups -= 1;
            return stale.ok_or(ureq::Error::Io(error));
        }
        match answer.recv_timeout(limit) {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            Err(RecvTimeoutError::Timeout) => stale.ok_or(ureq::Error::Timeout(Timeout::Resolve)),
            _ => stale.ok_or(ureq::Error::HostNotFound),
        }
    }

    fn remember(&self, name: String, addresses: &[SocketAddr]) {
        let mut names = self.names();
        names.lookups -= 1;
        if !addresses.is_empty() {
            names.known.retain(|(known, _)| *known != name);
            let fresh_until = clock::now().after(NAME_FRESH);
            names.known.push((name, Known { addresses: addresses.to_vec(), fresh_until }));
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
