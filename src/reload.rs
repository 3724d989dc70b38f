//! Reads the settings again, when asked to or when their file changes.
//!
//! Promises
//! - Settings that are not valid change nothing, and everything that is wrong with them is said.
//! - What can be replaced while the gateway runs is replaced; of the rest it is said that it needs a
//!   restart.
//! - A file that changed and no longer keeps anything from anybody, as one that is being written, does
//!   not open the gateway: that takes somebody who asks for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, InForce, Problems};
use crate::gateway::{Fault, Gateway};
use crate::http::{Access, ReloadReply, WebConfig};
use crate::store::SharedSettings;
use crate::tasks::supervisor;

/// Reads the settings from where they were read at the start; those of the file from this text, if
/// there is one.
pub type Load = Arc<dyn Fn(Reading<'_>) -> Result<Config, Problems> + Send + Sync>;

/// The places from which settings are read.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// Those of this process: flags, environment, file.
    Own,
    /// The same, as if the file had this text.
    Proposed(&'a str),
    /// The same, but those that a cluster has.
    InCluster(&'a SharedSettings),
}

/// The settings in force, for people.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Held to read or replace.
    in_force: Arc<RwLock<Vec<InForce>>>,
}

/// How the settings are read again.
#[expect(missing_debug_implementations, reason = "it has a closure")]
pub struct Reloading {
    pub load: Load,
    pub settings: Settings,
    pub access: Access,
    /// Which is read again by itself; by a reload even if it asks for less than before.
    pub web_config: Option<Arc<WebConfig>>,
    /// The file to watch.
    pub watched: Option<PathBuf>,
    pub requests: mpsc::Receiver<ReloadReply>,
}

/// The sources that are read again, and the parts that take them over.
struct Parts {
    gateway: Gateway,
    load: Load,
    settings: Settings,
    access: Access,
    web_config: Option<Arc<WebConfig>>,
}

/// The cause of a reload: somebody asked for it, or a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Request,
    File,
}

/// The outcome of a reload.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    replaced: Vec<&'static str>,
    needs_restart: Vec<&'static str>,
    warnings: Vec<String>,
}

/// Lists of tables, which are replaced while the gateway runs and are no row of the table of settings.
const RULES: &str = "ttl.rules";
const TOKENS: &str = "access.tokens";

/// A file that is written in several steps is read once they are done.
const SETTLE: Duration = Duration::from_millis(200);

impl Settings {
    /// Those of the start.
    pub fn new(config: &Config) -> Self {
        Self { in_force: Arc::new(RwLock::new(config.in_force.clone())) }
    }

    /// All of them but the lists of tables, by name, with value and origin.
    pub fn to_json(&self) -> Value {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        let setting = |setting: &InForce| {
            let InForce { name, origin, .. } = setting;
            ((*name).to_owned(), json!({ "value": setting.shown(), "origin": origin }))
        };
        in_force.iter().map(setting).collect::<Map<_, _>>().into()
    }

    /// Whether they have the values of these.
    fn are_those_of(&self, config: &Config) -> bool {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        in_force.iter().zip(&config.in_force).all(|(old, new)| old.is_as(new))
    }

    /// Takes over those that a reload replaces, and names those and the others that have changed.
    fn replace(&self, config: &Config) -> Outcome {
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Outcome { warnings: config.warnings.clone(), ..Outcome::default() };
        for (old, new) in in_force.iter_mut().zip(&config.in_force) {
            if old.is_as(new) {
                continue;
            }
            if old.live {
                outcome.replaced.push(old.name);
                *old = new.clone();
            } else {
                outcome.needs_restart.push(old.name);
            }
        }
        outcome
    }
}

impl Outcome {
    fn text(&self) -> String {
        let mut lines = vec![match self.replaced.as_slice() {
            [] => "no setting that can be replaced has changed".to_owned(),
            names => format!("replaced: {}", names.join(", ")),
        }];
        if !self.needs_restart.is_empty() {
            let names = self.needs_restart.join(", ");
            lines.push(format!("changed, but only a restart replaces them: {names}"));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.join("\n") + "\n"
    }
}

/// Reads the settings whenever it is asked to, until it is stopped.
pub async fn run(gateway: Gateway, reloading: Reloading, stop: CancellationToken) {
    let Reloading { load, settings, access, web_config, watched, mut requests } = reloading;
    let all = Parts { gateway, load, settings, access, web_config };
    let (changed, mut changes) = mpsc::channel(1);
    let mut watch = watched.as_deref().and_then(|file| Watch::new(file, changed));
    let mut last = watched.as_deref().map(read);
    // It may have changed since the start read it, before it was watched. Of replicas the policy in force
    // may be another than that of the file, and a start is not to change it.
    let alone = all.gateway.cluster().is_none();
    if alone
        && watched.is_some()
        && !(all.load)(Reading::Own).is_ok_and(|config| all.are_those_of(&config))
    {
        let _ = reload(&all, Trigger::File).await;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(reply) = requests.recv() => {
                last = watched.as_deref().map(read);
                // Another replica may have to be waited for.
                let reloaded = reload(&all, Trigger::Request);
                let Some(reloaded) = stop.run_until_cancelled(reloaded).await else { return };
                // The client may have left.
                let _ = reply.send(reloaded);
            }
            Some(()) = changes.recv() => {
                tokio::time::sleep(SETTLE).await;
                // Before it is read, so that nothing is missed in between.
                if let Some(watch) = &mut watch {
                    watch.follow();
                }
                let now = watched.as_deref().map(read);
                if now != last {
                    last = now;
                    // The log has the outcome.
                    let _ = stop.run_until_cancelled(reload(&all, Trigger::File)).await;
                }
            }
        }
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    std::fs::read(file).ok()
}

/// Watches the folder of a file, as files are often replaced rather than written to; and that of the
/// file that a link leads to.
struct Watch {
    /// Dropped, it would watch no longer.
    watcher: RecommendedWatcher,
    file: PathBuf,
    /// The folder of what the file was a link to when that was last looked at.
    target: Option<PathBuf>,
}

impl Watch {
    fn new(file: &Path, changed: mpsc::Sender<()>) -> Option<Self> {
        let notice = move |event: notify::Result<notify::Event>| {
            // Reading the file is an event, too, and must not lead to reading it.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                // Full: it is known already.
                let _ = changed.try_send(());
            }
        };
        let watching = notify::recommended_watcher(notice).and_then(|mut watcher| {
            watcher.watch(&folder(file), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => {
                tracing::info!(file = %file.display(), "watching the settings file");
                let mut watch = Self { watcher, file: file.to_owned(), target: None };
                watch.follow();
                Some(watch)
            }
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "cannot watch the settings file; SIGHUP has it read");
                None
            }
        }
    }

