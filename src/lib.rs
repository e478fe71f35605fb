//! A distributed mutex on Azure Blob Storage leases, for programs without an async runtime.
//!
//! ```no_run
//! use azmutex::Container;
//!
//! fn main() -> azmutex::Result<()> {
//!     let locker = Container::from_env("locks")?.locker("nightly-report")?;
//!     let guard = locker.lock()?; // blocks until it is ours
//!     for page in pages() {
//!         guard.ensure_held()?; // stop if it no longer is
//!         write(page);
//!     }
//!     guard.unlock() // or let it drop
//! }
//! # fn pages() -> [u32; 0] { [] }
//! # fn write(_: u32) {}
//! ```
//!
//! # What it guarantees, and what not
//!
//! No two clients are told at the same time that they hold the lock, unless somebody breaks the lease by force (or in
//! any way, if it is one without an end) or deletes the blob or the container, takes up a lease
//! ([`AzureMutex::resume`]) whose process has not ended, the account fails over to another region, or a whole machine is
//! frozen without its clocks noticing, or copied while it runs (a clone, or a snapshot that is resumed twice: each copy
//! goes on holding what the one held); with clocks that drift by up to 1 % and a service that ends leases up to 2 s early.
//!
//! **A lease is not a fence.** Between [`LockGuard::ensure_held`] and the write that follows, the process can be
//! stopped, and somebody else can take the lock and write. Only the resource itself can refuse the late write: by the
//! [`fencing_token`](LockGuard::fencing_token) that came with it, a number that grows with each holder
//! ([`Builder::fencing`](locker::Builder::fencing)); or, if it is the locked blob, by [`LockGuard::lease_id`]. How it does
//! so is in the [guide](guide::fencing).
//!
//! A holder that crashes blocks the others for one lease (30 s by default), 2 s and a pause at most; for one lease
//! more if a packet of its last renewal arrives late. Threads of one process get the lock in the order in
//! which they asked for it. Processes get it in no particular order, but none keeps the others out by locking again and
//! again ([`Locker`] says for how long at most). No holder can take it twice.
//!
//! # Four nouns
//!
//! - [`Container`]: where locks live, with a credential and connections.
//! - [`AzureMutex`]: one named lock, one service call per method; nothing runs behind it.
//! - [`Locker`]: the same lock, kept alive: waits for it, renews it, tells when it is lost.
//! - [`LockGuard`]: it is ours, now.
//!
//! # Losing the lock
//!
//! A held lock has a deadline: it counts from before its last successful renewal was *sent*, and is the lease's
//! duration less 2 s and a fiftieth. [`LockGuard::is_held`] compares it with a clock that counts suspend. When it has
//! passed, or the service says that the lease was broken, taken or deleted, the lock is lost for good:
//! [`ensure_held`](LockGuard::ensure_held) is an error, [`lost`](LockGuard::lost) tells within 250 ms of the
//! deadline (a receiver of [`crossbeam_channel`], for `select!`), and [`unlock`](LockGuard::unlock) is an error of the kind
//! [`ErrorKind::LeaseLost`].
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # fn stop_the_work() {}
//! let guard = azmutex::Container::from_env("locks")?.locker("leader")?.lock()?;
//! // ... start the work on other threads ...
//! while guard.wait_lost(Duration::from_secs(3600)).is_none() {}
//! stop_the_work();
//! # Ok::<(), azmutex::Error>(())
//! ```
//!
//! # Who has it
//!
//! With [`Builder::card`](locker::Builder::card) each holder leaves its name, which [`AzureMutex::inspect`] shows, and
//! those whose wait ends without the lock find in their error ([`Error::last_card`]). [`LockGuard::mark`] leaves a text for whoever comes
//! next. [`AzureMutex::break_lease`] frees a lock whose holder is known to be gone, and
//! [`break_lease_if_last`](AzureMutex::break_lease_if_last) does so only if it is still that holder's: see the
//! [guide](guide::who_has_it).
//!
//! # The `_` pitfall
//!
//! `let _ = locker.lock()?;` unlocks at once, because `_` keeps nothing. Write `let _guard = locker.lock()?;`, or
//! [`locker.with(|guard| ..)`](Locker::with), which also tells what became of the unlock.
//!
//! # Errors
//!
//! One [`Error`] for everything, with a [`kind`](Error::kind). Contention is an error, so that `?` does not run
//! past a lock that was not obtained. `Debug`, which `main` prints, reads as a sentence. The
//! [guide](guide::troubleshooting) has the cause and the cure of each text.
//!
//! # Credentials
//!
//! [`Container::from_env`] takes them from the environment, [`Container::from_connection_string`] from the portal's
//! text, [`Container::builder`] from a [`Credential`](credential::Credential). [`Container::development`] is the
//! emulator on this machine.
//!
//! For accounts that refuse keys there is Entra ID, with the feature `entra`: managed and workload identities, jobs of
//! GitHub Actions, service principals with a secret or a client certificate, and the Azure CLI; see
//! [`Credential::from_env`](credential::Credential::from_env) for the order in which the environment is searched.
//!
//! [`Locker::preflight`] says whether one can lock, and if not, what is in the way: for a program's own self-test.
//!
//! # Proxies
//!
//! Connections go through the proxy that `https_proxy`, `all_proxy` and `no_proxy` name, as for curl. The details, private
//! endpoints and private certificate authorities are in the [guide](guide::network).
//!
//! # Numbers
//!
//! | | default | set by |
//! | --- | --- | --- |
//! | lease | 30 s | [`Builder::lease`](locker::Builder::lease) |
//! | renewal | every third of it | [`Builder::renew_every`](locker::Builder::renew_every) |
//! | pauses while waiting | 100 ms to 1 s | [`Builder::pauses`](locker::Builder::pauses) |
//! | wait in drop | 2 s | [`Builder::drop_limit`](locker::Builder::drop_limit) |
//! | one request | 5 s | [`Policy::attempt_limit`](retry::Policy::attempt_limit) |
//! | retries of a call that does not wait | 3 | [`Policy::retries`](retry::Policy::retries) |
//! | patience of a wait without a limit | 30 s | [`Policy::patience`](retry::Policy::patience) |
//!
//! On the wire, a lock and its unlock are two requests if the blob exists, and five on an account where even the container
//! is missing. With [`fencing`](locker::Builder::fencing) or a card it is one or two more, and with fencing the lock of a
//! new blob, or of one that was written to within the same second without a token (as by a mark), takes up to a second
//! longer. Holding is a request every 9.5 s on average, waiting one every 0.83 s, nearly all of which are *reads*: see
//! [the bill](guide::speed). A thousand held locks were measured at 45 kB each, threads and connections
//! included.
//!
//! # Threads
//!
//! A lock that is waited for or held has one thread of its own, named `azmutex`, which may stay for a second after it, for the
//! next lock that the same caller's thread takes. One more, `azmutex-watchdog`, serves
//! the whole process while there is any; a [`Locker`] with an observer has another. A name look-up takes a thread for
//! as long as it lasts, and so does the fetch of a token.
//!
//! What Linux keeps of each thread (its network and mount namespaces, Landlock, seccomp, nice, scheduling class and CPUs), a
//! thread has from the one that started it: a lock's from the one that takes the lock, as it was then or up to a second
//! before; the watchdog from the first that took one. So take the first lock before such things change, or in a thread that
//! is as all should be: a watchdog of the lowest priority tells a loss late on a busy machine, though
//! [`is_held`](LockGuard::is_held) is true to the clock all the same.
//!
//! All types are [`Send`], and all but [`locker::Builder`] are [`Sync`]. That one holds the function for
//! [`on_event`](locker::Builder::on_event), which need not be; for the same reason it is not
//! [`UnwindSafe`](std::panic::UnwindSafe), which all others are but a service principal's settings that may hold a
//! function, too.
//!
//! A process that was forked from one that uses this crate must not use it before an `exec`; a guard or a lease of its
//! parent's is not held there. If the fork has the same pid in a pid namespace of its own, it may take 20 ms until that
//! is noticed, and it takes a `/proc`.
//!
//! # Differences from `std::sync::Mutex`
//!
//! - It guards no data, and it is not poisoned: a panic that unwinds through the guard releases it.
//! - It can be lost while it is held.
//! - Taking and releasing it can fail, which drop tells only to
//!   [`on_event`](locker::Builder::on_event).
//! - The guard may be sent to another thread.
//! - The threads of a process have it in the order in which they asked, and `try_lock` fails while one of them waits. For
//!   the sake of other processes, a loop that locks again and again pauses now and then: for 4 s after 40 s.
//!
//! # How to
//!
//! The [guide] has a page for each question: a [first lock](guide::first_lock), [waiting](guide::waiting) and Ctrl-C, what to
//! do [when it is lost](guide::losing), many [threads](guide::threads), [fencing](guide::fencing),
//! [credentials](guide::credentials) by platform, a cookbook for the [command line](guide::command_line), [logging](guide::events), [testing](guide::testing),
//! [troubleshooting](guide::troubleshooting), what a lock [costs](guide::speed), and [how it works](guide::how_it_works).
//!
//! # Features
//!
//! - `rustls` (default): https with the bundled Mozilla roots.
//! - `platform-verifier`: https with the operating system's trust store.
//! - `entra`: tokens of Entra ID instead of keys.
//! - `emulator`: an in-process Blob service on loopback, for the tests of code that takes locks.
//! - `list`: `Container::locks`, the locks of a container with their states.
//! - `cli`: the program `azmutex`, which runs a command under a lock. The library does without it.
//!
//! Without either of the first two, an https URL is an error that says so.
//!
//! # Dependencies
//!
//! HTTP is [ureq](https://docs.rs/ureq)'s: any version from 3.5.2 on and below 4, because Cargo lets a program have only
//! one ureq 3. azmutex bounds DNS look-ups and connections through a part of ureq that even its patch releases may
//! change, so it is also built and tested with the newest ureq. When a new one breaks it, a patch release of azmutex
//! that works with it follows within days. Until then, go back to the last version that worked:
//!
//! ```text
//! cargo update --package ureq --precise 3.5.2
//! ```
//!
//! No type of ureq's is in azmutex's API.
//!
//! # Testing your own code
//!
//! With the feature `emulator` (of a dev-dependency, say), `azmutex::emulator::Emulator::start()` is a Blob service
//! inside the test, on a port of its own. It needs no account, moves its clock on request, breaks or steals a lock
//! behind the holder's back, and fails as networks and services do: what a program does when its lock is lost can be
//! tested in no time.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cancel;
mod card;
mod clock;
mod connection_string;
pub mod container;
pub mod credential;
#[cfg(feature = "emulator")]
#[cfg_attr(docsrs, doc(cfg(feature = "emulator")))]
pub mod emulator;
mod environment;
mod error;
pub mod event;
mod fencing;
mod guard;
pub mod guide;
mod hold;
mod kept;
pub mod lease;
pub mod locker;
#[cfg(feature = "list")]
#[cfg_attr(docsrs, doc(cfg(feature = "list")))]
pub mod locks;
mod lost;
mod metadata;
mod mutex;
mod names;
mod notes;
pub mod preflight;
mod process;
mod question;
mod queue;
mod random;
mod redact;
mod renewal;
mod rest;
pub mod retry;
mod standing;
mod sync;
#[cfg(any(test, fuzzing))]
mod testing;
mod threads;
mod transport;
mod watchdog;
mod with;

pub use cancel::Cancel;
pub use container::Container;
pub use crossbeam_channel;
pub use error::{Error, ErrorKind, Result};
pub use guard::LockGuard;
pub use locker::Locker;
pub use mutex::AzureMutex;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use testing::fuzzing;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
