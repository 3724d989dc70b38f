//! The rules of the house, as a test: each rule is a function of a file, and says what to do.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may name modules of earlier entries, and itself; those of one entry are
/// siblings, which never name each other. `lib.rs` and `main.rs` are above them all.
const LAYERS: &str = "time < model < exposition store telemetry client < gateway < http tasks maintenance < webhook < config < transfer < \
     reload < app shutdown < cli fuzzing";

/// Outside things, where they may be named in `src` and `migrations`, and what to do elsewhere.
const OWNERS: &[(&str, &[&str], &str)] = &[
    ("sled::", &["src/store/", "migrations/"], "add what you need to `store::Store`"),
    ("hyper::", &["src/http/"], "HTTP ends in `http`: hand on values of `model`"),
    ("hyper_util::", &["src/http/"], "HTTP ends in `http`: hand on values of `model`"),
    ("SystemTime::now", &["src/time.rs"], "take a `Clock`, or the time as an argument"),
    (
        "prost::",
        &["src/exposition/protobuf/", "src/store/", "migrations/"],
        "put messages of the wire into `exposition::protobuf`, those of the disk into `store::record`",
    ),
    ("tracing_subscriber", &["src/telemetry/"], "set logging up in `telemetry::log`"),
    (
        "std::env",
        // The target it was built for, not where it runs.
        &["src/config/", "src/main.rs", "src/telemetry/build.rs"],
        "take a setting from `config`",
    ),
    ("rustls::", &["src/http/"], "TLS is set up by `http::web_config`"),
    (
        "ureq::",
        &["src/client.rs", "src/cli/operate/", "src/webhook.rs"],
        "ask another gateway through `client::Client`",
    ),
    ("tokio::signal", &["src/shutdown.rs"], "wait for `shutdown::Signals`"),
];

/// Leftovers, in two parts so that this file has none of them.
const LEFTOVERS: &[((&str, &str), &str)] = &[
    (("to", "do!("), "finish it, or open an issue and return an error"),
    (("unimpl", "emented!("), "finish it, or open an issue and return an error"),
    (("db", "g!("), "remove it"),
    (("#[ig", "nore"), "repair the test or delete it: one that does not run shows nothing"),
    (("FIX", "ME"), "fix it, or open an issue"),
];

/// Words that are not ours, in two parts so that this file has none of them, and ours. One thing has one
/// word.
const WORDS: &[((&str, &str), &str)] = &[
    (("depar", "ted"), "removed, expired or deleted"),
    (("depar", "ture"), "removed group"),
    (("of no ", "use"), "invalid, or useless"),
    (("brought ", "back"), "restored"),
    (("bring ", "back"), "restore"),
    (("brings ", "back"), "restores"),
    (("is ", "gone"), "is removed, expired, deleted, or has ended"),
    (("are ", "gone"), "are removed, expired, deleted, or have ended"),
];

/// Members of the API that have kept their names.
const KEPT_WORDS: &[&str] = &[concat!("\"depar", "ted\"")];

const LINES_MAX: usize = 900;

/// A Rust file: its path from the root of the repository, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Numbered lines that are no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().zip(1..).map(|(line, number)| (number, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The top-level module that it belongs to.
    fn module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let name = path.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name))
    }

    /// The top-level modules that it names, with the line.
    fn crate_paths(&self) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        let code: Vec<_> = self.code().collect();
        for (at, (number, line)) in code.iter().enumerate() {
            for start in places(line, "crate::") {
                let (_, rest) = line.split_at(start + "crate::".len());
                if rest.starts_with('{') {
                    // A list may go on over several lines.
                    let list: String = code.iter().skip(at).map(|(_, line)| *line).collect();
                    let start = list.find("crate::{").unwrap_or(0) + "crate::{".len();
                    paths.extend(first_names(list.split_at(start).1).map(|name| (*number, name)));
                } else {
                    paths.push((*number, identifier(rest)));
                }
            }
        }
        paths
    }
}

/// The code of a file without comments and what it has for tests.
fn code_of(file: &File) -> String {
    let code: Vec<_> = file.code().map(|(_, line)| line).collect();
    let tests = code.iter().position(|line| line.starts_with("#[cfg(test)]"));
    code.split_at(tests.unwrap_or(code.len())).0.join("\n")
}

