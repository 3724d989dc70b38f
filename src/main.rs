//! `tidegate`: see the library for how it works.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// A push allocates and frees some hundred small things, across threads: this takes a fifth off its
/// processor time, beside the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For how many milliseconds the allocator keeps what was freed before the kernel gets it back.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Has memory that was freed go back to the kernel at once: by itself the allocator keeps it until it
/// is used again, for each thread, which for bodies of megabytes is several times the budget of
/// requests. It reads that from the environment, before `main`: the program takes its own place, once.
fn give_memory_back() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut args = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let error = command.args(args).env(PURGE_DELAY, "0").exec();
    // Only if it could not: then it goes on as it is.
    drop(error);
}

fn main() -> ExitCode {
    tidegate::cli::run(std::env::args_os(), give_memory_back)
}
