//! `PromQL` selectors over grouping labels.

use std::fmt;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::Expr;
use thiserror::Error;

use super::grouping_key::GroupingKey;

/// A `PromQL` vector selector such as `{job=~"backup-.+"}`. A label that a key does not have counts
/// as empty, as in Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    text: String,
    /// Any one of these lists matches, if all matchers in it do.
    alternatives: Vec<Vec<Matcher>>,
}

/// Why a text is not a selector over grouping labels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    #[error("{0}")]
    Syntax(String),
    #[error("expected a selector such as '{{job=\"backup\"}}', not an expression")]
    NotASelector,
    #[error("grouping labels have no metric name to match: write only the labels in braces")]
    MetricName,
    #[error("cannot match: every grouping key has a job that is not empty")]
    EmptyJob,
}

impl Selector {
    /// Parses a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let expr = promql_parser::parser::parse(text).map_err(SelectorError::Syntax)?;
        let Expr::VectorSelector(selector) = expr else {
            return Err(SelectorError::NotASelector);
        };
        if selector.offset.is_some() || selector.at.is_some() {
            return Err(SelectorError::NotASelector);
        }
        let mut alternatives = selector.matchers.or_matchers;
        if alternatives.is_empty() {
            alternatives.push(selector.matchers.matchers);
        }
        let mut all = alternatives.iter().flatten();
        if selector.name.is_some() || all.any(|matcher| matcher.name == "__name__") {
            return Err(SelectorError::MetricName);
        }
        let empty_job = |matcher: &Matcher| {
            matcher.name == "job" && matcher.op == MatchOp::Equal && matcher.value.is_empty()
        };
        if alternatives.iter().all(|matchers| matchers.iter().any(empty_job)) {
            return Err(SelectorError::EmptyJob);
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// Whether it can be told that this selector matches all that the other one does.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .alternatives
            .iter()
            .all(|narrow| self.alternatives.iter().any(|wide| covers(wide, narrow)))
    }

    /// Whether the key's labels match.
    pub fn matches(&self, key: &GroupingKey) -> bool {
        self.alternatives.iter().any(|matchers| {
            matchers.iter().all(|matcher| matcher.is_match(key.get(&matcher.name).unwrap_or("")))
        })
    }
}

/// Whether it can be told that what matches all of `narrow` matches all of `wide`.
fn covers(wide: &[Matcher], narrow: &[Matcher]) -> bool {
    wide.iter().all(|wide| {
        let matches_all = match &wide.op {
            MatchOp::Re(_) => {
                let any = wide.value == ".*" || wide.value == "(.*)";
                // Every key has a job.
                any || (wide.name == "job" && wide.value == ".+")
            }
            MatchOp::NotEqual => wide.name == "job" && wide.value.is_empty(),
            MatchOp::Equal | MatchOp::NotRe(_) => false,
        };
        let implied = |narrow: &Matcher| {
            let one_value = narrow.op == MatchOp::Equal && wide.is_match(&narrow.value);
            narrow.name == wide.name && (narrow == wide || one_value)
        };
        matches_all || narrow.iter().any(implied)
    })
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        Selector::parse(selector).unwrap().matches(&GroupingKey::new(labels).unwrap())
    }

    #[test]
    fn selectors_match_as_in_prometheus() {
        let key = [("job", "backup-db"), ("env", "prod")];
        assert!(matches(r#"{job=~"backup-.+"}"#, &key));
        assert!(!matches(r#"{job=~"backup"}"#, &key), "expressions are anchored");
        assert!(matches(r#"{job="backup-db",env!="test"}"#, &key));
        assert!(matches(r#"{job="backup-db",rack=""}"#, &key), "a missing label is empty");
        assert!(!matches(r#"{job!~"backup.*",env="prod"}"#, &key));
        assert!(matches(r#"{job="x" or env="prod"}"#, &key));
    }

    #[test]
    fn a_selector_covers_what_it_can_be_told_to_match() {
        let covers = |wide: &str, narrow: &str| {
            Selector::parse(wide).unwrap().covers(&Selector::parse(narrow).unwrap())
        };
        for (wide, narrow) in [
            (r#"{job="a"}"#, r#"{job="a"}"#),
            (r#"{job="a"}"#, r#"{env="x", job="a"}"#),
            (r#"{job=~"b.*"}"#, r#"{job="backup"}"#),
            (r#"{job=~"b.*"}"#, r#"{job=~"b.*", env="x"}"#),
            (r#"{job=~".+"}"#, r#"{env="x"}"#),
            (r#"{job=~".+", env!="x"}"#, r#"{env="y"}"#),
            (r#"{job="a" or job="b"}"#, r#"{job="b"}"#),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            (r#"{job="a"}"#, r#"{job="b"}"#),
            (r#"{job="a", env="x"}"#, r#"{job="a"}"#),
            (r#"{job=~"b.*"}"#, r#"{job=~"backup.*"}"#),
            (r#"{env=~".+"}"#, r#"{job="a"}"#),
            (r#"{job="a"}"#, r#"{job="a" or job="b"}"#),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn what_is_no_selector_over_grouping_labels_is_refused() {
        for (text, part) in [
            ("up", "metric name"),
            (r#"{__name__="up"}"#, "metric name"),
            (r#"{job=""}"#, ""),
            (r#"{job="", env="x"}"#, "every grouping key has a job"),
            ("1 + 1", "not an expression"),
            (r#"{job="a"} offset 5m"#, "not an expression"),
            (r#"{job="a"}[5m]"#, "not an expression"),
            (r#"{job=~"("}"#, ""),
            ("{", ""),
            ("", ""),
        ] {
            let error = Selector::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
