//! Looks through the published groups, or those that have a metric, some at a time.

use std::time::Duration;

use super::error::{Fault, Opposite};
use super::view::{GroupView, View};
use super::{Gateway, block_in_place_if, stamps};
use crate::model::{GroupingKey, Meter, OverBudget};

/// So many groups are copied while pushes wait.
const GROUPS_AT_ONCE: usize = 512;
/// Who finds no place to look through all groups waits so long for one.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// Who holds what a push contradicts.
#[derive(Debug)]
pub enum Holders {
    /// The gateway itself, whose metrics are not pushed.
    Gateway,
    /// Some of the groups, and how many there are.
    Groups { some: Vec<GroupView>, count: usize },
}

impl Gateway {
    /// The groups that have not expired and that `take` takes. It is asked while others go on: a group
    /// that comes or goes meanwhile may or may not be among them, one that stays is. The list is counted
    /// as it grows.
    pub fn groups(
        &self,
        meter: &mut dyn Meter,
        take: impl FnMut(&GroupView) -> bool,
    ) -> Result<Vec<GroupView>, OverBudget> {
        let now = self.shared.clock.now();
        self.taken(meter, take, |view, from, to| view.some_groups(from, GROUPS_AT_ONCE, now, to))
    }

    /// The same of the groups that have series of this name. Looks at no others.
    pub fn groups_with(
        &self,
        name: &str,
        meter: &mut dyn Meter,
        take: impl FnMut(&GroupView) -> bool,
    ) -> Result<Vec<GroupView>, OverBudget> {
        let now = self.shared.clock.now();
        self.taken(meter, take, |view, from, to| {
            view.some_groups_with(name, from, GROUPS_AT_ONCE, now, to)
        })
    }

    /// Of the groups that `copy` copies, some at a time, those that `take` takes.
    fn taken(
        &self,
        meter: &mut dyn Meter,
        mut take: impl FnMut(&GroupView) -> bool,
        copy: impl Fn(&View, usize, &mut Vec<GroupView>) -> Option<usize>,
    ) -> Result<Vec<GroupView>, OverBudget> {
        let mut taken = Vec::new();
        let mut some = Vec::with_capacity(GROUPS_AT_ONCE);
        let mut next = 0;
        while let Some(after) = copy(&self.view(), next, &mut some) {
            next = after;
            some.retain(|group| take(group));
            // A vector that grows has room for as much again.
            meter.take(2 * some.len() * size_of::<GroupView>())?;
            taken.append(&mut some);
        }
        Ok(taken)
    }

    /// Who holds what a push contradicts. `key`: the group that was pushed to.
    pub fn holders(&self, opposite: Opposite<'_>, key: &GroupingKey) -> Holders {
        let (name, but) = match opposite {
            Opposite::Family(name) => (name, Some(key)),
            Opposite::Other(name) => (name, None),
            Opposite::Group(key) => {
                let some: Vec<_> = self.group(key).into_iter().collect();
                return Holders::Groups { count: some.len(), some };
            }
        };
        if stamps::is_stamp(name) || self.shared.own_families.contains(name) {
            return Holders::Gateway;
        }
        let (some, count) = self.view().holders(name, but, self.shared.clock.now());
        Holders::Groups { some, count }
    }

    /// Does work that looks at many groups, or at much of one, where it holds up nobody else, and with
    /// few others at a time; they wait, but not for long.
    pub async fn look_through<T>(&self, work: impl FnOnce() -> T) -> Result<T, Fault> {
        let places = &self.shared.places;
        let place = match places.try_acquire() {
            Ok(place) => place,
            Err(_) => match tokio::time::timeout(PLACE_WAIT, places.acquire()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Err(Fault::Crowded),
            },
        };
        let result = block_in_place_if(true, work);
        drop(place);
        Ok(result)
    }

    /// Some of the groups that are there now, to be read one by one, from a number on; 0 is the first.
    /// Says with which to go on; `None` if there are no more.
    pub fn stored_groups(&self, from: usize) -> Option<(usize, Vec<u64>)> {
        let mut some = Vec::with_capacity(GROUPS_AT_ONCE);
        let now = self.shared.clock.now();
        let next = self.view().some_groups(from, GROUPS_AT_ONCE, now, &mut some)?;
        Some((next, some.iter().map(|group| group.number).collect()))
    }
}
