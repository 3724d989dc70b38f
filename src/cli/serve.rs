//! `tidegate`: serves until a signal.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

use super::{Ended, Failure, failed};
use crate::app::App;
use crate::config::{Config, FlagSettings};
use crate::reload::{Load, Reading};
use crate::shutdown::{Request, Signals};
use crate::telemetry::log;
use crate::time::SystemClock;

pub(super) fn run(flags: FlagSettings, restart: fn()) -> Result<Ended, Failure> {
    let config = Config::load(&flags).map_err(failed("invalid settings"))?;
    restart();
    log::init(config.log);
    // From now on all goes to the log.
    start(config, flags).map_err(Failure::logged)
}

fn start(config: Config, flags: FlagSettings) -> Result<Ended, Failure> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting tidegate");
    raise_file_limit();
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(failed("cannot start"))?;
    let ended = runtime.block_on(serve(config, flags));
    // Nothing is left to finish but, after a second signal, what was not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, flags: FlagSettings) -> Result<Ended, Failure> {
    let mut signals = Signals::new().map_err(failed("cannot listen for signals"))?;
    let load: Load = Arc::new(move |reading| match reading {
        Reading::Own => Config::load(&flags),
        Reading::Proposed(text) => Config::load_proposed(&flags, text),
        Reading::InCluster(settings) => Config::load_in_cluster(&flags, settings),
    });
    let app = App::bind(config, load, Arc::new(SystemClock::new())).await;
    let app = app.map_err(failed("cannot start"))?;
    let reloads = app.reloads();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = app.run(async {
        let _ = stopped.await;
    });
    tokio::pin!(running);
    let mut stop = Some(stop);
    loop {
        let asked = tokio::select! {
            ended = &mut running => {
                ended.map_err(failed("stopped"))?;
                tracing::info!("stopped");
                return Ok(Ended::well(""));
            }
            asked = signals.next() => asked,
        };
        match asked {
            // The log has the outcome. Full: it is about to be done.
            Request::Reload => drop(reloads.try_send(tokio::sync::oneshot::channel().0)),
            Request::Stop(signal) if stop.take().is_some() => {
                tracing::info!(signal, "stopping; a second signal stops at once");
            }
            Request::Stop(signal) => {
                tracing::warn!(signal, "stopping at once");
                return Ok(Ended { text: String::new(), well: false });
            }
        }
    }
}

/// Takes as many file descriptors as the host allows: a shell or a supervisor often gives 1024 at
/// first, for programs that cannot do with more, and that is less than `limits.connections`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of file descriptors");
    }
}
