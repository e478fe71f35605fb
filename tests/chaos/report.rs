//! The figures, as a table for the guide.

use std::env;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::round::{CONTENDERS, LOCKS};
use crate::support::http::http_date;
use crate::support::page::{self, commit};
use crate::tally::{DEEDS, Tally};

const MARK: &str = "chaos";

/// To stdout, and to the guide if that is wanted.
pub(crate) fn tell(tally: &Tally, time: Duration, seed: u64) {
    let table = table(tally, time, seed);
    println!("\n{table}");
    if env::var_os("AZMUTEX_CHAOS_TABLE").is_some_and(|value| value == "1") {
        page::write("evidence.md", MARK, &table);
    }
}

fn table(tally: &Tally, time: Duration, seed: u64) -> String {
    let rows = |rows: Vec<(String, String)>| -> String {
        rows.into_iter().map(|(what, count)| format!("| {what} | {count} |\n")).collect()
    };
    let survived = DEEDS.iter().map(|(deed, words)| ((*words).to_owned(), grouped(tally.times(*deed)))).collect();
    format!(
        "{}\n\n| survived | times |\n| --- | ---: |\n{}\n| found | |\n| --- | ---: |\n{}",
        heading(tally, time, seed),
        rows(survived),
        rows(found(tally)),
    )
}

fn heading(tally: &Tally, time: Duration, seed: u64) -> String {
    let date = http_date(SystemTime::now());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    format!(
        "{} of it, on {}, at commit {}, seed {seed}: {} processes, {} at a time for {LOCKS} locks, on a machine of \
         {cores} cores, with {build}.",
        lasting(time),
        &date[5..16],
        commit(),
        grouped(tally.processes),
        LOCKS * CONTENDERS,
    )
}

fn lasting(time: Duration) -> String {
    match time.as_secs() / 60 {
        60.. => format!("{:.1} hours", time.as_secs_f64() / 3_600.0),
        minutes => format!("{minutes} minutes"),
    }
}

fn found(tally: &Tally) -> Vec<(String, String)> {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    // One of these, and there would be no table.
    let never = ["two holders at a time", "lost updates", "leases beyond their bound", "processes that hung"];
    let mut rows: Vec<_> = never.iter().map(|what| (format!("**{what}**"), "**0**".to_owned())).collect();
    for (what, count) in [
        ("updates of a number in a file", tally.written_to_files),
        ("updates of a number in the locked blob's metadata", tally.written_to_blobs),
        ("writes of an earlier holder that the store refused", tally.refused_by_store),
        ("copies of answers that came where the next answer was due", tally.crossed),
        ("answers to the request before, on connections that stay one behind", tally.behind),
        ("locks of dead holders behind caches that go on calling them taken", tally.cached),
        ("holds", tally.holds),
        ("of those, after another process's", tally.hand_overs),
    ] {
        rows.push((what.to_owned(), grouped(count)));
    }
    for (why, count) in &tally.losses {
        rows.push((format!("holders who were told in the middle that the lock was lost: `{why}`"), grouped(*count)));
    }
    for (what, count) in [
        ("holders who were told so when they let go", tally.lost_at_the_end),
        ("releases that were not confirmed", tally.releases_unconfirmed),
        ("waits that ended with an error after 30 s of faults, or calls after their retries", tally.misses),
        ("holds in the calm between the faults", tally.calm_holds),
        ("of those, lost", 0),
    ] {
        rows.push((what.to_owned(), grouped(count)));
    }
    for (what, time) in [
        ("longest hand-over in the calm", tally.longest_hand_over),
        ("longest time for which a dead holder's lock was taken", tally.longest_orphan),
        ("longest time for which a process went on that was asked to end", tally.longest_farewell),
    ] {
        rows.push((what.to_owned(), seconds(time)));
    }
    rows
}

/// With a comma after the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn a_new_table_takes_the_old_ones_place() {
    let text = |figures| format!("one\n<!-- chaos -->\n{figures}\n<!-- /chaos -->\ntwo\n");
    assert_eq!(page::replaced(&text("old"), MARK, "new\n"), text("new"));
}

#[test]
fn thousands_are_grouped() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
