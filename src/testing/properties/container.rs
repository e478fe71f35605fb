//! What holds for every URL, environment and name.

use std::ffi::OsString;

use percent_encoding::percent_decode_str;

use super::{SAS, prints, shows_no_secret};
use crate::container::{Builder, Container};
use crate::credential::Credential;
use crate::environment::Environment;
use crate::error::Result;
use crate::names;

/// Of settings from anywhere: what cannot be used is refused without showing a secret, and what can be used goes to
/// the host and the path that were checked.
pub(crate) fn sound(builder: Result<Builder>) {
    let container = builder.and_then(|builder| {
        shows_no_secret(&format!("{builder:?}"));
        builder.allow_http().build()
    });
    let container = match container {
        Ok(container) => container,
        Err(error) => return shows_no_secret(&prints(&error)),
    };
    let (origin, path, credential) = (container.origin(), &container.0.path, container.credential());
    super::transport::sent_as_written(origin, path, "");
    let url = format!("{origin}{path}");
    let again = Container::builder(&url, credential.clone()).allow_http().build();
    assert!(again.is_ok_and(|again| again.origin() == origin && again.0.path == *path), "{url}");
    // A path is no place for a secret, and has to be told of.
    shows_no_secret(&format!("{container:?}").replace(&url, ""));
}

/// As [`sound`], of settings that name an account and the container `locks` apart: that container is then right below
/// the account, wherever the account is named.
pub(crate) fn sound_account(builder: Result<Builder>) {
    if let Ok(container) = builder.clone().and_then(|builder| builder.allow_http().build()) {
        let path = container.0.path.strip_suffix("/locks").unwrap();
        let is_account = path.strip_prefix('/').is_some_and(|account| names::check_account(account).is_ok());
        assert!(path.is_empty() || is_account, "{container:?}");
    }
    sound(builder);
}

/// Of any text at all.
pub(crate) fn any_url(text: &str) {
    sound(Ok(Container::builder(text, Credential::sas(SAS).unwrap())));
    sound(Builder::from_sas_url(text));
    sound(Builder::from_blob_sas_url(text).map(|(builder, _)| builder));
}

/// Of any variables.
pub(crate) fn any_environment(variables: &[(String, OsString)]) {
    let variable = |name: &str| variables.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    sound_account(Builder::from_variables(&Environment(&variable), "locks"));
}

/// Of any text at all.
pub(crate) fn any_name(name: &str) {
    let container = Container::development("locks").unwrap();
    let place = match container.place(name) {
        Ok(place) => place,
        Err(error) => {
            let text = prints(&error);
            assert!(text.len() < 1024, "{text}");
            return shows_no_secret(&text);
        }
    };
    // So no two names share a blob.
    assert_eq!(as_the_service_reads(&place.path), format!("devstoreaccount1/locks/{name}"));
    assert_eq!(*place.url, format!("{}{}", container.origin(), place.path));
    super::transport::sent_as_written(container.origin(), &place.path, "comp=lease");
    let (_, blob) = Builder::from_blob_sas_url(&format!("{}?{}", place.url, SAS)).unwrap();
    assert_eq!(blob, name);
    #[cfg(feature = "emulator")]
    for credential in [container.credential(), &Credential::sas(super::emulator::ACCOUNT_SAS).unwrap()] {
        super::rest::any_lock(&place.lock, &container.address(&place), credential);
    }
}

/// What is left of a path after everything that the service, or a library on the way, may do to it: dot segments are
/// resolved before and after the decoding, a backslash is a slash, empty segments and dots at a segment's end go.
fn as_the_service_reads(path: &str) -> String {
    let decoded = percent_decode_str(&resolved(path)).decode_utf8_lossy().replace('\\', "/");
    resolved(&decoded)
}

fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            ".." => drop(segments.pop()),
            segment => segments.push(segment.trim_end_matches('.')),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::testing::properties::{KEY, holds};

    /// Pieces of names and URLs that mean something to somebody.
    const PIECES: [&str; 26] = [
        "/",
        "//",
        "\\",
        ".",
        "..",
        "/.",
        "/../",
        "%",
        "%2e",
        "%2F",
        "%5C",
        "?",
        "#",
        "&",
        "=",
        "+",
        " ",
        "\u{0}",
        "\u{e9}",
        "e\u{301}",
        "\u{1f512}",
        "\u{fffe}",
        "a",
        "A",
        KEY,
        SAS,
    ];

    fn pieces() -> impl Strategy<Value = String> {
        prop_oneof![vec(select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat()), ".{0,40}"]
    }

    // Scenario 26.
    #[test]
    fn a_name_is_refused_or_is_a_path_of_its_own() {
        holds(pieces(), |name| any_name(&name));
        holds((pieces(), 0..1100_usize), |(name, times)| any_name(&name.repeat(times / name.len().max(1))));
    }

    #[test]
    fn a_url_is_refused_or_means_to_others_what_it_means_to_us() {
        holds(".*", |url| any_url(&url));
        let authority = prop_oneof!["[a-zA-Z0-9._:@\\[\\]-]{0,30}", pieces()];
        let url = (select(vec!["http", "HTTPS", "https", "ftp"]), authority, pieces(), "(/[a-z-]{1,8})?");
        holds(url, |(scheme, authority, path, name)| {
            any_url(&format!("{scheme}://{authority}{path}{name}"));
            any_url(&format!("{scheme}://{authority}/{path}{name}"));
        });
        holds((pieces(), pieces()), |(path, end)| {
            any_url(&format!("http://127.0.0.1:10000/{path}/locks"));
            any_url(&format!("http://127.0.0.1:10000/{path}/locks/{end}?{}", SAS));
        });
    }

    const VARIABLES: [&str; 23] = [
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_SERVICE_ENDPOINT",
        "AZMUTEX_SERVICE_VERSION",
        "AZURE_TOKEN_CREDENTIALS",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
        "AZURE_FEDERATED_TOKEN_FILE",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "AZURE_AUTHORITY_HOST",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IDENTITY_SERVER_THUMBPRINT",
        "MSI_ENDPOINT",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    ];
    const VALUES: [&str; 16] = [
        "",
        "me",
        "UseDevelopmentStorage=true",
        KEY,
        SAS,
        "sig=x",
        "AAAA",
        "http://127.0.0.1:10000/me",
        "http://127.0.0.1:10000/me/locks",
        "https://me.blob.core.windows.net/locks/",
        "https://storage.example/me",
        "http://azurite",
        "prod",
        "ManagedIdentityCredential",
        "WorkloadIdentityCredential",
        "EnvironmentCredential",
    ];

    fn value() -> impl Strategy<Value = OsString> {
        prop_oneof![
            9 => select(VALUES.map(OsString::from).to_vec()),
            1 => ".{0,20}".prop_map(OsString::from),
            1 => Just(not_unicode()),
            1 => Just(format!("AccountName=me;AccountKey={}", KEY).into()),
        ]
    }

    #[cfg(unix)]
    fn not_unicode() -> OsString {
        std::os::unix::ffi::OsStringExt::from_vec(vec![b'a', 0xff])
    }

    #[cfg(not(unix))]
    fn not_unicode() -> OsString {
        OsString::new()
    }

    #[test]
    fn any_environment_is_used_or_refused() {
        let account = option::of(Just(("AZURE_STORAGE_ACCOUNT".to_owned(), OsString::from("me"))));
        let variable = (select(VARIABLES.map(str::to_owned).to_vec()), value());
        holds((account, vec(variable, 0..8)), |(account, variables)| {
            any_environment(&account.into_iter().chain(variables).collect::<Vec<_>>());
        });
    }
}
