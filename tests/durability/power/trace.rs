//! The system calls of a gateway, as strace reports them: its file operations below a folder, and when
//! it took and answered which request.

use std::collections::{BTreeMap, HashMap};

use crate::power::disk::{Moment, Operation};

/// The system calls that are of interest. Those at the end of the list are not modelled, and must
/// not be made with a file of the store.
const CALLS: &str = "openat,close,lseek,write,pwrite64,ftruncate,mkdir,rename,unlink,fsync,fdatasync,\
                     read,recvfrom,writev,sendto,\
                     open,creat,pwritev,pwritev2,truncate,fallocate,copy_file_range,sendfile,splice,\
                     mkdirat,renameat,renameat2,unlinkat,rmdir,link,linkat,symlink,symlinkat,mmap,\
                     msync,dup,dup2,dup3";

/// The header of a request by which it is found in the trace.
pub(crate) const NUMBER: &str = "power-number";

/// The arguments of strace that give a trace to read here.
pub(crate) fn arguments() -> Vec<String> {
    let calls = format!("trace={CALLS}");
    ["-f", "-y", "-xx", "-s", "16777216", "--seccomp-bpf", "-e", "signal=none", "-e", &calls]
        .map(str::to_owned)
        .into()
}

/// A file operation, and the lines of the trace at which it began and ended.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) operation: Operation,
}

/// A request: when the gateway began to read it and to answer it, and what it answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) asked: Moment,
    pub(crate) answered: Option<Moment>,
    pub(crate) status: String,
}

/// The contents of a trace.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    /// By their end.
    pub(crate) steps: Vec<Step>,
    pub(crate) requests: BTreeMap<u64, Request>,
    /// Behind everything.
    pub(crate) end: Moment,
}

/// A system call that succeeded, with its result as a number.
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    result: usize,
    began: Moment,
    ended: Moment,
}

/// The two directions of a connection.
#[derive(Default)]
struct Connection {
    /// Of a request's head, until it is whole.
    head: Vec<u8>,
    /// When the first byte of that was read.
    began: Moment,
    /// The rest of a request's body.
    body: usize,
    /// The request that is not answered yet.
    open: Option<u64>,
}

/// Reads traces of one gateway after another.
pub(crate) struct Reader<'a> {
    root: &'a str,
    traced: Traced,
    /// Where in a file the next `write` to a descriptor goes.
    offsets: HashMap<usize, usize>,
    connections: HashMap<String, Connection>,
}

impl<'a> Reader<'a> {
    /// A reader that sees the operations below a folder.
    pub(crate) fn new(root: &'a str) -> Self {
        Self {
            root,
            traced: Traced::default(),
            offsets: HashMap::new(),
            connections: HashMap::new(),
        }
    }

    pub(crate) fn finish(self) -> Traced {
        self.traced
    }

