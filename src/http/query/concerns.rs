//! All that is wrong with the gateway itself, with what to do about it: on every page, and where it is
//! asked whether the gateway is ready.

use crate::gateway::{Fault, Gateway};
use crate::http::rejection::Rejection;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Concern {
    /// For anybody.
    pub(in crate::http) what: String,
    /// For whoever may see all of the gateway; there may be none.
    pub(in crate::http) details: String,
    /// A sentence for whoever is to mend it.
    pub(in crate::http) remedy: String,
    /// Whether pushes are refused for it.
    pub(in crate::http) refuses: bool,
}

/// The concerns of a gateway, the worst first.
pub(in crate::http) fn concerns(gateway: &Gateway) -> Vec<Concern> {
    let mut concerns = Vec::new();
    if let Some(fault) = gateway.trouble() {
        let remedy = remedy(&fault).into();
        let what = format!("pushes are refused: {}", Rejection::from(fault).public_text());
        concerns.push(Concern { what, details: String::new(), remedy, refuses: true });
    }
    if let Some(problems) = gateway.settings_problems() {
        concerns.push(Concern {
            what: "the settings that were read last are not in force".into(),
            details: problems.to_string(),
            remedy: "Mend the file, and have it read again: by SIGHUP, or by /-/reload.".into(),
            refuses: false,
        });
    }
    for (folder, report) in gateway.repairs().iter() {
        let folder = folder.file_name().unwrap_or_default().to_string_lossy();
        concerns.push(Concern {
            what: "the store was damaged, and built anew of all that could be read".into(),
            details: report.lines().next().unwrap_or_default().to_owned(),
            remedy: format!(
                "The groups that are not as they were are named in {folder}/report.txt in the folder of the \
                 store, beside its old files. Look at the disk; remove {folder} once it is of no more use."
            ),
            refuses: false,
        });
    }
    concerns
}

fn remedy(fault: &Fault) -> &'static str {
    match fault {
        Fault::Commit(error) if error.is_full() => {
            "Make room on the disk, or delete groups: that works while it is full. Pushes are taken again \
             by themselves once there is room."
        }
        Fault::Commit(_) => {
            "See to the disk, or to etcd; the log has the whole error. Pushes are taken again by themselves \
             once it can be written."
        }
        _ => "The log says more. The process ends by itself if it does not get better.",
    }
}
