//! From a path to a group, or to an answer that says what is wrong with it.

use support::Gateway;

#[test]
fn a_path_names_a_group() {
    let gateway = Gateway::start("");
    for (path, labels) in [
        ("/metrics/job/a", r#"instance="",job="a""#),
        ("/metrics/job/b/", r#"instance="",job="b""#),
        ("/metrics/job/c/instance/", r#"instance="",job="c""#),
        ("/metrics/job/d/l/1/l/2", r#"instance="",job="d",l="2""#),
        ("/metrics/job/e/job/x", r#"instance="",job="e""#),
        ("/metrics/job/a%20b/k/%C3%BC", r#"instance="",job="a b",k="ü""#),
        // A plus is a plus: only query strings have it stand for a space.
        ("/metrics/job/a+b", r#"instance="",job="a+b""#),
        // An encoded slash separates as any other.
        ("/metrics/job/f/a%2Fb", r#"a="b",instance="",job="f""#),
        ("/metrics/job@base64/dGVzdC9qb2I", r#"instance="",job="test/job""#),
        ("/metrics/job@base64/L3g=/v@base64/L3ZhcA==", r#"instance="",job="/x",v="/vap""#),
        ("/metrics/job/g/empty@base64/=", r#"empty="",instance="",job="g""#),
        ("/metrics/job/h/q@base64/Il0iXG4", r#"instance="",job="h",q="\"]\"\\n""#),
    ] {
        gateway.put(path, "m 1\n").expect(200);
        gateway.scrape().shows(&[&format!("m{{{labels}}} 1")]);
    }
    gateway.stop();
}

/// Base64 of every length, with padding and without.
#[test]
fn base64_values_of_every_length_are_understood() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    let gateway = Gateway::start("");
    for length in 1..=9 {
        let value = &"~?/ü>~?/"[..].chars().cycle().take(length).collect::<String>();
        for encoded in [URL_SAFE.encode(value), URL_SAFE_NO_PAD.encode(value)] {
            gateway.put(&format!("/metrics/job/j/v@base64/{encoded}"), "m 1\n").expect(200);
            gateway.scrape().shows(&[&format!("m{{instance=\"\",job=\"j\",v=\"{value}\"}} 1")]);
        }
    }
    assert_eq!(gateway.scrape().value("tidegate_groups"), "9");
    gateway.stop();
}

#[test]
fn a_path_that_names_no_group_says_why() {
    let gateway = Gateway::start("");
    for (path, reason) in [
        ("/metrics/job/x/a", "odd number of components in label string \"/a\""),
        ("/metrics/job/x/a/b/c", "odd number of components in label string \"/a/b/c\""),
        ("/metrics/job/x/a-b/1", "improper label name \"a-b\""),
        ("/metrics/job/x/1a/1", "improper label name \"1a\""),
        ("/metrics/job/x/__a/1", "improper label name \"__a\""),
        ("/metrics/job/x/__a@base64/MQ", "improper label name \"__a\""),
        ("/metrics/job/x/%C3%BC/1", "improper label name \"ü\""),
        (
            "/metrics/job/x/a@base64/foo.bar",
            "invalid base64 encoding for label a=\"foo.bar\": illegal base64 data at input byte 3",
        ),
        ("/metrics/job@base64/foo.bar", "invalid base64 encoding in job name"),
        ("/metrics/job@base64/=", "job name is required"),
    ] {
        for method in ["PUT", "POST", "DELETE"] {
            let answer = gateway.send(method, path, &[], b"m 1\n").expect(400).says(reason);
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        }
    }
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn unknown_paths_are_404_and_wrong_methods_405_with_what_is_allowed() {
    let gateway = Gateway::start("");
    for (method, path) in [
        ("GET", "/nowhere"),
        ("PUT", "/metrics/job"),
        ("PUT", "/metrics/jobs/x"),
        ("GET", "/metrics/x"),
        ("OPTIONS", "/nowhere"),
    ] {
        gateway.send(method, path, &[], b"").expect(404);
    }
    for (method, path, allow) in [
        ("GET", "/metrics/job/x", "DELETE, OPTIONS, POST, PUT"),
        ("HEAD", "/metrics/job/x", "DELETE, OPTIONS, POST, PUT"),
        ("PATCH", "/metrics/job/x/a/b", "DELETE, OPTIONS, POST, PUT"),
        ("PUT", "/metrics", "GET, HEAD, OPTIONS"),
        ("POST", "/metrics", "GET, HEAD, OPTIONS"),
        ("DELETE", "/-/ready", "GET, HEAD, OPTIONS"),
        ("POST", "/-/healthy", "GET, HEAD, OPTIONS"),
    ] {
        let answer = gateway.send(method, path, &[], b"m 1\n").expect(405);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        let options = gateway.send("OPTIONS", path, &[], b"").expect(200);
        assert_eq!((options.header("allow"), &*options.body), (Some(allow), &b""[..]), "{path}");
    }
    gateway.stop();
}
