//! This gateway and the Go Pushgateway side by side: the same requests go to both, and whatever
//! they answer, show and list has to be the same.
//!
//! The exceptions are the differences that we want. Each has its entry in `explained`, and a test
//! that meets one says which. A difference that is not explained fails the test, and so does an
//! explained one that is no longer there. Where this suite and a document disagree about the
//! reference, the suite is right: it asks the program.

mod answers;
mod api;
mod checks;
mod command_line;
mod encodings;
mod explained;
mod generate;
mod grouping;
mod http;
mod json;
mod kinds;
mod labels;
mod later;
mod lifecycle;
mod moving;
mod negotiation;
mod pair;
mod paths;
mod poison;
mod prefixes;
mod protobuf_bodies;
mod pushes;
mod scrapers;
mod sequences;
mod text_bodies;
mod text_errors;
mod tls;
mod unchecked;
mod utf8;
mod web_config;
