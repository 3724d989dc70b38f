//! `tidegate verify`, `repair`, `backup` and `restore`.

use std::path::Path;

use super::{Ended, Failure, absolute, confirm, failed, settings};
use crate::client::Target;
use crate::config::FlagSettings;
use crate::{maintenance, transfer};

/// Looks at the store of the settings, or at a backup.
pub(super) fn verify(
    backup: Option<&Path>,
    json: bool,
    flags: &FlagSettings,
) -> Result<Ended, Failure> {
    let report = match backup {
        Some(backup) => maintenance::verify_backup(backup),
        None => maintenance::verify(&settings(flags)?.store),
    };
    let report = report.map_err(failed("cannot verify"))?;
    let text = if json { report.to_json() } else { report.to_text() };
    Ok(Ended { text, well: report.is_sound() })
}

/// Makes a backup of a running gateway, or of the store of the settings.
pub(super) fn back_up(
    source: Option<Target>,
    output: &Path,
    flags: &FlagSettings,
) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    let findings = transfer::back_up(&config, source, output);
    let findings = findings.map_err(failed("there is no backup"))?;
    Ok(Ended::well(format!("{}: {}", absolute(output).display(), findings.summary())))
}

/// Builds the store of the settings of a backup.
pub(super) fn restore(from: &Path, in_part: bool, flags: &FlagSettings) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    let findings = transfer::restore(&config, from, in_part);
    let findings = findings.map_err(failed("nothing was restored"))?;
    let lines = findings.lines().into_iter().map(|line| format!("\n  {line}"));
    let path = absolute(&config.store.path);
    let (summary, lines) = (findings.summary(), lines.collect::<String>());
    Ok(Ended::well(format!("restored into {}: {summary}{lines}", path.display())))
}

/// Builds the store of the settings anew of all that can be read of it.
pub(super) fn repair(yes: bool, json: bool, flags: &FlagSettings) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    if !yes {
        let path = absolute(&config.store.path);
        confirm(&format!(
            "{} will be built anew; its files are kept in a folder within it.",
            path.display()
        ))?;
    }
    let report = maintenance::repair(&config.store).map_err(failed("cannot repair"))?;
    Ok(Ended::well(if json { report.to_json() } else { report.to_text() }))
}
