//! Pushes survive `kill -9`, a full disk, a power cut, damage, and an upgrade.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod backup;
mod crash;
mod damage;
mod disk;
mod migrations;
mod power;
mod worst;
