//! The binary's settings: flags, environment, file; what is wrong with them; exit codes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use support::{Client, Process, Tidegate, eventually, finished};

/// Runs to the end: exit code, standard output, standard error.
#[track_caller]
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = finished(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (code, out, err) = run(&mut Tidegate::command(&["--help"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "--web.listen-address",
        "--storage.path",
        "--ttl.default",
        "metric.timetolive",
        "--limits.decoded-size",
        "--config.file",
        "check-config",
        "TIDEGATE_TTL_DEFAULT",
        "[default: 7d]",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (code, out, _) = run(&mut Tidegate::command(&["--version"]));
    let version = concat!("tidegate, version ", env!("CARGO_PKG_VERSION"));
    assert!(code == Some(0) && out.starts_with(version) && out.contains("platform: "), "{out}");
    assert!(!out.contains("unknown"), "{out}");
    let (code, out, _) = run(&mut Tidegate::command(&["check-config", "--help"]));
    assert!(code == Some(0) && out.contains("FILE"), "{out}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["--no-such-flag"][..],
        &["surplus"],
        &["--ttl.default"],
        &["check-config"],
        &["check-config", "a", "b"],
    ] {
        let (code, out, err) = run(&mut Tidegate::command(args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn check_config_says_whether_a_file_is_valid() {
    let folder = TempDir::new().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let empty = file(&folder, "");
    for valid in [example, empty.to_str().unwrap()] {
        let (code, out, err) = run(&mut Tidegate::command(&["check-config", valid]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains(valid), "{out}");
    }
    let missing = folder.path().join("missing.toml");
    let (code, _, err) = run(&mut Tidegate::command(&["check-config", missing.to_str().unwrap()]));
    assert_eq!(code, Some(1));
    assert!(err.contains("missing.toml"), "{err}");
}

#[test]
fn every_problem_of_a_file_is_named_at_once() {
    let folder = TempDir::new().unwrap();
    let file = file(
        &folder,
        "[ttl]\ndefault = 'soon'\n\
         [[ttl.rules]]\nmatch = '{job=\"\"}'\nttl = '1h'\n\
         [[ttl.rules]]\nmatch = 'up{'\nttl = 'x'\n\
         [storage]\nsync = 'sometimes'\nbogus = 1\n\
         [limits]\nbody-size = 'big'\n",
    );
    let path = file.to_str().unwrap();
    let config = format!("--config.file={path}");
    for args in [&["check-config", path][..], &[&config]] {
        let (code, out, err) = run(&mut Tidegate::command(args));
        assert_eq!((code, out.as_str()), (Some(1), ""));
        for place in [
            "ttl.default: \"soon\"",
            "rule 1 of ttl.rules (line 3): match: ",
            "rule 2 of ttl.rules (line 6): match: up{",
            "rule 2 of ttl.rules (line 6): ttl: \"x\"",
            "storage.sync: expected always",
            "storage.bogus: unknown key",
            "limits.body-size: expected a size",
        ] {
            assert!(err.contains(&format!("{path}: {place}")), "{place} is not in\n{err}");
        }
        assert!(err.contains("7 problems"), "{err}");
    }
    std::fs::write(&file, "[ttl]\ndefault = \n").unwrap();
    let (code, _, err) = run(&mut Tidegate::command(&["check-config", path]));
    assert!(code == Some(1) && err.contains("line 2"), "{err}");
}

#[test]
fn problems_of_flags_and_environment_are_named_as_they_were_given() {
    let mut command = Tidegate::command(&["--ttl.default=soon", "--log.level=loud"]);
    command.env("TIDEGATE_LIMITS_QUEUE", "none");
    let (code, _, err) = run(&mut command);
    assert_eq!(code, Some(1));
    for part in ["--ttl.default: ", "--log.level: ", "TIDEGATE_LIMITS_QUEUE: "] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
}

/// The header with the time when a group expires; `None` for never.
fn ttl_in_force(gateway: &Tidegate) -> Option<Duration> {
    let answer = gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let expires = answer.header("tidegate-expires").unwrap();
    if expires == "never" {
        return None;
    }
    let pushed = gateway.scrape().value("push_time_seconds{instance=\"\",job=\"j\"}").to_owned();
    let pushed = Duration::from_secs_f64(pushed.parse().unwrap());
    let expires = humantime::parse_rfc3339(expires).unwrap();
    let expires = expires.duration_since(std::time::UNIX_EPOCH).unwrap();
    // Both were rounded.
    let rounded = (expires + Duration::from_millis(500)).saturating_sub(pushed).as_secs();
    Some(Duration::from_secs(rounded))
}

#[test]
fn flags_count_over_environment_over_file_over_default() {
    let folder = TempDir::new().unwrap();
    let file = file(&folder, "[ttl]\ndefault = '1h'\n");
    let hours = |count: u64| Some(Duration::from_secs(3600 * count));
    for (from_file, variable, flag, expected) in [
        (false, None, None, hours(7 * 24)),
        (true, None, None, hours(1)),
        (true, Some("2h"), None, hours(2)),
        (true, Some("2h"), Some("--ttl.default=never"), None),
        (false, None, Some("--metric.timetolive=3h"), hours(3)),
    ] {
        let mut command = Tidegate::command(&["--web.listen-address=127.0.0.1:0"]);
        command.env("TIDEGATE_STORAGE_PATH", folder.path().join("store"));
        if from_file {
            command.env("TIDEGATE_CONFIG_FILE", &file);
        }
        command.envs(variable.map(|value| ("TIDEGATE_TTL_DEFAULT", value))).args(flag);
        let gateway = Tidegate::spawn(&mut command);
        assert_eq!(ttl_in_force(&gateway), expected, "{variable:?} {flag:?}");
        gateway.stop();
    }
}

#[test]
fn every_address_is_listened_on() {
    let folder = TempDir::new().unwrap();
    let mut gateway =
        Tidegate::serve(folder.path(), &["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
    let process = gateway.process();
    process.signal("TERM");
    let line = process.logs("the stop", |line| line.contains("stopping").then(|| line.to_owned()));
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    let (status, log) = gateway.ended();
    assert!(status.success());
    let addresses = log.lines().filter(|line| line.contains("\"listening\"")).count();
    assert_eq!(addresses, 2, "{log}");
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_touched() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let store = folder.path().join("store");
    let (listen, storage) =
        (format!("--web.listen-address={address}"), format!("--storage.path={}", store.display()));
    let (code, _, err) = run(&mut Tidegate::command(&[&listen, &storage]));
    assert_eq!(code, Some(1));
    assert!(err.contains(&address.to_string()) && err.contains("in use"), "{err}");
    assert!(!store.try_exists().unwrap());
}

#[test]
fn several_addresses_are_listened_on_ipv6_among_them() {
    let folder = TempDir::new().unwrap();
    let storage = format!("--storage.path={}", folder.path().display());
    let mut command = Tidegate::command(&[
        "--web.listen-address=127.0.0.1:0",
        "--web.listen-address=[::1]:0",
        &storage,
    ]);
    let mut process = Process::spawn(&mut command);
    let mut address = || {
        process.logs("an address", |line| {
            line.split_once("address=").map(|(_, address)| address.trim_matches('"').to_owned())
        })
    };
    let clients = [address(), address()].map(|address| Client::new(address.parse().unwrap()));
    assert!(clients[0].address().is_ipv4() && clients[1].address().is_ipv6());
    for client in &clients {
        eventually("readiness", || (client.get("/-/ready").status == 200).then_some(()));
    }
    clients[1].put("/metrics/job/six", "m 1\n").expect(200);
    clients[0].scrape().shows(&["m{instance=\"\",job=\"six\"} 1"]);
}

#[test]
fn a_hangup_has_the_settings_read_again() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[ttl]\ndefault = '1h'\n");
    let config = format!("--config.file={}", path.display());
    let mut tidegate = Tidegate::serve(&folder.path().join("store"), &[&config]);
    tidegate.put("/metrics/job/j", "m 1\n").expect(200);
    let ttl = |tidegate: &Tidegate| {
        tidegate.get("/api/v2/groups").expect(200).data()["groups"][0]["ttl"].clone()
    };
    assert_eq!(ttl(&tidegate), "1h");
    file(&folder, "[ttl]\ndefault = '2h'\n");
    tidegate.process().signal("HUP");
    tidegate.process().logs("the reload", |line| {
        (line.contains("reloaded the settings") && line.contains("ttl.default")).then_some(())
    });
    assert_eq!(ttl(&tidegate), "2h");
    // All that is wrong is said, and nothing has changed.
    file(&folder, "[ttl]\ndefault = 'soon'\nmim = '1s'\n");
    tidegate.process().signal("HUP");
    tidegate.process().logs("the problems", |line| {
        let said = line.contains("ttl.default") && line.contains("ttl.mim");
        (line.contains("stay as they are") && said).then_some(())
    });
    assert_eq!(ttl(&tidegate), "2h");
    tidegate.stop();
}

#[test]
fn secrets_are_not_shown() {
    let folder = TempDir::new().unwrap();
    let url = "http://user:hidden1@127.0.0.1:1/hidden2?token=hidden3";
    let mut command = Tidegate::command(&["--notify.url", url]);
    command.env("TIDEGATE_NOTIFY_SECRET", "hidden4");
    command.arg(format!("--storage.path={}", folder.path().display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let tidegate = Tidegate::spawn(&mut command);
    let settings = &tidegate.get("/api/v2/config").expect(200).data()["settings"];
    assert_eq!(settings["notify.url"]["value"], "http://<secret>@127.0.0.1:1/<secret>");
    assert_eq!(settings["notify.secret"]["value"], "<secret>");
    for path in ["/api/v2/config", "/api/v1/status", "/status", "/"] {
        assert!(!tidegate.get(path).text().contains("hidden"), "{path}");
    }
    tidegate.stop();
}
