//! The locks of a container.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::lease::{Break, LockState};
use azmutex::retry::Policy;
use azmutex::{Container, Error, ErrorKind};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::on_both_servers;
use crate::service::{key, policy, within};
use crate::support::http::Operation;
use crate::support::peer::{Peer, Received, Reply, answer, response, service_error};
use crate::support::prints;
use crate::support::proxy::FaultProxy;
use crate::support::sas::{self, ACCOUNT, FAR, KEY};
use crate::support::server::Server;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);
/// For calls of which each attempt has 300 ms.
const BOUND: Duration = Duration::from_secs(10);

on_both_servers!(
    every_lock_is_listed_with_its_state,
    a_prefix_chooses_and_starts_anew,
    hundreds_of_locks_take_a_request_for_each_page,
    a_container_that_is_not_there_is_an_error,
    the_right_to_list_is_needed_and_named,
);

/// What is listed, up to the first error.
fn all(container: &Container, prefix: &str) -> azmutex::Result<Vec<(String, LockState)>> {
    let locks = container.locks().prefix(prefix);
    locks.map(|entry| entry.map(|entry| (entry.name().to_owned(), entry.status().state()))).collect()
}

fn names(container: &Container, prefix: &str) -> Vec<String> {
    all(container, prefix).unwrap().into_iter().map(|(name, _)| name).collect()
}

fn every_lock_is_listed_with_its_state(server: &Server) {
    let name = unique("locks");
    let container = server.container(&name);
    let mutex = |name: &str| container.mutex(name).unwrap();
    let _leased = mutex("a leased").acquire(LEASE).unwrap();
    let _forever = mutex("b forever/é+%&<>\"'").acquire_infinite().unwrap();
    let _breaking = mutex("c breaking").acquire(LEASE).unwrap();
    mutex("c breaking").break_lease(Break::AtExpiry).unwrap();
    let _broken = mutex("d broken").acquire(LEASE).unwrap();
    mutex("d broken").break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    container.locker("e free").unwrap().lock().unwrap().unlock().unwrap();
    server.put_blob(&name, "somebody%27s%20%F0%9F%98%80", b"1,2,3", &[("BuildId", "<&>")]);
    let mut expected = vec![
        ("a leased", LockState::Leased),
        ("b forever/é+%&<>\"'", LockState::LeasedForever),
        ("c breaking", LockState::Breaking),
        ("d broken", LockState::Broken),
        ("e free", LockState::Available),
        ("somebody's 😀", LockState::Available),
    ];
    let listed = || all(&container, "").unwrap();
    assert!(
        listed().iter().map(|(name, state)| (name.as_str(), *state)).eq(expected.iter().copied()),
        "{:?}",
        listed()
    );
    let locked = container.locks().filter(|entry| entry.as_ref().unwrap().status().is_locked());
    assert_eq!(locked.count(), 3);
    if !server.skip(LEASE).is_zero() {
        expected[0].1 = LockState::Expired;
        expected[2].1 = LockState::Broken;
        assert!(listed().iter().map(|(name, state)| (name.as_str(), *state)).eq(expected), "{:?}", listed());
    }
    // As a look at each tells it.
    for (name, state) in listed() {
        assert_eq!(mutex(&name).inspect().unwrap().state(), state, "{name}");
    }
}

