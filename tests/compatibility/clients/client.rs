//! A script of a client library, and what has to come of it.

use std::net::SocketAddr;
use std::process::Command;

use crate::clients::way::{Way, tls_file};
use support::families;
use support::programs::Program;
use support::protobuf::CONTENT_TYPE;

#[derive(Debug)]
pub(crate) struct Client {
    /// The command of the script, without arguments.
    pub(crate) command: fn() -> Command,
    /// The steps that have to fail, apart from the conflict; all others have to succeed.
    pub(crate) fails: &'static [&'static str],
    /// The steps in which the library asks no gateway.
    pub(crate) refuses_itself: &'static [&'static str],
    /// The steps whose paths are none.
    pub(crate) malformed: &'static [&'static str],
    /// The steps whose paths have a part that is empty, or one or two dots: the reference redirects
    /// them, and a library takes that for a success or fails; nothing is stored either way. Here they
    /// are refused with words that help.
    pub(crate) unclean: &'static [&'static str],
    /// Lines of the text exposition, besides those of all clients.
    pub(crate) shows: &'static [&'static str],
    /// Texts that the protobuf exposition, written out, has somewhere.
    pub(crate) encodes: &'static [&'static str],
}

/// The step that pushes a family with another type than it has.
const CONFLICT: &str = "conflict";

/// The series that every script leaves: those it has added to, replaced, and pushed last.
const SHOWN: [&str; 7] = [
    r#"first{instance="",job="added"} 1"#,
    r#"second{instance="",job="added"} 3"#,
    r#"first{instance="",job="replaced"} 6"#,
    r#"first{instance="",job="last"} 9"#,
    "# TYPE took_seconds histogram",
    r#"took_seconds_bucket{instance="i",job="types",zone="z",le="1"} 1"#,
    r#"took_seconds_sum{instance="i",job="types",zone="z"} 0.5"#,
];

/// The series that none leaves: those it has deleted or replaced.
const GONE: [&str; 2] = [r#"job="gone""#, r#"second{instance="",job="replaced""#];

/// The expositions of a gateway.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    text: Vec<String>,
    encoded: Vec<String>,
}

/// The outcome of each step, by its name.
type Outcomes = Vec<(String, String)>;

impl Client {
    /// Has the script push to both, and compares.
    #[track_caller]
    pub(crate) fn goes(&self, way: Way) {
        let folder = way.web_config();
        let web_config = format!("--web.config.file={}", folder.path().join("web.yml").display());
        let reference = Program::reference(&[&web_config]);
        let ours = Program::ours(&[&web_config, "--ttl.default=never"]);
        let expected = self.run(way, reference.address(), None);
        let came = self.run(way, ours.address(), None);
        self.same_outcomes(way, &expected, &came);
        self.outcomes_are_right(way, &came);
        let shown = Shown::of(way, ours.address());
        same_shown(&Shown::of(way, reference.address()), &shown);
        self.shows_what_it_should(way, &shown);
    }

