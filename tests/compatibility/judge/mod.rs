//! Real scrapers judge what the gateway exposes. A generator makes pushes that are just valid and just
//! invalid; after those that are accepted, Prometheus servers with native histograms and exemplars
//! scrape text, protobuf and OpenMetrics under every escaping scheme: each target is up and no sample
//! is dropped. promtool and the OpenMetrics parser of the Python client judge the text forms.
//!
//! Each case says what has to become of it, so that neither taking everything nor refusing everything
//! passes. `TIDEGATE_JUDGE_SEED=7` makes other cases, `TIDEGATE_JUDGE_ROUNDS=20` makes more, and
//! `TIDEGATE_JUDGE_CASES=exemplar` leaves those of which this is said; `tests/run --test compatibility
//! judge:: -- --nocapture` prints what was found at once.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "whatever a test does not expect fails it, and takes the time that it takes"
)]

mod case;
mod classic;
mod names;
mod native;
mod random;
mod rows;
mod stage;

use std::time::{Duration, Instant};

use tidegate::time::{Clock as _, SystemClock};

use crate::judge::case::{Case, Push, Verdict};
use crate::judge::random::Random;
use crate::judge::stage::{Asked, Complaint, Stage};
use support::{Answer, Gateway, samples};

const SEED_VARIABLE: &str = "TIDEGATE_JUDGE_SEED";
const SEED: u64 = 1;

/// Each kind of case comes so often.
const ROUNDS_VARIABLE: &str = "TIDEGATE_JUDGE_ROUNDS";
const ROUNDS: u64 = 4;

/// Only cases of which this is said.
const CASES_VARIABLE: &str = "TIDEGATE_JUDGE_CASES";

/// So many cases are judged at once.
const BATCH: usize = 150;

/// A batch that a judge complains of is taken apart for no longer than this.
const SEARCH: Duration = Duration::from_secs(60);

const SETTINGS: &str = "[push]\nenable-utf8-names = true\n[web]\nenable-openmetrics = true\n";

#[expect(clippy::disallowed_methods, reason = "these are no settings of the gateway")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn variable(name: &str, otherwise: u64) -> u64 {
    let Some(text) = text(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number"))
}

#[expect(clippy::print_stdout, reason = "for whoever runs it with --nocapture")]
fn say(text: &str) {
    println!("{text}");
}

fn gateway() -> Gateway {
    // Of the present: Prometheus looks at the times of what it scrapes.
    Gateway::start_at(SystemClock::new().wall(), SETTINGS)
}

fn send(gateway: &Gateway, push: &Push) -> Answer {
    let protobuf = [("Content-Type", support::protobuf::CONTENT_TYPE)];
    let headers = if push.protobuf { &protobuf[..] } else { &[] };
    gateway.send("PUT", &push.path, headers, &push.body)
}

/// Pushes a case, and returns the problems with the answer. A push that should not have been accepted is
/// taken away again.
fn verdicts(gateway: &Gateway, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    for push in &case.pushes {
        let answer = send(gateway, push);
        let said = match (&push.verdict, answer.status) {
            (Verdict::Accepted | Verdict::Either, 200)
            | (Verdict::Refused | Verdict::Either | Verdict::Kept(_), 400) => continue,
            (Verdict::Kept(lines), 200) => {
                let text = gateway.get("/metrics").expect(200).text();
                let missing: Vec<_> =
                    lines.iter().filter(|line| !text.lines().any(|found| found == *line)).collect();
                if missing.is_empty() {
                    continue;
                }
                format!("accepted, and not shown as pushed: {missing:?}")
            }
            (Verdict::Refused, 200) => "accepted, and should be refused".to_owned(),
            (_, status) => format!("{status}: {}", answer.text().trim()),
        };
        if answer.status == 200 {
            gateway.delete(&push.path);
        }
        wrong.push(format!("{}: {said}\n    {:.600}", case.what, push.shown()));
    }
    wrong
}

/// The cases of a seed.
fn generated(seed: u64, rounds: u64) -> Vec<Case> {
    let mut random = Random::new(seed);
    let mut cases = Vec::new();
    for round in 0..rounds {
        for kind in 0..native::KINDS {
            cases.push(native::case(kind, &format!("n{round}_{kind}"), &mut random));
        }
        for kind in 0..classic::KINDS {
            cases.push(classic::case(kind, &format!("c{round}_{kind}"), &mut random));
        }
        for kind in 0..names::KINDS {
            cases.push(names::case(kind, &format!("u{round}_{kind}"), &mut random));
        }
    }
    cases
}

/// Finds which cases of a batch make judges complain, each by itself or all of them together.
struct Search<'a> {
    stage: &'a mut Stage,
    began: Instant,
    found: Vec<String>,
}

impl Search<'_> {
    /// Judges these cases alone.
    fn judge(&mut self, cases: &[&Case], asked: Asked) -> Vec<Complaint> {
        // A gateway of their own, so that nothing of others is left.
        let gateway = gateway();
        for case in cases {
            let _ = verdicts(&gateway, case);
        }
        let complaints = self.stage.judge(&gateway, asked);
        gateway.stop();
        complaints
    }

    /// Takes cases apart that a judge complains of.
    fn split(&mut self, cases: &[&Case], complaints: &[Complaint], asked: Asked) {
        if cases.len() == 1 || self.began.elapsed() > SEARCH {
            let what: Vec<_> = cases.iter().map(|case| case.what.as_str()).collect();
            let shown: Vec<_> = cases[0].pushes.iter().map(Push::shown).collect();
            let shown =
                if cases.len() == 1 { shown.join("\n    ") } else { "(one of them)".into() };
            let said: Vec<_> = complaints
                .iter()
                .take(2)
                .map(|complaint| format!("    {}: {:.300}", complaint.judge, complaint.said))
                .collect();
            self.found.push(format!("{}\n    {shown:.600}\n{}", what.join("; "), said.join("\n")));
            return;
        }
        let (one, other) = cases.split_at(cases.len() / 2);
        let mut any = false;
        for half in [one, other] {
            let complaints = self.judge(half, asked);
            if !complaints.is_empty() {
                any = true;
                self.split(half, &complaints, asked);
            }
        }
        if !any {
            let said: Vec<_> = complaints.iter().map(|complaint| &complaint.said).collect();
            self.found.push(format!("only together, {} cases: {said:?}", cases.len()));
        }
    }
}

