//! Looks names up, and remembers them for half a minute, or until one of the addresses cannot be connected to.
//!
//! Without a time limit ureq looks a name up for every request, pooled connection or not; with one it starts a thread
//! for each look-up. Here only a look-up that is really needed takes a thread, one at a time for each name, and while
//! a name server is out the old addresses serve.
//!
//! And it is known here whether a connection still leads to its name: an old address may go on answering long after
//! the name has moved.

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
/// A name may stand for other addresses at each look-up. One that has been missing for so long has gone for good.
const GONE: Duration = Duration::from_secs(120);
/// No connection is used for longer: who a proxy connects us to is not known here, and may have moved.
pub(super) const OLDEST: Duration = Duration::from_secs(300);
/// For so long, an address that could not be connected to comes after the others.
const DOUBTED: Duration = Duration::from_secs(300);
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
    /// Addresses that were the name's, and the first look-up since when they are not.
    missing: Vec<(SocketAddr, Moment)>,
    /// Addresses that could not be connected to, and when.
    doubted: Vec<(SocketAddr, Moment)>,
}

impl Name {
    fn new(name: &str) -> Name {
        Name {
            name: name.to_owned(),
            addresses: Vec::new(),
            fresh_until: Moment::PAST,
            looking_since: None,
            missing: Vec::new(),
            doubted: Vec::new(),
        }
    }

    /// What a look-up has found, which is more than nothing.
    fn learn(&mut self, found: Vec<SocketAddr>, now: Moment) {
        let before = std::mem::replace(&mut self.addresses, found);
        let is_missed = |address: &SocketAddr| !self.missing.iter().any(|(missing, _)| missing == address);
        let new: Vec<_> = before.into_iter().filter(is_missed).map(|address| (address, now)).collect();
        self.missing.extend(new);
        // No connection is left to one that went before that.
        self.missing.retain(|(address, since)| !self.addresses.contains(address) && now.since(*since) < OLDEST);
        self.fresh_until = now.after(NAME_FRESH);
    }

    /// Those that can be hoped to answer come first, each in its place.
    fn in_order(&self, now: Moment) -> Vec<SocketAddr> {
        let is_doubted = |address: &SocketAddr| {
            self.doubted.iter().any(|(doubted, since)| doubted == address && now.since(*since) < DOUBTED)
        };
        let mut addresses = self.addresses.clone();
        addresses.sort_by_key(is_doubted);
        addresses
    }
}

