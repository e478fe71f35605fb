//! Between the program and the service: a proxy. Scripted ones on loopback, which answer for a name that there is not;
//! as a proxy comes from the environment, each case is a process of its own.

use std::time::Duration;

use azmutex::lease::Break;
use azmutex::preflight::{Status, Subject};
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Container, Error, ErrorKind, Locker};

use crate::hostile::nobody;
use crate::service::{key, well, within};
#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
use crate::support::azurite::azurite_https;
use crate::support::peer::{Peer, Received, Reply, answer};
use crate::support::{prints, process};

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_millis(300);
/// For two attempts under [`LIMIT`] and a pause, on a busy machine.
const BOUND: Duration = Duration::from_secs(4);
const HOST: &str = "storage.example";
const PASSWORD: &str = "Kn0wnToNone";
/// Which part of a test a process is to play.
const PART: &str = "AZMUTEX_TEST_PART";
/// Whether `http_proxy` and `HTTP_PROXY` are two variables. On Windows they are one, which is told as it was asked for.
const TWO_SPELLINGS: bool = cfg!(not(windows));

/// Whether that is told, but for the spelling of variables where that means nothing.
fn is_told(text: &str, part: &str) -> bool {
    if TWO_SPELLINGS { text.contains(part) } else { text.to_ascii_lowercase().contains(&part.to_ascii_lowercase()) }
}

fn policy() -> Policy {
    Policy::default().attempt_limit(LIMIT).retries(1).first_pause(MS).longest_pause(2 * MS).patience(2 * LIMIT)
}

fn container(policy: Policy) -> azmutex::Result<Container> {
    Container::builder(&format!("http://{HOST}/locks"), key()).retry(policy).allow_http().build()
}

fn mutex() -> AzureMutex {
    container(policy()).unwrap().mutex("job").unwrap()
}

/// A proxy, and all that it leads to.
fn proxy(connect: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::start(move |received| if received.request.method == "CONNECT" { connect(received) } else { well(received) })
}

fn connected(_: &Received) -> Reply {
    answer(200, &[])
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn again<T: Fn()>(test: T, part: &str) -> process::Again {
    process::again(test).without_credentials().env(PART, part)
}

/// Asks for something that cannot be had, and says why it cannot.
type Call = fn(AzureMutex) -> Option<Error>;

/// All that can be asked of a lock.
fn calls() -> Vec<(&'static str, Call)> {
    vec![
        ("try_lock", |mutex| Locker::new(mutex).try_lock().err()),
        ("lock", |mutex| Locker::new(mutex).lock().err()),
        ("lock_timeout", |mutex| Locker::new(mutex).lock_timeout(LIMIT).err()),
        ("acquire", |mutex| mutex.acquire(LEASE).err()),
        ("inspect", |mutex| mutex.inspect().err()),
        ("break_lease", |mutex| mutex.break_lease(Break::default()).err()),
        ("preflight", |mutex| {
            let report = Locker::new(mutex).preflight();
            assert!(!report.can_lock(), "{report}");
            report.obstacle().and_then(|check| check.error()).cloned()
        }),
    ]
}

// Scenario 35. Whatever the proxy does with the request for a connection.
#[test]
fn a_call_ends_within_its_limit_whatever_the_proxy_does() {
    if let Some(what) = process::variable(PART) {
        return endure(&what);
    }
    let drip = |text: &str| Reply::Trickle { bytes: text.as_bytes().to_vec(), every: 20 * MS };
    let head = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(30_000));
    std::thread::scope(|scope| {
        for (what, reply) in [
            ("drips", drip(&head)),
            ("drips an answer without an end of lines", drip(&"\r\n".repeat(10_000))),
            ("drips a refusal", drip(&head.replace("200 OK", "407 No"))),
            ("says nothing", Reply::Hang),
            ("says half", Reply::RawKeep(b"HTTP/1.1 20".to_vec())),
            ("says too much", Reply::Endless { head: head.clone().into_bytes(), chunk: vec![b'a'; 4096] }),
            ("hangs up", Reply::Close),
            ("resets", Reply::Reset),
            ("speaks something else", raw("SSH-2.0-OpenSSH_9.6\r\n\r\n")),
            ("answers for the service", raw("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nx-ms-request-id: 1\r\n\r\n")),
            ("connects, and says nothing", Reply::RawKeep(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())),
        ] {
            scope.spawn(move || {
                let proxy = proxy(move |_| reply.clone());
                let again = again(a_call_ends_within_its_limit_whatever_the_proxy_does, what);
                again.env("http_proxy", &proxy.url()).env("URL", &proxy.url()).passes();
            });
        }
    });
}

