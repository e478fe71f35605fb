//! What the journals say together, and what must not be found in it.
//!
//! A yes was said at some instant between the two times that were noted around it, however long the process was
//! stopped in between. Since a lock that was lost stays lost, its holder would have been told yes at each instant
//! from the second time of its first yes to the first time of its last one: that is the interval in which it
//! *certainly* held. Two of them that overlap are two holders at a time, and a process that was stopped between an
//! answer and its note only makes its interval shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::journal::{Event, Left, Line, Reader, Time};
use crate::round;

/// One process's holding of its lock.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) lease_id: String,
    pub(crate) lease: Duration,
    pub(crate) asked: Time,
    first: Option<(Time, Time)>,
    last: Option<(Time, Time)>,
    pub(crate) left: Option<Time>,
    pub(crate) end: Option<End>,
}

/// How a hold ended for its holder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Left(Time, Left),
    Lost(Time, String),
}

impl End {
    pub(crate) fn at(&self) -> Time {
        match self {
            End::Left(at, _) | End::Lost(at, _) => *at,
        }
    }

    /// Whether the holder was told that it had not been alone, or could not let go.
    pub(crate) fn is_bad(&self) -> bool {
        !matches!(self, End::Left(_, Left::Released | Left::Dropped))
    }
}

impl Hold {
    /// When it certainly held; the second time is before the first if there is no such interval.
    pub(crate) fn certain(&self) -> Option<(Time, Time)> {
        Some((self.first?.1, self.last?.0))
    }

    /// Whether its first yes was not said before that time.
    pub(crate) fn began_after(&self, time: Time) -> bool {
        self.first.is_some_and(|(before, _)| before >= time)
    }

    /// Whether both were told yes at one time, whenever exactly they were told.
    fn overlaps(&self, other: &Hold) -> bool {
        match (self.certain(), other.certain()) {
            (Some((from, to)), Some((other_from, other_to))) => to > other_from && other_to > from,
            _ => false,
        }
    }

    /// Whether it is neither lost nor being let go.
    pub(crate) fn is_on(&self) -> bool {
        self.left.is_none() && self.end.is_none()
    }
}

/// One process's journal.
pub(crate) struct Record {
    path: PathBuf,
    reader: Reader,
    pub(crate) lock: usize,
    asked: Option<Time>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) misses: Vec<(Time, String)>,
    intended: Option<u64>,
    /// Of whose writing nothing is known: the process was killed then, or had no answer.
    pub(crate) perhaps_written: Vec<u64>,
    pub(crate) written: Vec<u64>,
    pub(crate) refused: u64,
}

impl Record {
    pub(crate) fn of(path: PathBuf, lock: usize) -> Record {
        Record {
            path,
            reader: Reader::new(),
            lock,
            asked: None,
            holds: Vec::new(),
            misses: Vec::new(),
            intended: None,
            perhaps_written: Vec::new(),
            written: Vec::new(),
            refused: 0,
        }
    }

    /// What has been written since the last call.
    pub(crate) fn read(&mut self) {
        for line in self.reader.read(&self.path).unwrap() {
            self.add(line);
        }
    }

    /// No more will come.
    pub(crate) fn close(&mut self) {
        self.read();
        self.perhaps_written.extend(self.intended.take());
    }

    fn add(&mut self, line: Line) {
        match line.event {
            Event::Asks { at } => self.asked = Some(at),
            Event::Misses { at, why } => self.misses.push((at, why)),
            Event::Granted { lease_id, lease } => {
                let asked = self.asked.expect("who has a lock has asked for it");
                self.holds.push(Hold { lease_id, lease, asked, first: None, last: None, left: None, end: None });
            }
            Event::Yes { before, after } => {
                let hold = self.hold();
                hold.first.get_or_insert((before, after));
                hold.last = Some((before, after));
            }
            Event::Lost { at, why } => self.hold().end = Some(End::Lost(at, why)),
            Event::Leaves { at } => self.hold().left = Some(at),
            Event::Left { at, how } => {
                let hold = self.hold();
                hold.end.get_or_insert(End::Left(at, how));
            }
            Event::Intends { number } => self.perhaps_written.extend(self.intended.replace(number)),
            Event::Wrote { number } => {
                self.intended = None;
                self.written.push(number);
            }
            Event::Refused { .. } => {
                self.intended = None;
                self.refused += 1;
            }
        }
    }

