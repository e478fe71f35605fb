//! What a process does that takes the lock with an environment of its own.

use azmutex::Error;
use azmutex::credential::Credential;
use azmutex::retry::Policy;

use super::{LEASE, SECOND};
use crate::support::process::{say, variable};

/// Takes the lock in a storage account at `storage`, and says how that went.
pub(super) fn take_the_lock(storage: &str, credential: Credential, policy: Policy) {
    let policy = if variable("AZMUTEX_TEST_HASTE").is_some() {
        policy.retries(1).attempt_limit(SECOND)
    } else {
        policy.retries(5)
    };
    let url = format!("{storage}/acct/locks");
    let container = azmutex::Container::builder(&url, credential).retry(policy).build();
    tell(container.and_then(|container| container.mutex("job")?.acquire(LEASE)).map(drop));
}

pub(super) fn tell(result: Result<(), Error>) {
    match result {
        Ok(()) => say("locked"),
        Err(error) => say(&format!("{:?}: {error:?}", error.kind())),
    }
}
