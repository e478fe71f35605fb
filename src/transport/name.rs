//! What is known of a host's name: its addresses, and for how long they, and connections to them, are good.
//!
//! An old address may go on answering long after the name has moved, and a connection to it as long as it is used.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Moment;

/// A storage account's address may change when it fails over.
pub(crate) const FRESH: Duration = Duration::from_secs(30);
/// A name may stand for other addresses at each look-up. One that has been missing for so long has gone for good.
pub(crate) const GONE: Duration = Duration::from_secs(120);
/// No connection is used for longer: who a proxy connects us to is not known here, and may have moved.
pub(crate) const OLDEST: Duration = Duration::from_secs(300);
/// For so long, an address that could not be connected to comes after the others.
pub(super) const DOUBTED: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(crate) struct Name {
    addresses: Vec<SocketAddr>,
    fresh_until: Moment,
    /// Addresses that were the name's, and the first look-up since when they are not.
    missing: Vec<(SocketAddr, Moment)>,
    /// Addresses that could not be connected to, and when.
    doubted: Vec<(SocketAddr, Moment)>,
}

impl Name {
    pub(crate) fn new() -> Name {
        Name { addresses: Vec::new(), fresh_until: Moment::PAST, missing: Vec::new(), doubted: Vec::new() }
    }

    /// Whether it need not be looked up.
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        now < self.fresh_until
    }

    /// Whether no look-up has ever found anything.
    pub(super) fn is_unknown(&self) -> bool {
        self.addresses.is_empty()
    }

    /// What a look-up has found, which is more than nothing.
    pub(crate) fn learn(&mut self, found: Vec<SocketAddr>, now: Moment) {
        let before = std::mem::replace(&mut self.addresses, found);
        let is_missed = |address: &SocketAddr| !self.missing.iter().any(|(missing, _)| missing == address);
        let new: Vec<_> = before.into_iter().filter(is_missed).map(|address| (address, now)).collect();
        self.missing.extend(new);
        // No connection is left to one that went before that.
        self.missing.retain(|(address, since)| !self.addresses.contains(address) && now.since(*since) < OLDEST);
        self.fresh_until = now.after(FRESH);
    }

    #[cfg(test)]
    pub(super) fn stay_fresh(&mut self) {
        self.fresh_until = Moment::NEVER;
    }

    /// Those that can be hoped to answer come first, each in its place.
    pub(crate) fn in_order(&self, now: Moment) -> Vec<SocketAddr> {
        let is_doubted = |address: &SocketAddr| {
            self.doubted.iter().any(|(doubted, since)| doubted == address && now.since(*since) < DOUBTED)
        };
        let mut addresses = self.addresses.clone();
        addresses.sort_by_key(is_doubted);
        addresses
    }

    /// Hears whether it could be connected to at this address. If not, it is looked up again the next time.
    pub(crate) fn tried(&mut self, address: SocketAddr, connected: bool, now: Moment) {
        self.doubted.retain(|(doubted, since)| *doubted != address && now.since(*since) < DOUBTED);
        if !connected {
            self.doubted.push((address, now));
            self.fresh_until = Moment::PAST;
        }
    }

    /// Whether a connection to this address, which has been there since then, is to be used for another request: unless
    /// something came on it that nobody asked for. While nothing can be looked up, an address stays.
    pub(crate) fn serves(&self, address: SocketAddr, since: Moment, is_quiet: bool, now: Moment) -> bool {
        let is_young = now.since(since) < OLDEST;
        is_quiet
            && is_young
            && !self.missing.iter().any(|(missing, since)| *missing == address && now.since(*since) >= GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn addresses(hosts: &[u8]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| SocketAddr::from(([10, 0, 0, *host], 443))).collect()
    }

    #[test]
    fn an_address_is_given_up_when_it_has_been_missing_for_minutes() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut name = Name::new();
        let [old, other, new] = [1, 2, 3].map(|host| addresses(&[host])[0]);
        let now = clock::now();
        name.learn(vec![old, other], now.before(10 * GONE));
        assert!(name.serves(old, now, true, now) && name.serves(other, now, true, now));
        // Names rotate.
        name.learn(vec![other, new], now.before(GONE - 10 * SECOND));
        assert!(
            name.serves(old, now, true, now) && name.serves(other, now, true, now) && name.serves(new, now, true, now)
        );
        name.learn(vec![old], now.before(SECOND));
        assert!(name.serves(old, now, true, now) && name.serves(other, now, true, now));
        // It has moved.
        name.learn(vec![new], now.before(GONE + SECOND));
        assert!(
            !name.serves(old, now, true, now) && name.serves(other, now, true, now) && name.serves(new, now, true, now)
        );
        name.learn(vec![new], now);
        assert!(!name.serves(old, now, true, now));
        name.learn(vec![old], now);
        assert!(name.serves(old, now, true, now));
        assert!(Name::new().serves(new, now, true, now));
    }

    #[test]
    fn no_connection_serves_for_more_than_minutes() {
        let (since, address) = (clock::now(), addresses(&[1])[0]);
        let mut name = Name::new();
        name.learn(vec![address], since);
        for name in [name, Name::new()] {
            assert!(name.serves(address, since, true, since.after(OLDEST).before(Duration::from_nanos(1))));
            assert!(!name.serves(address, since, true, since.after(OLDEST)));
        }
    }

    #[test]
    fn an_address_without_a_connection_comes_last_and_has_the_name_looked_up_again() {
        let mut name = Name::new();
        let [first, second, third] = [1, 2, 3].map(|host| addresses(&[host])[0]);
        let now = clock::now();
        name.learn(vec![first, second, third], now);
        assert!(name.is_fresh(now));
        name.tried(first, false, now);
        assert!(!name.is_fresh(now));
        assert_eq!(name.in_order(now), [second, third, first]);
        name.tried(third, false, now);
        name.tried(first, true, now);
        assert_eq!(name.in_order(now), [first, second, third]);
        assert_eq!(name.in_order(now.after(DOUBTED)), [first, second, third]);
    }
}
