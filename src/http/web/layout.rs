//! The layout that all pages share, and markup that several of them use.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::gateway::Gateway;
use crate::http::access::{Caller, Origin, Permission};
use crate::http::endpoint::{Endpoint, Needs, Request, Site};
use crate::http::query::{self, QueryError};
use crate::http::rejection::Rejection;
use crate::http::reply::{self, Response};
use crate::model::GroupingKey;
use crate::telemetry::build::BUILD;
use crate::time::UnixNanos;

/// The content policy of a page: nothing that did not come from here.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                              img-src 'self'; connect-src 'self'; form-action 'self'; \
                              base-uri 'none'; frame-ancestors 'none'";

/// The permissions of the viewer.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
pub(super) struct May {
    pub(super) push: bool,
    pub(super) delete: bool,
    /// Touch, override, restore.
    pub(super) change: bool,
    /// To more than one group at a time.
    pub(super) many: bool,
}

/// The means of a page.
pub(super) struct Context<'a> {
    pub(super) api: query::Context<'a>,
    pub(super) may: May,
    /// Wall time.
    pub(super) now: UnixNanos,
    headers: &'a HeaderMap,
    endpoints: &'static [Endpoint],
    endpoint: &'static Endpoint,
}

/// A page, yet without what is around it.
pub(super) struct Content {
    title: String,
    status: StatusCode,
    main: Markup,
    /// After how many seconds it is to be looked at again.
    refresh: Option<u32>,
}

impl May {
    fn of(site: &Site, caller: &Caller) -> Self {
        let here = caller.admitted(Origin::Admin).is_ok();
        Self {
            push: caller.may(Permission::Push, None).is_ok(),
            delete: here && caller.may(Permission::Delete, None).is_ok(),
            change: here && caller.may(Permission::Admin, None).is_ok(),
            many: site.options.admin,
        }
    }
}

impl Content {
    pub(super) fn new(title: impl Into<String>, main: Markup) -> Self {
        Self { title: title.into(), status: StatusCode::OK, main, refresh: None }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn refreshed(self, seconds: u32) -> Self {
        Self { refresh: Some(seconds), ..self }
    }

    /// With an error that is said on it, if there is one: then nothing is gained by asking again.
    pub(super) fn refused(self, error: Option<&QueryError>) -> Self {
        match error {
            Some(error) => Self { status: error.status(), refresh: None, ..self },
            None => self,
        }
    }

    pub(super) fn error(error: &QueryError) -> Self {
        let main = html! {
            h1 { "That did not work" }
            p class="error" role="alert" { (error) }
            p { a href="./" { "All groups" } }
        };
        Self { status: error.status(), ..Self::new("Error", main) }
    }

    pub(super) fn into_response(self, context: &Context<'_>) -> Response {
        let status = self.status;
        // A carriage return that is not escaped would be read as the end of a line.
        let text = self.render(context).into_string().replace('\r', "&#13;");
        let mut response = reply::with(status, text);
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn render(self, context: &Context<'_>) -> Markup {
        let pages = context.pages();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " \u{b7} Tidegate" }
                    link rel="icon" href="assets/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="assets/style.css";
                    script type="module" src="assets/page.js" {}
                }
                body data-now=(context.now.as_millis()) data-refresh=[self.refresh] {
                    a class="skip" href="#main" { "Skip to the content" }
                    header {
                        a class="brand" href="./" { img src="assets/icon.svg" alt="" width="24" height="24"; "Tidegate" }
                        nav aria-label="Pages" {
                            @for (link, title, is_here) in pages {
                                a href=(link) aria-current=[is_here.then_some("page")] { (title) }
                            }
                        }
                    }
                    main id="main" tabindex="-1" { (concerns(context)) (self.main) }
                    footer {
                        p { "Tidegate " (BUILD.version) " \u{b7} " a href=(context.telemetry()) { "Metrics" } }
                    }
                    // Filled by the modules; here from the start, so that screen readers know them.
                    div id="connection" role="status" {}
                    div id="notice" role="status" {}
                }
            }
        }
    }
}

impl<'a> Context<'a> {
    pub(super) fn of(request: &Request<'a>) -> Result<Self, Rejection> {
        let Request { site, caller, head, endpoint, endpoints, .. } = request;
        let api = query::Context::of(request)?;
        let (may, now) = (May::of(site, caller), api.gateway.wall());
        Ok(Self { api, may, now, headers: &head.headers, endpoints, endpoint })
    }

