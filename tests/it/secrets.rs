//! Nothing that a caller can print holds a secret: for each kind of credential, through each way to fail, whoever sends
//! it back, in whatever form.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt::Debug;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use azmutex::container::Builder;
use azmutex::credential::Credential;
use azmutex::credential::entra::{AccessToken, GitHubActions, ServicePrincipal, TokenError, WorkloadIdentity};
use azmutex::emulator::Emulator;
use azmutex::lease::Break;
use azmutex::retry::Policy;
use azmutex::{AzureMutex, Cancel, Container, Error, Locker};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::entra::certificate::{PKCS8, in_one_file};
use crate::entra::login::TokenFile;
use crate::hostile::nobody;
use crate::hostile::reflection::reflections;
use crate::service::well;
use crate::support::http::Operation;
use crate::support::peer::{Peer, Received, Reply, answer, response};

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_secs(15);
const TENANT: &str = "contoso.onmicrosoft.com";
const CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";

/// The word in each of them is in all secrets of the tests, so that it can be looked for in their output.
const KEY: &str = "Kn0wnToNoneKeyKeyKeyAA==";
const SAS: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01&sig=Kn0wnToNone%2BSig%2Fpart%3D";
const SIGNATURE: &str = "Kn0wnToNone+Sig/part=";
const TOKEN: &str = "ey.Kn0wnToNone-Token_1-as-long-as-any-token-that-there-is.x~+/=";
const CLIENT_SECRET: &str = "Kn0wnToNone~s/+e=\"c\\r&et%";
const ASSERTION: &str = "ey.Kn0wnToNone-Assertion-as-long-as-any-JWT-that-there-could-be.x";
/// As Entra ID makes them.
const USUAL_CLIENT_SECRET: &str = "abc8Q~Kn0wnToNone-as_long.as-they_are";
const ALL: [&str; 7] = [KEY, SAS, SIGNATURE, TOKEN, CLIENT_SECRET, USUAL_CLIENT_SECRET, ASSERTION];