fn a_prefix_chooses_and_starts_anew(server: &Server) {
    let name = unique("locks");
    server.create_container(&name);
    for blob in ["a", "team%20a/%C3%A9%2B1", "team%20a/%C3%A9%2B2", "team%20b/1"] {
        server.put_blob(&name, blob, b"", &[]);
    }
    let container = server.container(&name);
    assert_eq!(names(&container, "team a/é+"), ["team a/é+1", "team a/é+2"]);
    assert_eq!(names(&container, "team b/1"), ["team b/1"]);
    assert_eq!(names(&container, "Team"), [""; 0]);
    let mut locks = container.locks();
    assert_eq!(locks.next().unwrap().unwrap().name(), "a");
    let mut locks = locks.prefix("team b");
    assert_eq!(locks.next().unwrap().unwrap().name(), "team b/1");
    assert!(locks.next().is_none() && locks.next().is_none());
    for prefix in ["a\\b", "a\nb", &"a".repeat(1025)] {
        let mut locks = container.locks().prefix(prefix);
        assert_eq!(locks.next().unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(locks.next().is_none());
    }
}

fn hundreds_of_locks_take_a_request_for_each_page(server: &Server) {
    let name = unique("locks");
    server.create_container(&name);
    let mut expected: Vec<_> = (0..503).map(|n| format!("job {n:03}+")).collect();
    for blob in &expected {
        let blob = utf8_percent_encode(blob, NON_ALPHANUMERIC).to_string();
        server.put_blob(&name, &blob, b"", &[("n", &blob)]);
    }
    let proxy = FaultProxy::to(server.port());
    let container = Container::from_connection_string(&server.connection_string_via(proxy.port()), &name).unwrap();
    let mut locks = container.locks();
    assert_eq!(proxy.operations(), [], "before the first is asked for");
    let first: Vec<_> = locks.by_ref().take(250).map(|entry| entry.unwrap().name().to_owned()).collect();
    assert_eq!(proxy.operations(), [Operation::List]);
    let rest: Vec<_> = locks.map(|entry| entry.unwrap().name().to_owned()).collect();
    assert_eq!(proxy.operations(), [Operation::List; 3]);
    assert_eq!(proxy.connections(), 1);
    let mut found = [first, rest].concat();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

fn a_container_that_is_not_there_is_an_error(server: &Server) {
    let name = unique("locks");
    let mut locks = server.container(&name).locks();
    let error = locks.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::NotFound, Some(404)), "{error:?}");
    assert_eq!((error.service_code(), error.lock_name()), (Some("ContainerNotFound"), None));
    let text = error.to_string();
    let wanted =
        format!("container {name:?}: could not list the locks: there is no container {name:?}; nothing has been");
    assert!(text.starts_with(&wanted), "{text}");
    assert!(locks.next().is_none());
}

