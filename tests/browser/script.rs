//! Scripts that drive a browser, and what they ask of a test meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::{Value, json};

use support::part;

/// Set to a folder, the pictures go there.
const PICTURES_VARIABLE: &str = "TIDEGATE_SCREENSHOTS";

/// Browsers that may run at a time. More would only take from each other what they are timed by.
const BROWSERS_MAX: usize = 2;

static BROWSERS: Mutex<usize> = Mutex::new(0);
static BROWSER_CLOSED: Condvar = Condvar::new();

/// The right to have a browser.
struct Browser;

impl Browser {
    fn when_there_is_room() -> Self {
        let running = BROWSERS.lock().unwrap_or_else(PoisonError::into_inner);
        let room = BROWSER_CLOSED.wait_while(running, |running| *running >= BROWSERS_MAX);
        *room.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        *BROWSERS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        BROWSER_CLOSED.notify_one();
    }
}

/// A script on its way. Killed with its browser, which notices its end, when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `tests/browser/NAME.mjs`, which is told `more` besides where its tools are.
#[track_caller]
pub(crate) fn run(name: &str, more: &Value) {
    run_answering(name, more, |what, _| panic!("{name}.mjs asks for {what}"));
}

/// As `run`, where the script asks for things: `answer` gets what it asks for, and a value.
#[track_caller]
pub(crate) fn run_answering(
    name: &str,
    more: &Value,
    mut answer: impl FnMut(&str, &Value) -> Value,
) {
    let _browser = Browser::when_there_is_room();
    let mut told = json!({
        "chromium": part("chromium"),
        "modules": part("playwright-core").ancestors().nth(2).expect("a folder of modules"),
        "axe": part("axe-core"),
        "pictures": pictures(),
    });
    for (key, value) in more.as_object().expect("the parameters of a script have names") {
        told[key] = value.clone();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut command = Command::new(part("node"));
    // No proxy, and nothing else from the environment.
    command.env_clear().arg(script.join(format!("{name}.mjs"))).arg(told.to_string());
    // Where it keeps the profile of the browser, which likes to have a home.
    let home = tempfile::tempdir().unwrap();
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    // Debian's Chromium is a shell script.
    command.env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut input = running.0.stdin.take().expect("it is piped");
    let errors = BufReader::new(running.0.stderr.take().expect("it is piped")).lines();
    let errors = std::thread::spawn(move || errors.map_while(Result::ok).collect::<Vec<_>>());
    let mut said = Vec::new();
    for line in BufReader::new(running.0.stdout.take().expect("it is piped")).lines() {
        let line = line.unwrap();
        let Some(asked) = line.strip_prefix("ask ") else {
            said.push(line);
            continue;
        };
        let asked: Value = serde_json::from_str(asked).unwrap();
        let answer = answer(asked["what"].as_str().expect("a word"), &asked["value"]);
        writeln!(input, "{answer}").unwrap();
    }
    let status = running.0.wait().unwrap();
    let (said, errors) = (said.join("\n"), errors.join().unwrap().join("\n"));
    assert!(status.success(), "{name}.mjs: {status}\n{said}\n{errors}");
    print(&said);
}

/// The folder for pictures of the pages.
#[expect(clippy::disallowed_methods, reason = "this is no setting of the gateway")]
fn pictures() -> PathBuf {
    let folder = std::env::var(PICTURES_VARIABLE)
        .map_or_else(|_| Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

#[expect(clippy::print_stdout, reason = "the output is for whoever runs it with --nocapture")]
fn print(said: &str) {
    println!("{said}");
}
