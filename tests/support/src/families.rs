//! Expositions in a form in which two programs can be compared: without the families about
//! the program itself, with the series of a family in order, and with times as zero or not.

use crate::protobuf::{self, MetricFamily};

/// Families that are about the program, and so differ from program to program.
const OWN: [&str; 4] = ["go_", "process_", "pushgateway_", "tidegate_"];

/// The two families whose values are times.
pub const TIMES: [&str; 2] = ["push_time_seconds", "push_failure_time_seconds"];

fn is_own(name: &str) -> bool {
    OWN.iter().any(|prefix| name.starts_with(prefix))
}

/// The lines of a text exposition.
pub fn text(text: &str) -> Vec<String> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        let comment = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        if let Some(comment) = comment {
            let name = name_in(comment);
            let goes_on = families.last().is_some_and(|last| last.is_new() && last.name == name);
            if !goes_on {
                families.push(Family { name, ..Family::default() });
            }
            families.last_mut().unwrap().comments.push(line.to_owned());
        } else if let Some(family) = families.last_mut() {
            family.add(line);
        } else {
            families.push(Family { comments: vec![line.to_owned()], ..Family::default() });
        }
    }
    families.into_iter().filter(|family| !is_own(&family.name)).flat_map(Family::lines).collect()
}

/// The name at the start of a comment, quoted or not, without the quotes.
fn name_in(comment: &str) -> String {
    let Some(quoted) = comment.strip_prefix('"') else {
        return comment.split(' ').next().unwrap().to_owned();
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    quoted[..end.expect("a closing quote")].to_owned()
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    comments: Vec<String>,
    /// Each with the lines of one series.
    series: Vec<Vec<String>>,
    /// The last of `series` misses lines.
    is_open: bool,
}

impl Family {
    fn is_new(&self) -> bool {
        matches!(self.comments.as_slice(), [help] if help.starts_with("# HELP "))
            && self.series.is_empty()
    }

    fn add(&mut self, line: &str) {
        let mut line = line.to_owned();
        if TIMES.contains(&self.name.as_str()) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            line = format!("{series} {}", if value == "0" { "0" } else { "NONZERO" });
        }
        // The lines of a histogram or summary stay together and in their order; the count is last.
        let has_parts = self.comments.iter().any(|comment| {
            comment.starts_with("# TYPE ")
                && (comment.ends_with(" histogram") || comment.ends_with(" summary"))
        });
        let count = format!("{}_count", self.name);
        let is_last = line.trim_start_matches(['{', '"']).starts_with(&count);
        if self.is_open {
            self.series.last_mut().unwrap().push(line);
        } else {
            self.series.push(vec![line]);
        }
        self.is_open = has_parts && !is_last;
    }

    fn lines(mut self) -> Vec<String> {
        self.series.sort();
        self.comments.into_iter().chain(self.series.into_iter().flatten()).collect()
    }
}

/// The families of a delimited protobuf exposition, one a line.
pub fn delimited(bytes: &[u8]) -> Vec<String> {
    let mut families: Vec<MetricFamily> = protobuf::families(bytes);
    families.retain(|family| !is_own(family.name()));
    let shown = families.into_iter().map(|mut family| {
        family.fill();
        // Prometheus takes classic gauge histograms for nothing, and so this gateway calls them
        // histograms.
        let is_classic = |metric: &protobuf::Metric| {
            metric.histogram.as_ref().is_some_and(|histogram| histogram.schema.is_none())
        };
        if family.r#type() == protobuf::MetricType::GaugeHistogram
            && family.metric.iter().all(is_classic)
        {
            family.set_type(protobuf::MetricType::Histogram);
        }
        // Prometheus 2.42 takes a histogram without counts for a classic one unless this is above zero.
        let histograms = family.metric.iter_mut().filter_map(|metric| metric.histogram.as_mut());
        for threshold in histograms.filter_map(|histogram| histogram.zero_threshold.as_mut()) {
            if *threshold == f64::from_bits(1) {
                *threshold = 0.0;
            }
        }
        let is_time = TIMES.contains(&family.name());
        for gauge in family.metric.iter_mut().filter_map(|metric| metric.gauge.as_mut()) {
            if is_time && gauge.value != Some(0.0) {
                gauge.value = Some(1.0);
            }
        }
        let metrics = std::mem::take(&mut family.metric);
        let mut metrics: Vec<_> = metrics.iter().map(|metric| format!("{metric:?}")).collect();
        metrics.sort();
        std::iter::once(format!("{family:?}")).chain(metrics)
    });
    shown.flatten().collect()
}

