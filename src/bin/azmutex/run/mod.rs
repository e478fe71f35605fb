//! A command under a lock.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
mod group;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
mod lock;
mod once;
mod times;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::run;
#[cfg(target_os = "linux")]
pub(crate) use linux::run;
pub(crate) use lock::obtain;