impl CachingResolver {
    /// The addresses of `name`, which is a host and a port, within `limit`.
    pub(super) fn addresses(&self, name: &str, limit: Duration) -> Result<Vec<SocketAddr>, NoAddress> {
        let mut names = self.shared.lock();
        let i = names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            names.push(Name::new(name));
            names.len() - 1
        });
        let now = clock::now();
        if now < names[i].fresh_until {
            return Ok(names[i].in_order(now));
        }
        if names[i].looking_since.is_none_or(|since| now.since(since) > LONGEST_LOOKUP) {
            names[i].looking_since = Some(now);
            if let Err(error) = self.look_up(name.to_owned(), now) {
                names[i].looking_since = None;
                return if names[i].addresses.is_empty() {
                    Err(NoAddress::NoThread(error))
                } else {
                    Ok(names[i].in_order(now))
                };
            }
        }
        let limit = if names[i].addresses.is_empty() { limit } else { limit / PART_BESIDE_OLD };
        let looking = |names: &mut Vec<Name>| names[i].looking_since.is_some() && clock::now() >= names[i].fresh_until;
        let waited = self.shared.ended.wait_timeout_while(names, limit, looking);
        let (names, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match (names[i].addresses.is_empty(), waited.timed_out()) {
            (false, _) => Ok(names[i].in_order(now)),
            (true, true) => Err(NoAddress::TimedOut),
            (true, false) => Err(NoAddress::NotFound),
        }
    }

    /// Hears whether `name` could be connected to at this address. If not, the name is looked up again the next time.
    pub(super) fn tried(&self, name: &str, address: SocketAddr, connected: bool) {
        let mut names = self.shared.lock();
        let Some(known) = names.iter_mut().find(|known| known.name == name) else { return };
        let now = clock::now();
        known.doubted.retain(|(doubted, since)| *doubted != address && now.since(*since) < DOUBTED);
        if !connected {
            known.doubted.push((address, now));
            known.fresh_until = Moment::PAST;
        }
    }

    /// Whether this may still be an address of `name`'s, and has not been missing for long. While nothing can be looked
    /// up, an address stays.
    pub(super) fn is_of(&self, name: &str, address: SocketAddr) -> bool {
        let names = self.shared.lock();
        let missing = names.iter().filter(|known| known.name == name).flat_map(|known| &known.missing);
        let now = clock::now();
        !missing.into_iter().any(|(missing, since)| *missing == address && now.since(*since) >= GONE)
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
                    known.learn(found, clock::now());
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
    pub(super) fn set(&self, name: &str, found: &[SocketAddr], when: Moment) {
        let mut names = self.shared.lock();
        let i = names.iter().position(|known| known.name == name).unwrap_or(names.len());
        if i == names.len() {
            names.push(Name::new(name));
        }
        names[i].learn(found.to_vec(), when);
        names[i].fresh_until = Moment::NEVER;
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
        let mut name = Name::new(NAME);
        name.addresses = old.to_vec();
        name.looking_since = Some(clock::now());
        resolver.shared.lock().push(name);
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

    fn addresses(hosts: &[u8]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| SocketAddr::from(([10, 0, 0, *host], 443))).collect()
    }

    #[test]
    fn an_address_is_given_up_when_it_has_been_missing_for_minutes() {
        const SECOND: Duration = Duration::from_secs(1);
        let resolver = CachingResolver::default();
        let [old, other, new] = [1, 2, 3].map(|host| addresses(&[host])[0]);
        let now = clock::now();
        resolver.set(NAME, &[old, other], now.before(10 * GONE));
        assert!(resolver.is_of(NAME, old) && resolver.is_of(NAME, other));
        // Names rotate.
        resolver.set(NAME, &[other, new], now.before(GONE - 10 * SECOND));
        assert!(resolver.is_of(NAME, old) && resolver.is_of(NAME, other) && resolver.is_of(NAME, new));
        resolver.set(NAME, &[old], now.before(SECOND));
        assert!(resolver.is_of(NAME, old) && resolver.is_of(NAME, other));
        // It has moved.
        resolver.set(NAME, &[new], now.before(GONE + SECOND));
        assert!(!resolver.is_of(NAME, old) && resolver.is_of(NAME, other) && resolver.is_of(NAME, new));
        resolver.set(NAME, &[new], now);
        assert!(!resolver.is_of(NAME, old));
        resolver.set(NAME, &[old], now);
        assert!(resolver.is_of(NAME, old));
        assert!(resolver.is_of("another.test:443", new));
    }

    #[test]
    fn an_address_without_a_connection_comes_last_and_has_the_name_looked_up_again() {
        let resolver = CachingResolver::default();
        let [first, second, third] = [1, 2, 3].map(|host| addresses(&[host])[0]);
        resolver.set(NAME, &[first, second, third], clock::now());
        resolver.tried(NAME, first, false);
        assert_eq!(resolver.shared.lock()[0].fresh_until, Moment::PAST);
        assert_eq!(resolver.shared.lock()[0].in_order(clock::now()), [second, third, first]);
        resolver.tried(NAME, third, false);
        resolver.tried(NAME, first, true);
        assert_eq!(resolver.shared.lock()[0].in_order(clock::now()), [first, second, third]);
        assert_eq!(resolver.shared.lock()[0].in_order(clock::now().after(DOUBTED)), [first, second, third]);
        resolver.tried("another.test:443", first, false);
    }
}
