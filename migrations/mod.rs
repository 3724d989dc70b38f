//! The history of the on-disk layout: one frozen file per version, oldest first.
//!
//! A released migration is never edited. It knows nothing of the crate's present types: it carries
//! its own copy of the layouts that it reads and writes. Each is idempotent, and the version is
//! written after it: a crash in between means that it runs again.

mod v0001_initial;
mod v0002_groups_tree;
mod v0003_history;
mod v0004_pieces;

/// A step from the version before it to its own.
#[derive(Debug)]
pub(super) struct Migration {
    /// Consecutive, from 1.
    pub(super) version: u32,
    /// For the log.
    pub(super) name: &'static str,
    /// Brings a store of the version before to this one. Run twice, it does what it does once.
    pub(super) up: fn(&sled::Db) -> sled::Result<()>,
}

/// All of them, in order.
pub(super) const ALL: &[Migration] = &[
    v0001_initial::MIGRATION,
    v0002_groups_tree::MIGRATION,
    v0003_history::MIGRATION,
    v0004_pieces::MIGRATION,
];
