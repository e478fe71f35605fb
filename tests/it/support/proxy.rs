//! A proxy between the library and the store that does to requests what networks do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Stop;
use super::http::{self, Operation, Request, Response};
use super::peer::{self, Peer, Received, Reply};

#[derive(Clone, Debug)]
pub enum Fault {
    DelayRequest(Duration),
    DelayAnswer(Duration),
    /// Never forwarded, never answered.
    BlackHole,
    /// RST, not forwarded.
    ResetBefore,
    /// Forwarded and applied, then RST instead of the answer.
    ResetAfter,
    /// Forwarded and applied, never answered.
    Withhold,
    /// Answered by the proxy, not forwarded.
    Status(u16, Vec<(String, String)>),
    /// Answered as by a portal, which knows nothing of the service.
    Portal,
    /// Forwarded and applied, then answered by the proxy.
    AppliedThen(u16, Vec<(String, String)>),
    /// Forwarded twice, the second answer is given.
    Repeat,
    /// Forwarded twice, the first answer is given.
    RepeatFirst,
    /// RST at once, forwarded after the time.
    Late(Duration),
    /// Answered with what an earlier request of the operation was answered with, its `x-ms-client-request-id` included.
    Replay {
        forwarded: bool,
    },
    /// Answered, and then once more with a copy: as soon as the connection's next request is there, at the latest after
    /// the time.
    LateCopy(Duration),
    /// From this request on, each answer on its connection is the one to the request before: something in between has
    /// lost count, and does not find out. The first of them is repeated, and all have their request's id, which
    /// Azurite leaves out of refusals.
    Behind,
    /// A look is answered as by a cache, with an old answer that says "leased" and has no `x-ms-client-request-id`.
    /// Where there is none yet, and for all other operations, this does nothing.
    StaleLook,
}

const REQUEST_ID: &str = "x-ms-client-request-id";

/// What the proxy could answer with again.
#[derive(Default)]
pub struct Kept {
    answers: HashMap<Operation, Response>,
    leased: Option<Response>,
}

impl Kept {
    /// Whether [`Fault::Replay`] has something to answer with.
    pub fn has_answer_to(&self, operation: Operation) -> bool {
        self.answers.contains_key(&operation)
    }

    /// Whether [`Fault::StaleLook`] has.
    pub fn has_leased(&self) -> bool {
        self.leased.is_some()
    }

    /// An answer without an id could belong to any request, and a renewal of another lease fools nobody.
    fn keep(&mut self, operation: Operation, response: &Response) {
        if operation == Operation::Acquire && response.status == 201 {
            self.answers.remove(&Operation::Renew);
        }
        if operation == Operation::Look && response.header("x-ms-lease-state") == Some("leased") {
            let mut leased = response.clone();
            leased.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(REQUEST_ID));
            self.leased = Some(leased);
        }
        if response.header(REQUEST_ID).is_some() {
            self.answers.insert(operation, response.clone());
        }
    }
}

/// A request that came to the proxy.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Instant,
    /// When its answer was sent.
    pub answered: Option<Instant>,
    pub operation: Operation,
    pub method: String,
    pub target: String,
    /// `x-ms-lease-id`, or else `x-ms-proposed-lease-id`.
    pub lease_id: Option<String>,
    /// The store's, or, where the request was not forwarded, the proxy's.
    pub status: Option<u16>,
    pub fault: bool,
    pub connection: usize,
}

/// Forwards what comes to its port of 127.0.0.1 until it is dropped.
pub struct FaultProxy {
    peer: Peer,
    shared: Arc<Shared>,
}

impl FaultProxy {
    pub fn to(upstream: u16) -> FaultProxy {
        FaultProxy::choosing(upstream, |_, _| None)
    }

    /// With a fault for each request that `choose` has one for. Those of [`Self::next`] and [`Self::always`] go first.
    pub fn choosing(
        upstream: u16,
        choose: impl Fn(Operation, &Kept) -> Option<Fault> + Send + Sync + 'static,
    ) -> FaultProxy {
        let shared = Arc::new(Shared {
            upstream,
            choose: Box::new(choose),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: Stop::default(),
        });
        let handler = Arc::clone(&shared);
        FaultProxy { peer: Peer::start(move |received| handle(&handler, received)), shared }
    }

    pub fn port(&self) -> u16 {
        self.peer.port()
    }

    /// Adds a fault for the next request of this operation that has none waiting.
    pub fn next(&self, operation: Operation, fault: Fault) {
        let mut state = self.shared.state();
        state.next.entry(operation).or_default().push_back(fault);
    }

