//! The values that a lease is made of, and its times: how long it lasts, when it ends, and by what margin before that we
//! stop calling it ours.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::card::Card;
use crate::clock::{self, Moment};
use crate::error::{Error, Result};
pub use crate::fencing::FencingToken;
use crate::kept::Kept;
pub use crate::lost::Lost;
use crate::metadata::{Known, Metadata};
use crate::process::Process;
use crate::random;
use crate::redact::quoted;

/// The shortest and the longest lease that ends, in seconds:
/// [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob).
const SHORTEST: u8 = 15;
const LONGEST: u8 = 60;
/// Within how many seconds a lease can be broken at most.
const LONGEST_BREAK: u64 = 60;

/// Unless the caller says otherwise.
pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The margin: by so much the service's own count may be off (its vendor's tests allow it),
const INEXACT: Duration = Duration::from_secs(2);
/// and such a part of the lease is for clocks that drift.
const DRIFT: u32 = 50;

/// The identity of one hold of a lock: a random GUID, new for every acquisition. The clocks and the process go into it,
/// so that not even copies of a machine, whose random numbers may be the same, draw the same one.
///
/// Whoever writes to the locked blob itself sends it as `x-ms-lease-id`, and the service refuses the write once the
/// lease is somebody else's.
///
/// As text it has the form `01234567-89ab-cdef-0123-456789abcdef`, and can be read back: for
/// [`AzureMutex::resume`](crate::AzureMutex::resume) in another process.
///
/// ```
/// use azmutex::lease::LeaseId;
///
/// let id: LeaseId = "01234567-89AB-CDEF-0123-456789ABCDEF".parse()?;
/// assert_eq!(id.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct LeaseId([u8; 16]);

impl LeaseId {
    pub(crate) fn random() -> Result<LeaseId> {
        let mut bytes = random::unique().map_err(Error::no_randomness)?;
        // Version 4, variant 1: the service refuses what is not a GUID.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(LeaseId(bytes))
    }

