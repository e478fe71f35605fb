//! What a `Lease` knows between the calls about it.

use std::time::Duration;

use crate::clock::Moment;
use crate::fencing::Second;
use crate::lease::Lost;

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) valid_until: Moment,
    /// When the service frees it by itself, at the earliest.
    pub(crate) ends: Moment,
    /// A release was tried, and may have been carried out or still be on its way: there is no way back.
    pub(crate) let_go: bool,
    /// A release without an answer may have been carried out.
    pub(crate) perhaps_released: bool,
    pub(crate) released: bool,
    pub(crate) lost: Option<Lost>,
    /// When it was taken, by the service's clock.
    pub(crate) since: Option<Second>,
}

impl Kept {
    pub(crate) fn new(valid_until: Moment, ends: Moment) -> Kept {
        Kept { valid_until, ends, let_go: false, perhaps_released: false, released: false, lost: None, since: None }
    }

    /// Why nothing more can be done with it, if nothing can.
    pub(crate) fn gone(&self) -> Option<Lost> {
        self.lost.or(self.let_go.then_some(Lost::Released))
    }

    /// How much longer it is ours.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        if self.let_go || self.lost.is_some() { Duration::ZERO } else { self.valid_until.left(now) }
    }
}
