//! Every state of the smallest interesting systems: three clients and two faults, in all orders.
//!
//! What the simulation draws by chance, this visits exhaustively, over the same hold, carrier, standing and caller, and the same
//! service. All
//! clocks are at the worst that they may be, and the service ends each lease two seconds early. A request is carried
//! out at once, unless a fault says otherwise; what the faults are, and when the callers leave, is left open.

use std::time::Duration;

use stateright::{Checker, Model, Property};

use crate::clock::Moment;
use crate::fencing::Content;
use crate::hold::caller::{Farewell, Heard, Limits, Turn, Waiter, Way};
use crate::hold::carry::{Act, Carrier, Report};
use crate::hold::{Hold, Input, Leaves, Settings, Step, Wait};
use crate::lease::{LeaseId, Term};
use crate::rest::{Applied, Exchange, Operation, Outcome};
use crate::retry::Policy;
use crate::standing::Standing;

use super::rules::is_locked;
use super::service::{Lease, Presence, Service, Time};
use super::time::Clock;

const S: Duration = Duration::from_secs(1);
const NO_ANSWER: Outcome = Outcome::Failed { applied: Applied::Perhaps, retry_after: None };
const TERM: Term = Term::Seconds(15);

struct System {
    clients: usize,
    faults: u8,
    /// How long it is watched.
    horizon: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: Time,
    service: Service,
    clients: Vec<Client>,
    packets: Vec<Packet>,
    faults_left: u8,
    /// The rule that was broken, if one was that shows in no state.
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    carrier: Carrier<()>,
    standing: Standing<()>,
    granted: bool,
    /// Its caller, who hears at once, and does not look at the clock.
    waiter: Option<Waiter<()>>,
    farewell: Option<Farewell>,
    does: Does,
    left: bool,
    stopped: bool,
    /// `unlock` said `Ok`.
    unlocked: bool,
    release_sent: bool,
    saw_it_locked: bool,
    /// When it sent an acquire last.
    tried: Moment,
    /// A request of its was carried out twice.
    doubled: bool,
    /// An acquire of its was carried out late.
    landed_late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Does {
    Calls {
        operation: Operation,
        sent: Moment,
        gives_up: Moment,
    },
    Sleeps {
        until: Moment,
        for_leave: bool,
    },
    Nothing,
    /// It was killed.
    Died,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Packet {
    client: usize,
    operation: Order,
    /// Time passes while it is on its way.
    late: bool,
}

/// What is asked, so that packets have an order.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Order {
    Acquire,
    Renew,
    Release,
    Look,
    Create,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// A request is carried out and answered.
    Arrive(usize),
    /// Time passes until something is due.
    Wait,
    /// Unlocks, or gives up waiting.
    Leave(usize),
    Continue(usize),
    // The faults.
    Lose(usize),
    LoseAnswer(usize),
    Repeat(usize),
    Delay(usize),
    Fail(usize),
    Stop(usize),
    Kill(usize),
    Break,
}

fn id(client: usize) -> LeaseId {
    LeaseId::parse(&format!("0000000{client}-0000-4000-8000-000000000000")).expect("a GUID")
}

/// The first one's clock is as slow as it may be.
fn clock(client: usize) -> Clock {
    let drift = if client == 0 { -10_000 } else { 0 };
    Clock { offset: 1_000 * S, drift, missed: Duration::ZERO }
}

/// The service's own clock is as fast as it may be, and it ends leases as early as it may.
fn lasts(term: Term) -> Duration {
    term.duration().map_or(Duration::MAX, |term| term * 100 / 101 - 2 * S)
}

impl Client {
    fn new(client: usize) -> Client {
        let policy = Policy { first_pause: 3 * S, longest_pause: 3 * S, ..Policy::default() };
        let (first_pause, longest_pause) = (7 * S, 7 * S);
        let settings = Settings {
            term: TERM,
            renew_every: 5 * S,
            first_pause,
            longest_pause,
            create_container: true,
            leaves: Leaves::default(),
            policy,
        };
        Client {
            carrier: Carrier::new(Hold::keep(settings, id(client), Wait::Forever)),
            standing: Standing::default(),
            granted: false,
            waiter: Some(Waiter::new(Wait::Forever)),
            farewell: None,
            does: Does::Nothing,
            left: false,
            stopped: false,
            unlocked: false,
            release_sent: false,
            saw_it_locked: false,
            tried: Moment::PAST,
            doubled: false,
            landed_late: false,
        }
    }

