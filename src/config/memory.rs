//! How much memory the process may have: what its control groups allow, or what the host has.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use procfs::Current as _;
use procfs::process::Process;

/// Where nothing can be read: as little as a gateway is likely to be given.
const UNKNOWN: u64 = 512 << 20;

/// The bytes that the process may have.
pub(super) fn available() -> u64 {
    static AVAILABLE: LazyLock<u64> = LazyLock::new(|| {
        let host = procfs::Meminfo::current().map_or(UNKNOWN, |info| info.mem_total);
        limit_of_groups(Path::new("/sys/fs/cgroup")).map_or(host, |limit| limit.min(host))
    });
    *AVAILABLE
}

/// The least that a control group of the process allows, of either version; those above it count too.
fn limit_of_groups(root: &Path) -> Option<u64> {
    let groups = Process::myself().ok()?.cgroups().ok()?;
    let limits = groups.into_iter().filter_map(|group| {
        let (root, file) = match group.controllers.iter().any(|name| name == "memory") {
            true => (root.join("memory"), "memory.limit_in_bytes"),
            false if group.hierarchy == 0 => (root.to_owned(), "memory.max"),
            false => return None,
        };
        // In a container the path is that of the host, and the root its own group.
        let at = root.join(group.pathname.trim_start_matches('/'));
        let above = at.ancestors().take_while(|folder| folder.starts_with(&root));
        above.filter_map(|folder| read(&folder.join(file))).min()
    });
    limits.min()
}

/// The bytes in a file; none where it says `max`.
fn read(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Of all lines, as a scrape shows them. With what the index, the store and other formats keep beside
/// them, what is stored takes two to four times as much.
pub(super) fn rendered() -> u64 {
    (available() / 8).clamp(8 << 20, 64 << 30)
}

/// Of the requests under way.
pub(super) fn bytes_in_flight() -> u64 {
    (available() / 8).clamp(16 << 20, 1 << 30)
}

/// Of the store's pages.
pub(super) fn store_cache() -> u64 {
    (available() / 16).clamp(4 << 20, 64 << 20)
}
