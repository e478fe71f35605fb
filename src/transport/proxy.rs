//! Which proxy a request goes through, if any, as curl chooses it; and what is said to it.
//!
//! Nothing is looked up and nobody is talked to here.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::url::{HAS_TLS, Url};
use crate::error::{Error, Result};
use crate::redact::Secret;

/// What proxies and servers are told of who asks.
pub(super) const USER_AGENT: &str = concat!("azmutex/", env!("CARGO_PKG_VERSION"));
/// curl's, of a proxy that is spoken to without TLS.
const USUAL_PORT: u16 = 1080;

/// What the environment says of proxies. Nothing of it has been checked.
#[derive(Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<Setting>,
    pub(crate) https: Option<Setting>,
    /// What is reached directly, separated by commas.
    pub(crate) direct: String,
}

/// A proxy's URL, which may hold a password, and the variable that it comes from.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) variable: &'static str,
    pub(crate) url: Secret,
}

impl Proxies {
    /// The one on the way to `url`; this machine is reached directly. Only that one has to be right.
    pub(crate) fn on_the_way_to(&self, url: &Url) -> Result<Option<Proxy>> {
        let setting = if url.https { &self.https } else { &self.http };
        match setting {
            Some(setting) if !url.is_loopback() && !is_direct(&self.direct, &url.host, url.port) => {
                Proxy::of(setting).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A proxy that opens connections to others, when it is asked with `CONNECT`.
pub(crate) struct Proxy {
    pub(super) url: Url,
    /// The header's value.
    authorization: Option<Secret>,
    variable: &'static str,
}

impl Proxy {
    fn of(Setting { variable, url }: &Setting) -> Result<Proxy> {
        let wrong = |what: &str| Error::input(format!("the environment variable {variable} names {what}"));
        let (scheme, rest) = url.reveal().split_once("://").unwrap_or(("http", url.reveal()));
        let usual_port = match &*scheme.to_ascii_lowercase() {
            "http" => USUAL_PORT,
            "https" if HAS_TLS => 443,
            "https" => {
                return Err(wrong(
                    "a proxy that is spoken to with TLS, and this build of azmutex has none; enable its feature \
                     `rustls` or `platform-verifier`",
                ));
            }
            socks if socks.starts_with("socks") => {
                return Err(wrong("a SOCKS proxy, which azmutex cannot use; it can use one like http://proxy:3128"));
            }
            _ => return Err(wrong("no proxy that azmutex can use; it can use one like http://proxy:3128")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if rest[authority.len()..].contains('@') {
            return Err(wrong(
                "a proxy whose name or password has a `/`, `?` or `#` in it; write them as %2F, %3F and %23",
            ));
        }
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, rest)| (Some(user), rest));
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = if has_port { String::new() } else { format!(":{usual_port}") };
        let url = Url::parse(&format!("{scheme}://{address}{port}"))
            .map_err(|_| wrong("a proxy without a valid host and port; one is like http://proxy:3128"))?;
        let authorization = user.filter(|user| !user.is_empty()).map(basic);
        Ok(Proxy { url, authorization, variable })
    }

    /// What asks for a connection to `target`, a host and a port.
    pub(super) fn request(&self, target: &str) -> Zeroizing<String> {
        let authorization = self.authorization.as_ref().map(|value| {
            // The value is wiped with the text that it becomes a part of.
            Zeroizing::new(format!("Proxy-Authorization: {}\r\n", value.reveal()))
        });
        Zeroizing::new(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {}\r\n{}\r\n",
            USER_AGENT,
            authorization.as_ref().map_or("", |line| line),
        ))
    }
}

impl fmt::Display for Proxy {
    /// Without the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.url.origin, self.variable)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For a `user:password` as it stands in a URL.
fn basic(user: &str) -> Secret {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let plain: Vec<u8> = percent_decode_str(name).chain([b':']).chain(percent_decode_str(password)).collect();
    Secret::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(&*Zeroizing::new(plain))).as_str()))
}

/// Why a proxy opened no connection. Nothing was sent to whom the connection was for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    NoSuchHost,
    Refused,
    Connection,
    TimedOut,
    /// Its certificate or its TLS is not acceptable.
    Tls,
    /// What answers speaks no TLS.
    NoTls,
    NotAProxy,
    Answered(u16),
}

/// The length of the answer's head, and its status, once all of the head is there.
pub(super) fn answer(bytes: &[u8]) -> std::result::Result<Option<(usize, u16)>, Trouble> {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(BEGINNING.len());
    if bytes[..common] != BEGINNING[..common] {
        return Err(Trouble::NotAProxy);
    }
    let end = |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark).map(|at| at + mark.len());
    let Some(length) = [end(b"\r\n\r\n"), end(b"\n\n")].into_iter().flatten().min() else { return Ok(None) };
    // "HTTP/1.1 200 Connection established"
    let status = bytes.get(BEGINNING.len() + 2..BEGINNING.len() + 5);
    let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    status.map(|status| Some((length, status))).ok_or(Trouble::NotAProxy)
}

