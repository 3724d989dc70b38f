//! The rules that every scraper applies to a metric, whatever format it came in and whatever it leaves
//! in.
//!
//! The rules are those of Prometheus (`Histogram.Validate`, `FloatHistogram.Validate` and its
//! parsers of text, protobuf and OpenMetrics), and of the OpenMetrics specification where a reader of
//! it gives up. They are checked once, on what was parsed: a metric that passes can be exposed in
//! every format, or is left out of one that cannot say it (`exposition::openmetrics`).

use std::borrow::Cow;

use super::family::{
    Bucket, BucketSpan, Exemplar, Histogram, Metric, MetricValue, NativeBuckets, Summary, Timestamp,
};
use super::name::{Escaping, NameRules};

/// Why no scraper could take a metric: what it has, and what was expected.
pub type Invalid = Cow<'static, str>;

/// Most buckets, quantiles, spans or exemplars in one metric. Prometheus's own default for a scrape is
/// no bound at all; the largest native histograms that its documentation names have 160 buckets.
pub const PARTS_MAX: usize = 10_000;

/// The resolutions of native histograms that Prometheus knows.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// Characters that the labels of an exemplar may have between them (OpenMetrics, "Exemplars").
const EXEMPLAR_CHARS_MAX: usize = 128;
/// The least number above zero.
const SMALLEST: f64 = f64::from_bits(1);
/// The first and the last second that a protobuf timestamp may name.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Puts the buckets of a metric in order, and checks all of it but its labels. Exemplars that no
/// scraper keeps are left out.
pub fn settle(metric: &mut Metric, names: NameRules) -> Result<(), Invalid> {
    match &mut metric.value {
        MetricValue::Counter { exemplar, created, .. } => {
            check_time(*created, "the created timestamp")?;
            exemplar.iter().try_for_each(|exemplar| check_exemplar(exemplar, names))?;
            *exemplar = exemplar.take().filter(|exemplar| is_kept(exemplar));
            Ok(())
        }
        MetricValue::Gauge(_) | MetricValue::Untyped(_) => Ok(()),
        MetricValue::Summary(summary) => check_summary(summary),
        MetricValue::Histogram(histogram) => {
            check_time(histogram.created, "the created timestamp")?;
            settle_classic(histogram, names)?;
            check_native(histogram)?;
            // Prometheus 3.5 ends where a native histogram has one, of floats always, of integers at
            // times: "sync: unlock of unlocked mutex".
            if histogram.is_native() {
                histogram.created = None;
                // Prometheus 2.42 looks at whole counts and at this, and takes what has neither for a
                // classic one (`isNativeHistogram`).
                let has_none = |side: &NativeBuckets| side.deltas.is_empty();
                if [&histogram.positive, &histogram.negative].into_iter().all(has_none)
                    && histogram.zero_count.is_none_or(|count| count == 0)
                    && histogram.zero_threshold.is_none_or(|at| at <= 0.0)
                {
                    histogram.zero_threshold = Some(SMALLEST);
                }
            }
            check_parts(histogram.exemplars.len(), "exemplars")?;
            histogram.exemplars.iter().try_for_each(|exemplar| check_exemplar(exemplar, names))?;
            histogram.exemplars.retain(is_kept);
            for bucket in &mut histogram.buckets {
                if bucket.exemplar.as_ref().is_some_and(|exemplar| !is_kept(exemplar)) {
                    bucket.exemplar = None;
                }
            }
            Ok(())
        }
    }
}

/// Prometheus tells an exemplar that it has from one that is new by its value among others, and NaN
/// equals nothing: it would count one as out of order at every scrape.
fn is_kept(exemplar: &Exemplar) -> bool {
    !exemplar.value.is_nan()
}

fn invalid<T>(reason: impl Into<Invalid>) -> Result<T, Invalid> {
    Err(reason.into())
}

fn check_parts(found: usize, what: &str) -> Result<(), Invalid> {
    if found > PARTS_MAX {
        return invalid(format!("it has {found} {what}; expected at most {PARTS_MAX}"));
    }
    Ok(())
}

fn check_summary(summary: &Summary) -> Result<(), Invalid> {
    check_time(summary.created, "the created timestamp")?;
    check_parts(summary.quantiles.len(), "quantiles")?;
    let mut quantiles: Vec<f64> = summary.quantiles.iter().map(|q| q.quantile).collect();
    if quantiles.iter().any(|quantile| quantile.is_nan()) {
        return invalid("a quantile is NaN; expected a number from 0 to 1");
    }
    check_distinct(&mut quantiles, "quantile")
}

