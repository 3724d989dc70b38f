//! The buckets of a native histogram as the API shows them: with bounds and counts.

use super::histogram_bounds::BOUNDS;
use crate::model::{BucketSpan, Histogram, NativeBuckets};

/// A bucket that is not empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NativeBucket {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
    /// Which bounds belong to it, as Prometheus's API numbers that: 0 the upper, 1 the lower, 3 both.
    pub(super) boundaries: u8,
}

/// Schemas of exponential buckets (Prometheus, native histograms).
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// The buckets of a native histogram from the most negative to the most positive one; `None` where
/// it is not one, or of a schema whose bounds are not powers of two.
pub(super) fn native_buckets(histogram: &Histogram) -> Option<Vec<NativeBucket>> {
    if histogram.negative.spans.is_empty() && histogram.positive.spans.is_empty() {
        return None;
    }
    let schema = histogram.schema.unwrap_or(0);
    if !SCHEMAS.contains(&schema) {
        return None;
    }
    let is_float = histogram.count_float.is_some_and(|count| count > 0.0)
        || histogram.zero_count_float.is_some_and(|count| count > 0.0);
    let mut buckets: Vec<_> = counts(&histogram.negative, is_float)
        .map(|(index, count)| NativeBucket {
            lower: -bound(index, schema),
            upper: -bound(index - 1, schema),
            count,
            boundaries: 1,
        })
        .collect();
    buckets.reverse();
    #[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
    let zero_count = if is_float {
        histogram.zero_count_float.unwrap_or(0.0)
    } else {
        histogram.zero_count.unwrap_or(0) as f64
    };
    let threshold = histogram.zero_threshold.unwrap_or(0.0);
    if zero_count != 0.0 {
        buckets.push(NativeBucket {
            lower: -threshold,
            upper: threshold,
            count: zero_count,
            boundaries: 3,
        });
    }
    buckets.extend(counts(&histogram.positive, is_float).map(|(index, count)| NativeBucket {
        lower: bound(index - 1, schema),
        upper: bound(index, schema),
        count,
        boundaries: 0,
    }));
    Some(buckets)
}

/// Indices and counts of the buckets that are not empty. No more of them than were pushed, whatever
/// the lengths of the spans say.
fn counts(buckets: &NativeBuckets, is_float: bool) -> impl Iterator<Item = (i64, f64)> {
    let mut whole = 0_i64;
    #[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
    let from_deltas = buckets.deltas.iter().map(move |delta| {
        whole = whole.saturating_add(*delta);
        whole as f64
    });
    let counts: Vec<f64> = if is_float { buckets.counts.clone() } else { from_deltas.collect() };
    indices(&buckets.spans).zip(counts).filter(|(_, count)| *count != 0.0)
}

fn indices(spans: &[BucketSpan]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0_i64;
    spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    })
}

/// The upper bound of the positive bucket of an index.
fn bound(index: i64, schema: i32) -> f64 {
    // Two to the power of the index over buckets per doubling. The bound of the last bucket is
    // that of the largest number.
    if schema < 0 {
        let exponent = i32::try_from(index.saturating_mul(1 << -schema)).unwrap_or(i32::MAX);
        return if exponent == 1024 { f64::MAX } else { f64::from(exponent).exp2() };
    }
    let per_doubling = 1_i64 << schema;
    let (whole, part) = (index.div_euclid(per_doubling), index.rem_euclid(per_doubling));
    if part == 0 && whole == 1024 {
        return f64::MAX;
    }
    // The finest schema has all bounds of the others.
    let at = usize::try_from(part << (8 - schema)).unwrap_or(0);
    let fraction = BOUNDS.get(at).copied().unwrap_or(f64::NAN);
    let exponent = i32::try_from(whole + 1).unwrap_or(i32::MAX);
    // In two steps, so that neither factor leaves the range where the product is in it.
    let half = exponent / 2;
    fraction * f64::from(half).exp2() * f64::from(exponent - half).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_prometheus() {
        for (index, schema, expected) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            // One unit in the last place below the exact value.
            (1, 3, 1.090_507_732_665_257_7),
            (-1, 3, 0.917_004_043_204_671_1),
            (1, -1, 4.0),
            (1024, 0, f64::MAX),
            (512, -1, f64::MAX),
            (-1074, 0, 5e-324),
        ] {
            assert_eq!(bound(index, schema), expected, "{index} {schema}");
        }
    }

    #[test]
    fn spans_and_deltas_become_buckets_in_order() {
        let histogram = Histogram {
            count: Some(6),
            schema: Some(0),
            zero_threshold: Some(0.25),
            zero_count: Some(2),
            negative: NativeBuckets {
                spans: vec![BucketSpan { offset: 0, length: 2 }],
                deltas: vec![1, 0],
                counts: vec![],
            },
            positive: NativeBuckets {
                spans: vec![
                    BucketSpan { offset: 1, length: 1 },
                    BucketSpan { offset: 1, length: 2 },
                ],
                deltas: vec![1, -1, 1],
                counts: vec![],
            },
            ..Histogram::default()
        };
        let buckets: Vec<_> = native_buckets(&histogram)
            .unwrap()
            .iter()
            .map(|bucket| (bucket.boundaries, bucket.lower, bucket.upper, bucket.count))
            .collect();
        assert_eq!(
            buckets,
            [
                (1, -2.0, -1.0, 1.0),
                (1, -1.0, -0.5, 1.0),
                (3, -0.25, 0.25, 2.0),
                (0, 1.0, 2.0, 1.0),
                (0, 8.0, 16.0, 1.0),
            ]
        );
        assert_eq!(native_buckets(&Histogram::default()), None);
    }

    #[test]
    fn a_span_of_any_length_ends_with_the_counts() {
        let positive = NativeBuckets {
            spans: vec![BucketSpan { offset: i32::MAX, length: u32::MAX }; 4],
            deltas: vec![1; 3],
            counts: vec![],
        };
        let histogram = Histogram { positive, ..Histogram::default() };
        assert_eq!(native_buckets(&histogram).unwrap().len(), 3);
    }
}
