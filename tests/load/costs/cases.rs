//! The requests, and the groups stored before them, for each endpoint and dimension.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Mutex;

use crate::costs::Dimension;
use crate::costs::bodies::{buckets, gzip, labels, lines, protobuf, series};
use crate::costs::counter::Counter;

/// A request, and what is there before.
pub(crate) struct Case {
    /// The size; it is counted at this and at twice as much.
    pub(crate) n: usize,
    pub(crate) stage: Stage,
    pub(crate) work: Box<Step>,
}

/// The groups stored before.
pub(crate) enum Stage {
    /// The groups that this stores, in an empty gateway.
    Own(Box<Step>),
    /// Some groups, which the request leaves as they are.
    Among,
    /// As many groups as the size says, and the one that is pushed to; they stay as they are.
    Growing,
}

/// Does something of this size.
pub(crate) type Step = dyn Fn(&Counter, usize);

/// The group that is pushed to.
pub(crate) const GROUP: &str = "/metrics/job/NAME";
const PROTOBUF: &str = "application/vnd.google.protobuf; \
                        proto=io.prometheus.client.MetricFamily; encoding=delimited";
/// A cheap request is sent more than once.
const TIMES: usize = 5;

#[expect(clippy::unnecessary_wraps, reason = "where there is none, there is no case")]
fn case_of(
    n: usize,
    prepare: impl Fn(&Counter, usize) + 'static,
    work: impl Fn(&Counter, usize) + 'static,
) -> Option<Case> {
    Some(Case { n, stage: Stage::Own(Box::new(prepare)), work: Box::new(work) })
}

fn nothing(_: &Counter, _: usize) {}

/// Stores groups of one series.
pub(crate) fn groups(counter: &Counter, numbers: Range<usize>) {
    for at in numbers {
        counter.send("PUT", &format!("/metrics/job/legit/i/{at}"), b"other 1\n");
    }
}

/// The same, deleted.
pub(crate) fn removed(counter: &Counter, n: usize) {
    groups(counter, 0..n);
    counter.send("DELETE", "/api/v2/groups?match[]=%7Bjob=%22legit%22%7D", b"");
}

fn push(
    method: &'static str,
    body: impl Fn(usize) -> Vec<u8> + 'static,
) -> impl Fn(&Counter, usize) {
    move |counter: &Counter, n: usize| drop(counter.send(method, GROUP, &body(n)))
}

