//! As much of HTTP/1.1 as storage clients speak: bytes to requests, answers to bytes. No I/O.

use std::borrow::Cow;
use std::fmt::Write as _;

use httparse::{EMPTY_HEADER, Status};

/// The front ends of the service, and of its other emulators, take as much.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;
/// Of a request, and so of a blob. Locks are empty.
pub(crate) const LONGEST_BODY: usize = 256 * 1024;
const MOST_HEADERS: usize = 128;
/// A chunk's size, its extensions and the line's end.
const LONGEST_CHUNK_LINE: usize = 256;

#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    /// As it was sent: that is what is signed.
    pub(crate) path: String,
    /// As it was sent, without the question mark.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

impl HttpRequest {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// A request whose body is still to come.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: HttpRequest,
    pub(crate) framing: Framing,
    pub(super) expects_continue: bool,
}

/// What is refused before the service sees it: by status alone, with a page for people, as front ends do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    BadRequest,
    TimedOut,
    LengthRequired,
    BodyTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    Busy,
}

impl Unfit {
    pub(super) fn answer(self) -> Answer {
        let (status, title) = match self {
            Unfit::BadRequest => (400, "Bad Request"),
            Unfit::TimedOut => (408, "Request Timeout"),
            Unfit::LengthRequired => (411, "Length Required"),
            Unfit::BodyTooLarge => (413, "Content Too Large"),
            Unfit::ExpectationFailed => (417, "Expectation Failed"),
            Unfit::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Unfit::Busy => (503, "Service Unavailable"),
        };
        let body = format!(
            "<!DOCTYPE html>\r\n<html><head><title>{title}</title></head>\r\n\
             <body><h2>{title}</h2>\r\n<hr><p>HTTP Error {status}.</p>\r\n</body></html>\r\n"
        );
        let mut answer = Answer::new(status, title);
        answer.set("Content-Type", "text/html; charset=us-ascii");
        answer.body = body.into_bytes();
        answer
    }
}

/// Where the head ends, if all of it is there. `searched` bytes are known not to hold its end.
pub(crate) fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    (from..bytes.len()).find_map(|i| match &bytes[i..] {
        [b'\n', b'\r', b'\n', ..] => Some(i + 3),
        [b'\n', b'\n', ..] => Some(i + 2),
        _ => None,
    })
}

pub(crate) fn parse_head(bytes: &[u8]) -> Result<Head, Unfit> {
    let mut slots = [EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Unfit::HeadTooLarge),
        _ => return Err(Unfit::BadRequest),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Unfit::BadRequest);
    };
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for header in &*parsed.headers {
        // What is not ASCII has no defined reading, and could not be signed for certain.
        let value = str::from_utf8(header.value).ok().filter(|value| value.is_ascii()).ok_or(Unfit::BadRequest)?;
        headers.push((header.name.to_owned(), value.trim().to_owned()));
    }
    if version > 0 && headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count() != 1 {
        return Err(Unfit::BadRequest);
    }

    let framing = framing(&headers)?;
    if framing == Framing::None && matches!(method, "PUT" | "POST") {
        return Err(Unfit::LengthRequired);
    }
    let expects_continue = match find(&headers, "expect") {
        None => false,
        Some(value) if value.eq_ignore_ascii_case("100-continue") => version > 0,
        Some(_) => return Err(Unfit::ExpectationFailed),
    };
    let (path, query) = split_target(target).ok_or(Unfit::BadRequest)?;
    let keep_alive = version > 0 && !names(&headers, "connection", "close");
    let request = HttpRequest { method: method.to_owned(), path, query, headers, body: Vec::new(), keep_alive };
    Ok(Head { request, framing, expects_continue })
}

fn split_target(target: &str) -> Option<(String, String)> {
    // Absolute where the client believes us to be a proxy.
    let target = match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/')?..],
        None => target,
    };
    if !target.starts_with('/') || !target.is_ascii() {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some((path.to_owned(), query.to_owned()))
}

