//! `tidegate import` and `tidegate export`.

use tokio::runtime::Builder;

use super::{Ended, Failure, failed, settings};
use crate::config::FlagSettings;
use crate::transfer::{self, Destination};

pub(super) fn import(source: &str, dry_run: bool, flags: &FlagSettings) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(failed("cannot start"))?;
    let found = runtime.block_on(transfer::import(&config, source, dry_run));
    let found = found.map_err(failed("cannot import"))?;
    Ok(Ended::well(if dry_run {
        format!("{source} has {found}; nothing was changed")
    } else {
        format!("imported into {}: {found}", config.store.path.display())
    }))
}

pub(super) fn export(
    source: Option<&str>,
    destination: Destination,
    flags: &FlagSettings,
) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    let exported = transfer::export(&config, source, destination);
    let exported = exported.map_err(failed("cannot export"))?;
    // Not on standard output, where the requests may have gone.
    tracing::info!(groups = exported.groups, "exported");
    Ok(Ended::well(""))
}
