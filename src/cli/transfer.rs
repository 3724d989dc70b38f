//! `tidegate import` and `tidegate export`.

use tokio::runtime::Builder;

use super::{Ended, Failure, absolute, failed, settings};
use crate::client::Target;
use crate::config::FlagSettings;
use crate::transfer::{self, Destination, Source};

pub(super) fn import(
    source: Source,
    dry_run: bool,
    flags: &FlagSettings,
) -> Result<Ended, Failure> {
    let config = settings(flags)?;
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(failed("cannot start"))?;
    let place = source.to_string();
    let found = runtime.block_on(transfer::import(&config, source, dry_run));
    let found = found.map_err(failed("cannot import"))?;
    Ok(Ended::well(if dry_run {
        format!("{place} has {found}; nothing was changed")
    } else {
        format!("imported into {}: {found}", absolute(&config.store.path).display())
    }))
}

pub(super) fn export(
    source: Option<&Target>,
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