/// Whether one of the entries of `list` covers this host and port.
fn is_direct(list: &str, host: &str, port: u16) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    match host.parse::<IpAddr>() {
        Ok(ip) => entries.into_iter().any(|entry| entry == "*" || covers_address(entry, ip.to_canonical(), port)),
        Err(_) => entries.into_iter().any(|entry| entry == "*" || covers_name(entry, host, port)),
    }
}

/// A domain covers what is below it, with and without a dot, or `*.`, in front.
fn covers_name(entry: &str, host: &str, port: u16) -> bool {
    let (domain, entry_port) = split_port(entry);
    let domain = domain.strip_prefix('*').unwrap_or(domain);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    let is_below = host.strip_suffix(&*domain).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    entry_port.is_none_or(|entry| entry == port) && !domain.is_empty() && is_below
}

fn covers_address(entry: &str, ip: IpAddr, port: u16) -> bool {
    let address = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        bare.parse::<IpAddr>().ok()
    };
    if let Some((net, bits)) = entry.split_once('/') {
        return address(net).zip(bits.parse().ok()).is_some_and(|(net, bits)| is_in_net(ip, net, bits));
    }
    let (text, entry_port) = split_port(entry);
    entry_port.is_none_or(|entry| entry == port) && address(text).is_some_and(|entry| entry.to_canonical() == ip)
}

/// Of an IPv6 address without brackets all is the address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if entry.parse::<IpAddr>().is_err() => {
            port.parse().map_or((entry, None), |port| (host, Some(port)))
        }
        _ => (entry, None),
    }
}

