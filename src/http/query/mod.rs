//! The query model that the API, the pages and the webhook share: which groups a request is about, in
//! which order, and how they read as JSON.

pub(super) mod cluster;
mod concerns;
mod context;
pub mod json;
pub(super) mod listing;
pub(super) mod preview;
mod search;
mod selection;

pub(super) use concerns::{Concern, concerns};
pub(super) use context::{Context, QueryError};
pub use listing::{sort_names, state_names};
pub(super) use selection::{At, Query, Selection, bad, group_value};
