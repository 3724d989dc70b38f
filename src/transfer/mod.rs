//! To and from other gateways: a Go Pushgateway's persistence file, a running gateway, push
//! requests.
//!
//! Promises
//! - What cannot be read to its end changes nothing.
//! - An import that was broken off begins anew.

mod backup;
mod export;
mod import;
mod progress;
mod remote;
mod requests;

use std::path::PathBuf;

use thiserror::Error;

pub use backup::{back_up, restore};
pub use export::{Destination, Exported, export};
pub use import::{Imported, Source, import, import_once};

use crate::client::ClientError;
use crate::gateway::{Fault, LaneError, StartError, StoreCloseError};
use crate::store::{OpenError, ReadError, RepairError};

/// Why nothing, or not all, was transferred.
#[derive(Debug, Error)]
pub enum TransferError {
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Persistence { path: PathBuf, reason: String },
    #[error(transparent)]
    Remote(#[from] ClientError),
    #[error("{from}: {count} series changed while they were read, again and again; try later")]
    Restless { from: String, count: usize },
    #[error(
        "the settings are those of a replica, whose groups are in etcd and not in storage.path: name the URL of \
         a replica to export from, and export to one (--to) what it is to import"
    )]
    Shared,
    #[error("the backup was cut off: {0}")]
    CutOff(String),
    #[error(transparent)]
    Restore(#[from] RepairError),
    #[error("cannot write what is exported")]
    Write(#[source] std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Close(#[from] StoreCloseError),
    #[error("a part of the transfer panicked")]
    Panicked(#[from] tokio::task::JoinError),
}
