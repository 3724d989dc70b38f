//! The exposition in all its formats and encodings, and what else is served beside it.

use std::process::Command;

use tempfile::TempDir;

use support::protobuf::{CONTENT_TYPE, families};
use support::{Client, Gateway, Process, Tidegate, eventually, minutes};

const PUSHED: &str = "# HELP c_total Help.\n# TYPE c_total counter\nc_total{l=\"a\"} 1\n\
                      c_total{l=\"b\"} 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_sum 4.5\nh_count 6\n";

fn accept<'a>(format: &'a str, encoding: &'a str) -> [(&'a str, &'a str); 2] {
    [("Accept", format), ("Accept-Encoding", encoding)]
}

#[test]
fn protobuf_says_what_text_says() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", PUSHED).expect(200);
    gateway
        .put("/metrics/job/k", "# HELP c_total Help.\n# TYPE c_total counter\nc_total 3\n")
        .expect(200);
    for encoding in ["identity", "gzip", "zstd", "gzip"] {
        let answer = gateway.send("GET", "/metrics", &accept(CONTENT_TYPE, encoding), b"");
        let content_type = answer.header("content-type").map(str::to_owned);
        assert_eq!(
            content_type.as_deref(),
            Some(&*format!("{CONTENT_TYPE}; escaping=underscores"))
        );
        let coded = answer.header("content-encoding").unwrap_or("identity").to_owned();
        assert_eq!(coded, encoding);
        let bytes = match encoding {
            "gzip" => support::gunzip(&answer.body.clone()),
            "zstd" => zstd::decode_all(&answer.body.clone()[..]).unwrap(),
            _ => answer.body.clone(),
        };
        let families = families(&bytes);
        assert!(families.is_sorted_by(|a, b| a.name < b.name), "each name once, in order");
        let of = |name: &str| {
            families.iter().find(|family| family.name.as_deref() == Some(name)).unwrap()
        };
        let counter = of("c_total");
        assert_eq!((counter.help.as_deref(), counter.r#type), (Some("Help."), Some(0)));
        let values: Vec<_> = counter
            .metric
            .iter()
            .filter_map(|metric| metric.counter.as_ref().and_then(|c| c.value))
            .collect();
        assert_eq!(values, [1.0, 2.0, 3.0]);
        let histogram = of("h").metric[0].histogram.clone().unwrap();
        assert_eq!((histogram.sample_count, histogram.sample_sum), (Some(6), Some(4.5)));
        assert_eq!(histogram.bucket.len(), 1, "no bucket that was not pushed");
        assert_eq!(of("push_time_seconds").metric.len(), 2);
        assert!(families.iter().any(|family| family.name.as_deref() == Some("tidegate_groups")));
    }
    gateway.advance(minutes(60 * 24 * 7));
    let answer = gateway.send("GET", "/metrics", &accept(CONTENT_TYPE, "identity"), b"");
    let left = families(&answer.body.clone());
    assert!(left.iter().all(|family| family.name.as_deref() != Some("c_total")));
    gateway.stop();
}

#[test]
fn openmetrics_is_there_where_it_is_turned_on() {
    const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;q=0.1";
    let off = Gateway::start("");
    let answer = off.send("GET", "/metrics", &accept(OPENMETRICS, "identity"), b"");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    off.stop();

    let on = Gateway::start("[web]\nenable-openmetrics = true\n");
    on.put("/metrics/job/j", PUSHED).expect(200);
    let answer = on.send("GET", "/metrics", &accept(OPENMETRICS, "identity"), b"");
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores")
    );
    let text = answer.text();
    for part in [
        "# HELP c Help.\n# TYPE c counter\nc_total{instance=\"\",job=\"j\",l=\"a\"} 1.0\n",
        "h_bucket{instance=\"\",job=\"j\",le=\"1.0\"} 3\n",
        "h_bucket{instance=\"\",job=\"j\",le=\"+Inf\"} 6\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
    on.stop();
}

#[test]
fn the_page_shows_what_is_stored_and_executes_nothing() {
    let gateway = Gateway::start("");
    let empty = gateway.get("/").expect(200).text();
    assert!(empty.contains("curl"), "{empty}");
    gateway.put("/metrics/job/%3Cscript%3E", "# HELP m \"><script>\nm 1\n").expect(200);
    for (path, part) in [
        ("/", "&lt;script&gt;"),
        ("/?search=script", "1 group found"),
        ("/?search=%7Bjob%3D%22x%22%7D", "0 groups found"),
        ("/?sort=-deadline&state=fresh", "1 group found"),
        ("/group?job=%3Cscript%3E", "m{instance=&quot;&quot;,job=&quot;&lt;script&gt;&quot;} 1"),
        ("/expiry?over=week", "will expire within the next week"),
        ("/expired", "0 groups."),
        ("/live", "&lt;script&gt;"),
        ("/status", "web.listen-address"),
    ] {
        let page = gateway.get(path).expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = page.text();
        assert!(text.contains(part) && !text.contains("<script>"), "{path}: {part}\n{text}");
    }
    gateway.get("/group?job=gone").expect(404);
    for bad in ["/?search=%7B", "/?sort=size", "/?state=odd", "/expiry?over=year", "/group?a=b"] {
        let text = gateway.get(bad).expect(400).text();
        assert!(text.contains("role=\"alert\""), "{text}");
    }
    gateway.stop();
}

#[test]
fn a_wipe_leaves_nothing_and_what_comes_after_it_stays() {
    let gateway = Gateway::start("[web]\nenable-admin-api = true\n");
    for job in 0..300 {
        gateway.put(&format!("/metrics/job/{job}"), PUSHED).expect(200);
    }
    gateway.send("PUT", "/api/v1/admin/wipe", &[], b"").expect(202);
    gateway.scrape().lacks("job=");
    gateway.put("/metrics/job/after", PUSHED).expect(200);
    let gateway = gateway.restart();
    let scrape = gateway.scrape();
    assert_eq!(scrape.value("tidegate_groups"), "1");
    scrape.shows(&["c_total{instance=\"\",job=\"after\",l=\"a\"} 1"]);
    gateway.stop();

    let gateway = Gateway::start("");
    gateway.send("PUT", "/api/v1/admin/wipe", &[], b"").expect(404);
    gateway.stop();
}

#[test]
fn unchecked_pushes_are_taken_without_what_contradicts() {
    let gateway = Gateway::start("[push]\ndisable-consistency-check = true\n");
    gateway.put("/metrics/job/a", "# TYPE m gauge\nm 1\n").expect(202);
    gateway.put("/metrics/job/b", "# TYPE m counter\nm 1\n# TYPE n gauge\nn 2\n").expect(202);
    gateway.put("/metrics/job/c", "t 1 1000\n").expect(202);
    let scrape = gateway.scrape();
    scrape
        .shows(&["# TYPE m gauge", "m{instance=\"\",job=\"a\"} 1", "n{instance=\"\",job=\"b\"} 2"])
        .lacks("m{instance=\"\",job=\"b\"}")
        .lacks("t{");
    let stamp = |name: &str, job: &str| {
        scrape.value(&format!("{name}{{instance=\"\",job=\"{job}\"}}")).to_owned()
    };
    // The families that were left out show as a failure at the time of the push.
    assert_eq!(stamp("push_failure_time_seconds", "a"), "0");
    assert_eq!(stamp("push_failure_time_seconds", "b"), stamp("push_time_seconds", "b"));
    assert_ne!(stamp("push_failure_time_seconds", "c"), "0");
    assert_eq!(stamp("push_time_seconds", "c"), "0");
    gateway.stop();
}

#[test]
fn requests_and_pushes_are_counted_as_the_go_pushgateway_counts_them() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.post("/metrics/job/j", "m x\n").expect(400);
    gateway.delete("/metrics/job/j").expect(202);
    gateway.get("/-/healthy").expect(200);
    gateway.get("/nowhere").expect(404);
    let scrape = gateway.scrape();
    scrape.shows(&[
        "pushgateway_http_requests_total{code=\"200\",handler=\"push\",method=\"put\"} 1",
        "pushgateway_http_requests_total{code=\"400\",handler=\"push\",method=\"post\"} 1",
        "pushgateway_http_requests_total{code=\"202\",handler=\"delete\",method=\"delete\"} 1",
        "pushgateway_http_requests_total{code=\"200\",handler=\"healthy\",method=\"get\"} 1",
        "pushgateway_http_push_duration_seconds_count{method=\"put\"} 1",
        "pushgateway_http_push_size_bytes_count{method=\"post\"} 1",
    ]);
    let size = scrape.value("pushgateway_http_push_size_bytes{method=\"put\",quantile=\"0.5\"}");
    assert!(size.parse::<f64>().unwrap() > 20.0, "{size}");
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_max_fds"] {
        assert!(scrape.value(name).parse::<f64>().unwrap() > 0.0, "{name}");
    }
    gateway.stop();
}