/// All the forms in which a secret could be found.
fn forms(secret: &str) -> Vec<String> {
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let escaped = format!("{secret:?}");
    let bytes = format!("{:?}", secret.as_bytes());
    let mut forms = vec![
        secret.to_owned(),
        percent_decode_str(secret).decode_utf8_lossy().into_owned(),
        encoded,
        escaped[1..escaped.len() - 1].to_owned(),
        secret.replace('/', "\\/"),
        bytes[1..bytes.len() - 1].to_owned(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    // In base64 a text looks different at each of three places, and shares its first and last digits with what is
    // around it.
    for before in 0..3 {
        let text = [&" ".repeat(before), secret].concat();
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            forms.push(encoded[(4 * before).div_ceil(3)..encoded.len() - 2].to_owned());
        }
    }
    // A key is base64 itself, and kept as what it stands for.
    if let Ok(key) = base64::engine::general_purpose::STANDARD.decode(secret) {
        let bytes = format!("{key:?}");
        forms.push(bytes[1..bytes.len() - 1].to_owned());
        forms.push(key.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    forms.into_iter().map(|form| form.to_lowercase()).collect()
}

/// Whatever was printed, and on which occasion.
#[derive(Clone, Default)]
struct Prints(Arc<Mutex<Vec<(String, String)>>>);

impl Prints {
    fn add(&self, occasion: &str, text: String) {
        self.0.lock().unwrap().push((occasion.to_owned(), text));
    }

    fn debug(&self, occasion: &str, value: &dyn Debug) {
        self.add(occasion, format!("{value:?}\n{value:#?}"));
    }

    /// In all the ways there are.
    fn error(&self, occasion: &str, error: &Error) {
        self.debug(occasion, error);
        self.add(occasion, format!("{error}\n{:?}\n{:?}", error.service_code(), error.request_id()));
        let mut source = error.source();
        while let Some(cause) = source {
            self.debug(occasion, &cause);
            self.add(occasion, cause.to_string());
            source = cause.source();
        }
        self.debug(occasion, &std::io::Error::from(error.clone()));
    }

    fn result<T: Debug>(&self, occasion: &str, result: azmutex::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.debug(occasion, &value);
                Some(value)
            }
            Err(error) => {
                self.error(occasion, &error);
                None
            }
        }
    }

    fn hide(&self, secrets: &[String]) {
        // Most requests carry the same ones, and each is looked for in everything.
        let secrets: BTreeSet<_> = secrets.iter().collect();
        let forms: BTreeSet<_> = secrets.into_iter().flat_map(|secret| forms(secret)).collect();
        let prints = self.0.lock().unwrap();
        assert!(prints.iter().any(|(_, text)| text.contains("could not")), "nothing failed");
        for (occasion, text) in &*prints {
            let lower = text.to_lowercase();
            let found = forms.iter().find(|form| lower.contains(&**form));
            assert!(found.is_none(), "{occasion}: {found:?} in {text}");
        }
    }
}

/// Haste is all that the tests ask of it.
fn hasty() -> Policy {
    Policy::default().attempt_limit(300 * MS).retries(1).first_pause(MS).longest_pause(2 * MS)
}

/// What can be done with a lock, from its container's builder on; and all that it says.
fn walk(prints: &Prints, occasion: &str, builder: Builder) {
    let builder = builder.retry(hasty());
    prints.debug(occasion, &builder);
    let Some(container) = prints.result(occasion, builder.build()) else { return };
    let mutex = container.mutex("job").unwrap();
    prints.debug(occasion, &mutex);
    prints.result(occasion, mutex.inspect());
    prints.result(occasion, mutex.break_lease(Break::AtExpiry));
    if let Some(mut lease) = prints.result(occasion, mutex.acquire(LEASE)) {
        prints.result(occasion, mutex.renew(&mut lease));
        prints.result(occasion, mutex.release(&mut lease));
        prints.debug(occasion, &lease);
    }
    keep(prints, occasion, mutex);
}

fn keep(prints: &Prints, occasion: &str, mutex: AzureMutex) {
    let events = (prints.clone(), occasion.to_owned());
    let builder = Locker::builder(mutex).renew_every(10 * MS).pauses(MS, 5 * MS).on_event(move |event| {
        events.0.debug(&events.1, &event);
        events.0.add(&events.1, event.to_string());
        panic::resume_unwind(Box::new("on purpose"));
    });
    prints.debug(occasion, &builder);
    let locker = builder.build().unwrap();
    prints.debug(occasion, &locker);
    let preflight = locker.preflight();
    prints.debug(occasion, &preflight);
    prints.add(occasion, preflight.to_string());
    prints.result(occasion, locker.try_lock());
    prints.result(occasion, locker.lock_timeout(20 * MS));
    let cancel = Cancel::new();
    cancel.cancel();
    prints.debug(occasion, &cancel);
    prints.result(occasion, locker.lock_or_cancel(&cancel));
    if let Some(guard) = prints.result(occasion, locker.try_lock()) {
        thread::sleep(50 * MS);
        prints.debug(occasion, &guard);
        prints.result(occasion, guard.ensure_held());
        prints.result(occasion, guard.unlock());
    }
}

/// A way to fail: what becomes of a request that carries these secrets.
type Failure = Arc<dyn Fn(&[String]) -> Reply + Send + Sync>;
/// To another form.
type Change = fn(&str) -> String;

fn failures() -> Vec<(String, Failure)> {
    let mut failures: Vec<(String, Failure)> = vec![
        ("reset".into(), Arc::new(|_| Reply::Reset)),
        ("close".into(), Arc::new(|_| Reply::Close)),
        ("silence".into(), Arc::new(|_| Reply::Hang)),
    ];
    let sent_back: [(&str, Change); 4] = [
        ("as it is", str::to_owned),
        ("encoded", |secret| utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()),
        ("encoded in lower case", |secret| {
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().replace("%2B", "%2b").replace("%2F", "%2f")
        }),
        ("in a URL", |secret| format!("http://127.0.0.1:1/x?{}#{secret}", secret.replace('/', "%2F"))),
    ];
    for (form, change) in sent_back {
        for kind in 0..reflections("").len() {
            let reply = move |secrets: &[String]| {
                let text = secrets.iter().map(|secret| change(secret)).collect::<Vec<_>>().join(" ");
                reflections(&text).swap_remove(kind)
            };
            failures.push((format!("sent back {form}, {kind}"), Arc::new(reply)));
        }
        let json = move |secrets: &[String]| {
            let text = secrets.iter().map(|secret| change(secret)).collect::<Vec<_>>().join(" ");
            let text = format!("{text:?}");
            let body = format!(r#"{{"error":"invalid_client","error_description":{text},"message":{text}}}"#);
            Reply::Answer(response(401, &[], body.into_bytes()))
        };
        failures.push((format!("sent back {form}, in JSON"), Arc::new(json)));
    }
    failures
}

/// What a request proves itself with.
fn secrets_of(received: &Received) -> Vec<String> {
    let request = &received.request;
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let field = |pairs: &str, name: &str| {
        let mut pairs = pairs.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let authorization = request.header("authorization").and_then(|value| value.split_once(' '));
    let encoded = [field(query, "sig"), field(&body, "client_secret"), field(&body, "client_assertion")];
    let encoded = encoded.into_iter().flatten();
    let decoded = encoded.clone().map(|secret| percent_decode_str(&secret).decode_utf8_lossy().into_owned());
    let plain = authorization.map(|(_, proof)| proof.strip_prefix("acct:").unwrap_or(proof).to_owned());
    let plain = plain.into_iter().chain(request.header("x-identity-header").map(str::to_owned));
    plain.chain(decoded).chain(encoded.clone()).collect()
}

/// The secrets that were sent.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn of(&self, received: &Received) -> Vec<String> {
        let secrets = secrets_of(received);
        assert!(!secrets.is_empty(), "a request without proof: {received:?}");
        self.0.lock().unwrap().extend(secrets.clone());
        secrets
    }

    fn and(&self, others: &[&str]) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter().cloned().chain(others.iter().map(|secret| (*secret).to_owned())).collect()
    }
}

