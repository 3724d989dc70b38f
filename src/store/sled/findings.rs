//! All that was found of a store, in words.

use std::fmt::Write as _;

use super::super::record::TotalsRecord;
use crate::model::GroupingKey;
use crate::time::UnixNanos;

/// All that was found of a store: how much there is, and all that is not as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Groups that can be read.
    pub groups: u64,
    /// Groups that were removed, and can be restored.
    pub removed: u64,
    pub chunks: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
    /// How much there was, and when that was, as far as the store says so.
    pub expected: Option<Expected>,
    /// Groups that are there as they were at an earlier time: their last push then.
    pub earlier: Vec<(GroupingKey, Option<UnixNanos>)>,
    /// Whether the sum over all groups is another. Where none is lost, or known to be of an earlier time,
    /// some are that all the same; where some are, others may be.
    pub differs: bool,
    pub in_part: Vec<PartOfGroup>,
    pub lost: Vec<LostGroup>,
    /// Other places that are not as they were, for people.
    pub damage: Vec<String>,
}

/// How much there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub groups: u64,
    pub removed: u64,
    /// Wall time of the last write.
    pub at: UnixNanos,
}

/// A group of which some chunks are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOfGroup {
    pub key: GroupingKey,
    /// So many of its chunks of families.
    pub lost: u32,
    pub of: u32,
}

/// A group of which nothing can be read: its number, and its key where that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostGroup {
    pub number: u64,
    pub key: Option<GroupingKey>,
}

impl Expected {
    pub(super) fn of(totals: &TotalsRecord) -> Self {
        Self { groups: totals.groups, removed: totals.removed, at: UnixNanos(totals.at_ns) }
    }
}

impl Findings {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.is_complete()
    }

    /// Whether every group is as it was.
    pub fn is_complete(&self) -> bool {
        !self.differs && self.earlier.is_empty() && self.in_part.is_empty() && self.missing() == 0
    }

    /// How many groups are lost: named ones, and those that are only known by the count that there was.
    pub fn missing(&self) -> u64 {
        let there = self.groups + self.removed;
        let were = self.expected.map_or(0, |expected| expected.groups + expected.removed);
        were.saturating_sub(there).max(self.lost.len() as u64)
    }

    /// Whether there is a group that is known not to be as it was.
    fn is_explained(&self) -> bool {
        !self.earlier.is_empty() || self.missing() > 0
    }

    /// A sentence on how much of it is as it was.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(Expected { groups, removed, at }) = self.expected {
            let were = if groups + removed == 1 { "was" } else { "were" };
            let _ = write!(text, "{} {were} whole at {}", count(groups, removed), second(at));
        } else {
            text.push_str("nothing says how many groups there were");
        }
        if self.is_complete() {
            let _ = write!(text, "; all {} are as they were", self.groups + self.removed);
            return text;
        }
        let _ = write!(text, "; {} can be read", self.groups + self.removed);
        match self.missing() {
            0 => {}
            1 => text.push_str(", 1 is lost"),
            missing => {
                let _ = write!(text, ", {missing} are lost");
            }
        }
        match &*self.earlier {
            [] => {}
            [(_, at)] => {
                let _ = write!(text, ", 1 is of {}", time(*at));
            }
            earlier => {
                let _ = write!(text, ", {} are of an earlier time", earlier.len());
            }
        }
        if self.differs {
            text.push_str(if self.is_explained() {
                ", others may be of an earlier time"
            } else {
                ", some are of an earlier time"
            });
        }
        match self.in_part.len() {
            0 => {}
            1 => text.push_str(", 1 is there in part"),
            some => {
                let _ = write!(text, ", {some} are there in part");
            }
        }
        text
    }

    /// A line for each group that is not as it was, and for each other place.
    pub fn lines(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|lost| match &lost.key {
            Some(key) => format!("lost: {key}"),
            None => format!("lost: the group of number {}, whose name cannot be read", lost.number),
        });
        let unnamed = self.missing() - self.lost.len() as u64;
        let unnamed = (unnamed > 0).then(|| match unnamed {
            1 => "lost: 1 group of which nothing is left".to_owned(),
            _ => format!("lost: {unnamed} groups of which nothing is left"),
        });
        let earlier = self.earlier.iter().map(|(key, at)| format!("of {}: {key}", time(*at)));
        let in_part = self.in_part.iter().map(|PartOfGroup { key, lost, of }| {
            format!("in part: {key}: {lost} of the {of} parts of its families are lost")
        });
        let differs = self.differs.then(|| {
            let some = if self.is_explained() { "others may be" } else { "some groups are" };
            format!(
                "of an earlier time: {some}, where nothing is left of the latest push to say so"
            )
        });
        let damage = self.damage.iter().map(|what| format!("damaged: {what}"));
        lost.chain(unnamed).chain(earlier).chain(differs).chain(in_part).chain(damage).collect()
    }

    /// The whole of it, for people.
    pub(super) fn report(&self) -> String {
        [vec![self.summary()], self.lines()].concat().join("\n") + "\n"
    }
}

fn count(groups: u64, removed: u64) -> String {
    let groups = if groups == 1 { "1 group".into() } else { format!("{groups} groups") };
    if removed == 0 { groups } else { format!("{groups} and {removed} that could be restored") }
}

fn second(at: UnixNanos) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(at.to_system_time())
}

fn time(at: Option<UnixNanos>) -> String {
    at.map_or_else(|| "a time that is not known".into(), |at| second(at).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn key(job: &str) -> GroupingKey {
        GroupingKey::new(vec![Label::new("job", job)]).unwrap()
    }

    #[test]
    fn a_loss_is_counted_named_and_dated() {
        let at = UnixNanos(1_000_000_000_000_000_000);
        let mut findings = Findings {
            groups: 40,
            expected: Some(Expected { groups: 40, removed: 0, at }),
            ..Findings::default()
        };
        assert!(findings.is_sound());
        assert_eq!(
            findings.summary(),
            "40 groups were whole at 2001-09-09T01:46:40Z; all 40 are as they were"
        );
        findings.groups = 37;
        findings.lost = vec![LostGroup { number: 3, key: Some(key("a")) }];
        findings.earlier = vec![(key("b"), Some(UnixNanos(999_999_000_000_000_000)))];
        findings.in_part = vec![PartOfGroup { key: key("c"), lost: 1, of: 12 }];
        assert_eq!(
            findings.summary(),
            "40 groups were whole at 2001-09-09T01:46:40Z; 37 can be read, 3 are lost, 1 is of \
             2001-09-09T01:30:00Z, 1 is there in part"
        );
        assert_eq!(
            findings.lines(),
            [
                "lost: {job=\"a\"}",
                "lost: 2 groups of which nothing is left",
                "of 2001-09-09T01:30:00Z: {job=\"b\"}",
                "in part: {job=\"c\"}: 1 of the 12 parts of its families are lost",
            ]
        );
    }
}
