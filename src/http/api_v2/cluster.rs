//! The replicas of a cluster, and which of them leads.

use serde_json::json;

use super::answer::Data;
use crate::http::body::Bounds;
use crate::http::query::cluster::Cluster;
use crate::http::query::{Context, Query, QueryError};

/// The replicas.
pub(super) async fn status(
    context: &Context<'_>,
    _query: &Query<'_>,
    _bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    let cluster = Cluster::of(&context.gateway).ok_or_else(single_node)?;
    Ok(cluster.to_json().into())
}

/// Has the replica that leads give that up: another comes to lead, or the same, if it is the only one.
pub(super) async fn step_down(
    context: &Context<'_>,
    _query: &Query<'_>,
    _bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    let cluster = context.gateway.cluster().ok_or_else(single_node)?;
    let leader = cluster.standing().borrow().leader.clone();
    let Some(leader) = leader else {
        return Err(QueryError::NotFound("no replica leads".into()));
    };
    let done = cluster.depose(&leader).await;
    let unavailable = |_| QueryError::Unavailable("etcd does not answer".into());
    let stepped_down = done.map_err(unavailable)?;
    Ok(json!({ "stepped_down": stepped_down.then_some(leader.id) }).into())
}

fn single_node() -> QueryError {
    QueryError::NotFound("this gateway is a single node (cluster.endpoints)".into())
}