    /// Reads the trace of a whole run.
    pub(crate) fn read(&mut self, trace: &str) {
        self.offsets.clear();
        self.connections.clear();
        let start = self.traced.end;
        let mut unfinished: HashMap<&str, (Moment, &str)> = HashMap::new();
        for (at, line) in (start..).zip(trace.lines()) {
            self.traced.end = at + 1;
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(text) = rest.strip_suffix("<unfinished ...>") {
                unfinished.insert(thread, (at, text));
                continue;
            }
            let joined;
            let (began, text) =
                match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                    Some((_, end)) => {
                        let (began, start) =
                            unfinished.remove(thread).expect("what is resumed has begun");
                        joined = format!("{start}{end}");
                        (began, joined.as_str())
                    }
                    None => (at, rest),
                };
            if let Some(call) = Call::parse(text, began, at) {
                self.call(&call);
            }
        }
    }

    fn call(&mut self, call: &Call<'_>) {
        let Call { name, arguments, result, began, ended } = *call;
        let descriptor = arguments.split(['<', ',', ')']).next().unwrap_or_default();
        let descriptor = descriptor.trim().parse::<usize>().ok();
        let file = annotation(arguments);
        if let Some(socket) = file.as_deref().filter(|file| file.starts_with("socket:")) {
            match name {
                "read" | "recvfrom" => self.asked(socket, began, &sent(call)),
                "write" | "writev" | "sendto" => self.answered(socket, began, &sent(call)),
                _ => {}
            }
            return;
        }
        let below = |path: &str| {
            let path = path.strip_prefix(self.root)?;
            (path.is_empty() || path.starts_with('/')).then(|| path.trim_matches('/').to_owned())
        };
        let path = file.as_deref().and_then(below);
        let named = |nth: usize| {
            strings(arguments)
                .nth(nth)
                .and_then(|path| below(&String::from_utf8(path).expect("our paths are UTF-8")))
        };
        let operation = match name {
            "openat" => {
                self.offsets.insert(result, 0);
                let flags = arguments.rsplit('"').next().unwrap_or_default();
                let Some(path) = named(0).filter(|_| flags.contains("O_CREAT")) else { return };
                assert!(!flags.contains("O_APPEND"), "not modelled: {flags}");
                Operation::Open { path, truncates: flags.contains("O_TRUNC") }
            }
            "lseek" => {
                self.offsets.extend(descriptor.map(|descriptor| (descriptor, result)));
                return;
            }
            "read" => {
                let offset = descriptor.and_then(|descriptor| self.offsets.get_mut(&descriptor));
                if let Some(offset) = offset {
                    *offset += result;
                }
                return;
            }
            "write" => {
                let Some(path) = path else { return };
                let offset = descriptor.and_then(|descriptor| self.offsets.get_mut(&descriptor));
                let offset = offset.expect("a file of the store was opened in the trace");
                let at = *offset;
                *offset += result;
                Operation::Write { path, at, data: sent(call) }
            }
            "pwrite64" => {
                let Some(path) = path else { return };
                Operation::Write { path, at: last_number(arguments), data: sent(call) }
            }
            // Of a file that was empty, from its begin: room is set aside, and read as zeros.
            "fallocate" if arguments.contains(", 0, 0, ") => {
                let Some(path) = path else { return };
                Operation::Resize { path, len: last_number(arguments) }
            }
            "ftruncate" => {
                let Some(path) = path else { return };
                Operation::Resize { path, len: last_number(arguments) }
            }
            "mkdir" => match named(0) {
                Some(path) => Operation::MakeFolder { path },
                None => return,
            },
            "rename" => match (named(0), named(1)) {
                (Some(from), Some(to)) => Operation::Rename { from, to },
                _ => return,
            },
            "unlink" => match named(0) {
                Some(path) => Operation::Remove { path },
                None => return,
            },
            "fsync" | "fdatasync" => match path {
                Some(path) => Operation::Sync { path },
                None => return,
            },
            "close" => return,
            "mmap" if !arguments.contains("MAP_SHARED") => return,
            _ => {
                let is_below = path.is_some() || named(0).is_some() || named(1).is_some();
                assert!(!is_below, "not modelled: {name}({arguments:.200})");
                return;
            }
        };
        self.traced.steps.push(Step { began, ended, operation });
    }

    /// A gateway has read bytes of a request.
    fn asked(&mut self, socket: &str, began: Moment, mut bytes: &[u8]) {
        let connection = self.connections.entry(socket.to_owned()).or_default();
        while !bytes.is_empty() {
            if connection.body > 0 {
                let body = connection.body.min(bytes.len());
                connection.body -= body;
                bytes = &bytes[body..];
                continue;
            }
            if connection.head.is_empty() {
                connection.began = began;
            }
            let before = connection.head.len();
            connection.head.extend_from_slice(bytes);
            let end = connection.head.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { return };
            let head = String::from_utf8_lossy(&connection.head[..end]).into_owned();
            bytes = &bytes[end + 4 - before..];
            connection.head.clear();
            let number = |name| header(&head, name).and_then(|value| value.parse::<u64>().ok());
            connection.body = usize::try_from(number("content-length").unwrap_or(0)).unwrap();
            connection.open = number(NUMBER);
            if let Some(open) = connection.open {
                let asked = connection.began;
                let request = Request { asked, answered: None, status: String::new() };
                self.traced.requests.insert(open, request);
            }
        }
    }

    /// A gateway begins to send bytes of an answer.
    fn answered(&mut self, socket: &str, began: Moment, bytes: &[u8]) {
        let Some(status) = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) else {
            return;
        };
        let connection = self.connections.entry(socket.to_owned()).or_default();
        if let Some(request) =
            connection.open.take().and_then(|number| self.traced.requests.get_mut(&number))
        {
            request.answered = Some(began);
            request.status = String::from_utf8_lossy(status).into_owned();
        }
    }
}

