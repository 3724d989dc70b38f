//! Who holds what a push contradicts: said to the client, as far as it may read of it.

use std::fmt::Write as _;

use crate::gateway::{Error, Gateway, GroupView, Holders, Refusal, shortened};
use crate::http::access::{Caller, Permission};
use crate::model::GroupingKey;
use crate::model::duration::Rough;
use crate::time::UnixNanos;

/// Of the labels of a group, so much is said.
const CHARS_MAX: usize = 300;

/// The same error; of a contradiction to what is stored, it names the group that holds that. Whoever may
/// not read the group is told that there is one.
pub(super) fn named(gateway: &Gateway, caller: &Caller, key: &GroupingKey, error: Error) -> Error {
    let Error::Refused(refusal) = error else { return error };
    let holders = refusal.opposite().map(|opposite| gateway.holders(opposite, key));
    let holder = match holders {
        Some(Holders::Gateway) => {
            Some("the gateway's own metrics have it; choose another name".to_owned())
        }
        Some(Holders::Groups { some, count }) => {
            let may_read =
                |group: &&GroupView| caller.may(Permission::Read, Some(&group.key)).is_ok();
            let one = some.iter().find(may_read);
            (count > 0).then(|| text(gateway, &refusal, one, count))
        }
        None => None,
    };
    match holder {
        Some(holder) => Refusal::Held { refusal: Box::new(refusal), holder }.into(),
        None => refusal.into(),
    }
}

/// `one`: one of them that may be named.
fn text(gateway: &Gateway, refusal: &Refusal, one: Option<&GroupView>, count: usize) -> String {
    let mut text = match (one, count) {
        (None, 1) => "another group".to_owned(),
        (None, _) => format!("{count} other groups"),
        (Some(group), _) => format!("the group {}", shortened(&group.key.to_string(), CHARS_MAX)),
    };
    match (one, count) {
        (None, _) | (_, 1) => {}
        (_, 2) => text.push_str(" and another one"),
        (_, count) => write!(text, " and {} others", count - 1).expect("a string grows as needed"),
    }
    text.push_str(if count == 1 { " has " } else { " have " });
    let (what, else_do) = match refusal {
        Refusal::Type { stored, .. } => {
            (format!("it as {}", stored.as_text()), "push it as that, or under another name")
        }
        Refusal::Native { native, .. } => {
            let kind = if *native { "classic" } else { "native" };
            (format!("it as {kind} histograms"), "push it as those, or under another name")
        }
        Refusal::Suffix { other, .. } | Refusal::Escaped { other, .. } => {
            let other = shortened(other, CHARS_MAX);
            (format!("{other:?}"), "push under another name")
        }
        _ => ("it".to_owned(), "push it to one of the groups only"),
    };
    text.push_str(&what);
    if let Some(group) = one {
        text.push_str(&since(gateway, group));
    }
    text + "; " + else_do
}

/// How old a group is, and how long it stays.
fn since(gateway: &Gateway, group: &GroupView) -> String {
    let time = |at: UnixNanos| humantime::format_rfc3339_seconds(at.to_system_time());
    let created = time(group.state.created);
    let pushed = group.state.pushed.map(|at| format!(", last pushed {}", time(at)));
    let expires = if gateway.to_wall(group.deadline).is_none() {
        "it never expires".to_owned()
    } else {
        let left = Rough(group.deadline.saturating_since(gateway.now()));
        format!("it expires in {left} unless it is pushed again")
    };
    format!(" (created {created}{}); {expires}", pushed.unwrap_or_default())
}
