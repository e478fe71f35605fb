//! Looks names up, and remembers them for half a minute.
//!
//! Without a time limit ureq looks a name up for every request, pooled connection or not; with one it starts a thread
//! for each look-up. Here only a look-up that is really needed takes a thread, one at a time for each name, and while
//! a name server is out the old addresses serve.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{self, Moment};

/// A storage account's address may change when it fails over.
const NAME_FRESH: Duration = Duration::from_secs(30);
/// A look-up that takes longer is given up for lost, and another one is begun.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);
/// With old addresses at hand a slow name server may cost this part of the request's time, not all of it.
const PART_BESIDE_OLD: u32 = 4;

#[derive(Clone, Default)]
pub(crate) struct CachingResolver {
    shared: Arc<Names>,
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachingResolver")
    }
}

/// Why there is no address in time.
#[derive(Debug)]
pub(super) enum NoAddress {
    TimedOut,
    NotFound,
    NoThread(io::Error),
}

#[derive(Default)]
struct Names {
    /// Few: the host, and perhaps a proxy.
    names: Mutex<Vec<Name>>,
    /// A look-up has ended.
    ended: Condvar,
}

struct Name {
    name: String,
    addresses: Vec<SocketAddr>,
    fresh_until: Moment,
    /// When the look-up that is under way began.
    looking_since: Option<Moment>,
}

impl CachingResolver {
    /// The addresses of `name`, which is a host and a port, within `limit`.
    pub(super) fn addresses(&self, name: &str, limit: Duration) -> Result<Vec<SocketAddr>, NoAddress> {
        let mut names = self.shared.lock();
        let i = names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            let (addresses, fresh_until) = (Vec::new(), Moment::PAST);
            names.push(Name { name: name.to_owned(), addresses, fresh_until, looking_since: None });
            names.len() - 1
        });
        let now = clock::now();
        if now < names[i].fresh_until {
            return Ok(names[i].addresses.clone());
        }
        if names[i].looking_since.is_none_or(|since| now.since(since) > LONGEST_LOOKUP) {
            names[i].looking_since = Some(now);
            if let Err(error) = self.look_up(name.to_owned(), now) {
                names[i].looking_since = None;
                return if names[i].addresses.is_empty() {
                    Err(NoAddress::NoThread(error))
                } else {
                    Ok(names[i].addresses.clone())
                };
            }
        }
        let limit = if names[i].addresses.is_empty() { limit } else { limit / PART_BESIDE_OLD };
        let looking = |names: &mut Vec<Name>| names[i].looking_since.is_some() && clock::now() >= names[i].fresh_until;
        let waited = self.shared.ended.wait_timeout_while(names, limit, looking);
        let (names, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match (names[i].addresses.is_empty(), waited.timed_out()) {
            (false, _) => Ok(names[i].addresses.clone()),
            (true, true) => Err(NoAddress::TimedOut),
            (true, false) => Err(NoAddress::NotFound),
        }
    }

    /// On a thread of its own, since the system's look-up cannot be given a limit.
    fn look_up(&self, name: String, since: Moment) -> io::Result<()> {
        let shared = self.shared.clone();
        let look = move || {
            let found = name.to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
            let mut names = shared.lock();
            if let Some(known) = names.iter_mut().find(|known| known.name == name) {
                if known.looking_since == Some(since) {
                    // Not if this one was given up for lost, and another is under way.
                    known.looking_since = None;
                }
                if !found.is_empty() {
                    known.addresses = found;
                    known.fresh_until = clock::now().after(NAME_FRESH);
                }
            }
            shared.ended.notify_all();
        };
        std::thread::Builder::new().name("azmutex-dns".into()).spawn(look).map(drop)
    }
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, Vec<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "storage.test:443";
    const LIMIT: Duration = Duration::from_millis(400);

    /// A resolver for whose only name a look-up has just begun.
    fn looking(old: &[SocketAddr]) -> CachingResolver {
        let resolver = CachingResolver::default();
        resolver.shared.lock().push(Name {
            name: NAME.into(),
            addresses: old.to_vec(),
            fresh_until: Moment::PAST,
            looking_since: Some(clock::now()),
        });
        resolver
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 443))
    }

    #[test]
    fn whoever_comes_during_a_look_up_waits_for_its_end() {
        let resolver = looking(&[]);
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let resolver = resolver.clone();
                std::thread::spawn(move || resolver.addresses(NAME, 60 * LIMIT))
            })
            .collect();
        clock::sleep(LIMIT / 4);
        let mut names = resolver.shared.lock();
        names[0].addresses = vec![address()];
        names[0].fresh_until = clock::now().after(LIMIT);
        names[0].looking_since = None;
        drop(names);
        resolver.shared.ended.notify_all();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), [address()]);
        }
    }

    #[test]
    fn a_look_up_that_hangs_costs_the_limit_and_with_old_addresses_a_quarter_of_it() {
        let start = clock::now();
        let error = looking(&[]).addresses(NAME, LIMIT).unwrap_err();
        assert!(matches!(error, NoAddress::TimedOut), "{error:?}");
        let took = clock::now().since(start);
        assert!(took >= LIMIT, "{took:?}");

        let limit = 10 * LIMIT;
        let start = clock::now();
        assert_eq!(looking(&[address()]).addresses(NAME, limit).unwrap(), [address()]);
        let took = clock::now().since(start);
        assert!(took >= limit / 4 && took < limit, "{took:?}");
    }

    #[test]
    fn a_look_up_that_hung_for_too_long_is_begun_again() {
        let resolver = looking(&[]);
        resolver.shared.lock()[0].looking_since = Some(clock::now().before(LONGEST_LOOKUP + LIMIT));
        resolver.shared.lock()[0].name = "localhost:443".into();
        let found = resolver.addresses("localhost:443", 60 * LIMIT).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn a_name_is_looked_up_once_and_remembered() {
        let resolver = CachingResolver::default();
        let first = resolver.addresses("localhost:443", 60 * LIMIT).unwrap();
        resolver.shared.lock()[0].addresses = vec![address()];
        assert!(!first.is_empty());
        assert_eq!(resolver.addresses("localhost:443", LIMIT).unwrap(), [address()]);
    }
}
