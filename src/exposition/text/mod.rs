//! The text format 0.0.4.

pub mod line;
mod parse;
mod render;

pub use parse::{TextParser, parse};
pub use render::{
    LabelBlock, gauge_line, header, least_bytes, lines, push_escaped, push_label, push_name,
};
