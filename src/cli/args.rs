//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;

use super::gateway;
use super::operate::args::{self as operate_args, Operate};
use crate::client::Target;
use crate::config::{FlagSettings, all_flags, store_flags};
use crate::http::access::Permission;
use crate::model::Selector;
use crate::telemetry::build::{BUILD, Build};
use crate::transfer::{Destination, Source};

/// A parsed command line.
#[derive(Debug)]
pub(super) enum Args {
    /// Serve, with these settings.
    Serve(FlagSettings),
    /// Check a settings file.
    CheckConfig(PathBuf),
    /// Read what another gateway holds into a store.
    Import { source: Source, dry_run: bool, flags: FlagSettings },
    /// Write what a store or a gateway holds as push requests, or push it to another gateway.
    Export { source: Option<Target>, destination: Destination, flags: FlagSettings },
    /// Ask a running gateway.
    Operate(Operate),
    /// Look at a store, or at a backup.
    Verify { backup: Option<PathBuf>, json: bool, flags: FlagSettings },
    /// Build a store anew from all that can be read of it.
    Repair { yes: bool, json: bool, flags: FlagSettings },
    /// Make a backup of a gateway, or of a store.
    BackUp { source: Option<Target>, output: PathBuf, flags: FlagSettings },
    /// Build a store of a backup.
    Restore { from: PathBuf, in_part: bool, flags: FlagSettings },
    /// Make a token: its name, what it may do, and to which groups.
    Token { name: String, may: Vec<String>, groups: Option<String> },
    /// Print a text.
    Print(String),
}

const EXAMPLES: &str = "\
Examples:
  tidegate
      Serve on :9091 and store under ./data.
  tidegate --ttl.default=36h --storage.path=/var/lib/tidegate
      Forget a group 36 hours after its last push.
  tidegate --config.file=tidegate.toml
      Read settings from a file; config.example.toml lists them all.
  tidegate check-config tidegate.toml
      Report every mistake in a settings file, and exit.
  tidegate import --dry-run /var/lib/pushgateway.data
      Show the contents of a Go Pushgateway's persistence file.
  tidegate groups --sort=deadline --limit=10
      List the next groups of a running gateway to expire.
  echo 'backup_last_success_seconds 1.7e9' |
    curl --data-binary @- http://localhost:9091/metrics/job/backup
      Push a metric.

Every setting can also be given in the environment: --ttl.default is TIDEGATE_TTL_DEFAULT.
A flag counts over the environment, the environment over the file, the file over the default.";

const EXIT_CODES: &str =
    "Exit code: 0 if it is done and all is well, 1 if not, 2 if the command line is wrong.";

