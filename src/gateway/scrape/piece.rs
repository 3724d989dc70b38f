//! Pieces of an exposition: what is stored as it is, or what was made of it for one format.

use std::sync::Arc;

use bytes::Bytes;

use crate::gateway::segment::Segment;

/// Bytes in another format.
#[derive(Clone, Debug)]
pub(super) struct Converted {
    pub(super) bytes: Bytes,
    /// Of the bytes, as those of segments.
    pub(super) generation: u64,
}

#[derive(Debug)]
pub(super) struct Piece {
    content: Content,
    /// Tells contents apart; 0 for what is there once only.
    pub(super) generation: u64,
    /// Whether the gateway says it of itself.
    pub(super) own: bool,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    Lines(SegmentLines),
}

/// Lets a `Bytes` share a segment's lines.
#[derive(Debug)]
struct SegmentLines(Arc<Segment>);

impl Piece {
    pub(super) fn new(bytes: Bytes, generation: u64) -> Self {
        Self { content: Content::Bytes(bytes), generation, own: false }
    }

    /// The lines of a segment, without a copy.
    pub(super) fn as_kept(segment: Arc<Segment>, generation: u64) -> Self {
        Self { content: Content::Lines(SegmentLines(segment)), generation, own: false }
    }

    pub(super) fn once(bytes: Bytes) -> Self {
        Self::new(bytes, 0)
    }

    pub(super) fn own(self) -> Self {
        Self { own: true, ..self }
    }

    /// Whether one can be compressed together with the other: what changes must not take with it what
    /// stays, nor what the gateway says of itself what is stored.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        ((self.generation == 0) == (other.generation == 0)) && self.own == other.own
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Lines(lines) => lines.as_ref(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }
}

impl From<Converted> for Piece {
    fn from(Converted { bytes, generation }: Converted) -> Self {
        Self::new(bytes, generation)
    }
}

impl From<Piece> for Bytes {
    fn from(piece: Piece) -> Self {
        match piece.content {
            Content::Bytes(bytes) => bytes,
            Content::Lines(lines) => Self::from_owner(lines),
        }
    }
}

impl AsRef<[u8]> for SegmentLines {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