#[test]
fn a_request_may_stop_the_gateway_where_that_is_turned_on() {
    let folder = TempDir::new().unwrap();
    let tidegate = Tidegate::serve(folder.path(), &["--web.enable-lifecycle"]);
    tidegate.put("/metrics/job/j", "m 1\n").expect(200);
    tidegate.send("POST", "/-/quit", &[], b"").expect(200).says("Goodbye!");
    let (status, log) = tidegate.ended();
    assert!(status.success(), "{status}: {log}");
    let again = Tidegate::serve(folder.path(), &[]);
    again.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    again.stop();
}

/// As systemd does it: the socket is file descriptor 3, and the environment says so.
#[test]
fn sockets_are_taken_over_from_systemd() {
    let folder = TempDir::new().unwrap();
    let script = "import os, socket, sys\n\
                  s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(8)\n\
                  os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
                  os.environ['LISTEN_FDS'] = '1'; os.environ['LISTEN_PID'] = str(os.getpid())\n\
                  os.execv(sys.argv[1], sys.argv[1:])\n";
    let storage = format!("--storage.path={}", folder.path().display());
    let mut command = Command::new("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tidegate"), &storage]);
    let mut process = Process::spawn(command.arg("--web.systemd-socket"));
    let client = Client::new(process.address());
    eventually("an answer", || {
        (client.try_send("GET", "/-/ready", &[], b"").ok()?.status == 200).then_some(())
    });
    client.put("/metrics/job/j", "m 1\n").expect(200);
    process.signal("TERM");
    assert!(process.ended().0.success());

    // Without any, it says what is missing.
    let (status, log) =
        Process::spawn(&mut Tidegate::command(&["--web.systemd-socket", &storage])).ended();
    assert!(!status.success() && log.contains(".socket unit"), "{log}");
}
