//! Who is told of what happens: the log, and followers of events.

use support::{Client, Gateway, Listener, Tidegate, eventually, minutes};

const HOUR: &str = "[ttl]\ndefault = '1h'\n";

/// The value of a field of a log line, without its quotes.
#[track_caller]
fn field(line: &str, name: &str) -> String {
    let (_, rest) =
        line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {line}"));
    let Some(rest) = rest.strip_prefix('"') else {
        return rest.split(' ').next().unwrap().to_owned();
    };
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next().expect("a closing quote") {
            '"' => return value,
            '\\' => value.push(chars.next().unwrap()),
            c => value.push(c),
        }
    }
}

/// The real binary, whose log is looked at. Its TTLs are short, and waited for by its log.
#[test]
fn each_group_that_expires_has_its_line_in_the_log_and_many_have_one() {
    const MANY: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let rule = "[[ttl.rules]]\nmatch = '{job=\"by-rule\"}'\nttl = '1s'\n";
    std::fs::write(&file, format!("[ttl]\ndefault = '1d'\n{rule}")).unwrap();
    let config = format!("--config.file={}", file.display());
    let mut gateway = Tidegate::serve(&folder.path().join("store"), &[&config]);
    gateway.put("/metrics/job/by-rule/instance/i", "m 1\nn 1\n").expect(200);
    gateway.put("/metrics/job/by-push?ttl=1s", "m 1\n").expect(200);
    let mut lines: Vec<String> = (0..2)
        .map(|_| {
            gateway.process().logs("a group that expired", |line| {
                line.contains("msg=\"group expired\"").then(|| line.to_owned())
            })
        })
        .collect();
    lines.sort_by_key(|line| field(line, "group"));
    for (line, labels, source, rule, series) in [
        (&lines[1], "job=\"by-push\"", "push", "", "1"),
        (&lines[0], "instance=\"i\",job=\"by-rule\"", "rule", "{job=\"by-rule\"}", "2"),
    ] {
        assert!(line.contains("level=info"), "{line}");
        assert_eq!(field(line, "group"), format!("{{{labels}}}"));
        assert_eq!(field(line, "ttl"), "1s");
        assert_eq!((field(line, "source").as_str(), field(line, "rule").as_str()), (source, rule));
        assert_eq!(field(line, "series"), series);
    }
    // All of them at one instant: the settings decide again, for what no push asked for.
    for at in 0..MANY {
        gateway.put(&format!("/metrics/job/many/at/{at}"), "m 1\nn 1\n").expect(200);
    }
    let all = "[[ttl.rules]]\nmatch = '{job=\"many\"}'\nttl = '1ms'\n";
    std::fs::write(&file, format!("[ttl]\ndefault = '1d'\n{all}")).unwrap();
    gateway.process().signal("HUP");
    let line = gateway.process().logs("the groups that expired", |line| {
        assert!(!line.contains("msg=\"group expired\""), "{line}");
        line.contains("msg=\"groups expired\"").then(|| line.to_owned())
    });
    assert_eq!(field(&line, "groups"), MANY.to_string());
    assert_eq!(field(&line, "series"), (2 * MANY).to_string());
    assert!(field(&line, "first").contains("job=\"many\""), "{line}");
    gateway.stop();
}

#[test]
fn a_follower_that_is_resumed_gets_exactly_what_it_missed() {
    let gateway = Gateway::start(HOUR);
    let push = |job: usize| gateway.put(&format!("/metrics/job/j{job}"), "m 1\n").expect(200);
    let mut listener = Listener::new(&gateway, "", None);
    push(0);
    let (mut last, ..) = listener.event();
    drop(listener);
    // More than are written in one go.
    for job in 1..600 {
        push(job);
    }
    let mut seen = vec![0];
    for upto in [1, 300, 600] {
        let mut listener = Listener::new(&gateway, "", Some(&last));
        while seen.len() < upto {
            let (id, name, data) = listener.event();
            assert_eq!(name, "pushed");
            let job = data["labels"]["job"].as_str().unwrap().to_owned();
            seen.push(job[1..].parse().unwrap());
            assert!(id.parse::<u64>().unwrap() > last.parse().unwrap(), "numbers rise");
            last = id;
        }
    }
    assert_eq!(seen, (0..600).collect::<Vec<_>>());
    // Nothing is left: the next event is the next push.
    let mut listener = Listener::new(&gateway, "", Some(&last));
    push(1000);
    assert_eq!(listener.event().2["labels"]["job"], "j1000");
    gateway.stop();
}

#[test]
fn a_number_that_was_never_given_is_missed_once_and_then_followed() {
    let gateway = Gateway::start(HOUR);
    gateway.put("/metrics/job/before", "m 1\n").expect(200);
    for last in ["18446744073709551615", "9999999999999999"] {
        let mut listener = Listener::new(&gateway, "", Some(last));
        assert_eq!(listener.until("event:"), "missed");
        gateway.put("/metrics/job/a", "m 1\n").expect(200);
        gateway.put("/metrics/job/b", "m 1\n").expect(200);
        // The very next lines: neither is it said again, nor what was before.
        for job in ["a", "b"] {
            let mut lines = Vec::new();
            while lines.len() < 3 {
                let line = listener.line();
                // Between them are the sizes of chunks, and what the first event had.
                if ["id: ", "event: ", "data: {\""].iter().any(|start| line.starts_with(start)) {
                    lines.push(line);
                }
            }
            assert!(lines[0].starts_with("id: ") && lines[1] == "event: pushed", "{lines:?}");
            assert!(lines[2].contains(&format!("\"job\":\"{job}\"")), "{lines:?}");
        }
    }
    for last in ["x", "-1", "1.5", "99999999999999999999999"] {
        let headers = [("Last-Event-ID", last)];
        gateway.send("GET", "/api/v2/events", &headers, b"").expect(400);
    }
    gateway.stop();
}

#[test]
fn a_follower_of_one_kind_is_told_of_that_kind_however_much_else_happens() {
    let gateway = Gateway::start(HOUR);
    gateway.put("/metrics/job/goes?ttl=10m", "m 1\n").expect(200);
    let mut listener =
        Listener::new(&gateway, "?event=expired&match[]=%7Bjob%3D%22goes%22%7D", None);
    let client: &Client = &gateway;
    for job in 0..300 {
        client.put(&format!("/metrics/job/j{job}?ttl=10m"), "m 1\n").expect(200);
    }
    gateway.advance(minutes(10));
    let (_, name, data) = listener.event();
    assert_eq!((name.as_str(), &data["labels"]["job"]), ("expired", &"goes".into()));
    eventually("the others", || {
        (gateway.scrape().value("tidegate_expired_groups_total") == "301").then_some(())
    });
    client.put("/metrics/job/goes?ttl=0s", "m 1\n").expect(200);
    assert_eq!(listener.event().2["ttl"], "0s", "nothing of the others in between");
    gateway.stop();
}
