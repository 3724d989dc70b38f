//! The README and the pages of `docs/`: short enough, without dead links, and every example runs.
//!
//! A block in `sh`, `console` or `python` runs in a folder of its own for each page, against the real
//! binary, unless a comment before it says why not: `<!-- not run: REASON -->`. A block whose first line
//! is a comment with a file name, as in `# tidegate.toml`, becomes that file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Tidegate, part, root};
use tempfile::TempDir;
use tidegate::config::Config;

/// Words of the README, at most: it is for the first ten minutes.
const README_WORDS_MAX: usize = 1500;

/// A fenced block.
struct Block {
    language: String,
    text: String,
    /// The reason why it does not run.
    not_run: Option<String>,
}

/// README and `docs/`, by path from the root.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    assert!(pages.len() > 9, "{pages:?}");
    pages
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    let mut before = "";
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            before = line;
            continue;
        };
        let inside: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let reason =
            before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
        blocks.push(Block {
            language: language.to_owned(),
            text: inside.join("\n") + "\n",
            not_run: reason.map(str::to_owned),
        });
        before = "";
    }
    blocks
}

#[test]
fn the_readme_is_for_the_first_ten_minutes() {
    let words = read("README.md").split_whitespace().count();
    assert!(words < README_WORDS_MAX, "{words} words: move some to a page of docs/");
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    let others = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(str::to_owned);
    for page in pages().into_iter().chain(others) {
        let text = read(&page);
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") || link.contains(['"', ' ']) {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(f, h)| (f, Some(h)));
            let folder = Path::new(&page).parent().unwrap();
            let target = if file.is_empty() { PathBuf::from(&page) } else { folder.join(file) };
            let Ok(there) = root().join(&target).canonicalize() else {
                dead.push(format!("{page}: {link}: no such file"));
                continue;
            };
            if let Some(heading) = heading {
                let text = fs::read_to_string(there).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
                if !anchors.any(|anchor| anchor == heading) {
                    dead.push(format!("{page}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_block_has_a_language_and_settings_are_valid() {
    for page in pages() {
        for Block { language, text, .. } in blocks(&page) {
            let known = ["sh", "console", "python", "toml", "yaml", "text", "rust"];
            assert!(known.contains(&language.as_str()), "{page}: a block of {language:?}:\n{text}");
            if language == "toml" {
                let config = Config::from_toml(&text);
                let config = config.unwrap_or_else(|error| panic!("{page}:\n{text}\n{error}"));
                assert!(config.warnings.is_empty(), "{page}: {:?}", config.warnings);
            }
        }
    }
}

#[test]
fn every_test_that_the_limits_name_is_there() {
    let text = read("docs/limits.md");
    let named: Vec<_> =
        text.split("`: `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    assert!(named.len() > 10, "{named:?}");
    let tests: String =
        ["blackbox/limits.rs", "load/bombs.rs", "load/queue.rs", "load/scrapers.rs"]
            .map(|file| read(&format!("tests/{file}")))
            .concat();
    for name in named {
        let all = || walk(&root().join("tests"));
        let is_there = tests.contains(&format!("fn {name}("))
            || all().iter().any(|text| text.contains(&format!("fn {name}(")));
        assert!(is_there, "no test is called {name}");
    }
}

/// The text of all Rust files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(walk(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

#[test]
fn its_alerts_fire_when_it_says() {
    let folder = TempDir::new().unwrap();
    let yaml = blocks("docs/ttls.md").into_iter().filter(|block| block.language == "yaml");
    let alerts: Vec<_> = yaml.filter(|block| block.text.starts_with("groups:")).collect();
    let [alerts] = alerts.as_slice() else { panic!("one block has alerts") };
    fs::write(folder.path().join("alerts.yml"), &alerts.text).unwrap();
    let tests = folder.path().join("tests.yml");
    fs::write(&tests, include_str!("alerts.yml")).unwrap();
    let output = Command::new(part("promtool")).args(["test", "rules"]).arg(&tests).output();
    let output = output.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    assert!(String::from_utf8_lossy(&printed).contains("SUCCESS"));
}

#[test]
fn prometheus_takes_every_scrape_config() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.text.starts_with("scrape_configs:"))
        {
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("prometheus.yml");
            fs::write(&file, &block.text).unwrap();
            let output =
                Command::new(part("promtool")).args(["check", "config"]).arg(&file).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{page}: {}", String::from_utf8_lossy(&output.stdout));
            count += 1;
        }
    }
    assert!(count > 0, "the README has one");
}

/// The commands of a console: lines with a prompt, and those that go on with them.
fn commands(console: &str) -> String {
    let mut commands = String::new();
    let mut goes_on = false;
    for line in console.lines() {
        let command = line.strip_prefix("$ ").or(goes_on.then_some(line));
        let Some(command) = command else { continue };
        goes_on = command.ends_with('|') || command.ends_with('\\');
        commands.extend([command, "\n"]);
    }
    commands
}

/// Runs the examples of a page.
#[track_caller]
fn try_out(page: &str) {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("bin")).unwrap();
    symlink(support::tidegate(), at("bin/tidegate")).unwrap();
    if read(page).contains("tidegate verify") {
        let gateway = Tidegate::serve(&at("store"), &[]);
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        gateway.stop();
    }
    let gateway = Tidegate::serve(&at("served"), &["--web.enable-admin-api"]);
    for group in [
        "backup/instance/db1",
        "ci/runner/r-81af2",
        "inventory",
        "backup-db",
        "node/instance/old-host",
    ] {
        gateway.put(&format!("/metrics/job/{group}"), "shown 1\n").expect(200);
    }
    let address = gateway.address().to_string();
    let here = |text: &str| {
        let text = text.replace("localhost:9091", &address);
        text.replace("/var/lib/tidegate", at("store").to_str().unwrap())
    };
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
    for Block { language, text, not_run } in blocks(page) {
        let named = text.lines().next().and_then(|line| line.strip_prefix("# "));
        if let Some(name) = named.filter(|name| !name.contains(' ') && name.contains('.')) {
            fs::write(at(name), &text).unwrap();
            continue;
        }
        let mut command = match language.as_str() {
            _ if not_run.is_some() => continue,
            "sh" | "console" => {
                let script = if language == "sh" { text.clone() } else { commands(&text) };
                assert!(!script.is_empty(), "{page}: no command in\n{text}");
                let mut command = Command::new("bash");
                command.args(["-euo", "pipefail", "-c", &here(&script)]);
                command
            }
            "python" => {
                let mut command = Command::new(part("python"));
                command.args(["-c", &here(&text)]);
                command
            }
            _ => continue,
        };
        command.current_dir(folder.path()).env("PATH", &path);
        command.env("TIDEGATE_GATEWAY", format!("http://{address}"));
        let output = support::finished(&mut command);
        let errors = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{page}:\n{text}\n{printed}{errors}");
    }
    gateway.stop();
}

macro_rules! try_out {
    ($($name:ident: $page:literal;)*) => {
        $(
            #[test]
            fn $name() {
                try_out($page);
            }
        )*

        #[test]
        fn the_examples_of_every_page_run() {
            assert_eq!(pages(), [$($page),*]);
        }
    };
}

try_out! {
    examples_of_the_readme_run: "README.md";
    examples_of_access_run: "docs/access.md";
    examples_of_the_benchmarks_run: "docs/benchmarks.md";
    examples_of_the_commands_run: "docs/commands.md";
    examples_of_the_design_run: "docs/design.md";
    examples_of_limits_run: "docs/limits.md";
    examples_of_migrating_run: "docs/migrating.md";
    examples_of_the_pages_run: "docs/pages.md";
    examples_of_the_promises_run: "docs/promises.md";
    examples_of_pushing_run: "docs/pushing.md";
    examples_of_replicas_run: "docs/replicas.md";
    examples_of_running_run: "docs/running.md";
    examples_of_ttls_run: "docs/ttls.md";
    examples_of_the_worst_hour_run: "docs/worst-hour.md";
}
