//! Paths and methods: what is cleaned, redirected, allowed, and not there.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

const METHODS: [&str; 9] =
    ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"];

/// Sends every method to each path.
fn all_methods(pair: &mut Pair, paths: &[&str]) {
    for path in paths {
        for method in METHODS {
            let carries = matches!(method, "PUT" | "POST" | "PATCH");
            let body: &[u8] = if carries { b"m 1\n" } else { b"" };
            pair.same(&Request::new(method, *path).body(body));
        }
    }
}

#[test]
fn the_routes() {
    let mut pair = Pair::start(&[]);
    all_methods(
        &mut pair,
        &[
            "/",
            "/?x=1",
            "/status",
            "/status?x=1",
            "/-/healthy",
            "/-/healthy?x=1",
            "/-/ready",
            "/-/quit",
            "/metrics",
            "/metrics?x=y",
            "/metrics/job/x",
            "/metrics/job/x/",
            "/metrics/job/x/instance/y",
            "/metrics/job/x/instance/y?z=1",
            "/metrics/job@base64/eA",
            "/metrics/job@base64/eA/instance/y",
            "/metrics/job@base64/=",
            "/api/v1/status",
            "/api/v1/metrics",
            "/api/v1/metrics?x=1",
        ],
    );
    pair.same_state();
    pair.finish();
}

#[test]
fn a_slash_too_much_or_the_wrong_case_is_redirected_for_methods_that_are_there() {
    let mut pair = Pair::start(&[]);
    all_methods(
        &mut pair,
        &[
            "/status/",
            "/Status",
            "/STATUS/",
            "/-/healthy/",
            "/-/Healthy",
            "/-/ready/",
            "/-/READY/",
            "/-/quit/",
            "/-/Quit",
            "/metrics/",
            "/metrics/?x=y",
            "/Metrics",
            "/METRICS/",
            "/Metrics?a=b",
            "/Metrics/job/x",
            "/METRICS/JOB/X",
            "/metrics/JOB/x",
            "/metrics/Job/X/Instance/Y",
            "/metrics/JOB/x?a=b",
            "/metrics/JOB@BASE64/eA",
            "/Metrics/job/%C3%BC/x/%20",
            "/Metrics/job/a%3Fb",
            "/metrics/job/",
            "/metrics/job@base64/",
            "/%4detrics/job/x",
            "/metrics%2F",
            "/status%2F",
            "/api/v1",
            "/api/v1?x=1",
        ],
    );
    pair.same_state();
    pair.finish();
}

#[test]
fn paths_are_cleaned_once_decoded_for_every_method() {
    let mut pair = Pair::start(&[]);
    all_methods(
        &mut pair,
        &[
            "//",
            "///",
            "/.",
            "/..",
            "/./",
            "//metrics",
            "//metrics?x=y",
            "/metrics//",
            "/./metrics",
            "/a/../metrics",
            "/../metrics",
            "/metrics/.",
            "/metrics/..",
            "/metrics/./",
            "/metrics/job//",
            "/metrics/job//x",
            "/metrics/job/x//",
            "/metrics/job/x//y",
            "/metrics/job/x/a//b",
            "/metrics/job/x/a//b?c=d&e=%20",
            "/metrics/job/x/a/b//",
            "/metrics/job/x/%2F",
            "/metrics/job/a%2F%2Fb",
            "/metrics/job/%2E",
            "/metrics/job/%2E%2E/x",
            "/metrics/job/.",
            "/metrics/job/..",
            "/metrics/job/../job/x",
            "/metrics/job/x/a/..",
            "/metrics/job/x/a/./b",
            "/metrics/job/x/a/...",
            "/metrics/job/..x/a/.b",
            "/metrics/job/%20//x",
            "/metrics/job/%C3%BC//a",
            "/metrics/job//%25%3F%23%5B%5D%7B%7D%22%3C%3E%5C%5E%60%7C",
            "/metrics/job//a+b&c=d;e,f:g@h!i'j(k)l*m~n$",
            "/metrics/job//%2B%26%3D%3B%2C%3A%40%21%27%28%29%2A%7E%24",
            "/api//v1/status",
            "/api/v1//status",
            "/api/v1/./metrics",
            "/nowhere//x",
            "http://other//metrics/job/x",
        ],
    );
    pair.same_state();
    pair.finish();
}

#[test]
fn what_is_not_there() {
    let mut pair = Pair::start(&[]);
    all_methods(
        &mut pair,
        &[
            "/-",
            "/-/",
            "/-/nothing",
            "/metrics/job",
            "/metrics/job@base64",
            "/metrics/jobs/x",
            "/metrics/job@base65/x",
            "/metrics/x",
            "/metrics/x/y",
            "/favicon.ico",
            "/debug",
            "/debug/",
            "/api",
            "/api/",
            "/api/v1/",
            "/api/v1/nothing",
            "/api/v1/admin",
            "/api/v1/admin/wipe",
            "/api/v1/admin/wipe/",
            "/nowhere",
            "/nowhere/",
            "/statu",
            "/statusx",
            "/status/x",
            "/metricsx",
        ],
    );
    pair.finish();
}