fn is_in_net(ip: IpAddr, net: IpAddr, bits: u32) -> bool {
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            bits <= 32 && (ip.to_bits() ^ net.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            bits <= 128 && (ip.to_bits() ^ net.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn setting(url: &str) -> Setting {
        Setting { variable: "the_proxy", url: Secret::new(url.to_owned()) }
    }

    fn proxy(url: &str) -> Result<Proxy> {
        Proxy::of(&setting(url))
    }

    #[test]
    fn a_proxy_is_what_curl_takes_it_for() {
        for (text, origin) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("HTTP://Proxy.Example:3128/a?b#c", "http://proxy.example:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("proxy", "http://proxy:1080"),
            ("http://proxy", "http://proxy:1080"),
            ("http://10.0.0.1:80", "http://10.0.0.1:80"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
            ("http://[fd00::1]", "http://[fd00::1]:1080"),
            ("user:p@ss@proxy:3128", "http://proxy:3128"),
        ] {
            let proxy = proxy(text).unwrap();
            assert_eq!(proxy.url.origin, origin, "{text}");
            assert_eq!(format!("{proxy} {proxy:?}"), format!("{origin} (the_proxy) {origin} (the_proxy)"));
        }
        if HAS_TLS {
            assert_eq!(proxy("https://proxy").unwrap().url.origin, "https://proxy:443");
        }
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_shows_no_password() {
        for text in [
            "socks://a:s3cret@b",
            "socks4://b",
            "SOCKS5://b",
            "socks5h://a:s3cret@b:1080",
            "ftp://b",
            "http:/b",
            "http://",
            "http://a:s3cret@",
            "http://b:port",
            "http://b:0",
            "http://b:65536",
            "http://:3128",
            "http://b c",
            "http://a:s3cret/@b:1",
            "http://[::1",
            "http://fd00::1",
            "http://b\u{fffd}",
        ] {
            let error = proxy(text).map(|proxy| proxy.to_string()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            let words = error.to_string();
            assert!(words.contains("the_proxy") && !words.contains("s3cret"), "{text}: {words}");
            assert_eq!(words.contains("SOCKS"), text.to_ascii_lowercase().starts_with("socks"), "{text}: {words}");
        }
    }

    #[test]
    fn a_connection_is_asked_for_with_the_password_if_there_is_one() {
        let lines = |url: &str| proxy(url).unwrap().request("host:443").to_string();
        let plain = format!("CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\nUser-Agent: {USER_AGENT}\r\n");
        assert_eq!(lines("proxy:1"), format!("{plain}\r\n"));
        assert_eq!(lines("@proxy:1"), format!("{plain}\r\n"));
        for (url, value) in [
            ("http://user:password@proxy", "user:password"),
            ("user@proxy:1", "user:"),
            ("user:a:b%3A%40+@proxy:1", "user:a:b:@+"),
            ("us%C3%A9r:p%ff%@proxy:1", "us\u{e9}r:p\u{fffd}%"),
        ] {
            let text = lines(url);
            let line = text.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: Basic ")).unwrap();
            assert_eq!(String::from_utf8_lossy(&STANDARD.decode(line).unwrap()), value, "{url}");
            assert!(text.starts_with(&plain) && text.ends_with("\r\n\r\n"), "{url}: {text}");
        }
    }

    #[test]
    fn an_answer_is_read_when_all_of_its_head_is_there() {
        let head = "HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n";
        for length in 0..head.len() {
            assert_eq!(answer(&head.as_bytes()[..length]), Ok(None), "{length}");
        }
        for (text, expected) in [
            (head, Ok(Some((head.len(), 200)))),
            ("HTTP/1.0 407 \r\n\r\n<html>\r\n\r\n", Ok(Some((17, 407)))),
            ("HTTP/1.1 200\n\nx", Ok(Some((14, 200)))),
            ("SSH-2.0", Err(Trouble::NotAProxy)),
            ("H\r\n", Err(Trouble::NotAProxy)),
            ("HTTP/2 200\r\n", Err(Trouble::NotAProxy)),
            ("HTTP/1.1 2\u{e9}0\r\n\r\n", Err(Trouble::NotAProxy)),
            ("HTTP/1.1\r\n\r\n", Err(Trouble::NotAProxy)),
        ] {
            assert_eq!(answer(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_reached_directly_is_what_curl_reaches_directly_and_with_ports() {
        const NAME: &str = "https://acct.blob.core.example";
        const V4: &str = "https://10.1.2.3:8443";
        const V6: &str = "https://[fd00::12]";
        for (list, url, expected) in [
            ("", NAME, false),
            ("*", NAME, true),
            ("*", V4, true),
            ("a, *", V6, true),
            ("acct.blob.core.example", NAME, true),
            ("core.example", NAME, true),
            (".core.example", NAME, true),
            ("*.core.example", NAME, true),
            ("Core.Example.", NAME, true),
            ("example", NAME, true),
            ("a.b,core.example", NAME, true),
            ("a.b ,\tcore.example ", NAME, true),
            ("a.b core.example", NAME, true),
            (",,", NAME, false),
            (".", NAME, false),
            ("*.", NAME, false),
            ("ore.example", NAME, false),
            ("other.example", NAME, false),
            ("acct.blob", NAME, false),
            ("x.acct.blob.core.example", NAME, false),
            ("core.example:443", NAME, true),
            (".core.example:443", NAME, true),
            ("core.example:80", NAME, false),
            ("core.example:80", "http://core.example", true),
            ("core.example:port", NAME, false),
            ("core.example", "https://core.example.", true),
            ("10.1.2.3", V4, true),
            ("10.1.2.3:8443", V4, true),
            ("10.1.2.3:443", V4, false),
            ("10.1.2.4", V4, false),
            ("2.3", V4, false),
            (".3", V4, false),
            ("10.0.0.0/8", V4, true),
            ("10.1.2.2/31", V4, true),
            ("10.1.2.0/31", V4, false),
            ("10.1.2.3/32", V4, true),
            ("0.0.0.0/0", V4, true),
            ("10.0.0.0/33", V4, false),
            ("10.0.0.0/x", V4, false),
            ("10.0.0.0/8", NAME, false),
            ("10.0.0.0/8", V6, false),
            ("::/0", V4, false),
            ("fd00::12", V6, true),
            ("FD00:0::12", V6, true),
            ("[fd00::12]", V6, true),
            ("[fd00::12]:443", V6, true),
            ("[fd00::12]:80", V6, false),
            ("fd00::/8", V6, true),
            ("[fd00::]/8", V6, true),
            ("fc00::/8", V6, false),
            ("10.1.2.3", "https://[::ffff:10.1.2.3]", true),
        ] {
            let proxies =
                Proxies { https: Some(setting("proxy:1")), http: Some(setting("proxy:1")), direct: list.into() };
            let proxy = proxies.on_the_way_to(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(proxy.is_none(), expected, "{list:?} and {url}");
        }
    }

    #[test]
    fn only_the_proxy_that_would_be_used_has_to_be_right() {
        let wrong = || Some(setting("socks5://proxy"));
        let right = || Some(setting("proxy:1"));
        let way =
            |proxies: &Proxies, url| proxies.on_the_way_to(&Url::parse(url).unwrap()).map(|proxy| proxy.is_some());
        let proxies = Proxies { https: right(), http: wrong(), direct: String::new() };
        assert!(way(&proxies, "https://a").unwrap());
        assert!(way(&proxies, "http://a").is_err());
        for url in ["http://127.0.0.1:10000", "http://localhost", "http://[::1]:1"] {
            assert!(!way(&proxies, url).unwrap(), "{url}");
        }
        let proxies = Proxies { https: wrong(), http: None, direct: "b".into() };
        assert!(!way(&proxies, "http://a").unwrap());
        assert!(!way(&proxies, "https://b").unwrap());
        assert!(way(&proxies, "https://a").is_err());
    }
}
