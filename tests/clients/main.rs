//! The client libraries as they are, with this gateway and with the Go Pushgateway: a script goes
//! through the same steps with each, and what came of every step is the same, as is what the two
//! then show.
//!
//! A script is run as `SCRIPT URL USER PASSWORD CA CERTIFICATE`, where what is not used is empty. It
//! prints a line for each step: its name, and `ok` or what the library says. With `STEPS=ttl` in its
//! environment it goes through those that set a TTL, which only this gateway knows.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod client;
#[path = "../differential/exposition.rs"]
mod exposition;
mod golang;
mod javascript;
#[path = "../blackbox/harness/parts.rs"]
mod parts;
#[expect(dead_code, reason = "the differential tests do more with them")]
#[path = "../differential/programs.rs"]
mod programs;
#[expect(dead_code, reason = "the differential tests write it, too")]
#[path = "../differential/protobuf.rs"]
mod protobuf;
mod python;
mod rust;
#[path = "../blackbox/harness/wait.rs"]
mod wait;
mod way;
