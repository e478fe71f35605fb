//! The leases of holders that are gone: each must be over within its bound.

use std::time::{Duration, Instant};

use crate::history::{End, Hold, Record};
use crate::journal::{Left, Time};
use crate::network::LATEST;
use crate::support::account::Account;

/// What there may be of a lease beyond the time it was taken for: 2 s and a pause of 1 s, as promised, and what we are
/// late by.
pub(crate) const BEYOND_LEASE: Duration = Duration::from_secs(5);
/// The store has more to do than to answer us.
const LOOK_EVERY: Duration = Duration::from_millis(200);

struct Orphan {
    lock: String,
    lease_id: String,
    since: Time,
    bound: Duration,
    is_of_dead: bool,
}

pub(crate) struct Orphans<'a> {
    account: &'a Account,
    container: String,
    /// How many holds of each record are known to be over.
    over: Vec<usize>,
    waiting: Vec<Orphan>,
    next_look: Instant,
}

impl<'a> Orphans<'a> {
    pub(crate) fn new(account: &'a Account, container: &str) -> Orphans<'a> {
        Orphans {
            account,
            container: container.to_owned(),
            over: Vec::new(),
            waiting: Vec::new(),
            next_look: Instant::now(),
        }
    }

    /// Of a holder that was killed then; it may have been letting go.
    pub(crate) fn add_of_dead(&mut self, lock: String, hold: &Hold, since: Time) {
        let (lease_id, bound) = (hold.lease_id.clone(), bound(hold));
        self.waiting.push(Orphan { lock, lease_id, since, bound, is_of_dead: hold.is_on() });
    }

    /// Finds the holds that have ended. Nothing was done to anybody after `calm`.
    pub(crate) fn find(&mut self, records: &[Record], calm: Option<Time>) {
        self.over.resize(records.len(), 0);
        for (record, over) in records.iter().zip(&mut self.over) {
            while let Some(hold) = record.holds.get(*over)
                && let Some(end) = &hold.end
            {
                let in_calm = calm.is_some_and(|calm| hold.began_after(calm));
                let is_released = matches!(end, End::Left(_, Left::Released));
                self.waiting.push(Orphan {
                    lock: record.lock_name(),
                    lease_id: hold.lease_id.clone(),
                    since: end.at(),
                    // What was released with no packet on its way is free at once.
                    bound: if in_calm && is_released { BEYOND_LEASE } else { bound(hold) },
                    is_of_dead: false,
                });
                *over += 1;
            }
        }
    }

    /// Asks the store: the longest time for which a dead holder's lock was taken, of those that were found to be free,
    /// and what should be and is not.
    pub(crate) fn look(&mut self) -> (Duration, Vec<String>) {
        let (mut longest, mut violations) = (Duration::ZERO, Vec::new());
        if Instant::now() < self.next_look {
            return (longest, violations);
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        let Orphans { account, container, waiting, .. } = self;
        waiting.retain(|Orphan { lock, lease_id, since, bound, is_of_dead }| {
            let time = Time::now().since(*since);
            // 200 while that lease is in force, 412 when it is not.
            let path = format!("{container}/{lock}");
            let Ok(answer) = account.try_raw("HEAD", &path, &[("x-ms-lease-id", lease_id)], b"") else { return true };
            if answer.status == 412 {
                if *is_of_dead {
                    longest = longest.max(time);
                }
                return false;
            }
            if time > *bound {
                let status = answer.status;
                violations.push(format!("{lock}: {status} to {lease_id}, {time:.1?} after its holder was gone"));
            }
            time <= *bound
        });
        (longest, violations)
    }
}

/// Its last renewal may arrive late, and then lasts for a whole lease.
fn bound(hold: &Hold) -> Duration {
    hold.lease + LATEST + BEYOND_LEASE
}
