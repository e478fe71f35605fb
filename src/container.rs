//! Where locks live: a blob container, what opens it, and the connections to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::credential::Credential;
use crate::error::{About, Result};
use crate::metadata::Metadata;
use crate::names;
use crate::queue::Queues;
use crate::rest::{self, AccountInfo, Address, Contact, Exchange, Operation};
#[cfg(feature = "list")]
use crate::rest::{Page, Wanted};
use crate::retry::Policy;
use crate::transport::Transport;
use crate::transport::proxy::Proxy;

mod builder;
mod endpoint;

pub use builder::Builder;

/// What stays as it is in a path; everything else is percent-encoded, so that no two names meet.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A container of Azure Blob Storage in which locks live, with its credential and its connections. Not a Docker
/// container.
///
/// Making one talks to nobody. Clones are cheap and share the connections, and the [queues](crate::Locker#turns) in which
/// threads wait for a lock. So make one per program and clone it, or make all locks from it; it can be used from many
/// threads at once.
///
/// ```
/// let container = azmutex::Container::development("locks")?;
/// let locker = container.locker("nightly-report")?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone)]
pub struct Container(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    origin: String,
    name: String,
    pub(crate) path: String,
    credential: Credential,
    transport: Transport,
    policy: Policy,
    create: bool,
    /// Whether metadata of others may be written back with their names in lower case.
    lower_cases: bool,
    version: String,
    queues: Queues,
}

impl Container {
    pub(crate) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Where the threads of this process wait for its locks.
    pub(crate) fn queues(&self) -> &Queues {
        &self.0.queues
    }

    /// The one on the way to the service.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.0.transport.proxy()
    }

    pub(crate) fn creates(&self) -> bool {
        self.0.create
    }

    pub(crate) fn lower_cases(&self) -> bool {
        self.0.lower_cases
    }

    /// Checks the name of a lock, and says where its blob is.
    pub(crate) fn place(&self, name: &str) -> Result<Place> {
        names::check_lock(name)?;
        let path = format!("{}/{}", self.0.path, utf8_percent_encode(name, ENCODED));
        Ok(Place { lock: name.into(), url: format!("{}{path}", self.0.origin).into(), path })
    }

    /// One attempt at `operation` on the lock at `place`; `metadata` is what a write is to leave.
    pub(crate) fn attempt(
        &self,
        place: &Place,
        operation: Operation,
        metadata: Option<&Metadata>,
        limit: Duration,
    ) -> Exchange {
        rest::attempt(&self.0.transport, &self.0.credential, &self.address(place), operation, metadata, limit)
    }

    /// The same, with what the answer tells besides.
    pub(crate) fn attempt_and_listen(
        &self,
        place: &Place,
        operation: Operation,
        limit: Duration,
    ) -> (Exchange, Contact) {
        rest::attempt_and_listen(&self.0.transport, &self.0.credential, &self.address(place), operation, limit)
    }

    /// One attempt at a page of its blobs.
    #[cfg(feature = "list")]
    pub(crate) fn list(&self, wanted: &Wanted<'_>, limit: Duration) -> (Exchange, Option<Page>) {
        let address = self.address_of("", self.as_about());
        rest::list(&self.0.transport, &self.0.credential, &address, wanted, limit)
    }

    /// As an error is about it, and not about one of its locks.
    #[cfg(feature = "list")]
    pub(crate) fn as_about(&self) -> About {
        About::Container(self.0.name.as_str().into())
    }

    /// What sort of account it is in, if the service tells.
    pub(crate) fn account_info(&self, place: &Place, limit: Duration) -> Option<AccountInfo> {
        rest::account_info(&self.0.transport, &self.0.credential, &self.address(place), limit)
    }

    pub(crate) fn origin(&self) -> &str {
        &self.0.origin
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.0.credential
    }

    pub(crate) fn address<'a>(&'a self, place: &'a Place) -> Address<'a> {
        self.address_of(&place.path, About::from(&place.lock))
    }

    fn address_of<'a>(&'a self, blob_path: &'a str, about: About) -> Address<'a> {
        Address {
            origin: &self.0.origin,
            container: &self.0.name,
            container_path: &self.0.path,
            blob_path,
            about,
            version: &self.0.version,
        }
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = format!("{}{}", self.0.origin, self.0.path);
        f.debug_struct("Container").field("url", &url).field("credential", &self.0.credential).finish_non_exhaustive()
    }
}

/// A lock's blob.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) lock: Arc<str>,
    /// Whole, without a query.
    pub(crate) url: Arc<str>,
    pub(crate) path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_urls() {
        let container = Container::development("locks").unwrap();
        let names =
            ["a b", "a%20b", "a+b", "a/b", "a%2Fb", "a%2fb", "A b", "é", "e\u{301}", "a?b", "a#b", "a&b=c", "~", "%7E"];
        let mut urls: Vec<_> = names.iter().map(|name| container.place(name).unwrap().url).collect();
        assert_eq!(&*urls[0], "http://127.0.0.1:10000/devstoreaccount1/locks/a%20b");
        assert_eq!(&*urls[9], "http://127.0.0.1:10000/devstoreaccount1/locks/a%3Fb");
        urls.sort_unstable();
        urls.dedup();
        assert_eq!(urls.len(), names.len());
    }
}
