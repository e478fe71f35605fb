//! What the holder is told when it asks.

use super::*;

#[test]
fn the_standing_is_lost_at_its_deadline_and_stays_lost() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.check(at(10 * S - Duration::from_nanos(1))), Ok(at(10 * S)));
    assert_eq!(standing.check(at(10 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(start()), Err(Lost::Expired), "even if that clock went back");
    assert_eq!(standing.extend(start(), at(40 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(start()), Err(Lost::Expired));
}

#[test]
fn the_standing_is_extended_in_time_only() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.extend(at(9 * S), at(20 * S)), Ok(()));
    assert_eq!(standing.check(at(19 * S)), Ok(at(20 * S)));
    // Nobody asked in between, but somebody could have.
    assert_eq!(standing.extend(at(20 * S), at(40 * S)), Err(Lost::Expired));
    assert_eq!(standing.check(at(21 * S)), Err(Lost::Expired));
}

#[test]
fn the_first_reason_of_a_loss_stays() {
    let mut standing = Standing::new(at(10 * S));
    assert_eq!(standing.lose(Lost::Broken), Lost::Broken);
    assert_eq!(standing.lose(Lost::Taken), Lost::Broken);
    assert_eq!(standing.extend(start(), at(40 * S)), Err(Lost::Broken));
    assert_eq!(standing.check(at(60 * S)), Err(Lost::Broken));
}
