//! How a lock is lost.

use std::fmt;

/// Why a lock that was ours no longer is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lost {
    /// The lease could not be renewed in time, or the process or machine stood still for too long.
    Expired,
    /// The lease is not ours any more: somebody else took it, or released it with our id.
    Taken,
    /// Somebody broke the lease.
    Broken,
    /// The lock's blob was deleted.
    BlobDeleted,
    /// The container of the lock was deleted.
    ContainerDeleted,
    /// It was let go: a release has been sent.
    Released,
    /// The thread that renews the lock died.
    RenewalStopped,
    /// The lock belongs to the process that forked this one.
    OtherProcess,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Expired => "the lease ran out before it could be renewed",
            Lost::Taken => "the lease is no longer ours: it was taken over or released elsewhere",
            Lost::Broken => "somebody broke the lease",
            Lost::BlobDeleted => "the lock's blob was deleted",
            Lost::ContainerDeleted => "the lock's container was deleted",
            Lost::Released => "it was let go",
            Lost::RenewalStopped => "the thread that renews the lease died",
            Lost::OtherProcess => "it belongs to the process that forked this one",
        })
    }
}
