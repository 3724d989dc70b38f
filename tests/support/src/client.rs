//! A client as simple as curl: no redirects, no decompression, and every status is an answer.

use std::net::SocketAddr;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use super::exposition::Exposition;
use super::gunzip;
use super::wait::PATIENCE;

/// Talks to one gateway, over connections that it keeps.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    agent: Agent,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// For messages.
    request: String,
}

// === impl Client ===

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .timeout_global(Some(PATIENCE))
            .build();
        Self { address, agent: config.into() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("PUT", path, &[], body.as_ref())
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, &[], body.as_ref())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Sends any request and takes the whole answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As `send`, where the gateway may be gone.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match method {
            "PUT" | "POST" | "PATCH" => self.agent.run(request.body(body)?)?,
            _ => self.agent.run(request.body(())?)?,
        };
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
            request: format!("{method} {path}"),
        })
    }

    /// The exposition.
    #[track_caller]
    pub fn scrape(&self) -> Exposition {
        Exposition::of(self.get("/metrics").expect(200).text())
    }

    /// The exposition of a compressed scrape.
    #[track_caller]
    pub fn scrape_gzip(&self) -> Exposition {
        let answer = self.send("GET", "/metrics", &[("Accept-Encoding", "gzip")], b"").expect(200);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        Exposition::of(String::from_utf8(gunzip(&answer.body)).unwrap())
    }
}

// === impl Answer ===

impl Answer {
    /// This answer, which has to have `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text());
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON that it is.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}", self.text()))
    }

    /// The data in an answer of the API.
    #[track_caller]
    pub fn data(&self) -> Value {
        let value = self.json();
        assert_eq!(value["status"], "success", "{value}");
        value["data"].clone()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// This answer, which has to say `what`.
    #[track_caller]
    pub fn says(self, what: &str) -> Self {
        let text = self.text();
        assert!(text.contains(what), "{}: {what:?} is not in {text:?}", self.request);
        self
    }
}
