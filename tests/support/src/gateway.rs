//! A gateway in this process, on port 0, in a folder of its own, on a clock that tests move.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::app::{App, AppError};
use tidegate::config::{Config, Problems};
use tidegate::reload::Reading;
use tidegate::time::{Clock as _, ManualClock, UnixNanos};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::client::Client;
use super::wait::eventually;

/// When tests begin: not a whole second, so that lost precision shows.
pub const START: UnixNanos = UnixNanos(1_700_000_000_500_000_000);

/// A gateway that runs. [`Gateway::stop`] must be called: only it sees how the gateway ended.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    clock: ManualClock,
    settings: String,
    folder: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), AppError>>>,
}

/// A gateway that was stopped, with all that the next one finds.
#[derive(Debug)]
pub struct Stopped {
    folder: TempDir,
    /// Goes on while nobody runs.
    wall: UnixNanos,
    settings: String,
}

// === impl Gateway ===

impl Gateway {
    /// Starts with settings in TOML, in a new folder.
    #[track_caller]
    pub fn start(settings: &str) -> Self {
        Self::start_at(START, settings)
    }

    /// As `start`, at another time of day.
    #[track_caller]
    pub fn start_at(wall: UnixNanos, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        Stopped { folder, wall, settings: settings.to_owned() }.start()
    }

    /// Writes other settings to the file that the gateway has its own from.
    pub fn write_settings(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
        let folder = self.folder.as_ref().expect("it is there until the gateway stops");
        std::fs::write(folder.path().join("tidegate.toml"), settings).unwrap();
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sets the clock of the host, as an operator or NTP does.
    pub fn set_host_clock_by(&self, by_ms: i64) {
        self.clock.step_wall_ms(by_ms);
    }

    /// The time of day.
    pub fn wall(&self) -> UnixNanos {
        self.clock.wall()
    }

    /// The time of day in seconds, as an exposition writes it.
    pub fn wall_text(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "the precision of the exposition")]
        let seconds = self.wall().0 as f64 / 1e9;
        // In Go's form of floats, for the years between 2001 and 2286.
        format!("{seconds:e}").replace('e', "e+0")
    }

    /// Asks it to stop, and returns at once.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it in order.
    #[track_caller]
    pub fn stop(mut self) -> Stopped {
        self.begin_stop();
        let running = self.running.take().expect("it runs until here");
        running.join().expect("it did not panic").expect("it stopped in order");
        let folder = self.folder.take().expect("it is there until here");
        Stopped { folder, wall: self.clock.wall(), settings: self.settings.clone() }
    }

    /// Stops it, and starts another where it was.
    #[track_caller]
    pub fn restart(self) -> Self {
        self.stop().start()
    }
}

impl Deref for Gateway {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let forgotten = self.running.is_some() && !std::thread::panicking();
        assert!(!forgotten, "every test ends with gateway.stop()");
    }
}

// === impl Stopped ===

impl Stopped {
    /// Lets time pass while no gateway runs.
    pub fn advance(&mut self, by: Duration) {
        self.wall.0 += i64::try_from(by.as_nanos()).unwrap();
    }

    /// Has the host clock say something else at the next start.
    pub fn set_host_clock(&mut self, wall: UnixNanos) {
        self.wall = wall;
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts again with other settings.
    #[track_caller]
    pub fn start_with(mut self, settings: &str) -> Gateway {
        settings.clone_into(&mut self.settings);
        self.start()
    }

    /// Starts again.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let Self { folder, wall, settings } = self;
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, &settings).unwrap();
        let store = folder.path().join("store");
        let load = move |reading: Reading<'_>| -> Result<Config, Problems> {
            let mut config = match reading {
                Reading::Proposed(text) => Config::from_toml(text)?,
                Reading::Own | Reading::InCluster(_) => Config::from_file(&file)?,
            };
            config.http.listen = vec!["127.0.0.1:0".to_owned()];
            config.store.path.clone_from(&store);
            config.file = Some(file.clone());
            Ok(config)
        };
        let config = load(Reading::Own).expect("the settings are valid");
        // A new clock, as a new process has: the store has all that it must know of the last one.
        let clock = ManualClock::at(wall);
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app =
            runtime.block_on(App::bind(config, Arc::new(load), Arc::new(clock.clone()))).unwrap();
        let client = Client::new(app.local_addresses()[0]);
        let (stop, stopped) = oneshot::channel();
        let running = std::thread::spawn(move || run(&runtime, app, stopped));
        eventually("ready", || {
            assert!(!running.is_finished(), "the gateway did not start");
            (client.get("/-/ready").status == 200).then_some(())
        });
        let (folder, stop, running) = (Some(folder), Some(stop), Some(running));
        Gateway { client, clock, settings, folder, stop, running }
    }
}

fn run(runtime: &Runtime, app: App, stopped: oneshot::Receiver<()>) -> Result<(), AppError> {
    runtime.block_on(app.run(async {
        // An error means that the test dropped its end: that is to stop, too.
        let _ = stopped.await;
    }))
}
