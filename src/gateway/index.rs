//! The index that the lane judges commands against: groups, families, series and deadlines, kept up to
//! date change by change. Only the lane sees it; it runs ahead of what is published by one batch.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashTable};
use slab::Slab;

use super::deadlines::Deadlines;
use super::prepare::{RenderedFamily, SeriesHasher, schemes};
use super::segment::GroupId;
use crate::model::name::is_metric_name;
use crate::model::{Escaping, GroupState, GroupingKey, MetricType};
use crate::time::UnixMillis;

/// Number of a family in the index and in the view. Used again once the family is removed.
pub type FamilyId = u32;

/// All that is stored, without its values.
#[derive(Debug)]
pub struct Index {
    groups: Slab<Group>,
    /// By the hash of the labels that a group's metrics have, which each group knows.
    by_labels: HashTable<GroupId>,
    families: Slab<Family>,
    by_name: HashMap<Arc<str>, FamilyId>,
    /// Series that have labels beyond their group's, by their hash.
    own_label_series: HashTable<(u64, GroupId)>,
    /// Such series, by member. Not in the member: most have none, and
    /// there is one for each family of each group.
    own_label_series_of: HashMap<(GroupId, FamilyId), OwnLabelSeries>,
    /// Groups whose keys have names that a scraper may have escaped, by the hashes that their labels
    /// have then.
    by_escaped_labels: HashTable<(u64, GroupId)>,
    /// The same of families, by scheme and name.
    by_escaped_name: HashMap<(Escaping, Box<str>), Vec<FamilyId>>,
    deadlines: Deadlines,
    hasher: SeriesHasher,
    series: u64,
    rendered: u64,
    next_number: u64,
    next_sequence: u64,
}

/// A group in the index.
#[derive(Debug)]
pub struct Group {
    pub key: GroupingKey,
    /// The hash of the labels that its metrics have.
    labels_hash: u64,
    pub state: Arc<GroupState>,
    /// That of the state, at hand.
    pub deadline: UnixMillis,
    /// Its number in the store, and the bytes that it takes there.
    pub number: u64,
    pub bytes: u64,
    /// Its families, ordered by number.
    pub members: Vec<Member>,
    pub series: u32,
    /// Bytes of its lines, as a scrape shows them; of those that the gateway adds, about.
    pub rendered: u64,
}

/// Series of a member that have labels beyond their group's.
#[derive(Debug)]
struct OwnLabelSeries {
    series: u32,
    /// More than there are series where names may be escaped.
    hashes: Box<[u64]>,
}

/// A family of a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub sequence: u64,
    pub family: FamilyId,
    pub help: HelpId,
    pub series: u32,
    /// Bytes of its lines.
    pub rendered: u32,
}

/// All families of one name.
#[derive(Debug)]
pub struct Family {
    pub name: Arc<str>,
    pub kind: MetricType,
    /// Whether its series are native histograms.
    pub native: bool,
    /// How many groups have it, and how many of them with a series.
    members: u32,
    pub holders: u32,
    helps: Helps,
}

type HelpId = u32;

/// The help texts that the groups give one family. The most recent push wins.
#[derive(Debug, Default)]
struct Helps {
    texts: Slab<(Option<Arc<str>>, u32)>,
    by_text: HashMap<Option<Arc<str>>, HelpId>,
    /// The text that counts.
    shown: Option<Arc<str>>,
    /// Where that text was when it was shown; another may be there since.
    shown_at: HelpId,
    /// The group whose push set what is shown, while that is known.
    latest: Option<GroupId>,
    latest_sequence: u64,
    /// Whether the group whose help text is shown was removed, and others disagree.
    undecided: bool,
    /// Whether another text is shown than was when somebody last asked.
    changed: bool,
}

/// A family as [`Index::set_members`] takes it.
#[derive(Debug)]
pub struct NewMember<'a> {
    pub name: &'a str,
    pub kind: MetricType,
    pub native: bool,
    pub help: Option<&'a str>,
    pub sequence: u64,
    pub series: u32,
    pub rendered: &'a RenderedFamily,
}

impl Group {
    /// The group's family.
    pub fn member(&self, family: FamilyId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&family, |member| member.family).ok()?;
        self.members.get(at)
    }
}

impl Family {
    /// The help text that counts.
    pub fn help(&self) -> Option<&Arc<str>> {
        self.helps.shown.as_ref()
    }

