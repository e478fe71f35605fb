//! The table of scenarios tells the truth.

use std::fs;
use std::path::Path;

/// Whether a comment in this file, or in one below this folder, begins with a scenario of that number.
fn carries(path: &Path, number: &str) -> bool {
    if path.is_dir() {
        let mut entries = fs::read_dir(path).unwrap();
        return entries.any(|entry| carries(&entry.unwrap().path(), number));
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let marks = text.lines().filter_map(|line| {
        line.trim_start().trim_start_matches("//!").trim_start_matches("//").strip_prefix(" Scenario ")
    });
    // "9, and 10 for a lease that is broken by force"
    let mut numbers = marks.flat_map(|mark| mark.split(['.', ':']).next().unwrap_or_default().split([',', ' ']));
    numbers.any(|word| word == number)
}

#[test]
fn each_scenario_is_where_the_table_says_or_has_a_reason_why_not() {
    let rows = include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    for number in (1..=37).chain([41]) {
        let number = number.to_string();
        let row = rows.iter().find(|row| row[0] == number).unwrap_or_else(|| panic!("{number} is not in the table"));
        let places = row[2];
        if places.starts_with("not yet: ") {
            continue;
        }
        for place in places.split(", ") {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
            assert!(carries(&path, &number), "no test in {place} carries {number}");
        }
    }
}
