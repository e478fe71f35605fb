//! The way of a client to the service: a name, one of its addresses, and a connection that is used again and again. What is
//! decided about them is the crate's own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::clock::Moment;
use crate::fencing::Blob;
use crate::rest::Operation;
use crate::transport::name::{FRESH, GONE, Name, OLDEST};

use super::service::{Answer, Lease, Presence, Service, Time};
use super::tally::Count;
use super::world::World;

/// Where the service is, until its name moves.
pub(super) const OLD: SocketAddr = address(1);
const NEW: SocketAddr = address(2);
const PROXY: SocketAddr = address(3);
/// An idle connection is closed.
const IDLE: Duration = Duration::from_secs(90);

const fn address(host: u8) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), 443))
}

/// What a process knows of it.
pub(super) struct Link {
    name: Name,
    connection: Option<Connection>,
    /// The connection on which it has read what was no answer to its request.
    distrusted: Option<u64>,
    /// When it made its first request at whose time it could know that the name has moved.
    could_know: Option<Time>,
}

/// An answer, what it tells of the blob, and the call that it says it is for.
type Read = (Answer, Option<Blob>, Option<u64>);

struct Connection {
    number: u64,
    /// As far as the client knows.
    peer: SocketAddr,
    /// Who is at its other end.
    leads_to: SocketAddr,
    since: Moment,
    used: Moment,
    /// Something in between has lost count: each answer is the one to the request before.
    is_behind: bool,
    last: Option<Read>,
    /// How long after the next answer a copy of it comes, and when one does.
    copy_after: Option<Duration>,
    copy_at: Option<Time>,
}

/// A connection, as a packet knows it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Route {
    pub(super) connection: u64,
    pub(super) leads_to: SocketAddr,
}

impl Link {
    pub(super) fn new() -> Link {
        Link { name: Name::new(), connection: None, distrusted: None, could_know: None }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// It could not be connected to.
    pub(super) fn refused(&mut self, now: Moment) {
        if let Some(connection) = self.connection.take() {
            self.name.tried(connection.peer, false, now);
        }
    }

    pub(super) fn fall_behind(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.is_behind = true;
        }
    }

    /// The next answer comes twice.
    pub(super) fn copy_next(&mut self, after: Duration) {
        if let Some(connection) = &mut self.connection {
            connection.copy_after = Some(after);
        }
    }

    /// What the client reads when this answer comes on that connection; and whether that is an older one.
    pub(super) fn passes(&mut self, on: u64, answer: Read, at: Time) -> (Read, bool) {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.number == on) else {
            return (answer, false);
        };
        connection.copy_at = connection.copy_after.take().map(|after| at + after);
        let last = connection.last.replace(answer).filter(|_| connection.is_behind);
        (last.unwrap_or(answer), last.is_some())
    }

    /// The client has read an answer.
    pub(super) fn read(&mut self, on: u64, is_trusted: bool, is_own: bool) {
        if !is_own {
            self.distrusted = Some(on);
        }
        if !is_trusted {
            self.connection.take_if(|connection| connection.number == on);
        }
    }
}

impl World {
    /// The connection on which a client sends its next request.
    pub(super) fn route(&mut self, who: usize) -> Route {
        let (number, local) = (self.fresh(), self.clock(who));
        let is_tunnelled = self.setting.tunnelled >> who & 1 == 1;
        let current = if self.moved.is_some() { NEW } else { OLD };
        let link = &mut self.clients[who].link;
        if !link.name.is_fresh(local) {
            link.name.learn(vec![if is_tunnelled { PROXY } else { current }], local);
        }
        let name = &link.name;
        let is_over = |connection: &mut Connection| local.since(connection.used) >= IDLE;
        link.connection.take_if(is_over);
        let now = self.now;
        let is_quiet = |connection: &Connection| connection.copy_at.is_none_or(|copy| copy > now);
        let retires =
            |connection: &mut Connection| !name.serves(connection.peer, connection.since, is_quiet(connection), local);
        if let Some(connection) = link.connection.take_if(retires) {
            self.tally.add(if is_quiet(&connection) { Count::Retired } else { Count::Unquiet });
        }
        let is_new = link.connection.is_none();
        let connection = link.connection.get_or_insert_with(|| {
            let peer = name.in_order(local)[0];
            let leads_to = if is_tunnelled { current } else { peer };
            Connection {
                number,
                peer,
                leads_to,
                since: local,
                used: local,
                is_behind: false,
                last: None,
                copy_after: None,
                copy_at: None,
            }
        });
        connection.used = local;
        let is_unquiet = !is_quiet(connection);
        // What comes now is read as the answer to this request, and its own as the one to the next.
        connection.is_behind |= connection.copy_at.take().is_some();
        let route = Route { connection: connection.number, leads_to: connection.leads_to };
        if is_new {
            link.name.tried(connection.peer, true, local);
        }
        if is_unquiet {
            self.breach("what nobody asked for is not read", format_args!("client {who}"));
        }
        self.check_route(who, route, is_tunnelled);
        route
    }

    /// No connection outlives its address, or is used after it has been seen to be one answer behind.
    fn check_route(&mut self, who: usize, route: Route, is_tunnelled: bool) {
        if self.clients[who].link.distrusted == Some(route.connection) {
            self.breach("a connection that is one answer behind is closed", format_args!("client {who}"));
        }
        let Some(moved) = self.moved.filter(|_| self.tally.of(Count::Frozen) == 0) else { return };
        // By a clock that is slow.
        let slowly = |time: Duration| time * 102 / 100;
        let link = &mut self.clients[who].link;
        if self.now >= moved + slowly(FRESH) {
            link.could_know.get_or_insert(self.now);
        }
        let oldest = moved + slowly(FRESH) + slowly(OLDEST);
        let latest = link.could_know.filter(|_| !is_tunnelled).map_or(oldest, |since| oldest.min(since + slowly(GONE)));
        if route.leads_to == OLD && self.now > latest {
            self.breach("a connection does not outlive its address", format_args!("client {who}"));
        }
    }

    /// The service goes on elsewhere. At its old address something answers as if nothing had happened since, and takes no
    /// more writes.
    pub(super) fn move_name(&mut self) {
        if self.moved.is_none() {
            self.note(format_args!("the name moves"));
            self.tally.add(Count::Moved);
            self.moved = Some(self.now);
            self.former = self.service.clone();
        }
    }

    /// By when nobody is connected to the old address any more.
    pub(super) fn all_moved(&self) -> Time {
        self.moved.map_or(Duration::ZERO, |moved| moved + (FRESH + OLDEST) * 102 / 100)
    }

    /// What the old address answers.
    pub(super) fn answer_of_former(&self, operation: Operation) -> Answer {
        let Service { container, blob, lease, .. } = &self.former;
        match (operation, *lease) {
            (Operation::Look, _) if *container != Presence::There => Answer::Refusal(404, "ContainerNotFound"),
            (Operation::Look, _) if blob.is_none() => Answer::Refusal(404, "BlobNotFound"),
            (Operation::Look, _) => Answer::Seen(self.former.status()),
            (Operation::Acquire { id: new, .. }, Lease::Leased { id, .. }) if id != new => {
                Answer::Refusal(409, "LeaseAlreadyPresent")
            }
            _ => Answer::Refusal(500, "InternalError"),
        }
    }
}
