//! The brain: everything that is decided about a lock, from the first look to the release.
//!
//! One state machine over given time and answers. It has no clock, channel, thread or socket, so that whatever it
//! does can be repeated without them. [`Hold::step`] takes what has happened and says what to do next.
//!
//! Around it, just as pure: [`carry`] decides what whoever carries a hold out does and tells, in which order; [`call`]
//! what one call of `AzureMutex` makes of that; [`caller`] how long the caller of a lock, an unlock or a drop waits, and
//! what it returns. What a holder is told in between is [`standing`](crate::standing)'s. The lock's thread, the calls,
//! the simulation, the model and the tests drive these and nothing else.
//!
//! | word | meaning |
//! | --- | --- |
//! | hold | one use of the lock under one lease id, from the first request to the end of its release |
//! | lease | what the service grants: the blob is taken under this id for this time |
//! | term | the duration that a lease is asked for |
//! | grant | the answer that gives us the lease |
//! | ends | when the service frees the lease by itself, at the earliest |
//! | margin | how long before that we stop calling it ours |
//! | deadline, `valid_until` | until then we call it ours: `ends` less the margin |
//! | tenure | the part of a hold in which the lease is ours |
//! | renew | have the lease start anew, which moves the deadline |
//! | look | read the lease's state, without asking for it |
//! | unsure | an acquire had no answer, and may have been carried out |
//! | lost | the lease was ours and no longer is; final |
//! | lapsed | lost, and the guard is not dropped yet |
//! | leave | the caller wants the lock no more: it unlocks, drops the guard, or gives up waiting |
//! | queue | the threads of one process that want one lock; only the first of them, whose turn it is, has a hold |
//! | row | the turns in which one process has had the lock, without a pause in which others could have got in |
//! | stand back | leave the lock alone for a pause, after a long row, so that other processes get in |
//! | defer | see the lock free, having stood back, and look once more before taking it, so that others go first |
//! | undo | release what may have been taken, for a caller who did not get it |
//! | write | leave a fencing token, a card or a mark in the metadata of the lock's blob, under our lease |
//! | version | what the service calls an ETag: the lock's blob between two writes |
//! | one-shot | a call of `AzureMutex`: ends after the first thing done, and leaves the lease to the caller |

use std::mem;
use std::time::Duration;

use crate::clock::Moment;
use crate::fencing::{Blob, FencingToken, Second};
use crate::kept::Kept;
use crate::lease::{LeaseId, Lost, Term};
use crate::rest::{Applied, Operation, Outcome};
use crate::retry::{self, Policy};

use self::write::{Progress, Todo, Unwritten, Wish, Writer, Written};

pub(crate) mod call;
pub(crate) mod caller;
pub(crate) mod carry;
#[cfg(test)]
mod tests;
pub(crate) mod write;

/// The last try of a wait with a deadline is made at least this long before it.
const LAST_TRY: Duration = Duration::from_millis(250);
/// No request is sent with less time than this to be answered in.
const LEAST_LIMIT: Duration = Duration::from_millis(5);
/// By up to these parts of the interval renewals are early: the first one far, so that many locks which were taken together
/// are not renewed together, and each later one a little, so that they do not fall in step.
const FIRST_EARLY: u32 = 2;
const EARLY: u32 = 10;
/// By up to this part a pause between two looks is shortened.
const LOOKS_EARLIER: u32 = 3;
/// For so long the lock is left to others who have waited for it: until each has looked once more, where pauses are what
/// they are by default.
const DEFERENCE: Duration = Duration::from_millis(1_500);
/// So often in a row a blob or container that vanished at once is made anew without a pause.
const CREATIONS: u32 = 4;
/// So many looks in a row that something in between answered are enough to try instead.
const FILTERED: u32 = 3;

/// The settings of one lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub(crate) term: Term,
    pub(crate) renew_every: Duration,
    /// The pauses between two looks while somebody else has the lock.
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) create_container: bool,
    pub(crate) leaves: Leaves,
    pub(crate) policy: Policy,
}

/// What a holder leaves in the metadata of the lock's blob.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leaves {
    /// It takes a fencing token, or does not hold the lock.
    pub(crate) token: bool,
    pub(crate) card: bool,
    /// Others' metadata may come back with their names in lower case.
    pub(crate) lower_cases: bool,
}

impl Leaves {
    /// What whoever gets the lock wants written.
    pub(crate) fn wish(self) -> Wish {
        Wish { token: self.token, card: self.card.then_some(None), mark: false }
    }
}

/// How long to wait for a lock that somebody else has.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    Never,
    Until(Moment),
    Forever,
}

/// What has happened since the last step.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// Nothing but time: the first step, the end of a sleep, or after something was told.
    Go,
    /// What came of the request of the last step, when it was sent, and what its answer tells of the lock's blob.
    Answer { sent: Moment, outcome: Outcome, blob: Option<Blob> },
    /// The holder was told of the loss already, because the deadline passed unseen by this machine.
    Lapsed(Lost),
}

