//! From the login to the lock and back, with services that know for how long a token is good: the emulator, over http
//! on this machine, and Azurite, over https.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::credential::entra::{AccessToken, TokenError};
use azmutex::emulator::{Emulator, Fault, Operation};
use azmutex::event::Event;
use azmutex::lease::{Break, LockState, Lost};
use azmutex::{Container, ErrorKind, LockGuard};

use super::{LEASE, MS, SECOND, authority, by_secret, eager, form, json};
use crate::on_both_servers;
use crate::support::peer::{Peer, Reply};
use crate::support::sas::{ACCOUNT, KEY};
use crate::support::{quick, unique};

const HOUR: Duration = Duration::from_secs(3600);
/// Short for a token, and long for a machine that is busy with other tests.
const LIFE: Duration = Duration::from_secs(4);

/// A storage service that takes tokens, and who issues them.
struct Site {
    /// Of the account.
    url: String,
    container: String,
    issue: Arc<dyn Fn(Duration) -> String + Send + Sync>,
}

impl Site {
    fn emulator() -> Site {
        let emulator = Arc::new(Emulator::start().unwrap());
        Site {
            url: emulator.url(),
            container: unique("bearer"),
            issue: Arc::new(move |life| emulator.issue_token(life)),
        }
    }

    fn container(&self, credential: Credential) -> Container {
        Container::builder(&format!("{}/{}", self.url, self.container), credential).retry(eager()).build().unwrap()
    }

    /// For whoever has the account's key.
    fn with_key(&self) -> Container {
        self.container(Credential::shared_key(ACCOUNT, KEY).unwrap())
    }
}

on_both_servers!(
    crate::entra::end_to_end::on_the_emulator,
    #[cfg(all(feature = "platform-verifier", target_os = "linux"))]
    crate::entra::end_to_end::azurite::run;
    a_lock_is_taken_renewed_broken_and_released,
    a_token_that_ends_early_is_replaced_once,
    a_lock_is_held_over_several_lives_of_a_token,
    an_outage_shorter_than_the_lease_is_survived,
    a_login_that_hangs_for_less_than_the_lease_is_survived,
    an_outage_longer_than_the_lease_is_a_loss_at_the_deadline,
    a_login_that_hangs_delays_no_renewal,
);

fn on_the_emulator(_: fn(), test: fn(&Site)) {
    test(&Site::emulator());
}

#[cfg(all(feature = "platform-verifier", target_os = "linux"))]
mod azurite {
    use std::time::{SystemTime, UNIX_EPOCH};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::support::azurite::{CERTIFICATE, azurite_https};
    use crate::support::peer::answer;
    use crate::support::process::{again, variable};

    const PORT: &str = "AZMUTEX_TEST_OAUTH_PORT";

    /// In a process of its own, to which the platform vouches for Azurite's certificate, and names a proxy that is to
    /// see nothing.
    pub(in crate::entra) fn run<T: Fn()>(alone: T, test: fn(&Site)) {
        if let Some(port) = variable(PORT) {
            return test(&site(&port));
        }
        let Some(azurite) = azurite_https() else { return };
        let proxy = Peer::start(|_| answer(502, &[]));
        let mut again = again(alone).without_credentials();
        for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            again = again.env(variable, &proxy.url());
        }
        again.env(PORT, &azurite.port().to_string()).env("SSL_CERT_FILE", CERTIFICATE).passes();
        assert_eq!(proxy.connections(), 0);
    }

    fn site(port: &str) -> Site {
        let url = format!("https://localhost:{port}/{ACCOUNT}");
        Site { url, container: unique("bearer"), issue: Arc::new(jwt) }
    }

    /// Azurite looks at all of a token but its signature.
    fn jwt(life: Duration) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (begin, end) = (now.as_secs(), (now + life).as_secs_f64());
        let claims = format!(
            r#"{{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/{}/","iat":{begin},"nbf":{begin},
            "exp":{end:.3},"jti":"{id}"}}"#,
            super::super::TENANT
        );
        let [header, claims] = [r#"{"alg":"none","typ":"JWT"}"#, &*claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.")
    }
}

