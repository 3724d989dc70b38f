//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::settings::{ALIASES, SETTINGS};
use super::source::{Origin, Sources};

/// What the command line asks for.
#[derive(Debug)]
pub enum Args {
    /// Serve, with these settings.
    Serve(FlagSettings),
    /// Check a settings file.
    CheckConfig(PathBuf),
}

/// Settings given as flags, and the file to read the others from.
#[derive(Debug)]
pub struct FlagSettings {
    pub(super) config_file: Option<PathBuf>,
    matches: ArgMatches,
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
      Say what is wrong with a settings file, and exit.
  echo 'backup_last_success_seconds 1.7e9' |
    curl --data-binary @- http://localhost:9091/metrics/job/backup
      Push a metric.

Every setting can also be given in the environment: --ttl.default is TIDEGATE_TTL_DEFAULT.
A flag counts over the environment, the environment over the file, the file over the default.";

impl Args {
    /// Parses the command line. An error says what to print and how to exit: `--help` and
    /// `--version` are errors here.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = command().try_get_matches_from(args)?;
        if let Some(("check-config", found)) = matches.subcommand() {
            let file = found.get_one::<PathBuf>("FILE").cloned().unwrap_or_default();
            return Ok(Self::CheckConfig(file));
        }
        let config_file = matches.remove_one::<PathBuf>("config.file");
        Ok(Self::Serve(FlagSettings { config_file, matches }))
    }
}

impl FlagSettings {
    /// Takes over what the flags say.
    pub(super) fn apply(&self, sources: &mut Sources) {
        for setting in SETTINGS {
            if let Some(values) = self.matches.get_many::<String>(setting.name) {
                sources.set(setting, values.cloned().collect(), Origin::Flag);
            }
        }
    }
}

fn command() -> Command {
    let file = Arg::new("config.file")
        .long("config.file")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file to read settings from [env: TIDEGATE_CONFIG_FILE]");
    let settings = SETTINGS.iter().map(|setting| {
        let aliases = ALIASES.iter().filter(|(_, name)| *name == setting.name);
        Arg::new(setting.name)
            .long(setting.name)
            .visible_aliases(aliases.map(|(alias, _)| *alias))
            .value_name(setting.value)
            .action(if setting.list { ArgAction::Append } else { ArgAction::Set })
            .help(format!("{} [default: {}]", setting.help, setting.default))
    });
    let check = Command::new("check-config")
        .about("Say what is wrong with a settings file")
        .long_about(
            "Reads a settings file as `tidegate --config.file` would and says everything that is \
             wrong with it. Exits 0 if that is nothing, else 1.",
        )
        .arg(
            Arg::new("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The TOML file"),
        );
    Command::new("tidegate")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "A push gateway for Prometheus that keeps what was pushed across restarts and forgets \
             a group once its TTL has passed",
        )
        .after_help(EXAMPLES)
        .arg(file)
        .args(settings)
        .subcommand(check)
        .args_conflicts_with_subcommands(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
