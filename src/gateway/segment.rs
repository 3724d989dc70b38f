//! The rendered lines of one family: segments of about 32 KiB, each knowing which group's lines lie
//! where in it.
//!
//! A push replaces its own lines in its segment; a scrape takes reference-counted copies of the
//! list. A segment that a scrape still holds is copied before it changes, so that a scrape never
//! sees half a push and never waits for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Number of a group in the index and in the view. Used again once the group is removed.
pub type GroupId = u32;

/// A new segment is begun rather than let one grow beyond this. Large enough that compressing
/// segments one by one costs little in size and that a scrape is few system calls; small enough
/// that replacing a line in the middle moves little.
const SEGMENT_BYTES: usize = 32 * 1024;
/// So much of it is filled with new groups: values that grow longer find room in what is left.
const FILLED_BYTES: usize = SEGMENT_BYTES - SEGMENT_BYTES / 32;

/// A run of lines, whole groups only, in the order of the groups' numbers.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Strictly ascending, and never empty once the segment is in a list.
    groups: Vec<GroupId>,
    /// Length of each group's lines. Lengths rather than offsets: a change in length moves no
    /// other entry, and summing a few hundred is faster than shifting them.
    lens: Vec<u32>,
    bytes: Vec<u8>,
    /// The metrics of groups whose lines do not say all of them, in the order of the groups. Mostly
    /// there are none.
    protobuf: Vec<(GroupId, Bytes)>,
    generation: u64,
}

/// The lines of one family of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The lines of its series.
    pub text: Bytes,
    /// Its metrics in protobuf, where the lines lose something of them.
    pub protobuf: Option<Bytes>,
}

/// The segments of one family. The groups of a segment come before those of the next.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    list: Vec<Arc<Segment>>,
    /// The last group of each segment, side by side: finding one is then a look at a few
    /// neighbouring lines of memory rather than at a segment each.
    lasts: Vec<GroupId>,
}