/// A token endpoint, which can be out of order.
struct Login {
    authority: Peer,
    issued: Arc<AtomicUsize>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

#[derive(Copy, Clone)]
enum Trouble {
    Down,
    Hangs,
}

impl Login {
    /// Its tokens are good for `life`, and it says so.
    fn of(site: &Site, life: Duration) -> Login {
        Login::start(site, move |_| (life, life))
    }

    /// `lives` gives a token's life, by its number, and what is told of it.
    fn start(site: &Site, lives: impl Fn(usize) -> (Duration, Duration) + Send + Sync + 'static) -> Login {
        let issued = Arc::new(AtomicUsize::new(0));
        let trouble = Arc::new(Mutex::new(None));
        let (issue, counter, now) = (site.issue.clone(), issued.clone(), trouble.clone());
        let authority = authority(move |received| {
            let now = *now.lock().unwrap();
            match now {
                None => {
                    let (life, told) = lives(counter.fetch_add(1, Ordering::Relaxed));
                    let (token, told) = (issue(life), told.as_secs());
                    assert_eq!(form(&received.request)["client_secret"], super::SECRET);
                    json(200, &format!(r#"{{"token_type":"Bearer","expires_in":{told},"access_token":"{token}"}}"#))
                }
                Some(Trouble::Hangs) => Reply::Hang,
                Some(Trouble::Down) if received.number.is_multiple_of(3) => {
                    json(503, r#"{"error":"temporarily_unavailable"}"#)
                }
                Some(Trouble::Down) if received.number % 3 == 1 => Reply::Reset,
                Some(Trouble::Down) => Reply::Close,
            }
        });
        Login { authority, issued, trouble }
    }

    fn has(&self, trouble: impl Into<Option<Trouble>>) {
        *self.trouble.lock().unwrap() = trouble.into();
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }

    fn credential(&self) -> Credential {
        by_secret(&self.authority)
    }
}

/// What was told of a lock, and when.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, Event)>>>);

impl Log {
    /// Waits for what is to come in any case, however busy the machine is.
    fn wait_for(&self, what: &str, has_come: impl Fn() -> bool) {
        let end = Instant::now() + 60 * SECOND;
        while !has_come() {
            assert!(Instant::now() < end, "{what}: {:?}", self.failures());
            thread::sleep(10 * MS);
        }
    }

    fn failures(&self) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let failed = |event: &&(_, Event)| matches!(event.1, Event::RenewalFailed { .. } | Event::Lost { .. });
        log.iter().filter(failed).map(|(_, event)| event.to_string()).collect()
    }

    /// When the lock was obtained and renewed, and until when it was then.
    fn renewals(&self) -> Vec<(Instant, Instant)> {
        let log = self.0.lock().unwrap();
        let ours = |(at, event): &(Instant, Event)| match event {
            Event::Acquired { left, .. } | Event::Renewed { left, .. } => Some((*at, *at + *left)),
            _ => None,
        };
        log.iter().filter_map(ours).collect()
    }
}

/// The lock, renewed often, and what is told of it.
fn held(container: &Container) -> (LockGuard, Log) {
    let log = Log::default();
    let events = log.clone();
    let locker = quick(container, "job").renew_every(SECOND / 5);
    let locker = locker.on_event(move |event| events.0.lock().unwrap().push((Instant::now(), event)));
    (locker.build().unwrap().lock().unwrap(), log)
}

fn a_lock_is_taken_renewed_broken_and_released(site: &Site) {
    let login = Login::of(site, HOUR);
    let container = site.container(login.credential());
    let (guard, log) = held(&container);
    let mutex = container.mutex("job").unwrap();
    assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(mutex.inspect().unwrap().state(), LockState::Leased);
    thread::sleep(SECOND);
    guard.unlock().unwrap();
    assert!(log.renewals().len() > 1 && log.failures().is_empty(), "{:?}", log.failures());

    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.renew(&mut lease).unwrap();
    mutex.break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    assert_eq!(mutex.renew(&mut lease).unwrap_err().lost_because(), Some(Lost::Broken));
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.release(&mut lease).unwrap();
    assert_eq!(site.with_key().mutex("job").unwrap().inspect().unwrap().state(), LockState::Available);
    assert_eq!(login.issued(), 1);
}

/// Its end was told wrong, or somebody revoked it.
fn a_token_that_ends_early_is_replaced_once(site: &Site) {
    let login = Login::start(site, |number| (if number == 0 { LIFE } else { HOUR }, HOUR));
    let (guard, log) = held(&site.container(login.credential()));
    thread::sleep(LIFE + 2 * SECOND);
    assert!(guard.remaining() > LEASE - 5 * SECOND, "it is renewed again: {:?}", guard.remaining());
    guard.unlock().unwrap();
    assert_eq!(login.issued(), 2);
    let failures = log.failures();
    assert!(failures.len() == 1 && failures[0].contains("the token was not accepted"), "{failures:?}");
}

// Scenario 27.
fn a_lock_is_held_over_several_lives_of_a_token(site: &Site) {
    let login = Login::of(site, LIFE);
    let (guard, log) = held(&site.container(login.credential()));
    thread::sleep(4 * LIFE + SECOND / 2);
    guard.unlock().unwrap();
    assert_eq!(log.failures(), [""; 0]);
    assert!((5..=12).contains(&login.issued()), "{} tokens in four lives", login.issued());
}

// Scenario 27.
fn an_outage_shorter_than_the_lease_is_survived(site: &Site) {
    survives(site, Trouble::Down, 5 * SECOND);
}

// Scenario 27.
fn a_login_that_hangs_for_less_than_the_lease_is_survived(site: &Site) {
    survives(site, Trouble::Hangs, 2 * SECOND);
}

/// The trouble outlasts the token by so long.
fn survives(site: &Site, trouble: Trouble, outage: Duration) {
    let login = Login::of(site, LIFE);
    let (guard, log) = held(&site.container(login.credential()));
    login.has(trouble);
    let is_without = |event: &String| event.contains("no token from");
    log.wait_for("a renewal without a token", || log.failures().iter().any(is_without));
    let renewals = log.renewals().len();
    // The last renewal was with the token's last breath, and is good for 12.7 s.
    thread::sleep(outage);
    guard.ensure_held().unwrap();
    assert_eq!(log.renewals().len(), renewals, "the token outlived its end");
    login.has(None);
    log.wait_for("a renewal with another token", || {
        log.renewals().last().is_some_and(|(at, until)| *until - *at > LEASE - 5 * SECOND)
            && log.renewals().len() > renewals
    });
    let failures = log.failures();
    // A request with the token's last breath may arrive too late.
    let expected = |event: &String| is_without(event) || event.contains("The token is expired");
    assert!(failures.iter().all(expected), "{failures:?}");
    guard.unlock().unwrap();
}

// Scenario 27.
fn an_outage_longer_than_the_lease_is_a_loss_at_the_deadline(site: &Site) {
    let login = Login::of(site, LIFE);
    let container = site.container(login.credential());
    let (guard, log) = held(&container);
    login.has(Trouble::Down);
    assert_eq!(guard.wait_lost(40 * SECOND), Some(Lost::Expired));
    let lost = Instant::now();
    let (_, deadline) = log.renewals().pop().unwrap();
    assert!(lost + 100 * MS >= deadline, "{:?} early", deadline - lost);
    assert_eq!(site.with_key().mutex("job").unwrap().inspect().unwrap().state(), LockState::Leased, "told in time");
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().unwrap_err().lost_because(), Some(Lost::Expired));

    // And it is no harm to the next one.
    login.has(None);
    let locker = quick(&container, "job").build().unwrap();
    locker.lock_timeout(30 * SECOND).unwrap().unlock().unwrap();
}

fn a_login_that_hangs_delays_no_renewal(site: &Site) {
    let login = Login::of(site, 3 * LIFE);
    let (guard, log) = held(&site.container(login.credential()));
    login.has(Trouble::Hangs);
    let asked = || login.authority.received().len();
    // At half of the token's life.
    log.wait_for("the fetch of a second token", || asked() == 2);
    let renewals = log.renewals().len();
    log.wait_for("renewals beside that", || log.renewals().len() >= renewals + 5);
    assert_eq!(asked(), 2, "it hangs no longer");
    assert_eq!(log.failures(), [""; 0]);
    guard.ensure_held().unwrap();
}

/// Tokens of the emulator's that are good for `life`, and told to be good for an hour.
fn from_emulator(emulator: &Arc<Emulator>, life: Duration) -> (Container, Arc<AtomicUsize>) {
    let issued = Arc::new(AtomicUsize::new(0));
    let (issuer, counter) = (emulator.clone(), issued.clone());
    let source = move || -> Result<AccessToken, TokenError> {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(AccessToken::new(issuer.issue_token(life), HOUR))
    };
    let url = format!("{}/locks", emulator.url());
    (Container::builder(&url, Credential::token_source(source)).retry(eager()).build().unwrap(), issued)
}

#[test]
fn a_token_that_has_run_out_costs_one_more_request() {
    let emulator = Arc::new(Emulator::start().unwrap());
    let (container, issued) = from_emulator(&emulator, 5 * SECOND);
    let mutex = container.mutex("job").unwrap();
    let mut lease = mutex.acquire(LEASE).unwrap();
    emulator.advance(5 * SECOND);
    let before = emulator.requests().len();
    mutex.renew(&mut lease).unwrap();
    let statuses: Vec<_> = emulator.requests()[before..].iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200)]);
    assert_eq!(issued.load(Ordering::Relaxed), 2);
    mutex.release(&mut lease).unwrap();
}

