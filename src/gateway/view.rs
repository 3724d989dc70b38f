//! The published state, which scrapes and the API read: the groups and the rendered exposition as of
//! the last durable batch.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::deadlines::Deadlines;
use super::history::RemovedGroup;
use super::index::FamilyId;
use super::segment::{GroupId, Rendered, Segment, Segments, next_generation};
use super::shelves::{ShelfId, Shelves, Shown};
use super::stamps::StampLines;
use crate::exposition::text;
use crate::model::{GroupState, GroupingKey, MetricType, TtlSource};
use crate::telemetry::labels::PerTtlSource;
use crate::time::UnixMillis;

/// A durable change, to be published.
#[derive(Debug)]
pub enum Change {
    /// A group has this state, these stamp lines, and lines of these families in place of those it
    /// had.
    Group { id: GroupId, group: GroupView, stamps: StampLines, lines: Vec<(FamilyId, Rendered)> },
    /// A group has other times or another TTL, takes so many bytes in the store, and has the lines that
    /// it had but for when it expires, if it says so.
    State { id: GroupId, state: Arc<GroupState>, bytes: u64, expiry: Option<Bytes> },
    /// A group no longer has a family.
    MemberRemoved { id: GroupId, family: FamilyId },
    /// A family is new, or has another header. Comes before its lines.
    Header {
        family: FamilyId,
        name: Arc<str>,
        kind: MetricType,
        native: bool,
        help: Option<Arc<str>>,
        /// The group whose help text it has, where groups disagree.
        help_giver: Option<GroupId>,
    },
    /// Groups are not shown any more.
    GroupsRemoved { groups: Vec<(GroupId, Vec<FamilyId>)> },
    /// A removed group can be restored.
    Removed(Arc<RemovedGroup>),
    /// A removed group cannot be restored any more.
    Purged { sequence: u64 },
    /// There is no group any more, nor one that can be restored.
    Wiped,
}

/// So many of the groups that have a metric are looked at to name one of them.
const HOLDERS_SEEN: usize = 16;

/// The published state.
#[derive(Debug)]
pub struct View {
    /// By number.
    groups: Vec<Option<GroupView>>,
    /// The numbers of the groups by their keys.
    by_key: HashTable<GroupId>,
    hasher: DefaultHashBuilder,
    /// By number. A family whose last lines were removed keeps its place until its number is used
    /// again: it may have members without a series, to which the next push gives one.
    families: Vec<Option<Arc<FamilyView>>>,
    /// The families that every group has and the index does not list.
    stamps: Vec<Arc<FamilyView>>,
    /// Both by their names.
    shelves: Shelves<FamilyRef, FamilyView>,
    deadlines: Deadlines,
    totals: Totals,
    /// The groups that can be restored, in the order in which they were removed.
    removed: VecDeque<Arc<RemovedGroup>>,
}

/// Sums over all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub groups: u64,
    /// Without the stamps of each group.
    pub series: u64,
    pub by_ttl_source: PerTtlSource,
}

#[derive(Clone, Copy, Debug)]
enum FamilyRef {
    Stamp(usize),
    Stored(FamilyId),
}

/// A published group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its number in the store.
    pub number: u64,
    pub key: GroupingKey,
    pub state: Arc<GroupState>,
    /// That of the state, at hand.
    pub deadline: UnixMillis,
    pub families: u32,
    /// Without its stamps.
    pub series: u32,
    /// Bytes that it takes in the store.
    pub bytes: u64,
}

/// A family as a scrape takes it.
#[derive(Clone, Debug)]
pub struct FamilyView {
    pub name: Arc<str>,
    pub header: Header,
    segments: Segments,
    /// Where it is among all others.
    shelf: ShelfId,
}

/// The header of a family.
#[derive(Clone, Debug)]
pub struct Header {
    pub kind: MetricType,
    /// Whether the metrics are native histograms.
    pub native: bool,
    pub help: Option<Arc<str>>,
    /// The HELP and TYPE lines.
    pub text: Bytes,
    /// Changes whenever the others do.
    pub generation: u64,
    help_giver: Option<GroupId>,
}