/// The path of a module: `http`, `query`, `listing`.
fn module_path(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// The paths that a module names, from the root of the crate.
fn named_paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let starts = places(code, "crate::").into_iter().chain(places(code, "super::"));
    for start in starts {
        let (before, mut rest) = code.split_at(start);
        // A `super` behind another is a part of its path.
        if before.ends_with("::") {
            continue;
        }
        let mut base = module.to_vec();
        if let Some(below) = rest.strip_prefix("crate::") {
            base.clear();
            rest = below;
        }
        while let Some(above) = rest.strip_prefix("super::") {
            base.pop();
            rest = above;
        }
        expand(&base, rest, &mut paths);
    }
    paths
}

/// Adds a path, or each of a list in braces, to what it is in.
fn expand(base: &[String], text: &str, paths: &mut Vec<Vec<String>>) {
    if let Some(list) = text.strip_prefix('{') {
        let mut depth = 1;
        let mut start = 0;
        for (at, c) in list.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 || (depth == 1 && c == ',') {
                expand(base, list[start..at].trim(), paths);
                start = at + 1;
            }
            if depth == 0 {
                return;
            }
        }
        return;
    }
    let name = identifier(text);
    let path = [base, std::slice::from_ref(&name)].concat();
    match text.split_at(name.len()).1.strip_prefix("::") {
        Some(rest) if !name.is_empty() => expand(&path, rest, paths),
        _ => paths.push(path),
    }
}

/// Where `what` begins in a line, not in the middle of a word.
fn places(line: &str, what: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = line.match_indices(what).map(|found| found.0);
    starts.filter(|start| !line.split_at(*start).0.ends_with(is_word)).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each entry of a list in braces, of which the opening one is taken off.
fn first_names(list: &str) -> impl Iterator<Item = String> {
    let mut depth = 1;
    let mut entries = vec![String::new()];
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            _ if depth == 0 => break,
            ',' if depth == 1 => entries.push(String::new()),
            _ => entries.last_mut().expect("it begins with one").push(c),
        }
    }
    entries.into_iter().map(|entry| identifier(entry.trim())).filter(|name| !name.is_empty())
}

// === the rules ===

fn dependencies_point_down(file: &File) -> Vec<String> {
    let layer = |module: &str| {
        LAYERS.split('<').position(|modules| modules.split_whitespace().any(|name| name == module))
    };
    let Some(own) = file.module().filter(|module| !["lib", "main"].contains(module)) else {
        return Vec::new();
    };
    let Some(own_layer) = layer(own) else {
        return vec![format!("{}: give `{own}` a place in LAYERS", file.path)];
    };
    let used = file.crate_paths().into_iter().filter(|(_, used)| used != own);
    let up = used.filter(|(_, used)| layer(used).is_none_or(|layer| layer >= own_layer));
    up.map(|(line, used)| {
        let path = &file.path;
        format!(
            "{path}:{line}: `{own}` must not use `{used}`, which is not below it: move what both \
             need down, or pass it in"
        )
    })
    .collect()
}

fn outside_things_have_one_owner(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for (what, owners, remedy) in OWNERS {
        if owners.iter().any(|owner| file.is_in(owner)) {
            continue;
        }
        for (line, _) in file.code().filter(|(_, line)| !places(line, what).is_empty()) {
            let path = &file.path;
            problems.push(format!("{path}:{line}: `{what}` belongs to {owners:?}: {remedy}"));
        }
    }
    problems
}

fn migrations_know_nothing_of_the_crate(file: &File) -> Vec<String> {
    let named = file.crate_paths().into_iter();
    let problem = |(line, used)| {
        let path = &file.path;
        format!(
            "{path}:{line}: history must not change with `{used}`: copy what the migration needs"
        )
    };
    named.map(problem).collect()
}

fn nothing_is_left_lying_about(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        for ((one, two), remedy) in LEFTOVERS {
            let what = format!("{one}{two}");
            if line.contains(&what) {
                problems.push(format!("{}:{number}: `{what}`: {remedy}", file.path));
            }
        }
    }
    problems
}

/// Sentences name the thing, then the verb, and one thing has one word.
fn words_are_plain(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    // Before a sentence: the begin of a comment, of a text, or the end of the sentence before.
    let begins = ["// ", "/// ", "//! ", "\"", ". ", ": ", "| ", "# "];
    let pronoun = concat!("Wh", "at ");
    for (line, number) in file.text.lines().zip(1..) {
        let path = &file.path;
        let starts = line.match_indices(pronoun).map(|found| line.split_at(found.0).0);
        if starts
            .into_iter()
            .any(|before| before.is_empty() || begins.iter().any(|begin| before.ends_with(begin)))
        {
            problems.push(format!(
                "{path}:{number}: a sentence begins with a pronoun: name the thing, then the verb"
            ));
        }
        let kept = KEPT_WORDS.iter().fold(line.to_owned(), |line, kept| line.replace(kept, ""));
        for ((one, two), ours) in WORDS {
            let word = format!("{one}{two}");
            if kept.to_lowercase().contains(&word) {
                problems.push(format!("{path}:{number}: `{word}`: we say {ours}"));
            }
        }
    }
    problems
}

