//! All that is wrong with the gateway itself, with what to do about it: on every page, and where it is
//! asked whether the gateway is ready.

use crate::gateway::{Fault, Gateway};
use crate::http::rejection::Rejection;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Concern {
    pub(in crate::http) what: String,
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
        concerns.push(Concern { what, remedy, refuses: true });
    }
    if let Some(problems) = gateway.settings_problems() {
        concerns.push(Concern {
            what: format!("the settings that were read last are not in force: {problems}"),
            remedy: "Mend the file, and have it read again: by SIGHUP, or by /-/reload.".into(),
            refuses: false,
        });
    }
    for (folder, report) in gateway.repairs().iter() {
        let summary = report.lines().next().unwrap_or_default();
        concerns.push(Concern {
            what: format!("the store was damaged, and built anew of what could be read: {summary}"),
            remedy: format!(
                "The groups that are not as they were are named in {0}/report.txt, beside the old files. \
                 Look at the disk; remove {0} once it is of no more use.",
                folder.display()
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