/// The exposition at one instant.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// In byte order of their names; none without segments.
    shelves: Vec<Shown<FamilyView>>,
    /// Groups in the segments that have expired, sorted.
    pub expired: Vec<GroupId>,
}

impl Snapshot {
    /// Of no group.
    pub fn empty() -> Self {
        Self { shelves: Vec::new(), expired: Vec::new() }
    }

    /// Whether a help text is that of a group that has expired, while another's would count.
    pub fn has_expired_help(&self) -> bool {
        let expired = |giver| self.expired.binary_search(&giver).is_ok();
        !self.expired.is_empty()
            && self.families().any(|family| family.header.help_giver.is_some_and(expired))
    }

    /// The families, in byte order of their names; none without segments.
    pub fn families(&self) -> impl Iterator<Item = &Arc<FamilyView>> {
        self.shelves.iter().flat_map(|shelf| shelf.iter())
    }

    /// The same, each dropped with its shelf once it was taken.
    pub fn into_families(self) -> Families {
        Families { shelves: self.shelves.into_iter(), shelf: None, at: 0 }
    }
}

/// The families of a snapshot, one after another.
#[derive(Debug)]
pub struct Families {
    shelves: std::vec::IntoIter<Shown<FamilyView>>,
    shelf: Option<Shown<FamilyView>>,
    at: usize,
}

impl Iterator for Families {
    type Item = Arc<FamilyView>;

    fn next(&mut self) -> Option<Arc<FamilyView>> {
        loop {
            if let Some(family) = self.shelf.as_ref().and_then(|shelf| shelf.get(self.at)) {
                self.at += 1;
                return Some(Arc::clone(family));
            }
            self.shelf = Some(self.shelves.next()?);
            self.at = 0;
        }
    }
}

impl FamilyView {
    fn new(name: Arc<str>, header: Header) -> Self {
        Self { name, header, segments: Segments::default(), shelf: 0 }
    }

    /// Its lines.
    pub fn segments(&self) -> &[Arc<Segment>] {
        self.segments.list()
    }
}

impl Header {
    fn new(
        name: &str,
        kind: MetricType,
        help: Option<Arc<str>>,
        help_giver: Option<GroupId>,
    ) -> Self {
        let text = text::header(name, help.as_deref(), kind).into();
        Self { kind, native: false, help, text, generation: next_generation(), help_giver }
    }
}

