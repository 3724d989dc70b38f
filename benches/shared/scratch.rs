//! Where the benches store.

use std::path::Path;
use std::{fs, io};

/// A folder that goes when it is dropped. Beside the build rather than in /tmp, which may be memory:
/// the disk is part of the subject.
pub(crate) fn scratch(bench: &str) -> io::Result<tempfile::TempDir> {
    let target = Path::new("target").join(bench);
    fs::create_dir_all(&target)?;
    tempfile::TempDir::new_in(target)
}
