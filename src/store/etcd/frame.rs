//! A chunk as it lies in etcd: compressed, with its checksum.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::store::chunk::ChunkKey;

/// The codec, the checksum and the length of the chunk.
const HEADER: usize = 1 + 4 + 4;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Smaller chunks stay as they are: a frame of zstd alone has a dozen bytes.
const PLAIN_BYTES_MAX: usize = 128;
/// The fastest: chunks are written again and again.
const LEVEL: i32 = 1;

/// Compresses chunks. A context of zstd is large, so that it is kept.
pub(super) struct Packer {
    compressor: Mutex<Compressor<'static>>,
    decompressor: Mutex<Decompressor<'static>>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    pub(super) fn new() -> std::io::Result<Self> {
        let (compressor, decompressor) = (Compressor::new(LEVEL)?, Decompressor::new()?);
        Ok(Self { compressor: Mutex::new(compressor), decompressor: Mutex::new(decompressor) })
    }

    /// The frame of a chunk.
    pub(super) fn pack(&self, key: ChunkKey, payload: &[u8]) -> Bytes {
        let reference = key.to_ref(payload);
        let compressed = (payload.len() > PLAIN_BYTES_MAX).then(|| {
            let mut compressor = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
            compressor.compress(payload).ok().filter(|compressed| compressed.len() < payload.len())
        });
        let compressed = compressed.flatten();
        let (codec, data) = match &compressed {
            Some(compressed) => (ZSTD, compressed.as_slice()),
            None => (PLAIN, payload),
        };
        let mut frame = Vec::with_capacity(HEADER + data.len());
        frame.push(codec);
        frame.extend(reference.checksum.to_le_bytes());
        frame.extend(reference.bytes.to_le_bytes());
        frame.extend(data);
        frame.into()
    }

    /// The chunk in a frame, or why there is none.
    pub(super) fn unpack(&self, key: ChunkKey, frame: &Bytes) -> Result<Bytes, String> {
        let damaged = |what: &str| format!("chunk {}: {what}", key.chunk);
        let header = frame.first_chunk::<HEADER>().ok_or_else(|| damaged("it is cut off"))?;
        let [codec, c0, c1, c2, c3, l0, l1, l2, l3] = *header;
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let data = frame.slice(HEADER..);
        let payload = match codec {
            PLAIN => data,
            ZSTD => {
                let mut decompressor =
                    self.decompressor.lock().unwrap_or_else(PoisonError::into_inner);
                // Room is made for no more than a frame of this size can have.
                let room = len.min(data.len().saturating_mul(ZSTD_RATIO_MAX));
                decompressor.decompress(&data, room).map_err(|_| damaged("it is no zstd"))?.into()
            }
            codec => return Err(damaged(&format!("its codec {codec} is unknown"))),
        };
        let reference = key.to_ref(&payload);
        if (reference.bytes as usize, reference.checksum) != (len, checksum) {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(payload)
    }
}

/// A block of 128 KiB of one byte is a few bytes.
const ZSTD_RATIO_MAX: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChunkKey = ChunkKey { group: 3, chunk: 1 };

    #[test]
    fn chunks_of_every_size_come_back() {
        let packer = Packer::new().unwrap();
        for len in [0, 1, 128, 129, 4096, 300_000] {
            let repeated = vec![7_u8; len];
            let varied: Vec<u8> = (0..len).map(|n| (n * n / 7 % 251).to_le_bytes()[0]).collect();
            for payload in [repeated, varied] {
                let frame = packer.pack(KEY, &payload);
                assert_eq!(packer.unpack(KEY, &frame).unwrap(), payload);
            }
        }
    }

    #[test]
    fn damage_is_found_and_takes_no_memory() {
        let packer = Packer::new().unwrap();
        let frame = packer.pack(KEY, &vec![b'x'; 5000]);
        assert!(frame.len() < 100);
        for at in 0..frame.len() {
            let mut damaged = frame.to_vec();
            damaged[at] ^= 0x40;
            assert!(packer.unpack(KEY, &damaged.into()).is_err(), "{at}");
        }
        let other = ChunkKey { group: 4, chunk: 1 };
        assert!(packer.unpack(other, &frame).is_err(), "it is another group's");
        assert!(packer.unpack(KEY, &frame.slice(..5)).is_err());
    }
}