impl View {
    /// Nothing published yet. The stamp families have these names and help texts.
    pub fn new<'a>(stamps: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut shelves = Shelves::new();
        let family = |(name, help): (&str, &str)| {
            Arc::new(FamilyView::new(
                name.into(),
                Header::new(name, MetricType::Gauge, Some(help.into()), None),
            ))
        };
        let mut stamps: Vec<_> = stamps.into_iter().map(family).collect();
        for at in 0..stamps.len() {
            let Some(name) = stamps.get(at).map(|family| Arc::clone(&family.name)) else {
                continue;
            };
            shelves.insert(name, FamilyRef::Stamp(at), |family, shelf| {
                note_shelf(&mut [], &mut stamps, family, shelf);
            });
        }
        Self {
            groups: Vec::new(),
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            families: Vec::new(),
            stamps,
            shelves,
            deadlines: Deadlines::default(),
            totals: Totals::default(),
            removed: VecDeque::new(),
        }
    }

    /// Applies a change.
    pub fn publish(&mut self, change: Change) {
        match change {
            Change::Group { id, group, stamps, lines } => {
                self.put_group(id, group);
                for (at, text) in stamps.into_iter().enumerate() {
                    if let Some(family) = self.changing(FamilyRef::Stamp(at)) {
                        family.segments.put(id, &Rendered { text, protobuf: None });
                    }
                }
                for (family, lines) in lines {
                    if let Some(family) = self.changing(FamilyRef::Stored(family)) {
                        family.segments.put(id, &lines);
                    }
                }
            }
            Change::State { id, state, bytes, expiry } => {
                self.put_state(id, state, bytes);
                let last = FamilyRef::Stamp(self.stamps.len().saturating_sub(1));
                if let Some(text) = expiry
                    && let Some(family) = self.changing(last)
                {
                    family.segments.put(id, &Rendered { text, protobuf: None });
                }
            }
            Change::MemberRemoved { id, family } => self.remove_lines(family, &[id]),
            Change::Header { family, name, kind, native, help, help_giver } => {
                let header = Header { native, ..Header::new(&name, kind, help, help_giver) };
                self.put_header(family, name, header);
            }
            Change::GroupsRemoved { groups } => self.remove_groups(groups),
            Change::Wiped => self.clear(),
            Change::Removed(removed) => self.removed.push_back(removed),
            Change::Purged { sequence } => {
                let at = self.removed.binary_search_by_key(&sequence, |removed| removed.sequence);
                at.ok().and_then(|at| self.removed.remove(at));
            }
        }
    }

    fn clear(&mut self) {
        for at in 0..self.stamps.len() {
            if let Some(family) = self.changing(FamilyRef::Stamp(at)) {
                family.segments = Segments::default();
            }
        }
        for family in self.families.drain(..).flatten() {
            self.shelves.remove(&family.name);
        }
        self.groups.clear();
        self.by_key.clear();
        self.removed.clear();
        self.deadlines = Deadlines::default();
        self.totals = Totals::default();
    }

    /// The state that a scrape at `now` serves.
    pub fn snapshot(&self, now: UnixMillis) -> Snapshot {
        let mut expired: Vec<_> = self.due(now).collect();
        expired.sort_unstable();
        let shown = |family| {
            let family = self.family(family)?;
            (!family.segments().is_empty()).then(|| Arc::clone(family))
        };
        Snapshot { shelves: self.shelves.shown(shown), expired }
    }

    /// The groups that have not expired at `now`.
    pub fn groups(&self, now: UnixMillis) -> impl Iterator<Item = &GroupView> {
        self.groups.iter().flatten().filter(move |group| group.deadline > now)
    }

    /// Copies some of those groups: of so many numbers, from this one on. Returns with which number to
    /// go on; `None` if there are no more.
    pub fn some_groups(
        &self,
        from: usize,
        count: usize,
        now: UnixMillis,
        to: &mut Vec<GroupView>,
    ) -> Option<usize> {
        let some = self.groups.get(from..)?.iter().take(count);
        if some.len() == 0 {
            return None;
        }
        to.extend(some.flatten().filter(|group| group.deadline > now).cloned());
        Some(from + count)
    }

    /// The same of the groups that have series of this name.
    pub fn some_groups_with(
        &self,
        name: &str,
        from: usize,
        count: usize,
        now: UnixMillis,
        to: &mut Vec<GroupView>,
    ) -> Option<usize> {
        let ids = self.named(name)?.segments.groups_from(GroupId::try_from(from).ok()?);
        let mut next = None;
        for id in ids.take(count) {
            to.extend(self.alive(id, now).cloned());
            next = Some(id as usize + 1);
        }
        next
    }

    /// Some of the groups that have series of this name, and how many there are; not counting the one
    /// of a key.
    pub fn holders(
        &self,
        name: &str,
        but: Option<&GroupingKey>,
        now: UnixMillis,
    ) -> (Vec<GroupView>, usize) {
        let Some(family) = self.named(name) else { return (Vec::new(), 0) };
        let segments = &family.segments;
        let own = but.and_then(|key| self.id(key));
        let has_own = own.is_some_and(|own| segments.groups_from(own).next() == Some(own));
        let others = segments.groups_from(0).filter(|id| Some(*id) != own);
        let some = others.take(HOLDERS_SEEN).filter_map(|id| self.alive(id, now));
        (some.cloned().collect(), segments.group_count() - usize::from(has_own))
    }

    /// The family of a name, or the one that has series of that name: `latency` has
    /// `latency_bucket`.
    fn named(&self, name: &str) -> Option<&FamilyView> {
        let named = |name: &str| self.family(self.shelves.get(name)?).map(AsRef::as_ref);
        let as_part = |suffix: &str| {
            let family = named(name.strip_suffix(suffix)?)?;
            family.header.kind.claimed_suffixes().contains(&suffix).then_some(family)
        };
        let is_shown = |family: &&FamilyView| !family.segments().is_empty();
        let parts = || ["_count", "_sum", "_bucket"].into_iter().find_map(as_part);
        named(name).filter(is_shown).or_else(parts)
    }

    fn alive(&self, id: GroupId, now: UnixMillis) -> Option<&GroupView> {
        group(&self.groups, id).filter(|group| group.deadline > now)
    }

    /// The groups that can be restored, in the order in which they were removed.
    pub fn removed(&self) -> &VecDeque<Arc<RemovedGroup>> {
        &self.removed
    }

    /// Groups that have expired at `now` and are yet to be removed.
    pub fn overdue(&self, now: UnixMillis) -> impl Iterator<Item = &GroupView> {
        self.due(now).filter_map(|id| self.groups.get(id as usize)?.as_ref())
    }

    /// Sums over the groups that have not expired at `now`.
    pub fn totals(&self, now: UnixMillis) -> Totals {
        let mut totals = self.totals;
        for id in self.due(now) {
            if let Some(Some(group)) = self.groups.get(id as usize) {
                totals.subtract(group);
            }
        }
        totals
    }

    /// The earliest deadline of all, expired groups included; [`UnixMillis::MAX`] if there is none.
    pub fn next_deadline(&mut self) -> UnixMillis {
        let Self { deadlines, groups, .. } = self;
        deadlines.settle(|id| deadline(groups, id))
    }

    fn due(&self, now: UnixMillis) -> impl Iterator<Item = GroupId> {
        self.deadlines.due(now, |id| deadline(&self.groups, id))
    }

    fn family(&self, family: FamilyRef) -> Option<&Arc<FamilyView>> {
        match family {
            FamilyRef::Stamp(at) => self.stamps.get(at),
            FamilyRef::Stored(id) => self.families.get(id as usize)?.as_ref(),
        }
    }

    /// A family that is about to change, and what is shown of it with it. Copied where a scrape still
    /// has it.
    fn changing(&mut self, family: FamilyRef) -> Option<&mut FamilyView> {
        let slot = match family {
            FamilyRef::Stamp(at) => self.stamps.get_mut(at)?,
            FamilyRef::Stored(id) => self.families.get_mut(id as usize)?.as_mut()?,
        };
        self.shelves.changed(slot.shelf);
        Some(Arc::make_mut(slot))
    }

    fn put_group(&mut self, id: GroupId, group: GroupView) {
        let at = id as usize;
        if self.groups.len() <= at {
            self.groups.resize_with(at + 1, || None);
        }
        self.totals.add(&group);
        let deadline = group.deadline;
        let before = self.groups.get_mut(at).and_then(Option::take);
        let same = before.as_ref().is_some_and(|before| before.key == group.key);
        let hash = (!same).then(|| self.hasher.hash_one(&group.key));
        if let Some(before) = before {
            self.totals.subtract(&before);
            if !same {
                self.forget_key(id, &before.key);
            }
        }
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = Some(group);
        }
        if let Some(hash) = hash {
            let Self { by_key, hasher, groups, .. } = self;
            let hash_of =
                |id: &GroupId| self::group(groups, *id).map_or(0, |it| hasher.hash_one(&it.key));
            by_key.insert_unique(hash, id, hash_of);
        }
        self.deadlines.set(id, deadline);
    }

    fn forget_key(&mut self, id: GroupId, key: &GroupingKey) {
        let hash = self.hasher.hash_one(key);
        if let Ok(entry) = self.by_key.find_entry(hash, |at| *at == id) {
            entry.remove();
        }
    }

    /// The group of a key, if it has not expired.
    pub fn group(&self, key: &GroupingKey, now: UnixMillis) -> Option<&GroupView> {
        self.alive(self.id(key)?, now)
    }

    fn id(&self, key: &GroupingKey) -> Option<GroupId> {
        let is_it = |id: &GroupId| group(&self.groups, *id).is_some_and(|it| it.key == *key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied()
    }

    fn put_state(&mut self, id: GroupId, state: Arc<GroupState>, bytes: u64) {
        let Some(Some(group)) = self.groups.get_mut(id as usize) else { return };
        self.totals.subtract(group);
        group.deadline = state.deadline;
        group.state = state;
        group.bytes = bytes;
        self.totals.add(group);
        self.deadlines.set(id, group.deadline);
    }

    fn put_header(&mut self, id: FamilyId, name: Arc<str>, header: Header) {
        let at = id as usize;
        if self.families.len() <= at {
            self.families.resize_with(at + 1, || None);
        }
        let Some(slot) = self.families.get_mut(at) else { return };
        match slot {
            Some(family) if family.name == name => {
                self.shelves.changed(family.shelf);
                Arc::make_mut(family).header = header;
            }
            _ => {
                let new = Arc::new(FamilyView::new(Arc::clone(&name), header));
                if let Some(old) = slot.replace(new)
                    && matches!(self.shelves.get(&old.name), Some(FamilyRef::Stored(at)) if at == id)
                {
                    self.shelves.remove(&old.name);
                }
            }
        }
        // Also where the slot had this name: the name may have been another slot's in between.
        let Self { shelves, families, stamps, .. } = self;
        shelves.insert(name, FamilyRef::Stored(id), |family, shelf| {
            note_shelf(families, stamps, family, shelf);
        });
    }

    fn remove_groups(&mut self, groups: Vec<(GroupId, Vec<FamilyId>)>) {
        // Family by family, so that many groups that go at once touch each segment once.
        let mut by_family: BTreeMap<FamilyId, Vec<GroupId>> = BTreeMap::new();
        let mut ids: Vec<_> = groups.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for (id, families) in groups {
            if let Some(group) = self.groups.get_mut(id as usize).and_then(Option::take) {
                self.totals.subtract(&group);
                self.forget_key(id, &group.key);
                self.deadlines.remove(id);
            }
            for family in families {
                by_family.entry(family).or_default().push(id);
            }
        }
        for at in 0..self.stamps.len() {
            if let Some(family) = self.changing(FamilyRef::Stamp(at)) {
                family.segments.remove(&ids);
            }
        }
        for (family, mut ids) in by_family {
            ids.sort_unstable();
            self.remove_lines(family, &ids);
        }
    }

    fn remove_lines(&mut self, id: FamilyId, groups: &[GroupId]) {
        if let Some(family) = self.changing(FamilyRef::Stored(id)) {
            family.segments.remove(groups);
        }
    }
}

