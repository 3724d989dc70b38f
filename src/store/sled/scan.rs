//! Finds pieces in the files of a store without sled: by the mark with which each begins, and by its
//! checksum. Old versions that were not written over yet are found, too.
//!
//! Costs one pass over the files, and some 60 bytes of memory for each piece.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::super::chunk::ChunkKey;
use super::piece::{HEADER_BYTES, Header, MARK, PIECE_BYTES_MAX, Piece};

/// So much of a file is looked at in one go.
const BLOCK_BYTES: usize = 4 << 20;

/// The pieces of a folder.
#[derive(Debug)]
pub(super) struct Scan {
    files: Vec<File>,
    /// By group and chunk, the latest write first, each in order. None comes twice.
    places: Vec<Found>,
    /// Pieces that are not whole, as far as they say what they are. By group.
    broken: Vec<Broken>,
}

/// A piece, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    chunk: ChunkKey,
    write: u64,
    place: u32,
    pieces: u32,
    file: u32,
    bytes: u32,
    at: u64,
    /// Of the chunk, if it has no other piece.
    checksum: u32,
}

/// A piece that is not whole: its checksum is wrong, so that all that it says is to be doubted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) chunk: ChunkKey,
    pub(super) write: u64,
    /// Its part of the payload, damaged somewhere or the header is.
    pub(super) part: Bytes,
}

/// A version of a chunk of which every piece is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version<'a> {
    pub(super) chunk: ChunkKey,
    pub(super) write: u64,
    scan: &'a Scan,
    places: &'a [Found],
}

impl Scan {
    /// Reads the files of a folder: sled's log, and what it keeps beside it.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut scan = Self { files: Vec::new(), places: Vec::new(), broken: Vec::new() };
        scan.add(&folder.join("db"))?;
        match fs::read_dir(folder.join("blobs")) {
            Ok(entries) => {
                for entry in entries {
                    scan.add(&entry?.path())?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        scan.sort();
        Ok(scan)
    }

    /// Reads one file, such as a backup.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let mut scan = Self { files: Vec::new(), places: Vec::new(), broken: Vec::new() };
        scan.add(path)?;
        scan.sort();
        Ok(scan)
    }

    fn sort(&mut self) {
        let order = |place: &Found| {
            let ChunkKey { group, chunk } = place.chunk;
            (group, chunk, !place.write, place.place)
        };
        self.places.sort_unstable_by_key(order);
        self.places.dedup_by_key(|place| order(place));
        self.broken.sort_by_key(|broken| broken.chunk);
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let number = u32::try_from(self.files.len()).map_err(io::Error::other)?;
        let finder = Finder::new(&MARK);
        let mut buffer = Vec::new();
        // Where the buffer begins in the file, and from where on nothing was looked at.
        let mut start = 0;
        while start < length {
            let room = BLOCK_BYTES.min(usize::try_from(length - start).unwrap_or(BLOCK_BYTES));
            buffer.resize(room, 0);
            read_at(&file, &mut buffer, start)?;
            let is_last = start + room as u64 == length;
            // A piece that begins in the rest is looked at with the next block.
            let end = if is_last { room } else { room - PIECE_BYTES_MAX };
            let mut at = 0;
            while let Some(found) = buffer.get(at..).and_then(|rest| finder.find(rest)) {
                at += found;
                if at >= end {
                    break;
                }
                let rest = buffer.get(at..).unwrap_or_default();
                at += self.look_at(rest, number, start + at as u64);
            }
            start += at.clamp(end, room) as u64;
        }
        self.files.push(file);
        Ok(())
    }

    /// Notes what begins as a piece does. Returns how many bytes it takes.
    fn look_at(&mut self, bytes: &[u8], file: u32, at: u64) -> usize {
        let Some((header, rest)) = Header::read(bytes) else { return MARK.len() };
        let len = header.len as usize;
        let is_short = HEADER_BYTES + len <= PIECE_BYTES_MAX;
        let whole = bytes.get(..HEADER_BYTES + len).filter(|_| is_short);
        let Some(Ok(piece)) = whole.map(Piece::parse) else {
            let part = rest.get(..len).filter(|_| is_short).unwrap_or_default();
            let part = Bytes::copy_from_slice(part);
            self.broken.push(Broken { chunk: header.chunk, write: header.write, part });
            // Others may lie in what it says is its own.
            return MARK.len();
        };
        self.places.push(Found {
            chunk: piece.chunk,
            write: piece.write,
            place: piece.place,
            pieces: piece.pieces,
            file,
            bytes: header.len,
            at: at + HEADER_BYTES as u64,
            checksum: if piece.pieces == 1 { piece.chunk.to_ref(piece.part).checksum } else { 0 },
        });
        HEADER_BYTES + len
    }

    /// The numbers of groups of which there is anything, rising.
    pub(super) fn groups(&self) -> impl Iterator<Item = u64> {
        self.places
            .chunk_by(|a, b| a.chunk.group == b.chunk.group)
            .filter_map(|places| places.first().map(|place| place.chunk.group))
    }

    /// The chunks of a group of which there is anything, rising.
    pub(super) fn chunks(&self, group: u64) -> impl Iterator<Item = ChunkKey> {
        let start = self.places.partition_point(|place| place.chunk.group < group);
        let rest = self.places.get(start..).unwrap_or_default();
        let end = rest.partition_point(|place| place.chunk.group == group);
        let places = rest.get(..end).unwrap_or_default();
        places.chunk_by(|a, b| a.chunk == b.chunk).filter_map(|places| Some(places.first()?.chunk))
    }

    /// The versions of a chunk that are whole, the latest first.
    pub(super) fn versions(&self, chunk: ChunkKey) -> impl Iterator<Item = Version<'_>> {
        let start = self.places.partition_point(|place| place.chunk < chunk);
        let rest = self.places.get(start..).unwrap_or_default();
        let end = rest.partition_point(|place| place.chunk == chunk);
        let places = rest.get(..end).unwrap_or_default();
        places.chunk_by(|a, b| a.write == b.write).filter_map(move |places| {
            let first = places.first()?;
            let is_whole = places.len() == first.pieces as usize
                && places
                    .iter()
                    .zip(0..)
                    .all(|(it, at)| it.place == at && it.pieces == first.pieces);
            is_whole.then_some(Version { chunk, write: first.write, scan: self, places })
        })
    }

