//! A lock, one call at a time.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::container::{self, Container, Place};
use crate::error::{Error, Result};
use crate::hold::{Do, Hold, Input, Released, Rules, Told, Why};
use crate::lease::{Break, Kept, Lease, LeaseId, LockStatus, Lost, Term};
use crate::random::Jitter;
use crate::rest::{Exchange, Operation, Outcome};

/// One named lock: the lease of one blob. Each method talks to the service, and nothing runs behind it.
///
/// This is the tool for those who keep their own time: whoever takes a lease here must renew it before
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
/// mutex.release(&lease)?;
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AzureMutex {
    container: Container,
    place: Arc<Place>,
}

impl Container {
    /// The lock of that name in this container: the blob of that name, which is made when it is first locked. If
    /// there is one already, its content and metadata stay as they are. Talks to nobody.
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
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), [`Unexpected`](crate::ErrorKind::Unexpected): no answer, or
    ///   none of use, in all of the tries. If the service took the lease all the same, it was asked to release it; at worst the
    ///   lock stays taken for `duration`.
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
        let id = LeaseId::random()?;
        let (told, error) = self.run(&mut Hold::acquire(self.rules(term), id));
        match told {
            Some(Told::Granted { valid_until, ends }) => {
                let Place { lock, url, .. } = &*self.place;
                Ok(Lease::new(lock.clone(), url.clone(), id, term, valid_until, ends))
            }
            Some(Told::NotObtained(Why::Busy)) => Err(Error::busy(&self.place.lock)),
            _ => Err(self.failure(error)),
        }
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
        let kept = *lease.kept();
        let mut hold =
            renewal(self.rules(lease.term), lease.id, &kept).map_err(|lost| Error::lost(&self.place.lock, lost))?;
        let (told, error) = self.run(&mut hold);
        renewed(&mut lease.kept(), &hold, told);
        match told {
            Some(Told::Renewed { .. }) => Ok(()),
            Some(Told::Lost(lost)) => Err(Error::lost(&self.place.lock, lost)),
            _ => Err(self.failure(error)),
        }
    }

    /// Gives the lock back. One request. By reference, so that it can be tried again after a failure; but from the
    /// first try on the lease is not ours any more, since that may have been carried out. `Ok` means that the lock was
    /// ours until the first try, and is free.
    ///
    /// # Errors
    ///
    /// - [`LeaseLost`](crate::ErrorKind::LeaseLost): it was lost before, so the work may not have been alone.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it is the lease of another lock. Nothing was sent.
    /// - The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. The lease then runs out by itself,
    ///   unless it is infinite.
    pub fn release(&self, lease: &Lease) -> Result<()> {
        self.check_lock(lease)?;
        // One after the other, so that each knows what came of the one before.
        let _turn = lease.release_turn();
        let kept = lease.let_go();
        let Some(mut hold) = release(self.rules(lease.term), lease.id, &kept) else {
            return Ok(());
        };
        let (told, error) = self.run(&mut hold);
        released(&mut lease.kept(), &hold, told);
        match told {
            Some(Told::Released(Released::Done)) => Ok(()),
            Some(Told::Released(Released::Lost(lost))) => Err(Error::lost(&self.place.lock, lost)),
            _ => Err(Error::not_released(&self.place.lock, kept.ends.left(clock::now()), error)),
        }
    }

    /// Ends the lease of whoever has the lock, and says how long until it is free: at once if nobody has it. For
    /// operators. With [`Break::AtExpiry`] a holder's deadline stays true and no two holders meet, unless the lease has
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
        match self.ask(Operation::Break { period: how.period()? })? {
            (Outcome::Breaking(left), _) => Ok(left),
            (Outcome::NoLease, _) => Ok(Duration::ZERO),
            (_, error) => Err(self.failure(error)),
        }
    }

    /// Looks at the lock, and neither takes nor makes it. What it saw is over when it is read: for people and
    /// dashboards, not for decisions.
    ///
    /// # Errors
    ///
    /// The kinds of [`acquire`](AzureMutex::acquire) for a failure or a refusal. A missing lock is no error, but
    /// [`LockStatus::Missing`]. A blob with more than about a hundred metadata entries cannot be looked at.
    pub fn inspect(&self) -> Result<LockStatus> {
        match self.ask(Operation::Look)? {
            (Outcome::Seen(status), _) => Ok(status),
            (Outcome::NoBlob | Outcome::NoContainer, _) => Ok(LockStatus::Missing),
            (_, error) => Err(self.failure(error)),
        }
    }

    fn ask(&self, operation: Operation) -> Result<(Outcome, Option<Error>)> {
        let mut hold = Hold::ask(self.rules(Term::Infinite), LeaseId::random()?, operation);
        match self.run(&mut hold) {
            (Some(Told::Answered(outcome)), error) => Ok((outcome, error)),
            (_, error) => Err(self.failure(error)),
        }
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

    fn rules(&self, term: Term) -> Rules {
        let policy = self.container.policy().clone();
        Rules {
            term,
            // Nothing waits or renews by itself here.
            renew_every: Duration::ZERO,
            first_pause: policy.first_pause,
            longest_pause: policy.longest_pause,
            create_container: self.container.creates(),
            policy,
        }
    }

    /// Carries out what `hold` says on this thread, to its end: what it told last, and the failure met last by then.
    fn run(&self, hold: &mut Hold) -> (Option<Told>, Option<Error>) {
        let mut jitter = Jitter::new(hold.id().seed());
        let mut input = Input::Go;
        let mut error = None;
        let mut verdict = (None, None);
        loop {
            input = match hold.step(clock::now(), input, jitter.next()) {
                Do::Send { operation, limit } => {
                    let exchange = self.attempt(operation, limit);
                    error = exchange.error;
                    Input::Answer { sent: exchange.sent, outcome: exchange.outcome }
                }
                Do::Sleep { until } => {
                    clock::sleep(until.left(clock::now()));
                    Input::Go
                }
                Do::Tell(told) => {
                    verdict = (Some(told), error.take());
                    Input::Go
                }
                Do::End => return verdict,
            }
        }
    }

    fn failure(&self, error: Option<Error>) -> Error {
        error.unwrap_or_else(|| Error::unfitting(&self.place.lock, "do what was asked"))
    }

    pub(crate) fn attempt(&self, operation: Operation, limit: Duration) -> Exchange {
        self.container.attempt(&self.place, operation, limit)
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

/// To renew a lease kept like this; or why there is no way to.
pub(crate) fn renewal(rules: Rules, id: LeaseId, kept: &Kept) -> Result<Hold, Lost> {
    match kept.lost.or(kept.let_go.then_some(Lost::Released)) {
        Some(lost) => Err(lost),
        None => Ok(Hold::resume(rules, id, kept.valid_until, kept.ends)),
    }
}

/// What came of it.
pub(crate) fn renewed(kept: &mut Kept, hold: &Hold, told: Option<Told>) {
    kept.ends = hold.ends();
    match told {
        Some(Told::Renewed { valid_until, .. }) => kept.valid_until = valid_until,
        Some(Told::Lost(lost)) => kept.lost = Some(lost),
        _ => {}
    }
}

/// To release a lease that was kept like this before; `None` if that has been done.
pub(crate) fn release(rules: Rules, id: LeaseId, kept: &Kept) -> Option<Hold> {
    if kept.released {
        return None;
    }
    let mut hold = if kept.let_go || kept.lost.is_some() {
        Hold::release_again(rules, id, kept.ends, kept.lost, kept.perhaps_released)
    } else {
        Hold::resume(rules, id, kept.valid_until, kept.ends)
    };
    hold.leave();
    Some(hold)
}

/// What came of it.
pub(crate) fn released(kept: &mut Kept, hold: &Hold, told: Option<Told>) {
    kept.perhaps_released = hold.perhaps_released();
    match told {
        Some(Told::Released(Released::Done)) => kept.released = true,
        Some(Told::Released(Released::Lost(lost))) => kept.lost = Some(lost),
        _ => {}
    }
}
