//! The push that the benches load gateways with.

/// Names of the ten families of a group.
const FAMILIES: [&str; 10] = [
    "backup_duration_seconds",
    "backup_size_bytes",
    "backup_last_success_timestamp_seconds",
    "backup_files_total",
    "backup_errors_total",
    "backup_retries_total",
    "backup_queue_length",
    "backup_compression_ratio",
    "backup_throughput_bytes_per_second",
    "backup_exit_code",
];

/// A push of ten one-sample families. The numbers look random and are not.
pub(crate) fn body(group: usize, round: usize) -> String {
    let value = |n: usize| (group * 7919 + round * 104_729 + n * 1_299_709) % 100_000;
    let family = |(n, name): (usize, &&str)| {
        let value = value(n);
        format!("# TYPE {name} gauge\n{name} {}.{}\n", value / 10, value % 10)
    };
    FAMILIES.iter().enumerate().map(family).collect::<Vec<_>>().concat()
}
