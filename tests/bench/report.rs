//! What was measured, as lines and as the guide's tables.

use std::fs;
use std::thread;
use std::time::SystemTime;

use crate::goals::{GOALS, Goal};
use crate::support::http::http_date;
use crate::support::page::{self, commit};

/// Tables, and each a row for each candidate.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

struct Table {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    candidate: String,
    cells: Cells,
}

/// Each with the name of its column.
pub(crate) type Cells = Vec<(&'static str, String)>;

impl Report {
    /// Begins a table.
    pub(crate) fn table(&mut self, title: &str) {
        println!("\n{title}");
        self.tables.push(Table { title: title.to_owned(), rows: Vec::new() });
    }

    /// As a line at once.
    pub(crate) fn row(&mut self, candidate: &str, cells: Cells) {
        let mut line = format!("  {candidate:<26}");
        for (column, value) in &cells {
            line.push_str(&format!("  {column}: {value}"));
        }
        println!("{line}");
        let table = self.tables.last_mut().expect("a table was begun");
        table.rows.push(Row { candidate: candidate.to_owned(), cells });
    }

    /// To the guide, in the place of the tables that are there.
    pub(crate) fn write(&self) {
        page::write("speed.md", "bench", &self.markdown());
    }

    /// Of those goals whose figures are there.
    fn goals(&self) -> String {
        let rows = GOALS.iter().filter_map(|goal| {
            let now = self.figure(goal)?;
            Some(format!("| {} | {} | {} | {now} |\n", goal.what, goal.before, goal.goal))
        });
        let rows: String = rows.collect();
        if rows.is_empty() {
            rows
        } else {
            format!("\n| | before | goal | now |\n| --- | ---: | ---: | ---: |\n{rows}")
        }
    }

    fn figure(&self, goal: &Goal) -> Option<&str> {
        let table = self.tables.iter().find(|table| table.title.contains(goal.table))?;
        let row = table.rows.iter().find(|row| row.candidate == goal.row)?;
        let (_, value) = row.cells.iter().find(|(column, _)| *column == goal.column)?;
        // The last of several.
        value.rsplit(" / ").next()
    }

    fn markdown(&self) -> String {
        let mut text = heading() + &self.goals();
        for Table { title, rows } in self.tables.iter().filter(|table| !table.rows.is_empty()) {
            let columns: Vec<_> = rows[0].cells.iter().map(|(column, _)| *column).collect();
            let marks = "| ---: ".repeat(columns.len());
            text.push_str(&format!("\n{title}:\n\n| | {} |\n| --- {marks}|\n", columns.join(" | ")));
            for Row { candidate, cells } in rows {
                let cells: Vec<_> = cells.iter().map(|(_, value)| value.as_str()).collect();
                text.push_str(&format!("| {candidate} | {} |\n", cells.join(" | ")));
            }
        }
        text
    }
}

/// When, where and of what.
fn heading() -> String {
    let date = http_date(SystemTime::now());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { ", built without optimization" } else { "" };
    format!("On {}, at commit {}{build}, on {cores} cores of {}.\n", &date[5..16], commit(), processor())
}

fn processor() -> String {
    let machine = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = machine.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("an unknown kind", |(_, model)| model).to_owned()
}
