//! Programs that run beside the test and end with it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::client::Client;
use super::wait::{PATIENCE, eventually};

/// A program whose log is read from its standard error. Killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Receiver<String>,
    /// The log so far, for messages.
    seen: Vec<String>,
}

/// The real binary, serving.
#[derive(Debug)]
pub struct Tidegate {
    process: Process,
    client: Client,
}

// === impl Process ===

impl Process {
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (send, log) = channel();
        // Reads to the end whoever listens: a full pipe would stop the program.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, log, seen: Vec::new() }
    }

    /// Waits for a line of the log in which `find` finds something.
    #[track_caller]
    pub fn logs<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else {
                panic!("no line about {what} in the log:\n{}", self.seen.join("\n"));
            };
            let found = find(&line);
            self.seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Waits until the program says where it listens.
    #[track_caller]
    pub fn address(&mut self) -> SocketAddr {
        self.logs("the address", |line| {
            let lower = line.to_ascii_lowercase();
            let (_, rest) = lower.split_once("listening")?;
            let port: String =
                rest.split_once("127.0.0.1:")?.1.chars().take_while(char::is_ascii_digit).collect();
            let port: u16 = port.parse().ok()?;
            (port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for it to end, and returns how it did, with the rest of its log.
    #[track_caller]
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually("the end of the process", || self.child.try_wait().unwrap());
        self.seen.extend(self.log.iter());
        (status, self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Tidegate ===

impl Tidegate {
    /// The command that runs it, with nothing set in its environment.
    pub fn command(args: &[&str]) -> Command {
        let mut command = Command::new(crate::tidegate());
        command.env_clear().args(args);
        command
    }

    /// Serves from a folder.
    #[track_caller]
    pub fn serve(folder: &Path, args: &[&str]) -> Self {
        let mut command = Self::command(args);
        command.arg(format!("--storage.path={}", folder.display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        Self::spawn(&mut command)
    }

    /// Runs a command that makes it serve.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut process = Process::spawn(command);
        let client = Client::new(process.address());
        process.logs("being ready", |line| line.contains("ready").then_some(()));
        Self { process, client }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Has it stop, and waits until it has, in order.
    #[track_caller]
    pub fn stop(self) {
        self.process.signal("TERM");
        let (status, log) = self.process.ended();
        assert!(status.success(), "{status}\n{log}");
    }

    /// Waits for it to end.
    #[track_caller]
    pub fn ended(self) -> (ExitStatus, String) {
        self.process.ended()
    }
}

impl Deref for Tidegate {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Runs a command that ends by itself. One that does not is killed, and fails the test.
#[track_caller]
pub fn finished(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = KillOnDrop(Some(command.spawn().unwrap()));
    // Whatever it prints fits into the pipes.
    eventually("the end of the command", || child.0.as_mut()?.try_wait().unwrap());
    child.0.take().expect("it is taken once").wait_with_output().unwrap()
}

struct KillOnDrop(Option<Child>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
