//! The shapes that people push, beside ten one-sample families: the processor time that a push takes
//! of each gateway, measured in turn.
//!
//! Of 20 groups that have the same series but for their host each push is compared with all others, so
//! that a cost that grows with what is stored shows.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::body;
use crate::client::Client;
use crate::figures::{number, quantile, seconds};
use crate::scratch::scratch;
use crate::servers::Server;
use support::protobuf::{self, BucketSpan, Histogram, Metric, MetricType};

/// How many times less than the Go Pushgateway every shape is to take.
const GOAL: f64 = 10.0;
/// Rounds in turn, of which the median counts.
const ROUNDS: usize = 5;
/// A round ends when it has taken so long, and has brought a few pushes.
const ROUND: Duration = Duration::from_millis(500);
const PUSHES_MIN: usize = 2;

/// At once, as where many are pushing; fewer where a push may take seconds.
const CONNECTIONS: usize = 16;
const CONNECTIONS_OF_LARGE: usize = 2;
/// After so long fewer rounds have to do.
const SHAPE: Duration = Duration::from_secs(20);
const ROUNDS_MIN: usize = 3;

/// Text, or delimited protobuf.
const TEXT: &str = "";

/// A shape: what a push of it says.
struct Shape {
    name: &'static str,
    /// So many groups are stored, and pushed to in turn.
    groups: usize,
    connections: usize,
    method: &'static str,
    content_type: &'static str,
    /// The families that each group has before: those of a push, unless this says more.
    stored: Option<Body>,
    pushed: Body,
}

/// The body for a group and a round.
type Body = Box<dyn Fn(usize, usize) -> Vec<u8> + Sync>;

impl Shape {
    fn put(
        name: &'static str,
        groups: usize,
        pushed: impl Fn(usize, usize) -> String + Sync + 'static,
    ) -> Self {
        let pushed: Body = Box::new(move |group, round| pushed(group, round).into_bytes());
        let (method, content_type, stored) = ("PUT", TEXT, None);
        Self { name, groups, connections: CONNECTIONS, method, content_type, stored, pushed }
    }

    fn path(group: usize) -> String {
        format!("/metrics/job/shapes/instance/host-{group}")
    }

    fn send(
        &self,
        client: &mut Client,
        method: &str,
        group: usize,
        body: &[u8],
    ) -> Result<Duration> {
        let header = match self.content_type {
            TEXT => String::new(),
            other => format!("Content-Type: {other}\r\n"),
        };
        let answer = client.request(method, &Self::path(group), &header, body, true)?;
        if answer.status == 200 {
            Ok(answer.total)
        } else {
            let said = String::from_utf8_lossy(&answer.body);
            Err(format!("{}: {} {said}", self.name, answer.status).into())
        }
    }

    /// Fills a gateway.
    fn store(&self, client: &mut Client) -> Result<()> {
        for group in 0..self.groups {
            let stored = self.stored.as_ref().unwrap_or(&self.pushed);
            self.send(client, "PUT", group, &stored(group, 0))?;
        }
        Ok(())
    }
}

/// One gateway in the middle of its rounds.
struct Side {
    server: Server,
    clients: Vec<Client>,
    /// Seconds of processor time a push, of each round.
    processor: Vec<f64>,
}

impl Side {
    fn new(server: Server, shape: &Shape) -> Result<Self> {
        let mut client = Client::connect(server.port)?;
        shape.store(&mut client)?;
        let connect = |_| Client::connect(server.port);
        let clients = (0..shape.connections).map(connect).collect::<Result<_>>()?;
        Ok(Self { server, clients, processor: Vec::new() })
    }

    /// Pushes to the groups in turn, over all connections at once.
    fn round(&mut self, shape: &Shape) -> Result<()> {
        let before = self.server.processor_times()?;
        let (began, first) = (Instant::now(), self.processor.len() * 1_000_000);
        let next = AtomicUsize::new(first);
        let push = |client: &mut Client| -> Result<()> {
            let mut pushes = 0;
            while began.elapsed() < ROUND || pushes < PUSHES_MIN {
                let push = next.fetch_add(1, Ordering::Relaxed);
                let group = push * 7919 % shape.groups;
                shape.send(client, shape.method, group, &(shape.pushed)(group, push))?;
                pushes += 1;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let pushers: Vec<_> = self
                .clients
                .iter_mut()
                .map(|client| scope.spawn(|| push(client).map_err(|error| error.to_string())))
                .collect();
            for pusher in pushers {
                pusher.join().map_err(|_| "a pusher panicked")??;
            }
            Result::Ok(())
        })?;
        let took = since(&before, &self.server.processor_times()?);
        let pushes = next.into_inner() - first;
        self.processor.push(took.as_secs_f64() / pushes as f64);
        Ok(())
    }
}

/// The processor time of the threads of a process since an earlier look.
fn since(before: &HashMap<u64, Duration>, now: &HashMap<u64, Duration>) -> Duration {
    let thread = |(id, time): (&u64, &Duration)| {
        time.saturating_sub(before.get(id).copied().unwrap_or_default())
    };
    now.iter().map(thread).sum()
}

