//! One HTTP request, bounded in time and memory. The only room that knows ureq.
//!
//! Nothing is repeated or followed here: a second try is for those who know what the first one may have done, and a
//! redirect would carry a signature to another host.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, Uri};
use ureq::{Agent, Body, Timeout};
use zeroize::{Zeroize, Zeroizing};

mod dial;
pub(crate) mod name;
pub(crate) mod proxy;
mod resolver;
mod unversioned;
pub(crate) mod url;

use self::proxy::{Proxy, Trouble};
#[cfg(test)]
pub(crate) use self::resolver::CachingResolver;
use self::unversioned::NoTunnel;

/// A connection's buffers. An answer's head must fit: at most 8 KiB of it is metadata.
pub(crate) const BUFFER: usize = 16 * 1024;
pub(crate) const LARGEST_HEAD: usize = 32 * 1024;
/// Of an answer's body no more is read than an error message needs, unless the request wants more.
pub(crate) const LARGEST_BODY: u64 = 64 * 1024;
/// Longer than any renewal interval, so that a renewal finds its connection open.
const IDLE: Duration = Duration::from_secs(90);
const IDLE_CONNECTIONS: usize = 64;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Put,
    #[cfg(any(feature = "entra", feature = "list"))]
    Get,
    #[cfg(feature = "entra")]
    Post,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Head => "HEAD",
            Method::Put => "PUT",
            #[cfg(any(feature = "entra", feature = "list"))]
            Method::Get => "GET",
            #[cfg(feature = "entra")]
            Method::Post => "POST",
        }
    }

    fn of_http(self) -> http::Method {
        match self {
            Method::Head => http::Method::HEAD,
            Method::Put => http::Method::PUT,
            #[cfg(any(feature = "entra", feature = "list"))]
            Method::Get => http::Method::GET,
            #[cfg(feature = "entra")]
            Method::Post => http::Method::POST,
        }
    }
}

/// A header's name and value.
pub(crate) type Header = (&'static str, Cow<'static, str>);

