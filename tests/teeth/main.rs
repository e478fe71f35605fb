//! Have the tests teeth? A copy of the library is built that has all the mistakes of [`flaws`] in it, each turned off.
//! One after the other they are turned on, and what is named beside each must find it.
//!
//! ```sh
//! cargo test --test teeth             # all of them
//! cargo test --test teeth -- renewal  # those whose name has that word
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use copy::Copy;
use flaws::{Finder, Flaw};

mod copy;
mod flaws;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Asked for a list of its tests, as some test runners do, it has none to name.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |flaw: &&Flaw| words.iter().all(|word| flaw.name.contains(*word));

    let started = Instant::now();
    // All of them are built, so that a filter changes nothing but what is run.
    let flaws: Vec<Flaw> = flaws::all().collect();
    let copy = Copy::build(&flaws);
    println!("{} mistakes planted in {:.1?}", flaws.len(), started.elapsed());

    let wanted: Vec<(usize, &Flaw)> = (1..).zip(&flaws).filter(|(_, flaw)| is_wanted(flaw)).collect();
    let missed = Mutex::new(Vec::new());
    // What mostly waits goes on beside what only computes, and in two halves: each test passes without a mistake in one.
    let (simulated, tested): (Vec<_>, Vec<_>) = wanted.iter().partition(|(_, flaw)| flaw.finder == Finder::Simulation);
    let finders: BTreeSet<_> = tested.iter().map(|(_, flaw)| flaw.finder).collect();
    let half: BTreeSet<_> = finders.into_iter().step_by(2).collect();
    let (tested, others): (Vec<_>, Vec<_>) = tested.into_iter().partition(|(_, flaw)| half.contains(&flaw.finder));
    thread::scope(|scope| {
        for flaws in [simulated, tested, others] {
            scope.spawn(|| search(&copy, flaws, &missed));
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "missed: {missed:#?}");
    println!("{} mistakes, each found, in {:.1?}", wanted.len(), started.elapsed());
}

/// Has each of these mistakes looked for, after everything that looks for them passed without one.
fn search(copy: &Copy, flaws: Vec<(usize, &Flaw)>, missed: &Mutex<Vec<&str>>) {
    for finder in flaws.iter().map(|(_, flaw)| flaw.finder).collect::<BTreeSet<_>>() {
        let begun = Instant::now();
        let sound = copy.run(None, finder);
        assert!(sound.passed, "{finder} does not pass without a mistake:\n{}", sound.output);
        println!("without a mistake: {finder} passes ({:.1?})", begun.elapsed());
    }
    for (number, flaw) in flaws {
        let begun = Instant::now();
        let run = copy.run(Some(number), flaw.finder);
        let finding = run.finding(flaw.finder).unwrap_or_else(|| {
            missed.lock().unwrap().push(flaw.name);
            format!("MISSED by {}\n{}", flaw.finder, run.output)
        });
        println!("{}: {finding} ({:.1?})", flaw.name, begun.elapsed());
    }
}