    /// The pieces of a group that are not whole, as far as they say so.
    pub(super) fn broken(&self, group: u64) -> &[Broken] {
        let start = self.broken.partition_point(|broken| broken.chunk.group < group);
        let rest = self.broken.get(start..).unwrap_or_default();
        let end = rest.partition_point(|broken| broken.chunk.group == group);
        rest.get(..end).unwrap_or_default()
    }
}

impl Version<'_> {
    /// The payload.
    pub(super) fn read(&self) -> io::Result<Bytes> {
        let mut payload = BytesMut::new();
        for place in self.places {
            let start = payload.len();
            payload.resize(start + place.bytes as usize, 0);
            let file = self.scan.files.get(place.file as usize).ok_or(io::ErrorKind::NotFound)?;
            file.read_exact_at(payload.get_mut(start..).unwrap_or_default(), place.at)?;
        }
        Ok(payload.freeze())
    }

    /// The checksum of the chunk.
    pub(super) fn checksum(&self) -> io::Result<u32> {
        match self.places {
            [only] => Ok(only.checksum),
            _ => Ok(self.chunk.to_ref(&self.read()?).checksum),
        }
    }
}

/// Reads a part of a file. A part that the disk cannot read is zeros: there is nothing in it.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    const SECTOR: usize = 4096;
    let Err(error) = file.read_exact_at(buffer, at) else { return Ok(()) };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Err(error);
    }
    for (sector, start) in buffer.chunks_mut(SECTOR).zip((at..).step_by(SECTOR)) {
        if file.read_exact_at(sector, start).is_err() {
            sector.fill(0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::piece::cut;
    use super::*;

    const KEY: ChunkKey = ChunkKey { group: 3, chunk: 9 };

    fn scan(db: &[u8]) -> Scan {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("db"), db).unwrap();
        Scan::of(folder.path()).unwrap()
    }

    fn payloads(scan: &Scan, key: ChunkKey) -> Vec<(u64, Bytes)> {
        scan.versions(key).map(|version| (version.write, version.read().unwrap())).collect()
    }

    #[test]
    fn versions_are_found_wherever_they_lie() {
        let one = vec![1; 9000];
        let two = vec![2; 100];
        let mut db = vec![0xF1; 1000];
        let mut pieces: Vec<_> = cut(KEY, 7, &one).chain(cut(KEY, 8, &two)).collect();
        pieces.swap(0, 2);
        // One lies across two blocks.
        pieces.insert(1, vec![0; BLOCK_BYTES - 3000]);
        db.extend(pieces.concat());
        db.extend(pieces.concat());
        let found = scan(&db);
        assert_eq!(payloads(&found, KEY), [(8, two.into()), (7, one.into())]);
        assert_eq!(found.groups().collect::<Vec<_>>(), [3]);
        assert_eq!(found.chunks(3).collect::<Vec<_>>(), [KEY]);
        assert!(found.broken(3).is_empty());
    }

    #[test]
    fn a_version_counts_only_if_it_is_whole() {
        let pieces: Vec<_> = cut(KEY, 7, &[1; 9000]).collect();
        assert!(payloads(&scan(&pieces[..2].concat()), KEY).is_empty());
        let mut flipped = pieces.concat();
        flipped[5000] ^= 4;
        let found = scan(&flipped);
        assert!(payloads(&found, KEY).is_empty());
        assert_eq!(found.broken(3).len(), 1);
        assert_eq!((found.broken(3)[0].chunk, found.broken(3)[0].write), (KEY, 7));
    }

    #[test]
    fn a_piece_within_another_is_part_of_it() {
        let inner = cut(ChunkKey { group: 4, chunk: 0 }, 99, b"not mine").next().unwrap();
        let outer = cut(KEY, 7, &inner).next().unwrap();
        let found = scan(&outer);
        assert_eq!(found.groups().collect::<Vec<_>>(), [3]);
    }
}
