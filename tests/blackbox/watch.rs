//! A settings file that is watched: replaced in whatever way, it is read again, and only then.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Tidegate, eventually};

fn settings(default: &str) -> String {
    format!("[ttl]\ndefault = '{default}'\n[config]\nwatch = true\n")
}

/// The real binary, as it has a settings file of our own making.
fn serve(folder: &Path, file: &Path) -> Tidegate {
    let gateway =
        Tidegate::serve(&folder.join("store"), &[&format!("--config.file={}", file.display())]);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway
}

fn ttl(gateway: &Tidegate) -> String {
    let data = gateway.get("/api/v2/groups/families?job=j").expect(200).data();
    data["ttl"].as_str().unwrap().to_owned()
}

#[track_caller]
fn becomes(gateway: &Tidegate, expected: &str) {
    eventually(expected, || (ttl(gateway) == expected).then_some(()));
}

/// The lines of the log about a reload.
#[track_caller]
fn reloads(mut gateway: Tidegate) -> usize {
    gateway.process().signal("TERM");
    let (status, log) = gateway.ended();
    assert!(status.success(), "{log}");
    let is_reload =
        |line: &&str| line.contains("reloaded the settings") || line.contains("stay as they are");
    log.lines().filter(is_reload).count()
}

#[test]
fn a_settings_file_that_is_replaced_is_read_once_for_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, settings("1h")).unwrap();
    let gateway = serve(folder.path(), &file);
    assert_eq!(ttl(&gateway), "1h");
    // As editors and deployments do: a new file takes the place of the old.
    for default in ["2h", "3h", "4h"] {
        let new = folder.path().join("tidegate.toml.new");
        fs::write(&new, settings(default)).unwrap();
        fs::rename(&new, &file).unwrap();
        becomes(&gateway, default);
    }
    // It goes, and comes back as something else. Until then what was read counts.
    fs::remove_file(&file).unwrap();
    eventually("the file to be missed", || {
        let text = gateway.get("/metrics").expect(200).text();
        text.contains("tidegate_config_last_reload_successful 0").then_some(())
    });
    assert_eq!(ttl(&gateway), "4h");
    fs::write(&file, settings("5h")).unwrap();
    becomes(&gateway, "5h");
    // Files beside it, and one that says the same, are none of its business.
    for at in 0..20 {
        fs::write(folder.path().join(format!("other{at}.toml")), settings("9h")).unwrap();
        fs::read(&file).unwrap();
    }
    fs::write(&file, settings("5h")).unwrap();
    fs::write(&file, settings("6h")).unwrap();
    becomes(&gateway, "6h");
    // Three times replaced, gone, back, and written: reading it has not led to reading it.
    assert_eq!(reloads(gateway), 6);
}

#[test]
fn a_link_that_is_turned_to_another_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    // As Kubernetes mounts a ConfigMap: a link to a file below a link that is swapped.
    for (version, default) in [("..1", "1h"), ("..2", "2h"), ("..3", "3h")] {
        fs::create_dir_all(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("tidegate.toml"), settings(default)).unwrap();
    }
    let swap = |version: &str| {
        symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    swap("..1");
    let file = mount.join("tidegate.toml");
    symlink("..data/tidegate.toml", &file).unwrap();
    let gateway = serve(folder.path(), &file);
    assert_eq!(ttl(&gateway), "1h");
    for (gone, version, default) in [("..1", "..2", "2h"), ("..2", "..3", "3h")] {
        swap(version);
        fs::remove_dir_all(mount.join(gone)).unwrap();
        becomes(&gateway, default);
    }
    assert_eq!(reloads(gateway), 2);
}

#[test]
fn the_target_of_a_link_is_watched_also_once_the_link_was_turned() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let links = folder.path().join("links");
    for path in [&one, &two, &links] {
        fs::create_dir(path).unwrap();
    }
    let file = links.join("tidegate.toml");
    fs::write(one.join("a.toml"), settings("1h")).unwrap();
    fs::write(two.join("b.toml"), settings("2h")).unwrap();
    symlink(one.join("a.toml"), &file).unwrap();
    let gateway = serve(folder.path(), &file);
    fs::write(one.join("a.toml"), settings("3h")).unwrap();
    becomes(&gateway, "3h");
    symlink(two.join("b.toml"), links.join("new")).unwrap();
    fs::rename(links.join("new"), &file).unwrap();
    becomes(&gateway, "2h");
    // More than once: reloads from the turn may still be under way.
    for default in ["4h", "5h", "6h"] {
        fs::write(two.join("b.toml"), settings(default)).unwrap();
        becomes(&gateway, default);
    }
    assert_eq!(reloads(gateway), 5);
}
