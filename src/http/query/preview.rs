//! Which groups would have expired at an instant under another `[ttl]` table, and which do under the one
//! in force.

use std::sync::Arc;

use super::selection::bad;
use super::{Context, QueryError};
use crate::gateway::GroupView;
use crate::gateway::preview::TtlDecision;
use crate::model::selector::{REGEX_MEMORY_MAX, REGEXES_MAX};
use crate::model::{GroupingKey, Policy};
use crate::time::UnixMillis;

/// The largest `[ttl]` table that is compared.
pub(in crate::http) const TABLE_BYTES_MAX: usize = 64 * 1024;

/// The effect of a proposed table.
pub(in crate::http) struct Comparison {
    pub(in crate::http) expired_today: usize,
    pub(in crate::http) expired_proposed: usize,
    /// By deadline under the proposed table.
    pub(in crate::http) changes: Vec<Change>,
    pub(in crate::http) unchanged: usize,
    pub(in crate::http) warnings: Vec<String>,
}

/// The effect on a group.
pub(in crate::http) struct Change {
    pub(in crate::http) key: GroupingKey,
    /// `goes`, `stays`, `later` or `sooner`.
    pub(in crate::http) what: &'static str,
    pub(in crate::http) today: TtlDecision,
    pub(in crate::http) proposed: TtlDecision,
}

/// How much memory the rules of a table may take.
pub(in crate::http) fn table_bytes(table: &str) -> Result<usize, QueryError> {
    let regexes = table.matches("=~").count() + table.matches("!~").count();
    if regexes > REGEXES_MAX {
        return Err(bad(format!(
            "the table has {regexes} regular expressions; expected at most {REGEXES_MAX} where it is \
             only compared"
        )));
    }
    Ok(regexes * REGEX_MEMORY_MAX)
}

/// The same for some groups, as of an instant.
pub(in crate::http) fn comparison(
    context: &Context<'_>,
    groups: &[GroupView],
    at: UnixMillis,
    table: &str,
) -> Result<Comparison, QueryError> {
    let (proposed, warnings) = (context.site.hooks.parse_ttl)(table).map_err(bad)?;
    let today = context.gateway.policy();
    let proposed = Policy { ttl: Arc::new(proposed), ..today.clone() };
    let mut changes = Vec::new();
    let (mut expired_today, mut expired_proposed) = (0_usize, 0_usize);
    for group in groups {
        let (now, then) = (TtlDecision::of(group, &today), TtlDecision::of(group, &proposed));
        let (goes_now, goes_then) = (now.has_expired(at), then.has_expired(at));
        expired_today += usize::from(goes_now);
        expired_proposed += usize::from(goes_then);
        let what = match (goes_now, goes_then) {
            (false, true) => "goes",
            (true, false) => "stays",
            _ if then.deadline > now.deadline => "later",
            _ if then.deadline < now.deadline => "sooner",
            _ => continue,
        };
        changes.push(Change { key: group.key.clone(), what, today: now, proposed: then });
    }
    changes
        .sort_unstable_by(|a, b| (a.proposed.deadline, &a.key).cmp(&(b.proposed.deadline, &b.key)));
    let unchanged = groups.len() - changes.len();
    Ok(Comparison { expired_today, expired_proposed, changes, unchanged, warnings })
}
