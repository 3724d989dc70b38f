//! Assets of the pages: a style sheet, an icon, and small ES modules.

use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use crate::http::reply::{self, Response};

/// A file in the program.
#[derive(Debug, PartialEq)]
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: [Asset; 8] = [
    Asset { name: "style.css", content_type: CSS, content: include_str!("assets/style.css") },
    Asset { name: "icon.svg", content_type: SVG, content: include_str!("assets/icon.svg") },
    Asset { name: "page.js", content_type: JS, content: include_str!("assets/page.js") },
    Asset { name: "time.js", content_type: JS, content: include_str!("assets/time.js") },
    Asset { name: "refresh.js", content_type: JS, content: include_str!("assets/refresh.js") },
    Asset { name: "actions.js", content_type: JS, content: include_str!("assets/actions.js") },
    Asset { name: "events.js", content_type: JS, content: include_str!("assets/events.js") },
    Asset { name: "notice.js", content_type: JS, content: include_str!("assets/notice.js") },
];

impl Asset {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }

    /// The file, or that it is still the one that the browser has.
    pub(super) fn serve(&self, headers: &HeaderMap) -> Response {
        let etag = format!("\"{:016x}\"", xxh3_64(self.content.as_bytes()));
        let known = headers.get(IF_NONE_MATCH).and_then(|etags| etags.to_str().ok());
        let is_known = known.is_some_and(|known| {
            known.split(',').any(|known| known.trim().trim_start_matches("W/") == etag)
        });
        let mut response = if is_known {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::with(StatusCode::OK, self.content)
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            // Asked for again each time: another version of the gateway has others.
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(ETAG, HeaderValue::try_from(etag).expect("it is of hexadecimal digits"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        for asset in &ASSETS {
            let found = Asset::find(asset.name).unwrap();
            let response = found.serve(&HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK);
            let mut known = HeaderMap::new();
            known.insert(IF_NONE_MATCH, response.headers()[ETAG].clone());
            assert_eq!(found.serve(&known).status(), StatusCode::NOT_MODIFIED);
            known.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
            assert_eq!(found.serve(&known).status(), StatusCode::OK);
        }
        assert_eq!(Asset::find("../style.css"), None);
    }
}
