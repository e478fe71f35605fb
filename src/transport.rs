//! One HTTP request, bounded in time and memory. The only place that knows ureq.
//!
//! Nothing is repeated or followed here: a second try is for those who know what the first one may have done, and a
//! redirect would carry a signature to another host.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::config::Config;
#[cfg(test)]
use ureq::http::HeaderName;
use ureq::http::{HeaderMap, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, RequestBuilder, Timeout};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::{self, Moment};

#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub(crate) mod url;

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
/// A look-up that takes longer is given up for lost, and another one is begun.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Put,
    #[cfg(feature = "entra")]
    Get,
    #[cfg(feature = "entra")]
    Post,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Head => "HEAD",
            Method::Put => "PUT",
            #[cfg(feature = "entra")]
            Method::Get => "GET",
            #[cfg(feature = "entra")]
            Method::Post => "POST",
        }
    }
}

/// A request. May carry secrets in its query, headers and body, so it cannot be printed.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Scheme and authority.
    pub(crate) origin: String,
    /// Percent-encoded, and sent as it stands.
    pub(crate) path: String,
    /// Without the `?`; may be empty.
    pub(crate) query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Of a POST; nothing else has one.
    #[cfg(feature = "entra")]
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn new(
        method: Method,
        origin: &str,
        path: &str,
        query: &str,
        headers: Vec<(&'static str, String)>,
    ) -> Request {
        Request {
            method,
            origin: origin.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            #[cfg(feature = "entra")]
            body: String::new(),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.query.zeroize();
        self.headers.iter_mut().for_each(|(_, value)| value.zeroize());
        #[cfg(feature = "entra")]
        self.body.zeroize();
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    #[cfg(test)]
    pub(crate) fn new(status: u16, headers: &[(&'static str, &str)]) -> Reply {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Reply { status, headers: headers.collect(), body: Vec::new() }
    }

    /// A header's value, unless it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[cfg(feature = "entra")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.body.zeroize();
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

impl NoAnswer {
    /// In words, for a request to `origin` that had this `limit`.
    pub(crate) fn hint(&self, origin: &str, limit: Duration) -> String {
        match self.because {
            Because::TimedOut => format!("no answer from {origin} within {limit:?}"),
            Because::NoSuchHost => format!("the name of {origin} cannot be resolved"),
            Because::ConnectionRefused => format!("nothing listens at {origin}; is it running, and the port right?"),
            Because::Connection => format!("the connection to {origin} failed"),
            Because::Proxy => format!("the proxy that the environment names does not connect to {origin}"),
            Because::Tls if cfg!(feature = "platform-verifier") => {
                format!("no trusted TLS connection to {origin}; is its authority in this system's trust store?")
            }
            Because::Tls => format!(
                "no trusted TLS connection to {origin}; for a private certificate authority use the feature \
                 `platform-verifier`"
            ),
            Because::NotHttp => format!("{origin} does not answer as an HTTP server does"),
        }
    }
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
        let config = config(limit, local);
        let agent = Agent::with_parts(config, DefaultConnector::new(), CachingResolver::default());
        Transport { agent, limit }
    }

    /// One attempt, over within `limit` from the look-up of the name to the end of the answer.
    pub(crate) fn send(&self, request: &Request, limit: Duration) -> Result<Reply, NoAnswer> {
        let mark = if request.query.is_empty() { "" } else { "?" };
        let url = Zeroizing::new(format!("{}{}{mark}{}", request.origin, request.path, request.query));
        let answer = match request.method {
            Method::Head => self.prepare(self.agent.head(&*url), request, limit).call(),
            // With an explicit length of zero: the service refuses a PUT that leaves it out.
            Method::Put => self.prepare(self.agent.put(&*url), request, limit).send_empty(),
            #[cfg(feature = "entra")]
            Method::Get => self.prepare(self.agent.get(&*url), request, limit).call(),
            #[cfg(feature = "entra")]
            Method::Post => self.prepare(self.agent.post(&*url), request, limit).send(&request.body),
        };
        let (head, mut body) = answer.map_err(no_answer)?.into_parts();
        // Read even where it is not needed: an unread body costs the connection. Whatever goes wrong with it, the
        // head has told what there is to know.
        let body = body.with_config().limit(LARGEST_BODY).read_to_vec().unwrap_or_default();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn prepare<Body>(
        &self,
        mut call: RequestBuilder<Body>,
        request: &Request,
        limit: Duration,
    ) -> RequestBuilder<Body> {
        for (name, value) in &request.headers {
            call = call.header(*name, value);
        }
        if limit == self.limit { call } else { call.config().timeout_global(Some(limit)).build() }
    }
}

fn config(limit: Duration, local: bool) -> Config {
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
    config.build()
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
/// for each look-up. Here only a look-up that is really needed takes a thread, one at a time for each name, and while
/// a name server is out the old addresses serve.
#[derive(Clone, Default)]
struct CachingResolver {
    shared: Arc<Names>,
}

#[derive(Default)]
struct Names {
    /// Few: the host, and perhaps a proxy.
    names: Mutex<Vec<Name>>,
    /// A look-up has ended.
    ended: Condvar,
}

struct Name {
    name: String,
    addresses: Vec<SocketAddr>,
    fresh_until: Moment,
    /// When the look-up that is under way began.
    looking_since: Option<Moment>,
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachingResolver")
    }
}

impl Resolver for CachingResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let addresses = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.addresses(&format!("{host}:{port}"), *timeout.after)?,
        };
        let mut resolved = self.empty();
        addresses.iter().take(16).for_each(|address| resolved.push(*address));
        Ok(resolved)
    }
}

impl CachingResolver {
    fn addresses(&self, name: &str, limit: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
        let mut names = self.shared.lock();
        let i = names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            let (addresses, fresh_until) = (Vec::new(), Moment::PAST);
            names.push(Name { name: name.to_owned(), addresses, fresh_until, looking_since: None });
            names.len() - 1
        });
        let now = clock::now();
        if now < names[i].fresh_until {
            return Ok(names[i].addresses.clone());
        }
        if names[i].looking_since.is_none_or(|since| now.since(since) > LONGEST_LOOKUP) {
            names[i].looking_since = Some(now);
            if let Err(error) = self.look_up(name.to_owned(), now) {
                names[i].looking_since = None;
                return if names[i].addresses.is_empty() { Err(error.into()) } else { Ok(names[i].addresses.clone()) };
            }
        }
        // With old addresses at hand a slow name server may cost some of the request's time, not all of it.
        let limit = if names[i].addresses.is_empty() { limit } else { limit / 4 };
        let looking = |names: &mut Vec<Name>| names[i].looking_since.is_some() && clock::now() >= names[i].fresh_until;
        let waited = self.shared.ended.wait_timeout_while(names, limit, looking);
        let (names, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match (names[i].addresses.is_empty(), waited.timed_out()) {
            (false, _) => Ok(names[i].addresses.clone()),
            (true, true) => Err(ureq::Error::Timeout(Timeout::Resolve)),
            (true, false) => Err(ureq::Error::HostNotFound),
        }
    }

    /// On a thread of its own, since the system's look-up cannot be given a limit.
    fn look_up(&self, name: String, since: Moment) -> io::Result<()> {
        let shared = self.shared.clone();
        let look = move || {
            let found = name.to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
            let mut names = shared.lock();
            if let Some(known) = names.iter_mut().find(|known| known.name == name) {
                if known.looking_since == Some(since) {
                    // Not if this one was given up for lost, and another is under way.
                    known.looking_since = None;
                }
                if !found.is_empty() {
                    known.addresses = found;
                    known.fresh_until = clock::now().after(NAME_FRESH);
                }
            }
            shared.ended.notify_all();
        };
        std::thread::Builder::new().name("azmutex-dns".into()).spawn(look).map(drop)
    }
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, Vec<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "storage.test:443";
    const LIMIT: Duration = Duration::from_millis(400);

    /// A resolver for whose only name a look-up has just begun.
    fn looking(old: &[SocketAddr]) -> CachingResolver {
        let resolver = CachingResolver::default();
        resolver.shared.lock().push(Name {
            name: NAME.into(),
            addresses: old.to_vec(),
            fresh_until: Moment::PAST,
            looking_since: Some(clock::now()),
        });
        resolver
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 443))
    }

    #[test]
    fn whoever_comes_during_a_look_up_waits_for_its_end() {
        let resolver = looking(&[]);
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let resolver = resolver.clone();
                std::thread::spawn(move || resolver.addresses(NAME, 60 * LIMIT))
            })
            .collect();
        clock::sleep(LIMIT / 4);
        let mut names = resolver.shared.lock();
        names[0].addresses = vec![address()];
        names[0].fresh_until = clock::now().after(LIMIT);
        names[0].looking_since = None;
        drop(names);
        resolver.shared.ended.notify_all();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), [address()]);
        }
    }

    #[test]
    fn a_look_up_that_hangs_costs_the_limit_and_with_old_addresses_a_quarter_of_it() {
        let start = clock::now();
        let error = looking(&[]).addresses(NAME, LIMIT).unwrap_err();
        assert!(matches!(error, ureq::Error::Timeout(Timeout::Resolve)), "{error}");
        let took = clock::now().since(start);
        assert!(took >= LIMIT, "{took:?}");

        let limit = 10 * LIMIT;
        let start = clock::now();
        assert_eq!(looking(&[address()]).addresses(NAME, limit).unwrap(), [address()]);
        let took = clock::now().since(start);
        assert!(took >= limit / 4 && took < limit, "{took:?}");
    }

    #[test]
    fn a_look_up_that_hung_for_too_long_is_begun_again() {
        let resolver = looking(&[]);
        resolver.shared.lock()[0].looking_since = Some(clock::now().before(LONGEST_LOOKUP + LIMIT));
        resolver.shared.lock()[0].name = "localhost:443".into();
        let found = resolver.addresses("localhost:443", 60 * LIMIT).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn a_name_is_looked_up_once_and_remembered() {
        let resolver = CachingResolver::default();
        let first = resolver.addresses("localhost:443", 60 * LIMIT).unwrap();
        resolver.shared.lock()[0].addresses = vec![address()];
        assert!(!first.is_empty());
        assert_eq!(resolver.addresses("localhost:443", LIMIT).unwrap(), [address()]);
    }
}
