//! As much of HTTP/1.1 as the tests speak behind the library's back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a request asks of the service.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    CreateContainer,
    CreateBlob,
    Acquire,
    Renew,
    Release,
    Change,
    Break,
    /// HEAD or GET of a blob.
    Look,
    SetMetadata,
    /// The blobs of a container.
    List,
    DeleteBlob,
    DeleteContainer,
    Other,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The value as it was sent, still encoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| value.to_owned())
        })
    }

    pub fn operation(&self) -> Operation {
        let restype = self.query("restype");
        let comp = self.query("comp");
        match (self.method.as_str(), restype.as_deref(), comp.as_deref()) {
            ("PUT", Some("container"), None) => Operation::CreateContainer,
            ("DELETE", Some("container"), None) => Operation::DeleteContainer,
            ("GET", Some("container"), Some("list")) => Operation::List,
            ("PUT", None, None) => Operation::CreateBlob,
            ("PUT", None, Some("metadata")) => Operation::SetMetadata,
            ("PUT", None, Some("lease")) => match self.header("x-ms-lease-action") {
                Some("acquire") => Operation::Acquire,
                Some("renew") => Operation::Renew,
                Some("release") => Operation::Release,
                Some("change") => Operation::Change,
                Some("break") => Operation::Break,
                _ => Operation::Other,
            },
            ("HEAD" | "GET", None, None) => Operation::Look,
            ("DELETE", None, None) => Operation::DeleteBlob,
            _ => Operation::Other,
        }
    }

    /// Whether the sender wants the connection closed after the answer.
    pub fn closes(&self) -> bool {
        closes(&self.headers)
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The service's name of the error.
    pub fn code(&self) -> Option<&str> {
        self.header("x-ms-error-code")
    }

    /// Whether the sender closes the connection after the answer.
    pub fn closes(&self) -> bool {
        closes(&self.headers)
    }

    /// The answer on the wire; `to` is the method it answers.
    ///
    /// Any framing among the headers is replaced, except that the answer to a HEAD may tell of a
    /// length which it does not have.
    pub fn to_bytes(&self, to: &str) -> Vec<u8> {
        let bodiless = to == "HEAD" || matches!(self.status, 204 | 304);
        let mut head = format!("HTTP/1.1 {} \r\n", self.status);
        for (name, value) in &self.headers {
            if !is_framing(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !bodiless {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        } else if let Some(length) = self.header("content-length") {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        head.push_str("\r\n");

        let mut bytes = head.into_bytes();
        if !bodiless {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// One request on a connection of its own to 127.0.0.1. Host and Content-Length are added where
/// they are missing.
pub fn exchange(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    let missing = |name: &str| headers.iter().all(|(key, _)| !key.eq_ignore_ascii_case(name));
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_owned(),
    };
    if missing("host") {
        let host = format!("127.0.0.1:{port}");
        request.headers.push(("host".to_owned(), host));
    }
    if missing("content-length") && (!body.is_empty() || matches!(method, "PUT" | "POST")) {
        let length = body.len().to_string();
        request.headers.push(("content-length".to_owned(), length));
    }
    if missing("connection") {
        request.headers.push(("connection".to_owned(), "close".to_owned()));
    }
    send(port, &request)
}

/// Sends the request as it is on a connection of its own to 127.0.0.1.
pub fn send(port: u16, request: &Request) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;

    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    for (name, value) in &request.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    (&stream).write_all(&bytes)?;

    read_response(&mut BufReader::new(&stream), &request.method)
}

/// The next request of a connection; `None` when the client closed it after the last one.
pub fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some((first, headers)) = read_head(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid(&format!("request line {first:?}")));
    };
    let body = match framing(&headers)? {
        Framing::Length(length) => read_length(reader, length)?,
        Framing::Chunked => read_chunked(reader)?,
        Framing::None => Vec::new(),
    };
    Ok(Some(Request { method: method.to_owned(), target: target.to_owned(), headers, body }))
}

/// The answer to a request with the method `to`.
pub fn read_response(reader: &mut impl BufRead, to: &str) -> io::Result<Response> {
    loop {
        let (first, headers) = read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| invalid(&format!("status line {first:?}")))?;
        if (100..200).contains(&status) {
            continue;
        }
        let bodiless = to == "HEAD" || matches!(status, 204 | 304);
        let body = match framing(&headers)? {
            _ if bodiless => Vec::new(),
            Framing::Length(length) => read_length(reader, length)?,
            Framing::Chunked => read_chunked(reader)?,
            Framing::None => read_rest(reader)?,
        };
        return Ok(Response { status, headers, body });
    }
}

/// A time in the form of the `Date` header.
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);

    // Years from March on, in eras of 400, so that the leap day is the last of its year.
    let since_era_0 = days + 719_468;
    let (era, day) = (since_era_0 / 146_097, since_era_0 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * era + year + u64::from(month >= 10);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60,
    )
}

enum Framing {
    Length(usize),
    Chunked,
    None,
}

fn framing(headers: &[(String, String)]) -> io::Result<Framing> {
    if let Some(coding) = find(headers, "transfer-encoding") {
        if coding.eq_ignore_ascii_case("chunked") {
            return Ok(Framing::Chunked);
        }
        return Err(invalid(&format!("transfer encoding {coding:?}")));
    }
    match find(headers, "content-length") {
        Some(length) => length.parse().map(Framing::Length).map_err(|_| invalid(&format!("content length {length:?}"))),
        None => Ok(Framing::None),
    }
}

pub fn is_framing(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn closes(headers: &[(String, String)]) -> bool {
    find(headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

type Head = (String, Vec<(String, String)>);

/// The first line and the headers; `None` when there is not one byte of them.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut left = MAX_HEAD;
    let Some(first) = read_line(reader, &mut left)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader, &mut left)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&format!("header line {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// A line without its end; `None` at the end of the stream.
fn read_line(reader: &mut impl BufRead, left: &mut usize) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut limited = reader.by_ref().take(*left as u64);
    let read = limited.read_until(b'\n', &mut line)?;
    *left -= read;
    if line.pop() == Some(b'\n') {
        line.pop_if(|last| *last == b'\r');
        return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
    }
    if *left == 0 {
        return Err(invalid("head too long"));
    }
    if read == 0 {
        return Ok(None);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn read_length(reader: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(invalid("body too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunked(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut left = MAX_HEAD;
    let mut line = |reader: &mut _| -> io::Result<String> {
        read_line(reader, &mut left)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    loop {
        let size = line(reader)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| invalid(&format!("chunk size {size:?}")))?;
        if size == 0 {
            break;
        }
        if size > MAX_BODY - body.len() {
            return Err(invalid("body too long"));
        }
        body.extend(read_length(reader, size)?);
        if !line(reader)?.is_empty() {
            return Err(invalid("chunk longer than its size"));
        }
    }
    while !line(reader)?.is_empty() {}
    Ok(body)
}

fn read_rest(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(MAX_BODY as u64 + 1).read_to_end(&mut body)?;
    if body.len() > MAX_BODY {
        return Err(invalid("body too long"));
    }
    Ok(body)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
