//! Version 1: the first layout.
//!
//! Before: nothing.
//!
//! After: the trees `meta` and `groups`.
//! - `meta` has `schema_version` (u32, little endian) and, once the clock was stepped,
//!   `clock_offset_ms` (i64, little endian).
//! - `groups` has, for each group, the frames of its head (chunk 0) and of its chunks, in pieces. Key:
//!   group id (u64), chunk (u32), piece (u32), all big endian. A frame is a format byte (1), the
//!   CRC-32 of chunk key and payload, the length of the payload (both u32, little endian), and the
//!   payload, a protobuf message.
//!
//! Running it twice is the same as once: opening a tree that is there changes nothing.

use super::Migration;

pub(super) const MIGRATION: Migration = Migration {
    version: 1,
    name: "initial",
    up: |db| {
        db.open_tree("meta")?;
        db.open_tree("groups")?;
        Ok(())
    },
};
