//! An endpoint and a request to it: the form of a row of the table in [`super::routes`].

use std::pin::Pin;
use std::sync::Arc;

use hyper::http::request::Parts;
use tokio::sync::Notify;

use super::access::cross_origin::Pages;
use super::access::{Caller, Origin, Permission};
use super::body::{Bounds, RequestBody};
use super::bounds::{Budget, Slots};
use super::readiness::Readiness;
use super::refused_pushes::RefusedPushes;
use super::rejection::{Refused, Rejection};
use super::replicas::Replicas;
use super::reply::Response;
use super::web_config::WebConfig;
use super::{Hooks, Options};
use crate::exposition::push_path;
use crate::exposition::push_path::PushPath;
use crate::gateway::Gateway;
use crate::model::RequestId;
use crate::telemetry::labels;
use crate::telemetry::metrics::SelfMetrics;
use crate::time::UnixNanos;

/// All that requests are served with.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) readiness: Readiness,
    pub(super) options: Options,
    pub(super) web_config: Option<Arc<WebConfig>>,
    /// Which pages may have a browser change something.
    pub(super) pages: Pages,
    pub(super) hooks: Hooks,
    /// Notified by whoever asks the gateway to stop.
    pub(super) quit: Arc<Notify>,
    pub(super) started: UnixNanos,
    /// Whether connections speak TLS.
    pub(super) tls: bool,
    /// Of the bodies of all requests under way.
    pub(super) budget: Budget,
    /// Of connections.
    pub(super) slots: Slots,
    /// Of clients that follow events.
    pub(super) followers: Slots,
    pub(super) metrics: Arc<SelfMetrics>,
    /// Of pushes that were refused.
    pub(super) refused_pushes: RefusedPushes,
    /// Where replicas share the groups.
    pub(super) replicas: Option<Replicas>,
}

/// A request that was routed and may be served.
pub(super) struct Request<'a> {
    pub(super) site: &'a Site,
    /// The table, for links between pages.
    pub(super) endpoints: &'static [Endpoint],
    pub(super) endpoint: &'static Endpoint,
    pub(super) head: &'a Parts,
    pub(super) body: &'a mut RequestBody<'a>,
    pub(super) caller: &'a Caller,
    pub(super) bounds: Bounds,
    /// The group that the path names, of [`Place::Group`].
    pub(super) group: Option<PushPath>,
    /// The name by which replicas know it.
    pub(super) id: Option<RequestId>,
    /// The time of this leader that it is for, where another replica has handed it on.
    pub(super) term: Option<i64>,
    /// Whether another replica has sent it, or handed it on.
    pub(super) by_replica: bool,
}

/// Serves a request.
pub(super) type Handler = for<'a> fn(Request<'a>) -> Answer<'a>;
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, Refused>> + Send + 'a>>;

/// A row of the table: which requests it is for, what they need, and what serves them.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) place: Place,
    pub(super) methods: &'static [&'static str],
    pub(super) needs: Needs,
    /// The addresses from which it may be used.
    pub(super) from: Origin,
    /// Whether a page of another origin may have a browser send it, whatever the method.
    pub(super) any_page: bool,
    /// The change that it makes, for the audit log.
    pub(super) audit: Option<&'static str>,
    /// The name under which its requests are counted.
    pub(super) counted: Option<labels::Handler>,
    /// Whether a body that claims to be gzip is looked at before it is served, as the Go Pushgateway
    /// looks at every body.
    pub(super) checks_gzip: bool,
    /// Whether it is there only with `web.enable-admin-api`.
    pub(super) admin: bool,
    /// The title of a page that others link to.
    pub(super) title: Option<&'static str>,
    pub(super) handler: Handler,
}

