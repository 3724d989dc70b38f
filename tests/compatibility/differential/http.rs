//! Requests and answers byte by byte: a client library would clean the paths up first.

use std::fmt::{self, Display, Formatter};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use support::PATIENCE;

/// A request, sent on a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// None if the connection was closed without an answer.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn put(target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", target).body(body)
    }

    pub(crate) fn post(target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn with_method(&self, method: &str) -> Self {
        Self { method: method.to_owned(), ..self.clone() }
    }

    pub(crate) fn with_target(&self, target: String) -> Self {
        Self { target, ..self.clone() }
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.value(header).is_some()
    }

    pub(crate) fn value(&self, header: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name == header);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn without(&self, header: &str) -> Self {
        let mut request = self.clone();
        request.headers.retain(|(name, _)| name != header);
        request
    }

    pub(crate) fn is_push(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "POST")
    }

    /// The body without its content encoding. None if it is in none that the reference knows, or is
    /// damaged.
    pub(crate) fn decoded(&self) -> Option<Vec<u8>> {
        let mut decoded = Vec::new();
        let body = self.body.as_slice();
        let read = match self.value("Content-Encoding").map(str::to_ascii_lowercase).as_deref() {
            None => return Some(self.body.clone()),
            Some("gzip") => flate2::read::MultiGzDecoder::new(body).read_to_end(&mut decoded),
            Some("snappy") => snap::read::FrameDecoder::new(body).read_to_end(&mut decoded),
            Some(_) => return None,
        };
        read.is_ok().then_some(decoded)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut headers = self.headers.clone();
        if !self.has("Host") {
            headers.push(("Host".to_owned(), "gateway.test".to_owned()));
        }
        headers.push(("Connection".to_owned(), "close".to_owned()));
        let carries = matches!(self.method.as_str(), "PUT" | "POST" | "PATCH");
        if (carries || !self.body.is_empty()) && !self.has("Transfer-Encoding") {
            headers.push(("Content-Length".to_owned(), self.body.len().to_string()));
        }
        for (name, value) in headers {
            head += &[&name, ": ", &value, "\r\n"].concat();
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it, and takes the whole answer.
    pub(crate) fn send(&self, address: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(address).expect("the program listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server may close before it has read everything; what it answered is still there.
        let _ = stream.write_all(&self.bytes());
        let mut received = Vec::new();
        if let Err(error) = stream.read_to_end(&mut received) {
            let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!late, "{self}: no answer within {PATIENCE:?}");
        }
        Answer::parse(&received, self.method == "HEAD")
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {value}'")?;
        }
        if !self.body.is_empty() {
            write!(f, " <{}>", self.body.escape_ascii())?;
        }
        Ok(())
    }
}

impl Answer {
    fn parse(mut bytes: &[u8], is_head: bool) -> Self {
        loop {
            let Some(end) = bytes.windows(4).position(|found| found == b"\r\n\r\n") else {
                return Self::default();
            };
            let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
            let mut lines = head.split("\r\n");
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            if status == 100 {
                bytes = body;
                continue;
            }
            let headers: Vec<_> = lines
                .map(|line| line.split_once(':').expect("a header has a colon"))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let mut answer = Self { status: Some(status), headers, body: body.to_vec() };
            if answer.header("transfer-encoding") == Some("chunked") && !is_head {
                answer.body = dechunked(body);
            }
            return answer;
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Replaces a header.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value));
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body without its content encoding.
    pub(crate) fn decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::new();
        match self.header("content-encoding") {
            None => return self.body.clone(),
            Some("gzip") => {
                let mut decoder = flate2::read::MultiGzDecoder::new(self.body.as_slice());
                decoder.read_to_end(&mut decoded).expect("it is gzip");
            }
            Some("zstd") => decoded = zstd::decode_all(self.body.as_slice()).expect("it is zstd"),
            Some(other) => panic!("{other:?} was not offered"),
        }
        decoded
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        // An answer that ends early, as one whose handler has failed, is what it is.
        let Some(end) = bytes.windows(2).position(|found| found == b"\r\n") else { return body };
        let size = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16).unwrap();
        let Some(chunk) = bytes.get(end + 2..end + 2 + size).filter(|_| size > 0) else {
            return body;
        };
        body.extend(chunk);
        bytes = &bytes[end + 2 + size + 2..];
    }
}