fn files_are_short(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let problem = || {
        let path = &file.path;
        format!("{path}: {lines} lines, at most {LINES_MAX}: split it by what its parts are for")
    };
    (lines > LINES_MAX).then(problem).into_iter().collect()
}

/// Of files of one folder, or folders in it, none leads back to itself by what it names. The file of
/// the folder itself is no part of this: it names what is in it, and is named by that.
fn no_circle_among_neighbours(files: &[File]) -> Vec<String> {
    use std::collections::{BTreeMap, BTreeSet};
    let modules: BTreeSet<_> = files.iter().map(|file| module_path(&file.path)).collect();
    let mut names: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for file in files {
        let module = module_path(&file.path);
        for path in named_paths(&module, &code_of(file)) {
            let common = module.iter().zip(&path).take_while(|(a, b)| a == b).count();
            let neighbours = (module.get(..=common), path.get(..=common));
            if let (Some(from), Some(to)) = neighbours
                && modules.contains(to)
            {
                names.entry(from.to_vec()).or_default().insert(to.to_vec());
            }
        }
    }
    let mut problems = Vec::new();
    for start in names.keys() {
        // The shortest way back, if there is one.
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
            for next in way.last().and_then(|last| names.get(last)).into_iter().flatten() {
                let longer = [&way[..], std::slice::from_ref(next)].concat();
                // Told once, by the first of its modules.
                if next == start && way.iter().all(|module| module >= start) {
                    let way: Vec<_> = longer.iter().map(|module| module.join("::")).collect();
                    problems.push(format!(
                        "{}: a circle: move what they share to a file of its own",
                        way.join(" -> ")
                    ));
                    ways.clear();
                    break;
                }
                if seen.insert(next.clone()) {
                    ways.push(longer);
                }
            }
        }
    }
    problems
}

// === the files ===

fn rust_files(folders: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut files);
    }
    let relative = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("our files are UTF-8");
        let path = path.strip_prefix(root).expect("it was found under the root");
        File::new(&path.to_string_lossy().replace('\\', "/"), &text)
    };
    files.into_iter().map(relative).collect()
}

/// The texts for people, beside the changelog, which is history.
fn texts() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "config.example.toml"]
        .map(|name| root.join(name))
        .to_vec();
    let docs = fs::read_dir(root.join("docs")).expect("there are docs");
    paths.extend(docs.map(|entry| entry.expect("the folder can be read").path()));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("our texts are UTF-8");
        let path = path.strip_prefix(root).expect("it was found under the root");
        File::new(&path.to_string_lossy(), &text)
    };
    paths.into_iter().map(read).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    // A folder that is not there, as benches may be, has no files.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

type Rule = fn(&File) -> Vec<String>;

const RULES: &[(Rule, &[&str])] = &[
    (dependencies_point_down, &["src"]),
    (outside_things_have_one_owner, &["src", "migrations"]),
    (migrations_know_nothing_of_the_crate, &["migrations"]),
    (nothing_is_left_lying_about, &["src", "migrations", "tests", "benches"]),
    (files_are_short, &["src"]),
    (words_are_plain, &["src", "migrations", "tests", "benches"]),
];