/// What to do next.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Make this request, give it no more than `limit`, and step with its answer.
    Send { operation: Operation, limit: Duration },
    /// Step again at this time, or when the caller leaves.
    Sleep { until: Moment },
    /// Pass this on, and step again.
    Tell(Told),
    /// It is over.
    End,
}

/// What the caller gets to know.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    /// Somebody else has the lock, and it is being waited for.
    Waiting,
    /// A passing failure on the way to the lock.
    Retrying,
    /// The lock is ours until `valid_until`; the service frees it at `ends` at the earliest.
    Granted {
        valid_until: Moment,
        ends: Moment,
        holder: Holder,
    },
    Renewed {
        valid_until: Moment,
        ends: Moment,
    },
    RenewalFailed {
        left: Duration,
    },
    Lost(Lost),
    /// The holder's card could not be left, or, if there is to be one, its token.
    NotLeft(Unwritten),
    /// What came of a write that was asked for while the lease is ours.
    Written(Result<Option<FencingToken>, Unwritten>),
    NotObtained(Why),
    Released(Released),
}

/// What is known of our own tenure besides its times.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) token: Option<FencingToken>,
    /// When the lock was taken, by the service's clock.
    pub(crate) since: Option<Second>,
}

/// Why the lock was not obtained.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Busy,
    TimedOut,
    /// The caller left.
    GivenUp,
    /// By the failure that was met last.
    Failed,
    /// There is no fencing token.
    NoToken(Unwritten),
}

/// How a release ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Released {
    Done,
    /// There was nothing of ours left to release.
    Lost(Lost),
    /// By the failure that was met last.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    settings: Settings,
    id: LeaseId,
    /// One call of `AzureMutex` about a lease: end after the first thing done, and leave the lease alone.
    once: bool,
    leaving: bool,
    /// When the service frees the lease by itself, if it carried out all that was asked of it as soon as it was sent.
    ends: Moment,
    /// A release had no answer, and may have been carried out.
    perhaps_released: bool,
    /// What the lock's blob is, as far as that is known.
    blob: Option<Blob>,
    since: Option<Second>,
    /// What the ids of writes are made from.
    seed: LeaseId,
    /// How many writes were planned.
    plans: u32,
    /// What is being written while the lease is ours.
    writing: Option<Writing>,
    state: State,
}

/// A write under our lease.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Writing {
    writer: Writer,
    purpose: Purpose,
    /// Its request is under way, and not a renewal.
    is_asked: bool,
    /// There is nothing left to write, and it was told so.
    is_over: bool,
    rest_until: Moment,
    failures: u32,
    failing_since: Option<Moment>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    /// The caller who waits gets the lock after it.
    Grant { wait: Wait },
    /// The holder asked for it.
    Holder,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Seeking(Seek),
    Held(Tenure),
    /// Lost and told. The holder may still be stopping its work, so the release waits until it has let go.
    Lapsed(Lost),
    Releasing(Release),
    Over,
}

/// On the way to the lock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Seek {
    wait: Wait,
    stage: Stage,
    /// An acquire was sent whose outcome we never learned: it may have been carried out, or may still be. Whoever gives
    /// up releases it. It is sent again until one is answered, as a mere look would show us our own lease as somebody
    /// else's.
    unsure: bool,
    /// When the last acquire was decided on. No read is trusted for ever: a cache may go on answering an old one.
    tried: Moment,
    /// Until then we ask by trying: looking is refused to this credential, or something in between answers the looks.
    blind_until: Moment,
    /// How many looks have been answered by something in between, since one was answered by the service.
    filtered: u32,
    told_waiting: bool,
    /// Whenever it sees the lock free, it lets others go first: its process has had a row of turns.
    defers: bool,
    /// It has just done so.
    has_deferred: bool,
    /// How often somebody else had it.
    busy: u32,
    creations: u32,
    failures: u32,
    failing_since: Option<Moment>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Next(Ask),
    Asked(Ask),
    Resting { until: Moment, then: Ask },
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Acquire,
    Look,
    CreateBlob,
    CreateContainer,
}

/// The lock is ours.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    valid_until: Moment,
    renew_at: Moment,
    failures: u32,
}

/// On the way out.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Release {
    /// No request reaches past that: two limits after the first one, or the lease's end. Not known before the first, so
    /// that one is made however long the thread was held up on its way to it.
    until: Option<Moment>,
    ends: Moment,
    rest_until: Moment,
    retries: u32,
    failures: u32,
    ending: Ending,
    lost: Option<Lost>,
}

/// What is said when a release has ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Ending {
    /// How it ended.
    Told,
    /// Nothing: nobody asked for it, and what was begun is undone.
    Silent,
    /// That the lock was not obtained; and before it begins, if somebody waits who has no time for it.
    NotObtained(Why),
    NotObtainedFirst(Why),
}

impl Seek {
    fn new(wait: Wait) -> Seek {
        Seek {
            wait,
            stage: Stage::Next(Ask::Acquire),
            unsure: false,
            tried: Moment::PAST,
            blind_until: Moment::PAST,
            filtered: 0,
            told_waiting: false,
            defers: false,
            has_deferred: false,
            busy: 0,
            creations: 0,
            failures: 0,
            failing_since: None,
        }
    }

