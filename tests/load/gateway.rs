//! The gateway as a process, seen from outside.

use std::fs;
use std::net::TcpStream;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use support::{Exposition, Tidegate};

/// The binary, serving from a folder of its own.
pub(crate) struct Gateway {
    tidegate: Tidegate,
    id: u32,
    folder: TempDir,
}

/// How much memory the kernel says that a process has or had, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Gateway {
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), args)
    }

    /// Serves what is in a folder.
    #[track_caller]
    pub(crate) fn start_in(folder: TempDir, args: &[&str]) -> Self {
        let tidegate = Tidegate::serve(folder.path(), args);
        Self::of(tidegate, folder)
    }

    /// Serves with no more than so many file descriptors, as a shell or a supervisor may have it.
    #[track_caller]
    pub(crate) fn start_with_files(soft: u64, hard: u64, args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let script = "ulimit -Sn \"$0\" && ulimit -Hn \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, &soft.to_string(), &hard.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_tidegate")).args(args);
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg(format!("--storage.path={}", folder.path().display()));
        Self::of(Tidegate::spawn(&mut command), folder)
    }

    /// Serves what is in a folder, as a process of a control group.
    #[track_caller]
    pub(crate) fn start_in_cgroup(folder: TempDir, processes: &Path, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(processes);
        command.arg(env!("CARGO_BIN_EXE_tidegate")).args(args);
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg(format!("--storage.path={}", folder.path().display()));
        Self::of(Tidegate::spawn(&mut command), folder)
    }

    fn of(mut tidegate: Tidegate, folder: TempDir) -> Self {
        let id = tidegate.process().id();
        Self { tidegate, id, folder }
    }

    /// Has it stop in order, and returns its folder.
    #[track_caller]
    pub(crate) fn stop(self) -> TempDir {
        self.tidegate.stop();
        self.folder
    }

    pub(crate) fn memory(&self) -> Memory {
        self.try_memory().expect("it runs")
    }

    /// As `memory`, where the gateway may be gone.
    pub(crate) fn try_memory(&self) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Forgets what the peak was.
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.id), "5").unwrap();
    }

    /// How many file descriptors it has open.
    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id)).unwrap().count()
    }

    /// The size of its store on disk, in KiB.
    pub(crate) fn disk(&self) -> u64 {
        size(self.folder.path()) / 1024
    }

    /// How often a limit was reached.
    #[track_caller]
    pub(crate) fn reached(&self, setting: &str) -> u64 {
        reached(&self.scrape(), setting)
    }
}

#[track_caller]
pub(crate) fn reached(exposition: &Exposition, setting: &str) -> u64 {
    let series = format!("tidegate_limit_reached_total{{limit=\"{setting}\"}}");
    exposition.value(&series).parse().unwrap()
}

/// The number that a gauge of the gateway has.
#[track_caller]
pub(crate) fn number(exposition: &Exposition, series: &str) -> u64 {
    // Floats are written as Go does, with an exponent where they are large.
    let value: f64 = exposition.value(series).parse().unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    let value = value as u64;
    value
}

impl Deref for Gateway {
    type Target = Tidegate;

    fn deref(&self) -> &Tidegate {
        &self.tidegate
    }
}

/// How many bytes the kernel has of what a client has sent, which the other end has not read yet.
pub(crate) fn unread(client: &TcpStream) -> u64 {
    let port = format!(":{:04X}", client.local_addr().unwrap().port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut bytes = 0;
    for line in sockets.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (sent, received) = fields[4].split_once(':').unwrap();
        // The one end has it to send, or the other has received it.
        for (address, queue) in [(fields[1], sent), (fields[2], received)] {
            if address.ends_with(&port) {
                bytes += u64::from_str_radix(queue, 16).unwrap();
            }
        }
    }
    bytes
}

fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().filter_map(Result::ok);
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        // It was there a moment ago: the store replaces files.
        Err(_) => 0,
    });
    sizes.sum()
}
