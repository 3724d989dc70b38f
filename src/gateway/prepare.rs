//! The part of a push that needs nothing that is stored: checks of the push alone, the
//! rendered lines, the stored form, and the hashes of its series. Runs in parallel, before the
//! lane.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::Refusal;
use super::options::Limits;
use super::segment::Rendered;
use super::stamps::is_stamp;
use crate::exposition::protobuf::encode;
use crate::exposition::text::{self, LabelBlock};
use crate::model::grouping_key::push_encoded;
use crate::model::labels::merged;
use crate::model::name::{is_label_name, is_metric_name, is_reserved_label_name};
use crate::model::validity;
use crate::model::{
    Escaping, GroupingKey, Label, Limit, Meter, Metric, MetricFamily, MetricType, NameRules,
    OverBudget,
};
use crate::store::{EncodedFamily, FamilyHeader, encode_metrics};

/// Hashes label sets and series. The seed differs between processes, so that no client can make
/// series collide.
#[derive(Clone, Copy, Debug)]
pub struct SeriesHasher {
    seed: u64,
}

/// A family of a push, ready for the lane.
#[derive(Clone, Debug)]
pub struct PreparedFamily {
    pub kind: MetricType,
    /// Whether its metrics are native histograms.
    pub native: bool,
    /// Its stored form, but for the time and the sequence number, which the lane gives.
    pub stored: EncodedFamily,
    pub rendered: RenderedFamily,
}

/// The lines of a family in a group, and what its series could collide with.
#[derive(Clone, Debug)]
pub struct RenderedFamily {
    pub lines: Rendered,
    /// Hash of the series that has the labels of the group and no others.
    pub plain_hash: u64,
    /// The series that have labels of their own.
    pub own_label_series: Vec<ExtraSeries>,
    /// Hashes that series have once their names are escaped, with the places of the metrics. Nearly
    /// always there are none.
    pub also: Vec<(u64, usize)>,
}

/// A series that has labels beyond those of its group, and so could be another group's too.
#[derive(Clone, Copy, Debug)]
pub struct ExtraSeries {
    pub hash: u64,
    /// Hash of the labels alone: that of the group whose key they are, if there is one.
    pub labels_hash: u64,
    /// Its place among the family's metrics.
    pub metric: usize,
}

/// The labels and options with which the families of one group are rendered.
#[derive(Debug)]
pub struct GroupRenderer<'a> {
    key: &'a GroupingKey,
    block: LabelBlock,
    /// The labels that the group's metrics have, sorted by name.
    labels: Vec<(&'a str, &'a str)>,
    labels_hash: u64,
    hasher: SeriesHasher,
    /// Whether the names of the key's labels are of the legacy charset.
    legacy: bool,
}

impl SeriesHasher {
    /// A hasher with a seed that nobody outside knows.
    pub fn random() -> Self {
        Self { seed: RandomState::new().hash_one(0_u8) }
    }

    /// The hash of the labels that every metric of a group has.
    pub fn group(self, key: &GroupingKey) -> u64 {
        self.labels(key, &[], Escaping::AllowUtf8)
    }

    /// The hashes of those labels once their names are escaped; none where there is nothing to escape.
    pub fn escaped_group(self, key: &GroupingKey) -> impl Iterator<Item = u64> {
        let schemes = schemes(is_legacy_key(key));
        schemes.iter().map(move |scheme| self.labels(key, &[], *scheme))
    }

    fn labels(self, key: &GroupingKey, own: &[Label], scheme: Escaping) -> u64 {
        self.encoded(&encoded_labels(key, own, scheme))
    }

    fn encoded(self, labels: &[u8]) -> u64 {
        xxh3_64_with_seed(labels, self.seed)
    }
}

/// The hash of a series. Seeded, as the hash of its labels is.
fn series_hash(family: &str, labels_hash: u64) -> u64 {
    xxh3_64_with_seed(family.as_bytes(), labels_hash)
}

/// The whole label set of a metric, as a scraper that has names escaped so takes it, in a form that is
/// equal iff the set is: a label without a value is none.
pub fn encoded_labels(key: &GroupingKey, own: &[Label], scheme: Escaping) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(128);
    push_labels(&mut encoded, merged(key.metric_labels(), own), scheme);
    encoded
}

