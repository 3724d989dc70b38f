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
    /// An operator set it, whatever pushes and settings say.
    Override,
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
    pub ttl: RuleTtl,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTtl {
    Fixed(Ttl),
    Auto(AutoTtl),
}

/// A TTL from the group's own rhythm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoTtl {
    /// The group expires once it has missed so many pushes.
    pub missed: u32,
    pub min: Duration,
    pub max: Duration,
}

/// The TTL of every group whose pushes do not set one, and the bounds of those that do.
#[derive(Clone, Debug, PartialEq)]
pub struct TtlPolicy {
    /// In order: the first that matches counts.
    pub rules: Vec<TtlRule>,
    /// Where no rule matches.
    pub default: Ttl,
    /// Bounds for what a push asks for.
    pub min: Duration,
    pub max: Ttl,
}

/// A TTL that was asked for and is not within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamped {
    pub asked: Ttl,
    /// The setting that has the bound, and the bound.
    pub setting: &'static str,
    pub to: Ttl,
}

/// How often a group is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// Gateway time of the last successful push, once there was one.
    pub last: Option<UnixMillis>,
    /// The smoothed interval between pushes, in milliseconds.
    pub interval_ms: u64,
    /// How many intervals it was smoothed from; counted up to a few.
    pub intervals: u32,
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

impl fmt::Display for RuleTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ttl) => ttl.fmt(f),
            Self::Auto(_) => f.write_str("auto"),
        }
    }
}

impl Default for AutoTtl {
    fn default() -> Self {
        Self { missed: 3, min: Duration::from_mins(10), max: Duration::from_hours(30 * 24) }
    }
}

impl AutoTtl {
    fn ttl(self, interval: Duration) -> Ttl {
        Ttl::After(interval.saturating_mul(self.missed).clamp(self.min, self.max.max(self.min)))
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
            Self::Override => "override",
            Self::Push => "push",
            Self::Rule => "rule",
            Self::Default => "default",
        }
    }
}

impl TtlPolicy {
    /// Bounds that are none.
    pub const UNBOUNDED: (Duration, Ttl) = (Duration::ZERO, Ttl::Never);

    /// One TTL for all groups.
    pub fn new(default: Ttl) -> Self {
        let (min, max) = Self::UNBOUNDED;
        Self { rules: Vec::new(), default, min, max }
    }

    /// The position of the rule for a group.
    pub fn rule_of(&self, key: &GroupingKey) -> Option<usize> {
        self.rules.iter().position(|rule| rule.selector.matches(key))
    }

    /// A rule by its position, with its selector.
    pub fn named_rule(&self, position: usize) -> Option<(usize, String)> {
        self.rules.get(position).map(|rule| (position, rule.selector.to_string()))
    }

    /// Rules that no group can come to, as an earlier one matches all that they do: the positions of
    /// both. Only those of which that can be told.
    pub fn covered_rules(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rules.iter().enumerate().filter_map(|(at, rule)| {
            let earlier = self.rules.iter().take(at);
            let covering = earlier.enumerate().find(|(_, e)| e.selector.covers(&rule.selector));
            covering.map(|(earlier, _)| (at, earlier))
        })
    }

    /// The TTL of a group whose last push set none, where this rule is for it.
    pub fn ttl(&self, rule: Option<usize>, rhythm: &Rhythm) -> (Ttl, TtlSource) {
        let Some(rule) = rule.and_then(|rule| self.rules.get(rule)) else {
            return (self.default, TtlSource::Default);
        };
        let ttl = match (rule.ttl, rhythm.interval()) {
            (RuleTtl::Fixed(ttl), _) => ttl,
            (RuleTtl::Auto(auto), Some(interval)) => auto.ttl(interval),
            (RuleTtl::Auto(_), None) => self.default,
        };
        (ttl, TtlSource::Rule)
    }

    /// What a push gets that asks for a TTL. A TTL of zero is let through: it means to store and
    /// expire at once, which no bound is about.
    pub fn clamp(&self, asked: Ttl) -> Result<Ttl, Clamped> {
        if asked == Ttl::After(Duration::ZERO) {
            return Ok(asked);
        }
        let clamped = |setting, to| Err(Clamped { asked, setting, to });
        match (asked, self.max) {
            (Ttl::After(asked), _) if asked < self.min => clamped("ttl.min", Ttl::After(self.min)),
            (Ttl::After(asked), Ttl::After(max)) if asked > max => clamped("ttl.max", self.max),
            (Ttl::Never, Ttl::After(_)) => clamped("ttl.max", self.max),
            _ => Ok(asked),
        }
    }
}

impl Rhythm {
    /// From so many on the interval counts; fewer may be chance.
    const INTERVALS_MIN: u32 = 2;
    /// Each new interval has this part in the smoothed one.
    const SMOOTHING: u64 = 4;

