//! Self metrics, kept by the `prometheus` crate and handed out as families of the model.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::build::{BUILD, Build};
use super::labels::{Handler, Method, PerTtlSource, Reason, Told, TtlSource};
use super::process::Process;
use super::recent::{Recent, Sample, Slice, Times};
use super::remembered::Remembered;
use super::summary::SummaryVec;
use crate::model::{
    Bucket, Histogram as HistogramValue, Label, Limit, Metric, MetricFamily, MetricType,
    MetricValue,
};
use crate::time::{UnixMillis, UnixNanos};

/// The metrics about the gateway.
#[derive(Debug)]
pub struct SelfMetrics {
    registry: Registry,
    groups: IntGauge,
    series: IntGauge,
    store_bytes: IntGauge,
    next_deadline: Gauge,
    by_ttl_source: IntGaugeVec,
    reload_success: IntGauge,
    reload_time: Gauge,
    web_config: IntGauge,
    queue_length: IntGauge,
    expired_groups: IntCounter,
    expired_series: IntCounter,
    expiry_lag: Histogram,
    refused: IntCounterVec,
    limited: IntCounterVec,
    store_writable: IntGauge,
    store_disk: StoreDisk,
    webhook: Webhook,
    commit_duration: Histogram,
    commit_batch: Histogram,
    scrape_duration: Histogram,
    requests: IntCounterVec,
    push_duration: SummaryVec,
    push_size: SummaryVec,
    process: Process,
    recent: Recent,
}

/// The removed groups that the webhook is told of.
#[derive(Debug)]
struct Webhook {
    groups: IntCounterVec,
    failures: IntCounter,
    waiting: IntGauge,
}

/// The disk of the store.
#[derive(Debug)]
struct StoreDisk {
    /// Not registered before it is known where the store is.
    free: IntGauge,
    folder: OnceLock<PathBuf>,
    latest: Remembered<Option<u64>>,
}

/// Values that are read off the gateway at each scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    pub groups: u64,
    pub series: u64,
    pub store_bytes: u64,
    /// Seconds since the Unix epoch; `None` if nothing will expire.
    pub next_deadline: Option<f64>,
    pub by_ttl_source: PerTtlSource,
    pub queue_length: usize,
    /// Whether the store can be written.
    pub writable: bool,
    pub now: UnixMillis,
}

/// Counters by a label, each at zero.
fn counters(
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = &'static str>,
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    for value in values {
        counters.with_label_values(&[value]);
    }
    Ok(counters)
}

fn build_info() -> Result<IntGaugeVec, prometheus::Error> {
    let info = IntGaugeVec::new(
        Opts::new(
            "pushgateway_build_info",
            "A metric with a constant '1' value labeled by version, revision, branch, goversion \
             from which pushgateway was built, and the goos and goarch for the build.",
        ),
        &["branch", "goarch", "goos", "goversion", "revision", "tags", "version"],
    )?;
    let Build { version, revision, branch, compiler, arch, os, .. } = BUILD;
    info.with_label_values(&[branch, arch, os, compiler, revision, "tidegate", version]).set(1);
    Ok(info)
}

fn web_config_in_force() -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(
        "tidegate_web_config_in_force",
        "Whether web.config.file counts as it is: 0 while what it said before does, as it cannot be \
         read or asks for less.",
    )?;
    gauge.set(1);
    Ok(gauge)
}

impl Webhook {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let groups = counters(
            "tidegate_webhook_groups_total",
            "Removed groups that the webhook was told of, by outcome: it rejects some, and some are \
             dropped as too many wait.",
            "outcome",
            Told::ALL.iter().map(|outcome| outcome.as_str()),
        )?;
        let failures = IntCounter::new(
            "tidegate_webhook_failures_total",
            "Requests to the webhook that failed, and are sent again.",
        )?;
        let waiting = IntGauge::new(
            "tidegate_webhook_waiting_groups",
            "Removed groups that the webhook is yet to be told of.",
        )?;
        Ok(Self {
            groups: registered(registry, groups)?,
            failures: registered(registry, failures)?,
            waiting: registered(registry, waiting)?,
        })
    }
}

