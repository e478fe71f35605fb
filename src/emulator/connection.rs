//! One connection: its requests, one after the other.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::time::Duration;

use super::address::Address;
use super::call;
use super::clock::Moment;
use super::fault::Fault;
use super::http::{self, Answer, Chunks, Framing, Head, HttpRequest, LONGEST_BODY, LONGEST_HEAD, Unfit};
use super::locked::locked;
use super::operation::Operation;
use super::record;
use super::shared::{Peer, Shared};

/// Between two requests. Longer than clients keep theirs.
const IDLE: Duration = Duration::from_secs(120);
/// For a request, from its first byte on; and for an answer.
const TRANSFER: Duration = Duration::from_secs(10);
/// A read that waits is woken by a shutdown of its socket; but on Windows only the next one sees that.
const SLICE: Duration = if cfg!(windows) { Duration::from_millis(50) } else { Duration::MAX };
/// For a client to notice that it is not heard any more.
const FAREWELL: Duration = Duration::from_secs(1);
const READ: usize = 16 * 1024;

pub(super) fn serve(peer: &Peer, shared: &Shared) {
    let client = peer.stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    let mut connection = Connection { peer, shared, client, received: Vec::new() };
    let _ = connection.run();
}

struct Connection<'a> {
    peer: &'a Peer,
    shared: &'a Shared,
    client: IpAddr,
    /// What has come and is not used yet.
    received: Vec<u8>,
}

enum End {
    Keep,
    Close,
}

