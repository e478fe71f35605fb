//! How to do what people do with locks: pages to read, with programs that were run.
//!
//! - [Fencing](fencing): how a file, a database or a blob refuses a holder that comes too late.
//! - [Leaders](leaders): one of many processes leads, and another when it is gone.
//! - [Migration](migration): Ctrl-C while a lock is waited for, and while it is held.
//! - [Who has it](who_has_it): what an operator sees, and how a lock is freed safely.
//! - [Threads](threads): many of one process want the same lock, and other processes, too.
//! - [Speed](speed): what a lock costs, in requests and on the bill.
//! - [Runtimes](runtimes): for programs that are asynchronous.

#[doc = include_str!("guide/fencing.md")]
pub mod fencing {}

// The programs with signals need `signal-hook`, which is there for the command line.
#[doc = include_str!("guide/leaders.md")]
#[cfg_attr(all(unix, feature = "cli"), doc = "```no_run")]
#[cfg_attr(not(all(unix, feature = "cli")), doc = "```ignore")]
#[doc = include_str!("guide/leader.rs")]
#[doc = "```"]
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
pub mod runtimes {}