    /// Reads a GUID of the form `01234567-89ab-cdef-0123-456789abcdef`, in any case.
    pub(crate) fn parse(text: &str) -> Option<LeaseId> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (i, char) in text.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if *char != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(*char).to_digit(16)? as u8;
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
            digits += 1;
        }
        Some(LeaseId(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Bits to start a pseudo-random sequence with.
    pub(crate) fn seed(&self) -> u64 {
        self.0.iter().fold(0, |seed: u64, byte| seed.rotate_left(11) ^ u64::from(*byte))
    }
}

impl FromStr for LeaseId {
    type Err = Error;

    /// Reads what `Display` writes, in any case; nothing may be around it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is something else.
    fn from_str(text: &str) -> Result<LeaseId> {
        LeaseId::parse(text).ok_or_else(|| {
            Error::input(format!(
                "a lease id has the form 01234567-89ab-cdef-0123-456789abcdef, not that of {}",
                quoted(text)
            ))
        })
    }
}

impl FromStr for FencingToken {
    type Err = Error;

    /// Reads what `Display` writes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is something else.
    fn from_str(text: &str) -> Result<FencingToken> {
        let wrong = || Error::input(format!("a fencing token is a number, not {}", quoted(text)));
        FencingToken::read(text).ok_or_else(wrong)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece, since it goes with every request.
        let mut text = [b'-'; 36];
        let places = (0..text.len()).filter(|i| !matches!(i, 8 | 13 | 18 | 23));
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for (place, digit) in places.zip(digits) {
            text[place] = b"0123456789abcdef"[usize::from(digit)];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

/// How long a lease is asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    Seconds(u8),
    Infinite,
}

impl Term {
    pub(crate) const DEFAULT: Term = Term::Seconds(DEFAULT_LEASE.as_secs() as u8);
    pub(crate) const SHORTEST: Term = Term::Seconds(SHORTEST);

    /// Whole seconds from 15 to 60: what the service takes, refused here before anything is sent.
    pub(crate) fn new(duration: Duration) -> Result<Term> {
        match u8::try_from(duration.as_secs()) {
            Ok(seconds @ SHORTEST..=LONGEST) if duration.subsec_nanos() == 0 => Ok(Term::Seconds(seconds)),
            _ => Err(Error::input(format!("a lease lasts 15 to 60 whole seconds, not {duration:?}"))),
        }
    }

    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Term::Seconds(seconds) => Some(Duration::from_secs(seconds.into())),
            Term::Infinite => None,
        }
    }

    /// When the service may call the lease over, counted from the sending of the request that began it.
    /// The service starts its count later, when it handles the request.
    pub(crate) fn ends(self, sent: Moment) -> Moment {
        self.duration().map_or(Moment::NEVER, |duration| sent.after(duration))
    }

    /// Until when we call the lease ours.
    pub(crate) fn valid_until(self, sent: Moment) -> Moment {
        let margin = self.duration().map(|duration| INEXACT + duration / DRIFT);
        self.ends(sent).before(margin.unwrap_or_default())
    }
}

/// A lease that [`AzureMutex::acquire`](crate::AzureMutex::acquire) took, or
/// [`AzureMutex::resume`](crate::AzureMutex::resume) took up again.
///
/// It ends by itself when its duration is over, unless it is renewed. Dropping the value releases nothing: call
/// [`AzureMutex::release`](crate::AzureMutex::release).
#[must_use = "the lease stays taken until it is released or runs out"]
pub struct Lease {
    pub(crate) lock: Arc<str>,
    pub(crate) url: Arc<str>,
    pub(crate) id: LeaseId,
    pub(crate) term: Term,
    process: Process,
    pub(crate) kept: Kept,
    pub(crate) token: Option<FencingToken>,
    /// What is known of the metadata of the lock's blob.
    pub(crate) known: Option<Known>,
}

impl Lease {
    pub(crate) fn new(lock: Arc<str>, url: Arc<str>, id: LeaseId, term: Term, kept: Kept) -> Lease {
        Lease { lock, url, id, term, process: Process::current(), kept, token: None, known: None }
    }

    /// Whether this is still the process that took the lease, and not a fork of it.
    pub(crate) fn is_own_process(&self) -> bool {
        self.process.is_current()
    }

    /// The lease id, as the service knows it.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The name of the lock.
    pub fn lock_name(&self) -> &str {
        &self.lock
    }

    /// The duration that was granted, or `None` for a lease without an end. Of a lease that was
    /// [resumed](crate::AzureMutex::resume) nobody tells what was granted: 15 s, unless it was seen to have no end.
    pub fn duration(&self) -> Option<Duration> {
        self.term.duration()
    }

    /// The token of [`AzureMutex::fence`](crate::AzureMutex::fence), if that was called.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.token
    }

    /// How much longer the lease is safely ours: its duration, counted from before the last successful request was
    /// sent, less 2 s and a fiftieth. Zero once that has passed, after the first call of
    /// [`release`](crate::AzureMutex::release), and in a forked process; [`Duration::MAX`] for a lease without an end.
    pub fn remaining(&self) -> Duration {
        if !self.is_own_process() {
            return Duration::ZERO;
        }
        self.kept.left(clock::now())
    }

    /// Whether the lease is still ours by this machine's clock. Makes no request, so of a lease without an end it does not
    /// know whether somebody broke it: [`renew`](crate::AzureMutex::renew) finds that out.
    pub fn is_held(&self) -> bool {
        self.remaining() > Duration::ZERO
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("lock", &self.lock)
            .field("id", &self.id)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// How [`AzureMutex::break_lease`](crate::AzureMutex::break_lease) ends somebody else's lease.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// No further renewal; the lease runs out when it would have. The holder's own deadline stays true, so nobody
    /// else gets the lock while the holder may still think that it has it. A lease without an end has no such
    /// deadline: it ends at once, and **for its holder this is force**.
    #[default]
    AtExpiry,
    /// The lease ends within this time, 0 to 60 whole seconds, whatever is left of it. **This is force**: the holder
    /// learns of it at its next renewal, and until then two processes may work under one lock.
    ForceWithin(Duration),
}

impl Break {
    pub(crate) fn period(self) -> Result<Option<u8>> {
        match self {
            Break::AtExpiry => Ok(None),
            Break::ForceWithin(period) if period.subsec_nanos() == 0 && period.as_secs() <= LONGEST_BREAK => {
                Ok(Some(period.as_secs() as u8))
            }
            Break::ForceWithin(period) => {
                Err(Error::input(format!("a lease is broken within 0 to 60 whole seconds, not {period:?}")))
            }
        }
    }
}

/// What [`AzureMutex::inspect`](crate::AzureMutex::inspect) saw. Old as soon as it is read: it decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockStatus {
    state: LockState,
    token: Option<FencingToken>,
    card: Option<Card>,
    mark: Option<String>,
}

impl LockStatus {
    pub(crate) fn new(state: LockState, metadata: Option<&Metadata>) -> LockStatus {
        LockStatus {
            state,
            token: metadata.and_then(Metadata::token),
            card: metadata.and_then(Metadata::card),
            mark: metadata.and_then(Metadata::mark),
        }
    }

    /// In which state the lock was.
    pub fn state(&self) -> LockState {
        self.state
    }

    /// Whether somebody had the lock at that moment.
    pub fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    /// The last fencing token that was given out with [`fencing`](crate::locker::Builder::fencing): the holder's, or,
    /// if nobody has the lock or the holder takes none, that of one before.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.token
    }

    /// The last card left. It is the holder's only if all who use the lock leave cards, and somebody has it.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Whether the last holder who left anything is the one that was `seen`.
    pub(crate) fn is_of_holder(&self, seen: &LockStatus) -> bool {
        self.token == seen.token && self.card == seen.card
    }

    /// What a holder left last by [`mark`](crate::LockGuard::mark), as it is: whoever may write to the blob may have
    /// written it, so escape it before it goes to a terminal.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }
}

