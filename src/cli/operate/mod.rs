//! Asks a running gateway, over its API, for what its operator wants to see or change.
//!
//! - Nothing is deleted or overridden before it was said what, and somebody agreed.
//! - What cannot be understood changes nothing: the gateway carries out a request whole or not.

mod answer;
pub(super) mod args;
mod table;
mod time;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use form_urlencoded::Serializer;
use serde_json::{Value, json};
use thiserror::Error;
use ureq::http::Method;

use answer::{Cluster, Comparison, Group, Labels, Page, Preview, Removed, Restoration, read};

use args::{Action, Operate, Output};

use super::{Ended, Failure, Unconfirmed, confirm, failed};
use crate::client::{Client, ClientError};
use crate::config::{Config, Problems};
use crate::time::{Clock as _, SystemClock, UnixNanos};

/// Why what was asked for is not done.
#[derive(Debug, Error)]
pub(super) enum OperateError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot parse the gateway's answer; it may be running another version")]
    Answer(#[from] serde_json::Error),
    #[error(transparent)]
    Settings(#[from] Problems),
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    /// Some of it was done, and some was not.
    #[error("{0}")]
    Partly(String),
}

/// Groups that are listed before it is asked whether they are meant.
const LISTED: usize = 20;

/// As many as the API gives at a time.
const PAGE: usize = 10_000;

/// Runs a command against a running gateway.
pub(super) fn ask(operate: &Operate) -> Result<Ended, Failure> {
    match run(operate, SystemClock::new().wall()) {
        Ok(text) => Ok(Ended::well(text)),
        Err(OperateError::Partly(text)) => Ok(Ended { text, well: false }),
        Err(OperateError::Unconfirmed(error)) => Err(error.into()),
        Err(error) => Err(failed("not done")(error)),
    }
}

/// Does what is asked, and says what is to be printed.
///
/// `now` is what times are said from.
fn run(operate: &Operate, now: UnixNanos) -> Result<String, OperateError> {
    let agreed = |yes: bool, what: &str| if yes { Ok(()) } else { confirm(what) };
    let api = Api { client: Client::new(operate.gateway.clone())?, selectors: &operate.selectors };
    let table = operate.output == Output::Table;
    let print = |value: &Value, render: fn(&Value, UnixNanos) -> Result<String, OperateError>| {
        if table { render(value, now) } else { Ok(serde_json::to_string_pretty(value)?) }
    };
    match &operate.action {
        Action::Groups { metrics, state, sort, limit } => {
            let found = api.groups(metrics, state.as_deref(), sort, *limit)?;
            print(&found, |found, now| Ok(table::groups(&read::<Page<Group>>(found)?, now)))
        }
        Action::Delete { pushed_before, dry_run, yes } => {
            let delete = |before: &str, dry_run: &str| {
                let query = [("pushed_before", before), ("dry_run", dry_run)];
                api.ask(Method::DELETE, "/groups", &query, &[])
            };
            let before = pushed_before.as_deref().unwrap_or_default();
            let mut found = delete(before, "true")?;
            let keys = labels(&found, "deleted")?;
            if *dry_run {
                return print(&found, |found, _| {
                    Ok(said("would be deleted", &labels(found, "deleted")?, usize::MAX))
                });
            }
            if keys.is_empty() {
                if let Some(found) = found.as_object_mut() {
                    found.insert("dry_run".into(), false.into());
                }
                return print(&found, |_, _| Ok("no group matches".into()));
            }
            agreed(*yes, &said("will be deleted", &keys, LISTED))?;
            // A group that was pushed since it was listed is not one that was agreed to.
            let looked = found.get("pushed_before").and_then(Value::as_str);
            let before = looked.unwrap_or(before);
            print(&delete(before, "false")?, |done, _| {
                Ok(said("deleted", &labels(done, "deleted")?, LISTED))
            })
        }
        Action::SetTtl { ttl, yes } => {
            let found = api.groups(&[], None, "name", LISTED)?;
            let page = read::<Page<Group>>(&found)?;
            if page.total == 0 {
                let none = json!({ "count": 0, "ttl": ttl, "changed": [] });
                return print(&none, |_, _| Ok("no group matches".into()));
            }
            let keys: Vec<_> = page.groups.into_iter().map(|group| group.labels).collect();
            let what = format!("get the TTL {ttl}");
            agreed(*yes, &listed(&what, page.total, &keys))?;
            let done = api.ask(Method::PUT, "/groups/ttl", &[("ttl", ttl)], &[])?;
            print(&done, |done, _| Ok(said("changed", &labels(done, "changed")?, LISTED)))
        }
        Action::Touch => {
            let done = api.ask(Method::POST, "/groups/touch", &[], &[])?;
            print(&done, |done, _| Ok(said("touched", &labels(done, "touched")?, LISTED)))
        }
        Action::Preview { at, proposed, limit } => {
            let limit = limit.to_string();
            let query = [("at", at.as_str()), ("limit", &limit)];
            let Some(file) = proposed else {
                let found = api.ask(Method::GET, "/ttl/preview", &query, &[])?;
                return print(&found, |found, now| {
                    Ok(table::expiring(&read::<Preview>(found)?, now))
                });
            };
            let body = ttl_table(file)?;
            let found = api.ask(Method::POST, "/ttl/preview", &query, body.as_bytes())?;
            print(&found, |found, now| Ok(table::comparison(&read::<Comparison>(found)?, now)))
        }
        Action::Expired { why, limit } => {
            let (why, limit) = (why.as_deref().unwrap_or_default(), limit.to_string());
            let query = [("why", why), ("limit", &limit)];
            let found = api.ask(Method::GET, "/expired", &query, &[])?;
            print(&found, |found, now| Ok(table::removed(&read::<Page<Removed>>(found)?, now)))
        }
        Action::Restore { id } => {
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            let done = api.ask(Method::POST, "/expired/restore", &[("id", &id)], &[])?;
            let restoration = read::<Restoration>(&done)?;
            let text = print(&done, |done, now| Ok(table::restored(&read(done)?, now)))?;
            // The others are back.
            if restoration.refused.is_empty() { Ok(text) } else { Err(OperateError::Partly(text)) }
        }
        Action::Replicas => {
            let found = api.ask(Method::GET, "/cluster", &[], &[])?;
            print(&found, |found, now| Ok(table::replicas(&read::<Cluster>(found)?, now)))
        }
        Action::StepDown => {
            let done = api.ask(Method::POST, "/cluster/step-down", &[], &[])?;
            print(&done, |done, _| {
                let id = done.get("stepped_down").and_then(Value::as_str);
                Ok(match id {
                    Some(id) => format!("{id} does not lead any more"),
                    None => "another replica has come to lead meanwhile".into(),
                })
            })
        }
    }
}

/// The API of a gateway, for the groups that match.
struct Api<'a> {
    client: Client,
    selectors: &'a [String],
}

