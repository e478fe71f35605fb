//! The account that all emulators have, and requests to it behind the library's back.

use std::io;

use azmutex::Container;

use super::http::{self, Response};
use super::sas::{self, ACCOUNT, KEY};

pub struct Account {
    port: u16,
    /// For everything there is to do.
    sas: String,
}

impl Account {
    /// That of the emulator on this port of 127.0.0.1.
    pub fn at(port: u16) -> Account {
        Account { port, sas: sas::full(ACCOUNT, KEY) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connection_string(&self) -> String {
        self.connection_string_via(self.port)
    }

    pub fn container(&self, name: &str) -> Container {
        Container::from_connection_string(&self.connection_string(), name).expect("a container")
    }

    /// The same account through a proxy on another port.
    pub fn connection_string_via(&self, port: u16) -> String {
        format!(
            "AccountName={ACCOUNT};AccountKey={KEY};\
             BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
    }

    /// What is at a path below the account, for whoever takes a signature in a URL.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}/{path}?{}", self.port, self.sas)
    }

    /// Any request on a path below the account, already encoded.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_raw(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Self::raw`], for a server that may not answer.
    pub fn try_raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let target = format!("/{ACCOUNT}/{path}{separator}{}", self.sas);
        let mut headers = headers.to_vec();
        headers.push(("x-ms-version", "2021-12-02"));
        http::exchange(self.port, method, &target, &headers, body)
    }

    /// As [`Self::raw`], with a panic unless the answer has one of these statuses.
    fn expect(&self, expected: &[u16], method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let response = self.raw(method, path, headers, body);
        assert!(
            expected.contains(&response.status),
            "{method} {path}: {} {:?}\n{}",
            response.status,
            response.headers,
            String::from_utf8_lossy(&response.body),
        );
        response
    }

    pub fn create_container(&self, container: &str) {
        let path = format!("{container}?restype=container");
        self.expect(&[201], "PUT", &path, &[], b"");
    }

    pub fn delete_container(&self, container: &str) {
        let path = format!("{container}?restype=container");
        self.expect(&[202], "DELETE", &path, &[], b"");
    }

    /// Unconditional: replaces a blob that is there, if nobody has it leased.
    pub fn put_blob(&self, container: &str, blob: &str, body: &[u8], meta: &[(&str, &str)]) {
        let meta = meta_headers(meta);
        let mut headers = borrowed(&meta);
        headers.push(("x-ms-blob-type", "BlockBlob"));
        self.expect(&[201], "PUT", &format!("{container}/{blob}"), &headers, body);
    }

    pub fn blob_body(&self, container: &str, blob: &str) -> Vec<u8> {
        let path = format!("{container}/{blob}");
        self.expect(&[200], "GET", &path, &[], b"").body
    }

    /// The answer to a HEAD: 200 or 404.
    pub fn blob_headers(&self, container: &str, blob: &str) -> Response {
        let path = format!("{container}/{blob}");
        self.expect(&[200, 404], "HEAD", &path, &[], b"")
    }

    pub fn delete_blob(&self, container: &str, blob: &str, lease_id: Option<&str>) {
        let headers: Vec<_> = lease_id.map(|id| ("x-ms-lease-id", id)).into_iter().collect();
        let path = format!("{container}/{blob}");
        self.expect(&[202], "DELETE", &path, &headers, b"");
    }

    pub fn break_lease(&self, container: &str, blob: &str, period: Option<u32>) {
        let period = period.map(|period| period.to_string());
        let mut headers = vec![("x-ms-lease-action", "break")];
        if let Some(period) = &period {
            headers.push(("x-ms-lease-break-period", period));
        }
        let path = format!("{container}/{blob}?comp=lease");
        self.expect(&[202], "PUT", &path, &headers, b"");
    }

    pub fn lease_state(&self, container: &str, blob: &str) -> String {
        let path = format!("{container}/{blob}");
        let response = self.expect(&[200], "HEAD", &path, &[], b"");
        let state = response.header("x-ms-lease-state");
        state.expect("the answer to a HEAD tells the state").to_owned()
    }

    /// Replaces all the metadata.
    pub fn set_metadata(&self, container: &str, blob: &str, lease_id: Option<&str>, meta: &[(&str, &str)]) {
        let meta = meta_headers(meta);
        let mut headers = borrowed(&meta);
        headers.extend(lease_id.map(|id| ("x-ms-lease-id", id)));
        let path = format!("{container}/{blob}?comp=metadata");
        self.expect(&[200], "PUT", &path, &headers, b"");
    }
}

fn meta_headers(meta: &[(&str, &str)]) -> Vec<(String, String)> {
    let named = |(name, value): &(&str, &str)| (format!("x-ms-meta-{name}"), (*value).to_owned());
    meta.iter().map(named).collect()
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