    /// The group whose help text counts, where groups disagree: once it has expired, another's does.
    pub fn help_giver(&self) -> Option<GroupId> {
        self.helps.latest.filter(|_| self.helps.texts.len() > 1)
    }
}

// === impl Index ===

impl Index {
    /// An index of nothing.
    pub fn new(hasher: SeriesHasher) -> Self {
        Self {
            groups: Slab::new(),
            by_labels: HashTable::new(),
            families: Slab::new(),
            by_name: HashMap::new(),
            own_label_series: HashTable::new(),
            own_label_series_of: HashMap::new(),
            by_escaped_labels: HashTable::new(),
            by_escaped_name: HashMap::new(),
            deadlines: Deadlines::default(),
            hasher,
            series: 0,
            rendered: 0,
            next_number: 1,
            next_sequence: 1,
        }
    }

    /// Hashes series.
    pub fn hasher(&self) -> SeriesHasher {
        self.hasher
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Forgets all groups. Numbers of the store are not used again all the same.
    pub fn clear(&mut self) {
        let Self { hasher, next_number, next_sequence, .. } = *self;
        *self = Self { next_number, next_sequence, ..Self::new(hasher) };
    }

    /// How many series there are, without the gateway's own two a group.
    pub fn series_count(&self) -> u64 {
        self.series
    }

    /// Bytes of all lines, as a scrape shows them; of those that the gateway adds, about.
    pub fn rendered_bytes(&self) -> u64 {
        self.rendered
    }

    /// The group of a number.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id as usize)
    }

