//! The guide's picture of a hold's life shows what the code does.

use std::collections::BTreeSet;

use super::anything::Walk;
use super::*;

impl Hold {
    /// As the picture calls it.
    pub(super) fn state_name(&self) -> String {
        let state = format!("{:?}", self.state);
        state.split_once('(').map_or(state.as_str(), |(name, _)| name).to_owned()
    }
}

/// What the picture shows: each arrow is marked `data-way="From To"`.
fn drawn() -> BTreeSet<(String, String)> {
    let picture = include_str!("../../guide/how_it_works/hold.svg");
    let ways = picture.split("data-way=\"").skip(1).filter_map(|rest| rest.split_once('"')?.0.split_once(' '));
    ways.map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
}

#[test]
fn the_picture_has_each_way_from_state_to_state_and_no_other() {
    let mut walked = BTreeSet::new();
    for seed in 0..4_000 {
        let mut walk = Walk::new(seed);
        walk.run();
        // Single calls about a lease are no whole life.
        if !walk.once {
            walked.extend(std::mem::take(&mut walk.ways));
        }
    }
    assert_eq!(walked, drawn());
    let picture = include_str!("../../guide/how_it_works/hold.svg");
    let states: BTreeSet<_> = walked.iter().flat_map(|(from, to)| [from, to]).collect();
    assert!(states.iter().all(|state| picture.contains(&format!(">{state}</text>"))), "{states:?}");
}
