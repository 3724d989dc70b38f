//! The heads of HTTP/1 requests, before the HTTP library reads them: what it would refuse without a
//! word, or take for something else, is put right here or answered in words.
//!
//! Promises
//! - A head that the library takes as it is reaches it as it is, where it was read to.
//! - Of what is refused the library reads a request in its place ([`IN_PLACE`]), so that the answer has
//!   its turn behind those before it, and nothing of what follows.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use httparse::{EMPTY_HEADER, Error, Header, Status};
use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bounds::HEAD_BYTES_MAX;
use super::rejection::Rejection;
/// Lines that the library takes.
const LINES_MAX: usize = 100;
/// A line has no fewer bytes: `a:`, and the end.
const LINE_BYTES_MIN: usize = 4;
/// The longest target that the library takes.
const TARGET_BYTES_MAX: usize = 65_534;
/// So much of what a client sends behind a head that is refused is read before it is answered, if it
/// is there already: else the connection would be closed with something unread, and the answer lost.
const BEHIND_MAX: usize = 1 << 20;
const READ_BYTES: usize = 8 * 1024;

/// The head that the library reads in place of one that is refused.
const IN_PLACE: &[u8] = b"GET / HTTP/1.1\r\nHost: in.place\r\nConnection: close\r\n\r\n";

/// Lines that somebody reads, kept before others where there are too many. The first five say how far
/// the request goes.
const READ: [&str; 26] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
    "host",
    "accept",
    "accept-encoding",
    "access-control-request-method",
    "authorization",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "if-modified-since",
    "if-none-match",
    "last-event-id",
    "origin",
    "sec-fetch-site",
    "tidegate-aggregate",
    "tidegate-expect",
    "tidegate-mode",
    "tidegate-run",
    "tidegate-ttl",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
const FRAMING: usize = 5;

/// A connection whose heads are looked at.
#[derive(Debug)]
pub(super) struct Heads<S> {
    stream: S,
    at: At,
    /// Read, and not looked at: it begins with a head.
    pending: BytesMut,
    /// So much of it has no end of a head in it.
    looked: usize,
    /// To be handed on.
    out: BytesMut,
    count: u64,
    refused: Refused,
}

/// The head of a connection that was refused, if one was.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    shared: Arc<(AtomicU64, Mutex<Option<Rejection>>)>,
    requests: Arc<AtomicU64>,
}

/// Where in the stream of requests a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    /// In a body, or a chunk with the end of its line, of which so much is left.
    Length(u64),
    Chunk(u64),
    /// In the line with the size of a chunk: its value, and whether digits may follow.
    Size(u64, bool),
    /// In the lines behind the chunks; whether this one is empty so far.
    Trailer(bool),
    /// Where nothing more is looked at.
    Raw,
    /// Behind a head that was refused.
    Behind,
}

/// The verdict on a head.
enum Judged {
    Partial,
    /// Of so many bytes; what follows; and what it is to be, if it cannot stay as it is.
    Good(usize, At, Option<Vec<u8>>),
    Bad(Rejection),
}

impl Refused {
    fn new() -> Self {
        let shared = Arc::new((AtomicU64::new(u64::MAX), Mutex::default()));
        Self { shared, requests: Arc::default() }
    }

