//! The table of endpoints: a row says which requests it is for, what they need, what is written of
//! them, and what serves them. Routing, `Allow`, access, the audit log, metrics, and the navigation of
//! the pages read it; there is no other place that knows any of this.

use super::access::{Origin, Permission};
use super::endpoint::{
    Answer, DELETE, Endpoint, GET, Needs, OPTIONS, POST, PUT, PUT_POST, Place, READ,
};
use super::ingest::pushgateway;
use super::rejection::Refused;
use super::replicas::presence;
use super::reply::Response;
use super::{api_v1, api_v2, operations, router, scrape, web};
use crate::exposition::push_path;
use crate::telemetry::labels::Handler;

use Needs::{All, Group, NoLogin, Nothing, Some as Any};
use Permission::{Admin, Delete, Push, Read, Scrape};
use Place::{At, Bare, Below, Files};

/// Of two rows for one request the first counts.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Place::Telemetry, READ, All(Scrape), |r| Box::pin(scrape::scrape(r))),
    // Groups, in the grammar of the Go Pushgateway.
    Endpoint::new(Place::Group, PUT_POST, Group(Push), |r| Box::pin(pushgateway::push(r)))
        .counted(Handler::Push)
        .unchecked_gzip(),
    Endpoint::new(Place::Group, DELETE, Group(Delete), |r| Box::pin(pushgateway::delete(r)))
        .audit("delete")
        .counted(Handler::Delete)
        .unchecked_gzip(),
    // Pages.
    Endpoint::new(At("/"), READ, Any(Read), |r| Box::pin(web::groups(r)))
        .counted(Handler::Status)
        .title("Groups"),
    Endpoint::new(At("/group"), READ, Any(Read), |r| Box::pin(web::group(r)))
        .counted(Handler::Status),
    Endpoint::new(At("/expiry"), READ, Any(Read), |r| Box::pin(web::expiry(r)))
        .counted(Handler::Status)
        .title("Expiry"),
    // Changes nothing: it shows the effect of a proposed table.
    Endpoint::new(At("/expiry"), POST, Any(Read), |r| Box::pin(web::compare(r)))
        .counted(Handler::Status)
        .any_page()
        .unchecked_gzip(),
    Endpoint::new(At("/expired"), READ, Any(Read), |r| Box::pin(web::expired(r)))
        .counted(Handler::Status)
        .title("Expired"),
    Endpoint::new(At("/live"), READ, Any(Read), |r| at_once(web::live(r)))
        .counted(Handler::Status)
        .title("Live"),
    Endpoint::new(At("/status"), READ, All(Read), |r| at_once(web::status(&r)))
        .counted(Handler::Status)
        .title("Status"),
    Endpoint::new(Files("/assets/", web::is_asset), READ, Nothing, |r| at_once(web::asset(&r)))
        .counted(Handler::Static),
    // The process.
    Endpoint::new(At("/-/healthy"), READ, NoLogin, |r| at_once(Ok(operations::healthy(&r))))
        .counted(Handler::Healthy),
    Endpoint::new(At("/-/ready"), READ, NoLogin, |r| at_once(Ok(operations::ready(&r))))
        .counted(Handler::Ready),
    Endpoint::new(At(presence::PATH), READ, Nothing, |r| at_once(operations::presence(&r))),
    // With a prefix the Go Pushgateway answers GET without it.
    Endpoint::new(At("/-/metrics"), READ, All(Scrape), |r| at_once(scrape::own(&r))),
    Endpoint::new(Bare("/-/quit"), READ, Nothing, |_| at_once(Ok(operations::quit_hint()))),
    Endpoint::new(At("/-/quit"), PUT_POST, All(Admin), |r| at_once(Ok(operations::quit(&r))))
        .from(Origin::Lifecycle)
        .audit("quit"),
    Endpoint::new(At("/-/reload"), PUT_POST, All(Admin), |r| Box::pin(operations::reload(r)))
        .from(Origin::Lifecycle)
        .audit("reload"),
    // The API of the Go Pushgateway.
    Endpoint::new(At("/api/v1/status"), READ, All(Read), |r| at_once(Ok(api_v1::status(&r))))
        .counted(Handler::ApiStatus),
    Endpoint::new(At("/api/v1/metrics"), READ, All(Read), |r| at_once(api_v1::metrics(r)))
        .counted(Handler::ApiMetrics),
    Endpoint::new(At("/api/v1/admin/wipe"), PUT, All(Admin), |r| Box::pin(api_v1::wipe(r)))
        .from(Origin::Admin)
        .admin()
        .audit("wipe")
        .counted(Handler::Wipe),
    Endpoint::new(Below("/api/v1/"), OPTIONS, Nothing, |_| at_once(Ok(api_v1::options())))
        .counted(Handler::ApiOptions),
    // Our own API.
    Endpoint::new(At("/api/v2/groups"), READ, Any(Read), |r| Box::pin(api_v2::groups(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/groups"), DELETE, Any(Delete), |r| Box::pin(api_v2::delete(r)))
        .from(Origin::Admin)
        .audit("delete")
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/groups/families"), READ, Any(Read), |r| {
        Box::pin(api_v2::families(r))
    })
    .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/groups/touch"), POST, Any(Admin), |r| Box::pin(api_v2::touch(r)))
        .from(Origin::Admin)
        .audit("touch")
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/groups/ttl"), PUT, Any(Admin), |r| Box::pin(api_v2::set_ttl(r)))
        .from(Origin::Admin)
        .audit("override")
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/ttl/preview"), READ, Any(Read), |r| Box::pin(api_v2::preview(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/ttl/preview"), POST, Any(Read), |r| Box::pin(api_v2::compare(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/expired"), READ, Any(Read), |r| Box::pin(api_v2::expired(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/expired/restore"), POST, Any(Admin), |r| {
        Box::pin(api_v2::restore(r))
    })
    .from(Origin::Admin)
    .audit("restore")
    .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/backup"), POST, All(Admin), |r| Box::pin(api_v2::backup(r)))
        .from(Origin::Admin)
        .audit("backup")
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/events"), GET, Any(Read), |r| at_once(api_v2::events(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/config"), READ, All(Read), |r| Box::pin(api_v2::config(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/cluster"), READ, All(Read), |r| Box::pin(api_v2::replicas(r)))
        .counted(Handler::ApiV2),
    Endpoint::new(At("/api/v2/cluster/step-down"), POST, All(Admin), |r| {
        Box::pin(api_v2::step_down(r))
    })
    .from(Origin::Lifecycle)
    .audit("step-down")
    .counted(Handler::ApiV2),
];

/// An answer for which nothing has to be awaited.
fn at_once<'a>(answer: Result<Response, Refused>) -> Answer<'a> {
    Box::pin(std::future::ready(answer))
}

/// Every path that has endpoints, without a prefix and with all that can be enabled, and its methods as
/// `Allow` has them. `NAME` stands for the name of a job.
pub fn endpoints() -> Vec<(String, String)> {
    let mut paths: Vec<String> = Vec::new();
    for endpoint in ENDPOINTS {
        let path = match endpoint.place {
            Place::Group => format!("{}/NAME", push_path::PREFIX),
            place => match place.path("/metrics") {
                Some(path) => path.to_owned(),
                None => continue,
            },
        };
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let methods = |path: String| {
        let here = |endpoint: &&Endpoint| endpoint.place.is(&path, Some(&path), "/metrics");
        let here = ENDPOINTS.iter().filter(here);
        let methods = router::methods(here.filter(|row| !matches!(row.place, Below(_))))?;
        Some((path, methods))
    };
    paths.into_iter().filter_map(methods).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use hyper::Method;
    use proptest::prelude::*;

    use super::super::rejection::Rejection;
    use super::super::router::{Route, Router};
    use super::super::{Options, Paths, in_memory};
    use super::*;
    use crate::exposition::push_path::PushPath;
    use crate::model::NameRules;

    #[test]
    fn each_change_is_for_the_audit_log_and_only_a_push_and_a_look_are_not() {
        for endpoint in ENDPOINTS {
            let changes =
                endpoint.methods.iter().any(|method| !["GET", "HEAD", "OPTIONS"].contains(method));
            let pushes = matches!(endpoint.needs, Group(Push));
            let looks = endpoint.needs == Any(Read);
            let audited = endpoint.audit.is_some();
            assert_eq!(audited, changes && !pushes && !looks, "{endpoint:?}");
        }
    }

    #[test]
    fn the_leader_carries_out_each_change_of_groups() {
        for endpoint in ENDPOINTS {
            let of_process = matches!(endpoint.audit, Some("quit" | "reload" | "step-down"));
            let reads =
                endpoint.methods.iter().all(|method| ["GET", "HEAD", "OPTIONS"].contains(method));
            let looks = endpoint.needs == Any(Read);
            assert_eq!(endpoint.is_by_leader(), !reads && !looks && !of_process, "{endpoint:?}");
        }
    }

    #[test]
    fn every_path_is_listed_once_with_all_its_methods() {
        let all = endpoints();
        let methods = |path: &str| {
            let mut found = all.iter().filter(|(at, _)| at == path);
            let methods = found.next().unwrap_or_else(|| panic!("{path}"));
            assert!(found.next().is_none(), "{path}");
            methods.1.as_str()
        };
        assert_eq!(methods("/metrics/job/NAME"), "DELETE, OPTIONS, POST, PUT");
        assert_eq!(methods("/-/quit"), "GET, HEAD, OPTIONS, POST, PUT");
        assert_eq!(methods("/api/v2/groups"), "DELETE, GET, HEAD, OPTIONS");
        assert_eq!(methods("/api/v1/status"), "GET, HEAD, OPTIONS");
    }

    fn router(prefix: &str, names: NameRules) -> Router {
        let paths = Paths {
            prefix: prefix.into(),
            telemetry: "/metrics".into(),
            external_url: String::new(),
        };
        let options = Options { paths, ..in_memory::options("") };
        Router::new(ENDPOINTS, &options, names)
    }

    fn route(method: &Method, path: &str) -> Result<Route, Rejection> {
        router("", NameRules::Legacy).route(method, path, None)
    }

    fn location(prefix: &str, method: &Method, path: &str) -> Option<(u16, String)> {
        match router(prefix, NameRules::Legacy).route(method, path, Some("q=1")) {
            Ok(Route::Redirect { status, location, .. }) => {
                let location = location.strip_suffix("?q=1").expect("the query is kept");
                Some((status.as_u16(), location.to_owned()))
            }
            _ => None,
        }
    }

    #[test]
    fn what_is_not_clean_or_nearly_there_is_redirected() {
        let (get, put) = (&Method::GET, &Method::PUT);
        for (prefix, method, path, expected) in [
            ("", get, "//metrics", Some((301, "/metrics"))),
            ("", get, "/metrics/job/x//y", Some((301, "/metrics/job/x/y"))),
            ("", get, "/metrics/job/%2Fx%20y", Some((301, "/metrics/job/x%20y"))),
            ("", put, "//metrics", Some((301, "/metrics"))),
            ("", put, "/./metrics/job/x", Some((308, "/metrics/job/x"))),
            ("", put, "/a/../metrics//job/x", Some((308, "/metrics/job/x"))),
            ("/foo", put, "/foo/./metrics/job/x", Some((308, "/foo/metrics/job/x"))),
            ("", get, "/a/%2E%2e/metrics", Some((301, "/metrics"))),
            ("", get, "/metrics/", Some((301, "/metrics"))),
            ("", put, "/metrics/", None),
            ("", get, "/STATUS/", Some((301, "/status"))),
            ("", put, "/Metrics/JOB/X/a/B", Some((307, "/metrics/job/X/a/B"))),
            ("", put, "/metrics/JOB@BASE64/eA", Some((307, "/metrics/job@base64/eA"))),
            ("", put, "/metrics/job/", None),
            ("", get, "/metrics/job/", None),
            ("", get, "/api/v1", Some((301, "/api/v1/"))),
            ("", get, "/api/v1/status/", Some((301, "/api/v1/status"))),
            ("/foo", get, "/foo", Some((301, "/foo/"))),
            ("/foo", get, "/Foo/metrics", Some((301, "/foo/metrics"))),
            ("/foo", get, "/metrics", None),
            ("", get, "/metrics/job/x/..", Some((301, "/metrics/job"))),
            ("", get, "/.", Some((301, "/"))),
        ] {
            let expected = expected.map(|(status, path): (u16, &str)| (status, path.to_owned()));
            assert_eq!(location(prefix, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn with_utf8_names_labels_are_unescaped() {
        let router = router("", NameRules::Utf8);
        let key = |path: &str| match router.route(&Method::PUT, path, None) {
            Ok(Route::Endpoint(_, Some(path))) => path.key.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(key("/metrics/job/x/U__a_2e_b@base64/YQ"), r#"{"a.b"="a",job="x"}"#);
        assert_eq!(key("/metrics/job/x/a.b/c"), r#"{"a.b"="c",job="x"}"#);
        assert!(key("/metrics/job/x/U______x/c").contains("LabelName"));
        assert!(key("/metrics/job/x/__x/c").contains("LabelName"));
    }

    fn key(path: &str) -> String {
        match route(&Method::PUT, path) {
            Ok(Route::Endpoint(_, Some(path))) => path.key.to_string(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn error(path: &str) -> String {
        route(&Method::POST, path).expect_err(path).to_string()
    }

    #[test]
    fn push_paths_name_a_group() {
        for (path, expected) in [
            ("/metrics/job/x", r#"{job="x"}"#),
            ("/metrics/job/x/", r#"{job="x"}"#),
            ("/metrics/job/x/instance/i/zone/z", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/zone/z/instance/i", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/instance/", r#"{instance="",job="x"}"#),
            ("/metrics/job/x/a/1/a/2", r#"{a="2",job="x"}"#),
            ("//metrics/job/x", r#"{job="x"}"#),
            ("///metrics//job/x/a/b", r#"{a="b",job="x"}"#),
            ("//metrics/job@base64/eA", r#"{job="x"}"#),
            ("/%2Fmetrics/job/x/", r#"{job="x"}"#),
            ("/metrics/job/x/job/y", r#"{job="x"}"#),
            ("/metrics/job/a%20b/k/%C3%BC", r#"{job="a b",k="ü"}"#),
            ("/metrics/job/a+b", r#"{job="a+b"}"#),
            ("/metrics/job/x/a%2Fb", r#"{a="b",job="x"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I", r#"{job="test/job"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I=", r#"{job="test/job"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA==", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/empty@base64/=", r#"{empty="",job="x"}"#),
            ("/metrics/job/job@base64/instance@base64/YQ", r#"{instance="a",job="job@base64"}"#),
        ] {
            assert_eq!(key(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_name_no_group_say_why() {
        for (path, reason) in [
            ("/metrics/job/x/a", "odd number of components in label string \"/a\""),
            ("/metrics/job/x/a/b/c", "odd number of components"),
            ("/metrics/job/x/path/a/b", "/LABEL@base64/VALUE"),
            ("/metrics/job/", "job name is required: pushes go to"),
            ("/metrics/job@base64/", "job name is required: pushes go to"),
            ("//metrics/job/", "job name is required"),
            ("/metrics/job//instance/x", "a part of the path"),
            ("/metrics/job/x/a//b/c", "a value that is empty or has a slash is written in base64"),
            ("/metrics/job/x/a/%2Fb", "a part of the path"),
            ("/metrics/job/x/a/..", "a part of the path"),
            ("/metrics/job/.", "a part of the path"),
            ("//metrics/job/x//", "a part of the path"),
            ("/metrics/job/x/a-b/1", "improper label name \"a-b\""),
            ("/metrics/job/x/__a/1", "improper label name \"__a\""),
            ("/metrics/job/x/__a@base64/MQ", "improper label name \"__a\""),
            (
                "/metrics/job/x/a@base64/foo.bar",
                "invalid base64 encoding for label a=\"foo.bar\": illegal base64 data at input byte 3",
            ),
            ("/metrics/job@base64/foo.bar", "invalid base64 encoding in job name \"foo.bar\""),
            ("/metrics/job@base64/=", "job name is required"),
            ("/metrics/job/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a@base64/_w", "not valid UTF-8"),
        ] {
            let error = error(path);
            assert!(error.contains(reason), "{path}: {error}");
        }
    }

    #[test]
    fn methods_and_paths_lead_to_their_routes() {
        for (method, path, counted) in [
            (Method::HEAD, "/-/ready", Some(Handler::Ready)),
            (Method::DELETE, "/metrics/job/x", Some(Handler::Delete)),
            (Method::POST, "/metrics/job/x", Some(Handler::Push)),
            (Method::OPTIONS, "/api/v1/nothing", Some(Handler::ApiOptions)),
            (Method::GET, "/assets/page.js", Some(Handler::Static)),
            (Method::GET, "/metrics", None),
        ] {
            match route(&method, path) {
                Ok(Route::Endpoint(endpoint, _)) => assert_eq!(endpoint.counted, counted, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
        for path in
            ["/metrics/", "/metrics/job", "/metrics/jobs/x", "/metrics/metrics/job/x", "/x", "/%FF"]
        {
            let error = route(&Method::PUT, path).unwrap_err().to_string();
            assert!(
                error.starts_with("404 page not found: pushes go to /metrics/job/JOB"),
                "{error}"
            );
            assert!(error.contains("@base64/"), "{error}");
            let read = route(&Method::GET, path);
            assert!(
                matches!(read, Err(Rejection::NotFound) | Ok(Route::Redirect { .. })),
                "{path}"
            );
        }
        for path in ["/api/v1/nothing", "/api/v2/nothing"] {
            assert!(matches!(route(&Method::PUT, path), Err(Rejection::NotFound)), "{path}");
        }
        assert!(route(&Method::PUT, "/metrics").unwrap_err().to_string().contains("pushes go to"));
        for (method, path, allowed) in [
            (Method::GET, "/metrics/job/x", "DELETE, OPTIONS, POST, PUT"),
            (Method::PUT, "/metrics", "GET, HEAD, OPTIONS"),
            (Method::PATCH, "/-/healthy", "GET, HEAD, OPTIONS"),
            (Method::PATCH, "/metrics/job/%FF", "DELETE, OPTIONS, POST, PUT"),
            (Method::from_bytes(b"FOO").unwrap(), "/metrics/job/%FF", "DELETE, OPTIONS, POST, PUT"),
        ] {
            match route(&method, path) {
                Err(Rejection::MethodNotAllowed { allow, .. }) => assert_eq!(allow, allowed),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn base64_values_of_every_length_are_understood(value in ".{0,40}", padded: bool) {
            let encoded = if padded {
                base64::engine::general_purpose::URL_SAFE.encode(&value)
            } else {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&value)
            };
            let encoded = if encoded.is_empty() { "=".to_owned() } else { encoded };
            let path = format!("/metrics/job/x/v@base64/{encoded}");
            let Ok(Route::Endpoint(_, Some(PushPath { key, .. }))) = route(&Method::PUT, &path) else {
                panic!("{path}")
            };
            prop_assert_eq!(key.get("v"), Some(value.as_str()));
        }

        #[test]
        fn no_path_makes_the_router_panic(path in ".{0,60}") {
            let _ = route(&Method::PUT, &format!("/metrics/job/{path}"));
            let _ = route(&Method::GET, &path);
        }
    }
}
