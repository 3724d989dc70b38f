//! Real programs that stand on the other side of the gateway.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The path of a program that `tests/parts` installs.
#[track_caller]
pub fn part(name: &str) -> PathBuf {
    let script = crate::root().join("tests/parts");
    let output = Command::new(script).arg(name).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/parts {name}: {errors}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}