    /// A fault for every request of this operation (with `None`, of any), until [`Self::clear`].
    /// Those of [`Self::next`] go first, then the operation's own.
    pub fn always(&self, operation: Option<Operation>, fault: Fault) {
        self.shared.state().always.insert(operation, fault);
    }

    /// No more faults, for requests to come.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        state.next.clear();
        state.always.clear();
    }

    /// What came, in order of arrival.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.state().log.values().cloned().collect()
    }

    /// Empties the log.
    pub fn forget(&self) {
        self.peer.forget();
        self.shared.state().log.clear();
    }

    pub fn operations(&self) -> Vec<Operation> {
        let state = self.shared.state();
        state.log.values().map(|entry| entry.operation).collect()
    }

    pub fn count(&self, operation: Operation) -> usize {
        self.shared.state().count(operation)
    }

    /// How many copies of [`Fault::LateCopy`] were to be read as the answer to the next request.
    pub fn crossed(&self) -> usize {
        self.peer.crossed()
    }

    /// How many answers of [`Fault::Behind`] were those to the request before.
    pub fn answers_behind(&self) -> usize {
        self.shared.state().answers_behind
    }

    pub fn connections(&self) -> usize {
        self.peer.connections()
    }

    /// Whether `n` requests of this operation have come, at the latest after `limit`.
    pub fn wait_for(&self, operation: Operation, n: usize, limit: Duration) -> bool {
        self.wait(limit, |state| state.count(operation) >= n)
    }

    /// Whether `n` requests of this operation have got a status, whether the client saw it or not,
    /// at the latest after `limit`.
    pub fn wait_for_status(&self, operation: Operation, n: usize, limit: Duration) -> bool {
        self.wait(limit, |state| {
            let told = |entry: &&Entry| entry.operation == operation && entry.status.is_some();
            state.log.values().filter(told).count() >= n
        })
    }

    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> bool {
        let state = self.shared.state();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| !done(state))
            .unwrap_or_else(PoisonError::into_inner);
        done(&state)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Before the peer goes, for it waits for the handler's delays.
        self.shared.stop.stop();
    }
}

type Choose = dyn Fn(Operation, &Kept) -> Option<Fault> + Send + Sync;

struct Shared {
    upstream: u16,
    choose: Box<Choose>,
    state: Mutex<State>,
    changed: Condvar,
    stop: Stop,
}

#[derive(Default)]
struct State {
    next: HashMap<Operation, VecDeque<Fault>>,
    always: HashMap<Option<Operation>, Fault>,
    log: BTreeMap<usize, Entry>,
    kept: Kept,
    /// The last answers to connections that are one behind.
    behind: HashMap<usize, Response>,
    answers_behind: usize,
}

impl State {
    fn count(&self, operation: Operation) -> usize {
        let wanted = |entry: &&Entry| entry.operation == operation;
        self.log.values().filter(wanted).count()
    }