#[test]
fn the_house_is_tidy() {
    let mut problems = Vec::new();
    for (rule, folders) in RULES {
        let files = rust_files(folders);
        assert!(!files.is_empty(), "no files in {folders:?}: the rules look in the wrong place");
        problems.extend(files.iter().flat_map(rule));
    }
    problems.extend(no_circle_among_neighbours(&rust_files(&["src"])));
    problems.extend(texts().iter().flat_map(words_are_plain));
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn each_rule_notices_what_it_forbids() {
    let leftover = |at: usize| format!("fn f() {{\n    {}{}", LEFTOVERS[at].0.0, LEFTOVERS[at].0.1);
    let long = "\n".repeat(LINES_MAX + 1);
    let cases: &[(Rule, &str, &str, usize)] = &[
        (dependencies_point_down, "src/model/a.rs", "use crate::gateway::Gateway;", 1),
        (dependencies_point_down, "src/store/a.rs", "fn f(a: crate::exposition::A) {}", 1),
        (dependencies_point_down, "src/http/a.rs", "use crate::tasks;", 1),
        (dependencies_point_down, "src/time.rs", "use crate::{model::{Ttl, ttl}, store};", 2),
        (dependencies_point_down, "src/time.rs", "use crate::{\n    model,\n    time,\n};", 1),
        (dependencies_point_down, "src/gateway/a.rs", "use crate::{model, gateway, store};", 0),
        (dependencies_point_down, "src/model/a.rs", "//! [`crate::gateway`] says more.", 0),
        (dependencies_point_down, "src/main.rs", "use crate::app;", 0),
        (dependencies_point_down, "src/attic.rs", "", 1),
        (outside_things_have_one_owner, "src/gateway/a.rs", "use sled::Tree;", 1),
        (outside_things_have_one_owner, "src/store/a.rs", "use sled::Tree;", 0),
        (outside_things_have_one_owner, "migrations/a.rs", "use hyper::Body;", 1),
        (outside_things_have_one_owner, "src/app.rs", "SystemTime::now()", 1),
        (outside_things_have_one_owner, "src/gateway/index.rs", "use prost::Message;", 1),
        (outside_things_have_one_owner, "src/store/record.rs", "use prost::Message;", 0),
        (outside_things_have_one_owner, "src/app.rs", "tracing_subscriber::fmt()", 1),
        (outside_things_have_one_owner, "src/app.rs", "std::env::args()", 1),
        (migrations_know_nothing_of_the_crate, "migrations/a.rs", "use crate::model;", 1),
        (migrations_know_nothing_of_the_crate, "migrations/a.rs", "use super::Migration;", 0),
        (nothing_is_left_lying_about, "src/a.rs", &leftover(0), 1),
        (nothing_is_left_lying_about, "src/a.rs", &leftover(1), 1),
        (nothing_is_left_lying_about, "tests/a.rs", &leftover(2), 1),
        (nothing_is_left_lying_about, "tests/a.rs", &leftover(3), 1),
        (nothing_is_left_lying_about, "benches/a.rs", &leftover(4), 1),
        (words_are_plain, "src/a.rs", concat!("/// Wh", "at is stored."), 1),
        (words_are_plain, "src/a.rs", concat!("/// It is there. Wh", "at is not is not."), 1),
        (words_are_plain, "docs/a.md", concat!("| Wh", "at it does |"), 1),
        (words_are_plain, "src/a.rs", "/// Says what is stored.", 0),
        (words_are_plain, "src/a.rs", concat!("// The group is go", "ne."), 1),
        (words_are_plain, "src/a.rs", concat!("json!({ \"depar", "ted\": removed })"), 0),
        (files_are_short, "src/a.rs", &long, 1),
        (files_are_short, "src/a.rs", &long[1..], 0),
    ];
    for (rule, path, text, expected) in cases {
        let problems = rule(&File::new(path, text));
        assert_eq!(problems.len(), *expected, "{path}: {text:.60}: {problems:#?}");
    }
}

#[test]
fn a_circle_among_neighbours_is_noticed_and_none_between_parent_and_child() {
    let circles = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        no_circle_among_neighbours(&files).len()
    };
    let one = ("src/http/one.rs", "use super::{Options, two::Two};");
    assert_eq!(circles(&[one, ("src/http/two.rs", "fn f(one: super::one::One) {}")]), 1);
    assert_eq!(circles(&[one, ("src/http/two.rs", "use crate::http::{one, three};")]), 1);
    assert_eq!(
        circles(&[
            one,
            ("src/http/two/a.rs", "use super::super::one::One;"),
            ("src/http/two/mod.rs", "")
        ]),
        1
    );
    assert_eq!(
        circles(&[
            one,
            ("src/http/two.rs", "use super::three;"),
            ("src/http/three.rs", "use super::one;")
        ]),
        1
    );
    assert_eq!(circles(&[one, ("src/http/two.rs", "#[cfg(test)]\nuse super::one;")]), 0);
    assert_eq!(circles(&[one, ("src/http/two.rs", "//! [`super::one`]\nuse super::Options;")]), 0);
    assert_eq!(
        circles(&[
            ("src/http/mod.rs", "use crate::http::one;"),
            ("src/http/one.rs", "use super::Options;")
        ]),
        0
    );
}
