//! The cost of a push, a scrape, a restart and a wipe with a thousand stored series and with a million,
//! without HTTP: the ratios say that cost grows with what is done, not with what is stored.
//!
//! ```sh
//! cargo bench --bench scaling             # up to a million series
//! cargo bench --bench scaling -- --short  # up to 100,000
//! ```
//!
//! Prints a table as Markdown: each cost, and in brackets its ratio to that at a thousand series.
//! Every push is synced before it is answered, so that what a ratio hides in is the disk: run it on
//! a machine that does nothing else.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this prints")]
#![expect(clippy::cast_precision_loss, reason = "counts are far below what a float holds")]

#[path = "../shared/body.rs"]
mod body;
#[path = "../shared/figures.rs"]
mod figures;
mod row;
#[path = "../shared/running.rs"]
mod running;
#[path = "../shared/scratch.rs"]
mod scratch;

use std::process::ExitCode;

use figures::{number, seconds};
use row::{COSTS, Costs, SERIES_PER_GROUP};
use running::Result;

/// Stored series of the rows.
const SIZES: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];

fn main() -> ExitCode {
    match run(std::env::args().any(|arg| arg == "--short")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(short: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let folder = scratch::scratch("scaling")?;
    println!("| stored series | {} |\n|---|{}", COSTS.join(" | "), "---|".repeat(COSTS.len()));
    let mut first: Option<Costs> = None;
    for series in SIZES.into_iter().take(if short { SIZES.len() - 1 } else { SIZES.len() }) {
        let path = folder.path().join(series.to_string());
        let costs = row::measure(&runtime, &path, series / SERIES_PER_GROUP)?;
        println!("{}", line(series, &costs, first.get_or_insert(costs)));
    }
    Ok(())
}

fn line(series: usize, costs: &Costs, first: &Costs) -> String {
    let cell = |(cost, first): (&f64, &f64)| {
        let ratio = number(cost / first);
        format!("{} ({ratio})", seconds(*cost))
    };
    let cells: Vec<_> = costs.iter().zip(first).map(cell).collect();
    format!("| {} | {} |", number(series as f64), cells.join(" | "))
}
