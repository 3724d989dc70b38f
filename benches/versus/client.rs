//! A small HTTP client on one kept connection, for what wrk cannot do: loading, pacing, first byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Result;
use crate::body::body;

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// How an answer came.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) first_byte: Duration,
    pub(crate) total: Duration,
    pub(crate) bytes: usize,
    /// Of the body, if it was asked for.
    pub(crate) body: Vec<u8>,
}

/// The path of a group.
pub(crate) fn path(group: usize) -> String {
    format!("/metrics/job/backup/instance/host-{group}")
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(256 * 1024, stream) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
        keep: bool,
    ) -> Result<Answer> {
        let (began, body) = (Instant::now(), body.as_ref());
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let first_byte = began.elapsed();
        let status = line.get(9..12).ok_or("no status line")?.parse()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        let mut sink = Sink { keep, bytes: 0, body: Vec::new() };
        if chunked {
            loop {
                line.clear();
                self.stream.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim_end(), 16)?;
                sink.take(&mut self.stream, size)?;
                line.clear();
                self.stream.read_line(&mut line)?;
                if size == 0 {
                    break;
                }
            }
        } else {
            sink.take(&mut self.stream, length)?;
        }
        let Sink { bytes, body, .. } = sink;
        Ok(Answer { status, first_byte, total: began.elapsed(), bytes, body })
    }

    /// Pushes a group of ten families.
    pub(crate) fn push(&mut self, group: usize, round: usize, headers: &str) -> Result<Answer> {
        let answer = self.request("PUT", &path(group), headers, body(group, round), false)?;
        if answer.status / 100 == 2 {
            Ok(answer)
        } else {
            Err(format!("push: {}", answer.status).into())
        }
    }

    /// Scrapes.
    pub(crate) fn scrape(&mut self, gzip: bool, keep: bool) -> Result<Answer> {
        let headers = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
        let answer = self.request("GET", "/metrics", headers, "", keep)?;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(format!("scrape: {}", answer.status).into())
        }
    }
}

struct Sink {
    keep: bool,
    bytes: usize,
    body: Vec<u8>,
}

impl Sink {
    fn take(&mut self, stream: &mut BufReader<TcpStream>, mut size: usize) -> Result<()> {
        self.bytes += size;
        let mut buffer = vec![0; size.min(256 * 1024)];
        while size > 0 {
            let part = buffer.get_mut(..size.min(256 * 1024)).ok_or("a full buffer")?;
            let read = stream.read(part)?;
            if read == 0 {
                return Err("the answer broke off".into());
            }
            if self.keep {
                self.body.extend_from_slice(part.get(..read).unwrap_or_default());
            }
            size -= read;
        }
        Ok(())
    }
}

/// Pushes the groups of a range once each, over some connections at a time.
pub(crate) fn load(port: u16, groups: std::ops::Range<usize>, headers: &str) -> Result<()> {
    const CONNECTIONS: usize = 32;
    let step = groups.len().div_ceil(CONNECTIONS).max(1);
    std::thread::scope(|scope| {
        let starts = groups.clone().step_by(step);
        let workers: Vec<_> = starts
            .map(|start| {
                let end = (start + step).min(groups.end);
                scope.spawn(move || -> std::result::Result<(), String> {
                    let run = || -> Result<()> {
                        let mut client = Client::connect(port)?;
                        (start..end).try_for_each(|group| client.push(group, 0, headers).map(drop))
                    };
                    run().map_err(|error| error.to_string())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a loader panicked")??;
        }
        Ok(())
    })
}