    /// The group of a number, to change what neither families nor deadlines depend on.
    pub fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(id as usize)
    }

    /// The group of a key.
    pub fn find(&self, key: &GroupingKey) -> Option<GroupId> {
        let hash = self.hasher.group(key);
        let is_it = |group: &Group| group.labels_hash == hash && group.key == *key;
        self.by_labels.find(hash, |id| self.group(*id).is_some_and(is_it)).copied()
    }

    /// Groups whose metrics have just these labels, by the whole hash.
    pub fn with_labels(&self, labels_hash: u64) -> impl Iterator<Item = GroupId> + '_ {
        // The table itself compares seven bits of the hash.
        let has = move |id: &GroupId| self.group(*id).is_some_and(|g| g.labels_hash == labels_hash);
        self.by_labels.iter_hash(labels_hash).copied().filter(has)
    }

    /// Another group whose metrics have the labels of those of this key, as they are or once their
    /// names are escaped: all that either has of its own would come twice.
    pub fn sibling(&self, key: &GroupingKey) -> Option<GroupId> {
        let hash = self.hasher.group(key);
        let as_they_are = self.with_labels(hash).chain(self.with_escaped_labels(hash));
        let escaped = self.hasher.escaped_group(key);
        let escaped =
            escaped.flat_map(|hash| self.with_labels(hash).chain(self.with_escaped_labels(hash)));
        as_they_are.chain(escaped).find(|id| self.group(*id).is_some_and(|group| group.key != *key))
    }

    fn with_escaped_labels(&self, hash: u64) -> impl Iterator<Item = GroupId> + '_ {
        let entries = self.by_escaped_labels.iter_hash(hash);
        entries.filter(move |entry| entry.0 == hash).map(|entry| entry.1)
    }

    /// Families that this name stands for under a scheme, beside the one whose name it is.
    pub fn escaped_to(&self, scheme: Escaping, name: &str) -> impl Iterator<Item = &Family> {
        let found = if self.by_escaped_name.is_empty() {
            None
        } else {
            self.by_escaped_name.get(&(scheme, name.into()))
        };
        found.into_iter().flatten().filter_map(|id| self.families.get(*id as usize))
    }

    /// Whether there is a family whose name may be escaped.
    pub fn has_escaped_names(&self) -> bool {
        !self.by_escaped_name.is_empty()
    }

    /// Groups that have this series with labels beyond their own, by the whole hash.
    pub fn with_extra(&self, hash: u64) -> impl Iterator<Item = GroupId> + '_ {
        self.own_label_series
            .iter_hash(hash)
            .filter(move |entry| entry.0 == hash)
            .map(|entry| entry.1)
    }

    /// Whether a group's family has series with labels beyond the group's.
    pub fn has_extras(&self, id: GroupId, member: &Member) -> bool {
        self.own_label_series_of.contains_key(&(id, member.family))
    }

    /// Whether one of its series has the labels of the group and no others.
    pub fn has_plain(&self, id: GroupId, member: &Member) -> bool {
        let own_label_series = self
            .own_label_series_of
            .get(&(id, member.family))
            .map_or(0, |own_label_series| own_label_series.series);
        member.series > own_label_series
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let numbered = |(id, group)| Some((GroupId::try_from(id).ok()?, group));
        self.groups.iter().filter_map(numbered)
    }

    /// Those of them whose numbers are in a range.
    pub fn groups_in(&self, ids: Range<usize>) -> impl Iterator<Item = (GroupId, &Group)> {
        let numbered = |id| Some((GroupId::try_from(id).ok()?, self.groups.get(id)?));
        ids.filter_map(numbered)
    }

    /// No group has this number, or a higher one.
    pub fn group_ids_end(&self) -> usize {
        self.groups.capacity()
    }

    /// The family of a name.
    pub fn family_of(&self, name: &str) -> Option<(FamilyId, &Family)> {
        let id = *self.by_name.get(name)?;
        Some((id, self.families.get(id as usize)?))
    }

    /// The family of a number.
    pub fn family(&self, id: FamilyId) -> Option<&Family> {
        self.families.get(id as usize)
    }

    /// Groups whose deadline has come at `now`.
    pub fn due(&self, now: UnixMillis) -> impl Iterator<Item = GroupId> + '_ {
        self.deadlines.due(now, |id| deadline(&self.groups, id))
    }

    /// Puts the deadlines that come first in order. Now and then, so that `due` is quick.
    pub fn settle_deadlines(&mut self) {
        let Self { deadlines, groups, .. } = self;
        deadlines.settle(|id| deadline(groups, id));
    }

    /// A number for a push that orders it among all others.
    pub fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    /// A number for a group in the store that none has had.
    pub fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// The numbers that the next group and the next push get.
    pub fn next(&self) -> (u64, u64) {
        (self.next_number, self.next_sequence)
    }

    /// Sees to it that later numbers are above those of a stored group.
    pub fn seen_stored(&mut self, number: u64, sequence: u64) {
        self.next_number = self.next_number.max(number + 1);
        self.next_sequence = self.next_sequence.max(sequence + 1);
    }

    /// Adds a group without families, with its number in the store.
    pub fn insert(&mut self, key: GroupingKey, state: Arc<GroupState>, number: u64) -> GroupId {
        let deadline = state.deadline;
        let hash = self.hasher.group(&key);
        let rendered = stamp_bytes(&key);
        self.rendered += rendered;
        let id = self.groups.insert(Group {
            key,
            labels_hash: hash,
            state,
            deadline,
            number,
            bytes: 0,
            members: Vec::new(),
            series: 0,
            rendered,
        });
        let id = GroupId::try_from(id).expect("limits.groups keeps numbers below u32");
        let Self { by_labels, groups, .. } = self;
        let hash_of = |id: &GroupId| groups.get(*id as usize).map_or(0, |group| group.labels_hash);
        by_labels.insert_unique(hash, id, hash_of);
        for hash in self.escaped_hashes(id) {
            self.by_escaped_labels.insert_unique(hash, (hash, id), |entry| entry.0);
        }
        self.deadlines.set(id, deadline);
        id
    }

    fn escaped_hashes(&self, id: GroupId) -> Vec<u64> {
        self.group(id)
            .map(|group| self.hasher.escaped_group(&group.key).collect())
            .unwrap_or_default()
    }

    /// Removes a group with all that is known of it.
    pub fn remove(&mut self, id: GroupId) -> Option<Removed> {
        for hash in self.escaped_hashes(id) {
            if let Ok(entry) = self.by_escaped_labels.find_entry(hash, |it| *it == (hash, id)) {
                entry.remove();
            }
        }
        let mut group = self.groups.try_remove(id as usize)?;
        if let Ok(entry) = self.by_labels.find_entry(group.labels_hash, |other| *other == id) {
            entry.remove();
        }
        self.deadlines.remove(id);
        self.series -= u64::from(group.series);
        self.rendered -= group.rendered;
        let members = mem::take(&mut group.members);
        let mut families = Vec::with_capacity(members.len());
        for member in members {
            families.push(member.family);
            self.release(id, &member);
        }
        Some(Removed { group, families })
    }

    /// Changes a group's times and TTL.
    pub fn set_state(&mut self, id: GroupId, state: Arc<GroupState>) {
        let Some(group) = self.groups.get_mut(id as usize) else { return };
        group.deadline = state.deadline;
        group.state = state;
        self.deadlines.set(id, group.deadline);
    }

    /// Gives a group families, each in place of the one of its name. Says of each which it is, and
    /// whether it is new or its header has changed. The names differ.
    pub fn set_members(&mut self, id: GroupId, new: &[NewMember<'_>]) -> Vec<(FamilyId, bool)> {
        let mut added = Vec::with_capacity(new.len());
        let set = new.iter().map(|new| self.set_member(id, new, &mut added)).collect();
        let Some(group) = self.groups.get_mut(id as usize) else { return set };
        // All at once: one by one, each would move those behind it.
        group.members.reserve_exact(added.len());
        let in_order = group.members.last().zip(added.first());
        let in_order = in_order.is_none_or(|(last, first)| last.family < first.family);
        group.members.append(&mut added);
        if !in_order || !group.members.is_sorted_by_key(|member| member.family) {
            group.members.sort_by_key(|member| member.family);
        }
        set
    }

    /// A family that the group does not have yet goes to `added`.
    fn set_member(
        &mut self,
        id: GroupId,
        new: &NewMember<'_>,
        added: &mut Vec<Member>,
    ) -> (FamilyId, bool) {
        let (family_id, created) = match self.by_name.get(new.name) {
            Some(family) => (*family, false),
            None => (self.create_family(new), true),
        };
        let Self { families, groups, .. } = self;
        let (Some(family), Some(group)) =
            (families.get_mut(family_id as usize), groups.get_mut(id as usize))
        else {
            return (family_id, created);
        };
        // Taken before the old member is released, so that the family outlives the exchange.
        let help = family.helps.take(new.help);
        family.members += 1;
        let mut changed = created;
        if new.series > 0 {
            family.holders += 1;
            // Nobody else holds it: a push may change the type.
            changed |= family.kind != new.kind || family.native != new.native;
            family.kind = new.kind;
            family.native = new.native;
        }
        changed |= family.helps.show(help, id, new.sequence);
        let member = Member {
            sequence: new.sequence,
            family: family_id,
            help,
            series: new.series,
            rendered: u32::try_from(new.rendered.bytes()).unwrap_or(u32::MAX),
        };
        group.series += new.series;
        group.rendered += u64::from(member.rendered);
        self.series += u64::from(new.series);
        self.rendered += u64::from(member.rendered);
        let place = group.members.binary_search_by_key(&family_id, |member| member.family);
        let old = if let Ok(at) = place {
            group.members.get_mut(at).map(|old| mem::replace(old, member))
        } else {
            added.push(member);
            None
        };
        if let Some(old) = old {
            group.series -= old.series;
            group.rendered -= u64::from(old.rendered);
            self.series -= u64::from(old.series);
            self.rendered -= u64::from(old.rendered);
            self.release_counts(&old);
        }
        // Mostly a push has the series that the one before has had.
        if self.has_same_extras(id, family_id, new.rendered) {
            return (family_id, changed);
        }
        self.release_extras(id, family_id);
        let RenderedFamily { own_label_series, also, .. } = new.rendered;
        if !own_label_series.is_empty() {
            let hashes =
                own_label_series.iter().map(|extra| extra.hash).chain(also.iter().map(|it| it.0));
            let hashes: Box<[u64]> = hashes.collect();
            for hash in &hashes {
                self.own_label_series.insert_unique(*hash, (*hash, id), |entry| entry.0);
            }
            let series = u32::try_from(own_label_series.len()).unwrap_or(u32::MAX);
            self.own_label_series_of.insert((id, family_id), OwnLabelSeries { series, hashes });
        }
        (family_id, changed)
    }

    /// Takes families from a group, which are sorted.
    pub fn remove_members(&mut self, id: GroupId, families: &[FamilyId]) {
        let Some(group) = self.groups.get_mut(id as usize) else { return };
        let mut removed = Vec::with_capacity(families.len());
        group.members.retain(|member| {
            let stays = families.binary_search(&member.family).is_err();
            if !stays {
                removed.push(member.clone());
            }
            stays
        });
        for member in removed {
            if let Some(group) = self.groups.get_mut(id as usize) {
                group.series -= member.series;
                group.rendered -= u64::from(member.rendered);
            }
            self.series -= u64::from(member.series);
            self.rendered -= u64::from(member.rendered);
            self.release(id, &member);
        }
    }

    /// Whether a family has had another help text since this was last asked.
    pub fn take_help_change(&mut self, id: FamilyId) -> bool {
        let family = self.families.get_mut(id as usize);
        family.is_some_and(|family| mem::take(&mut family.helps.changed))
    }

    /// Decides which help texts count where the groups that gave them were removed and others disagree.
    /// Returns the families that have another than before.
    ///
    /// Looks at every group, once for all families. Called at most once a batch, and only on such a
    /// disagreement.
    pub fn decide_helps(&mut self, families: impl IntoIterator<Item = FamilyId>) -> Vec<FamilyId> {
        let undecided = families.into_iter().filter(|id| {
            let family = self.families.get_mut(*id as usize);
            family.is_some_and(|family| mem::take(&mut family.helps.undecided))
        });
        let undecided: Vec<_> = undecided.collect();
        if undecided.is_empty() {
            return undecided;
        }
        let mut latest: HashMap<FamilyId, Option<(u64, GroupId, HelpId)>> =
            undecided.iter().map(|id| (*id, None)).collect();
        for (group, entry) in &self.groups {
            let Ok(group) = GroupId::try_from(group) else { continue };
            let mut see = |member: &Member| {
                if let Some(latest) = latest.get_mut(&member.family) {
                    *latest = (*latest).max(Some((member.sequence, group, member.help)));
                }
            };
            if undecided.len() < entry.members.len() {
                undecided.iter().filter_map(|id| entry.member(*id)).for_each(see);
            } else {
                entry.members.iter().for_each(&mut see);
            }
        }
        let mut changed = Vec::new();
        for (id, latest) in latest {
            let Some((sequence, group, help)) = latest else { continue };
            let Some(family) = self.families.get_mut(id as usize) else { continue };
            let sequence = sequence.max(family.helps.latest_sequence);
            if family.helps.show(help, group, sequence) {
                changed.push(id);
            }
        }
        changed
    }

    fn create_family(&mut self, new: &NewMember<'_>) -> FamilyId {
        let name: Arc<str> = new.name.into();
        let family = Family {
            name: Arc::clone(&name),
            kind: new.kind,
            native: new.native,
            members: 0,
            holders: 0,
            helps: Helps::default(),
        };
        let id = FamilyId::try_from(self.families.insert(family))
            .expect("limits.series keeps numbers below u32");
        for scheme in schemes(is_metric_name(&name)) {
            let escaped = scheme.apply(&name).into();
            self.by_escaped_name.entry((*scheme, escaped)).or_default().push(id);
        }
        self.by_name.insert(name, id);
        id
    }

    /// Takes back what a member claimed. Removes the family with its last member.
    fn release(&mut self, group: GroupId, member: &Member) {
        self.release_extras(group, member.family);
        self.release_counts(member);
        let Some(family) = self.families.get_mut(member.family as usize) else { return };
        family.helps.remove(group);
        if family.members == 0 {
            let family = self.families.remove(member.family as usize);
            self.by_name.remove(&family.name);
            for scheme in schemes(is_metric_name(&family.name)) {
                let key = (*scheme, scheme.apply(&family.name).into());
                if let Entry::Occupied(mut entry) = self.by_escaped_name.entry(key) {
                    entry.get_mut().retain(|id| *id != member.family);
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                }
            }
        }
    }

    /// Takes back the series that a group's family claims.
    fn release_extras(&mut self, group: GroupId, family: FamilyId) {
        let own_label_series = self.own_label_series_of.remove(&(group, family));
        for hash in
            own_label_series.map(|own_label_series| own_label_series.hashes).unwrap_or_default()
        {
            if let Ok(entry) =
                self.own_label_series.find_entry(hash, |entry| *entry == (hash, group))
            {
                entry.remove();
            }
        }
    }

    /// Takes back what a member counts for: what one has whose place another takes.
    fn release_counts(&mut self, member: &Member) {
        if let Some(family) = self.families.get_mut(member.family as usize) {
            family.members -= 1;
            family.holders -= u32::from(member.series > 0);
            family.helps.release(member.help);
        }
    }

    /// Whether a group's family has these very series beyond those that have the group's labels only.
    pub fn has_same_extras(&self, id: GroupId, family: FamilyId, new: &RenderedFamily) -> bool {
        let RenderedFamily { own_label_series, also, .. } = new;
        let hashes =
            own_label_series.iter().map(|extra| extra.hash).chain(also.iter().map(|it| it.0));
        match self.own_label_series_of.get(&(id, family)) {
            Some(before) => before.hashes.iter().copied().eq(hashes),
            None => own_label_series.is_empty(),
        }
    }
}

