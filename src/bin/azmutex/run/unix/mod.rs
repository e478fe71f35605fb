//! On other Unix systems, all that the command starts is in its process group, unless it leaves that.

mod census;
mod enclosure;
mod warden;

#[cfg(not(target_os = "linux"))]
pub(crate) use census::ancestors;
#[cfg(not(target_os = "linux"))]
pub(super) use enclosure::{Enclosure, Group};
#[cfg(not(target_os = "linux"))]
pub(crate) use warden::{play, role};