/// Tells contents apart: no two that differ have the same number.
pub fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Segment {
    fn new() -> Self {
        Self {
            groups: Vec::new(),
            lens: Vec::new(),
            bytes: Vec::new(),
            protobuf: Vec::new(),
            generation: 0,
        }
    }

    /// The lines.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Changes whenever the lines do.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The lines of each group, and its metrics where the lines lose something of them.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        let mut protobuf = self.protobuf.iter().peekable();
        let mut at = 0;
        self.groups.iter().zip(&self.lens).map(move |(group, len)| {
            let end = at + *len as usize;
            let lines = self.bytes.get(at..end).unwrap_or_default();
            at = end;
            (lines, protobuf.next_if(|(of, _)| of == group).map(|found| &found.1))
        })
    }

    /// Whether the lines say all that there is to say.
    pub fn is_whole_in_text(&self) -> bool {
        self.protobuf.is_empty()
    }

    fn protobuf_of(&self, group: GroupId) -> Option<&Bytes> {
        let at = self.protobuf.binary_search_by_key(&group, |entry| entry.0).ok()?;
        self.protobuf.get(at).map(|entry| &entry.1)
    }

    fn put_protobuf(&mut self, group: GroupId, protobuf: Option<&Bytes>) {
        match (self.protobuf.binary_search_by_key(&group, |entry| entry.0), protobuf) {
            (Ok(at), Some(new)) => {
                if let Some(entry) = self.protobuf.get_mut(at) {
                    entry.1 = new.clone();
                }
            }
            (Ok(at), None) => drop(self.protobuf.remove(at)),
            (Err(at), Some(new)) => self.protobuf.insert(at, (group, new.clone())),
            (Err(_), None) => {}
        }
    }

    /// Whether it has lines of any of these groups, which are sorted.
    pub fn has_any_of(&self, groups: &[GroupId]) -> bool {
        let (Some(first), Some(last)) = (self.groups.first(), self.groups.last()) else {
            return false;
        };
        let start = groups.partition_point(|group| group < first);
        let candidates = groups.get(start..).unwrap_or_default();
        candidates
            .iter()
            .take_while(|group| *group <= last)
            .any(|group| self.groups.binary_search(group).is_ok())
    }

    /// A copy without the lines of these groups, which are sorted. It has no generation of its own.
    #[must_use]
    pub fn without(&self, groups: &[GroupId]) -> Self {
        let mut rest = Self::new();
        let mut at = 0;
        for (group, len) in self.groups.iter().zip(&self.lens) {
            let end = at + *len as usize;
            if groups.binary_search(group).is_err() {
                rest.groups.push(*group);
                rest.lens.push(*len);
                rest.bytes.extend_from_slice(self.bytes.get(at..end).unwrap_or_default());
            }
            at = end;
        }
        let stays = self.protobuf.iter().filter(|entry| groups.binary_search(&entry.0).is_err());
        rest.protobuf = stays.cloned().collect();
        rest
    }

    fn last_group(&self) -> GroupId {
        self.groups.last().copied().unwrap_or(0)
    }

    /// Where the entry at `at` begins.
    fn offset(&self, at: usize) -> usize {
        self.lens.get(..at).unwrap_or(&self.lens).iter().map(|len| *len as usize).sum()
    }

    /// The place of a group among the entries, or where it would be.
    fn position(&self, group: GroupId) -> Result<usize, usize> {
        let Some(first) = self.groups.first() else { return Err(0) };
        let Some(after_first) = group.checked_sub(*first) else { return Err(0) };
        // Numbers ascend, so it is no further on than this; and just there in a family that all
        // groups have, which saves the search its looks at memory that is in no cache.
        let at_most = after_first as usize;
        if self.groups.get(at_most) == Some(&group) {
            return Ok(at_most);
        }
        self.groups.get(..at_most).unwrap_or(&self.groups).binary_search(&group)
    }

    /// The lines of a group: their place among the entries, and the range of their bytes.
    fn find(&self, group: GroupId) -> Result<(usize, std::ops::Range<usize>), usize> {
        let at = self.position(group)?;
        let start = self.offset(at);
        let len = self.lens.get(at).copied().unwrap_or(0) as usize;
        Ok((at, start..start + len))
    }

    /// Puts lines where [`Segment::find`] has found those of the group, or their place.
    fn put(
        &mut self,
        group: GroupId,
        found: Result<(usize, std::ops::Range<usize>), usize>,
        Rendered { text: lines, protobuf }: &Rendered,
    ) {
        self.put_protobuf(group, protobuf.as_ref());
        let len = u32::try_from(lines.len()).expect("the limits keep a push below 4 GiB");
        let before = found.as_ref().map_or(0, |(_, range)| range.len());
        self.make_room(lines.len().saturating_sub(before));
        match found {
            Ok((at, range)) => {
                if range.len() == lines.len() {
                    if let Some(place) = self.bytes.get_mut(range) {
                        place.copy_from_slice(lines);
                    }
                } else {
                    self.bytes.splice(range, lines.iter().copied());
                    if let Some(slot) = self.lens.get_mut(at) {
                        *slot = len;
                    }
                }
            }
            Err(at) if at == self.groups.len() => {
                self.bytes.extend_from_slice(lines);
                self.groups.push(group);
                self.lens.push(len);
            }
            Err(at) => {
                let start = self.offset(at);
                self.bytes.splice(start..start, lines.iter().copied());
                self.groups.insert(at, group);
                self.lens.insert(at, len);
            }
        }
        self.generation = next_generation();
    }

    /// Makes room for more lines: doubles, as a vector does, but not beyond what a segment usually
    /// has. Vectors that are half empty would be a good part of all memory.
    fn make_room(&mut self, more: usize) {
        let len = self.bytes.len();
        let needed = len + more;
        if needed > self.bytes.capacity() {
            let room = (2 * len).min(SEGMENT_BYTES).max(needed + len / 32);
            self.bytes.reserve_exact(room - len);
        }
    }

    /// Cuts the second half off.
    fn split(&mut self) -> Self {
        let half = self.bytes.len() / 2;
        let mut end = 0;
        let before = self.lens.iter().take_while(|len| {
            end += **len as usize;
            end <= half
        });
        let at = before.count().clamp(1, self.groups.len() - 1);
        let start = self.offset(at);
        let first = self.groups.get(at).copied().unwrap_or(GroupId::MAX);
        let protobuf = self.protobuf.partition_point(|entry| entry.0 < first);
        let rest = Self {
            groups: self.groups.split_off(at),
            protobuf: self.protobuf.split_off(protobuf),
            lens: self.lens.split_off(at),
            bytes: self.bytes.split_off(start),
            generation: next_generation(),
        };
        self.shrink();
        self.generation = next_generation();
        rest
    }

    fn shrink(&mut self) {
        self.groups.shrink_to_fit();
        self.lens.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.protobuf.shrink_to_fit();
    }
}

