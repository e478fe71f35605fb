//! All that is used of `ureq::unversioned`, which any new version of ureq may change.
//!
//! ureq's own connections are not used: the request to a proxy has no limit there, the first of two addresses has most
//! of the time, and a connection is kept for as long as it answers, whatever its name stands for by then.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Agent, Error, Timeout};

use super::dial::dial;
use super::proxy::{self, Proxy, Trouble};
use super::resolver::{CachingResolver, NoAddress};
use crate::clock::{self, Moment};

/// As many as ureq takes.
const MOST_ADDRESSES: usize = 16;

thread_local! {
    static SENT_ON: Cell<Weak<TcpStream>> = const { Cell::new(Weak::new()) };
}

/// The connection that this thread has sent on last, since this was asked.
pub(super) fn sent_on() -> Weak<TcpStream> {
    SENT_ON.take()
}

/// An agent that connects through `proxy`, if there is one.
pub(super) fn agent(config: Config, proxy: Option<Arc<Proxy>>) -> Agent {
    agent_that_knows(CachingResolver::default(), config, proxy)
}

pub(super) fn agent_that_knows(names: CachingResolver, config: Config, proxy: Option<Arc<Proxy>>) -> Agent {
    let way = Way { names, proxy, tls: Tls::default() };
    Agent::with_parts(config, way.clone(), way)
}

/// How a host is reached.
#[derive(Clone)]
struct Way {
    names: CachingResolver,
    proxy: Option<Arc<Proxy>>,
    tls: Tls,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

/// The host, in brackets if it is an IPv6 address, and the port.
fn place(uri: &Uri) -> (&str, u16) {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    (uri.host().unwrap_or_default(), port)
}

impl Way {
    /// What is connected to for `uri`.
    fn first_stop<'a>(&'a self, uri: &'a Uri) -> (&'a str, u16) {
        self.proxy.as_ref().map_or_else(|| place(uri), |proxy| (&proxy.url.host, proxy.url.port))
    }

    fn connection(&self, details: &ConnectionDetails<'_>, until: Moment) -> io::Result<Box<dyn Transport>> {
        let (host, port) = self.first_stop(details.uri);
        let name = format!("{host}:{port}");
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let (stream, peer) = dial(&addresses, until, |address, connected| self.names.tried(&name, address, connected))?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let (stream, since, names) = (Arc::new(stream), clock::now(), self.names.clone());
        let (write_limit, read_limit) = (None, None);
        Ok(Box::new(Connection { stream, peer, name, since, names, buffers, write_limit, read_limit }))
    }

    /// A connection to `details`' host that `proxy` has opened.
    fn tunnel(
        &self,
        proxy: &Proxy,
        details: &ConnectionDetails<'_>,
        until: Moment,
    ) -> Result<Box<dyn Transport>, NoTunnel> {
        let direct = self.connection(details, until)?;
        let uri = proxy.url.origin.parse::<Uri>().map_err(|_| Trouble::NotAProxy)?;
        let mut transport = self.tls.wrap(&to(&uri, details, until), direct).map_err(NoTunnel::of_tls)?;
        let (host, port) = place(details.uri);
        let request = proxy.request(&format!("{host}:{port}"));
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            let output = transport.buffers().output();
            let length = output.len().min(rest.len());
            output[..length].copy_from_slice(&rest[..length]);
            transport.transmit_output(length, time_left(until))?;
            rest = &rest[length..];
        }
        loop {
            let has_come = transport.await_input(time_left(until))?;
            let buffers = transport.buffers();
            let input = buffers.input();
            if !has_come {
                return Err(if input.is_empty() { Trouble::Connection } else { Trouble::NotAProxy }.into());
            }
            let Some((length, status)) = proxy::answer(input)? else { continue };
            // Who has not been asked yet cannot have answered.
            let is_all = length == input.len();
            buffers.input_consume(length);
            return match status {
                200..300 if is_all => Ok(Box::new(Tunnel(transport))),
                200..300 => Err(Trouble::NotAProxy.into()),
                status => Err(Trouble::Answered(status).into()),
            };
        }
    }
}

impl Connector for Way {
    type Out = Box<dyn Transport>;

    /// Within the time that `details` has from now on, whoever is in between and however slowly it answers.
    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let until = clock::now().after(*details.timeout.after);
        let transport = match &self.proxy {
            Some(proxy) => self.tunnel(proxy, details, until).map_err(|no_tunnel| Error::Other(Box::new(no_tunnel)))?,
            None => self.connection(details, until).map_err(untimely)?,
        };
        self.tls.wrap(&to(details.uri, details, until), transport).map(Some)
    }
}

