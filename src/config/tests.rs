use std::time::Duration;

use super::sources::Origin;
use super::table::SETTINGS;
use super::*;
use crate::model::Ttl;

fn problems(toml: &str) -> String {
    Config::from_toml(toml).expect_err(toml).to_string()
}

#[test]
fn the_example_lists_every_setting_with_its_default() {
    let example = include_str!("../../config.example.toml");
    let without_origins = |toml| Config { in_force: vec![], ..Config::from_toml(toml).unwrap() };
    assert_eq!(without_origins(example), without_origins(""));
    // A commented-out part is an example of its own.
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let config = Config::from_toml(&uncommented).unwrap();
    assert!(!config.gateway.ttl.rules.is_empty());
    let mut sources = Sources::default();
    sources.toml(Path::new("example"), example, &mut Problems::default());
    for &setting in SETTINGS {
        let (values, origin) = sources.get(setting);
        assert_ne!(origin, Origin::Default, "{} is missing", setting.name);
        assert_eq!(values, [setting.default], "{}", setting.name);
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = problems(
        "[ttl]\ndefault = 'soon'\n[[ttl.rules]]\nmatch = 'up'\nttl = '1h'\n\
         [[ttl.rules]]\nttl = 'x'\nextra = 1\n\
         [storage]\nsync = 'sometimes'\ncache_size = '1MiB'\nbogus = 1\n\
         [limits]\ngroups = 0\nbody-size = 'big'\n[log]\nlevel = 'loud'\n\
         [web]\nlisten-address = 'nowhere'\n",
    );
    for part in [
        "toml: ttl.default: \"soon\" is not a TTL",
        "toml: rule 1 of ttl.rules (line 3): match: up: grouping labels have no metric name",
        "toml: rule 2 of ttl.rules (line 6): match: the key match is missing",
        "toml: rule 2 of ttl.rules (line 6): ttl: \"x\" is not a TTL",
        "toml: rule 2 of ttl.rules (line 6): extra: unknown key",
        "toml: storage.sync: expected always, or a duration such as 1s, found \"sometimes\"",
        "toml: storage.cache_size: unknown key; did you mean storage.cache-size?",
        "toml: storage.bogus: unknown key; config.example.toml lists all of them",
        "toml: limits.groups: expected a whole number above zero, found \"0\"",
        "toml: limits.body-size: expected a size such as 16MiB, found \"big\"",
        "toml: log.level: expected debug, info, warn or error, found \"loud\"",
        "toml: web.listen-address: expected host:port or :port, found \"nowhere\"",
    ] {
        assert!(text.contains(part), "{part}\nis missing in\n{text}");
    }
    assert!(text.starts_with("12 problems:"), "{text}");
}

/// Where rules have no lines of their own, or a text has what looks like one, none is said.
#[test]
fn a_rule_is_named_by_its_number_and_its_line_where_it_has_one() {
    for (text, place) in [
        (
            "[[ttl.rules]]\nttl='1h'\nmatch='{job=\"a\"}'\n\n  [[ttl.rules]] # b\nmatch='{'\nttl='1h'\n",
            "rule 2 of ttl.rules (line 5): match: ",
        ),
        ("ttl.rules = [{ match = '{', ttl = '1h' }]\n", "toml: rule 1 of ttl.rules: match: "),
        (
            "a = '''\n[[ttl.rules]]\n'''\n[[ttl.rules]]\nmatch='{'\nttl='1h'\n",
            "toml: rule 1 of ttl.rules: match: ",
        ),
        (
            "[[ttl.rules]]\nmatch='{job=\"a\"}'\nttl='auto'\nauto={missed=0,min='1m',max='2m'}\n",
            "rule 1 of ttl.rules (line 1): auto.missed: ",
        ),
    ] {
        let text = problems(text);
        assert!(text.contains(place), "{place}\nis missing in\n{text}");
    }
}

#[test]
fn a_slip_in_a_name_is_pointed_out() {
    for (toml, meant) in [
        ("[ttl]\ndefalt = '1h'", "did you mean ttl.default?"),
        ("[ttls]\ndefault = '1h'", "did you mean ttl.default?"),
        ("[web]\nlisten-adress = ':1'", "did you mean web.listen-address?"),
        ("[log]\nnonsense = 'x'", "config.example.toml lists all of them"),
    ] {
        assert!(problems(toml).contains(meant), "{}", problems(toml));
    }
    let names = ["TIDEGATE_LIMIT_QUEUE", "TIDEGATE_NONSENSE", "TIDEGATE_PORT", "PATH"];
    let warnings = unknown_variables(names.into_iter().map(str::to_owned));
    assert_eq!(
        warnings,
        [
            "environment: TIDEGATE_LIMIT_QUEUE: unknown variable; did you mean TIDEGATE_LIMITS_QUEUE?",
            "environment: TIDEGATE_NONSENSE: unknown variable; config.example.toml lists all settings",
        ]
    );
}

#[test]
fn text_that_is_no_toml_is_reported_with_its_line() {
    let text = problems("[ttl]\ndefault = \n");
    assert!(text.contains("line 2"), "{text}");
}

#[test]
fn flags_count_over_environment_and_environment_over_file() {
    let mut sources = Sources::default();
    let file = "[ttl]\ndefault = '1h'\n[log]\nlevel = 'debug'\n[storage]\npath = 'f'\n";
    sources.toml(Path::new("f"), file, &mut Problems::default());
    sources.environment(|name| match name {
        "TIDEGATE_TTL_DEFAULT" => Some("2h".into()),
        "TIDEGATE_STORAGE_PATH" => Some("e".into()),
        "TIDEGATE_WEB_LISTEN_ADDRESS" => Some(":1, localhost:2".into()),
        _ => None,
    });
    let args = ["tidegate", "--ttl.default", "3h"].map(OsString::from);
    FlagSettings::parse(args).unwrap().apply(&mut sources);
    let config = validate(&sources, Problems::default()).unwrap();
    assert_eq!(config.gateway.ttl.default, Ttl::parse("3h").unwrap());
    assert_eq!(config.store.path, PathBuf::from("e"));
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.http.listen, [":1", "localhost:2"]);
}

