//! Requests that a page of another site has a browser send: with the reader's password, or from
//! within the reader's network. Those that change more than a push does are refused (as by
//! `http.CrossOriginProtection` of Go).

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use crate::http::rejection::Rejection;

/// Refuses a request that comes from a page of another origin, unless that is one of `trusted`, of
/// which `*` is every one. Programs that are no browsers say nothing of an origin, and pass.
pub(in crate::http) fn check(
    headers: &HeaderMap,
    external_url: &str,
    trusted: &[String],
) -> Result<(), Rejection> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(ORIGIN.as_str());
    let is_trusted = trusted.iter().any(|trusted| trusted == "*" || Some(&**trusted) == origin);
    let own = match text("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        // Browsers send it over TLS only. Then the host tells; as it was before a proxy changed it.
        None => origin.is_none_or(|origin| {
            let host = origin.split_once("://").map(|(_, host)| host);
            let external = external_url.split_once("://").map(|(_, rest)| rest);
            let external = external.and_then(|rest| rest.split('/').next());
            let hosts = [text(HOST.as_str()), text("x-forwarded-host"), external];
            host.is_some() && hosts.contains(&host)
        }),
    };
    if own || is_trusted {
        return Ok(());
    }
    let origin = origin.unwrap_or("another site");
    Err(Rejection::Forbidden(format!(
        "the request comes from a page of {origin} (web.cors-origin)"
    )))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn passes(pairs: &[(&'static str, &'static str)], trusted: &[&str]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let trusted: Vec<_> = trusted.iter().map(|trusted| (*trusted).to_owned()).collect();
        check(&pairs.collect(), "https://outside.example/gate", &trusted).is_ok()
    }

    #[test]
    fn only_pages_of_other_sites_are_refused() {
        let evil = "https://evil.example";
        assert!(passes(&[("host", "gate:9091")], &[]), "curl");
        assert!(passes(&[("host", "gate:9091"), ("origin", "http://gate:9091")], &[]));
        assert!(passes(&[("host", "gate:9091"), ("origin", "https://outside.example")], &[]));
        assert!(passes(&[("sec-fetch-site", "same-origin"), ("origin", evil)], &[]));
        assert!(passes(&[("sec-fetch-site", "none")], &[]), "typed into the address bar");
        assert!(!passes(&[("host", "gate:9091"), ("origin", evil)], &[]));
        assert!(!passes(&[("host", "gate:9091"), ("origin", "null")], &[]));
        assert!(!passes(&[("sec-fetch-site", "cross-site")], &[]));
        assert!(!passes(&[("sec-fetch-site", "same-site"), ("origin", evil)], &[]));
        assert!(passes(&[("sec-fetch-site", "cross-site"), ("origin", evil)], &[evil]));
        assert!(passes(&[("host", "gate:9091"), ("origin", evil)], &["*"]));
    }
}
