//! The gateway between real programs: the output of the node exporter is pushed, and Prometheus
//! scrapes it until it expires.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tidegate::time::{Clock as _, SystemClock};

use support::protobuf::{
    BucketSpan, CONTENT_TYPE, Exemplar, Histogram, LabelPair, Metric, MetricType, Timestamp, body,
    family,
};
use support::{Client, Gateway, Process, eventually, minutes, part, samples};

/// The exposition of a real node exporter.
fn node_exporter_output() -> String {
    let mut command = Command::new(part("node-exporter"));
    let mut exporter = Process::spawn(command.arg("--web.listen-address=127.0.0.1:0"));
    let client = Client::new(exporter.address());
    client.get("/metrics").expect(200).text()
}

#[test]
fn every_line_of_the_node_exporter_is_shown_with_the_grouping_labels() {
    let pushed = node_exporter_output();
    let mut expected = samples(&pushed);
    assert!(expected.len() > 200, "a real exposition has more than {} lines", expected.len());
    for (_, labels, _) in &mut expected {
        labels.insert("job".into(), "node".into());
        labels.insert("instance".into(), "host".into());
    }
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/node/instance/host", &pushed).expect(200);
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        let mut shown: Vec<_> = samples(&scrape.pushed())
            .into_iter()
            .filter(|(name, _, _)| !name.starts_with("push_"))
            .collect();
        // Families that both have, `process_*`, stand among the gateway's.
        shown.extend(samples(&whole_text(&gateway)).into_iter().filter(|(name, labels, _)| {
            name.starts_with("process_") && labels.contains_key("job")
        }));
        let mut expected = expected.clone();
        shown.sort();
        expected.sort();
        assert_eq!(shown, expected);
        for line in pushed.lines().filter(|line| line.starts_with("# TYPE")) {
            scrape.shows(&[line]);
        }
    }
    gateway.stop();
}

fn whole_text(gateway: &Gateway) -> String {
    gateway.get("/metrics").expect(200).text()
}

