//! Version 2: the groups may lie in another tree than `groups`, so that all of them can be deleted
//! at once: by beginning a new tree.
//!
//! Before: version 1.
//!
//! After: `meta` has `groups_tree`, the name of the tree that has the groups: `groups`, or after
//! deletions `groups.N`. Other trees of such names are left over from a deletion, and useless. Also
//! `meta` may have `import`: `begun` or `done`.
//!
//! Running it twice is the same as once: the name is written only where there is none.

use super::Migration;

pub(super) const MIGRATION: Migration = Migration {
    version: 2,
    name: "groups_tree",
    up: |db| {
        let meta = db.open_tree("meta")?;
        if meta.get("groups_tree")?.is_none() {
            meta.insert("groups_tree", "groups")?;
        }
        Ok(())
    },
};