impl Totals {
    fn add(&mut self, group: &GroupView) {
        self.groups += 1;
        self.series += u64::from(group.series);
        *self.of_source(group.state.ttl_source) += 1;
    }

    fn subtract(&mut self, group: &GroupView) {
        self.groups -= 1;
        self.series -= u64::from(group.series);
        *self.of_source(group.state.ttl_source) -= 1;
    }

    fn of_source(&mut self, source: TtlSource) -> &mut u64 {
        let PerTtlSource { overridden, push, rule, default } = &mut self.by_ttl_source;
        match source {
            TtlSource::Override => overridden,
            TtlSource::Push => push,
            TtlSource::Rule => rule,
            TtlSource::Default => default,
        }
    }
}

fn group(groups: &[Option<GroupView>], id: GroupId) -> Option<&GroupView> {
    groups.get(id as usize).and_then(Option::as_ref)
}

fn deadline(groups: &[Option<GroupView>], id: GroupId) -> UnixMillis {
    group(groups, id).map_or(UnixMillis::MAX, |group| group.deadline)
}

/// Notes on which shelf a family is.
fn note_shelf(
    families: &mut [Option<Arc<FamilyView>>],
    stamps: &mut [Arc<FamilyView>],
    family: FamilyRef,
    shelf: ShelfId,
) {
    let slot = match family {
        FamilyRef::Stamp(at) => stamps.get_mut(at),
        FamilyRef::Stored(id) => families.get_mut(id as usize).and_then(Option::as_mut),
    };
    if let Some(family) = slot.filter(|family| family.shelf != shelf) {
        Arc::make_mut(family).shelf = shelf;
    }
}
