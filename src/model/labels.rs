//! Labels, and the label set of a metric in its group.

use std::cmp::Ordering;
use std::iter;

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub name: String,
    pub value: String,
}

impl Label {
    /// A label of `name` and `value`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// The labels of a metric: those that its group gives, and its own. Both sorted by name, and so is
/// the result. Where both have a name, which after sanitizing is an `instance` that the grouping
/// key lacks, the metric's own counts.
pub fn merged<'a>(
    group: impl Iterator<Item = (&'a str, &'a str)>,
    own: &'a [Label],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut group = group.peekable();
    let mut own = own.iter().map(|label| (label.name.as_str(), label.value.as_str())).peekable();
    iter::from_fn(move || {
        let order = match (group.peek(), own.peek()) {
            (Some((group, _)), Some((own, _))) => group.cmp(own),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if order == Ordering::Equal {
            group.next();
        }
        if order == Ordering::Less { group.next() } else { own.next() }
    })
}
