//! Who may do what: tokens, anonymous clients, addresses, origins of pages, and the log of it.

use std::process::Command;

use support::{Answer, Gateway, Tidegate, finished};

const SWITCHES: &str = "[web]\nenable-admin-api = true\nenable-lifecycle = true\n";

/// A token that `tidegate token` makes: the secret, and the table for the settings.
fn token(name: &str, may: &str, groups: Option<&str>) -> (String, String) {
    let may = format!("--may={may}");
    let groups = groups.map(|groups| format!("--match={groups}"));
    let mut args = vec!["token", name, &may];
    args.extend(groups.as_deref());
    let output = finished(&mut Tidegate::command(&args));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, table) = text.split_once('\n').unwrap();
    let secret = first.rsplit(' ').next().unwrap().to_owned();
    assert!(secret.starts_with("tidegate_") && !table.contains(&secret), "{text}");
    (secret, table.to_owned())
}

#[track_caller]
fn ask(gateway: &Gateway, secret: &str, method: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {secret}");
    let headers = [("Authorization", bearer.as_str())];
    let headers = if secret.is_empty() { &[] } else { &headers[..] };
    gateway.send(method, path, headers, b"m 1\n")
}

const ALL: &str = "match[]=%7Bjob%3D~%22.%2B%22%7D";

