//! Mistakes that a lock could have made, and what finds each.

use std::fmt;

/// The simulation finds its mistakes within so many runs.
pub(crate) const RUNS: u32 = 500;

/// One mistake, as changes to the source.
#[derive(Copy, Clone)]
pub(crate) struct Flaw {
    pub(crate) name: &'static str,
    pub(crate) finder: Finder,
    pub(crate) edits: &'static [Edit],
}

/// A change within a function.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    /// Is there just once.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
}

/// What has to find a mistake.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finder {
    /// Its first [`RUNS`] runs.
    Simulation,
    /// One test of the library, in one go: of one unit, of what happens at the same time, or the model.
    Test(&'static str),
}

impl fmt::Display for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finder::Simulation => write!(f, "the simulation, in {RUNS} runs"),
            Finder::Test(name) => write!(f, "{name}"),
        }
    }
}

/// `"what is wrong" { "file": "what is right" => "what is done instead" }`, found by the simulation; or
/// `"what is wrong" by "test" { .. }`.
macro_rules! flaws {
    ($($name:literal $(by $test:literal)? { $($file:literal: $find:literal => $replace:literal)* })*) => {
        pub(super) const FLAWS: &[super::Flaw] = &[$(super::Flaw {
            name: $name,
            finder: flaws!(@finder $($test)?),
            edits: &[$(super::Edit { file: $file, find: $find, replace: $replace }),*],
        }),*];
    };
    (@finder) => { super::Finder::Simulation };
    (@finder $test:literal) => { super::Finder::Test($test) };
}

mod answer;
mod between;
mod call;
mod caller;
mod carry;
mod clock;
mod hold;
mod queue;
mod standing;
mod threads;
mod write;

pub(crate) fn all() -> impl Iterator<Item = Flaw> {
    let areas = [
        hold::FLAWS,
        carry::FLAWS,
        call::FLAWS,
        caller::FLAWS,
        standing::FLAWS,
        queue::FLAWS,
        threads::FLAWS,
        write::FLAWS,
        answer::FLAWS,
        between::FLAWS,
        clock::FLAWS,
    ];
    areas.into_iter().flatten().copied()
}
