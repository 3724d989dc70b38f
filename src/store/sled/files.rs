//! The syncs beside sled that its files need to survive a power cut.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Of the folder of a store: for its owner alone.
const PRIVATE: u32 = 0o700;
const EVERYBODY: u32 = 0o007;
/// Begins of the names of snapshots, and of folders of the old files of a store that was built anew.
const OWN_BEGINS: [&str; 2] = ["snap.", "damaged-"];
/// The other files in the folder of a store.
const OWN: [&str; 14] = [
    "ballast",
    "blobs",
    "conf",
    "creating",
    "db",
    "db.new",
    "lock",
    "mark",
    "probe",
    "repaired",
    "schema_version",
    "schema_version.new",
    "seal",
    "seal.new",
];

/// Creates a folder and those above it that are missing, and syncs the entry of each: an entry that
/// is lost takes with it all that is below. Those that are there may be from a start that was cut
/// off before it had synced them, so that the entry of the folder itself is synced in any case.
pub(super) fn create_folders(folder: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let above: Vec<_> = folder.ancestors().skip(1).take_while(missing).collect();
    for path in above.into_iter().rev().chain([folder]) {
        if path == folder {
            create_private(path)?;
        } else {
            fs::create_dir_all(path)?;
        }
        if let Some(parent) = fs::canonicalize(path)?.parent() {
            match sync_folder(parent) {
                // Whoever may not read it has not created anything in it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
    }
    Ok(())
}

/// Creates a folder for its owner alone, if it is missing: what was pushed is not for every user of the
/// host, whatever sled gives its files.
fn create_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        created => created,
    }
}

/// Closes a folder that was there to all but its owner, if everybody may look into it and it is ours:
/// nothing but a store is in it. One that is open to a group alone was made so by somebody. Returns
/// whether it is open to everybody and stays so.
pub(super) fn make_private(folder: &Path) -> io::Result<bool> {
    let mut permissions = fs::metadata(folder)?.permissions();
    if permissions.mode() & EVERYBODY == 0 {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let is_own =
            OWN.contains(&&*name) || OWN_BEGINS.iter().any(|begin| name.starts_with(begin));
        if !is_own {
            return Ok(true);
        }
    }
    permissions.set_mode(PRIVATE);
    match fs::set_permissions(folder, permissions) {
        // Somebody else's, as where it is mounted.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(true),
        set => set.map(|()| false),
    }
}

/// Has the entries of a folder on disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Syncs what sled creates and never syncs: `conf`, the file's size, and the folder's entries.
pub(super) fn sync_created(folder: &Path, file: &File) -> io::Result<()> {
    file.sync_all()?;
    File::open(folder.join("conf"))?.sync_all()?;
    sync_folder(folder)
}

/// Removes the snapshots that sled had not finished to write when the power went, or the process
/// was killed: it takes the name for that of a snapshot, and refuses to open what has half of one.
/// None is needed, as the log has all that is in it.
pub(super) fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(folder.join(&*name))?;
        }
    }
    Ok(())
}

/// Waits until sled has let go of its file: it does so on a thread of its own, some time after the
/// last handle was dropped. Readers keep theirs for one read.
pub(super) fn released(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    file.lock()?;
    file.unlock()
}