/// A request. May carry secrets in its query, headers and body, so it cannot be printed.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Scheme and authority.
    pub(crate) origin: &'a str,
    /// Percent-encoded, and sent as it stands.
    pub(crate) path: &'a str,
    /// Without the `?`; may be empty.
    pub(crate) query: Cow<'static, str>,
    pub(crate) headers: Vec<Header>,
    /// Further headers, whose names are not ours to choose.
    pub(crate) metadata: Vec<(String, String)>,
    /// How much of the answer's body is wanted at most: a longer one is as good as none.
    pub(crate) largest_body: u64,
    /// Of a POST; nothing else has one.
    #[cfg(feature = "entra")]
    pub(crate) body: String,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        method: Method,
        origin: &'a str,
        path: &'a str,
        query: impl Into<Cow<'static, str>>,
        headers: Vec<Header>,
    ) -> Request<'a> {
        Request {
            method,
            origin,
            path,
            query: query.into(),
            headers,
            metadata: Vec::new(),
            largest_body: LARGEST_BODY,
            #[cfg(feature = "entra")]
            body: String::new(),
        }
    }

    fn body(&self) -> Option<&str> {
        match self.method {
            // With an explicit length of zero: the service refuses a PUT that leaves it out.
            Method::Put => Some(""),
            #[cfg(feature = "entra")]
            Method::Post => Some(&self.body),
            Method::Head => None,
            #[cfg(any(feature = "entra", feature = "list"))]
            Method::Get => None,
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let texts = self.headers.iter_mut().map(|(_, value)| value).chain([&mut self.query]);
        for text in texts {
            // What is borrowed is a constant.
            if let Cow::Owned(text) = text {
                text.zeroize();
            }
        }
        #[cfg(feature = "entra")]
        self.body.zeroize();
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// If it is still there: it may be used by another request by now.
    connection: Weak<TcpStream>,
}

impl Reply {
    /// Read even where it is not needed: an unread body costs the connection. Whatever goes wrong with it, the head has
    /// told what there is to know. In a frame of its own, as is [`Transport::prepare`].
    #[inline(never)]
    fn read(answer: http::Response<Body>, largest_body: u64) -> Reply {
        let (head, mut body) = answer.into_parts();
        let connection = unversioned::sent_on();
        let body = body.with_config().limit(largest_body).read_to_vec().unwrap_or_default();
        Reply { status: head.status.as_u16(), headers: head.headers, body, connection }
    }

    #[cfg(test)]
    pub(crate) fn new(status: u16, headers: &[(&'static str, &str)]) -> Reply {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Reply { status, headers: headers.collect(), body: Vec::new(), connection: Weak::new() }
    }

    /// Closes the connection that this came on, because it is no answer to its request: the next one may not be, either.
    pub(crate) fn distrust(&self) {
        if let Some(connection) = self.connection.upgrade() {
            // An error means that it is closed.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    #[cfg(test)]
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    }

    /// A header's value, unless it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a header has no other value than this one, if it is there at all: not in a list either, as which
    /// something in between may join what it adds.
    pub(crate) fn has_no_other(&self, name: &str, value: &str) -> bool {
        let mut values =
            self.headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        values.all(|other| other.trim_ascii() == value.as_bytes())
    }

    /// The headers whose names begin like that, without that beginning; `None` for a value that is no text.
    pub(crate) fn headers_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let named = self.headers.iter().map(move |(name, value)| (name.as_str().strip_prefix(prefix), value));
        named.filter_map(|(name, value)| Some((name?, value.to_str().ok())))
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[cfg(any(feature = "entra", feature = "list"))]
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
    /// How long was waited, if that was the whole limit, and not what was left before some deadline.
    limit: Option<Duration>,
    /// What the way led through, or would have.
    pub(crate) proxy: Option<Arc<Proxy>>,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    TimedOut,
    NoSuchHost,
    ConnectionRefused,
    Connection,
    Proxy(Trouble),
    /// The server's certificate or its TLS is not acceptable. Trying again would not help.
    Tls,
    /// What answers speaks no TLS, or no longer.
    NoTls,
    /// For a socket. That may pass.
    NoDescriptor,
    NotHttp,
}

impl NoAnswer {
    /// Time was up.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self.because, Because::TimedOut | Because::Proxy(Trouble::TimedOut))
    }

    /// Whoever was to be spoken to has a certificate, or TLS, that is not acceptable.
    pub(crate) fn is_untrusted(&self) -> bool {
        matches!(self.because, Because::Tls | Because::Proxy(Trouble::Tls))
    }

    /// In words, for a request to `origin`.
    pub(crate) fn hint(&self, origin: &str) -> String {
        let hint = match self.because {
            Because::TimedOut => format!("no answer from {origin} {}", self.within()),
            Because::NoSuchHost => format!("the name of {origin} cannot be resolved"),
            Because::ConnectionRefused => format!("nothing listens at {origin}; is it running, and the port right?"),
            Because::Connection if is_plain(origin) && self.is_closed() => format!(
                "the connection to {origin} was closed without an answer; if it speaks https, its URL begins with \
                 https://"
            ),
            Because::Connection => format!("the connection to {origin} failed"),
            Because::Tls if self.says("CaUsedAsEndEntity") => format!(
                "no trusted TLS connection to {origin}: its certificate is an authority's own (CA), which no server may \
                 show; give the server one that the authority has signed"
            ),
            Because::Proxy(trouble) => return self.troubled(trouble),
            Because::Tls if cfg!(feature = "platform-verifier") => {
                format!("no trusted TLS connection to {origin}; is its authority in this system's trust store?")
            }
            Because::Tls => format!(
                "no trusted TLS connection to {origin}; for a private certificate authority use the feature \
                 `platform-verifier`"
            ),
            Because::NoTls => format!(
                "what answers at {origin} speaks no TLS; is the port right? A server of plain http has a URL that begins \
                 with http://"
            ),
            Because::NoDescriptor => format!(
                "there is no free file descriptor for a connection to {origin}; raise this process's limit (`ulimit \
                 -n`), or find out what leaves files open"
            ),
            Because::NotHttp if is_plain(origin) => format!(
                "{origin} does not answer as an HTTP server does; if it speaks https, its URL begins with https://"
            ),
            Because::NotHttp => format!("{origin} does not answer as an HTTP server does"),
        };
        self.by_way_of(hint)
    }

    /// With the proxy that was on the way, if there was one.
    pub(crate) fn by_way_of(&self, hint: String) -> String {
        match &self.proxy {
            Some(proxy) => format!("{hint}; the way was through the proxy {proxy}"),
            None => hint,
        }
    }

    /// Of the proxy alone: nobody else has been asked.
    fn troubled(&self, trouble: Trouble) -> String {
        let proxy = self.proxy.as_ref().map_or_else(|| "on the way".to_owned(), |proxy| proxy.to_string());
        match trouble {
            Trouble::NoSuchHost => format!("the name of the proxy {proxy} cannot be resolved"),
            Trouble::Refused => format!("nothing listens at the proxy {proxy}; is it running, and the port right?"),
            Trouble::Connection => format!("the connection to the proxy {proxy} failed"),
            Trouble::TimedOut => format!("the proxy {proxy} opened no connection {}", self.within()),
            Trouble::Tls => format!("no trusted TLS connection to the proxy {proxy}"),
            Trouble::NoTls => format!(
                "what answers at the proxy {proxy} speaks no TLS; a proxy that is spoken to without has a URL that begins \
                 with http://"
            ),
            Trouble::NotAProxy => format!("the proxy {proxy} does not answer as a proxy does"),
            Trouble::Answered(407) => format!(
                "the proxy {proxy} asks for a name and password, or does not accept those that it was given (407); \
                 they are written as in http://name:password@proxy:3128"
            ),
            Trouble::Answered(403) => format!("the proxy {proxy} does not allow the connection (403)"),
            Trouble::Answered(status) => format!("the proxy {proxy} opened no connection: it answered {status}"),
        }
    }
}

impl NoAnswer {
    /// The stub of a limit that is left before a deadline is nothing that anybody has set.
    fn within(&self) -> String {
        self.limit.map_or_else(|| "in the time that was left".to_owned(), |limit| format!("within {limit:.1?}"))
    }

    fn says(&self, word: &str) -> bool {
        self.source.as_ref().is_some_and(|source| source.to_string().contains(word))
    }

    /// By the other end, before there was an answer.
    fn is_closed(&self) -> bool {
        let io = self.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
        io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset))
    }
}

fn is_plain(origin: &str) -> bool {
    origin.starts_with("http://")
}

/// Agents and their pools. Cheap to share, not to make.
pub(crate) struct Transport {
    pub(crate) agent: Agent,
    /// The agent's own limit, which is the whole that a request can have. One with just this limit needs no settings of
    /// its own; ureq would otherwise build the TLS configuration anew for each connection that it opens before its first
    /// request without any.
    pub(crate) limit: Duration,
    pub(crate) proxy: Option<Arc<Proxy>>,
}

// What an agent's clones share, which is its connections, is behind locks.
impl UnwindSafe for Transport {}
impl RefUnwindSafe for Transport {}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// `limit` is the usual time limit of a request.
    pub(crate) fn new(limit: Duration, proxy: Option<Proxy>) -> Transport {
        let proxy = proxy.map(Arc::new);
        let agent = unversioned::agent(config(limit), proxy.clone());
        Transport { agent, limit, proxy }
    }

    /// Without a proxy, to whatever `names` stand for.
    #[cfg(test)]
    pub(crate) fn that_knows(names: &CachingResolver, limit: Duration) -> Transport {
        Transport { agent: unversioned::agent_that_knows(names.clone(), config(limit), None), limit, proxy: None }
    }

    /// The proxy on the way, if there is one.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// One attempt, over within `limit` from the look-up of the name to the end of the answer.
    pub(crate) fn send(&self, request: &Request<'_>, limit: Duration) -> Result<Reply, NoAnswer> {
        // Whatever was sent before is none of this request's.
        drop(unversioned::sent_on());
        match self.ask(request, limit) {
            Ok(answer) => Ok(Reply::read(answer, request.largest_body)),
            Err(error) => {
                let limit = Some(limit).filter(|limit| *limit >= self.limit);
                Err(NoAnswer { limit, ..no_answer(error, self.proxy.as_ref()) })
            }
        }
    }

    fn ask(&self, request: &Request<'_>, limit: Duration) -> Result<http::Response<Body>, ureq::Error> {
        let call = self.prepare(request, limit)?;
        match request.body() {
            Some(body) => self.agent.run(call.map(|()| body)),
            None => self.agent.run(call),
        }
    }

    /// Made by hand, as ureq's own builder would copy all that is there already with each header; and in a frame of its own,
    /// because a lock's thread keeps what its stack has ever been.
    #[inline(never)]
    fn prepare(&self, request: &Request<'_>, limit: Duration) -> Result<http::Request<()>, http::Error> {
        let mark = if request.query.is_empty() { "" } else { "?" };
        let url = Zeroizing::new(format!("{}{}{mark}{}", request.origin, request.path, request.query));
        let mut call = http::Request::new(());
        *call.method_mut() = request.method.of_http();
        *call.uri_mut() = Uri::try_from(&*url)?;
        let headers = call.headers_mut();
        headers.reserve(request.headers.len() + request.metadata.len());
        for (name, value) in &request.headers {
            let value = match value {
                // Constants are not copied.
                Cow::Borrowed(value) => HeaderValue::from_static(value),
                Cow::Owned(value) => HeaderValue::from_str(value)?,
            };
            headers.append(HeaderName::from_static(name), value);
        }
        for (name, value) in &request.metadata {
            headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        if limit == self.limit {
            return Ok(call);
        }
        Ok(self.agent.configure_request(call).timeout_global(Some(limit)).build())
    }
}

pub(crate) fn config(limit: Duration) -> Config {
    let config = Agent::config_builder()
        // ureq is not asked about proxies.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(proxy::USER_AGENT)
        .accept("")
        .accept_encoding("")
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_response_header_size(LARGEST_HEAD)
        .max_idle_age(IDLE)
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .timeout_global(Some(limit));
    #[cfg(feature = "platform-verifier")]
    let config = {
        use ureq::tls::{RootCerts, TlsConfig};
        config.tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
    };
    config.build()
}

fn no_answer(error: ureq::Error, proxy: Option<&Arc<Proxy>>) -> NoAnswer {
    let (error, trouble) = match error {
        ureq::Error::Other(other) => match other.downcast::<NoTunnel>() {
            Ok(no_tunnel) => (no_tunnel.cause.map(|cause| *cause), Some(no_tunnel.trouble)),
            Err(other) => (Some(ureq::Error::Other(other)), None),
        },
        // No other name is looked up where there is a proxy.
        ureq::Error::HostNotFound if proxy.is_some() => (None, Some(Trouble::NoSuchHost)),
        ureq::Error::Timeout(Timeout::Resolve) if proxy.is_some() => (None, Some(Trouble::TimedOut)),
        error => (Some(error), None),
    };
    let (because, unsent) = match (&error, trouble) {
        (Some(error), Some(Trouble::Tls)) => (Because::Proxy(of_handshake(error)), true),
        (_, Some(trouble)) => (Because::Proxy(trouble), true),
        (Some(error), None) => because(error),
        (None, None) => (Because::NotHttp, false),
    };
    NoAnswer { because, unsent, limit: None, proxy: proxy.cloned(), source: error.and_then(source) }
}

/// What was wrong with the TLS of a proxy. A connection that breaks in the handshake says nothing of whom is to be
/// trusted.
fn of_handshake(error: &ureq::Error) -> Trouble {
    match because(error).0 {
        Because::Tls => Trouble::Tls,
        Because::NoTls => Trouble::NoTls,
        _ => Trouble::Connection,
    }
}

/// Why there was no answer, and whether nothing was sent.
fn because(error: &ureq::Error) -> (Because, bool) {
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => (Because::TimedOut, true),
        ureq::Error::Timeout(_) => (Because::TimedOut, false),
        ureq::Error::HostNotFound if no_descriptor_is_free() => (Because::NoDescriptor, true),
        ureq::Error::HostNotFound => (Because::NoSuchHost, true),
        ureq::Error::Io(io) if is_want_of_descriptors(io) => (Because::NoDescriptor, true),
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => (Because::ConnectionRefused, true),
        ureq::Error::Io(io) if is_certificate(io) => (Because::Tls, true),
        // Whether that was the first answer to come over the connection is not known.
        ureq::Error::Io(io) if is_no_tls(io) => (Because::NoTls, false),
        ureq::Error::Io(_) => (Because::Connection, false),
        ureq::Error::ConnectionFailed => (Because::Connection, true),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => (Because::Tls, true),
        #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
        ureq::Error::Rustls(_) => (Because::Tls, true),
        _ => (Because::NotHttp, false),
    }
}