    /// The service said who has the lock. Only that ends a row of failures; making anew what vanishes does not.
    fn answered(&mut self) {
        self.creations = 0;
        self.failures = 0;
        self.failing_since = None;
    }
}

impl Hold {
    /// To get the lock and keep it. `id` is new and random; every acquire of this hold carries it, so that one that
    /// was carried out without our hearing of it can be sent again.
    pub(crate) fn keep(settings: Settings, id: LeaseId, wait: Wait) -> Hold {
        Hold::new(settings, id, State::Seeking(Seek::new(wait)))
    }

    /// With what is known of the lock's blob from before.
    pub(crate) fn knowing(self, blob: Option<Blob>) -> Hold {
        Hold { blob, ..self }
    }

    /// Those before it in the queue have met failures since then: its patience counts from there, unless it has an answer.
    pub(crate) fn failing_since(mut self, since: Option<Moment>) -> Hold {
        if let State::Seeking(seek) = &mut self.state {
            seek.failing_since = since;
        }
        self
    }

    /// It asks for nothing before this time, which is not after the end of its wait, so that other processes get in. Where
    /// some did, it lets the others go first, too, whenever it sees the lock free.
    pub(crate) fn standing_back(mut self, until: Moment) -> Hold {
        if let State::Seeking(seek) = &mut self.state {
            (seek.stage, seek.defers) = (Stage::Resting { until, then: Ask::Acquire }, true);
        }
        self
    }

    /// To write to the lock's blob under a lease that the caller keeps. `seed` is new and random.
    pub(crate) fn to_write(
        settings: Settings,
        id: LeaseId,
        kept: &Kept,
        wish: Wish,
        blob: Option<Blob>,
        seed: LeaseId,
    ) -> Hold {
        let tenure = Tenure { valid_until: kept.valid_until, renew_at: Moment::NEVER, failures: 0 };
        let (ends, since) = (kept.ends, kept.since);
        let mut hold = Hold { once: true, ends, since, blob, seed, ..Hold::new(settings, id, State::Held(tenure)) };
        hold.write(wish);
        hold
    }

    /// The holder wants something to be written, after it was told what came of the last such wish. Takes effect at the
    /// next step.
    pub(crate) fn write(&mut self, wish: Wish) {
        self.writing = Some(self.begin_writing(wish, Purpose::Holder));
    }

    fn begin_writing(&self, wish: Wish, purpose: Purpose) -> Writing {
        let lower_cases = self.settings.leaves.lower_cases;
        Writing {
            writer: Writer::new((self.id, self.seed), wish, lower_cases, self.since, self.blob, self.plans),
            purpose,
            is_asked: false,
            is_over: false,
            rest_until: Moment::PAST,
            failures: 0,
            failing_since: None,
        }
    }

    /// To get a lease without waiting, and leave it to the caller.
    pub(crate) fn acquire(settings: Settings, id: LeaseId) -> Hold {
        Hold { once: true, ..Hold::keep(settings, id, Wait::Never) }
    }

    /// To renew a lease that the caller keeps, now; or, after [`leave`](Hold::leave), to release it.
    pub(crate) fn of_lease(settings: Settings, id: LeaseId, valid_until: Moment, ends: Moment) -> Hold {
        let tenure = Tenure { valid_until, renew_at: Moment::PAST, failures: 0 };
        Hold { once: true, ends, ..Hold::new(settings, id, State::Held(tenure)) }
    }

    /// To repeat a release that failed; `lost`, if the lease had been by then. An earlier one was `perhaps_released`.
    pub(crate) fn release_again(
        settings: Settings,
        id: LeaseId,
        ends: Moment,
        lost: Option<Lost>,
        perhaps_released: bool,
    ) -> Hold {
        let mut hold = Hold { perhaps_released, ..Hold::of_lease(settings, id, Moment::PAST, ends) };
        let release = hold.release(Moment::NEVER, hold.settings.policy.retries, Ending::Told);
        hold.state = State::Releasing(Release { lost, ..release });
        hold
    }

    fn new(settings: Settings, id: LeaseId, state: State) -> Hold {
        Hold {
            settings,
            id,
            once: false,
            leaving: false,
            ends: Moment::PAST,
            perhaps_released: false,
            blob: None,
            since: None,
            seed: id,
            plans: 0,
            writing: None,
            state,
        }
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }

    /// When the lock was taken, by the service's clock.
    pub(crate) fn since(&self) -> Option<Second> {
        self.since
    }

    /// What the lock's blob is, as far as that is known.
    #[cfg(test)]
    pub(crate) fn blob(&self) -> Option<Blob> {
        self.blob
    }

    /// When the lease ends by itself, if nothing is heard of it any more.
    pub(crate) fn ends(&self) -> Moment {
        self.ends
    }

    /// Whether a release without an answer may have been carried out.
    pub(crate) fn perhaps_released(&self) -> bool {
        self.perhaps_released
    }

