//! The text format 0.0.4.

pub mod line;
mod parse;
mod render;

pub use parse::parse;
pub use render::{LabelBlock, gauge_line, header, lines, push_escaped, push_label, push_name};