/// The families of an exposition in one of protobuf's text forms, without the whitespace that Go
/// varies on purpose.
pub fn prototext(text: &str) -> Vec<String> {
    let mut families: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("name:") {
            families.push(String::new());
        }
        let Some(family) = families.last_mut() else { continue };
        let (mut in_quotes, mut escaped) = (false, false);
        for c in line.chars() {
            if c == '"' && !escaped {
                in_quotes = !in_quotes;
            }
            escaped = c == '\\' && !escaped;
            if in_quotes || !c.is_whitespace() {
                family.push(c);
            }
        }
    }
    families.retain(|family| !is_own(family.trim_start_matches("name:\"")));
    let is_time =
        |family: &String| TIMES.iter().any(|time| family.contains(&format!(":\"{time}\"")));
    for family in &mut families {
        let mut parts: Vec<_> = metrics(family);
        if is_time(family) {
            for part in &mut parts {
                let Some((metric, value)) = part.rsplit_once("gauge:{value:") else { continue };
                let value = if value == "0}}" { value } else { "NONZERO}}" };
                *part = format!("{metric}gauge:{{value:{value}");
            }
        }
        parts[1..].sort();
        *family = parts.concat();
    }
    families
}

/// A family without whitespace, cut where each of its metrics starts.
fn metrics(family: &str) -> Vec<String> {
    let (mut depth, mut in_quotes, mut escaped) = (0, false, false);
    let mut parts = vec![String::new()];
    for (at, c) in family.char_indices() {
        if depth == 0 && !in_quotes && family[at..].starts_with("metric:{") {
            parts.push(String::new());
        }
        if c == '"' && !escaped {
            in_quotes = !in_quotes;
        }
        escaped = c == '\\' && !escaped;
        if !in_quotes {
            depth += i32::from(c == '{') - i32::from(c == '}');
        }
        parts.last_mut().expect("one at least").push(c);
    }
    parts
}

#[test]
fn only_the_order_of_series_and_what_is_about_the_program_is_forgotten() {
    let one = "# HELP go_x x\n# TYPE go_x gauge\ngo_x 1\n\
               # HELP h H\n# TYPE h histogram\nh_bucket{a=\"2\",le=\"+Inf\"} 1\nh_sum{a=\"2\"} 1\n\
               h_count{a=\"2\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 2\nh_sum{a=\"1\"} 2\nh_count{a=\"1\"} 2\n\
               # TYPE push_time_seconds gauge\npush_time_seconds{job=\"a\"} 1.7e+09\n";
    let other = "# HELP h H\n# TYPE h histogram\nh_bucket{a=\"1\",le=\"+Inf\"} 2\nh_sum{a=\"1\"} 2\n\
                 h_count{a=\"1\"} 2\nh_bucket{a=\"2\",le=\"+Inf\"} 1\nh_sum{a=\"2\"} 1\nh_count{a=\"2\"} 1\n\
                 # TYPE push_time_seconds gauge\npush_time_seconds{job=\"a\"} 3\n";
    assert_eq!(text(one), text(other));
    assert_ne!(text(one), text(&other.replace("} 3\n", "} 0\n")));
    assert_ne!(text(one), text(&other.replace("# HELP h H\n", "")));
    assert_ne!(text(one), text(&other.replace("a=\"1\"", "a=\"3\"")));
    assert_ne!(
        text("# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n"),
        text("# TYPE b gauge\nb 1\n# TYPE a gauge\na 1\n")
    );
    assert_eq!(
        prototext(
            "name:\"a b\"  type: GAUGE\nname: \"push_time_seconds\" metric: {gauge: {value: 3}}\n"
        ),
        ["name:\"a b\"type:GAUGE", "name:\"push_time_seconds\"metric:{gauge:{value:NONZERO}}"]
    );
    let one = "name:\"a\" metric:{label:{value:\"}metric:{\"}} metric:{gauge:{value:1}}\n";
    let other = "name:\"a\" metric:{gauge:{value:1}}  metric:{label:{value:\"}metric:{\"}}\n";
    assert_eq!(prototext(one), prototext(other));
}
