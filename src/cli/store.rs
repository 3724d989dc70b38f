//! `tidegate verify` and `tidegate repair`.

use super::{Ended, Failure, absolute, confirm, failed, settings};
use crate::config::FlagSettings;
use crate::maintenance;

pub(super) fn run(
    repair: bool,
    yes: bool,
    json: bool,
    flags: &FlagSettings,
) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    if repair && !yes {
        let path = absolute(&config.store.path);
        confirm(&format!(
            "{} will be built anew; its files are kept in a folder within it.",
            path.display()
        ))?;
    }
    let report = if repair {
        maintenance::repair(&config.store).map_err(failed("cannot repair"))?
    } else {
        maintenance::verify(&config.store).map_err(failed("cannot verify"))?
    };
    let text = if json { report.to_json() } else { report.to_text() };
    Ok(Ended { text, well: repair || report.is_sound() })
}
