//! Expositions. Every exposition that a test looks at is held to the promises that all of
//! them keep.

use std::collections::{BTreeMap, HashSet};

/// A text exposition that is well formed.
#[derive(Debug)]
pub struct Exposition {
    families: Vec<Family>,
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    /// With its comment lines.
    lines: Vec<String>,
}

/// The families that are about the gateway, and so differ from scrape to scrape.
const OWN: [&str; 3] = ["tidegate_", "pushgateway_", "process_"];

impl Exposition {
    /// Takes a text apart; panics where no gateway may ever write such a text.
    #[track_caller]
    pub fn of(text: impl Into<String>) -> Self {
        let text: String = text.into();
        assert!(text.ends_with('\n'), "no newline at the end");
        let mut families: Vec<Family> = Vec::new();
        let mut series = HashSet::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
                let goes_on = keyword == "TYPE"
                    && families.last().is_some_and(|last| last.name == name && last.is_new());
                if !goes_on {
                    families.push(Family { name: name.to_owned(), lines: Vec::new() });
                }
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let family = families.last().expect("a TYPE line comes first");
                assert!(family.owns(name), "{line:?} stands under {:?}", family.name);
                let (labelled, _) = line.rsplit_once(' ').expect("a value");
                assert!(series.insert(labelled), "{labelled:?} is there twice");
            }
            families.last_mut().unwrap().lines.push(line.to_owned());
        }
        let names: Vec<_> = families.iter().map(|family| &family.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "each family once, ordered by name: {names:?}");
        Self { families }
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.families.iter().flat_map(|family| &family.lines).map(String::as_str)
    }

    /// Whether there is this line.
    pub fn has(&self, line: &str) -> bool {
        self.lines().any(|found| found == line)
    }

    /// This exposition, which has to have the lines.
    #[track_caller]
    pub fn shows(&self, lines: &[&str]) -> &Self {
        for line in lines {
            assert!(self.has(line), "{line:?} is not in\n{}", self.pushed());
        }
        self
    }

    /// This exposition, in which `text` may stand nowhere among what was pushed.
    #[track_caller]
    pub fn lacks(&self, text: &str) -> &Self {
        let own = |line: &&str| {
            let name = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE "));
            OWN.iter().any(|own| name.unwrap_or(line).starts_with(own))
        };
        let found = self.lines().filter(|line| !own(line)).find(|line| line.contains(text));
        assert_eq!(found, None, "{text:?} is in\n{}", self.pushed());
        self
    }

    /// The value of a series, as it is written.
    #[track_caller]
    pub fn value(&self, series: &str) -> &str {
        let line = self.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series:?} is not in\n{}", self.pushed()))
    }

    /// The lines of a family; none if it is not there.
    pub fn family(&self, name: &str) -> &[String] {
        self.families.iter().find(|family| family.name == name).map_or(&[], |found| &found.lines)
    }

    /// The names of all families.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.families.iter().map(|family| family.name.as_str())
    }

    /// The text, without families about the gateway.
    pub fn pushed(&self) -> String {
        self.without(&OWN)
    }

    /// As `pushed`, without what a refused push may change too: when it failed, and, where its
    /// group was not there, that nothing has succeeded yet.
    pub fn pushed_but_failures(&self) -> String {
        let mut without = OWN.to_vec();
        without.push("push_failure_time_seconds");
        let pushed = self.without(&without);
        let never = |line: &&str| line.starts_with("push_time_seconds{") && line.ends_with(" 0");
        pushed.lines().filter(|line| !never(line)).collect::<Vec<_>>().join("\n")
    }

    fn without(&self, prefixes: &[&str]) -> String {
        let pushed = self
            .families
            .iter()
            .filter(|family| prefixes.iter().all(|prefix| !family.name.starts_with(prefix)));
        let lines: Vec<_> = pushed.flat_map(|family| &family.lines).cloned().collect();
        lines.join("\n")
    }
}

impl Family {
    /// Whether there is nothing of it but its HELP line.
    fn is_new(&self) -> bool {
        matches!(self.lines.as_slice(), [help] if help.starts_with("# HELP "))
    }

    fn owns(&self, sample: &str) -> bool {
        matches!(sample.strip_prefix(&self.name), Some("" | "_sum" | "_count" | "_bucket"))
    }
}

/// A sample line apart: name, labels, value.
pub type Sample = (String, BTreeMap<String, String>, String);

/// The sample lines of a text, with their labels in an order that does not depend on the writer.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = BTreeMap::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let end = closing_quote(quoted);
        labels.insert(label.trim_start_matches(',').to_owned(), quoted[..end].to_owned());
        rest = &quoted[end + 1..];
    }
    (name.to_owned(), labels, value.to_owned())
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })
    .expect("a closing quote")
}
