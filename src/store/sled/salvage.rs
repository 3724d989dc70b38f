//! Reads a store past sled, and builds a new one of that.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::batch::Batch;
use super::super::catalog::Totals;
use super::super::chunk::{Chunk, ChunkKey, HEAD, TOMBSTONE};
use super::super::commit::Commit;
use super::super::error::{BackupError, CommitError, OpenError, RepairError};
use super::super::record::TotalsRecord;
use super::backup::BEGINNING;
use super::findings::Findings;
use super::found::{Found, FoundGroup};
use super::opened::{lock, refuse_newer};
use super::scan::Scan;
use super::schema::{SCHEMA_VERSION, StoredVersion};
use super::seal::Sealed;
use super::{Options, SledStore, files, mark, rebuild, schema, seal};
use crate::time::{Moment, UnixMillis, UnixNanos};

/// So many groups are written in one go.
const GROUPS_AT_ONCE: usize = 256;
/// So many groups that are not as they were are logged one by one.
const LOG_LINES_MAX: usize = 100;
/// After so many groups the log says how far it is.
const PROGRESS: usize = 100_000;

/// A store as it was found, in memory: sled writes to what it opens, and clears what it takes for torn.
#[derive(Debug)]
pub(super) struct Salvaged {
    pub(super) findings: Findings,
    /// By number, each in order.
    pub(super) groups: BTreeMap<u64, Vec<Chunk>>,
    pub(super) totals: Option<TotalsRecord>,
}

/// A store that cannot be opened, and is read as it was found.
#[derive(Debug)]
pub(super) struct Unopened {
    pub(super) error: Arc<CommitError>,
    pub(super) salvaged: Salvaged,
}

impl Unopened {
    pub(super) fn new(error: RepairError, salvaged: Salvaged) -> Self {
        Self { error: Arc::new(CommitError::Unopened(Box::new(error))), salvaged }
    }
}

impl Salvaged {
    /// A chunk; `None` if it is not there.
    pub(super) fn chunk(&self, key: ChunkKey) -> Option<&Chunk> {
        self.groups.get(&key.group)?.iter().find(|chunk| chunk.key == key)
    }
}

/// A store before sled opens it, where there is reason to doubt that sled finds all of it: it was not
/// closed in order, or has changed since.
pub(super) fn in_doubt(folder: &Path) -> Result<Option<Salvaged>, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    // One of an older version has no pieces to be found.
    if !matches!(schema::peek(folder), Ok(StoredVersion::Known(SCHEMA_VERSION)) | Err(_)) {
        return Ok(None);
    }
    let sealed = seal::check(folder).map_err(failed)?;
    if sealed == Sealed::AsItWas {
        return Ok(None);
    }
    let salvaged = salvage(folder).map_err(failed)?;
    // Until its first write by a build that keeps lists, nothing tells purged groups from others.
    let is_listed = salvaged.totals.is_some_and(|totals| totals.is_listed);
    Ok((is_listed || sealed != Sealed::No).then_some(salvaged))
}

/// All that can be read of a folder.
pub(super) fn salvage(folder: &Path) -> io::Result<Salvaged> {
    let mut salvaged = Salvaged::of(&found(folder)?)?;
    salvaged.findings.damage.extend(changed(folder)?);
    Ok(salvaged)
}

impl Salvaged {
    fn of(found: &Found) -> io::Result<Self> {
        let mut groups = BTreeMap::new();
        let findings = found.groups(&mut |FoundGroup { number, chunks, .. }| {
            groups.insert(number, chunks);
            Ok::<_, io::Error>(())
        })?;
        Ok(Self { findings, groups, totals: found.totals() })
    }
}

fn found(folder: &Path) -> io::Result<Found> {
    let mark = mark::read(folder)?.map(|(_, mark)| mark);
    Found::new(Scan::of(folder)?, mark)
}

/// The files that are not as they were when the store was closed.
fn changed(folder: &Path) -> io::Result<Vec<String>> {
    let mut changed = Vec::new();
    if let Sealed::Changed(name) = seal::check(folder)? {
        changed.push(format!("its file {name} is not as it was when the store was closed"));
    }
    if let Err(error) = schema::peek(folder) {
        changed.push(error.to_string());
    }
    Ok(changed)
}

