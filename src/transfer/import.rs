//! Into a store.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TransferError;
use super::progress::Progress;
use super::{remote, requests};
use crate::client::Target;
use crate::config::Config;
use crate::exposition::persistence::{self, ForeignGroup};
use crate::gateway::{Error, Gateway};
use crate::store::{ImportState, Store};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::SystemClock;

/// Where an import comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A persistence file, or requests as an export writes them.
    File(PathBuf),
    /// A gateway that runs.
    Gateway(Target),
}

/// The counts of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub groups: usize,
    pub families: usize,
    pub series: usize,
    /// Groups of which families were left out that contradict others.
    pub in_part: usize,
    /// Groups that were left out, and series that a running gateway has changed meanwhile.
    pub left_out: usize,
    pub missed: usize,
}

/// Imports into the store of the settings. A dry run reads everything, and changes nothing.
pub async fn import(
    config: &Config,
    source: Source,
    dry_run: bool,
) -> Result<Imported, TransferError> {
    let read = move || match source {
        Source::Gateway(gateway) => remote::read(&gateway),
        Source::File(file) => Ok(remote::Remote { groups: read_file(&file)?, missed: 0 }),
    };
    let remote = tokio::task::spawn_blocking(read).await??;
    if dry_run {
        return Ok(count(&remote.groups, remote.missed));
    }
    if config.cluster.is_some() {
        return Err(TransferError::Shared);
    }
    let (store, gateway) = (config.store.clone(), config.gateway.clone());
    let start = move || {
        let metrics = SelfMetrics::new().expect("the names of the self metrics differ");
        let store = Store::open(&store).map_err(crate::gateway::StartError::from)?;
        Gateway::start(store, gateway, Arc::new(SystemClock::new()), Arc::new(metrics))
    };
    let (gateway, mut lane, _) = tokio::task::spawn_blocking(start).await??;
    let imported = push_all(&gateway, remote.groups).await;
    lane.close().await?;
    tokio::task::spawn_blocking(|| gateway.close()).await??;
    Ok(Imported { missed: remote.missed, ..imported? })
}

/// Imports a persistence file into a store that is empty, and that nothing was imported into
/// before.
pub async fn import_once(
    gateway: &Gateway,
    file: &Path,
    groups: u64,
) -> Result<Option<Imported>, TransferError> {
    let path = file.display();
    match gateway.import_state()? {
        ImportState::Done => return Ok(None),
        ImportState::Begun => {
            tracing::warn!(%path, "an import was broken off; it begins anew");
            gateway.wipe().await?;
        }
        ImportState::None if groups > 0 => {
            tracing::info!(%path, "the store is not empty; the persistence file is not imported");
            gateway.note_import(ImportState::Done)?;
            return Ok(None);
        }
        ImportState::None => {}
    }
    // All of it, before anything is changed.
    let groups = match read_file(file) {
        Ok(groups) => groups,
        Err(TransferError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            tracing::info!(%path, "there is no persistence file to import");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    gateway.note_import(ImportState::Begun)?;
    let imported = push_all(gateway, groups).await?;
    gateway.note_import(ImportState::Done)?;
    tracing::info!(%path, %imported, "imported the persistence file");
    Ok(Some(imported))
}

fn read_file(path: &Path) -> Result<Vec<ForeignGroup>, TransferError> {
    let bytes =
        fs::read(path).map_err(|source| TransferError::File { path: path.to_owned(), source })?;
    let read = if bytes.starts_with(requests::BEGINNING) {
        requests::read(&bytes)
    } else {
        persistence::read(&bytes)
    };
    read.map_err(|reason| TransferError::Persistence { path: path.to_owned(), reason })
}

fn count(groups: &[ForeignGroup], missed: usize) -> Imported {
    let mut found = Imported { groups: groups.len(), missed, ..Imported::default() };
    for group in groups {
        found.add(group);
    }
    found
}

/// Pushes with some at a time under way, so that the disk is synced for many at once.
async fn push_all(gateway: &Gateway, groups: Vec<ForeignGroup>) -> Result<Imported, TransferError> {
    const AT_A_TIME: usize = 256;
    let mut imported = Imported::default();
    let mut progress = Progress::new("importing", groups.len());
    let mut groups = groups.into_iter();
    let mut pushes = tokio::task::JoinSet::new();
    loop {
        while pushes.len() < AT_A_TIME
            && let Some(group) = groups.next()
        {
            let gateway = gateway.clone();
            pushes.spawn(async move { push(&gateway, group).await });
        }
        let Some(pushed) = pushes.join_next().await else { return Ok(imported) };
        imported += pushed??;
        progress.step();
    }
}

/// Pushes a group; where parts of it contradict others, without these.
async fn push(gateway: &Gateway, group: ForeignGroup) -> Result<Imported, TransferError> {
    let mut imported = Imported::default();
    imported.add(&group);
    imported.groups = 1;
    let key = group.key.clone();
    let refused = match gateway.import(group.clone(), false).await {
        Ok(()) => return Ok(imported),
        Err(Error::Fault(fault)) => return Err(fault.into()),
        Err(Error::Refused(refused)) => refused,
    };
    tracing::warn!(group = %key, reason = %refused, "a group contradicts stored groups");
    match gateway.import(group, true).await {
        Ok(()) => Ok(Imported { in_part: 1, ..imported }),
        Err(Error::Fault(fault)) => Err(fault.into()),
        Err(Error::Refused(reason)) => {
            tracing::warn!(group = %key, %reason, "a group is left out");
            Ok(Imported { left_out: 1, ..Imported::default() })
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Gateway(gateway) => gateway.fmt(f),
        }
    }
}

impl Imported {
    fn add(&mut self, group: &ForeignGroup) {
        self.families += group.families.len();
        self.series += group.families.iter().map(|(_, family)| family.metrics.len()).sum::<usize>();
    }
}

impl std::ops::AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        self.groups += other.groups;
        self.families += other.families;
        self.series += other.series;
        self.in_part += other.in_part;
        self.left_out += other.left_out;
        self.missed += other.missed;
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { groups, families, series, in_part, left_out, missed } = self;
        write!(f, "{groups} groups, {families} families, {series} series")?;
        for (count, what) in [
            (in_part, "groups without families that contradict others"),
            (left_out, "groups left out that contradict others"),
            (missed, "series that changed meanwhile left out"),
        ] {
            if *count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}
