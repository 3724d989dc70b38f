//! A gateway as it may be in some company: jobs that push as they should, and some that do not.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate::time::UnixNanos;

use support::{Gateway, eventually, minutes};

/// When the pages are looked at: a Thursday morning.
const NOW: i64 = 1_773_307_800;
const DAYS: u64 = 4;

pub(crate) const SETTINGS: &str = r#"
[ttl]
default = "7d"

[[ttl.rules]]
match = '{job="backup"}'
ttl = "8d"

[[ttl.rules]]
match = '{job=~"etl-.+"}'
ttl = "auto"
auto = { missed = 10, min = "10m", max = "1d" }

[[ttl.rules]]
match = '{job="ci-deploy", runner!=""}'
ttl = "2h"

[[ttl.rules]]
match = '{job="inventory"}'
ttl = "never"
"#;

/// Further settings of an operator who may do everything.
pub(crate) const ADMIN: &str = "[web]\nenable-admin-api = true\n";

const HOSTS: [&str; 5] = ["db1.example.org", "db2.example.org", "files", "mail", "web1"];
const STEP: u64 = 15;

/// How many groups there are in the end.
pub(crate) const GROUPS: usize = 17;

/// Days pass, and jobs push. In the end there are:
///
/// - `backup` of five hosts, once a day; that of `db2.example.org` is late,
/// - `certbot` on two, twice a day,
/// - `etl-orders`, `etl-invoices` and `etl-stock`, every quarter of an hour; `etl-stock` has stopped
///   and is about to expire,
/// - `ci-deploy` of runners that never come back, each for two hours; most have expired,
/// - `inventory` of two sites, which stays for ever,
/// - `reports`, whose latest push was refused,
/// - `loadtest`, which somebody has set a TTL for, `newsletter`, which asked for one, and
///   `migration`, which somebody has deleted.
#[track_caller]
pub(crate) fn gateway(settings: &str) -> Gateway {
    let begin = UnixNanos((NOW - i64::try_from(DAYS * 86_400).unwrap()) * 1_000_000_000);
    let gateway = Gateway::start_at(begin, &[SETTINGS, settings].concat());
    let end = DAYS * 24 * 60;
    for minute in (0..end).step_by(usize::try_from(STEP).unwrap()) {
        push_what_is_due(&gateway, minute, end);
        gateway.advance(minutes(STEP));
    }
    // Somewhat after the quarter, so that nothing is just now.
    gateway.advance(Duration::from_secs(100));
    let timed = "reports_sent 215 1773300000000
reports_pages 1862 1773300000000
";
    gateway.put("/metrics/job/reports", timed).expect(400);
    gateway.put("/metrics/job/migration/step/7", "migration_rows_total 48211\n").expect(200);
    gateway.delete("/metrics/job/migration/step/7").expect(202);
    gateway.advance(Duration::from_secs(20));
    let groups =
        |scrape: &str| scrape.lines().any(|line| line == format!("tidegate_groups {GROUPS}"));
    eventually("the expiry of the groups that are due", || {
        groups(&gateway.get("/metrics").expect(200).text()).then_some(())
    });
    gateway
}

fn push_what_is_due(gateway: &Gateway, minute: u64, end: u64) {
    let left = end - minute;
    for (host, number) in HOSTS.iter().zip(0..) {
        let is_missed = *host == "db2.example.org" && left < 24 * 60;
        if minute % (24 * 60) == 120 + number * STEP && !is_missed {
            let path = format!("/metrics/job/backup/instance/{host}");
            gateway.put(&path, backup(gateway, number)).expect(200);
        }
    }
    if minute % (12 * 60) == 6 * 60 {
        for host in ["mail", "web1"] {
            gateway.put(&format!("/metrics/job/certbot/instance/{host}"), certbot()).expect(200);
        }
    }
    if left <= 24 * 60 {
        for (job, number) in [("etl-orders", 3), ("etl-invoices", 2), ("etl-stock", 1)] {
            // Ten quarters after its last push it expires, and that is soon.
            if job != "etl-stock" || left >= 9 * STEP {
                let path = format!("/metrics/job/{job}/instance/spark-{number}");
                gateway.put(&path, etl(minute, number)).expect(200);
            }
        }
    }
    if left <= 26 * 60 && left % 60 == 45 {
        let runner = format!("r-{:06x}", (minute * 2_654_435_761) & 0xff_ffff);
        let pipeline = ["shop", "api", "docs"][usize::try_from(minute / 60 % 3).unwrap()];
        let path = format!("/metrics/job/ci-deploy/pipeline/{pipeline}/runner/{runner}");
        gateway.put(&path, deploy(minute)).expect(200);
    }
    if minute % (24 * 60) == 7 * 60 {
        for (site, racks) in [("berlin", 41), ("lisbon", 12)] {
            let body = format!("# TYPE inventory_racks gauge\ninventory_racks {racks}\n");
            gateway.put(&format!("/metrics/job/inventory/site/{site}"), body).expect(200);
        }
        gateway.put("/metrics/job/reports", "reports_sent 212\nreports_pages 1840\n").expect(200);
        let asking = "/metrics/job/newsletter/list/weekly?ttl=36h";
        gateway
            .put(asking, "newsletter_recipients 18233\nnewsletter_bounced_ratio 0.0123\n")
            .expect(200);
    }
    if left == 5 * 60 {
        gateway
            .put("/metrics/job/loadtest/team/search", "loadtest_requests_total 5.2e6\n")
            .expect(200);
        let ttl = "/api/v2/groups/ttl?match[]=%7Bjob%3D%22loadtest%22%7D&ttl=30d";
        gateway.send("PUT", ttl, &[], b"").expect(200);
    }
}

