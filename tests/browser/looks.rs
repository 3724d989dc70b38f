//! How the pages look.

use serde_json::{Value, json};

use crate::demo;
use crate::harness::Gateway;
use crate::script::run;

/// Where a gateway is.
fn at(gateway: &Gateway) -> Value {
    json!({ "url": format!("http://{}", gateway.address()) })
}

#[test]
fn each_page_is_right_in_every_size_and_colour() {
    let gateway = demo::gateway(demo::ADMIN);
    run("looks", &at(&gateway));
    gateway.stop();
}
