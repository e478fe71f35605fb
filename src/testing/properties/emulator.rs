//! What holds for everything that the emulator reads.

use std::net::{IpAddr, Ipv4Addr};

use crate::emulator::auth::Account;
use crate::emulator::clock::Clock;
use crate::emulator::guid::Guid;
use crate::emulator::http::{self, Answer, Chunks, Framing, Head, HttpRequest, LONGEST_BODY};
use crate::emulator::service::Service;
use crate::emulator::{ACCOUNT, KEY};
use crate::transport;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// For everything there is to do in the emulators' account.
pub(crate) const ACCOUNT_SAS: &str = "sv=2021-12-02&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z\
                                      &sig=tznf%2BUguWwNe%2B7oTyobyNUc7TDthIuY2m9EdDOYdBvE%3D";

/// A client's connection, without a network.
pub(crate) struct Line {
    service: Service,
}

impl Line {
    pub(crate) fn to_an_empty_account() -> Line {
        Line { service: Service::new(Account::new(ACCOUNT, KEY).unwrap(), Clock::start()) }
    }

    /// The answer to `request`, in bytes.
    pub(crate) fn answer(&self, request: &transport::Request) -> Vec<u8> {
        let transport::Request { method, path, query, headers, .. } = request;
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let method = method.name();
        let text = format!("{method} {path}?{query} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n{lines}\r\n");
        self.reply(&http::parse_head(text.as_bytes()).unwrap().request)
    }

    pub(crate) fn has_blob(&self, container: &str, name: &str) -> bool {
        self.service.delete(container, name).is_ok()
    }

    fn reply(&self, request: &HttpRequest) -> Vec<u8> {
        let answer = self.service.handle(request, CLIENT);
        let is_head = request.method == "HEAD";
        let bytes = answer.to_bytes(is_head, request.keep_alive);
        is_one_answer(&answer, is_head, &bytes);
        bytes
    }
}

/// Whatever was asked, what goes out is one answer, and says of itself what is true.
fn is_one_answer(answer: &Answer, is_head: bool, bytes: &[u8]) {
    let mut slots = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Response::new(&mut slots);
    let end = parsed.parse(bytes).unwrap().unwrap();
    assert_eq!(parsed.code, Some(answer.status));
    let mut names: Vec<_> = parsed.headers.iter().map(|header| header.name.to_ascii_lowercase()).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "twice: {names:?}");
    for name in ["x-ms-request-id", "x-ms-version", "date", "server"] {
        assert!(names.iter().any(|other| other == name), "no {name}");
    }
    let length = parsed.headers.iter().find(|header| header.name == "Content-Length").map(|header| header.value);
    let (told, sent) = match answer.status {
        304 => (None, 0),
        _ => (Some(answer.body.len().to_string()), if is_head { 0 } else { answer.body.len() }),
    };
    assert_eq!((length, bytes.len() - end), (told.as_deref().map(str::as_bytes), sent));
}

/// They make a container and a blob, without which there is little to ask for.
const FIRST: &str = "PUT /devstoreaccount1/locks?restype=container HTTP/1.1\r\nhost: h\r\nx-ms-version: 2021-12-02\r\n\
                     content-length: 0\r\n\r\n\
                     PUT /devstoreaccount1/locks/job? HTTP/1.1\r\nhost: h\r\nx-ms-version: 2021-12-02\r\n\
                     x-ms-blob-type: BlockBlob\r\ncontent-length: 5\r\n\r\nhello";

/// Of any bytes that a client sends.
pub(crate) fn any_requests(bytes: &[u8]) {
    let line = Line::to_an_empty_account();
    let mut received = [FIRST.as_bytes(), bytes].concat();
    while let Some(end) = http::end_of_head(&received, 0) {
        let head = http::parse_head(&received[..end]);
        received.drain(..end);
        let Some(mut request) = head.ok().and_then(|head| with_body(head, &mut received)) else { return };
        assert!(request.path.starts_with('/') && request.path.is_ascii() && !request.path.contains(['?', ' ']));
        assert!(request.body.len() <= LONGEST_BODY);
        line.reply(&request);
        // Nobody could guess a signature.
        request.query.push('&');
        request.query.push_str(ACCOUNT_SAS);
        line.reply(&request);
    }
}

fn with_body(head: Head, received: &mut Vec<u8>) -> Option<HttpRequest> {
    let mut request = head.request;
    request.body = match head.framing {
        Framing::None => Vec::new(),
        Framing::Length(length) => received.drain(..length.min(received.len())).collect(),
        Framing::Chunked => any_chunks(received)?,
    };
    Some(request)
}

