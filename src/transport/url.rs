//! URLs, as far as this crate needs them.

use std::net::IpAddr;

use ureq::http::Uri;

use crate::error::{Error, Result};

/// A URL, taken apart just as far as needed.
pub(crate) struct Url {
    pub(crate) https: bool,
    /// Scheme and authority.
    pub(crate) origin: String,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    /// The one that is said, or else the scheme's own.
    pub(super) port: u16,
    pub(crate) path: String,
}

impl Url {
    /// The text may hold a secret where none belongs, so the errors do not show it.
    pub(crate) fn parse(text: &str) -> Result<Url> {
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Error::input("the URL must begin with https:// or http://"))?;
        let https = match &*scheme.to_ascii_lowercase() {
            "https" => true,
            "http" => false,
            _ => return Err(Error::input("the URL must begin with https:// or http://")),
        };
        if rest.contains(['?', '#']) {
            return Err(Error::input(
                "the URL must have no query; a SAS token is no part of it, and is given by itself",
            ));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_is_good = match bare {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(name),
        };
        let usual = if https { 443 } else { 80 };
        let port = port.map_or(Some(usual), |port| port.parse::<u16>().ok().filter(|port| *port != 0));
        let origin = format!("{}://{}", if https { "https" } else { "http" }, authority.to_ascii_lowercase());
        let Some(port) = port.filter(|_| host_is_good && is_origin(&origin)) else {
            return Err(Error::input(
                "the URL has no valid host and port; it is like https://account.blob.core.windows.net",
            ));
        };
        Ok(Url { https, origin, host: bare.unwrap_or(host).to_ascii_lowercase(), port, path: path.to_owned() })
    }

    /// In lower case; an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            // Of the names below it, not every system knows that they are this machine's.
            Err(_) => self.host == "localhost",
        }
    }

    /// Whether the account is the first segment of the path: emulators and gateways without a name of the account's.
    pub(crate) fn is_path_style(&self) -> bool {
        !self.host.contains('.') || self.host.parse::<IpAddr>().is_ok()
    }

    /// This machine, or what is on its own net: link-local, or private.
    #[cfg(feature = "entra")]
    pub(crate) fn is_near(&self) -> bool {
        let near = |ip| match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_private(),
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unique_local(),
        };
        self.is_loopback() || self.host.parse().is_ok_and(near)
    }

    /// Whether its path, which may end with a slash, is sent as it stands.
    #[cfg(feature = "entra")]
    pub(crate) fn has_good_path(&self) -> bool {
        is_good_path(self.path.strip_suffix('/').unwrap_or(&self.path))
    }

    /// Whether this build can speak to it.
    pub(crate) fn check_tls(&self) -> Result<()> {
        if self.https && !HAS_TLS {
            return Err(Error::input(
                "this build of azmutex has no TLS; enable its feature `rustls` or `platform-verifier`",
            ));
        }
        Ok(())
    }
}

/// Whether https can be spoken: without a TLS feature ureq would connect first, and fail then.
pub(super) const HAS_TLS: bool = cfg!(any(feature = "rustls", feature = "platform-verifier"));

/// Whether ureq will take this as the beginning of a URL.
fn is_origin(origin: &str) -> bool {
    let uri = origin.parse::<Uri>();
    uri.is_ok_and(|uri| uri.authority().is_some_and(|authority| !authority.host().is_empty()))
}

/// Empty, or segments that nobody on the way changes.
pub(crate) fn is_good_path(path: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte);
    let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(fits);
    path.is_empty() || path.strip_prefix('/').is_some_and(|path| path.split('/').all(good))
}