fn push_labels<'a>(
    encoded: &mut Vec<u8>,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    scheme: Escaping,
) {
    let labels = labels.filter(|(_, value)| !value.is_empty());
    if scheme == Escaping::AllowUtf8 {
        for (name, value) in labels {
            push_encoded(encoded, name, value);
        }
        return;
    }
    let mut labels: Vec<_> =
        labels.map(|(name, value)| (scheme.apply_to_label(name), value)).collect();
    labels.sort_unstable();
    for (name, value) in labels {
        push_encoded(encoded, &name, value);
    }
}

/// The schemes under which names change: none where all are of the legacy charset.
pub fn schemes(legacy: bool) -> &'static [Escaping] {
    if legacy { &[] } else { &Escaping::CHANGING }
}

/// Whether the names of a key's labels are all of the legacy charset.
pub fn is_legacy_key(key: &GroupingKey) -> bool {
    key.labels().all(|(name, _)| is_label_name(name))
}

/// Whether the names of a family and of its metrics' labels are all of the legacy charset.
pub fn is_legacy_family(family: &MetricFamily) -> bool {
    let mut labels = family.metrics.iter().flat_map(|metric| &metric.labels);
    is_metric_name(&family.name) && labels.all(|label| is_label_name(&label.name))
}

/// The rules for a push by itself.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub limits: &'a Limits,
    pub names: NameRules,
    /// Whether a family that contradicts itself is left out, rather than the whole push refused.
    pub lenient: bool,
}

/// The families of a push, ready for the lane.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    pub families: Vec<PreparedFamily>,
    /// Why families were left out, if any were: of several reasons the first.
    pub left_out: Option<Refusal>,
}

