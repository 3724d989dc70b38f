//! `/api/v2`: look at groups, act on them, see ahead and back. Answers are `{"status":"success",
//! "data":…}` or `{"status":"error","errorType":…,"error":…}`, as those of Prometheus's API.

mod answer;
mod backup;
mod cluster;
mod events;
mod expired;
mod groups;
mod preview;

pub(super) use backup::backup;
pub(super) use events::KINDS;

use serde_json::Value;

use super::body;
use super::endpoint::Request;
use super::query::preview::TABLE_BYTES_MAX;
use super::query::{Context, Query, QueryError};
use super::rejection::Refused;
use super::reply::{self, Response};
use answer::Data;

/// Handlers of what gives the data of an answer.
macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident = $data:path;)*) => {$(
        $(#[$doc])*
        pub(super) async fn $name(mut request: Request<'_>) -> Result<Response, Refused> {
            let context = Context::of(&request)?;
            let query = Query::parse(request.head.uri.query(), request.caller.scope());
            let data = $data(&context, &query, &mut request.bounds).await;
            answer(&request, &query, data)
        }
    )*};
}

handlers! {
    /// A page of the groups.
    groups = groups::list;
    /// One group with its series.
    families = groups::families;
    /// Deletes groups.
    delete = groups::delete;
    /// Has the TTL of groups begin anew.
    touch = groups::touch;
    /// Overrides the TTL of groups.
    set_ttl = groups::set_ttl;
    /// The groups that will have expired at an instant.
    preview = preview::preview;
    /// Groups that expired or were deleted lately.
    expired = expired::list;
    /// Restores some of them.
    restore = expired::restore;
    /// The settings in force.
    config = settings;
    /// The replicas of a cluster.
    replicas = cluster::status;
    /// Has the replica that leads give that up.
    step_down = cluster::step_down;
}

/// The effect of a proposed `[ttl]` table, which the body has.
pub(super) async fn compare(mut request: Request<'_>) -> Result<Response, Refused> {
    let context = Context::of(&request)?;
    let query = Query::parse(request.head.uri.query(), request.caller.scope());
    let bounds = &mut request.bounds;
    // A rule of a few bytes may take a thousand times as much memory.
    bounds.lower_to(TABLE_BYTES_MAX);
    let table = body::read(&request.head.headers, request.body, bounds).await?;
    let data = preview::compare_under(&context, &query, &table, bounds).await;
    answer(&request, &query, data)
}

/// Events, as they happen.
pub(super) fn events(mut request: Request<'_>) -> Result<Response, Refused> {
    let context = Context::of(&request)?;
    let query = Query::parse(request.head.uri.query(), request.caller.scope());
    let (headers, bounds) = (&request.head.headers, &mut request.bounds);
    events::follow(&context, &query, headers, bounds).or_else(refused)
}

async fn settings(
    context: &Context<'_>,
    _query: &Query<'_>,
    _bounds: &mut body::Bounds,
) -> Result<Data, QueryError> {
    Ok(context.settings().into())
}

/// The answer with some data, or why there is none. A change is noted in the audit log.
fn answer(
    request: &Request<'_>,
    query: &Query<'_>,
    data: Result<Data, QueryError>,
) -> Result<Response, Refused> {
    let data = match data {
        Ok(data) => data,
        Err(error) => return refused(error),
    };
    let field = |name: &str| match &data {
        Data::Value(value) => value.get(name),
        Data::List(list) => list.fields.get(name),
    };
    if field("dry_run") != Some(&true.into()) {
        match field("count").and_then(Value::as_u64) {
            Some(count) => request.audit(&format!("{count} groups by {}", query.to_text())),
            None => request.audit("the cluster"),
        }
    }
    Ok(match data {
        Data::Value(value) => reply::success(&value),
        Data::List(list) => list.into_response(),
    })
}

fn refused(error: QueryError) -> Result<Response, Refused> {
    match error {
        QueryError::Gateway(error) => Err(error.into()),
        QueryError::Rejected(rejection) => Err((*rejection).into()),
        other => Ok(reply::failure(other.status(), &other.to_string())),
    }
}
