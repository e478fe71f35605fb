//! All that is used of `ureq::unversioned`, which any new version of ureq may change.

use std::net::{IpAddr, SocketAddr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Timeout};

use super::resolver::{CachingResolver, NoAddress};

/// As many as ureq takes.
const MOST_ADDRESSES: usize = 16;

/// An agent whose look-ups of names are bounded and remembered.
pub(super) fn agent(config: Config) -> Agent {
    Agent::with_parts(config, DefaultConnector::new(), CachingResolver::default())
}

impl Resolver for CachingResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let addresses = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.addresses(&format!("{host}:{port}"), *timeout.after)?,
        };
        let mut resolved = self.empty();
        addresses.iter().take(MOST_ADDRESSES).for_each(|address| resolved.push(*address));
        Ok(resolved)
    }
}

impl From<NoAddress> for ureq::Error {
    fn from(no_address: NoAddress) -> ureq::Error {
        match no_address {
            NoAddress::TimedOut => ureq::Error::Timeout(Timeout::Resolve),
            NoAddress::NotFound => ureq::Error::HostNotFound,
            NoAddress::NoThread(error) => error.into(),
        }
    }
}
