//! The real binary under callgrind, and the instructions that it carries out.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use support::{Answer, Client, Tidegate, part};

/// A gateway whose instructions are counted.
pub(crate) struct Counter {
    gateway: Tidegate,
    client: Client,
    id: u32,
    folder: TempDir,
    control: PathBuf,
}

/// Limits out of the way of what is counted.
const SETTINGS: [&str; 8] = [
    "--web.enable-admin-api",
    "--limits.labels-per-series=100000",
    "--limits.label-value-length=64MiB",
    "--limits.bytes-in-flight=2GiB",
    "--limits.rendered-size=2GiB",
    "--limits.group-size=1GiB",
    "--limits.followers=1000",
    "--storage.sync=1h",
];

impl Counter {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let valgrind = part("valgrind");
        let control = valgrind.with_file_name("callgrind_control");
        let mut command = Command::new(&valgrind);
        // Else it would take its own place, without being counted.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        command.args(["--tool=callgrind", "--instr-atstart=no"]);
        command.arg(format!("--callgrind-out-file={}/out", folder.path().display()));
        command.arg(env!("CARGO_BIN_EXE_tidegate")).args(SETTINGS);
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg(format!("--storage.path={}/store", folder.path().display()));
        let mut gateway = Tidegate::spawn(&mut command);
        let id = gateway.process().id();
        let client = Client::new(gateway.address());
        Self { gateway, client, id, folder, control }
    }

    pub(crate) fn stop(self) {
        self.gateway.stop();
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.client.address()).unwrap()
    }

    /// Sends a request, which succeeds.
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let answer = self.client.send(method, path, &[], body);
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }

    /// Nothing is stored any more.
    pub(crate) fn wipe(&self) {
        self.send("PUT", "/api/v1/admin/wipe", b"");
    }

    /// How many instructions some work takes.
    pub(crate) fn count(&mut self, work: impl FnOnce(&Self)) -> u64 {
        // Once without being counted: cached lookups are there then.
        self.control(&["-i", "on"]);
        self.control(&["-z"]);
        work(self);
        self.control(&["-d"]);
        self.control(&["-i", "off"]);
        self.newest_total()
    }

    fn control(&self, arguments: &[&str]) {
        let output =
            Command::new(&self.control).args(arguments).arg(self.id.to_string()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// The count of the newest dump, which is removed then.
    fn newest_total(&self) -> u64 {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_dump =
            |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("out");
        let mut total = 0;
        for dump in files.filter(is_dump) {
            let text = fs::read_to_string(&dump).unwrap();
            let of_line = |line: &str| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok();
            total += text.lines().filter_map(of_line).sum::<u64>();
            fs::remove_file(dump).unwrap();
        }
        assert!(total > 0, "callgrind has counted nothing");
        total
    }
}
