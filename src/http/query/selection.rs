//! The query of a URL.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::QueryError;
use super::search::{Search, Word};
use crate::exposition::push_path::{grouping_key_of, path_of};
use crate::gateway::{Gateway, GroupView, shortened};
use crate::http::body::Bounds;
use crate::http::bounds::Reservation;
use crate::model::selector::{MATCHERS_MAX, REGEX_MEMORY_MAX, REGEXES_MAX};
use crate::model::{GroupingKey, Meter as _, OverBudget, Selector, Ttl};
use crate::time::UnixNanos;

/// A query, decoded.
#[derive(Debug)]
pub(in crate::http) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The groups that whoever asks has to do with; `None`: all.
    scope: Option<Arc<Selector>>,
}

/// An instant, as it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum At {
    /// From now.
    After(Duration),
    Wall(UnixNanos),
}

/// Selectors of which a group has to match one, or groups by name; metrics of which it has to have
/// one; and a search. An empty selection matches every group. `scope` limits it to the groups that the
/// caller's token covers.
#[derive(Debug)]
pub(in crate::http) struct Selection {
    selectors: Vec<Selector>,
    groups: HashSet<GroupingKey>,
    metrics: Vec<String>,
    search: Option<Search>,
    scope: Option<Arc<Selector>>,
}

const MATCH: &str = "match[]";
const GROUP: &str = "group";
const METRIC: &str = "metric";
const SEARCH: &str = "search";
/// So many metrics may be asked for in one request: the groups that have them are looked through for
/// each.
const METRICS_MAX: usize = 32;
/// The begin of the path of a push, which `group` leaves out.
const GROUP_PREFIX: &str = "/metrics/";
/// Parameters that select groups: selectors, paths as in a push (`job/backup/instance/db1`), names of
/// metrics that they have, or what a person types to find some.
const SELECTION: [&str; 5] = [MATCH, "match", GROUP, METRIC, SEARCH];
/// Parameters that may come more than once.
const REPEATABLE: [&str; 5] = [MATCH, "match", GROUP, METRIC, "event"];

impl<'a> Query<'a> {
    pub(in crate::http) fn parse(query: Option<&'a str>, scope: Option<Arc<Selector>>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
        Self { pairs: pairs.collect(), scope }
    }

    /// Without what is empty: forms send that for what nobody has filled in.
    pub(in crate::http) fn without_empty(mut self) -> Self {
        self.pairs.retain(|(_, value)| !value.is_empty());
        self
    }

