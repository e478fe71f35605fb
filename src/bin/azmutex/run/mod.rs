//! A command under a lock.

pub(crate) mod ancestry;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
mod lock;
mod once;
mod times;
#[cfg(all(unix, any(test, not(target_os = "linux"))))]
#[cfg_attr(target_os = "linux", allow(dead_code))] // it is tested here, too
pub(crate) mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::run;
#[cfg(target_os = "linux")]
pub(crate) use linux::run;
pub(crate) use lock::obtain;

/// Who started this process, and who started that, and so on.
#[cfg(target_os = "linux")]
pub(crate) use linux::ancestors;
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use unix::ancestors;
#[cfg(windows)]
pub(crate) use windows::ancestors;
