//! What the threads of a lock share: locks, channels and threads themselves.
//!
//! In tests built with `--cfg shuttle` they are a model's, which tries their interleavings out one after the other.

#[cfg(not(all(test, shuttle)))]
pub(crate) use crossbeam_channel as channel;
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::thread;

#[cfg(all(test, shuttle))]
pub(crate) use crate::testing::model::{Condvar, Mutex, MutexGuard, channel, thread};
