//! Uses of the pages, and changes while they are open.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::looks::{at, with_demo};
use crate::script::{run, run_answering};
use support::{Gateway, Tidegate};

/// Set to a number, the pages stay open for so many seconds while things happen. Ten minutes is the
/// long mode.
const SECONDS_VARIABLE: &str = "TIDEGATE_BROWSER_SECONDS";

#[test]
fn groups_are_deleted_renewed_overridden_and_brought_back() {
    with_demo("actions");
}

#[test]
fn a_keyboard_is_enough() {
    with_demo("keyboard");
}

#[test]
fn events_are_shown_as_they_happen() {
    with_demo("live");
}

#[test]
fn deadlines_and_the_effect_of_other_rules_are_shown() {
    with_demo("expiry");
}

#[test]
fn whatever_was_pushed_is_shown_as_it_is() {
    let gateway = Gateway::start("[push]\nenable-utf8-names = true\n");
    run("strange", &at(&gateway));
    gateway.stop();
}

#[test]
fn an_open_page_takes_no_more_and_more_memory() {
    let gateway = Gateway::start("");
    let mut told = at(&gateway);
    told["seconds"] = seconds().into();
    run("memory", &told);
    gateway.stop();
}

#[expect(clippy::disallowed_methods, reason = "this is no setting of the gateway")]
fn seconds() -> u64 {
    let Ok(text) = std::env::var(SECONDS_VARIABLE) else { return 0 };
    text.parse().unwrap_or_else(|_| panic!("{SECONDS_VARIABLE} is a number"))
}

#[test]
fn pages_notice_that_the_gateway_is_gone_and_back() {
    let folder = TempDir::new().unwrap();
    let serve = |address: SocketAddr| {
        let mut command = Tidegate::command(&[&format!("--web.listen-address={address}")]);
        command.arg(format!("--storage.path={}", folder.path().display()));
        Tidegate::spawn(&mut command)
    };
    let first = Tidegate::serve(folder.path(), &[]);
    // Each is where the first one was.
    let address = first.address();
    let mut running = Some(first);
    run_answering("restart", &json!({ "url": format!("http://{address}") }), |what, _| {
        match what {
            "killed" => drop(running.take()),
            "stopped" => running.take().expect("it runs").stop(),
            "start" => running = Some(serve(address)),
            _ => panic!("the script asks for {what}"),
        }
        Value::Null
    });
}