impl Segments {
    /// The segments, for a scrape.
    pub fn list(&self) -> &[Arc<Segment>] {
        &self.list
    }

    /// How many groups have lines here.
    pub fn group_count(&self) -> usize {
        self.list.iter().map(|segment| segment.groups.len()).sum()
    }

    /// The groups that have lines here, in order, from this number on.
    pub fn groups_from(&self, from: GroupId) -> impl Iterator<Item = GroupId> + '_ {
        let start = self.lasts.partition_point(|last| *last < from);
        let segments = self.list.get(start..).unwrap_or_default().iter();
        let groups = segments.flat_map(|segment| segment.groups.iter().copied());
        groups.skip_while(move |group| *group < from)
    }

    /// Puts a group's lines in the place of those it has. No lines: as [`Segments::remove`].
    pub fn put(&mut self, group: GroupId, rendered: &Rendered) {
        let lines = &rendered.text;
        if lines.is_empty() {
            self.remove(&[group]);
            return;
        }
        let mut at = self.lasts.partition_point(|last| *last < group);
        if at == self.list.len() {
            // Behind all others, as new groups are: fill segments up rather than split them.
            match self.list.last_mut() {
                Some(last) if last.bytes.len() + lines.len() <= FILLED_BYTES => at -= 1,
                Some(last) => {
                    if let Some(full) = Arc::get_mut(last) {
                        full.shrink();
                    }
                    self.begin_segment();
                }
                None => self.begin_segment(),
            }
        }
        let Some(segment) = self.list.get_mut(at) else { return };
        let found = segment.find(group);
        if let Ok((_, range)) = &found
            && segment.bytes.get(range.clone()) == Some(lines)
            && segment.protobuf_of(group) == rendered.protobuf.as_ref()
        {
            // Unchanged: whoever has compressed this segment need not do it again.
            return;
        }
        let segment = Arc::make_mut(segment);
        segment.put(group, found, rendered);
        let full =
            segment.bytes.len() > SEGMENT_BYTES + SEGMENT_BYTES / 2 && segment.groups.len() > 1;
        let rest = full.then(|| segment.split());
        if let Some(last) = self.lasts.get_mut(at) {
            *last = segment.last_group();
        }
        if let Some(rest) = rest {
            self.lasts.insert(at + 1, rest.last_group());
            self.list.insert(at + 1, Arc::new(rest));
        }
    }

    fn begin_segment(&mut self) {
        self.list.push(Arc::new(Segment::new()));
        self.lasts.push(0);
    }

    /// Removes the lines of these groups, which are sorted.
    pub fn remove(&mut self, groups: &[GroupId]) {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return };
        let start = self.lasts.partition_point(|segment| segment < first);
        let mut changed = false;
        for segment in self.list.iter_mut().skip(start) {
            if segment.groups.first().is_none_or(|group| group > last) {
                break;
            }
            if segment.has_any_of(groups) {
                let mut rest = segment.without(groups);
                rest.shrink();
                rest.generation = next_generation();
                *segment = Arc::new(rest);
                changed = true;
            }
        }
        if changed {
            self.list.retain(|segment| !segment.groups.is_empty());
            self.join_small(start);
            self.lasts.clear();
            self.lasts.extend(self.list.iter().map(|segment| segment.last_group()));
        }
    }

    /// Joins neighbours that have become small, from around `start` on.
    fn join_small(&mut self, start: usize) {
        let mut at = start.saturating_sub(1);
        while let [left, right, ..] = self.list.get_mut(at..).unwrap_or_default() {
            if left.bytes.len() + right.bytes.len() > SEGMENT_BYTES / 2 {
                if at > start {
                    return;
                }
                at += 1;
                continue;
            }
            let left = Arc::make_mut(left);
            left.groups.extend_from_slice(&right.groups);
            left.lens.extend_from_slice(&right.lens);
            left.bytes.extend_from_slice(&right.bytes);
            left.protobuf.extend_from_slice(&right.protobuf);
            left.generation = next_generation();
            self.list.remove(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn bytes(segments: &Segments) -> Vec<u8> {
        segments.list.iter().flat_map(|segment| segment.bytes.clone()).collect()
    }

    fn text(text: &[u8]) -> Rendered {
        Rendered { text: Bytes::copy_from_slice(text), protobuf: None }
    }

    /// The lines of each group, as the entries say.
    fn entries(segments: &Segments) -> Vec<(GroupId, Rendered)> {
        let groups = segments.list.iter().flat_map(|segment| segment.groups.iter().copied());
        let entries = segments.list.iter().flat_map(|segment| segment.entries());
        let rendered = entries.map(|(lines, protobuf)| Rendered {
            text: Bytes::copy_from_slice(lines),
            protobuf: protobuf.cloned(),
        });
        groups.zip(rendered).collect()
    }

    fn check(segments: &Segments) {
        let groups: Vec<_> = segments.list.iter().flat_map(|s| s.groups.clone()).collect();
        assert!(groups.is_sorted_by(|a, b| a < b), "{groups:?}");
        let lasts: Vec<_> = segments.list.iter().map(|segment| segment.last_group()).collect();
        assert_eq!(segments.lasts, lasts);
        for segment in &segments.list {
            assert!(!segment.groups.is_empty());
            assert_eq!(segment.offset(segment.lens.len()), segment.bytes.len());
            assert!(segment.bytes.len() <= 2 * SEGMENT_BYTES || segment.groups.len() == 1);
        }
    }

    #[test]
    fn a_scrape_keeps_what_it_took() {
        let mut segments = Segments::default();
        segments.put(1, &text(b"one\n"));
        let taken = segments.clone();
        segments.put(1, &text(b"uno\n"));
        segments.put(2, &text(b"two\n"));
        assert_eq!(bytes(&taken), b"one\n");
        assert_eq!(bytes(&segments), b"uno\ntwo\n");
    }

    #[test]
    fn segments_are_not_half_empty() {
        let mut segments = Segments::default();
        for len in [70, 71, 72] {
            for group in 0..5000 {
                segments.put(group, &text(&vec![b'x'; len]));
            }
            let rooms = segments.list.iter().map(|segment| segment.bytes.capacity());
            let (rooms, used) = (rooms.sum::<usize>(), bytes(&segments).len());
            assert!(rooms - used <= used / 16 + SEGMENT_BYTES, "{rooms} for {used}");
        }
    }

    #[test]
    fn the_same_lines_again_change_nothing() {
        let mut segments = Segments::default();
        segments.put(1, &text(b"one\n"));
        let generation = segments.list[0].generation();
        segments.put(1, &text(b"one\n"));
        assert_eq!(segments.list[0].generation(), generation);
        segments.put(1, &text(b"two\n"));
        assert_ne!(segments.list[0].generation(), generation);
    }

    #[test]
    fn removing_most_groups_leaves_few_segments() {
        let mut segments = Segments::default();
        for group in 0..10_000 {
            segments.put(group, &text(&[b'x'; 100]));
        }
        assert!(segments.list.len() >= 15);
        let most: Vec<_> = (0..10_000).filter(|group| group % 100 != 0).collect();
        segments.remove(&most);
        check(&segments);
        assert_eq!(bytes(&segments).len(), 100 * 100);
        assert!(segments.list.len() <= 2, "{}", segments.list.len());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Put(GroupId, usize, u8, bool),
        Remove(Vec<GroupId>),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let put = (0..60_u32, 0..9000_usize, any::<u8>(), any::<bool>())
            .prop_map(|(group, len, byte, protobuf)| Op::Put(group, len, byte, protobuf));
        let remove = prop::collection::btree_set(0..60_u32, 0..20)
            .prop_map(|groups| Op::Remove(groups.into_iter().collect()));
        prop::collection::vec(prop_oneof![4 => put, 1 => remove], 1..120)
    }

    proptest! {
        #[test]
        fn segments_hold_what_a_map_holds(ops in ops()) {
            let (mut segments, mut map) = (Segments::default(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Put(group, len, byte, protobuf) => {
                        let protobuf = protobuf.then(|| Bytes::from(vec![byte; 3]));
                        let rendered = Rendered { text: vec![byte; len].into(), protobuf };
                        segments.put(group, &rendered);
                        if len > 0 {
                            map.insert(group, rendered);
                        } else {
                            map.remove(&group);
                        }
                    }
                    Op::Remove(groups) => {
                        let hidden: Vec<u8> = segments
                            .list
                            .iter()
                            .flat_map(|segment| segment.without(&groups).bytes)
                            .collect();
                        segments.remove(&groups);
                        map.retain(|group, _| !groups.contains(group));
                        prop_assert_eq!(hidden, bytes(&segments));
                    }
                }
                check(&segments);
                prop_assert_eq!(entries(&segments), map.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