/// The case of a row.
pub(crate) fn case(method: &str, path: &str, dimension: Dimension) -> Option<Case> {
    let method = ["GET", "PUT", "POST", "DELETE"].into_iter().find(|known| *known == method)?;
    if path == GROUP && method != "DELETE" {
        return pushed(method, dimension);
    }
    let path = path.to_owned();
    match dimension {
        Dimension::Beside => {
            let work = move |counter: &Counter, _: usize| {
                for _ in 0..TIMES {
                    if method == "DELETE" || matches!(&*path, "/api/v2/groups/families" | "/group")
                    {
                        counter.send("PUT", GROUP, b"m 1\n");
                    }
                    request(counter, method, &path, "");
                }
            };
            Some(Case { n: crate::costs::GROUPS, stage: Stage::Growing, work: Box::new(work) })
        }
        Dimension::Groups if path.ends_with("/expired") || path.ends_with("/restore") => {
            case_of(200, removed, move |counter, _| request(counter, method, &path, "limit=10000"))
        }
        // The requests that change them.
        Dimension::Groups if matches!(method, "DELETE" | "PUT") || path.ends_with("/touch") => {
            let prepare = |counter: &Counter, n: usize| groups(counter, 0..n);
            case_of(200, prepare, move |counter, _| request(counter, method, &path, ""))
        }
        Dimension::Groups => {
            let work =
                move |counter: &Counter, _: usize| request(counter, method, &path, "limit=10000");
            Some(Case { n: crate::costs::GROUPS, stage: Stage::Growing, work: Box::new(work) })
        }
        Dimension::OwnSeries => {
            let prepare =
                |counter: &Counter, n: usize| drop(counter.send("PUT", GROUP, &series(n)));
            case_of(5000, prepare, move |counter, _| request(counter, method, &path, ""))
        }
        Dimension::Matchers => {
            let query =
                |n: usize| format!("match[]=%7B{}%7D", vec!["job=%22legit%22"; n].join(","));
            selected(method, path, 32, query)
        }
        Dimension::Regexes => {
            let query =
                |n: usize| format!("match[]=%7B{}%7D", vec!["job=~%22l.%2bt%22"; n].join(","));
            selected(method, path, 8, query)
        }
        Dimension::Names => {
            let query = |n: usize| {
                let names: Vec<_> = (0..n).map(|at| format!("group=job/x{at}")).collect();
                names.join("&")
            };
            selected(method, path, 1000, query)
        }
        Dimension::Words => {
            let query = |n: usize| format!("search={}", vec!["legit"; n].join("%20"));
            selected(method, path, 16, query)
        }
        Dimension::Metrics => {
            let prepare = |counter: &Counter, _: usize| {
                for at in 0..100 {
                    let path = format!("/metrics/job/legit/i/{at}");
                    counter.send("PUT", &path, b"# TYPE h histogram\nh_sum 1\nh_count 0\n");
                }
            };
            // Each is found in all of them.
            let names = ["metric=h", "metric=h_sum", "metric=h_count", "metric=h_bucket"];
            case_of(2, prepare, move |counter, n| {
                let dry = if method == "DELETE" { "&dry_run=true" } else { "" };
                let query = names.get(..n).unwrap_or(&names).join("&");
                request(counter, method, &path, &format!("{query}{dry}"));
            })
        }
        Dimension::BesideMetric => {
            let work = move |counter: &Counter, _: usize| {
                for _ in 0..10 * TIMES {
                    request(counter, method, &path, "metric=m");
                }
            };
            Some(Case { n: crate::costs::GROUPS, stage: Stage::Growing, work: Box::new(work) })
        }
        Dimension::Rules => {
            let work = move |counter: &Counter, n: usize| {
                let rule = "[[ttl.rules]]\nmatch = '{job=\"x\"}'\nttl = \"1h\"\n";
                let table = rule.repeat(n);
                let body = match &*path {
                    "/expiry" => format!("table={}", encoded(&table)),
                    _ => table,
                };
                counter.send(method, &path, body.as_bytes());
            };
            Some(Case { n: 100, stage: Stage::Among, work: Box::new(work) })
        }
        _ => None,
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat()
}

/// A request that selects among some groups.
#[expect(clippy::unnecessary_wraps, reason = "where there is none, there is no case")]
fn selected(
    method: &'static str,
    path: String,
    n: usize,
    query: impl Fn(usize) -> String + 'static,
) -> Option<Case> {
    let work = move |counter: &Counter, n: usize| {
        if path == "/api/v2/expired/restore" {
            // A restore works only once, so this one finds nothing: no group matches the last word.
            let answer =
                counter.client().send(method, &format!("{path}?{}%20no", query(n - 1)), &[], b"");
            assert_eq!(answer.status, 404, "{}", answer.text());
            return;
        }
        let dry = if method == "DELETE" { "&dry_run=true" } else { "" };
        request(counter, method, &path, &format!("{}{dry}", query(n)));
    };
    Some(Case { n, stage: Stage::Among, work: Box::new(work) })
}

/// A request of the endpoint as it is asked for, with what the path needs beside the query.
fn request(counter: &Counter, method: &str, path: &str, query: &str) {
    let (path, own): (&str, &str) = match (method, path) {
        ("GET", "/api/v2/events") => return follow(counter, query),
        ("DELETE", "/api/v2/groups") | (_, "/api/v2/groups/touch" | "/api/v2/expired/restore") => {
            (path, "search=e")
        }
        (_, "/api/v2/groups/ttl") => (path, "search=e&ttl=1h"),
        (_, "/api/v2/groups/families" | "/group") => (path, "job=NAME"),
        ("POST", "/api/v2/ttl/preview") => {
            counter.send(method, path, b"[ttl]\ndefault = \"1h\"\n");
            return;
        }
        ("POST", "/expiry") => {
            counter.send(method, path, b"table=%5bttl%5d%0adefault%20%3d%20%221h%22");
            return;
        }
        _ => (path, ""),
    };
    let lists = matches!(path, "/api/v2/groups" | "/api/v2/ttl/preview" | "/api/v2/expired");
    let query =
        if query.starts_with("limit") && (!lists || method == "DELETE") { "" } else { query };
    let own =
        if query.starts_with("search") { own.replace("search=e", "") } else { own.to_owned() };
    let parts = [query, own.trim_matches('&')];
    let query = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
    counter.send(method, &format!("{path}?{query}"), b"");
}

/// Begins to follow events, and has seen so.
fn follow(counter: &Counter, query: &str) {
    drop(follower(counter, query));
}

fn follower(counter: &Counter, query: &str) -> TcpStream {
    let mut stream = counter.connect();
    let head = format!("GET /api/v2/events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(": tidegate") {
        let mut some = [0; 1024];
        let len = stream.read(&mut some).unwrap();
        assert!(len > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&some[..len]);
    }
    stream
}

/// A push.
fn pushed(method: &'static str, dimension: Dimension) -> Option<Case> {
    let of = |n, body: fn(usize) -> Vec<u8>| case_of(n, nothing, push(method, body));
    match dimension {
        Dimension::Series => of(5000, series),
        Dimension::ProtobufSeries => case_of(5000, nothing, move |counter, n| {
            let headers = [("Content-Type", PROTOBUF)];
            let answer = counter.client().send(method, GROUP, &headers, &protobuf(n));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }),
        Dimension::CompressedSeries => case_of(5000, nothing, move |counter, n| {
            let headers = [("Content-Encoding", "gzip")];
            let answer = counter.client().send(method, GROUP, &headers, &gzip(&series(n)));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }),
        Dimension::SeriesAmongNeighbours => {
            case_of(5000, |counter, _| groups(counter, 0..130), push(method, series))
        }
        Dimension::SeriesLikeGroups => {
            let body = |n| lines(n, |at| format!("m{{job=\"legit\",i=\"{at}\"}} 1"));
            let prepare = |counter: &Counter, n: usize| {
                for at in 0..n {
                    let path = format!("/metrics/job/NAME/i/{at}");
                    counter.send("PUT", &path, b"other 1\n");
                }
            };
            case_of(500, prepare, push(method, body))
        }
        Dimension::OtherSeries => {
            let prepare = |counter: &Counter, n: usize| {
                let before = lines(n, |at| format!("m{{i=\"{at}\",zone=\"b\"}} 1"));
                counter.send("PUT", GROUP, &before);
            };
            case_of(5000, prepare, push(method, series))
        }
        Dimension::Families => of(5000, |n| lines(n, |at| format!("family_{at} {at}"))),
        Dimension::OtherFamilies => {
            let prepare = |counter: &Counter, n: usize| {
                // Numbers of families are used again, the latest first.
                counter.send("PUT", GROUP, &lines(n, |at| format!("before_{at} {at}")));
                counter.send("PUT", GROUP, b"m 1\n");
                counter.send("PUT", GROUP, &lines(n, |at| format!("then_{at} {at}")));
            };
            case_of(5000, prepare, push(method, |n| lines(n, |at| format!("family_{at} {at}"))))
        }
        Dimension::FamiliesLikeParts => {
            let prepare = |counter: &Counter, n: usize| {
                counter.send("PUT", GROUP, &lines(n, |at| format!("f{at} {at}")));
            };
            case_of(5000, prepare, push(method, |n| lines(n, |at| format!("f{at}_count {at}"))))
        }
        Dimension::Labels => of(2000, labels),
        Dimension::LabelBytes => {
            of(2_500_000, |n| [b"m{a=\"", "x".repeat(n).as_bytes(), b"\"} 1\n"].concat())
        }
        Dimension::Buckets => of(5000, buckets),
        Dimension::Comments => of(50_000, |n| lines(n, |at| format!("# {at}"))),
        Dimension::RefusedSeries => case_of(5000, nothing, move |counter, n| {
            let body = [series(n), b"m{i=\"0\",zone=\"a\"} 1\n".to_vec()].concat();
            let answer = counter.client().send(method, GROUP, &[], &body);
            assert_eq!(answer.status, 400, "{}", answer.text());
        }),
        Dimension::Followers => {
            let followers: Mutex<Vec<TcpStream>> = Mutex::default();
            let prepare = move |counter: &Counter, n: usize| {
                let mut followers = followers.lock().unwrap();
                followers.clear();
                followers.extend((0..n).map(|_| follower(counter, "")));
            };
            case_of(100, prepare, move |counter, _| {
                for at in 0..10 {
                    counter.send(method, GROUP, format!("m {at}\n").as_bytes());
                }
            })
        }
        Dimension::Beside => {
            let work = move |counter: &Counter, _: usize| {
                for at in 0..TIMES {
                    let body = format!("m {at}\nn{{a=\"b\"}} 1\n");
                    counter.send(method, GROUP, body.as_bytes());
                }
            };
            Some(Case { n: crate::costs::GROUPS, stage: Stage::Growing, work: Box::new(work) })
        }
        _ => None,
    }
}