/// Sorts the numbers, and refuses one that comes twice, however it was written.
fn check_distinct(numbers: &mut [f64], what: &str) -> Result<(), Invalid> {
    numbers.sort_unstable_by(f64::total_cmp);
    let pairs = numbers.iter().zip(numbers.iter().skip(1));
    // Zero has two signs, and is one number.
    match pairs.clone().find(|(a, b)| a == b) {
        Some((twice, _)) => invalid(format!("{what} {twice} comes twice; expected each once")),
        None => Ok(()),
    }
}

/// Buckets of a classic histogram rise, as any reader may expect.
fn settle_classic(histogram: &mut Histogram, names: NameRules) -> Result<(), Invalid> {
    check_parts(histogram.buckets.len(), "buckets")?;
    check_count(histogram.count_float, "the count")?;
    for Bucket { cumulative_count_float, upper_bound, exemplar, .. } in &histogram.buckets {
        if upper_bound.is_nan() {
            return invalid("the upper bound of a bucket is NaN; expected a number");
        }
        check_count(*cumulative_count_float, "the count of a bucket")?;
        exemplar.iter().try_for_each(|exemplar| check_exemplar(exemplar, names))?;
    }
    if !histogram.buckets.is_sorted_by(|a, b| a.upper_bound < b.upper_bound) {
        histogram.buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
        let mut bounds: Vec<_> = histogram.buckets.iter().map(|b| b.upper_bound).collect();
        check_distinct(&mut bounds, "the bucket le =")?;
    }
    Ok(())
}

fn check_count(count: Option<f64>, what: &str) -> Result<(), Invalid> {
    match count {
        Some(count) if count.is_nan() || count < 0.0 => {
            invalid(format!("{what} is {count}; expected a number that is not negative"))
        }
        _ => Ok(()),
    }
}

/// The parts of a native histogram agree with each other. Prometheus loses the whole target for one
/// that does not, and may end for spans that name more buckets than there are.
fn check_native(histogram: &Histogram) -> Result<(), Invalid> {
    let Histogram { positive, negative, .. } = histogram;
    if let Some(schema) = histogram.schema.filter(|schema| !SCHEMAS.contains(schema)) {
        return invalid(format!("its schema is {schema}; expected one from -4 to 8"));
    }
    if let Some(threshold) = histogram.zero_threshold.filter(|at| !at.is_finite() || *at < 0.0) {
        return invalid(format!(
            "its zero threshold is {threshold}; expected a number that is not negative"
        ));
    }
    check_count(histogram.zero_count_float, "the count of the zero bucket")?;
    let floats = histogram.is_float();
    let zero = histogram.zero_count.unwrap_or(0);
    if floats && (zero > 0 || !positive.deltas.is_empty() || !negative.deltas.is_empty()) {
        return invalid("it has float counts and integer buckets; expected one of the two");
    }
    let float_buckets = positive.counts.len() + negative.counts.len();
    if !floats && float_buckets > 0 {
        return invalid("it has float buckets and no float count; expected both");
    }
    let sum = |buckets: &NativeBuckets, sign: &str| check_buckets(buckets, floats, sign);
    let in_buckets = sum(positive, "positive")?.checked_add(sum(negative, "negative")?);
    if floats || !histogram.is_native() {
        return Ok(());
    }
    let Some(in_buckets) = in_buckets.and_then(|sum| sum.checked_add(zero)) else {
        return invalid("the counts of its buckets are more than a count can be");
    };
    let count = histogram.count.unwrap_or(0);
    // A NaN that was observed is in the count, and in no bucket.
    let has_nan = histogram.sum.is_some_and(f64::is_nan);
    if in_buckets > count || (in_buckets < count && !has_nan) {
        return invalid(format!(
            "its native buckets count {in_buckets} observations, and its count is {count}; expected \
             the same"
        ));
    }
    Ok(())
}

/// Checks the buckets of one sign. Returns the sum of their counts where those are whole.
fn check_buckets(buckets: &NativeBuckets, floats: bool, sign: &str) -> Result<u64, Invalid> {
    let NativeBuckets { spans, deltas, counts } = buckets;
    check_parts(spans.len(), "spans")?;
    let found = if floats { counts.len() } else { deltas.len() };
    check_parts(found, "native buckets")?;
    let mut named = 0_u64;
    let mut index = 0_i64;
    for (at, BucketSpan { offset, length }) in spans.iter().enumerate() {
        if at > 0 && *offset < 0 {
            return invalid(format!(
                "a {sign} span has the offset {offset}; expected it negative in the first span only"
            ));
        }
        named += u64::from(*length);
        index += i64::from(*offset) + i64::from(*length);
        if i32::try_from(index).is_err() {
            return invalid(format!("its {sign} spans go beyond the buckets that there can be"));
        }
    }
    if named != found as u64 {
        return invalid(format!(
            "its {sign} spans are of {named} buckets, and it has {found}; expected as many"
        ));
    }
    if floats {
        counts.iter().try_for_each(|count| check_count(Some(*count), "the count of a bucket"))?;
        return Ok(0);
    }
    let (mut count, mut sum) = (0_i64, 0_u64);
    for delta in deltas {
        let next = count.checked_add(*delta).filter(|count| *count >= 0);
        let Some(next) = next else {
            return invalid(format!(
                "the count of a {sign} bucket is {count} + {delta}; expected none to be negative"
            ));
        };
        count = next;
        sum = sum.checked_add(count.unsigned_abs()).ok_or("its buckets count too much")?;
    }
    Ok(sum)
}

