//! Room on the disk that is kept for deletions and changes of TTLs: once the disk is full it is given up
//! for them, so that there is a way out.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

const BALLAST_FILE: &str = "ballast";
/// Some segments of sled's log, and what a store takes that is opened again.
const BALLAST_BYTES: u64 = 8 << 20;
/// No more of what is free than one part in so many: a disk may be small.
const SHARE: u64 = 8;

/// Makes the ballast, where it is missing.
pub(super) fn keep(folder: &Path) -> io::Result<()> {
    let path = folder.join(BALLAST_FILE);
    if path.try_exists()? {
        return Ok(());
    }
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = BALLAST_BYTES.min(disk.f_bavail.saturating_mul(disk.f_frsize) / SHARE);
    let written = File::create(&path).and_then(|mut file| {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(&mut file, bytes)?,
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

/// Takes room where the file system cannot set it aside. Not by zeros, which it may not store.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let block = vec![0xA5; 1 << 20];
    for at in (0..bytes).step_by(block.len()) {
        let len = usize::try_from(bytes - at).unwrap_or(block.len()).min(block.len());
        file.write_all(block.get(..len).unwrap_or_default())?;
    }
    Ok(())
}

/// Gives the ballast up. Returns whether there was any.
pub(super) fn give_up(folder: &Path) -> bool {
    fs::remove_file(folder.join(BALLAST_FILE)).is_ok()
}
