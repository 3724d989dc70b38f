//! The exposition as one scrape streams it: what is stored and what the gateway says of itself,
//! merged, in runs that are sent, or compressed once and kept.
//!
//! Groups are stored as text. Other formats are made of it segment by segment, once, and
//! kept for the next scrape of their kind.

mod cache;
mod convert;
mod piece;
mod self_metrics;

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

pub use cache::ScrapeCache;

use super::block_in_place_if;
use super::segment::{GroupId, Segment};
use super::view::{Families, FamilyView, Header, Snapshot};
use crate::exposition::gzip::{Effort, Member};
use crate::exposition::openmetrics::Stance;
use crate::exposition::protobuf::encode::length_prefix;
use crate::exposition::text::line::may_have_quoted_names;
use crate::exposition::{ContentEncoding, Format, ScrapeFormat, gzip, openmetrics, zstd};
use crate::model::name::is_metric_name;
use crate::model::{Escaping, MetricFamily};
use cache::{Compressed, Ticket};
use convert::FamilyName;
use piece::{Converted, Piece};
use self_metrics::SelfFamily;

/// A run is closed once it has this many bytes.
const RUN_BYTES: usize = 64 * 1024;
/// A piece of this size closes the run that it is in, so that what comes or goes before it does not
/// shift the runs after it.
const LARGE_PIECE_BYTES: usize = 32 * 1024;
/// Below this a copy costs less than a buffer of its own on the way out. Segments are larger.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// So much may be kept of what scrapes were sent in other formats or compressed: of all lines this many
/// times as much, and so much in any case.
const KEPT_FACTOR: usize = 2;
const KEPT_BYTES_MIN: usize = 4 << 20;
/// So much is compressed without leaving its place to other tasks.
const INLINE_BYTES: usize = 16 * 1024;

/// The exposition at one instant, as a stream of runs.
#[derive(Debug)]
pub struct Exposition {
    families: Peekable<Families>,
    own: Arc<[SelfFamily]>,
    /// Which of those comes next.
    next_own: usize,
    expired: Vec<GroupId>,
    to: ScrapeFormat,
    /// Whether names may have to be escaped.
    escapes: bool,
    len: Option<u64>,
    /// Of all lines that are stored.
    stored_bytes: usize,
    /// Cut but not yet in a run.
    pending: VecDeque<Piece>,
    /// The names that there are by now, where families may be in each other's way.
    names: Option<openmetrics::Names>,
    /// The end, behind all families.
    end: Option<Piece>,
    /// The gzip member; `None` until its header is out.
    member: Option<Member>,
    cache: Arc<ScrapeCache>,
    ticket: Ticket,
}

/// How a scraper wants the exposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeOptions {
    pub format: ScrapeFormat,
    pub encoding: ContentEncoding,
}

