//! The families of a group, with their values as a person reads them.

use maud::{Markup, html};

use super::layout::chip;
use super::{chart, readable};
use crate::gateway::FamilyContent;
use crate::http::native_buckets::native_buckets;
use crate::model::{Exemplar, Histogram, Label, Metric, MetricValue, Summary};

/// So many buckets are shown, and exemplars.
const BUCKETS_MAX: usize = 200;
const EXEMPLARS_MAX: usize = 20;

/// The first series of a family.
pub(super) fn family(family: &FamilyContent, shown: usize) -> Markup {
    html! {
        section class="family" {
            h3 { code { (family.name) } " " span class="kind" { (family.kind.as_text()) } }
            @if let Some(help) = family.help.as_deref().filter(|help| !help.is_empty()) { p class="help" dir="auto" { (help) } }
            @for metric in family.metrics.iter().take(shown) { (series(&family.name, metric)) }
        }
    }
}

fn series(name: &str, metric: &Metric) -> Markup {
    html! {
        div class="series" {
            @if !metric.labels.is_empty() { p class="chips" { (labels(&metric.labels)) } }
            @match &metric.value {
                MetricValue::Counter { value, exemplar, .. } => {
                    (number(name, *value))
                    @if let Some(exemplar) = exemplar { (exemplars(name, std::iter::once(&**exemplar))) }
                }
                MetricValue::Gauge(value) | MetricValue::Untyped(value) => (number(name, *value)),
                MetricValue::Summary(summary) => (self::summary(name, summary)),
                MetricValue::Histogram(histogram) => (self::histogram(name, histogram)),
            }
        }
    }
}

fn labels(labels: &[Label]) -> Markup {
    html! {
        @for label in labels { (chip(&label.name, &label.value)) " " }
    }
}

/// A value, and on hover the value as it is scraped.
fn number(name: &str, value: f64) -> Markup {
    html! { data class="value" value=(readable::exact(value)) title=(readable::exact(value)) { (readable::value(name, value)) } }
}

fn totals(name: &str, count: f64, sum: Option<f64>) -> Markup {
    html! {
        p class="totals" {
            "count " (number("", count))
            @if let Some(sum) = sum {
                ", sum " (number(name, sum))
                @if count > 0.0 { ", mean " (number(name, sum / count)) }
            }
        }
    }
}

fn summary(name: &str, summary: &Summary) -> Markup {
    html! {
        (totals(name, whole(summary.count), summary.sum))
        @if !summary.quantiles.is_empty() {
            table class="buckets" {
                thead { tr { th scope="col" { "Quantile" } th scope="col" { "Value" } } }
                tbody {
                    @for quantile in &summary.quantiles {
                        tr { th scope="row" { (readable::exact(quantile.quantile)) } td { (number(name, quantile.value)) } }
                    }
                }
            }
        }
    }
}

/// A bucket as it is shown.
struct Bar {
    range: String,
    count: f64,
}

fn histogram(name: &str, histogram: &Histogram) -> Markup {
    let count = histogram.count_float.filter(|count| *count > 0.0);
    let bars = native(name, histogram).unwrap_or_else(|| classic(name, histogram));
    let top = bars.iter().map(|bar| bar.count).fold(0.0, f64::max);
    let found = histogram.buckets.iter().filter_map(|bucket| bucket.exemplar.as_ref());
    let found = found.chain(&histogram.exemplars);
    html! {
        (totals(name, count.unwrap_or_else(|| whole(histogram.count)), histogram.sum))
        @if !bars.is_empty() {
            table class="buckets" {
                thead { tr { th scope="col" { "Bucket" } th scope="col" class="number" { "Observations" } td {} } }
                tbody {
                    @for bar in bars.iter().take(BUCKETS_MAX) {
                        tr {
                            th scope="row" { (bar.range) }
                            td class="number" { (readable::digits(bar.count)) }
                            td class="bar" { (chart::share(if top > 0.0 { bar.count / top } else { 0.0 })) }
                        }
                    }
                }
            }
            @if bars.len() > BUCKETS_MAX { p { "And " (bars.len() - BUCKETS_MAX) " more buckets." } }
        }
        (exemplars(name, found))
    }
}

fn native(name: &str, histogram: &Histogram) -> Option<Vec<Bar>> {
    let buckets = native_buckets(histogram)?;
    let bar = |bucket: crate::http::native_buckets::NativeBucket| Bar {
        range: format!(
            "{} \u{2013} {}",
            readable::value(name, bucket.lower),
            readable::value(name, bucket.upper)
        ),
        count: bucket.count,
    };
    Some(buckets.into_iter().map(bar).collect())
}

/// Each bucket without what is in those before it.
fn classic(name: &str, histogram: &Histogram) -> Vec<Bar> {
    let mut below = 0.0;
    let bar = |bucket: &crate::model::Bucket| {
        let float = bucket.cumulative_count_float.filter(|count| *count > 0.0);
        let up_to = float.unwrap_or_else(|| whole(bucket.cumulative_count));
        let count = up_to - below;
        below = up_to;
        Bar { range: format!("\u{2264} {}", readable::value(name, bucket.upper_bound)), count }
    };
    histogram.buckets.iter().map(bar).collect()
}

fn exemplars<'a>(name: &str, exemplars: impl Iterator<Item = &'a Exemplar>) -> Markup {
    let exemplars: Vec<_> = exemplars.take(EXEMPLARS_MAX).collect();
    html! {
        @if !exemplars.is_empty() {
            p class="quiet" { "Exemplars" }
            ul class="exemplars" {
                @for exemplar in exemplars { li { (number(name, exemplar.value)) " " span class="chips" { (labels(&exemplar.labels)) } } }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
fn whole(count: Option<u64>) -> f64 {
    count.unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bucket, MetricType};
    use crate::time::UnixNanos;

    #[test]
    fn a_bucket_is_shown_without_those_below_it() {
        let bucket = |count, bound| Bucket {
            cumulative_count: Some(count),
            upper_bound: bound,
            ..Bucket::default()
        };
        let histogram = Histogram {
            count: Some(7),
            sum: Some(3.5),
            buckets: vec![bucket(3, 0.5), bucket(7, f64::INFINITY)],
            ..Histogram::default()
        };
        let metric = Metric {
            labels: vec![Label::new("of", "<b>")],
            value: MetricValue::Histogram(Box::new(histogram)),
            timestamp_ms: None,
        };
        let stored = FamilyContent {
            name: "run_seconds".into(),
            help: Some("\"><script>".into()),
            kind: MetricType::Histogram,
            stored: UnixNanos(0),
            metrics: vec![metric],
        };
        let page = family(&stored, 1).into_string();
        for part in [
            "&lt;b&gt;",
            "&quot;&gt;&lt;script&gt;",
            "\u{2264} 0.5\u{202f}s</th><td class=\"number\">3</td>",
            "\u{2264} +Inf</th><td class=\"number\">4</td>",
            "width=\"75\"",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