fn check_exemplar(exemplar: &Exemplar, names: NameRules) -> Result<(), Invalid> {
    let Exemplar { labels, timestamp, .. } = exemplar;
    check_time(*timestamp, "the timestamp of an exemplar")?;
    let mut chars = 0;
    for label in labels {
        if label.name == "__name__" || !names.is_label_name(&label.name) {
            return invalid(format!(
                "an exemplar has a label named {:?}, which is not a valid label name",
                label.name
            ));
        }
        chars += label.name.chars().count() + label.value.chars().count();
        if chars > EXEMPLAR_CHARS_MAX {
            return invalid(format!(
                "the labels of an exemplar have more than {EXEMPLAR_CHARS_MAX} characters"
            ));
        }
    }
    let names = || labels.iter().map(|label| label.name.as_str());
    match Escaping::collision(&names()) {
        Some(twice) => invalid(format!("an exemplar has two labels named {twice:?}")),
        None => Ok(()),
    }
}

fn check_time(time: Option<Timestamp>, what: &str) -> Result<(), Invalid> {
    match time {
        Some(Timestamp { seconds, nanos })
            if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) =>
        {
            invalid(format!(
                "{what} is {seconds} s and {nanos} ns; expected an instant from year 1 to 9999"
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, Quantile};

    fn check(value: MetricValue) -> Result<Metric, String> {
        let mut metric = Metric { labels: vec![], value, timestamp_ms: None };
        let settled = settle(&mut metric, NameRules::Legacy);
        settled.map(|()| metric).map_err(Cow::into_owned)
    }

    fn native(change: impl FnOnce(&mut Histogram)) -> Result<Metric, String> {
        let mut histogram = Histogram {
            count: Some(7),
            sum: Some(3.5),
            schema: Some(3),
            zero_threshold: Some(1e-128),
            zero_count: Some(1),
            positive: NativeBuckets {
                spans: vec![
                    BucketSpan { offset: -2, length: 2 },
                    BucketSpan { offset: 3, length: 1 },
                ],
                deltas: vec![1, 1, -1],
                counts: vec![],
            },
            negative: NativeBuckets {
                spans: vec![BucketSpan { offset: 0, length: 1 }],
                deltas: vec![2],
                counts: vec![],
            },
            ..Histogram::default()
        };
        change(&mut histogram);
        check(MetricValue::Histogram(Box::new(histogram)))
    }

    type Change = fn(&mut Histogram);

    #[test]
    fn a_native_histogram_agrees_with_itself() {
        native(|_| {}).unwrap();
        native(|h| (h.count, h.sum) = (Some(8), Some(f64::NAN))).unwrap();
        native(|h| {
            h.count_float = Some(1e9);
            h.zero_count = None;
            h.positive.deltas.clear();
            h.negative.deltas.clear();
            h.positive.counts = vec![0.5, 1.0, 2.0];
            h.negative.counts = vec![0.0];
        })
        .unwrap();
        let broken: [(Change, &str); 16] = [
            (|h| h.count = Some(8), "count 7 observations, and its count is 8"),
            (|h| h.count = None, "count is 0"),
            (|h| (h.count, h.sum) = (Some(6), Some(f64::NAN)), "count is 6"),
            (|h| h.positive.spans[0].length = 3, "of 4 buckets, and it has 3"),
            (|h| h.positive.spans[0].length = u32::MAX, "spans"),
            (|h| h.positive.spans.clear(), "of 0 buckets, and it has 3"),
            (|h| h.negative.deltas.clear(), "of 1 buckets, and it has 0"),
            (|h| h.positive.spans[1].offset = -1, "the offset -1"),
            (|h| h.positive.deltas = vec![1, -2, 3], "1 + -2"),
            (|h| h.positive.deltas = vec![i64::MAX, 1, 1], "negative"),
            (|h| h.schema = Some(9), "schema is 9"),
            (|h| h.schema = Some(-53), "schema is -53"),
            (|h| h.zero_threshold = Some(-1.0), "threshold is -1"),
            (|h| h.zero_threshold = Some(f64::NAN), "threshold is NaN"),
            (|h| h.count_float = Some(7.0), "float counts and integer buckets"),
            (|h| h.positive.counts = vec![1.0], "no float count"),
        ];
        for (change, expected) in broken {
            let error = native(change).unwrap_err();
            assert!(error.contains(expected), "{error}: {expected}");
        }
    }

    #[test]
    fn an_exemplar_that_no_scraper_keeps_is_left_out() {
        let exemplar = |value| Exemplar { value, ..Exemplar::default() };
        let (nan, one) = (exemplar(f64::NAN), exemplar(1.0));
        let counter = check(MetricValue::Counter {
            value: 1.0,
            exemplar: Some(Box::new(nan.clone())),
            created: None,
        });
        assert!(matches!(counter.unwrap().value, MetricValue::Counter { exemplar: None, .. }));
        let bucket = |upper_bound, exemplar: &Exemplar| Bucket {
            upper_bound,
            exemplar: Some(exemplar.clone()),
            ..Bucket::default()
        };
        let histogram = native(|h| {
            h.exemplars = vec![one.clone(), nan.clone()];
            h.buckets = vec![bucket(1.0, &nan), bucket(2.0, &one)];
        });
        let MetricValue::Histogram(histogram) = histogram.unwrap().value else { panic!() };
        assert_eq!(histogram.exemplars, std::slice::from_ref(&one));
        let of_buckets: Vec<_> = histogram.buckets.into_iter().map(|b| b.exemplar).collect();
        assert_eq!(of_buckets, [None, Some(one)]);
    }

    fn classic(bounds: &[f64]) -> Result<Vec<f64>, String> {
        let bucket = |upper_bound: &f64| Bucket { upper_bound: *upper_bound, ..Bucket::default() };
        let buckets = bounds.iter().map(bucket).collect();
        let histogram = Histogram { buckets, ..Histogram::default() };
        match check(MetricValue::Histogram(Box::new(histogram)))?.value {
            MetricValue::Histogram(settled) => {
                Ok(settled.buckets.iter().map(|bucket| bucket.upper_bound).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_buckets_of_a_classic_histogram_rise_and_come_once() {
        assert_eq!(classic(&[5.0, f64::INFINITY, -1.0]).unwrap(), [-1.0, 5.0, f64::INFINITY]);
        for bounds in [&[1.0, 2.0, 1.0][..], &[0.0, -0.0], &[f64::INFINITY, f64::INFINITY]] {
            assert!(classic(bounds).unwrap_err().contains("twice"), "{bounds:?}");
        }
        assert!(classic(&[f64::NAN]).unwrap_err().contains("NaN"));
    }

    #[test]
    fn quantiles_come_once() {
        let summary = |quantiles: &[f64]| {
            let quantile = |quantile: &f64| Quantile { quantile: *quantile, value: f64::NAN };
            let quantiles = quantiles.iter().map(quantile).collect();
            check(MetricValue::Summary(Box::new(Summary { quantiles, ..Summary::default() })))
        };
        summary(&[0.9, 0.5, 2.0]).unwrap();
        assert!(summary(&[0.5, 0.9, 0.5]).unwrap_err().contains("quantile 0.5 comes twice"));
        assert!(summary(&[f64::NAN]).is_err());
    }

    #[test]
    fn a_native_histogram_without_whole_counts_says_that_it_is_one() {
        let threshold = |change: fn(&mut Histogram)| match native(change).unwrap().value {
            MetricValue::Histogram(histogram) => histogram.zero_threshold,
            other => panic!("{other:?}"),
        };
        let empty = |histogram: &mut Histogram| {
            *histogram = Histogram {
                count: Some(0),
                sum: Some(0.0),
                schema: Some(3),
                zero_threshold: Some(0.0),
                positive: NativeBuckets {
                    spans: vec![BucketSpan::default()],
                    ..NativeBuckets::default()
                },
                ..Histogram::default()
            };
        };
        assert_eq!(threshold(empty), Some(SMALLEST));
        assert_eq!(threshold(|histogram| histogram.zero_threshold = Some(0.0)), Some(0.0));
    }

    #[test]
    fn an_exemplar_has_names_that_differ_and_an_instant_that_there_is() {
        let counter = |names: &[&str], seconds| {
            let labels = names.iter().map(|name| Label::new(*name, "v")).collect();
            let timestamp = Some(Timestamp { seconds, nanos: 0 });
            let exemplar = Some(Box::new(Exemplar { labels, value: 1.0, timestamp }));
            check(MetricValue::Counter { value: 1.0, exemplar, created: None })
        };
        counter(&["id", "span"], 1).unwrap();
        let long = "x".repeat(127);
        for names in [&[""][..], &["a", "a"], &["a b"], &["__name__"], &[&long, "a"]] {
            assert!(counter(names, 1).unwrap_err().contains("exemplar"), "{names:?}");
        }
        assert!(counter(&["id"], i64::MAX).unwrap_err().contains("year"));
    }
}
