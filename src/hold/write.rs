//! A write to the metadata of the lock's blob, under a lease of ours: a fencing token, a card, a mark.
//!
//! The service replaces all metadata at once, and a write may be carried out without our hearing of it, or long after.
//! So each is made from a version of the blob that was read, is done only to that version, and carries an id by which it
//! is known again. What cannot be told from an answer is read.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Moment;
use crate::fencing::{self, Blob, Content, FencingToken, NoToken, Second, Stored, WriteId};
use crate::lease::{LeaseId, Lost};
use crate::rest::{Applied, Operation, Outcome, Write};

/// The version changed under our lease so often: somebody writes without it.
const CHANGES: u32 = 4;
/// So many looks that something in between answers are enough to know that it will go on.
const FILTERED: u32 = 3;
/// By how much at most the blob's last change may be ahead of the service's clock: its servers are not one.
const LONGEST_REST: u64 = 5;
/// What our clock may be too fast by, in parts of what it counts.
const DRIFT: u32 = 50;

/// What is to be written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    /// A new token.
    pub(crate) token: bool,
    /// The holder's card; with this token, if the same write does not bring one.
    pub(crate) card: Option<Option<FencingToken>>,
    /// The holder's mark.
    pub(crate) mark: bool,
}

/// Why it was not written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unwritten {
    /// By the failure that was met last.
    Failed,
    /// The lease is not ours any more.
    Lost(Lost),
    /// What stands where the token should is none, or the last that there is.
    UnreadableToken,
    /// There are metadata of others, whose names would come back in lower case.
    OthersMetadata,
    /// There are metadata that cannot be sent back as they came.
    GarbledMetadata,
    /// The answer says nothing of the blob's version.
    NoVersion,
    /// The service's clock is behind the blob's last change.
    Clock,
    /// Somebody changes it all the time.
    KeepsChanging,
}

/// What has been written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    pub(crate) token: Option<FencingToken>,
    /// What the blob is now, if that is known.
    pub(crate) blob: Option<Blob>,
}

/// What to do next.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Todo {
    Send(Operation),
    /// The token may not be given out before.
    Rest {
        until: Moment,
    },
}

/// What an answer means for the write.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Progress {
    Onwards,
    Done(Written),
    /// It may pass.
    Stumbled {
        retry_after: Option<Duration>,
    },
    Unwritten(Unwritten),
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    lease: LeaseId,
    /// What the ids of its writes are made from: with their numbers, it is nobody else's.
    seed: LeaseId,
    wish: Wish,
    /// Others' metadata may come back with their names in lower case.
    lower_cases: bool,
    /// When the lock was taken.
    since: Option<Second>,
    /// What it is made from, once that has been read.
    known: Option<Blob>,
    plan: Option<Plan>,
    /// How many plans there were with that seed.
    plans: u32,
    changes: u32,
    /// How many looks something in between has answered.
    filtered: u32,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    write: Write,
    not_before: Moment,
    /// The answer was that the blob has changed: perhaps by this very write.
    is_doubted: bool,
}

impl Writer {
    /// `known`: what the blob is, as far as that is known; `plans`: how many there were with this seed before.
    pub(crate) fn new(
        (lease, seed): (LeaseId, LeaseId),
        wish: Wish,
        lower_cases: bool,
        since: Option<Second>,
        known: Option<Blob>,
        plans: u32,
    ) -> Writer {
        let known = known.filter(|blob| blob.content.is_some());
        Writer { lease, seed, wish, lower_cases, since, known, plan: None, plans, changes: 0, filtered: 0 }
    }

    pub(crate) fn plans(&self) -> u32 {
        self.plans
    }

    pub(crate) fn next(&mut self, now: Moment) -> Result<Todo, Unwritten> {
        let plan = match (self.plan, self.known) {
            (Some(plan), _) if plan.is_doubted => return Ok(Todo::Send(Operation::Look)),
            (Some(plan), _) => plan,
            (None, Some(Blob { version, content: Some(content) })) => {
                let plan = self.plan(now, &version, &content)?;
                *self.plan.insert(plan)
            }
            (None, _) => return Ok(Todo::Send(Operation::Look)),
        };
        if now < plan.not_before {
            return Ok(Todo::Rest { until: plan.not_before });
        }
        Ok(Todo::Send(Operation::Write(plan.write)))
    }

