//! `tidegate verify` and `tidegate repair`: a store whose gateway is stopped, looked at and built anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::store::{self, Findings, LostGroup, OpenError, Options, PartOfGroup, RepairError};

/// The findings, and the repairs.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    findings: Findings,
    /// Where the old files are, once the store was built anew.
    old: Option<PathBuf>,
}

/// Looks at everything in a store. Changes nothing.
pub fn verify(options: &Options) -> Result<Report, OpenError> {
    let findings = store::verify(options)?;
    Ok(Report { path: options.path.clone(), findings, old: None })
}

/// Looks at everything in a backup.
pub fn verify_backup(path: &Path) -> Result<Report, OpenError> {
    let findings = store::verify_backup(path)?;
    Ok(Report { path: path.to_owned(), findings, old: None })
}

/// Builds a new store from all that can be read of one, in its place, and keeps the old files in a folder
/// within it.
pub fn repair(options: &Options) -> Result<Report, RepairError> {
    let (findings, old) = store::repair(options)?;
    Ok(Report { path: options.path.clone(), findings, old: Some(old) })
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_sound(&self) -> bool {
        self.findings.is_sound()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let Findings { groups, removed, chunks, bytes, .. } = &self.findings;
        let path = self.path.display();
        let mut text = format!(
            "{path}: {groups} groups, {removed} that were removed and can be restored; {chunks} chunks, \
             {bytes} bytes\n{}",
            self.findings.summary()
        );
        let lines = self.findings.lines();
        for line in &lines {
            let _ = write!(text, "\n  {line}");
        }
        let _ = match (&self.old, lines.is_empty()) {
            (None, true) => write!(text, "\nall of it can be read and is as it was written"),
            (None, false) => write!(
                text,
                "\nit is damaged; tidegate repair builds a new store from all that can be read, and so does a \
                 start of the gateway; of a backup, tidegate restore --in-part"
            ),
            (Some(old), _) => {
                write!(
                    text,
                    "\na new store was built from it; the old files are in {}",
                    old.display()
                )
            }
        };
        text
    }

    /// For programs.
    pub fn to_json(&self) -> String {
        let Findings { groups, removed, chunks, bytes, expected, earlier, in_part, lost, .. } =
            &self.findings;
        let time = |at| humantime::format_rfc3339_nanos(at).to_string();
        let lost = lost.iter().map(|LostGroup { number, key }| {
            json!({ "number": number, "group": key.as_ref().map(ToString::to_string) })
        });
        let earlier = earlier.iter().map(|(key, at)| {
            let at = at.map(|at| time(at.to_system_time()));
            json!({ "group": key.to_string(), "last_push": at })
        });
        let in_part = in_part.iter().map(|PartOfGroup { key, lost, of }| {
            json!({ "group": key.to_string(), "lost": lost, "of": of })
        });
        let expected = expected.map(|expected| {
            json!({
                "groups": expected.groups,
                "departed": expected.removed,
                "at": time(expected.at.to_system_time()),
            })
        });
        let value = json!({
            "path": self.path,
            "sound": self.is_sound(),
            "summary": self.findings.summary(),
            "groups": groups,
            "departed": removed,
            "chunks": chunks,
            "bytes": bytes,
            "expected": expected,
            "missing": self.findings.missing(),
            "lost": lost.collect::<Vec<Value>>(),
            "earlier": earlier.collect::<Vec<Value>>(),
            "in_part": in_part.collect::<Vec<Value>>(),
            "damage": self.findings.lines(),
            "old": self.old,
        });
        format!("{value:#}")
    }
}