    fn refuse(&self, number: u64, rejection: Rejection) {
        *self.shared.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejection);
        self.shared.0.store(number, Ordering::Release);
    }

    /// The next request has come: why it is refused, if it is. Asked once for each.
    pub(super) fn next(&self) -> Option<Rejection> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if self.shared.0.load(Ordering::Acquire) != number {
            return None;
        }
        self.shared.1.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Heads<S> {
    /// Looks at the heads of a stream, and says which it has refused.
    pub(super) fn new(stream: S) -> (Self, Refused) {
        let refused = Refused::new();
        let (pending, out) = (BytesMut::new(), BytesMut::new());
        let heads = Self {
            stream,
            at: At::Head,
            pending,
            looked: 0,
            out,
            count: 0,
            refused: refused.clone(),
        };
        (heads, refused)
    }

    /// How many of these bytes can be handed on as they are: up to a head that cannot, or that is not
    /// whole.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..)
            && !rest.is_empty()
        {
            if self.at == At::Head {
                match judge(rest) {
                    Judged::Good(length, next, None) => {
                        self.count += 1;
                        self.at = next;
                        passed += length;
                    }
                    _ => break,
                }
            } else {
                let (at, taken) = self.at.after(rest);
                self.at = at;
                passed += taken;
            }
        }
        passed
    }

    /// Takes what can be taken of what is pending. Returns whether that is all.
    fn work(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let passed = self.pass(&pending);
        self.out.extend_from_slice(pending.get(..passed).unwrap_or_default());
        self.pending = pending;
        self.pending.advance(passed);
        self.looked = self.looked.saturating_sub(passed);
        if self.pending.is_empty() {
            self.looked = 0;
            return true;
        }
        // A head begins here.
        let new = self.pending.get(self.looked.saturating_sub(3)..).unwrap_or_default();
        let is_whole = ends_a_head(new) || self.looked == 0;
        self.looked = self.pending.len();
        let judged = if is_whole { judge(&self.pending) } else { Judged::Partial };
        match judged {
            Judged::Partial if self.pending.len() > HEAD_BYTES_MAX => {
                self.refuse(Rejection::HeadTooLarge);
                true
            }
            Judged::Partial => true,
            Judged::Good(length, next, head) => {
                self.count += 1;
                self.at = next;
                let as_it_is = self.pending.split_to(length.min(self.pending.len()));
                self.out.extend_from_slice(head.as_deref().unwrap_or(&as_it_is));
                self.looked = 0;
                false
            }
            Judged::Bad(rejection) => {
                self.refuse(rejection);
                true
            }
        }
    }

    fn refuse(&mut self, rejection: Rejection) {
        self.refused.refuse(self.count, rejection);
        self.pending.clear();
        self.looked = 0;
        self.at = At::Behind;
    }
}