fn endure(what: &str) {
    let url = process::variable("URL").unwrap();
    #[cfg(target_os = "linux")]
    let before = descriptors();
    for (name, call) in calls() {
        let what = format!("{name}, by a proxy that {what}");
        let error = within(BOUND, &what, move || call(mutex())).unwrap_or_else(|| panic!("{what}: Ok"));
        let text = prints(&error);
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut), "{what}: {text}");
        assert!(text.contains(&format!("the proxy {url}")), "{what}: {text}");
        assert!(!text.contains("account"), "{what}: {text}");
    }
    #[cfg(target_os = "linux")]
    {
        let start = std::time::Instant::now();
        while !process::threads().is_empty() || descriptors() > before {
            assert!(start.elapsed() < BOUND, "{what}: {:?}, {} descriptors", process::threads(), descriptors());
            std::thread::sleep(5 * MS);
        }
    }
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_refusal_names_the_proxy_and_not_what_is_behind_it() {
    if let Some(expected) = process::variable(PART) {
        let error = within(BOUND, &expected, || mutex().inspect()).unwrap_err();
        let text = prints(&error);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
        for part in expected.split(" & ").chain(["http_proxy"]) {
            assert!(text.contains(part), "{part}: {text}");
        }
        for word in [PASSWORD, "user", "account", HOST] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        return;
    }
    let told = |port: u16, expected: &str| {
        let again =
            again(a_refusal_names_the_proxy_and_not_what_is_behind_it, &format!("127.0.0.1:{port} & {expected}"));
        again.env("http_proxy", &format!("http://user:{PASSWORD}@127.0.0.1:{port}")).passes();
    };
    for (status, expected) in [(407, "name and password"), (403, "does not allow"), (502, "502"), (302, "302")] {
        let proxy = proxy(move |_| answer(status, &[]));
        told(proxy.port(), expected);
    }
    let (_socket, port) = nobody();
    told(port, "nothing listens");

    let again = again(a_refusal_names_the_proxy_and_not_what_is_behind_it, "http://proxy.invalid:8080 & resolved");
    again.env("http_proxy", "proxy.invalid:8080").passes();
}

#[test]
fn a_lock_is_had_through_a_proxy_with_its_password() {
    if process::variable(PART).is_some() {
        let container = container(Policy::default()).unwrap();
        for _ in 0..3 {
            container.locker("job").unwrap().lock().unwrap().unlock().unwrap();
        }
        return;
    }
    let proxy = proxy(connected);
    let again = again(a_lock_is_had_through_a_proxy_with_its_password, "");
    again.env("HTTP_PROXY", &format!("user:{PASSWORD}%21@127.0.0.1:{}", proxy.port())).passes();
    let received = proxy.received();
    let connects: Vec<_> = received.iter().filter(|received| received.request.method == "CONNECT").collect();
    assert_eq!(connects.len(), 1, "{connects:?}");
    let request = &connects[0].request;
    assert_eq!(request.target, format!("{HOST}:80"));
    assert_eq!(request.header("host"), Some(&*format!("{HOST}:80")));
    // user:Kn0wnToNone!
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpLbjB3blRvTm9uZSE="));
    assert!(received[1..].iter().all(|received| received.request.header("proxy-authorization").is_none()));
}

/// What is asked of whom: the first of these proxies, the second, or neither.
#[test]
fn what_the_environment_says_is_what_is_done() {
    if let Some(expected) = process::variable(PART) {
        let result = within(BOUND, &expected, || container(policy())?.mutex("job")?.inspect());
        let said = match &result {
            Ok(_) => "through".to_owned(),
            Err(error) if error.kind() == ErrorKind::InvalidInput => prints(error),
            Err(error) => format!("direct: {}", prints(error)),
        };
        assert!(is_told(&said, &expected) && !said.contains(PASSWORD), "{expected}: {said}");
        return;
    }
    let (first, second) = (proxy(connected), proxy(connected));
    for (variables, expected, asked) in [
        (&[("http_proxy", "1"), ("HTTP_PROXY", "2")][..], "through", 1),
        (&[("HTTP_PROXY", "2"), ("all_proxy", "1")], "through", 2),
        (&[("all_proxy", "1"), ("ALL_PROXY", "2")], "through", 1),
        (&[("ALL_PROXY", "2"), ("https_proxy", "1"), ("HTTPS_PROXY", "1")], "through", 2),
        (&[("http_proxy", ""), ("all_proxy", "2")], "through", 2),
        (&[("https_proxy", "1"), ("HTTPS_PROXY", "1")], "direct", 0),
        (&[("http_proxy", "1"), ("no_proxy", "a.example, example")], "direct", 0),
        (&[("http_proxy", "1"), ("NO_PROXY", ".storage.example:80")], "direct", 0),
        (&[("http_proxy", "1"), ("NO_PROXY", "storage.example:8080,age.example")], "through", 1),
        // Only what would be used has to be right.
        (&[("http_proxy", "1"), ("https_proxy", "socks5://127.0.0.1"), ("ALL_PROXY", "::")], "through", 1),
        (&[("http_proxy", "socks5://127.0.0.1"), ("NO_PROXY", "*")], "direct", 0),
        (&[("http_proxy", "socks5h://user:Kn0wnToNone@127.0.0.1"), ("HTTP_PROXY", "1")], "http_proxy names a SOCKS", 0),
        (&[("ALL_PROXY", "http://user:Kn0wnToNone@:/")], "ALL_PROXY", 0),
    ] {
        let mut names: Vec<_> = variables.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.dedup();
        if names.len() < variables.len() && !TWO_SPELLINGS {
            continue;
        }
        let mut again = again(what_the_environment_says_is_what_is_done, expected);
        for (name, value) in variables {
            let value = match *value {
                "1" => first.url(),
                "2" => second.url(),
                other => other.to_owned(),
            };
            again = again.env(name, &value);
        }
        again.passes();
        let counts = [&first, &second].map(|proxy| proxy.received().len());
        assert_eq!(counts.map(|count| count > 0), [asked == 1, asked == 2], "{variables:?}");
        first.forget();
        second.forget();
    }
}