    /// Watches what the file leads to now, where that has changed.
    fn follow(&mut self) {
        let own = std::fs::canonicalize(folder(&self.file)).ok();
        let target = std::fs::canonicalize(&self.file).ok().map(|target| folder(&target));
        let target = target.filter(|target| own.as_ref() != Some(target));
        if target == self.target {
            return;
        }
        if let Some(old) = self.target.take() {
            // An error means that it was dropped.
            let _ = self.watcher.unwatch(&old);
        }
        if let Some(new) = target {
            match self.watcher.watch(&new, RecursiveMode::NonRecursive) {
                Ok(()) => self.target = Some(new),
                Err(error) => {
                    tracing::warn!(folder = %new.display(), %error, "cannot watch what the settings file leads to");
                }
            }
        }
    }
}

fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

impl Parts {
    /// Whether a file that reads so changes nothing.
    fn are_those_of(&self, config: &Config) -> bool {
        self.settings.are_those_of(config)
            && *self.gateway.ttl_policy() == config.gateway.ttl
            && *self.access.current() == config.http.access
    }
}

async fn reload(parts: &Parts, trigger: Trigger) -> Result<String, String> {
    supervisor::reloading();
    let reloaded = replace(parts, trigger).await;
    supervisor::ready();
    parts.gateway.reloaded(reloaded.as_ref().err().map(String::as_str));
    match &reloaded {
        Ok(outcome) => {
            let (replaced, needs_restart) =
                (outcome.replaced.join(", "), outcome.needs_restart.join(", "));
            tracing::info!(replaced, needs_restart, "reloaded the settings");
            for warning in &outcome.warnings {
                tracing::warn!("{warning}");
            }
        }
        Err(problems) => tracing::error!(%problems, "the settings stay as they are"),
    }
    reloaded.map(|outcome| outcome.text())
}

async fn replace(parts: &Parts, trigger: Trigger) -> Result<Outcome, String> {
    let Parts { gateway, load, settings, access, web_config } = parts;
    let config = load(Reading::Own).map_err(|problems| problems.to_string())?;
    let users = web_config.as_ref().is_some_and(|web_config| web_config.has_users());
    config.http.access.check(users).map_err(|error| error.to_string())?;
    let mut needs_restart = None;
    match trigger {
        Trigger::File => {
            let guards = access.current().guards_beyond(&config.http.access);
            if let Some(what) = guards {
                return Err(format!(
                    "{what} was taken out, which lets anybody do more: a reload (SIGHUP or \
                     /-/reload) or a restart has it count"
                ));
            }
        }
        // First, as it changes nothing where something is wrong.
        Trigger::Request => {
            if let Some(web_config) = web_config {
                needs_restart = web_config.read_again().map_err(|error| error.to_string())?;
            }
        }
    }
    let rules = gateway.ttl_policy().rules != config.gateway.ttl.rules;
    let tokens = access.current().tokens != config.http.access.tokens;
    let policy = config.gateway.ttl.clone();
    let shared = config.cluster.as_ref().map(|cluster| cluster.etcd.settings.clone());
    let set = gateway.set_policy(policy, shared.unwrap_or_default()).await;
    set.map_err(|fault: Fault| fault.to_string())?;
    access.replace(config.http.access.clone());
    let mut outcome = settings.replace(&config);
    outcome.replaced.extend(rules.then_some(RULES));
    outcome.replaced.extend(tokens.then_some(TOKENS));
    outcome.needs_restart.extend(needs_restart);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays() {
        let settings = Settings::new(&config("[ttl]\ndefault = \"1h\"\n"));
        let new = config("[ttl]\ndefault = \"2h\"\n[storage]\npath = \"elsewhere\"\n");
        let outcome = settings.replace(&new);
        assert_eq!(outcome.replaced, ["ttl.default"]);
        assert_eq!(outcome.needs_restart, ["storage.path"]);
        let shown = settings.to_json();
        assert_eq!(shown["ttl.default"]["value"], "2h");
        assert_eq!(shown["storage.path"]["value"], "data");
        assert_eq!(settings.replace(&new).replaced, Vec::<&str>::new());
    }
}
