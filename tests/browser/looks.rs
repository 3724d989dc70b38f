//! How the pages look, and what they say.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo;
use crate::script::{run, run_answering};
use support::Gateway;

/// Where a gateway is.
pub(crate) fn at(gateway: &Gateway) -> Value {
    json!({ "url": format!("http://{}", gateway.address()) })
}

/// Runs a script beside the demo, in which it may let seconds pass.
#[track_caller]
pub(crate) fn with_demo(script: &str) {
    let gateway = demo::gateway(demo::ADMIN);
    run_answering(script, &at(&gateway), |what, value| {
        assert_eq!(what, "advance");
        gateway.advance(Duration::from_secs(value.as_u64().expect("seconds")));
        Value::Null
    });
    gateway.stop();
}

#[test]
fn each_page_is_right_in_every_size_and_colour() {
    with_demo("looks");
}

#[test]
fn each_page_reads_well_without_javascript() {
    with_demo("reading");
}

#[test]
fn groups_are_found_and_sorted_and_stay_up_to_date() {
    with_demo("groups");
}

#[test]
fn pictures_of_each_page() {
    let gateway = demo::gateway(demo::ADMIN);
    run("pictures", &at(&gateway));
    gateway.stop();
}
