//! The listener and its threads: one to accept, one a connection.

use std::collections::HashMap;
use std::io::{self, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock;
use super::connection;
use super::fault::Faults;
use super::http::Unfit;
use super::record::Record;
use super::service::Service;

/// At one time. One more takes the place of the one that has been idle for longest.
const MOST_CONNECTIONS: usize = 512;
/// For one that was told to go.
const LEAVING: Duration = Duration::from_secs(1);
const THREAD: &str = "azmutex-emulator";
/// Between two calls to the thread that accepts to look whether it should stop.
const KNOCK: Duration = Duration::from_millis(1);

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
    fn new(stream: TcpStream, now: Duration) -> Peer {
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

    fn peers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Peer>>> {
        locked(&self.peers)
    }

    /// Whether there is room for one more, in the end.
    fn make_room(&self) -> bool {
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

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stop sign that ends waits at once.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn stop(&self) {
        *locked(&self.stopped) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        *locked(&self.stopped)
    }

    /// Waits for `time`; `true` when stopped before its end.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let (stopped, _) = self
            .changed
            .wait_timeout_while(locked(&self.stopped), time, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

/// Serves until it is dropped.
pub(super) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The thread's, which closes it as soon as it stops.
    listener: Weak<TcpListener>,
    /// That has the threads.
    process: u32,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listener: TcpListener, service: Service) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(service));
        let listener = Arc::new(listener);
        let closing = Arc::downgrade(&listener);
        let accepting = thread::Builder::new().name(THREAD.to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(listener, &shared)
        })?;
        Ok(Server { shared, address, listener: closing, process: process::id(), accepting: Some(accepting) })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        if self.process != process::id() {
            // A fork has the socket of its parent, who still serves, and none of its threads: to wait for one would
            // have no end, nor a wait for a lock that one had, and a handle's drop is only for threads that are there.
            mem::forget(accepting);
            return;
        }
        self.shared.stop.stop();
        // First without a connection, which takes a descriptor and a port, and the program may be out of either.
        let is_woken = self.listener.upgrade().is_none_or(|listener| wake(&listener));
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        while !is_woken && !accepting.is_finished() {
            // Elsewhere only a connection ends the wait for one. Those that are open already end by themselves.
            let _ = TcpStream::connect_timeout(&address, LEAVING);
            clock::sleep(KNOCK);
        }
        let _ = accepting.join();
    }
}

/// Ends the wait for a connection; `false` where it may not have.
#[cfg(unix)]
fn wake(listener: &TcpListener) -> bool {
    let is_shut = rustix::net::shutdown(listener, rustix::net::Shutdown::Both).is_ok();
    // Other systems refuse it for a socket that is not connected, or do not say that it ends a wait.
    is_shut && cfg!(any(target_os = "linux", target_os = "android"))
}

#[cfg(not(unix))]
fn wake(_: &TcpListener) -> bool {
    false
}

fn accept(listener: Arc<TcpListener>, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        let accepted = listener.accept();
        if shared.stop.is_stopped() {
            break;
        }
        threads = reap(threads);
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, say: they may come back.
            shared.stop.wait(Duration::from_millis(10));
            continue;
        };
        if !shared.make_room() {
            refuse(&stream);
            continue;
        }
        let peer = Arc::new(Peer::new(stream, shared.service.clock().uptime()));
        shared.peers().insert(number, Arc::clone(&peer));
        let serving = thread::Builder::new().name(THREAD.to_owned()).spawn({
            let leaving = Leaving { shared: Arc::clone(shared), number };
            move || connection::serve(&peer, &leaving.shared)
        });
        // Where there is no thread, `Leaving` has been dropped with its closure.
        threads.extend(serving);
    }
    drop(listener);
    for peer in shared.peers().values() {
        peer.hang_up();
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Without those that have ended.
fn reap(threads: Vec<JoinHandle<()>>) -> Vec<JoinHandle<()>> {
    let (ended, running): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
    for thread in ended {
        let _ = thread.join();
    }
    running
}

fn refuse(mut stream: &TcpStream) {
    // So little fits in any socket's buffer: it does not block.
    let _ = stream.write_all(&Unfit::Busy.answer().to_bytes(false, false));
}

struct Leaving {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.peers().remove(&self.number);
        self.shared.left.notify_all();
    }
}