#[test]
fn a_token_does_what_it_may_to_its_groups_and_no_more() {
    let (team, team_table) = token("team", "push,delete,read,admin", Some(r#"{job="ci"}"#));
    let (scraper, scraper_table) = token("scraper", "scrape", None);
    let (boss, boss_table) = token("boss", "push,delete,scrape,read,admin", None);
    let gateway = Gateway::start(&[SWITCHES, &team_table, &scraper_table, &boss_table].concat());
    for path in ["/-/healthy", "/-/ready"] {
        gateway.get(path).expect(200);
    }
    for (method, path) in [
        ("PUT", "/metrics/job/ci"),
        ("DELETE", "/metrics/job/ci"),
        ("GET", "/metrics"),
        ("GET", "/"),
        ("GET", "/api/v1/metrics"),
        ("GET", "/api/v2/groups"),
        ("POST", "/-/reload"),
        ("PUT", "/api/v1/admin/wipe"),
    ] {
        let answer = ask(&gateway, "", method, path).expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"tidegate\""));
        ask(&gateway, "tidegate_wrong", method, path).expect(401);
    }
    ask(&gateway, &boss, "PUT", "/metrics/job/db").expect(200);
    ask(&gateway, &team, "PUT", "/metrics/job/ci/run/1").expect(200);
    ask(&gateway, &team, "PUT", "/metrics/job/db").expect(403).says("{job=\"ci\"}");
    ask(&gateway, &team, "DELETE", "/metrics/job/db").expect(403);
    ask(&gateway, &team, "GET", "/metrics").expect(403).says("may not scrape");
    ask(&gateway, &scraper, "GET", "/metrics").expect(200).says("job=\"db\"");
    ask(&gateway, &scraper, "PUT", "/metrics/job/ci").expect(403);
    // It reads and changes its own groups only.
    let jobs = |secret: &str| {
        let data = ask(&gateway, secret, "GET", "/api/v2/groups").expect(200).data();
        let groups = data["groups"].as_array().unwrap().clone();
        groups
            .iter()
            .map(|group| group["labels"]["job"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(jobs(&team), ["ci"]);
    assert_eq!(jobs(&boss), ["ci", "db"]);
    ask(&gateway, &team, "GET", "/api/v2/groups/families?job=db").expect(404);
    ask(&gateway, &team, "GET", "/api/v1/metrics").expect(403);
    ask(&gateway, &team, "GET", "/api/v2/config").expect(403);
    ask(&gateway, &team, "PUT", "/api/v1/admin/wipe").expect(403);
    ask(&gateway, &team, "POST", "/-/reload").expect(403);
    let deleted =
        ask(&gateway, &team, "DELETE", &format!("/api/v2/groups?{ALL}")).expect(200).data();
    assert_eq!(deleted["count"], 1);
    assert_eq!(jobs(&boss), ["db"]);
    let gone = ask(&gateway, &team, "GET", "/api/v2/expired").expect(200).data();
    assert_eq!(gone["total"], 1);
    let config = ask(&gateway, &boss, "GET", "/api/v2/config").expect(200);
    assert!(
        config.text().contains("\"team\"") && !config.text().contains("sha256"),
        "{}",
        config.text()
    );
    gateway.stop();
}

#[test]
fn a_refusal_names_a_group_to_whoever_may_read_it_only() {
    let (team, of_team) = token("team", "push,read", Some("{job=~\"team-.*\"}"));
    let (pusher, of_pusher) = token("pusher", "push", None);
    let (reader, of_reader) = token("reader", "push,read", None);
    let gateway = Gateway::start(&format!("{of_team}{of_pusher}{of_reader}"));
    let push = |secret: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {secret}");
        gateway.send("PUT", path, &[("Authorization", bearer.as_str())], body.as_bytes())
    };
    let gauge = "# TYPE m gauge\nm 1\n";
    push(&pusher, "/metrics/job/secret", gauge).expect(200);
    let refused = |secret: &str| {
        let answer = push(secret, "/metrics/job/team-a", "# TYPE m counter\nm 1\n");
        answer.expect(400).text().rsplit_once("should have GAUGE: ").unwrap().1.to_owned()
    };
    for secret in [&team, &pusher] {
        let text = refused(secret);
        assert_eq!(text, "another group has it as gauge; push it as that, or under another name\n");
    }
    assert!(refused(&reader).starts_with("the group {job=\"secret\"} has it as gauge ("));
    push(&pusher, "/metrics/job/more", gauge).expect(200);
    assert!(refused(&team).starts_with("2 other groups have it as gauge; "));
    // One that may be read is named, and the others counted.
    push(&team, "/metrics/job/team-b", gauge).expect(200);
    let text = refused(&team);
    assert!(text.starts_with("the group {job=\"team-b\"} and 2 others have it"), "{text}");
    // A series of another group is no way to its labels either.
    push(&pusher, "/metrics/job/team-c", "n{x=\"1\"} 1\n").expect(200);
    let text = push(&pusher, "/metrics/job/team-c/x/1", "n 1\n").expect(400).text();
    assert!(text.contains("label values: another group has it; push it to one"), "{text}");
    gateway.stop();
}

#[test]
fn tokens_are_passwords_too_and_can_be_replaced_while_the_gateway_runs() {
    let (old, old_table) = token("old", "push,admin", None);
    let (new, new_table) = token("new", "push,admin", None);
    let anonymous = "[access]\nanonymous = ['scrape']\n";
    let mut gateway = Gateway::start(&[SWITCHES, anonymous, &old_table].concat());
    gateway.get("/metrics").expect(200);
    gateway.put("/metrics/job/a", "m 1\n").expect(401);
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("anybody:{old}"))
    };
    let headers = [("Authorization", format!("Basic {basic}"))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    gateway.send("PUT", "/metrics/job/a", &headers, b"m 1\n").expect(200);
    gateway.write_settings(&[SWITCHES, anonymous, &new_table].concat());
    ask(&gateway, &old, "POST", "/-/reload").expect(200).says("replaced: access.tokens");
    ask(&gateway, &old, "PUT", "/metrics/job/a").expect(401);
    ask(&gateway, &new, "PUT", "/metrics/job/a").expect(200);
    gateway.stop();
}

#[test]
fn administration_is_left_to_the_addresses_that_the_settings_name() {
    let elsewhere = "[access]\nadmin-from = ['10.0.0.0/8']\nlifecycle-from = ['10.9.9.9']\n";
    let gateway = Gateway::start(&[SWITCHES, elsewhere].concat());
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    for (method, path, setting) in [
        ("PUT", "/api/v1/admin/wipe", "access.admin-from"),
        ("DELETE", "/api/v2/groups?match[]=%7Bjob%3D%22a%22%7D", "access.admin-from"),
        ("POST", "/-/reload", "access.lifecycle-from"),
        ("POST", "/-/quit", "access.lifecycle-from"),
    ] {
        gateway.send(method, path, &[], b"").expect(403).says(setting);
    }
    gateway.scrape().shows(&["m{instance=\"\",job=\"a\"} 1"]);
    gateway.stop();
    let here = "[access]\nadmin-from = ['127.0.0.0/8']\n";
    let gateway = Gateway::start(&[SWITCHES, here].concat());
    gateway.send("PUT", "/api/v1/admin/wipe", &[], b"").expect(202);
    gateway.stop();
}

#[test]
fn only_pages_of_origins_that_the_settings_name_may_use_the_second_api() {
    let gateway = Gateway::start("[web]\ncors-origin = ['https://ops.example']\n");
    let from = |origin: &str, path: &str| {
        let answer = gateway.send("GET", path, &[("Origin", origin)], b"");
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(
        from("https://ops.example", "/api/v2/groups").as_deref(),
        Some("https://ops.example")
    );
    assert_eq!(from("https://evil.example", "/api/v2/groups"), None);
    assert_eq!(
        from("https://evil.example", "/api/v1/status").as_deref(),
        Some("*"),
        "as the reference"
    );
    let asked = [("Origin", "https://ops.example"), ("Access-Control-Request-Method", "DELETE")];
    let answer = gateway.send("OPTIONS", "/api/v2/groups", &asked, b"").expect(200);
    assert!(answer.header("access-control-allow-methods").unwrap().contains("DELETE"));
    gateway.stop();
}

#[test]
fn who_changes_what_is_in_the_log_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, table) = token("boss", "push,delete,admin,read", None);
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, [SWITCHES, &table].concat()).unwrap();
    let config = format!("--config.file={}", file.display());
    let mut gateway =
        Tidegate::serve(&folder.path().join("store"), &[&config, "--log.level=debug"]);
    let address = gateway.address();
    let curl = |method: &str, path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--globoff", "--request", method, "--data-binary", "m 1\n"]);
        curl.args(["--header", &format!("Authorization: Bearer {secret}")]);
        assert!(finished(curl.arg(format!("http://{address}{path}"))).status.success());
    };
    curl("PUT", "/metrics/job/a");
    curl("DELETE", "/metrics/job/a");
    for job in ["a", "b"] {
        curl("PUT", &format!("/metrics/job/{job}"));
    }
    curl("PUT", &format!("/api/v2/groups/ttl?{ALL}&ttl=never"));
    curl("DELETE", &format!("/api/v2/groups?{ALL}"));
    curl("POST", &format!("/api/v2/expired/restore?{ALL}"));
    curl("PUT", "/api/v1/admin/wipe");
    curl("POST", "/-/reload");
    gateway.process().signal("TERM");
    let (_, log) = gateway.ended();
    let audit = |line: &&str| line.contains("audit=");
    let lines: Vec<_> = log.lines().filter(audit).collect();
    for (line, (action, what)) in lines.iter().zip([
        ("delete", "{job=\\\"a\\\"}"),
        ("override", "2 groups by match[]="),
        ("delete", "2 groups by match[]="),
        ("restore", "2 groups by match[]="),
        ("wipe", "all groups"),
        ("reload", "settings"),
    ]) {
        assert!(
            line.contains(&format!("audit={action} ")) && line.contains(what),
            "{action}: {line}"
        );
        assert!(line.contains("by=boss") && line.contains("from=127.0.0.1"), "{line}");
    }
    assert_eq!(lines.len(), 6, "{log}");
    assert!(!log.contains(&secret) && !log.contains("open to everybody"), "{log}");
}

#[test]
fn an_open_gateway_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Tidegate::serve(&folder.path().join("store"), &[]);
    gateway.process().signal("TERM");
    let (_, log) = gateway.ended();
    assert!(log.contains("open to everybody"), "{log}");
}