    fn says_yes(&self, now: Moment) -> bool {
        let alive = !self.left && self.does != Does::Died;
        alive && self.granted && self.standing.clone().check(now).is_ok()
    }

    /// When it acts by itself.
    fn due(&self) -> Option<Moment> {
        match self.does {
            _ if self.stopped => None,
            Does::Calls { gives_up, .. } => Some(gives_up),
            Does::Nothing | Does::Died | Does::Sleeps { until: Moment::NEVER, .. } => None,
            Does::Sleeps { until, .. } => Some(until),
        }
    }
}

impl State {
    fn local(&self, client: usize) -> Moment {
        clock(client).at(self.now)
    }

    fn says_yes(&self, client: usize) -> bool {
        self.clients[client].says_yes(self.local(client))
    }

    /// Has the client go on until it waits for something.
    fn run(&mut self, client: usize) {
        let now = self.local(client);
        loop {
            let this = &mut self.clients[client];
            if this.left {
                this.carrier.leave();
            }
            match this.carrier.next(now, 0) {
                Act::Send { operation, limit } => {
                    this.does = Does::Calls { operation, sent: now, gives_up: now.after(limit) };
                    return self.send(client, operation);
                }
                Act::Sleep { for_leave, .. } => {
                    // In one piece: between its pieces it decides the same again.
                    let Step::Sleep { until } = this.carrier.hold().clone().step(now, Input::Go, 0) else {
                        unreachable!("it sleeps")
                    };
                    this.does = Does::Sleeps { until, for_leave };
                    return;
                }
                Act::Grant { valid_until, ends } => {
                    this.standing.grant(valid_until, ends);
                    this.granted = true;
                }
                Act::Extend { valid_until, ends } => {
                    let extended = this.standing.extend(now, valid_until, ends);
                    this.carrier.extended(now, extended);
                }
                Act::Lose(lost) => this.standing.lose(lost),
                Act::Notify(_) => {}
                Act::Report(report) => self.hear(client, Heard::Report(report)),
                Act::End => {
                    this.does = Does::Nothing;
                    self.hear(client, Heard::End);
                    let left_behind = matches!(self.service.lease, Lease::Leased { id: of, .. } if of == id(client));
                    let Client { release_sent, doubled, .. } = self.clients[client];
                    if left_behind && !release_sent && !doubled {
                        self.broken = Some("what was begun is undone");
                    }
                    return;
                }
            }
            drop(self.clients[client].standing.take_news());
        }
    }

    /// The caller hears something of its lock.
    fn hear(&mut self, client: usize, heard: Heard<()>) {
        let now = self.local(client);
        let this = &mut self.clients[client];
        if let Some(farewell) = &this.farewell {
            let is_release = matches!(heard, Heard::Report(Report::Released(_)));
            if let Some(result) = farewell.hear(now, heard) {
                this.unlocked |= result.is_ok();
                this.farewell = None;
                if result.is_ok() && !is_release {
                    self.broken = Some("an unlock is Ok by the word of the release");
                }
            }
        } else if let Some(waiter) = &mut this.waiter {
            match waiter.hear(now, heard, || this.standing.check(now)) {
                Turn::Listen => {}
                Turn::Take(_) => {
                    this.waiter = None;
                    if !this.granted || this.left {
                        self.broken = Some("who has the guard was granted the lock");
                    }
                }
                Turn::Leave => this.left = true,
                Turn::Return(_) => this.waiter = None,
            }
        }
    }

    /// The caller unlocks, or gives up waiting.
    fn leave(&mut self, client: usize) {
        let now = self.local(client);
        let this = &mut self.clients[client];
        if this.waiter.is_some() {
            self.hear(client, Heard::Cancel);
        } else {
            let limits = Limits::new(5 * S, 2 * S, TERM);
            let standing = this.standing.close(now);
            this.farewell = Some(Farewell::new(now, standing, &limits, Way::Unlock));
            this.left = true;
        }
        if matches!(self.clients[client].does, Does::Sleeps { for_leave: true, .. }) {
            self.run(client);
        }
    }

