//! Who may do what: tokens with permissions, and addresses from which administration is allowed.
//!
//! Without any token, any user in `web.config.file`, and `access.anonymous`, everybody may do
//! everything, as with the Go Pushgateway.
//!
//! Promises
//! - Who sent a request, and what that one may do, is decided once (`Options::caller`), on one state
//!   of the settings, which the `Caller` takes along.

pub(super) mod cross_origin;
mod token;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ipnet::IpNet;
use thiserror::Error;

pub use token::{Secret, TokenHash};

use super::rejection::Rejection;
use super::web_config::{self, Verdict};
use crate::model::{GroupingKey, Selector};

/// Something that requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Push,
    Delete,
    Scrape,
    /// Pages, and what the API says.
    Read,
    /// TTLs, restoring, wiping, reloading, stopping.
    Admin,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub tokens: Vec<Token>,
    /// The permissions without a token, once there are tokens.
    pub anonymous: Vec<Permission>,
    /// From where administration is allowed; empty: from everywhere.
    pub admin_from: Vec<IpNet>,
    /// From where stopping and reloading is allowed; empty: from everywhere.
    pub lifecycle_from: Vec<IpNet>,
}

/// A token, by what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// For the log.
    pub name: Arc<str>,
    pub hash: TokenHash,
    pub may: Vec<Permission>,
    /// The groups that it is about; `None`: all.
    pub groups: Option<Arc<Selector>>,
}

/// The settings limit requests without a token, and there is no token.
#[derive(Debug, Error)]
#[error(
    "there are neither [[access.tokens]] nor users in web.config.file, so that nobody could do anything \
     else: add some, or leave out access.anonymous to let everybody do everything"
)]
pub struct NobodyElse;

/// Who may do what, as of now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Held to clone or replace it.
    options: Arc<RwLock<Arc<Options>>>,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The settings when the request came.
    access: Arc<Options>,
    /// The name of the token, or of the user of `web.config.file`.
    name: Option<Arc<str>>,
    from: IpAddr,
    /// `None`: everything.
    may: Option<Vec<Permission>>,
    groups: Option<Arc<Selector>>,
}

/// From where a route may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Anywhere,
    Admin,
    Lifecycle,
}

impl Permission {
    /// All of them, by the names that the settings have.
    pub const NAMES: [(&str, Self); 5] = [
        ("push", Self::Push),
        ("delete", Self::Delete),
        ("scrape", Self::Scrape),
        ("read", Self::Read),
        ("admin", Self::Admin),
    ];

    /// The permission of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, permission)| permission)
    }

    pub(super) fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl Token {
    /// Its permissions, by name.
    pub fn permissions(&self) -> Vec<&'static str> {
        self.may.iter().map(|permission| permission.as_str()).collect()
    }
}

