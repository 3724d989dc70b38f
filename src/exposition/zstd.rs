//! Zstandard for parts that are compressed at different times: a frame each, which a decoder reads
//! as one stream (RFC 8878, 3).

use bytes::Bytes;

/// The level of the `zstd` program.
const LEVEL: i32 = 3;

/// Compresses a part, given in pieces, to a frame.
pub fn frame<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let text: Vec<_> = pieces.collect();
    // An error means that memory ran out. The frame that is sent then is broken, and is seen to be.
    zstd::bulk::compress(&text.concat(), LEVEL).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_one_stream() {
        let parts = [vec![&b"one\n"[..], b"two\n"], vec![], vec![b"three\n"]];
        let bytes: Vec<u8> =
            parts.iter().flat_map(|part| frame(part.iter().copied()).to_vec()).collect();
        assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), b"one\ntwo\nthree\n");
    }
}