/// The paths of an endpoint, without the prefix.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(&'static str),
    /// Without the prefix, where there is one.
    Bare(&'static str),
    /// Below a path, where the rest is one that is known.
    Files(&'static str, fn(&str) -> bool),
    /// Below a path, for methods that nothing else there has.
    Below(&'static str),
    /// The exposition, at the path that the settings name.
    Telemetry,
    /// The path of a push.
    Group,
}

/// The permission that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing, not even a valid password: a probe has no secrets.
    NoLogin,
    Nothing,
    /// The permission to do it to some groups. The answer is about those alone.
    Some(Permission),
    /// The permission to do it to all groups.
    All(Permission),
    /// The permission to do it to the group in the path.
    Group(Permission),
}

pub(super) const GET: &[&str] = &["GET"];
pub(super) const READ: &[&str] = &["GET", "HEAD"];
pub(super) const PUT: &[&str] = &["PUT"];
pub(super) const POST: &[&str] = &["POST"];
pub(super) const PUT_POST: &[&str] = &["POST", "PUT"];
pub(super) const DELETE: &[&str] = &["DELETE"];
pub(super) const OPTIONS: &[&str] = &["OPTIONS"];

impl Endpoint {
    pub(super) const fn new(
        place: Place,
        methods: &'static [&'static str],
        needs: Needs,
        handler: Handler,
    ) -> Self {
        Self {
            place,
            methods,
            needs,
            from: Origin::Anywhere,
            any_page: false,
            audit: None,
            counted: None,
            checks_gzip: true,
            admin: false,
            title: None,
            handler,
        }
    }

    pub(super) const fn from(self, from: Origin) -> Self {
        Self { from, ..self }
    }

    pub(super) const fn any_page(self) -> Self {
        Self { any_page: true, ..self }
    }

    pub(super) const fn audit(self, change: &'static str) -> Self {
        Self { audit: Some(change), ..self }
    }

    pub(super) const fn counted(self, counted: labels::Handler) -> Self {
        Self { counted: Some(counted), ..self }
    }

    pub(super) const fn unchecked_gzip(self) -> Self {
        Self { checks_gzip: false, ..self }
    }

    pub(super) const fn admin(self) -> Self {
        Self { admin: true, ..self }
    }

    pub(super) const fn title(self, title: &'static str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// Whether it changes groups, and not this process: the replica that leads carries it out.
    pub(super) fn is_by_leader(&self) -> bool {
        let changes = self.audit.is_some() || self.needs == Needs::Group(Permission::Push);
        changes && self.from != Origin::Lifecycle
    }

    /// Whether it has a method.
    pub(super) fn has(&self, method: &str) -> bool {
        self.methods.contains(&method)
    }

    /// Whether whoever sent a request may send it.
    pub(super) fn admit(&self, caller: &Caller, group: Option<&PushPath>) -> Result<(), Rejection> {
        caller.admitted(self.from)?;
        match self.needs {
            Needs::NoLogin | Needs::Nothing => Ok(()),
            Needs::Some(permission) => caller.may(permission, None),
            Needs::All(permission) => caller.may_all(permission),
            Needs::Group(permission) => caller.may(permission, group.map(|path| &path.key)),
        }
    }
}

impl Place {
    /// Whether a path is this one. `local`: without the prefix, if it has that.
    pub(super) fn is(self, path: &str, local: Option<&str>, telemetry: &str) -> bool {
        match self {
            Self::At(at) => local == Some(at),
            Self::Bare(at) => path == at,
            Self::Files(at, known) => {
                local.and_then(|local| local.strip_prefix(at)).is_some_and(known)
            }
            Self::Below(at) => local.is_some_and(|local| local.starts_with(at)),
            Self::Telemetry => local == Some(telemetry),
            Self::Group => local.and_then(push_path::below_job).is_some(),
        }
    }

    /// The one path that it is, if it is one.
    pub(super) fn path(self, telemetry: &str) -> Option<&str> {
        match self {
            Self::At(at) | Self::Bare(at) => Some(at),
            Self::Telemetry => Some(telemetry),
            Self::Files(..) | Self::Below(_) | Self::Group => None,
        }
    }
}

impl Request<'_> {
    pub(super) fn gateway(&self) -> Result<Gateway, Rejection> {
        Ok(self.site.readiness.gateway()?.for_request(self.id, self.term))
    }

    /// Leaves a line in the log about what was changed, by whom and from where.
    pub(super) fn audit(&self, what: &str) {
        if let Some(change) = self.endpoint.audit {
            self.caller.audit(change, what);
        }
    }
}
