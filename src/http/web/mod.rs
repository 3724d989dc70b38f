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
mod layout;
mod live;
mod readable;
mod series;
mod status;

use super::body;
use super::endpoint::Request;
use super::query::{Query, QueryError};
use super::rejection::{Refused, Rejection};
use super::reply::Response;
use assets::Asset;
use layout::{Content, Context};

/// The groups.
pub(super) async fn groups(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, filled_in(&request));
    page(&context, groups::content(&context, &query, &mut request.bounds).await)
}

/// A group with its series.
pub(super) async fn group(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, query(&request));
    page(&context, group::content(&context, &query, &mut request.bounds).await)
}

/// When groups expire.
pub(super) async fn expiry(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, filled_in(&request));
    page(&context, expiry::content(&context, &query, None, &mut request.bounds).await)
}

/// The same under a proposed `[ttl]` table, which the body has.
pub(super) async fn compare(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, filled_in(&request));
    let bounds = &mut request.bounds;
    bounds.lower_to(expiry::FORM_BYTES_MAX);
    let form = body::read(&request.head.headers, request.body, bounds).await?;
    page(&context, expiry::content(&context, &query, Some(&form), bounds).await)
}

/// Groups that expired or were deleted lately.
pub(super) async fn expired(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, filled_in(&request));
    page(&context, expired::content(&context, &query, &mut request.bounds).await)
}

/// Events, as they happen.
pub(super) fn live(mut request: Request<'_>) -> Result<Response, Refused> {
    let (context, query) = (Context::of(&request)?, filled_in(&request));
    page(&context, Ok(live::content(&context, &query, &mut request.bounds)))
}

/// The state of the gateway.
pub(super) fn status(request: &Request<'_>) -> Result<Response, Refused> {
    let context = Context::of(request)?;
    page(&context, Ok(status::content(&context)))
}

/// A style sheet, an icon or a script.
pub(super) fn asset(request: &Request<'_>) -> Result<Response, Refused> {
    // As every page: not before there are groups to show.
    request.gateway()?;
    let name = request.head.uri.path().rsplit('/').next().unwrap_or_default();
    let asset = Asset::find(name).ok_or(Rejection::NotFound)?;
    Ok(asset.serve(&request.head.headers))
}

/// Whether there is an asset of this name.
pub(super) fn is_asset(name: &str) -> bool {
    Asset::find(name).is_some()
}

/// The query, in which the labels of a group may be empty.
fn query<'a>(request: &Request<'a>) -> Query<'a> {
    Query::parse(request.head.uri.query(), request.caller.scope())
}

/// The query without the fields of a form that nobody has filled in.
fn filled_in<'a>(request: &Request<'a>) -> Query<'a> {
    query(request).without_empty()
}

/// The answer with a page, or with why there is none.
fn page(context: &Context<'_>, content: Result<Content, QueryError>) -> Result<Response, Refused> {
    let content = match content {
        Ok(content) => content,
        Err(QueryError::Gateway(error)) => return Err(error.into()),
        Err(QueryError::Rejected(rejection)) => return Err((*rejection).into()),
        Err(error) => Content::error(&error),
    };
    Ok(content.into_response(context))
}
