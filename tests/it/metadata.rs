//! What a program can rely on that keeps something in the metadata of a lock's blob, as it is on both servers: what a
//! write depends on, what it changes, and how names come back.

use std::thread;
use std::time::{Duration, SystemTime};

use crate::on_both_servers;
use crate::support::http::Response;
use crate::support::server::Server;
use crate::support::unique;

const A: &str = "aaaaaaaa-1111-4222-8333-444444444444";
const B: &str = "bbbbbbbb-1111-4222-8333-444444444444";
const OLD: &str = "\"0x1\"";

on_both_servers!(
    a_write_depends_on_the_lease_and_on_what_was_read,
    a_write_changes_the_etag_and_the_date_and_no_lease_operation_does,
    every_answer_has_a_date,
    names_come_back_in_the_case_that_they_were_sent_in,
);

/// A blob of its own, as a path, and the requests about it.
struct Blob<'a> {
    server: &'a Server,
    path: String,
}

impl Blob<'_> {
    fn new(server: &Server) -> Blob<'_> {
        let container = unique("metadata");
        server.create_container(&container);
        server.put_blob(&container, "job", b"", &[]);
        Blob { server, path: format!("{container}/job") }
    }

    fn look(&self) -> Response {
        self.server.raw("HEAD", &self.path, &[], b"")
    }

    fn lease(&self, action: &str, headers: &[(&str, &str)]) -> Response {
        let headers = [&[("x-ms-lease-action", action)], headers].concat();
        self.server.raw("PUT", &format!("{}?comp=lease", self.path), &headers, b"")
    }

    fn acquire(&self) -> Response {
        let response = self.lease("acquire", &[("x-ms-lease-duration", "60"), ("x-ms-proposed-lease-id", A)]);
        assert_eq!(response.status, 201, "{response:?}");
        response
    }

    fn write(&self, headers: &[(&str, &str)]) -> Response {
        self.server.raw("PUT", &format!("{}?comp=metadata", self.path), headers, b"")
    }

    fn assert_refused(&self, code: &str, headers: &[(&str, &str)]) {
        let before = self.look();
        let response = self.write(&[headers, &[("x-ms-meta-token", "2")]].concat());
        assert_eq!((response.status, response.code()), (412, Some(code)), "{headers:?}");
        assert_eq!(version(&self.look()), version(&before), "{headers:?}: refused, and written all the same");
    }
}

fn version(response: &Response) -> (String, String) {
    let header = |name| response.header(name).unwrap_or_else(|| panic!("{name} in {response:?}")).to_owned();
    (header("etag"), header("last-modified"))
}

fn a_write_depends_on_the_lease_and_on_what_was_read(server: &Server) {
    let blob = Blob::new(server);
    let (etag, _) = version(&blob.acquire());
    blob.assert_refused("LeaseIdMissing", &[("if-match", &etag)]);
    blob.assert_refused("LeaseIdMismatchWithBlobOperation", &[("if-match", &etag), ("x-ms-lease-id", B)]);
    blob.assert_refused("ConditionNotMet", &[("if-match", OLD), ("x-ms-lease-id", A)]);
    let mine = [("if-match", &*etag), ("x-ms-lease-id", A)];
    let response = blob.write(&[&mine[..], &[("x-ms-meta-token", "1")]].concat());
    assert_eq!(response.status, 200, "{response:?}");
    // The same again, as after an answer that did not come.
    blob.assert_refused("ConditionNotMet", &mine);
    let (etag, _) = version(&response);
    let mine = [("if-match", &*etag), ("x-ms-lease-id", A)];
    assert_eq!(blob.lease("release", &[("x-ms-lease-id", A)]).status, 200);
    blob.assert_refused("LeaseNotPresentWithBlobOperation", &mine);
    blob.acquire();
    assert_eq!(blob.lease("break", &[("x-ms-lease-break-period", "0")]).status, 202);
    blob.assert_refused("LeaseNotPresentWithBlobOperation", &mine);
    assert_eq!(blob.look().header("x-ms-meta-token"), Some("1"));
}

fn a_write_changes_the_etag_and_the_date_and_no_lease_operation_does(server: &Server) {
    let blob = Blob::new(server);
    let first = version(&blob.look());
    // A date tells no less than seconds.
    let unchanged = |response: Response, what: &str| assert_eq!(version(&response), first, "{what}: {response:?}");
    thread::sleep(Duration::from_millis(1100));
    let id = [("x-ms-lease-id", A)];
    unchanged(blob.acquire(), "acquire");
    unchanged(blob.look(), "a look");
    unchanged(blob.acquire(), "acquire again");
    unchanged(blob.lease("renew", &id), "renew");
    unchanged(blob.lease("change", &[id[0], ("x-ms-proposed-lease-id", B)]), "change");
    unchanged(blob.lease("change", &[("x-ms-lease-id", B), ("x-ms-proposed-lease-id", A)]), "change back");
    unchanged(blob.lease("break", &[]), "break");
    unchanged(blob.lease("release", &id), "release");
    blob.acquire();
    let response = blob.write(&[id[0], ("if-match", &first.0), ("x-ms-meta-token", "1")]);
    assert_eq!(response.status, 200, "{response:?}");
    let written = version(&response);
    assert!(written.0 != first.0 && written.1 != first.1, "{written:?} after {first:?}");
    assert_eq!(version(&blob.look()), written);
    // All of it is replaced, and the next write is told from this one within the same second, too.
    let response = blob.write(&[id[0], ("if-match", &written.0), ("x-ms-meta-other", "1")]);
    assert_ne!(version(&response).0, written.0);
    let look = blob.look();
    assert_eq!((look.header("x-ms-meta-token"), look.header("x-ms-meta-other")), (None, Some("1")));
}

fn every_answer_has_a_date(server: &Server) {
    let blob = Blob::new(server);
    let (path, none) = (&blob.path, "x-ms-lease-id");
    for response in [
        blob.look(),
        blob.acquire(),
        blob.write(&[(none, A)]),
        blob.write(&[]),
        blob.write(&[(none, A), ("if-match", OLD)]),
        blob.lease("renew", &[(none, B)]),
        blob.lease("release", &[(none, A)]),
        server.raw("HEAD", &format!("{path}-2"), &[], b""),
        server.raw("PUT", path, &[("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")], b""),
    ] {
        let date = response.header("date").unwrap_or_else(|| panic!("{response:?}"));
        // The servers run on this machine.
        let theirs = httpdate::parse_http_date(date).unwrap();
        let around = SystemTime::now() - Duration::from_secs(60)..SystemTime::now() + Duration::from_secs(1);
        assert!(around.contains(&theirs), "{date}");
    }
}

/// So that whoever writes back what others left there can keep their names as they were.
fn names_come_back_in_the_case_that_they_were_sent_in(server: &Server) {
    let blob = Blob::new(server);
    assert_eq!(blob.write(&[("x-ms-meta-BuildId", "1"), ("X-MS-META-oWNER_1", "Me")]).status, 200);
    let get = server.raw("GET", &format!("{}?comp=metadata", blob.path), &[], b"");
    for response in [blob.look(), get] {
        let prefix = "x-ms-meta-";
        let mut metadata = Vec::new();
        for (name, value) in &response.headers {
            if name.to_ascii_lowercase().starts_with(prefix) {
                metadata.push((&name[prefix.len()..], &**value));
            }
        }
        metadata.sort_unstable();
        assert_eq!(metadata, [("BuildId", "1"), ("oWNER_1", "Me")]);
    }
}
