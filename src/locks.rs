//! The locks of a container, and who has them.
//!
//! ```
//! use azmutex::{Container, emulator::Emulator};
//!
//! let emulator = Emulator::start()?;
//! let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
//! container.locker("reports/daily")?.lock()?.unlock()?;
//! let guard = container.locker("reports/nightly")?.lock()?;
//!
//! let mut locked = Vec::new();
//! for entry in container.locks().prefix("reports/") {
//!     let entry = entry?;
//!     if entry.status().is_locked() {
//!         locked.push(entry.name().to_owned());
//!     }
//! }
//! assert_eq!(locked, ["reports/nightly"]);
//! # guard.unlock()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::iter::FusedIterator;
use std::vec;

use crate::clock;
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{LeaseId, LockStatus};
use crate::metadata::Metadata;
use crate::names;
use crate::question::{Question, Task};
use crate::random::Jitter;
use crate::rest::{Listed, Operation, Page, Wanted};

/// More pages than any container's locks take: 25 million locks.
const MOST_PAGES: u32 = 100_000;
/// The service may answer with pages that have nothing to show; not with as many as these, one after the other.
const MOST_EMPTY_PAGES: u32 = 1_000;

impl Container {
    /// The locks of this container, each with its state, its last fencing token, card and mark: all the blobs that are in
    /// it, since each of them can be locked. Takes and makes none. Makes no network calls until the first is asked for; then one request gets up to 250 of them. What
    /// it saw is over when it is read: for people and dashboards, not for decisions.
    ///
    /// A lock that was never taken is not there. Directories of accounts with a hierarchical namespace are passed over, as
    /// are snapshots, earlier versions and what was deleted.
    ///
    /// The right for it is that to list blobs: `l` in a SAS, which has to be one for the container, or one of the account
    /// for containers (`srt=c`).
    ///
    /// See the [module](crate::locks) for an example.
    #[cfg_attr(docsrs, doc(cfg(feature = "list")))]
    pub fn locks(&self) -> Locks {
        Locks {
            container: self.clone(),
            prefix: String::new(),
            listed: Vec::new().into_iter(),
            next: Next::Page(None),
            pages: Pages::default(),
        }
    }
}

/// The locks of a container, in the service's order, which is that of their names where the account has no hierarchical
/// namespace: see [`Container::locks`].
///
/// It holds one page at a time. A passing failure is tried again, as the container's
/// [`Policy`](crate::retry::Policy) says. After an error there is no further lock: ask for
/// [`Container::locks`] anew.
///
/// # Errors
///
/// - [`NotFound`](ErrorKind::NotFound): there is no such container.
/// - [`InvalidInput`](ErrorKind::InvalidInput): no lock's name begins with the [`prefix`](Locks::prefix). Nothing was
///   sent.
/// - [`PermissionDenied`](ErrorKind::PermissionDenied), [`Credential`](ErrorKind::Credential),
///   [`ClockSkew`](ErrorKind::ClockSkew): the service refused; the text says what to change.
/// - [`Untrusted`](ErrorKind::Untrusted): the server's certificate was refused.
/// - [`Unavailable`](ErrorKind::Unavailable): no answer, or a passing failure, in all of the tries.
/// - [`Unexpected`](ErrorKind::Unexpected): an answer that is no list, or a list that does not end.
#[must_use = "nothing is asked for until the first lock is"]
pub struct Locks {
    container: Container,
    prefix: String,
    listed: vec::IntoIter<Listed>,
    next: Next,
    pages: Pages,
}

enum Next {
    /// Which begins at this marker, or is the first.
    Page(Option<String>),
    End,
}

impl Locks {
    /// Only the locks whose names begin with this, from the first of them on. In an account with a hierarchical namespace
    /// nothing in it but its last segment may be the name of a lock. Defaults to all.
    pub fn prefix(self, prefix: &str) -> Self {
        Locks { prefix: prefix.to_owned(), ..self.container.locks() }
    }

    fn page(&self, marker: Option<&str>) -> Result<Page> {
        names::check_prefix(&self.prefix)?;
        let wanted = Wanted { prefix: &self.prefix, marker };
        let mut jitter = Jitter::new(LeaseId::random()?.seed());
        let mut question = Question::new(Operation::List, self.container.policy().clone());
        let mut page = None;
        loop {
            match question.next(clock::now(), jitter.next()) {
                Task::Send { limit, .. } => {
                    let (exchange, answer) = self.container.list(&wanted, limit);
                    page = answer;
                    question.answered(exchange);
                }
                Task::Sleep { until } => clock::sleep(until.left(clock::now())),
                Task::Done(_, error) => {
                    return page.ok_or_else(|| error.unwrap_or_else(|| self.fault("gives no list, and says not why")));
                }
            }
        }
    }

