//! How often each thing happened, to show that it did.

use std::fmt;

macro_rules! tally {
    ($($name:ident $text:literal)*) => {
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub(super) enum Count { $($name),* }

        impl Count {
            const ALL: &[(Count, &str)] = &[$((Count::$name, $text)),*];
        }
    };
}

tally! {
    Runs "runs"
    Events "events"

    Cut "request lost"
    AnswerCut "request carried out, answer lost"
    Slow "request or answer delayed by seconds"
    Late "request carried out up to minutes after its client gave up"
    Twice "request carried out twice"
    TwiceSwapped "request carried out twice, answered by its second copy"
    ConnectionRefused "connection refused"
    ErrorBefore "500, not carried out"
    ErrorAfter "500, carried out"
    Throttled "503, with or without Retry-After"
    Portal "bare 404 or 200 of somebody else"
    Denied "403, credential not accepted"
    Replayed "answer to an earlier call"
    Remembered "look answered by a cache"
    Filtered "look answered by what lets none through"
    Behind "answer read that was the one to the request before"
    Moved "name moved, and its old address goes on answering"
    AtOldAddress "request answered at the old address"
    Retired "connection given up for its age or its address"
    Unquiet "connection given up for what came on it unasked"
    Misdirected "success under a foreign lease id"
    Stopped "process stopped and continued"
    Suspended "machine suspended and resumed"
    Crashed "process killed"
    Preempted "thread held up between two steps"
    Frozen "machine frozen without its clock noticing"
    BrokenAtExpiry "lease broken, without force"
    BrokenByForce "lease broken by force"
    BlobDeleted "blob deleted"
    BlobReplaced "blob replaced by an old copy or an empty one"
    ContainerDeleted "container deleted"
    FailedOver "fail-over, newest writes lost"

    Granted "lock granted"
    GrantedToOneShot "lease granted to a single call"
    RenewedTold "lease renewed"
    RenewalFailed "renewal failed"
    LostExpired "loss told: ran out"
    LostTaken "loss told: taken"
    LostBroken "loss told: broken"
    LostBlob "loss told: blob deleted"
    LostContainer "loss told: container deleted"
    LostFirstSeenByHolder "loss seen by the holder before the lock's thread"
    Busy "not obtained: somebody has it"
    TimedOut "not obtained: time is up"
    GivenUp "not obtained: caller left"
    Failed "not obtained: failure"
    NoToken "not obtained: no fencing token"
    NotLeft "card or token not left"
    TokenTaken "fencing token taken"
    TokenInSameSecond "fencing token of a second that had one"
    WrittenLate "write carried out after its client had given it up"
    WriteRefused "write refused: another version of the blob"
    WriteKnownAgain "write without an answer known again"
    Marked "mark left"
    EndedByFailure "not obtained: time is up or caller left, beside a failure"
    Waiting "wait begun"
    StoodBack "stood back before the wait, as after a long row of turns"
    Deferred "saw it free after standing back, and let others go first"
    Retrying "failure on the way borne"
    Unlocked "unlocked"
    UnlockedLost "unlock said: lost before"
    UnlockFailed "unlock without an answer"
    UnlockedAfterSilence "release repeated, and found done"
    ReleasedAgain "release called again"
    Resumed "lease of a process that has ended taken up again by its id"
    ResumedInfinite "lease without an end taken up again by its id"
    NotResumed "lease not taken up again: gone, or no answer"

    AcquireAgain "acquire repeated under its id"
    AcquireAfterEnd "acquire carried out after its client had given up"
    RenewAfterEnd "renewal carried out after its client had let go"
    Undone "release of what was perhaps acquired"
    RevivedByStranger "lease revived by a stranger's renewal"
    RevivedByOwner "lease that ran out renewed by its owner"
    TakenAfterExpiry "lease taken after it ran out"
    TakenAfterBreak "lease taken after it was broken"
    ContainerCreated "container created"
    BlobCreated "blob created"
}

#[derive(Clone)]
pub(super) struct Tally([u64; Count::ALL.len()]);

impl Tally {
    pub(super) fn new() -> Tally {
        Tally([0; Count::ALL.len()])
    }

    pub(super) fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    pub(super) fn of(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        Count::ALL.iter().filter(|(count, _)| self.of(*count) == 0).map(|(_, text)| *text).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, text) in Count::ALL {
            writeln!(f, "{:>12} {text}", self.of(*count))?;
        }
        Ok(())
    }
}
