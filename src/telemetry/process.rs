//! `process_*`: what the kernel says of this process, under the names that the Go client library
//! gives it.

use procfs::process::LimitValue;
use procfs::{page_size, ticks_per_second};

use super::remembered::Remembered;
use crate::model::{Metric, MetricFamily, MetricType, MetricValue};

/// The process, and what the kernel has said of it last.
#[derive(Debug, Default)]
pub(super) struct Process {
    latest: Remembered<Vec<MetricFamily>>,
}

impl Process {
    /// The kernel's figures; those that it does not have are left out.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.latest.get(ask)
    }
}

fn ask() -> Vec<MetricFamily> {
    let Ok(process) = procfs::process::Process::myself() else { return Vec::new() };
    let mut families = Vec::with_capacity(9);
    let mut add = |name: &str, help: &str, kind, value: f64| {
        let value = match kind {
            MetricType::Counter => MetricValue::Counter { value, exemplar: None, created: None },
            _ => MetricValue::Gauge(value),
        };
        families.push(MetricFamily {
            name: name.to_owned(),
            help: Some(help.to_owned()),
            kind,
            unit: None,
            metrics: vec![Metric { labels: vec![], value, timestamp_ms: None }],
        });
    };
    let gauge = MetricType::Gauge;
    if let Ok(stat) = process.stat() {
        let ticks = number(ticks_per_second());
        add(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            MetricType::Counter,
            number(stat.utime + stat.stime) / ticks,
        );
        add(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            gauge,
            number(stat.vsize),
        );
        add(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            gauge,
            number(stat.rss) * number(page_size()),
        );
        if let Ok(boot) = procfs::boot_time_secs() {
            add(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                gauge,
                number(boot) + number(stat.starttime) / ticks,
            );
        }
    }
    if let Ok(open) = process.fd_count() {
        let help = "Number of open file descriptors.";
        add("process_open_fds", help, gauge, number(open as u64));
    }
    if let Ok(limits) = process.limits() {
        let limit = |limit| match limit {
            LimitValue::Value(value) => number(value),
            LimitValue::Unlimited => number(u64::MAX),
        };
        let help = "Maximum number of open file descriptors.";
        add("process_max_fds", help, gauge, limit(limits.max_open_files.soft_limit));
        let help = "Maximum amount of virtual memory available in bytes.";
        let bytes = limit(limits.max_address_space.soft_limit);
        add("process_virtual_memory_max_bytes", help, gauge, bytes);
    }
    if let Some((received, sent)) = network_octets() {
        let counter = MetricType::Counter;
        let help = "Number of bytes received by the process over the network.";
        add("process_network_receive_bytes_total", help, counter, received);
        let help = "Number of bytes sent by the process over the network.";
        add("process_network_transmit_bytes_total", help, counter, sent);
    }
    families
}

/// Bytes received and sent in this network namespace, which is what the Go client library takes
/// for those of the process.
fn network_octets() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let mut pairs = names.split(' ').zip(values.split(' '));
        pairs.find(|pair| pair.0 == wanted)?.1.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_on_linux_has_all_of_them() {
        let families = Process::default().families();
        assert_eq!(families.len(), 9, "{families:?}");
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            match family.metrics[0].value {
                MetricValue::Gauge(value) | MetricValue::Counter { value, .. } => value,
                _ => f64::NAN,
            }
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}
