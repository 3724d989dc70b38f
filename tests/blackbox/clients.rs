//! The official Python client library as it is, against the gateway.

use std::process::Command;

use support::{Gateway, finished, part};

/// Runs a step of `clients.py`; returns what it prints.
#[track_caller]
fn python(gateway: &Gateway, step: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blackbox/clients.py");
    let mut command = Command::new(part("python"));
    command.env_clear().args([script, &gateway.address().to_string(), step]);
    let output = finished(&mut command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{step}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn every_type_of_metric_arrives() {
    let gateway = Gateway::start("");
    python(&gateway, "types");
    let scrape = gateway.scrape();
    let own = "instance=\"\",job=\"types\"";
    for line in [
        "# HELP work_total Work done.",
        "# TYPE work_total counter",
        "work_total{OWN,kind=\"a \\\"b\\\"\\\\\\n\"} 3",
        "# TYPE level gauge",
        "level{OWN} 1.5",
        "# TYPE took_seconds summary",
        "took_seconds_sum{OWN} 6",
        "took_seconds_count{OWN} 2",
        "# TYPE size_bytes histogram",
        "size_bytes_bucket{OWN,le=\"1\"} 0",
        "size_bytes_bucket{OWN,le=\"10\"} 1",
        "size_bytes_bucket{OWN,le=\"+Inf\"} 1",
        "size_bytes_sum{OWN} 5",
        "build_info{OWN,version=\"1.2\"} 1",
        "state{OWN,state=\"on\"} 0",
        "state{OWN,state=\"off\"} 1",
    ] {
        scrape.shows(&[&line.replace("OWN", own)]);
    }
    gateway.stop();
}

#[test]
fn push_pushadd_and_delete_do_what_they_say() {
    let gateway = Gateway::start("");
    python(&gateway, "replace");
    gateway
        .scrape()
        .shows(&[
            "first{instance=\"\",job=\"j\"} 1",
            "second{instance=\"\",job=\"j\"} 3",
            "first{instance=\"\",job=\"k\"} 6",
        ])
        .lacks("gone");
    python(&gateway, "delete");
    gateway.scrape().shows(&["first{instance=\"\",job=\"k\"} 6"]).lacks("job=\"j\"");
    gateway.stop();
}

#[test]
fn grouping_keys_of_all_kinds_arrive() {
    let gateway = Gateway::start("");
    python(&gateway, "keys");
    let values = ["/var/tmp", "", "ü€𝄞", "a=b&c", "100%", "\\\"\\\\", "a", "/", "a/b/", "a b+c"];
    for (number, value) in values.iter().enumerate() {
        let series =
            format!("m{{instance=\"\",job=\"keys\",number=\"{number}\",value=\"{value}\"}}");
        gateway.scrape().shows(&[&format!("{series} {number}")]);
    }
    gateway.scrape().shows(&["m{instance=\"\",job=\"a/b\"} 1"]);
    gateway.stop();
}

#[test]
fn the_instance_of_the_host_is_the_groups() {
    let gateway = Gateway::start("");
    let instance = python(&gateway, "instance");
    assert!(!instance.is_empty());
    gateway.scrape().shows(&[&format!("m{{instance=\"{instance}\",job=\"instance\"}} 1")]);
    gateway.stop();
}

#[test]
fn a_refusal_reaches_the_caller() {
    let gateway = Gateway::start("");
    let error = python(&gateway, "refused");
    assert!(error.contains("400"), "{error}");
    gateway.stop();
}