    fn hold(&mut self) -> &mut Hold {
        self.holds.last_mut().expect("a hold begins with its grant")
    }

    pub(crate) fn lock_name(&self) -> String {
        round::name(self.lock)
    }

    /// The hold that it is in the middle of, as far as is known.
    pub(crate) fn holding(&self) -> Option<&Hold> {
        self.holds.last().filter(|hold| hold.is_on())
    }
}

/// Each pair of holds in which both were told yes at one time.
pub(crate) fn overlaps<'a>(holds: &[&'a Hold]) -> Vec<(&'a Hold, &'a Hold)> {
    let mut found = Vec::new();
    for (i, one) in holds.iter().enumerate() {
        found.extend(holds[..i].iter().filter(|other| one.overlaps(other)).map(|other| (*other, *one)));
    }
    found
}

/// Whether the writers saw each other's writes: then each number from 1 to the last was written once. One of a writer
/// that was killed may be among them or not.
pub(crate) fn check_number(last: u64, records: &[&Record]) -> Result<(), String> {
    let mut written: BTreeMap<u64, usize> = BTreeMap::new();
    for number in records.iter().flat_map(|record| &record.written) {
        *written.entry(*number).or_default() += 1;
    }
    let perhaps: BTreeSet<u64> = records.iter().flat_map(|record| record.perhaps_written.iter().copied()).collect();
    if let Some((number, times)) = written.iter().find(|(_, times)| **times > 1) {
        return Err(format!("{number} was written {times} times, so that an update was lost"));
    }
    if let Some((number, _)) = written.range(last + 1..).next() {
        return Err(format!("{number} was written, and {last} is what is left"));
    }
    let missing = (1..=last).find(|number| !written.contains_key(number) && !perhaps.contains(number));
    match missing {
        Some(number) => Err(format!("nobody wrote {number} of {last}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hold with a yes in each of these intervals.
    fn hold(yes: &[(u64, u64)]) -> Hold {
        let time = |&(before, after): &(u64, u64)| (Time::at(before), Time::at(after));
        Hold {
            lease_id: String::new(),
            lease: Duration::ZERO,
            asked: Time::at(0),
            first: yes.first().map(time),
            last: yes.last().map(time),
            left: None,
            end: None,
        }
    }

    fn meet(one: &[(u64, u64)], other: &[(u64, u64)]) -> bool {
        let (one, other) = (hold(one), hold(other));
        assert_eq!(overlaps(&[&one, &other]).len(), overlaps(&[&other, &one]).len());
        !overlaps(&[&one, &other]).is_empty()
    }

    #[test]
    fn two_holders_at_a_time_are_found() {
        assert!(meet(&[(0, 1), (10, 11)], &[(5, 6), (20, 21)]));
        assert!(meet(&[(0, 1), (30, 31)], &[(5, 6), (20, 21)]));
        assert!(meet(&[(0, 1), (30, 31)], &[(5, 6)]), "one yes amid those of another");
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        assert!(!meet(&[(0, 1), (10, 11)], &[(12, 13), (20, 21)]));
    }

    #[test]
    fn a_process_that_was_stopped_before_its_note_is_no_overlap() {
        assert!(!meet(&[(0, 1), (10, 30)], &[(12, 13), (20, 21)]), "at its last yes");
        assert!(!meet(&[(0, 30)], &[(12, 13), (20, 21)]), "at its only one");
        assert!(!meet(&[(0, 15), (20, 21)], &[(2, 3), (14, 16)]), "both");
    }

    fn record(written: &[u64], perhaps: &[u64]) -> Record {
        Record { written: written.to_vec(), perhaps_written: perhaps.to_vec(), ..Record::of(PathBuf::new(), 0) }
    }

    #[test]
    fn a_lost_update_is_found() {
        assert!(check_number(3, &[&record(&[1, 2], &[]), &record(&[2, 3], &[])]).is_err(), "written over");
        assert!(check_number(2, &[&record(&[1, 2], &[]), &record(&[3], &[])]).is_err(), "taken back");
        assert!(check_number(3, &[&record(&[1], &[]), &record(&[3], &[])]).is_err(), "out of nothing");
    }

    #[test]
    fn who_was_killed_in_the_middle_may_have_written_or_not() {
        assert_eq!(check_number(3, &[&record(&[1], &[2]), &record(&[3], &[])]), Ok(()));
        assert_eq!(check_number(3, &[&record(&[1], &[2]), &record(&[2, 3], &[4])]), Ok(()));
    }
}
