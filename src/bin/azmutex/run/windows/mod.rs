//! On Windows, all that the command starts is in a job, which nothing leaves.

mod enclosure;
mod processes;
mod search;

pub(super) use enclosure::{Enclosure, Group};
pub(crate) use processes::ancestors;