/// Builds a new store of what was found, puts it in its place, and keeps the old files: at a start, where
/// nobody was asked. The lock is held.
pub(super) fn rebuild(options: &Options, salvaged: &Salvaged) -> Result<(), RepairError> {
    let path = &options.path;
    if salvaged.groups.is_empty() && salvaged.findings.expected.is_none_or(|it| it.groups > 0) {
        let what = "no group of it can be read".into();
        return Err(OpenError::Damaged { path: path.clone(), what }.into());
    }
    rebuild::has_room(path)?;
    tracing::error!(
        path = %path.display(),
        findings = salvaged.findings.summary(),
        "the store is damaged: it is built anew of all that can be read"
    );
    let old = replace(options, salvaged)?;
    let lines = salvaged.findings.lines();
    for line in lines.iter().take(LOG_LINES_MAX) {
        tracing::error!("the store was damaged: {line}");
    }
    if lines.len() > LOG_LINES_MAX {
        tracing::error!(
            more = lines.len() - LOG_LINES_MAX,
            "the store was damaged: the report has the rest"
        );
    }
    tracing::warn!(
        old = %old.display(),
        "the store was built anew; its old files are kept until you remove their folder"
    );
    Ok(())
}

/// Builds a new store of what was found, and puts it in the place of the old one. Returns the folder of
/// the old files.
fn replace(options: &Options, salvaged: &Salvaged) -> Result<PathBuf, RepairError> {
    let path = &options.path;
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    rebuild::resume(path).map_err(failed)?;
    build_beside(options, salvaged)?;
    let report = salvaged.findings.report();
    Ok(rebuild::put_in_place(path, Some(&report)).map_err(failed)?)
}

/// Builds a new store in the folder from which it is put in place.
fn build_beside(options: &Options, salvaged: &Salvaged) -> Result<(), RepairError> {
    let new = options.path.join(rebuild::NEW);
    build(&Options { path: new.clone(), ..options.clone() }, salvaged).inspect_err(|_| {
        // Whatever became of it, the next attempt begins anew.
        let _ = fs::remove_dir_all(&new);
    })
}

fn build(to: &Options, salvaged: &Salvaged) -> Result<(), RepairError> {
    let new = SledStore::open(to)?;
    let totals = salvaged.totals.unwrap_or_default();
    let at = Moment { now: UnixMillis(totals.now_ms), wall: UnixNanos(totals.at_ns) };
    let commit = Commit { at, offset_ms: totals.offset_ms, ..Commit::default() };
    let (mut batch, mut counts) = (Batch::default(), Totals::default());
    for (at, chunks) in (1..).zip(salvaged.groups.values()) {
        let is_removed = chunks.iter().any(|chunk| chunk.key.chunk == TOMBSTONE);
        counts.groups += u64::from(!is_removed);
        counts.removed += u64::from(is_removed);
        for Chunk { key, payload } in chunks {
            if [HEAD, TOMBSTONE].contains(&key.chunk) {
                counts.sum += u64::from(key.to_ref(payload).checksum);
            }
            batch.put(*key, payload.clone(), None, None);
        }
        if at % GROUPS_AT_ONCE == 0 {
            new.apply(&mem::take(&mut batch), counts, &commit)?;
        }
        if at % PROGRESS == 0 {
            tracing::info!(groups = at, of = salvaged.groups.len(), "building the store anew");
        }
    }
    new.apply(&batch, counts, &commit)?;
    if salvaged.totals.is_some() {
        new.keep_clock_offset_ms(totals.offset_ms)?;
        new.keep_alive_ms(totals.now_ms)?;
    }
    // Whatever it began with was imported.
    new.keep_import_state(super::ImportState::Done)?;
    new.sync()?;
    new.close()?;
    Ok(())
}