/// For a step on the way to `uri`, with what is left of the time.
fn to<'a>(uri: &'a Uri, details: &ConnectionDetails<'a>, until: Moment) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri,
        addrs: details.resolver.empty(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: (details.current_time)(),
        timeout: time_left(until),
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

fn time_left(until: Moment) -> NextTimeout {
    NextTimeout { after: until.left(clock::now()).into(), reason: Timeout::Connect, ..NextTimeout::default() }
}

fn untimely(error: io::Error) -> Error {
    if is_late(&error) { Error::Timeout(Timeout::Connect) } else { error.into() }
}

/// A limit that is over has either name, by the system.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Why there is no connection through the proxy.
#[derive(Debug, thiserror::Error)]
#[error("{trouble:?}")]
pub(super) struct NoTunnel {
    pub(super) trouble: Trouble,
    /// That of the system, or of TLS.
    pub(super) cause: Option<Box<Error>>,
}

impl NoTunnel {
    /// Of the handshake.
    pub(super) fn of_tls(error: Error) -> NoTunnel {
        match NoTunnel::from(error) {
            NoTunnel { trouble: Trouble::TimedOut, cause } => NoTunnel { trouble: Trouble::TimedOut, cause },
            NoTunnel { cause, .. } => NoTunnel { trouble: Trouble::Tls, cause },
        }
    }
}

impl From<Trouble> for NoTunnel {
    fn from(trouble: Trouble) -> NoTunnel {
        NoTunnel { trouble, cause: None }
    }
}

impl From<io::Error> for NoTunnel {
    fn from(error: io::Error) -> NoTunnel {
        untimely(error).into()
    }
}

impl From<Error> for NoTunnel {
    fn from(error: Error) -> NoTunnel {
        let trouble = match &error {
            Error::Timeout(_) => return Trouble::TimedOut.into(),
            Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Trouble::Refused,
            _ => Trouble::Connection,
        };
        NoTunnel { trouble, cause: Some(Box::new(error)) }
    }
}

/// TLS, where it is asked for and this build has it.
#[derive(Clone, Default)]
struct Tls {
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    connector: Arc<RustlsConnector>,
}

impl Tls {
    #[cfg(any(feature = "rustls", feature = "platform-verifier"))]
    fn wrap(
        &self,
        details: &ConnectionDetails<'_>,
        transport: Box<dyn Transport>,
    ) -> Result<Box<dyn Transport>, Error> {
        let wrapped = self.connector.connect(details, Some(transport))?.ok_or(Error::ConnectionFailed)?;
        Ok(Box::new(wrapped))
    }

    #[cfg(not(any(feature = "rustls", feature = "platform-verifier")))]
    fn wrap(&self, _: &ConnectionDetails<'_>, transport: Box<dyn Transport>) -> Result<Box<dyn Transport>, Error> {
        Ok(transport)
    }
}

/// A TCP connection that knows what it is for, and for how long.
struct Connection {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    /// Host and port, as they were looked up.
    name: String,
    since: Moment,
    names: CachingResolver,
    buffers: LazyBuffers,
    /// Those that the socket has.
    write_limit: Option<Duration>,
    read_limit: Option<Duration>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Nothing has come that nobody asked for; nor has the end.
    fn is_quiet(&self) -> bool {
        is_quiet(&self.stream) && self.buffers.input().is_empty()
    }
}

/// Whether there is nothing to read, and neither the end. It is asked four times for each lock, hence by one call.
#[cfg(unix)]
fn is_quiet(stream: &TcpStream) -> bool {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};

    recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err_and(|error| error == Errno::WOULDBLOCK)
}

/// Whether there is nothing to read, and neither the end.
#[cfg(not(unix))]
fn is_quiet(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) && stream.set_nonblocking(false).is_ok()
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        SENT_ON.set(Arc::downgrade(&self.stream));
        let timeout = timeout.for_write();
        let until = clock::now().after(*timeout.after);
        let (mut stream, limit) = (&*self.stream, &mut self.write_limit);
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            let written = in_time(until, timeout, |left| {
                set_limit(limit, left, |left| stream.set_write_timeout(left))?;
                stream.write(rest)
            })?;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let until = clock::now().after(*timeout.after);
        let (mut stream, limit) = (&*self.stream, &mut self.read_limit);
        let input = self.buffers.input_append_buf();
        let amount = in_time(until, timeout, |left| {
            set_limit(limit, left, |left| stream.set_read_timeout(left))?;
            stream.read(input)
        })?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Whether it may be used for another request.
    fn is_open(&mut self) -> bool {
        let is_quiet = self.is_quiet();
        self.names.serves(&self.name, self.peer, self.since, is_quiet)
    }
}

