//! The search of a person for groups: a selector, or words.

use std::fmt::Write as _;

use crate::model::{GroupingKey, Selector};

/// A search.
#[derive(Debug)]
pub(super) enum Search {
    Selector(Selector),
    /// Each is somewhere in the labels, which are read as `name=value`, or the name of a metric.
    Words(Vec<Word>),
}

/// A word of a search.
#[derive(Debug)]
pub(super) struct Word {
    /// In lower case; `None`: it is not looked for in labels.
    label: Option<String>,
    pub(super) metric: String,
}

/// Before a word that is the name of a metric and nothing else.
const METRIC_PREFIX: &str = "metric:";

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
        let words: Vec<_> = text.split_whitespace().map(Word::parse).collect();
        if words.len() > WORDS_MAX {
            return Err(format!("it has {} words; expected at most {WORDS_MAX}", words.len()));
        }
        Ok(Self::Words(words))
    }

    /// Whether there is not a word.
    pub(super) fn is_for_everything(&self) -> bool {
        matches!(self, Self::Words(words) if words.is_empty())
    }

    pub(super) fn words(&self) -> &[Word] {
        match self {
            Self::Selector(_) => &[],
            Self::Words(words) => words,
        }
    }

    /// Whether it finds a group, which has the metrics of these words.
    pub(super) fn matches(&self, key: &GroupingKey, has: impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Selector(selector) => selector.matches(key),
            Self::Words(words) => {
                let mut labels = String::with_capacity(64);
                for (name, value) in key.labels() {
                    writeln!(labels, "{name}={value}").expect("a string grows as needed");
                }
                let labels = labels.to_lowercase();
                let in_labels = |label: &String| labels.contains(label);
                let mut words = words.iter().enumerate();
                words.all(|(at, word)| word.label.as_ref().is_some_and(in_labels) || has(at))
            }
        }
    }
}

impl Word {
    fn parse(text: &str) -> Self {
        match text.strip_prefix(METRIC_PREFIX) {
            Some(name) => Self { label: None, metric: name.to_owned() },
            None => Self { label: Some(text.to_lowercase()), metric: text.to_owned() },
        }
    }

    /// Whether it is the name of a metric, and nothing else.
    pub(super) fn is_metric(&self) -> bool {
        self.label.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn finds(search: &str) -> bool {
        let labels = vec![Label::new("job", "Nightly Backup"), Label::new("instance", "db1:9")];
        let key = GroupingKey::new(labels).unwrap();
        let search = Search::parse(search).unwrap();
        search.matches(&key, |at| search.words()[at].metric == "http_Errors")
    }

    #[test]
    fn a_word_may_be_the_name_of_a_metric() {
        for search in ["http_Errors", "metric:http_Errors", "backup http_Errors"] {
            assert!(finds(search), "{search}");
        }
        for search in ["http_errors", "metric:backup", "metric:http_Err", "db2 http_Errors"] {
            assert!(!finds(search), "{search}");
        }
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
