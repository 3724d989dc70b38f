//! Pushes of the benches.

use std::fmt::Write as _;

use tidegate::exposition::text::parse;
use tidegate::model::{GroupingKey, MetricFamily, NameRules};

use crate::body::body;
use crate::running::{Push, Result};

/// A push of a kind.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) families: Vec<MetricFamily>,
    pub(crate) series: usize,
}

/// A push of a cron job, and one of a batch of a service's own metrics.
pub(crate) fn samples() -> Result<[Sample; 2]> {
    let small = Sample::new("ten series", body(1, 1))?;
    let large = Sample::new("a thousand series", large())?;
    assert_eq!((small.series, large.series), (10, 1000));
    assert!(
        large.families.iter().all(|family| family.help.is_some() && family.metrics.len() == 100)
    );
    Ok([small, large])
}

impl Sample {
    fn new(name: &'static str, body: String) -> Result<Self> {
        let families = parse(body.as_bytes(), NameRules::Legacy)?;
        let series = families.iter().map(|family| family.metrics.len()).sum();
        Ok(Self { name, body, families, series })
    }
}

/// The key of a group.
pub(crate) fn key(group: usize) -> GroupingKey {
    Push::new(group, 0).key
}

/// Nine families of counters and one of histograms, with labels.
fn large() -> String {
    let mut body = String::new();
    for family in 0..9 {
        let name = format!("http_requests_{family}_total");
        header(&mut body, &name, "counter");
        for series in 0..100 {
            line(&mut body, &name, series, None, family * 1000 + series);
        }
    }
    let name = "http_request_duration_seconds";
    header(&mut body, name, "histogram");
    for series in 0..100 {
        for bound in ["0.01", "0.05", "0.1", "0.5", "1", "+Inf"] {
            line(&mut body, &format!("{name}_bucket"), series, Some(bound), series + bound.len());
        }
        line(&mut body, &format!("{name}_sum"), series, None, series * 3);
        line(&mut body, &format!("{name}_count"), series, None, series + "+Inf".len());
    }
    body
}

fn header(body: &mut String, name: &str, kind: &str) {
    writeln!(body, "# HELP {name} How often, or how long, something took.\n# TYPE {name} {kind}")
        .expect("text takes what is written to it");
}

fn line(body: &mut String, name: &str, series: usize, bound: Option<&str>, value: usize) {
    let bound = bound.map_or(String::new(), |bound| format!(",le=\"{bound}\""));
    let code = 200 + series % 7;
    writeln!(body, "{name}{{code=\"{code}\",path=\"/api/v1/things/{series}\"{bound}}} {value}")
        .expect("text takes what is written to it");
}
