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
    if let Some(report) = report {
        fs::create_dir_all(&old)?;
        fs::write(old.join(REPORT), report)?;
    }
    if new.join("db").try_exists()? {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if FILES.contains(&&*text) || text.starts_with("snap.") {
                fs::create_dir_all(&old)?;
                fs::rename(folder.join(&name), old.join(&name))?;
            }
        }
        if old.try_exists()? {
            sync_folder(&old)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of the old store, in an order in which the folder may give them.
    const OLD_FILES: [&str; 6] = ["snap.1", "conf", "db", "schema_version", "mark", SEAL_FILE];

    fn set_up(folder: &Path) {
        fs::create_dir_all(folder.join(NEW)).unwrap();
        fs::create_dir_all(folder.join("damaged-1")).unwrap();
        fs::write(folder.join("damaged-1").join(REPORT), "all is well").unwrap();
        for name in OLD_FILES {
            fs::write(folder.join(name), "old").unwrap();
        }
        for name in FILES {
            fs::write(folder.join(NEW).join(name), "new").unwrap();
        }
    }

    #[test]
    fn a_move_that_was_cut_off_is_finished() {
        let moves: Vec<_> = OLD_FILES
            .iter()
            .map(|name| ((*name).to_owned(), format!("damaged-1/{name}")))
            .chain(FILES.iter().map(|name| (format!("{NEW}/{name}"), (*name).to_owned())))
            .collect();
        for done in 0..=moves.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            set_up(path);
            for (from, to) in moves.iter().take(done) {
                fs::rename(path.join(from), path.join(to)).unwrap();
            }
            resume(path).unwrap();
            for name in FILES {
                assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "new", "{done}: {name}");
            }
            for name in OLD_FILES {
                let old = fs::read_to_string(path.join("damaged-1").join(name)).unwrap();
                assert_eq!(old, "old", "{done}: {name}");
            }
            assert!(!path.join("snap.1").try_exists().unwrap(), "{done}");
            assert!(!path.join(NEW).try_exists().unwrap(), "{done}");
            assert_eq!(reports(path).len(), 1);
        }
    }

    #[test]
    fn new_files_that_were_not_finished_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        set_up(folder.path());
        fs::remove_file(folder.path().join(NEW).join(SEAL_FILE)).unwrap();
        resume(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("db")).unwrap(), "old");
        assert!(!folder.path().join(NEW).try_exists().unwrap());
    }
}
