//! How far the gateway is: starting, ready, stopping or failed.

use std::sync::{Arc, PoisonError, RwLock};

use super::rejection::Rejection;
use crate::gateway::Gateway;

/// How far the gateway is. Moves forward only.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Held to read or replace; never across an await.
    stage: Arc<RwLock<Stage>>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Stage {
    #[default]
    Starting,
    Ready(Gateway),
    Stopping(Gateway),
    /// With the reason.
    Failed(Gateway, Arc<str>),
}

impl Readiness {
    /// The gateway has loaded what is stored.
    pub fn ready(&self, gateway: Gateway) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = Stage::Ready(gateway);
    }

    /// The gateway is about to stop. Requests are still served.
    pub fn stopping(&self) {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Ready(gateway) = &*stage {
            gateway.events().close();
            *stage = Stage::Stopping(gateway.clone());
        }
    }

    /// A part that the gateway needs has ended: the process is about to end.
    pub fn failed(&self, reason: &str) {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Ready(gateway) | Stage::Stopping(gateway) = &*stage {
            gateway.events().close();
            *stage = Stage::Failed(gateway.clone(), reason.into());
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn gateway(&self) -> Result<Gateway, Rejection> {
        match self.stage() {
            Stage::Starting => Err(Rejection::Starting),
            Stage::Ready(gateway) | Stage::Stopping(gateway) | Stage::Failed(gateway, _) => {
                Ok(gateway)
            }
        }
    }
}
