//! The seal: what the files of a store looked like when it was closed.
//!
//! sled recovers from a torn end of its log by cutting the log where it stops making sense. A bit
//! that flips at rest looks the same to it, and would silently cost everything after that place. So
//! an orderly close leaves length and hash of each file, and the next open compares them before
//! sled sees anything. A store that was not closed in order has no seal, and is recovered.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

pub(super) const SEAL_FILE: &str = "seal";
const SEALED_FILES: [&str; 2] = ["conf", "db"];

/// Seals the files of a closed store.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    let temporary = folder.join(format!("{SEAL_FILE}.new"));
    let mut file = File::create(&temporary)?;
    for name in SEALED_FILES {
        writeln!(file, "{}", line(folder, name)?)?;
    }
    file.sync_all()?;
    fs::rename(temporary, folder.join(SEAL_FILE))?;
    File::open(folder)?.sync_all()
}

/// The files of a store, compared with their seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// It was not closed in order.
    No,
    AsItWas,
    /// The file of this name has changed since.
    Changed(&'static str),
}

/// Compares the files with their seal, if there is one.
pub(super) fn check(folder: &Path) -> io::Result<Sealed> {
    let seal = match fs::read(folder.join(SEAL_FILE)) {
        Ok(seal) => seal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sealed::No),
        Err(error) => return Err(error),
    };
    let mut sealed = seal.split(|byte| *byte == b'\n');
    for name in SEALED_FILES {
        let is_as_it_was = match line(folder, name) {
            Ok(line) => sealed.next() == Some(line.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_as_it_was {
            return Ok(Sealed::Changed(name));
        }
    }
    Ok(Sealed::AsItWas)
}

/// Removes the seal: from now on the files change.
pub(super) fn lift(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(SEAL_FILE)) {
        Ok(()) => File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// `NAME LENGTH HASH`
fn line(folder: &Path, name: &str) -> io::Result<String> {
    let mut file = File::open(folder.join(name))?;
    let mut hash = Xxh3::new();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(format!("{name} {length} {:032x}", hash.digest128()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        length += read as u64;
    }
}