/// Checks the families of a push and prepares them, within the memory of `meter`. The gateway's own
/// families are left out: what it says there always counts.
pub fn prepare(
    key: &GroupingKey,
    hasher: SeriesHasher,
    rules: Rules<'_>,
    mut families: Vec<MetricFamily>,
    meter: &mut dyn Meter,
) -> Result<Result<Prepared, Refusal>, OverBudget> {
    if let Err(refusal) = check_alone(key, rules.limits, &families) {
        return Ok(Err(refusal));
    }
    families.retain(|family| !is_stamp(&family.name));
    let group = GroupRenderer::new(key, hasher);
    let least = families.iter().map(|family| text::least_bytes(family, &group.block)).sum();
    if let Err(refusal) = check_group_bytes(least, rules.limits) {
        return Ok(Err(refusal));
    }
    // The lines here and in the view; the stored form here, in the batch, and in the store's cache.
    meter.take(usize::try_from(least).unwrap_or(usize::MAX).saturating_mul(5))?;
    let mut left_out = None;
    // One buffer for the lines of all families and one for their stored forms: a push of many small
    // families would else spend its time in the allocator.
    let (mut lines, mut stored) = (Vec::with_capacity(1024), Vec::with_capacity(512));
    let mut prepared = Vec::with_capacity(families.len());
    let mut ends = Vec::with_capacity(families.len());
    for family in families {
        let begin = (lines.len(), stored.len());
        match group.prepare(family, rules.names, &mut lines, &mut stored) {
            Ok(family) => prepared.push(family),
            Err(refusal) if rules.lenient => {
                left_out.get_or_insert(refusal);
                lines.truncate(begin.0);
                stored.truncate(begin.1);
                continue;
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
        ends.push((lines.len(), stored.len()));
    }
    let (mut lines, mut stored) = (Bytes::from(lines), Bytes::from(stored));
    let mut begin = (0, 0);
    for (family, end) in prepared.iter_mut().zip(ends) {
        family.rendered.lines.text = lines.split_to(end.0 - begin.0);
        family.stored.set_metrics(stored.split_to(end.1 - begin.1));
        begin = end;
    }
    let bytes = prepared.iter().map(|family| family.rendered.bytes()).sum();
    if let Err(refusal) = check_group_bytes(bytes, rules.limits) {
        return Ok(Err(refusal));
    }
    Ok(Ok(Prepared { families: prepared, left_out }))
}

fn check_group_bytes(bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    let limit = limits.group_bytes.min(Limits::GROUP_BYTES_MAX);
    if bytes > limit {
        let (what, setting) = ("the group would be too many bytes in a scrape", Limit::GroupSize);
        return Err(Refusal::Limit { what, setting, found: bytes, limit });
    }
    Ok(())
}

/// Checks what can be told without the labels that the group gives.
fn check_alone(
    key: &GroupingKey,
    limits: &Limits,
    families: &[MetricFamily],
) -> Result<(), Refusal> {
    let at_most = |what, setting, found: usize, limit: u64| {
        let found = found as u64;
        if found > limit { Err(Refusal::TooLong { what, setting, found, limit }) } else { Ok(()) }
    };
    let label = |name: &str, value: &str| {
        let (of_name, of_value) = (limits.label_name_bytes, limits.label_value_bytes);
        at_most("a label name", Limit::LabelNameLength, name.len(), of_name)?;
        at_most("a label value", Limit::LabelValueLength, value.len(), of_value)
    };
    key.labels().try_for_each(|(name, value)| label(name, value))?;
    let (found, limit) = (key.as_bytes().len() as u64, Limits::KEY_BYTES_MAX);
    if found > limit.min(limits.group_bytes) {
        return Err(Refusal::LongKey { found, limit });
    }
    for family in families {
        let name = family.name.len();
        at_most("a metric name", Limit::MetricNameLength, name, limits.metric_name_bytes)?;
        for metric in &family.metrics {
            let count = metric.labels.len();
            at_most(
                "the label set of a series",
                Limit::LabelsPerSeries,
                count,
                limits.labels_per_series,
            )?;
            metric.labels.iter().try_for_each(|own| label(&own.name, &own.value))?;
        }
    }
    let mut metrics = families.iter().flat_map(|family| &family.metrics);
    if metrics.any(|metric| metric.timestamp_ms.is_some()) {
        return Err(Refusal::Timestamps);
    }
    Ok(())
}

impl RenderedFamily {
    /// How many bytes it has in a scrape, and is kept in.
    pub fn bytes(&self) -> u64 {
        let Rendered { text, protobuf } = &self.lines;
        (text.len() + protobuf.as_ref().map_or(0, Bytes::len)) as u64
    }
}

impl<'a> GroupRenderer<'a> {
    /// Gets ready to render families of the group.
    pub fn new(key: &'a GroupingKey, hasher: SeriesHasher) -> Self {
        let (block, legacy) = (LabelBlock::of_group(key), is_legacy_key(key));
        let labels = key.metric_labels().collect();
        Self { key, block, labels, labels_hash: hasher.group(key), hasher, legacy }
    }

    /// The whole label set of a metric.
    fn merged<'b>(&'b self, own: &'b [Label]) -> impl Iterator<Item = (&'b str, &'b str)> {
        merged(self.labels.iter().copied(), own)
    }

    /// Renders a family whose labels are sanitized.
    pub fn render(&self, family: &MetricFamily) -> RenderedFamily {
        let mut lines = Vec::with_capacity(96 * family.metrics.len());
        let mut rendered = self.render_into(&mut lines, family);
        rendered.lines.text = lines.into();
        rendered
    }

    /// The same, but for the lines, which are appended to `lines`.
    fn render_into(&self, lines: &mut Vec<u8>, family: &MetricFamily) -> RenderedFamily {
        text::lines(lines, family, &self.block);
        let plain_hash = series_hash(&family.name, self.labels_hash);
        let (own_label_series, also) = self.claims(family);
        let protobuf = (!family.metrics.iter().all(encode::is_whole_in_text)).then(|| {
            let mut protobuf = Vec::with_capacity(256 * family.metrics.len());
            for metric in &family.metrics {
                encode::metric(&mut protobuf, metric, self.merged(&metric.labels));
            }
            Bytes::from(protobuf)
        });
        let lines = Rendered { text: Bytes::new(), protobuf };
        RenderedFamily { lines, plain_hash, own_label_series, also }
    }

    /// The series that could be another group's too, and the hashes that those have beside their own
    /// once names are escaped. Where names change, that is every series.
    fn claims(&self, family: &MetricFamily) -> (Vec<ExtraSeries>, Vec<(u64, usize)>) {
        let legacy = self.legacy && is_metric_name(&family.name);
        let mut encoded = Vec::with_capacity(256);
        let mut also = Vec::new();
        let own_label_series = family
            .metrics
            .iter()
            .enumerate()
            .filter(|(_, metric)| !legacy || !metric.labels.is_empty())
            .map(|(at, metric)| {
                let mut hash_of = |scheme| {
                    encoded.clear();
                    push_labels(&mut encoded, self.merged(&metric.labels), scheme);
                    self.hasher.encoded(&encoded)
                };
                let labels_hash = hash_of(Escaping::AllowUtf8);
                let legacy = legacy && metric.labels.iter().all(|own| is_label_name(&own.name));
                for scheme in schemes(legacy) {
                    let hash = series_hash(&scheme.apply(&family.name), hash_of(*scheme));
                    also.push((hash, at));
                }
                let hash = series_hash(&family.name, labels_hash);
                ExtraSeries { hash, labels_hash, metric: at }
            })
            .collect();
        (own_label_series, also)
    }

    /// Prepares a family, but for its lines and its stored metrics, which are appended to the
    /// buffers.
    fn prepare(
        &self,
        mut family: MetricFamily,
        names: NameRules,
        lines: &mut Vec<u8>,
        stored: &mut Vec<u8>,
    ) -> Result<PreparedFamily, Refusal> {
        let of_key = family.kind.bound_label().filter(|label| self.key.get(label).is_some());
        if let Some(label) = of_key.filter(|_| !family.metrics.is_empty()) {
            return Err(Refusal::BoundLabel { family: family.name, label });
        }
        for metric in &mut family.metrics {
            if !metric.value.is_of(family.kind) {
                return Err(Refusal::NotA { family: family.name, kind: family.kind });
            }
            self.sanitize(&family.name, family.kind, names, metric)?;
            validity::settle(metric, names).map_err(|reason| Refusal::Invalid {
                family: family.name.clone(),
                labels: labels_text(self.key, &metric.labels),
                reason,
            })?;
        }
        let Some(native) = family.is_native() else {
            return Err(Refusal::Native { family: family.name, native: true });
        };
        let rendered = self.render_into(lines, &family);
        self.check_unique(&family, &rendered)?;
        let series = u32::try_from(family.metrics.len()).unwrap_or(u32::MAX);
        encode_metrics(family.metrics, stored);
        let MetricFamily { name, help, kind, unit, .. } = family;
        let header = FamilyHeader { name, kind, help, unit, series };
        let stored = EncodedFamily::new(header, Bytes::new());
        Ok(PreparedFamily { kind, native, stored, rendered })
    }

    /// Leaves a metric only the labels that its group does not give it, sorted, and checks them.
    fn sanitize(
        &self,
        family: &str,
        kind: MetricType,
        names: NameRules,
        metric: &mut Metric,
    ) -> Result<(), Refusal> {
        if metric.labels.is_empty() {
            return Ok(());
        }
        metric.labels.sort_by(|a, b| a.name.cmp(&b.name));
        let pairs = metric.labels.iter().zip(metric.labels.iter().skip(1));
        let mut problem = pairs
            .filter(|(a, b)| a.name == b.name)
            .map(|(a, _)| Refusal::LabelTwice { family: family.into(), label: a.name.clone() });
        if let Some(refusal) = problem.next() {
            return Err(refusal);
        }
        for label in &metric.labels {
            let name = || (family.to_owned(), label.name.clone());
            if !names.is_label_name(&label.name) {
                let (family, label) = name();
                return Err(Refusal::LabelName { family, label });
            }
            if is_reserved_label_name(&label.name) {
                let (family, label) = name();
                return Err(Refusal::LabelReserved { family, label });
            }
            // For histograms, too, unlike the Go Pushgateway: with two labels of one name, Prometheus
            // refuses all that it has scraped.
            if let Some(bound) = kind.bound_label().filter(|bound| *bound == label.name) {
                return Err(Refusal::BoundLabel { family: family.to_owned(), label: bound });
            }
        }
        metric.labels.retain(|label| {
            let given = self.labels.iter().any(|(name, value)| {
                // The group's `instance=""` may only fill a gap.
                *name == label.name && (!value.is_empty() || self.is_given(name, &label.value))
            });
            !given
        });
        self.check_escaped_labels(family, kind, metric)
    }

    /// Whether a label without a value is the group's rather than the metric's.
    fn is_given(&self, name: &str, own: &str) -> bool {
        own.is_empty() || self.key.get(name).is_some()
    }

    /// No two labels of a metric have one name once they are escaped, nor one that is the metric's.
    fn check_escaped_labels(
        &self,
        family: &str,
        kind: MetricType,
        metric: &Metric,
    ) -> Result<(), Refusal> {
        if self.legacy && metric.labels.iter().all(|own| is_label_name(&own.name)) {
            return Ok(());
        }
        let names = self.merged(&metric.labels).map(|(name, _)| name);
        let names: Vec<_> = names.chain(kind.bound_label()).chain(["__name__"]).collect();
        match Escaping::collision(&names.into_iter()) {
            Some(label) => Err(Refusal::EscapedLabelTwice { family: family.to_owned(), label }),
            None => Ok(()),
        }
    }

    /// No series comes twice, however a scraper has names escaped.
    fn check_unique(
        &self,
        family: &MetricFamily,
        rendered: &RenderedFamily,
    ) -> Result<(), Refusal> {
        let duplicate = |labels: &[Label]| Refusal::Duplicate {
            family: family.name.clone(),
            labels: labels_text(self.key, labels),
            group: None,
        };
        if family.metrics.len() < 2 {
            return Ok(());
        }
        if family.metrics.len() - rendered.own_label_series.len() > 1 {
            return Err(duplicate(&[]));
        }
        let plain = (family.metrics.len() > rendered.own_label_series.len()).then(|| {
            (rendered.plain_hash, family.metrics.iter().position(|m| m.labels.is_empty()))
        });
        let plain = plain.and_then(|(hash, at)| Some((hash, at?)));
        let own_label_series =
            rendered.own_label_series.iter().map(|extra| (extra.hash, extra.metric));
        let also = rendered.also.iter().copied();
        let mut hashes: Vec<(u64, usize)> = own_label_series.chain(plain).chain(also).collect();
        hashes.sort_unstable();
        let own = |at: usize| family.metrics.get(at).map_or(&[][..], |metric| &*metric.labels);
        let pairs = hashes.iter().zip(hashes.iter().skip(1));
        let is_twice = |((a, one), (b, other)): &(&(u64, usize), &(u64, usize))| {
            a == b && one != other && is_one_series((self.key, own(*one)), (self.key, own(*other)))
        };
        match pairs.clone().find(is_twice) {
            Some((_, (_, at))) => Err(duplicate(own(*at))),
            None => Ok(()),
        }
    }
}

/// Whether two series of one name are one to some scraper: grouping keys, and labels beyond them.
pub fn is_one_series(one: (&GroupingKey, &[Label]), other: (&GroupingKey, &[Label])) -> bool {
    let same = |scheme: &Escaping| {
        encoded_labels(one.0, one.1, *scheme) == encoded_labels(other.0, other.1, *scheme)
    };
    let legacy = |(key, own): (&GroupingKey, &[Label])| {
        is_legacy_key(key) && own.iter().all(|label| is_label_name(&label.name))
    };
    same(&Escaping::AllowUtf8) || schemes(legacy(one) && legacy(other)).iter().any(same)
}

/// A label set for a message.
pub fn labels_text(key: &GroupingKey, own: &[Label]) -> String {
    let labels: Vec<_> =
        merged(key.metric_labels(), own).map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text::parse;
    use crate::model::Unmetered;

    fn key(labels: &[(&str, &str)]) -> GroupingKey {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        GroupingKey::new(labels).unwrap()
    }

    const RULES: Rules<'_> =
        Rules { limits: &Limits::UNLIMITED, names: NameRules::Legacy, lenient: false };

    fn parsed(body: &str) -> Vec<MetricFamily> {
        parse(body.as_bytes(), NameRules::Legacy).unwrap()
    }

    fn prepared(key: &GroupingKey, body: &str) -> Result<Vec<PreparedFamily>, Refusal> {
        prepare_all(key, SeriesHasher::random(), RULES, parsed(body)).map(|push| push.families)
    }

    fn prepare_all(
        key: &GroupingKey,
        hasher: SeriesHasher,
        rules: Rules<'_>,
        families: Vec<MetricFamily>,
    ) -> Result<Prepared, Refusal> {
        prepare(key, hasher, rules, families, &mut Unmetered).unwrap()
    }

    fn lines(key: &GroupingKey, body: &str) -> String {
        let families = prepared(key, body).unwrap();
        let lines =
            families.iter().flat_map(|family| family.rendered.lines.text.to_vec()).collect();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn grouping_labels_win_over_those_of_the_body() {
        let key = key(&[("job", "j"), ("zone", "z")]);
        assert_eq!(
            lines(&key, "m{job=\"other\",zone=\"other\",a=\"1\"} 1\n"),
            "m{a=\"1\",instance=\"\",job=\"j\",zone=\"z\"} 1\n"
        );
    }

    #[test]
    fn an_instance_of_the_body_survives_where_the_key_has_none() {
        let body = "m{instance=\"i\"} 1\n";
        assert_eq!(lines(&key(&[("job", "j")]), body), "m{instance=\"i\",job=\"j\"} 1\n");
        let with = key(&[("job", "j"), ("instance", "k")]);
        assert_eq!(lines(&with, body), "m{instance=\"k\",job=\"j\"} 1\n");
    }

    #[test]
    fn an_empty_instance_of_the_body_is_the_one_that_the_group_gives() {
        let families = prepared(&key(&[("job", "j")]), "m{instance=\"\"} 1\n").unwrap();
        assert!(families[0].rendered.own_label_series.is_empty());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let key = key(&[("job", "j")]);
        for (body, reason) in [
            ("m 1 1000\n", "timestamp"),
            ("push_time_seconds 1 1000\n", "timestamp"),
            ("m{__x=\"1\"} 1\n", "label"),
            ("m 1\nm 2\n", "duplicate"),
            ("m{a=\"1\"} 1\nm{a=\"2\"} 1\nm{a=\"1\"} 2\n", "duplicate"),
            ("m{job=\"a\"} 1\nm{job=\"b\"} 2\n", "duplicate"),
            ("m{instance=\"\"} 1\nm 2\n", "duplicate"),
        ] {
            assert_eq!(prepared(&key, body).expect_err(body).reason().as_str(), reason, "{body}");
        }
        for body in ["m{a=\"\"} 1\nm 2\n", "m{b=\"1\"} 1\nm{a=\"\",b=\"1\"} 2\n"] {
            let refusal = prepared(&key, body).expect_err("a label without a value is none");
            assert_eq!(refusal.reason().as_str(), "duplicate", "{body}");
        }
        assert!(prepared(&key, "m{a=\"\"} 1\n").is_ok());
    }

    #[test]
    fn what_is_too_long_is_refused_with_the_setting_that_says_so() {
        let limits = Limits {
            label_name_bytes: 8,
            label_value_bytes: 3,
            labels_per_series: 2,
            metric_name_bytes: 6,
            ..Limits::UNLIMITED
        };
        let rules = Rules { limits: &limits, ..RULES };
        for (value, body, setting) in [
            ("long", "", "limits.label-value-length"),
            ("j", "m{a=\"long\"} 1\n", "limits.label-value-length"),
            ("j", "m{long_name=\"1\"} 1\n", "limits.label-name-length"),
            ("j", "m{a=\"\",b=\"\",c=\"\"} 1\n", "limits.labels-per-series"),
            ("j", "long_name 1\n", "limits.metric-name-length"),
        ] {
            let families = parsed(body);
            let key = key(&[("job", value)]);
            let refusal = prepare_all(&key, SeriesHasher::random(), rules, families).unwrap_err();
            assert!(refusal.to_string().contains(setting), "{refusal}");
            assert!(!refusal.marks_the_group());
        }
    }

    #[test]
    fn a_lenient_push_is_left_without_what_contradicts_itself() {
        let rules = Rules { lenient: true, ..RULES };
        let body = "a 1\nb{x=\"1\"} 1\nb{x=\"1\"} 2\nc 3\n";
        let push = prepare_all(&key(&[("job", "j")]), SeriesHasher::random(), rules, parsed(body));
        let push = push.unwrap();
        let lines = |family: &PreparedFamily| {
            String::from_utf8(family.rendered.lines.text.to_vec()).unwrap()
        };
        let all: Vec<_> = push.families.iter().map(lines).collect();
        assert_eq!(all, ["a{instance=\"\",job=\"j\"} 1\n", "c{instance=\"\",job=\"j\"} 3\n"]);
        assert!(push.families.iter().all(|family| family.stored.decode().unwrap().len() == 1));
        assert_eq!(push.left_out.unwrap().reason().as_str(), "duplicate");
    }

    #[test]
    fn the_gateways_own_families_are_left_out() {
        let families =
            prepared(&key(&[("job", "j")]), "push_time_seconds 1\npush_failure_time_seconds 2\n");
        assert!(families.unwrap().is_empty());
    }

    #[test]
    fn a_series_has_one_hash_whichever_group_it_is_pushed_to() {
        let hasher = SeriesHasher::random();
        let families = |key: &GroupingKey, body: &str| {
            prepare_all(key, hasher, RULES, parsed(body)).unwrap().families.remove(0).rendered
        };
        let wide = families(&key(&[("job", "j")]), "m{instance=\"i\",zone=\"z\"} 1\n");
        let narrow = key(&[("job", "j"), ("instance", "i"), ("zone", "z")]);
        assert_eq!(wide.own_label_series[0].hash, families(&narrow, "m 1\n").plain_hash);
        assert_eq!(wide.own_label_series[0].labels_hash, hasher.group(&narrow));
    }
}
