//! The programs that are compared, started on loopback and killed when dropped.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::Client;

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// From the start until it was ready.
    pub(crate) startup: Duration,
}

/// Prints the path of a program, and installs it first where it is missing.
pub(crate) fn part(name: &str) -> Result<PathBuf> {
    let output = Command::new("tests/parts").arg(name).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("tests/parts {name} failed").into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    fn start(mut command: Command, port: u16, ready: &str) -> Result<Self> {
        let began = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, port, startup: Duration::ZERO };
        loop {
            let answer = Client::connect(port)
                .and_then(|mut client| client.request("GET", ready, "", "", false));
            if answer.is_ok_and(|answer| answer.status == 200) {
                server.startup = began.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended: {status}", command.get_program().display()).into());
            }
            if began.elapsed() > Duration::from_mins(5) {
                let program = command.get_program().display();
                return Err(format!("{program} does not get ready").into());
            }
            #[expect(clippy::disallowed_methods, reason = "a process gets ready in its own time")]
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Tidegate, with a folder for its store.
    pub(crate) fn tidegate(folder: &Path, flags: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--storage.path={}", folder.display()))
            .args(flags);
        Self::start(command, port, "/-/ready")
    }

    /// The Go Pushgateway, with a persistence file.
    pub(crate) fn pushgateway(file: &Path, flags: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(part("pushgateway")?);
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--persistence.file={}", file.display()))
            .arg("--persistence.interval=24h")
            .args(flags);
        Self::start(command, port, "/-/ready")
    }

    /// The bare hyper server: this program in its other role.
    pub(crate) fn bare() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", &format!("127.0.0.1:{port}")]);
        Self::start(command, port, "/")
    }

    /// The lane that stores raw bodies: this program in its third role.
    pub(crate) fn raw(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["raw", &format!("127.0.0.1:{port}")]).arg(folder);
        Self::start(command, port, "/")
    }

    /// nginx, serving a folder as two workers with sendfile, ready-made `.gz` files included.
    pub(crate) fn nginx(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let config = folder.join("nginx.conf");
        let root = folder.display();
        fs::write(
            &config,
            format!(
                "worker_processes 2; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;\n\
                 user root; events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
                 gzip_static on; default_type text/plain; client_body_temp_path {root}/body;\n\
                 server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
            ),
        )?;
        fs::write(folder.join("ready"), "ready")?;
        let mut command = Command::new(part("nginx")?);
        command.arg("-c").arg(&config).arg("-p").arg(folder);
        Self::start(command, port, "/ready")
    }

    /// The node exporter, for what it says.
    pub(crate) fn node_exporter() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(part("node-exporter")?);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self::start(command, port, "/metrics")
    }

    /// The processor time that each thread has taken, user and system. To the nanosecond, where that
    /// of the process is to the hundredth of a second.
    pub(crate) fn processor_times(&self) -> Result<HashMap<u64, Duration>> {
        let mut times = HashMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?;
            // One that has just ended has no more to say.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().ok_or("an empty schedstat")?.parse()?;
            let id = thread.file_name().to_str().ok_or("a thread without a number")?.parse()?;
            times.insert(id, Duration::from_nanos(nanos));
        }
        Ok(times)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // nginx's workers go with their master when that is told, not when it is killed.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        for _ in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a process ends in its own time")]
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
