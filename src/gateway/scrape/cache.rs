//! The work of earlier scrapes on lines that have not changed since: lines in other formats, and
//! compressed runs.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::HashMap;

use super::Run;
use super::piece::Converted;
use super::self_metrics::{self, SelfFamily};
use crate::exposition::gzip::Deflated;
use crate::exposition::{ContentEncoding, ScrapeFormat};
use crate::gateway::segment::next_generation;
use crate::model::MetricFamily;

/// Kept between scrapes. An entry goes once neither of the two latest scrapes of its kind has used
/// it, or once no scrape of its kind has come for long.
#[derive(Debug, Default)]
pub struct ScrapeCache {
    /// Held only to look up and to insert: never while converting or compressing.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many scrapes of each kind have begun.
    kinds: HashMap<Kind, u64>,
    scrapes: u64,
    /// Self metrics of the latest scrape of each format.
    own: HashMap<ScrapeFormat, Kept<Arc<[SelfFamily]>>>,
    /// By what was converted, and to which format.
    converted: ByPiece,
    /// By the generations of the run's pieces.
    compressed: ByRun,
}

type ByPiece = HashMap<(ScrapeFormat, u64), Kept<Converted>>;
type ByRun = HashMap<(ContentEncoding, Box<[u64]>), Kept<Compressed>>;

type Kind = (ScrapeFormat, ContentEncoding);

/// A scrape under way, for the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    kind: Kind,
    /// Its number among the scrapes of its kind, and among all.
    of_kind: u64,
    of_all: u64,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    used: Ticket,
}

/// A run, compressed.
#[derive(Clone, Debug)]
pub(super) enum Compressed {
    Gzip(Arc<Deflated>),
    Zstd(Bytes),
}

/// A kind of scrape that has not come in so many others is taken not to come again.
const OTHERS_MAX: u64 = 16;

impl ScrapeCache {
    /// Numbers a scrape that is about to begin.
    pub(super) fn begin(&self, format: ScrapeFormat, encoding: ContentEncoding) -> Ticket {
        let mut state = self.lock();
        let kind = (format, encoding);
        state.scrapes += 1;
        let of_all = state.scrapes;
        let of_kind = state.kinds.entry(kind).or_default();
        *of_kind += 1;
        Ticket { kind, of_kind: *of_kind, of_all }
    }

    /// Self metrics, which are sorted by name, in the format of the scrape.
    pub(super) fn own(&self, families: Vec<MetricFamily>, ticket: Ticket) -> Arc<[SelfFamily]> {
        let to = ticket.kind.0;
        let before = get(&mut self.lock().own, &to, ticket);
        let now: Arc<[_]> =
            self_metrics::render(to, families, before.as_deref().unwrap_or_default()).into();
        self.lock().own.insert(to, Kept { value: Arc::clone(&now), used: ticket });
        now
    }

    /// Something of this generation in the format of the scrape, if an earlier one has left it.
    pub(super) fn converted(&self, generation: u64, ticket: Ticket) -> Option<Converted> {
        get(&mut self.lock().converted, &(ticket.kind.0, generation), ticket)
    }

    /// Keeps what something of this generation is in the format of the scrape. The same bytes as
    /// before keep their generation.
    pub(super) fn keep_converted(
        &self,
        generation: u64,
        bytes: Bytes,
        ticket: Ticket,
    ) -> Converted {
        let mut state = self.lock();
        let key = (ticket.kind.0, generation);
        if let Some(before) = get(&mut state.converted, &key, ticket)
            && before.bytes == bytes
        {
            return before;
        }
        let value = Converted { bytes, generation: next_generation() };
        state.converted.insert(key, Kept { value: value.clone(), used: ticket });
        value
    }

    /// A run in the encoding of the scrape: what an earlier one has left of it, or compressed now.
    pub(super) fn compressed(
        &self,
        run: &Run,
        ticket: Ticket,
        compress: impl FnOnce() -> Compressed,
    ) -> Compressed {
        let Some(generations) = run.generations() else { return compress() };
        let key = (ticket.kind.1, generations);
        if let Some(found) = get(&mut self.lock().compressed, &key, ticket) {
            return found;
        }
        let value = compress();
        self.lock().compressed.insert(key, Kept { value: value.clone(), used: ticket });
        value
    }

    /// Forgets what is not likely to be used again, and beyond so many bytes what was not used for
    /// longest.
    pub(super) fn end(&self, ticket: Ticket, bytes_max: usize) {
        let mut state = self.lock();
        state.own.retain(|_, kept| ticket.keeps(kept.used));
        let State { converted, compressed, .. } = &mut *state;
        let oldest = oldest_kept(converted, compressed, bytes_max);
        let keeps = |used: Ticket| ticket.keeps(used) && used.of_all >= oldest;
        converted.retain(|_, kept| keeps(kept.used));
        converted.shrink_to_fit();
        compressed.retain(|_, kept| keeps(kept.used));
        compressed.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn compressed_runs(&self) -> usize {
        self.lock().compressed.len()
    }
}

/// The oldest scrape of which all is kept, where so many bytes may be.
fn oldest_kept(converted: &ByPiece, compressed: &ByRun, bytes_max: usize) -> u64 {
    let of_converted = converted.values().map(|kept| (kept.used.of_all, kept.value.bytes.len()));
    let of_compressed = compressed.values().map(|kept| (kept.used.of_all, kept.value.len()));
    let mut bytes: Vec<(u64, usize)> = of_converted.chain(of_compressed).collect();
    if bytes.iter().map(|(_, bytes)| bytes).sum::<usize>() <= bytes_max {
        return 0;
    }
    bytes.sort_unstable_by_key(|(used, _)| std::cmp::Reverse(*used));
    let mut sum = 0;
    let beyond = bytes.into_iter().find(|(_, bytes)| {
        sum += bytes;
        sum > bytes_max
    });
    beyond.map_or(0, |(used, _)| used + 1)
}

impl Compressed {
    fn len(&self) -> usize {
        match self {
            Self::Gzip(deflated) => deflated.len(),
            Self::Zstd(bytes) => bytes.len(),
        }
    }
}

impl Ticket {
    /// The encoding of the scrape.
    pub(super) fn encoding(self) -> ContentEncoding {
        self.kind.1
    }

    /// Whether what was last used by another scrape is kept when this one ends.
    fn keeps(self, used: Self) -> bool {
        used.of_all + OTHERS_MAX > self.of_all
            && (used.kind != self.kind || used.of_kind + 1 >= self.of_kind)
    }
}

fn get<K: Eq + Hash, T: Clone>(
    map: &mut HashMap<K, Kept<T>>,
    key: &K,
    ticket: Ticket,
) -> Option<T> {
    let kept = map.get_mut(key)?;
    if kept.used.of_all < ticket.of_all {
        kept.used = ticket;
    }
    Some(kept.value.clone())
}
