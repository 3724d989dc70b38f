//! The table, as Markdown.

use std::fmt::Write as _;

/// The lines of the report.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    /// Stored series against pushes a second and seconds a scrape, of both gateways.
    pub(crate) curves: Vec<Point>,
}

struct Row {
    what: String,
    measured: String,
    ratio: String,
    goal: String,
}

/// A gateway with so many series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) tidegate: bool,
    pub(crate) series: f64,
    pub(crate) pushes_per_second: f64,
    pub(crate) scrape_seconds: f64,
}

impl Report {
    /// Adds a row, and prints it: a run takes minutes.
    pub(crate) fn row(&mut self, what: &str, measured: String, ratio: String, goal: &str) {
        println!("{what}: {measured}: {ratio} (goal: {goal})");
        self.rows.push(Row { what: what.into(), measured, ratio, goal: goal.into() });
    }

    /// The whole table.
    pub(crate) fn markdown(&self, settings: &str) -> String {
        let mut out = String::from("| | measured | ratio | goal |\n|---|---|---|---|\n");
        for Row { what, measured, ratio, goal } in &self.rows {
            writeln!(out, "| {what} | {measured} | {ratio} | {goal} |")
                .expect("text takes what is written to it");
        }
        out.push('\n');
        out.push_str(settings);
        out
    }
}
