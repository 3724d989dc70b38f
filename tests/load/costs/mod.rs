//! Costs, counted and not timed: the instructions that the real binary carries out for a request, as
//! callgrind counts them. Anything that a client chooses may cost in proportion and no more: at twice
//! as much, at most 2.2 times. Groups stored beside it do not count.
//!
//! The rows are every endpoint that the gateway says it has, each with the dimensions of what it is
//! sent or of what it shows ([`dimensions`]). A row without a case fails.

mod bodies;
mod cases;
mod counter;

use cases::{Case, Stage, case};
use counter::Counter;

/// Twice as much may cost so many times as much.
const LINEAR: f64 = 2.2;
/// Groups that do not count may be noticed so much: hash tables are larger, trees deeper.
const BESIDE: f64 = 1.25;
/// Instructions that are there whatever is asked: timers, samples, other requests of the harness.
const NOISE: u64 = 1_000_000;

/// A dimension that a client chooses, or of the stored groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Series of one pushed family, as text, in protobuf, and compressed.
    Series,
    ProtobufSeries,
    CompressedSeries,
    /// The same among many small groups, of which none has any of them.
    SeriesAmongNeighbours,
    /// Series that could each be another group's.
    SeriesLikeGroups,
    /// Series that differ from what the group has.
    OtherSeries,
    /// Families of one push; in place of others; beside others whose parts they could be.
    Families,
    OtherFamilies,
    FamiliesLikeParts,
    /// Labels of one series, and bytes of one label.
    Labels,
    LabelBytes,
    /// Buckets of one histogram.
    Buckets,
    /// Lines that are no samples.
    Comments,
    /// A push that is refused for the last of its series.
    RefusedSeries,
    /// Matchers of a selector, regular expressions, groups by name, words that are searched for, and
    /// metrics that some groups have.
    Matchers,
    Regexes,
    Names,
    Words,
    Metrics,
    /// Rules of a proposed table.
    Rules,
    /// Clients that follow events.
    Followers,
    /// Groups that the answer or the work is about.
    Groups,
    /// Series of the group that it is about.
    OwnSeries,
    /// Groups that are stored beside it, and beside those that have a metric.
    Beside,
    BesideMetric,
}

/// The dimensions that each endpoint has.
fn dimensions(method: &str, path: &str) -> Vec<Dimension> {
    use Dimension::*;
    let selects = [Matchers, Regexes, Names, Words, Metrics];
    match (method, path) {
        // The push is judged against the rest of the group; all else is as with PUT.
        ("POST", "/metrics/job/NAME") => {
            vec![Series, OtherSeries, Families, OtherFamilies, FamiliesLikeParts, Beside]
        }
        ("PUT", "/metrics/job/NAME") => vec![
            Series,
            ProtobufSeries,
            CompressedSeries,
            SeriesAmongNeighbours,
            SeriesLikeGroups,
            OtherSeries,
            Families,
            OtherFamilies,
            FamiliesLikeParts,
            Labels,
            LabelBytes,
            Buckets,
            Comments,
            RefusedSeries,
            Followers,
            Beside,
        ],
        ("DELETE", "/metrics/job/NAME") | ("GET", "/api/v2/groups/families" | "/group") => {
            vec![OwnSeries, Beside]
        }
        ("GET", "/metrics" | "/api/v1/metrics") => vec![Groups, OwnSeries],
        ("POST", "/expiry" | "/api/v2/ttl/preview") => vec![Rules, Groups],
        ("GET", "/api/v2/groups") => [&selects[..], &[Groups, BesideMetric]].concat(),
        ("GET", "/api/v2/ttl/preview" | "/" | "/status" | "/expiry")
        | ("DELETE", "/api/v2/groups")
        | ("POST", "/api/v2/groups/touch")
        | ("PUT", "/api/v2/groups/ttl") => [&selects[..], &[Groups]].concat(),
        ("GET", "/api/v2/expired" | "/expired") => vec![Groups, Words, Beside],
        ("POST", "/api/v2/expired/restore") => vec![Groups, Words],
        ("GET", "/api/v2/events" | "/live") => vec![Words, Beside],
        ("PUT", "/api/v1/admin/wipe") => vec![Groups],
        // Answers about the gateway as a whole.
        _ => vec![Beside],
    }
}

/// Every endpoint with each of its methods, but for those that every one has.
fn endpoints() -> Vec<(String, String)> {
    let mut endpoints = Vec::new();
    for (path, methods) in tidegate::http::endpoints() {
        for method in methods.split(", ").filter(|method| !matches!(*method, "HEAD" | "OPTIONS")) {
            endpoints.push((method.to_owned(), path.clone()));
        }
    }
    endpoints
}

/// A row: an endpoint and a dimension.
struct Row {
    name: String,
    dimension: Dimension,
    case: Case,
}