impl<S: AsyncRead + Unpin> Heads<S> {
    /// Reads what a client has sent behind a head that is refused, as far as it is there.
    fn read_behind(&mut self, context: &mut Context<'_>) {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        for _ in 0..BEHIND_MAX / READ_BYTES {
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        self.out.extend_from_slice(IN_PLACE);
        self.at = At::Raw;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.out.is_empty() {
                let count = this.out.len().min(buffer.remaining());
                buffer.put_slice(&this.out.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if this.at == At::Behind {
                this.read_behind(context);
                continue;
            }
            if this.looked < this.pending.len() {
                while !this.pending.is_empty() && !this.work() {}
                continue;
            }
            if this.at == At::Raw && this.pending.is_empty() {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            if this.pending.is_empty() {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
                let fresh = buffer.filled().get(before..).unwrap_or_default();
                let passed = this.pass(fresh);
                this.pending.extend_from_slice(fresh.get(passed..).unwrap_or_default());
                let at_end = fresh.is_empty();
                buffer.set_filled(before + passed);
                if passed > 0 || at_end {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut space = [MaybeUninit::uninit(); READ_BYTES];
                let mut more = ReadBuf::uninit(&mut space);
                ready!(Pin::new(&mut this.stream).poll_read(context, &mut more))?;
                if more.filled().is_empty() {
                    // It breaks off; what that means the library says.
                    this.at = At::Raw;
                    this.looked = 0;
                    this.out = std::mem::take(&mut this.pending);
                    if this.out.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                this.pending.extend_from_slice(more.filled());
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl At {
    /// Where one is once some of these bytes were passed, of which there is at least one; and how many
    /// those are. Not from a head.
    fn after(self, bytes: &[u8]) -> (Self, usize) {
        let whole = bytes.len() as u64;
        let in_memory = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        match self {
            Self::Length(left) if left > whole => (Self::Length(left - whole), bytes.len()),
            Self::Length(left) => (Self::Head, in_memory(left)),
            Self::Chunk(left) if left > whole => (Self::Chunk(left - whole), bytes.len()),
            Self::Chunk(left) => (Self::Size(0, true), in_memory(left)),
            Self::Size(size, digits) => {
                let byte = bytes.first().copied().unwrap_or(b'\n');
                let digit = char::from(byte).to_digit(16).filter(|_| digits);
                let next = match (byte, digit) {
                    (_, Some(digit)) => match size.checked_mul(16) {
                        Some(size) => Self::Size(size | u64::from(digit), true),
                        None => Self::Raw,
                    },
                    (b'\n', _) if size == 0 => Self::Trailer(true),
                    (b'\n', _) => Self::Chunk(size.saturating_add(2)),
                    _ => Self::Size(size, false),
                };
                (next, 1)
            }
            Self::Trailer(empty) => match bytes.first() {
                Some(b'\n') if empty => (Self::Head, 1),
                Some(b'\n') => (Self::Trailer(true), 1),
                Some(b'\r') => (Self::Trailer(empty), 1),
                _ => (Self::Trailer(false), 1),
            },
            Self::Head | Self::Raw | Self::Behind => (self, bytes.len()),
        }
    }
}

/// Whether there is an end of a head in this: an empty line.
fn ends_a_head(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

fn judge(bytes: &[u8]) -> Judged {
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut lines) {
        Ok(Status::Partial) => Judged::Partial,
        Ok(Status::Complete(length)) => {
            let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
            let version = request.version.unwrap_or(1);
            settle(length, method, target.as_bytes(), version, request.headers, false)
        }
        Err(Error::TooManyHeaders) => judge_many(bytes),
        Err(Error::Token) if memchr::memchr(b'\n', bytes.trim_ascii_start()).is_none() => {
            Judged::Partial
        }
        // Of a target it may be that it is no UTF-8.
        Err(Error::Token) => match escaped_target(bytes) {
            Some(escaped) => match judge(&escaped) {
                Judged::Good(length, next, head) => {
                    let head = head.or_else(|| escaped.get(..length).map(<[u8]>::to_vec));
                    Judged::Good(length - (escaped.len() - bytes.len()), next, head)
                }
                other => other,
            },
            None => Judged::Bad(Rejection::Head("malformed request line")),
        },
        Err(Error::Version) => Judged::Bad(Rejection::Version),
        Err(_) => Judged::Bad(Rejection::Head("malformed header line")),
    }
}

/// A head with more lines than the library takes. Those that nobody reads are left out.
fn judge_many(bytes: &[u8]) -> Judged {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut lines = vec![EMPTY_HEADER; HEAD_BYTES_MAX / LINE_BYTES_MIN];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(bytes) {
        Ok(Status::Partial) => Judged::Partial,
        Ok(Status::Complete(length)) => {
            let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
            let version = request.version.unwrap_or(1);
            let rank = |line: &Header<'_>| {
                let read = READ.iter().position(|name| line.name.eq_ignore_ascii_case(name));
                read.map_or(2, |at| usize::from(at >= FRAMING))
            };
            let mut kept = request.headers.to_vec();
            kept.sort_by_key(rank);
            if kept.get(LINES_MAX).is_some_and(|line| rank(line) == 0) {
                return Judged::Bad(Rejection::HeadTooLarge);
            }
            kept.truncate(LINES_MAX);
            settle(length, method, target.as_bytes(), version, &kept, true)
        }
        Err(_) => Judged::Bad(Rejection::Head("malformed header line")),
    }
}

/// The verdict on a head with these parts. `anew`: it has to be written anew.
fn settle(
    length: usize,
    method: &str,
    target: &[u8],
    version: u8,
    lines: &[Header<'_>],
    anew: bool,
) -> Judged {
    let next = match framing(version, lines) {
        Ok(next) => next,
        Err(rejection) => return Judged::Bad(rejection),
    };
    // Behind it there may be anything.
    let next = if method == "CONNECT" { At::Raw } else { next };
    let escaped = target.iter().any(|byte| is_escaped(*byte)).then(|| escape(target));
    let anew = anew || escaped.is_some();
    let target = escaped.as_deref().unwrap_or(target);
    if target.len() > TARGET_BYTES_MAX {
        return Judged::Bad(Rejection::TargetTooLong);
    }
    let has_scheme = || memchr::memmem::find(target, b"://").is_some();
    let elsewhere = target == b"*" || method == "CONNECT" || has_scheme();
    let is_target = target.starts_with(b"/") || elsewhere && Uri::try_from(target).is_ok();
    if !is_target {
        return Judged::Bad(Rejection::BadTarget { text: "400 Bad Request" });
    }
    if length > HEAD_BYTES_MAX {
        return Judged::Bad(Rejection::HeadTooLarge);
    }
    if !anew {
        return Judged::Good(length, next, None);
    }
    let version: &[u8] = if version == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    let mut head = [method.as_bytes(), b" ", target, version].concat();
    for line in lines {
        head.extend([line.name.as_bytes(), b": ", line.value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    if head.len() > HEAD_BYTES_MAX {
        return Judged::Bad(Rejection::HeadTooLarge);
    }
    Judged::Good(length, next, Some(head))
}

/// The body behind a head with these lines. As the library has it: it is to find the next head where
/// this does.
fn framing(version: u8, lines: &[Header<'_>]) -> Result<At, Rejection> {
    let mut values = [None; 2];
    for line in lines {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let digits = !line.value.is_empty() && line.value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(line.value).ok().filter(|_| digits);
            let length = length.and_then(|digits| digits.parse::<u64>().ok());
            // The largest numbers mean something else to the library.
            let length = length.filter(|length| *length < u64::MAX - 2);
            let wrong = || Rejection::Head("bad Content-Length");
            let length = length.ok_or_else(wrong)?;
            if values[0].replace(length).is_some_and(|other| other != length) {
                return Err(wrong());
            }
        } else if is("transfer-encoding")
            && (values[1].replace(0).is_some() || !line.value.eq_ignore_ascii_case(b"chunked"))
        {
            return Err(Rejection::TransferEncoding);
        }
    }
    match values {
        [_, Some(_)] if version == 0 => Err(Rejection::Head("HTTP/1.0 has no Transfer-Encoding")),
        [_, Some(_)] => Ok(At::Size(0, true)),
        [None | Some(0), None] => Ok(At::Head),
        [Some(length), None] => Ok(At::Length(length)),
    }
}

/// Bytes that the library takes for something else than a part of the path or query, or for nothing at
/// all.
fn is_escaped(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'`' | b'#')
}

/// A target with such bytes percent-encoded.
fn escape(target: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if is_escaped(*byte) {
            escaped.extend(format!("%{byte:02X}").into_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    escaped
}

/// Bytes that begin with a request line whose target is no UTF-8, with that percent-encoded; `None` if
/// it is any other.
fn escaped_target(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.get(..memchr::memchr(b'\n', bytes)?)?;
    let start = memchr::memchr(b' ', line)? + 1;
    let end = memchr::memrchr(b' ', line).filter(|end| *end > start)?;
    let target = line.get(start..end)?;
    if std::str::from_utf8(target).is_ok() {
        return None;
    }
    let mut escaped = bytes.get(..start)?.to_vec();
    for byte in target {
        if byte.is_ascii() {
            escaped.push(*byte);
        } else {
            escaped.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    escaped.extend(bytes.get(end..)?);
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Hands out its pieces one by one.
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let pieces = &mut self.get_mut().0;
            if let Some(piece) = pieces.first_mut() {
                let count = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece[..count]);
                piece.drain(..count);
                if piece.is_empty() {
                    pieces.remove(0);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// The bytes that the library reads of this, and which request is refused, and why.
    fn read(bytes: &[u8], piece: usize) -> (String, Option<(u64, String)>) {
        let pieces = bytes.chunks(piece.max(1)).map(<[u8]>::to_vec).collect();
        let (mut heads, refused) = Heads::new(Pieces(pieces));
        let mut out = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(heads.read_to_end(&mut out)).unwrap();
        let number = refused.shared.0.load(Ordering::Acquire);
        let reason = refused.shared.1.lock().unwrap().take().map(|reason| reason.to_string());
        (String::from_utf8_lossy(&out).into_owned(), reason.map(|reason| (number, reason)))
    }

    const GOOD: &str = "PUT /metrics/job/a HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nm<1\n\
                        POST /metrics/job/b HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\
                        3;x=y\r\nm <\r\n1a\r\n<GET / HTTP/1.1\r\n\r\n<<<<<\n\r\n0\r\nT: <\r\n\r\n\
                        GET / HTTP/1.0\n\nGET /-/ready HTTP/1.1\r\nHost: t\r\n\r\n";

    #[test]
    fn what_the_library_takes_stays_as_it_is() {
        for piece in 1..=GOOD.len() {
            assert_eq!(read(GOOD.as_bytes(), piece), (GOOD.to_owned(), None), "{piece}");
        }
    }

    #[test]
    fn characters_that_no_target_has_are_encoded_in_heads_and_nowhere_else() {
        let bytes = [
            GOOD.as_bytes(),
            b"PUT /metrics/job/a<b>/c/`#?<# HTTP/1.1\r\nHost: <\r\nContent-Length: 1\r\n\r\n<",
            b"PUT /metrics/job/\xff HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET /<\xc3\xbc HTTP/1.0\r\n\r\n",
        ]
        .concat();
        let expected = [
            GOOD,
            "PUT /metrics/job/a%3Cb%3E/c/%60%23?%3C%23 HTTP/1.1\r\nHost: <\r\nContent-Length: 1\r\n\r\n<",
            "PUT /metrics/job/%FF HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET /%3C\u{fc} HTTP/1.0\r\n\r\n",
        ]
        .concat();
        for piece in 1..=bytes.len() {
            assert_eq!(read(&bytes, piece), (expected.clone(), None), "{piece}");
        }
    }

    #[test]
    fn what_is_refused_is_answered_in_its_turn_and_nothing_behind_it_is_read() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "Host: t\r\n".repeat(LINES_MAX + 1));
        let target = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
        for (bad, reason) in [
            ("GET / HTTP/2.0\r\n\r\n", "HTTP"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
            ("nonsense\r\n\r\n", "malformed request line"),
            ("GET /a b HTTP/1.1\r\n\r\n", ""),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "malformed header line"),
            ("GET nowhere HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"),
            ("PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", "Content-Length"),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "chunked"),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "chunked"),
            ("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
            (&*long, "head"),
            (&*many, "head"),
            (&*target, "target"),
        ] {
            let bytes = [GOOD, bad, "GET /-/quit HTTP/1.1\r\n\r\n"].concat();
            let in_place = std::str::from_utf8(IN_PLACE).unwrap();
            for piece in [7, 1000, bytes.len()] {
                let (out, refused) = read(bytes.as_bytes(), piece);
                assert_eq!(out, [GOOD, in_place].concat(), "{bad:?}");
                let (number, found) = refused.unwrap();
                assert!(number == 4 && found.contains(reason), "{bad:?}: {number} {found}");
            }
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_no_reason_to_refuse_a_head() {
        let others = (0..9000).fold(String::new(), |lines, n| lines + &format!("x{n}:\r\n"));
        let bytes = format!(
            "PUT /metrics/job/a HTTP/1.1\r\n{others}Host: t\r\nTidegate-TTL: 1h\r\n\
             Content-Length: 4\r\n\r\nm 1\n{GOOD}"
        );
        let (out, refused) = read(bytes.as_bytes(), 5000);
        assert_eq!(refused, None);
        let head = out.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("Content-Length: 4") && head.contains("Tidegate-TTL: 1h"), "{head}");
        assert_eq!(head.lines().count(), 1 + LINES_MAX);
        assert!(out.ends_with(&format!("m 1\n{GOOD}")), "{out}");
    }

    proptest! {
        #[test]
        fn no_stream_makes_it_panic(bytes: Vec<u8>, piece in 1_usize..50) {
            let _ = read(&bytes, piece);
            let head = b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let _ = read(&[head, bytes].concat(), piece);
        }
    }
}
