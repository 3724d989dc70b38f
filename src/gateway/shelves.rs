//! The families that are shown, in byte order of their names, on shelves of some hundred each.
//!
//! A scrape takes the shelves as they are. A change makes its own shelf anew for the next one that
//! asks, and no other: scrapes of one state share all of it, those of two states all that is alike.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use slab::Slab;

/// A shelf is parted once it has more.
const SHELF_MAX: usize = 256;

/// Names in order, each with what it stands for.
#[derive(Debug)]
pub(super) struct Shelves<K, T> {
    shelves: Slab<Shelf<K, T>>,
    /// The shelves by a name that is not above any of theirs.
    order: BTreeMap<Arc<str>, ShelfId>,
}

/// Where a name is.
pub(super) type ShelfId = usize;

/// A shelf as a scrape takes it.
pub(super) type Shown<T> = Arc<[Arc<T>]>;

#[derive(Debug)]
struct Shelf<K, T> {
    names: Vec<(Arc<str>, K)>,
    /// Their values, once somebody has asked since one changed.
    shown: OnceLock<Shown<T>>,
}

impl<K: Copy, T> Shelves<K, T> {
    /// Of no names.
    pub(super) fn new() -> Self {
        let mut shelves = Slab::new();
        let first = shelves.insert(Shelf { names: Vec::new(), shown: OnceLock::new() });
        Self { shelves, order: BTreeMap::from([("".into(), first)]) }
    }

    /// Puts a name in its place, or what it stands for in that of another. `moved` is told where it
    /// and others are from now on.
    pub(super) fn insert(&mut self, name: Arc<str>, key: K, mut moved: impl FnMut(K, ShelfId)) {
        let id = self.find(&name);
        let Some(shelf) = self.shelves.get_mut(id) else { return };
        shelf.shown = OnceLock::new();
        moved(key, id);
        match shelf.names.binary_search_by(|(other, _)| other.as_ref().cmp(&*name)) {
            Ok(at) => {
                if let Some(place) = shelf.names.get_mut(at) {
                    place.1 = key;
                }
            }
            Err(at) => shelf.names.insert(at, (name, key)),
        }
        if shelf.names.len() <= SHELF_MAX {
            return;
        }
        // Names mostly come in order: what is behind stays nearly empty, and is filled next.
        let rest = shelf.names.split_off(shelf.names.len() * 3 / 4);
        let Some(first) = rest.first().map(|(name, _)| Arc::clone(name)) else { return };
        let id = self.shelves.vacant_key();
        for (_, key) in &rest {
            moved(*key, id);
        }
        self.shelves.insert(Shelf { names: rest, shown: OnceLock::new() });
        self.order.insert(first, id);
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<K> {
        let shelf = self.shelves.get(self.find(name))?;
        let at = shelf.names.binary_search_by(|(other, _)| other.as_ref().cmp(name)).ok()?;
        shelf.names.get(at).map(|(_, key)| *key)
    }

    pub(super) fn remove(&mut self, name: &str) {
        let id = self.find(name);
        let Some(shelf) = self.shelves.get_mut(id) else { return };
        if let Ok(at) = shelf.names.binary_search_by(|(other, _)| other.as_ref().cmp(name)) {
            shelf.names.remove(at);
            shelf.shown = OnceLock::new();
        }
        if shelf.names.is_empty()
            && let Some((first, _)) = self.order.range::<str, _>(up_to(name)).next_back()
            && !first.is_empty()
        {
            let first = Arc::clone(first);
            self.order.remove(&first);
            self.shelves.remove(id);
        }
    }

    /// The value of a name on this shelf is about to change.
    pub(super) fn changed(&mut self, id: ShelfId) {
        if let Some(shelf) = self.shelves.get_mut(id) {
            shelf.shown.take();
        }
    }

    /// All of it, in order. `of` says what a name stands for; some are not shown.
    pub(super) fn shown(&self, of: impl Fn(K) -> Option<Arc<T>>) -> Vec<Shown<T>> {
        let shelves = self.order.values().filter_map(|id| self.shelves.get(*id));
        let shown = shelves.map(|shelf| {
            let all = || shelf.names.iter().filter_map(|(_, key)| of(*key)).collect();
            Arc::clone(shelf.shown.get_or_init(all))
        });
        shown.filter(|shown| !shown.is_empty()).collect()
    }

    fn find(&self, name: &str) -> ShelfId {
        self.order.range::<str, _>(up_to(name)).next_back().map_or(0, |(_, id)| *id)
    }
}

/// Names that are not above this one.
fn up_to(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Unbounded, Bound::Included(name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Names and what they stand for, as the shelves have them.
    fn listed(shelves: &Shelves<u32, u32>) -> Vec<u32> {
        let shown = shelves.shown(|key| Some(Arc::new(key)));
        shown.iter().flat_map(|shelf| shelf.iter().map(|key| **key)).collect()
    }

    #[test]
    fn what_has_not_changed_is_shared() {
        let mut shelves = Shelves::new();
        let mut places = HashMap::new();
        for n in 0..10_000_u32 {
            shelves.insert(format!("{n:05}").into(), n, |key, at| {
                places.insert(key, at);
            });
        }
        let families: Vec<_> = (0..10_000).map(Arc::new).collect();
        let shown = |shelves: &Shelves<u32, u32>| {
            shelves.shown(|key| families.get(key as usize).map(Arc::clone))
        };
        let before = shown(&shelves);
        shelves.changed(places[&77]);
        let after = shown(&shelves);
        let differ = before.iter().zip(&after).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!((before.len(), after.len(), differ), (before.len(), before.len(), 1));
        assert!(before.len() >= 10_000 / SHELF_MAX, "{}", before.len());
    }

    proptest! {
        #[test]
        fn shelves_hold_what_a_map_holds(
            ops in prop::collection::vec((any::<bool>(), 0..2000_u32), 1..3000),
        ) {
            let (mut shelves, mut map) = (Shelves::new(), BTreeMap::new());
            let mut places = HashMap::new();
            for (insert, n) in ops {
                let name = format!("{}", n * 7919 % 2003);
                if insert || n % 3 > 0 {
                    shelves.insert(name.as_str().into(), n, |key, at| {
                places.insert(key, at);
            });
                    map.insert(name, n);
                } else {
                    shelves.remove(&name);
                    map.remove(&name);
                }
            }
            prop_assert_eq!(listed(&shelves), map.values().copied().collect::<Vec<_>>());
            for (name, n) in &map {
                prop_assert_eq!(shelves.get(name), Some(*n));
                prop_assert_eq!(places[n], shelves.find(name));
            }
        }
    }
}