fn backup(gateway: &Gateway, number: u64) -> String {
    let now = gateway.wall().as_secs_f64();
    let (seconds, bytes) = (731.25 + 97.5 * f64_of(number), (number + 3) * 48_318_382_080);
    let mut body = format!(
        "# HELP backup_last_success_timestamp_seconds When the last backup was complete.\n\
         # TYPE backup_last_success_timestamp_seconds gauge\n\
         backup_last_success_timestamp_seconds {now}\n\
         # HELP backup_duration_seconds How long the backup took.\n\
         # TYPE backup_duration_seconds gauge\n\
         backup_duration_seconds {seconds}\n\
         # HELP backup_size_bytes What is in the repository now.\n\
         # TYPE backup_size_bytes gauge\n\
         backup_size_bytes {bytes}\n\
         # HELP backup_files_total Files by what became of them.\n\
         # TYPE backup_files_total counter\n"
    );
    for (kind, count) in [("unchanged", 1_204_733), ("changed", 3_120), ("new", 918)] {
        writeln!(body, "backup_files_total{{kind=\"{kind}\"}} {}", count + number).unwrap();
    }
    body + &histogram("backup_chunk_upload_seconds", "Time to upload a chunk.", 11 + number)
}

fn certbot() -> String {
    let mut body =
        "# HELP certbot_not_after_timestamp_seconds Until when the certificate is valid.\n\
                    # TYPE certbot_not_after_timestamp_seconds gauge\n"
            .to_owned();
    for (domain, days) in [("example.org", 61), ("shop.example.org", 12)] {
        let at = NOW + days * 86_400;
        writeln!(body, "certbot_not_after_timestamp_seconds{{domain=\"{domain}\"}} {at}").unwrap();
    }
    body
}

fn etl(minute: u64, number: u64) -> String {
    let mut body =
        "# HELP etl_rows_total Rows by table.\n# TYPE etl_rows_total counter\n".to_owned();
    for (table, weight) in [("customers", 7), ("lines", 311), ("orders", 83)] {
        writeln!(body, "etl_rows_total{{table=\"{table}\"}} {}", minute * weight * number).unwrap();
    }
    body.push_str(&histogram("etl_batch_seconds", "Time of a batch.", number));
    body.push_str(
        "# HELP etl_query_seconds Time of the queries.\n# TYPE etl_query_seconds summary\n\
         etl_query_seconds{quantile=\"0.5\"} 0.042\netl_query_seconds{quantile=\"0.99\"} 0.731\n\
         etl_query_seconds_sum 93.2\netl_query_seconds_count 1204\n",
    );
    body
}

fn deploy(minute: u64) -> String {
    format!(
        "# TYPE deploy_info gauge\ndeploy_info{{commit=\"{:07x}\",version=\"2026.3.{}\"}} 1\n\
         # TYPE deploy_duration_seconds gauge\ndeploy_duration_seconds {}\n",
        minute * 40_503 % 0xfff_ffff,
        minute / 60,
        81 + minute % 37
    )
}

/// Observations that heap up in the middle.
fn histogram(name: &str, help: &str, factor: u64) -> String {
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
    let mut below = 0;
    for (bound, count) in [
        ("0.05", 1),
        ("0.1", 7),
        ("0.25", 31),
        ("0.5", 58),
        ("1", 44),
        ("2.5", 12),
        ("5", 3),
        ("+Inf", 1),
    ] {
        below += count * factor;
        writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}").unwrap();
    }
    writeln!(text, "{name}_sum {}\n{name}_count {below}", f64_of(below) * 0.61).unwrap();
    text
}

#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn f64_of(number: u64) -> f64 {
    number as f64
}
