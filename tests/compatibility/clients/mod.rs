//! The client libraries as they are, with this gateway and with the Go Pushgateway: a script goes
//! through the same steps with each, and what came of every step is the same, as is what the two
//! then show.
//!
//! A script is run as `SCRIPT URL USER PASSWORD CA CERTIFICATE`, where what is not used is empty. It
//! prints a line for each step: its name, and `ok` or what the library says. With `STEPS=ttl` in its
//! environment it goes through those that set a TTL, which only this gateway knows.

mod client;
mod golang;
mod javascript;
mod python;
mod rust;
mod way;
