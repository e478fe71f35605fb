//! Looks names up, and remembers them for half a minute, or until one of the addresses cannot be connected to.
//!
//! Without a time limit ureq looks a name up for every request, pooled connection or not; with one it starts a thread
//! for each look-up. Here only a look-up that is really needed takes a thread, one at a time for each name, and while
//! a name server is out the old addresses serve.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::name::Name;
use crate::clock::{self, Moment};

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
    /// Few: the host, or a proxy.
    names: Mutex<Vec<Entry>>,
    /// A look-up has ended.
    ended: Condvar,
}

/// A name, and who looks it up.
struct Entry {
    name: String,
    known: Name,
    /// When the look-up that is under way began.
    looking_since: Option<Moment>,
}

impl Entry {
    fn new(name: &str) -> Entry {
        Entry { name: name.to_owned(), known: Name::new(), looking_since: None }
    }
}

impl CachingResolver {
    /// The addresses of `name`, which is a host and a port, within `limit`.
    pub(super) fn addresses(&self, name: &str, limit: Duration) -> Result<Vec<SocketAddr>, NoAddress> {
        let mut names = self.shared.lock();
        let i = names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            names.push(Entry::new(name));
            names.len() - 1
        });
        let now = clock::now();
        if names[i].known.is_fresh(now) {
            return Ok(names[i].known.in_order(now));
        }
        if names[i].looking_since.is_none_or(|since| now.since(since) > LONGEST_LOOKUP) {
            names[i].looking_since = Some(now);
            if let Err(error) = self.look_up(name.to_owned(), now) {
                names[i].looking_since = None;
                return if names[i].known.is_unknown() {
                    Err(NoAddress::NoThread(error))
                } else {
                    Ok(names[i].known.in_order(now))
                };
            }
        }
        let limit = if names[i].known.is_unknown() { limit } else { limit / PART_BESIDE_OLD };
        let looking =
            |names: &mut Vec<Entry>| names[i].looking_since.is_some() && !names[i].known.is_fresh(clock::now());
        let waited = self.shared.ended.wait_timeout_while(names, limit, looking);
        let (names, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match (names[i].known.is_unknown(), waited.timed_out()) {
            (false, _) => Ok(names[i].known.in_order(now)),
            (true, true) => Err(NoAddress::TimedOut),
            (true, false) => Err(NoAddress::NotFound),
        }
    }

    /// Hears whether `name` could be connected to at this address.
    pub(super) fn tried(&self, name: &str, address: SocketAddr, connected: bool) {
        if let Some(entry) = self.shared.lock().iter_mut().find(|entry| entry.name == name) {
            entry.known.tried(address, connected, clock::now());
        }
    }

    /// Whether a connection to this address, which has been there since then, is to be used for another request.
    pub(super) fn serves(&self, name: &str, address: SocketAddr, since: Moment, is_quiet: bool) -> bool {
        let names = self.shared.lock();
        // An address that was given as such is no name.
        let unknown = Name::new();
        let known = names.iter().find(|entry| entry.name == name).map_or(&unknown, |entry| &entry.known);
        known.serves(address, since, is_quiet, clock::now())
    }

    /// On a thread of its own, since the system's look-up cannot be given a limit.
    fn look_up(&self, name: String, since: Moment) -> io::Result<()> {
        let shared = self.shared.clone();
        let look = move || {
            let found = name.to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
            let mut names = shared.lock();
            if let Some(entry) = names.iter_mut().find(|entry| entry.name == name) {
                if entry.looking_since == Some(since) {
                    // Not if this one was given up for lost, and another is under way.
                    entry.looking_since = None;
                }
                if !found.is_empty() {
                    entry.known.learn(found, clock::now());
                }
            }
            shared.ended.notify_all();
        };
        std::thread::Builder::new().name("azmutex-dns".into()).spawn(look).map(drop)
    }
}

#[cfg(test)]
impl CachingResolver {
    /// As if it had been looked up at `when`, and need not be again.
    pub(crate) fn set(&self, name: &str, found: &[SocketAddr], when: Moment) {
        let mut names = self.shared.lock();
        let i = names.iter().position(|entry| entry.name == name).unwrap_or(names.len());
        if i == names.len() {
            names.push(Entry::new(name));
        }
        names[i].known.learn(found.to_vec(), when);
        names[i].known.stay_fresh();
    }
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::name::FRESH;

    const NAME: &str = "storage.test:443";
    const LIMIT: Duration = Duration::from_millis(400);

    /// A resolver for whose only name a look-up has just begun.
    fn looking(old: &[SocketAddr]) -> CachingResolver {
        let resolver = CachingResolver::default();
        let mut entry = Entry::new(NAME);
        if !old.is_empty() {
            entry.known.learn(old.to_vec(), clock::now().before(FRESH));
        }
        entry.looking_since = Some(clock::now());
        resolver.shared.lock().push(entry);
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
        names[0].known.learn(vec![address()], clock::now());
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
        resolver.shared.lock()[0].known.learn(vec![address()], clock::now());
        assert!(!first.is_empty());
        assert_eq!(resolver.addresses("localhost:443", LIMIT).unwrap(), [address()]);
    }
}
