//! A small disk.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::serving::{Process, command};

const DISK_BYTES: u64 = 24 << 20;

/// A small disk of its own, in a mount namespace that a process holds open.
pub(crate) struct Disk {
    holder: Child,
    path: PathBuf,
    /// The arguments of unshare and nsenter: without root, a user namespace is needed, too.
    root: bool,
}

impl Disk {
    pub(crate) fn new(path: &Path) -> Self {
        let id = Command::new("id").arg("-u").output().expect("there is an id");
        let root = id.stdout == b"0\n";
        let mut unshare = Command::new("unshare");
        unshare.arg("--mount").args(if root { &[][..] } else { &["--map-root-user"] });
        let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$0\" && echo mounted && exec cat";
        unshare.args(["sh", "-c", script]).arg(path).arg(DISK_BYTES.to_string());
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().expect("there is an unshare");
        let mut line = String::new();
        let out = holder.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says something or ends");
        assert_eq!(line, "mounted\n", "a tmpfs can be mounted in a namespace");
        Self { holder, path: path.to_owned(), root }
    }

    /// Starts a gateway whose store is on it.
    pub(crate) fn start(&self) -> Process {
        let mut enter = Command::new("nsenter");
        enter.arg("--mount").args(["--target", &self.holder.id().to_string()]);
        if !self.root {
            enter.args(["--user", "--preserve-credentials"]);
        }
        let gateway = command(env!("CARGO_BIN_EXE_tidegate"), &self.path.join("store"));
        enter.arg(gateway.get_program()).args(gateway.get_args());
        Process::spawn(&mut enter)
    }

    /// Where the disk is to be seen from outside.
    pub(crate) fn outside(&self) -> PathBuf {
        let path = self.path.strip_prefix("/").expect("it is absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path)
    }

    fn filling(&self) -> PathBuf {
        self.outside().join("filling")
    }

    /// Has it mounted anew, such as `ro` or `rw`.
    pub(crate) fn remount(&self, option: &str) {
        let mut enter = Command::new("nsenter");
        enter.arg("--mount").args(["--target", &self.holder.id().to_string()]);
        enter.args(["mount", "-o", &format!("remount,{option}")]).arg(&self.path);
        assert!(enter.status().expect("there is a mount").success());
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) {
        let mut filling = File::create(self.filling()).expect("there is room for a name");
        let full = (0..DISK_BYTES / 4096).find_map(|_| filling.write_all(&[0xA5; 4096]).err());
        assert!(full.is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull));
    }

    /// Makes room.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.filling()).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
