//! One token for a whole program, fetched ahead of its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::credential::entra::{AccessToken, TokenError, TokenSource};
use azmutex::crossbeam_channel::{Receiver, unbounded};
use azmutex::event::Event;
use azmutex::{ErrorKind, LockGuard, Locker};

use super::{LEASE, SECOND, Tokens, authority, by_secret, container, eager, json, mutex, refusal, unauthenticated};
use crate::service::{well, within};
use crate::support::http::Operation;
use crate::support::peer::{Peer, Reply, answer, response, service_error};
use crate::support::{prints, quick};

/// Short for a token, and long for a machine that is busy with other tests.
const LIFE: Duration = Duration::from_secs(4);

/// A source that is a type of its own.
struct Named<F>(F);

impl<F: Fn() -> Result<AccessToken, TokenError> + Send + Sync + 'static> TokenSource for Named<F> {
    fn fetch(&self) -> Result<AccessToken, TokenError> {
        self.0()
    }

    fn name(&self) -> String {
        "the vault".to_owned()
    }
}

/// Holds the lock and renews it often; with all that goes wrong with that.
fn held(storage: &Peer, credential: Credential) -> (LockGuard, azmutex::crossbeam_channel::Receiver<Event>) {
    let (tell, events) = unbounded();
    let failures = move |event| {
        if matches!(event, Event::RenewalFailed { .. } | Event::Lost { .. }) {
            let _ = tell.send(event);
        }
    };
    let locker = quick(&container(storage, credential, eager()), "job").renew_every(SECOND / 5).on_event(failures);
    (locker.build().unwrap().lock().unwrap(), events)
}

// Scenario 27.
#[test]
fn a_lock_is_held_over_several_tokens() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let authority = authority(move |_| source.answer(LIFE));
    let (guard, failures) = held(&storage, by_secret(&authority));
    // Not when a token is half-way through its life: one that has just come would not be used.
    thread::sleep(9 * LIFE / 4);
    guard.unlock().unwrap();
    assert_eq!(failures.try_iter().map(|event| event.to_string()).collect::<Vec<_>>(), [""; 0]);
    assert!((4..=8).contains(&tokens.issued()), "{} tokens in two lives and a quarter", tokens.issued());
    let used: std::collections::HashSet<_> = storage
        .received()
        .iter()
        .map(|received| received.request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(used.len(), tokens.issued(), "each is used");
}

// Scenario 27.
#[test]
fn an_outage_of_the_token_endpoint_that_outlasts_the_token_but_not_the_lease_is_survived() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let down = Arc::new(AtomicBool::new(false));
    let (source, is_down) = (tokens.clone(), down.clone());
    let authority = authority(move |received| match received.number % 3 {
        _ if !is_down.load(Ordering::Relaxed) => source.answer(LIFE),
        0 => json(503, r#"{"error":"temporarily_unavailable"}"#),
        1 => Reply::Reset,
        _ => Reply::Close,
    });
    let (guard, failures) = held(&storage, by_secret(&authority));
    down.store(true, Ordering::Relaxed);
    // The lock is good for 12.7 s more from its last renewal on, with the token's last breath.
    thread::sleep(LIFE + 5 * SECOND);
    guard.ensure_held().unwrap();
    down.store(false, Ordering::Relaxed);
    let failed: Vec<_> = failures.try_iter().map(|event| event.to_string()).collect();
    assert!(!failed.is_empty() && failed.iter().all(|event| event.contains("no token from")), "{failed:?}");
    thread::sleep(5 * SECOND);
    assert!(guard.remaining() > LEASE - 5 * SECOND, "it is renewed again: {:?}", guard.remaining());
    guard.unlock().unwrap();
}

