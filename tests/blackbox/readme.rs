//! What the README shows, tried.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tidegate::config::Config;

use support::part;

/// Blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut parts = text.split("\n```").skip(1).step_by(2);
    let begin = format!("{language}\n");
    let mut found = Vec::new();
    for block in &mut parts {
        found.extend(block.strip_prefix(&begin).map(str::to_owned));
    }
    assert!(!found.is_empty(), "no block of {language}");
    found
}

#[test]
fn its_settings_are_valid_and_no_rule_is_covered() {
    for block in blocks("toml") {
        let config = Config::from_toml(&block).unwrap_or_else(|error| panic!("{block}\n{error}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn its_alerts_fire_when_it_says() {
    let folder = TempDir::new().unwrap();
    let alerts: Vec<_> =
        blocks("yaml").into_iter().filter(|block| block.starts_with("groups:")).collect();
    let [alerts] = alerts.as_slice() else { panic!("one block has alerts") };
    std::fs::write(folder.path().join("alerts.yml"), alerts).unwrap();
    let tests = folder.path().join("tests.yml");
    std::fs::write(&tests, include_str!("alerts.yml")).unwrap();
    let output = Command::new(part("promtool")).args(["test", "rules"]).arg(&tests).output();
    let output = output.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    assert!(String::from_utf8_lossy(&printed).contains("SUCCESS"));
}
