//! What the server's threads share, and who is connected.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault::Faults;
use super::locked::locked;
use super::record::Record;
use super::service::Service;
use super::stop::Stop;

/// At one time. One more takes the place of the one that has been idle for longest.
const MOST_CONNECTIONS: usize = 512;
/// For a connection that was told to go.
const LEAVING: Duration = Duration::from_secs(1);

/// What the threads share.
pub(super) struct Shared {
    pub(super) service: Service,
    pub(super) faults: Mutex<Faults>,
    pub(super) record: Mutex<Record>,
    pub(super) stop: Stop,
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    left: Condvar,
}

/// The other side of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    /// Nanoseconds of uptime, or one of the two below.
    idle_since: AtomicU64,
}

const BUSY: u64 = u64::MAX;
const LEFT: u64 = u64::MAX - 1;

impl Peer {
    pub(super) fn new(stream: TcpStream, now: Duration) -> Peer {
        Peer { stream, idle_since: AtomicU64::new(nanos(now)) }
    }

    /// From its first byte on a request is not cut off. `false` if it came too late.
    pub(super) fn begin(&self) -> bool {
        self.idle_since.swap(BUSY, Ordering::AcqRel) != LEFT
    }

    pub(super) fn end(&self, now: Duration) {
        self.idle_since.store(nanos(now), Ordering::Release);
    }

    /// `false` if it has become busy since.
    fn dismiss(&self, idle_since: u64) -> bool {
        self.idle_since.compare_exchange(idle_since, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn hang_up(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(LEFT - 1)
}

impl Shared {
    pub(super) fn new(service: Service) -> Shared {
        Shared {
            service,
            faults: Mutex::default(),
            record: Mutex::default(),
            stop: Stop::default(),
            peers: Mutex::default(),
            left: Condvar::new(),
        }
    }

    pub(super) fn enter(&self, number: u64, peer: Arc<Peer>) {
        self.peers().insert(number, peer);
    }

    pub(super) fn leave(&self, number: u64) {
        self.peers().remove(&number);
        self.left.notify_all();
    }

    pub(super) fn hang_up_on_all(&self) {
        for peer in self.peers().values() {
            peer.hang_up();
        }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Peer>>> {
        locked(&self.peers)
    }

    /// Whether there is room for one more, in the end.
    pub(super) fn make_room(&self) -> bool {
        let peers = self.peers();
        if peers.len() < MOST_CONNECTIONS {
            return true;
        }
        let idle = peers.values().map(|peer| (peer.idle_since.load(Ordering::Acquire), peer));
        let idlest = idle.filter(|(since, _)| *since < LEFT).min_by_key(|(since, _)| *since);
        if let Some((since, peer)) = idlest
            && peer.dismiss(since)
        {
            peer.hang_up();
        } else {
            return false;
        }
        let is_full = |peers: &mut HashMap<u64, Arc<Peer>>| peers.len() >= MOST_CONNECTIONS;
        let (peers, _) = self.left.wait_timeout_while(peers, LEAVING, is_full).unwrap_or_else(PoisonError::into_inner);
        peers.len() < MOST_CONNECTIONS
    }
}