/// A lock, and each time that it tells of its credential: when, and what.
fn listening(storage: &Peer, credential: Credential, lock: &str) -> (Locker, Receiver<(Instant, String)>) {
    let (tell, told) = unbounded();
    let tell = move |event: Event| {
        let line = event.to_string();
        if line.contains("the token at hand is good for") {
            let _ = tell.send((Instant::now(), line));
        }
    };
    let locker = quick(&container(storage, credential, eager()), lock).renew_every(SECOND / 5).on_event(tell);
    (locker.build().unwrap(), told)
}

#[test]
fn the_first_renewal_of_a_token_that_fails_is_told_to_each_lock_once() {
    const LIFE: Duration = Duration::from_secs(10);
    let tokens = Tokens::default();
    // Somebody has the lock that is waited for, and keeps it.
    let storage = Peer::start(|received| {
        let request = &received.request;
        match request.operation() {
            Operation::Acquire if request.path().ends_with("/taken") => service_error(409, "LeaseAlreadyPresent"),
            Operation::Look => answer(200, &[("x-ms-lease-state", "leased"), ("x-ms-lease-status", "locked")]),
            _ => well(received),
        }
    });
    let (source, begin) = (tokens, Instant::now());
    // It works at first, then not, then again, and then it refuses for good.
    let authority = authority(move |_| match begin.elapsed().as_secs() {
        0..4 | 7..11 => source.answer(LIFE),
        4..7 => json(503, r#"{"error":"temporarily_unavailable"}"#),
        _ => refusal(401, "invalid_client", 7_000_222, "The provided client secret keys are expired."),
    });
    let credential = by_secret(&authority);
    let (held, of_held) = listening(&storage, credential.clone(), "held");
    let (other, of_other) = listening(&storage, credential.clone(), "other");
    let (waiting, of_waiting) = listening(&storage, credential.clone(), "taken");
    let guards = [held.lock().unwrap(), other.lock().unwrap()];
    // By then, the second token is still good.
    let end = begin + 15 * SECOND;
    let left = move || end.saturating_duration_since(Instant::now());
    let waiter = thread::spawn(move || waiting.lock_timeout(left()).map(drop));
    thread::sleep(left());
    drop(guards);
    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    for (lock, told) in [("held", of_held), ("other", of_other), ("taken", of_waiting)] {
        let told: Vec<_> = told.try_iter().map(|(at, line)| (at - begin, line)).collect();
        assert_eq!(told.len(), 2, "{lock}: {told:?}");
        // The token at hand was fetched at the beginning, and its successor at 7 to 9 s.
        for ((at, line), (since, word)) in told.iter().zip([(5, "temporarily_unavailable"), (12, "AADSTS7000222")]) {
            assert!(*at >= since * SECOND - SECOND / 2 && *at < (since + 4) * SECOND, "{at:?}: {line}");
            let (_, left) = line.split_once("is good for ").unwrap();
            let left: u32 = left.split_once("s, trying").unwrap().0.parse().unwrap();
            assert!((2..=5).contains(&left), "{line}");
            for word in [lock, word, "no token from the service principal"] {
                assert!(line.contains(word), "{word}: {line}");
            }
        }
    }
}

#[test]
fn all_clones_and_locks_share_one_fetch() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let authority = authority(move |_| Reply::After(SECOND / 5, Box::new(source.answer(3600 * SECOND))));
    let credential = by_secret(&authority);
    let threads: Vec<_> = (0..20)
        .map(|i| {
            let container = container(&storage, credential.clone(), eager());
            thread::spawn(move || container.mutex(&format!("job-{i}")).unwrap().acquire(LEASE).map(drop))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(authority.received().len(), 1);
}

#[test]
fn a_refused_token_that_looks_fresh_is_replaced_at_once() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let authority = authority(move |_| source.answer(3600 * SECOND));
    let mutex = mutex(&storage, by_secret(&authority));
    let mut lease = mutex.acquire(LEASE).unwrap();
    tokens.revoke_all();
    mutex.renew(&mut lease).unwrap();
    tokens.revoke_all();
    assert_eq!(storage.count(Operation::Renew), 2);
    assert_eq!(tokens.issued(), 2);
    // The new one was the answer to a refusal, so another refusal is an answer.
    let error = mutex.renew(&mut lease).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
    assert_eq!(tokens.issued(), 2);
    assert!(lease.is_held());
}

#[test]
fn a_service_that_takes_no_token_is_asked_twice() {
    for (code, reply) in [(401, unauthenticated()), (403, service_error(403, "AuthenticationFailed"))] {
        let tokens = Tokens::default();
        let storage = Peer::start(move |_| reply.clone());
        let source = tokens.clone();
        let authority = authority(move |_| source.answer(3600 * SECOND));
        let error = mutex(&storage, by_secret(&authority)).acquire(LEASE).unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::Credential, Some(code)), "{error:?}");
        assert_eq!((storage.received().len(), tokens.issued()), (2, 2));
        let text = prints(&error);
        assert!(!text.contains("Kn0wnToNone"), "{text}");
        if code == 401 {
            assert!(text.contains("of tenant 72f988bf-0000-0000-0000-000000000000"), "{text}");
            assert!(text.contains("Lifetime validation failed"), "{text}");
        }
    }
}

