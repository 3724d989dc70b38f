//! A control group that a process is started in, with no more memory than so much.

use std::fs;
use std::path::{Path, PathBuf};

use support::PATIENCE;

/// Removed when it is dropped; what ran in it has ended by then.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// Makes one with so much memory and no swap, or says why there can be none.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self, String> {
        let (root, version) = hierarchy()?;
        let folder = root.join(format!("tidegate-{name}-{}", std::process::id()));
        let wrong = |what: &Path| {
            let what = what.display().to_string();
            move |error| format!("{what}: {error}")
        };
        if version == Version::Two {
            let control = root.join("cgroup.subtree_control");
            fs::write(&control, "+memory").map_err(wrong(&control))?;
        }
        fs::create_dir(&folder).map_err(wrong(&folder))?;
        let cgroup = Self { folder, version };
        let limit = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let limit = cgroup.folder.join(limit);
        fs::write(&limit, bytes.to_string()).map_err(wrong(&limit))?;
        // Not everywhere is there an account of swap; where there is none, there is no swap of it.
        let swap = match version {
            Version::One => cgroup.folder.join("memory.swappiness"),
            Version::Two => cgroup.folder.join("memory.swap.max"),
        };
        if swap.try_exists().unwrap_or(false) {
            fs::write(&swap, "0").map_err(wrong(&swap))?;
        }
        Ok(cgroup)
    }

    /// Where a process writes its number to be in it.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// How many processes of it were killed for want of memory.
    pub(crate) fn killed(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        // It is busy until the kernel is done with the last process.
        while fs::remove_dir(&self.folder).is_err() && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

/// The hierarchy that accounts for memory.
fn hierarchy() -> Result<(PathBuf, Version), String> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let mut found = Err("no control groups for memory are mounted".to_owned());
    for mount in mounts.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        let [_, at, kind, options, ..] = fields[..] else { continue };
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            return Ok((at.into(), Version::One));
        }
        let controllers = Path::new(at).join("cgroup.controllers");
        let has_memory = || {
            let text = fs::read_to_string(controllers).unwrap_or_default();
            text.split_whitespace().any(|controller| controller == "memory")
        };
        if kind == "cgroup2" && has_memory() {
            found = Ok((at.into(), Version::Two));
        }
    }
    found
}
