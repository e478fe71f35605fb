//! What holds for every signature.

use percent_encoding::percent_decode_str;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::holds;
use crate::credential::shared_key::{STANDARD_HEADERS, string_to_sign};
use crate::transport::{Method, Request};

const OWN_HEADERS: [&str; 10] = [
    "x-ms-blob-type",
    "x-ms-client-request-id",
    "x-ms-date",
    "x-ms-lease-action",
    "x-ms-lease-break-period",
    "x-ms-lease-duration",
    "x-ms-lease-id",
    "x-ms-meta-token",
    "x-ms-proposed-lease-id",
    "x-ms-version",
];

/// The page's steps, one after the other, slowly.
fn by_the_book(account: &str, request: &Request<'_>) -> String {
    let value = |wanted: &str| {
        let values: Vec<_> = request.headers.iter().filter(|(name, _)| *name == wanted).collect();
        values.first().map_or(String::new(), |(_, value)| value.to_string())
    };
    let method = if request.method == Method::Put { "PUT" } else { "HEAD" };
    let standard = format!(
        "{method}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
        value("content-encoding"),
        value("content-language"),
        value("content-length"),
        value("content-md5"),
        value("content-type"),
        value("date"),
        value("if-modified-since"),
        value("if-match"),
        value("if-none-match"),
        value("if-unmodified-since"),
        value("range"),
    );

    let mut canonicalized_headers = String::new();
    for name in OWN_HEADERS {
        if request.headers.iter().any(|(other, _)| *other == name) {
            canonicalized_headers.push_str(&format!("{name}:{}\n", value(name)));
        }
    }

    let mut parameters = std::collections::BTreeMap::<String, Vec<String>>::new();
    for pair in request.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        parameters.entry(decoded(name).to_lowercase()).or_default().push(decoded(value));
    }
    let mut canonicalized_resource = format!("/{account}{}", request.path);
    for (name, values) in &mut parameters {
        values.sort();
        canonicalized_resource.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    standard + &canonicalized_headers + &canonicalized_resource
}

/// Of requests such as the library makes, and of many that it does not: ours, and the page's. (Requests cannot be
/// printed.)
fn texts() -> impl Strategy<Value = (String, String)> {
    let headers = |names: &[&'static str]| {
        let value = "[!-~]{1,12}( [!-~]{1,8}){0,2}";
        let with_values = move |names: Vec<_>| names.into_iter().map(|name| (Just(name), value)).collect::<Vec<_>>();
        subsequence(names.to_vec(), 0..=names.len()).prop_flat_map(with_values)
    };
    let headers = (headers(&STANDARD_HEADERS), headers(&OWN_HEADERS)).prop_map(|(one, other)| [one, other].concat());
    let parameter = option::of("([a-zA-Z0-9:,.-]|%2[0-9A-F]|%C3%A9){0,8}");
    let query = btree_map("[a-z]{1,8}", parameter, 0..4).prop_flat_map(|parameters| {
        let pair = |(name, value): (String, Option<String>)| value.map_or(name.clone(), |value| name + "=" + &value);
        Just(parameters.into_iter().map(pair).collect::<Vec<_>>()).prop_shuffle()
    });
    let path = vec("[A-Za-z0-9._~-]{1,4}(%[0-9A-F]{2})?", 1..4);
    let parts = (select(vec![Method::Put, Method::Head]), path, query, headers.prop_shuffle());
    parts.prop_map(|(method, path, query, headers)| {
        let (path, query) = (format!("/{}", path.join("/")), query.join("&"));
        let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        let request = Request::new(method, "", &path, query, headers);
        (string_to_sign("me", &request), by_the_book("me", &request))
    })
}

#[test]
fn what_is_signed_is_what_the_page_says() {
    holds(texts(), |(ours, theirs)| assert_eq!(ours, theirs));
}
