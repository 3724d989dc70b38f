//! Where everything is below a prefix, and the scrape elsewhere.

use crate::differential::http::Request;
use crate::differential::json::flags;
use crate::differential::pair::Pair;

const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];

/// The paths that matter, for a prefix `/foo`.
const PATHS: [&str; 39] = [
    "/",
    "/foo",
    "/foo/",
    "/foo?x=1",
    "/Foo",
    "/FOO/",
    "/foo/status",
    "/foo/status/",
    "/foo/Status",
    "/foo/metrics",
    "/foo/metrics/",
    "/foo/metrics/job/x",
    "/foo/metrics/job/x/",
    "/foo/metrics/job/y/a/b",
    "/foo/metrics/job@base64/eg",
    "/foo/Metrics/job/x",
    "/Foo/metrics/job/x",
    "/foo/metrics/job",
    "/foo/metrics/job/",
    "/foo//metrics",
    "/foo/../metrics",
    "/metrics",
    "/metrics/job/x",
    "/status",
    "/-/healthy",
    "/foo/-/healthy",
    "/foo/-/ready",
    "/foo/-/ready/",
    "/foo/-/quit",
    "/-/quit",
    "/-/quit/",
    "/-/ready",
    "/foo/api/v1",
    "/foo/api/v1/status",
    "/foo/api/v1/metrics",
    "/api/v1/metrics",
    "/foo/api/v1/admin/wipe",
    "/api/v1/admin/wipe",
    "/foo/nowhere",
];

fn all(flags: &[&str], paths: &[&str]) {
    let mut pair = Pair::start(flags);
    pair.case(flags.join(" "));
    for path in paths {
        for method in METHODS {
            let carries = matches!(method, "PUT" | "POST" | "PATCH");
            let body: &[u8] = if carries { b"m 1\n" } else { b"" };
            pair.same(&Request::new(method, *path).body(body));
        }
    }
    pair.finish();
}

fn below(prefix: &str) -> Vec<String> {
    PATHS.iter().map(|path| path.replace("/foo", prefix)).collect()
}

#[test]
fn a_route_prefix() {
    all(&["--web.route-prefix=/foo"], &PATHS);
    all(&["--web.route-prefix", "/foo", "--web.enable-admin-api"], &PATHS);
}

#[test]
fn a_route_prefix_is_brought_into_shape() {
    let few = ["/", "/foo", "/foo/", "/foo/metrics", "/foo/-/ready", "/metrics", "/-/quit"];
    for prefix in ["foo", "foo/", "/foo/"] {
        all(&[&format!("--web.route-prefix={prefix}")], &few);
    }
    all(&["--web.route-prefix=/"], &["/", "/metrics", "/metrics/job/x", "/-/quit", "/foo"]);
    let paths = below("/foo/bar");
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    all(&["--web.route-prefix=/foo/bar"], &paths);
}

#[test]
fn an_external_url_gives_the_prefix_unless_there_is_one() {
    let paths = below("/pfx");
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    all(&["--web.external-url=http://h/pfx/"], &paths);
    let few = ["/", "/pfx", "/pfx/", "/metrics", "/metrics/job/x", "/pfx/metrics", "/-/ready"];
    for url in ["/pfx", "http://h:80/pfx", "https://user@h/pfx/?a=b#c", "//h/pfx"] {
        all(&[&format!("--web.external-url={url}")], &few);
    }
    for url in ["http://h", "http://h/", "http://h/pfx/ --web.route-prefix=/"] {
        let flag = format!("--web.external-url={url}");
        all(&flag.split(' ').collect::<Vec<_>>(), &few);
    }
    all(&["--web.external-url=http://h/a", "--web.route-prefix=/pfx"], &few);
}

/// Only the scrape moves: pushes stay where they are.
#[test]
fn a_telemetry_path() {
    let paths = [
        "/scrape",
        "/scrape/",
        "/Scrape",
        "/scrape?x=1",
        "/metrics",
        "/metrics/",
        "/metrics/job/x",
        "/metrics/job",
        "/api/v1/metrics",
        "/",
    ];
    all(&["--web.telemetry-path=/scrape"], &paths);
    all(&["--web.telemetry-path=/a/b"], &["/a", "/a/b", "/a/b/", "/a/b/c", "/metrics"]);
    all(&["--web.telemetry-path=/metrics/x/y"], &["/metrics/x/y", "/metrics", "/metrics/x"]);
    all(
        &["--web.telemetry-path=/scrape", "--web.route-prefix=/foo"],
        &["/foo/scrape", "/scrape", "/foo/metrics", "/metrics", "/foo/metrics/job/x"],
    );
}

/// The status lists each flag as it is in force, the prefix as it was computed.
#[test]
fn the_status_lists_the_flags() {
    for given in [
        &[][..],
        &["--web.route-prefix=foo/"],
        &["--web.external-url=http://h/pfx/"],
        &["--web.external-url=http://h/pfx/", "--web.route-prefix=/"],
        &["--web.telemetry-path=/scrape", "--web.enable-lifecycle", "--web.enable-admin-api"],
        &["--no-web.enable-lifecycle", "--no-web.enable-admin-api", "--no-web.systemd-socket"],
        &["--push.disable-consistency-check", "--push.enable-utf8-names"],
        &["--no-push.disable-consistency-check", "--no-push.enable-utf8-names"],
        &["--persistence.interval=90s"],
        &["--persistence.interval=1h30m"],
        &["--persistence.interval", "1500ms"],
        &["--log.level=DEBUG"],
        &["--web.listen-address=127.0.0.1:0"],
    ] {
        let mut pair = Pair::start(given);
        pair.case(given.join(" "));
        let prefix = match given {
            ["--web.route-prefix=foo/"] => "/foo",
            ["--web.external-url=http://h/pfx/"] => "/pfx",
            _ => "",
        };
        let status = Request::get(format!("{prefix}/api/v1/status"));
        pair.same(&status);
        let (reference, ours) = pair.send(&status);
        let ours = flags(&ours.text());
        for (name, value) in flags(&reference.text()) {
            if name == "web.local-assets" {
                // Debian's own, for the files that it keeps elsewhere.
                continue;
            }
            let found = ours.iter().find(|(found, _)| *found == name).map(|(_, value)| value);
            if found != Some(&value) {
                pair.differ(&status, &format!("flag {name}: reference {value}, ours {found:?}"));
            }
        }
        pair.finish();
    }
}
