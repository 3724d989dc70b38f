//! What the gateway says about itself: logs and self metrics.

pub mod log;
pub mod metrics;
