//! What no machine changes, and no change of the code may: a guard for the checks.

use std::ops::RangeInclusive;

use crate::instructions;
use crate::pairs::{Memory, candidate};
use crate::report::Report;
use crate::servers;

const PAIRS: u64 = 20;

struct Bounds {
    candidate: &'static str,
    /// Of a pair. Below the band there is something to be proud of, and the band is to follow.
    allocations: RangeInclusive<f64>,
    /// Of a pair, beside bare ureq's.
    instructions: RangeInclusive<f64>,
}

const BOUNDS: [Bounds; 2] = [
    Bounds { candidate: "AzureMutex", allocations: 110.0..=140.0, instructions: 1.0..=1.30 },
    Bounds { candidate: "Locker", allocations: 115.0..=150.0, instructions: 1.05..=1.45 },
];

pub(crate) fn bounds(report: &mut Report) {
    let mut broken = Vec::new();
    let mut check = |candidate: &str, what: &'static str, value: f64, band: &RangeInclusive<f64>| {
        let shown = format!("{value:.2} (from {} to {})", band.start(), band.end());
        if !band.contains(&value) {
            broken.push(format!("{candidate}: {what}: {shown}"));
        }
        (what, shown)
    };
    report.table("what is the same on every machine, and where it has to be");
    let ureq = instructions::are_counted().then(|| instructions::of_a_pair("ureq"));
    for Bounds { candidate: name, allocations, instructions } in &BOUNDS {
        let mut server = servers::start("canned").unwrap();
        let mut candidate = candidate(name, &server.account, "bounds");
        (0..PAIRS).for_each(|_| candidate.pair());
        let counts = server.counts();
        // Another thread may allocate meanwhile.
        let memory = (0..PAIRS).map(|_| Memory::of(&mut *candidate)).min_by_key(|memory| memory.allocations).unwrap();
        let mut cells = vec![
            check(name, "requests a pair", counts.requests as f64 / PAIRS as f64, &(2.0..=2.0)),
            check(name, "connections", counts.connections as f64, &(1.0..=1.0)),
            check(name, "allocations a pair", memory.allocations as f64, allocations),
        ];
        if let Some(ureq) = ureq {
            let ratio = instructions::of_a_pair(name) / ureq;
            cells.push(check(name, "instructions, x ureq", ratio, instructions));
        }
        report.row(name, cells);
    }
    assert!(broken.is_empty(), "out of bounds:\n{}", broken.join("\n"));
}