/// Of any bytes where chunks should be: the same comes of them however they arrive. Takes them off.
fn any_chunks(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut chunks = Chunks::default();
    let mut received = Vec::new();
    let mut one_by_one = Ok(None);
    let mut left = bytes.iter();
    while let (Ok(None), Some(byte)) = (&one_by_one, left.next()) {
        received.push(*byte);
        one_by_one = chunks.take(&mut received);
        assert!(received.len() <= LONGEST_BODY);
    }
    let at_once = Chunks::default().take(bytes);
    assert_eq!(at_once, one_by_one);
    at_once.ok().flatten()
}

/// Of any text where the id of a lease should be.
pub(crate) fn any_guid(text: &str) {
    let Some(guid) = Guid::parse(text) else { return };
    let written = guid.to_string();
    assert_eq!(Guid::parse(&written), Some(guid));
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    assert_eq!(written.replace('-', ""), digits.to_ascii_lowercase());
    assert_eq!(crate::lease::LeaseId::parse(&written).map(|id| id.to_string()), Some(written));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::testing::properties::holds;

    const METHODS: [&str; 6] = ["GET", "GET", "HEAD", "PUT", "DELETE", "POST"];
    const TARGETS: [&str; 10] = [
        "locks?restype=container",
        "locks/job?",
        "locks/job?",
        "locks/job?comp=lease",
        "locks/job?comp=metadata",
        "locks/job?comp=properties",
        "locks/a%2Fb?comp=lease",
        "locks/%ff?",
        "locks/a/../b?snapshot=x",
        "?comp=list",
    ];
    const HEADERS: [&str; 36] = [
        "x-ms-version: 2026-10-06",
        "x-ms-date: Mon, 01 Jan 2024 00:00:00 GMT",
        "x-ms-blob-type: BlockBlob",
        "x-ms-blob-type: PageBlob",
        "x-ms-blob-type: AppendBlob",
        "x-ms-blob-content-length: 512",
        "x-ms-blob-content-length: 18446744073709551615",
        "x-ms-blob-content-type: text/plain",
        "x-ms-blob-sequence-number: 9223372036854775807",
        "x-ms-sequence-number-action: increment",
        "x-ms-sequence-number-action: update",
        "x-ms-lease-action: acquire",
        "x-ms-lease-action: renew",
        "x-ms-lease-action: change",
        "x-ms-lease-action: release",
        "x-ms-lease-action: break",
        "x-ms-lease-id: 11111111-2222-3333-4444-555555555555",
        "x-ms-proposed-lease-id: {22222222-2222-3333-4444-555555555555}",
        "x-ms-lease-duration: 15",
        "x-ms-lease-duration: -1",
        "x-ms-lease-break-period: 60",
        "x-ms-client-request-id: me",
        "x-ms-meta-owner: me",
        "x-ms-meta-: nobody",
        "x-ms-range: bytes=0-9",
        "range: bytes=5-",
        "range: bytes=1-18446744073709551615",
        "if-match: \"0x1\", \"0x2\"",
        "if-match: *",
        "if-none-match: *",
        "if-modified-since: Fri, 31 Dec 9999 23:59:59 GMT",
        "if-unmodified-since: Mon, 01 Jan 2024 00:00:00 GMT",
        "authorization: SharedKey devstoreaccount1:AAAA",
        "connection: close",
        "expect: 100-continue",
        "x-ms-blob-public-access: container",
    ];
    const FRAMES: [&str; 6] = [
        "content-length: 0\r\n\r\n",
        "content-length: 5\r\n\r\nhello",
        "content-length: 262144\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "\r\n",
    ];

    fn request() -> impl Strategy<Value = String> {
        let header = prop_oneof![
            9 => select(&HEADERS[..]).prop_map(str::to_owned),
            1 => (select(&HEADERS[..]), "[\t -~]{0,40}").prop_map(|(header, more)| header.to_owned() + &more),
        ];
        let line = (select(&METHODS[..]), select(&TARGETS[..]));
        (line, vec(header, 0..4), select(&FRAMES[..])).prop_map(|((method, target), headers, frame)| {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            format!("{method} /devstoreaccount1/{target} HTTP/1.1\r\nhost: h\r\n{headers}{frame}")
        })
    }

    #[test]
    fn any_requests_are_answered() {
        holds(vec(request(), 1..8), |requests| any_requests(requests.concat().as_bytes()));
        holds((vec(request(), 1..4), any::<Index>(), any::<u8>()), |(requests, at, byte)| {
            let mut bytes = requests.concat().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            any_requests(&bytes);
        });
        holds(vec(any::<u8>(), 0..200), |bytes| any_requests(&bytes));
    }

    #[test]
    fn chunks_are_the_same_however_they_arrive() {
        let piece =
            select(vec!["0\r\n", "\r\n", "\n", "3\r\nabc\r\n", "5;x=y\r\n", "a", "ff", "g", "t: u\r\n", "\u{0}"]);
        holds(vec(piece, 0..12), |pieces| drop(any_chunks(&mut pieces.concat().into_bytes())));
    }
}