impl Api<'_> {
    /// Parameters that are empty are left out.
    fn ask(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Value, OperateError> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.selectors.iter().map(|selector| ("match[]", selector)));
        query.extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
        let path = format!("/api/v2{path}?{}", query.finish());
        Ok(self.client.api(method, &path, body)?)
    }

    /// As many groups as `limit` says, or all if it is zero, page by page.
    fn groups(
        &self,
        metrics: &[String],
        state: Option<&str>,
        sort: &str,
        limit: usize,
    ) -> Result<Value, OperateError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut groups = Vec::new();
        let mut after = String::new();
        loop {
            let page = (limit - groups.len()).min(PAGE).to_string();
            let state = ("state", state.unwrap_or_default());
            let mut query = vec![state, ("sort", sort), ("limit", &page), ("after", &after)];
            query.extend(metrics.iter().map(|metric| ("metric", metric.as_str())));
            let mut found = self.ask(Method::GET, "/groups", &query, &[])?;
            if let Some(Value::Array(page)) = found.get_mut("groups").map(Value::take) {
                groups.extend(page);
            }
            let total = found.get("total").cloned().unwrap_or_default();
            match found.get("next").and_then(Value::as_str) {
                Some(next) if groups.len() < limit => next.clone_into(&mut after),
                _ => return Ok(json!({ "groups": groups, "total": total })),
            }
        }
    }
}

/// The `[ttl]` table of a settings file that is valid.
fn ttl_table(file: &Path) -> Result<String, OperateError> {
    Config::from_file(file)?;
    let failed = |reason: String| OperateError::File { path: file.to_owned(), reason };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let mut settings: toml::Table =
        text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))?;
    let ttl = settings.remove("ttl");
    let ttl = ttl.ok_or_else(|| failed("expected a [ttl] table to compare".into()))?;
    Ok(toml::Table::from_iter([("ttl".to_owned(), ttl)]).to_string())
}

/// The grouping labels that an answer lists.
fn labels(answer: &Value, member: &str) -> Result<Vec<Labels>, OperateError> {
    let listed = answer.get(member).cloned().unwrap_or_default();
    Ok(serde_json::from_value(listed)?)
}

fn said(what: &str, keys: &[Labels], most: usize) -> String {
    listed(what, keys.len(), keys.get(..most).unwrap_or(keys))
}

/// How many groups, and some of them.
fn listed(what: &str, total: usize, keys: &[Labels]) -> String {
    let mut text = match total {
        0 => return format!("0 groups {what}"),
        1 => format!("1 group {what}:"),
        total => format!("{total} groups {what}:"),
    };
    for key in keys {
        let _ = write!(text, "\n  {key}");
    }
    if keys.len() < total {
        let _ = write!(text, "\n  and {} more", total - keys.len());
    }
    text
}