impl<'a> Call<'a> {
    /// Reads `NAME(ARGUMENTS) = RESULT`; `None` for what is no call or has failed.
    fn parse(text: &'a str, began: Moment, ended: Moment) -> Option<Self> {
        let (call, result) = text.rsplit_once(" = ")?;
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let digits = result.split(|c: char| !c.is_ascii_digit()).next()?;
        let result = if result.starts_with("0x") { 0 } else { digits.parse().ok()? };
        Some(Self { name, arguments, result, began, ended })
    }
}

/// The first descriptor, as strace shows it.
fn annotation(arguments: &str) -> Option<String> {
    let (number, rest) = arguments.split_once('<')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let (hex, _) = rest.split_once('>')?;
    String::from_utf8(unescape(hex)).ok()
}

/// The strings among the arguments, in order.
fn strings(arguments: &str) -> impl Iterator<Item = Vec<u8>> {
    assert!(!arguments.contains("\"..."), "strace has cut a string off");
    arguments.split('"').skip(1).step_by(2).map(unescape)
}

/// The bytes that a call has written or read.
fn sent(call: &Call<'_>) -> Vec<u8> {
    let mut bytes: Vec<u8> = strings(call.arguments).flatten().collect();
    bytes.truncate(call.result);
    assert_eq!(bytes.len(), call.result, "all that {} moved is in the trace", call.name);
    bytes
}

/// `\x2f\x64` and so on; what is not written like that stays as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((&first, next)) = rest.split_first() {
        let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let is_hex = first == b'\\' && next.first() == Some(&b'x');
        if let (true, Some(high), Some(low)) = (is_hex, digit(2), digit(3)) {
            bytes.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
            rest = &rest[4..];
        } else {
            bytes.push(first);
            rest = next;
        }
    }
    bytes
}

/// The last argument.
fn last_number(arguments: &str) -> usize {
    let number = arguments.rsplit(',').next().unwrap_or_default().trim();
    number.parse().unwrap_or_else(|_| panic!("no number at the end of {arguments:.200}"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn operations_and_requests_are_read_off_a_trace() {
        let (db, socket) = (hex("/r/s/db"), hex("socket:[7]"));
        let request = format!("PUT /x HTTP/1.1\r\n{NUMBER}: 5\r\ncontent-length: 3\r\n\r\nabc");
        let (one, two) = request.split_at(20);
        let lines = [
            format!("1 openat(AT_FDCWD<{}>, \"{db}\", O_RDWR|O_CREAT, 0666) = 4<{db}>", hex("/")),
            format!("1 recvfrom(9<{socket}>, \"{}\", 99, 0, NULL, NULL) = {}", hex(one), one.len()),
            format!("1 recvfrom(9<{socket}>, \"{}\", 99, 0, NULL, NULL) = {}", hex(two), two.len()),
            format!("2 pwrite64(4<{db}>, \"{}\", 2, 512 <unfinished ...>", hex("ab")),
            format!("1 fdatasync(4<{db}>)          = 0"),
            "2 <... pwrite64 resumed>)         = 2".to_owned(),
            format!("1 write(4<{db}>, \"{}\", 2) = 2", hex("cd")),
            format!("1 write(4<{}>, \"{}\", 2) = 2", hex("/elsewhere"), hex("cd")),
            format!("1 unlink(\"{}\") = -1 ENOENT (No such file or directory)", hex("/r/s/x")),
            format!("1 sendto(9<{socket}>, \"{}\", 12, 0, NULL, 0) = 12", hex("HTTP/1.1 200")),
        ];
        let mut reader = Reader::new("/r");
        reader.read(&lines.join("\n"));
        let Traced { steps, requests, end } = reader.finish();
        assert_eq!(end, lines.len());
        let path = || "s/db".to_owned();
        let expected = [
            (0, 0, Operation::Open { path: path(), truncates: false }),
            (4, 4, Operation::Sync { path: path() }),
            (3, 5, Operation::Write { path: path(), at: 512, data: b"ab".into() }),
            (6, 6, Operation::Write { path: path(), at: 0, data: b"cd".into() }),
        ];
        let found: Vec<_> =
            steps.into_iter().map(|step| (step.began, step.ended, step.operation)).collect();
        assert_eq!(found, expected);
        let request = &requests[&5];
        assert_eq!((request.asked, request.answered, &*request.status), (1, Some(9), "200"));
    }
}