/// What the client gets.
enum Delivery {
    Answer(Answer),
    Half(Answer),
    Silence,
    Reset,
    Close,
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.peer.stream.set_nodelay(true)?;
        self.peer.stream.set_write_timeout(Some(TRANSFER))?;
        loop {
            // A large body is not to be remembered by an idle connection.
            self.received.shrink_to(2 * READ);
            self.peer.end(self.now());
            if !self.wait_for_request()? || !self.peer.begin() {
                return Ok(());
            }
            let end = match self.read_request()? {
                Ok(request) => self.reply(&request)?,
                Err(unfit) => {
                    self.write(&unfit.answer().to_bytes(false, false))?;
                    End::Close
                }
            };
            if matches!(end, End::Close) {
                return self.farewell();
            }
        }
    }

    fn now(&self) -> Moment {
        self.shared.service.clock().uptime()
    }

    /// Reads what there is; `false` when the client has closed. An error when nothing comes until `limit`.
    fn receive(&mut self, limit: Moment) -> io::Result<bool> {
        loop {
            let left = limit.saturating_sub(self.now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.read(left.min(SLICE)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                read => return read,
            }
        }
    }

    fn read(&mut self, limit: Duration) -> io::Result<bool> {
        self.peer.stream.set_read_timeout(Some(limit))?;
        let had = self.received.len();
        self.received.resize(had + READ, 0);
        let read = (&self.peer.stream).read(&mut self.received[had..]);
        self.received.truncate(had + read.as_ref().map_or(0, |read| *read));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            read => Ok(read? > 0),
        }
    }

    fn wait_for_request(&mut self) -> io::Result<bool> {
        let limit = self.now() + IDLE;
        while self.received.is_empty() {
            if !self.receive(limit)? {
                return Ok(false);
            }
        }
        Ok(!self.shared.stop.is_stopped())
    }

    fn read_request(&mut self) -> io::Result<Result<HttpRequest, Unfit>> {
        let limit = self.now() + TRANSFER;
        let outcome = self.read_request_until(limit);
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Err(Unfit::TimedOut)),
            outcome => outcome,
        }
    }

    fn read_request_until(&mut self, limit: Moment) -> io::Result<Result<HttpRequest, Unfit>> {
        let head = match self.read_head(limit)? {
            Ok(head) => head,
            Err(unfit) => return Ok(Err(unfit)),
        };
        if head.expects_continue && self.received.is_empty() && head.framing != Framing::Length(0) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut request = head.request;
        match head.framing {
            Framing::None => {}
            Framing::Length(length) => {
                while self.received.len() < length {
                    self.receive_more(limit)?;
                }
                request.body = self.received.drain(..length).collect();
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                request.body = loop {
                    match chunks.take(&mut self.received) {
                        Ok(Some(body)) => break body,
                        Ok(None) => self.receive_more(limit)?,
                        Err(unfit) => return Ok(Err(unfit)),
                    }
                };
            }
        }
        Ok(Ok(request))
    }

    fn receive_more(&mut self, limit: Moment) -> io::Result<()> {
        if self.receive(limit)? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_head(&mut self, limit: Moment) -> io::Result<Result<Head, Unfit>> {
        let mut searched = 0;
        loop {
            // Some clients send a line's end too many after a body.
            let blank = self.received.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                self.received.drain(..blank);
                searched = 0;
            }
            if let Some(end) = http::end_of_head(&self.received, searched) {
                if end > LONGEST_HEAD {
                    return Ok(Err(Unfit::HeadTooLarge));
                }
                let head = http::parse_head(&self.received[..end]);
                self.received.drain(..end);
                return Ok(head);
            }
            if self.received.len() > LONGEST_HEAD {
                return Ok(Err(Unfit::HeadTooLarge));
            }
            searched = self.received.len();
            self.receive_more(limit)?;
        }
    }

    fn reply(&mut self, request: &HttpRequest) -> io::Result<End> {
        let to_head = request.method == "HEAD";
        match self.respond(request) {
            Delivery::Answer(answer) => {
                self.write(&answer.to_bytes(to_head, request.keep_alive))?;
                if request.keep_alive {
                    return Ok(End::Keep);
                }
            }
            Delivery::Half(answer) => {
                let bytes = answer.to_bytes(to_head, true);
                self.write(&bytes[..bytes.len() / 2])?;
            }
            Delivery::Silence => {
                let limit = self.now() + IDLE;
                while self.receive(limit)? {
                    self.received.clear();
                }
            }
            Delivery::Reset => reset_on_close(&self.peer.stream)?,
            Delivery::Close => {}
        }
        Ok(End::Close)
    }

    fn respond(&self, request: &HttpRequest) -> Delivery {
        let Shared { service, faults, record, stop, .. } = self.shared;
        let operation = match Address::of(request) {
            Ok(address) => call::operation(request, &address),
            Err(_) => Operation::Other,
        };
        let lease_id = request.header("x-ms-lease-id").or_else(|| request.header("x-ms-proposed-lease-id"));
        let number = locked(record).arrived(record::Request {
            method: request.method.clone(),
            path: request.path.clone(),
            operation,
            lease_id: lease_id.map(str::to_owned),
            status: None,
            at: service.clock().now(),
        });
        let fault = locked(faults).next(operation);
        match &fault {
            Some(Fault::ResetBefore) => return Delivery::Reset,
            Some(Fault::DelayRequest(time)) if stop.wait(*time) => return Delivery::Close,
            _ => {}
        }
        let answer = match &fault {
            Some(Fault::Status { status, code, retry_after }) => {
                let status = if (200..600).contains(status) { *status } else { 500 };
                let mut answer = Answer::new(status, "Fault");
                if let Some(time) = retry_after {
                    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
                    answer.set("Retry-After", seconds.to_string());
                }
                service.pretend(request, answer, code.as_deref())
            }
            _ => service.handle(request, self.client),
        };
        locked(record).came_to(number, answer.status);
        match fault {
            Some(Fault::Withhold) => Delivery::Silence,
            Some(Fault::ResetAfter) => Delivery::Reset,
            Some(Fault::HalfAnswer) => Delivery::Half(answer),
            Some(Fault::DelayAnswer(time)) if stop.wait(time) => Delivery::Close,
            _ => Delivery::Answer(answer),
        }
    }

    /// All at once where it fits, in bounded time where the client is slow to take it.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let limit = self.now() + TRANSFER;
        let mut left = bytes;
        while !left.is_empty() {
            match (&self.peer.stream).write(left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !left.is_empty() && self.now() > limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Closed with bytes unread, a connection is reset, and the client may never see its answer.
    fn farewell(&mut self) -> io::Result<()> {
        self.peer.stream.shutdown(Shutdown::Write)?;
        let limit = self.now() + FAREWELL;
        let mut ignored = 0;
        while ignored < LONGEST_BODY && self.receive(limit)? {
            ignored += self.received.len();
            self.received.clear();
        }
        Ok(())
    }
}

#[cfg(unix)]
fn reset_on_close(stream: &std::net::TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionReset.into())
}

#[cfg(not(unix))]
fn reset_on_close(_: &std::net::TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::ConnectionReset.into())
}