#[test]
fn an_identity_without_the_role_is_told_its_name() {
    let tokens = Tokens::default();
    let storage = Peer::start(|_| service_error(403, "AuthorizationPermissionMismatch"));
    let source = tokens.clone();
    let authority = authority(move |_| source.answer(3600 * SECOND));
    let error = mutex(&storage, by_secret(&authority)).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("Storage Blob Data Contributor"), "{error}");
    assert_eq!((storage.received().len(), tokens.issued()), (1, 1));
}

#[test]
fn a_source_that_is_down_is_waited_for_and_one_that_refuses_is_not() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let source = tokens.clone();
    let login = authority(move |received| match received.number {
        0 => json(503, "{}"),
        1 => json(429, r#"{"error":"throttled"}"#),
        _ => source.answer(3600 * SECOND),
    });
    let locker = quick(&container(&storage, by_secret(&login), eager()), "job").build().unwrap();
    within(30 * SECOND, "lock", move || locker.lock()).unwrap().unlock().unwrap();
    assert_eq!(login.received().len(), 3);

    let login = authority(|_| refusal(401, "invalid_client", 7_000_215, "Invalid client secret provided."));
    let locker = quick(&container(&storage, by_secret(&login), eager()), "job").build().unwrap();
    let before = Instant::now();
    let error = locker.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
    assert!(before.elapsed() < 10 * SECOND);
    assert_eq!(login.received().len(), 1);
    for word in ["service principal", super::CLIENT, "invalid_client", "AADSTS7000215", &login.url()] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_source_that_stays_down_is_unavailable() {
    let storage = Peer::start(well);
    let login =
        authority(|_| json(503, r#"{"error":"temporarily_unavailable","error_description":"AADSTS90033: busy"}"#));
    let policy = eager().patience(SECOND);
    let locker = quick(&container(&storage, by_secret(&login), policy), "job").build().unwrap();
    for error in [locker.try_lock().unwrap_err(), locker.lock().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("AADSTS90033"), "{error:?}");
    }
    let error = locker.lock_timeout(SECOND / 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(format!("{error:?}").contains("AADSTS90033"), "{error:?}");
    assert!(storage.received().is_empty());
}

#[test]
fn a_source_that_says_nothing_any_more_is_told_of_by_what_it_said() {
    let storage = Peer::start(well);
    let login = authority(|received| match received.number {
        0 => json(503, r#"{"error":"temporarily_unavailable","error_description":"AADSTS90033: busy"}"#),
        _ => Reply::Hang,
    });
    let locker = quick(&container(&storage, by_secret(&login), eager()), "job").build().unwrap();
    // The first wait hears it, and goes on to the silence; the second one finds nothing else.
    for _ in 0..2 {
        let error = locker.lock_timeout(2 * SECOND).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(format!("{error:?}").contains("AADSTS90033"), "{error:?}");
    }
    assert_eq!(login.received().len(), 2);
}

#[test]
fn a_source_that_hangs_takes_no_more_than_the_request_has() {
    let storage = Peer::start(well);
    let login = authority(|_| Reply::Hang);
    let policy = eager().attempt_limit(SECOND / 2).retries(1);
    let mutex = container(&storage, by_secret(&login), policy).mutex("job").unwrap();
    let before = Instant::now();
    let error = mutex.acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(before.elapsed() < 4 * SECOND, "{:?}", before.elapsed());
    assert_eq!(login.received().len(), 1, "one fetch at a time");
}

#[test]
fn a_program_s_own_source_is_named() {
    let storage = Peer::start(well);
    let fails = |error: TokenError| mutex(&storage, Credential::token_source(Named(move || Err(error.clone()))));
    let error = fails(TokenError::definite("sealed")).acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential);
    assert_eq!(error.to_string(), r#"lock "job": could not acquire the lease: no token from the vault: sealed"#);
    let error = fails(TokenError::passing(std::io::Error::other("closed").to_string()).retry_after(3 * SECOND));
    let error = error.acquire(LEASE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[test]
fn a_held_lock_outlives_a_source_that_refuses() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let asked = AtomicUsize::new(0);
    let source = tokens.clone();
    let authority = authority(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => source.answer(2 * SECOND),
        1 | 2 => refusal(401, "invalid_client", 7_000_222, "The provided client secret keys are expired."),
        _ => source.answer(3600 * SECOND),
    });
    let (guard, _) = held(&storage, by_secret(&authority));
    thread::sleep(6 * SECOND);
    assert!(guard.remaining() > LEASE - 5 * SECOND, "{:?}", guard.remaining());
    guard.unlock().unwrap();
}

#[test]
fn tokens_go_nowhere_without_tls() {
    let source = || -> Result<AccessToken, TokenError> { Ok(AccessToken::new("secret", LEASE)) };
    let builder = |url| azmutex::Container::builder(url, Credential::token_source(source));
    for url in ["http://10.0.0.1/me/locks", "http://storage.test/me/locks"] {
        let error = builder(url).allow_http().build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    }
    builder("http://127.0.0.1:1/me/locks").build().unwrap();
}

#[test]
fn a_token_that_a_server_sends_back_is_not_shown() {
    let storage = Peer::start(|received| {
        let token = received.request.header("authorization").unwrap().to_owned();
        let body = format!("<AuthenticationErrorDetail>{token}</AuthenticationErrorDetail>");
        let headers = [("x-ms-error-code", "AuthenticationFailed"), ("x-ms-request-id", &*token)];
        Reply::Answer(response(403, &headers, body.into_bytes()))
    });
    let source = || -> Result<AccessToken, TokenError> { Ok(AccessToken::new("ey.Kn0wnToNone.x", LEASE)) };
    let mutex = mutex(&storage, Credential::token_source(source));
    let error = mutex.acquire(LEASE).unwrap_err();
    let text = format!("{} {mutex:?}", prints(&error));
    assert!(text.contains("<redacted>") && !text.contains("ey.Kn0wnToNone.x"), "{text}");
}

#[test]
fn a_redirect_takes_no_token_along() {
    let elsewhere = Peer::start(well);
    let target = format!("{}/acct/locks/job", elsewhere.url());
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let storage = Peer::start(move |_| answer(status, &[("location", &target)]));
        let source = || -> Result<AccessToken, TokenError> { Ok(AccessToken::new("secret", LEASE)) };
        mutex(&storage, Credential::token_source(source)).acquire(LEASE).unwrap_err();
    }
    assert_eq!(elsewhere.connections(), 0);
}