/// Two readings of where a request ends would make two requests of one.
fn framing(headers: &[(String, String)]) -> Result<Framing, Unfit> {
    let all = |name: &str| {
        let name = name.to_owned();
        headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(&name)).map(|(_, value)| value.as_str())
    };
    let mut lengths = all("content-length");
    let mut codings = all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) if lengths.next().is_none() => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Unfit::BadRequest);
            }
            let length = length.parse().map_err(|_| Unfit::BodyTooLarge)?;
            if length > LONGEST_BODY { Err(Unfit::BodyTooLarge) } else { Ok(Framing::Length(length)) }
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() => {
            Ok(Framing::Chunked)
        }
        _ => Err(Unfit::BadRequest),
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn names(headers: &[(String, String)], name: &str, word: &str) -> bool {
    find(headers, name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

/// Takes a chunked body apart, as its bytes come.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    part: Part,
    body: Vec<u8>,
    /// Of lines other than the body's, all told.
    overhead: usize,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailer,
}

impl Chunks {
    /// Takes what it can use from the front of `bytes`: the body, once all of it has come.
    pub(crate) fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Unfit> {
        let mut used = 0;
        let body = loop {
            let rest = &bytes[used..];
            match self.part {
                Part::Data(0) => self.part = Part::DataEnd,
                Part::Data(left) => {
                    let here = left.min(rest.len());
                    if here == 0 {
                        break None;
                    }
                    self.body.extend_from_slice(&rest[..here]);
                    used += here;
                    self.part = Part::Data(left - here);
                }
                Part::Size | Part::DataEnd | Part::Trailer => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        if rest.len() > LONGEST_CHUNK_LINE {
                            return Err(Unfit::BadRequest);
                        }
                        break None;
                    };
                    let line = rest[..=end].to_vec();
                    used += line.len();
                    self.overhead += line.len();
                    if line.len() > LONGEST_CHUNK_LINE || self.overhead > LONGEST_BODY {
                        return Err(Unfit::BadRequest);
                    }
                    if self.line(&line)? {
                        break Some(std::mem::take(&mut self.body));
                    }
                }
            }
        };
        bytes.drain(..used);
        Ok(body)
    }

    /// Whether it was the last.
    fn line(&mut self, line: &[u8]) -> Result<bool, Unfit> {
        let is_empty = matches!(line, b"\r\n" | b"\n");
        match self.part {
            Part::Trailer => return Ok(is_empty),
            Part::DataEnd if is_empty => self.part = Part::Size,
            Part::Size => {
                let Ok(Status::Complete((_, size))) = httparse::parse_chunk_size(line) else {
                    return Err(Unfit::BadRequest);
                };
                let size = usize::try_from(size).map_err(|_| Unfit::BodyTooLarge)?;
                if size > LONGEST_BODY - self.body.len() {
                    return Err(Unfit::BodyTooLarge);
                }
                self.part = if size == 0 { Part::Trailer } else { Part::Data(size) };
            }
            Part::DataEnd | Part::Data(_) => return Err(Unfit::BadRequest),
        }
        Ok(false)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(super) reason: &'static str,
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, reason: &'static str) -> Answer {
        Answer { status, reason, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    /// `to_head`: in answer to a HEAD request, which gets the length and not the body.
    pub(crate) fn to_bytes(&self, to_head: bool, keep_alive: bool) -> Vec<u8> {
        let mut head = String::with_capacity(512);
        // Writing to a String does not fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, self.reason);
        if self.status != 304 {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !keep_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !to_head && self.status != 304 {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, Unfit> {
        assert_eq!(end_of_head(text.as_bytes(), 0), Some(text.len()));
        parse_head(text.as_bytes())
    }

    #[test]
    fn a_request_is_taken_apart() {
        let head =
            head("PUT /me/c/a%20b?comp=lease&x HTTP/1.1\r\nHost: h\r\nX-Ms-Meta-Key:  v \r\nContent-Length: 3\r\n\r\n");
        let Head { request, framing, expects_continue } = head.unwrap();
        assert_eq!((&*request.method, &*request.path, &*request.query), ("PUT", "/me/c/a%20b", "comp=lease&x"));
        assert_eq!(request.headers[1], ("X-Ms-Meta-Key".to_owned(), "v".to_owned()));
        assert_eq!(request.header("x-ms-meta-key"), Some("v"));
        assert_eq!((framing, expects_continue, request.keep_alive), (Framing::Length(3), false, true));
    }

    #[test]
    fn a_connection_is_kept_unless_its_client_says_otherwise() {
        assert!(head("GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().request.keep_alive);
        assert!(!head("GET / HTTP/1.1\r\nHost: h\r\nConnection: te, Close\r\n\r\n").unwrap().request.keep_alive);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").unwrap().request.keep_alive);
    }

    #[test]
    fn a_target_may_be_absolute() {
        let request = head("GET http://h:1/me/c?x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().request;
        assert_eq!((&*request.path, &*request.query), ("/me/c", "x"));
    }

    #[test]
    fn what_is_unfit_is_refused() {
        for (text, why) in [
            ("GET / HTTP/1.1\r\n\r\n", Unfit::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Unfit::BadRequest),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", Unfit::BadRequest),
            ("GET http://h HTTP/1.1\r\nHost: a\r\n\r\n", Unfit::BadRequest),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Unfit::BadRequest),
            ("\u{0}\u{1} / HTTP/1.1\r\nHost: a\r\n\r\n", Unfit::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: \u{e9}\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", Unfit::LengthRequired),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Unfit::BadRequest),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n", Unfit::BodyTooLarge),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", Unfit::BodyTooLarge),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", Unfit::ExpectationFailed),
        ] {
            assert_eq!(head(text).err(), Some(why), "{text}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(MOST_HEADERS));
        assert_eq!(head(&many).err(), Some(Unfit::HeadTooLarge));
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_bytes_are_cut() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        for cut in 0..text.len() {
            let early = end_of_head(&text[..cut], 0);
            assert_eq!(early.or_else(|| end_of_head(text, cut)), Some(text.len() - 3), "{cut}");
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.1\n\n", 0), Some(16));
    }

    type BodyAndRest = (Vec<u8>, Vec<u8>);

    fn chunked(text: &[u8]) -> Result<Option<BodyAndRest>, Unfit> {
        let mut bytes = text.to_vec();
        Ok(Chunks::default().take(&mut bytes)?.map(|body| (body, bytes)))
    }

    #[test]
    fn chunks_are_put_together() {
        let text = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\nrest";
        assert_eq!(chunked(text), Ok(Some((b"abcde".to_vec(), b"rest".to_vec()))));
        assert_eq!(chunked(b"0\r\n\r\n"), Ok(Some((Vec::new(), Vec::new()))));

        let mut chunks = Chunks::default();
        let mut buffer = Vec::new();
        let last = text.len() - 5;
        for byte in &text[..last] {
            buffer.push(*byte);
            assert_eq!(chunks.take(&mut buffer), Ok(None));
        }
        buffer.push(text[last]);
        assert_eq!(chunks.take(&mut buffer), Ok(Some(b"abcde".to_vec())));
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        for text in [&b"x\r\n"[..], b"1\r\nab\r\n", b"ffffffffffffffffff\r\n"] {
            assert_eq!(chunked(text), Err(Unfit::BadRequest), "{text:?}");
        }
        assert_eq!(chunked(b"40001\r\n"), Err(Unfit::BodyTooLarge));
        assert_eq!(chunked(&[b'1'; 300]), Err(Unfit::BadRequest));
        assert_eq!(chunked(&[b"1;".as_slice(), &[b'x'; 300], b"\r\n"].concat()), Err(Unfit::BadRequest));
        assert_eq!(chunked(&[b"0\r\n".as_slice(), &b"a: b\r\n".repeat(300_000)].concat()), Err(Unfit::BadRequest));
    }

    #[test]
    fn an_answer_to_head_has_a_length_and_no_body() {
        let mut answer = Answer::new(200, "OK");
        answer.set("ETag", "e");
        answer.body = b"body".to_vec();
        assert_eq!(answer.to_bytes(true, true), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: e\r\n\r\n");
        assert!(answer.to_bytes(false, false).ends_with(b"Connection: close\r\n\r\nbody"));
    }
}
