//! The binary as a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;

/// A gateway that serves.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    address: SocketAddr,
    /// Its log until it was ready.
    started: String,
}

/// The arguments of a gateway on a folder, on a port that is free, that expires nothing.
pub fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--web.listen-address=127.0.0.1:0").arg("--ttl.default=never");
    command.arg(format!("--storage.path={}", folder.display()));
    command
}

/// A client that gives answers with any status as they are.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().new_agent()
}

impl Process {
    /// Starts the gateway and waits until it is ready.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(crate::tidegate(), folder);
        Self::spawn(command.args(arguments))
    }

    /// Starts a command that runs a gateway, and waits until that is ready.
    pub fn spawn(command: &mut Command) -> Self {
        Self::attempt(command).unwrap_or_else(|log| panic!("no gateway that is ready:\n{log}"))
    }

    /// The same; where the gateway ends before it is ready, its log.
    pub fn attempt(command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A group of its own: the child of a tracer is to end with it.
        let mut child = command.process_group(0).spawn().expect("the program is there");
        let log = child.stderr.take().expect("it is piped");
        match read_log(log) {
            Ok((address, started)) => Ok(Self { child: Mutex::new(child), address, started }),
            Err(log) => {
                child.wait().expect("it is our child");
                Err(log)
            }
        }
    }

    /// Whether it said at its start that the store is damaged, or that sled has lost something of it.
    pub fn says_damaged(&self) -> bool {
        ["the store is damaged", "sled has lost"].iter().any(|text| self.started.contains(text))
    }

    /// Its log until it was ready.
    pub fn started(&self) -> &str {
        &self.started
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no holder panics");
        child.kill().expect("it has not been waited for");
        child.wait().expect("it is our child");
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let child = self.child.lock().expect("no holder panics");
        let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(stopped.expect("there is a kill").success());
    }

    /// `kill -9` of all that was started with it.
    pub fn kill_group(&self) {
        let mut child = self.child.lock().expect("no holder panics");
        let script = "kill -9 \"-$0\"";
        let killed = Command::new("sh").args(["-c", script, &child.id().to_string()]).status();
        assert!(killed.expect("there is a shell").success());
        child.wait().expect("it is our child");
    }

    /// Waits for the end. Returns how it ended.
    pub fn wait(&self) -> ExitStatus {
        self.child.lock().expect("no holder panics").wait().expect("it is our child")
    }

    /// The exposition.
    pub fn scrape(&self) -> String {
        let response = agent().get(format!("http://{}/metrics", self.address)).call();
        let mut response = response.expect("it is ready");
        assert_eq!(response.status(), 200);
        let body = response.body_mut().with_config().limit(1 << 30);
        body.read_to_string().expect("an exposition is UTF-8")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails leaves no gateway behind.
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads the address from the log, and the log until the gateway is ready. The rest is read too, so
/// that the gateway never waits for us. The log, if it ends before that.
fn read_log(log: ChildStderr) -> Result<(SocketAddr, String), String> {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let mut address = None;
    for line in lines.by_ref() {
        if let Some((_, found)) = line.split_once("msg=listening address=") {
            address = found.trim().parse().ok();
        }
        let ready = line.ends_with("msg=ready");
        seen.push(line);
        if ready {
            break;
        }
    }
    if !seen.last().is_some_and(|line| line.ends_with("msg=ready")) {
        return Err(seen.join("\n"));
    }
    thread::spawn(move || lines.for_each(drop));
    let seen = seen.join("\n");
    match address {
        Some(address) => Ok((address, seen)),
        None => Err(seen),
    }
}
