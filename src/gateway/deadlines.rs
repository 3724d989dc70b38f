//! When groups expire, in order.
//!
//! A renewal, which is what nearly every push is, moves a deadline further away and changes nothing
//! here: a group stays listed under an earlier deadline until that comes first, and only then moves
//! to where it belongs. So a group moves once a TTL, not once a push.

use std::collections::BTreeSet;

use super::segment::GroupId;
use crate::time::UnixMillis;

/// Groups by deadline. Whoever asks says what the deadline of a group is.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Each group that expires at all once, under a deadline that is not after its own.
    order: BTreeSet<(UnixMillis, GroupId)>,
    /// Under which deadline each group is listed, by its number; [`UnixMillis::MAX`] if under none.
    listed: Vec<UnixMillis>,
}

impl Deadlines {
    /// A group has this deadline now.
    pub(super) fn set(&mut self, id: GroupId, deadline: UnixMillis) {
        let at = id as usize;
        if self.listed.len() <= at {
            self.listed.resize(at + 1, UnixMillis::MAX);
        }
        let Some(listed) = self.listed.get_mut(at) else { return };
        if deadline < *listed {
            if *listed != UnixMillis::MAX {
                self.order.remove(&(*listed, id));
            }
            *listed = deadline;
            self.order.insert((deadline, id));
        }
    }

    /// A group was removed.
    pub(super) fn remove(&mut self, id: GroupId) {
        if let Some(listed) = self.listed.get_mut(id as usize) {
            self.order.remove(&(*listed, id));
            *listed = UnixMillis::MAX;
        }
    }

    /// The groups whose deadline has come at `now`.
    pub(super) fn due(
        &self,
        now: UnixMillis,
        deadline: impl Fn(GroupId) -> UnixMillis,
    ) -> impl Iterator<Item = GroupId> {
        let listed = self.order.iter().take_while(move |(listed, _)| *listed <= now);
        listed.map(|entry| entry.1).filter(move |id| deadline(*id) <= now)
    }

    /// Moves groups to where they belong until the first one does. Returns its deadline;
    /// [`UnixMillis::MAX`] if there is none.
    pub(super) fn settle(&mut self, deadline: impl Fn(GroupId) -> UnixMillis) -> UnixMillis {
        while let Some((first, id)) = self.order.first().copied() {
            let own = deadline(id);
            if own <= first {
                return first;
            }
            self.order.pop_first();
            if let Some(listed) = self.listed.get_mut(id as usize) {
                *listed = own;
            }
            if own != UnixMillis::MAX {
                self.order.insert((own, id));
            }
        }
        UnixMillis::MAX
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Set(GroupId, u64),
        Remove(GroupId),
        Settle,
        Due(u64),
    }

    proptest! {
        #[test]
        fn groups_are_due_when_a_map_says_so(
            ops in prop::collection::vec(
                prop_oneof![
                    6 => (0..8_u32, prop_oneof![0..100_u64, Just(u64::MAX)])
                        .prop_map(|(id, at)| Op::Set(id, at)),
                    2 => (0..8_u32).prop_map(Op::Remove),
                    2 => Just(Op::Settle),
                    3 => (0..100_u64).prop_map(Op::Due),
                ],
                1..60,
            )
        ) {
            let mut deadlines = Deadlines::default();
            let mut map: BTreeMap<GroupId, UnixMillis> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(id, at) => {
                        map.insert(id, UnixMillis(at));
                        deadlines.set(id, UnixMillis(at));
                    }
                    Op::Remove(id) => {
                        map.remove(&id);
                        deadlines.remove(id);
                    }
                    Op::Settle => {
                        let first = deadlines.settle(|id| map[&id]);
                        prop_assert_eq!(first, map.values().min().copied().unwrap_or(UnixMillis::MAX));
                    }
                    Op::Due(now) => {
                        let now = UnixMillis(now);
                        let mut due: Vec<_> = deadlines.due(now, |id| map[&id]).collect();
                        due.sort_unstable();
                        let expected = map.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id);
                        prop_assert_eq!(due, expected.collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}
