//! A lock, one call at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::container::{self, Container, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::fencing::ETag;
use crate::hold::call::{Call, Verdict};
use crate::hold::carry::Act;
use crate::hold::write::{Unwritten, Wish};
use crate::hold::{Leaves, Settings};
use crate::lease::{Break, Card, FencingToken, Lease, LeaseId, LockState, LockStatus, Lost, Term};
use crate::metadata::{Known, check_mark};
use crate::notes::Notes;
use crate::question::{Question, Task};
use crate::random::Jitter;
use crate::rest::{Contact, Exchange, Operation, Outcome};

const LOOKS_BEFORE_BREAK: u32 = 3;
const WRITING: &str = "write to the lock's metadata";

/// One named lock: the lease of one blob. Each method talks to the service, and nothing runs behind it.
///
/// This is the tool for callers that schedule renewals: whoever takes a lease here must renew it before
/// [`Lease::remaining`] is over, and stop when it is. [`Locker`](crate::Locker) does that by itself.
///
/// A passing failure is tried again, as the container's [`Policy`](crate::retry::Policy) says. Clones are cheap.
///
/// ```no_run
/// use std::time::Duration;
///
/// let mutex = azmutex::Container::from_env("locks")?.mutex("nightly-report")?;
/// let mut lease = mutex.acquire(Duration::from_secs(60))?;
/// // ... work for less than lease.remaining() ...
/// mutex.renew(&mut lease)?;
/// // ...
/// mutex.release(&mut lease)?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "lease")]
pub struct AzureMutex {
    container: Container,
    place: Arc<Place>,
}

impl Container {
    /// The lock of that name in this container: the blob of that name, which is made when it is first locked. If
    /// there is one already, its content and metadata stay as they are. Makes no network calls.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the service would refuse the name or take it for another:
    /// it has 1 to 1,024 characters and at most 254 segments between single slashes, none of which ends with a dot;
    /// it has no backslash and no control character.
    pub fn mutex(&self, name: &str) -> Result<AzureMutex> {
        Ok(AzureMutex { container: self.clone(), place: Arc::new(self.place(name)?) })
    }
}

impl AzureMutex {
    /// The lock at the blob of a SAS URL such as `https://myaccount.blob.core.windows.net/locks/job?sv=..&sig=..`:
    /// what the portal and the Azure CLI make when they are asked for a blob's shared access signature. Where the host
    /// has no name of the account's, as an emulator's has not, the account is the first segment of the path. Talks to
    /// nobody.
    ///
    /// ```
    /// use azmutex::{AzureMutex, Locker};
    ///
    /// let url = "http://127.0.0.1:10000/devstoreaccount1/locks/nightly-report?sr=b&sp=rw&sig=c2VjcmV0";
    /// let locker = Locker::new(AzureMutex::from_sas_url(url)?);
    /// assert_eq!(locker.name(), "nightly-report");
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is no such URL, or is plain http to another machine.
    pub fn from_sas_url(url: &str) -> Result<AzureMutex> {
        let (builder, name) = container::Builder::from_blob_sas_url(url)?;
        builder.build()?.mutex(&name)
    }

    /// The name of the lock.
    pub fn name(&self) -> &str {
        &self.place.lock
    }

    /// The URL of the lock's blob, without a signature: two locks are one if their URLs are the same.
    pub fn url(&self) -> &str {
        &self.place.url
    }

    /// Takes the lock for `duration`, 15 to 60 whole seconds, if nobody has it. Does not wait for a holder. One
    /// request; up to three more if the blob or the container is missing.
    ///
    /// # Errors
    ///
    /// - [`WouldBlock`](crate::ErrorKind::WouldBlock): somebody else has it.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): not such a duration. Nothing was sent.
    /// - [`NotFound`](crate::ErrorKind::NotFound): the container is missing, and is not to be created.
    /// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied), [`Credential`](crate::ErrorKind::Credential),
    ///   [`ClockSkew`](crate::ErrorKind::ClockSkew): the service refused; the text says what to change.
    /// - [`Untrusted`](crate::ErrorKind::Untrusted): the server's certificate was refused.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), [`Unexpected`](crate::ErrorKind::Unexpected): no answer, or
    ///   none of use, in all of the tries. If the service took the lease all the same, it was asked to release it; at worst the
    ///   lock stays taken for `duration`.
    #[doc(alias = "try_acquire")]
    pub fn acquire(&self, duration: Duration) -> Result<Lease> {
        self.acquire_for(Term::new(duration)?)
    }

