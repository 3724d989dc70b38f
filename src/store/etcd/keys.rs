//! The keys of a cluster: text, below the cluster's name, so that `etcdctl get --prefix` reads well.

use bytes::Bytes;

use crate::store::chunk::ChunkKey;

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// A key of the cluster, and its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The version of the format, written once.
    Format,
    /// Who leads, under the lease of that one.
    Leader,
    /// A replica, under its lease.
    Member(String),
    /// The latest batch.
    Batch,
    /// The policy in force.
    Policy,
    /// The policy that a replica wants to be in force.
    Proposal,
    /// A chunk of a group, and the tree that it is of.
    Chunk(u64, ChunkKey),
}

impl Keys {
    /// Those of the cluster of a name.
    pub(super) fn new(cluster: &str) -> Self {
        Self { prefix: format!("/tidegate/{cluster}/") }
    }

    /// The key in etcd.
    pub(super) fn of(&self, key: &Key) -> Bytes {
        let prefix = &self.prefix;
        let text = match key {
            Key::Format => format!("{prefix}format"),
            Key::Leader => format!("{prefix}leader"),
            Key::Member(id) => format!("{prefix}member/{id}"),
            Key::Batch => format!("{prefix}batch"),
            Key::Policy => format!("{prefix}policy"),
            Key::Proposal => format!("{prefix}proposal"),
            Key::Chunk(tree, ChunkKey { group, chunk }) => {
                format!("{prefix}c/{tree}/{group:016x}{chunk:08x}")
            }
        };
        text.into()
    }

    /// The first key, and the first behind the last, of all.
    pub(super) fn all(&self) -> (Bytes, Bytes) {
        (self.prefix.clone().into(), end_of(self.prefix.as_bytes()))
    }

    /// The same of the replicas.
    pub(super) fn members(&self) -> (Bytes, Bytes) {
        let text = format!("{}member/", self.prefix);
        let end = end_of(text.as_bytes());
        (text.into(), end)
    }

    /// The same of the chunks of groups: from one group on, up to another.
    pub(super) fn groups(&self, tree: u64, from: u64, to: u64) -> (Bytes, Bytes) {
        let key = |group| self.of(&Key::Chunk(tree, ChunkKey { group, chunk: 0 }));
        (key(from), key(to))
    }

    /// The same of all chunks of a tree.
    pub(super) fn tree(&self, tree: u64) -> (Bytes, Bytes) {
        let text = format!("{}c/{tree}/", self.prefix);
        let end = end_of(text.as_bytes());
        (text.into(), end)
    }

    /// The meaning of a key in etcd; `None` if it has none.
    pub(super) fn parse(&self, key: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        match text {
            "format" => return Some(Key::Format),
            "leader" => return Some(Key::Leader),
            "batch" => return Some(Key::Batch),
            "policy" => return Some(Key::Policy),
            "proposal" => return Some(Key::Proposal),
            _ => {}
        }
        if let Some(id) = text.strip_prefix("member/") {
            return Some(Key::Member(id.to_owned()));
        }
        let (tree, chunk) = text.strip_prefix("c/")?.split_once('/')?;
        let (group, chunk) = chunk.split_at_checked(16).filter(|(_, chunk)| chunk.len() == 8)?;
        let group = u64::from_str_radix(group, 16).ok()?;
        let chunk = u32::from_str_radix(chunk, 16).ok()?;
        Some(Key::Chunk(tree.parse().ok()?, ChunkKey { group, chunk }))
    }
}

/// The first key behind all that begin so.
fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        // Prefixes end with a slash.
        *last += 1;
    }
    end.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written_and_sort_as_groups_do() {
        let keys = Keys::new("main");
        let chunk = |group, chunk| Key::Chunk(7, ChunkKey { group, chunk });
        let all = [
            Key::Format,
            Key::Leader,
            Key::Member("host-1".into()),
            Key::Batch,
            Key::Policy,
            Key::Proposal,
            chunk(1, 0),
            chunk(1, u32::MAX),
            chunk(0x1_0000_0000, 3),
        ];
        for key in &all {
            assert_eq!(keys.parse(&keys.of(key)).as_ref(), Some(key));
        }
        assert!(keys.of(&chunk(1, u32::MAX)) < keys.of(&chunk(2, 0)));
        let (from, to) = keys.groups(7, 1, 2);
        assert!(from <= keys.of(&chunk(1, 0)) && keys.of(&chunk(1, u32::MAX)) < to);
        let other = Keys::new("main2");
        assert_eq!(keys.parse(&other.of(&Key::Batch)), None);
        let (from, to) = keys.all();
        assert!(!(from..to).contains(&other.of(&Key::Batch)));
        for other in ["", "x", "c/1/12", "c/x/00000000000000010000000000", "member"] {
            assert_eq!(keys.parse(format!("/tidegate/main/{other}").as_bytes()), None, "{other}");
        }
    }
}