    fn send(&mut self, client: usize, operation: Operation) {
        let now = self.local(client);
        let this = &mut self.clients[client];
        let order = match operation {
            Operation::Acquire { .. } => Order::Acquire,
            Operation::Renew { .. } => Order::Renew,
            Operation::Release { .. } => Order::Release,
            Operation::Look => Order::Look,
            _ => Order::Create,
        };
        match order {
            Order::Acquire | Order::Renew if this.release_sent => self.broken = Some("nothing follows the release"),
            // No read is trusted for longer than a lease.
            Order::Acquire if this.saw_it_locked && now < this.tried.after(15 * S) => {
                self.broken = Some("nobody knocks at a locked door")
            }
            Order::Release if this.granted && !this.left => {
                self.broken = Some("no release before the guard is dropped");
            }
            _ => {}
        }
        let this = &mut self.clients[client];
        this.release_sent |= order == Order::Release;
        if order == Order::Acquire {
            this.tried = now;
        }
        this.saw_it_locked = false;
        self.packets.push(Packet { client, operation: order, late: false });
        self.packets.sort();
    }

    /// The service carries out a request.
    fn handle(&mut self, packet: &Packet) -> Outcome {
        let id = id(packet.client);
        let operation = match packet.operation {
            Order::Acquire => Operation::Acquire { id, term: TERM },
            Order::Renew => Operation::Renew { id },
            Order::Release => Operation::Release { id },
            Order::Look => Operation::Look,
            Order::Create => Operation::CreateBlob,
        };
        let waits =
            matches!(self.clients[packet.client].does, Does::Calls { operation: asked, .. } if asked == operation);
        let own = matches!(self.service.lease, Lease::Leased { id: of, .. } if of == id);
        let Client { doubled, landed_late, .. } = self.clients[packet.client];
        if operation == Operation::Look && own && waits && !packet.late && !doubled && !landed_late {
            self.broken = Some("nobody waits for its own lease");
        }
        self.clients[packet.client].landed_late |= packet.late && packet.operation == Order::Acquire;
        self.service.handle(self.now, operation, lasts).read(None, operation, 0, Some(0)).0
    }

    /// The client gets an answer, if it still waits for it.
    fn answer(&mut self, client: usize, of: Order, outcome: Outcome) {
        let this = &self.clients[client];
        let Does::Calls { operation, sent, .. } = this.does else { return };
        let fits = match operation {
            Operation::Acquire { .. } => of == Order::Acquire,
            Operation::Renew { .. } => of == Order::Renew,
            Operation::Release { .. } => of == Order::Release,
            Operation::Look => of == Order::Look,
            _ => of == Order::Create,
        };
        if fits && !this.stopped {
            self.clients[client].saw_it_locked = is_locked(outcome);
            self.came(client, sent, outcome);
        }
    }

    /// Something came of a call.
    fn came(&mut self, client: usize, sent: Moment, outcome: Outcome) {
        let error = Some(()).filter(|()| matches!(outcome, Outcome::Failed { .. }));
        self.clients[client].carrier.answered(Exchange::new(sent, outcome, error));
        self.run(client);
    }

    /// When something is due next.
    fn due(&self) -> Option<Time> {
        let timers = (0..self.clients.len()).filter_map(|client| clock(client).when(self.clients[client].due()?));
        let lease = self.service.holder().map(|(_, until)| until);
        timers.chain(lease).filter(|due| *due > self.now).min()
    }

    /// Whatever is due now.
    fn wake(&mut self) {
        self.service.settle(self.now);
        for client in 0..self.clients.len() {
            let now = self.local(client);
            if self.clients[client].due().is_some_and(|due| due <= now) {
                self.wake_up(client);
            }
        }
    }

