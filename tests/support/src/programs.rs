//! The two programs, each as a process of its own on a port that was free.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::parts::part;
use crate::wait::eventually;

/// A program that serves. Killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
    /// Where it keeps what it stores, if anywhere.
    _folder: Option<TempDir>,
}

const LISTEN: &str = "--web.listen-address=127.0.0.1:0";

/// The command that runs the reference, which keeps nothing on disk.
pub fn reference_command(flags: &[&str]) -> Command {
    let mut command = Command::new(part("pushgateway"));
    // The package would restore what another one left in a folder of the system.
    command.arg("--persistence.file=").args(flags);
    command
}

/// The command that runs this gateway on a folder, with nothing set in its environment.
pub fn our_command(folder: &TempDir, flags: &[&str]) -> Command {
    let mut command = Command::new(crate::tidegate());
    command.env_clear().arg(format!("--storage.path={}", folder.path().display())).args(flags);
    command
}

impl Program {
    pub fn reference(flags: &[&str]) -> Self {
        Self::spawn(reference_command(flags).arg(LISTEN), "Listening on", None)
    }

    /// The reference with a file in which it keeps what it has.
    pub fn persisting_reference(file: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(part("pushgateway"));
        command.arg(format!("--persistence.file={}", file.display())).args(flags);
        Self::spawn(command.arg(LISTEN), "Listening on", None)
    }

    /// This gateway on a folder that outlives it.
    pub fn ours_on(folder: &Path, flags: &[&str]) -> Self {
        let storage = format!("--storage.path={}", folder.display());
        let mut command = Command::new(crate::tidegate());
        command.env_clear().arg(storage).args(flags);
        Self::spawn(command.arg(LISTEN), "msg=ready", None)
    }

    /// This gateway with the flag for a persistence file, and none for a folder.
    pub fn ours_beside(persistence: &str) -> Self {
        let mut command = Command::new(crate::tidegate());
        Self::spawn(command.env_clear().args([persistence, LISTEN]), "msg=ready", None)
    }

    pub fn ours(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::spawn(our_command(&folder, flags).arg(LISTEN), "msg=ready", Some(folder))
    }

    /// Starts a command, and waits until it has logged its address and `ready`.
    fn spawn(command: &mut Command, ready: &str, folder: Option<TempDir>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (mut seen, mut address, mut is_ready) = (Vec::new(), None, false);
        while !(is_ready && address.is_some()) {
            let Some(line) = lines.next() else {
                panic!("it does not serve: {command:?}\n{}", seen.join("\n"));
            };
            is_ready |= line.contains(ready);
            address = address.or_else(|| address_in(&line));
            seen.push(line);
        }
        // The log is read on: a full pipe would stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.unwrap(), _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for it to end by itself.
    pub fn ended(mut self) -> ExitStatus {
        eventually("the end of the program", || self.child.try_wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    if !line.to_ascii_lowercase().contains("listening") {
        return None;
    }
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)))
}
