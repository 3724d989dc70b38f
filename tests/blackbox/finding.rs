//! Groups that are found by the metrics that they have.

use serde_json::{Value, json};
use support::{Gateway, minutes};

const LATENCY: &str = "# TYPE latency histogram\nlatency_bucket{le=\"1\"} 1\nlatency_bucket{le=\"+Inf\"} 1\n\
                       latency_sum 1\nlatency_count 1\n# TYPE size summary\nsize_sum 1\nsize_count 1\n";
const SETTINGS: &str = "[web]\nenable-admin-api = true\n[push]\nenable-utf8-names = true\n";

/// Groups `a`, `b`, `c` and `d`, with other metrics each.
fn with_metrics() -> Gateway {
    let gateway = Gateway::start(SETTINGS);
    gateway.put("/metrics/job/a", "backup_seconds 1\nbackup_bytes 1\n").expect(200);
    gateway.put("/metrics/job/b", "backup_seconds{x=\"1\"} 1\n").expect(200);
    gateway.put("/metrics/job/c", LATENCY).expect(200);
    gateway.put("/metrics/job/d/env/backup_bytes", "{\"http.requests\"} 1\n").expect(200);
    gateway
}

/// The jobs of what a query finds, and how many it says there are.
#[track_caller]
fn found(gateway: &Gateway, query: &str) -> (Vec<String>, Value) {
    let data = gateway.get(&format!("/api/v2/groups?{query}")).expect(200).data();
    let groups = data["groups"].as_array().unwrap();
    let job = |group: &Value| group["labels"]["job"].as_str().unwrap().to_owned();
    (groups.iter().map(job).collect(), data["total"].clone())
}

#[track_caller]
fn finds(gateway: &Gateway, query: &str, jobs: &[&str]) {
    assert_eq!(
        found(gateway, query),
        (jobs.iter().map(ToString::to_string).collect(), json!(jobs.len())),
        "{query}"
    );
}

#[test]
fn groups_are_found_by_the_names_of_their_metrics() {
    let gateway = with_metrics();
    for (query, jobs) in [
        ("metric=backup_seconds", &["a", "b"][..]),
        ("metric=backup_bytes", &["a"]),
        ("metric=backup_bytes&metric=latency", &["a", "c"]),
        ("metric=backup_bytes&metric=backup_seconds&metric=backup_seconds", &["a", "b"]),
        ("metric=nobody", &[]),
        ("metric=backup", &[]),
        ("metric=http.requests", &["d"]),
        // Those that the gateway adds.
        ("metric=push_time_seconds", &["a", "b", "c", "d"]),
        // Parts of histograms and summaries.
        ("metric=latency", &["c"]),
        ("metric=latency_bucket", &["c"]),
        ("metric=latency_sum", &["c"]),
        ("metric=latency_count", &["c"]),
        ("metric=size_count", &["c"]),
        ("metric=size_bucket", &[]),
        ("metric=backup_seconds_count", &[]),
        // With all else that narrows and orders.
        ("metric=backup_seconds&match[]=%7Bjob=%22b%22%7D", &["b"]),
        ("metric=backup_seconds&group=job/a", &["a"]),
        ("metric=backup_seconds&search=job=b", &["b"]),
        ("metric=backup_seconds&state=refused", &[]),
        ("metric=backup_seconds&sort=-name", &["b", "a"]),
        // A word may be a metric, or be in the labels.
        ("search=backup_bytes", &["a", "d"]),
        ("search=metric:backup_bytes", &["a"]),
        ("search=metric:latency_bucket", &["c"]),
        ("search=metric:backup_seconds+metric:backup_bytes", &["a"]),
        ("search=job=b+backup_seconds", &["b"]),
        ("search=backup_seconds&metric=backup_bytes", &["a"]),
        ("search=metric:", &[]),
    ] {
        finds(&gateway, query, jobs);
    }
    let page = gateway.get("/api/v2/groups?metric=backup_seconds&limit=1").expect(200).data();
    assert_eq!((&page["total"], page["groups"].as_array().unwrap().len()), (&json!(2), 1));
    let next = page["next"].as_str().unwrap();
    assert_eq!(found(&gateway, &format!("metric=backup_seconds&after={next}")).0, ["b"]);
    let names: Vec<_> = (0..33).map(|at| format!("metric=m{at}")).collect();
    let error = gateway.get(&format!("/api/v2/groups?{}", names.join("&"))).expect(400).json();
    assert!(error["error"].as_str().unwrap().contains("metric: more than 32"), "{error}");
    gateway.stop();
}

/// As groups come, go and have other metrics.
#[test]
fn what_is_found_is_what_is_there_now() {
    let gateway = with_metrics();
    gateway.put("/metrics/job/a", "other 1\n").expect(200);
    finds(&gateway, "metric=backup_seconds", &["b"]);
    gateway.put("/metrics/job/e?ttl=1m", "backup_seconds 1\n").expect(200);
    finds(&gateway, "metric=backup_seconds", &["b", "e"]);
    gateway.advance(minutes(1));
    finds(&gateway, "metric=backup_seconds", &["b"]);
    // More than are looked at in one go, and more than one segment has.
    for at in 0..1500 {
        gateway.put(&format!("/metrics/job/many/at/{at}"), "many 1\n").expect(200);
    }
    gateway.delete("/metrics/job/many/at/700").expect(202);
    let all = gateway.get("/api/v2/groups?metric=many&limit=10000").expect(200).data();
    assert_eq!((&all["total"], all["groups"].as_array().unwrap().len()), (&json!(1499), 1499));
    gateway.stop();
}

#[test]
fn what_is_found_by_a_metric_can_be_deleted_and_only_that() {
    let gateway = with_metrics();
    let dry = gateway.delete("/api/v2/groups?metric=backup_seconds&dry_run=1").expect(200).data();
    assert_eq!(dry["count"], json!(2));
    gateway.delete("/api/v2/groups?search=metric:backup_bytes").expect(200);
    finds(&gateway, "", &["b", "c", "d"]);
    // Nobody knows the metrics of what has been deleted, nor of what an event is about.
    for path in
        ["/api/v2/expired?metric=m", "/api/v2/expired?search=metric:m", "/api/v2/events?metric=m"]
    {
        let error = gateway.get(path).expect(400).json();
        assert!(error["error"].as_str().unwrap().contains("only the labels are known"), "{error}");
    }
    gateway.stop();
}

#[test]
fn the_page_finds_groups_by_their_metrics() {
    let gateway = with_metrics();
    let says = |path: &str, text: &str| {
        let page = gateway.get(path).expect(200).text();
        assert!(page.contains(text), "{path}: {text}");
    };
    says("/", "words, a metric, or {job=~");
    says("/?search=metric:backup_seconds", "2 groups found");
    says("/?search=latency_bucket", "1 group found");
    says("/expiry?search=metric:nobody", "metric:nobody");
    // The groups that are found are those that would be deleted: the search alone is handed on.
    says("/?search=metric:backup_seconds", "api/v2/groups?search=metric%3Abackup_seconds");
    let narrowed = gateway.get("/?metric=backup_bytes").expect(200).text();
    assert!(narrowed.contains("1 group found") && !narrowed.contains("delete-all"), "{narrowed}");
    gateway.stop();
}
