//! Notifications of a supervisor: systemd.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::{Tidegate, eventually};

#[test]
fn systemd_is_told_of_readiness_life_reloads_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let next = || {
        let mut buffer = [0; 512];
        let length = told.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let mut command = Tidegate::command(&["--web.listen-address=127.0.0.1:0"]);
    command.arg(format!("--storage.path={}", folder.path().join("store").display()));
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "100000");
    let mut gateway = Tidegate::spawn(&mut command);
    assert_eq!(eventually("readiness", next).trim(), "READY=1");
    for _ in 0..3 {
        assert_eq!(eventually("life", next).trim(), "WATCHDOG=1");
    }
    gateway.process().signal("HUP");
    let says = |what: &str| eventually(what, || next().filter(|text| text.starts_with(what)));
    assert!(says("RELOADING=1").contains("MONOTONIC_USEC="));
    says("READY=1");
    gateway.process().signal("TERM");
    says("STOPPING=1");
    assert!(gateway.ended().0.success());
}