impl Args {
    /// Parses the command line. An error says what to print and how to exit: `--help` is one here.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = command().try_get_matches_from(expand_files(args)?)?;
        if matches.get_flag("version") {
            return Ok(Self::Print(version(&BUILD)));
        }
        if matches.get_flag("help-man") {
            return manual(&[]).map(Self::Print);
        }
        let Some((name, mut found)) = matches.remove_subcommand() else {
            return Ok(Self::Serve(FlagSettings::new(matches)));
        };
        let file =
            |found: &ArgMatches| found.get_one::<PathBuf>("FILE").cloned().unwrap_or_default();
        Ok(match name.as_str() {
            "check-config" => Self::CheckConfig(file(&found)),
            "import" => {
                let source = found.remove_one::<String>("SOURCE").unwrap_or_default();
                let dry_run = found.get_flag("dry-run");
                let source = if source.contains("://") {
                    gateway::url(&source).map_err(|error| wrong(format!("SOURCE: {error}")))?;
                    let [gateway] = gateway::targets([&source], &mut found).map_err(wrong)?;
                    Source::Gateway(gateway)
                } else {
                    Source::File(source.into())
                };
                Self::Import { source, dry_run, flags: FlagSettings::new(found) }
            }
            "export" => {
                let source = found.remove_one::<String>("SOURCE");
                let to = found.remove_one::<String>("to");
                let output = Destination::Output(found.remove_one("output"));
                let (source, destination) = match (source, to) {
                    (None, None) => (None, output),
                    (Some(source), None) => {
                        let [source] = gateway::targets([&source], &mut found).map_err(wrong)?;
                        (Some(source), output)
                    }
                    (None, Some(to)) => {
                        let [to] = gateway::targets([&to], &mut found).map_err(wrong)?;
                        (None, Destination::Gateway(to))
                    }
                    (Some(source), Some(to)) => {
                        let both = gateway::targets([&source, &to], &mut found);
                        let [source, to] = both.map_err(wrong)?;
                        (Some(source), Destination::Gateway(to))
                    }
                };
                Self::Export { source, destination, flags: FlagSettings::new(found) }
            }
            "completions" => {
                let shell = found.remove_one::<Shell>("SHELL").unwrap_or(Shell::Bash);
                Self::Print(completions(shell))
            }
            "man" => {
                let words: Vec<String> =
                    found.remove_many("COMMAND").into_iter().flatten().collect();
                Self::Print(manual(&words)?)
            }
            "verify" => Self::Verify {
                backup: found.remove_one("FILE"),
                json: is_json(&found),
                flags: FlagSettings::new(found),
            },
            "repair" => Self::Repair {
                yes: found.get_flag("yes"),
                json: is_json(&found),
                flags: FlagSettings::new(found),
            },
            "backup" => {
                let source = found.remove_one::<String>("SOURCE");
                let source = match source {
                    None => None,
                    Some(source) => {
                        let [source] = gateway::targets([&source], &mut found).map_err(wrong)?;
                        Some(source)
                    }
                };
                let output = found.remove_one("output").unwrap_or_default();
                Self::BackUp { source, output, flags: FlagSettings::new(found) }
            }
            "restore" => Self::Restore {
                from: file(&found),
                in_part: found.get_flag("in-part"),
                flags: FlagSettings::new(found),
            },
            "token" => Self::Token {
                name: found.remove_one("NAME").unwrap_or_default(),
                may: found.remove_many("may").into_iter().flatten().collect(),
                groups: found.remove_one("match"),
            },
            name => Self::Operate(Operate::new(name, found).map_err(wrong)?),
        })
    }
}

/// Whether the answer is for a program.
fn is_json(found: &ArgMatches) -> bool {
    found.get_one::<String>("output").is_some_and(|output| output == "json")
}

/// Arguments from files: `@FILE` stands for its lines, without those that are empty or begin with
/// `#`, as with the Go Pushgateway.
fn expand_files(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, clap::Error> {
    let mut expanded = Vec::new();
    for arg in args {
        let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix('@')) else {
            expanded.push(arg);
            continue;
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read arguments from {path}: {error}")))?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        expanded.extend(lines.map(OsString::from));
    }
    Ok(expanded)
}

/// A command line that cannot be understood, or reads what is not there.
fn wrong(message: impl fmt::Display) -> clap::Error {
    clap::Error::raw(ErrorKind::Io, format!("{message}\n"))
}

/// The output of `--version`, in the manner of Prometheus's programs: as much as is known.
fn version(build: &Build) -> String {
    let Build { version, revision, branch, user, date, compiler, os, arch } = build;
    let is_known = |value: &&str| *value != Build::UNKNOWN;
    let known = |name: &str, value: &'static str| {
        Some(value).filter(is_known).map(|value| format!("{name}: {value}"))
    };
    let source = [known("branch", branch), known("revision", revision)];
    let source = source.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let source = if source.is_empty() { source } else { format!(" ({source})") };
    let others = [("build user", user), ("build date", date), ("rust version", compiler)];
    let others = others.into_iter().filter(|(_, value)| is_known(value));
    let line = |(name, value)| format!("  {:<17} {value}\n", format!("{name}:"));
    let others: String = others.map(line).collect();
    format!("tidegate, version {version}{source}\n{others}  platform:         {os}/{arch}\n")
}

/// The manual page of the program, or of a command: `["ttl", "set"]`.
fn manual(words: &[String]) -> Result<String, clap::Error> {
    let mut command = command();
    // Which gives the commands their whole names.
    command.build();
    for word in words {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| {
            let asked = words.join(" ");
            wrong(format!("there is no command {asked:?} to print the manual page of"))
        })?;
    }
    let mut page = Vec::new();
    let source = format!("tidegate {}", BUILD.version);
    let rendered = clap_mangen::Man::new(command).source(source).render(&mut page);
    rendered.map_err(wrong)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "tidegate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// With the exit codes in the help of each command.