    /// Of a service that does not do as its page says.
    fn fault(&self, what: &str) -> Error {
        let hint = format!("{} {what}; is a proxy in between?", self.container.origin());
        Error::no_answer(self.container.as_about(), ErrorKind::Unexpected, "list the locks", hint, None)
    }

    /// Gets the page that is next. `false` if there is none.
    fn turn(&mut self) -> Result<bool> {
        let Next::Page(marker) = std::mem::replace(&mut self.next, Next::End) else { return Ok(false) };
        let Page { blobs, next } = self.page(marker.as_deref())?;
        if let Some(marker) = next {
            self.pages.go_on(blobs.is_empty(), &marker).map_err(|wrong| self.fault(wrong))?;
            self.next = Next::Page(Some(marker));
        }
        self.listed = blobs.into_iter();
        Ok(true)
    }
}

impl Iterator for Locks {
    type Item = Result<LockEntry>;

    fn next(&mut self) -> Option<Result<LockEntry>> {
        loop {
            if let Some(Listed { name, state, metadata }) = self.listed.next() {
                let metadata = Metadata::new(metadata.iter().map(|(name, value)| (&**name, Some(&**value))));
                return Some(Ok(LockEntry { name, status: LockStatus::new(state, Some(&metadata)) }));
            }
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl FusedIterator for Locks {}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Locks");
        all.field("container", &self.container).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A lock of a container, as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEntry {
    name: String,
    status: LockStatus,
}

impl LockEntry {
    /// The name of the lock: of its blob, as it is in the service. Somebody else's blob may have one that
    /// [`Container::mutex`] refuses, or that is not fit to be printed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was seen of it.
    pub fn status(&self) -> &LockStatus {
        &self.status
    }
}

/// How many pages there were, and whether there may be one more. Remembers two markers, whatever comes: the last one,
/// and another that it moves on to at each power of two, so that no circle of pages is too long to be noticed.
#[derive(Debug, Default)]
struct Pages {
    count: u32,
    empty: u32,
    last: String,
    milestone: String,
}

impl Pages {
    /// A page came, and says that there is another one behind it. Why that cannot be, if so.
    fn go_on(&mut self, is_empty: bool, marker: &str) -> Result<(), &'static str> {
        if marker == self.last || marker == self.milestone {
            return Err("repeats a page of the list for ever");
        }
        self.count += 1;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if self.count == MOST_PAGES || self.empty == MOST_EMPTY_PAGES {
            return Err("gives a list without an end");
        }
        marker.clone_into(&mut self.last);
        if self.count.is_power_of_two() {
            marker.clone_into(&mut self.milestone);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many pages it ends, and how.
    fn end(mut markers: impl FnMut(u32) -> (bool, String)) -> (u32, &'static str) {
        let mut pages = Pages::default();
        let mut count = 0;
        loop {
            let (is_empty, marker) = markers(count);
            count += 1;
            if let Err(wrong) = pages.go_on(is_empty, &marker) {
                return (count, wrong);
            }
        }
    }

    #[test]
    fn a_page_that_comes_again_is_noticed_at_once_and_a_circle_before_long() {
        let (count, wrong) = end(|_| (false, "a".to_owned()));
        assert_eq!((count, wrong), (2, "repeats a page of the list for ever"));
        assert_eq!(end(|n| (false, n.min(2).to_string())).0, 4);
        for (start, length) in [(0, 2), (0, 3), (5, 7), (100, 1_000), (0, 5_000)] {
            let circle = |n: u32| if n < start { n } else { start + (n - start) % length };
            let (count, wrong) = end(|n| (false, circle(n).to_string()));
            assert_eq!(wrong, "repeats a page of the list for ever");
            let twice = start + 2 * length;
            assert!(count > start + length && count <= 2 * twice, "{start}, {length}: {count}");
        }
    }

    #[test]
    fn a_list_without_an_end_is_given_up_and_one_without_a_lock_sooner() {
        let without = "gives a list without an end";
        assert_eq!(end(|n| (false, n.to_string())), (MOST_PAGES, without));
        assert_eq!(end(|n| (true, n.to_string())), (MOST_EMPTY_PAGES, without));
        assert_eq!(end(|n| (n % 3 > 0, n.to_string())), (MOST_PAGES, without));
    }
}