    /// The parameters, for people.
    pub(in crate::http) fn to_text(&self) -> String {
        let pairs: Vec<_> = self.pairs().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// Whether whoever asks has to do with a group.
    pub(in crate::http) fn is_in_scope(&self, key: &GroupingKey) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.matches(key))
    }

    /// All that there is, in order.
    pub(in crate::http) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether it selects groups by anything but a search.
    pub(in crate::http) fn selects_beside_search(&self) -> bool {
        self.pairs().any(|(name, _)| name != SEARCH && SELECTION.contains(&name))
    }

    /// The value of this name.
    pub(in crate::http) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    /// Refuses what is no selection and not one of these, with which it goes.
    pub(in crate::http) fn only_selection_and(&self, names: &[&str]) -> Result<(), QueryError> {
        self.only(&[&SELECTION, names].concat())
    }

    /// Refuses what the endpoint does not know, what is empty, and what is said twice: any of it may
    /// be a mistake in what deletes.
    pub(in crate::http) fn only(&self, names: &[&str]) -> Result<(), QueryError> {
        let mut seen = HashSet::new();
        for (name, value) in self.pairs() {
            if !names.contains(&name) {
                let names: Vec<_> =
                    names.iter().filter(|name| **name != "match").copied().collect();
                let known = names.join(", ");
                return Err(bad(format!("unknown parameter {name:?}: expected one of {known}")));
            }
            if value.is_empty() {
                return Err(bad(format!("{name} is empty: leave it out, or say what is meant")));
            }
            if seen.contains(name) && !REPEATABLE.contains(&name) {
                return Err(bad(format!("{name} is there twice: expected it once")));
            }
            seen.insert(name);
        }
        Ok(())
    }

    /// Which groups are meant. Counts what the selection takes, for as long as the request does.
    pub(in crate::http) fn selection(&self, bounds: &mut Bounds) -> Result<Selection, QueryError> {
        let is_selector = |name: &str| name == MATCH || name == "match" || name == SEARCH;
        let asked = self.pairs().filter(|(name, _)| is_selector(name));
        let regexes = asked.map(|(_, text)| Selector::regexes_in(text)).sum::<usize>();
        if regexes > REGEXES_MAX {
            let what = format!("more than {REGEXES_MAX} regular expressions in one request");
            return Err(bad(format!("{MATCH}: {what}")));
        }
        // Counted before they are compiled.
        bounds.held.take(regexes * REGEX_MEMORY_MAX)?;
        let mut matchers = 0;
        let mut selectors = Vec::new();
        for (_, text) in self.pairs().filter(|(name, _)| *name == MATCH || *name == "match") {
            let selector = Selector::parse(text);
            let selector = selector.map_err(|error| bad(format!("{MATCH}={text}: {error}")))?;
            matchers += selector.matchers();
            if matchers > MATCHERS_MAX {
                let what = format!("more than {MATCHERS_MAX} matchers in one request");
                return Err(bad(format!("{MATCH}: {what}")));
            }
            selectors.push(selector);
        }
        let paths = self.pairs().filter(|(name, _)| *name == GROUP);
        let groups = paths.map(|(_, path)| {
            grouping_key_of(&format!("{GROUP_PREFIX}{path}")).map_err(|error| {
                let expected = "expected the path of a push, as in job/backup/instance/db1";
                bad(format!("{GROUP}={path}: {error}: {expected}"))
            })
        });
        let groups = groups.collect::<Result<_, _>>()?;
        let metrics = self.pairs().filter(|(name, _)| *name == METRIC);
        let mut metrics: Vec<_> = metrics.map(|(_, metric)| metric.to_owned()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        if metrics.len() > METRICS_MAX {
            return Err(bad(format!("{METRIC}: more than {METRICS_MAX} of them in one request")));
        }
        let search = self.get(SEARCH).map(Search::parse).transpose();
        let search = search.map_err(|error| bad(format!("{SEARCH}: {error}")))?;
        let search = search.filter(|search| !search.is_for_everything());
        Ok(Selection { selectors, groups, metrics, search, scope: self.scope.clone() })
    }

    /// A selection that is not of everything for want of a selector.
    pub(in crate::http) fn explicit_selection(
        &self,
        bounds: &mut Bounds,
    ) -> Result<Selection, QueryError> {
        let selection = self.selection(bounds)?;
        if selection.is_of_everything() {
            let example = r#"match[]={job=~".+"} is every group"#;
            return Err(bad(format!("{MATCH} is missing: say which groups; {example}")));
        }
        Ok(selection)
    }

    pub(in crate::http) fn flag(&self, name: &str) -> Result<bool, QueryError> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(bad(format!("{name}={other}: expected true or false"))),
        }
    }

    pub(in crate::http) fn limit(&self, default: usize, max: usize) -> Result<usize, QueryError> {
        match self.get("limit").map(|text| (text, text.parse::<usize>())) {
            None => Ok(default),
            Some((_, Ok(limit))) if limit > 0 => Ok(limit.min(max)),
            Some((text, _)) => Err(bad(format!("limit={text}: expected a number from 1 to {max}"))),
        }
    }

    pub(in crate::http) fn at(&self, name: &str) -> Result<Option<At>, QueryError> {
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
    /// The groups that are there and selected, and that `take` takes. Blocks, as
    /// [`Gateway::look_through`] has it. Where metrics are asked for, no others than the groups that have
    /// one of them are looked at.
    pub(in crate::http) fn groups(
        &self,
        gateway: &Gateway,
        held: &mut Reservation,
        mut take: impl FnMut(&GroupView) -> bool,
    ) -> Result<Vec<GroupView>, OverBudget> {
        let mut meanwhile = held.beside();
        let words = self.words().iter();
        let having = words.map(|word| numbers_with(gateway, &mut meanwhile, &word.metric));
        let having = having.collect::<Result<Vec<_>, _>>()?;
        let mut take = |group: &GroupView| {
            let has = |word: usize| having.get(word).is_some_and(|it| it.contains(&group.number));
            self.takes(&group.key, has) && take(group)
        };
        let metric_word = self.words().iter().find(|word| word.is_metric());
        let metrics = match metric_word.map(|word| std::slice::from_ref(&word.metric)) {
            _ if !self.metrics.is_empty() => self.metrics.as_slice(),
            Some(metric) => metric,
            None => return gateway.groups(held, take),
        };
        let mut groups = Vec::new();
        for metric in metrics {
            groups.append(&mut gateway.groups_with(metric, held, &mut take)?);
        }
        // One that has several of them is there for each.
        groups.sort_unstable_by_key(|group| group.number);
        groups.dedup_by_key(|group| group.number);
        Ok(groups)
    }

    /// For what is no group that is there: of a removed group, and of one that an event is about,
    /// nobody knows the metrics.
    pub(in crate::http) fn by_labels(self) -> Result<Self, QueryError> {
        if !self.metrics.is_empty() || self.words().iter().any(Word::is_metric) {
            let known = "of removed groups and of events only the labels are known";
            return Err(bad(format!("{METRIC}: {known}: expected {MATCH}, {GROUP} or words")));
        }
        Ok(self)
    }

    /// Whether it takes groups with these labels. Only for one that is [`Selection::by_labels`].
    pub(in crate::http) fn matches(&self, key: &GroupingKey) -> bool {
        self.takes(key, |_| false)
    }

    /// `has`: whether the group has the metric that is this word of the search.
    fn takes(&self, key: &GroupingKey, has: impl Fn(usize) -> bool) -> bool {
        let chosen = (self.selectors.is_empty() && self.groups.is_empty())
            || self.selectors.iter().any(|selector| selector.matches(key))
            || self.groups.contains(key);
        chosen
            && self.search.as_ref().is_none_or(|search| search.matches(key, has))
            && self.scope.as_ref().is_none_or(|scope| scope.matches(key))
    }

    fn words(&self) -> &[Word] {
        self.search.as_ref().map_or(&[], Search::words)
    }

    /// Whether it is empty, and so of every group.
    fn is_of_everything(&self) -> bool {
        let Self { selectors, groups, metrics, search, .. } = self;
        selectors.is_empty() && groups.is_empty() && metrics.is_empty() && search.is_none()
    }
}