    /// The caller wants the lock no more. Takes effect at the next step.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// `jitter` is any number, new for each step.
    pub(crate) fn step(&mut self, now: Moment, input: Input, jitter: u32) -> Step {
        match self.state {
            State::Seeking(seek) => self.seeking(seek, now, input, jitter),
            State::Held(tenure) => self.held(tenure, now, input, jitter),
            State::Lapsed(lost) => self.lapsed(lost, now),
            State::Releasing(release) => self.releasing(release, now, input, jitter),
            State::Over => Step::End,
        }
    }

    fn seeking(&mut self, mut seek: Seek, now: Moment, input: Input, jitter: u32) -> Step {
        let (Stage::Asked(ask), Input::Answer { sent, outcome, blob }) = (seek.stage, input) else {
            return self.seek_on(seek, now);
        };
        if let (Ask::Look, Outcome::Seen(_) | Outcome::NoBlob | Outcome::NoContainer) = (ask, outcome) {
            seek.filtered = 0;
        }
        self.blob = blob.filter(|blob| blob.content.is_some()).or(self.blob);
        match (ask, outcome) {
            (Ask::Acquire, Outcome::Leased(id)) if id == self.id => self.granted(seek, now, sent, blob, jitter),
            (Ask::Acquire, Outcome::Busy) => self.busy(seek, now, jitter),
            (Ask::Look, Outcome::Seen(status)) if status.is_locked() => self.busy(seek, now, jitter),
            (Ask::Look, Outcome::Seen(_)) => {
                seek.answered();
                if seek.defers && !mem::replace(&mut seek.has_deferred, true) {
                    seek.stage = Stage::Resting { until: rested(seek.wait, now, DEFERENCE), then: Ask::Look };
                    return self.seek_on(seek, now);
                }
                self.put(seek, Ask::Acquire, now)
            }
            (Ask::Look, Outcome::NoBlob | Outcome::NoContainer) => self.put(seek, Ask::Acquire, now),
            (Ask::Look, Outcome::Denied | Outcome::Refused | Outcome::Void) => {
                seek.blind_until = Moment::NEVER;
                self.put(seek, Ask::Acquire, now)
            }
            (Ask::Look, Outcome::Filtered) => self.filtered(seek, now, jitter),
            (Ask::Acquire, Outcome::NoBlob) => self.create(seek, Ask::CreateBlob, now, jitter),
            (Ask::Acquire | Ask::CreateBlob, Outcome::NoContainer) if self.settings.create_container => {
                self.create(seek, Ask::CreateContainer, now, jitter)
            }
            (Ask::CreateContainer, Outcome::Done | Outcome::Exists) => self.put(seek, Ask::CreateBlob, now),
            (Ask::CreateBlob, Outcome::Done | Outcome::Exists) => self.put(seek, Ask::Acquire, now),
            // It takes the service half a minute or more, so it is waited for like a holder, not borne like a fault.
            (_, Outcome::ContainerBeingDeleted) if seek.wait != Wait::Never => {
                seek.answered();
                self.rest(seek, Ask::Acquire, retry::shortened(self.settings.longest_pause, 2, jitter), now)
            }
            (_, Outcome::Failed { applied, retry_after }) => {
                seek.unsure |= ask == Ask::Acquire && applied == Applied::Perhaps;
                self.stumble(seek, ask, now, retry_after, jitter)
            }
            // A lease under an id that is not ours, or an answer that this question does not have.
            _ => {
                seek.unsure |= matches!(outcome, Outcome::Leased(_));
                self.give_up(seek, Why::Failed)
            }
        }
    }

    fn put(&mut self, mut seek: Seek, ask: Ask, now: Moment) -> Step {
        seek.stage = Stage::Next(ask);
        self.seek_on(seek, now)
    }

    /// What comes next on the way to the lock, if it is still wanted.
    fn seek_on(&mut self, mut seek: Seek, now: Moment) -> Step {
        if self.leaving {
            return self.give_up(seek, Why::GivenUp);
        }
        let mut limit = self.settings.policy.attempt_limit;
        if let Wait::Until(deadline) = seek.wait {
            if now >= deadline {
                return self.give_up(seek, Why::TimedOut);
            }
            // A request that hangs must leave room for the last try.
            let room = deadline.before(LAST_TRY).left(now);
            limit = limit.min(if room > LAST_TRY { room } else { deadline.left(now) });
            if limit < LEAST_LIMIT {
                self.state = State::Seeking(seek);
                return Step::Sleep { until: deadline };
            }
        }
        match seek.stage {
            Stage::Resting { until, .. } if now < until => {
                self.state = State::Seeking(seek);
                Step::Sleep { until }
            }
            Stage::Resting { then: ask, .. } | Stage::Next(ask) | Stage::Asked(ask) => {
                let ask = if ask == Ask::Look && self.is_to_try(&seek, now) { Ask::Acquire } else { ask };
                seek.stage = Stage::Asked(ask);
                if ask == Ask::Acquire {
                    seek.tried = now;
                }
                self.state = State::Seeking(seek);
                let operation = match ask {
                    Ask::Acquire => Operation::Acquire { id: self.id, term: self.settings.term },
                    Ask::Look => Operation::Look,
                    Ask::CreateBlob => Operation::CreateBlob,
                    Ask::CreateContainer => Operation::CreateContainer,
                };
                Step::Send { operation, limit }
            }
        }
    }

