//! Users and their passwords, given as bcrypt hashes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use tokio::sync::OnceCell;

use super::line::Line;

/// Who may do anything here. Nobody listed: everybody.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Passwords that were found right, with user and hash. A hash takes a tenth of a second of
    /// work, so that it is not to be computed for every request.
    right: Mutex<HashSet<Credentials>>,
    /// Passwords that are being looked at: whoever comes with the same waits for what comes of that.
    looking: Mutex<HashMap<Credentials, Weak<OnceCell<bool>>>>,
    /// One hash at a time: whoever guesses passwords gets no more than one processor.
    line: Line,
}

/// The verdict on a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Verdict {
    /// It is that of this user.
    Right(Arc<str>),
    Wrong,
    /// Too many are to be looked at.
    Crowded,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Credentials {
    user: String,
    hash: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// As many as the exporter-toolkit keeps.
const RIGHT_MAX: usize = 100;

impl Users {
    /// Users by name, with the hashes of their passwords.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        Self { hashes, right: Mutex::default(), looking: Mutex::default(), line: Line::default() }
    }

    /// Whether nobody is listed.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The problem with a hash.
    pub(super) fn check(&self) -> Result<(), String> {
        for (user, hash) in &self.hashes {
            hash.parse::<bcrypt::HashParts>().map_err(|_| {
                format!("basic_auth_users: {user}: expected a bcrypt hash such as $2y$10$…")
            })?;
        }
        Ok(())
    }

    /// Whether what a request from an address says of itself is right.
    pub(super) async fn judge(&self, authorization: Option<&HeaderValue>, from: IpAddr) -> Verdict {
        let Some(any) = self.hashes.values().next() else { return Verdict::Wrong };
        let Some((user, password)) = authorization.and_then(basic) else { return Verdict::Wrong };
        let known = self.hashes.get(&user);
        // As much work for a user that there is not: else it would tell who there is.
        let hash = known.unwrap_or(any).clone();
        let known = known.is_some();
        let name = Arc::from(user.as_str());
        let credentials = Credentials { user, hash, password };
        if known && self.lock().contains(&credentials) {
            return Verdict::Right(name);
        }
        let looked = self.looked_at(&credentials);
        let judged = looked.get_or_try_init(|| async {
            let turn = self.line.turn(from).await.ok_or(Verdict::Crowded)?;
            let checked = credentials.clone();
            let verify = move || {
                // Goes with the work, not with the request: one that is given up must not have another
                // begin beside it.
                let _turn = turn;
                bcrypt::verify(checked.password, &checked.hash).unwrap_or(false)
            };
            Ok(tokio::task::spawn_blocking(verify).await.unwrap_or(false) && known)
        });
        let right = match judged.await {
            Ok(right) => *right,
            Err(crowded) => return crowded,
        };
        if !right {
            return Verdict::Wrong;
        }
        let mut kept = self.lock();
        if kept.len() >= RIGHT_MAX {
            // Any one: the order of a set is as good as random.
            let oldest = kept.iter().next().cloned();
            oldest.map(|oldest| kept.remove(&oldest));
        }
        kept.insert(credentials);
        Verdict::Right(name)
    }

    /// The verdict on a password, shared by all requests that come with it meanwhile.
    fn looked_at(&self, credentials: &Credentials) -> Arc<OnceCell<bool>> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looked) = looking.get(credentials).and_then(Weak::upgrade) {
            return looked;
        }
        looking.retain(|_, looked| looked.strong_count() > 0);
        let looked = Arc::default();
        looking.insert(credentials.clone(), Arc::downgrade(&looked));
        looked
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Credentials>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// User and password of an `Authorization: Basic` header.
pub(in crate::http) fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderValue {
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(text))).unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_admits() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Users::new([("alice".to_owned(), hash)].into());
        for _ in 0..2 {
            let right = users.judge(Some(&header("alice:secret")), HERE).await;
            assert_eq!(right, Verdict::Right("alice".into()));
            for wrong in
                [header("alice:wrong"), header("bob:secret"), "Bearer x".try_into().unwrap()]
            {
                assert_eq!(users.judge(Some(&wrong), HERE).await, Verdict::Wrong);
            }
            assert_eq!(users.judge(None, HERE).await, Verdict::Wrong);
        }
        assert_eq!(users.lock().len(), 1);
        let nobody = Users::new(BTreeMap::new());
        assert_eq!(nobody.judge(Some(&header("alice:secret")), HERE).await, Verdict::Wrong);
    }

    /// As many pushes of one user at once, right after a start.
    #[tokio::test]
    async fn who_comes_with_the_same_password_waits_for_the_one_look_at_it() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Arc::new(Users::new([("alice".to_owned(), hash)].into()));
        let mut judged = tokio::task::JoinSet::new();
        for at in 0..400 {
            let users = Arc::clone(&users);
            let password = if at % 4 == 0 { "wrong" } else { "secret" };
            let header = header(&format!("alice:{password}"));
            judged.spawn(async move { (password, users.judge(Some(&header), HERE).await) });
        }
        for (password, verdict) in judged.join_all().await {
            let right = password == "secret";
            let expected = if right { Verdict::Right("alice".into()) } else { Verdict::Wrong };
            assert_eq!(verdict, expected, "{password}");
        }
        assert_eq!(users.looking.lock().unwrap().values().filter_map(Weak::upgrade).count(), 0);
    }

    #[test]
    fn what_is_no_hash_is_refused_with_its_user() {
        let users = Users::new([("eve".to_owned(), "secret".to_owned())].into());
        let error = users.check().unwrap_err();
        assert!(error.contains("eve") && error.contains("bcrypt"), "{error}");
    }
}
