//! The listener and its threads: one to accept, one a connection.

use std::io::{self, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock;
use super::connection;
use super::http::Unfit;
use super::service::Service;
use super::shared::{Peer, Shared};

const THREAD: &str = "azmutex-emulator";
/// Between two calls to the thread that accepts to look whether it should stop.
const KNOCK: Duration = Duration::from_millis(1);
const KNOCK_LIMIT: Duration = Duration::from_secs(1);
/// While there are no descriptors, say.
const NONE_ACCEPTED: Duration = Duration::from_millis(10);

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
            let _ = TcpStream::connect_timeout(&address, KNOCK_LIMIT);
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
            shared.stop.wait(NONE_ACCEPTED);
            continue;
        };
        if !shared.make_room() {
            refuse(&stream);
            continue;
        }
        let peer = Arc::new(Peer::new(stream, shared.service.clock().uptime()));
        shared.enter(number, Arc::clone(&peer));
        let serving = thread::Builder::new().name(THREAD.to_owned()).spawn({
            let leaving = Leaving { shared: Arc::clone(shared), number };
            move || connection::serve(&peer, &leaving.shared)
        });
        // Where there is no thread, `Leaving` has been dropped with its closure.
        threads.extend(serving);
    }
    drop(listener);
    shared.hang_up_on_all();
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
        self.shared.leave(self.number);
    }
}