#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
#[test]
fn https_goes_through_the_proxy_for_https() {
    if process::variable(PART).is_some() {
        let url = format!("https://{HOST}/locks");
        let container = Container::builder(&url, key()).retry(policy()).build().unwrap();
        let error = within(BOUND, "https", move || container.mutex("job").unwrap().inspect()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", prints(&error));
        return;
    }
    let (right, wrong) = (proxy(connected), proxy(connected));
    let again = again(https_goes_through_the_proxy_for_https, "");
    again.env("https_proxy", &right.url()).env("http_proxy", &wrong.url()).env("all_proxy", &wrong.url()).passes();
    let targets: Vec<_> = right.received().into_iter().map(|received| received.request.target).collect();
    assert!(!targets.is_empty() && targets.iter().all(|target| *target == format!("{HOST}:443")), "{targets:?}");
    assert_eq!(wrong.connections(), 0);
}

/// This machine is reached directly, whatever the environment says.
#[test]
fn loopback_needs_no_proxy() {
    const STORE: &str = "AZMUTEX_TEST_STORE_URL";
    if let Some(store) = process::variable(STORE) {
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("{}/acct/locks", store.replace("127.0.0.1", host));
            let container = Container::builder(&url, key()).build().unwrap();
            container.locker("job").unwrap().lock().unwrap().unlock().unwrap();
        }
        return;
    }
    let (proxy, store) = (proxy(connected), Peer::start(well));
    let again = again(loopback_needs_no_proxy, "").env(STORE, &store.url());
    again.env("http_proxy", &proxy.url()).env("ALL_PROXY", "socks5://127.0.0.1").passes();
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_preflight_says_which_proxy_is_used() {
    if let Some(expected) = process::variable(PART) {
        let report = within(BOUND, "preflight", || Locker::new(mutex()).preflight());
        let proxy = report.check(Subject::Proxy).unwrap();
        assert!(is_told(&proxy.to_string(), &expected), "{expected}: {report}");
        assert!(!report.to_string().contains(PASSWORD), "{report}");
        assert_eq!(report.can_lock(), expected.contains("(HTTP_PROXY)"), "{report}");
        if proxy.status() == Status::Failed {
            assert_eq!(report.obstacle().unwrap().subject(), Subject::Proxy, "{report}");
            assert_eq!(report.check(Subject::Endpoint).unwrap().status(), Status::NotTried, "{report}");
        }
        return;
    }
    let (good, bad) = (proxy(connected), proxy(|_| answer(403, &[])));
    let preflight = |expected: &str| again(a_preflight_says_which_proxy_is_used, expected);
    let with_password = |peer: &Peer| format!("http://user:{PASSWORD}@127.0.0.1:{}", peer.port());
    preflight(&format!("ok         proxy       {} (HTTP_PROXY)", good.url()))
        .env("HTTP_PROXY", &with_password(&good))
        .passes();
    preflight("ok         proxy       none").passes();
    preflight("FAILED     proxy").env("http_proxy", &with_password(&bad)).passes();
    preflight(&format!("the proxy {} (ALL_PROXY) does not allow", bad.url()))
        .env("ALL_PROXY", &with_password(&bad))
        .passes();
}

/// With TLS as far as the proxy, whose certificate nobody vouches for.
#[cfg(any(feature = "rustls", feature = "platform-verifier"))]
#[test]
fn a_proxy_that_is_spoken_to_with_tls_has_to_be_trusted() {
    if let Some(url) = process::variable(PART) {
        let patient = container(policy().attempt_limit(Duration::from_secs(10))).unwrap().mutex("job").unwrap();
        let (tell, told) = azmutex::crossbeam_channel::unbounded();
        let locker = Locker::builder(patient).on_event(move |event| drop(tell.send(event.to_string())));
        let locker = locker.build().unwrap();
        let error = within(Duration::from_secs(30), "a proxy with TLS", move || locker.try_lock()).unwrap_err();
        assert_eq!(told.iter().collect::<Vec<_>>(), [""; 0], "nothing is tried again");
        let text = prints(&error);
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{text}");
        assert!(text.contains(&format!("no trusted TLS connection to the proxy {url}")), "{text}");
        assert!(text.contains("certificate") && !text.contains(PASSWORD), "{text}");
        return;
    }
    let Some(azurite) = azurite_https() else { return };
    let place = format!("localhost:{}", azurite.port());
    let again = again(a_proxy_that_is_spoken_to_with_tls_has_to_be_trusted, &format!("https://{place}"));
    again.env("http_proxy", &format!("https://user:{PASSWORD}@{place}")).passes();
}
