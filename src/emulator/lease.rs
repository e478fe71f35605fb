//! The lease of one blob: a value that is told the time.
//! [Lease Blob](https://learn.microsoft.com/rest/api/storageservices/lease-blob), "Outcomes of lease operations".

use std::time::Duration;

use super::clock::Moment;
use super::code::Code;
use super::guid::Guid;

/// `None` is an infinite one.
pub(super) type Term = Option<Duration>;

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lease {
    #[default]
    Available,
    Leased {
        id: Guid,
        term: Term,
        since: Moment,
    },
    Expired {
        id: Guid,
        term: Term,
    },
    Breaking {
        id: Guid,
        until: Moment,
    },
    Broken {
        id: Guid,
    },
}

impl Lease {
    /// What the passing of time has made of it.
    pub(super) fn at(self, now: Moment) -> Lease {
        match self {
            Lease::Leased { id, term: Some(term), since } if now >= since.saturating_add(term) => {
                Lease::Expired { id, term: Some(term) }
            }
            Lease::Breaking { id, until } if now >= until => Lease::Broken { id },
            other => other,
        }
    }

    /// An id that was not proposed is a new one, and so no holder's.
    pub(super) fn acquire(&mut self, now: Moment, id: Guid, term: Term) -> Result<(), Code> {
        match self.at(now) {
            Lease::Leased { id: holder, .. } if holder != id => Err(Code::LeaseAlreadyPresent),
            Lease::Breaking { id: holder, .. } if holder != id => Err(Code::LeaseAlreadyPresent),
            Lease::Breaking { .. } => Err(Code::LeaseIsBreakingAndCannotBeAcquired),
            _ => {
                *self = Lease::Leased { id, term, since: now };
                Ok(())
            }
        }
    }

    /// An expired lease can be renewed for as long as nobody has leased or changed the blob.
    pub(super) fn renew(&mut self, now: Moment, id: Guid) -> Result<(), Code> {
        match self.at(now) {
            Lease::Leased { id: holder, term, .. } | Lease::Expired { id: holder, term } if holder == id => {
                *self = Lease::Leased { id, term, since: now };
                Ok(())
            }
            Lease::Breaking { id: holder, .. } | Lease::Broken { id: holder } if holder == id => {
                Err(Code::LeaseIsBrokenAndCannotBeRenewed)
            }
            _ => Err(Code::LeaseIdMismatchWithLeaseOperation),
        }
    }

    /// Again, with the answer lost the first time, it is no error.
    pub(super) fn change(&mut self, now: Moment, id: Guid, proposed: Guid) -> Result<(), Code> {
        match self.at(now) {
            Lease::Leased { id: holder, term, since } if holder == id || holder == proposed => {
                *self = Lease::Leased { id: proposed, term, since };
                Ok(())
            }
            Lease::Breaking { id: holder, .. } if holder == id => Err(Code::LeaseIsBreakingAndCannotBeChanged),
            Lease::Leased { .. } | Lease::Breaking { .. } => Err(Code::LeaseIdMismatchWithLeaseOperation),
            _ => Err(Code::LeaseNotPresentWithLeaseOperation),
        }
    }

    pub(super) fn release(&mut self, now: Moment, id: Guid) -> Result<(), Code> {
        match self.at(now) {
            Lease::Leased { id: holder, .. }
            | Lease::Expired { id: holder, .. }
            | Lease::Breaking { id: holder, .. }
            | Lease::Broken { id: holder }
                if holder == id =>
            {
                *self = Lease::Available;
                Ok(())
            }
            _ => Err(Code::LeaseIdMismatchWithLeaseOperation),
        }
    }

    /// How long until another lease can be had. A period can shorten what is left, and never lengthens it.
    pub(super) fn break_within(&mut self, now: Moment, period: Option<Duration>) -> Result<Duration, Code> {
        let (id, left) = match self.at(now) {
            Lease::Available => return Err(Code::LeaseNotPresentWithLeaseOperation),
            Lease::Leased { id, term: Some(term), since } => {
                let left = since.saturating_add(term).saturating_sub(now);
                (id, period.map_or(left, |period| period.min(left)))
            }
            Lease::Leased { id, term: None, .. } => (id, period.unwrap_or_default()),
            Lease::Breaking { id, until } => {
                let left = until.saturating_sub(now);
                (id, period.map_or(left, |period| period.min(left)))
            }
            Lease::Expired { id, .. } | Lease::Broken { id } => (id, Duration::ZERO),
        };
        *self = Lease::Breaking { id, until: now.saturating_add(left) }.at(now);
        Ok(left)
    }

    /// Whether a request that changes the blob, or one that reads it and names a lease, may go on.
    pub(super) fn allows(self, now: Moment, id: Option<Guid>) -> Result<(), Code> {
        match (self.at(now), id) {
            (Lease::Leased { id: holder, .. } | Lease::Breaking { id: holder, .. }, Some(id)) if holder == id => Ok(()),
            (Lease::Leased { .. } | Lease::Breaking { .. }, Some(_)) => Err(Code::LeaseIdMismatchWithBlobOperation),
            (Lease::Leased { .. } | Lease::Breaking { .. }, None) => Err(Code::LeaseIdMissing),
            (_, Some(_)) => Err(Code::LeaseNotPresentWithBlobOperation),
            (_, None) => Ok(()),
        }
    }

