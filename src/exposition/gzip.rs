//! Gzip made of parts: each part is compressed by itself, and any sequence of parts joins to one
//! gzip member (RFC 1952) without compressing anything again.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use zlib_rs::crc32::{crc32, crc32_combine_gen, crc32_combine_op};

/// A part: raw deflate blocks that end at a byte boundary and refer to nothing before them.
#[derive(Clone, Debug)]
pub struct Deflated {
    bytes: Bytes,
    /// Of what it is when it is decompressed, as is the length.
    crc: u32,
    len: u64,
    /// The factor of a checksum when so many bytes follow: to find it takes longer than to
    /// copy the part.
    shift: u32,
}

/// The member under construction: what its trailer needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Member {
    crc: u32,
    len: u64,
}

/// No name, no time, unknown system.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The effort that a part is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// It is sent once: the level is the least.
    Once,
    /// It is kept, and sent again: the level is that of `gzip` itself.
    Kept,
}

thread_local! {
    // A quarter of a megabyte each, which takes longer to get than a small part to compress.
    static ONCE: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(1), false));
    static KEPT: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(6), false));
}

/// Compresses a part, given in pieces.
pub fn deflate<'a>(effort: Effort, pieces: impl Iterator<Item = &'a [u8]> + Clone) -> Deflated {
    let state = match effort {
        Effort::Once => &ONCE,
        Effort::Kept => &KEPT,
    };
    state.with_borrow_mut(|compress| {
        compress.reset();
        deflate_with(compress, pieces)
    })
}

fn deflate_with<'a>(
    compress: &mut Compress,
    pieces: impl Iterator<Item = &'a [u8]> + Clone,
) -> Deflated {
    let mut crc = 0;
    let total: usize = pieces.clone().map(<[u8]>::len).sum();
    let mut out = Vec::with_capacity(total / 6 + 128);
    for piece in pieces {
        crc = crc32(crc, piece);
        run(compress, piece, &mut out, FlushCompress::None);
    }
    // A full flush ends at a byte boundary, with nothing pending.
    run(compress, &[], &mut out, FlushCompress::Full);
    out.shrink_to_fit();
    let len = total as u64;
    Deflated { bytes: out.into(), crc, len, shift: crc32_combine_gen(len) }
}

fn run(compress: &mut Compress, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    loop {
        let before = compress.total_in();
        let status = compress.compress_vec(input, out, flush);
        debug_assert!(status.is_ok(), "deflate fails on misuse only");
        let taken = usize::try_from(compress.total_in() - before).unwrap_or(input.len());
        input = input.get(taken..).unwrap_or_default();
        // Room left in the output means that nothing more was to be written.
        if input.is_empty() && out.len() < out.capacity() {
            return;
        }
        out.reserve(out.len() / 2 + 128);
    }
}

impl Deflated {
    /// Bytes that it takes in memory and on the wire.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes; never, as even nothing has an end.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Member {
    /// Adds a part; returns what to send for it.
    pub fn join(&mut self, part: &Deflated) -> Bytes {
        self.crc = crc32_combine_op(self.crc, part.crc, part.shift);
        self.len += part.len;
        part.bytes.clone()
    }

    /// The end of the member: an empty last block, the checksum, and the length.
    pub fn finish(self) -> Bytes {
        // The format has the length modulo 2^32.
        let [a, b, c, d, ..] = self.len.to_le_bytes();
        [&[3, 0][..], &self.crc.to_le_bytes(), &[a, b, c, d]].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn joined(parts: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        let mut member = Member::default();
        for (part, effort) in parts.iter().zip([Effort::Once, Effort::Kept].into_iter().cycle()) {
            out.extend(member.join(&deflate(effort, part.iter().map(Vec::as_slice))));
        }
        out.extend(member.finish());
        out
    }

    #[test]
    fn no_parts_are_an_empty_member() {
        let mut text = Vec::new();
        GzDecoder::new(&joined(&[])[..]).read_to_end(&mut text).unwrap();
        assert!(text.is_empty());
    }

    proptest! {
        #[test]
        fn parts_join_to_one_member(
            parts in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..4),
                0..5,
            )
        ) {
            let bytes = joined(&parts);
            let mut text = Vec::new();
            let mut decoder = GzDecoder::new(&bytes[..]);
            decoder.read_to_end(&mut text).unwrap();
            prop_assert_eq!(text, parts.concat().concat());
            prop_assert!(decoder.into_inner().is_empty(), "one member and nothing after it");
        }
    }
}
