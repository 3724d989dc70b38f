//! A new store in place of one that is damaged, within its folder: the folder may be a mount point.
//!
//! The new files are made in a folder of their own. Once they are closed and sealed there, the old ones
//! are moved into another, and the new ones to their place. A power cut leaves either the old files or
//! the new ones, with a move to be finished by the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::error::OpenError;
use super::files::sync_folder;
use super::seal::SEAL_FILE;

/// The folder of the new files.
pub(super) const NEW: &str = "repaired";
/// Begin of the names of the folders of old files.
const OLD: &str = "damaged-";
/// The findings, in the folder of the old files.
const REPORT: &str = "report.txt";
/// The files of a store, in the order in which they are put in place: as long as `db` is among the new
/// ones, all that lies at its place is old; and the seal says to the last that the new ones are whole.
const FILES: [&str; 6] = ["db", "blobs", "conf", "mark", "schema_version", SEAL_FILE];
/// So many sets of old files are kept: a disk that goes on failing is not filled up by them.
const OLD_MAX: usize = 3;

/// Removes new files that were not finished, or finishes to put them in place.
pub(super) fn resume(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW);
    if !new.try_exists()? {
        return Ok(());
    }
    if !new.join(SEAL_FILE).try_exists()? {
        return fs::remove_dir_all(new);
    }
    put_in_place(folder, None).map(drop)
}

/// Puts finished new files in place. Returns the folder of the old ones. `report`: the findings; without
/// them an earlier attempt is finished.
pub(super) fn put_in_place(folder: &Path, report: Option<&str>) -> io::Result<PathBuf> {
    let new = folder.join(NEW);
    let last = old_folders(folder)?.last().map_or(0, |(number, _)| *number);
    let number = if report.is_some() { last + 1 } else { last };
    let old = folder.join(format!("{OLD}{number}"));
    fs::create_dir_all(&old)?;
    if let Some(report) = report {
        fs::write(old.join(REPORT), report)?;
    }
    sync_folder(folder)?;
    if new.join("db").try_exists()? {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if FILES.contains(&&*text) || text.starts_with("snap.") {
                fs::rename(folder.join(&name), old.join(&name))?;
            }
        }
        sync_folder(&old)?;
    }
    for name in FILES {
        match fs::rename(new.join(name), folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => sync_folder(folder)?,
        }
    }
    fs::remove_dir_all(new)?;
    sync_folder(folder)?;
    Ok(old)
}

/// The folders of old files by their numbers, the oldest first.
fn old_folders(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_string_lossy().strip_prefix(OLD).and_then(|it| it.parse().ok());
        folders.extend(number.map(|number| (number, entry.path())));
    }
    folders.sort();
    Ok(folders)
}

/// Fails where so many sets of old files are kept that another would be too many.
pub(super) fn has_room(folder: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let old = old_folders(folder).map_err(failed)?;
    if old.len() < OLD_MAX {
        return Ok(());
    }
    let what = format!(
        "it was damaged {OLD_MAX} times before, so that its disk may be failing; see to the disk, remove \
         the folders {OLD}* in it once they are of no more use, and start again"
    );
    Err(OpenError::Damaged { path: folder.to_owned(), what })
}

/// The findings of earlier repairs, with the folder of each: as long as its old files are kept.
pub(super) fn reports(folder: &Path) -> Vec<(PathBuf, String)> {
    let folders = old_folders(folder).unwrap_or_default();
    let read = |(_, folder): (u32, PathBuf)| {
        let report = fs::read_to_string(folder.join(REPORT)).ok()?;
        Some((folder, report))
    };
    folders.into_iter().filter_map(read).collect()
}
