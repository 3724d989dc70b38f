//! The process: builds every part, owns every task, stops them in order. The only file that knows
//! all the parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::config::{Config, Problems};
use crate::gateway::{self, Gateway, LaneError, LaneHandle, Loaded, StartError};
use crate::http::replicas::watch_leader;
use crate::http::{Access, BindError, Hooks, Readiness, ReloadReply, Server};
use crate::reload::{self, Load, Reading, Reloading, Settings};
use crate::store::Store;
use crate::store::etcd::{self, EtcdStore};
use crate::tasks::{TaskError, TaskSet, beat, reaper, sampler, supervisor, watchdog};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::Clock;
use crate::transfer::{self, TransferError};
use crate::webhook;

/// A gateway whose sockets are bound, and that has not touched its store.
#[expect(missing_debug_implementations, reason = "it has a closure")]
pub struct App {
    config: Config,
    clock: Arc<dyn Clock>,
    server: Server,
    metrics: Arc<SelfMetrics>,
    readiness: Readiness,
    load: Load,
    reload: (mpsc::Sender<ReloadReply>, mpsc::Receiver<ReloadReply>),
}

/// Why the gateway could not start, or had to stop.
#[derive(Debug, Error)]
pub enum AppError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot set up the self metrics")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("a part of the gateway panicked")]
    Panicked(#[from] JoinError),
    #[error("cannot import the persistence file (persistence.file)")]
    Import(#[from] TransferError),
    #[error("the settings that the cluster has do not go with those of this replica:\n{0}")]
    Shared(#[from] Problems),
    #[error("the system has no random bytes")]
    NoRandomBytes,
    #[error("the server stopped by itself")]
    NotServing,
    #[error("{0} connections were cut off: their requests did not finish in time")]
    CutOff(usize),
}

/// For answers to get out once a part of the gateway has failed.
const FAILED_GRACE: Duration = Duration::from_secs(1);
/// For background tasks to stop; they have nothing to finish.
const TASK_GRACE: Duration = Duration::from_secs(5);

impl App {
    /// Binds the sockets, so that a taken port is found before anything is touched. `load` reads the
    /// settings again.
    pub async fn bind(config: Config, load: Load, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let metrics = Arc::new(SelfMetrics::new()?);
        let server = Server::bind(config.http.clone(), &metrics).await?;
        let (readiness, reload) = (Readiness::default(), mpsc::channel(16));
        Ok(Self { config, clock, server, metrics, readiness, load, reload })
    }

    /// The addresses that are listened on.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.server.local_addresses()
    }

    /// Has the settings read again, as `/-/reload` does.
    pub fn reloads(&self) -> mpsc::Sender<ReloadReply> {
        self.reload.0.clone()
    }

    /// Restores what is stored, serves until `stop` completes, and stops in stages. From the start
    /// requests are answered: with 503 until everything is restored.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let Self { config, clock, server, metrics, readiness, load, reload } = self;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let settings = Settings::new(&config);
        for address in server.local_addresses() {
            tracing::info!(%address, "listening");
        }
        if server.is_tls() {
            tracing::info!("TLS is enabled");
        }
        let (quit, web_config) = (server.quit(), server.web_config());
        let (stop_server, server_stopped) = oneshot::channel::<()>();
        let (reload, reloads) = reload;
        let access = Access::new(config.http.access.clone());
        warn_if_open(&config, &server);
        let hooks = Hooks {
            access: access.clone(),
            reload,
            parse_ttl: {
                let load = Arc::clone(&load);
                Arc::new(move |text| {
                    let config =
                        load(Reading::Proposed(text)).map_err(|problems| problems.to_string())?;
                    Ok((config.gateway.ttl, config.warnings))
                })
            },
            settings: {
                let settings = settings.clone();
                Arc::new(move || settings.to_json())
            },
        };
        let serving = server.serve(
            readiness.clone(),
            hooks,
            config.gateway.names,
            clock.wall(),
            async {
                // An error means that the sender was dropped: that is to stop, too.
                let _ = server_stopped.await;
            },
            config.shutdown_grace,
        );
        let mut serving = spawn(serving);
        tokio::pin!(stop);
        let started = start(&config, &load, &clock, metrics, stop.as_mut()).await;
        let Started { gateway, mut lane, shared } = match started {
            Ok(Some(started)) => started,
            ended => {
                drop(stop_server);
                serving.abort();
                return ended.map(drop);
            }
        };
        let watched = config.file.clone().filter(|_| config.watch);
        let reloading =
            Reloading { load, settings, access, web_config, watched, requests: reloads };
        let mut tasks = background(&config, &gateway, &clock, reloading, shared);
        gateway.reloaded(None);
        readiness.ready(gateway.clone());
        supervisor::ready();
        tracing::info!("ready");

        let mut served = None;
        let ended: Result<(), AppError> = tokio::select! {
            () = stop.as_mut() => Ok(()),
            () = quit.notified() => Ok(()),
            error = tasks.failed() => Err(error.into()),
            ended = lane.ended() => Err(ended.err().unwrap_or(LaneError::Panicked).into()),
            cut_off = &mut serving => {
                served = Some(cut_off?);
                Err(AppError::NotServing)
            }
        };
        supervisor::stopping();
        if let Err(error) = ended {
            // Nothing that is left can be relied on: the sooner a supervisor starts it again, the
            // better. Every acknowledged push is on disk.
            readiness.failed(&error.to_string());
            drop(stop_server);
            if served.is_none() {
                let _ = tokio::time::timeout(FAILED_GRACE, &mut serving).await;
                serving.abort();
            }
            return Err(error);
        }
        // First what feeds the lane, then the lane.
        readiness.stopping();
        gateway.stopping().await;
        drop(stop_server);
        let cut_off = match served {
            Some(cut_off) => cut_off,
            None => serving.await?,
        };
        let stopped = tasks.stop(TASK_GRACE).await;
        // Not under any deadline: what was acknowledged must be on disk before we leave.
        lane.close().await?;
        stopped?;
        drop(readiness);
        if let Err(error) = tokio::task::spawn_blocking(|| gateway.close()).await? {
            tracing::warn!(%error, "the store was not sealed; the next start will recover it");
        }
        if cut_off > 0 { Err(AppError::CutOff(cut_off)) } else { Ok(()) }
    }
}