#[test]
fn a_bad_flag_or_variable_is_named_as_it_was_given() {
    let error = Config::from_flags(&["--ttl.default=soon"]).unwrap_err();
    assert!(error.starts_with("--ttl.default: "), "{error}");
    let mut sources = Sources::default();
    sources.environment(|name| (name == "TIDEGATE_LIMITS_QUEUE").then(|| "x".into()));
    let error = validate(&sources, Problems::default()).unwrap_err().to_string();
    assert!(error.starts_with("environment: TIDEGATE_LIMITS_QUEUE: "), "{error}");
    assert!(Config::from_flags(&["--no-such-flag"]).is_err());
}

#[test]
fn the_exposition_takes_no_path_of_anything_else() {
    for path in ["/group", "/-/reload", "/api/v2", "/api/v1/x", "/assets/a.css", "/status/"] {
        let error = Config::from_flags(&[&format!("--web.telemetry-path={path}")]).unwrap_err();
        assert!(error.contains("is taken"), "{error}");
    }
    for path in ["/metrics", "/groups", "/api/v3", "/assetsx"] {
        Config::from_flags(&[&format!("--web.telemetry-path={path}")]).unwrap();
    }
}

#[test]
fn settings_are_understood() {
    let config = Config::from_flags(&[
        "--metric.timetolive=60s",
        "--storage.sync=250ms",
        "--storage.cache-size=1GiB",
        "--web.listen-address=:1",
        "--web.listen-address=[::1]:2",
        "--limits.groups=1_000",
    ])
    .unwrap();
    assert_eq!(config.gateway.ttl.default, Ttl::After(Duration::from_secs(60)));
    assert_eq!(config.gateway.sync, gateway::Sync::Within(Duration::from_millis(250)));
    assert_eq!(config.store.cache_bytes, 1 << 30);
    assert_eq!(config.http.listen, [":1", "[::1]:2"]);
    assert_eq!(config.gateway.limits.groups, 1000);
}

/// Of 65 characters.
const LONG_NAME: &str =
    "--cluster.name=a-name-that-is-longer-than-any-that-a-cluster-may-have-in-its-key";

#[test]
fn secrets_of_replicas_keep_their_order_and_are_needed_beyond_one_host() {
    let flags = |more: &[&str]| {
        let all = [&["--cluster.endpoints=http://etcd:2379"], more].concat();
        Config::from_flags(&all)
    };
    let url = "--cluster.advertise-url=http://gateway-1:9091";
    let config = flags(&[url, "--cluster.secret=one", "--cluster.secret=two"]).unwrap();
    assert_eq!(config.cluster.unwrap().replicas.secrets, ["one", "two"]);
    for (more, problem) in [
        (&[][..], "cluster.advertise-url"),
        (&[url], "cluster.secret"),
        (&[url, "--cluster.secret=x", "--storage.sync=1s"], "storage.sync"),
        (&[url, "--cluster.secret=x", "--persistence.file=x"], "persistence.file"),
        (&[url, "--cluster.secret=x", "--cluster.lease-ttl=1s"], "cluster.lease-ttl"),
        (&[url, "--cluster.secret=x", "--cluster.cert=Cargo.toml"], "cluster.key"),
        (&[url, "--cluster.secret=x", "--cluster.etcd.user=x"], "cluster.etcd.password-file"),
        (&[url, "--cluster.secret=x", "--cluster.endpoints=etcd:2379"], "cluster.endpoints"),
        (&[url, "--cluster.secret=x", "--cluster.name=a/b"], "cluster.name"),
        (
            &["--cluster.advertise-url=http://gateway-1/a", "--cluster.secret=x"],
            "cluster.advertise-url",
        ),
        (&[url, "--cluster.secret=x", LONG_NAME], "cluster.name"),
        (&["--cluster.advertise-url=http://[::1]:9091", "--web.config.file=x"], "cluster.secret"),
        (&[url, "--cluster.secret-file=/does/not/exist"], "cluster.secret-file"),
        (&[url, "--cluster.secret=x", "--cluster.etcd.ca=/does/not/exist"], "cluster.etcd.ca"),
    ] {
        let error = flags(more).expect_err(problem);
        assert!(error.contains(problem), "{problem}: {error}");
    }
    let local = flags(&["--cluster.advertise-url=http://127.0.0.1:9091"]).unwrap();
    assert!(local.cluster.unwrap().replicas.secrets.is_empty());
    assert_eq!(Config::from_flags(&[url]).unwrap().cluster, None);
}