fn with_exit_codes(command: Command) -> Command {
    let help = command.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
    command.after_help(help + EXIT_CODES).mut_subcommands(with_exit_codes)
}

fn command() -> Command {
    let version = Arg::new("version")
        .long("version")
        .action(ArgAction::SetTrue)
        .help("Print the version and exit");
    let manual = Arg::new("help-man")
        .long("help-man")
        .action(ArgAction::SetTrue)
        .help("Print a manual page and exit");
    let long_help = Arg::new("help-long").long("help-long").action(ArgAction::HelpLong).hide(true);
    let command = Command::new("tidegate")
        .disable_version_flag(true)
        .about(
            "A push gateway for Prometheus that keeps what was pushed across restarts and forgets \
             a group once its TTL has passed",
        )
        .after_help(EXAMPLES)
        .args([version, long_help, manual])
        .args(all_flags())
        // Those for a gateway that runs, for a store, and for whoever sets one up.
        .subcommands(operate_args::commands())
        .subcommands([backup(), restore(), verify(), repair(), export(), import()])
        .subcommands([check_config(), token(), completion_script(), man()])
        .args_conflicts_with_subcommands(true);
    with_exit_codes(command)
}

fn check_config() -> Command {
    Command::new("check-config")
        .about("Check a settings file")
        .long_about(
            "Reads a settings file as `tidegate --config.file` would and reports every mistake in \
             it.",
        )
        .arg(
            Arg::new("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The TOML file"),
        )
}

fn import() -> Command {
    Command::new("import")
        .about("Import the groups of another gateway, or a backup, into a store")
        .long_about(
            "Imports a persistence file of a Go Pushgateway, a backup that `tidegate export` has written, or \
             a running gateway, into the store. \
             Groups that exist already are replaced. Each group lives for its whole TTL from \
             the import on. The gateway that uses the store must be stopped.\n\nA file that cannot be read to \
             its end changes nothing.",
        )
        .arg(
            Arg::new("SOURCE")
                .required(true)
                .help("A persistence file, a backup, or the URL of a gateway such as http://host:9091"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Read everything, count the groups, and change nothing"),
        )
        .args(gateway::args())
        .args(store_flags())
}

fn export() -> Command {
    Command::new("export")
        .about("Export all groups as push requests for any push gateway")
        .long_about(
            "Writes a PUT request for each group of a store, or of a running gateway, that a Go \
             Pushgateway takes: with --to it is sent there, else it is written to a file or standard \
             output, one behind the other, as they go over the wire:\n\n  \
             tidegate export --output groups.http\n  \
             nc -N old-gateway 9091 < groups.http",
        )
        .arg(source())
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("File to write the requests to [default: standard output]"),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("URL")
                .value_parser(gateway::url)
                .conflicts_with("output")
                .help("Gateway to push to, such as http://old-gateway:9091"),
        )
        .args(gateway::args())
        .args(store_flags())
}

/// A gateway that runs, or the store.
fn source() -> Arg {
    Arg::new("SOURCE")
        .value_parser(gateway::url)
        .help("The URL of a running gateway; without it the store, whose gateway must be stopped")
}

fn token() -> Command {
    let selector = |text: &str| match Selector::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Command::new("token")
        .about("Make a token for a client")
        .long_about(
            "Makes a token, and prints it with the table for the settings file. The table has only its \
             hash: the token itself is nowhere but on your screen.",
        )
        .after_help(
            "Examples:\n  tidegate token ci --may=push,delete --match='{job=\"ci\"}'\n      For the jobs of a \
             team, and no others.\n  tidegate token prometheus --may=scrape\n  curl -H \"Authorization: \
             Bearer $TOKEN\" …, or as the password of any user.",
        )
        .arg(Arg::new("NAME").required(true).help("Its name, for the log"))
        .arg(
            Arg::new("may")
                .long("may")
                .value_name("WHAT")
                .required(true)
                .value_delimiter(',')
                .value_parser(Permission::NAMES.map(|(name, _)| name))
                .help("Its permissions"),
        )
        .arg(
            Arg::new("match")
                .long("match")
                .value_name("SELECTOR")
                .value_parser(selector)
                .help("Selector of the groups that it is for [default: all]"),
        )
}