impl StoreDisk {
    fn new() -> Result<Self, prometheus::Error> {
        let free = IntGauge::new(
            "tidegate_store_free_bytes",
            "Bytes that are left to the gateway on the disk of the store.",
        )?;
        Ok(Self { free, folder: OnceLock::new(), latest: Remembered::default() })
    }

    /// The bytes that are free, where it is known which disk it is.
    fn free(&self) -> Option<u64> {
        let folder = self.folder.get()?;
        self.latest.get(|| {
            let disk = rustix::fs::statvfs(folder).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        })
    }
}

impl SelfMetrics {
    /// All metrics at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name, help| registered(&registry, IntGauge::new(name, help)?);
        let counter = |name, help| registered(&registry, IntCounter::new(name, help)?);
        let histogram = |name, help, buckets: Vec<f64>| {
            let options = HistogramOpts::new(name, help).buckets(buckets);
            registered(&registry, Histogram::with_opts(options)?)
        };
        let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
        let help = "Pushes that were refused, by reason.";
        let refused = counters("tidegate_pushes_refused_total", help, "reason", reasons)?;
        let limited = counters(
            "tidegate_limit_reached_total",
            "Requests and connections that came up against a limit, by the setting of the limit.",
            "limit",
            Limit::ALL.iter().map(|limit| limit.as_str()),
        )?;
        let by_ttl_source = IntGaugeVec::new(
            Opts::new("tidegate_groups_by_ttl_source", "Groups by where their TTL comes from."),
            &["source"],
        )?;
        let requests = IntCounterVec::new(
            Opts::new(
                "pushgateway_http_requests_total",
                "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
            ),
            &["code", "handler", "method"],
        )?;
        registered(&registry, build_info()?)?;
        let next_deadline = Gauge::new(
            "tidegate_next_deadline_timestamp_seconds",
            "Unix time of the next deadline of a group, +Inf if there is none.",
        )?;
        let help = "Whether the settings could be read when they were last read.";
        let reload_success = gauge("tidegate_config_last_reload_successful", help)?;
        reload_success.set(1);
        let reload_time = Gauge::new(
            "tidegate_config_last_reload_success_timestamp_seconds",
            "Unix time when the settings were last read and could be.",
        )?;
        let web_config = registered(&registry, web_config_in_force()?)?;
        Ok(Self {
            web_config,
            reload_success,
            reload_time: registered(&registry, reload_time)?,
            groups: gauge("tidegate_groups", "Groups that are stored and have not expired.")?,
            series: gauge(
                "tidegate_series",
                "Series that were pushed, are stored and have not expired.",
            )?,
            store_bytes: gauge("tidegate_store_bytes", "Size of the store on disk in bytes.")?,
            next_deadline: registered(&registry, next_deadline)?,
            by_ttl_source: registered(&registry, by_ttl_source)?,
            queue_length: gauge(
                "tidegate_push_queue_length",
                "Pushes and other changes that wait for the write lane.",
            )?,
            expired_groups: counter("tidegate_expired_groups_total", "Groups that have expired.")?,
            expired_series: counter("tidegate_expired_series_total", "Series that have expired.")?,
            expiry_lag: histogram(
                "tidegate_expiry_lag_seconds",
                "How long after its deadline an expired group was reaped from the store. No scrape \
                 shows it in between.",
                vec![0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0],
            )?,
            refused: registered(&registry, refused)?,
            limited: registered(&registry, limited)?,
            store_writable: gauge(
                "tidegate_store_writable",
                "Whether the store can be written: 0 while its disk is full or broken.",
            )?,
            store_disk: StoreDisk::new()?,
            webhook: Webhook::new(&registry)?,
            commit_duration: histogram(
                "tidegate_commit_duration_seconds",
                "Time to judge, write and sync a batch of changes.",
                prometheus::exponential_buckets(0.000_25, 2.0, 14)?,
            )?,
            commit_batch: histogram(
                "tidegate_commit_batch_pushes",
                "Pushes and other changes committed together.",
                prometheus::exponential_buckets(1.0, 2.0, 11)?,
            )?,
            scrape_duration: histogram(
                "tidegate_scrape_duration_seconds",
                "Time from the start of a scrape until its last byte was handed to the connection.",
                prometheus::exponential_buckets(0.000_5, 2.0, 15)?,
            )?,
            requests: registered(&registry, requests)?,
            push_duration: SummaryVec::new(
                "pushgateway_http_push_duration_seconds",
                "HTTP request duration for pushes to the Pushgateway.",
            ),
            push_size: SummaryVec::new(
                "pushgateway_http_push_size_bytes",
                "HTTP request size for pushes to the Pushgateway.",
            ),
            process: Process::default(),
            recent: Recent::default(),
            registry,
        })
    }

    /// The store is in this folder: from now on there is a metric of what is free on its disk.
    pub fn store_is_in(&self, folder: PathBuf) -> Result<(), prometheus::Error> {
        match self.store_disk.folder.set(folder) {
            Ok(()) => self.registry.register(Box::new(self.store_disk.free.clone())),
            Err(_) => Ok(()),
        }
    }

    /// A batch was committed.
    pub fn committed(&self, duration: Duration, changes: usize) {
        self.commit_duration.observe(duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.commit_batch.observe(changes as f64);
    }

    /// A group was reaped.
    pub fn expired(&self, series: u32, lag: Duration) {
        self.expired_groups.inc();
        self.expired_series.inc_by(u64::from(series));
        self.expiry_lag.observe(lag.as_secs_f64());
    }

    /// The settings were read.
    pub fn reloaded(&self, succeeded: bool, at: UnixNanos) {
        self.reload_success.set(i64::from(succeeded));
        if succeeded {
            self.reload_time.set(at.as_secs_f64());
        }
    }

    /// Whether `web.config.file` counts as it is.
    pub fn web_config(&self, counts: bool) {
        self.web_config.set(i64::from(counts));
    }

    /// A request was answered.
    pub fn served(&self, handler: Handler, method: Method, status: u16) {
        let labels = [&*status.to_string(), handler.as_str(), method.as_str()];
        self.requests.with_label_values(&labels).inc();
    }

    /// A push was answered.
    pub fn push_served(&self, method: Method, took: Duration, bytes: u64, now: UnixMillis) {
        self.push_duration.observe(method, took.as_secs_f64(), now);
        #[expect(clippy::cast_precision_loss, reason = "no body is that large")]
        self.push_size.observe(method, bytes as f64, now);
    }

    /// A push was refused.
    pub fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// A limit was reached.
    pub fn limited(&self, limit: Limit) {
        self.limited.with_label_values(&[limit.as_str()]).inc();
    }

    /// The webhook was told of removed groups, or is not going to be.
    pub fn told(&self, outcome: Told, groups: usize) {
        self.webhook.groups.with_label_values(&[outcome.as_str()]).inc_by(groups as u64);
    }

    /// The webhook could not be told.
    pub fn webhook_failed(&self) {
        self.webhook.failures.inc();
    }

    /// So many removed groups wait for the webhook.
    pub fn webhook_waits(&self, groups: usize) {
        self.webhook.waiting.set(i64::try_from(groups).unwrap_or(i64::MAX));
    }

    /// A scrape was served.
    pub fn scraped(&self, duration: Duration) {
        self.scrape_duration.observe(duration.as_secs_f64());
    }

    /// Takes a sample, for the last hour.
    pub fn sample(&self, at: UnixMillis) {
        let refused = |reason: &Reason| self.refused.with_label_values(&[reason.as_str()]).get();
        let refused: u64 = Reason::ALL.iter().map(refused).sum();
        #[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
        self.recent.add(Sample {
            at,
            changes: self.commit_batch.get_sample_sum(),
            refused: refused as f64,
            commits: times(&self.commit_duration),
            scrapes: times(&self.scrape_duration),
        });
    }

    /// Samples of the last hour.
    pub fn recent(&self) -> Vec<Slice> {
        self.recent.slices()
    }

    /// The kernel's figures for this process.
    pub fn process_families(&self) -> Vec<MetricFamily> {
        self.process.families()
    }

    /// All families, in byte order of their names.
    pub fn families(&self, readings: &Readings) -> Vec<MetricFamily> {
        let set =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.groups, readings.groups);
        set(&self.series, readings.series);
        set(&self.store_bytes, readings.store_bytes);
        set(&self.queue_length, readings.queue_length as u64);
        if let Some(free) = self.store_disk.free() {
            set(&self.store_disk.free, free);
        }
        self.store_writable.set(i64::from(readings.writable));
        self.next_deadline.set(readings.next_deadline.unwrap_or(f64::INFINITY));
        for source in TtlSource::ALL {
            let groups = readings.by_ttl_source.of(*source);
            set(&self.by_ttl_source.with_label_values(&[source.as_str()]), groups);
        }
        let mut families: Vec<_> = self.registry.gather().into_iter().map(family).collect();
        families.extend(self.push_duration.family(readings.now));
        families.extend(self.push_size.family(readings.now));
        families.extend(self.process.families());
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    /// The type of every family that there may be.
    pub fn types(&self) -> impl Iterator<Item = (String, MetricType)> {
        let later = [
            ("pushgateway_http_push_duration_seconds", MetricType::Summary),
            ("pushgateway_http_push_size_bytes", MetricType::Summary),
            ("pushgateway_http_requests_total", MetricType::Counter),
            ("tidegate_store_free_bytes", MetricType::Gauge),
        ];
        let later = later.into_iter().map(|(name, kind)| (name.to_owned(), kind));
        let now = self.families(&Readings::default()).into_iter();
        now.map(|family| (family.name, family.kind)).chain(later)
    }
}

