//! The creation of a store, which a power cut can leave half done.
//!
//! sled syncs nothing of what it creates, and refuses to open what it then finds. Nothing was
//! acknowledged as long as the creation goes on, so that it begins anew: a marker says that it goes
//! on, durable before sled makes its first file and removed before the store is used.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::files::sync_folder;

const MARKER: &str = "creating";

/// Clears what a creation has left that was cut off.
pub(super) fn resume(folder: &Path) -> io::Result<()> {
    if !folder.join(MARKER).try_exists()? {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let path = folder.join(&name);
        match &*name.to_string_lossy() {
            "blobs" => fs::remove_dir_all(path)?,
            "conf" | "db" | "mark" | "schema_version" | "schema_version.new" => {
                fs::remove_file(path)?;
            }
            name if name.starts_with("snap.") => fs::remove_file(path)?,
            _ => {}
        }
    }
    sync_folder(folder)
}

/// Notes that a store is about to be created.
pub(super) fn begin(folder: &Path) -> io::Result<()> {
    File::create(folder.join(MARKER))?;
    sync_folder(folder)
}

/// Notes that the store is there, all of it synced.
pub(super) fn finish(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(MARKER)) {
        Ok(()) => sync_folder(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
