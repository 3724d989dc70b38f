//! Logs and self metrics.

pub mod build;
pub mod labels;
pub mod log;
pub mod metrics;
mod process;
pub mod recent;
pub mod remembered;
mod summary;
pub mod terminal;
