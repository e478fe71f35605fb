//! Guide.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod connection_string;
pub mod container;
pub mod credential;
mod error;
pub mod event;
mod guard;
mod hold;
pub mod lease;
pub mod locker;
mod mutex;
mod renewal;
mod rest;
pub mod retry;
mod transport;
mod watchdog;

pub use container::Container;
pub use crossbeam_channel;
pub use error::{Error, ErrorKind, Result};
pub use guard::LockGuard;
pub use locker::{Cancel, Locker};
pub use mutex::AzureMutex;

/// The README's code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