    fn plan(&mut self, now: Moment, version: &fencing::Version, content: &Content) -> Result<Plan, Unwritten> {
        if content.is_garbled {
            return Err(Unwritten::GarbledMetadata);
        }
        if content.has_others && !self.lower_cases {
            return Err(Unwritten::OthersMetadata);
        }
        let mut not_before = Moment::PAST;
        let mut token = None;
        if self.wish.token {
            let (next, rest) = fencing::next(content.token, version).map_err(|no_token| match no_token {
                NoToken::Unreadable => Unwritten::UnreadableToken,
                NoToken::Clock => Unwritten::Clock,
            })?;
            if rest > LONGEST_REST {
                return Err(Unwritten::Clock);
            }
            if rest > 0 {
                let rest = Duration::from_secs(rest);
                not_before = now.after(rest + rest / DRIFT);
            }
            token = Some(next);
        }
        self.plans += 1;
        let write = Write {
            lease: self.lease,
            only: version.etag,
            id: write_id(self.seed, self.plans),
            token,
            card: self.wish.card.map(|before| (self.since.unwrap_or(version.date), token.or(before))),
            mark: self.wish.mark,
        };
        Ok(Plan { write, not_before, is_doubted: false })
    }

    pub(crate) fn answered(&mut self, outcome: Outcome, blob: Option<Blob>) -> Progress {
        match outcome {
            Outcome::Seen(_) => self.seen(blob),
            Outcome::Done => self.done(blob),
            Outcome::Changed => self.changed(),
            Outcome::NotOurs | Outcome::NoLease => Progress::Unwritten(Unwritten::Lost(Lost::Taken)),
            Outcome::Broken => Progress::Unwritten(Unwritten::Lost(Lost::Broken)),
            Outcome::NoBlob => Progress::Unwritten(Unwritten::Lost(Lost::BlobDeleted)),
            Outcome::NoContainer | Outcome::ContainerBeingDeleted => {
                Progress::Unwritten(Unwritten::Lost(Lost::ContainerDeleted))
            }
            Outcome::Failed { retry_after, applied: Applied::No | Applied::Perhaps } => {
                Progress::Stumbled { retry_after }
            }
            Outcome::Void => Progress::Stumbled { retry_after: None },
            Outcome::Filtered => {
                self.filtered += 1;
                if self.filtered < FILTERED {
                    Progress::Stumbled { retry_after: None }
                } else {
                    Progress::Unwritten(Unwritten::Failed)
                }
            }
            _ => Progress::Unwritten(Unwritten::Failed),
        }
    }

    fn seen(&mut self, blob: Option<Blob>) -> Progress {
        let Some(Blob { version, content: Some(content) }) = blob else {
            return Progress::Unwritten(Unwritten::NoVersion);
        };
        self.known = blob;
        match self.plan.take() {
            Some(Plan { write, .. }) if is_made_by(&write, &version, &content) => {
                Progress::Done(Written { token: write.token, blob })
            }
            // It was not carried out, and never will be: the blob is of another version now.
            _ => Progress::Onwards,
        }
    }

    fn done(&mut self, blob: Option<Blob>) -> Progress {
        let (Some(Plan { write, .. }), Some(Blob { content: Some(content), .. })) = (self.plan.take(), self.known)
        else {
            return Progress::Unwritten(Unwritten::Failed);
        };
        let token = write.token.map_or(content.token, Stored::Token);
        let content = Content { token, written_by: Some(write.id), ..content };
        let blob = blob.map(|Blob { version, .. }| Blob { version, content: Some(content) });
        Progress::Done(Written { token: write.token, blob })
    }

    /// The blob is of another version than the one that was read.
    fn changed(&mut self) -> Progress {
        self.changes += 1;
        if self.changes > CHANGES {
            return Progress::Unwritten(Unwritten::KeepsChanging);
        }
        if let Some(plan) = &mut self.plan {
            plan.is_doubted = true;
        }
        Progress::Onwards
    }
}

/// Whether that version of the blob is this write's.
fn is_made_by(write: &Write, version: &fencing::Version, content: &Content) -> bool {
    let has_token = write.token.is_none_or(|token| content.token == Stored::Token(token));
    content.written_by == Some(write.id) && version.etag != write.only && has_token
}

/// Nobody can tell the seed from it.
fn write_id(seed: LeaseId, number: u32) -> WriteId {
    let mut hash = Sha256::new();
    hash.update(b"azmutex write");
    hash.update(seed.to_bytes());
    hash.update(number.to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    WriteId(id)
}
