//! The judges: Prometheus servers of several versions, which scrape what a gateway exposes in every
//! format under every escaping scheme; promtool; and the OpenMetrics parser of the Python client.
//!
//! The servers scrape this process, which shows them what it took from the gateway last: so it is
//! known what each has seen, and one that asks for nothing but text is shown the rest, too.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use support::{Client, eventually, part};

const SCHEMES: [&str; 4] = ["underscores", "dots", "values", "allow-utf-8"];

const FORMATS: [(&str, &str); 3] = [
    ("text", "text/plain;version=0.0.4"),
    (
        "protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ),
    ("openmetrics", "application/openmetrics-text;version=1.0.0"),
];

/// Each server asks as it does by itself.
const OWN: &str = "own";

/// Something that a judge has to say of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Complaint {
    pub(crate) judge: &'static str,
    pub(crate) said: String,
}

/// Which judges are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    prometheus: bool,
    python: bool,
    promtool: bool,
}

impl Asked {
    pub(crate) const ALL: Self = Self { prometheus: true, python: true, promtool: true };

    const NONE: Self = Self { prometheus: false, python: false, promtool: false };

    /// Those who have complained, one at a time: the fastest first.
    pub(crate) fn each(complaints: &[Complaint]) -> Vec<Self> {
        let has = |judge| complaints.iter().any(|complaint| complaint.judge == judge);
        let mut each = Vec::new();
        if has(PROMTOOL) || has(GATEWAY) {
            each.push(Self { promtool: true, ..Self::NONE });
        }
        if has(PYTHON) {
            each.push(Self { python: true, ..Self::NONE });
        }
        if has(PROMETHEUS) {
            each.push(Self { prometheus: true, ..Self::NONE });
        }
        each
    }
}

/// Within which every target is scraped twice.
const SCRAPED: Duration = Duration::from_secs(10);

const PROMETHEUS: &str = "prometheus";
const PYTHON: &str = "openmetrics parser";
const PROMTOOL: &str = "promtool";
const GATEWAY: &str = "tidegate";

// === what is shown ===