    fn granted(&mut self, mut seek: Seek, now: Moment, sent: Moment, blob: Option<Blob>, jitter: u32) -> Step {
        let tenure = self.tenure(sent, FIRST_EARLY, jitter);
        if tenure.valid_until <= now {
            // The answer took longer than the lease lasts. The same acquire again starts the lease anew.
            seek.unsure = true;
            return self.stumble(seek, Ask::Acquire, now, None, jitter);
        }
        if self.leaving {
            return self.undo(Why::GivenUp);
        }
        self.since = blob.map(|blob| blob.version.date);
        // What is known of the metadata is true as long as the blob is of that version.
        let content = self.blob.filter(|known| blob.is_some_and(|blob| blob.version.etag == known.version.etag));
        self.blob = blob.map(|blob| Blob { content: content.and_then(|known| known.content), ..blob });
        let Leaves { token, card, .. } = self.settings.leaves;
        if (token || card) && !self.once {
            let wish = self.settings.leaves.wish();
            let writing = self.begin_writing(wish, Purpose::Grant { wait: seek.wait });
            self.writing = Some(Writing { failures: seek.failures, failing_since: seek.failing_since, ..writing });
            self.state = State::Held(tenure);
            return self.step(now, Input::Go, jitter);
        }
        self.state = if self.once { State::Over } else { State::Held(tenure) };
        self.grant(&tenure, None)
    }

    fn grant(&self, tenure: &Tenure, token: Option<FencingToken>) -> Step {
        let holder = Holder { token, since: self.since };
        Step::Tell(Told::Granted { valid_until: tenure.valid_until, ends: self.ends, holder })
    }

    /// The lease is ours, and its caller does not get it.
    fn undo(&mut self, why: Why) -> Step {
        self.writing = None;
        self.state = State::Releasing(self.release(self.ends, self.settings.policy.retries, Ending::Silent));
        Step::Tell(Told::NotObtained(why))
    }

    /// From a request that was sent then. Its renewal comes early, by up to one `part`th of the interval.
    fn tenure(&mut self, sent: Moment, part: u32, jitter: u32) -> Tenure {
        self.ends = self.settings.term.ends(sent);
        Tenure {
            valid_until: self.settings.term.valid_until(sent),
            renew_at: sent.after(retry::shortened(self.settings.renew_every, part, jitter)),
            failures: 0,
        }
    }

    /// Somebody else has it.
    fn busy(&mut self, mut seek: Seek, now: Moment, jitter: u32) -> Step {
        if seek.wait == Wait::Never {
            return self.give_up(seek, Why::Busy);
        }
        let full = retry::doubled(self.settings.first_pause, self.settings.longest_pause, seek.busy);
        let pause = retry::shortened(full, LOOKS_EARLIER, jitter);
        let then = if now < seek.blind_until { Ask::Acquire } else { Ask::Look };
        seek.busy = seek.busy.saturating_add(1);
        seek.has_deferred = false;
        seek.answered();
        seek.stage = Stage::Resting { until: rested(seek.wait, now, pause), then };
        if !seek.told_waiting && !self.leaving {
            seek.told_waiting = true;
            self.state = State::Seeking(seek);
            return Step::Tell(Told::Waiting);
        }
        self.seek_on(seek, now)
    }

    /// A look tells nothing, though it was answered. A portal goes away again; what lets no look through may stay, so
    /// we try instead, and look again a lease later.
    fn filtered(&mut self, mut seek: Seek, now: Moment, jitter: u32) -> Step {
        seek.filtered = seek.filtered.saturating_add(1);
        if seek.filtered < FILTERED {
            return self.stumble(seek, Ask::Look, now, None, jitter);
        }
        seek.blind_until = self.settings.term.ends(now);
        self.put(seek, Ask::Acquire, now)
    }

    /// Whether to try instead of to look, though the lock was seen to be taken: once a lease, and at the end of a wait.
    fn is_to_try(&self, seek: &Seek, now: Moment) -> bool {
        let last_try = match seek.wait {
            Wait::Until(deadline) => deadline.before(LAST_TRY),
            Wait::Never | Wait::Forever => Moment::NEVER,
        };
        // A wait that is no longer than that begins with a try, and makes its last one when it would look first.
        let has_just_begun = now >= last_try && seek.busy == 1;
        now >= self.settings.term.ends(seek.tried) || now >= last_try && seek.tried < last_try || has_just_begun
    }

    /// The service asked for the blob or the container to be made.
    fn create(&mut self, mut seek: Seek, what: Ask, now: Moment, jitter: u32) -> Step {
        seek.creations += 1;
        if seek.creations > CREATIONS {
            seek.creations = 0;
            return self.stumble(seek, Ask::Acquire, now, None, jitter);
        }
        self.put(seek, what, now)
    }

