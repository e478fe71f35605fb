//! List Blobs, as the servers answer it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::on_both_servers;
use crate::support::http;
use crate::support::server::Server;
use crate::support::{sas, unique};

/// In the order in which they are listed.
const NAMES: [&str; 5] = [" job ", "Job", "job", "team a/é+%&<>\"'", "😀"];

on_both_servers!(
    each_blob_is_on_one_page_in_order,
    a_prefix_chooses_by_the_beginning_of_the_name,
    the_state_of_each_lease_is_listed,
    metadata_is_listed_where_it_is_asked_for,
);

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn container(server: &Server) -> String {
    let name = unique("listing");
    server.create_container(&name);
    name
}

fn with_names(server: &Server) -> String {
    let container = container(server);
    for name in NAMES {
        server.put_blob(&container, &encoded(name), b"", &[]);
    }
    container
}

fn list(server: &Server, container: &str, more: &str) -> String {
    let response = server.raw("GET", &format!("{container}?restype=container&comp=list{more}"), &[], b"");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/xml")), "{response:?}");
    String::from_utf8(response.body).unwrap()
}

fn all<'a>(xml: &'a str, element: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&start).skip(1).map(|rest| rest.split_once(&end).unwrap().0).collect()
}

fn names(xml: &str) -> Vec<String> {
    let plain = |name: &str| name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    all(xml, "Name").into_iter().map(plain).collect()
}

fn each_blob_is_on_one_page_in_order(server: &Server) {
    let container = with_names(server);
    let mut pages = Vec::new();
    let mut marker = String::new();
    loop {
        let xml = list(server, &container, &format!("&maxresults=2&marker={}", encoded(&marker)));
        assert_eq!(all(&xml, "MaxResults"), ["2"]);
        pages.push(names(&xml));
        match all(&xml, "NextMarker")[..] {
            [next] => next.clone_into(&mut marker),
            _ => break,
        }
    }
    assert_eq!(pages, [&NAMES[..2], &NAMES[2..4], &NAMES[4..]]);
    assert_eq!(names(&list(server, &container, "")), NAMES);
    // There is no page behind one that just fits.
    let xml = list(server, &container, "&maxresults=5");
    assert_eq!((names(&xml).len(), all(&xml, "NextMarker").len()), (5, 0));
}

fn a_prefix_chooses_by_the_beginning_of_the_name(server: &Server) {
    let container = with_names(server);
    for (prefix, expected) in [("j", &NAMES[2..3]), ("J", &NAMES[1..2]), ("team a/é+%&<", &NAMES[3..4]), ("x", &[])] {
        let xml = list(server, &container, &format!("&prefix={}", encoded(prefix)));
        assert_eq!(names(&xml), expected, "{prefix}");
        assert_eq!(all(&xml, "NextMarker"), [""; 0], "{prefix}");
    }
}

fn the_state_of_each_lease_is_listed(server: &Server) {
    let container = container(server);
    let acquire = |blob: &str, seconds: &str| {
        server.put_blob(&container, blob, b"", &[]);
        let headers = [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", seconds)];
        assert_eq!(server.raw("PUT", &format!("{container}/{blob}?comp=lease"), &headers, b"").status, 201);
    };
    acquire("breaking", "60");
    server.break_lease(&container, "breaking", None);
    acquire("broken", "60");
    server.break_lease(&container, "broken", Some(0));
    acquire("endless", "-1");
    acquire("fixed", "60");
    server.put_blob(&container, "free", b"", &[]);
    let xml = list(server, &container, "");
    assert_eq!(names(&xml), ["breaking", "broken", "endless", "fixed", "free"]);
    assert_eq!(all(&xml, "LeaseState"), ["breaking", "broken", "leased", "leased", "available"]);
    assert_eq!(all(&xml, "LeaseStatus"), ["locked", "unlocked", "locked", "locked", "unlocked"]);
    assert_eq!(all(&xml, "LeaseDuration"), ["infinite", "fixed"]);
    let etag = server.blob_headers(&container, "free").header("etag").unwrap().replace('"', "");
    assert_eq!(all(&xml, "Etag")[4], etag);
}

fn metadata_is_listed_where_it_is_asked_for(server: &Server) {
    let container = container(server);
    server.put_blob(&container, "job", b"", &[("BuildId", "a<b>&\"c'"), ("_x1", "2")]);
    assert_eq!(all(&list(server, &container, ""), "Metadata"), [""; 0]);
    let xml = list(server, &container, "&include=metadata");
    assert_eq!(all(&xml, "Metadata").len(), 1, "{xml}");
    assert_eq!(all(&xml, "BuildId"), ["a&lt;b&gt;&amp;\"c'"]);
    assert_eq!(all(&xml, "_x1"), ["2"]);
}

/// Where Azurite fails.
#[test]
fn a_name_that_xml_does_not_have_is_encoded_by_the_emulator() {
    let server = Server::emulator();
    let container = container(&server);
    server.put_blob(&container, "x%EF%BF%BF%26%2F%20y", b"", &[]);
    server.put_blob(&container, "z%26", b"", &[]);
    let xml = list(&server, &container, "");
    assert!(xml.contains("<Name Encoded=\"true\">x%EF%BF%BF%26%2F%20y</Name>"), "{xml}");
    assert!(xml.contains("<Name>z&amp;</Name>"), "{xml}");
    // Before there was such a thing.
    let target = format!("/{}/{container}?restype=container&comp=list", sas::ACCOUNT);
    let target = format!("{target}&{}", sas::full(sas::ACCOUNT, sas::KEY));
    let headers = [("x-ms-version", "2020-12-06")];
    let response = http::exchange(server.port(), "GET", &target, &headers, b"").unwrap();
    assert!(String::from_utf8(response.body).unwrap().contains("<Name>x\u{ffff}&amp;/ y</Name>"));
}
