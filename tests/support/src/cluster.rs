//! A cluster: members of etcd, and replicas of the gateway beside them. All are processes of this host,
//! and can be killed, stopped for a while, and started again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::client::Client;
use super::hosts::Hosts;
use super::process::{Process, Tidegate, finished};
use super::wait::eventually;

/// Members of etcd. Killed when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    program: PathBuf,
    members: Vec<Option<Process>>,
    clients: Vec<u16>,
    peers: Vec<u16>,
    flags: Vec<String>,
    /// Another address at which its members listen.
    address: Option<Ipv4Addr>,
}

/// A replica of the gateway. Killed when it is dropped.
#[derive(Debug)]
pub struct Replica {
    process: Option<Process>,
    client: Client,
    args: Vec<String>,
    /// The clock of its host; as `faketime` has it.
    clock: Option<String>,
    /// The schema versions that it knows, as in `4-5`, where they are not those of this build.
    schemas: Option<String>,
    /// The host that it runs on, where it has one.
    host: Option<(Arc<Hosts>, u8)>,
}

/// A port that is free, and that no other test of this process is given. It is none of those that the
/// system gives to connections: one of them might take it before the program that it is for.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Those of two processes that follow each other begin apart.
        let nth =
            std::process::id().wrapping_mul(977) % COUNT + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + nth % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Etcd {
    /// Starts three members with the flags that the documentation names, and waits until they have a
    /// leader.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(3, &[])
    }

    /// The same with more flags.
    #[track_caller]
    pub fn start_with(members: usize, flags: &[&str]) -> Self {
        Self::start_at(members, flags, None)
    }

    /// The same on another address, too.
    #[track_caller]
    pub fn start_on(address: Ipv4Addr) -> Self {
        Self::start_at(3, &[], Some(address))
    }

    #[track_caller]
    fn start_at(members: usize, flags: &[&str], address: Option<Ipv4Addr>) -> Self {
        let ports = || (0..members).map(|_| free_port()).collect();
        let mut etcd = Self {
            folder: tempfile::tempdir().unwrap(),
            program: super::part("etcd"),
            members: Vec::new(),
            clients: ports(),
            peers: ports(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            address,
        };
        for at in 0..members {
            let member = Process::spawn(&mut etcd.command(at));
            etcd.members.push(Some(member));
        }
        etcd.wait();
        etcd
    }

    fn command(&self, at: usize) -> Command {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<_> =
            self.peers.iter().zip(0..).map(|(port, at)| format!("n{at}={}", url(*port))).collect();
        let (client, peer) = (url(self.clients[at]), url(self.peers[at]));
        let listens = match self.address {
            Some(address) => format!("{client},http://{address}:{}", self.clients[at]),
            None => client.clone(),
        };
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .args(["--name", &format!("n{at}"), "--log-level", "error"])
            .args(["--data-dir", &self.folder.path().join(format!("n{at}")).display().to_string()])
            .args(["--listen-client-urls", &listens, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--snapshot-count", "5000"])
            .args(&self.flags);
        command
    }

    /// Waits until writes go through.
    #[track_caller]
    pub fn wait(&self) {
        eventually("a leader of etcd", || {
            self.try_ctl(&["put", "/test", "x"]).status.success().then_some(())
        });
    }

    /// The flags by which a gateway finds it.
    pub fn endpoints(&self) -> Vec<String> {
        let address = self.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let flag = |port: &u16| format!("--cluster.endpoints=http://{address}:{port}");
        self.clients.iter().map(flag).collect()
    }

    pub fn clients(&self) -> &[u16] {
        &self.clients
    }

    /// Runs `etcdctl`.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = self.try_ctl(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_ctl(&self, args: &[&str]) -> Output {
        let all: Vec<_> = self.clients.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = Command::new(self.program.with_file_name("etcdctl"));
        command.env_clear().env("ETCDCTL_API", "3");
        command.args(["--endpoints", &all.join(","), "--command-timeout", "2s"]).args(args);
        finished(&mut command)
    }

    /// The place of the member that leads.
    #[track_caller]
    pub fn leader(&self) -> usize {
        eventually("the leader of etcd", || {
            let status = self.try_ctl(&["endpoint", "status", "-w", "json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let members = status.as_array()?.clone();
            let leads = members.iter().find(|member| {
                member["Status"]["leader"] == member["Status"]["header"]["member_id"]
            })?;
            let port: u16 = leads["Endpoint"].as_str()?.rsplit(':').next()?.parse().ok()?;
            self.clients.iter().position(|client| *client == port)
        })
    }

    pub fn kill(&mut self, at: usize) {
        self.members[at] = None;
    }

    /// Replaces a member by one that has nothing, as where its host was lost.
    #[track_caller]
    pub fn replace(&mut self, at: usize) {
        self.kill(at);
        let peer = format!("http://127.0.0.1:{}", self.peers[at]);
        let members = eventually("the members of etcd", || {
            let listed = self.try_ctl(&["member", "list", "-w", "json"]);
            let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).ok()?;
            listed["members"].as_array().cloned()
        });
        let is_it = |member: &&serde_json::Value| member["peerURLs"][0] == peer.as_str();
        let id = members.iter().find(is_it).unwrap()["ID"].as_u64().unwrap();
        self.eventually_ctl(&["member", "remove", &format!("{id:x}")]);
        std::fs::remove_dir_all(self.folder.path().join(format!("n{at}"))).unwrap();
        self.eventually_ctl(&["member", "add", &format!("n{at}"), "--peer-urls", &peer]);
        let mut command = self.command(at);
        command.args(["--initial-cluster-state", "existing"]);
        self.members[at] = Some(Process::spawn(&mut command));
        eventually("the new member", || {
            let client = format!("127.0.0.1:{}", self.clients[at]);
            let mut command = Command::new(self.program.with_file_name("etcdctl"));
            command.env_clear().env("ETCDCTL_API", "3").args(["--endpoints", &client]);
            command.args(["--command-timeout", "2s", "endpoint", "health"]);
            finished(&mut command).status.success().then_some(())
        });
    }

    /// Runs `etcdctl` until it succeeds: members that have just come are waited for.
    #[track_caller]
    fn eventually_ctl(&self, args: &[&str]) {
        eventually("etcdctl", || self.try_ctl(args).status.success().then_some(()));
    }

    pub fn restart(&mut self, at: usize) {
        self.members[at] = None;
        let member = Process::spawn(&mut self.command(at));
        self.members[at] = Some(member);
    }

    pub fn signal(&self, at: usize, signal: &str) {
        self.members[at].as_ref().expect("it runs").signal(signal);
    }
}

impl Replica {
    /// Starts a replica, and waits until it is ready.
    #[track_caller]
    pub fn start(etcd: &Etcd, id: &str, more: &[&str]) -> Self {
        Self::start_at(&etcd.endpoints(), id, more)
    }

    /// The same with flags that name etcd in another way.
    #[track_caller]
    pub fn start_at(endpoints: &[String], id: &str, more: &[&str]) -> Self {
        Self::start_as("http", endpoints, id, more)
    }

    /// The same of one that speaks TLS.
    #[track_caller]
    pub fn start_tls(endpoints: &[String], id: &str, more: &[&str]) -> Self {
        Self::start_as("https", endpoints, id, more)
    }

    /// Starts a replica, and does not wait.
    pub fn begin_at(endpoints: &[String], id: &str, more: &[&str]) -> Self {
        let mut replica = Self::new("http", endpoints, id, more);
        replica.begin();
        replica
    }

    #[track_caller]
    fn start_as(scheme: &str, endpoints: &[String], id: &str, more: &[&str]) -> Self {
        let mut replica = Self::new(scheme, endpoints, id, more);
        replica.run();
        replica
    }

    fn new(scheme: &str, endpoints: &[String], id: &str, more: &[&str]) -> Self {
        let port = free_port();
        Self::new_at(scheme, (Ipv4Addr::LOCALHOST, port), endpoints, id, more)
    }

    fn new_at(
        scheme: &str,
        (address, port): (Ipv4Addr, u16),
        endpoints: &[String],
        id: &str,
        more: &[&str],
    ) -> Self {
        let mut args = endpoints.to_vec();
        args.push(format!("--cluster.id={id}"));
        args.push(format!("--cluster.advertise-url={scheme}://{address}:{port}"));
        args.push(format!("--web.listen-address={address}:{port}"));
        // One that a test has given counts for all.
        if !more.iter().any(|flag| flag.starts_with("--cluster.secret=")) {
            args.push("--cluster.secret=a secret of tests".into());
        }
        args.push("--web.enable-admin-api".into());
        args.push("--web.enable-lifecycle".into());
        args.extend(more.iter().map(|flag| (*flag).to_owned()));
        let client = Client::new(SocketAddr::new(IpAddr::V4(address), port));
        Self { process: None, client, args, clock: None, schemas: None, host: None }
    }

    /// Starts a replica on a host of its own, and waits until it is ready.
    #[track_caller]
    pub fn start_on(hosts: &Arc<Hosts>, at: u8, etcd: &Etcd, id: &str, more: &[&str]) -> Self {
        let mut replica = Self::new_on(hosts, at, etcd, id, more);
        replica.run();
        replica
    }

    /// A replica on a host of its own, which does not run yet.
    pub fn new_on(hosts: &Arc<Hosts>, at: u8, etcd: &Etcd, id: &str, more: &[&str]) -> Self {
        let address = (hosts.address(at), 9091);
        let mut replica = Self::new_at("http", address, &etcd.endpoints(), id, more);
        replica.host = Some((Arc::clone(hosts), at));
        replica
    }

    /// A replica on this host, which does not run yet.
    pub fn new_at_home(etcd: &Etcd, id: &str, more: &[&str]) -> Self {
        Self::new("http", &etcd.endpoints(), id, more)
    }

    /// Has it be of a build that knows these schema versions, from its next start on.
    pub fn set_schemas(&mut self, schemas: &str) {
        self.schemas = Some(schemas.to_owned());
    }

    /// Has the others reach it at another port of this host, from its next start on.
    pub fn advertise(&mut self, port: u16) {
        let flag = "--cluster.advertise-url=";
        let at = self.args.iter().position(|arg| arg.starts_with(flag)).unwrap();
        self.args[at] = format!("{flag}http://127.0.0.1:{port}");
    }

    /// Has the clock of its host be ahead, or behind as in `-1.5`, by so many seconds from its next start on.
    pub fn set_clock(&mut self, ahead: &str) {
        self.clock = Some(ahead.to_owned());
    }

    /// Starts a replica whose host has another clock, and waits until it is ready.
    #[track_caller]
    pub fn start_with_clock(ahead: &str, etcd: &Etcd, id: &str, more: &[&str]) -> Self {
        let mut replica = Self::new_at_home(etcd, id, more);
        replica.set_clock(ahead);
        replica.run();
        replica
    }

    /// Starts it where it was, and waits until it is ready.
    #[track_caller]
    pub fn run(&mut self) {
        self.begin();
        self.process().logs("being ready", |line| line.contains("msg=ready").then_some(()));
    }

    /// Starts it where it was.
    pub fn begin(&mut self) {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let mut command = Tidegate::command(&args);
        if let Some(schemas) = &self.schemas {
            command.env("TIDEGATE_TEST_SCHEMAS", schemas);
        }
        if let Some(ahead) = &self.clock {
            command.env("LD_PRELOAD", super::part("faketime"));
            command.env("FAKETIME", ahead).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if let Some((hosts, at)) = &self.host {
            command = hosts.on(*at, &command);
        }
        self.process = Some(Process::spawn(&mut command));
    }

    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Has it stop in order.
    #[track_caller]
    pub fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal("TERM");
        let (status, log) = process.ended();
        assert!(status.success(), "{status}\n{log}");
    }

    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A self metric, which is a plain number.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let own = self.get("/-/metrics").expect(200).text();
        let line = own.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{own}")).parse().unwrap()
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.process.is_some()
            && self.client.try_send("GET", "/-/metrics", &[], b"").is_ok_and(|answer| {
                answer.text().lines().any(|line| line == "tidegate_cluster_leader 1")
            })
    }
}

impl Deref for Replica {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The place of the replica that leads.
#[track_caller]
pub fn leader_of(replicas: &[Replica]) -> usize {
    eventually("a replica that leads", || replicas.iter().position(Replica::leads))
}
