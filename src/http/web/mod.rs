//! The pages for people. They read well as the server renders them; the modules of `assets` keep
//! what is live up to date, and carry out actions through `/api/v2`, which judges them anew.
//!
//! Promises
//! - No script, style or request but to this gateway, below whatever path it is served
//!   ([`CONTENT_POLICY`]): every link is relative to the page.
//! - What was pushed is text, whatever is in it: `maud` escapes all of it.
//! - A page costs what it shows and one look at all groups; it never reads them all.

mod assets;
mod chart;
mod expired;
mod expiry;
mod group;
mod groups;
mod live;
mod readable;
mod series;
mod status;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::access::{Caller, Origin, Permission};
use super::api_v2::query::Query;
use super::api_v2::{self, ApiError};
use super::body::{self, Bounds};
use super::rejection::Rejection;
use super::service::Service;
use crate::gateway::Gateway;
use crate::model::GroupingKey;
use crate::telemetry::build::BUILD;
use crate::time::UnixNanos;

pub(super) use assets::Asset;

/// What a browser may do with a page: nothing that did not come from here.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                              img-src 'self'; connect-src 'self'; form-action 'self'; \
                              base-uri 'none'; frame-ancestors 'none'";

/// The pages, and what they are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Page {
    Groups,
    Group,
    Expiry,
    Expired,
    Live,
    Status,
    Asset(&'static Asset),
}

/// Where each page is, below the prefix.
const PAGES: [(&str, Page); 6] = [
    ("/", Page::Groups),
    ("/group", Page::Group),
    ("/expiry", Page::Expiry),
    ("/expired", Page::Expired),
    ("/live", Page::Live),
    ("/status", Page::Status),
];
const ASSETS: &str = "/assets/";

/// What whoever looks may do.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
struct May {
    push: bool,
    delete: bool,
    /// Touch, override, restore.
    change: bool,
    /// To more than one group at a time.
    many: bool,
}

/// What pages are made with.
struct Context<'a> {
    api: api_v2::Context<'a>,
    service: &'a Service,
    headers: &'a HeaderMap,
    may: May,
    /// Wall time.
    now: UnixNanos,
}

/// A page, yet without what is around it.
struct Content {
    title: String,
    status: StatusCode,
    main: Markup,
    /// After how many seconds it is to be looked at again.
    refresh: Option<u32>,
}

impl Page {
    /// What is at a path below the prefix.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path.strip_prefix(ASSETS) {
            Some(name) => Asset::find(name).map(Self::Asset),
            None => PAGES.iter().find(|(at, _)| *at == path).map(|(_, page)| *page),
        }
    }

    /// Where the pages are, below the prefix.
    pub(super) fn paths() -> impl Iterator<Item = &'static str> {
        PAGES.iter().map(|(path, _)| *path)
    }

    /// Its methods.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Expiry => "GET, HEAD, OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether whoever sent a request may see it. A style sheet has no secrets.
    pub(super) fn admit(self, caller: &Caller) -> Result<(), Rejection> {
        match self {
            Self::Asset(_) => Ok(()),
            Self::Status => caller.may_all(Permission::Read),
            _ => caller.may(Permission::Read, None),
        }
    }
}

impl May {
    fn of(service: &Service, caller: &Caller) -> Self {
        let here = caller.admitted(Origin::Admin).is_ok();
        Self {
            push: caller.may(Permission::Push, None).is_ok(),
            delete: here && caller.may(Permission::Delete, None).is_ok(),
            change: here && caller.may(Permission::Admin, None).is_ok(),
            many: service.options.admin,
        }
    }
}

/// Serves a page. Blocks on the store.
pub(super) async fn serve<B>(
    service: &Service,
    gateway: Gateway,
    page: Page,
    head: &Parts,
    incoming: &mut B,
    bounds: &mut Bounds,
    caller: &Caller,
) -> Result<Response<Full<Bytes>>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if let Page::Asset(asset) = page {
        return Ok(asset.serve(&head.headers));
    }
    let hooks = &service.hooks;
    let now = gateway.wall();
    let (admin, followers) = (service.options.admin, &service.followers);
    let metrics = &*service.metrics;
    let api = api_v2::Context { gateway, hooks, admin, caller, followers, metrics };
    let may = May::of(service, caller);
    let context = Context { api, service, headers: &head.headers, may, now };
    let query = Query::parse(head.uri.query(), caller.scope());
    // But for the labels of a group, which may be empty.
    let query = if page == Page::Group { query } else { query.without_empty() };
    let content = match page {
        Page::Group => group::content(&context, &query, bounds).await,
        Page::Expiry if head.method == hyper::Method::POST => {
            bounds.lower_to(expiry::FORM_BYTES_MAX);
            let form = body::read(&head.headers, incoming, bounds).await?;
            expiry::content(&context, &query, Some(&form), bounds).await
        }
        Page::Expiry => expiry::content(&context, &query, None, bounds).await,
        Page::Expired => expired::content(&context, &query, bounds).await,
        Page::Live => Ok(live::content(&context, &query, bounds)),
        Page::Status => Ok(status::content(&context)),
        Page::Groups | Page::Asset(_) => groups::content(&context, &query, bounds).await,
    };
    let content = match content {
        Ok(content) => content,
        Err(ApiError::Gateway(error)) => return Err(error.into()),
        Err(ApiError::Rejected(rejection)) => return Err(*rejection),
        Err(error) => Content::error(&error),
    };
    Ok(content.into_response(&context, page))
}