/// The states of a lock, by which its [`LockStatus`] tells whether somebody had it, and how.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockState {
    /// There is no such blob, or no such container, yet: nobody holds the lock.
    Missing,
    /// Nobody holds the lock.
    Available,
    /// Somebody holds the lock for 15 to 60 seconds, renewable.
    Leased,
    /// Somebody holds the lock without an end.
    LeasedForever,
    /// The last lease ran out.
    Expired,
    /// The lease was broken and is still running out: nobody else can have the lock yet.
    Breaking,
    /// The last lease was broken.
    Broken,
}

impl LockState {
    /// Whether somebody has the lock in this state.
    pub fn is_locked(self) -> bool {
        matches!(self, LockState::Leased | LockState::LeasedForever | LockState::Breaking)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::holds;

    #[test]
    fn ids_are_lower_case_version_4_guids_and_differ() {
        let id = LeaseId::random().unwrap();
        let text = id.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_eq!(text, text.to_ascii_lowercase());
        assert_ne!(id, LeaseId::random().unwrap());
    }

    #[test]
    fn an_id_is_read_back_in_any_case() {
        let text = "01234567-89ab-cdef-0123-456789ABCDEF";
        let id = LeaseId::parse(text).unwrap();
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        for bad in ["", "01234567-89ab-cdef-0123-456789abcde", "01234567+89ab-cdef-0123-456789abcdef", "é"] {
            assert!(LeaseId::parse(bad).is_none(), "{bad}");
        }
        assert!(LeaseId::parse("0123456789abcdef0123456789abcdef0123").is_none());
    }

    #[test]
    fn every_id_is_read_back_from_its_text() {
        holds(any::<[u8; 16]>(), |bytes| {
            let id = LeaseId(bytes);
            assert_eq!(id.to_string().parse::<LeaseId>().unwrap(), id);
            assert_eq!(id.to_string().to_ascii_uppercase().parse::<LeaseId>().unwrap(), id);
        });
    }

    #[test]
    fn what_is_no_id_is_told_and_not_repeated_if_it_is_long() {
        let refused = |text: &str| text.parse::<LeaseId>().unwrap_err();
        let error = refused("0123");
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        let form = "a lease id has the form 01234567-89ab-cdef-0123-456789abcdef, not that of ";
        assert_eq!(error.to_string(), format!("{form}\"0123\""));
        assert_eq!(
            refused("01234567-89ab-cdef-0123-456789abcdef\n").to_string(),
            format!("{form}\"01234567-89ab-cdef-0123-456789abcdef\\n\"")
        );
        for other in ["x".repeat(100_000), "sv=2021-12-02&sig=c2VjcmV0".to_owned()] {
            assert_eq!(refused(&other).to_string(), format!("{form}what was given"));
        }
    }

    #[test]
    fn a_token_is_read_back_from_its_text() {
        assert_eq!("17".parse::<FencingToken>().unwrap().get(), 17);
        for text in ["", "-1", "+1", "1.5", "9223372036854775808", "18446744073709551616", "x"] {
            assert_eq!(text.parse::<FencingToken>().unwrap_err().kind(), crate::ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn a_term_is_15_to_60_whole_seconds() {
        for bad in [0, 14_000, 61_000, 15_500, u64::MAX] {
            assert!(Term::new(Duration::from_millis(bad)).is_err(), "{bad}");
        }
        assert_eq!(Term::new(Duration::from_secs(15)).unwrap(), Term::Seconds(15));
        assert_eq!(Term::new(Duration::from_secs(60)).unwrap(), Term::Seconds(60));
    }

    #[test]
    fn any_duration_is_a_term_of_its_own_or_none() {
        holds((0..70_u64, prop_oneof![Just(0), 0..1_000_000_000_u32]), |(seconds, nanos)| {
            let duration = Duration::new(seconds, nanos);
            let is_whole = nanos == 0;
            let term = Term::new(duration).ok().and_then(Term::duration);
            assert_eq!(term, Some(duration).filter(|_| is_whole && (15..=60).contains(&seconds)));
            let period = Break::ForceWithin(duration).period().ok();
            assert_eq!(period, Some(Some(seconds as u8)).filter(|_| is_whole && seconds <= 60));
        });
    }

    #[test]
    fn the_deadline_counts_from_the_sending_and_keeps_a_margin() {
        let sent = Moment::PAST.after(Duration::from_secs(100));
        let valid = Term::Seconds(30).valid_until(sent);
        assert_eq!(valid.left(sent), Duration::from_millis(27_400));
        assert_eq!(Term::Seconds(30).ends(sent).left(sent), Duration::from_secs(30));
        assert_eq!(Term::Infinite.valid_until(sent), Moment::NEVER);
    }

    #[test]
    fn a_break_period_is_0_to_60_whole_seconds() {
        assert_eq!(Break::AtExpiry.period().unwrap(), None);
        assert_eq!(Break::ForceWithin(Duration::ZERO).period().unwrap(), Some(0));
        assert!(Break::ForceWithin(Duration::from_secs(61)).period().is_err());
        assert!(Break::ForceWithin(Duration::from_millis(1)).period().is_err());
    }
}