/// Pieces that are sent, and compressed, together.
#[derive(Debug, Default)]
struct Run {
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Exposition {
    /// Merges what is stored with self metrics, which are sorted by name. `quoted`: whether what is
    /// stored may have names beyond the legacy charset.
    pub(super) fn new(
        mut snapshot: Snapshot,
        own: Vec<MetricFamily>,
        options: ScrapeOptions,
        quoted: bool,
        cache: Arc<ScrapeCache>,
    ) -> Self {
        let to = options.format;
        let segments = || snapshot.families().flat_map(|family| family.segments());
        let stored_bytes = segments().map(|segment| segment.bytes().len()).sum();
        let ticket = cache.begin(to, options.encoding);
        let own = cache.own(own, ticket);
        let escapes = quoted && to.escaping != Escaping::AllowUtf8;
        let as_kept = to.format == Format::Text && !escapes && snapshot.expired.is_empty();
        let len = as_kept.then(|| text_len(&snapshot, &own));
        let openmetrics = matches!(to.format, Format::OpenMetrics(_));
        let end = openmetrics.then(|| Piece::once(Bytes::from_static(openmetrics::EOF)));
        let names = openmetrics.then(|| {
            let mut names = openmetrics::Names::default();
            // The gateway's own come first: whatever was pushed, they are there.
            for own in own.iter() {
                names.take(own.name(), own.kind());
            }
            names
        });
        Self {
            expired: std::mem::take(&mut snapshot.expired),
            families: snapshot.into_families().peekable(),
            own,
            next_own: 0,
            to,
            escapes,
            len,
            stored_bytes,
            pending: VecDeque::new(),
            names,
            end,
            member: None,
            ticket,
            cache,
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

    /// Appends the next bytes to send, in the encoding of the scrape. Returns whether there may be more:
    /// `false` is the end, once.
    pub fn next_frames(&mut self, out: &mut impl Extend<Bytes>) -> bool {
        let encoding = self.ticket.encoding();
        if encoding == ContentEncoding::Gzip && self.member.is_none() {
            self.member = Some(Member::default());
            out.extend([Bytes::from_static(&gzip::HEADER)]);
        }
        let Some(run) = self.next_run() else {
            out.extend(self.member.take().map(Member::finish));
            self.finish();
            return false;
        };
        if encoding == ContentEncoding::Identity {
            out.extend(run.into_frames());
            return true;
        }
        match self.compressed(&run, encoding) {
            Compressed::Gzip(part) => {
                let member = self.member.get_or_insert_default();
                out.extend([member.join(&part)]);
            }
            Compressed::Zstd(frame) => out.extend([frame]),
        }
        true
    }

    /// The next run; `None` at the end.
    fn next_run(&mut self) -> Option<Run> {
        let mut run = Run::default();
        loop {
            let Some(piece) = self.pending.pop_front() else {
                if self.cut_family() {
                    continue;
                }
                return (!run.pieces.is_empty()).then_some(run);
            };
            if run.pieces.last().is_some_and(|last| !last.goes_with(&piece)) {
                self.pending.push_front(piece);
                return Some(run);
            }
            let len = piece.len();
            let large = len >= LARGE_PIECE_BYTES;
            run.bytes += len;
            run.pieces.push(piece);
            if large || run.bytes >= RUN_BYTES {
                return Some(run);
            }
        }
    }

    /// A run of this exposition, compressed now or by an earlier scrape.
    fn compressed(&self, run: &Run, encoding: ContentEncoding) -> Compressed {
        self.cache.compressed(run, self.ticket, || match encoding {
            ContentEncoding::Zstd => {
                Compressed::Zstd(block_in_place_if(true, || zstd::frame(run.slices())))
            }
            ContentEncoding::Gzip | ContentEncoding::Identity => {
                let effort = if run.is_kept() { Effort::Kept } else { Effort::Once };
                // Half a millisecond for 64 KiB: not where it holds up pushes.
                let deflated = block_in_place_if(run.len() > INLINE_BYTES, || {
                    gzip::deflate(effort, run.slices())
                });
                Compressed::Gzip(Arc::new(deflated))
            }
        })
    }

    /// The scrape is over: what it did not need is likely not to be needed again.
    fn finish(&self) {
        self.cache.end(self.ticket, KEPT_BYTES_MIN + KEPT_FACTOR * self.stored_bytes);
    }

    /// Cuts the next family into pieces. Returns whether there was one.
    fn cut_family(&mut self) -> bool {
        let own = self
            .own
            .get(self.next_own)
            .filter(|own| self.families.peek().is_none_or(|family| own.name() <= &*family.name));
        let stored = match own {
            None => self.families.next(),
            Some(own) => self.families.next_if(|family| *family.name == *own.name()),
        };
        if own.is_none() && stored.is_none() {
            self.pending.extend(self.end.take());
            return !self.pending.is_empty();
        }
        let (stored, header) = match stored {
            Some(stored) => {
                let FamilyView { name, header, .. } = &*stored;
                let stance = match &mut self.names {
                    Some(names) if own.is_none() => {
                        names.take(&self.to.escaping.apply(name), header.kind)
                    }
                    _ => Stance::Itself,
                };
                if stance == Stance::LeftOut {
                    return true;
                }
                let family = family_name(name, header, stance);
                (self.cut_segments(family, stored.segments()), Some((stored, stance)))
            }
            None => (Vec::new(), None),
        };
        // Of a family that the gateway has itself, its own help counts (Go Pushgateway, 1.9).
        if let Some(own) = own {
            let mut all = vec![Piece::from(own.metrics()).own()];
            all.extend(stored);
            let header = self.own_header(own.header(), &all);
            self.next_own += 1;
            self.push_family(header, all);
        } else if let Some((family, stance)) = header.filter(|_| !stored.is_empty()) {
            // Not without a line: a family whose groups have all expired is not there.
            let header = self.header(&family.name, &family.header, stance, &stored);
            self.push_family(header, stored);
        }
        true
    }

    fn push_family(&mut self, header: Piece, metrics: Vec<Piece>) {
        self.pending.push_back(header);
        self.pending.extend(metrics);
        let end = FamilyName::end(self.to);
        if !end.is_empty() {
            self.pending.push_back(Piece::once(Bytes::from_static(end)));
        }
    }

    fn header(&self, name: &str, header: &Header, stance: Stance, metrics: &[Piece]) -> Piece {
        let Header { text, generation, .. } = header;
        if self.to.format == Format::Text && (!self.escapes || is_metric_name(name)) {
            return Piece::new(text.clone(), *generation);
        }
        let bytes = self.with_length(family_name(name, header, stance).header(self.to), metrics);
        self.cache.keep_converted(*generation, bytes, self.ticket).into()
    }

    fn own_header(&self, Converted { bytes, generation }: Converted, metrics: &[Piece]) -> Piece {
        let bytes = self.with_length(bytes, metrics);
        // A length may change while the rest of a header stays.
        let piece = if generation != 0 && self.to.format == Format::Protobuf {
            self.cache.keep_converted(generation, bytes, self.ticket).into()
        } else {
            Piece::new(bytes, generation)
        };
        piece.own()
    }

    /// In protobuf a family begins with the length of all of it.
    fn with_length(&self, header: Bytes, metrics: &[Piece]) -> Bytes {
        if self.to.format != Format::Protobuf {
            return header;
        }
        let len = header.len() + metrics.iter().map(Piece::len).sum::<usize>();
        [length_prefix(len).into(), header].concat().into()
    }

    /// The metrics of a family that have not expired.
    fn cut_segments(&self, family: FamilyName<'_>, segments: &[Arc<Segment>]) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in segments {
            if self.expired.is_empty() || !segment.has_any_of(&self.expired) {
                let generation = segment.generation();
                pieces.push(self.cut_segment(family, Arc::clone(segment), generation));
            } else {
                let rest = segment.without(&self.expired);
                if !rest.bytes().is_empty() {
                    pieces.push(self.cut_segment(family, Arc::new(rest), 0));
                }
            }
        }
        pieces
    }

    fn cut_segment(&self, family: FamilyName<'_>, segment: Arc<Segment>, generation: u64) -> Piece {
        let as_kept = self.to.format == Format::Text
            && !(self.escapes && may_have_quoted_names(segment.bytes()));
        if as_kept {
            return Piece::as_kept(segment, generation);
        }
        let convert = || block_in_place_if(true, || family.segment(self.to, &segment));
        // The family that this one gives way to may have been removed by the next scrape.
        if generation == 0 || family.stance != Stance::Itself {
            return Piece::once(convert());
        }
        match self.cache.converted(generation, self.ticket) {
            Some(converted) => converted.into(),
            None => self.cache.keep_converted(generation, convert(), self.ticket).into(),
        }
    }
}

fn family_name<'a>(name: &'a str, header: &'a Header, stance: Stance) -> FamilyName<'a> {
    let Header { kind, native, .. } = *header;
    FamilyName { name, help: header.help.as_deref(), kind, native, stance }
}

/// How long an exposition is whose segments are sent as they are.
fn text_len(snapshot: &Snapshot, own: &[SelfFamily]) -> u64 {
    // Of a name that both have, only the gateway's header is shown.
    let is_own =
        |family: &FamilyView| own.binary_search_by(|own| own.name().cmp(&family.name)).is_ok();
    let stored = snapshot.families().map(|family| {
        let header = if is_own(family) { 0 } else { family.header.text.len() };
        header + family.segments().iter().map(|segment| segment.bytes().len()).sum::<usize>()
    });
    let own = own.iter().map(SelfFamily::len);
    stored.chain(own).map(|len| len as u64).sum()
}

impl Run {
    /// How many bytes it has uncompressed.
    fn len(&self) -> usize {
        self.bytes
    }

    /// The frames to send: large pieces as they are, small ones joined.
    fn into_frames(self) -> impl Iterator<Item = Bytes> {
        let mut frames = Vec::with_capacity(2);
        let mut small = Vec::new();
        for piece in self.pieces {
            if piece.len() > COPIED_BYTES_MAX {
                if !small.is_empty() {
                    frames.push(Bytes::from(std::mem::take(&mut small)));
                }
                frames.push(piece.into());
            } else {
                small.extend_from_slice(piece.bytes());
            }
        }
        if !small.is_empty() {
            frames.push(small.into());
        }
        frames.into_iter()
    }

    /// Whether it may come again: what comes once is in runs of its own.
    fn is_kept(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.generation != 0)
    }

    /// The identity of this run; `None` if it will not come again.
    fn generations(&self) -> Option<Box<[u64]>> {
        let generations = self.pieces.iter().map(|piece| piece.generation);
        let generations: Box<[u64]> = generations.collect();
        (!generations.contains(&0)).then_some(generations)
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.pieces.iter().map(Piece::bytes)
    }
}

#[cfg(test)]
mod tests;
