//! Where a URL of the Blob service names the account and the container. The service does not tell of a mistake here: an
//! endpoint that ends in the container's name makes `locks/locks/job` of the lock `job`, which is another lock than that
//! of everybody who left the container's name out.

use crate::error::{Error, Result};
use crate::names;
use crate::transport::url::Url;

/// Where the account's name is.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Style {
    /// In the host, as in `account.blob.core.windows.net`.
    Host,
    /// In the path: an IP address, `localhost` or a single label has no room for it.
    Path,
    /// In neither, if the host is the account's alone, or in the path.
    Custom,
}

/// The services beside Blob, in the words of their vendor.
const OTHERS: [(&str, &str); 5] =
    [("dfs", "Data Lake Storage"), ("file", "File"), ("queue", "Queue"), ("table", "Table"), ("web", "static website")];
const SECONDARY: &str = "-secondary";

/// What follows the service's name in the hosts of the vendor's clouds: the public one, those of the USA, China and
/// Germany, those of France and Germany that others run, and those of the USA that the internet does not reach.
const CLOUDS: [&str; 8] = [
    "core.windows.net",
    "core.usgovcloudapi.net",
    "core.chinacloudapi.cn",
    "core.cloudapi.de",
    "core.sovcloud-api.fr",
    "core.sovcloud-api.de",
    "core.eaglex.ic.gov",
    "core.microsoft.scloud",
];
/// The same with a DNS zone in front, in each cloud with an end of its own.
const ZONED: &str = "storage.azure.";
/// Of an Azure Stack Hub whose operator gave it no name of its own. Where that was done, it may be any domain, and then
/// nothing tells `acct.queue.region.contoso.com` from a host of somebody's own that happens to be called so.
const STACK_HUB: &str = ".azurestack.external";

/// A host's name, taken apart.
struct Host<'a> {
    labels: Vec<&'a str>,
    /// Which of the labels names the service, if one does: of `account.blob.core.windows.net`, with a DNS zone or
    /// `privatelink` in between,
    /// [storage account endpoints](https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints).
    service: Option<usize>,
    /// It can be nobody's but a storage account's. Any other host with `blob` in that place may be one, on an Azure Stack
    /// Hub, and may be a domain of the user's own.
    is_azure: bool,
}

impl Host<'_> {
    fn of(url: &Url) -> Host<'_> {
        let labels: Vec<&str> = url.host().trim_end_matches('.').split('.').collect();
        let is_zone = |label: &str| {
            let zone = label.strip_prefix('z');
            zone.is_some_and(|zone| !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let service = if labels.get(1).is_some_and(|label| *label == "privatelink" || is_zone(label)) { 2 } else { 1 };
        let cloud = labels.get(service + 1..).unwrap_or_default().join(".");
        let is_zoned = || service == 2 && cloud.strip_prefix(ZONED).is_some_and(|end| !end.contains('.'));
        let is_cloud = CLOUDS.contains(&&*cloud) || is_zoned() || cloud.ends_with(STACK_HUB);
        // In a Kubernetes cluster the second label is a namespace, whose name means nothing.
        let is_cluster = labels.get(2) == Some(&"svc");
        let (is_azure, is_service) = match labels.get(service) {
            Some(&"blob") => (is_cloud, !cloud.is_empty() && !is_cluster),
            Some(label) => (is_cloud, is_cloud && OTHERS.iter().any(|(name, _)| name == label)),
            None => (false, false),
        };
        Host { labels, service: is_service.then_some(service), is_azure }
    }

    /// Whether it begins with that account's name.
    fn is_of_account(&self, account: &str) -> bool {
        let first = self.labels.first().map(|first| first.strip_suffix(SECONDARY).unwrap_or(first));
        first.is_some_and(|first| first.eq_ignore_ascii_case(account))
    }
}

/// `account`: its name, if that is said besides.
fn style(url: &Url, account: Option<&str>) -> Style {
    let host = Host::of(url);
    let may_be = host.is_azure || account.is_none_or(|account| host.is_of_account(account));
    match host.service {
        _ if url.is_path_style() => Style::Path,
        Some(_) if may_be => Style::Host,
        _ => Style::Custom,
    }
}

