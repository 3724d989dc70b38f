//! A backup: the pieces of all groups at one moment, one behind the other, and the totals by which they are
//! known to be all. It is read as a damaged store is, by the pieces' own marks and checksums, so that one
//! that is damaged or cut is known, and whatever is whole in it can be had.
//!
//! A store that is written to meanwhile is copied group by group; those that were changed are copied again,
//! until they are few, and these while a batch waits. Of the versions of a group that a backup then has the
//! latest counts.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::error::{BackupError, ReadError};
use super::SledStore;
use super::applied::TOTALS;

/// The begin of a backup.
pub(super) const BEGINNING: &[u8] = b"tidegate backup 4\n";
/// While so many groups or fewer are copied, a batch may wait.
const LAST_MAX: usize = 256;
/// More often changed groups are not copied again before a batch waits.
const ROUNDS: usize = 20;
/// Pieces are handed over in parts of about this size.
const PART_BYTES: usize = 256 << 10;

/// No changes are noted any more once it is dropped.
struct Watch<'a>(&'a SledStore);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.0.copying() = None;
    }
}

impl SledStore {
    /// The groups that were changed since a copy began; `None` if there is none.
    pub(super) fn copying(&self) -> MutexGuard<'_, Option<BTreeSet<u64>>> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives all that a backup consists of to `part`, in order. Blocks, and is long.
    pub fn back_up(
        &self,
        part: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        if self.read_only().is_some() {
            return Err(BackupError::Unopened);
        }
        {
            let mut copying = self.copying();
            if copying.is_some() {
                return Err(BackupError::Busy);
            }
            *copying = Some(BTreeSet::new());
        }
        let watch = Watch(self);
        part(Bytes::from_static(BEGINNING))?;
        let mut numbers: Vec<u64> = self.applied().numbers().iter().collect();
        for _ in 0..ROUNDS {
            self.copy(&numbers, part)?;
            let changed = self.copying().as_mut().map(std::mem::take);
            numbers = changed.unwrap_or_default().into_iter().collect();
            if numbers.len() <= LAST_MAX {
                break;
            }
        }
        let mut last = Vec::new();
        {
            // No batch is applied meanwhile. Whoever takes the backup is not waited for.
            let _still = self.still.write().unwrap_or_else(PoisonError::into_inner);
            numbers.extend(self.copying().iter().flatten());
            numbers.push(TOTALS.group);
            self.copy(&numbers, &mut |bytes| {
                last.push(bytes);
                Ok(())
            })?;
        }
        drop(watch);
        last.into_iter().try_for_each(part)
    }

    fn copy(
        &self,
        numbers: &[u64],
        part: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let groups = self.opened().ok_or(ReadError::Closed)?.groups;
        let mut bytes = Vec::new();
        for number in numbers {
            for piece in groups.scan_prefix(number.to_be_bytes()) {
                let (_, piece) =
                    piece.map_err(|source| ReadError::Sled { number: *number, source })?;
                bytes.extend_from_slice(&piece);
            }
            if bytes.len() >= PART_BYTES {
                part(std::mem::take(&mut bytes).into())?;
            }
        }
        if bytes.is_empty() { Ok(()) } else { part(bytes.into()) }
    }
}
