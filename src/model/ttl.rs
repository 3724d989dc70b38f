//! TTLs: how they are written, and which one a group gets.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::duration;
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

/// The TTL of a rule.
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
    /// How many pushes have followed in quick succession, and for how long.
    pub run: u32,
    pub run_ms: u64,
    /// For how long pushes have come as expected.
    pub calm_ms: u64,
    /// A gap that was longer than expected, until there was calm for as long.
    pub gap_ms: u64,
    /// The latest intervals, for people.
    pub latest: LatestIntervals,
}

/// The latest eight intervals between pushes, to within some percent: a byte each, the latest lowest,
/// as 1 + 7 log2(milliseconds + 1), which goes up to two years. Zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatestIntervals(u64);

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
            duration => duration::parse(duration)
                .map(Self::After)
                .map_err(|reason| TtlError { text: text.chars().take(64).collect(), reason }),
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
            Self::Auto(AutoTtl { missed, min, max }) => {
                let (min, max) = (Ttl::After(*min), Ttl::After(*max));
                write!(f, "auto (missed {missed}, min {min}, max {max})")
            }
        }
    }
}

impl Default for AutoTtl {
    fn default() -> Self {
        Self { missed: 3, min: Duration::from_mins(10), max: Duration::from_hours(30 * 24) }
    }
}

/// How far a TTL follows the rhythm of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoState {
    /// The rhythm is not known yet, and `ttl.default` counts.
    Learning,
    /// So many intervals, within the bounds of the rule.
    Learned { missed: u32, interval: Duration },
}

impl AutoTtl {
    /// `None`: the rhythm is not known yet.
    fn ttl(self, rhythm: &Rhythm) -> Option<Ttl> {
        let interval = rhythm.expected(self.min)?;
        let ttl = interval.saturating_mul(self.missed).clamp(self.min, self.max.max(self.min));
        Some(Ttl::After(ttl))
    }
}

impl fmt::Display for AutoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learning => f.write_str("auto: still learning"),
            Self::Learned { missed, interval } => {
                write!(f, "auto: {missed} \u{d7} {}", duration::Rough(*interval))
            }
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => duration::Exact(*duration).fmt(f),
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
        let ttl = match rule.ttl {
            RuleTtl::Fixed(ttl) => ttl,
            RuleTtl::Auto(auto) => auto.ttl(rhythm).unwrap_or(self.default),
        };
        (ttl, TtlSource::Rule)
    }

    /// How far the TTL of this rule follows the rhythm of a group, if it is to.
    pub fn auto(&self, rule: Option<usize>, rhythm: &Rhythm) -> Option<AutoState> {
        let RuleTtl::Auto(auto) = self.rules.get(rule?)?.ttl else { return None };
        Some(match rhythm.expected(auto.min) {
            Some(interval) => AutoState::Learned { missed: auto.missed, interval },
            None => AutoState::Learning,
        })
    }

    /// The TTL of a push that asks for one. A TTL of zero is let through: it means to store and
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
    /// An interval that is so many times longer or shorter than those before it is no variation of
    /// the same rhythm.
    const ODD: u64 = 4;

    /// The interval between pushes, once it is known.
    pub fn interval(&self) -> Option<Duration> {
        (self.intervals >= Self::INTERVALS_MIN).then(|| Duration::from_millis(self.interval_ms))
    }

    /// The interval that the next push may take, if pushes were observed for at least this long: a
    /// few in quick succession may be those of one run of a job.
    fn expected(&self, observed: Duration) -> Option<Duration> {
        let seen_ms = self.calm_ms.max(self.gap_ms).saturating_add(self.run_ms);
        let known = Duration::from_millis(seen_ms) >= observed;
        self.interval().filter(|_| known).map(|known| known.max(Duration::from_millis(self.gap_ms)))
    }

    /// A push succeeded at `now`.
    ///
    /// Pushes in quick succession are those of one run and count as one, unless they go on for as
    /// long as an interval. A long gap is one push that is late; a second one like it, before there
    /// was calm for as long, is the rhythm. Values in between are smoothed.
    pub fn pushed(&mut self, now: UnixMillis) {
        let Some(last) = self.last.replace(now) else { return };
        let (found, known) = (now.0.saturating_sub(last.0), self.interval_ms);
        self.latest.add(found);
        if self.intervals == 0 {
            (self.interval_ms, self.calm_ms) = (found, found);
        } else if found.saturating_mul(Self::ODD) < known {
            self.run = self.run.saturating_add(1);
            self.run_ms = self.run_ms.saturating_add(found);
            if self.run_ms >= known {
                self.interval_ms = self.run_ms / u64::from(self.run);
                self.calm(self.run_ms);
            }
        } else if found > known.saturating_mul(Self::ODD) {
            let like_the_last =
                found.div_ceil(2) <= self.gap_ms && self.gap_ms.div_ceil(2) <= found;
            if like_the_last {
                self.interval_ms = found;
                self.calm(found.saturating_add(self.gap_ms));
            } else {
                self.gap_ms = found;
                (self.calm_ms, self.run_ms, self.run) = (0, 0, 0);
            }
        } else {
            self.interval_ms = if self.intervals < Self::INTERVALS_MIN {
                known.midpoint(found)
            } else {
                let within = found.clamp(known / 2, known.saturating_mul(2));
                known.saturating_mul(3).saturating_add(within).div_ceil(4)
            };
            self.calm(self.calm_ms.saturating_add(found));
        }
        self.intervals = (self.intervals + 1).min(Self::INTERVALS_MIN);
    }

    /// Pushes have come as expected for so long.
    fn calm(&mut self, calm_ms: u64) {
        (self.calm_ms, self.run_ms, self.run) = (calm_ms, 0, 0);
        if calm_ms >= self.gap_ms {
            self.gap_ms = 0;
        }
    }
}