/// Refuses hosts on which there are no locks, with the one on which there are.
pub(super) fn check_host(url: &Url) -> Result<()> {
    let Host { mut labels, service: Some(service), is_azure: true } = Host::of(url) else { return Ok(()) };
    let other = OTHERS.iter().find(|(name, _)| *name == labels[service]);
    let secondary = labels[0].strip_suffix(SECONDARY);
    let what = match (other, secondary) {
        (Some((_, other)), _) => format!("of the account's {other} service, not of its Blob service"),
        (None, Some(_)) => "the account's secondary endpoint, which is read-only and cannot hold locks".to_owned(),
        (None, None) => return Ok(()),
    };
    labels[service] = "blob";
    labels[0] = secondary.unwrap_or(labels[0]);
    if labels[1] == "privatelink" || other.is_some_and(|(name, _)| *name == "web") && labels[service + 1] == "core" {
        // Of the public zones, only a website's host has one in its name.
        labels.drain(1..service);
    }
    Err(Error::input(format!("{} is {what}; use {}://{}", url.origin, url.scheme(), labels.join("."))))
}

/// The path of an endpoint, which is the account's URL, and of an `account` if it is known by name. A lock in
/// `container` would be below it.
pub(super) fn base_of_endpoint<'a>(url: &'a Url, account: Option<&str>, container: &str) -> Result<&'a str> {
    let base = url.path.trim_end_matches('/');
    let segments: Vec<&str> = base.split('/').skip(1).collect();
    let is_account = |segment: &str| account.is_none_or(|account| account == segment);
    let origin = &url.origin;
    let wrong = match (style(url, account), &segments[..]) {
        (Style::Host, []) if account.is_some_and(|account| !Host::of(url).is_of_account(account)) => {
            return Err(Error::input(format!(
                "the endpoint {origin} is not of the account that is named beside it; leave one of them out"
            )));
        }
        (Style::Host | Style::Custom, []) => return Ok(base),
        (Style::Path, [segment]) if segment.ends_with(SECONDARY) => {
            return Err(secondary_account(url, segment));
        }
        (Style::Path, [segment]) if is_account(segment) && names::check_account(segment).is_ok() => {
            if account.is_some() || *segment != container {
                return Ok(base);
            }
            "ends in the container's name, which is named apart, and has no account"
        }
        (Style::Custom, [segment]) if account == Some(segment) => return Ok(base),
        (_, [.., last]) if *last == container => "ends in the container's name, which is named apart",
        (Style::Path, []) => "has no path, which should be the account's name",
        (Style::Path, [_]) => "has another path than the account's name",
        (Style::Path, _) => "has a path that goes on after the account's name",
        (Style::Host, _) => "has a path, with the account in the host's name already",
        (Style::Custom, _) if account.is_none() => {
            "has a path, which could only be the account's name, and no account is named"
        }
        (Style::Custom, _) => "has another path than the account's name",
    };
    let like = match style(url, account) {
        // What was given for a name may be anything.
        Style::Path => {
            let account = account.filter(|account| names::check_account(account).is_ok());
            format!("{origin}/{}", account.unwrap_or("account"))
        }
        Style::Host | Style::Custom => origin.clone(),
    };
    Err(Error::input(format!("the account's endpoint at {origin} {wrong}; it should be like {like}")))
}

/// The path of a container's URL, taken apart: what is before the container, and its name.
pub(super) fn base_of_container(url: &Url) -> Result<(&str, &str)> {
    let path = url.path.trim_end_matches('/');
    let (base, name) = path.rsplit_once('/').unwrap_or(("", path));
    let segments: Vec<&str> = base.split('/').skip(1).collect();
    let origin = &url.origin;
    let wrong = match (style(url, None), &segments[..]) {
        (_, _) if name.is_empty() => format!("names no container; it is like {origin}/locks"),
        (Style::Path | Style::Custom, [segment]) if segment.ends_with(SECONDARY) => {
            return Err(secondary_account(url, segment));
        }
        (Style::Path, [segment]) if *segment != name => return Ok((base, name)),
        (Style::Path, []) => format!("names no container after the account; it is like {origin}/account/locks"),
        (Style::Path, _) => {
            format!("has more than an account and a container in its path; it is like {origin}/account/locks")
        }
        (Style::Host | Style::Custom, []) => return Ok((base, name)),
        // Only an account can be meant, as of an emulator.
        (Style::Custom, [segment]) if *segment != name && names::check_account(segment).is_ok() => {
            return Ok((base, name));
        }
        (Style::Host, _) => format!(
            "has more than a container in its path, with the account in the host's name; it is like {origin}/locks"
        ),
        (Style::Custom, _) => format!("has more than a container in its path; it is like {origin}/locks"),
    };
    Err(Error::input(format!("the URL {wrong}")))
}

/// As emulators call it.
fn secondary_account(url: &Url, segment: &str) -> Error {
    let account = segment.trim_end_matches(SECONDARY);
    let right =
        names::check_account(account).map_or_else(|_| url.origin.clone(), |()| format!("{}/{account}", url.origin));
    Error::input(format!(
        "the URL is of the account's secondary endpoint, which is read-only and cannot hold locks; use {right}"
    ))
}
