//! The exposition as one scrape streams it: what is stored and what the gateway says of itself,
//! merged, in runs that are sent, or compressed once and kept.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use bytes::Bytes;
use hashbrown::HashMap;

use super::segment::{GroupId, Segment};
use super::view::{FamilySnapshot, Header, Snapshot};
use crate::exposition::gzip::{self, Deflated};
use crate::exposition::text::{self, LabelBlock};
use crate::model::MetricFamily;

/// A run is closed once it has this many bytes.
const RUN_BYTES: usize = 64 * 1024;
/// A piece of this size closes the run that it is in, so that what comes or goes before it does not
/// shift the runs after it.
const LARGE_PIECE_BYTES: usize = 32 * 1024;

/// The exposition at one instant, as a stream of runs.
#[derive(Debug)]
pub struct Exposition {
    families: Peekable<vec::IntoIter<FamilySnapshot>>,
    own: Peekable<vec::IntoIter<OwnFamily>>,
    expired: Vec<GroupId>,
    len: Option<u64>,
    /// Cut but not yet in a run.
    pending: VecDeque<Piece>,
}

/// Pieces that are sent, and compressed, together.
#[derive(Debug, Default)]
pub struct Run {
    pieces: Vec<Piece>,
    bytes: usize,
}

/// Compressed runs of the latest scrapes.
#[derive(Debug, Default)]
pub struct GzipCache {
    /// Held only to look up and to insert: never while compressing.
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    /// By the generations of the run's pieces; with the scrape that used it last.
    runs: HashMap<Box<[u64]>, (Arc<Deflated>, u64)>,
    scrapes: u64,
}

/// A self metric, rendered.
#[derive(Debug)]
struct OwnFamily {
    name: String,
    header: Bytes,
    lines: Bytes,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Tells contents apart; 0 for what is there once only.
    generation: u64,
}

/// Lets a `Bytes` share a segment's lines.
struct SegmentLines(Arc<Segment>);

impl AsRef<[u8]> for SegmentLines {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Exposition {
    /// Merges what is stored with self metrics, which are sorted by name.
    pub(super) fn new(snapshot: Snapshot, own: &[MetricFamily]) -> Self {
        let block = LabelBlock::empty();
        let own: Vec<_> = own
            .iter()
            .map(|family| {
                let header = text::header(&family.name, family.help.as_deref(), family.kind);
                let mut lines = Vec::new();
                text::lines(&mut lines, family, &block);
                OwnFamily { name: family.name.clone(), header: header.into(), lines: lines.into() }
            })
            .collect();
        let len = snapshot.expired.is_empty().then(|| {
            let lines = |family: &FamilySnapshot| {
                family.segments.iter().map(|segment| segment.bytes().len()).sum::<usize>()
            };
            // Of a name that both have, only the gateway's header is shown.
            let own_header = |family: &FamilySnapshot| {
                own.binary_search_by(|own| own.name.as_str().cmp(&family.name)).is_ok()
            };
            let header = |family: &FamilySnapshot| {
                if own_header(family) { 0 } else { family.header.bytes.len() }
            };
            let stored = snapshot.families.iter().map(|family| header(family) + lines(family));
            let own = own.iter().map(|family| family.header.len() + family.lines.len());
            stored.chain(own).map(|len| len as u64).sum()
        });
        Self {
            families: snapshot.families.into_iter().peekable(),
            own: own.into_iter().peekable(),
            expired: snapshot.expired,
            len,
            pending: VecDeque::new(),
        }
    }

    /// The length of the whole, where it can be told without making it.
    pub fn len(&self) -> Option<u64> {
        self.len
    }

    /// Whether it has no bytes; never, as the gateway always says something of itself.
    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }

    /// The next run; `None` at the end.
    pub fn next_run(&mut self) -> Option<Run> {
        let mut run = Run::default();
        loop {
            let Some(piece) = self.pending.pop_front() else {
                if self.cut_family() {
                    continue;
                }
                return (!run.pieces.is_empty()).then_some(run);
            };
            // What changes with every scrape must not take its neighbours with it.
            let kept = piece.generation != 0;
            if run.pieces.last().is_some_and(|last| (last.generation != 0) != kept) {
                self.pending.push_front(piece);
                return Some(run);
            }
            let large = piece.bytes.len() >= LARGE_PIECE_BYTES;
            run.bytes += piece.bytes.len();
            run.pieces.push(piece);
            if large || run.bytes >= RUN_BYTES {
                return Some(run);
            }
        }
    }