/// All rows, each with its case.
fn rows() -> Vec<Row> {
    let mut missing = Vec::new();
    let mut rows = Vec::new();
    for (method, path) in endpoints() {
        // These end the process, wait for somebody else, or read all that is stored by definition; and these
        // are there on replicas only.
        let is_of_replicas = path == "/-/replica" || path.starts_with("/api/v2/cluster");
        if is_of_replicas || matches!(&*path, "/-/quit" | "/-/reload" | "/api/v2/backup") {
            continue;
        }
        for dimension in dimensions(&method, &path) {
            let name = format!("{method:6} {path:24} {dimension:?}");
            match case(&method, &path, dimension) {
                Some(case) => rows.push(Row { name, dimension, case }),
                None => missing.push(name),
            }
        }
    }
    assert!(missing.is_empty(), "endpoints without a case: {missing:#?}");
    rows
}

/// Each part has a gateway of its own, so that they can be counted beside each other.
#[test]
fn every_request_costs_what_it_brings() {
    let _alone = crate::alone();
    let parts: [fn(&mut Counter, &mut Report); 3] = [
        |counter, report| own(counter, report, 0),
        |counter, report| own(counter, report, 1),
        |counter, report| {
            among(counter, report);
            growing(counter, report);
        },
    ];
    let report = std::thread::scope(|scope| {
        let counting = parts.map(|part| {
            scope.spawn(move || {
                let (mut counter, mut report) = (Counter::start(), Report::default());
                part(&mut counter, &mut report);
                counter.stop();
                report
            })
        });
        counting
            .into_iter()
            .fold(Report::default(), |report, part| report.and(part.join().unwrap()))
    });
    report.finish();
}

/// Every other row for which what is stored is made anew.
fn own(counter: &mut Counter, report: &mut Report, from: usize) {
    let own = rows().into_iter().filter(|row| matches!(row.case.stage, Stage::Own(_)));
    for row in own.skip(from).step_by(2) {
        let Stage::Own(prepare) = &row.case.stage else { unreachable!("the others are left out") };
        let [once, twice] = [row.case.n, 2 * row.case.n].map(|n| {
            counter.wipe();
            prepare(counter, n);
            counter.count(|counter| (row.case.work)(counter, n))
        });
        report.add(&row, once, twice);
    }
}

/// The rows that are counted among groups that stay.
fn among(counter: &mut Counter, report: &mut Report) {
    counter.wipe();
    cases::removed(counter, 100);
    cases::groups(counter, 100..200);
    for row in rows().into_iter().filter(|row| matches!(row.case.stage, Stage::Among)) {
        let [once, twice] = [row.case.n, 2 * row.case.n]
            .map(|n| counter.count(|counter| (row.case.work)(counter, n)));
        report.add(&row, once, twice);
    }
}

/// The rows for which the groups that are stored become twice as many.
fn growing(counter: &mut Counter, report: &mut Report) {
    let growing: Vec<_> =
        rows().into_iter().filter(|row| matches!(row.case.stage, Stage::Growing)).collect();
    counter.wipe();
    counter.send("PUT", cases::GROUP, b"m 1\n");
    let mut stored = 0;
    let [once, twice] = [GROUPS, 2 * GROUPS].map(|n| {
        cases::groups(counter, stored..n);
        stored = n;
        let cost = |row: &Row| counter.count(|counter| (row.case.work)(counter, n));
        growing.iter().map(cost).collect::<Vec<_>>()
    });
    for (row, (once, twice)) in growing.iter().zip(once.into_iter().zip(twice)) {
        report.add(row, once, twice);
    }
}

/// Groups that are stored where it is looked at what they add.
const GROUPS: usize = 1000;

/// The counts.
#[derive(Default)]
struct Report {
    rows: Vec<String>,
    too_much: Vec<String>,
}

impl Report {
    fn add(&mut self, Row { name, dimension, case }: &Row, once: u64, twice: u64) {
        let is_beside = matches!(dimension, Dimension::Beside | Dimension::BesideMetric);
        let most = if is_beside { BESIDE } else { LINEAR };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "they are compared roughly"
        )]
        let bound = (once as f64 * most) as u64 + NOISE;
        let row = format!("{name}, {}: {once} instructions, {twice} at twice as much", case.n);
        print(&row);
        if twice > bound {
            self.too_much.push(row.clone());
        }
        self.rows.push(row);
    }

    fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.too_much.extend(other.too_much);
        self
    }

    fn finish(self) {
        let Self { rows, too_much } = self;
        assert!(
            too_much.is_empty(),
            "{} of {} rows cost too much:\n{}",
            too_much.len(),
            rows.len(),
            too_much.join("\n")
        );
    }
}

#[expect(clippy::print_stdout, reason = "the figures are for whoever runs it with --nocapture")]
fn print(row: &str) {
    println!("{row}");
}