/// An answer of the gateway.
#[derive(Clone, Debug)]
struct Shown {
    content_type: String,
    body: Arc<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Show {
    generation: u64,
    /// By target, or by server and target where that is its own.
    answers: HashMap<String, Shown>,
    /// How often each path was asked for in this generation.
    seen: HashMap<String, usize>,
    /// The `Accept` of each server by itself.
    accepts: HashMap<String, String>,
}

/// Answers scrapes. Its threads end with the process.
#[derive(Debug)]
struct Presenter {
    address: SocketAddr,
    show: Arc<Mutex<Show>>,
}

impl Presenter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let show = Arc::default();
        let shared = Arc::clone(&show);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let show = Arc::clone(&shared);
                std::thread::spawn(move || present(&stream, &show));
            }
        });
        Self { address, show }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Show) -> T) -> T {
        look(&mut self.show.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves a connection until its client has left, which is no error.
fn present(stream: &TcpStream, show: &Mutex<Show>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    loop {
        let request = lines.next()?.ok()?;
        let path = request.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let mut accept = String::new();
        loop {
            let line = lines.next()?.ok()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("accept")
            {
                value.trim().clone_into(&mut accept);
            }
        }
        let (server, target) = path.split_once('/')?;
        let (generation, shown) = {
            let mut show = show.lock().unwrap_or_else(PoisonError::into_inner);
            if target == OWN {
                show.accepts.insert(server.to_owned(), accept);
            }
            let plain = target.split('+').next().unwrap_or(target);
            let found = show.answers.get(&path).or_else(|| show.answers.get(plain));
            (show.generation, found.cloned())
        };
        let shown = shown.unwrap_or_else(|| Shown {
            content_type: "text/plain; version=0.0.4".to_owned(),
            body: Arc::default(),
        });
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            shown.content_type,
            shown.body.len()
        );
        (&*stream).write_all(&[head.as_bytes(), &shown.body].concat()).ok()?;
        let mut show = show.lock().unwrap_or_else(PoisonError::into_inner);
        if show.generation == generation {
            *show.seen.entry(path).or_default() += 1;
        }
    }
}

// === a server ===

/// A Prometheus that scrapes the presenter.
#[derive(Debug)]
struct Server {
    version: &'static str,
    program: PathBuf,
    targets: Vec<String>,
    presenter: SocketAddr,
    running: Running,
    /// A target was down. After that this Prometheus (2.53) sees duplicates in protobuf where there are
    /// none, so that those say nothing; the others still see real ones.
    tainted: bool,
    /// Its counters of trouble before.
    counters: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    client: Client,
    log: Arc<Mutex<Vec<String>>>,
    /// Until where the log was read.
    read: usize,
    /// Its store, for as long as it runs.
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server that turns classic histograms into native ones.
const NHCB: &str = "3-nhcb";

/// How a target is scraped otherwise, by the end of its name.
const WAYS: [(&str, &str); 3] = [
    ("classic", "scrape_classic_histograms: true"),
    ("always-classic", "always_scrape_classic_histograms: true"),
    (NHCB, "convert_classic_histograms_to_nhcb: true"),
];

impl Server {
    fn start(version: &'static str, program: PathBuf, presenter: SocketAddr) -> Self {
        // Names beyond the old charset are for those who ask for them.
        let schemes = if version == "3" { &SCHEMES[..] } else { &SCHEMES[..3] };
        let names = FORMATS.iter().flat_map(|format| schemes.iter().map(move |s| (format.0, s)));
        let mut targets: Vec<_> = names.map(|(format, s)| format!("{format}-{s}")).collect();
        targets.push(OWN.to_owned());
        match version {
            "2.53" => targets.push("protobuf-underscores+classic".to_owned()),
            "3" => targets.push("protobuf-underscores+always-classic".to_owned()),
            // It has these at the price of created times only.
            NHCB => {
                targets.clear();
                for target in ["text-underscores", "protobuf-values", "openmetrics-dots"] {
                    targets.push(format!("{target}+{NHCB}"));
                }
            }
            _ => {}
        }
        let running = run(version, &program, presenter, &targets);
        Self {
            version,
            program,
            targets,
            presenter,
            running,
            tainted: false,
            counters: BTreeMap::new(),
        }
    }

    fn paths(&self) -> impl Iterator<Item = String> {
        self.targets.iter().map(|target| format!("{}/{target}", self.version))
    }

    fn has_ended(&mut self) -> bool {
        self.running.child.try_wait().unwrap().is_some()
    }

    fn restart(&mut self) {
        self.running = run(self.version, &self.program, self.presenter, &self.targets);
        self.counters.clear();
        self.tainted = false;
    }

    /// The complaints since it was asked last.
    fn complaints(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        if self.has_ended() {
            let log = self.running.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let is_why = |line: &&String| line.contains("panic:") || line.contains("fatal error:");
            let why = log.iter().find(is_why).or(log.last()).cloned();
            let status = self.running.child.try_wait().unwrap();
            said.push(format!("it has ended: {status:?}: {}", why.unwrap_or_default()));
            self.restart();
            return said;
        }
        let targets = self.running.client.get("/api/v1/targets?state=active").expect(200).json();
        for target in targets["data"]["activeTargets"].as_array().unwrap() {
            if target["health"] != "up" {
                let via = target["labels"]["via"].as_str().unwrap_or("?");
                said.push(format!("{via} is {}: {}", target["health"], target["lastError"]));
                self.tainted = self.version == "2.53";
            }
        }
        let query =
            percent_encoding::utf8_percent_encode(MISSING, percent_encoding::NON_ALPHANUMERIC);
        let answer = self.running.client.get(&format!("/api/v1/query?query={query}"));
        for missing in answer.expect(200).json()["data"]["result"].as_array().unwrap() {
            let (via, count) = (&missing["metric"]["via"], &missing["value"][1]);
            said.push(format!("of {via} {count} samples have the place of others"));
        }
        let metrics = self.running.client.get("/metrics").expect(200).text();
        for line in metrics.lines().filter(|line| is_trouble(line)) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let before = self.counters.insert(series.to_owned(), value.to_owned());
            let duplicates = series.ends_with("duplicate_timestamp_total") && self.tainted;
            if before.as_deref().unwrap_or("0") != value && !duplicates {
                said.push(format!("{series} {value}"));
            }
        }
        let log = self.running.log.lock().unwrap_or_else(PoisonError::into_inner);
        for line in log.iter().skip(self.running.read).filter(|line| is_about_samples(line)) {
            let duplicates = ["Duplicate sample", "but same timestamp"];
            if self.tainted && duplicates.iter().any(|what| line.contains(what)) {
                continue;
            }
            let after = |key: &str| line.split_once(key).map(|(_, rest)| rest);
            said.push(after("scrape_pool=").unwrap_or(line).to_owned());
        }
        self.running.read = log.len();
        said
    }
}

/// Samples that were scraped and are not there, by target: of two samples of one series that are not
/// written alike Prometheus keeps one and says nothing.
const MISSING: &str = "scrape_samples_scraped - on(via) \
    count by (via) ({via!=\"\",__name__!~\"up|scrape_.+\"}) != 0";

/// Whether a line of a server's own metrics counts what was dropped.
fn is_trouble(line: &str) -> bool {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    name.starts_with("prometheus_target_scrape")
        && [
            "duplicate_timestamp_total",
            "out_of_bounds_total",
            "out_of_order_total",
            "cache_flush_forced_total",
        ]
        .iter()
        .any(|what| name.ends_with(what))
}

/// Whether a line of the log is about samples that were dropped, or not understood.
fn is_about_samples(line: &str) -> bool {
    ["level=warn", "level=error", "level=WARN", "level=ERROR", "panic", "ppend", "uplicate", "rder"]
        .iter()
        .any(|what| line.contains(what))
        && line.contains("scrape")
        // Of when a counter began: one that began too long ago begins with its first sample.
        && !line.contains("appending CT")
}

/// Starts a server, and waits until it listens.
fn run(version: &str, program: &Path, presenter: SocketAddr, targets: &[String]) -> Running {
    let folder = TempDir::new().unwrap();
    let mut config =
        String::from("global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n");
    for target in targets {
        config += &format!(
            "- job_name: '{target}'\n  metrics_path: '/{version}/{target}'\n  honor_labels: true\n  \
             static_configs: [{{targets: ['{presenter}'], labels: {{via: '{target}'}}}}]\n"
        );
        for (way, setting) in WAYS {
            if target.ends_with(&format!("+{way}")) {
                config += &format!("  {setting}\n");
            }
        }
    }
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let created = if version == NHCB { "" } else { ",created-timestamp-zero-ingestion" };
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .args(["--web.listen-address=127.0.0.1:0", "--log.level=debug"])
        // Two scrapes that follow each other closely are not of the same time.
        .arg("--no-scrape.adjust-timestamps")
        .arg(format!("--enable-feature=native-histograms,exemplar-storage{created}"))
        .current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let log = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    let address = eventually("a Prometheus listens", || {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{}: {ended:?}: {}", program.display(), log.join("\n"));
        log.iter().find_map(|line| {
            let (_, rest) = line.split_once("Listening on")?;
            let port = rest.split_once("127.0.0.1:")?.1;
            let port: u16 =
                port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
            (port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
        })
    });
    Running { child, client: Client::new(address), log, read: 0, _folder: folder }
}

// === all of them ===

/// All judges.
#[derive(Debug)]
pub(crate) struct Stage {
    presenter: Presenter,
    servers: Vec<Server>,
    python: PathBuf,
    promtool: PathBuf,
    folder: TempDir,
    generation: u64,
}

impl Stage {
    /// Starts them. Of Prometheus there are those of Debian's bookworm and trixie, and where it can
    /// be had the one of sid.
    pub(crate) fn start() -> Self {
        let presenter = Presenter::start();
        let promtool = part("promtool");
        let mut servers = vec![
            // The package that promtool is in has the server, too.
            Server::start("2.42", promtool.with_file_name("prometheus"), presenter.address),
            Server::start("2.53", part("prometheus"), presenter.address),
        ];
        match newer() {
            Ok(program) => {
                for version in ["3", NHCB] {
                    servers.push(Server::start(version, program.clone(), presenter.address));
                }
            }
            Err(error) => crate::judge::say(&format!("without the Prometheus of sid: {error}")),
        }
        let folder = TempDir::new().unwrap();
        let python = part("python");
        let mut stage = Self { presenter, servers, python, promtool, folder, generation: 0 };
        eventually("each has asked in its own way", || {
            let known = stage.presenter.with(|show| show.accepts.len());
            let own = |server: &&Server| server.targets.iter().any(|target| target == OWN);
            (known == stage.servers.iter().filter(own).count()).then_some(())
        });
        stage.servers.iter_mut().for_each(|server| drop(server.complaints()));
        stage
    }

    /// The judges' complaints about the exposition of a gateway now.
    pub(crate) fn judge(&mut self, gateway: &Client, asked: Asked) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let mut answers = HashMap::new();
        let mut accepts: Vec<(String, String)> = Vec::new();
        for (format, accept) in FORMATS {
            for scheme in SCHEMES {
                accepts.push((format!("{format}-{scheme}"), format!("{accept};escaping={scheme}")));
            }
        }
        let own = self.presenter.with(|show| show.accepts.clone());
        accepts.extend(own.into_iter().map(|(server, accept)| (format!("{server}/{OWN}"), accept)));
        for (target, accept) in accepts {
            let answer = gateway.send("GET", "/metrics", &[("Accept", &accept)], b"");
            if answer.status != 200 {
                let said = format!("{target}: {} {}", answer.status, answer.text());
                complaints.push(Complaint { judge: GATEWAY, said });
                continue;
            }
            let content_type = answer.header("content-type").unwrap_or_default().to_owned();
            answers.insert(target, Shown { content_type, body: Arc::new(answer.body) });
        }
        complaints.extend(self.ask(&answers, asked));
        complaints
    }

    /// Their complaints about texts that each break something. Each judge has to complain.
    pub(crate) fn notices(&mut self) {
        let twice = "# TYPE m gauge\nm{l=\"v\"} 1\nm{l=\"v\",path=\"\"} 2\n";
        let plain = "text/plain; version=0.0.4; charset=utf-8";
        let shown = |content_type: &str, body: &str| Shown {
            content_type: content_type.to_owned(),
            body: Arc::new(body.as_bytes().to_vec()),
        };
        let answers = HashMap::from([
            ("text-underscores".to_owned(), shown(plain, twice)),
            ("text-values".to_owned(), shown(plain, "m{ 1\n")),
            ("openmetrics-dots".to_owned(), shown("application/openmetrics-text", "m 1.0\n")),
        ]);
        let complaints = self.ask(&answers, Asked::ALL);
        for server in &self.servers {
            for what in ["have the place", "text-values is", "openmetrics-dots"] {
                let about = |complaint: &&Complaint| {
                    complaint.said.starts_with(&format!("{}: ", server.version))
                        && complaint.said.contains(what)
                };
                // One server has fewer targets than the others.
                let is_asked = what == "have the place" || server.version != NHCB;
                let found = complaints.iter().any(|complaint| about(&complaint)) || !is_asked;
                assert!(found, "{}, {what}: {complaints:#?}", server.version);
            }
        }
        for judge in [PYTHON, PROMTOOL] {
            let found = complaints.iter().any(|complaint| complaint.judge == judge);
            assert!(found, "{judge}: {complaints:#?}");
        }
    }

    fn ask(&mut self, answers: &HashMap<String, Shown>, asked: Asked) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.generation += 1;
        if asked.prometheus {
            self.presenter.with(|show| {
                show.generation = self.generation;
                show.answers.clone_from(answers);
                show.seen.clear();
            });
        }
        if asked.python {
            complaints.extend(self.python(answers));
        }
        if asked.promtool {
            complaints.extend(self.promtool(answers));
        }
        if asked.prometheus {
            complaints.extend(self.prometheus());
        }
        complaints
    }

    fn prometheus(&mut self) -> Vec<Complaint> {
        let missing = self.scraped();
        let Self { servers, .. } = self;
        let never =
            |path: &String| Complaint { judge: PROMETHEUS, said: format!("{path} is not scraped") };
        let mut complaints: Vec<_> = missing.iter().map(never).collect();
        for server in servers {
            for said in server.complaints() {
                let said = format!("{}: {said}", server.version);
                complaints.push(Complaint { judge: PROMETHEUS, said });
            }
            // One that hangs would hang for ever.
            if missing.iter().any(|path| path.starts_with(&format!("{}/", server.version))) {
                server.restart();
            }
        }
        if !complaints.is_empty() {
            self.settle();
        }
        complaints
    }

    /// Shows nothing until all have forgotten what they complained of.
    fn settle(&mut self) {
        self.generation += 1;
        self.presenter.with(|show| {
            show.generation = self.generation;
            show.answers.clear();
            show.seen.clear();
        });
        self.scraped();
        self.servers.iter_mut().for_each(|server| drop(server.complaints()));
    }

    /// Waits until each target of those that run was scraped, and that stored; returns which are not.
    fn scraped(&mut self) -> Vec<String> {
        let Self { servers, presenter, .. } = self;
        let began = Instant::now();
        eventually("all have scraped, and begun anew", || {
            let mut missing = Vec::new();
            for server in servers.iter_mut() {
                if !server.has_ended() {
                    missing.extend(server.paths());
                }
            }
            // A scrape of a target begins once the one before has been stored.
            let seen = presenter.with(|show| show.seen.clone());
            missing.retain(|path| seen.get(path).is_none_or(|seen| *seen < 2));
            (missing.is_empty() || began.elapsed() > SCRAPED).then_some(missing)
        })
    }

    /// Writes the answers in a format to files.
    fn files(&self, answers: &HashMap<String, Shown>, format: &str) -> Vec<PathBuf> {
        let texts = answers.iter().filter(|(target, _)| target.starts_with(format));
        let write = |(target, shown): (&String, &Shown)| {
            let path = self.folder.path().join(target);
            std::fs::write(&path, &*shown.body).unwrap();
            path
        };
        texts.map(write).collect()
    }

    fn python(&self, answers: &HashMap<String, Shown>) -> Vec<Complaint> {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/judge/openmetrics.py");
        let mut command = Command::new(&self.python);
        command.arg(script).args(self.files(answers, "openmetrics")).stdin(Stdio::null());
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = |line: &str| {
            let said = line.rsplit('/').next().unwrap_or(line).to_owned();
            Complaint { judge: PYTHON, said }
        };
        said.lines().map(complaint).collect()
    }

    /// Names beyond the old charset are none for this promtool.
    fn promtool(&self, answers: &HashMap<String, Shown>) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for file in self.files(answers, "text") {
            if file.to_string_lossy().ends_with("allow-utf-8") {
                continue;
            }
            let mut command = Command::new(&self.promtool);
            command.args(["check", "metrics"]).stdin(std::fs::File::open(&file).unwrap());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // Its advice is no error.
            for line in said.lines().filter(|line| line.starts_with("error while")) {
                let target = file.file_name().unwrap_or_default().to_string_lossy();
                complaints.push(Complaint { judge: PROMTOOL, said: format!("{target}: {line}") });
            }
        }
        complaints
    }
}

/// The Prometheus of Debian's sid, where it can be had and runs on this system.
fn newer() -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parts");
    let mut command = Command::new(script);
    let output = command.arg("prometheus-sid").stdin(Stdio::null()).output().unwrap();
    let last =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned();
    if !output.status.success() {
        return Err(last(&output.stderr));
    }
    let program = PathBuf::from(last(&output.stdout));
    let version = Command::new(&program).arg("--version").output();
    match version {
        Ok(version) if version.status.success() => Ok(program),
        Ok(version) => Err(last(&version.stderr)),
        Err(error) => Err(error.to_string()),
    }
}