fn times(histogram: &Histogram) -> Times {
    let families = histogram.collect();
    let Some(metric) = families.first().and_then(|family| family.get_metric().first()) else {
        return Times::default();
    };
    let of = metric.get_histogram();
    let bucket = |bucket: &proto::Bucket| (bucket.upper_bound(), bucket.cumulative_count());
    Times {
        count: of.get_sample_count(),
        sum: of.get_sample_sum(),
        buckets: of.get_bucket().iter().map(bucket).collect(),
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn family(mut from: proto::MetricFamily) -> MetricFamily {
    let kind = match from.get_field_type() {
        proto::MetricType::COUNTER => MetricType::Counter,
        proto::MetricType::GAUGE => MetricType::Gauge,
        proto::MetricType::SUMMARY => MetricType::Summary,
        proto::MetricType::UNTYPED => MetricType::Untyped,
        proto::MetricType::HISTOGRAM => MetricType::Histogram,
    };
    MetricFamily {
        name: from.name().to_owned(),
        help: Some(from.help().to_owned()),
        kind,
        unit: None,
        metrics: from.take_metric().into_iter().map(|metric| self::metric(kind, &metric)).collect(),
    }
}

fn metric(kind: MetricType, from: &proto::Metric) -> Metric {
    let value = match kind {
        MetricType::Counter => MetricValue::Counter {
            value: from.get_counter().get_value(),
            exemplar: None,
            created: None,
        },
        MetricType::Histogram => {
            let histogram = from.get_histogram();
            let bucket = |bucket: &proto::Bucket| Bucket {
                cumulative_count: Some(bucket.cumulative_count()),
                upper_bound: bucket.upper_bound(),
                ..Bucket::default()
            };
            MetricValue::Histogram(Box::new(HistogramValue {
                count: Some(histogram.get_sample_count()),
                sum: Some(histogram.get_sample_sum()),
                buckets: histogram.get_bucket().iter().map(bucket).collect(),
                ..HistogramValue::default()
            }))
        }
        _ => MetricValue::Gauge(from.get_gauge().get_value()),
    };
    let labels = from.get_label().iter().map(|label| Label::new(label.name(), label.value()));
    Metric { labels: labels.collect(), value, timestamp_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_counters_and_histograms_become_families_in_order() {
        let metrics = SelfMetrics::new().unwrap();
        metrics.refused(Reason::Parse);
        metrics.committed(Duration::from_millis(1), 3);
        let families = metrics.families(&Readings { groups: 7, ..Readings::default() });
        assert!(families.is_sorted_by(|a, b| a.name < b.name));
        let find = |name: &str| families.iter().find(|family| family.name == name).unwrap();
        assert_eq!(find("tidegate_groups").metrics[0].value, MetricValue::Gauge(7.0));
        let refused = find("tidegate_pushes_refused_total");
        assert_eq!((refused.kind, refused.metrics.len()), (MetricType::Counter, Reason::ALL.len()));
        let MetricValue::Histogram(batch) = &find("tidegate_commit_batch_pushes").metrics[0].value
        else {
            panic!()
        };
        assert_eq!((batch.count, batch.sum), (Some(1), Some(3.0)));
    }
}
