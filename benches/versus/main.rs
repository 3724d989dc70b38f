//! Tidegate beside the Go Pushgateway, nginx and a bare hyper server: one run, one machine, ratios.
//!
//! ```sh
//! cargo bench --bench versus             # everything, up to a million series; eleven minutes
//! cargo bench --bench versus -- --short  # three minutes, up to 100,000 series
//! cargo bench --bench versus -- shapes   # the shapes that people push only; two to five minutes
//! cargo bench --bench versus -- cluster  # replicas beside a bare client of etcd; two minutes
//! ```
//!
//! Prints the tables as Markdown and writes them, with a plot, to `benches/versus/report.md`,
//! `benches/versus/report.svg` and `benches/versus/shapes.md` (`--short`: to `target/versus`, without
//! the shapes). Everything runs on loopback. The load is wrk's; the programs come from `tests/parts`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report is what this prints")]
#![expect(clippy::cast_precision_loss, reason = "counts are far below what a float holds")]

mod bare;
#[path = "../shared/body.rs"]
mod body;
mod client;
mod cluster;
#[path = "../shared/figures.rs"]
mod figures;
mod measure;
mod plot;
mod raw;
mod report;
mod rows;
#[path = "../shared/scratch.rs"]
mod scratch;
mod servers;
mod shapes;

use std::path::Path;
use std::process::ExitCode;

/// Anything that goes wrong ends the run: half a comparison is none.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["bare", address] => bare::serve(address),
        ["raw", address, folder] => raw::serve(address, folder),
        args if args.contains(&"cluster") => cluster::run(Path::new("benches/versus")),
        args if args.contains(&"shapes") => shapes::run(Path::new("benches/versus")),
        args if args.contains(&"--short") => rows::run(true),
        _ => rows::run(false).and_then(|()| shapes::run(Path::new("benches/versus"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