/// A storage service where everything goes wrong, or everything but an acquire.
fn storage(failure: &Failure, grants: bool, seen: &Seen) -> Peer {
    let (failure, seen) = (failure.clone(), seen.clone());
    Peer::start(move |received| {
        let secrets = seen.of(received);
        let goes_well = grants && received.request.operation() == Operation::Acquire;
        if goes_well { well(received) } else { failure(&secrets) }
    })
}

/// A token endpoint where everything goes wrong, or everything but the first token.
fn login(failure: &Failure, gives: bool, seen: &Seen) -> Peer {
    let (failure, seen, asked) = (failure.clone(), seen.clone(), AtomicBool::new(false));
    Peer::start(move |received| {
        let secrets = seen.of(received);
        if !gives || asked.swap(true, Ordering::Relaxed) {
            return failure(&secrets);
        }
        let body = format!(r#"{{"token_type":"Bearer","expires_in":2,"access_token":"{TOKEN}"}}"#);
        Reply::Answer(response(200, &[], body.into_bytes()))
    })
}

fn url(peer: &Peer) -> String {
    format!("{}/acct/locks", peer.url())
}

fn token() -> Credential {
    Credential::token_source(|| -> Result<_, TokenError> { Ok(AccessToken::new(TOKEN, LEASE)) })
}

/// In each of these ways at least once; several at a time, since some take long.
fn each_way(walk: impl Fn(&str, &Failure, bool) + Sync) {
    let (ways, walk) = (failures(), &walk);
    thread::scope(|scope| {
        for some in ways.chunks(ways.len().div_ceil(8)) {
            scope.spawn(move || {
                for (name, failure) in some {
                    walk(name, failure, false);
                    walk(name, failure, true);
                }
            });
        }
    });
}

/// With a storage service that fails in each way.
fn fails_to_lock(secrets: &[&str], builder: impl Fn(&str) -> Builder + Sync) {
    each_way(|name, failure, grants| {
        let (prints, seen) = (Prints::default(), Seen::default());
        let peer = storage(failure, grants, &seen);
        walk(&prints, name, builder(&url(&peer)));
        drop(peer);
        prints.hide(&seen.and(secrets));
    });
}

/// With a token endpoint and a storage service that both fail in each way.
fn fails_to_log_in(secret: &str, credential: impl Fn(&str) -> Credential + Sync) {
    each_way(|name, failure, gives| {
        let (prints, seen) = (Prints::default(), Seen::default());
        let peers = [login(failure, gives, &seen), storage(failure, false, &seen)];
        let credential = credential(&peers[0].url());
        prints.debug(name, &credential);
        walk(&prints, name, Container::builder(&url(&peers[1]), credential));
        drop(peers);
        prints.hide(&seen.and(&[secret, TOKEN]));
    });
}

#[test]
fn an_account_s_key() {
    fails_to_lock(&[KEY], |url| Container::builder(url, Credential::shared_key("acct", KEY).unwrap()));
}

#[test]
fn a_connection_string_with_a_key() {
    fails_to_lock(&[KEY], |url| {
        let endpoint = url.trim_end_matches("/locks");
        let text = format!("AccountName=acct;AccountKey={KEY};BlobEndpoint={endpoint}");
        Builder::from_connection_string(&text, "locks").unwrap()
    });
}

#[test]
fn a_signature() {
    fails_to_lock(&[SAS, SIGNATURE], |url| Container::builder(url, Credential::sas(SAS).unwrap()));
}

#[test]
fn a_token() {
    fails_to_lock(&[TOKEN], |url| Container::builder(url, token()));
}

#[test]
fn a_client_s_secret() {
    fails_to_log_in(CLIENT_SECRET, |url| {
        ServicePrincipal::secret(TENANT, CLIENT, CLIENT_SECRET).authority(url).build().unwrap()
    });
}

#[test]
fn an_assertion() {
    fails_to_log_in(ASSERTION, |url| {
        ServicePrincipal::assertion(TENANT, CLIENT, || Ok(ASSERTION.into())).authority(url).build().unwrap()
    });
}

#[test]
fn a_platform_s_token() {
    let file = TokenFile::new(ASSERTION);
    fails_to_log_in(ASSERTION, |url| {
        WorkloadIdentity::new(TENANT, CLIENT, file.path()).authority(url).build().unwrap()
    });
}

#[test]
fn a_certificate_s_key() {
    let file = TokenFile::new(&in_one_file());
    // All but the last line of the key, which is short.
    let lines = PKCS8.lines().filter(|line| line.len() == 64).collect::<Vec<_>>().concat();
    fails_to_log_in(&lines, |url| {
        ServicePrincipal::certificate(TENANT, CLIENT, file.path()).authority(url).build().unwrap()
    });
}

#[test]
fn a_job_s_token() {
    fails_to_log_in(ASSERTION, |url| {
        let url = format!("{url}/94//idtoken?api-version=2.0");
        GitHubActions::new(TENANT, CLIENT, &url, ASSERTION).authority("http://127.0.0.1:1").build().unwrap()
    });
}

#[test]
fn what_vouches_for_a_job() {
    let github =
        Peer::start(|_| Reply::Answer(response(200, &[], format!(r#"{{"value":"{ASSERTION}"}}"#).into_bytes())));
    fails_to_log_in(ASSERTION, |url| {
        GitHubActions::new(TENANT, CLIENT, &github.url(), TOKEN).authority(url).build().unwrap()
    });
}

/// Each kind of credential, and its secrets.
fn credentials(authority: &str) -> Vec<Credential> {
    let principal = |secret: &str| ServicePrincipal::secret(TENANT, CLIENT, secret).authority(authority);
    let by_assertion = ServicePrincipal::assertion(TENANT, CLIENT, || Ok(ASSERTION.into())).authority(authority);
    let panics = || -> Result<AccessToken, TokenError> { panic::resume_unwind(Box::new(TOKEN)) };
    let no_token = || -> Result<_, TokenError> { Ok(AccessToken::new(format!("{TOKEN}\r\n"), LEASE)) };
    vec![
        Credential::shared_key("acct", KEY).unwrap(),
        Credential::sas(SAS).unwrap(),
        token(),
        principal(CLIENT_SECRET).build().unwrap(),
        by_assertion.build().unwrap(),
        Credential::token_source(panics),
        Credential::token_source(no_token),
    ]
}

#[test]
fn servers_that_are_not_there() {
    let prints = Prints::default();
    let (_socket, port) = nobody();
    let nobody = format!("http://127.0.0.1:{port}");
    let elsewhere = Peer::start(well);
    for authority in [&nobody, "https://login.invalid"] {
        for storage in [&nobody, "https://storage.invalid", &elsewhere.url()] {
            for credential in credentials(authority) {
                prints.debug(authority, &credential);
                walk(
                    &prints,
                    &format!("{authority} {storage}"),
                    Container::builder(&format!("{storage}/acct/locks"), credential),
                );
            }
        }
    }
    prints.hide(&Seen::default().and(&ALL));
}

#[test]
fn what_a_service_gives_and_what_it_is_given() {
    let prints = Prints::default();
    let emulator = Arc::new(Emulator::builder().account("acct").key(KEY).start().unwrap());
    let (issuer, issued) = (emulator.clone(), Seen::default());
    let log = issued.clone();
    let source = move || -> Result<_, TokenError> {
        let token = issuer.issue_token(LEASE);
        log.0.lock().unwrap().push(token.clone());
        Ok(AccessToken::new(token, LEASE))
    };
    let url = format!("{}/locks", emulator.url());
    for credential in [Credential::token_source(source), Credential::shared_key("acct", KEY).unwrap()] {
        walk(&prints, "emulator", Container::builder(&url, credential.clone()));
        emulator.revoke_tokens();
        walk(&prints, "revoked", Container::builder(&url, credential));
    }
    walk(&prints, "refused", Container::builder(&url, token()));
    walk(&prints, "refused", Container::builder(&url, Credential::sas(SAS).unwrap()));
    prints.debug("emulator", &emulator);
    prints.debug("emulator", &Emulator::builder().account("acct").key(KEY));
    prints.debug("requests", &emulator.requests());
    prints.debug("token", &AccessToken::new(TOKEN, LEASE));
    prints.hide(&issued.and(&ALL));
}

/// A secret in the wrong place.
#[test]
fn secrets_that_are_mistaken_for_something_else() {
    let prints = Prints::default();
    let wrong = "a mistake";
    let key = || Credential::shared_key("acct", KEY).unwrap();
    for secret in ALL {
        for before in ["https://acct.test/locks?", "https://acct.test/locks#", "https://me:"] {
            for after in ["", "@acct.test/locks", "/locks"] {
                let url = format!("{before}{secret}{after}");
                prints.debug(wrong, &Container::builder(&url, key()));
                prints.result(wrong, Container::builder(&url, key()).build());
                prints.result(wrong, ServicePrincipal::secret(TENANT, CLIENT, "x").authority(&url).build());
                prints.result(wrong, Builder::from_connection_string(&url, "locks"));
                let text = format!("BlobEndpoint={url};AccountName=acct;AccountKey={KEY}");
                prints.result(wrong, Builder::from_connection_string(&text, "locks"));
            }
        }
        prints.result(wrong, Builder::from_connection_string(secret, "locks"));
        let named = Builder::from_connection_string(&format!("AccountName=acct;AccountKey={KEY}"), secret).unwrap();
        prints.result(wrong, named.build());
        prints.result(wrong, Container::development("locks").unwrap().mutex(&format!("{secret}.")));
        prints.result(wrong, Credential::shared_key(secret, KEY));
        prints.result(wrong, Credential::shared_key("acct", &format!("{secret}?")));
        prints.result(wrong, Credential::sas(&format!("{secret} ")));
        prints.result(wrong, ServicePrincipal::secret(secret, CLIENT, "x").build());
        prints.result(wrong, ServicePrincipal::secret(TENANT, &format!("{secret} "), "x").build());
        prints.result(wrong, ServicePrincipal::secret(TENANT, CLIENT, "x").scope(&format!("{secret} ")).build());
    }
    let (_socket, port) = nobody();
    walk(&prints, wrong, Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), key()));
    prints.hide(&Seen::default().and(&ALL));
}

#[test]
fn a_redirect_leads_nowhere_with_any_of_them() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Peer::start(well);
        let target = format!("{}/acct/locks/job?x", elsewhere.url());
        let storage = Peer::start(move |_| answer(status, &[("location", &target)]));
        let target = elsewhere.url();
        let login = Peer::start(move |_| answer(status, &[("location", &target)]));
        for credential in credentials(&login.url()) {
            walk(&Prints::default(), "redirect", Container::builder(&url(&storage), credential));
        }
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

/// The command line's words, in an environment with each kind of credential.
#[cfg(feature = "cli")]
mod command_line {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::entra::cli::{Az, gives};

    /// Everything that it says.
    fn says(variables: &[(&str, &str)]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_azmutex"));
        command.args(["run", "--verbose", "--timeout", "0.5", "job", "--", "true"]);
        command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    #[test]
    fn what_the_command_line_says() {
        let prints = Prints::default();
        let az = [Az::new(&gives(TOKEN)), Az::new(&format!("echo 'ERROR: no' >&2; echo '{TOKEN}'; exit 1"))];
        let (file, seen) = (TokenFile::new(ASSERTION), Seen::default());
        // One of each sort: a refusal, a redirect, no HTTP, JSON.
        let sorts = [
            "sent back as it is, 1",
            "sent back as it is, 2",
            "sent back encoded, 7",
            "sent back as it is, 9",
            "in JSON",
        ];
        for (name, failure) in failures().iter().filter(|(name, _)| sorts.iter().any(|sort| name.ends_with(sort))) {
            let storage = storage(failure, false, &seen);
            let login = login(failure, false, &seen);
            let (endpoint, host) = (format!("{}/acct", storage.url()), login.url());
            let string = |secret: &str| format!("AccountName=acct;{secret};BlobEndpoint={endpoint}");
            let [by_key, by_sas] =
                [string(&format!("AccountKey={KEY}")), string(&format!("SharedAccessSignature={SAS}"))];
            let endpoint = ("AZURE_STORAGE_SERVICE_ENDPOINT", &*endpoint);
            let tenant = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_AUTHORITY_HOST", &*host)];
            let environments: [Vec<(&str, &str)>; 7] = [
                vec![("AZURE_STORAGE_CONNECTION_STRING", &by_key)],
                vec![("AZURE_STORAGE_CONNECTION_STRING", &by_sas)],
                vec![endpoint, ("PATH", az[0].path())],
                vec![endpoint, ("PATH", az[1].path())],
                [&[endpoint, ("AZURE_CLIENT_SECRET", CLIENT_SECRET)], &tenant[..]].concat(),
                [&[endpoint, ("AZURE_FEDERATED_TOKEN_FILE", file.path())], &tenant[..]].concat(),
                vec![endpoint, ("IDENTITY_ENDPOINT", &host), ("IDENTITY_HEADER", CLIENT_SECRET)],
            ];
            thread::scope(|scope| {
                for environment in environments {
                    let occasion = format!("{name}: {}", environment.last().unwrap().0);
                    let prints = &prints;
                    scope.spawn(move || prints.add(&occasion, says(&environment)));
                }
            });
        }
        // A proxy's password is one, too.
        for proxy in [format!("http://me:{TOKEN}@127.0.0.1:1"), format!("http://me:{TOKEN}@ 1"), TOKEN.to_owned()] {
            let string = format!("AccountName=acct;AccountKey={KEY};BlobEndpoint=https://storage.invalid/acct");
            let variables = [("AZURE_STORAGE_CONNECTION_STRING", &*string), ("HTTPS_PROXY", &proxy)];
            prints.add("proxy", says(&variables));
        }
        prints.hide(&seen.and(&ALL));
    }
}

/// The search itself finds what it is to find.
#[test]
fn a_secret_is_found_in_each_form() {
    for secret in ALL {
        let header = STANDARD_NO_PAD.encode(format!("Bearer {secret}; and more"));
        let key = base64::engine::general_purpose::STANDARD.decode(secret).unwrap_or_else(|_| secret.into());
        let texts = [
            format!("<{secret}>"),
            format!("{secret:?}"),
            format!("{key:?}"),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().to_lowercase(),
            header,
        ];
        for text in texts {
            let lower = text.to_lowercase();
            assert!(forms(secret).iter().any(|form| lower.contains(&**form)), "{secret} in {text}");
        }
    }
}
