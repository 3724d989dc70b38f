//! The schema version of a store, and the way to the present one.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::store::error::OpenError;

#[path = "../../../migrations/mod.rs"]
mod migrations;

/// The version that this build reads and writes.
pub const SCHEMA_VERSION: u32 = 4;

/// The version beside the database, readable without opening it: sled writes to what it opens, and
/// a store of a newer version must stay as it is.
const VERSION_FILE: &str = "schema_version";
const META_KEY: &str = "schema_version";

/// The version that a folder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum StoredVersion {
    /// There is no store yet.
    Fresh,
    Known(u32),
    /// Written by a newer build: never opened, never migrated, never deleted.
    Newer(u32),
}

impl StoredVersion {
    fn of(version: u32) -> Self {
        match version {
            0 => Self::Fresh,
            version if version > SCHEMA_VERSION => Self::Newer(version),
            version => Self::Known(version),
        }
    }
}

/// Reads the version beside the database. Changes nothing.
pub(in crate::store) fn peek(folder: &Path) -> Result<StoredVersion, OpenError> {
    match fs::read(folder.join(VERSION_FILE)) {
        Ok(bytes) => {
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
            number.map(StoredVersion::of).ok_or_else(|| OpenError::Damaged {
                path: folder.to_owned(),
                what: format!("its file {VERSION_FILE} holds no number"),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StoredVersion::Fresh),
        Err(source) => Err(OpenError::Folder { path: folder.to_owned(), source }),
    }
}

/// Brings an open store to the present version. Refuses a newer one.
pub(in crate::store) fn migrate(folder: &Path, db: &sled::Db) -> Result<(), OpenError> {
    let failed = |source| OpenError::Sled { path: folder.to_owned(), source };
    let meta = db.open_tree("meta").map_err(failed)?;
    let stored = match meta.get(META_KEY).map_err(failed)? {
        None => 0,
        Some(bytes) => {
            bytes.as_ref().try_into().map(u32::from_le_bytes).map_err(|_| OpenError::Damaged {
                path: folder.to_owned(),
                what: "its schema version is no number".into(),
            })?
        }
    };
    if let StoredVersion::Newer(stored) = StoredVersion::of(stored) {
        return Err(newer(folder, stored));
    }
    for migration in migrations::ALL.iter().filter(|migration| migration.version > stored) {
        tracing::info!(
            from = migration.version - 1,
            to = migration.version,
            name = migration.name,
            "migrating the store"
        );
        (migration.up)(db).map_err(failed)?;
        db.flush().map_err(failed)?;
        meta.insert(META_KEY, &migration.version.to_le_bytes()).map_err(failed)?;
        db.flush().map_err(failed)?;
    }
    let io_failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    if peek(folder)? != StoredVersion::Known(SCHEMA_VERSION) {
        write_version_file(folder).map_err(io_failed)?;
    }
    Ok(())
}

/// The refusal of a store from the future.
pub(in crate::store) fn newer(folder: &Path, stored: u32) -> OpenError {
    OpenError::Newer { path: folder.to_owned(), stored, known: SCHEMA_VERSION }
}

fn write_version_file(folder: &Path) -> io::Result<()> {
    let temporary = folder.join(format!("{VERSION_FILE}.new"));
    let mut file = fs::File::create(&temporary)?;
    writeln!(file, "{SCHEMA_VERSION}")?;
    file.sync_all()?;
    fs::rename(temporary, folder.join(VERSION_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_consecutive_and_end_at_the_present_version() {
        let listed: Vec<u32> = migrations::ALL.iter().map(|migration| migration.version).collect();
        assert_eq!(listed, (1..=SCHEMA_VERSION).collect::<Vec<_>>());
    }

    #[test]
    fn each_migration_run_twice_is_the_same_as_once() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        for migration in migrations::ALL {
            (migration.up)(&db).unwrap();
            let once = db.checksum().unwrap();
            (migration.up)(&db).unwrap();
            assert_eq!(db.checksum().unwrap(), once, "{}", migration.name);
        }
    }

    #[test]
    fn versions_beyond_the_present_stay_representable() {
        assert_eq!(StoredVersion::of(SCHEMA_VERSION), StoredVersion::Known(SCHEMA_VERSION));
        assert_eq!(StoredVersion::of(SCHEMA_VERSION + 6), StoredVersion::Newer(SCHEMA_VERSION + 6));
    }
}
