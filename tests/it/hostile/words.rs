//! What is said of everyday mistakes: the thing itself, and not what it looks like.

use super::*;

/// A server that reads something, answers these bytes to whatever it is, and closes.
fn canned(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

fn acquire(url: &str) -> Error {
    let container = Container::builder(url, key()).allow_http().retry(short()).build().unwrap();
    container.mutex("job").unwrap().acquire(LEASE).map(drop).unwrap_err()
}

#[test]
fn http_to_a_port_of_https_is_named() {
    let mut wrong = Vec::new();
    for (name, bytes) in [
        ("closed, as OpenSSL and Node do", &b""[..]),
        ("an alert", b"\x15\x03\x03\x00\x02\x02\x0a"),
        (
            "nginx",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 91\r\nconnection: close\r\n\r\n<html><head><title>400 The plain \
              HTTP request was sent to HTTPS port</title></head></html>    ",
        ),
        ("Go", b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),
        (
            "Apache",
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nReason: You're speaking plain HTTP to an SSL-enabled \
              server port.\n",
        ),
    ] {
        let error = acquire(&format!("http://127.0.0.1:{}/acct/locks", canned(bytes)));
        senseless(name, &error);
        if !error.to_string().contains("https://") {
            wrong.push(format!("{name}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
#[test]
fn https_to_a_port_of_http_is_named() {
    let mut wrong = Vec::new();
    for (name, bytes) in [
        ("a status line", &b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"[..]),
        ("a page", b"<html><head><title>400 Bad Request</title></head></html>"),
    ] {
        let error = acquire(&format!("https://localhost:{}/acct/locks", canned(bytes)));
        senseless(name, &error);
        if !error.to_string().contains("http://") {
            wrong.push(format!("{name}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// In a process of its own, which is left without any.
#[cfg(unix)]
#[test]
fn a_process_without_a_free_descriptor_is_told_so() {
    use std::fs::File;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use crate::support::process;

    if !process::is_alone(a_process_without_a_free_descriptor_is_told_so) {
        return;
    }
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let open: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let mut wrong = Vec::new();
    for url in ["http://127.0.0.1:9/acct/locks", "http://localhost:9/acct/locks", "http://storage.invalid/locks"] {
        let error = acquire(url);
        let text = error.to_string();
        let is_named = text.contains("file descriptor") && !text.contains("account") && !text.contains("listens");
        if error.kind() != ErrorKind::Unavailable || !is_named {
            wrong.push(format!("{url}: {:?} {error:?}", error.kind()));
        }
    }
    drop(open);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