    /// The pages that whoever looks may see: link, title, and whether it is this one.
    fn pages(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let all = self.api.caller.may_all(Permission::Read).is_ok();
        self.endpoints.iter().filter_map(move |endpoint| {
            let title =
                endpoint.title.filter(|_| all || !matches!(endpoint.needs, Needs::All(_)))?;
            let path = endpoint.place.path("")?;
            let here = self.endpoint.place.path("") == Some(path);
            let link = path.strip_prefix('/').filter(|link| !link.is_empty()).unwrap_or("./");
            Some((link, title, here))
        })
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.api.gateway
    }

    /// The exposition, from any page.
    pub(super) fn telemetry(&self) -> &str {
        let telemetry = self.api.site.options.paths.telemetry.as_str();
        telemetry.strip_prefix('/').unwrap_or(telemetry)
    }

    /// Where this gateway is, for programs of whoever looks: the external URL, if one is set, else
    /// what the browser has asked.
    pub(super) fn address(&self) -> String {
        let options = &self.api.site.options;
        let external = options.paths.external_url.as_str();
        if external.contains("://") {
            return external.trim_end_matches('/').to_owned();
        }
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = text(HeaderName::from_static("x-forwarded-proto"));
        let scheme = match forwarded {
            Some("https") => "https",
            Some("http") => "http",
            _ if self.api.site.tls => "https",
            _ => "http",
        };
        let host = text(HOST).filter(|host| host.parse::<Authority>().is_ok());
        format!("{scheme}://{}{}", host.unwrap_or("localhost:9091"), options.paths.prefix)
    }
}

/// The labels of a group, the job first. Each is its own text, in whatever direction it is written.
/// All that is wrong with the gateway itself, for whoever may see all of it.
fn concerns(context: &Context<'_>) -> Markup {
    let may_see = context.api.caller.may_all(Permission::Read).is_ok();
    let concerns = if may_see { query::concerns(context.gateway()) } else { Vec::new() };
    html! {
        div id="concerns" data-live {
            @for concern in concerns {
                p class=(if concern.refuses { "error" } else { "warning" }) role="alert" {
                    strong { (concern.what) }
                    @if !concern.details.is_empty() { ": " (concern.details) }
                    ". " (concern.remedy)
                }
            }
        }
    }
}

pub(super) fn chips(key: &GroupingKey) -> Markup {
    html! { @for (name, value) in key.labels_job_first() { (chip(name, value)) " " } }
}

pub(super) fn chip(name: &str, value: &str) -> Markup {
    html! { span class="chip" { span class="name" { (name) "=" } bdi { (value) } } }
}

/// The page of a group.
pub(super) fn group_link(key: &GroupingKey) -> String {
    address("group", key.labels())
}

/// A page or endpoint with a query of what is not empty.
pub(super) fn link(to: &str, pairs: &[(&str, &str)]) -> String {
    address(to, pairs.iter().copied().filter(|(_, value)| !value.is_empty()))
}

/// A page or endpoint with a query.
pub(super) fn address<'a>(to: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { to.to_owned() } else { format!("{to}?{query}") }
}

/// By what the box of a page finds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finds {
    /// Groups that are there, by their labels and their metrics.
    Groups,
    /// Removed groups and events, of which only the labels are known.
    Labels,
}

/// The box that narrows a page to some groups. Other parameters go along.
pub(super) fn search_box(action: &str, finds: Finds, search: &str, more: &Markup) -> Markup {
    let placeholder = match finds {
        Finds::Groups => r#"words, a metric, or {job=~"backup-.+"}"#,
        Finds::Labels => r#"words, or {job=~"backup-.+"}"#,
    };
    html! {
        form class="search" action=(action) method="get" role="search" {
            label class="wide" {
                span { "Search" }
                input type="search" name="search" value=(search) autocomplete="off" spellcheck="false"
                    placeholder=(placeholder);
            }
            (more)
            button type="submit" { "Search" }
        }
    }
}

/// A search that cannot be carried out, said below its box. Nothing else is an error of the page.
pub(super) fn refused(error: Option<&QueryError>) -> Markup {
    html! {
        @if let Some(error) = error { p class="error" role="alert" { (error) } }
    }
}

/// Links to the pages of a list.
pub(super) fn pager(page: usize, pages: usize, to: impl Fn(usize) -> String) -> Markup {
    html! {
        @if pages > 1 {
            nav class="pager" aria-label="Pages of the list" {
                @if page > 1 { a href=(to(1)) { "First" } a href=(to(page - 1)) rel="prev" { "Previous" } }
                span { "Page " (page) " of " (pages) }
                @if page < pages { a href=(to(page + 1)) rel="next" { "Next" } a href=(to(pages)) { "Last" } }
            }
        }
    }
}
