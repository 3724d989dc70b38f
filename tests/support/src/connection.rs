//! One connection, byte by byte: for requests that stop halfway.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wait::PATIENCE;

#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Begins a push, and returns once the gateway has asked for its body: the push is under way.
    pub fn begin_push(address: SocketAddr, path: &str, length: usize) -> Self {
        let mut connection = Self::open(address);
        connection.write(&format!(
            "PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        ));
        assert_eq!(connection.head()[0], "HTTP/1.1 100 Continue");
        connection
    }

    /// The lines of the head that comes next; none if the connection is closed instead.
    pub fn head(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if read == 0 || line.is_empty() {
                return lines;
            }
            lines.push(line.to_owned());
        }
    }

    /// The status of the answer that comes next, whose body is read too.
    pub fn status(&mut self) -> u16 {
        self.answer().0
    }

    /// The answer that comes next: status and body.
    pub fn answer(&mut self) -> (u16, Vec<u8>) {
        let head = self.head();
        let status = head.first().expect("the connection was closed");
        let length = head.iter().find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("content-length:").map(|length| length.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).unwrap();
        (status.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Whether nothing arrives for a while.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        let silent = self.stream.fill_buf().is_err();
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}

/// Pushes a body in chunks, all of it sent at once; returns the status.
#[track_caller]
pub fn push_in_chunks(address: SocketAddr, path: &str, chunks: &[&str]) -> u16 {
    let chunks: Vec<_> =
        chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    let mut connection = Connection::open(address);
    connection.write(&format!(
        "PUT {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunks.concat()
    ));
    connection.status()
}
