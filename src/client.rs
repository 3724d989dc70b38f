//! HTTP to a gateway that runs somewhere. Blocks.

use std::io::{BufReader, Read};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;
use ureq::http::{Method, Request, Response, header};
use ureq::{Agent, Body};

/// A gateway.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    /// Without what comes after the route prefix, and without user and password.
    base: String,
    authorization: Option<String>,
}

/// For a gateway to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For it to begin to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a gateway did not do what it was asked.
#[derive(Debug, Error)]
#[error("{url}: {reason}")]
pub struct ClientError {
    pub url: String,
    pub reason: String,
}

impl Client {
    /// The gateway at a URL, which may have user and password in it: `https://user:password@host`.
    pub fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let authority = rest.split('/').next().unwrap_or(rest);
        let (authorization, rest) = match authority.rsplit_once('@') {
            Some((user, _)) => {
                let decoded = percent_encoding::percent_decode_str(user).decode_utf8_lossy();
                let value = format!("Basic {}", STANDARD.encode(&*decoded));
                (Some(value), rest.get(user.len() + 1..).unwrap_or(rest))
            }
            None => (None, rest),
        };
        let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
        Self { agent: config.into(), base, authorization }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The URL without what is asked, for people.
    fn place(&self, path: &str) -> String {
        self.url(path.split('?').next().unwrap_or(path))
    }

    /// The body of a successful GET.
    pub fn get(&self, path: &str, accept: &str) -> Result<impl Read + use<>, ClientError> {
        let response = self.request(Method::GET, path, (header::ACCEPT, accept), &[])?;
        Ok(response.into_body().into_reader())
    }

    /// A successful PUT.
    pub fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Result<(), ClientError> {
        self.request(Method::PUT, path, (header::CONTENT_TYPE, content_type), body).map(drop)
    }

    /// The answer of `/api/v2`: its `data`, or its error.
    pub fn api(&self, method: Method, path: &str, body: &[u8]) -> Result<Value, ClientError> {
        let response = self.request(method, path, (header::ACCEPT, "application/json"), body)?;
        let failed = |reason| ClientError { url: self.place(path), reason };
        let answer = BufReader::new(response.into_body().into_reader());
        match serde_json::from_reader(answer).map_err(|error| failed(error.to_string()))? {
            Value::Object(mut answer) if answer.get("status") == Some(&"success".into()) => {
                Ok(answer.remove("data").unwrap_or_default())
            }
            _ => Err(failed("it did not answer as Tidegate does".into())),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        (name, value): (header::HeaderName, &str),
        body: &[u8],
    ) -> Result<Response<Body>, ClientError> {
        let failed = |reason| ClientError { url: self.place(path), reason };
        let mut request = Request::builder().method(method).uri(self.url(path)).header(name, value);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let sent = if body.is_empty() {
            request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
        } else {
            request
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        };
        let mut response = sent.map_err(|error| failed(error.to_string()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        // The API says in a member of an object what is wrong.
        let error = serde_json::from_str::<Value>(&text).ok();
        let error = error.as_ref().and_then(|error| error.get("error")).and_then(Value::as_str);
        let error = error.unwrap_or(text.trim());
        Err(failed(format!("it answered {}: {error}", response.status())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_taken_out_of_the_url() {
        let client = Client::new("https://me:pass%40word@host:9091/prefix/");
        assert_eq!(client.url("/metrics"), "https://host:9091/prefix/metrics");
        let expected = format!("Basic {}", STANDARD.encode("me:pass@word"));
        assert_eq!(client.authorization, Some(expected));
        let open = Client::new("http://host/a@b");
        assert_eq!((open.url(""), open.authorization), ("http://host/a@b".to_owned(), None));
    }
}
