//! What a lock is measured by: the same requests, made with as little as it takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::Agent;

use crate::support::sas::{ACCOUNT, KEY};

const VERSION: &str = "2021-12-02";
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Copy, Clone, PartialEq)]
pub(crate) enum Action {
    CreateContainer,
    /// Unless it is there.
    CreateBlob,
    Acquire,
    Renew,
    Release,
}

/// Where a lock is, and what signs for it.
pub(crate) struct Place {
    mac: Hmac<Sha256>,
    container: Target,
    blob: Target,
    lease: Target,
}

/// What a request is about, as that is sent and as it is signed.
struct Target {
    url: String,
    /// In `url`.
    path: usize,
    signed: String,
}

impl Place {
    pub(crate) fn new(port: u16, container: &str, lock: &str) -> Place {
        let origin = format!("http://127.0.0.1:{port}");
        let target = |path: String, query: &str| Target {
            url: format!("{origin}{path}{query}"),
            path: origin.len(),
            signed: format!("/{ACCOUNT}{path}{}", query.replace('?', "\n").replace('=', ":")),
        };
        let (container, blob) = (format!("/{ACCOUNT}/{container}"), format!("/{ACCOUNT}/{container}/{lock}"));
        Place {
            mac: Hmac::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap(),
            container: target(container, "?restype=container"),
            lease: target(blob.clone(), "?comp=lease"),
            blob: target(blob, ""),
        }
    }

    fn target(&self, action: Action) -> &Target {
        match action {
            Action::CreateContainer => &self.container,
            Action::CreateBlob => &self.blob,
            Action::Acquire | Action::Renew | Action::Release => &self.lease,
        }
    }

    /// Signed, in the order in which they are signed but for the last ones.
    fn headers(&self, action: Action, lease: &str) -> Vec<(&'static str, String)> {
        let id = unique();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut headers = Vec::with_capacity(8);
        if action == Action::CreateBlob {
            headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
        }
        headers.extend([("x-ms-client-request-id", id), ("x-ms-date", date)]);
        match action {
            Action::CreateContainer | Action::CreateBlob => {}
            Action::Acquire => headers.extend([
                ("x-ms-lease-action", "acquire".to_owned()),
                ("x-ms-lease-duration", "30".to_owned()),
                ("x-ms-proposed-lease-id", lease.to_owned()),
            ]),
            Action::Renew | Action::Release => headers.extend([
                ("x-ms-lease-action", if action == Action::Renew { "renew" } else { "release" }.to_owned()),
                ("x-ms-lease-id", lease.to_owned()),
            ]),
        }
        headers.push(("x-ms-version", VERSION.to_owned()));
        let condition = if action == Action::CreateBlob { "*" } else { "" };
        let mut text = format!("PUT\n\n\n\n\n\n\n\n\n{condition}\n\n\n");
        for (name, value) in &headers {
            text.extend([name, ":", value, "\n"]);
        }
        text.push_str(&self.target(action).signed);
        if action == Action::CreateBlob {
            headers.push(("if-none-match", condition.to_owned()));
        }
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        headers.push(("authorization", format!("SharedKey {ACCOUNT}:{signature}")));
        headers
    }
}

/// As random as it takes here, and as long as what a lock sends.
fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let [one, other] = [(); 2].map(|()| RandomState::new().hash_one(()));
    format!("{one:016x}{other:016x}")
}

/// A lease id.
pub(crate) fn lease() -> String {
    let id = unique();
    format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..])
}

/// A client that keeps its connection, and does nothing else.
pub(crate) trait Client {
    /// The status.
    fn ask(&mut self, place: &Place, action: Action, lease: &str) -> u16;
}

pub(crate) struct Socket {
    port: u16,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(port: u16) -> Socket {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Socket { port, stream, buffer: vec![0; 16 * 1024] }
    }
}

impl Client for Socket {
    fn ask(&mut self, place: &Place, action: Action, lease: &str) -> u16 {
        let Target { url, path, .. } = place.target(action);
        let (target, port) = (&url[*path..], self.port);
        let mut request = format!("PUT {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n");
        for (name, value) in place.headers(action, lease) {
            request.extend([name, ": ", &value, "\r\n"]);
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        let head = loop {
            length += self.stream.read(&mut self.buffer[length..]).unwrap();
            if let Some(end) = self.buffer[..length].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
        let status = text[9..12].parse().unwrap();
        if status >= 400 {
            let text = text.to_ascii_lowercase();
            let body = text.split_once("content-length: ").map(|(_, rest)| {
                let (length, _) = rest.split_once('\r').unwrap();
                head + length.parse::<usize>().unwrap()
            });
            // Or else it comes in chunks.
            while body.map_or(!self.buffer[..length].ends_with(b"\r\n0\r\n\r\n"), |end| length < end) {
                length += self.stream.read(&mut self.buffer[length..]).unwrap();
            }
        }
        status
    }
}

pub(crate) struct Ureq(Agent);

impl Ureq {
    pub(crate) fn new() -> Ureq {
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .max_idle_age(Duration::from_secs(90))
            // As whoever renews a lock has to; a limit of the whole request would start a thread for each.
            .timeout_send_request(Some(LIMIT))
            .timeout_recv_response(Some(LIMIT))
            .build();
        Ureq(config.into())
    }
}

impl Client for Ureq {
    fn ask(&mut self, place: &Place, action: Action, lease: &str) -> u16 {
        let mut request = self.0.put(&place.target(action).url);
        for (name, value) in place.headers(action, lease) {
            request = request.header(name, value);
        }
        let mut answer = request.send_empty().unwrap();
        answer.body_mut().read_to_vec().unwrap();
        answer.status().as_u16()
    }
}