/// Measures every shape, prints the table and writes it to a folder.
pub(crate) fn run(out: &Path) -> Result<()> {
    let folder = scratch("versus")?;
    let mut table = String::from(
        "| a push of | groups | body | Tidegate | Go Pushgateway | times less | goal |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (at, shape) in shapes()?.iter().enumerate() {
        let path = |name: &str| -> PathBuf { folder.path().join(format!("{name}-{at}")) };
        let mut ours = Side::new(Server::tidegate(&path("shape"), &[])?, shape)?;
        let mut theirs = Side::new(Server::pushgateway(&path("shape.gob"), &[])?, shape)?;
        let began = Instant::now();
        for round in 0..ROUNDS {
            if round < ROUNDS_MIN || began.elapsed() < SHAPE {
                ours.round(shape)?;
                theirs.round(shape)?;
            }
        }
        let (tidegate, go) =
            (quantile(&mut ours.processor, 0.5), quantile(&mut theirs.processor, 0.5));
        let row = format!(
            "| {} | {} | {} KB | {} | {} | {} | {} |",
            shape.name,
            shape.groups,
            number((shape.pushed)(0, 1).len() as f64 / 1e3),
            seconds(tidegate),
            seconds(go),
            number(go / tidegate),
            number(GOAL),
        );
        println!("{row}");
        writeln!(table, "{row}")?;
    }
    let text = format!("{table}\n{}", settings()?);
    fs::create_dir_all(out)?;
    fs::write(out.join("shapes.md"), &text)?;
    println!("\n{text}\nwritten to {}", out.display());
    Ok(())
}

fn settings() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "Processor time of the server's process a push, user and system, medians of {ROUNDS} rounds \
         in turn, over {CONNECTIONS} connections, of {CONNECTIONS_OF_LARGE} where there are 20 groups. \
         Tidegate {}, `storage.sync = \"always\"`; Go Pushgateway 1.11.0 \
         with its consistency check, in memory with a persistence interval of a day. {cores} cores, \
         {model}. `cargo bench --bench versus -- shapes`.\n",
        env!("CARGO_PKG_VERSION")
    ))
}

// === the shapes ===

fn shapes() -> Result<Vec<Shape>> {
    let exporter = NodeExporter::new()?;
    let mut shapes = vec![
        Shape::put("ten one-sample families", 200, body::body),
        Shape::put("a node exporter's body, 1,500 labelled series", 20, move |host, round| {
            exporter.body(host, round)
        }),
        Shape::put("a batch job: two labelled histograms, a summary", 200, batch),
        Shape::put("one family of 2,000 labelled series", 20, |_, round| family("m", 2000, round)),
        Shape::put("one family of 10,000 labelled series", 20, |_, round| {
            family("m", 10_000, round)
        }),
        Shape::put("3,000 families of one series", 20, |group, round| {
            let line = |n: usize| {
                format!("# TYPE family_{n} gauge\nfamily_{n} {}\n", value(group, round, n))
            };
            (0..3000).map(line).collect()
        }),
    ];
    for shape in shapes.iter_mut().filter(|shape| shape.groups == 20) {
        shape.connections = CONNECTIONS_OF_LARGE;
    }
    let one = |_, round| format!("# TYPE one gauge\none {round}\n");
    let mut posted = Shape::put("one series POSTed into a group of 10,000", 20, one);
    posted.method = "POST";
    posted.stored = Some(Box::new(|_, round| {
        let families = (0..10).map(|n| family(&format!("m_{n}"), 1000, round));
        families.collect::<String>().into_bytes()
    }));
    posted.connections = CONNECTIONS_OF_LARGE;
    shapes.push(posted);
    let mut native = Shape::put("protobuf, ten native histograms of 40 buckets", 200, body::body);
    native.content_type = protobuf::CONTENT_TYPE;
    native.pushed = Box::new(native_histograms);
    shapes.push(native);
    Ok(shapes)
}

/// A number that looks random and is not.
fn value(group: usize, round: usize, n: usize) -> usize {
    (group * 7919 + round * 104_729 + n * 1_299_709) % 100_000
}

/// A gauge with a series for each of some paths.
pub(crate) fn family(name: &str, series: usize, round: usize) -> String {
    let mut text = format!("# TYPE {name} gauge\n");
    for n in 0..series {
        let value = value(0, round, n);
        writeln!(text, "{name}{{path=\"/some/{n}\",code=\"200\"}} {value}")
            .expect("text takes what is written to it");
    }
    text
}

