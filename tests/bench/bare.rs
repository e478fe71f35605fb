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
    Acquire,
    Renew,
    Release,
}

/// Where the lock is, and what signs for it.
pub(crate) struct Place {
    port: u16,
    /// With the account, the container and the blob.
    path: String,
    mac: Hmac<Sha256>,
}

impl Place {
    pub(crate) fn new(port: u16, container: &str, lock: &str) -> Place {
        let mac = Hmac::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
        Place { port, path: path(container, lock), mac }
    }

    /// Signed, in the order in which they are signed but for the last.
    fn headers(&self, action: Action, lease: &str) -> Vec<(&'static str, String)> {
        let id = unique();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut headers = vec![("x-ms-client-request-id", id), ("x-ms-date", date)];
        match action {
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
        let mut text = "PUT\n\n\n\n\n\n\n\n\n\n\n\n".to_owned();
        for (name, value) in &headers {
            text.extend([name, ":", value, "\n"]);
        }
        text.extend(["/", ACCOUNT, &self.path, "\ncomp:lease"]);
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        headers.push(("authorization", format!("SharedKey {ACCOUNT}:{signature}")));
        headers
    }
}

fn path(container: &str, lock: &str) -> String {
    format!("/{ACCOUNT}/{container}/{lock}")
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

/// A client that knows nothing but its place.
pub(crate) trait Client {
    /// Another lock.
    fn go_to(&mut self, container: &str, lock: &str);
    /// The status.
    fn ask(&mut self, action: Action, lease: &str) -> u16;
}

pub(crate) struct Socket {
    place: Place,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(place: Place) -> Socket {
        let stream = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Socket { place, stream, buffer: vec![0; 16 * 1024] }
    }
}

impl Client for Socket {
    fn go_to(&mut self, container: &str, lock: &str) {
        self.place.path = path(container, lock);
    }

    fn ask(&mut self, action: Action, lease: &str) -> u16 {
        let Place { port, path, .. } = &self.place;
        let mut request = format!("PUT {path}?comp=lease HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n");
        for (name, value) in self.place.headers(action, lease) {
            request.extend([name, ": ", &value, "\r\n"]);
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        while !self.buffer[..length].ends_with(b"\r\n\r\n") {
            length += self.stream.read(&mut self.buffer[length..]).unwrap();
        }
        std::str::from_utf8(&self.buffer[9..12]).unwrap().parse().unwrap()
    }
}

pub(crate) struct Ureq {
    place: Place,
    agent: Agent,
    url: String,
}

impl Ureq {
    pub(crate) fn new(place: Place) -> Ureq {
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
        Ureq { url: url(&place), place, agent: config.into() }
    }
}

fn url(place: &Place) -> String {
    format!("http://127.0.0.1:{}{}?comp=lease", place.port, place.path)
}

impl Client for Ureq {
    fn go_to(&mut self, container: &str, lock: &str) {
        self.place.path = path(container, lock);
        self.url = url(&self.place);
    }

    fn ask(&mut self, action: Action, lease: &str) -> u16 {
        let mut request = self.agent.put(&self.url);
        for (name, value) in self.place.headers(action, lease) {
            request = request.header(name, value);
        }
        let mut answer = request.send_empty().unwrap();
        answer.body_mut().read_to_vec().unwrap();
        answer.status().as_u16()
    }
}
