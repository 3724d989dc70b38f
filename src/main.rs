//! `tidegate`: see the library for how it works.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate::app::App;
use tidegate::config::{Args, Config, FlagSettings, Operate};
use tidegate::http::access::{Secret, TokenHash};
use tidegate::maintenance;
use tidegate::operate::{self, OperateError};
use tidegate::reload::Load;
use tidegate::shutdown::{Asked, Signals};
use tidegate::telemetry;
use tidegate::telemetry::terminal::printable;
use tidegate::time::{Clock as _, SystemClock};
use tidegate::transfer::{self, Destination};

/// A push allocates and frees some hundred small things, across threads: this takes a fifth off its
/// processor time, beside the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage of the command line.
const USAGE: u8 = 2;

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
    let args = match Args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors to the parser, and go to standard output.
            let wrong = error.use_stderr();
            return if error.print().is_err() || wrong {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let flags = match args {
        Args::Serve(flags) => flags,
        Args::Operate(operate) => return ask(&operate),
        Args::Maintain { repair, yes, json, flags } => return maintain(repair, yes, json, &flags),
        Args::Token { name, may, groups } => return token(&name, &may, groups.as_deref()),
        Args::Print(text) => return say(text.trim_end()),
        Args::Import { source, dry_run, flags } => return import(&source, dry_run, &flags),
        Args::Export { source, output, to, flags } => {
            let destination = to.map_or(Destination::Output(output), Destination::Gateway);
            return export(source.as_deref(), destination, &flags);
        }
        Args::CheckConfig(file) => {
            return match Config::from_file(&file) {
                Ok(config) => {
                    if let Err(error) = tidegate::http::check(&config.http) {
                        return fail("invalid settings", &error);
                    }
                    let warnings = config.warnings.iter().map(|text| format!("warning: {text}\n"));
                    let warnings: String = warnings.collect();
                    say(&format!("{warnings}{}: valid", file.display()))
                }
                Err(problems) => fail("invalid settings", &problems),
            };
        }
    };
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(problems) => return fail("invalid settings", &problems),
    };
    give_memory_back();
    telemetry::log::init(config.log);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting tidegate");
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    let code = runtime.block_on(serve(config, flags));
    // Nothing is left to finish but, after a second signal, what was not waited for.
    runtime.shutdown_background();
    code
}

fn import(source: &str, dry_run: bool, flags: &FlagSettings) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(problems) => return fail("invalid settings", &problems),
    };
    telemetry::log::init(config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    match runtime.block_on(transfer::import(&config, source, dry_run)) {
        Ok(found) if dry_run => say(&format!("{source} has {found}; nothing was changed")),
        Ok(found) => say(&format!("imported into {}: {found}", config.store.path.display())),
        Err(error) => fail("cannot import", &error),
    }
}

fn export(source: Option<&str>, destination: Destination, flags: &FlagSettings) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(problems) => return fail("invalid settings", &problems),
    };
    telemetry::log::init(config.log);
    match transfer::export(&config, source, destination) {
        Ok(exported) => {
            // Not on standard output, where the requests may have gone.
            tracing::info!(groups = exported.groups, "exported");
            ExitCode::SUCCESS
        }
        Err(error) => fail("cannot export", &error),
    }
}

fn maintain(repair: bool, yes: bool, json: bool, flags: &FlagSettings) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(problems) => return fail("invalid settings", &problems),
    };
    telemetry::log::init(config.log);
    // What sled says when it panics on damage is said by the report.
    std::panic::set_hook(Box::new(|_| {}));
    let path = config.store.path.display();
    let question =
        format!("{path} will be built anew; its files are kept beside it.\nGo on? [y/N] ");
    if repair && !yes {
        match confirm(&question) {
            Some(true) => {}
            Some(false) => return fail("not done", &OperateError::Declined),
            None => {
                fail("not done", &OperateError::NobodyToAsk);
                return ExitCode::from(USAGE);
            }
        }
    }
    let result = if repair {
        maintenance::repair(&config.store, SystemClock::new().wall())
    } else {
        maintenance::verify(&config.store)
    };
    match result {
        Ok(report) => {
            let said = say(&if json { report.to_json() } else { report.to_text() });
            if repair || report.is_sound() { said } else { ExitCode::FAILURE }
        }
        Err(error) => fail(if repair { "cannot repair" } else { "cannot verify" }, &error),
    }
}

/// Makes a token. What it is goes to standard output, once; what is to be put into the settings, too.
fn token(name: &str, may: &[String], groups: Option<&str>) -> ExitCode {
    let secret = match Secret::generate() {
        Ok(secret) => secret,
        Err(error) => return fail("cannot make a token", &error),
    };
    let hash = TokenHash::of(secret.as_str());
    let groups = groups.map(|groups| format!("match = {}\n", toml::Value::from(groups)));
    say(&format!(
        "# The token, which is nowhere else: {}\n[[access.tokens]]\nname = {}\nhash = \"{hash}\"\n\
         may = {}\n{}",
        secret.as_str(),
        toml::Value::from(name),
        toml::Value::from(may.to_vec()),
        groups.unwrap_or_default().trim_end(),
    ))
}

fn ask(operate: &Operate) -> ExitCode {
    match operate::run(operate, SystemClock::new().wall(), confirm) {
        Ok(text) => say(&text),
        Err(OperateError::Partly(text)) => {
            say(&text);
            ExitCode::FAILURE
        }
        Err(error @ OperateError::NobodyToAsk) => {
            fail("not done", &error);
            ExitCode::from(USAGE)
        }
        Err(error) => fail("not done", &error),
    }
}

/// Asks whoever sits at the terminal, if it is one.
fn confirm(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    // Not on standard output, which may go to a program.
    write!(std::io::stderr(), "{}", printable(question)).ok()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Takes as many file descriptors as the host allows: what a shell or a supervisor gives at first is
/// often 1024, which is for programs that cannot do with more, and less than `limits.connections`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of file descriptors");
    }
}

async fn serve(config: Config, flags: FlagSettings) -> ExitCode {
    let signals = Signals::new();
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => return fail("cannot listen for signals", &error),
    };
    let load: Load = Arc::new(move |proposed| match proposed {
        None => Config::load(&flags),
        Some(text) => Config::load_proposed(&flags, text),
    });
    let app = match App::bind(config, load, Arc::new(SystemClock::new())).await {
        Ok(app) => app,
        Err(error) => return fail("cannot start", &error),
    };
    let reloads = app.reloads();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = app.run(async {
        let _ = stopped.await;
    });
    tokio::pin!(running);
    let mut stop = Some(stop);
    loop {
        let asked = tokio::select! {
            ended = &mut running => return exit(ended),
            asked = signals.next() => asked,
        };
        match asked {
            // What comes of it is in the log. Full: it is about to be done.
            Asked::Reload => drop(reloads.try_send(tokio::sync::oneshot::channel().0)),
            Asked::Stop(signal) if stop.take().is_some() => {
                tracing::info!(signal, "stopping; a second signal stops at once");
            }
            Asked::Stop(signal) => {
                tracing::warn!(signal, "stopping at once");
                return ExitCode::FAILURE;
            }
        }
    }
}

fn exit(ended: Result<(), tidegate::app::AppError>) -> ExitCode {
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => fail("stopped", &error),
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{}", printable(text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what went wrong, with its causes, on standard error.
fn fail(what: &str, error: &dyn Error) -> ExitCode {
    let mut text = format!("tidegate: {what}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    // If standard error is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", printable(&text));
    ExitCode::FAILURE
}
