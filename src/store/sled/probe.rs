//! Whether the disk takes what is written, after it once did not.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::files::sync_folder;

/// Some segments of sled's log, so that a store that is opened again does not fail at once.
const PROBE_BYTES: usize = 4 << 20;
const PROBE_FILE: &str = "probe";

/// Writes something to the folder, syncs it, and removes it.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(PROBE_FILE);
    let written = File::create(&path).and_then(|mut file| {
        // Not zeros, which a file system may not store.
        file.write_all(&vec![0xA5; PROBE_BYTES])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Writes a file anew, from what the kernel has of it. After a sync that has failed the kernel takes
/// pages for clean that the disk does not have: nothing else would ever write them.
pub(super) fn rewrite(path: &Path) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let copied = fs::copy(path, &temporary).and_then(|_| File::open(&temporary)?.sync_all());
    if let Err(error) = copied {
        // Whatever became of it, the next attempt begins anew.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}
