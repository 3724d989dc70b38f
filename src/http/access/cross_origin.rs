//! Requests that a page of another site has a browser send: with the reader's password, or from
//! within the reader's network. They change nothing (as by `http.CrossOriginProtection` of Go).
//!
//! A page whose host is only called so by its own site is another site's, even if `Host` says the
//! same: whoever owns a name can have it lead here (DNS rebinding).

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use rustix::system::uname;

use crate::http::rejection::Rejection;

/// Which pages may have a browser change something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Pages {
    /// Names of this gateway, in lower case.
    own: Vec<String>,
    /// The authority of the external URL.
    external: Option<String>,
    /// Origins beside its own; `*` is every one.
    trusted: Vec<String>,
}

impl Pages {
    /// Those of this host and its external URL, of hosts that are this gateway too, and of origins
    /// that are trusted.
    pub(in crate::http) fn new(external_url: &str, allowed: &[String], trusted: &[String]) -> Self {
        let external = external_url.split_once("://").and_then(|(_, rest)| {
            let authority = rest.split(['/', '?', '#']).next()?;
            let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            (!host.is_empty()).then(|| host.to_ascii_lowercase())
        });
        let name = uname().nodename().to_string_lossy().to_ascii_lowercase();
        let mut own: Vec<_> = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        own.extend(external.as_deref().map(|authority| host_of(authority).to_owned()));
        own.extend(name.split_once('.').map(|(short, _)| short.to_owned()));
        own.push(name);
        own.retain(|name| !name.is_empty());
        Self { own, external, trusted: trusted.to_vec() }
    }

    /// Refuses a request that comes from a page of another origin. Programs that are no browsers say
    /// nothing of an origin, and pass.
    pub(in crate::http) fn check(&self, head: &Parts) -> Result<(), Rejection> {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next());
        let origin = match (origin.map(|origin| origin.to_str()), more) {
            (None, _) => None,
            (Some(Ok(origin)), None) => Some(origin),
            _ => return Err(foreign("a page that does not say from where it is")),
        };
        let is_trusted =
            self.trusted.iter().any(|trusted| trusted == "*" || Some(&**trusted) == origin);
        if is_trusted {
            return Ok(());
        }
        let site = text(&head.headers, "sec-fetch-site");
        let Some(origin) = origin else {
            return match site {
                None | Some("same-origin" | "none") => Ok(()),
                Some(_) => Err(foreign("a page of another site")),
            };
        };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let Some(authority) = authority.map(str::to_ascii_lowercase) else {
            return Err(foreign(&format!("a page of {origin}")));
        };
        if !self.is_own(host_of(&authority)) {
            return Err(Rejection::Forbidden(format!(
                "the request comes from a page of {origin}, which is no name of this gateway that \
                 it knows: name the host in web.allowed-hosts, or the origin in web.cors-origin"
            )));
        }
        // Browsers send the first over TLS only. Else the host tells; as it was before a proxy changed
        // it.
        let same = if let Some(site) = site {
            matches!(site, "same-origin" | "none")
        } else {
            let is = |host: &str| host.eq_ignore_ascii_case(&authority);
            head.uri.authority().map(Authority::as_str).is_some_and(is)
                || text(&head.headers, HOST.as_str()).is_some_and(is)
                || text(&head.headers, "x-forwarded-host").is_some_and(is)
                || self.external.as_deref().is_some_and(is)
        };
        if same { Ok(()) } else { Err(foreign(&format!("a page of {origin}"))) }
    }

    /// Whether nobody else can have a name lead here: it is an address, or one that this host has.
    fn is_own(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.own.iter().any(|own| own == host)
    }
}

/// An authority without its port. A dot at the end of a name says no more than none.
fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn foreign(what: &str) -> Rejection {
    Rejection::Forbidden(format!("the request comes from {what} (web.cors-origin)"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn judged(target: &str, pairs: &[(&str, &str)], trusted: &[&str]) -> Result<(), String> {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let mut request = Request::put(target);
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let pages = Pages::new("https://outside.example/gate", &owned(&["Gate"]), &owned(trusted));
        pages.check(&head).map_err(|error| error.to_string())
    }

    fn passes(pairs: &[(&str, &str)], trusted: &[&str]) -> bool {
        judged("/", pairs, trusted).is_ok()
    }

    #[test]
    fn only_pages_of_other_sites_are_refused() {
        let evil = "https://evil.example";
        assert!(passes(&[("host", "gate:9091")], &[]), "curl");
        assert!(passes(&[("host", "whatever.example")], &[]), "a client is not judged by Host");
        assert!(passes(&[("host", "gate:9091"), ("origin", "http://gate:9091")], &[]));
        assert!(passes(&[("host", "Gate:9091"), ("origin", "http://gate:9091")], &[]));
        assert!(passes(&[("host", "gate:9091"), ("origin", "https://outside.example")], &[]));
        assert!(passes(&[("sec-fetch-site", "none")], &[]), "typed into the address bar");
        assert!(!passes(&[("host", "gate:9091"), ("origin", evil)], &[]));
        assert!(!passes(&[("host", "gate:9091"), ("origin", "null")], &[]));
        assert!(!passes(&[("host", "gate:9091"), ("origin", "")], &[]));
        assert!(!passes(&[("sec-fetch-site", "cross-site")], &[]));
        assert!(!passes(&[("sec-fetch-site", "same-site"), ("origin", evil)], &[]));
        assert!(passes(&[("sec-fetch-site", "cross-site"), ("origin", evil)], &[evil]));
        assert!(passes(&[("host", "gate:9091"), ("origin", evil)], &["*"]));
        let twice = [("host", "gate"), ("origin", "http://gate"), ("origin", evil)];
        assert!(!passes(&twice, &[]));
    }

    #[test]
    fn a_name_that_anybody_could_have_lead_here_is_not_believed() {
        for host in ["evil.example", "gate.evil.example", "10.0.0.1.evil.example", "evil.example."]
        {
            let origin = format!("http://{host}:9091");
            let at = format!("{host}:9091");
            let error = judged("/", &[("host", &at), ("origin", &origin)], &[]).unwrap_err();
            assert!(error.contains("web.allowed-hosts"), "{error}");
            let site = [("host", &*at), ("origin", &*origin), ("sec-fetch-site", "same-origin")];
            assert!(!passes(&site, &[]), "{host}");
        }
        let nodename = uname().nodename().to_string_lossy().into_owned();
        for host in
            ["127.0.0.1", "10.1.2.3", "[::1]", "localhost", "a.localhost", "gate", &*nodename]
        {
            for port in ["", ":9091"] {
                let (origin, at) = (format!("http://{host}{port}"), format!("{host}{port}"));
                judged("/", &[("host", &at), ("origin", &origin)], &[]).expect(host);
            }
        }
        // An address or a name of ours that is not where the request went to.
        assert!(!passes(&[("host", "10.1.2.3:9091"), ("origin", "http://10.6.6.6")], &[]));
        assert!(!passes(&[("host", "localhost:9091"), ("origin", "http://localhost:3000")], &[]));
        // As HTTP/2 says where it goes to.
        judged("https://gate:9091/", &[("origin", "https://gate:9091")], &[]).unwrap();
        assert!(judged("https://gate:9091/", &[("origin", "https://gate:1")], &[]).is_err());
    }
}