impl Content {
    fn new(title: impl Into<String>, main: Markup) -> Self {
        Self { title: title.into(), status: StatusCode::OK, main, refresh: None }
    }

    fn refreshed(self, seconds: u32) -> Self {
        Self { refresh: Some(seconds), ..self }
    }

    /// With an error that is said on it, if there is one: then nothing is gained by asking again.
    fn refused(self, error: Option<&ApiError>) -> Self {
        match error {
            Some(error) => Self { status: error.status(), refresh: None, ..self },
            None => self,
        }
    }

    fn error(error: &ApiError) -> Self {
        let main = html! {
            h1 { "That did not work" }
            p class="error" role="alert" { (error) }
            p { a href="./" { "All groups" } }
        };
        Self { status: error.status(), ..Self::new("Error", main) }
    }

    fn into_response(self, context: &Context<'_>, page: Page) -> Response<Full<Bytes>> {
        let status = self.status;
        // A carriage return that is not escaped would be read as the end of a line.
        let text = self.render(context, page).into_string().replace('\r', "&#13;");
        let mut response = Response::new(Full::new(text.into()));
        *response.status_mut() = status;
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

    fn render(self, context: &Context<'_>, page: Page) -> Markup {
        let status = context.api.caller.may_all(Permission::Read).is_ok();
        let pages = [
            (Page::Groups, "./", "Groups"),
            (Page::Expiry, "expiry", "Expiry"),
            (Page::Expired, "expired", "Expired"),
            (Page::Live, "live", "Live"),
            (Page::Status, "status", "Status"),
        ];
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
                            @for (at, link, name) in pages {
                                @if at != Page::Status || status {
                                    a href=(link) aria-current=[(at == page).then_some("page")] { (name) }
                                }
                            }
                        }
                    }
                    main id="main" tabindex="-1" { (self.main) }
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

impl Context<'_> {
    fn gateway(&self) -> &Gateway {
        &self.api.gateway
    }

    /// The exposition, from any page.
    fn telemetry(&self) -> &str {
        let telemetry = self.service.options.paths.telemetry.as_str();
        telemetry.strip_prefix('/').unwrap_or(telemetry)
    }

    /// Where this gateway is, for programs of whoever looks: the external URL, if one is set, else
    /// what the browser has asked.
    fn address(&self) -> String {
        let options = &self.service.options;
        let external = options.paths.external_url.as_str();
        if external.contains("://") {
            return external.trim_end_matches('/').to_owned();
        }
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = text(HeaderName::from_static("x-forwarded-proto"));
        let scheme = match forwarded {
            Some("https") => "https",
            Some("http") => "http",
            _ if self.service.tls => "https",
            _ => "http",
        };
        let host = text(HOST).filter(|host| host.parse::<hyper::http::uri::Authority>().is_ok());
        format!("{scheme}://{}{}", host.unwrap_or("localhost:9091"), options.paths.prefix)
    }
}

/// The labels of a group, the job first. Each is its own text, in whatever direction it is written.
fn chips(key: &GroupingKey) -> Markup {
    html! { @for (name, value) in key.labels_job_first() { (chip(name, value)) " " } }
}

fn chip(name: &str, value: &str) -> Markup {
    html! { span class="chip" { span class="name" { (name) "=" } bdi { (value) } } }
}

/// The page of a group.
fn group_link(key: &GroupingKey) -> String {
    address("group", key.labels())
}

/// A page or endpoint with a query of what is not empty.
fn link(to: &str, pairs: &[(&str, &str)]) -> String {
    address(to, pairs.iter().copied().filter(|(_, value)| !value.is_empty()))
}

/// A page or endpoint with a query.
fn address<'a>(to: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { to.to_owned() } else { format!("{to}?{query}") }
}

/// The box that narrows a page to some groups. Other parameters go along.
fn search_box(action: &str, search: &str, more: &Markup) -> Markup {
    html! {
        form class="search" action=(action) method="get" role="search" {
            label class="wide" {
                span { "Search" }
                input type="search" name="search" value=(search) autocomplete="off" spellcheck="false"
                    placeholder=r#"words, or {job=~"backup-.+"}"#;
            }
            (more)
            button type="submit" { "Search" }
        }
    }
}

/// A search that cannot be carried out, said below its box. Nothing else is an error of the page.
fn refused(error: Option<&ApiError>) -> Markup {
    html! {
        @if let Some(error) = error { p class="error" role="alert" { (error) } }
    }
}

/// Links to the pages of a list.
fn pager(page: usize, pages: usize, to: impl Fn(usize) -> String) -> Markup {
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
