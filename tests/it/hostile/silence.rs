//! Silence.

use super::*;

#[test]
fn a_server_that_says_nothing_is_given_up() {
    endure(vec![
        ("silence", Reply::Hang),
        ("half a status line", Reply::RawKeep(b"HTTP/1.1 20".to_vec())),
        ("half a head", Reply::RawKeep(head(201).into_bytes())),
    ]);
}

#[test]
fn a_server_that_does_not_even_accept_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), key()).retry(short());
    endure_seeking("not accepted", container.build().unwrap().mutex("job").unwrap());
}

#[test]
fn a_server_that_is_not_there_is_told_so() {
    let (_socket, port) = nobody();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), key()).retry(short());
    let (locker, events) = observed(container.build().unwrap().mutex("job").unwrap());
    let error = within(BOUND, "refused", move || locker.try_lock().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("listens"), "{error:?}");
    last_words("refused", &events);
}

#[test]
fn a_server_that_answers_a_byte_at_a_time_is_given_up() {
    let answer = format!("{}x-ms-lease-id: 1\r\ncontent-length: 0\r\n\r\n", head(201)).into_bytes();
    let trickle = |bytes: Vec<u8>| Reply::Trickle { bytes, every: 20 * MS };
    let body = [head(500).as_bytes(), b"content-length: 4000\r\n\r\n", &[b'x'; 4000]].concat();
    endure(vec![("a trickled head", trickle(answer))]);
    let peer = Peer::start(move |_| Reply::Trickle { bytes: body.clone(), every: 20 * MS });
    endure_seeking("a trickled body", mutex_with(&peer, key(), short()));
}
