//! Hosts of their own for programs, and a network between them that can be cut: network namespaces, each
//! with a cable to one bridge. Packets to and from one that is cut off are dropped, and nobody is told.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::process::finished;

/// Hosts. Taken down when it is dropped.
#[derive(Debug)]
pub struct Hosts {
    /// `ip`; `bridge` is beside it.
    program: PathBuf,
    /// Before the names of all that it has made.
    prefix: String,
    /// Of its addresses.
    net: (u8, u8),
    count: u8,
}

impl Hosts {
    /// Hosts on a network; `None` where this machine does not allow that, which is said.
    ///
    /// # Panics
    ///
    /// Where it is not allowed and `CI` is set: a test that is left out shows nothing.
    pub fn new(count: u8) -> Option<Self> {
        static MADE: AtomicU8 = AtomicU8::new(0);
        let (id, nth) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let [.., high, low] = id.to_be_bytes();
        // Of a net for benchmarks, which is nobody's.
        let net = (18 + (high & 1), low.wrapping_add(nth.wrapping_mul(37)));
        let program = super::part("iproute2").with_file_name("ip");
        let hosts = Self { program, prefix: format!("tg{id}{nth}"), net, count };
        match hosts.set_up() {
            Ok(()) => Some(hosts),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "no network namespaces: {error}");
                eprintln!("NOT TESTED: this machine allows no network namespaces: {error}");
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let bridge = self.bridge();
        self.run(&["link", "add", "name", &bridge, "type", "bridge"])?;
        self.run(&["addr", "add", &format!("{}/24", self.outside()), "dev", &bridge])?;
        self.run(&["link", "set", &bridge, "up"])?;
        for at in 0..self.count {
            let (name, cable) = (self.name(at), self.cable(at));
            self.run(&["netns", "add", &name])?;
            self.run(&[
                "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            self.run(&["link", "set", &cable, "master", &bridge, "up"])?;
            let address = format!("{}/24", self.address(at));
            self.run(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            self.run(&["-n", &name, "link", "set", "eth0", "up"])?;
            self.run(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn run(&self, args: &[&str]) -> Result<(), String> {
        let output = Command::new(&self.program).args(args).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn bridge(&self) -> String {
        format!("{}b", self.prefix)
    }

    fn name(&self, at: u8) -> String {
        format!("{}n{at}", self.prefix)
    }

    fn cable(&self, at: u8) -> String {
        format!("{}v{at}", self.prefix)
    }

    /// The address of whoever is on none of the hosts.
    pub fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, self.net.0, self.net.1, 1)
    }

    /// The address of a host.
    pub fn address(&self, at: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.net.0, self.net.1, 2 + at)
    }

    /// Has a program run on a host.
    pub fn on(&self, at: u8, command: &Command) -> Command {
        let mut there = Command::new(&self.program);
        there.args(["netns", "exec", &self.name(at)]).arg(command.get_program());
        there.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there
    }

    /// Cuts a host off from all others, or connects it again.
    #[track_caller]
    pub fn set_connected(&self, at: u8, connected: bool) {
        let state = if connected { "up" } else { "down" };
        self.run(&["link", "set", &self.cable(at), state]).unwrap();
    }

    /// Cuts all hosts off from each other, but not from who is outside; or connects them again.
    #[track_caller]
    pub fn set_apart(&self, apart: bool) {
        for at in 0..self.count {
            let state = if apart { "on" } else { "off" };
            let mut command = Command::new(self.program.with_file_name("bridge"));
            command.args(["link", "set", "dev", &self.cable(at), "isolated", state]);
            let output = finished(&mut command);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for at in 0..self.count {
            // With it goes its cable.
            let _ = self.run(&["netns", "del", &self.name(at)]);
        }
        let _ = self.run(&["link", "del", &self.bridge()]);
    }
}
