//! The Blob service, as far as one lock is concerned: a pure function of its state, the time and what is asked. From
//! the table of [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob).

use std::time::{Duration, SystemTime};

use crate::error::About;
use crate::fencing::{Blob, Content, ETag, Second, Stored, Version};
use crate::lease::{LeaseId, LockState, Term};
use crate::rest::{self, Address, Operation, Outcome, RequestId, Write, request};
use crate::transport::Reply;

/// True time, counted from the start of a run.
pub(super) type Time = Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub(super) container: Presence,
    pub(super) blob: Option<Data>,
    pub(super) lease: Lease,
    /// How many versions of blobs there were.
    versions: u64,
    /// As Azurite does, whoever renews a lease that ran out revives it for its last owner.
    pub(super) revives_for_strangers: bool,
}

/// The lock's blob.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Data {
    version: u64,
    pub(super) modified: Second,
    pub(super) content: Content,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Presence {
    There,
    Missing,
    BeingDeleted { until: Time },
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lease {
    Available,
    Leased { id: LeaseId, term: Term, until: Time },
    Expired { id: LeaseId, term: Term },
    Breaking { id: LeaseId, until: Time },
    Broken { id: LeaseId },
}

/// What the service, or whatever stands in its place, answers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Leased(LeaseId),
    Done,
    Breaking(Duration),
    Seen(LockState),
    Refusal(u16, &'static str),
    /// The same, with the seconds after which to come again.
    TryLater(u16, &'static str, u16),
    /// Of somebody who is not the service.
    Foreign(u16),
}

impl Service {
    pub(super) fn new() -> Service {
        Service {
            container: Presence::Missing,
            blob: None,
            lease: Lease::Available,
            versions: 0,
            revives_for_strangers: false,
        }
    }

    /// Makes another blob, or another version of the one that is there.
    pub(super) fn put(&mut self, now: Time, content: Content) {
        self.versions += 1;
        self.blob = Some(Data { version: self.versions, modified: second(now), content });
    }

    /// After a fail-over, no version is named as one before it.
    pub(super) fn follow(&mut self, other: &Service) {
        self.versions = other.versions;
    }

    /// What the answer to `operation` tells of the blob.
    pub(super) fn tells(&self, now: Time, operation: Operation, answer: Answer) -> Option<Blob> {
        let is_about_blob = match operation {
            Operation::Release { .. } | Operation::Renew { .. } | Operation::CreateContainer => false,
            _ => matches!(answer, Answer::Leased(_) | Answer::Done | Answer::Seen(_)),
        };
        let Data { version, modified, content } = self.blob.filter(|_| is_about_blob)?;
        let etag = ETag::parse(&format!("\"{version}\""))?;
        let content = matches!(answer, Answer::Seen(_)).then_some(content);
        Some(Blob { version: Version { etag, modified, date: second(now) }, content })
    }

    /// Carries out `operation`. `lasts` says how long a lease of a term really lasts this time.
    pub(super) fn handle(&mut self, now: Time, operation: Operation, lasts: impl Fn(Term) -> Duration) -> Answer {
        self.settle(now);
        match (operation, self.container) {
            (Operation::CreateContainer, Presence::There) => Answer::Refusal(409, "ContainerAlreadyExists"),
            (Operation::CreateContainer, Presence::BeingDeleted { .. }) => {
                Answer::Refusal(409, "ContainerBeingDeleted")
            }
            (Operation::CreateContainer, Presence::Missing) => {
                self.container = Presence::There;
                Answer::Done
            }
            (_, Presence::Missing | Presence::BeingDeleted { .. }) => Answer::Refusal(404, "ContainerNotFound"),
            (Operation::CreateBlob, _) if self.blob.is_none() => {
                self.put(now, Content::NOTHING);
                Answer::Done
            }
            (Operation::CreateBlob, _) if self.is_locked() => Answer::Refusal(412, "LeaseIdMissing"),
            (Operation::CreateBlob, _) => Answer::Refusal(409, "BlobAlreadyExists"),
            _ if self.blob.is_none() => Answer::Refusal(404, "BlobNotFound"),
            (Operation::Acquire { id, term }, _) => self.acquire(id, term, now.saturating_add(lasts(term))),
            (Operation::Renew { id }, _) => self.renew(id, |term| now.saturating_add(lasts(term))),
            (Operation::Release { id }, _) if self.owner() == Some(id) => {
                self.lease = Lease::Available;
                Answer::Done
            }
            (Operation::Release { .. }, _) => Answer::Refusal(409, "LeaseIdMismatchWithLeaseOperation"),
            (Operation::Break { period, .. }, _) => self.break_lease(now, period),
            (Operation::Look, _) => Answer::Seen(self.status()),
            (Operation::Write(write), _) => self.write(now, write),
            #[cfg(feature = "list")]
            (Operation::List, _) => unreachable!("no lock asks for others"),
        }
    }

    /// Lets happen what time alone brings about.
    pub(super) fn settle(&mut self, now: Time) {
        match self.lease {
            Lease::Leased { id, term, until } if until <= now => self.lease = Lease::Expired { id, term },
            Lease::Breaking { id, until } if until <= now => self.lease = Lease::Broken { id },
            _ => {}
        }
        if matches!(self.container, Presence::BeingDeleted { until } if until <= now) {
            self.container = Presence::Missing;
        }
    }

    pub(super) fn delete_blob(&mut self) {
        self.blob = None;
        self.lease = Lease::Available;
    }

    pub(super) fn delete_container(&mut self, until: Time) {
        self.container = Presence::BeingDeleted { until };
        self.delete_blob();
    }

    /// Who has the lease now, and until when nobody else can have it.
    pub(super) fn holder(&self) -> Option<(LeaseId, Time)> {
        match self.lease {
            Lease::Leased { id, until, .. } | Lease::Breaking { id, until } => Some((id, until)),
            _ => None,
        }
    }

    fn is_locked(&self) -> bool {
        self.holder().is_some()
    }

    /// Whose lease it is or was.
    fn owner(&self) -> Option<LeaseId> {
        match self.lease {
            Lease::Available => None,
            Lease::Leased { id, .. } | Lease::Expired { id, .. } => Some(id),
            Lease::Breaking { id, .. } | Lease::Broken { id } => Some(id),
        }
    }

    pub(super) fn status(&self) -> LockState {
        match self.lease {
            Lease::Available => LockState::Available,
            Lease::Leased { term: Term::Infinite, .. } => LockState::LeasedForever,
            Lease::Leased { .. } => LockState::Leased,
            Lease::Expired { .. } => LockState::Expired,
            Lease::Breaking { .. } => LockState::Breaking,
            Lease::Broken { .. } => LockState::Broken,
        }
    }

    fn acquire(&mut self, new: LeaseId, term: Term, until: Time) -> Answer {
        match self.lease {
            Lease::Leased { id, .. } if id != new => Answer::Refusal(409, "LeaseAlreadyPresent"),
            Lease::Breaking { id, .. } if id != new => Answer::Refusal(409, "LeaseAlreadyPresent"),
            Lease::Breaking { .. } => Answer::Refusal(409, "LeaseIsBreakingAndCannotBeAcquired"),
            _ => {
                self.lease = Lease::Leased { id: new, term, until };
                Answer::Leased(new)
            }
        }
    }

    fn renew(&mut self, who: LeaseId, until: impl Fn(Term) -> Time) -> Answer {
        match self.lease {
            Lease::Leased { id, term, .. } if id == who => {
                self.lease = Lease::Leased { id, term, until: until(term) };
                Answer::Leased(id)
            }
            Lease::Expired { id, term } if id == who || self.revives_for_strangers => {
                self.lease = Lease::Leased { id, term, until: until(term) };
                Answer::Leased(id)
            }
            Lease::Breaking { id, .. } | Lease::Broken { id } if id == who => {
                Answer::Refusal(409, "LeaseIsBrokenAndCannotBeRenewed")
            }
            _ => Answer::Refusal(409, "LeaseIdMismatchWithLeaseOperation"),
        }
    }

    /// Carries out what the headers of the request say.
    fn write(&mut self, now: Time, write: Write) -> Answer {
        let address = Address {
            origin: "http://localhost",
            container: "locks",
            container_path: "/locks",
            blob_path: "/locks/job",
            about: About::Lock("job".into()),
            version: request::VERSION,
        };
        let request = request::of(Operation::Write(write), &address, SystemTime::UNIX_EPOCH, None);
        let header = |name| request.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| &**value);
        let lease = header("x-ms-lease-id").and_then(LeaseId::parse);
        let refusal = match (self.lease, lease) {
            (Lease::Leased { id, .. } | Lease::Breaking { id, .. }, Some(lease)) if id == lease => None,
            (Lease::Leased { .. } | Lease::Breaking { .. }, None) => Some("LeaseIdMissing"),
            (Lease::Leased { .. } | Lease::Breaking { .. }, Some(_)) => Some("LeaseIdMismatchWithBlobOperation"),
            (_, None) => None,
            (_, Some(lease)) if self.owner() == Some(lease) => Some("LeaseLost"),
            (_, Some(_)) => Some("LeaseNotPresentWithBlobOperation"),
        };
        if let Some(code) = refusal {
            return Answer::Refusal(412, code);
        }
        let Some(Data { version, content, .. }) = self.blob else { return Answer::Refusal(404, "BlobNotFound") };
        if header("if-match").is_some_and(|etag| etag != format!("\"{version}\"")) {
            return Answer::Refusal(412, "ConditionNotMet");
        }
        let token = write.token.map_or(content.token, Stored::Token);
        self.put(now, Content { token, written_by: Some(write.id), ..content });
        Answer::Done
    }

    fn break_lease(&mut self, now: Time, period: Option<u8>) -> Answer {
        let within = period.map(|seconds| now + Duration::from_secs(seconds.into()));
        let (id, until) = match self.lease {
            Lease::Available => return Answer::Refusal(409, "LeaseNotPresentWithLeaseOperation"),
            Lease::Leased { id, term: Term::Infinite, .. } => (id, within.unwrap_or(now)),
            Lease::Leased { id, until, .. } | Lease::Breaking { id, until } => (id, within.unwrap_or(until).min(until)),
            Lease::Expired { id, .. } | Lease::Broken { id } => (id, now),
        };
        self.lease = Lease::Breaking { id, until };
        self.settle(now);
        Answer::Breaking(until - now)
    }
}

impl Answer {
    /// What the crate makes of it when it comes as an answer to `operation`, asked by `call`; and says that it is for
    /// the call `of`, if it says that.
    pub(super) fn read(
        self,
        blob: Option<Blob>,
        operation: Operation,
        call: u64,
        of: Option<u64>,
    ) -> (Outcome, Option<Blob>) {
        let id = RequestId(call.to_string());
        let mut reply = self.reply(operation, of);
        if let Some(blob) = blob {
            tell(&mut reply, &blob);
        }
        let outcome = rest::outcome(operation, Some(&id), &reply, SystemTime::UNIX_EPOCH);
        (outcome, rest::blob(operation, Some(&id), outcome, &reply).0)
    }

    /// Whether the crate goes on using its connection.
    pub(super) fn is_trusted(self, operation: Operation, call: u64, of: Option<u64>) -> bool {
        rest::is_trusted(Some(&RequestId(call.to_string())), &self.reply(operation, of))
    }

    fn reply(self, operation: Operation, of: Option<u64>) -> Reply {
        const REQUEST_ID: (&str, &str) = ("x-ms-request-id", "d8d2d0a9-aef7-4f67-b8c8-1e85e079147c");
        let mut reply = match self {
            Answer::Leased(id) => {
                let status = if matches!(operation, Operation::Acquire { .. }) { 201 } else { 200 };
                Reply::new(status, &[REQUEST_ID, ("x-ms-lease-id", &id.to_string())])
            }
            Answer::Done => {
                let is_200 = matches!(operation, Operation::Release { .. } | Operation::Write(_));
                let status = if is_200 { 200 } else { 201 };
                Reply::new(status, &[REQUEST_ID])
            }
            Answer::Breaking(left) => Reply::new(202, &[REQUEST_ID, ("x-ms-lease-time", &left.as_secs().to_string())]),
            Answer::Seen(status) => {
                let (state, duration) = match status {
                    LockState::Leased => ("leased", "fixed"),
                    LockState::LeasedForever => ("leased", "infinite"),
                    LockState::Expired => ("expired", ""),
                    LockState::Breaking => ("breaking", ""),
                    LockState::Broken => ("broken", ""),
                    LockState::Available | LockState::Missing => ("available", ""),
                };
                Reply::new(200, &[REQUEST_ID, ("x-ms-lease-state", state), ("x-ms-lease-duration", duration)])
            }
            Answer::Refusal(status, code) => Reply::new(status, &[REQUEST_ID, ("x-ms-error-code", code)]),
            Answer::TryLater(status, code, seconds) => {
                let seconds = seconds.to_string();
                Reply::new(status, &[REQUEST_ID, ("x-ms-error-code", code), ("retry-after", &seconds)])
            }
            Answer::Foreign(status) => Reply::new(status, &[]),
        };
        if let Some(of) = of {
            reply.set("x-ms-client-request-id", &of.to_string());
        }
        reply
    }
}

/// What the service's clock shows: a time at which tokens are as long as they will be for a century.
pub(super) fn second(now: Time) -> Second {
    Second(1_800_000_000 + now.as_secs())
}

fn tell(reply: &mut Reply, blob: &Blob) {
    let date = |second: Second| httpdate::fmt_http_date(second.time().expect("a time of these days"));
    reply.set("etag", &blob.version.etag.to_string());
    reply.set("last-modified", &date(blob.version.modified));
    reply.set("date", &date(blob.version.date));
    let Some(content) = blob.content else { return };
    match content.token {
        Stored::Nothing => {}
        Stored::Token(token) => reply.set("x-ms-meta-azmutextoken", &token.to_string()),
        Stored::Unreadable => reply.set("x-ms-meta-azmutextoken", "none"),
    }
    if let Some(id) = content.written_by {
        reply.set("x-ms-meta-azmutexwrite", &id.to_string());
    }
    if content.has_others {
        reply.set("x-ms-meta-others", "1");
    }
}

#[cfg(test)]
mod tests {
    use azmutex::emulator::Emulator;

    use super::*;
    use crate::Container;
    use crate::clock;
    use crate::testing::sim::random::Random;

    const S: Duration = Duration::from_secs(1);

    /// The emulator is checked against Azurite and against the service's documents, so this is, too.
    #[test]
    fn it_answers_as_the_emulator_does() {
        let emulator = Emulator::start().unwrap();
        let container = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
        let mut random = Random::new(7);
        let ids: Vec<LeaseId> = (0..3).map(|_| LeaseId::random().unwrap()).collect();
        let mut compared = 0;
        for lock in 0..40 {
            let began = clock::now();
            let mutex = container.mutex(&format!("lock-{lock}")).unwrap();
            let (mut service, mut now) = (Service::new(), Duration::ZERO);
            if lock > 0 {
                let _ = mutex.attempt(Operation::CreateContainer, 5 * S);
                service.container = Presence::There;
            }
            for step in 0..40 {
                let id = random.pick(&ids);
                let term = random.pick(&[Term::Seconds(15), Term::Seconds(60), Term::Infinite]);
                let operation = match random.below(16) {
                    0 if step > 0 => Operation::CreateContainer,
                    0 | 1 => Operation::CreateBlob,
                    2..6 => Operation::Acquire { id, term },
                    6..9 => Operation::Renew { id },
                    9..11 => Operation::Release { id },
                    11 => Operation::Break { period: None, only: None },
                    12 => Operation::Break { period: Some(random.pick(&[0, 5, 60])), only: None },
                    _ => Operation::Look,
                };
                let expected = service.handle(now, operation, |term| term.duration().unwrap_or(Duration::MAX));
                let outcome = mutex.attempt(operation, 5 * S).outcome;
                if clock::now().since(began) > S / 4 {
                    // On a busy machine the emulator's time, which passes, gets too far ahead of this one's.
                    break;
                }
                compared += 1;
                match (expected.read(None, operation, 0, None).0, outcome) {
                    // Whole seconds, and both have their own idea of how little time has passed.
                    (Outcome::Breaking(expected), Outcome::Breaking(left)) => {
                        assert!(expected.abs_diff(left) <= S, "{expected:?}, {left:?}");
                    }
                    (expected, outcome) => assert_eq!(expected, outcome, "{operation:?} at {now:?} of {lock}"),
                }
                if random.one_in(3) {
                    let pause = random.pick(&[4 * S, 9 * S, 20 * S, 40 * S]) + S / 2;
                    emulator.advance(pause);
                    now += pause;
                }
            }
        }
        assert!(compared >= 40, "{compared}");
    }
}