    fn wake_up(&mut self, client: usize) {
        match self.clients[client].does {
            Does::Calls { sent, gives_up, .. } if gives_up <= self.local(client) => {
                self.came(client, sent, NO_ANSWER);
            }
            Does::Sleeps { .. } => self.run(client),
            _ => {}
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut service = Service::new();
        service.container = Presence::There;
        service.put(Duration::ZERO, Content::NOTHING);
        let mut state = State {
            now: Duration::ZERO,
            service,
            clients: (0..self.clients).map(Client::new).collect(),
            packets: Vec::new(),
            faults_left: self.faults,
            broken: None,
        };
        (0..self.clients).for_each(|client| state.run(client));
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let packets = 0..state.packets.len();
        actions.extend(packets.clone().map(Action::Arrive));
        if state.packets.iter().all(|packet| packet.late) {
            actions.push(Action::Wait);
        }
        for (i, client) in state.clients.iter().enumerate() {
            match client.does {
                Does::Nothing | Does::Died => continue,
                _ if client.stopped => actions.push(Action::Continue(i)),
                _ if !client.left => actions.push(Action::Leave(i)),
                _ => {}
            }
            if state.faults_left > 0 && !client.stopped {
                actions.extend([Action::Stop(i), Action::Kill(i)]);
            }
        }
        if state.faults_left > 0 {
            let fresh = packets.filter(|i| !state.packets[*i].late);
            let faults = [Action::Lose, Action::LoseAnswer, Action::Repeat, Action::Delay, Action::Fail];
            actions.extend(fresh.flat_map(|i| faults.map(|fault| fault(i))));
            if matches!(state.service.lease, Lease::Leased { .. }) {
                actions.push(Action::Break);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Arrive(i) => {
                let packet = state.packets.remove(i);
                let outcome = state.handle(&packet);
                state.answer(packet.client, packet.operation, outcome);
                return Some(state);
            }
            Action::Wait => {
                state.now = state.due()?;
                state.wake();
                return Some(state);
            }
            Action::Leave(i) => {
                state.leave(i);
                return Some(state);
            }
            Action::Continue(i) => {
                state.clients[i].stopped = false;
                state.wake_up(i);
                return Some(state);
            }
            _ => state.faults_left -= 1,
        }
        match action {
            Action::Lose(i) => drop(state.packets.remove(i)),
            Action::LoseAnswer(i) => {
                let packet = state.packets.remove(i);
                state.handle(&packet);
            }
            Action::Repeat(i) => {
                let packet = state.packets.remove(i);
                state.clients[packet.client].doubled = true;
                state.packets.push(Packet { late: true, ..packet.clone() });
                state.packets.sort();
                let outcome = state.handle(&packet);
                state.answer(packet.client, packet.operation, outcome);
            }
            Action::Delay(i) => {
                state.packets[i].late = true;
                state.packets.sort();
            }
            Action::Fail(i) => {
                let packet = state.packets.remove(i);
                state.answer(packet.client, packet.operation, NO_ANSWER);
            }
            Action::Stop(i) => state.clients[i].stopped = true,
            Action::Kill(i) => state.clients[i].does = Does::Died,
            Action::Break => {
                state.service.handle(state.now, Operation::Break { period: None, only: None }, lasts);
            }
            _ => {}
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two holders", |_, state: &State| {
                (0..state.clients.len()).filter(|client| state.says_yes(*client)).count() <= 1
            }),
            Property::always("a yes is covered by the service", |_, state: &State| {
                let holder = state.service.holder().filter(|(_, until)| *until > state.now).map(|(id, _)| id);
                (0..state.clients.len()).all(|client| !state.says_yes(client) || holder == Some(id(client)))
            }),
            Property::always("no rule is broken on the way", |_, state: &State| state.broken.is_none()),
            Property::sometimes("the slow one holds it", |_, state: &State| state.says_yes(0)),
            Property::sometimes("it is handed over", |_, state: &State| state.clients[0].unlocked && state.says_yes(1)),
            Property::sometimes("a killed one's lease is taken over", |_, state: &State| {
                state.clients[0].does == Does::Died && state.clients[0].granted && state.says_yes(1)
            }),
            Property::sometimes("a loss is told", |_, state: &State| {
                state.clients[1].granted && state.clients[1].standing.clone().check(state.local(1)).is_err()
            }),
            Property::sometimes("a request arrives after its client has ended", |_, state: &State| {
                let over = |packet: &Packet| state.clients[packet.client].does == Does::Nothing;
                state.packets.iter().any(over)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.now <= self.horizon
    }
}

/// Fails if a state breaks a rule, or what should come about sometimes never does.
fn check(clients: usize, faults: u8, horizon: Duration) {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let checker = System { clients, faults, horizon }.checker().threads(threads).spawn_bfs().join();
    println!(
        "{clients} clients, {faults} faults, {horizon:?}: {} states, {} of them different, {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn two_clients_and_one_fault_in_all_orders() {
    check(2, 1, 30 * S);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long: `cargo test --release --lib sim::`")]
fn two_clients_and_two_faults_in_all_orders() {
    check(2, 2, 40 * S);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "thirteen million states: `cargo test --release --lib sim::`")]
fn three_clients_and_two_faults_in_all_orders() {
    check(3, 2, 15 * S);
}
