//! Backups: one file with all that is stored at one moment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::TransferError;
use crate::client::{Client, Target};
use crate::config::Config;
use crate::store::{self, BackupError, Findings};

/// Writes a backup of a running gateway, or of the store of the settings, to a file that is there only once
/// it is whole. Blocks.
pub fn back_up(
    config: &Config,
    source: Option<Target>,
    output: &Path,
) -> Result<Findings, TransferError> {
    let failed = |source| TransferError::File { path: output.to_owned(), source };
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = write(config, source, &part).and_then(|()| {
        let findings = store::verify_backup(&part)?;
        if findings.is_sound() {
            Ok(findings)
        } else {
            Err(TransferError::CutOff(findings.summary()))
        }
    });
    let findings = written.inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })?;
    fs::rename(&part, output).map_err(failed)?;
    Ok(findings)
}

fn write(config: &Config, source: Option<Target>, part: &Path) -> Result<(), TransferError> {
    let failed = |source| TransferError::File { path: part.to_owned(), source };
    let mut file = File::create(part).map_err(failed)?;
    if let Some(target) = source {
        let mut answer = Client::new(target)?.post("/api/v2/backup")?;
        io::copy(&mut answer, &mut file).map_err(failed)?;
    } else if config.cluster.is_some() {
        return Err(TransferError::Shared);
    } else {
        let mut written = Ok(());
        let backup = store::back_up(&config.store, &mut |bytes| {
            written = file.write_all(&bytes);
            if written.is_ok() { Ok(()) } else { Err(BackupError::Abandoned) }
        });
        written.map_err(failed)?;
        backup?;
    }
    file.sync_all().map_err(failed)
}

/// Builds the store of the settings of a backup, where there is none. Blocks.
pub fn restore(config: &Config, from: &Path, in_part: bool) -> Result<Findings, TransferError> {
    if config.cluster.is_some() {
        return Err(TransferError::Shared);
    }
    Ok(store::restore(&config.store, from, in_part)?)
}