#[test]
fn odd_targets() {
    let mut pair = Pair::start(&[]);
    for target in [
        "http://other/metrics/job/x",
        "/metrics/job/x%3Fy",
        "/metrics/job/x;a=b",
        "/metrics/job/x?a=b",
        "/metrics/job/x/?a=b",
        "/metrics/job/x/a/b/?a=b",
        "/metrics/job/a+b",
        "/metrics/job/\u{fc}",
        "/metrics/job/%00",
        "/metrics/job/%0A%09",
        "/metrics/job/%7F/l/%01",
        "/metrics/job/x/l/%22%5C%0A",
        "/%6detrics/job/x",
        "/metrics%2Fjob/x",
        "/metrics/job%2Fx",
        "/metrics/job/x%2Fa%2Fb",
        "/metrics/job/x%2Fa",
        "/metrics/job%40base64/eA",
        "/metrics/job/x/a%40base64/eA",
        "/metrics/job/[x]",
        "/metrics/job/{x}|y^z",
        "/metrics/job/%",
        "/metrics/job/%z",
        "/metrics/job/%zz",
        "/metrics/job/%2",
    ] {
        for method in METHODS {
            let body: &[u8] = if matches!(method, "PUT" | "POST") { b"m 1\n" } else { b"" };
            pair.same(&Request::new(method, target).body(body));
        }
        pair.same(&Request::put(target, "m 1\n"));
    }
    pair.same_state();
    for method in ["GET", "OPTIONS", "PUT"] {
        pair.same(&Request::new(method, ""));
        pair.same(&Request::new(method, "*"));
    }
    pair.finish();
}

/// The reference forgets where it is below `/api/v1`, and loses its way where a label is to follow.
#[test]
fn redirects_that_the_reference_gets_wrong() {
    let mut pair = Pair::start(&["--web.enable-admin-api"]);
    for (method, path, status, location) in [
        ("GET", "/api/v1/status/", 301, "/api/v1/status"),
        ("GET", "/api/v1/Status", 301, "/api/v1/status"),
        ("GET", "/api/v1/metrics/?x=y", 301, "/api/v1/metrics?x=y"),
        ("GET", "/api/v1/METRICS", 301, "/api/v1/metrics"),
        ("GET", "/API/v1/status", 301, "/api/v1/status"),
        ("PUT", "/api/v1/admin/wipe/", 307, "/api/v1/admin/wipe"),
        ("PUT", "/api/v1/admin/Wipe", 307, "/api/v1/admin/wipe"),
        ("PUT", "/metrics/JOB@base64/eA/l/v", 307, "/metrics/job@base64/eA/l/v"),
    ] {
        let request = Request::new(method, path);
        let answer = pair.differs(Why::Redirects, &request, status);
        pair.check(answer.header("location") == Some(location), path);
    }
    for (method, path) in [
        ("PUT", "/api/v1/status/"),
        ("DELETE", "/api/v1/Metrics"),
        ("OPTIONS", "/api/v1/status/"),
        ("GET", "/api/v1/admin/wipe/"),
        ("PUT", "/API/v1/status"),
    ] {
        pair.same(&Request::new(method, path));
    }
    pair.finish();
}

#[test]
fn characters_that_no_uri_has() {
    let mut pair = Pair::start(&[]);
    for c in "<>`#!\"$&'()*+,-.:;=@[\\]^_{|}~".chars() {
        pair.same(&Request::put(
            format!("/metrics/job/a{c}b/l/{c}"),
            format!("m{{c=\"{}\"}} 1\n", u32::from(c)),
        ));
    }
    pair.settle();
    for scrape in
        [pair.only_reference(&Request::get("/metrics")), pair.only_ours(&Request::get("/metrics"))]
    {
        pair.check(scrape.text().contains("job=\"a[b\",l=\"[\"} 1\n"), "they are in the labels");
    }
    pair.finish();
}

/// Go's profiles of itself, and the package's lack of the files of a page.
#[test]
fn what_only_one_of_them_serves() {
    let mut pair = Pair::start(&[]);
    for path in ["/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"] {
        pair.differs(Why::GoRuntime, &Request::get(path), 404);
    }
    let page = pair.differs(Why::Page, &Request::get("/"), 200);
    let is_html = page.header("content-type") == Some("text/html; charset=utf-8");
    pair.check(is_html, "the page is HTML");
    pair.check(page.text().to_lowercase().contains("<html"), "the page is a page");
    let status = pair.differs(Why::Page, &Request::get("/status"), 200);
    pair.check(status.text().to_lowercase().contains("<html"), "the status page is a page");
    pair.finish();
}