    /// Has the script set TTLs, as a grouping label and by a gauge.
    #[track_caller]
    pub(crate) fn sets_ttls(&self) {
        let ours = Program::ours(&[]);
        let came = self.run(Way::Plain, ours.address(), Some("ttl"));
        let outcome = |name: &str| came.iter().find(|step| step.0 == name).map(|step| &*step.1);
        assert_eq!((outcome("label"), outcome("gauge")), (Some("ok"), Some("ok")));
        assert_eq!(outcome("malformed").and_then(status_in), Some("400"), "{came:?}");
        let body = Way::Plain.get(ours.address(), "/api/v2/groups", "application/json");
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        let ttls = groups.map(|group| (&group["labels"], &group["ttl"], &group["ttl_source"]));
        let label = |job| serde_json::json!({ "job": job });
        let (gauge, label) = (label("gauge"), label("label"));
        let (ttl, source) = (&"2h".into(), &"push".into());
        assert_eq!(ttls.collect::<Vec<_>>(), [(&gauge, ttl, source), (&label, ttl, source)]);
        // It stays a series.
        let text = Shown::of(Way::Plain, ours.address()).text;
        assert!(
            text.contains(&r#"push_ttl_seconds{instance="",job="gauge"} 7200"#.into()),
            "{text:?}"
        );
    }

    fn run(&self, way: Way, address: SocketAddr, steps: Option<&str>) -> Outcomes {
        let url = way.url(address);
        let [user, password] = way.user();
        let [ca, certificate] = ["ca.pem", "client.pem"].map(|name| {
            if way.has_tls() { tls_file(name).display().to_string() } else { String::new() }
        });
        let mut command = (self.command)();
        // No proxy, and nothing else that a library may take from there.
        command.env_clear().args([&url, user, password, &ca, &certificate]);
        command.envs(steps.map(|steps| ("STEPS", steps)));
        if way.has_tls() {
            // For a library that can only be told of an authority like this.
            command.env("SSL_CERT_FILE", &ca);
        }
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines = printed.lines().map(|line| line.split_once(": ").expect("a step"));
        let address = address.to_string();
        // The libraries for Go and Rust take grouping labels in any order.
        let [labels, reversed] = ["/instance/i/zone/z", "/zone/z/instance/i"];
        let plain = |came: &str| came.replace(&address, "GATEWAY").replace(reversed, labels);
        lines.map(|(name, came)| (name.to_owned(), plain(came))).collect()
    }

    #[track_caller]
    fn same_outcomes(&self, way: Way, reference: &Outcomes, ours: &Outcomes) {
        assert_eq!(reference.len(), ours.len(), "{reference:?}\n{ours:?}");
        for ((name, expected), (own_name, came)) in reference.iter().zip(ours) {
            assert_eq!(name, own_name);
            let statuses = if name == CONFLICT && way != Way::Stranger {
                // The reference drops the connection: what should log the refusal panics.
                Some((None, "400"))
            } else if self.malformed.contains(&name.as_str()) && way == Way::Stranger {
                // Go's server looks at the path before the reference looks at the user.
                Some((Some("400"), "401"))
            } else if self.unclean.contains(&name.as_str()) && way != Way::Stranger {
                assert_eq!(status_in(came), Some("400"), "{name}: {came}");
                continue;
            } else {
                None
            };
            let Some((expected_status, status)) = statuses else {
                // Where the reference says why not, this gateway may say more.
                let same =
                    came == expected || expected != "ok" && came.starts_with(expected.as_str());
                assert!(same, "{name}: the reference and this gateway: {expected}, {came}");
                continue;
            };
            assert_eq!(status_in(expected), expected_status, "{name}: {expected}");
            assert_eq!(status_in(came), Some(status), "{name}: {came}");
        }
    }

    fn outcomes_are_right(&self, way: Way, came: &Outcomes) {
        let failed = came.iter().filter(|(_, came)| came != "ok");
        let failed: Vec<_> = failed.map(|(name, _)| name.as_str()).collect();
        if way == Way::Stranger {
            assert_eq!(failed.len(), came.len(), "nothing succeeds without the password: {came:?}");
            for (name, came) in came {
                let asks = !self.refuses_itself.contains(&name.as_str());
                assert_eq!(asks, status_in(came) == Some("401"), "{name}: {came}");
            }
        } else {
            assert_eq!(failed, [self.fails, &[CONFLICT]].concat(), "{came:?}");
            assert_eq!(came.last().unwrap().0, "last", "it came to its end");
        }
    }

    fn shows_what_it_should(&self, way: Way, shown: &Shown) {
        if way == Way::Stranger {
            assert!(shown.text.is_empty(), "{shown:?}");
            return;
        }
        for line in SHOWN.iter().chain(self.shows) {
            assert!(shown.text.iter().any(|shown| shown == line), "{line}: {:#?}", shown.text);
        }
        for part in self.encodes {
            assert!(shown.encoded.iter().any(|family| family.contains(part)), "{part}: {shown:#?}");
        }
        for part in GONE {
            assert!(
                !shown.text.iter().any(|line| line.contains(part)),
                "{part}: {:#?}",
                shown.text
            );
        }
    }
}

/// The status of which a library tells.
fn status_in(came: &str) -> Option<&str> {
    came.split([' ', ':', ',']).find(|word| ["ok", "400", "401"].contains(word))
}

impl Shown {
    fn of(way: Way, address: SocketAddr) -> Self {
        let text = String::from_utf8(way.scrape(address, "text/plain")).unwrap();
        let encoded = way.scrape(address, CONTENT_TYPE);
        Self { text: families::text(&text), encoded: families::delimited(&encoded) }
    }
}

#[track_caller]
fn same_shown(reference: &Shown, ours: &Shown) {
    for (reference, ours) in [(&reference.text, &ours.text), (&reference.encoded, &ours.encoded)] {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        let (theirs, own) = (only(reference, ours), only(ours, reference));
        assert!(
            reference == ours,
            "only the reference shows {theirs:#?}\nonly this gateway shows {own:#?}"
        );
    }
}
