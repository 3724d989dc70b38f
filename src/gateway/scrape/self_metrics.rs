//! Self metrics as they are sent. Most have not changed since the last scrape: those are neither
//! rendered nor compressed again.

use bytes::Bytes;

use super::convert::{own_metrics, own_name};
use super::piece::Converted;
use crate::exposition::ScrapeFormat;
use crate::gateway::segment::next_generation;
use crate::model::{MetricFamily, MetricType};

/// After so many scrapes that have had the same, what is there is taken to stay. Before that it may be
/// that two scrapes have come at once.
const SAME_MIN: u32 = 4;

/// A self metric, rendered.
#[derive(Debug)]
pub(super) struct SelfFamily {
    family: MetricFamily,
    /// In protobuf without the length of the whole.
    header: Converted,
    metrics: Converted,
    /// How many scrapes before have had the same metrics.
    same: u32,
}

/// Renders self metrics, which are sorted by name, as is what the scrape before has had of them.
pub(super) fn render(
    to: ScrapeFormat,
    families: Vec<MetricFamily>,
    before: &[SelfFamily],
) -> Vec<SelfFamily> {
    let of_before = |name: &str| {
        let at = before.binary_search_by(|own| own.name().cmp(name)).ok()?;
        before.get(at)
    };
    families
        .into_iter()
        .map(|family| {
            let before = of_before(&family.name);
            SelfFamily::new(to, family, before)
        })
        .collect()
}

impl SelfFamily {
    fn new(to: ScrapeFormat, family: MetricFamily, before: Option<&Self>) -> Self {
        let (header, metrics) = match before {
            Some(own) if own.family == family => (own.header.clone(), own.metrics.clone()),
            // NaN never equals itself, but always renders the same.
            _ => (
                numbered(own_name(&family).header(to), before.map(|own| &own.header)),
                numbered(own_metrics(to, &family), before.map(|own| &own.metrics)),
            ),
        };
        let same = before.filter(|own| own.metrics.generation == metrics.generation);
        let same = same.map_or(0, |own| own.same.saturating_add(1));
        Self { family, header, metrics, same }
    }

    pub(super) fn name(&self) -> &str {
        &self.family.name
    }

    pub(super) fn kind(&self) -> MetricType {
        self.family.kind
    }

    pub(super) fn len(&self) -> usize {
        self.header.bytes.len() + self.metrics.bytes.len()
    }

    pub(super) fn header(&self) -> Converted {
        self.settled(&self.header)
    }

    pub(super) fn metrics(&self) -> Converted {
        self.settled(&self.metrics)
    }

    /// A metric that is likely to change again is not kept, nor is its header: fewer and longer runs
    /// compress better.
    fn settled(&self, Converted { bytes, generation }: &Converted) -> Converted {
        let generation = if self.same < SAME_MIN { 0 } else { *generation };
        Converted { bytes: bytes.clone(), generation }
    }
}

/// The same bytes as before keep their generation.
fn numbered(bytes: Bytes, before: Option<&Converted>) -> Converted {
    match before {
        Some(before) if before.bytes == bytes => before.clone(),
        _ => Converted { bytes, generation: next_generation() },
    }
}
