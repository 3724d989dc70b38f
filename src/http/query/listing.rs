//! Which groups are listed, and in which order.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::QueryError;
use super::selection::{Selection, bad};
use crate::gateway::{Gateway, GroupStatus, GroupView};
use crate::http::bounds::Reservation;
use crate::model::{GroupingKey, Meter as _, OverBudget, Ttl};
use crate::time::UnixMillis;

/// By what groups are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Sort {
    Name,
    Series,
    LastPush,
    Interval,
    State,
    Ttl,
    Deadline,
}

/// An order of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Order {
    pub(in crate::http) by: Sort,
    pub(in crate::http) reverse: bool,
}

/// Where a group is in the order: what it is sorted by, then its key, which no other has.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    value: i64,
    key: GroupingKey,
}

/// Which groups are listed by how they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum State {
    /// The last push succeeded.
    Ok,
    /// It never expires.
    Permanent,
    Is(GroupStatus),
}

/// Which groups are listed.
#[derive(Debug)]
pub(in crate::http) struct Filter {
    pub(in crate::http) selection: Selection,
    pub(in crate::http) state: Option<State>,
    /// Those that expire from the one instant on and before the other.
    pub(in crate::http) expires: Option<(UnixMillis, UnixMillis)>,
}

/// The groups before the page.
#[derive(Debug)]
pub(in crate::http) enum Skip {
    /// So many groups.
    First(usize),
    /// All up to what an earlier page had as `next`.
    To(Cursor),
}

/// A place, as an answer names it.
#[derive(Debug)]
pub(in crate::http) struct Cursor(Place);

/// Some of the groups, in order.
#[derive(Debug)]
pub(in crate::http) struct Page {
    pub(in crate::http) groups: Vec<GroupView>,
    /// How many there are on all pages.
    pub(in crate::http) total: usize,
    /// The cursor for the next page.
    pub(in crate::http) next: Option<String>,
}

/// By what groups can be sorted, as a query says it.
pub fn sort_names() -> impl Iterator<Item = &'static str> {
    Sort::NAMES.iter().map(|(name, _)| *name)
}

/// By which states groups can be listed, as a query says it.
pub fn state_names() -> impl Iterator<Item = &'static str> {
    State::NAMES.iter().map(|(name, _)| *name)
}

impl Sort {
    /// All of them, by name.
    const NAMES: [(&str, Self); 7] = [
        ("name", Self::Name),
        ("deadline", Self::Deadline),
        ("last_push", Self::LastPush),
        ("series", Self::Series),
        ("interval", Self::Interval),
        ("state", Self::State),
        ("ttl", Self::Ttl),
    ];

    fn value(self, group: &GroupView, now: UnixMillis) -> i64 {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let state = &*group.state;
        match self {
            Self::Name => start(group.key.get("job").unwrap_or("")),
            Self::Deadline => signed(group.deadline.0),
            Self::LastPush => state.pushed.map_or(i64::MIN, |at| at.0),
            Self::Series => i64::from(group.series),
            Self::Interval => state.rhythm.interval().map_or(i64::MAX, |interval| {
                i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
            }),
            Self::State => GroupStatus::of(group, now) as i64,
            Self::Ttl => match state.ttl {
                Ttl::After(ttl) => i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX),
                Ttl::Never => i64::MAX,
            },
        }
    }
}

impl Order {
    /// `name`, or `-name` for the other way round.
    pub(in crate::http) fn parse(text: &str) -> Result<Self, QueryError> {
        let (name, reverse) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = Sort::NAMES.iter().find(|(known, _)| *known == name).map(|(_, by)| *by);
        let known = sort_names().collect::<Vec<_>>().join(", ");
        let expected =
            || bad(format!("sort={text}: expected one of {known}, or - and one of them"));
        Ok(Self { by: by.ok_or_else(expected)?, reverse })
    }

    /// As it is parsed.
    pub(in crate::http) fn to_text(self) -> String {
        let name = Sort::NAMES.iter().find(|(_, by)| *by == self.by).map_or("", |(name, _)| *name);
        format!("{}{name}", if self.reverse { "-" } else { "" })
    }

    fn compare(self, a: &Place, b: &Place) -> Ordering {
        let order = a.value.cmp(&b.value).then_with(|| compare_keys(&a.key, &b.key));
        if self.reverse { order.reverse() } else { order }
    }
}

/// The first bytes of a text, as a number that is ordered as they are: most comparisons need no more.
fn start(text: &str) -> i64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    // The smallest unsigned number becomes the smallest signed one.
    (u64::from_be_bytes(bytes) ^ 1 << 63).cast_signed()
}

/// By job first, as that is what people look for.
fn compare_keys(a: &GroupingKey, b: &GroupingKey) -> Ordering {
    a.get("job").cmp(&b.get("job")).then_with(|| a.labels().cmp(b.labels()))
}

impl Cursor {
    fn to_text(order: Order, place: &Place) -> String {
        let key = URL_SAFE_NO_PAD.encode(place.key.as_bytes());
        format!("{}.{}.{key}", order.to_text(), place.value)
    }