    /// A failure that may pass. The question is put again after a pause, unless patience has run out.
    fn stumble(&mut self, mut seek: Seek, ask: Ask, now: Moment, retry_after: Option<Duration>, jitter: u32) -> Step {
        let policy = &self.settings.policy;
        seek.failures = seek.failures.saturating_add(1);
        let since = *seek.failing_since.get_or_insert(now);
        let pause = policy.pause(seek.failures, retry_after, jitter);
        let (patient, pause) = match seek.wait {
            // Nobody who does not want to wait should be held by a server that asks for it.
            Wait::Never => (seek.failures <= policy.retries && pause <= policy.longest_pause, pause),
            Wait::Until(_) => (true, pause),
            Wait::Forever => (now.since(since) < policy.patience, pause.min(policy.patience)),
        };
        if patient { self.rest(seek, ask, pause, now) } else { self.give_up(seek, Why::Failed) }
    }

    /// Says that something failed, and puts the question after a pause.
    fn rest(&mut self, mut seek: Seek, then: Ask, pause: Duration, now: Moment) -> Step {
        seek.stage = Stage::Resting { until: rested(seek.wait, now, pause), then };
        if self.leaving {
            return self.seek_on(seek, now);
        }
        self.state = State::Seeking(seek);
        Step::Tell(Told::Retrying)
    }

    fn give_up(&mut self, seek: Seek, why: Why) -> Step {
        // One release, in case an acquire was carried out, or is before it arrives. More where nothing else would ever
        // free the lock.
        let retries = if self.settings.term == Term::Infinite { self.settings.policy.retries } else { 0 };
        let undoing = State::Releasing(self.release(Moment::NEVER, retries, Ending::Silent));
        self.state = if seek.unsure { undoing } else { State::Over };
        Step::Tell(Told::NotObtained(why))
    }

    fn held(&mut self, tenure: Tenure, now: Moment, input: Input, jitter: u32) -> Step {
        if let Input::Lapsed(lost) = input {
            self.state = State::Lapsed(lost);
            return self.lapsed(lost, now);
        }
        // First of all, so that no answer that comes too late undoes the loss.
        if now >= tenure.valid_until {
            return self.lose(Lost::Expired, now, jitter);
        }
        if let Input::Answer { sent, outcome, blob } = input {
            if let Some(writing) = self.writing.filter(|writing| writing.is_asked) {
                return self.write_answered(tenure, writing, now, (outcome, blob), jitter);
            }
            match outcome {
                Outcome::Leased(id) if id == self.id => {
                    let tenure = self.tenure(sent, EARLY, jitter);
                    self.state = if self.once { State::Over } else { State::Held(tenure) };
                    if self.is_untold() {
                        return self.step(now, Input::Go, jitter);
                    }
                    return Step::Tell(Told::Renewed { valid_until: tenure.valid_until, ends: self.ends });
                }
                Outcome::Leased(_) | Outcome::NotOurs | Outcome::NoLease => return self.lose(Lost::Taken, now, jitter),
                Outcome::Broken => return self.lose(Lost::Broken, now, jitter),
                Outcome::NoBlob => return self.lose(Lost::BlobDeleted, now, jitter),
                Outcome::NoContainer | Outcome::ContainerBeingDeleted => {
                    return self.lose(Lost::ContainerDeleted, now, jitter);
                }
                _ => return self.renewal_failed(tenure, now, outcome, jitter),
            }
        }
        if self.leaving {
            if self.is_untold() {
                return self.undo(Why::GivenUp);
            }
            self.state = State::Releasing(self.release(self.ends, self.settings.policy.retries, Ending::Told));
            return self.step(now, Input::Go, jitter);
        }
        // Without its card, and without any further delay.
        if self.writing.is_some_and(|writing| writing.is_over) {
            self.writing = None;
            return self.grant(&tenure, None);
        }
        let deadline = self.deadline();
        if now >= deadline {
            return self.undo(Why::TimedOut);
        }
        let limit = self.settings.policy.attempt_limit.min(tenure.valid_until.left(now) / 2).min(deadline.left(now));
        if now < tenure.renew_at {
            match self.writing {
                Some(writing) => self.write_on(tenure, writing, now, limit),
                None => Step::Sleep { until: tenure.renew_at },
            }
        } else if limit < LEAST_LIMIT {
            Step::Sleep { until: tenure.valid_until.min(deadline) }
        } else {
            self.ends = self.settings.term.ends(now);
            Step::Send { operation: Operation::Renew { id: self.id }, limit }
        }
    }

    /// The lease is ours, and the caller who waits does not know yet.
    fn is_untold(&self) -> bool {
        self.untold().is_some()
    }

    /// What is written before that caller knows.
    fn untold(&self) -> Option<Writing> {
        self.writing.filter(|writing| writing.purpose != Purpose::Holder)
    }

    /// Until when a caller waits who does not know yet that the lease is ours.
    fn deadline(&self) -> Moment {
        match self.writing {
            Some(Writing { purpose: Purpose::Grant { wait: Wait::Until(deadline) }, .. }) => deadline,
            _ => Moment::NEVER,
        }
    }

