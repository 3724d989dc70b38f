//! Settings: flags, environment and file become one validated [`Config`], made of the options that
//! the parts define for themselves.

mod access;
mod cluster;
mod flags;
mod memory;
mod problems;
mod reader;
mod rules;
mod sources;
mod table;
mod validate;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cluster::Cluster;
pub use flags::{FlagSettings, all_flags, store_flags};
pub use problems::Problems;
pub use sources::{InForce, TOKEN_VARIABLE};

use crate::store::SharedSettings;
use crate::telemetry::log;
use crate::webhook;
use crate::{gateway, http, store};
use sources::{Sources, unknown_variables};
use validate::validate;

/// All settings, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub http: http::Options,
    pub store: store::Options,
    /// Where replicas share the groups, in place of the store.
    pub cluster: Option<Cluster>,
    pub gateway: gateway::Options,
    pub log: log::Options,
    /// For requests under way when the gateway stops.
    pub shutdown_grace: Duration,
    /// For one commit; a store that takes longer is stuck.
    pub commit_timeout: Duration,
    /// A Go Pushgateway's persistence file, to be imported once.
    pub persistence_file: Option<PathBuf>,
    /// Who is notified of removed groups.
    pub notify: Option<webhook::Options>,
    /// The file that was read, and whether it is to be watched.
    pub file: Option<PathBuf>,
    pub watch: bool,
    /// Valid settings that are probably mistakes.
    pub warnings: Vec<String>,
    /// All settings, for people.
    pub in_force: Vec<InForce>,
}

impl Config {
    /// Reads the settings from flags, environment and the file that they name.
    pub fn load(flags: &FlagSettings) -> Result<Self, Problems> {
        Self::load_in_cluster(flags, &SharedSettings::new())
    }

    /// The same, but for those that a cluster has in force, which count.
    pub fn load_in_cluster(
        flags: &FlagSettings,
        in_force: &SharedSettings,
    ) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        let file = flags.config_file.clone();
        let file = file.or_else(|| variable("TIDEGATE_CONFIG_FILE").map(PathBuf::from));
        if let Some(file) = &file {
            read(file, &mut sources, &mut problems);
        }
        sources.environment(variable);
        flags.apply(&mut sources);
        sources.cluster(in_force);
        let mut config = validate(&sources, problems)?;
        config.warnings.extend(unknown_variables(variables()));
        if config.watch && file.is_none() {
            let warning = "config.watch is set, but there is no config.file to watch";
            config.warnings.push(warning.into());
        }
        Ok(Self { file, ..config })
    }

    /// Reads the settings as they would be if the file had this text.
    pub fn load_proposed(flags: &FlagSettings, text: &str) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        sources.toml(Path::new("toml"), text, &mut problems);
        sources.environment(variable);
        flags.apply(&mut sources);
        validate(&sources, problems)
    }

    /// Reads the settings from a file alone.
    pub fn from_file(file: &Path) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        read(file, &mut sources, &mut problems);
        validate(&sources, problems)
    }

    /// Reads the settings from a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        sources.toml(Path::new("toml"), text, &mut problems);
        validate(&sources, problems)
    }

    /// Reads the settings from flags alone.
    pub fn from_flags(flags: &[&str]) -> Result<Self, String> {
        let program = std::iter::once("tidegate");
        let args = program.chain(flags.iter().copied()).map(OsString::from);
        let flags = FlagSettings::parse(args).map_err(|error| error.to_string())?;
        let mut sources = Sources::default();
        flags.apply(&mut sources);
        validate(&sources, Problems::default()).map_err(|problems| problems.to_string())
    }
}

/// A variable of the environment, if it is there and text.
#[expect(clippy::disallowed_methods, reason = "settings may be in the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The names of all variables of the environment that are text.
fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn read(file: &Path, sources: &mut Sources, problems: &mut Problems) {
    match std::fs::read_to_string(file) {
        Ok(text) => sources.toml(file, &text, problems),
        Err(error) => problems.add(&file.display().to_string(), format!("cannot read it: {error}")),
    }
}

#[cfg(test)]
mod tests;