/// The problems with a batch of cases.
fn judged(stage: &mut Stage, cases: &[Case]) -> Vec<String> {
    let gateway = gateway();
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(verdicts(&gateway, case));
    }
    let complaints = stage.judge(&gateway, Asked::ALL);
    gateway.stop();
    if !complaints.is_empty() {
        for complaint in complaints.iter().take(5) {
            say(&format!("{}: {:.300}", complaint.judge, complaint.said));
        }
        for asked in Asked::each(&complaints) {
            let mut search = Search { stage, began: Instant::now(), found: Vec::new() };
            search.split(&cases.iter().collect::<Vec<_>>(), &complaints, asked);
            wrong.extend(search.found.into_iter().map(|found| format!("a scrape breaks: {found}")));
        }
    }
    wrong
}

#[test]
fn no_push_that_is_accepted_breaks_a_scrape() {
    let (seed, rounds) = (variable(SEED_VARIABLE, SEED), variable(ROUNDS_VARIABLE, ROUNDS));
    let mut cases = rows::all();
    cases.extend(rows::siblings());
    cases.extend(generated(seed, rounds));
    if let Some(said) = text(CASES_VARIABLE) {
        cases.retain(|case| case.what.contains(&said));
    }
    let began = Instant::now();
    let mut stage = Stage::start();
    say(&format!("judges are there after {:?}", began.elapsed()));
    stage.notices();
    let mut wrong = Vec::new();
    for batch in cases.chunks(BATCH) {
        wrong.extend(judged(&mut stage, batch));
        say(&format!("{:?}, {} of {} wrong so far", began.elapsed(), wrong.len(), cases.len()));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases of {SEED_VARIABLE}={seed}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

// === the rows of faults, by themselves ===

/// A gateway that answers the cases as it should.
#[track_caller]
fn answers_rightly(cases: &[Case]) -> Gateway {
    let gateway = gateway();
    let wrong: Vec<_> = cases.iter().flat_map(|case| verdicts(&gateway, case)).collect();
    if !wrong.is_empty() {
        gateway.stop();
        panic!("{}", wrong.join("\n"));
    }
    gateway
}

#[test]
fn s1_native_histograms_that_contradict_themselves_are_refused() {
    answers_rightly(&rows::s1()).stop();
}

#[test]
fn s2_a_bound_in_two_spellings_is_refused() {
    answers_rightly(&rows::s2()).stop();
}

#[test]
fn s3_labels_that_are_one_once_escaped_are_refused() {
    answers_rightly(&rows::s3()).stop();
}

#[test]
fn s4_an_exemplar_whose_label_has_no_name_is_refused() {
    answers_rightly(&rows::s4()).stop();
}

#[test]
fn s5_an_empty_label_is_none() {
    answers_rightly(&rows::s5()).stop();
}

#[test]
fn s6_a_count_that_is_none_is_refused() {
    answers_rightly(&rows::s6()).stop();
}

#[test]
fn s7_buckets_are_shown_rising() {
    let gateway = answers_rightly(&rows::s7());
    let bounds: Vec<_> = samples(&gateway.scrape().pushed())
        .into_iter()
        .filter(|(name, _, _)| name == "s7_bucket")
        .map(|(_, labels, _)| labels["le"].clone())
        .collect();
    gateway.stop();
    assert_eq!(bounds, ["1", "2", "+Inf"]);
}

const OPENMETRICS: [(&str, &str); 1] = [("Accept", "application/openmetrics-text;version=1.0.0")];

#[test]
fn s8_of_two_families_of_one_name_in_openmetrics_one_gives_way() {
    let gateway = answers_rightly(&rows::s8());
    let text = gateway.send("GET", "/metrics", &OPENMETRICS, b"").expect(200).text();
    gateway.stop();
    for name in ["s8", "s8b"] {
        let lines = text.lines().filter(|line| line.starts_with(&format!("# TYPE {name} ")));
        assert_eq!(lines.count(), 1, "{name}");
    }
}

#[test]
fn s9_names_are_escaped_in_every_format() {
    let gateway = answers_rightly(&rows::s9());
    let accept =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=";
    for encoding in ["delimited", "text", "compact-text"] {
        let accept = format!("{accept}{encoding}");
        let answer = gateway.send("GET", "/metrics", &[("Accept", &accept)], b"").expect(200);
        let said = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(said.ends_with("escaping=underscores"), "{said}");
        let text = answer.text();
        assert!(!text.contains("s9.requests") && text.contains("s9_requests"), "{encoding}");
    }
    gateway.stop();
}

#[test]
fn s10_float_counts_are_left_out_of_openmetrics() {
    let gateway = answers_rightly(&rows::s10());
    let text = gateway.send("GET", "/metrics", &OPENMETRICS, b"").expect(200).text();
    gateway.stop();
    let shown: Vec<_> = text.lines().filter(|line| line.starts_with("s10")).collect();
    assert!(!text.contains("s10_count") && text.contains("s10_beside"), "{shown:?}");
}