/// The numbers of the groups that have a metric.
fn numbers_with(
    gateway: &Gateway,
    held: &mut Reservation,
    metric: &str,
) -> Result<HashSet<u64>, OverBudget> {
    let groups = gateway.groups_with(metric, &mut held.beside(), |_| true)?;
    // A table is up to half empty.
    held.take(2 * groups.len() * (size_of::<u64>() + 1))?;
    Ok(groups.into_iter().map(|group| group.number).collect())
}

/// The value of `group` for this group.
pub(in crate::http) fn group_value(key: &GroupingKey) -> String {
    let mut path = path_of(key);
    path.drain(..GROUP_PREFIX.len());
    path
}

/// Why a request is no use. Of what it says itself, which may be all of a head, the begin is told.
#[expect(clippy::needless_pass_by_value, reason = "it is always made for this")]
pub(in crate::http) fn bad(message: String) -> QueryError {
    const CHARS_MAX: usize = 1000;
    QueryError::BadData(shortened(&message, CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::in_memory::bounds;

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
        assert!(query("").explicit_selection(&mut bounds()).is_err());
        assert!(query("match[]={job=\"a\"}&dry_run=1").explicit_selection(&mut bounds()).is_ok());
        for text in ["dry_run=", "dry_run=true&dry_run=false"] {
            assert!(query(text).only(&["match[]", "dry_run"]).is_err(), "{text}");
        }
        assert!(query("match[]=a&match[]=b").only(&["match[]"]).is_ok());
        let error = query("dryrun=1").only(&["match[]", "dry_run"]).unwrap_err().to_string();
        assert!(error.contains("\"dryrun\"") && error.contains("dry_run"), "{error}");
    }

    #[test]
    fn a_group_is_selected_by_its_path_and_no_other_with_it() {
        let key = |path: &str| grouping_key_of(&format!("/metrics/{path}")).unwrap();
        let selection = |text| Query::parse(Some(text), None).explicit_selection(&mut bounds());
        let one = selection("group=job/a").unwrap();
        assert!(one.matches(&key("job/a")) && !one.matches(&key("job/a/instance/b")));
        let two = selection("group=job/a&group=job/a%2Finstance%2Fb").unwrap();
        assert!(two.matches(&key("job/a/instance/b")) && !two.matches(&key("job/b")));
        let error = selection("group=jobs/a").unwrap_err().to_string();
        assert!(error.contains("jobs/a") && error.contains("job/backup"), "{error}");
        let both = selection("group=job/a&search=instance").unwrap();
        assert!(!both.matches(&key("job/a")), "the search narrows it");
    }
}
