//! https, to an emulator with a certificate of its own.
#![cfg(any(feature = "rustls", feature = "platform-verifier"))]

use std::time::{Duration, Instant};

use azmutex::credential::Credential;
use azmutex::{Container, ErrorKind};

use crate::support::azurite::{azurite_https, azurite_with_an_authority_s_certificate};
use crate::support::unique;

const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn container(port: u16) -> Container {
    let url = format!("https://localhost:{port}/devstoreaccount1/{}", unique("tls"));
    Container::builder(&url, Credential::shared_key("devstoreaccount1", KEY).unwrap()).build().unwrap()
}

#[test]
fn a_certificate_that_nobody_vouches_for_ends_the_wait_at_once() {
    let Some(azurite) = azurite_https() else { return };
    let start = Instant::now();
    let error = container(azurite.port()).locker("job").unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    let text = format!("{error:?}");
    assert!(text.contains("no trusted TLS connection") && text.contains("certificate"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5), "{text}");
}

#[test]
fn an_authority_s_certificate_is_named_as_such() {
    let Some(azurite) = azurite_with_an_authority_s_certificate() else { return };
    let error = container(azurite.port()).locker("job").unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
    // Windows judges for itself there, and says no more than that it knows no issuer.
    let by_windows = cfg!(all(windows, feature = "platform-verifier"));
    let expected =
        if by_windows { "in this system's trust store?" } else { "its certificate is an authority's own (CA)" };
    assert!(error.to_string().contains(expected), "{error:?}");
}

/// With the certificate among those that the platform trusts, in a process of its own.
#[cfg(all(feature = "platform-verifier", target_os = "linux"))]
#[test]
fn a_certificate_that_the_platform_trusts_is_good_enough() {
    use crate::support::{azurite, process};

    const PORT: &str = "AZMUTEX_TEST_HTTPS_PORT";
    if let Some(port) = process::variable(PORT) {
        let locker = container(port.parse().unwrap()).locker("job").unwrap();
        for _ in 0..3 {
            locker.lock().unwrap().unlock().unwrap();
        }
        return;
    }
    let Some(azurite) = azurite_https() else { return };
    let again = process::again(a_certificate_that_the_platform_trusts_is_good_enough);
    again.env(PORT, &azurite.port().to_string()).env("SSL_CERT_FILE", azurite::CERTIFICATE).passes();
}