    /// Takes the lock until it is released or broken, even if this process ends: only for those who can tell a dead
    /// holder by other means. One request, as for [`acquire`](AzureMutex::acquire).
    ///
    /// Nothing tells the holder that somebody broke the lease, other than its next [`renew`](AzureMutex::renew).
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](AzureMutex::acquire). If there was no answer, releases follow; but an acquire that arrives
    /// after them leaves the lock taken until somebody calls [`break_lease`](AzureMutex::break_lease).
    pub fn acquire_infinite(&self) -> Result<Lease> {
        self.acquire_for(Term::Infinite)
    }

    fn acquire_for(&self, term: Term) -> Result<Lease> {
        let mut call = Call::acquire(self.settings(term), LeaseId::random()?);
        self.carry_out(&mut call)?;
        Ok(self.lease(&call, term))
    }

    /// Takes up the lease `id` that another process took, if it still can be renewed, and makes it last anew from now
    /// on: so that one without an end need not be broken when the process that took it has died. That process has to
    /// leave its [`Lease::id`] somewhere. A renewal, and a look.
    ///
    /// Renewing keeps the duration that was granted, and nothing tells what that was, other than a look that the lease has
    /// no end. So it counts as 15 s, the shortest there is, here and at each [`renew`](AzureMutex::renew), though the
    /// service may keep it for up to 60 s; and so does one without an end if the look fails, is not allowed, or is answered
    /// without the id of its request.
    ///
    /// **Two processes that use one lease id both hold the lock**, and nothing that this crate promises holds for them.
    /// The process that took the lease must have died without a call of [`release`](AzureMutex::release): a release of
    /// its that had no answer may still arrive, and would free the lock while this process holds it.
    ///
    /// ```no_run
    /// # fn read_file() -> String { String::new() }
    /// let mutex = azmutex::Container::from_env("locks")?.mutex("nightly-report")?;
    /// let lease = mutex.resume(read_file().trim().parse()?)?;
    /// # drop(lease);
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): it is not that lease's any more, with the reason; or the answer took
    ///   longer than the 15 s that the lease counts as, and it is to be resumed again.
    /// - The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. The lease is as it was, or was renewed.
    pub fn resume(&self, id: LeaseId) -> Result<Lease> {
        // For how long it counts the call says.
        let mut call = Call::resume(self.settings(Term::DEFAULT), id);
        self.carry_out(&mut call)?;
        let left = call.kept().left(clock::now());
        if left.is_zero() {
            return Err(Error::lost(&self.place.lock, Lost::Expired));
        }
        // One look, and none that outlasts the lease.
        let limit = self.container.policy().attempt_limit.min(left / 2);
        let (look, contact) = self.container.attempt_and_listen(&self.place, Operation::Look, limit);
        // What a cache kept of an earlier lease must not make this one last for ever.
        let is_certain = matches!(contact, Contact::Answered(heard) if heard.is_echoed);
        let term = call.seen(clock::now(), if is_certain { look.outcome } else { Outcome::Void });
        Ok(self.lease(&call, term))
    }

    /// Makes `lease` last for its duration again, from now on. One request.
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): it is no longer ours, says the service; or its
    ///   [`remaining`](Lease::remaining) time is over, or a release was tried, and nothing was sent, since somebody
    ///   else may have had the lock in between. The `lease` counts as lost from then on.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it is the lease of another lock. Nothing was sent.
    /// - The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. The lease is ours for as long as
    ///   it was.
    pub fn renew(&self, lease: &mut Lease) -> Result<()> {
        self.check_lock(lease)?;
        let mut call = Call::renew(self.settings(lease.term), lease.id, &lease.kept)
            .map_err(|lost| Error::lost(&self.place.lock, lost))?;
        let renewed = self.carry_out(&mut call);
        lease.kept = *call.kept();
        renewed
    }

    /// Gives the lock back. One request. By reference, so that it can be tried again after a failure; but from the
    /// first try on the lease is not ours any more, since that may have been carried out. `Ok` means that the lock was
    /// ours until the first try, and is free.
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): it was lost before, so another holder may have overlapped.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it is the lease of another lock. Nothing was sent.
    /// - The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. The lease then runs out by itself,
    ///   unless it is infinite.
    pub fn release(&self, lease: &mut Lease) -> Result<()> {
        self.check_lock(lease)?;
        let Some(mut call) = Call::release(self.settings(lease.term), lease.id, &mut lease.kept) else {
            return Ok(());
        };
        let released = self.carry_out(&mut call);
        lease.kept = *call.kept();
        released
    }

    /// Ends the lease of whoever has the lock, and says how long until it is free: about, to the second, as the service
    /// tells it, so that who tries then may be too early by one; zero if nobody has it. For operators. With [`Break::AtExpiry`] a holder's deadline stays true and no two holders meet, unless the lease has
    /// no end; [`Break::ForceWithin`] does not wait for that deadline.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such lock;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a period over 60 s or of other than whole seconds; the kinds
    /// of [`acquire`](AzureMutex::acquire) for a failure or a refusal. After a failure without an answer the lease may
    /// have been broken, and somebody else may have the lock already: it is not repeated, since that would hit them.
    /// [`inspect`](AzureMutex::inspect) before you break again.
    pub fn break_lease(&self, how: Break) -> Result<Duration> {
        self.break_only(how, None)?.ok_or_else(|| self.failure(None))
    }

    /// As [`break_lease`](AzureMutex::break_lease), but only if the last fencing token and the last card are still those
    /// that were `seen`. For operators, whose screen may be old. A look, and a break of the very version of the blob that
    /// it showed; so the credential needs the right to read, too.
    ///
    /// It tells holders apart by what they leave. **A holder who leaves nothing is hit**, as it is by
    /// [`break_lease`](AzureMutex::break_lease): one without [`fencing`](crate::locker::Builder::fencing) and a
    /// [`card`](crate::locker::Builder::card), one whose card could not be left, and each holder in the moment between its
    /// grant and the write of its token or card. Without tokens, two holds of one process within one second leave the same
    /// card.
    ///
    /// ```no_run
    /// use azmutex::lease::Break;
    ///
    /// # fn is_dead(_: Option<&azmutex::lease::Card>) -> bool { true }
    /// let mutex = azmutex::Container::from_env("locks")?.mutex("nightly-report")?;
    /// let seen = mutex.inspect()?;
    /// if seen.is_locked() && is_dead(seen.card()) {
    ///     mutex.break_lease_if_last(&seen, Break::AtExpiry)?;
    /// }
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Outdated`](crate::ErrorKind::Outdated): another token or card is the last one by now. Nothing was broken.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): there is neither in what was seen; nothing was sent.
    /// - Those of [`break_lease`](AzureMutex::break_lease).
    pub fn break_lease_if_last(&self, seen: &LockStatus, how: Break) -> Result<Duration> {
        how.period()?;
        if seen.fencing_token().is_none() && seen.card().is_none() {
            return Err(Error::input(
                "neither a fencing token nor a card was seen, so nothing tells that holder from the next one",
            ));
        }
        // A mark makes another version, and no other holder: so it is looked at again, but not for ever.
        for _ in 0..LOOKS_BEFORE_BREAK {
            let (outcome, error, known) = self.look()?;
            let Outcome::Seen(state) = outcome else { return Err(self.failure(error)) };
            let known = known.ok_or_else(|| self.failure(None))?;
            if !LockStatus::new(state, Some(&known.metadata)).is_of_holder(seen) {
                break;
            }
            if let Some(left) = self.break_only(how, Some(known.blob.version.etag))? {
                return Ok(left);
            }
        }
        Err(Error::outdated(&self.place.lock))
    }

    /// `None` if the blob is not of that version any more.
    fn break_only(&self, how: Break, only: Option<ETag>) -> Result<Option<Duration>> {
        match self.ask(Operation::Break { period: how.period()?, only })? {
            (Outcome::Breaking(left), _) => Ok(Some(left)),
            (Outcome::NoLease, _) => Ok(Some(Duration::ZERO)),
            (Outcome::Changed, _) => Ok(None),
            (_, error) => Err(self.failure(error)),
        }
    }

    /// Takes a [`FencingToken`] for the hold of this lease, which from then on is the
    /// [`fencing_token`](Lease::fencing_token) of the lease. One or two requests, and the wait that
    /// [`Builder::fencing`](crate::locker::Builder::fencing) tells of; once for each lease.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let mutex = azmutex::Container::from_env("locks")?.mutex("nightly-report")?;
    /// let mut lease = mutex.acquire(Duration::from_secs(60))?;
    /// let token = mutex.fence(&mut lease)?;
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - Those of [`renew`](AzureMutex::renew) and of [`Builder::fencing`](crate::locker::Builder::fencing). The lease is
    ///   ours for as long as it was, and has no token.
    pub fn fence(&self, lease: &mut Lease) -> Result<FencingToken> {
        let token = self.write(lease, Wish { token: true, ..Wish::default() }, None, None)?;
        let token = token.ok_or_else(|| self.failure(None))?;
        lease.token = Some(token);
        Ok(token)
    }

    /// Leaves a card, as [`Builder::card`](crate::locker::Builder::card) does, with the lease's token if it has one. One
    /// or two requests.
    ///
    /// # Errors
    ///
    /// Those of [`fence`](AzureMutex::fence).
    pub fn leave_card(&self, lease: &mut Lease, card: &Card) -> Result<()> {
        let wish = Wish { card: Some(lease.token), ..Wish::default() };
        self.write(lease, wish, Some(card.clone()), None).map(drop)
    }

    /// Leaves a mark, as [`LockGuard::mark`](crate::LockGuard::mark) does. One or two requests.
    ///
    /// # Errors
    ///
    /// Those of [`fence`](AzureMutex::fence), and [`InvalidInput`](crate::ErrorKind::InvalidInput) for a text of more than
    /// 1,024 bytes.
    pub fn mark(&self, lease: &mut Lease, text: &str) -> Result<()> {
        check_mark(text)?;
        self.write(lease, Wish { mark: true, ..Wish::default() }, None, Some(text.into())).map(drop)
    }

    fn write(
        &self,
        lease: &mut Lease,
        wish: Wish,
        card: Option<Card>,
        mark: Option<Arc<str>>,
    ) -> Result<Option<FencingToken>> {
        self.check_lock(lease)?;
        let known = lease.known.take();
        let blob = known.as_ref().map(|known| known.blob);
        let seed = LeaseId::random()?;
        let mut call = Call::write(self.settings(lease.term), lease.id, &lease.kept, wish, blob, seed)
            .map_err(|lost| Error::lost(&self.place.lock, lost))?;
        let notes = Mutex::new(Notes::new(card, mark, known));
        let written = self.carry_out_by(&mut call, |operation, limit| self.attempt_noting(&notes, operation, limit));
        lease.known = notes.into_inner().unwrap_or_else(PoisonError::into_inner).known().cloned();
        lease.kept = *call.kept();
        written?;
        Ok(match call.verdict() {
            Verdict::Written(token) => *token,
            _ => None,
        })
    }

    /// Looks at the lock, and neither takes nor makes it. What it saw is over when it is read: for people and
    /// dashboards, not for decisions.
    ///
    /// ```no_run
    /// let status = azmutex::Container::from_env("locks")?.mutex("nightly-report")?.inspect()?;
    /// if status.is_locked() {
    ///     println!("the report is being made: {:?}", status.state());
    /// }
    /// # Ok::<(), azmutex::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. A missing lock is no error, but
    /// [`LockState::Missing`]. A blob with more than about a hundred metadata entries cannot be looked at.
    pub fn inspect(&self) -> Result<LockStatus> {
        match self.look()? {
            (Outcome::Seen(state), _, known) => {
                Ok(LockStatus::new(state, known.as_ref().map(|known| &*known.metadata)))
            }
            (Outcome::NoBlob | Outcome::NoContainer, ..) => Ok(LockStatus::new(LockState::Missing, None)),
            (_, error, _) => Err(self.failure(error)),
        }
    }

    /// With what the lock's blob was seen to be.
    fn look(&self) -> Result<(Outcome, Option<Error>, Option<Known>)> {
        let notes = Mutex::default();
        let (outcome, error) = self.ask_noting(&notes, Operation::Look)?;
        let notes = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((outcome, error, notes.known().cloned()))
    }

    fn ask(&self, operation: Operation) -> Result<(Outcome, Option<Error>)> {
        self.ask_noting(&Mutex::default(), operation)
    }

    fn ask_noting(&self, notes: &Mutex<Notes>, operation: Operation) -> Result<(Outcome, Option<Error>)> {
        let mut jitter = Jitter::new(LeaseId::random()?.seed());
        let mut question = Question::new(operation, self.container.policy().clone());
        loop {
            match question.next(clock::now(), jitter.next()) {
                Task::Send { operation, limit } => question.answered(self.attempt_noting(notes, operation, limit)),
                Task::Sleep { until } => clock::sleep(until.left(clock::now())),
                Task::Done(outcome, error) => return Ok((outcome, error)),
            }
        }
    }

    /// Carries `call` out on this thread, to its end.
    fn carry_out(&self, call: &mut Call<Error>) -> Result<()> {
        self.carry_out_by(call, |operation, limit| self.attempt(operation, limit))
    }

    fn carry_out_by(
        &self,
        call: &mut Call<Error>,
        mut attempt: impl FnMut(Operation, Duration) -> Exchange,
    ) -> Result<()> {
        let mut jitter = Jitter::new(call.id().seed());
        loop {
            match call.next(clock::now(), jitter.next()) {
                Act::Send { operation, limit } => call.answered(attempt(operation, limit)),
                Act::Sleep { until, .. } => clock::sleep(until.left(clock::now())),
                Act::End => break,
                // What changes is in the call, and there is nobody else to tell.
                Act::Grant { .. } | Act::Extend { .. } | Act::Lose(_) | Act::Notify(_) | Act::Report(_) => {}
            }
        }
        let lock = &self.place.lock;
        match call.verdict() {
            Verdict::Done | Verdict::Written(_) => Ok(()),
            Verdict::Busy => Err(Error::busy(lock)),
            Verdict::NotWritten { why, failure } => Err(unwritten(lock, *why, failure.clone())),
            Verdict::Lost(lost) => Err(Error::lost(lock, *lost)),
            Verdict::NotReleased { left, failure } => Err(Error::not_released(lock, *left, failure.clone())),
            Verdict::Failed(failure) => Err(self.failure(failure.clone())),
        }
    }

    fn lease(&self, call: &Call<Error>, term: Term) -> Lease {
        let Place { lock, url, .. } = &*self.place;
        Lease::new(lock.clone(), url.clone(), call.id(), term, *call.kept())
    }

    fn check_lock(&self, lease: &Lease) -> Result<()> {
        if lease.url != self.place.url {
            return Err(Error::input(format!("the lease of {} was used with {}", lease.url, self.place.url)));
        }
        if !lease.is_own_process() {
            return Err(Error::lost(&self.place.lock, Lost::OtherProcess));
        }
        Ok(())
    }

    fn settings(&self, term: Term) -> Settings {
        let policy = self.container.policy().clone();
        Settings {
            term,
            // Nothing waits or renews by itself here.
            renew_every: Duration::ZERO,
            first_pause: policy.first_pause,
            longest_pause: policy.longest_pause,
            create_container: self.container.creates(),
            leaves: Leaves { lower_cases: self.container.lower_cases(), ..Leaves::default() },
            policy,
        }
    }

    fn failure(&self, error: Option<Error>) -> Error {
        error.unwrap_or_else(|| Error::unfitting(&self.place.lock, "do what was asked"))
    }

    pub(crate) fn attempt(&self, operation: Operation, limit: Duration) -> Exchange {
        self.container.attempt(&self.place, operation, None, limit)
    }

    /// The same, with what a write is to leave, and what is to be known of the blob's metadata after it.
    pub(crate) fn attempt_noting(&self, notes: &Mutex<Notes>, operation: Operation, limit: Duration) -> Exchange {
        let notes = || notes.lock().unwrap_or_else(PoisonError::into_inner);
        let left = notes().metadata_for(operation);
        let Ok(left) = left else {
            // What it was to be made from is not at hand any more.
            return Exchange::new(clock::now(), Outcome::Changed, None);
        };
        let exchange = self.container.attempt(&self.place, operation, left.as_ref(), limit);
        notes().learn(operation, left, &exchange);
        exchange
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn container(&self) -> &Container {
        &self.container
    }

    pub(crate) fn lock_name(&self) -> &Arc<str> {
        &self.place.lock
    }
}