/// About how many bytes the lines have that the gateway adds to a group.
pub fn stamp_bytes(key: &GroupingKey) -> u64 {
    3 * (64 + key.as_bytes().len() as u64)
}

fn deadline(groups: &Slab<Group>, id: GroupId) -> UnixMillis {
    groups.get(id as usize).map_or(UnixMillis::MAX, |group| group.deadline)
}

/// A group that was removed, and the families that it had.
#[derive(Debug)]
pub struct Removed {
    pub group: Group,
    pub families: Vec<FamilyId>,
}

// === impl Helps ===

impl Helps {
    /// Counts one more group that gives this text.
    fn take(&mut self, text: Option<&str>) -> HelpId {
        let id = match self.texts.get(self.shown_at as usize) {
            // Nearly always the text of the push before.
            Some((shown, _)) if shown.as_deref() == text => self.shown_at,
            _ => {
                let text: Option<Arc<str>> = text.map(Into::into);
                let Self { texts, by_text, .. } = self;
                *by_text.entry(text.clone()).or_insert_with(|| {
                    HelpId::try_from(texts.insert((text, 0))).expect("fewer than groups")
                })
            }
        };
        if let Some((_, groups)) = self.texts.get_mut(id as usize) {
            *groups += 1;
        }
        id
    }