    /// What comes next of a write under our lease, between two renewals.
    fn write_on(&mut self, tenure: Tenure, mut writing: Writing, now: Moment, limit: Duration) -> Step {
        let wakes = tenure.renew_at.min(self.deadline());
        if now < writing.rest_until || limit < LEAST_LIMIT {
            let until = if limit < LEAST_LIMIT { tenure.valid_until } else { writing.rest_until };
            return Step::Sleep { until: until.min(wakes) };
        }
        let todo = writing.writer.next(now);
        self.plans = writing.writer.plans();
        match todo {
            Ok(Todo::Send(operation)) => {
                self.writing = Some(Writing { is_asked: true, ..writing });
                Step::Send { operation, limit }
            }
            Ok(Todo::Rest { until }) => {
                self.writing = Some(writing);
                Step::Sleep { until: until.min(wakes) }
            }
            Err(why) => self.not_written(tenure, writing, why),
        }
    }

    fn write_answered(
        &mut self,
        tenure: Tenure,
        mut writing: Writing,
        now: Moment,
        (outcome, blob): (Outcome, Option<Blob>),
        jitter: u32,
    ) -> Step {
        writing.is_asked = false;
        let progress = writing.writer.answered(outcome, blob);
        self.writing = Some(writing);
        match progress {
            Progress::Onwards => self.step(now, Input::Go, jitter),
            Progress::Done(Written { token, blob }) => {
                self.blob = blob;
                self.writing = None;
                if writing.purpose != Purpose::Holder {
                    return self.grant(&tenure, token);
                }
                self.state = if self.once { State::Over } else { State::Held(tenure) };
                Step::Tell(Told::Written(Ok(token)))
            }
            Progress::Unwritten(Unwritten::Lost(lost)) => self.lose(lost, now, jitter),
            Progress::Unwritten(why) => self.not_written(tenure, writing, why),
            Progress::Stumbled { retry_after } => self.write_stumbled(tenure, writing, now, retry_after, jitter),
        }
    }

    /// A failure that may pass.
    fn write_stumbled(
        &mut self,
        tenure: Tenure,
        mut writing: Writing,
        now: Moment,
        retry_after: Option<Duration>,
        jitter: u32,
    ) -> Step {
        let policy = &self.settings.policy;
        writing.failures = writing.failures.saturating_add(1);
        let since = *writing.failing_since.get_or_insert(now);
        let pause = policy.pause(writing.failures, retry_after, jitter);
        let is_worth_it = writing.failures <= policy.retries && pause <= policy.longest_pause;
        let lease = self.settings.term.duration().unwrap_or(Duration::MAX);
        let (patient, pause) = match writing.purpose {
            // Nobody should wait for the sake of a card.
            Purpose::Grant { .. } if !self.settings.leaves.token => (false, pause),
            // Others are kept from the lock for no longer than by one who crashes.
            Purpose::Grant { wait: Wait::Until(_) } => (now.since(since) < lease, pause),
            Purpose::Grant { wait: Wait::Forever } => {
                let patience = policy.patience.min(lease);
                (now.since(since) < patience, pause.min(patience))
            }
            _ => (is_worth_it, pause),
        };
        if !patient {
            return self.not_written(tenure, writing, Unwritten::Failed);
        }
        writing.rest_until = now.after(pause);
        self.writing = Some(writing);
        if writing.purpose == Purpose::Holder { self.step(now, Input::Go, jitter) } else { Step::Tell(Told::Retrying) }
    }

    fn not_written(&mut self, tenure: Tenure, writing: Writing, why: Unwritten) -> Step {
        match writing.purpose {
            Purpose::Holder => {
                self.writing = None;
                self.state = if self.once { State::Over } else { State::Held(tenure) };
                Step::Tell(Told::Written(Err(why)))
            }
            Purpose::Grant { wait } if self.settings.leaves.token => {
                self.writing = None;
                // Released before the caller hears of it, unless that wants to hear something in time.
                let ending = match wait {
                    Wait::Until(_) => Ending::NotObtainedFirst(Why::NoToken(why)),
                    Wait::Never | Wait::Forever => Ending::NotObtained(Why::NoToken(why)),
                };
                self.state = State::Releasing(self.release(self.ends, self.settings.policy.retries, ending));
                Step::Tell(Told::NotLeft(why))
            }
            Purpose::Grant { .. } => {
                self.writing = Some(Writing { is_over: true, ..writing });
                Step::Tell(Told::NotLeft(why))
            }
        }
    }

