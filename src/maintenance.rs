//! `tidegate verify` and `tidegate repair`: a store whose gateway is stopped, looked at and built anew.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use crate::store::salvage::{self, RepairError, Salvaged};
use crate::store::{OpenError, Options};
use crate::time::UnixNanos;

/// The findings, and the repairs.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    salvaged: Salvaged,
    /// Where the old files are, once the store was built anew.
    old: Option<PathBuf>,
}

/// Why a store could not be looked at, or built anew.
#[derive(Debug, Error)]
pub enum MaintenanceError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("{} exists already, probably from a repair that was interrupted: move it away", path.display())]
    InTheWay { path: PathBuf },
    #[error(
        "the new store is in {}, but cannot be put in place of the old one", new.display()
    )]
    Swap { new: PathBuf, source: std::io::Error },
}

/// Looks at everything in a store. Changes nothing.
pub fn verify(options: &Options) -> Result<Report, MaintenanceError> {
    let salvaged = salvage::verify(options)?;
    Ok(Report { path: options.path.clone(), salvaged, old: None })
}

/// Builds a new store from all that can be read of one, puts it in its place, and keeps the old files
/// beside it.
pub fn repair(options: &Options, now: UnixNanos) -> Result<Report, MaintenanceError> {
    let path = &options.path;
    let new = beside(path, "repaired");
    let old = beside(path, &format!("damaged-{}", now.as_millis() / 1000));
    for path in [&new, &old] {
        if path.symlink_metadata().is_ok() {
            return Err(MaintenanceError::InTheWay { path: path.clone() });
        }
    }
    let to = Options { path: new.clone(), ..options.clone() };
    let salvaged = salvage::repair(options, &to, now)?;
    let swapped = fs::rename(path, &old).and_then(|()| fs::rename(&new, path)).and_then(|()| {
        let parent = fs::canonicalize(path)?;
        parent.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    });
    swapped.map_err(|source| MaintenanceError::Swap { new, source })?;
    Ok(Report { path: path.clone(), salvaged, old: Some(old) })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_sound(&self) -> bool {
        self.salvaged.damage.is_empty()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let Salvaged { groups, removed, chunks, bytes, damage } = &self.salvaged;
        let path = self.path.display();
        let mut text = format!(
            "{path}: {groups} groups, {removed} that were removed and can be restored; {chunks} chunks, \
             {bytes} bytes"
        );
        for what in damage {
            let _ = write!(text, "\n  damaged: {what}");
        }
        let _ = match (&self.old, damage.len()) {
            (None, 0) => write!(text, "\nall of it can be read and is as it was written"),
            (None, count) => write!(
                text,
                "\n{count} damaged places; tidegate repair builds a new store from what can be read"
            ),
            (Some(old), _) => {
                write!(
                    text,
                    "\na new store was built from it; the old files are in {}",
                    old.display()
                )
            }
        };
        text
    }

    /// For programs.
    pub fn to_json(&self) -> String {
        let Salvaged { groups, removed, chunks, bytes, damage } = &self.salvaged;
        let value = json!({
            "path": self.path,
            "sound": self.is_sound(),
            "groups": groups,
            "departed": removed,
            "chunks": chunks,
            "bytes": bytes,
            "damage": damage,
            "old": self.old,
        });
        format!("{value:#}")
    }
}