    /// The interval between pushes, once it is known.
    pub fn interval(&self) -> Option<Duration> {
        (self.intervals >= Self::INTERVALS_MIN).then(|| Duration::from_millis(self.interval_ms))
    }

    /// A push succeeded at `now`.
    ///
    /// One interval counts for at most twice and at least half of the smoothed one, so that a push
    /// that is late or doubled moves it by a quarter at most.
    pub fn pushed(&mut self, now: UnixMillis) {
        if let Some(last) = self.last.replace(now) {
            let found = now.0.saturating_sub(last.0);
            let known = self.interval_ms;
            self.interval_ms = match self.intervals {
                0 => found,
                1 => known.midpoint(found),
                _ => {
                    let found = found.clamp(known / 2, known.saturating_mul(2).max(1));
                    known - known / Self::SMOOTHING + found / Self::SMOOTHING
                }
            };
            self.intervals = (self.intervals + 1).min(Self::INTERVALS_MIN);
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
            ttl: RuleTtl::Fixed(Ttl::parse(ttl).unwrap()),
        };
        let rules = vec![rule(r#"{job=~"b.*"}"#, "1h"), rule(r#"{job="backup"}"#, "never")];
        let policy = TtlPolicy { rules, ..TtlPolicy::new(Ttl::Never) };
        let ttl = |job: &str| {
            let rule = policy.rule_of(&GroupingKey::new(vec![Label::new("job", job)]).unwrap());
            policy.ttl(rule, &Rhythm::default())
        };
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

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_push_asks_for_is_kept_within_the_bounds() {
        let policy = TtlPolicy {
            min: seconds(10),
            max: Ttl::After(seconds(100)),
            ..TtlPolicy::new(Ttl::Never)
        };
        let got = |asked| policy.clamp(asked).map_err(|clamped| (clamped.setting, clamped.to));
        let after = |n| Ttl::After(seconds(n));
        assert_eq!(got(after(50)), Ok(after(50)));
        assert_eq!(got(after(0)), Ok(after(0)));
        assert_eq!(got(after(1)), Err(("ttl.min", after(10))));
        assert_eq!(got(after(101)), Err(("ttl.max", after(100))));
        assert_eq!(got(Ttl::Never), Err(("ttl.max", after(100))));
        assert_eq!(TtlPolicy::new(Ttl::Never).clamp(Ttl::Never), Ok(Ttl::Never));
    }

    fn rhythm(intervals: &[u64]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        let mut now = UnixMillis(1000);
        rhythm.pushed(now);
        for interval in intervals {
            now = now.saturating_add(seconds(*interval));
            rhythm.pushed(now);
        }
        rhythm
    }

    #[test]
    fn the_interval_is_known_from_the_third_push_on() {
        assert_eq!(rhythm(&[60]).interval(), None);
        assert_eq!(rhythm(&[60, 60]).interval(), Some(seconds(60)));
    }

    #[test]
    fn one_late_or_doubled_push_moves_the_interval_little() {
        let steady = [60; 10];
        for odd in [0, 1, 600, 86_400] {
            let interval = rhythm(&[&steady[..], &[odd]].concat()).interval().unwrap();
            assert!(interval >= seconds(45) && interval <= seconds(75), "{odd}: {interval:?}");
        }
    }

    #[test]
    fn a_rhythm_that_changes_is_followed() {
        for (from, to) in [(60, 120), (120, 60), (60, 3600)] {
            let changed = [[from; 10], [to; 10], [to; 10], [to; 10]].concat();
            let interval = rhythm(&changed).interval().unwrap().as_secs();
            assert!(interval.abs_diff(to) <= to / 10, "{from} to {to}: {interval}");
        }
    }

    #[test]
    fn an_auto_ttl_is_a_number_of_missed_pushes_within_its_bounds() {
        let auto = AutoTtl { missed: 3, min: seconds(100), max: seconds(1000) };
        let rule = TtlRule {
            selector: Selector::parse(r#"{job=~".+"}"#).unwrap(),
            ttl: RuleTtl::Auto(auto),
        };
        let policy = TtlPolicy { rules: vec![rule], ..TtlPolicy::new(Ttl::After(seconds(7))) };
        let ttl = |intervals: &[u64]| policy.ttl(Some(0), &rhythm(intervals)).0;
        assert_eq!(ttl(&[60]), Ttl::After(seconds(7)), "the default, until the interval is known");
        assert_eq!(ttl(&[60, 60]), Ttl::After(seconds(180)));
        assert_eq!(ttl(&[1, 1]), Ttl::After(seconds(100)));
        assert_eq!(ttl(&[6000, 6000]), Ttl::After(seconds(1000)));
    }
}
