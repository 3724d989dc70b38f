//! What is asked for in the query of a URL.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::ApiError;
use crate::model::selector::REGEXES_MAX;
use crate::model::{GroupingKey, Selector, Ttl};
use crate::time::UnixNanos;

/// A query, decoded.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The groups that whoever asks has to do with; `None`: all.
    scope: Option<Arc<Selector>>,
}

/// An instant, as it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// From now.
    After(Duration),
    Wall(UnixNanos),
}

/// Selectors of which a group has to match one; none at all is matched by every group. And the groups
/// that whoever asks has to do with.
#[derive(Debug)]
pub(super) struct Selection {
    selectors: Vec<Selector>,
    scope: Option<Arc<Selector>>,
}

const MATCH: &str = "match[]";
/// What may be said more than once.
const REPEATABLE: [&str; 3] = [MATCH, "match", "event"];

impl<'a> Query<'a> {
    pub(super) fn parse(query: Option<&'a str>, scope: Option<Arc<Selector>>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
        Self { pairs: pairs.collect(), scope }
    }

    /// What is asked, for people.
    pub(super) fn to_text(&self) -> String {
        let pairs: Vec<_> = self.pairs().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// Whether whoever asks has to do with a group.
    pub(super) fn is_in_scope(&self, key: &GroupingKey) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.matches(key))
    }

    /// All that there is, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    /// Refuses what the endpoint does not know, what is empty, and what is said twice: any of it may
    /// be a mistake in what deletes.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), ApiError> {
        let mut seen = Vec::new();
        for (name, value) in self.pairs() {
            if !names.contains(&name) {
                let known = names.join(", ");
                return Err(bad(format!("unknown parameter {name:?}: expected one of {known}")));
            }
            if value.is_empty() {
                return Err(bad(format!("{name} is empty: leave it out, or say what is meant")));
            }
            if seen.contains(&name) && !REPEATABLE.contains(&name) {
                return Err(bad(format!("{name} is there twice: expected it once")));
            }
            seen.push(name);
        }
        Ok(())
    }

    pub(super) fn selection(&self) -> Result<Selection, ApiError> {
        let texts = self.pairs().filter(|(name, _)| *name == MATCH || *name == "match");
        let mut regexes = 0;
        let selectors = texts.map(|(_, text)| {
            let selector = Selector::parse(text);
            let selector = selector.map_err(|error| bad(format!("{MATCH}={text}: {error}")))?;
            regexes += selector.regexes();
            if regexes > REGEXES_MAX {
                let what = format!("more than {REGEXES_MAX} regular expressions in one request");
                return Err(bad(format!("{MATCH}: {what}")));
            }
            Ok(selector)
        });
        let selectors = selectors.collect::<Result<_, _>>()?;
        Ok(Selection { selectors, scope: self.scope.clone() })
    }

    /// A selection that is not of everything for want of a selector.
    pub(super) fn explicit_selection(&self) -> Result<Selection, ApiError> {
        let selection = self.selection()?;
        if selection.selectors.is_empty() {
            let example = r#"match[]={job=~".+"} is every group"#;
            return Err(bad(format!("{MATCH} is missing: say which groups; {example}")));
        }
        Ok(selection)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(bad(format!("{name}={other}: expected true or false"))),
        }
    }

    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, ApiError> {
        match self.get("limit").map(|text| (text, text.parse::<usize>())) {
            None => Ok(default),
            Some((_, Ok(limit))) if limit > 0 => Ok(limit.min(max)),
            Some((text, _)) => Err(bad(format!("limit={text}: expected a number from 1 to {max}"))),
        }
    }

    pub(super) fn at(&self, name: &str) -> Result<Option<At>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let parsed = At::parse(text).ok_or_else(|| {
            bad(format!(
                "{name}={text}: expected a time such as 2026-01-02T03:04:05Z, seconds since 1970, \
                 or +24h"
            ))
        });
        parsed.map(Some)
    }
}

impl At {
    fn parse(text: &str) -> Option<Self> {
        // A plus sign in a query that nobody has encoded is a space.
        if let Some(after) = text.strip_prefix(['+', ' ']) {
            return match Ttl::parse(after) {
                Ok(Ttl::After(duration)) => Some(Self::After(duration)),
                _ => None,
            };
        }
        if let Ok(seconds) = text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, reason = "it is within a thousand years")]
            let nanos = (seconds.abs() < 1e11).then_some((seconds * 1e9) as i64);
            return nanos.map(|nanos| Self::Wall(UnixNanos(nanos)));
        }
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(Self::Wall(UnixNanos(i64::try_from(at.as_nanosecond()).ok()?)))
    }
}

impl Selection {
    pub(super) fn matches(&self, key: &GroupingKey) -> bool {
        let selected = |selectors: &[Selector]| {
            selectors.is_empty() || selectors.iter().any(|selector| selector.matches(key))
        };
        selected(&self.selectors) && self.scope.as_ref().is_none_or(|scope| scope.matches(key))
    }
}

pub(super) fn bad(message: String) -> ApiError {
    ApiError::BadData(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_several_ways() {
        let wall = |seconds: i64| Some(At::Wall(UnixNanos(seconds * 1_000_000_000)));
        assert_eq!(At::parse("2026-01-02T03:04:05Z"), wall(1_767_323_045));
        assert_eq!(At::parse("1767323045"), wall(1_767_323_045));
        assert_eq!(At::parse("+24h"), Some(At::After(Duration::from_hours(24))));
        assert_eq!(At::parse(" 1h30m"), Some(At::After(Duration::from_mins(90))));
        for text in ["tomorrow", "+soon", "+never", "NaN", "1e300", "2026-01-02"] {
            assert_eq!(At::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_deletes_needs_a_selector_and_knows_its_parameters() {
        let query = |text| Query::parse(Some(text), None);
        assert!(query("").explicit_selection().is_err());
        assert!(query("match[]={job=\"a\"}&dry_run=1").explicit_selection().is_ok());
        for text in ["dry_run=", "dry_run=true&dry_run=false"] {
            assert!(query(text).only(&["match[]", "dry_run"]).is_err(), "{text}");
        }
        assert!(query("match[]=a&match[]=b").only(&["match[]"]).is_ok());
        let error = query("dryrun=1").only(&["match[]", "dry_run"]).unwrap_err().to_string();
        assert!(error.contains("\"dryrun\"") && error.contains("dry_run"), "{error}");
    }
}