    /// Whatever is not a word on the lease itself leaves it ours until its deadline: keys rotate, networks heal.
    fn renewal_failed(&mut self, mut tenure: Tenure, now: Moment, outcome: Outcome, jitter: u32) -> Step {
        let left = tenure.valid_until.left(now);
        tenure.failures = tenure.failures.saturating_add(1);
        let (passing, retry_after) = match outcome {
            Outcome::Failed { retry_after, .. } => (true, retry_after),
            _ => (false, None),
        };
        let pause = self.settings.policy.pause(tenure.failures, retry_after, jitter);
        let ask_again = !self.once
            || passing
                && tenure.failures <= self.settings.policy.retries
                && pause <= self.settings.policy.longest_pause;
        tenure.renew_at = now.after(pause.min(left / 2));
        self.state = if ask_again { State::Held(tenure) } else { State::Over };
        if let Some(writing) = self.untold() {
            // It stands between the caller and the lock, as a failure of the write does.
            return self.write_stumbled(tenure, writing, now, retry_after, jitter);
        }
        Step::Tell(Told::RenewalFailed { left })
    }

    fn lose(&mut self, lost: Lost, now: Moment, jitter: u32) -> Step {
        if let Some(Writing { purpose: Purpose::Grant { wait }, failures, failing_since, .. }) = self.writing {
            // Nobody was told that it is ours, so it is sought again. A renewal may still be on its way.
            self.writing = None;
            let seek = Seek { unsure: true, failures, failing_since, ..Seek::new(wait) };
            return self.stumble(seek, Ask::Acquire, now, None, jitter);
        }
        self.state = State::Lapsed(lost);
        Step::Tell(Told::Lost(lost))
    }

    fn lapsed(&mut self, lost: Lost, now: Moment) -> Step {
        if self.writing.take().is_some() && !self.once {
            return Step::Tell(Told::Written(Err(Unwritten::Lost(lost))));
        }
        if self.leaving {
            // One release, so that a renewal which is still on its way does not revive the lease.
            let release = Release { lost: Some(lost), ..self.release(Moment::NEVER, 0, Ending::Told) };
            self.state = State::Releasing(release);
            return self.step(now, Input::Go, 0);
        }
        if self.once { Step::End } else { Step::Sleep { until: Moment::NEVER } }
    }

    fn release(&self, ends: Moment, retries: u32, ending: Ending) -> Release {
        Release { until: None, ends, rest_until: Moment::PAST, retries, failures: 0, ending, lost: None }
    }

    fn releasing(&mut self, mut release: Release, now: Moment, input: Input, jitter: u32) -> Step {
        if let Ending::NotObtainedFirst(why) = release.ending {
            self.state = State::Releasing(Release { ending: Ending::Silent, ..release });
            return Step::Tell(Told::NotObtained(why));
        }
        if let Input::Answer { outcome, .. } = input {
            let gone = match outcome {
                Outcome::Done => return self.released(release, Released::Done),
                Outcome::NotOurs | Outcome::NoLease => Some(Lost::Taken),
                Outcome::Broken => Some(Lost::Broken),
                Outcome::NoBlob => Some(Lost::BlobDeleted),
                Outcome::NoContainer | Outcome::ContainerBeingDeleted => Some(Lost::ContainerDeleted),
                _ => None,
            };
            // Where nothing but a release ever frees the lock, one that came before the acquire did must be repeated.
            let too_early =
                release.ending != Ending::Told && gone == Some(Lost::Taken) && self.settings.term == Term::Infinite;
            let retry_after = match (outcome, gone) {
                (Outcome::Failed { applied, retry_after }, _) => {
                    self.perhaps_released |= applied == Applied::Perhaps;
                    retry_after
                }
                (_, Some(_)) if too_early => None,
                (_, Some(_)) if self.perhaps_released => return self.released(release, Released::Done),
                (_, Some(lost)) => return self.released(release, Released::Lost(lost)),
                (_, None) => return self.released(release, Released::Failed),
            };
            if release.failures >= release.retries {
                return self.released(release, Released::Failed);
            }
            release.failures += 1;
            release.rest_until = now.after(self.settings.policy.pause(release.failures, retry_after, jitter));
        }
        let policy = &self.settings.policy;
        let until = *release.until.get_or_insert(now.after(policy.attempt_limit * 2).min(release.ends));
        let limit = policy.attempt_limit.min(until.left(now));
        if limit < LEAST_LIMIT || release.rest_until >= until {
            return self.released(release, Released::Failed);
        }
        self.state = State::Releasing(release);
        if now < release.rest_until {
            Step::Sleep { until: release.rest_until }
        } else {
            Step::Send { operation: Operation::Release { id: self.id }, limit }
        }
    }

    fn released(&mut self, release: Release, how: Released) -> Step {
        self.state = State::Over;
        match release.ending {
            Ending::Told => Step::Tell(Told::Released(release.lost.map_or(how, Released::Lost))),
            Ending::Silent => Step::End,
            Ending::NotObtained(why) | Ending::NotObtainedFirst(why) => Step::Tell(Told::NotObtained(why)),
        }
    }
}

/// When a pause ends: cut short where a deadline leaves room for one more try.
fn rested(wait: Wait, now: Moment, pause: Duration) -> Moment {
    let until = now.after(pause);
    match wait {
        Wait::Until(deadline) if now < deadline.before(LAST_TRY) => until.min(deadline.before(LAST_TRY)),
        Wait::Until(deadline) if until >= deadline => now.after(deadline.left(now) / 2),
        Wait::Until(_) | Wait::Never | Wait::Forever => until,
    }
}