    /// Cuts the next family into pieces. Returns whether there was one.
    fn cut_family(&mut self) -> bool {
        let next_own = match (self.families.peek(), self.own.peek()) {
            (_, None) => None,
            (None, Some(_)) => self.own.next(),
            (Some(family), Some(own)) => {
                if *own.name <= *family.name {
                    self.own.next()
                } else {
                    None
                }
            }
        };
        let Some(own) = next_own else {
            let Some(family) = self.families.next() else { return false };
            self.cut_stored(Some(family.header), family.segments);
            return true;
        };
        // Of a family that the gateway has itself, its own help counts (Go Pushgateway, 1.9).
        self.pending.push_back(Piece { bytes: own.header, generation: 0 });
        self.pending.push_back(Piece { bytes: own.lines, generation: 0 });
        if let Some(family) = self.families.next_if(|family| *family.name == *own.name) {
            self.cut_stored(None, family.segments);
        }
        true
    }

    fn cut_stored(&mut self, mut header: Option<Header>, segments: Vec<Arc<Segment>>) {
        for segment in segments {
            let piece = if self.expired.is_empty() || !segment.has_any_of(&self.expired) {
                let generation = segment.generation();
                Piece { bytes: Bytes::from_owner(SegmentLines(segment)), generation }
            } else {
                let rest = segment.without(&self.expired);
                if rest.bytes().is_empty() {
                    continue;
                }
                Piece { bytes: Bytes::from_owner(SegmentLines(Arc::new(rest))), generation: 0 }
            };
            // Not before there is a line: a family whose groups have all expired is not there.
            if let Some(header) = header.take() {
                let Header { bytes, generation, .. } = header;
                self.pending.push_back(Piece { bytes, generation });
            }
            self.pending.push_back(piece);
        }
    }
}

impl Run {
    /// How many bytes it has uncompressed.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes; no run of an exposition is.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What to send: large pieces as they are, small ones joined.
    pub fn into_frames(self) -> impl Iterator<Item = Bytes> {
        let mut frames = Vec::with_capacity(2);
        let mut small = Vec::new();
        for piece in self.pieces {
            if piece.bytes.len() >= LARGE_PIECE_BYTES {
                if !small.is_empty() {
                    frames.push(Bytes::from(std::mem::take(&mut small)));
                }
                frames.push(piece.bytes);
            } else {
                small.extend_from_slice(&piece.bytes);
            }
        }
        if !small.is_empty() {
            frames.push(small.into());
        }
        frames.into_iter()
    }

    /// What tells this run from every other; `None` if it will not come again.
    fn generations(&self) -> Option<Box<[u64]>> {
        let generations = self.pieces.iter().map(|piece| piece.generation);
        let generations: Box<[u64]> = generations.collect();
        (!generations.contains(&0)).then_some(generations)
    }

    fn deflate(&self) -> Deflated {
        gzip::deflate(self.pieces.iter().map(|piece| piece.bytes.as_ref()))
    }
}

impl GzipCache {
    /// Numbers a scrape that is about to begin.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.scrapes += 1;
        state.scrapes
    }

    /// The compressed run, if an earlier scrape has left it.
    pub fn get(&self, run: &Run, scrape: u64) -> Option<Arc<Deflated>> {
        let generations = run.generations()?;
        let mut state = self.lock();
        let (deflated, used) = state.runs.get_mut(&generations)?;
        *used = scrape.max(*used);
        Some(Arc::clone(deflated))
    }

    /// Compresses a run, and keeps it if it may come again.
    pub fn deflate(&self, run: &Run, scrape: u64) -> Arc<Deflated> {
        let deflated = Arc::new(run.deflate());
        if let Some(generations) = run.generations() {
            self.lock().runs.insert(generations, (Arc::clone(&deflated), scrape));
        }
        deflated
    }

    /// Forgets what neither this scrape nor the one before it has used.
    pub fn end(&self, scrape: u64) {
        let mut state = self.lock();
        state.runs.retain(|_, (_, used)| *used + 1 >= scrape);
        state.runs.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