/// Why something was not written, and the failure that was why, in words.
pub(crate) fn unwritten(lock: &Arc<str>, why: Unwritten, failure: Option<Error>) -> Error {
    let because = match why {
        Unwritten::Failed => return failure.unwrap_or_else(|| Error::unfitting(lock, WRITING)),
        Unwritten::Lost(lost) => return Error::lost(lock, lost),
        Unwritten::UnreadableToken => {
            "the fencing token in the metadata of its blob (`azmutextoken`) is no number, or the last that there is; \
             tokens must only grow, so set it right by hand"
        }
        Unwritten::OthersMetadata => {
            "its blob has metadata of others, whose names would come back in lower case; take another name for the lock, or \
             accept that"
        }
        Unwritten::GarbledMetadata => "its blob has metadata of others that could not be written back as they are",
        Unwritten::NoVersion => "the service's answer does not say of which version its blob is",
        Unwritten::Clock => "the service's clock is behind the last change of its blob",
        Unwritten::KeepsChanging => {
            "its blob is another one each time that it is written to: somebody writes to it without the lease, or a cache in \
             between shows what it was"
        }
    };
    let kind = if why == Unwritten::OthersMetadata { ErrorKind::InvalidInput } else { ErrorKind::Unexpected };
    Error::no_answer(lock, kind, WRITING, because, None)
}