    /// Parses the `next` of an answer in the same order.
    pub(in crate::http) fn parse(order: Order, text: &str) -> Result<Self, QueryError> {
        let place = text.split_once('.').and_then(|(of, rest)| {
            let (value, key) = rest.split_once('.').filter(|_| of == order.to_text())?;
            let key = URL_SAFE_NO_PAD.decode(key).ok()?;
            let (value, key) = (value.parse().ok()?, GroupingKey::from_bytes(&key).ok()?);
            Some(Self(Place { value, key }))
        });
        let expected = "expected what an answer of the same sort has as \"next\"";
        place.ok_or_else(|| bad(format!("after={text}: {expected}")))
    }
}

impl State {
    /// All of them, by name.
    const NAMES: [(&str, Self); 7] = [
        ("ok", Self::Ok),
        ("failing", Self::Is(GroupStatus::Refused)),
        ("permanent", Self::Permanent),
        ("refused", Self::Is(GroupStatus::Refused)),
        ("expiring", Self::Is(GroupStatus::Expiring)),
        ("late", Self::Is(GroupStatus::Late)),
        ("fresh", Self::Is(GroupStatus::Fresh)),
    ];

    pub(in crate::http) fn parse(text: &str) -> Result<Self, QueryError> {
        let state = Self::NAMES.iter().find(|(known, _)| *known == text).map(|(_, state)| *state);
        let known = state_names().collect::<Vec<_>>().join(", ");
        state.ok_or_else(|| bad(format!("state={text}: expected one of {known}")))
    }

    fn is_of(self, group: &GroupView, now: UnixMillis) -> bool {
        match self {
            Self::Ok => GroupStatus::of(group, now) != GroupStatus::Refused,
            Self::Permanent => group.state.ttl == Ttl::Never,
            Self::Is(condition) => GroupStatus::of(group, now) == condition,
        }
    }
}

impl Filter {
    /// Whether it takes a group that is selected.
    fn takes(&self, group: &GroupView, now: UnixMillis) -> bool {
        self.expires.is_none_or(|(from, to)| (from..to).contains(&group.deadline))
            && self.state.is_none_or(|state| state.is_of(group, now))
    }
}

/// A page of the groups. Its cost grows with the number of groups, not with how far on the
/// page is. `held` counts the page, and the list of all groups while there is one.
pub(in crate::http) fn page(
    gateway: &Gateway,
    held: &mut Reservation,
    filter: &Filter,
    order: Order,
    skip: Skip,
    limit: usize,
) -> Result<Page, OverBudget> {
    let now = gateway.now();
    let mut meanwhile = held.beside();
    let takes = |group: &GroupView| filter.takes(group, now);
    let groups = filter.selection.groups(gateway, &mut meanwhile, takes)?;
    let total = groups.len();
    meanwhile.take(total * size_of::<(Place, GroupView)>())?;
    let place =
        |group: &GroupView| Place { value: order.by.value(group, now), key: group.key.clone() };
    let mut page: Vec<_> = groups.into_iter().map(|group| (place(&group), group)).collect();
    let compare = |a: &(Place, GroupView), b: &(Place, GroupView)| order.compare(&a.0, &b.0);
    match skip {
        Skip::To(Cursor(after)) => {
            page.retain(|(place, _)| order.compare(place, &after) == Ordering::Greater);
        }
        Skip::First(count) if count < page.len() => {
            page.select_nth_unstable_by(count, compare);
            page.drain(..count);
        }
        Skip::First(_) => page.clear(),
    }
    let more = page.len() > limit;
    if more {
        page.select_nth_unstable_by(limit, compare);
        page.truncate(limit);
    }
    page.sort_unstable_by(compare);
    let next = page.last().filter(|_| more).map(|(place, _)| Cursor::to_text(order, place));
    held.take(page.len() * size_of::<GroupView>())?;
    // Into a list of its own: one that is made in place keeps the room of all.
    let mut groups = Vec::with_capacity(page.len());
    groups.extend(page.into_iter().map(|(_, group)| group));
    Ok(Page { groups, total, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    #[test]
    fn groups_are_ordered_by_job_and_then_by_the_other_labels() {
        let key = |job: &str, instance: &str| {
            GroupingKey::new(vec![Label::new("job", job), Label::new("instance", instance)])
                .unwrap()
        };
        for (a, b) in [("", "a"), ("a", "ab"), ("z", "\u{e4}"), ("abcdefg", "abcdefgh")] {
            assert!(start(a) < start(b), "{a} {b}");
        }
        let mut keys = [key("j10", "a"), key("j1", "b"), key("j1", "a"), key("i", "z")];
        keys.sort_by(compare_keys);
        assert_eq!(keys, [key("i", "z"), key("j1", "a"), key("j1", "b"), key("j10", "a")]);
    }

    #[test]
    fn a_cursor_is_of_one_order() {
        let key = GroupingKey::new(vec![Label::new("job", "a.b")]).unwrap();
        for order in ["name", "-deadline", "ttl"] {
            let order = Order::parse(order).unwrap();
            let place = Place { value: -7, key: key.clone() };
            let text = Cursor::to_text(order, &place);
            assert_eq!(Cursor::parse(order, &text).unwrap().0, place);
            let other = Order { reverse: !order.reverse, ..order };
            assert!(Cursor::parse(other, &text).is_err());
        }
        let error = Order::parse("size").unwrap_err().to_string();
        assert!(error.contains("sort=size") && error.contains("last_push"), "{error}");
        assert!(State::parse("lat").unwrap_err().to_string().contains("late"));
    }
}
