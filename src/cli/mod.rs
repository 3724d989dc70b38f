//! The command line: one file a command. Each returns what to print and how it ended; printing and
//! exit codes are here.

mod args;
mod gateway;
mod operate;
mod serve;
mod store;
mod token;
mod transfer;

use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::Args;

use crate::config::{Config, FlagSettings};
use crate::http;
use crate::telemetry::log;
use crate::telemetry::terminal::printable;

/// Exit code for wrong usage of the command line.
const USAGE: u8 = 2;

/// How a command ended that could run.
struct Ended {
    /// For standard output; nothing if it is empty.
    text: String,
    /// Whether all of it was done, and found to be well.
    well: bool,
}

/// Why a command could not do what it is for.
struct Failure {
    what: &'static str,
    error: Box<dyn Error>,
    code: u8,
    /// Whether it goes to the log, in the form that the settings say.
    logged: bool,
}

impl Ended {
    fn well(text: impl Into<String>) -> Self {
        Self { text: text.into(), well: true }
    }
}

/// Nobody has agreed to what a command is about to do.
#[derive(Debug, thiserror::Error)]
enum Unconfirmed {
    #[error("there is no terminal to ask on: add --yes to do it, or look with --dry-run")]
    NobodyToAsk,
    #[error("nothing was changed")]
    Declined,
}

impl From<Unconfirmed> for Failure {
    fn from(error: Unconfirmed) -> Self {
        let code = if matches!(error, Unconfirmed::NobodyToAsk) { USAGE } else { 1 };
        Self { code, ..failed("not done")(error) }
    }
}

/// Makes a failure of an error: `what` could not be done.
fn failed<E: Error + 'static>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure { what, error: Box::new(error), code: 1, logged: false }
}

/// Runs the command that the arguments name. `restart` is called before serving.
pub fn run(args: impl IntoIterator<Item = OsString>, restart: fn()) -> ExitCode {
    let args = match Args::parse(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors to the parser, and go to standard output.
            let wrong = error.use_stderr();
            let failed = error.print().is_err() || wrong;
            return if failed { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let ended = match args {
        Args::Serve(flags) => serve::run(flags, restart),
        Args::Operate(operate) => operate::ask(&operate),
        Args::Verify { backup, json, flags } => store::verify(backup.as_deref(), json, &flags),
        Args::Repair { yes, json, flags } => store::repair(yes, json, &flags),
        Args::BackUp { source, output, flags } => store::back_up(source, &output, &flags),
        Args::Restore { from, in_part, flags } => store::restore(&from, in_part, &flags),
        Args::Token { name, may, groups } => token::run(&name, &may, groups.as_deref()),
        Args::Print(text) => Ok(Ended::well(text.trim_end())),
        Args::Import { source, dry_run, flags } => transfer::import(source, dry_run, &flags),
        Args::Export { source, destination, flags } => {
            transfer::export(source.as_ref(), destination, &flags)
        }
        Args::CheckConfig(file) => check_config(&file),
    };
    match ended {
        Ok(Ended { text, well }) => {
            let said =
                text.is_empty() || writeln!(std::io::stdout(), "{}", printable(&text)).is_ok();
            if said && well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => failure.report(),
    }
}

impl Failure {
    /// The same, to be reported in the log.
    fn logged(self) -> Self {
        Self { logged: true, ..self }
    }

    /// Reports it with its causes on standard error.
    fn report(&self) -> ExitCode {
        let mut text = self.error.to_string();
        let mut source = self.error.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        if self.logged {
            tracing::error!(error = text, "{}", self.what);
        } else {
            let text = format!("tidegate: {}: {text}", self.what);
            // If standard error is closed nobody can be told.
            let _ = writeln!(std::io::stderr(), "{}", printable(&text));
        }
        ExitCode::from(self.code)
    }
}

/// The settings of a command. Starts the log, as they say.
fn settings(flags: &FlagSettings) -> Result<Config, Failure> {
    let config = Config::load(flags).map_err(failed("invalid settings"))?;
    log::init(config.log);
    Ok(config)
}

/// A path for people, who need not know in which folder the program runs.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn check_config(file: &Path) -> Result<Ended, Failure> {
    let config = Config::from_file(file).map_err(failed("invalid settings"))?;
    http::check(&config.http).map_err(failed("invalid settings"))?;
    let warnings = config.warnings.iter().map(|text| format!("warning: {text}\n"));
    Ok(Ended::well(format!("{}{}: valid", warnings.collect::<String>(), file.display())))
}

/// Shows whoever sits at the terminal what is about to be done, and asks whether to go on.
fn confirm(what: &str) -> Result<(), Unconfirmed> {
    let ask = || {
        // Not on standard output, which may go to a program.
        write!(std::io::stderr(), "{}\nGo on? [y/N] ", printable(what))?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    if !std::io::stdin().is_terminal() {
        return Err(Unconfirmed::NobodyToAsk);
    }
    match ask() {
        Ok(answer) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) => Err(Unconfirmed::Declined),
        Err(_) => Err(Unconfirmed::NobodyToAsk),
    }
}
