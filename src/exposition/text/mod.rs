//! The text format 0.0.4.

mod parse;
mod render;

pub use parse::parse;
pub use render::{LabelBlock, gauge_line, header, lines};
