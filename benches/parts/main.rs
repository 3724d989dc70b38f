//! The cost of the parts of a push, of a scrape and of a restart, each by itself.
//!
//! ```sh
//! cargo bench --bench parts             # some minutes
//! cargo bench --bench parts -- --quick  # one, less protobuf
//! cargo bench --bench parts -- judge    # those with this in their name
//! ```
//!
//! Each asserts what it is about to measure. Criterion compares each result with its last run.

#![expect(clippy::print_stderr, reason = "an error is for people")]

#[path = "../shared/body.rs"]
mod body;
mod formats;
mod judge;
mod pushed;
#[path = "../shared/running.rs"]
mod running;
mod samples;
mod scrapes;
#[path = "../shared/scratch.rs"]
mod scratch;
mod storage;

use std::process::ExitCode;

use criterion::Criterion;

fn main() -> ExitCode {
    match run(&mut Criterion::default().configure_from_args()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(criterion: &mut Criterion) -> running::Result<()> {
    formats::benches(criterion)?;
    pushed::benches(criterion)?;
    judge::benches(criterion)?;
    storage::benches(criterion)?;
    scrapes::benches(criterion)?;
    criterion.final_summary();
    Ok(())
}