/// What there is to say besides.
fn source(error: ureq::Error) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    match error {
        // The kind says it all.
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => None,
        // These texts hold a URL, and so perhaps a signature.
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => None,
        ureq::Error::Io(io) => Some(Box::new(io)),
        other => Some(Box::new(Cause::of(&other))),
    }
}

/// An error of ureq's in its own words: callers can look at the source of an error, and must not come to depend on the
/// version of ureq there.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    fn of(error: &dyn std::error::Error) -> Cause {
        Cause { text: error.to_string(), source: error.source().map(|source| Box::new(Cause::of(source))) }
    }
}

/// Whether the server's certificate was refused, which happens before a request is sent. rustls' error type is not
/// ours to name, so its text is looked at; if that changed, the failure would merely be tried again for a while.
fn is_certificate(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        && error.get_ref().is_some_and(|inner| inner.to_string().starts_with("invalid peer certificate"))
}

/// Whether something else than TLS came. Its text is looked at as that of [`is_certificate`].
fn is_no_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        && error.get_ref().is_some_and(|inner| inner.to_string().contains("InvalidContentType"))
}

/// A name cannot be looked up without a descriptor, and the system does not say that it was for want of one.
fn no_descriptor_is_free() -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_err_and(|error| is_want_of_descriptors(&error))
}

