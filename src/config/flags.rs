//! Settings on the command line: a flag each.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::sources::{Origin, Sources};
use super::table::{ForStore, Kind, Row, SETTINGS};

/// Settings given as flags, and the file to read the others from.
#[derive(Debug)]
pub struct FlagSettings {
    pub(super) config_file: Option<PathBuf>,
    matches: ArgMatches,
}

/// The flags of all settings, and that of the file.
pub fn all_flags() -> Vec<Arg> {
    std::iter::once(config_file()).chain(SETTINGS.iter().copied().flat_map(flags)).collect()
}

impl FlagSettings {
    /// Parses flags alone.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Command::new("tidegate").args(all_flags()).try_get_matches_from(args).map(Self::new)
    }

    /// The settings among what a command line has.
    pub fn new(mut matches: ArgMatches) -> Self {
        let config_file = matches.remove_one::<PathBuf>("config.file");
        Self { config_file, matches }
    }

    /// Takes over what the flags say.
    pub(super) fn apply(&self, sources: &mut Sources) {
        for &setting in SETTINGS {
            // A command has the settings that concern it only.
            if setting.kind == Kind::Switch {
                let given = |name: &str| matches!(self.matches.try_get_one(name), Ok(Some(true)));
                if given(setting.name) || given(&negated(setting)) {
                    let value = given(setting.name).to_string();
                    sources.set(setting, vec![value], Origin::Flag);
                }
            } else if let Ok(Some(values)) = self.matches.try_get_many::<String>(setting.name) {
                sources.set(setting, values.cloned().collect(), Origin::Flag);
            }
        }
    }
}

/// The flag that turns a switch off.
fn negated(setting: &Row) -> String {
    format!("no-{}", setting.name)
}

/// The heading in `--help` under which a setting is, by the first word of its name.
fn heading(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or_default() {
        "access" => "Access",
        "cluster" => "Cluster",
        "config" => "Settings file",
        "history" => "Removed groups",
        "limits" => "Limits",
        "log" => "Log",
        "notify" => "Webhook",
        "persistence" | "storage" => "Storage",
        "push" => "Pushes",
        "ttl" => "TTLs",
        _ => "Web",
    }
}

/// The flags of a setting.
fn flags(setting: &'static Row) -> Vec<Arg> {
    let flag = Arg::new(setting.name)
        .long(setting.name)
        .visible_aliases(setting.alias)
        .help_heading(heading(setting.name));
    if setting.kind == Kind::Switch {
        let negated = negated(setting);
        return vec![
            flag.action(ArgAction::SetTrue)
                .conflicts_with(&negated)
                .help(format!("{} [--{negated} turns it off, as it is by default]", setting.help)),
            Arg::new(&negated).long(&negated).action(ArgAction::SetTrue).hide(true),
        ];
    }
    let default = if setting.default.is_empty() { "none" } else { setting.default };
    let action = if setting.kind == Kind::List { ArgAction::Append } else { ArgAction::Set };
    vec![
        flag.value_name(setting.value)
            .action(action)
            .help(format!("{} [default: {default}]", setting.help)),
    ]
}

fn config_file() -> Arg {
    Arg::new("config.file")
        .long("config.file")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help_heading(heading("config.file"))
        .help("TOML file to read settings from [env: TIDEGATE_CONFIG_FILE]")
}

/// The flags of the settings that a command on a store needs.
pub fn store_flags() -> Vec<Arg> {
    let needed = SETTINGS.iter().copied().filter(|row| row.for_store != ForStore::No);
    let flags = needed.flat_map(|row| {
        let hidden = row.for_store == ForStore::Hidden;
        flags(row).into_iter().map(move |flag| if hidden { flag.hide(true) } else { flag })
    });
    std::iter::once(config_file()).chain(flags).collect()
}
