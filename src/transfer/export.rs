//! Out of a store or a running gateway, as push requests.

use std::io::Write;
use std::path::PathBuf;

use super::TransferError;
use super::progress::Progress;
use super::remote;
use super::requests::PUSHED;
use crate::client::{Client, Target};
use crate::config::Config;
use crate::exposition::persistence::ForeignGroup;
use crate::exposition::protobuf::encode;
use crate::exposition::push_path::path_of;
use crate::gateway::GroupContent;
use crate::model::labels::merged;
use crate::model::{Escaping, GroupingKey, MetricFamily};
use crate::store::Store;
use crate::time::UnixNanos;

/// Where the requests go.
#[derive(Debug)]
pub enum Destination {
    /// Standard output, or a file.
    Output(Option<PathBuf>),
    /// A gateway.
    Gateway(Target),
}

/// How much was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub groups: usize,
}

/// A group as a push.
struct Push {
    path: String,
    body: Vec<u8>,
    /// When the group was last pushed.
    pushed: Option<UnixNanos>,
}

const CONTENT_TYPE: &str = "application/vnd.google.protobuf; \
                            proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Exports the groups of a running gateway, or those of the store of the settings. Blocks.
pub fn export(
    config: &Config,
    source: Option<&Target>,
    destination: Destination,
) -> Result<Exported, TransferError> {
    let pushes: Vec<Push> = if let Some(gateway) = source {
        consistent(gateway)?.iter().map(foreign).collect()
    } else if config.cluster.is_some() {
        return Err(TransferError::Shared);
    } else {
        let store = Store::open_existing(&config.store)?;
        let mut pushes = Vec::new();
        for group in store.load()? {
            let group = group?;
            if group.removal.is_none() {
                pushes.push(stored(&group.try_into()?));
            }
        }
        store.close().map_err(crate::gateway::StoreCloseError::from)?;
        pushes
    };
    let mut progress = Progress::new("exporting", pushes.len());
    match destination {
        Destination::Gateway(gateway) => {
            let client = Client::new(gateway)?;
            for push in &pushes {
                client.put(&push.path, CONTENT_TYPE, &push.body)?;
                progress.step();
            }
        }
        Destination::Output(path) => {
            let mut out: Box<dyn Write> = match &path {
                Some(path) => Box::new(std::io::BufWriter::new(
                    std::fs::File::create(path).map_err(TransferError::Write)?,
                )),
                None => Box::new(std::io::stdout().lock()),
            };
            for push in &pushes {
                push.write(&mut out).map_err(TransferError::Write)?;
                progress.step();
            }
            out.flush().map_err(TransferError::Write)?;
        }
    }
    Ok(Exported { groups: pushes.len() })
}

/// The groups of a running gateway as they were at one moment: what it says at two is read again
/// where groups came or went in between.
fn consistent(gateway: &Target) -> Result<Vec<ForeignGroup>, TransferError> {
    const ATTEMPTS: usize = 20;
    let mut missed = 0;
    for _ in 0..ATTEMPTS {
        let remote = remote::read(gateway)?;
        if remote.missed == 0 {
            return Ok(remote.groups);
        }
        missed = remote.missed;
    }
    Err(TransferError::Restless { from: gateway.to_string(), count: missed })
}

impl Push {
    /// As it goes over the wire: requests behind one another are a valid connection.
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Self { path, body, pushed } = self;
        write!(out, "PUT {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: {CONTENT_TYPE}\r\n")?;
        if let Some(pushed) = pushed {
            let pushed = humantime::format_rfc3339_nanos(pushed.to_system_time());
            write!(out, "{PUSHED}: {pushed}\r\n")?;
        }
        write!(out, "Content-Length: {}\r\n\r\n", body.len())?;
        out.write_all(body)
    }
}

fn foreign(group: &ForeignGroup) -> Push {
    let mut body = Vec::new();
    for (_, family) in &group.families {
        push_family(&mut body, &group.key, family);
    }
    Push { path: path_of(&group.key), body, pushed: group.pushed }
}

fn stored(group: &GroupContent) -> Push {
    let mut body = Vec::new();
    for family in &group.families {
        let family = MetricFamily {
            name: family.name.clone(),
            help: family.help.clone(),
            kind: family.kind,
            unit: None,
            metrics: family.metrics.clone(),
        };
        push_family(&mut body, &group.key, &family);
    }
    Push { path: path_of(&group.key), body, pushed: group.pushed }
}

fn push_family(body: &mut Vec<u8>, key: &GroupingKey, family: &MetricFamily) {
    let mut message =
        encode::header(&family.name, family.help.as_deref(), family.kind, Escaping::AllowUtf8);
    for metric in &family.metrics {
        encode::metric(&mut message, metric, merged(key.metric_labels(), &metric.labels));
    }
    body.extend(encode::length_prefix(message.len()));
    body.extend(message);
}