impl LatestIntervals {
    const STEPS_PER_DOUBLING: f64 = 7.0;

    /// As they are stored.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// As they were stored.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn add(&mut self, interval_ms: u64) {
        #[expect(clippy::cast_precision_loss, reason = "they are kept roughly")]
        let steps = (interval_ms as f64 + 1.0).log2() * Self::STEPS_PER_DOUBLING;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let code = 1 + (steps.round() as u8).min(u8::MAX - 1);
        self.0 = self.0 << 8 | u64::from(code);
    }

    /// Oldest first, in seconds.
    pub fn seconds(self) -> impl Iterator<Item = f64> {
        let codes = self.0.to_be_bytes().into_iter().filter(|code| *code > 0);
        codes.map(|code| {
            let millis = (f64::from(code - 1) / Self::STEPS_PER_DOUBLING).exp2() - 1.0;
            millis / 1e3
        })
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
        for text in ["7d", "60d", "400d 1h 30m", "1h 30m", "never", "0s", "1ms"] {
            assert_eq!(Ttl::parse(text).unwrap().to_string(), text);
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
    fn the_latest_eight_intervals_are_kept_roughly() {
        let latest = |intervals: &[u32]| {
            let intervals: Vec<_> = intervals.iter().map(|seconds| u64::from(*seconds)).collect();
            rhythm(&intervals).latest.seconds().collect::<Vec<_>>()
        };
        assert!(latest(&[]).is_empty());
        assert_eq!(latest(&[0]), [0.0]);
        let intervals = [9, 1, 60, 3600, 86_400, 7 * 86_400, 60_000_000, 2, 3];
        let kept = latest(&intervals);
        assert_eq!(kept.len(), 8);
        for (kept, exact) in kept.iter().zip(&intervals[1..]) {
            assert!((kept / f64::from(*exact) - 1.0).abs() < 0.06, "{kept} {exact}");
        }
        let far = latest(&[u32::MAX]);
        assert!(far[0] > 6e7, "{far:?}");
    }

    #[test]
    fn one_late_or_doubled_push_moves_the_interval_little() {
        let steady = [60; 10];
        for odd in [0, 1, 20, 120, 600, 86_400] {
            let interval = rhythm(&[&steady[..], &[odd]].concat()).interval().unwrap();
            assert!(interval >= seconds(45) && interval <= seconds(75), "{odd}: {interval:?}");
        }
    }

    #[test]
    fn a_rhythm_that_changes_is_followed() {
        for (from, to) in [(60, 120), (120, 60), (60, 3600), (3600, 60), (0, 30), (1, 86_400)] {
            // Long enough for the old interval to pass.
            let changed = [vec![from; 10], vec![to; 90]].concat();
            let interval = rhythm(&changed).interval().unwrap().as_secs();
            assert!(interval.abs_diff(to) <= to / 10, "{from} to {to}: {interval}");
        }
    }

    #[test]
    fn a_run_that_pushes_more_than_once_lives_by_the_rhythm_of_runs() {
        let auto = AutoTtl { missed: 3, min: seconds(600), max: seconds(30 * 86_400) };
        let ttl = |intervals: &[u64]| auto.ttl(&rhythm(intervals));
        let night = 86_400;
        assert_eq!(ttl(&[1, 1]), None, "the first run");
        for intervals in [&[1, 1, night][..], &[1, 1, night, 1, 1], &[1, 1, night, 1, 1, night, 1]]
        {
            assert_eq!(ttl(intervals), Some(Ttl::After(seconds(3 * night))), "{intervals:?}");
        }
        let steady = [20; 60];
        assert_eq!(ttl(&steady), Some(Ttl::After(seconds(600))), "each push is a run");
        let late = [&steady[..], &[900]].concat();
        assert_eq!(ttl(&late), Some(Ttl::After(seconds(2700))), "until it is calm again");
        assert_eq!(ttl(&[&late[..], &steady].concat()), Some(Ttl::After(seconds(600))));
    }

    #[test]
    fn an_auto_ttl_is_a_number_of_missed_pushes_within_its_bounds() {
        let auto = AutoTtl { missed: 3, min: seconds(100), max: seconds(1000) };
        let steady = [1; 200];
        let rule = TtlRule {
            selector: Selector::parse(r#"{job=~".+"}"#).unwrap(),
            ttl: RuleTtl::Auto(auto),
        };
        let policy = TtlPolicy { rules: vec![rule], ..TtlPolicy::new(Ttl::After(seconds(7))) };
        let ttl = |intervals: &[u64]| policy.ttl(Some(0), &rhythm(intervals)).0;
        assert_eq!(ttl(&[60]), Ttl::After(seconds(7)), "the default, until the interval is known");
        assert_eq!(ttl(&[60, 60]), Ttl::After(seconds(180)));
        assert_eq!(ttl(&[1, 1]), Ttl::After(seconds(7)), "the default: it may be one run");
        assert_eq!(ttl(&steady), Ttl::After(seconds(100)));
        assert_eq!(ttl(&[6000, 6000]), Ttl::After(seconds(1000)));
    }
}
