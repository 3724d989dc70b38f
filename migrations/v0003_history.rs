//! Version 3: removed groups may still be there, to be restored.
//!
//! Before: version 2.
//!
//! After: among the chunks of a group, number 2^32 - 1 is a tombstone: a protobuf message that says
//! when the group expired or was deleted. The group is not to be served then. `meta` may have
//! `alive_ms` (u64, little endian): gateway time when the gateway was last known to run. Heads have
//! further fields, which are absent in what was written before.
//!
//! Nothing of a store of version 2 is different in this one. The number keeps a build that would
//! serve removed groups.

use super::Migration;

pub(super) const MIGRATION: Migration = Migration { version: 3, name: "history", up: |_| Ok(()) };