/// Reads or writes once, however often a signal comes in between.
fn in_time(
    until: Moment,
    timeout: NextTimeout,
    mut once: impl FnMut(Option<Duration>) -> io::Result<usize>,
) -> Result<usize, Error> {
    loop {
        let left = until.left(clock::now());
        if left.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        match once(Some(left).filter(|left| *left < Duration::MAX)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The socket's limit may have been a little shorter.
            Err(error) if is_late(&error) => {}
            result => return result.map_err(Error::from),
        }
    }
}

/// Limits are set in steps, and not at all where that makes no difference to the last one, which is so for most requests
/// on a connection.
const STEP: Duration = Duration::from_millis(100);

/// Has a socket, whose limit is `has`, wait no longer than `left`.
fn set_limit(
    has: &mut Option<Duration>,
    left: Option<Duration>,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> io::Result<()> {
    let wanted = left.map(in_steps);
    if *has == wanted {
        return Ok(());
    }
    let is_set = set(wanted).or_else(|error| {
        // macOS sets no limit on a connection that its peer has closed, of which there may be an answer to read.
        let is_closed = cfg!(target_os = "macos") && error.kind() == io::ErrorKind::InvalidInput;
        if is_closed { Ok(()) } else { Err(error) }
    });
    *has = wanted.filter(|_| is_set.is_ok());
    is_set
}

/// Never longer, and never nothing.
fn in_steps(left: Duration) -> Duration {
    let rest = left.as_nanos() % STEP.as_nanos();
    let whole = left.saturating_sub(Duration::from_nanos(rest as u64));
    if whole.is_zero() { left } else { whole }
}

/// A proxy's connection to somebody else: what TLS there is, is with the proxy.
#[derive(Debug)]
struct Tunnel(Box<dyn Transport>);

impl Transport for Tunnel {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }
}

impl Resolver for Way {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (host, port) = self.first_stop(uri);
        let addresses = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.names.addresses(&format!("{host}:{port}"), *timeout.after)?,
        };
        let mut resolved = self.empty();
        addresses.iter().take(MOST_ADDRESSES).for_each(|address| resolved.push(*address));
        Ok(resolved)
    }
}