/// The metrics of a batch job: how long its stages took and how much they moved, by stage.
fn batch(group: usize, round: usize) -> String {
    const STAGES: [&str; 5] = ["fetch", "parse", "join", "write", "clean"];
    const BOUNDS: [&str; 11] =
        ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10"];
    let mut lines = Vec::new();
    for name in ["batch_stage_duration_seconds", "batch_write_duration_seconds"] {
        lines.push(format!("# TYPE {name} histogram"));
        for (stage, of) in STAGES.iter().enumerate() {
            let per_bucket = value(group, round, stage) % 100 + 1;
            for (bound, le) in BOUNDS.iter().enumerate() {
                let count = per_bucket * (bound + 1);
                lines.push(format!("{name}_bucket{{stage=\"{of}\",le=\"{le}\"}} {count}"));
            }
            let count = per_bucket * (BOUNDS.len() + 1);
            lines.push(format!("{name}_bucket{{stage=\"{of}\",le=\"+Inf\"}} {count}"));
            lines.push(format!("{name}_sum{{stage=\"{of}\"}} {}.5", value(group, round, stage)));
            lines.push(format!("{name}_count{{stage=\"{of}\"}} {count}"));
        }
    }
    let name = "batch_rows";
    lines.push(format!("# TYPE {name} summary"));
    for (stage, of) in STAGES.iter().enumerate() {
        let of = format!("stage=\"{of}\"");
        for quantile in ["0.5", "0.9", "0.99"] {
            let value = value(group, round, stage);
            lines.push(format!("{name}{{{of},quantile=\"{quantile}\"}} {value}"));
        }
        lines.push(format!("{name}_sum{{{of}}} {}", value(group, round, stage)));
        lines.push(format!("{name}_count{{{of}}} {}", round + 1));
    }
    lines.join("\n") + "\n"
}

fn native_histograms(group: usize, round: usize) -> Vec<u8> {
    const BUCKETS: u32 = 40;
    let families = (0..10).map(|family| {
        let base = i64::try_from(value(group, round, family) % 1000).expect("it is small") + 1;
        let mut deltas = vec![base];
        deltas.extend((1..BUCKETS).map(|n| if n % 2 == 0 { -1 } else { 1 }));
        // Every other bucket has one more.
        let count = base.unsigned_abs() * u64::from(BUCKETS) + u64::from(BUCKETS / 2);
        let histogram = Histogram {
            sample_count: Some(count),
            sample_sum: Some(round as f64),
            schema: Some(3),
            zero_threshold: Some(1e-128),
            zero_count: Some(0),
            positive_span: vec![
                BucketSpan { offset: Some(-10), length: Some(BUCKETS / 2) },
                BucketSpan { offset: Some(3), length: Some(BUCKETS / 2) },
            ],
            positive_delta: deltas,
            ..Histogram::default()
        };
        let metric = Metric {
            label: protobuf::labels(&[("stage", "all")]),
            histogram: Some(histogram),
            ..Metric::default()
        };
        protobuf::family(&format!("native_{family}_seconds"), MetricType::Histogram, vec![metric])
    });
    protobuf::body(&families.collect::<Vec<_>>())
}

/// The metrics of a real node exporter, with as many labelled series as a larger machine has: where this
/// one has fewer, those that there are come again with another value of their last label.
struct NodeExporter {
    lines: Vec<Line>,
}

enum Line {
    Comment(String),
    Sample { series: String, value: String },
}

const LABELLED: usize = 1500;

impl NodeExporter {
    fn new() -> Result<Self> {
        let exporter = Server::node_exporter()?;
        let text = Client::connect(exporter.port)?.scrape(false, true)?.body;
        let text = String::from_utf8(text)?;
        let is_node = |line: &&str| {
            let name = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE "));
            name.unwrap_or(line).starts_with("node_")
        };
        let lines: Vec<_> = text.lines().filter(is_node).collect();
        let labelled = lines.iter().filter(|line| line.contains("\"} ")).count();
        if labelled == 0 {
            return Err("the node exporter has no labelled series".into());
        }
        let (mut out, mut still) = (Vec::new(), LABELLED);
        let copies = LABELLED.div_ceil(labelled);
        for line in lines {
            if line.starts_with('#') {
                out.push(Line::Comment(format!("{line}\n")));
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or("a sample without a value")?;
            let value = value.to_owned();
            let Some(open) = series.strip_suffix("\"}") else {
                out.push(Line::Sample { series: series.to_owned(), value });
                continue;
            };
            for copy in 0..copies.min(still) {
                let series = match copy {
                    0 => series.to_owned(),
                    _ => format!("{open}-{copy}\"}}"),
                };
                out.push(Line::Sample { series, value: value.clone() });
                still -= 1;
            }
        }
        Ok(Self { lines: out })
    }

    /// As this host says it in this round: a third of the values have changed.
    fn body(&self, host: usize, round: usize) -> String {
        let mut text = String::new();
        for (n, line) in self.lines.iter().enumerate() {
            let written = match line {
                Line::Comment(line) => write!(text, "{line}"),
                Line::Sample { series, .. } if n % 3 == 0 => {
                    writeln!(text, "{series} {}", value(host, round, n))
                }
                Line::Sample { series, value } => writeln!(text, "{series} {value}"),
            };
            written.expect("text takes what is written to it");
        }
        text
    }
}