/// Looks at everything in a store that no gateway uses, and changes nothing. An error means that nothing
/// can be read, or that it is no store.
pub fn verify(options: &Options) -> Result<Findings, OpenError> {
    let (path, _lock) = existing(options)?;
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    let found = found(path).map_err(failed)?;
    let mut findings = found.groups(&mut |_| Ok::<_, io::Error>(())).map_err(failed)?;
    findings.damage.extend(changed(path).map_err(failed)?);
    Ok(findings)
}

/// Makes a backup of a store that no gateway uses. Gives all that it consists of to `part`, in order.
pub fn back_up(
    options: &Options,
    part: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
) -> Result<(), RepairError> {
    exists(&options.path)?;
    let store = SledStore::open(options)?;
    store.back_up(part)?;
    store.close()?;
    Ok(())
}

/// Looks at everything in a backup. An error means that it is none.
pub fn verify_backup(path: &Path) -> Result<Findings, OpenError> {
    let failed = |source| OpenError::Backup { path: path.to_owned(), source };
    let found = backup(path).map_err(failed)?;
    found.groups(&mut |_| Ok::<_, io::Error>(())).map_err(failed)
}

/// Builds a store of a backup, where there is none. One that is not whole is not restored unless `in_part`.
pub fn restore(options: &Options, from: &Path, in_part: bool) -> Result<Findings, RepairError> {
    let path = &options.path;
    let failed = |source| OpenError::Backup { path: from.to_owned(), source };
    let salvaged = Salvaged::of(&backup(from).map_err(failed)?).map_err(failed)?;
    if !salvaged.findings.is_sound() && !in_part {
        return Err(RepairError::NotWhole(salvaged.findings.summary()));
    }
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    files::create_folders(path).map_err(failed)?;
    let _lock = lock(path)?;
    rebuild::resume(path).map_err(failed)?;
    if path.join("db").try_exists().map_err(failed)? {
        return Err(RepairError::NotEmpty(path.clone()));
    }
    build_beside(options, &salvaged)?;
    rebuild::resume(path).map_err(failed)?;
    Ok(salvaged.findings)
}

fn backup(path: &Path) -> io::Result<Found> {
    let mut begin = [0; BEGINNING.len()];
    let is_backup = io::Read::read_exact(&mut fs::File::open(path)?, &mut begin);
    if is_backup.is_err() || begin != BEGINNING {
        return Err(io::Error::other("it is no backup that this build has made, or could read"));
    }
    Found::new(Scan::of_file(path)?, None)
}

/// Builds a store that no gateway uses anew of all that can be read of it. Returns the folder that has
/// its old files.
pub fn repair(options: &Options) -> Result<(Findings, PathBuf), RepairError> {
    let (path, _lock) = existing(options)?;
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    rebuild::resume(path).map_err(failed)?;
    let salvaged = salvage(path).map_err(failed)?;
    let old = replace(options, &salvaged)?;
    Ok((salvaged.findings, old))
}

/// Fails where a folder has no store.
pub(in crate::store) fn exists(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    if path.join("db").try_exists().map_err(failed)? {
        return Ok(());
    }
    Err(failed(io::Error::new(io::ErrorKind::NotFound, "there is no store in it")))
}

/// The folder of a store that is there, of this version, locked. Nothing is created for it.
fn existing(options: &Options) -> Result<(&Path, fs::File), OpenError> {
    let path = &options.path;
    refuse_newer(path)?;
    exists(path)?;
    if let Ok(StoredVersion::Known(version)) = schema::peek(path)
        && version < SCHEMA_VERSION
    {
        return Err(OpenError::Older {
            path: path.clone(),
            stored: version,
            known: SCHEMA_VERSION,
        });
    }
    Ok((path, lock(path)?))
}

/// All that a scan finds, while the store is open.
#[cfg(test)]
pub(in crate::store) fn scanned(folder: &Path) -> (Findings, Vec<super::StoredGroup>) {
    let Salvaged { findings, groups, .. } = salvage(folder).expect("the folder can be read");
    let group = |(number, chunks)| super::assemble(number, chunks).expect("it is whole").group;
    (findings, groups.into_iter().map(group).collect())
}