impl From<NoAddress> for Error {
    fn from(no_address: NoAddress) -> Error {
        match no_address {
            NoAddress::TimedOut => Error::Timeout(Timeout::Resolve),
            NoAddress::NotFound => Error::HostNotFound,
            NoAddress::NoThread(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::testing::settable::SettableClock;
    use crate::transport::name::OLDEST;
    use crate::transport::{Method, Reply, Request, Transport as Client};

    const NAME: &str = "storage.test:80";
    const LIMIT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);
    const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    /// Says the same to whoever asks, and counts the connections.
    struct Server {
        address: SocketAddr,
        connections: Arc<AtomicUsize>,
    }

    impl Server {
        fn saying(answer: &'static str) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let connections = Arc::new(AtomicUsize::new(0));
            let counter = connections.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    thread::spawn(move || serve(&stream.unwrap(), answer));
                }
            });
            Server { address, connections }
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::SeqCst)
        }
    }

    fn serve(mut stream: &TcpStream, answer: &str) {
        let mut request = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|read| read > 0) {
            request.extend_from_slice(&byte);
            if request.ends_with(b"\r\n\r\n") {
                stream.write_all(answer.as_bytes()).unwrap();
                request.clear();
            }
        }
    }

    fn ask(transport: &Client) -> Reply {
        let request = Request::new(Method::Put, "http://storage.test", "/locks/job", "", Vec::new());
        transport.send(&request, transport.limit).unwrap()
    }

    // Scenario 34.
    #[test]
    fn a_connection_does_not_outlive_its_address() {
        let Some(clock) = SettableClock::alone(a_connection_does_not_outlive_its_address) else { return };
        let (old, new) = (Server::saying(WELL), Server::saying(WELL));
        let connections = || (old.connections(), new.connections());
        let names = CachingResolver::default();
        names.set(NAME, &[old.address], clock::now());
        let transport = Client::that_knows(&names, LIMIT);
        ask(&transport);
        ask(&transport);
        assert_eq!(connections(), (1, 0));
        // It may come back, as with names that stand for another address each time.
        names.set(NAME, &[new.address], clock::now());
        ask(&transport);
        clock.suspend(60 * SECOND);
        names.set(NAME, &[new.address, old.address], clock::now());
        names.set(NAME, &[new.address], clock::now());
        clock.suspend(80 * SECOND);
        ask(&transport);
        assert_eq!(connections(), (1, 0));
        clock.suspend(41 * SECOND);
        ask(&transport);
        ask(&transport);
        assert_eq!(connections(), (1, 1));
    }

    #[test]
    fn no_connection_is_used_for_more_than_minutes() {
        let Some(clock) = SettableClock::alone(no_connection_is_used_for_more_than_minutes) else { return };
        let server = Server::saying(WELL);
        let names = CachingResolver::default();
        names.set(NAME, &[server.address], clock::now());
        let transport = Client::that_knows(&names, LIMIT);
        ask(&transport);
        clock.suspend(OLDEST - SECOND);
        ask(&transport);
        assert_eq!(server.connections(), 1);
        clock.suspend(SECOND);
        ask(&transport);
        ask(&transport);
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_connection_that_is_not_trusted_is_closed() {
        let server = Server::saying(WELL);
        let names = CachingResolver::default();
        names.set(NAME, &[server.address], clock::now());
        let transport = Client::that_knows(&names, LIMIT);
        let first = ask(&transport);
        ask(&transport);
        assert_eq!(server.connections(), 1);
        first.distrust();
        assert!(ask(&transport).connection.upgrade().is_some());
        assert_eq!(server.connections(), 2);
        // It was another's.
        first.distrust();
        ask(&transport);
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_connection_with_more_than_the_answer_is_not_used_again() {
        const COPIED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let server = Server::saying(COPIED);
        let names = CachingResolver::default();
        names.set(NAME, &[server.address], clock::now());
        let transport = Client::that_knows(&names, LIMIT);
        for requests in 1..4 {
            ask(&transport);
            assert_eq!(server.connections(), requests);
        }
    }

    /// TLS takes a part of what has come, and the rest stays here: unseen by whoever looks at the socket.
    #[test]
    fn what_has_come_and_was_not_read_yet_is_more_than_the_answer() {
        let server = Server::saying(WELL);
        let stream = Arc::new(TcpStream::connect(server.address).unwrap());
        let mut connection = Connection {
            stream,
            peer: server.address,
            name: NAME.to_owned(),
            since: clock::now(),
            names: CachingResolver::default(),
            buffers: LazyBuffers::new(1024, 1024),
            write_limit: None,
            read_limit: None,
        };
        let timeout = || time_left(clock::now().after(LIMIT));
        assert!(connection.is_open());
        connection.buffers.output()[..4].copy_from_slice(b"\r\n\r\n");
        connection.transmit_output(4, timeout()).unwrap();
        while connection.buffers.input().len() < WELL.len() {
            assert!(connection.await_input(timeout()).unwrap());
        }
        connection.buffers.input_consume(WELL.len() - 1);
        assert!(!connection.is_open());
        connection.buffers.input_consume(1);
        assert!(connection.is_open());
    }

    #[test]
    fn a_limit_is_set_in_steps_and_once() {
        let ms = Duration::from_millis;
        for (left, set) in [(4_999, 4_900), (5_000, 5_000), (100, 100), (99, 99), (1, 1), (1_250, 1_200)] {
            assert_eq!(in_steps(ms(left)), ms(set), "{left}");
        }
        let mut has = None;
        let mut sets = |left: Option<Duration>| {
            let mut calls = Vec::new();
            set_limit(&mut has, left, |limit| {
                calls.push(limit);
                Ok(())
            })
            .unwrap();
            calls
        };
        assert_eq!(sets(Some(ms(4_999))), [Some(ms(4_900))]);
        assert_eq!(sets(Some(ms(4_950))), []);
        assert_eq!(sets(Some(ms(50))), [Some(ms(50))]);
        assert_eq!(sets(None), [None], "one that is over must not stay");
        assert_eq!(sets(None), []);
        assert_eq!(sets(Some(ms(4_901))), [Some(ms(4_900))]);
    }

    /// An address at which nobody accepts: its queue is full, and what comes is dropped.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_dead_address_leaves_the_time_to_the_others_and_is_asked_last() {
        use rustix::net;

        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        net::listen(&socket, 0).unwrap();
        let dead = SocketAddr::try_from(net::getsockname(&socket).unwrap()).unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&dead, SECOND / 10) {
            queue.push(stream);
        }
        let live = Server::saying(WELL);
        let names = CachingResolver::default();
        names.set(NAME, &[dead, live.address], clock::now());
        let limit = 8 * SECOND;
        let first = Client::that_knows(&names, limit);
        let start = clock::now();
        ask(&first);
        let took = clock::now().since(start);
        assert!(took >= limit / 4 && took < limit / 2, "{took:?}");
        // Of other connections, it is not the first any more.
        names.set(NAME, &[dead, live.address], clock::now());
        let start = clock::now();
        ask(&Client::that_knows(&names, limit));
        let took = clock::now().since(start);
        assert!(took < limit / 4, "{took:?}");
        assert_eq!(live.connections(), 2);
    }
}