fn completion_script() -> Command {
    let shells = PossibleValuesParser::new(["bash", "zsh", "fish"]);
    let shell = shells.map(|name| match name.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    });
    Command::new("completions")
        .about("Print the script by which a shell completes commands")
        .after_help(
            "Examples:\n  source <(tidegate completions bash)\n      For this shell; in ~/.bashrc for all.\n  \
             tidegate completions fish > ~/.config/fish/completions/tidegate.fish\n  \
             tidegate completions zsh > \"${fpath[1]}/_tidegate\"",
        )
        .arg(Arg::new("SHELL").required(true).value_parser(shell).help("The shell"))
}

fn man() -> Command {
    Command::new("man")
        .about("Print a manual page")
        .after_help(
            "Examples:\n  tidegate man ttl set | man -l -\n      Read that of a command.\n  \
             tidegate man > /usr/local/share/man/man1/tidegate.1\n      Install that of the program.",
        )
        .arg(
            Arg::new("COMMAND")
                .num_args(0..)
                .help("The command, as in ttl set [default: the program itself]"),
        )
}

fn output() -> Arg {
    Arg::new("output")
        .long("output")
        .value_name("FORMAT")
        .value_parser(["table", "json"])
        .default_value("table")
        .help("Text for people, or JSON for programs")
}

fn backup() -> Command {
    Command::new("backup")
        .about("Write a backup of all groups, as they are at one moment")
        .long_about(
            "Writes one file with all that is stored: metrics, times, TTLs asked and set, and removed groups \
             that can be restored. Of a running gateway it is what there is at one moment, while pushes go \
             on. The file is checked, and there only once it is whole.\n\n  \
             tidegate backup http://localhost:9091 --output tidegate.backup",
        )
        .arg(source())
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("File to write the backup to; one that is there is replaced"),
        )
        .args(gateway::args())
        .args(store_flags())
}

fn restore() -> Command {
    Command::new("restore")
        .about("Build a store of a backup")
        .long_about(
            "Builds a store of a backup that `tidegate backup` has written, in a folder that has none. All is \
             as it was: a group whose TTL has passed since then expires at the start.",
        )
        .arg(
            Arg::new("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The backup"),
        )
        .arg(
            Arg::new("in-part")
                .long("in-part")
                .action(ArgAction::SetTrue)
                .help("Restore all that is left of a backup that is damaged or cut off"),
        )
        .args(store_flags())
}

fn verify() -> Command {
    Command::new("verify")
        .about("Check every group of a store or of a backup, and change nothing")
        .long_about(
            "Reads everything in a store whose gateway is stopped, or in a backup, and reports all that cannot \
             be read or has changed since it was written.",
        )
        .arg(
            Arg::new("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("A backup; without it the store"),
        )
        .arg(output())
        .args(store_flags())
}

fn repair() -> Command {
    Command::new("repair")
        .about("Build a new store from the whole groups of a damaged one")
        .long_about(
            "Builds a new store from all groups that can be read whole, puts it in the place of the old \
             one, and reports the losses. The old files are kept in a folder within it, whose name says \
             so. The gateway must be stopped; its next start would do the same.",
        )
        .arg(
            Arg::new("yes")
                .long("yes")
                .short('y')
                .action(ArgAction::SetTrue)
                .help("Do it without asking"),
        )
        .arg(output())
        .args(store_flags())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_version_says_what_is_known() {
        let unknown = Build::UNKNOWN;
        let build = Build {
            version: "1.2.3",
            revision: unknown,
            branch: unknown,
            user: unknown,
            date: unknown,
            compiler: unknown,
            os: "linux",
            arch: "x86_64",
        };
        let bare = "tidegate, version 1.2.3\n  platform:         linux/x86_64\n";
        assert_eq!(version(&build), bare);
        let build = Build { revision: "abc", date: "today", ..build };
        let more = "tidegate, version 1.2.3 (revision: abc)\n  build date:       today\n  \
                    platform:         linux/x86_64\n";
        assert_eq!(version(&build), more);
        let build = Build { branch: "main", ..build };
        assert!(
            version(&build).starts_with("tidegate, version 1.2.3 (branch: main, revision: abc)\n")
        );
    }

    #[test]
    fn each_setting_is_under_a_heading() {
        for arg in all_flags().iter().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help_heading().is_some(), "{}", arg.get_id());
        }
    }
}
