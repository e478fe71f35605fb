//! Names of every kind, endpoints in every form, other people's blobs, and credentials that may do little. Scenarios 24
//! to 26, and 36.

use std::time::Duration;

use azmutex::credential::Credential;
use azmutex::emulator::{Operation, Request};
use azmutex::{Container, ErrorKind};
use percent_encoding::percent_decode_str;

use crate::on_both_servers;
use crate::support::sas::ACCOUNT;
use crate::support::server::Server;
use crate::support::unique;

const LEASE: Duration = Duration::from_secs(15);

on_both_servers!(
    every_name_is_a_lock_of_its_own_and_arrives_as_it_is,
    an_endpoint_in_another_form_is_the_same_lock_or_an_error,
    a_lease_of_another_lock_is_refused,
    somebodys_blob_used_as_a_lock_keeps_its_content_and_metadata,
    shared_access_signatures_of_three_sorts_lock,
    a_wrong_account_key_is_told_and_not_waited_for,
);

/// Each is its own lock.
const NAMES: [&str; 31] = [
    "job",
    "Job",
    "JOB",
    "a b",
    "a+b",
    "a%20b",
    "a%2Bb",
    "a/b",
    "a%2Fb",
    "a%2fb",
    "a?b",
    "a#b",
    "a&b=c",
    "a;b",
    "a:b@c",
    ".hidden",
    "...x",
    "a.b",
    "~",
    "%7E",
    "'()[]!*",
    "\"<>|^`{}",
    "é",
    "e\u{301}",
    "日本語/報告",
    "🔒",
    " ",
    " a",
    "a ",
    "comp=lease",
    "a,b$c",
];

/// The names of the blobs in a container.
fn created(server: &Server, container: &str) -> Vec<String> {
    match server.as_emulator() {
        // It lists nothing, but it remembers what came.
        Some(emulator) => {
            let path = format!("/{ACCOUNT}/{container}/");
            let put = |request: Request| {
                let created = request.operation == Operation::PutBlob && request.status == Some(201);
                let name = request.path.strip_prefix(&path).filter(|_| created)?;
                Some(percent_decode_str(name).decode_utf8().unwrap().into_owned())
            };
            emulator.requests().into_iter().filter_map(put).collect()
        }
        None => {
            let listed = server.raw("GET", &format!("{container}?restype=container&comp=list"), &[], &[]);
            let listed = String::from_utf8(listed.body).unwrap();
            let names = listed.split("<Name>").skip(1).map(|rest| rest.split_once("</Name>").unwrap().0);
            let names = names.map(|name| name.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\""));
            names.map(|name| name.replace("&apos;", "'").replace("&amp;", "&")).collect()
        }
    }
}

// Scenario 26.
fn every_name_is_a_lock_of_its_own_and_arrives_as_it_is(server: &Server) {
    let name = unique("names");
    let container = server.container(&name);
    let long = ["x".repeat(1024), "é/".repeat(253) + "é"];
    let names: Vec<&str> = NAMES.iter().copied().chain(long.iter().map(String::as_str)).collect();
    let mut leases = Vec::new();
    for name in &names {
        let mutex = container.mutex(name).unwrap();
        let lease = mutex.acquire(4 * LEASE).unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        assert_eq!(mutex.acquire(LEASE).unwrap_err().kind(), ErrorKind::WouldBlock, "{name:?}");
        leases.push((mutex, lease));
    }
    let mut there = created(server, &name);
    let mut ours = names.clone();
    ours.sort_unstable();
    there.sort_unstable();
    assert_eq!(there, ours);
    for (mutex, lease) in &mut leases {
        mutex.release(lease).unwrap();
    }
}

// Scenario 36.
fn an_endpoint_in_another_form_is_the_same_lock_or_an_error(server: &Server) {
    let (name, port) = (unique("endpoint"), server.port());
    let guard = server.container(&name).locker("job").unwrap().lock().unwrap();
    let with = |endpoint: &str| {
        let text = format!("{};BlobEndpoint={endpoint}", without_endpoint(&server.connection_string()));
        Container::from_connection_string(&text, &name)
    };
    for endpoint in [
        format!("http://127.0.0.1:{port}/{ACCOUNT}"),
        format!("http://127.0.0.1:{port}/{ACCOUNT}/"),
        format!("HTTP://LocalHost:{port}/{ACCOUNT}"),
    ] {
        let error = with(&endpoint).unwrap().locker("job").unwrap().try_lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{endpoint}: {error:?}");
    }
    for path in [format!("{ACCOUNT}/{name}"), format!("{ACCOUNT}/{name}/"), name.clone(), String::new()] {
        let locked = with(&format!("http://127.0.0.1:{port}/{path}"))
            .and_then(|container| container.locker("job")?.try_lock()?.unlock());
        let error = locked.expect_err("two locks from one name");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}: {error:?}");
    }
    guard.unlock().unwrap();
}

