//! From a path to the labels of a group.

use crate::differential::http::Request;
use crate::differential::pair::Pair;

const METHODS: [&str; 3] = ["PUT", "POST", "DELETE"];

#[test]
fn paths_that_name_a_group() {
    let mut pair = Pair::with_wipe();
    for path in [
        "job/x",
        "job/x/",
        "job/x/instance/testinstance",
        "job/x/instance/testinstance/",
        "job/x/instance/",
        "job/x/instance/i/l/",
        "job/x/l/",
        "job@base64/dGVzdC9qb2I=",
        "job@base64/dGVzdC9qb2I",
        "job@base64/dGVzdC9qb2I=/instance@base64/dGVzdC9pbnN0YW5jZQ==",
        "job@base64/YQ==/a@base64/Lw/b@base64/YS9i",
        "job/x/a@base64/=",
        "job/x/a@base64/==",
        "job/x/a@base64/",
        "job/x/a@base64/=====",
        "job/x/instance@base64/=",
        "job@base64/YQ/job/b",
        "job/x/job/y",
        "job/x/job/y/l/v",
        "job/x/job@base64/=",
        "job/x/l/1/l/2",
        "job/x/l/1/l@base64/Mg",
        "job/x/l@base64/MQ/l/2/l/3",
        "job/x/b/1/a/2",
        "job/x/a/2/b/1",
        "job/x/A/1/a/2/_/3/_a9/4",
        // Trailing bits, line feeds, and all of the alphabet.
        "job/x/l@base64/YR",
        "job/x/l@base64/YW%0AJj%0D",
        "job/x/l@base64/%0A",
        "job/x/l@base64/fn5-Pz8_",
        "job/%20/l/%20%20",
        "job/a+b/l/c%2Bd",
        "job/%C3%BC%E4%BD%96/l/%F0%9F%92%A9",
        "job/%25/l/%2525",
        "job/x/l/a=b,c=%22d%22",
        "job/x/l/%22%5C%0A%09%00",
        "job/x/l/%EF%BF%BD",
        // In the legacy mode these are ordinary names.
        "job/x/U__foo_2e_bar/v",
        "job/x/U__/v",
        "job/x/U__foo_2e_bar@base64/dg",
        "job/x/le/1/quantile/0.5",
        "job/x/name/v/__/",
        "job/x/honor_labels/true/exported_job/z",
    ] {
        let path = format!("/metrics/{path}");
        pair.case(path.as_str());
        pair.same(&Request::put(path.as_str(), "m 1\n"));
        pair.same(&Request::post(path.as_str(), "n{instance=\"body\",job=\"body\"} 2\n"));
        pair.same_state();
        pair.same(&Request::delete(path));
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

#[test]
fn paths_that_name_none() {
    let mut pair = Pair::start(&[]);
    for path in [
        "job/x/a",
        "job/x/a/b/c",
        "job/x/a/b/c/",
        "job/x/a/b/c/d/e",
        "job/x/instance/a/b",
        "job/x/a=b/c",
        "job/x/a-b/1",
        "job/x/1a/1",
        "job/x/__a/1",
        "job/x/__name__/1",
        "job/x/__/1",
        "job/x/__a@base64/MQ",
        "job/x/a%20b/1",
        "job/x/%C3%BC/1",
        "job/x/a.b/1",
        "job/x/a:b/1",
        "job/x/@base64/eA",
        "job/x/a@base64@base64/eA",
        "job/x/a@base65/eA",
        "job/x/a@BASE64/eA",
        "job/x/a@base64/foo.bar",
        "job/x/a@base64/a",
        "job/x/a@base64/abcde",
        "job/x/a@base64/+/x/y",
        "job/x/a@base64/ab+d",
        "job/x/a@base64/a%2Fb",
        "job/x/a@base64/YQ==YQ",
        "job/x/a@base64/Y=Q",
        "job/x/a@base64/%20YQ",
        "job/x/a@base64/YQ%20",
        "job/x/a@base64/%C3%BC",
        "job/x/a@base64/YW%0AJ*",
        "job/x/a@base64/%22",
        "job@base64/foo.bar",
        "job@base64/a",
        "job@base64/YWJj*YQ",
        "job@base64/abcdefgh.",
        "job@base64/%22%5C",
        "job@base64/%C3%BC",
        "job@base64/=",
        "job@base64/==",
        "job@base64/=/a/b",
        "job@base64/=/a",
        "job@base64/=/1/b",
        "job@base64/foo.bar/a",
        "job@base64/%0A",
        "job/x/%22/v",
        "job/x/a%22%5C%0A/v/w",
        "job/x/%00/v",
        "job/x/%F0%9F%92%A9%EF%BF%BD%C2%AD/v",
    ] {
        for method in METHODS {
            let request = Request::new(method, format!("/metrics/{path}"));
            pair.same(&if method == "DELETE" { request } else { request.body("m 1\n") });
        }
    }
    // The path is judged before the body.
    pair.same(&Request::put("/metrics/job/x/a", "what is this"));
    pair.same_state();
    pair.finish();
}

/// The order of labels does not matter, and each label does.
#[test]
fn groups_are_told_apart_by_their_labels() {
    let mut pair = Pair::with_wipe();
    for path in ["job/x", "job/x/a/1", "job/x/a/1/b/2", "job/x/b/2", "job/y", "job/x/a/12/b/"] {
        pair.same(&Request::put(format!("/metrics/{path}"), format!("m{{of=\"{path}\"}} 1\n")));
    }
    pair.same_state();
    for (method, path) in [
        ("POST", "job/x/b/2/a/1"),
        ("PUT", "job/x/b@base64/Mg/a@base64/MQ=="),
        ("DELETE", "job/x"),
        ("DELETE", "job/x/b/2/a/1"),
        ("DELETE", "job/z"),
        ("DELETE", "job/x/b/12/a/"),
        ("DELETE", "job/x/a/12"),
        ("DELETE", "job/y/instance/"),
    ] {
        pair.case(format!("{method} {path}"));
        let request = Request::new(method, format!("/metrics/{path}"));
        pair.same(&if method == "DELETE" { request } else { request.body("n 2\n") });
        pair.same_state();
    }
    pair.wipe();
    pair.same_state();
    pair.finish();
}
