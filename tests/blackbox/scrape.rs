//! The exposition: one header a family, families in order, compressed or not the same.

use support::{Exposition, Gateway, gunzip, minutes};

#[test]
fn families_of_many_groups_are_merged_under_one_header_and_ordered_by_name() {
    let gateway = Gateway::start("");
    for (job, names) in [("z", "b a zz"), ("a", "a:b a_b aB ab a"), ("m", "Z _ a b c")] {
        let body: Vec<_> = names.split(' ').map(|name| format!("{name} 1\n")).collect();
        gateway.put(&format!("/metrics/job/{job}"), body.concat()).expect(200);
    }
    // `scrape` itself fails where a family is there twice or out of order.
    let scrape = gateway.scrape();
    let a = scrape.family("a");
    assert_eq!(a.len(), 1 + 3, "{a:?}");
    assert_eq!(a[0], "# TYPE a untyped");
    let names: Vec<_> = scrape.names().collect();
    let of_z = names.iter().filter(|name| ["Z", "_", "a", "aB", "a_b"].contains(name)).count();
    assert_eq!(of_z, 5, "{names:?}");
    // The same again, but for what is about the gateway.
    assert_eq!(gateway.scrape().pushed(), scrape.pushed());
    gateway.stop();
}

#[test]
fn the_head_says_what_it_is() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    for accept in ["*/*", "text/plain;version=1.0.0", "application/openmetrics-text", "image/png"] {
        let answer = gateway.send("GET", "/metrics", &[("Accept", accept)], b"").expect(200);
        assert_eq!(answer.header("content-type"), Some(content_type), "{accept}");
        assert_eq!(answer.header("content-encoding"), None);
        assert!(answer.text().contains("\nm{instance=\"\",job=\"j\"} 1\n"));
    }
    let head = gateway.send("HEAD", "/metrics", &[], b"").expect(200);
    assert_eq!((head.header("content-type"), &*head.body), (Some(content_type), &b""[..]));
    gateway.stop();
}

#[test]
fn the_body_is_compressed_where_the_client_prefers_that() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    for (accept, compressed) in [
        ("gzip", true),
        ("gzip, deflate, br, zstd", true),
        // To the letter, as with the Go Pushgateway.
        ("GZIP", false),
        ("deflate, gzip;q=0.1", true),
        ("gzip;q=1.0, identity;q=0.5", true),
        ("identity", false),
        ("", false),
        ("*", false),
        ("gzip;q=0", false),
        ("gzip; q=0.000", false),
        ("identity, gzip", false),
        ("gzip;q=0.5, identity;q=0.8", false),
        ("br", false),
        ("xgzip", false),
    ] {
        let answer =
            gateway.send("GET", "/metrics", &[("Accept-Encoding", accept)], b"").expect(200);
        let encoding = answer.header("content-encoding");
        assert_eq!(encoding, compressed.then_some("gzip"), "{accept:?}");
        let body = if compressed { gunzip(&answer.body) } else { answer.body };
        Exposition::of(String::from_utf8(body).unwrap()).shows(&["m{instance=\"\",job=\"j\"} 1"]);
    }
    gateway.stop();
}

/// Compressed runs are kept from scrape to scrape: after every kind of change they have to be those
/// of the lines that are there now.
#[test]
fn a_compressed_scrape_shows_what_a_plain_one_shows_after_every_change() {
    let gateway = Gateway::start("[ttl]\ndefault = '1h'\n");
    let same = |what: &str| {
        for _ in 0..2 {
            assert_eq!(gateway.scrape_gzip().pushed(), gateway.scrape().pushed(), "{what}");
        }
    };
    same("empty");
    for job in 0..40 {
        let body: Vec<_> =
            (0..50).map(|n| format!("f{n}{{x=\"{}\"}} {job}\n", "long ".repeat(10))).collect();
        gateway.put(&format!("/metrics/job/j{job}"), body.concat()).expect(200);
    }
    same("pushed");
    gateway.put("/metrics/job/j7", "f1 7\n").expect(200);
    same("replaced");
    gateway.post("/metrics/job/j8", "# HELP f2 Now with a help.\nf2 8\nnew 1\n").expect(200);
    same("updated");
    gateway.delete("/metrics/job/j9").expect(202);
    same("deleted");
    gateway.put("/metrics/job/j10", "f1 1 1\n").expect(400);
    same("refused");
    gateway.advance(minutes(59));
    gateway.put("/metrics/job/last", "f49 49\n").expect(200);
    same("later");
    gateway.advance(minutes(1));
    same("expired");
    let scrape = gateway.scrape_gzip();
    scrape.shows(&["f49{instance=\"\",job=\"last\"} 49"]).lacks("job=\"j");
    gateway.stop();
}

#[test]
fn the_lines_of_one_histogram_or_summary_stay_together() {
    let gateway = Gateway::start("");
    for job in ["b", "a", "c"] {
        let body = "# TYPE h histogram\n\
                    h_bucket{l=\"1\",le=\"1\"} 1\nh_bucket{l=\"2\",le=\"1\"} 1\n\
                    h_count{l=\"2\"} 2\nh_count{l=\"1\"} 1\nh_sum{l=\"1\"} 3\nh_sum{l=\"2\"} 4\n";
        gateway.put(&format!("/metrics/job/{job}"), body).expect(200);
    }
    let scrape = gateway.scrape();
    let lines = scrape.family("h");
    assert_eq!(lines.len(), 1 + 3 * 2 * 4);
    for metric in lines[1..].chunks(4) {
        let (labels, _) = metric[2].strip_prefix("h_sum{").unwrap().split_once('}').unwrap();
        let starts = [
            format!("h_bucket{{{labels},le=\"1\"}} "),
            format!("h_bucket{{{labels},le=\"+Inf\"}} "),
            format!("h_sum{{{labels}}} "),
            format!("h_count{{{labels}}} "),
        ];
        for (line, start) in metric.iter().zip(starts) {
            assert!(line.starts_with(&start), "{start:?}: {metric:?}");
        }
    }
    gateway.stop();
}

#[test]
fn a_scrape_is_there_before_the_first_push_and_after_the_last_group() {
    let gateway = Gateway::start("");
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.delete("/metrics/job/j").expect(202);
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        assert_eq!(scrape.pushed(), "");
        scrape.shows(&["tidegate_groups 0", "tidegate_series 0"]);
    }
    gateway.stop();
}

#[test]
fn the_space_that_is_left_to_the_store_is_shown() {
    let gateway = Gateway::start("");
    let free: f64 = gateway.scrape().value("tidegate_store_free_bytes").parse().unwrap();
    assert!(free > 1e6, "{free}");
    let body = "# TYPE tidegate_store_free_bytes counter\ntidegate_store_free_bytes 1\n";
    gateway.put("/metrics/job/j", body).expect(400).says("should have GAUGE");
    gateway.stop();
}