fn without_endpoint(connection_string: &str) -> String {
    let fields = connection_string.split(';').filter(|field| !field.starts_with("BlobEndpoint="));
    fields.collect::<Vec<_>>().join(";")
}

fn a_lease_of_another_lock_is_refused(server: &Server) {
    let container = server.container(&unique("mixed"));
    let (a, b) = (container.mutex("a").unwrap(), container.mutex("b").unwrap());
    let mut lease = a.acquire(LEASE).unwrap();
    assert_eq!(b.renew(&mut lease).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(b.release(&mut lease).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(lease.is_held());
    a.release(&mut lease).unwrap();
}

// Scenario 24.
fn somebodys_blob_used_as_a_lock_keeps_its_content_and_metadata(server: &Server) {
    let name = unique("existing");
    server.create_container(&name);
    server.put_blob(&name, "data.csv", b"1,2,3", &[("owner", "somebody")]);
    let before = server.blob_headers(&name, "data.csv");
    let locker = server.container(&name).locker("data.csv").unwrap();
    locker.lock().unwrap().unlock().unwrap();
    drop(locker.lock().unwrap());
    let after = server.blob_headers(&name, "data.csv");
    assert_eq!(server.blob_body(&name, "data.csv"), b"1,2,3");
    assert_eq!(after.header("x-ms-meta-owner"), Some("somebody"));
    assert_eq!(after.header("etag"), before.header("etag"));
}

/// Tokens for the container `locks` of the emulator's account, made by another implementation.
const BLOB_SAS: &str =
    "sv=2021-12-02&sr=b&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=1nT7UzNISgH94V4VQV7o0PMS5ghadJWmIcjNELvJ49I%3D";
const CONTAINER_SAS: &str =
    "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z&sig=iDXzrPYugxUraQR753UmBCoDr6P5JJS9VTr9MGR8tLg%3D";
const ACCOUNT_SAS: &str = "sv=2021-12-02&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&sig=tznf%2BUguWwNe%2B7oTyobyNUc7TDthIuY2m9EdDOYdBvE%3D";

// Scenario 25, as far as tokens made beforehand reach.
fn shared_access_signatures_of_three_sorts_lock(server: &Server) {
    let endpoint = format!("http://127.0.0.1:{}/devstoreaccount1", server.port());
    let with = |token: &str| Container::builder(&format!("{endpoint}/locks"), Credential::sas(token).unwrap()).build();
    // The account's token makes the container; the others could not.
    for text in [
        format!("BlobEndpoint={endpoint};SharedAccessSignature={ACCOUNT_SAS}"),
        format!("BlobEndpoint={endpoint}?{ACCOUNT_SAS}"),
    ] {
        let container = Container::from_connection_string(&text, "locks").unwrap();
        container.locker("by-account").unwrap().lock().unwrap().unlock().unwrap();
    }
    with(CONTAINER_SAS).unwrap().locker("by-container").unwrap().lock().unwrap().unlock().unwrap();
    let blob = with(BLOB_SAS).unwrap();
    blob.locker("job-a").unwrap().lock().unwrap().unlock().unwrap();
    let error = blob.locker("job-b").unwrap().lock().unwrap_err();
    // Signed for another blob; Azurite has but one code for whatever a signature does not allow.
    let refused = if server.as_emulator().is_some() { ErrorKind::Credential } else { ErrorKind::PermissionDenied };
    assert_eq!(error.kind(), refused, "{error:?}");
    let altered = with(&CONTAINER_SAS.replace("racw", "racwd")).unwrap();
    let error = altered.locker("job-a").unwrap().lock().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Credential), "{error:?}");
    assert!(!format!("{error:?}").contains("iDXz"), "{error:?}");
}

fn a_wrong_account_key_is_told_and_not_waited_for(server: &Server) {
    let url = format!("http://127.0.0.1:{}/devstoreaccount1/{}", server.port(), unique("wrong"));
    let key = Credential::shared_key("devstoreaccount1", "d3Jvbmcga2V5").unwrap();
    let error = Container::builder(&url, key).build().unwrap().locker("job").unwrap().lock().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Credential), "{error:?}");
    assert!(error.to_string().contains("key"), "{error}");
}