fn the_right_to_list_is_needed_and_named(server: &Server) {
    let name = unique("locks");
    server.create_container(&name);
    server.put_blob(&name, "job", b"", &[]);
    let listed = |sas: &str| {
        let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{name}", server.port());
        let container = Container::builder(&url, Credential::sas(sas).unwrap()).build().unwrap();
        container.locks().next().unwrap().map(|entry| entry.name().to_owned())
    };
    let refused = |sas: &str, text: &str| {
        let error = listed(sas).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let named = "list (`l`) blobs, which of SAS tokens one for the container gives";
    assert_eq!(listed(&sas::of_container(ACCOUNT, KEY, &name, "l", FAR)).unwrap(), "job");
    assert_eq!(listed(&sas::of_account(ACCOUNT, KEY, "l", "c", FAR)).unwrap(), "job");
    refused(
        &sas::of_container(ACCOUNT, KEY, &name, "rcw", FAR),
        &format!("the SAS (`sp=rcw`) lacks the right to {named}"),
    );
    refused(&sas::of_account(ACCOUNT, KEY, "rw", "c", FAR), &format!("the SAS (`sp=rw`) lacks the right to {named}"));
    refused(&sas::of_account(ACCOUNT, KEY, "l", "o", FAR), named);
    refused(&sas::of_blob(&format!("{name}/job"), "r", "", FAR), "is for one blob, and lists none");
}

#[cfg(feature = "entra")]
#[test]
fn a_token_of_entra_id_lists() {
    use azmutex::credential::entra::{AccessToken, TokenError};

    let server = Server::emulator();
    let name = unique("locks");
    server.create_container(&name);
    server.put_blob(&name, "job", b"", &[]);
    let token = server.as_emulator().unwrap().issue_token(LEASE);
    let source = move || Ok::<_, TokenError>(AccessToken::new(&token, LEASE));
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{name}", server.port());
    let container = Container::builder(&url, Credential::token_source(source)).build().unwrap();
    assert_eq!(names(&container, ""), ["job"]);
}

fn at(peer: &Peer, policy: Policy) -> Container {
    Container::builder(&format!("{}/acct/locks", peer.url()), key()).retry(policy).build().unwrap()
}

fn listing(xml: &str) -> Reply {
    Reply::Answer(response(200, &[("content-type", "application/xml")], xml.as_bytes().to_vec()))
}

/// With these blobs, of which some may be more than a name.
fn page(blobs: &[String], next: &str) -> Reply {
    let blobs: String = blobs.iter().map(|blob| format!("<Blob><Name>{blob}</Name><Properties/></Blob>")).collect();
    listing(&format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"))
}

fn marker(received: &Received) -> String {
    let marker = received.request.query("marker").unwrap_or_default();
    percent_decode_str(&marker).decode_utf8().unwrap().into_owned()
}

#[test]
fn a_page_is_asked_for_by_the_marker_as_it_came() {
    const MARKER: &str = "2!8!a+b/c=&marker=x é\t";
    let peer = Peer::start(|received| match &*marker(received) {
        "" => page(&["a".to_owned()], &MARKER.replace('&', "&amp;")),
        _ => page(&["b".to_owned()], ""),
    });
    assert_eq!(names(&at(&peer, policy()), "a b"), ["a", "b"]);
    let received = peer.received();
    let [first, second] = &received[..] else { panic!("{received:?}") };
    assert_eq!(marker(second), MARKER);
    for Received { request, .. } in [first, second] {
        assert_eq!((request.operation(), request.path()), (Operation::List, "/acct/locks"));
        let queries = ["include", "maxresults", "prefix"].map(|name| request.query(name).unwrap());
        assert_eq!(queries, ["metadata", "250", "a%20b"]);
        assert_eq!(request.header("cache-control"), Some("no-cache"));
        assert!(request.header("x-ms-client-request-id").is_some() && request.body.is_empty());
    }
    assert_eq!(first.request.query("marker"), None);
}

/// The answers, the last of them for ever, and what came of that.
fn outcome(replies: Vec<Reply>, policy: Policy) -> (azmutex::Result<Vec<String>>, usize) {
    let asked = AtomicUsize::new(0);
    let peer = Peer::start(move |_| replies[asked.fetch_add(1, Ordering::Relaxed).min(replies.len() - 1)].clone());
    let container = at(&peer, policy);
    let listed = within(BOUND, "a list", move || container.locks().map(|entry| Ok(entry?.name().to_owned())).collect());
    (listed, peer.count(Operation::List))
}

#[test]
fn a_passing_failure_is_tried_again_as_the_policy_says() {
    let well = || page(&["job".to_owned()], "");
    let busy = || service_error(503, "ServerBusy");
    let foreign = || match well() {
        Reply::Answer(mut response) => {
            response.headers.push(("x-ms-client-request-id".to_owned(), "another".to_owned()));
            Reply::Answer(response)
        }
        other => other,
    };
    let cut = || listing("<EnumerationResults><Blobs><Blob>");
    for failure in [busy(), foreign(), cut(), Reply::Close, answer(200, &[])] {
        let (listed, requests) = outcome(vec![failure.clone(), failure.clone(), well()], policy());
        assert_eq!((listed.unwrap(), requests), (vec!["job".to_owned()], 3), "{failure:?}");
        let (listed, requests) = outcome(vec![failure.clone()], policy().retries(1));
        let error = listed.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unexpected), "{error:?}");
        assert_eq!(requests, 2, "{failure:?}");
    }
    let (listed, requests) = outcome(vec![service_error(403, "AuthorizationPermissionMismatch")], policy());
    assert_eq!((listed.unwrap_err().kind(), requests), (ErrorKind::PermissionDenied, 1));
}

/// In bounded memory: that of a process of its own is not looked at, but each attempt ends where a page must.
fn endure(what: &str, reply: Reply, wanted: &str) {
    let policy = policy().attempt_limit(300 * MS).retries(1);
    let start = Instant::now();
    let (listed, requests) = outcome(vec![reply], policy);
    let error = listed.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unexpected), "{what}: {error:?}");
    let text = prints(&error);
    assert!(
        text.contains("container \"locks\": could not list the locks: ") && text.contains(wanted),
        "{what}: {text}"
    );
    assert!(text.len() < 8 * 1024, "{what}: {} bytes of text", text.len());
    assert!(requests <= 2 && start.elapsed() < BOUND, "{what}: {requests} requests");
}