    fn fault(&mut self, operation: Operation) -> Option<Fault> {
        let next = self.next.get_mut(&operation).and_then(VecDeque::pop_front);
        next.or_else(|| self.always.get(&Some(operation)).cloned()).or_else(|| self.always.get(&None).cloned())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_behind(&self, connection: usize) -> bool {
        self.state().behind.contains_key(&connection)
    }

    fn arrive(&self, received: &Received) -> Option<Fault> {
        let request = &received.request;
        let operation = request.operation();
        let lease_id = request.header("x-ms-lease-id").or_else(|| request.header("x-ms-proposed-lease-id"));
        let mut state = self.state();
        let fault = state.fault(operation).or_else(|| (self.choose)(operation, &state.kept));
        let entry = Entry {
            at: received.at,
            answered: None,
            operation,
            method: request.method.clone(),
            target: request.target.clone(),
            lease_id: lease_id.map(str::to_owned),
            status: None,
            fault: fault.is_some(),
            connection: received.connection,
        };
        state.log.insert(received.number, entry);
        drop(state);
        self.changed.notify_all();
        fault
    }

    fn update(&self, number: usize, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.state().log.get_mut(&number) {
            change(entry);
        }
        self.changed.notify_all();
    }

    /// Forwards the request and notes the answer.
    fn apply(&self, received: &Received) -> Option<Response> {
        let response = forward(self.upstream, &received.request)?;
        self.state().kept.keep(received.request.operation(), &response);
        self.update(received.number, |entry| {
            entry.status = Some(response.status);
        });
        Some(response)
    }

    /// Forwards the request, and answers with the answer to the one before on its connection.
    fn answer_behind(&self, received: &Received) -> Option<Response> {
        let mut new = self.apply(received)?;
        if let (None, Some(id)) = (new.header(REQUEST_ID), received.request.header(REQUEST_ID)) {
            new.headers.push((REQUEST_ID.to_owned(), id.to_owned()));
        }
        let mut state = self.state();
        let old = state.behind.insert(received.connection, new.clone());
        state.answers_behind += usize::from(old.is_some());
        Some(old.unwrap_or(new))
    }

    /// A store that cannot be reached looks to the client like a connection that broke.
    fn give(&self, received: &Received, answer: Option<Response>) -> Reply {
        let Some(response) = answer else {
            return Reply::Reset;
        };
        self.update(received.number, |entry| {
            entry.answered = Some(Instant::now());
            entry.status.get_or_insert(response.status);
        });
        Reply::Answer(response)
    }
}

fn handle(shared: &Arc<Shared>, received: &Received) -> Reply {
    let fault = shared.arrive(received);
    let answer = match fault {
        None if shared.is_behind(received.connection) => shared.answer_behind(received),
        None => shared.apply(received),
        Some(Fault::Behind) => shared.answer_behind(received),
        Some(Fault::DelayRequest(time)) => {
            if shared.stop.wait(time) {
                return Reply::Close;
            }
            shared.apply(received)
        }
        Some(Fault::DelayAnswer(time)) => {
            let answer = shared.apply(received);
            if shared.stop.wait(time) {
                return Reply::Close;
            }
            answer
        }
        Some(Fault::BlackHole) => return Reply::Hang,
        Some(Fault::ResetBefore) => return Reply::Reset,
        Some(Fault::ResetAfter) => {
            shared.apply(received);
            return Reply::Reset;
        }
        Some(Fault::Withhold) => {
            shared.apply(received);
            return Reply::Hang;
        }
        Some(Fault::Status(status, headers)) => Some(own_answer(status, &headers)),
        Some(Fault::Portal) => Some(portal()),
        Some(Fault::AppliedThen(status, headers)) => {
            shared.apply(received);
            Some(own_answer(status, &headers))
        }
        Some(Fault::Repeat) => {
            forward(shared.upstream, &received.request);
            shared.apply(received)
        }
        Some(Fault::RepeatFirst) => {
            let answer = shared.apply(received);
            forward(shared.upstream, &received.request);
            answer
        }
        Some(Fault::Late(time)) => {
            let shared = Arc::clone(shared);
            let received = received.clone();
            thread::spawn(move || {
                if !shared.stop.wait(time) {
                    shared.apply(&received);
                }
            });
            return Reply::Reset;
        }
        Some(Fault::Replay { forwarded }) => {
            let old = shared.state().kept.answers.get(&received.request.operation()).cloned();
            let new = if forwarded || old.is_none() { shared.apply(received) } else { None };
            old.or(new)
        }
        Some(Fault::LateCopy(time)) => {
            let answer = shared.apply(received);
            return match shared.give(received, answer) {
                Reply::Answer(response) => Reply::Twice(response, time),
                other => other,
            };
        }
        Some(Fault::StaleLook) => {
            let is_look = received.request.operation() == Operation::Look;
            let old = shared.state().kept.leased.clone().filter(|_| is_look);
            old.or_else(|| shared.apply(received))
        }
    };
    shared.give(received, answer)
}

fn own_answer(status: u16, headers: &[(String, String)]) -> Response {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    peer::response(status, &headers, Vec::new())
}

fn portal() -> Response {
    let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
    Response { status: 404, headers, body: b"<h1>No such page</h1>".to_vec() }
}

/// The store's answer; `None` when the store could not be reached or did not answer.
fn forward(upstream: u16, request: &Request) -> Option<Response> {
    let mut request = request.clone();
    if request.header("transfer-encoding").is_some() {
        // The body was put together when it was read.
        let length = request.body.len().to_string();
        request.headers.retain(|(name, _)| !http::is_framing(name));
        request.headers.push(("content-length".to_owned(), length));
    }
    request.headers.retain(|(name, _)| !is_hop_by_hop(name));
    request.headers.push(("connection".to_owned(), "close".to_owned()));
    let mut response = http::send(upstream, &request).ok()?;
    response.headers.retain(|(name, _)| !is_hop_by_hop(name));
    Some(response)
}

fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}