#[cfg(test)]
mod tests {
    use azmutex::emulator::{self, Emulator};

    use super::*;
    use crate::ErrorKind;

    const DURATION: Duration = Duration::from_secs(60);

    fn mutex(emulator: &Emulator, name: &str) -> AzureMutex {
        let container = Container::from_connection_string(&emulator.connection_string(), "locks").unwrap();
        container.mutex(name).unwrap()
    }

    #[test]
    fn a_call_about_a_lease_leaves_what_came_of_it_in_the_lease() {
        let emulator = Emulator::start().unwrap();
        let mutex = mutex(&emulator, "job");
        let mut lease = mutex.acquire(DURATION).unwrap();
        let until = lease.kept.valid_until;
        mutex.renew(&mut lease).unwrap();
        assert!(lease.kept.valid_until > until);
        mutex.release(&mut lease).unwrap();
        assert!(!lease.is_held() && lease.kept.released);

        let mut lease = mutex.acquire(DURATION).unwrap();
        emulator.break_lock("locks", "job").unwrap();
        assert_eq!(mutex.renew(&mut lease).unwrap_err().lost_because(), Some(Lost::Broken));
        assert!(!lease.is_held());
    }

    #[test]
    fn the_url_says_which_lock_it_is_and_no_secret() {
        // Without TLS, which not every build has.
        let url = "http://127.0.0.1:10000/acct/locks?sv=2021-12-02&sr=c&sp=rw&sig=c2VjcmV0";
        let mutex = Container::from_sas_url(url).unwrap().mutex("a b").unwrap();
        assert_eq!(mutex.url(), "http://127.0.0.1:10000/acct/locks/a%20b");
    }

