//! Tidegate: a push gateway for Prometheus that keeps what was pushed across restarts and forgets a
//! group once its TTL has passed.
//!
//! # The path of data
//!
//! A push: [`http`] finds the grouping key in the path and reads the body within bounds;
//! [`exposition`] parses it into [`model`] families; [`gateway`] renders and encodes them in
//! parallel, then its one write lane judges the push against its index, commits it with what else
//! has queued up as one batch to the [`store`], syncs, publishes the change, and answers.
//!
//! A scrape: [`gateway`] takes a snapshot of the rendered lines, which are reference-counted
//! segments; [`http`] streams them, gzipped from what earlier scrapes have compressed. Nothing is
//! rendered, sorted or compressed that has not changed.
//!
//! An expiry: every scrape passes over groups whose deadline has come; the reaper in [`tasks`] sleeps
//! until the next deadline and has the lane remove them.
//!
//! # Layers
//!
//! A module names only modules below it (`tests/tidy.rs`):
//!
//! ```text
//!  7  main                            the allocator
//!     cli                             one file a command: arguments, what it prints, exit code
//!     fuzzing                         what must hold for any bytes; not in the program
//!  6  app, shutdown                   builds every part, owns every task, stops them in order
//!     transfer, reload                to and from other gateways | reads the settings again
//!  5  config                          flags, environment and file -> one validated Config
//!     webhook                         notifies an endpoint of expired and deleted groups
//!  4  http, tasks                     hyper in and out | background loops
//!     maintenance                     verifies and repairs a store
//!  3  gateway                         the use cases: push, delete, scrape, reap, restore
//!  2  exposition, store, telemetry    wire formats | sled | self metrics and logs
//!     client                          HTTP to other gateways
//!  1  model                           labels, keys, families, TTLs: values, no I/O, no async
//!  0  time                            the clocks
//! ```
//!
//! Each outside thing has one owner: sled `store` and `migrations`, hyper `http`, the host's clocks
//! `time`, the environment `config`.

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod exposition;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod http;
pub mod maintenance;
pub mod model;
pub mod reload;
pub mod shutdown;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod time;
pub mod transfer;
pub mod webhook;
