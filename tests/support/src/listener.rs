//! Follows `/api/v2/events`, line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::client::Client;
use super::wait::PATIENCE;

/// A listener to events.
#[derive(Debug)]
pub struct Listener(BufReader<TcpStream>);

impl Listener {
    #[track_caller]
    pub fn new(gateway: &Client, query: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!("GET /api/v2/events{query} HTTP/1.1\r\nHost: x\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut listener = Self(BufReader::new(stream));
        listener.until(": tidegate");
        listener
    }

    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Number, name and data of the next event.
    #[track_caller]
    pub fn event(&mut self) -> (String, String, Value) {
        let id = self.until("id:");
        let name = self.until("event:");
        (id, name, serde_json::from_str(&self.until("data:")).unwrap())
    }
}