/// A Prometheus that scrapes `target` every second, in protobuf where these features need it.
fn prometheus(folder: &Path, target: &Client, features: &str) -> (Process, Client) {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n\
         - job_name: gateway\n  honor_labels: true\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(part("prometheus"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .arg(format!("--enable-feature={features}"))
        .current_dir(folder);
    let mut process = Process::spawn(&mut command);
    let client = Client::new(process.address());
    (process, client)
}

#[test]
fn prometheus_sees_what_was_pushed_until_it_expires() {
    // Of the present: Prometheus looks at the times of what it scrapes.
    let gateway = Gateway::start_at(SystemClock::new().wall(), "[ttl]\ndefault = '10m'\n");
    gateway
        .put("/metrics/job/backup", "# TYPE last_size gauge\nlast_size{disk=\"a\"} 42\n")
        .expect(200);
    gateway.send("PUT", "/metrics/job/kept", &[("Tidegate-TTL", "never")], b"kept 1\n").expect(200);

    let folder = TempDir::new().unwrap();
    let (process, prometheus) = prometheus(folder.path(), &gateway, "");
    let query = |name: &str| prometheus.get(&format!("/api/v1/query?query={name}")).text();
    let answer = eventually("the pushed value", || {
        let answer = query("last_size");
        answer.contains("\"value\":[").then_some(answer)
    });
    // Its own labels: nothing is renamed to exported_job, and the empty instance stays empty.
    let metric = r#"{"metric":{"__name__":"last_size","disk":"a","job":"backup"},"value":["#;
    assert!(answer.contains(metric) && answer.contains(",\"42\"]"), "{answer}");

    let times = |range: &str| -> Vec<f64> {
        let answer = prometheus.get(&format!("/api/v1/query?query={range}")).json();
        let values = answer["data"]["result"][0]["values"].as_array().unwrap();
        values.iter().map(|value| value[0].as_f64().unwrap()).collect()
    };
    eventually("some scrapes", || (times("last_size[5m]").len() >= 4).then_some(()));
    let before = SystemClock::new().wall().as_secs_f64();
    gateway.advance(minutes(10));
    let expired = SystemClock::new().wall().as_secs_f64();
    eventually("the end of the series", || {
        query("last_size").contains("\"result\":[]").then_some(())
    });
    // No scrape that began after the deadline has shown it.
    let shown = times("last_size[5m]");
    assert!(shown.iter().all(|time| *time <= expired));
    // And every one before it has, but for one that may have been under way: Prometheus knows to a
    // scrape interval when the group expired.
    let last = shown.last().unwrap();
    let without = times("kept[5m]").into_iter().filter(|time| time > last && *time < before);
    assert!(without.count() <= 1, "{shown:?} until {before}");
    // A late push restores the series.
    let body = "# TYPE last_size gauge\nlast_size{disk=\"a\"} 43\n";
    gateway.put("/metrics/job/backup", body).expect(200);
    eventually("the series again", || query("last_size").contains(",\"43\"]").then_some(()));
    // Because it expired, not because nothing was scraped.
    assert!(query("kept").contains("\"job\":\"kept\""), "{}", query("kept"));
    let up = query("up");
    assert!(up.contains(",\"1\"]"), "{up}");
    drop(process);
    gateway.stop();
}

#[test]
fn prometheus_gets_native_histograms_and_their_exemplars() {
    let now = SystemClock::new().wall();
    let gateway = Gateway::start_at(now, "");
    // Two observations around one, one around two, and one that is zero: no text says that.
    let id = LabelPair { name: Some("trace_id".into()), value: Some("abc".into()) };
    let histogram = Histogram {
        sample_count: Some(4),
        sample_sum: Some(4.5),
        schema: Some(0),
        zero_threshold: Some(1e-9),
        zero_count: Some(1),
        positive_span: vec![BucketSpan { offset: Some(0), length: Some(2) }],
        positive_delta: vec![2, -1],
        exemplars: vec![Exemplar {
            label: vec![id],
            value: Some(1.5),
            timestamp: Some(Timestamp { seconds: now.0 / 1_000_000_000, nanos: 0 }),
        }],
        ..Histogram::default()
    };
    let metric = Metric { histogram: Some(histogram), ..Metric::default() };
    let pushed = body(&[family("native", MetricType::Histogram, vec![metric])]);
    let headers = [("Content-Type", CONTENT_TYPE)];
    gateway.send("PUT", "/metrics/job/j", &headers, &pushed).expect(200);

    let folder = TempDir::new().unwrap();
    let features = "native-histograms,exemplar-storage";
    let (_process, prometheus) = prometheus(folder.path(), &gateway, features);
    let query = |query: &str| prometheus.get(&format!("/api/v1/query?query={query}")).text();
    let value = |text: &str| {
        let (_, rest) = text.split_once("\"value\":[")?;
        Some(rest.split('"').nth(1)?.to_owned())
    };
    eventually("the histogram", || value(&query("histogram_count(native)")));
    for (asked, expected) in [
        ("histogram_count(native)", "4"),
        ("histogram_sum(native)", "4.5"),
        ("histogram_fraction(1,2,native)", "0.25"),
        ("histogram_fraction(-1,1,native)", "0.75"),
    ] {
        assert_eq!(value(&query(asked)).as_deref(), Some(expected), "{asked}");
    }
    let exemplars = eventually("the exemplar", || {
        let path = "/api/v1/query_exemplars?query=native&start=0&end=99999999999";
        let answer = prometheus.get(path).text();
        answer.contains("trace_id").then_some(answer)
    });
    assert!(exemplars.contains(r#""trace_id":"abc""#), "{exemplars}");
    gateway.stop();
}

#[test]
fn promtool_has_nothing_to_say_of_the_gateways_own_families() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m x\n").expect(400);
    let body = "# HELP a_bytes Good.\n# TYPE a_bytes gauge\na_bytes{l=\"\\\\\\\"ü\\n\"} 1e-9\n\
                # HELP h_seconds Good.\n# TYPE h_seconds histogram\n\
                h_seconds_bucket{le=\"0.1\"} 1\nh_seconds_sum 1\nh_seconds_count 3\n\
                # HELP s_seconds Good.\n# TYPE s_seconds summary\n\
                s_seconds{quantile=\"0.5\"} NaN\ns_seconds_sum 0\ns_seconds_count 0\n";
    gateway.put("/metrics/job/j", body).expect(200);
    let text = TempDir::new().unwrap();
    let path = text.path().join("metrics");
    std::fs::write(&path, whole_text(&gateway)).unwrap();
    let mut command = Command::new(part("promtool"));
    command.args(["check", "metrics"]).stdin(std::fs::File::open(&path).unwrap());
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", output.status);
    gateway.stop();
}