/// Says that everybody may do everything, where that is so.
fn warn_if_open(config: &Config, server: &Server) {
    if config.http.access.tokens.is_empty() && !server.has_users() {
        tracing::warn!(
            "open to everybody: there are neither [[access.tokens]] nor users in web.config.file"
        );
    }
}

/// Starts what goes on beside the requests.
fn background(
    config: &Config,
    gateway: &Gateway,
    clock: &Arc<dyn Clock>,
    reloading: Reloading,
    shared: Option<(etcd::Watching, etcd::Keeping)>,
) -> TaskSet {
    let mut tasks = TaskSet::default();
    if let Some((watching, keeping)) = shared {
        tasks.spawn("watch", |stop| watching.run(stop));
        tasks.spawn("lease", |stop| keeping.run(stop));
        tasks.spawn("beat", |stop| beat::run(gateway.clone(), stop));
        tasks.spawn("size of etcd", |stop| beat::watch_size(gateway.clone(), stop));
        if let Some(options) = config.http.replicas.clone() {
            tasks.spawn("presence", |stop| watch_leader(gateway.clone(), options, stop));
        }
    }
    tasks.spawn("reaper", |stop| reaper::run(gateway.clone(), Arc::clone(clock), stop));
    tasks.spawn("sampler", |stop| sampler::run(gateway.clone(), Arc::clone(clock), stop));
    tasks.spawn("reload", |stop| reload::run(gateway.clone(), reloading, stop));
    if let Some(options) = config.notify.clone() {
        tasks.spawn("webhook", |stop| webhook::run(gateway.clone(), options, stop));
    }
    let commit_timeout = config.commit_timeout;
    tasks.spawn("watchdog", |stop| watchdog::run(gateway.clone(), commit_timeout, stop));
    tasks
}

#[expect(clippy::disallowed_methods, reason = "the app joins the server itself")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// A gateway that has loaded what is stored.
struct Started {
    gateway: Gateway,
    lane: LaneHandle,
    /// The tasks that belong to it, where replicas share the store.
    shared: Option<(etcd::Watching, etcd::Keeping)>,
}

/// Opens the store and restores it; `None` if it was stopped before.
async fn start(
    config: &Config,
    load: &Load,
    clock: &Arc<dyn Clock>,
    metrics: Arc<SelfMetrics>,
    stop: impl Future<Output = ()>,
) -> Result<Option<Started>, AppError> {
    let began = Instant::now();
    let mut options = config.gateway.clone();
    let (store, feed, shared) = match &config.cluster {
        None => {
            let store_options = config.store.clone();
            tracing::info!(path = %config.store.path.display(), "opening the store");
            let opened = tokio::task::spawn_blocking(move || Store::open(&store_options));
            let store = opened.await?.map_err(StartError::from)?;
            metrics.store_is_in(config.store.path.clone())?;
            (store, None, None)
        }
        Some(cluster) => {
            let etcd::Options { name, id, .. } = &cluster.etcd;
            tracing::info!(name, id, "joining the cluster");
            let wall = Arc::clone(clock);
            let connected = EtcdStore::connect(
                &cluster.etcd,
                &options.ttl,
                instance()?,
                Arc::new(move || wall.wall()),
            );
            // etcd may be waited for.
            let connected = tokio::select! {
                connected = connected => connected.map_err(StartError::from)?,
                () = stop => return Ok(None),
            };
            let etcd::Connected { store, feed, watching, keeping } = connected;
            if let Some((_, proposal)) = store.policy()
                && proposal.settings != cluster.etcd.settings
            {
                tracing::warn!(
                    "the cluster has other shared settings than this replica, and they stay in force: a \
                     reload has those of this replica count for all, for each from its next start on"
                );
                let in_cluster = load(Reading::InCluster(&proposal.settings))?;
                options = gateway::Options { ttl: options.ttl, ..in_cluster.gateway };
            }
            (Store::Etcd(Arc::new(store)), Some(feed), Some((watching, keeping)))
        }
    };
    let clock = Arc::clone(clock);
    let started = tokio::task::spawn_blocking(move || {
        Gateway::start_with(store, feed, options, clock, metrics)
    });
    let (gateway, lane, loaded) = started.await??;
    let Loaded { groups, series, expired, .. } = loaded;
    let took = began.elapsed();
    tracing::info!(groups, series, expired, ?took, "loaded the store");
    if let Some(file) = &config.persistence_file {
        transfer::import_once(&gateway, file, groups).await?;
    }
    let ttl = gateway.ttl_policy();
    tracing::info!(default = %ttl.default, rules = ttl.rules.len(), "groups expire after their TTL");
    Ok(Some(Started { gateway, lane, shared }))
}

/// A name of this run that no other has.
fn instance() -> Result<String, AppError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| AppError::NoRandomBytes)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
