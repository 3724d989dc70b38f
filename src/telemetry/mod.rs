//! What the gateway says about itself: logs and self metrics.

pub mod build;
pub mod log;
pub mod metrics;
mod process;
mod summary;