#[test]
fn what_is_no_list_is_an_error_that_says_so() {
    let declared = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;&lol;\">]>";
    let in_a_name = |name: &str| page(&[name.to_owned()], "");
    for (what, reply, wanted) in [
        ("nothing", listing(""), "was cut short"),
        ("a web page", listing("<!DOCTYPE html><h1>Welcome</h1>"), "declares a document type"),
        ("JSON", listing("{\"error\": {}}"), "is no list of blobs"),
        ("an error with 200", listing("<Error><Code>X</Code></Error>"), "is no list of blobs"),
        ("a bomb", listing(&format!("{declared}<EnumerationResults>&lol2;</EnumerationResults>")), "a document type"),
        ("an entity", in_a_name("&lol;"), "has an entity that XML does not know"),
        ("an external entity", in_a_name("&file;"), "has an entity that XML does not know"),
        ("half an element", in_a_name("<a"), "is not well-formed XML"),
        ("a name in two elements", in_a_name("<a>b</a>"), "is not well-formed XML"),
        ("a depth", in_a_name(&"<a>".repeat(1_000_000)), "is not well-formed XML"),
        ("an endless marker", page(&[], &"m".repeat(1_000_000)), "has a marker that is too long"),
        ("more than a page", in_a_name(&"a".repeat(17 * 1024 * 1024)), ""),
    ] {
        endure(what, reply, wanted);
    }
    let head = |framing: &str| format!("HTTP/1.1 200 OK\r\nx-ms-request-id: 1\r\n{framing}\r\n\r\n").into_bytes();
    let endless = |framing, chunk: &str| Reply::Endless { head: head(framing), chunk: chunk.as_bytes().to_vec() };
    endure("an endless body", endless("x: y", &"<a>".repeat(1_000)), "");
    endure("endless chunks", endless("transfer-encoding: chunked", "5\r\n<a/>x\r\n"), "");
    endure("a body that ends early", Reply::Raw([&head("content-length: 100")[..], b"<Enum"].concat()), "");
    endure("silence", Reply::Hang, "no answer");
    endure("a portal", Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec()), "");
}

#[test]
fn a_list_that_does_not_end_is_given_up() {
    let give_up = |markers: fn(usize) -> String, blobs: usize| -> (Error, usize, usize) {
        let asked = AtomicUsize::new(0);
        let peer = Peer::start(move |_| {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            page(&vec!["job".to_owned(); blobs], &markers(n))
        });
        let mut locks = at(&peer, policy()).locks();
        let mut listed = 0;
        let error = loop {
            match locks.next().expect("an end with an error") {
                Ok(_) => listed += 1,
                Err(error) => break error,
            }
        };
        assert!(locks.next().is_none());
        (error, listed, peer.count(Operation::List))
    };
    let (error, listed, requests) = give_up(|_| "again".to_owned(), 2);
    assert_eq!((error.kind(), listed, requests), (ErrorKind::Unexpected, 2, 2));
    assert!(error.to_string().contains("repeats a page of the list for ever"), "{error}");
    let (error, _, requests) = give_up(|n| (n % 5).to_string(), 2);
    assert!(error.to_string().contains("repeats a page of the list for ever") && requests < 20, "{requests}: {error}");
    let (error, listed, requests) = give_up(|n| n.to_string(), 0);
    assert_eq!((error.kind(), listed, requests), (ErrorKind::Unexpected, 0, 1_000));
    assert!(error.to_string().contains("gives a list without an end"), "{error}");
}

#[test]
fn directories_are_no_locks() {
    let blob =
        |name: &str, properties: &str| format!("<Blob><Name>{name}</Name><Properties>{properties}</Properties></Blob>");
    let kind = |kind: &str| format!("<ResourceType>{kind}</ResourceType><LeaseState>available</LeaseState>");
    let blobs = [blob("team", &kind("directory")), blob("team/job", &kind("file"))].concat();
    let (listed, _) = outcome(
        vec![listing(&format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"))],
        policy(),
    );
    assert_eq!(listed.unwrap(), ["team/job"]);
}
