//! TTLs: how they are written, and which one a group gets.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::grouping_key::GroupingKey;
use super::selector::Selector;
use crate::time::UnixMillis;

/// How long a group lives after its last successful push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    After(Duration),
    Never,
}

/// Where a group's TTL came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TtlSource {
    /// The push said it.
    Push,
    /// A rule matched the grouping labels.
    Rule,
    /// Neither.
    Default,
}

/// The TTL of groups that match a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct TtlRule {
    pub selector: Selector,
    pub ttl: Ttl,
}

/// The TTL of every group whose pushes do not set one.
#[derive(Clone, Debug, PartialEq)]
pub struct TtlPolicy {
    /// In order: the first that matches counts.
    pub rules: Vec<TtlRule>,
    /// Where no rule matches.
    pub default: Ttl,
}

/// Why a text is not a TTL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a TTL ({reason}): expected a duration such as 90s, 1h30m or 7d, or never")]
pub struct TtlError {
    text: String,
    reason: String,
}

// === impl Ttl ===

impl Ttl {
    /// Parses a duration in the form of humantime (`1h 30m`, `7d`) or Go (`1h30m`, `1.5h`), or
    /// `never`.
    pub fn parse(text: &str) -> Result<Self, TtlError> {
        match text.trim() {
            "never" => Ok(Self::Never),
            "0" => Ok(Self::After(Duration::ZERO)),
            duration => humantime::parse_duration(duration).map(Self::After).map_err(|error| {
                TtlError { text: text.chars().take(64).collect(), reason: error.to_string() }
            }),
        }
    }

    /// When a group with this TTL expires that was last pushed at `renewed`.
    /// [`UnixMillis::MAX`] is never.
    pub fn deadline(self, renewed: UnixMillis) -> UnixMillis {
        match self {
            Self::After(duration) => renewed.saturating_add(duration),
            Self::Never => UnixMillis::MAX,
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => humantime::format_duration(*duration).fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

impl TtlSource {
    /// As the self metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Rule => "rule",
            Self::Default => "default",
        }
    }
}

impl TtlPolicy {
    /// The TTL of a group whose last push set none.
    pub fn ttl_of(&self, key: &GroupingKey) -> (Ttl, TtlSource) {
        match self.rules.iter().find(|rule| rule.selector.matches(key)) {
            Some(rule) => (rule.ttl, TtlSource::Rule),
            None => (self.default, TtlSource::Default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    #[test]
    fn durations_of_humantime_and_of_go_are_understood() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("1h 30m", 5400.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            ("7d", 604_800.0),
            ("1w", 604_800.0),
            ("250ms", 0.25),
            ("0s", 0.0),
            ("0", 0.0),
            (" 2h ", 7200.0),
        ] {
            assert_eq!(
                Ttl::parse(text),
                Ok(Ttl::After(Duration::from_secs_f64(seconds))),
                "{text}"
            );
        }
        assert_eq!(Ttl::parse("never"), Ok(Ttl::Never));
    }

    #[test]
    fn what_is_no_ttl_is_named() {
        for text in ["", "5", "-1h", "soon", "1 fortnight", "99999999999999999999s", "1h-"] {
            let error = Ttl::parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn a_ttl_is_written_as_it_is_read() {
        for text in ["7d", "1h 30m", "never", "0s"] {
            assert_eq!(Ttl::parse(&Ttl::parse(text).unwrap().to_string()), Ttl::parse(text));
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rule = |selector: &str, ttl: &str| TtlRule {
            selector: Selector::parse(selector).unwrap(),
            ttl: Ttl::parse(ttl).unwrap(),
        };
        let policy = TtlPolicy {
            rules: vec![rule(r#"{job=~"b.*"}"#, "1h"), rule(r#"{job="backup"}"#, "never")],
            default: Ttl::Never,
        };
        let ttl =
            |job: &str| policy.ttl_of(&GroupingKey::new(vec![Label::new("job", job)]).unwrap());
        assert_eq!(ttl("backup"), (Ttl::After(Duration::from_secs(3600)), TtlSource::Rule));
        assert_eq!(ttl("other"), (Ttl::Never, TtlSource::Default));
    }

    #[test]
    fn a_deadline_beyond_the_end_of_time_is_never() {
        let far = Ttl::After(Duration::MAX);
        assert_eq!(far.deadline(UnixMillis(1)), UnixMillis::MAX);
        assert_eq!(Ttl::Never.deadline(UnixMillis(1)), UnixMillis::MAX);
        assert_eq!(Ttl::After(Duration::ZERO).deadline(UnixMillis(7)), UnixMillis(7));
    }
}
