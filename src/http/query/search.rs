//! The search of a person for groups: a selector, or words.

use std::fmt::Write as _;

use crate::model::{GroupingKey, Selector};

/// A search.
#[derive(Debug)]
pub(super) enum Search {
    Selector(Selector),
    /// In lower case. Each is somewhere in the labels, which are read as `name=value`.
    Words(Vec<String>),
}

/// More words than anybody types: each is looked for in each group.
const WORDS_MAX: usize = 32;

impl Search {
    /// A selector is known by its braces, which may be left out where there is a quoted value.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.contains('{') && text.contains("=\"") | text.contains("~\"") {
            let inner = Selector::parse(&format!("{{{text}}}"));
            return inner.map(Self::Selector).map_err(|error| error.to_string());
        }
        if text.starts_with('{') {
            return Selector::parse(text).map(Self::Selector).map_err(|error| error.to_string());
        }
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.len() > WORDS_MAX {
            return Err(format!("it has {} words; expected at most {WORDS_MAX}", words.len()));
        }
        Ok(Self::Words(words))
    }

    /// Whether there is not a word.
    pub(super) fn is_for_everything(&self) -> bool {
        matches!(self, Self::Words(words) if words.is_empty())
    }

    pub(super) fn matches(&self, key: &GroupingKey) -> bool {
        match self {
            Self::Selector(selector) => selector.matches(key),
            Self::Words(words) => {
                let mut labels = String::with_capacity(64);
                for (name, value) in key.labels() {
                    writeln!(labels, "{name}={value}").expect("a string grows as needed");
                }
                let labels = labels.to_lowercase();
                words.iter().all(|word| labels.contains(word))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn finds(search: &str) -> bool {
        let labels = vec![Label::new("job", "Nightly Backup"), Label::new("instance", "db1:9")];
        Search::parse(search).unwrap().matches(&GroupingKey::new(labels).unwrap())
    }

    #[test]
    fn words_are_found_anywhere_in_the_labels() {
        for search in ["", "backup", "DB1 nightly", "instance=db1", "job=night", "  db1:9 "] {
            assert!(finds(search), "{search}");
        }
        for search in ["db2", "backup db2", "instance=nightly"] {
            assert!(!finds(search), "{search}");
        }
    }

    #[test]
    fn there_is_a_bound_on_words() {
        assert!(Search::parse(&"j ".repeat(WORDS_MAX)).is_ok());
        assert!(Search::parse(&"j ".repeat(WORDS_MAX + 1)).unwrap_err().contains("32"));
    }

    #[test]
    fn selectors_are_known_by_their_form() {
        for search in [r#"{job=~"N.+"}"#, r#"instance="db1:9""#, r#"job!="x", instance=~"db.*""#] {
            assert!(finds(search), "{search}");
        }
        assert!(!finds(r#"{job="x"}"#));
        for search in ["{", r#"{job="x""#, r#"job="x"#] {
            assert!(Search::parse(search).is_err(), "{search}");
        }
    }
}
