//! Groups in a map, for tests: a store without a disk, and without chunks.

use std::collections::BTreeMap;

use super::commit::StageError;
use super::error::ReadError;
use super::family::EncodedFamily;
use super::group::Removal;
use super::writer::{FamiliesChange, StagedGroups};
use crate::model::{GroupState, GroupingKey};

/// Groups by their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct MapGroups {
    pub(crate) groups: BTreeMap<u64, MapGroup>,
    /// Groups whose families cannot be read.
    pub(crate) broken: Vec<u64>,
    /// How many changes were staged.
    pub(crate) changes: usize,
}

/// A group of the map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MapGroup {
    pub(crate) key: GroupingKey,
    pub(crate) state: GroupState,
    pub(crate) families: BTreeMap<String, EncodedFamily>,
    pub(crate) removal: Option<Removal>,
}

impl MapGroups {
    fn read(&self, number: u64) -> Result<(), ReadError> {
        if self.broken.contains(&number) {
            return Err(ReadError::Damaged { number, what: "on purpose".into() });
        }
        Ok(())
    }
}

impl StagedGroups for MapGroups {
    fn put(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        families: FamiliesChange<'_>,
    ) -> Result<u64, StageError> {
        let before = self.groups.get(&number);
        let before = || before.map(|group| group.families.clone()).unwrap_or_default();
        let (mut kept, new) = match families {
            FamiliesChange::Replace(new) => (BTreeMap::new(), new),
            FamiliesChange::Keep => (before(), Vec::new()),
            FamiliesChange::Update(new) => (before(), new),
        };
        if !kept.is_empty() {
            self.read(number)?;
        }
        kept.extend(new.into_iter().map(|family| (family.name().to_owned(), family.clone())));
        let bytes = kept.len() as u64;
        let group =
            MapGroup { key: key.clone(), state: state.clone(), families: kept, removal: None };
        self.groups.insert(number, group);
        self.changes += 1;
        Ok(bytes)
    }

    fn remove(&mut self, number: u64, removal: &Removal) -> u64 {
        self.changes += 1;
        let Some(group) = self.groups.get_mut(&number) else { return 0 };
        group.removal = Some(removal.clone());
        group.families.len() as u64 + 1
    }

    fn purge(&mut self, number: u64) {
        self.changes += 1;
        self.groups.remove(&number);
    }

    fn wipe(&mut self) {
        self.changes += 1;
        self.groups.clear();
    }

    fn rewrite(&mut self) -> Result<(), ReadError> {
        self.changes += 1;
        Ok(())
    }

    fn family(&self, number: u64, name: &str) -> Result<Option<EncodedFamily>, ReadError> {
        self.read(number)?;
        Ok(self.groups.get(&number).and_then(|group| group.families.get(name)).cloned())
    }
}