#[test]
fn a_lock_outlives_a_second_token_that_is_revoked_soon_after_the_first() {
    let emulator = Arc::new(Emulator::start().unwrap());
    let (container, _) = from_emulator(&emulator, HOUR);
    let (guard, _) = held(&container);
    for _ in 0..2 {
        emulator.revoke_tokens();
        thread::sleep(SECOND);
    }
    assert_eq!(guard.wait_lost(LEASE), None);
    assert!(guard.remaining() > LEASE - 5 * SECOND, "it is renewed again: {:?}", guard.remaining());
    guard.unlock().unwrap();
}

// Scenario 25.
#[test]
fn an_identity_that_may_not_make_containers_locks_in_one_that_is_there() {
    let emulator = Arc::new(Emulator::start().unwrap());
    let (container, issued) = from_emulator(&emulator, HOUR);
    let denied = Fault::status(403, "AuthorizationPermissionMismatch");
    emulator.fail_next_of(Operation::CreateContainer, 1, denied.clone());
    let error = container.locker("job").unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("create containers"), "{error}");

    let by_key = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
    by_key.locker("other").unwrap().lock().unwrap().unlock().unwrap();
    emulator.fail_next_of(Operation::CreateContainer, 100, denied.clone());
    container.locker("job").unwrap().lock().unwrap().unlock().unwrap();

    // And one that may only read: each operation that it may not do is named.
    emulator.fail_next_of(Operation::AcquireLease, 1, denied);
    let error = container.locker("job").unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("lacks the right to write"), "{error}");
    assert_eq!(issued.load(Ordering::Relaxed), 1, "another token would not help");
}

#[test]
fn a_token_of_somebody_else_s_is_refused_with_the_tenant() {
    let emulator = Emulator::start().unwrap();
    let refused = AtomicBool::new(false);
    let source = move || -> Result<AccessToken, TokenError> {
        let again = refused.swap(true, Ordering::Relaxed);
        Ok(AccessToken::new(if again { "ey.second.token" } else { "ey.first.token" }, HOUR))
    };
    let url = format!("{}/locks", emulator.url());
    let container = Container::builder(&url, Credential::token_source(source)).retry(eager()).build().unwrap();
    let error = container.locker("job").unwrap().lock().unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Credential, Some(401)));
    assert_eq!(error.service_code(), Some("InvalidAuthenticationInfo"));
    let text = error.to_string();
    assert!(text.contains("of tenant 00000000-0000-0000-0000-000000000000"), "{text}");
    assert!(!text.contains("ey."), "{text}");
}
