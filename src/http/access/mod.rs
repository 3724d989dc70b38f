//! Who may do what: tokens with permissions, and addresses from which administration is allowed.
//!
//! Without any token, and any user in `web.config.file`, everybody may do everything, as with the Go
//! Pushgateway.

pub(super) mod cross_origin;
mod token;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ipnet::IpNet;

pub use token::{Secret, TokenHash};

use super::rejection::Rejection;
use super::web_config;
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
    /// What may be done without a token, once there are tokens.
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

/// Who may do what, as of now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Held to clone or replace it.
    options: Arc<RwLock<Arc<Options>>>,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
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

    fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl Token {
    /// What it may do, by name.
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
    pub(super) fn current(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Options {
    /// Whether `web.config.file` need not know who it is: a token says so, or nobody has to say.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let anonymous = !self.anonymous.is_empty() && !headers.contains_key(AUTHORIZATION);
        anonymous || self.token(headers).is_some()
    }

    /// Who sent a request that `web.config.file` has let in. `users`: whether that has users.
    pub(super) fn caller(&self, headers: &HeaderMap, users: bool, from: IpAddr) -> Caller {
        if let Some(Token { name, may, groups, .. }) = self.token(headers) {
            let (name, may) = (Some(Arc::clone(name)), Some(may.clone()));
            return Caller { name, from, may, groups: groups.clone() };
        }
        let user = headers.get(AUTHORIZATION).filter(|_| users).and_then(web_config::basic);
        let may = match user {
            None if users || !self.tokens.is_empty() => Some(self.anonymous.clone()),
            _ => None,
        };
        Caller { name: user.map(|(user, _)| user.into()), from, may, groups: None }
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

    /// Whether a route may be used from an address.
    pub(super) fn admits(&self, caller: &Caller, origin: Origin) -> Result<(), Rejection> {
        let (from, setting) = match origin {
            Origin::Anywhere => return Ok(()),
            Origin::Admin => (&self.admin_from, "access.admin-from"),
            Origin::Lifecycle => (&self.lifecycle_from, "access.lifecycle-from"),
        };
        // An IPv4 client of a socket that takes both has an address that says so.
        let address = caller.from.to_canonical();
        if from.is_empty() || from.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        Err(Rejection::Forbidden(format!("not from {address} ({setting})")))
    }
}

impl Caller {
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

    /// What it calls itself.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The groups that whoever it is has to do with; `None`: all.
    pub(super) fn scope(&self) -> Option<Arc<Selector>> {
        self.groups.clone()
    }

    /// Leaves a line in the log about what was changed, by whom and from where.
    pub(super) fn audit(&self, action: &str, what: &str) {
        let by = self.name.as_deref().unwrap_or("anonymous");
        let from = self.from.to_canonical();
        tracing::info!(audit = action, what, by, %from, "changed by a request");
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

    #[test]
    fn a_token_does_what_it_may_to_its_groups_and_no_more() {
        let (options, secret) = options();
        let basic = STANDARD.encode(format!("whoever:{}", secret.as_str()));
        for value in [format!("Bearer {}", secret.as_str()), format!("Basic {basic}")] {
            let headers = headers(&value);
            assert!(options.knows(&headers));
            let caller = options.caller(&headers, false, HERE);
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
            assert!(!options.knows(&headers), "{value}");
            let caller = options.caller(&headers, false, HERE);
            assert!(matches!(caller.may(Permission::Push, None), Err(Rejection::Unauthorized)));
        }
        options.anonymous = vec![Permission::Scrape];
        let nobody = options.caller(&HeaderMap::new(), false, HERE);
        nobody.may_all(Permission::Scrape).unwrap();
        assert!(nobody.may(Permission::Push, None).is_err());
        let open = Options::default().caller(&HeaderMap::new(), false, HERE);
        open.may_all(Permission::Admin).unwrap();
    }

    #[test]
    fn administration_can_be_left_to_some_addresses() {
        let (mut options, _) = options();
        options.admin_from = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let from = |address: &str| {
            let caller = options.caller(&HeaderMap::new(), false, address.parse().unwrap());
            options.admits(&caller, Origin::Admin).is_ok()
        };
        assert!(from("10.1.2.3") && from("::ffff:10.1.2.3") && from("::1"));
        assert!(!from("192.168.0.1") && !from("::2"));
        let caller = options.caller(&HeaderMap::new(), false, "::2".parse().unwrap());
        assert!(options.admits(&caller, Origin::Lifecycle).is_ok(), "that is another list");
    }
}
