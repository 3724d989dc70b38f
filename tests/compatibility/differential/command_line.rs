//! Arguments that end the program at once, by exit code and by where it writes.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::differential::explained::Why;
use support::eventually;
use support::programs::{our_command, reference_command};

/// Whether a command ended by itself, with which code, and whether it wrote to its two outputs.
#[derive(Debug, PartialEq)]
enum End {
    Serves,
    Ended { code: Option<i32>, writes_out: bool, writes_err: bool },
}

/// Runs a command until it ends, or logs that it serves.
fn end(command: &mut Command) -> (End, Output) {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let file = |path| Stdio::from(std::fs::File::create(path).unwrap());
    let mut child =
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
    let began = Instant::now();
    let mut serves = false;
    let status = eventually("the end of a command", || {
        let log = std::fs::read_to_string(&err).unwrap().to_lowercase();
        // Both still look at other settings behind that line: the reference is given a moment.
        serves |= log.contains("tls is") || log.contains("msg=ready") || log.contains("\"ready\"");
        if serves || began.elapsed() > Duration::from_secs(30) {
            let _ = child.kill();
        }
        child.try_wait().unwrap()
    });
    let output =
        Output { status, stdout: std::fs::read(out).unwrap(), stderr: std::fs::read(err).unwrap() };
    if serves {
        return (End::Serves, output);
    }
    let (writes_out, writes_err) = (!output.stdout.is_empty(), !output.stderr.is_empty());
    (End::Ended { code: status.code(), writes_out, writes_err }, output)
}

fn both(flags: &[&str]) -> [(End, Output); 2] {
    let folder = tempfile::tempdir().unwrap();
    [end(&mut reference_command(flags)), end(&mut our_command(&folder, flags))]
}

const LISTEN: &str = "--web.listen-address=127.0.0.1:0";

#[test]
fn arguments_are_taken_or_refused_by_both() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = folder.path().join("arguments");
    std::fs::write(&arguments, format!("{LISTEN}\n--log.level=debug\n")).unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "--nonsense\n").unwrap();
    let mut differences = Vec::new();
    let at = |path: &std::path::Path| format!("@{}", path.display());
    for flags in [
        &[LISTEN][..],
        &["--web.listen-address", "127.0.0.1:0"],
        &[LISTEN, LISTEN],
        &[LISTEN, "--log.level=INFO"],
        &[LISTEN, "--log.level=debug", "--log.level=info"],
        &[LISTEN, "--web.enable-lifecycle", "--web.enable-lifecycle"],
        &[LISTEN, "--log.format=json"],
        &[LISTEN, "--persistence.interval=90s"],
        &[LISTEN, "--persistence.interval=1h30m"],
        &[LISTEN, "--web.enable-lifecycle", "--no-web.enable-lifecycle"],
        &[LISTEN, "--no-push.enable-utf8-names", "--no-push.disable-consistency-check"],
        &[LISTEN, "--no-web.systemd-socket", "--no-web.enable-admin-api"],
        &[LISTEN, "--web.config.file="],
        &[&at(&arguments)],
        &[&at(&wrong)],
        &["@/there/is/no/such/file"],
        &["--nonsense"],
        &["--no-nonsense"],
        &["--web.enable-admin-api=true"],
        &["--web.enable-admin-api=false"],
        &["--no-web.enable-admin-api=true"],
        &["--web.enable-admin-api", "true"],
        &["--no-web.telemetry-path"],
        &["--no-log.level"],
        &["--log.level=nonsense"],
        &["--log.level="],
        &["--log.level"],
        &["--log.format=xml"],
        &["-log.level=info"],
        &["-x"],
        &["nonsense"],
        &["--persistence.interval=nonsense"],
        &["--persistence.interval=5"],
        &["--persistence.interval="],
        &["--version"],
        &["--help"],
        &["-h"],
        &["--help-long"],
        &["--help-man"],
    ] {
        let [(mut reference, theirs), (ours, output)] = both(flags);
        if let End::Ended { code: code @ Some(1), .. } = &mut reference
            && matches!(ours, End::Ended { code: Some(2), .. })
        {
            // `Why::ExitCode`: 1 is a failure, 2 is wrong usage.
            *code = Some(2);
        }
        if reference != ours {
            let said = [theirs.stderr, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).lines().last().map(str::to_owned));
            differences.push(format!("{flags:?}: {reference:?}, {ours:?}, {said:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_version_is_said_in_the_same_form() {
    let [(_, reference), (_, ours)] = both(&["--version"]);
    let [reference, ours] =
        [reference, ours].map(|output| String::from_utf8(output.stdout).unwrap());
    assert!(reference.starts_with("pushgateway, version 1.11"), "{reference}");
    let own = concat!("tidegate, version ", env!("CARGO_PKG_VERSION"));
    assert!(ours.starts_with(own), "{:?}: {ours}", Why::Itself);
    let line = "\n  platform: ";
    assert!(reference.contains(line) && ours.contains(line), "{ours}");
    // The others are left out where the builder has not said them.
    for key in ["branch: ", "revision: ", "build user: ", "build date: "] {
        assert!(reference.contains(key), "{reference}");
        assert!(!ours.contains("unknown"), "{ours}");
    }
}

/// Where it cannot listen, the reference ends with a code that says that all is well.
#[test]
fn no_place_to_listen_is_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--web.listen-address={}", taken.local_addr().unwrap());
    for flag in
        [taken.as_str(), "--web.listen-address=nonsense", "--web.listen-address=127.0.0.1:x"]
    {
        let [(reference, _), (ours, _)] = both(&[flag]);
        let ended = |code| End::Ended { code: Some(code), writes_out: false, writes_err: true };
        assert_eq!(reference, ended(0), "{flag}: {:?} is no longer a difference", Why::ExitCode);
        assert!(matches!(ours, End::Ended { code: Some(1..), .. }), "{flag}: {ours:?}");
    }
}
