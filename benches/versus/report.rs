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

/// A number with as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((&*text, ""), |(w, f)| (w, f));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

/// A duration given in seconds.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value < 1e-3 => format!("{} µs", number(value * 1e6)),
        value if value < 1.0 => format!("{} ms", number(value * 1e3)),
        value => format!("{} s", number(value)),
    }
}
