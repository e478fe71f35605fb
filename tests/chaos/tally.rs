//! What was done to the contenders, and what came of it, over the whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{End, Hold, Record};
use crate::journal::{Left, Time};

/// What can be done to them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    KillHolder,
    KillOther,
    StopShort,
    StopLong,
    StopOther,
    Continue,
    BreakLease,
    AskToLeave,
    CutShort,
    CutLong,
    CutAfterAnswer,
    ReplayLong,
    ErrorBurst,
    Portal,
    DelayRequest,
    DelayAnswer,
    DeliverLate,
    ResetAndDeliverLate,
    Swallow,
    ResetBefore,
    ResetAfter,
    WithholdAnswer,
    Repeat,
    FailBefore,
    FailAfter,
    Replay,
    LateCopy,
    StaleLook,
}

/// In the order in which they are reported.
pub(crate) const DEEDS: [(Deed, &str); 28] = [
    (Deed::KillHolder, "a holder killed with `kill -9`"),
    (Deed::KillOther, "another process killed with `kill -9`"),
    (Deed::StopShort, "a holder stopped for less than half its lease"),
    (Deed::StopLong, "a holder stopped for longer than its lease"),
    (Deed::StopOther, "another process stopped"),
    (Deed::Continue, "a stopped process continued"),
    (Deed::BreakLease, "a lease broken without force"),
    (Deed::AskToLeave, "a process asked to end"),
    (Deed::CutShort, "a process cut off from the store, for some seconds"),
    (Deed::CutLong, "a holder cut off from the store, for longer than its lease"),
    (Deed::CutAfterAnswer, "the same, after a last renewal whose answer took 3.6 s"),
    (Deed::ReplayLong, "a holder's renewals answered with an old answer, for longer than its lease"),
    (Deed::ErrorBurst, "some seconds of 500 or 503 to all requests of a process"),
    (Deed::Portal, "some seconds of a bare 404 to all requests of a process"),
    (Deed::DelayRequest, "a request delayed by up to 4.5 s"),
    (Deed::DelayAnswer, "an answer delayed by up to 4.5 s"),
    (Deed::DeliverLate, "a request delivered up to 7 s after the client had given it up"),
    (Deed::ResetAndDeliverLate, "a connection reset, and its request delivered up to 12 s later"),
    (Deed::Swallow, "a request swallowed"),
    (Deed::ResetBefore, "a connection reset before the request was carried out"),
    (Deed::ResetAfter, "a connection reset after the request was carried out"),
    (Deed::WithholdAnswer, "a request carried out and never answered"),
    (Deed::Repeat, "a request delivered twice"),
    (Deed::FailBefore, "503 instead of carrying out"),
    (Deed::FailAfter, "500 after carrying out"),
    (Deed::Replay, "a request answered with the answer to an earlier one"),
    (Deed::LateCopy, "an answer followed by a copy of it, up to 2 s later"),
    (Deed::StaleLook, "a look answered with an old one, as by a cache"),
];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    deeds: BTreeMap<Deed, u64>,
    pub(crate) processes: u64,
    pub(crate) holds: u64,
    /// Holds that came after another process's.
    pub(crate) hand_overs: u64,
    pub(crate) calm_holds: u64,
    /// Told while the lock was held, by reason.
    pub(crate) losses: BTreeMap<String, u64>,
    /// Learnt of at the release.
    pub(crate) lost_at_the_end: u64,
    pub(crate) releases_unconfirmed: u64,
    pub(crate) misses: u64,
    pub(crate) written_to_files: u64,
    pub(crate) written_to_blobs: u64,
    pub(crate) refused_by_store: u64,
    /// Copies of answers that came where the answer to the next request was due.
    pub(crate) crossed: u64,
    /// Answers to the request before, on connections on which something in between is one behind.
    pub(crate) behind: u64,
    /// Locks whose holders died behind caches that went on saying that they were taken.
    pub(crate) cached: u64,
    /// From letting go to the next holder's first yes, with somebody waiting and no faults.
    pub(crate) longest_hand_over: Duration,
    /// From the death of the holder, with the faults that there are.
    pub(crate) longest_orphan: Duration,
    pub(crate) longest_farewell: Duration,
}

impl Tally {
    pub(crate) fn count(&mut self, deed: Deed) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    pub(crate) fn times(&self, deed: Deed) -> u64 {
        self.deeds.get(&deed).copied().unwrap_or_default()
    }

    /// What the contenders of one lock have counted to, with how many writes that came too late.
    pub(crate) fn add_number(&mut self, is_in_blob: bool, last: u64, refused: u64) {
        if is_in_blob {
            self.written_to_blobs += last;
            self.refused_by_store += refused;
        } else {
            self.written_to_files += last;
        }
    }

    /// What the records of one lock say. Nothing was done to anybody after `calm`.
    pub(crate) fn add(&mut self, records: &[&Record], calm: Time) {
        self.misses += records.iter().map(|record| record.misses.len() as u64).sum::<u64>();
        let mut holds: Vec<(usize, &Hold)> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let known = record.holds.iter().filter(|hold| hold.certain().is_some());
            holds.extend(known.map(|hold| (number, hold)));
        }
        holds.sort_by_key(|(_, hold)| hold.certain());
        self.holds += holds.len() as u64;
        for (_, hold) in &holds {
            self.calm_holds += u64::from(hold.began_after(calm));
            match &hold.end {
                Some(End::Lost(_, why)) => *self.losses.entry(why.clone()).or_default() += 1,
                Some(End::Left(_, Left::Lost)) => self.lost_at_the_end += 1,
                Some(End::Left(_, Left::Failed)) => self.releases_unconfirmed += 1,
                _ => {}
            }
        }
        for pair in holds.windows(2) {
            let [(one, before), (other, after)] = pair else { continue };
            if one == other {
                continue;
            }
            self.hand_overs += 1;
            if let (Some(left), Some((got, _))) = (before.left, after.certain())
                && before.began_after(calm)
                && after.asked < left
            {
                Tally::raise(&mut self.longest_hand_over, got.since(left));
            }
        }
    }

    /// What has not been done once.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        DEEDS.iter().filter(|(deed, _)| self.times(*deed) == 0).map(|(_, words)| *words).collect()
    }

    /// What came of it, and was not seen once: without it the checks would have had nothing to find.
    pub(crate) fn unseen(&self) -> Vec<&'static str> {
        let seen = [
            ("a hand-over", self.hand_overs > 0),
            ("a hold in the calm", self.calm_holds > 0),
            ("a loss in the middle of a hold", !self.losses.is_empty()),
            ("an update of a file", self.written_to_files > 0),
            ("an update of a blob", self.written_to_blobs > 0),
            ("a copy of an answer where the next was due", self.crossed > 0),
            ("an answer to the request before, on a connection that stays behind", self.behind > 0),
            ("a dead holder's lock behind caches", self.cached > 0),
            // No lease is renewed later than with two thirds of its time left.
            ("the lease of a dead holder, in force", self.longest_orphan > Duration::from_secs(5)),
        ];
        seen.into_iter().filter(|(_, seen)| !seen).map(|(what, _)| what).collect()
    }

    pub(crate) fn raise(longest: &mut Duration, time: Duration) {
        *longest = (*longest).max(time);
    }
}