    /// The blob was changed. A lease that was over cannot be renewed any more.
    pub(super) fn written(&mut self, now: Moment) {
        if !self.at(now).is_locked() {
            *self = Lease::Available;
        }
    }

    fn is_locked(self) -> bool {
        matches!(self, Lease::Leased { .. } | Lease::Breaking { .. })
    }

    /// `x-ms-lease-status`
    pub(super) fn status(self, now: Moment) -> &'static str {
        if self.at(now).is_locked() { "locked" } else { "unlocked" }
    }

    /// `x-ms-lease-state`
    pub(super) fn state(self, now: Moment) -> &'static str {
        match self.at(now) {
            Lease::Available => "available",
            Lease::Leased { .. } => "leased",
            Lease::Expired { .. } => "expired",
            Lease::Breaking { .. } => "breaking",
            Lease::Broken { .. } => "broken",
        }
    }

    /// `x-ms-lease-duration`
    pub(super) fn duration(self, now: Moment) -> Option<&'static str> {
        match self.at(now) {
            Lease::Leased { term: Some(_), .. } => Some("fixed"),
            Lease::Leased { term: None, .. } => Some("infinite"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Code::*;
    use super::*;

    const START: Moment = Duration::from_secs(1000);
    const TERM: Duration = Duration::from_secs(15);
    const EXPIRED: Moment = Duration::from_secs(1015);
    const BREAK: Duration = Duration::from_secs(5);

    fn a() -> Guid {
        Guid::parse("aaaaaaaa-0000-0000-0000-000000000000").unwrap()
    }

    fn b() -> Guid {
        Guid::parse("bbbbbbbb-0000-0000-0000-000000000000").unwrap()
    }

    fn leased(id: Guid) -> Lease {
        Lease::Leased { id, term: Some(TERM), since: START }
    }

    fn breaking(seconds: u64) -> Lease {
        Lease::Breaking { id: a(), until: START + Duration::from_secs(seconds) }
    }

    fn broken() -> Lease {
        Lease::Broken { id: a() }
    }

    /// The five columns of the reference's tables, at [`START`].
    fn states() -> [Lease; 5] {
        [Lease::Available, leased(a()), breaking(5), broken(), Lease::Expired { id: a(), term: Some(TERM) }]
    }

    type Step = fn(&mut Lease) -> Result<(), Code>;
    type Row = (&'static str, Step, [Result<Lease, Code>; 5]);

    #[test]
    fn every_operation_has_its_outcome_in_every_state() {
        let to_a: Result<Lease, Code> = Ok(leased(a()));
        let to_b = Ok(leased(b()));
        let free = Ok(Lease::Available);
        let [available, leased_a, breaking_a, broken_a, expired_a] = states();
        let present = Err(LeaseAlreadyPresent);
        let mismatch = Err(LeaseIdMismatchWithLeaseOperation);
        let unbreakable = Err(LeaseNotPresentWithLeaseOperation);
        let unrenewable = Err(LeaseIsBrokenAndCannotBeRenewed);
        let unwritable = Err(LeaseNotPresentWithBlobOperation);
        let wrong = Err(LeaseIdMismatchWithBlobOperation);
        let missing = Err(LeaseIdMissing);

        let table: [Row; 16] = [
            (
                "acquire A",
                |lease| lease.acquire(START, a(), Some(TERM)),
                [to_a, to_a, Err(LeaseIsBreakingAndCannotBeAcquired), to_a, to_a],
            ),
            (
                "acquire B, or with a new id",
                |lease| lease.acquire(START, b(), Some(TERM)),
                [to_b, present, present, to_b, to_b],
            ),
            ("renew A", |lease| lease.renew(START, a()), [mismatch, to_a, unrenewable, unrenewable, to_a]),
            ("renew B", |lease| lease.renew(START, b()), [mismatch; 5]),
            ("release A", |lease| lease.release(START, a()), [mismatch, free, free, free, free]),
            ("release B", |lease| lease.release(START, b()), [mismatch; 5]),
            (
                "change A to B",
                |lease| lease.change(START, a(), b()),
                [unbreakable, to_b, Err(LeaseIsBreakingAndCannotBeChanged), unbreakable, unbreakable],
            ),
            (
                "change B to A",
                |lease| lease.change(START, b(), a()),
                [unbreakable, to_a, mismatch, unbreakable, unbreakable],
            ),
            (
                "break",
                |lease| lease.break_within(START, None).map(drop),
                [unbreakable, Ok(breaking(15)), Ok(breaking(5)), Ok(broken()), Ok(broken())],
            ),
            (
                "break at once",
                |lease| lease.break_within(START, Some(Duration::ZERO)).map(drop),
                [unbreakable, Ok(broken()), Ok(broken()), Ok(broken()), Ok(broken())],
            ),
            (
                "break within less than is left",
                |lease| lease.break_within(START, Some(Duration::from_secs(3))).map(drop),
                [unbreakable, Ok(breaking(3)), Ok(breaking(3)), Ok(broken()), Ok(broken())],
            ),
            (
                "break within more than is left",
                |lease| lease.break_within(START, Some(Duration::from_secs(60))).map(drop),
                [unbreakable, Ok(breaking(15)), Ok(breaking(5)), Ok(broken()), Ok(broken())],
            ),
            (
                "write with A",
                |lease| lease.allows(START, Some(a())).map(|()| lease.written(START)),
                [unwritable, Ok(leased_a), Ok(breaking_a), unwritable, unwritable],
            ),
            (
                "write with B",
                |lease| lease.allows(START, Some(b())).map(|()| lease.written(START)),
                [unwritable, wrong, wrong, unwritable, unwritable],
            ),
            (
                "write",
                |lease| lease.allows(START, None).map(|()| lease.written(START)),
                [free, missing, missing, free, free],
            ),
            ("nothing", |_| Ok(()), [Ok(available), Ok(leased_a), Ok(breaking_a), Ok(broken_a), Ok(expired_a)]),
        ];
        for (operation, step, expected) in table {
            for (state, expected) in states().into_iter().zip(expected) {
                let mut lease = state;
                let outcome = step(&mut lease);
                assert_eq!(outcome.map(|()| lease), expected, "{operation}, {state:?}");
                if outcome.is_err() {
                    assert_eq!(lease, state, "{operation}, {state:?}: refused, and changed all the same");
                }
            }
        }
    }

    #[test]
    fn time_ends_leases_and_breaks_to_the_moment() {
        let before = EXPIRED - Duration::from_nanos(1);
        assert_eq!(leased(a()).at(before), leased(a()));
        assert_eq!(leased(a()).at(EXPIRED), Lease::Expired { id: a(), term: Some(TERM) });
        assert_eq!(breaking(15).at(before), breaking(15));
        assert_eq!(breaking(15).at(EXPIRED), broken());
        let infinite = Lease::Leased { id: a(), term: None, since: START };
        assert_eq!(infinite.at(Moment::MAX), infinite);
    }

    #[test]
    fn a_renewal_starts_the_term_that_was_acquired_again() {
        let mut lease = leased(a());
        let late = EXPIRED + TERM;
        lease.renew(late, a()).unwrap();
        assert_eq!(lease.state(late + TERM - Duration::from_nanos(1)), "leased");
        assert_eq!(lease.state(late + TERM), "expired");
    }

    #[test]
    fn acquiring_again_changes_the_term() {
        let mut lease = leased(a());
        lease.acquire(START, a(), None).unwrap();
        assert_eq!(lease.duration(Moment::MAX), Some("infinite"));
        lease.acquire(START, a(), Some(2 * TERM)).unwrap();
        assert_eq!(lease.state(EXPIRED), "leased");
        assert_eq!(lease.state(EXPIRED + TERM), "expired");
    }

    #[test]
    fn a_change_of_the_id_leaves_the_time_alone() {
        let mut lease = leased(a());
        lease.change(START + BREAK, a(), b()).unwrap();
        lease.change(START + BREAK, a(), b()).expect("the same again");
        assert_eq!(lease.state(EXPIRED), "expired");
    }

    #[test]
    fn a_break_tells_how_long_it_takes() {
        let now = START + Duration::from_secs(4);
        let told = |mut lease: Lease, period| lease.break_within(now, period).map(|left| left.as_secs());
        let infinite = Lease::Leased { id: a(), term: None, since: START };
        assert_eq!(told(leased(a()), None), Ok(11));
        assert_eq!(told(leased(a()), Some(BREAK)), Ok(5));
        assert_eq!(told(infinite, None), Ok(0));
        assert_eq!(told(infinite, Some(BREAK)), Ok(5));
        assert_eq!(told(breaking(5), None), Ok(1));
        assert_eq!(told(breaking(5), Some(BREAK)), Ok(1));
        assert_eq!(told(broken(), Some(BREAK)), Ok(0));
    }

    #[test]
    fn a_late_renewal_fails_once_somebody_has_written_or_leased() {
        let mut written = leased(a());
        written.written(EXPIRED);
        assert_eq!(written.renew(EXPIRED, a()), Err(LeaseIdMismatchWithLeaseOperation));

        let mut taken = leased(a());
        taken.acquire(EXPIRED, b(), Some(TERM)).unwrap();
        assert_eq!(taken.renew(EXPIRED + 2 * TERM, a()), Err(LeaseIdMismatchWithLeaseOperation));
    }

    #[test]
    fn properties_tell_the_state() {
        let told = states().map(|lease| (lease.status(START), lease.state(START), lease.duration(START)));
        let expected = [
            ("unlocked", "available", None),
            ("locked", "leased", Some("fixed")),
            ("locked", "breaking", None),
            ("unlocked", "broken", None),
            ("unlocked", "expired", None),
        ];
        assert_eq!(told, expected);
    }
}