impl Access {
    /// Begins with these.
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(RwLock::new(Arc::new(options))) }
    }

    /// From now on these count.
    pub fn replace(&self, options: Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    /// As of now.
    pub fn current(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Options {
    /// Who sent a request: whoever a token stands for, else a user of `web.config.file`, else somebody
    /// without a name. Refused where there are users, and it is neither one of them nor somebody who
    /// need not say who it is.
    pub(super) async fn caller(
        self: &Arc<Self>,
        headers: &HeaderMap,
        web: Option<&web_config::Settings>,
        from: IpAddr,
    ) -> Result<Caller, Rejection> {
        if let Some(Token { name, may, groups, .. }) = self.token(headers) {
            let (name, may) = (Some(Arc::clone(name)), Some(may.clone()));
            return Ok(Caller {
                access: Arc::clone(self),
                name,
                from,
                may,
                groups: groups.clone(),
            });
        }
        let with_users = web.filter(|web| web.has_users());
        let says_nothing = !headers.contains_key(AUTHORIZATION);
        if let Some(web) = with_users
            && (!says_nothing || self.anonymous.is_empty())
        {
            return match web.judge(headers, from).await {
                Verdict::Right(name) => {
                    let access = Arc::clone(self);
                    Ok(Caller { access, name: Some(name), from, may: None, groups: None })
                }
                Verdict::Wrong => Err(Rejection::Unauthorized),
                Verdict::Crowded => Err(Rejection::Crowded),
            };
        }
        let is_open = with_users.is_none() && self.tokens.is_empty() && self.anonymous.is_empty();
        let may = (!is_open).then(|| self.anonymous.clone());
        Ok(Caller { access: Arc::clone(self), name: None, from, may, groups: None })
    }

    /// Somebody who may do nothing, and need not say who it is: what a probe is.
    pub(super) fn nobody(self: &Arc<Self>, from: IpAddr) -> Caller {
        let access = Arc::clone(self);
        Caller { access, name: None, from, may: Some(Vec::new()), groups: None }
    }

    /// Whether what may be done without a token is anything but everything. `users`: whether
    /// `web.config.file` has some.
    pub fn check(&self, users: bool) -> Result<(), NobodyElse> {
        let nobody_else = !self.anonymous.is_empty() && self.tokens.is_empty() && !users;
        if nobody_else { Err(NobodyElse) } else { Ok(()) }
    }

    /// The first restriction that these have and the others have not.
    pub fn guards_beyond(&self, others: &Self) -> Option<&'static str> {
        let lost = |own: bool, other: bool| own && !other;
        let named = |list: &Self| !list.tokens.is_empty() || !list.anonymous.is_empty();
        if lost(named(self), named(others)) {
            Some("[[access.tokens]]")
        } else if lost(!self.admin_from.is_empty(), !others.admin_from.is_empty()) {
            Some("access.admin-from")
        } else if lost(!self.lifecycle_from.is_empty(), !others.lifecycle_from.is_empty()) {
            Some("access.lifecycle-from")
        } else {
            None
        }
    }

    /// The token of a request: as `Bearer`, or as the password of whatever user, for clients that know
    /// nothing else.
    fn token(&self, headers: &HeaderMap) -> Option<&Token> {
        if self.tokens.is_empty() {
            return None;
        }
        let value = headers.get(AUTHORIZATION)?;
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let secret = match bearer {
            Some((_, secret)) => secret.trim().to_owned(),
            None => web_config::basic(value)?.1,
        };
        let hash = TokenHash::of(&secret);
        // Each is compared, whichever it is: how long it takes says nothing.
        self.tokens
            .iter()
            .fold(None, |found, token| token.hash.equals(&hash).then_some(token).or(found))
    }
}

impl Caller {
    /// Whether a route may be used from where it is.
    pub(super) fn admitted(&self, origin: Origin) -> Result<(), Rejection> {
        let (from, setting) = match origin {
            Origin::Anywhere => return Ok(()),
            Origin::Admin => (&self.access.admin_from, "access.admin-from"),
            Origin::Lifecycle => (&self.access.lifecycle_from, "access.lifecycle-from"),
        };
        // An IPv4 client of a socket that takes both has an address that says so.
        let address = self.from.to_canonical();
        if from.is_empty() || from.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        Err(Rejection::Forbidden(format!("not from {address} ({setting})")))
    }

    /// Whether there is anything that it may do.
    pub(super) fn may_something(&self) -> bool {
        self.may.as_ref().is_none_or(|may| !may.is_empty())
    }

    /// Whoever it is may do it. `key`: to this group.
    pub(super) fn may(
        &self,
        permission: Permission,
        key: Option<&GroupingKey>,
    ) -> Result<(), Rejection> {
        let Some(may) = &self.may else { return Ok(()) };
        if !may.contains(&permission) {
            return Err(match &self.name {
                None => Rejection::Unauthorized,
                Some(name) => Rejection::Forbidden(format!(
                    "the token {name} may not {}: its settings do not say so",
                    permission.as_str()
                )),
            });
        }
        match (&self.groups, key) {
            (Some(groups), Some(key)) if !groups.matches(key) => {
                Err(self.out_of_bounds(&format!("{key}")))
            }
            _ => Ok(()),
        }
    }

    /// The same, to all that there is.
    pub(super) fn may_all(&self, permission: Permission) -> Result<(), Rejection> {
        self.may(permission, None)?;
        if self.groups.is_some() { Err(self.out_of_bounds("everything")) } else { Ok(()) }
    }

    fn out_of_bounds(&self, what: &str) -> Rejection {
        let name = self.name.as_deref().unwrap_or_default();
        let groups = self.groups.as_ref().map(ToString::to_string).unwrap_or_default();
        Rejection::Forbidden(format!("the token {name} is for the groups {groups}, not for {what}"))
    }

    /// A sender that another replica has let in.
    pub(super) fn handed_on(
        access: Arc<Options>,
        name: Option<Arc<str>>,
        from: IpAddr,
        may: Option<Vec<Permission>>,
        groups: Option<Arc<Selector>>,
    ) -> Self {
        Self { access, name, from, may, groups }
    }

    /// Address, name, permissions and groups, for another replica.
    pub(super) fn parts(&self) -> (IpAddr, Option<&str>, Option<&[Permission]>, Option<&Selector>) {
        (self.from, self.name.as_deref(), self.may.as_deref(), self.groups.as_deref())
    }

    /// Its name.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The groups that whoever it is has to do with; `None`: all.
    pub(super) fn scope(&self) -> Option<Arc<Selector>> {
        self.groups.clone()
    }

    /// Leaves a line in the log about what was changed, by whom and from where.
    pub(super) fn audit(&self, action: &str, what: &str) {
        tracing::info!(audit = action, what, by = self.by(), from = %self.from(), "changed by a request");
    }

    /// The name of its token or user, for people.
    pub(super) fn by(&self) -> &str {
        self.name.as_deref().unwrap_or("anonymous")
    }

    /// Its address.
    pub(super) fn from(&self) -> IpAddr {
        self.from.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::model::Label;

    fn options() -> (Options, Secret) {
        let secret = Secret::generate().unwrap();
        let groups = Selector::parse(r#"{job="ci"}"#).unwrap();
        let token = Token {
            name: "ci".into(),
            hash: TokenHash::of(secret.as_str()),
            may: vec![Permission::Push],
            groups: Some(Arc::new(groups)),
        };
        (Options { tokens: vec![token], ..Options::default() }, secret)
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn key(job: &str) -> GroupingKey {
        GroupingKey::new(vec![Label::new("job", job)]).unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Who sent a request, where there is no `web.config.file`.
    fn caller(options: &Options, headers: &HeaderMap, from: IpAddr) -> Caller {
        use std::task::{Context, Poll, Waker};
        let options = Arc::new(options.clone());
        let caller = std::pin::pin!(options.caller(headers, None, from));
        match caller.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(caller) => caller.unwrap(),
            Poll::Pending => panic!("nobody has to be asked"),
        }
    }

    #[test]
    fn a_token_does_what_it_may_to_its_groups_and_no_more() {
        let (options, secret) = options();
        let basic = STANDARD.encode(format!("whoever:{}", secret.as_str()));
        for value in [format!("Bearer {}", secret.as_str()), format!("Basic {basic}")] {
            let headers = headers(&value);
            let caller = caller(&options, &headers, HERE);
            caller.may(Permission::Push, Some(&key("ci"))).unwrap();
            let other = caller.may(Permission::Push, Some(&key("db"))).unwrap_err();
            assert!(other.to_string().contains("{job=\"ci\"}"), "{other}");
            assert!(matches!(caller.may_all(Permission::Push), Err(Rejection::Forbidden(_))));
            let delete = caller.may(Permission::Delete, Some(&key("ci")));
            assert!(matches!(delete, Err(Rejection::Forbidden(_))));
        }
    }

    #[test]
    fn without_a_token_that_is_known_only_what_is_for_everybody_may_be_done() {
        let (mut options, secret) = options();
        for value in
            ["Bearer wrong", "Bearer", "Basic ????", &format!("Digest {}", secret.as_str())]
        {
            let headers = headers(value);
            let caller = caller(&options, &headers, HERE);
            assert!(matches!(caller.may(Permission::Push, None), Err(Rejection::Unauthorized)));
        }
        options.anonymous = vec![Permission::Scrape];
        for tokens in [options.tokens.clone(), Vec::new()] {
            options.tokens = tokens;
            let nobody = caller(&options, &HeaderMap::new(), HERE);
            nobody.may_all(Permission::Scrape).unwrap();
            assert!(nobody.may(Permission::Push, None).is_err());
        }
        let open = caller(&Options::default(), &HeaderMap::new(), HERE);
        open.may_all(Permission::Admin).unwrap();
    }

    #[test]
    fn administration_can_be_left_to_some_addresses() {
        let (mut options, _) = options();
        options.admin_from = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let from = |address: &str| {
            let caller = caller(&options, &HeaderMap::new(), address.parse().unwrap());
            caller.admitted(Origin::Admin).is_ok()
        };
        assert!(from("10.1.2.3") && from("::ffff:10.1.2.3") && from("::1"));
        assert!(!from("192.168.0.1") && !from("::2"));
        let caller = caller(&options, &HeaderMap::new(), "::2".parse().unwrap());
        assert!(caller.admitted(Origin::Lifecycle).is_ok(), "that is another list");
    }
}
