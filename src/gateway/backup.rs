//! A backup of a running gateway: all that is stored at one moment between the begin and the end.

use std::io;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Gateway;
use crate::store::BackupError;

/// So many parts wait for whoever takes them.
const PARTS_AHEAD: usize = 4;

impl Gateway {
    /// The parts of a backup, in order; after an error there are no more. It is made on a thread of its
    /// own, and no longer than somebody takes it.
    pub fn back_up(&self) -> io::Result<mpsc::Receiver<Result<Bytes, BackupError>>> {
        let (send, parts) = mpsc::channel(PARTS_AHEAD);
        let gateway = self.clone();
        thread::Builder::new().name("backup".into()).spawn(move || {
            let mut part =
                |bytes| send.blocking_send(Ok(bytes)).map_err(|_| BackupError::Abandoned);
            if let Err(error) = gateway.shared.store.back_up(&mut part) {
                // Nobody is told who has left.
                let _ = send.blocking_send(Err(error));
            }
        })?;
        Ok(parts)
    }
}