    /// Shows a text if its push is later than the one whose text is shown. Returns whether that is
    /// another text, or where groups disagree another group's.
    fn show(&mut self, id: HelpId, group: GroupId, sequence: u64) -> bool {
        if sequence < self.latest_sequence {
            // While restoring. The text stays, but it may be disputed only now.
            return self.texts.len() > 1;
        }
        let text = self.texts.get(id as usize).and_then(|(text, _)| text.clone());
        let disputed = self.texts.len() > 1 && self.latest != Some(group);
        let changed = self.shown != text || disputed;
        self.changed |= self.shown != text && self.latest_sequence > 0;
        self.shown = text;
        self.shown_at = id;
        self.latest = Some(group);
        self.latest_sequence = sequence;
        self.undecided = false;
        changed
    }

    fn release(&mut self, id: HelpId) {
        let Some((text, groups)) = self.texts.get_mut(id as usize) else { return };
        *groups -= 1;
        if *groups == 0 {
            self.by_text.remove(text);
            self.texts.remove(id as usize);
        }
    }

    /// A group no longer has the family.
    fn remove(&mut self, group: GroupId) {
        if self.latest == Some(group) {
            self.latest = None;
            let only_shown = self.texts.len() == 1
                && self.texts.iter().all(|(_, (text, _))| *text == self.shown);
            self.undecided = !only_shown;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::gateway::prepare::ExtraSeries;
    use crate::gateway::segment::Rendered;
    use crate::model::Label;
    use crate::time::UnixNanos;

    fn key(job: &str) -> GroupingKey {
        GroupingKey::new(vec![Label::new("job", job)]).unwrap()
    }

    fn state(renewed: u64) -> Arc<GroupState> {
        let deadline = UnixMillis(renewed + 10);
        Arc::new(GroupState { deadline, ..GroupState::new(UnixNanos(0), UnixMillis(renewed)) })
    }

    fn index() -> Index {
        Index::new(SeriesHasher::random())
    }

    fn member<'a>(name: &'a str, help: Option<&'a str>, sequence: u64) -> NewMember<'a> {
        static RENDERED: LazyLock<RenderedFamily> = LazyLock::new(|| rendered(vec![]));
        let kind = MetricType::Gauge;
        let native = false;
        NewMember { name, kind, native, help, sequence, series: 1, rendered: &RENDERED }
    }

    fn rendered(own_label_series: Vec<ExtraSeries>) -> RenderedFamily {
        RenderedFamily { lines: Rendered::default(), plain_hash: 0, own_label_series, also: vec![] }
    }

    /// Gives a group one family.
    fn set(index: &mut Index, id: GroupId, new: NewMember<'_>) -> (FamilyId, bool) {
        index.set_members(id, &[new])[0]
    }

    #[test]
    fn groups_are_found_by_key_and_by_deadline() {
        let mut index = index();
        let (a, b) = (index.insert(key("a"), state(5), 1), index.insert(key("b"), state(1), 2));
        assert_eq!((index.find(&key("a")), index.find(&key("c"))), (Some(a), None));
        assert_eq!(index.due(UnixMillis(15)).collect::<Vec<_>>(), [b, a]);
        assert_eq!(index.due(UnixMillis(14)).collect::<Vec<_>>(), [b]);
        index.set_state(b, state(100));
        assert_eq!(index.due(UnixMillis(50)).collect::<Vec<_>>(), [a]);
        index.remove(a);
        assert_eq!((index.find(&key("a")), index.due(UnixMillis(50)).count()), (None, 0));
    }

    #[test]
    fn stored_numbers_are_not_used_again() {
        let mut index = index();
        index.seen_stored(41, 0);
        let first = index.insert(key("a"), state(0), 41);
        index.remove(first);
        assert_eq!(index.next_number(), 42);
    }

    #[test]
    fn a_family_lives_as_long_as_a_group_has_it() {
        let mut index = index();
        let (a, b) = (index.insert(key("a"), state(0), 1), index.insert(key("b"), state(0), 2));
        let (family, created) = set(&mut index, a, member("m", None, 1));
        assert!(created);
        assert_eq!(set(&mut index, b, member("m", None, 2)), (family, false));
        assert_eq!(set(&mut index, b, member("m", None, 3)), (family, false));
        assert_eq!(index.family(family).unwrap().holders, 2);
        index.remove(a);
        assert_eq!(index.family(family).unwrap().holders, 1);
        index.remove_members(b, &[family]);
        assert!(index.family_of("m").is_none());
        assert_eq!(index.series_count(), 0);
    }

    #[test]
    fn the_help_of_the_most_recent_push_wins_and_survives_its_loss() {
        let mut index = index();
        let ids: Vec<_> =
            ["a", "b", "c"].iter().map(|job| index.insert(key(job), state(0), 1)).collect();
        let help = |index: &Index| index.family_of("m").unwrap().1.help().unwrap().to_string();
        set(&mut index, ids[0], member("m", Some("one"), 1));
        assert!(set(&mut index, ids[1], member("m", Some("two"), 2)).1);
        let (family, changed) = set(&mut index, ids[2], member("m", Some("three"), 3));
        assert!(changed);
        index.remove(ids[2]);
        assert_eq!(index.decide_helps([family]), [family]);
        assert_eq!(help(&index), "two");
        index.remove(ids[0]);
        assert!(index.decide_helps([family]).is_empty());
        assert_eq!(help(&index), "two");
        // Restored in any order, the latest still wins.
        assert!(!set(&mut index, ids[1], member("m", Some("two"), 9)).1);
        let old = index.insert(key("d"), state(0), 4);
        assert!(set(&mut index, old, member("m", Some("old"), 5)).1, "it is disputed now");
        assert_eq!(help(&index), "two");
    }

    #[test]
    fn series_with_labels_of_their_own_are_found_until_they_are_gone() {
        let mut index = index();
        let a = index.insert(key("a"), state(0), 1);
        let rendered = rendered(vec![ExtraSeries { hash: 7, labels_hash: 1, metric: 0 }]);
        let new = NewMember { rendered: &rendered, ..member("m", None, 1) };
        let (family, _) = set(&mut index, a, new);
        assert_eq!(index.with_extra(7).collect::<Vec<_>>(), [a]);
        assert!(!index.has_plain(a, index.group(a).unwrap().member(family).unwrap()));
        set(&mut index, a, member("m", None, 2));
        assert_eq!(index.with_extra(7).count(), 0);
        assert!(index.has_plain(a, index.group(a).unwrap().member(family).unwrap()));
    }
}
