//! The mark: how far the store was synced, beside sled's files.
//!
//! After a crash sled cuts its log where it stops making sense: at a torn end, which was never
//! acknowledged, or at a bit that has flipped, which costs all that follows. Each batch says how many
//! writes and groups there are with it, in the store itself; once it is synced, the mark says so, too.
//! A store that says less than its mark has lost something.
//!
//! The mark itself is not synced, so that it costs no time: it may lag behind what is durable, and is
//! never ahead of it. It has two slots, written in turn, so that one is whole whenever the power fails.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use prost::Message;

use super::super::record::TotalsRecord;

pub(crate) const MARK_FILE: &str = "mark";
const SLOTS: u64 = 2;
/// A sector each: a disk writes it whole or not at all.
const SLOT_BYTES: u64 = 512;

/// The open file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
    next: u64,
    said: Option<TotalsRecord>,
}

impl MarkFile {
    /// Opens the file of a folder, and creates it if it is missing.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(MARK_FILE);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path)?;
        let read = read(folder)?;
        let (slot, mark) = read.map_or((SLOTS - 1, None), |(slot, mark)| (slot, Some(mark)));
        Ok(Self { file, next: (slot + 1) % SLOTS, said: mark })
    }

    /// The latest that it said when it was opened.
    pub(crate) fn said(&self) -> Option<TotalsRecord> {
        self.said
    }

    /// Says that all up to this was synced.
    pub(crate) fn write(&mut self, mark: &TotalsRecord) -> io::Result<()> {
        let payload = mark.encode_to_vec();
        let mut slot = crc32fast::hash(&payload).to_le_bytes().to_vec();
        slot.push(payload.len().try_into().unwrap_or(u8::MAX));
        slot.extend(payload);
        self.file.write_all_at(&slot, self.next * SLOT_BYTES)?;
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }

    /// Has what was written on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The latest mark of a folder that is whole, and its slot.
pub(crate) fn read(folder: &Path) -> io::Result<Option<(u64, TotalsRecord)>> {
    let bytes = match fs::read(folder.join(MARK_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let slots = bytes.chunks(usize::try_from(SLOT_BYTES).unwrap_or(usize::MAX)).zip(0..SLOTS);
    let marks = slots.filter_map(|(slot, at)| Some((at, parse(slot)?)));
    Ok(marks.max_by_key(|(_, mark)| mark.write))
}

fn parse(slot: &[u8]) -> Option<TotalsRecord> {
    let (checksum, rest) = slot.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first()?;
    let payload = rest.get(..usize::from(*len))?;
    let is_whole = crc32fast::hash(payload) == u32::from_le_bytes(*checksum);
    is_whole.then(|| TotalsRecord::decode(payload).ok()).flatten().filter(|mark| mark.write > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(write: u64) -> TotalsRecord {
        TotalsRecord { write, groups: 2 * write, at_ns: -5, ..TotalsRecord::default() }
    }

    #[test]
    fn the_latest_mark_that_is_whole_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        for write in 1..=5 {
            let mut file = MarkFile::open(folder.path()).unwrap();
            assert_eq!(file.said(), (write > 1).then(|| mark(write - 1)));
            file.write(&mark(write)).unwrap();
            file.sync().unwrap();
        }
        let path = folder.path().join(MARK_FILE);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            let (_, found) = read(folder.path()).unwrap().unwrap();
            assert!(found == mark(4) || found == mark(5), "byte {at}: {found:?}");
        }
        fs::write(&path, [0; 1024]).unwrap();
        assert_eq!(read(folder.path()).unwrap(), None, "an empty slot is no mark");
    }
}