#[cfg(unix)]
fn is_want_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;

    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_want_of_descriptors(error: &io::Error) -> bool {
    const WSAEMFILE: i32 = 10024;
    error.raw_os_error() == Some(WSAEMFILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_an_authority_is_named() {
        let hint = |text: &str| {
            let io = io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
            let no_answer = no_answer(ureq::Error::Io(io), None);
            assert_eq!((no_answer.because, no_answer.unsent), (Because::Tls, true));
            no_answer.hint("https://me.example")
        };
        let authority = hint("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        assert!(authority.contains("(CA)") && authority.contains("no trusted TLS"), "{authority}");
        assert!(!hint("invalid peer certificate: UnknownIssuer").contains("(CA)"));
    }

    #[test]
    fn only_a_whole_limit_is_told() {
        let hangs = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let origin = format!("http://{}", hangs.local_addr().unwrap());
        let transport = Transport::new(Duration::from_millis(100), None);
        let hint = |limit| {
            let request = Request::new(Method::Head, &origin, "/", "", Vec::new());
            let no_answer = transport.send(&request, Duration::from_millis(limit)).err().unwrap();
            assert!(no_answer.is_late());
            no_answer.hint(&origin)
        };
        assert_eq!(hint(100), format!("no answer from {origin} within 100.0ms"));
        assert_eq!(hint(99), format!("no answer from {origin} in the time that was left"));
    }

    #[test]
    fn whoever_answers_at_the_proxy_with_a_refused_certificate_is_asked_once() {
        let no_answer = |error| no_answer(ureq::Error::Other(Box::new(NoTunnel::of_tls(error))), None);
        let broken = |kind, text: &str| ureq::Error::Io(io::Error::new(kind, text.to_owned()));
        let refused = no_answer(broken(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer"));
        assert!(refused.is_untrusted() && refused.unsent);
        assert!(refused.hint("https://me.example").contains("no trusted TLS connection to the proxy"));
        for (error, trouble) in [
            (broken(io::ErrorKind::InvalidData, "received corrupt message of type InvalidContentType"), Trouble::NoTls),
            (broken(io::ErrorKind::ConnectionReset, "reset"), Trouble::Connection),
            (ureq::Error::Timeout(Timeout::Connect), Trouble::TimedOut),
        ] {
            let no_answer = no_answer(error);
            assert_eq!(no_answer.because, Because::Proxy(trouble));
            assert!(!no_answer.is_untrusted());
        }
    }

    #[test]
    fn a_source_is_no_type_of_ureqs() {
        let no_answer = no_answer(ureq::Error::TooManyRedirects, None);
        let source = no_answer.source.unwrap();
        assert!(source.downcast_ref::<ureq::Error>().is_none());
        assert_eq!(source.to_string(), ureq::Error::TooManyRedirects.to_string());
    }
}
