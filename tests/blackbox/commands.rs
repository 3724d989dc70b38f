//! Commands of an operator for a running gateway.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use support::{Client, Gateway, MILLISECOND, Tidegate, finished, minutes};

const ADMIN: &str = "[ttl]\ndefault = '1h'\n[web]\nenable-admin-api = true\n";

/// The output of a command, its errors, and its exit code.
struct Printed {
    output: String,
    error: String,
    code: i32,
}

#[track_caller]
fn command(args: &[&str], gateway: &Client) -> Printed {
    let mut command = Tidegate::command(args);
    command.env("TIDEGATE_GATEWAY", format!("http://{}", gateway.address()));
    let output = finished(&mut command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Printed {
        output: text(output.stdout),
        error: text(output.stderr),
        code: output.status.code().unwrap(),
    }
}

#[track_caller]
fn done(args: &[&str], gateway: &Client) -> String {
    let printed = command(args, gateway);
    assert_eq!(printed.code, 0, "{args:?}: {}{}", printed.output, printed.error);
    printed.output
}

#[track_caller]
fn done_json(args: &[&str], gateway: &Client) -> Value {
    serde_json::from_str(&done(&[args, &["--output", "json"]].concat(), gateway)).unwrap()
}

fn three_groups() -> Gateway {
    let gateway = Gateway::start(ADMIN);
    for (path, ttl) in [("job/ci/run/1", "30m"), ("job/ci/run/2", "10m"), ("job/b", "never")] {
        let headers = [("Tidegate-TTL", ttl)];
        gateway.send("PUT", &format!("/metrics/{path}"), &headers, b"m 1\n").expect(200);
    }
    gateway
}

/// Whether a scrape has this text anywhere.
#[track_caller]
fn shows(gateway: &Gateway, text: &str) -> bool {
    gateway.scrape().lines().any(|line| line.contains(text))
}

/// The first column of a table, without its head.
fn first_column(table: &str) -> Vec<String> {
    let cell = |line: &str| line.trim().split("  ").next().unwrap_or_default().to_owned();
    table.lines().skip(1).map(cell).collect()
}

const RUN_1: &str = r#"{job="ci", run="1"}"#;
const RUN_2: &str = r#"{job="ci", run="2"}"#;
const B: &str = r#"{job="b"}"#;

#[test]
fn groups_are_listed_sorted_and_chosen() {
    let gateway = three_groups();
    let listed = done(&["groups", "--sort=deadline"], &gateway);
    assert_eq!(first_column(&listed), [RUN_2, RUN_1, B]);
    assert!(listed.contains("30m (push)"), "{listed}");
    let cut = done(&["groups", "--sort=-deadline", "--limit=1"], &gateway);
    assert_eq!(first_column(&cut), [B, "1 of 3 groups; --limit shows more"]);
    let chosen = done(&["groups", "--state=permanent", r#"{job=~".+"}"#], &gateway);
    assert_eq!(first_column(&chosen), [B]);
    assert_eq!(done(&["groups", r#"{job="nobody"}"#], &gateway), "no group matches\n");
    let having = done_json(&["groups", "--metric=nobody", "--metric=push_time_seconds"], &gateway);
    assert_eq!(having["total"], json!(3));
    assert_eq!(done(&["groups", "--metric=nobody"], &gateway), "no group matches\n");
    let all = done_json(&["groups", "--limit=0"], &gateway);
    assert_eq!((&all["total"], all["groups"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(all["groups"], gateway.get("/api/v2/groups").data()["groups"]);
    gateway.stop();
}

#[test]
fn nothing_is_deleted_that_nobody_agreed_to() {
    let gateway = three_groups();
    let ci = r#"{job="ci"}"#;
    let looked = done(&["delete", "--dry-run", ci], &gateway);
    assert_eq!(looked, format!("2 groups would be deleted:\n  {RUN_1}\n  {RUN_2}\n"));
    // Nobody can be asked.
    let refused = command(&["delete", ci], &gateway);
    assert_eq!(refused.code, 2);
    assert!(refused.error.contains("--yes"), "{}", refused.error);
    // Somebody says no, and then yes.
    assert_eq!(on_a_terminal("delete '{run=\"1\"}'", "n\n", &gateway).1, 1);
    assert!(shows(&gateway, "run=\"1\""));
    let (screen, code) = on_a_terminal("delete '{run=\"1\"}'", "y\n", &gateway);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("1 group will be deleted"), "{screen}");
    assert!(!shows(&gateway, "run=\"1\"") && shows(&gateway, "run=\"2\""));
    // A group that was pushed since stays.
    let before = "--pushed-before=2001-01-01T00:00:00Z";
    assert_eq!(done(&["delete", "--yes", before, ci], &gateway), "no group matches\n");
    assert_eq!(done_json(&["delete", "--yes", ci], &gateway)["count"], 1);
    assert!(!shows(&gateway, "run=\"2\"") && shows(&gateway, "job=\"b\""));
    gateway.stop();
}

/// Runs a command of `tidegate` on a terminal where somebody types, and has what is seen there and
/// the exit code.
fn on_a_terminal(what: &str, typed: &str, gateway: &Client) -> (String, i32) {
    on_a_terminal_once_asked(what, typed, gateway, || {})
}

/// The same, where something happens between the question and the answer.
fn on_a_terminal_once_asked(
    what: &str,
    typed: &str,
    gateway: &Client,
    meanwhile: impl FnOnce(),
) -> (String, i32) {
    let line = format!("{} {what}", env!("CARGO_BIN_EXE_tidegate"));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TIDEGATE_GATEWAY", format!("http://{}", gateway.address()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    // Until the question, or until the end of the output if there is no question.
    while !seen.ends_with(b"[y/N] ") {
        let mut byte = [0];
        if screen.read(&mut byte).unwrap() == 0 {
            break;
        }
        seen.extend(byte);
    }
    meanwhile();
    keyboard.write_all(typed.as_bytes()).unwrap();
    screen.read_to_end(&mut seen).unwrap();
    let status = child.wait().unwrap();
    (String::from_utf8_lossy(&seen).into_owned(), status.code().unwrap())
}

#[test]
fn groups_pushed_before_the_answer_are_not_deleted() {
    let gateway = three_groups();
    gateway.put("/metrics/job/ci/run/husk", "m 1 1\n").expect(400);
    gateway.put("/metrics/job/ci/run/alone/of/husks", "m 1 1\n").expect(400);
    gateway.advance(minutes(1));
    let push = |path: &str| {
        gateway.advance(MILLISECOND);
        gateway.put(&format!("/metrics/job/ci/{path}"), "m 2\n").expect(200);
    };
    // One that was listed is pushed, one comes, and one that had nothing but a refused push has one.
    let (screen, code) =
        on_a_terminal_once_asked("delete '{job=\"ci\",of=\"\"}'", "y\n", &gateway, || {
            ["run/2", "run/new", "run/husk"].into_iter().for_each(push);
        });
    assert_eq!(code, 0, "{screen}");
    assert!(
        screen.contains("3 groups will be deleted") && screen.contains("1 group deleted"),
        "{screen}"
    );
    assert!(!shows(&gateway, "run=\"1\""));
    for run in ["2", "new", "husk"] {
        assert!(
            shows(&gateway, &format!("m{{instance=\"\",job=\"ci\",run=\"{run}\"}} 2")),
            "{run}"
        );
    }
    // Where nothing that was listed had ever been pushed, either.
    let (screen, code) =
        on_a_terminal_once_asked("delete '{of=\"husks\"}'", "y\n", &gateway, || {
            push("run/alone/of/husks");
        });
    assert_eq!(code, 0, "{screen}");
    assert!(shows(&gateway, "run=\"alone\""), "{screen}");
    gateway.stop();
}

#[test]
fn a_value_that_makes_no_sense_is_wrong_usage_and_nobody_is_asked() {
    // Nobody listens there: a command that asked would exit with 1.
    let nobody = Client::new("127.0.0.1:9".parse().unwrap());
    let all = r#"{job=~".+"}"#;
    for args in [
        &["groups", "--sort=foo"][..],
        &["groups", "--sort=--name"],
        &["groups", "--limit=x"],
        &["groups", "--limit=-1"],
        &["groups", "--state=dead"],
        &["groups", "--output=xml"],
        &["groups", "--gateway=nonsense://x"],
        &["groups", "--gateway="],
        &["groups", "{job=~\"(\"}"],
        &["ttl", "preview", "--at=yesterday"],
        &["ttl", "preview", "--at=+never"],
        &["ttl", "preview", "--at=1h"],
        &["ttl", "preview", "--at=+1M"],
        &["ttl", "set", "--yes", "1M", all],
        &["ttl", "preview", "--limit=0"],
        &["ttl", "set", "--yes", "10", all],
        &["ttl", "set", "--yes", "1h"],
        &["ttl"],
        &["delete", "--yes", "--pushed-before=foo", all],
        &["delete", "--yes", "--pushed-before=", all],
        &["delete", "--yes", "--pushed-before=+1h", all],
        &["delete", "--yes", "--pushed-before=1h", all],
        &["delete", "--yes", "--dry-run", all],
        &["expired", "--why=bored"],
        &["expired", "restore"],
        &["expired", "restore", "--id=x"],
        &["import", "ftp://x"],
        &["export", "ftp://x"],
        &["man", "nonsense"],
        &["man", "ttl", "nonsense"],
        &["completions"],
        &["completions", "tcsh"],
    ] {
        let printed = command(args, &nobody);
        assert_eq!(printed.code, 2, "{args:?}: {}{}", printed.output, printed.error);
        assert!(printed.output.is_empty() && !printed.error.is_empty(), "{args:?}");
    }
}

#[test]
fn a_table_names_the_rule_only_where_the_ttl_comes_from_it() {
    let gateway =
        Gateway::start(&format!("{ADMIN}[[ttl.rules]]\nmatch = '{{job=\"r\"}}'\nttl = '2h'\n"));
    gateway.put("/metrics/job/r/of/rule", "m 1\n").expect(200);
    gateway.put("/metrics/job/r/of/push?ttl=3h", "m 1\n").expect(200);
    gateway.put("/metrics/job/r/of/operator", "m 1\n").expect(200);
    gateway.put("/metrics/job/d", "m 1\n").expect(200);
    gateway.put("/metrics/job/r/of/nothing", "m 1 1\n").expect(400);
    done(&["ttl", "set", "--yes", "4h", r#"{of="operator"}"#], &gateway);
    let preview = ["ttl", "preview", "--at=+10h"];
    for args in [&["groups"][..], &preview] {
        let table = done(args, &gateway);
        for (labels, ttl) in [
            (r#"{job="r", of="rule"}"#, r#"  2h (rule 1 {job="r"})  "#),
            (r#"{job="r", of="push"}"#, "  3h (push)  "),
            (r#"{job="r", of="operator"}"#, "  4h (override)  "),
            (r#"{job="d"}"#, "  1h (default)  "),
            (r#"{job="r", of="nothing"}"#, "  1h (default)  "),
        ] {
            let line = table.lines().find(|line| line.trim().starts_with(labels));
            let line = line.unwrap_or_else(|| panic!("{labels} is not in\n{table}"));
            assert!(line.contains(ttl), "{ttl:?} is not in {line}");
        }
    }
    // As it was when they went.
    gateway.delete("/metrics/job/r/of/rule").expect(202);
    gateway.delete("/metrics/job/r/of/push").expect(202);
    let table = done(&["expired"], &gateway);
    assert!(table.contains(r#"2h (rule 1 {job="r"})"#) && table.contains("3h (push)"), "{table}");
    gateway.stop();
}

#[test]
fn ttls_are_overridden_and_renewed() {
    let gateway = three_groups();
    assert_eq!(command(&["ttl", "set", "1h", B], &gateway).code, 2);
    let set = done(&["ttl", "set", "--yes", "5m", r#"{run=~".+"}"#], &gateway);
    assert_eq!(set, format!("2 groups changed:\n  {RUN_1}\n  {RUN_2}\n"));
    let group = || done_json(&["groups", r#"{run="1"}"#], &gateway)["groups"][0].clone();
    assert_eq!((&group()["ttl"], &group()["ttl_source"]), (&json!("5m"), &json!("override")));
    gateway.advance(minutes(4));
    done(&["ttl", "touch", r#"{run="1"}"#], &gateway);
    gateway.advance(minutes(4));
    assert!(shows(&gateway, "run=\"1\"") && !shows(&gateway, "run=\"2\""));
    done(&["ttl", "set", "--yes", "default", r#"{run="1"}"#], &gateway);
    assert_eq!(group()["ttl"], "30m");
    let wrong = command(&["ttl", "set", "soon", B], &gateway);
    assert_eq!(wrong.code, 2);
    assert!(wrong.error.contains("soon") && wrong.error.contains("default"), "{}", wrong.error);
    gateway.stop();
}

#[test]
fn a_preview_compares_a_settings_file_with_what_is_in_force() {
    let gateway = three_groups();
    gateway.put("/metrics/job/c", "m 1\n").expect(200);
    let gone = done(&["ttl", "preview", "--at=+20m"], &gateway);
    assert!(gone.contains("1 will have expired, and 3 will be there."), "{gone}");
    assert!(gone.contains(RUN_2) && !gone.contains(RUN_1), "{gone}");

    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("new.toml");
    let proposed = file.to_str().unwrap();
    let preview = ["ttl", "preview", "--config.file", proposed];
    let rule = "[log]\nlevel = 'info'\n[ttl]\n[[ttl.rules]]\nmatch = '{job=\"c\"}'\nttl = '2h'\n";
    std::fs::write(&file, rule).unwrap();
    let changes = done(&preview, &gateway);
    assert!(changes.contains(r#"{job="c"}  later"#), "{changes}");
    assert!(changes.contains(r#"2h (rule 1 {job="c"})"#), "{changes}");
    assert_eq!(done_json(&preview, &gateway)["unchanged"], 3);
    // All that is wrong with the file is said, before the gateway is asked.
    std::fs::write(&file, "[ttl]\ndefault = 'soon'\nmax = 'x'\n").unwrap();
    let wrong = command(&preview, &gateway);
    assert_eq!(wrong.code, 1);
    assert!(wrong.error.contains("soon") && wrong.error.contains("\"x\""), "{}", wrong.error);
    gateway.stop();
}

#[test]
fn removed_groups_are_listed_and_restored() {
    let gateway = three_groups();
    gateway.advance(minutes(15));
    gateway.scrape().lacks("run=\"2\"");
    done(&["delete", "--yes", B], &gateway);
    let listed = done(&["expired"], &gateway);
    let labels: Vec<_> = listed.lines().skip(1).filter(|line| line.contains('{')).collect();
    assert!(labels[0].contains(B) && labels[0].contains("deleted"), "{listed}");
    assert!(labels[1].contains(RUN_2) && labels[1].contains("expired"), "{listed}");
    let expired = done_json(&["expired", "--why=expired"], &gateway);
    let id = expired["groups"][0]["id"].to_string();
    let back = done(&["expired", "restore", "--id", &id], &gateway);
    assert!(back.starts_with(&format!("restored {RUN_2}, expires ")), "{back}");
    assert!(shows(&gateway, "run=\"2\""));
    // A group that exists is not overwritten, and that is no success.
    gateway.put("/metrics/job/b", "new 1\n").expect(200);
    let refused = command(&["expired", "restore", r#"{job=~".+"}"#], &gateway);
    assert_eq!(refused.code, 1);
    assert!(refused.output.contains(&format!("not restored {B}: ")), "{}", refused.output);
    gateway.stop();
}

#[test]
fn errors_are_reported_with_an_exit_code() {
    let gateway = Gateway::start("[ttl]\ndefault = '1h'\n");
    for job in ["a", "b"] {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    let refused = command(&["delete", "--yes", r#"{job=~".+"}"#], &gateway);
    assert_eq!(refused.code, 1);
    assert!(refused.error.contains("web.enable-admin-api"), "{}", refused.error);
    let wrong = command(&["groups", "{job"], &gateway);
    assert_eq!(wrong.code, 2);
    assert_eq!(command(&["delete", "--yes"], &gateway).code, 2, "it needs a selector");
    let address = gateway.address();
    gateway.stop();
    let nobody = command(&["groups"], &Client::new(address));
    assert_eq!(nobody.code, 1);
    assert!(nobody.error.contains(&address.to_string()), "{}", nobody.error);
}

#[test]
fn times_are_written_in_one_form_everywhere() {
    let folder = tempfile::TempDir::new().unwrap();
    // On the host's clock, from which these commands count, too.
    let gateway = Tidegate::serve(folder.path(), &[]);
    gateway.put("/metrics/job/a?ttl=2h", "m 1\n").expect(200);
    let all = r#"{job="a"}"#;
    for (before, matches) in [("-1h", false), ("now", true), ("2001-01-01T00:00:00Z", false)] {
        for flag in [&[&*format!("--pushed-before={before}")][..], &["--pushed-before", before]] {
            let args = [&["delete", "--dry-run", all], flag].concat();
            let found = done(&args, &gateway);
            assert_eq!(found.starts_with("1 group would be deleted"), matches, "{before}: {found}");
        }
    }
    for (at, gone) in [("-1h", 0), ("now", 0), ("+1h", 0), ("+3h", 1), ("+ 3h", 1)] {
        for flag in [&[&*format!("--at={at}")][..], &["--at", at]] {
            let found = done_json(&[&["ttl", "preview"], flag].concat(), &gateway);
            assert_eq!(found["gone"], gone, "{at}: {found}");
        }
    }
    let wrong = command(&["ttl", "preview", "--at=+1M"], &gateway);
    assert!(wrong.error.contains("30d") && wrong.error.contains("-1h"), "{}", wrong.error);
    gateway.stop();
}

/// The names of all commands, as in `ttl set`.
fn all_commands() -> Vec<Vec<String>> {
    fn below(command: &[String]) -> Vec<Vec<String>> {
        let words = command.iter().map(String::as_str);
        let args: Vec<_> = words.chain(["--help"]).collect();
        let output = finished(&mut Tidegate::command(&args));
        assert!(output.status.success(), "{args:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Exit code: 0 if"), "{args:?}: {help}");
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let listed = listed.lines().take_while(|line| !line.is_empty());
        let names = listed.filter_map(|line| line.split_whitespace().next());
        let deeper = names.filter(|name| *name != "help").flat_map(|name| {
            let command = [command, &[name.to_owned()]].concat();
            [below(&command), vec![command]].concat()
        });
        deeper.collect()
    }
    let commands = below(&[]);
    assert!(commands.len() > 15 && commands.iter().any(|it| it.join(" ") == "ttl set"));
    commands
}

#[test]
fn every_command_has_help_a_manual_page_and_completions() {
    let folder = tempfile::TempDir::new().unwrap();
    for command in all_commands() {
        let words = command.iter().map(String::as_str);
        let output = finished(&mut Tidegate::command(
            &std::iter::once("man").chain(words).collect::<Vec<_>>(),
        ));
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command:?}");
        let title = format!(".TH tidegate-{} 1 ", command.join("-"));
        let synopsis = format!("\\fBtidegate {}\\fR", command.join(" ").replace('-', "\\-"));
        assert!(page.contains(&title) && page.contains(&synopsis), "{command:?}: {page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        // More than fits into a pipe.
        let output = Tidegate::command(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("pushed-before"), "{shell}");
        for name in all_commands().concat() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        std::fs::write(folder.path().join(shell), script).unwrap();
    }
    // Bash offers all commands, and the flags of one.
    let ask = |words: &str, at: usize| {
        let script = format!(
            "source ./bash && COMP_WORDS=({words}) COMP_CWORD={at} \
             && _tidegate tidegate \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at} - 1]}}\" \
             && echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        let output = finished(bash.args(["-uc", &script]).current_dir(folder.path()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let offered = ask("tidegate ''", 1);
    let offered: Vec<_> = offered.split_whitespace().collect();
    for command in all_commands().iter().filter(|command| command.len() == 1) {
        assert!(offered.contains(&&*command[0]), "{command:?}: {offered:?}");
    }
    assert!(ask("tidegate delete --pushed", 2).contains("--pushed-before"));
    assert!(ask("tidegate ttl s", 2).contains("set"));
}

#[test]
fn settings_are_listed_under_headings() {
    let help = String::from_utf8(finished(&mut Tidegate::command(&["--help"])).stdout).unwrap();
    for (heading, flag) in [
        ("Settings file", "--config.file"),
        ("Web", "--web.listen-address"),
        ("Pushes", "--push.enable-utf8-names"),
        ("Storage", "--storage.path"),
        ("Storage", "--persistence.file"),
        ("TTLs", "--ttl.default"),
        ("Removed groups", "--history.groups"),
        ("Cluster", "--cluster.endpoints"),
        ("Webhook", "--notify.url"),
        ("Access", "--access.anonymous"),
        ("Limits", "--limits.queue"),
        ("Log", "--log.format"),
    ] {
        let part = help.split("\n\n").find(|part| part.starts_with(&format!("{heading}:\n")));
        assert!(part.is_some_and(|part| part.contains(flag)), "{heading}: {flag}");
    }
}

/// Wherever the settings are right, the log has the reason why a gateway does not start.
#[test]
fn a_gateway_that_cannot_start_says_so_in_the_form_of_its_log() {
    let folder = tempfile::TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--web.listen-address={}", taken.local_addr().unwrap());
    let store = format!("--storage.path={}", folder.path().display());
    let start = |format: &str| {
        let output = finished(&mut Tidegate::command(&[
            &address,
            &store,
            &format!("--log.format={format}"),
        ]));
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let log = start("json");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&json!("ERROR"), &json!("cannot start")));
    assert!(last["error"].as_str().unwrap().contains("web.listen-address"), "{last}");
    let log = start("logfmt");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("ts=") && last.contains(" level=error msg=\"cannot start\""), "{log}");
}

#[test]
fn a_variable_that_no_setting_has_is_pointed_out() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = Tidegate::command(&["--web.listen-address=127.0.0.1:0"]);
    command.arg(format!("--storage.path={}", folder.path().display()));
    command.env("TIDEGATE_TTL_DEFALT", "1h").env("TIDEGATE_LOG_LEVEL", "info");
    // Those of commands, and those that Kubernetes sets for a service of this name.
    command.env("TIDEGATE_GATEWAY", "http://x").env("TIDEGATE_TOKEN", "secret");
    command.env("TIDEGATE_CA_FILE", "x").env("TIDEGATE_PORT_9091_TCP", "tcp://10.0.0.1:9091");
    command.env("TIDEGATE_SERVICE_HOST", "10.0.0.1").env("TIDEGATE_PORT", "tcp://10.0.0.1:9091");
    let mut gateway = Tidegate::spawn(&mut command);
    gateway.process().signal("TERM");
    let (status, log) = gateway.ended();
    assert!(status.success(), "{log}");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("TIDEGATE_")).collect();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(
        warning
            .contains("TIDEGATE_TTL_DEFALT: unknown variable; did you mean TIDEGATE_TTL_DEFAULT?"),
        "{warning}"
    );
}

/// The text of a server is shown, and does nothing to the terminal.
#[test]
fn the_words_of_a_server_control_no_terminal() {
    use std::io::{BufRead as _, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let evil = "\u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}";
    let serve = std::thread::spawn(move || {
        let group = json!({
            "labels": { "job": evil }, "families": 1, "series": 1, "bytes": 1, "ttl": evil,
            "ttl_source": "push", "expires": evil, "error": evil, "restored": [],
            "refused": [{ "labels": { "job": evil }, "error": evil }], "groups": [],
            "total": 0, "count": 1, "deleted": [{ "job": evil }], "touched": [{ "job": evil }],
        });
        let good = json!({ "status": "success", "data": group }).to_string();
        let bad = json!({ "status": "error", "error": evil }).to_string();
        for (status, body) in [
            ("200 OK", good.as_str()),
            ("200 OK", good.as_str()),
            ("200 OK", good.as_str()),
            ("500 Oh", bad.as_str()),
            ("500 Oh", evil),
            ("500 Oh", evil),
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let job = "{job=\"a\"}";
    for args in [
        &["expired", "restore", job][..],
        &["ttl", "touch", job],
        &["ttl", "touch", job, "--output=json"],
        &["expired", "restore", job],
        &["groups"],
        &["import", &url],
    ] {
        let mut command = Tidegate::command(args);
        command.env("TIDEGATE_GATEWAY", &url);
        let output = finished(&mut command);
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(shown.contains("owned"), "{args:?}: {shown:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(acts), "{args:?}: {shown:?}");
    }
    serve.join().unwrap();
}

#[test]
fn a_folder_without_a_store_is_not_exported_verified_or_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let typo = folder.path().join("typo");
    let storage = format!("--storage.path={}", typo.display());
    for args in [&["export"][..], &["verify"], &["repair", "--yes"]] {
        let output = finished(Tidegate::command(args).arg(&storage));
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(shown.contains("there is no store in it"), "{args:?}: {shown:?}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!typo.try_exists().unwrap(), "{args:?}: it was created");
    }
}
