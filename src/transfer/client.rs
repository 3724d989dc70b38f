//! HTTP to another gateway. Blocks.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::TransferError;

/// Another gateway.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Without what comes after the route prefix, and without user and password.
    base: String,
    authorization: Option<String>,
}

impl Client {
    /// The gateway at a URL, which may have user and password in it: `https://user:password@host`.
    pub(super) fn new(url: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).build();
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
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The body of a successful GET.
    pub(super) fn get(&self, path: &str, accept: &str) -> Result<impl Read + use<>, TransferError> {
        let mut request = self.agent.get(self.url(path)).header(header::ACCEPT, accept);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = self.checked(path, request.call())?;
        Ok(response.into_body().into_reader())
    }

    /// A successful PUT.
    pub(super) fn put(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(), TransferError> {
        let mut request = self.agent.put(self.url(path)).header(header::CONTENT_TYPE, content_type);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        self.checked(path, request.send(body)).map(drop)
    }

    fn checked(
        &self,
        path: &str,
        result: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, TransferError> {
        let failed = |reason| TransferError::Remote { url: self.url(path), reason };
        let mut response = result.map_err(|error| failed(error.to_string()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        Err(failed(format!("it answered {}: {}", response.status(), text.trim())))
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
