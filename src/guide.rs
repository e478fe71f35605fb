//! How to do what people do with locks: pages to read, with programs that were run.
//!
//! Begin:
//!
//! - [First lock](first_lock): from nothing to a lock, and three mistakes.
//! - [Waiting](waiting): how long, giving up, and Ctrl-C.
//! - [Losing](losing): when the lock is lost, in a loop, in threads, in a transaction.
//! - [Fencing](fencing): how a file, a database or a blob refuses a holder that comes too late.
//! - [Credentials](credentials): by platform, with roles and least rights.
//!
//! Do:
//!
//! - [Command line](command_line): cron, CI, Kubernetes, systemd, deployments.
//! - [Migration](migration): a whole program that Ctrl-C ends well.
//! - [Leaders](leaders): one of many processes leads, and another when it is gone.
//! - [Threads](threads): many of one process want the same lock, and other processes, too.
//! - [Speed](speed): what a lock costs, in requests and on the bill.
//! - [Runtimes](runtimes): for programs that are asynchronous.
//! - [Testing](testing): losing a lock in a test, without an account and without waiting.
//!
//! Run:
//!
//! - [Who has it](who_has_it): what an operator sees, and how a lock is freed safely.
//! - [Logging and events](events): to `log`, `tracing`, JSON lines and a metric.
//! - [Network](network): proxies, private endpoints, firewalls, other clouds.
//! - [Platforms](platforms): what holds on which system, and how the program gets into a container.
//! - [Troubleshooting](troubleshooting): each error text, its cause and its cure.
//!
//! Judge:
//!
//! - [How it works](how_it_works): the deadline, the life of a hold, and the words.
//! - [Evidence](evidence): what is proven, by what, and how to run it again.
//! - [Coming from](coming_from) go-azuremutex, DistributedLock, or a lock that is not on Azure.

#[doc = include_str!("guide/first_lock.md")]
pub mod first_lock {}

#[doc = include_str!("guide/waiting.md")]
#[doc(alias("timeout", "ctrl-c", "signal"))]
pub mod waiting {}

#[doc = include_str!("guide/losing.md")]
pub mod losing {}

#[doc = include_str!("guide/fencing.md")]
pub mod fencing {}

#[doc = include_str!("guide/credentials.md")]
#[doc(alias("managed identity", "AKS", "role", "SAS"))]
pub mod credentials {}

// tests/cli/guide.rs runs what a shell, cron, systemd or a container would.
#[doc = include_str!("guide/command_line.md")]
pub mod command_line {}

// The programs with signals need `signal-hook`, which is there for the command line.
#[doc = include_str!("guide/leaders.md")]
#[cfg_attr(all(unix, feature = "cli"), doc = "```no_run")]
#[cfg_attr(not(all(unix, feature = "cli")), doc = "```ignore")]
#[doc = include_str!("guide/leader.rs")]
#[doc = "```"]
#[doc(alias("leader election", "campaign"))]
pub mod leaders {}

#[doc = include_str!("guide/migration.md")]
#[cfg_attr(all(unix, feature = "cli"), doc = "```no_run")]
#[cfg_attr(not(all(unix, feature = "cli")), doc = "```ignore")]
#[doc = include_str!("guide/migration.rs")]
#[doc = "```"]
pub mod migration {}

#[doc = include_str!("guide/who_has_it.md")]
pub mod who_has_it {}

#[doc = include_str!("guide/threads.md")]
pub mod threads {}

#[doc = include_str!("guide/speed.md")]
pub mod speed {}

// It needs a runtime, which this crate does not depend on: tests/tokio runs it.
#[doc = include_str!("guide/runtimes.md")]
#[doc = "```ignore"]
#[doc = include_str!("guide/tokio.rs")]
#[doc = "```"]
#[doc(alias("tokio", "async"))]
pub mod runtimes {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

// It needs crates that this one does not depend on: tests/tokio runs it.
#[doc = include_str!("guide/events.md")]
#[doc = "```ignore"]
#[doc = include_str!("guide/events.rs")]
#[doc = "```"]
#[doc(alias("log", "tracing", "metrics"))]
pub mod events {}

#[doc = include_str!("guide/network.md")]
#[doc(alias("proxy", "private endpoint", "firewall"))]
pub mod network {}

#[doc = include_str!("guide/troubleshooting.md")]
#[doc(alias("error"))]
pub mod troubleshooting {}

// src/hold/tests/picture.rs compares the picture of a hold with the code.
#[doc = include_str!("guide/how_it_works/lease.md")]
#[doc = include_str!("guide/how_it_works/deadline.svg")]
#[doc = include_str!("guide/how_it_works/deadline.md")]
#[doc = include_str!("guide/how_it_works/hold.svg")]
#[doc = include_str!("guide/how_it_works/hold.md")]
pub mod how_it_works {}

#[doc = include_str!("guide/evidence.md")]
pub mod evidence {}

#[doc = include_str!("guide/coming_from.md")]
#[doc(alias("go-azuremutex", "DistributedLock", "flock", "semaphore", "consul"))]
pub mod coming_from {}

#[doc = include_str!("guide/platforms.md")]
pub mod platforms {}
