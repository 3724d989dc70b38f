//! The labels of a sample line.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::Label;

/// The labels of a sample line as they stand there.
#[derive(Default)]
pub(super) struct LabelList {
    /// A metric name inside the braces.
    pub(super) name: Option<String>,
    pub(super) labels: Vec<Label>,
    /// Places in `labels` by the hash of the name, where there are many.
    by_name: HashTable<usize>,
}

/// So many labels are looked through one by one.
const FEW_LABELS: usize = 16;

impl LabelList {
    pub(super) fn has(&self, name: &str, hasher: &DefaultHashBuilder) -> bool {
        if self.labels.len() <= FEW_LABELS {
            return self.labels.iter().any(|label| label.name == name);
        }
        let is_it = |at: &usize| self.labels.get(*at).is_some_and(|label| label.name == name);
        self.by_name.find(hasher.hash_one(name), is_it).is_some()
    }

    pub(super) fn push(&mut self, label: Label, hasher: &DefaultHashBuilder) {
        self.labels.push(label);
        let from = match self.labels.len() {
            len if len <= FEW_LABELS => return,
            _ if self.by_name.is_empty() => 0,
            len => len - 1,
        };
        let Self { labels, by_name, .. } = self;
        let hash_of =
            |at: &usize| labels.get(*at).map_or(0, |label| hasher.hash_one(label.name.as_str()));
        for at in from..labels.len() {
            by_name.insert_unique(hash_of(&at), at, hash_of);
        }
    }
}
