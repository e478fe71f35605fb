//! What the network does to the contenders' requests, one by one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::dice::{Deck, Dice};
use crate::support::http::Operation;
use crate::support::proxy::{Fault, FaultProxy, Kept};
use crate::tally::{Deed, Tally};

/// No request reaches the store later than this after it was sent. It is less than the shortest lease, or a packet of
/// a hold could outlast another hold.
pub(crate) const LATEST: Duration = Duration::from_secs(12);

const ILLS: [Deed; 13] = [
    Deed::DelayRequest,
    Deed::DelayAnswer,
    Deed::DeliverLate,
    Deed::ResetAndDeliverLate,
    Deed::Swallow,
    Deed::ResetBefore,
    Deed::ResetAfter,
    Deed::WithholdAnswer,
    Deed::Repeat,
    Deed::FailAfter,
    Deed::FailBefore,
    Deed::Replay,
    Deed::LateCopy,
];

/// The same for all proxies, so that each ill has its turn.
pub(crate) struct Network {
    tally: Arc<Mutex<Tally>>,
    state: Mutex<State>,
}

struct State {
    well: bool,
    deck: Deck<Deed>,
    dice: Dice,
}

impl Network {
    pub(crate) fn new(tally: Arc<Mutex<Tally>>, seed: u64) -> Arc<Network> {
        let state = State { well: false, deck: Deck::of(&ILLS), dice: Dice::new(seed) };
        Arc::new(Network { tally, state: Mutex::new(state) })
    }

    /// A way to the store on which this network's ills happen.
    pub(crate) fn way_to(self: &Arc<Network>, port: u16) -> FaultProxy {
        let network = Arc::clone(self);
        FaultProxy::choosing(port, move |operation, kept| network.choose(operation, kept))
    }

    /// No more ills.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).well = true;
    }

    fn choose(&self, operation: Operation, kept: &Kept) -> Option<Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { well, deck, dice } = &mut *state;
        // There are many more looks than anything else, and they change nothing.
        let rarity = if operation == Operation::Look { 20 } else { 4 };
        if *well || !dice.one_in(rarity) {
            return None;
        }
        // Most requests that meet an ill could not meet this one, so it is none of the deck.
        let is_stale = operation == Operation::Look && kept.has_leased() && dice.one_in(4);
        let ill = if is_stale { Deed::StaleLook } else { deck.deal(dice) };
        if ill == Deed::Replay && !kept.has_answer_to(operation) {
            deck.put_back(ill);
            return None;
        }
        let fault = match ill {
            Deed::DelayRequest => Fault::DelayRequest(dice.millis(50, 4_500)),
            Deed::DelayAnswer => Fault::DelayAnswer(dice.millis(50, 4_500)),
            // The client has given up after 5 s.
            Deed::DeliverLate => Fault::DelayRequest(dice.millis(5_500, 11_500)),
            Deed::ResetAndDeliverLate => Fault::Late(dice.millis(100, 11_500)),
            Deed::Swallow => Fault::BlackHole,
            Deed::ResetBefore => Fault::ResetBefore,
            Deed::ResetAfter => Fault::ResetAfter,
            Deed::WithholdAnswer => Fault::Withhold,
            Deed::Repeat if dice.one_in(2) => Fault::RepeatFirst,
            Deed::Repeat => Fault::Repeat,
            Deed::FailAfter => Fault::AppliedThen(500, Vec::new()),
            Deed::Replay => Fault::Replay { forwarded: dice.one_in(2) },
            Deed::LateCopy => Fault::LateCopy(dice.millis(1, 2_000)),
            Deed::StaleLook => Fault::StaleLook,
            _ => Fault::Status(503, Vec::new()),
        };
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(ill);
        Some(fault)
    }
}