    #[test]
    fn the_lease_of_another_lock_is_refused_before_anything_is_sent() {
        let emulator = Emulator::start().unwrap();
        let (mutex, other) = (mutex(&emulator, "job"), mutex(&emulator, "another"));
        let mut lease = mutex.acquire(DURATION).unwrap();
        let requests = emulator.requests().len();
        assert_eq!(other.renew(&mut lease).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(other.release(&mut lease).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(emulator.requests().len(), requests);
        assert!(lease.is_held());
    }

    #[test]
    fn a_lease_is_taken_up_again_by_a_renewal_and_then_a_look() {
        let emulator = Emulator::start().unwrap();
        let mutex = mutex(&emulator, "job");
        for is_infinite in [false, true] {
            let first = if is_infinite { mutex.acquire_infinite() } else { mutex.acquire(DURATION) }.unwrap();
            let requests = emulator.requests().len();
            let mut lease = mutex.resume(first.id()).unwrap();
            // A look before could take longer than the lease lasts.
            let asked: Vec<_> = emulator.requests()[requests..].iter().map(|request| request.operation).collect();
            assert_eq!(asked, [emulator::Operation::RenewLease, emulator::Operation::GetBlobProperties]);
            assert_eq!(lease.duration(), (!is_infinite).then_some(Duration::from_secs(15)));
            assert!(lease.is_held());
            mutex.release(&mut lease).unwrap();
            assert_eq!(mutex.resume(first.id()).unwrap_err().lost_because(), Some(Lost::Taken));
        }
    }
}
