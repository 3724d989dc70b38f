//! The means by which requests to the API and for pages are carried out, and the reasons why one is not.

use hyper::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;

use crate::gateway::{Error, Fault, Gateway};
use crate::http::access::Caller;
use crate::http::endpoint::{Request, Site};
use crate::http::rejection::Rejection;
use crate::model::OverBudget;

/// The means of a request: the groups, the settings, and who sent it.
pub(in crate::http) struct Context<'a> {
    pub(in crate::http) gateway: Gateway,
    pub(in crate::http) site: &'a Site,
    pub(in crate::http) caller: &'a Caller,
}

/// Why a request is not carried out.
#[derive(Debug, Error)]
pub(in crate::http) enum QueryError {
    #[error("{0}")]
    BadData(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Unavailable(String),
    #[error(
        "{matched} groups match, and only one may be changed at a time without web.enable-admin-api"
    )]
    NotAdmin { matched: usize },
    #[error(transparent)]
    Gateway(#[from] Error),
    /// As any request may be.
    #[error(transparent)]
    Rejected(Box<Rejection>),
}

impl From<OverBudget> for QueryError {
    fn from(error: OverBudget) -> Self {
        Self::Rejected(Box::new(error.into()))
    }
}

impl From<Fault> for QueryError {
    fn from(fault: Fault) -> Self {
        Self::Gateway(fault.into())
    }
}

impl<'a> Context<'a> {
    pub(in crate::http) fn of(request: &Request<'a>) -> Result<Self, Rejection> {
        let Request { site, caller, .. } = request;
        Ok(Self { gateway: request.gateway()?, site, caller })
    }

    /// The settings in force with the rules and tokens, without secrets, for people.
    pub(in crate::http) fn settings(&self) -> Value {
        let policy = self.gateway.ttl_policy();
        let rules = policy.rules.iter().enumerate().map(|(at, rule)| {
            let (selector, ttl) = (rule.selector.to_string(), rule.ttl.to_string());
            json!({ "position": at + 1, "match": selector, "ttl": ttl })
        });
        let access = self.site.hooks.access.current();
        let tokens = access.tokens.iter().map(|token| {
            let groups = token.groups.as_ref().map(ToString::to_string);
            json!({ "name": *token.name, "may": token.permissions(), "match": groups })
        });
        json!({
            "settings": (self.site.hooks.settings)(),
            "ttl_rules": rules.collect::<Vec<_>>(),
            "access_tokens": tokens.collect::<Vec<_>>(),
        })
    }

    /// More than one group is changed only by who may wipe, too.
    pub(in crate::http) fn may_change(&self, matched: usize) -> Result<(), QueryError> {
        if matched > 1 && !self.site.options.admin {
            Err(QueryError::NotAdmin { matched })
        } else {
            Ok(())
        }
    }
}

impl QueryError {
    pub(in crate::http) fn status(&self) -> StatusCode {
        match self {
            Self::BadData(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotAdmin { .. } => StatusCode::FORBIDDEN,
            Self::Gateway(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Rejected(rejection) => rejection.status(),
        }
    }
}
