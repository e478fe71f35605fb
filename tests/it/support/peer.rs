//! A scripted HTTP server, for what the emulator cannot answer and for hostile servers.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::Stop;
use super::http::{self, Operation, Request, Response};

#[derive(Clone, Debug)]
pub struct Received {
    /// Counted from 0 over the whole peer.
    pub number: usize,
    pub at: Instant,
    pub connection: usize,
    pub request: Request,
}

#[derive(Clone, Debug)]
pub enum Reply {
    /// Framed rightly for its request; the connection is kept unless either side says `close`.
    Answer(Response),
    /// The same, and then a copy of it: as soon as the next request is there, at the latest after the time.
    Twice(Response, Duration),
    /// The bytes as they are, then the connection is closed.
    Raw(Vec<u8>),
    /// The bytes as they are, then silence.
    RawKeep(Vec<u8>),
    /// The bytes one by one, then the connection is closed.
    Trickle {
        bytes: Vec<u8>,
        every: Duration,
    },
    /// The head, then the chunk for ever.
    Endless {
        head: Vec<u8>,
        chunk: Vec<u8>,
    },
    Hang,
    Close,
    /// RST instead of an answer; where none can be asked for, the end.
    Reset,
    After(Duration, Box<Reply>),
}

/// An answer as of the service, without a body.
pub fn answer(status: u16, headers: &[(&str, &str)]) -> Reply {
    Reply::Answer(response(status, headers, Vec::new()))
}

/// A refusal as of the service.
pub fn service_error(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <Error><Code>{code}</Code><Message>The text of {code}.</Message></Error>"
    );
    let headers = [("x-ms-error-code", code), ("content-type", "application/xml")];
    Reply::Answer(response(status, &headers, body.into_bytes()))
}

/// The answer to an acquire, renew or change that succeeded.
pub fn leased(status: u16, id: &str) -> Reply {
    let headers = [("x-ms-lease-id", id), ("etag", "\"0x8D0000000000001\"")];
    answer(status, &headers)
}

pub fn response(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    static COUNTER: AtomicUsize = AtomicUsize::new(1);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut response = Response {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body,
    };
    let usual = [
        ("x-ms-request-id", format!("00000000-0000-4000-8000-{count:012x}")),
        ("x-ms-version", "2021-12-02".to_owned()),
        ("date", http::http_date(SystemTime::now())),
    ];
    for (name, value) in usual {
        if response.header(name).is_none() {
            response.headers.push((name.to_owned(), value));
        }
    }
    response
}

/// Listens on a free port of 127.0.0.1 until it is dropped, with a thread for each connection.
pub struct Peer {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared::default());
        let listener = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || listen(&listener, &shared, &Arc::new(handler)))
        };
        Peer { port, shared, listener: Some(listener) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.log().received.clone()
    }

    pub fn count(&self, operation: Operation) -> usize {
        let log = self.shared.log();
        let wanted = |received: &&Received| received.request.operation() == operation;
        log.received.iter().filter(wanted).count()
    }

    /// Forgets what was received, so that a long run does not fill the memory.
    pub fn forget(&self) {
        self.shared.log().received.clear();
    }

    /// How many copies of answers were written when the next request was there, so that they were to be read as its
    /// answer.
    pub fn crossed(&self) -> usize {
        self.shared.crossed.load(Ordering::Relaxed)
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.stop();
        // Nothing but a connection wakes a thread that waits for one.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && let Some(listener) = self.listener.take()
        {
            let _ = listener.join();
        }
        let open = self.shared.open();
        for stream in open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Bounded, because a handler may be busy with something else.
        let limit = Duration::from_secs(1);
        let rest = self.shared.closed.wait_timeout_while(open, limit, |open| !open.is_empty());
        drop(rest);
        if self.shared.panicked.load(Ordering::Relaxed) && !thread::panicking() {
            panic!("the handler of a peer panicked");
        }
    }
}

#[derive(Default)]
struct Shared {
    stop: Stop,
    log: Mutex<Log>,
    open: Mutex<HashMap<usize, Arc<TcpStream>>>,
    closed: Condvar,
    connections: AtomicUsize,
    crossed: AtomicUsize,
    panicked: AtomicBool,
}

#[derive(Default)]
struct Log {
    next: usize,
    received: Vec<Received>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<usize, Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, connection: usize, request: Request) -> Received {
        let mut log = self.log();
        let received = Received { number: log.next, at: Instant::now(), connection, request };
        log.next += 1;
        log.received.push(received.clone());
        received
    }
}

fn listen<H>(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<H>)
where
    H: Fn(&Received) -> Reply + Send + Sync + 'static,
{
    loop {
        let accepted = listener.accept();
        if shared.stop.is_stopped() {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, say: they may come back.
            shared.stop.wait(Duration::from_millis(10));
            continue;
        };
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(stream);
        shared.open().insert(connection, Arc::clone(&stream));
        let shared = Arc::clone(shared);
        let handler = Arc::clone(handler);
        thread::spawn(move || {
            let _ = serve(&stream, connection, &shared, &*handler);
            // The socket is closed, or reset, with the last of its two owners.
            drop(stream);
            shared.open().remove(&connection);
            shared.closed.notify_all();
        });
    }
}

fn serve(
    stream: &TcpStream,
    connection: usize,
    shared: &Shared,
    handler: &impl Fn(&Received) -> Reply,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = http::read_request(&mut reader)? {
        let received = shared.receive(connection, request);
        let reply = panic::catch_unwind(AssertUnwindSafe(|| handler(&received)));
        let Ok(reply) = reply else {
            shared.panicked.store(true, Ordering::Relaxed);
            break;
        };
        if !give(reply, &received.request, stream, shared)? {
            break;
        }
    }
    Ok(())
}

/// Whether the connection goes on.
fn give(reply: Reply, request: &Request, mut stream: &TcpStream, shared: &Shared) -> io::Result<bool> {
    match reply {
        Reply::Answer(response) => {
            stream.write_all(&response.to_bytes(&request.method))?;
            return Ok(!request.closes() && !response.closes());
        }
        Reply::Twice(response, time) => {
            let bytes = response.to_bytes(&request.method);
            stream.write_all(&bytes)?;
            if request.closes() || response.closes() {
                return Ok(false);
            }
            stream.set_read_timeout(Some(time))?;
            match stream.peek(&mut [0]) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    shared.crossed.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            stream.set_read_timeout(None)?;
            stream.write_all(&bytes)?;
            return Ok(true);
        }
        Reply::Raw(bytes) => stream.write_all(&bytes)?,
        Reply::RawKeep(bytes) => {
            stream.write_all(&bytes)?;
            stay_silent(stream);
        }
        Reply::Trickle { bytes, every } => {
            for byte in bytes {
                stream.write_all(&[byte])?;
                if shared.stop.wait(every) {
                    break;
                }
            }
        }
        Reply::Endless { head, chunk } => {
            stream.write_all(&head)?;
            while !shared.stop.is_stopped() {
                stream.write_all(&chunk)?;
            }
        }
        Reply::Hang => stay_silent(stream),
        Reply::Close => {}
        #[cfg(unix)]
        Reply::Reset => rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?,
        #[cfg(not(unix))]
        Reply::Reset => {}
        Reply::After(time, reply) => {
            if !shared.stop.wait(time) {
                return give(*reply, request, stream, shared);
            }
        }
    }
    Ok(false)
}

/// Until the client goes, or the peer's drop shuts the socket down.
fn stay_silent(mut stream: &TcpStream) {
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).is_ok_and(|read| read > 0) {}
}
