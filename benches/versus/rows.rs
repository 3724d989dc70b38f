//! The rows of the table: what is measured, and against what.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{self, Client};
use crate::figures::{number, quantile, seconds};
use crate::measure::{Load, paced_pushes, push_script, rate, rates};
use crate::plot;
use crate::report::{Point, Report};
use crate::scratch::scratch;
use crate::servers::Server;
use crate::shapes;

const SERIES_PER_GROUP: usize = 10;
const GROUPS: usize = 10_000;

/// A run: its scale, its scratch folder, and what it has found so far.
struct Run {
    short: bool,
    folder: tempfile::TempDir,
    report: Report,
    load: Load,
}

/// Measures everything and writes the report.
pub(crate) fn run(short: bool) -> Result<()> {
    let mut run = Run {
        short,
        folder: scratch("versus")?,
        report: Report::default(),
        load: Load { connections: 32, seconds: if short { 3 } else { 8 } },
    };
    run.pushes()?;
    run.large_group()?;
    run.scrapes()?;
    run.large_store()?;
    run.mass_expiry()?;
    run.beside_large()?;
    run.many_at_once()?;
    run.curves()?;

    let out = PathBuf::from(if short { "target/versus" } else { "benches/versus" });
    plot::draw(&out.join("report.svg"), &run.report.curves)?;
    let text = run.report.markdown(&settings(short)?);
    fs::write(out.join("report.md"), &text)?;
    println!("\n{text}\nwritten to {}", out.display());
    Ok(())
}

/// The programs that were compared, and how.
fn settings(short: bool) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism()?;
    let mode = if short { "short" } else { "full" };
    Ok(format!(
        "Tidegate {}, `storage.sync = \"always\"`; Go Pushgateway 1.11.0 with its consistency \
         check, in memory with a persistence interval of a day; nginx, 2 workers, sendfile; wrk, 2 \
         threads, 32 connections. Groups of ten one-sample families. Everything on loopback on one \
         machine: {cores} cores, {model}. A {mode} run of `cargo bench --bench versus`.\n",
        env!("CARGO_PKG_VERSION")
    ))
}

impl Run {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Tidegate with so many groups.
    fn tidegate(&self, name: &str, groups: usize) -> Result<Server> {
        let server = Server::tidegate(&self.path(name), &[])?;
        client::load(server.port, 0..groups, "")?;
        Ok(server)
    }

    /// The Go Pushgateway with so many groups. Loaded unchecked, which takes seconds rather than
    /// hours, and restarted with the check from its persistence file.
    fn pushgateway(&self, name: &str, groups: usize) -> Result<Server> {
        let file = self.path(name);
        let server = Server::pushgateway(&file, &["--push.disable-consistency-check"])?;
        client::load(server.port, 0..groups, "")?;
        server.stop()?;
        Server::pushgateway(&file, &[])
    }

    fn push_rate(&self, server: &Server, groups: usize) -> Result<f64> {
        let script = push_script(self.folder.path(), groups)?;
        rate(server.port, "/", self.load, Some(&script), &[])
    }

    fn pushes(&mut self) -> Result<()> {
        let groups = GROUPS;
        let script = push_script(self.folder.path(), groups)?;
        let (bare, raw) = (Server::bare()?, Server::raw(&self.path("raw"))?);
        let server = self.tidegate("pushes", groups)?;
        let ports = [server.port, raw.port, bare.port];
        let [ours, raw_rate, bare_rate] = rates(ports, "/", self.load, Some(&script), &[])?;
        drop((bare, raw, server));
        let reference = self.pushgateway("pushes.gob", groups)?;
        let theirs = slow_push_rate(&reference, groups)?;
        drop(reference);
        self.report.row(
            "durable pushes a second, 10,000 groups stored, 32 connections",
            format!("{}, bare hyper {}", number(ours), number(bare_rate)),
            format!("{} of bare hyper", number(ours / bare_rate)),
            "0.3",
        );
        self.report.row(
            "the same, beside a lane that only stores the raw bodies",
            format!("{}, raw lane {}", number(ours), number(raw_rate)),
            format!("{} of the raw lane", number(ours / raw_rate)),
            "0.77",
        );
        self.report.row(
            "the same, beside the Go Pushgateway (not durable)",
            format!("{}, Go {}", number(ours), number(theirs)),
            format!("{} times", number(ours / theirs)),
            "10,000 times",
        );
        let few = self.push_rate(&self.tidegate("few", 100)?, 100)?;
        let many_groups = if self.short { 30_000 } else { 100_000 };
        let many = self.push_rate(&self.tidegate("many", many_groups)?, many_groups)?;
        self.report.row(
            &format!("the same at 100 and at {} groups", number(many_groups as f64)),
            format!("{} and {}", number(few), number(many)),
            number(few.max(many) / few.min(many)),
            "1.3",
        );
        Ok(())
    }

    /// One family of a group, among ten and among a thousand.
    fn large_group(&mut self) -> Result<()> {
        let server = Server::tidegate(&self.path("large"), &[])?;
        let mut client = Client::connect(server.port)?;
        let mut times = [Vec::new(), Vec::new()];
        let sizes = [10, 1000];
        for size in sizes {
            let lines: Vec<_> = (0..size).map(|n| format!("family_{n} {n}\n")).collect();
            let body = lines.concat();
            client.request("PUT", &format!("/metrics/job/of-{size}"), "", &body, false)?;
        }
        for round in 0..if self.short { 500 } else { 2000 } {
            for (size, times) in sizes.iter().zip(&mut times) {
                let body = format!("family_{} {round}\n", round % size);
                let path = format!("/metrics/job/of-{size}");
                let answer = client.request("POST", &path, "", &body, false)?;
                times.push(answer.total.as_secs_f64());
            }
        }
        let [small, large] = &mut times;
        let (small, large) = (quantile(small, 0.5), quantile(large, 0.5));
        self.report.row(
            "a push of one family into a group of 10 and of 1,000 families, median",
            format!("{} and {}", seconds(small), seconds(large)),
            number(large / small),
            "3",
        );
        Ok(())
    }

    /// Scrapes of 100,000 series, beside nginx with the same bytes, and under pushes.
    fn scrapes(&mut self) -> Result<()> {
        let groups = GROUPS;
        let server = self.tidegate("scrapes", groups)?;
        let mut client = Client::connect(server.port)?;
        let identity = client.scrape(false, true)?.body;
        let root = self.path("nginx");
        fs::create_dir_all(&root)?;
        let file = root.join("metrics");
        fs::write(&file, &identity)?;
        let gzip = std::process::Command::new("gzip").args(["-6", "-k"]).arg(&file).status()?;
        if !gzip.success() {
            return Err("gzip failed".into());
        }
        let nginx = Server::nginx(&root)?;
        let load = Load { connections: 8, ..self.load };
        for (name, headers) in [("identity", &[][..]), ("gzip", &["Accept-Encoding: gzip"][..])] {
            let [ours, theirs] = rates([server.port, nginx.port], "/metrics", load, None, headers)?;
            self.report.row(
                &format!("scrapes a second of 100,000 series, unchanged, {name}"),
                format!("{}, nginx {}", number(ours), number(theirs)),
                format!("{} of nginx", number(ours / theirs)),
                "1",
            );
        }
        let ours = client.scrape(true, false)?.bytes as f64;
        let theirs = fs::metadata(root.join("metrics.gz"))?.len() as f64;
        self.report.row(
            "size of the gzip scrape, beside `gzip -6`",
            format!("{} and {} bytes", number(ours), number(theirs)),
            number(ours / theirs),
            "1.15",
        );
        drop(nginx);

        let reference = self.pushgateway("scrapes.gob", groups)?;
        let theirs = scrape_times(reference.port, 5)?.total;
        drop(reference);
        let (scrapes, _) = paced_pushes(server.port, 0..groups, 2000, || {
            scrape_times(server.port, if self.short { 50 } else { 300 })
        })?;
        self.report.row(
            "a scrape while 2,000 pushes a second arrive, beside an idle Go Pushgateway, median",
            format!("{}, Go {}", seconds(scrapes.total), seconds(theirs)),
            format!("{} times faster", number(theirs / scrapes.total)),
            "100",
        );
        self.report.row(
            "the same: first byte, median",
            seconds(scrapes.first_byte),
            String::new(),
            "10 ms",
        );
        Ok(())
    }

    /// A store of a million series (short: 100,000): pushes under scrapes, memory, restart.
    fn large_store(&mut self) -> Result<()> {
        let groups = if self.short { 10_000 } else { 100_000 };
        let series = groups * SERIES_PER_GROUP;
        let name = number(series as f64);
        let server = self.tidegate("store", groups)?;
        let mut scraper = Client::connect(server.port)?;
        scraper.scrape(false, false)?;
        scraper.scrape(true, false)?;
        let bytes = server.resident()?;
        self.report.row(
            &format!("resident memory with {name} series, after a plain and a gzip scrape"),
            format!("{} MiB", number(bytes / 1024.0 / 1024.0)),
            format!("{} bytes a series", number(bytes / series as f64)),
            "350",
        );

        let mut churned = || -> Result<(f64, f64)> {
            let times = if self.short { 1 } else { 10 };
            let load = Load { seconds: times * self.load.seconds, ..self.load };
            let script = push_script(self.folder.path(), groups)?;
            let rate = rate(server.port, "/", load, Some(&script), &[])?;
            scraper.scrape(false, false)?;
            scraper.scrape(true, false)?;
            Ok((server.resident()?, rate * load.seconds as f64))
        };
        let ((once, _), (twice, pushes)) = (churned()?, churned()?);
        self.report.row(
            &format!("the same after {} pushes more, as an hour of churn brings", number(pushes)),
            format!(
                "{} MiB, before {}",
                number(twice / 1024.0 / 1024.0),
                number(once / 1024.0 / 1024.0)
            ),
            number(twice / once),
            "no growth",
        );

        let time = Duration::from_secs(if self.short { 5 } else { 20 });
        let calm = paced_pushes(server.port, 0..groups, 1000, || {
            pass(time);
            Ok(())
        });
        let ((), mut calm) = calm?;
        let ((), mut scraped) = paced_pushes(server.port, 0..groups, 1000, || {
            let began = Instant::now();
            while began.elapsed() < time {
                let next = Instant::now() + Duration::from_secs(1);
                scraper.scrape(false, false)?;
                pass(next.saturating_duration_since(Instant::now()));
            }
            Ok(())
        })?;
        let (calm, scraped) = (quantile(&mut calm, 0.99), quantile(&mut scraped, 0.99));
        self.report.row(
            &format!("a push while {name} series are scraped every second, p99"),
            format!("{}, without scrapes {}", seconds(scraped), seconds(calm)),
            number(scraped / calm),
            "5",
        );

        server.stop()?;
        let ours = Server::tidegate(&self.path("store"), &[])?.startup.as_secs_f64();
        let theirs = self.pushgateway("store.gob", groups)?.startup.as_secs_f64();
        self.report.row(
            &format!("from start to ready with {name} series"),
            format!("{}, Go {}", seconds(ours), seconds(theirs)),
            number(ours / theirs),
            "0.5",
        );
        Ok(())
    }

    /// Many groups that expire in the same second, while pushes go on.
    fn mass_expiry(&mut self) -> Result<()> {
        /// All deadlines lie at about one instant, whenever each part is pushed.
        const PARTS: usize = 20;
        let groups = if self.short { 10_000 } else { 100_000 };
        let server = Server::tidegate(&self.path("expiry"), &[])?;
        let time = Duration::from_secs(if self.short { 5 } else { 25 });
        let began = Instant::now();
        for part in 0..PARTS {
            let left = time.saturating_sub(began.elapsed()).as_millis();
            let header = format!("Tidegate-TTL: {left}ms\r\n");
            client::load(server.port, groups * part / PARTS..groups * (part + 1) / PARTS, &header)?;
        }
        let loaded = began.elapsed();
        let before = time.saturating_sub(loaded).mul_f64(0.9);
        let alive = groups..groups + 1000;
        client::load(server.port, alive, "")?;
        let ((), mut calm) = paced_pushes(server.port, groups..groups + 1000, 1000, || {
            pass(before);
            Ok(())
        })?;
        let (shown, mut during) = paced_pushes(server.port, groups..groups + 1000, 1000, || {
            let mut client = Client::connect(server.port)?;
            // Loading is not instantaneous: the last deadlines lie this much after the first.
            pass((time + Duration::from_millis(500)).saturating_sub(began.elapsed()));
            let body = client.scrape(false, true)?.body;
            let text = String::from_utf8(body)?;
            let lines = text.lines().filter(|line| line.starts_with("backup_exit_code{"));
            let shown = lines.count();
            pass(Duration::from_secs(2));
            Ok(shown)
        })?;
        let (calm, during) = (quantile(&mut calm, 0.99), quantile(&mut during, 0.99));
        self.report.row(
            &format!(
                "a push while {} groups expire in the same second, p99",
                number(groups as f64)
            ),
            format!("{}, before {}", seconds(during), seconds(calm)),
            number(during / calm),
            "10",
        );
        let expired = shown.saturating_sub(1000);
        let none = if expired == 0 { "none" } else { "some" };
        self.report.row(
            "expired groups in the scrape right after",
            format!("{expired}"),
            none.into(),
            "none",
        );
        Ok(())
    }

    /// Pushes while one connection sends bodies of 100,000 labelled series, one behind the other.
    fn beside_large(&mut self) -> Result<()> {
        const SERIES: usize = 100_000;
        const GROUPS: usize = 1000;
        let server = Server::tidegate(&self.path("beside-large"), &[])?;
        client::load(server.port, 0..GROUPS, "")?;
        let time = Duration::from_secs(if self.short { 5 } else { 20 });
        let mut large = Client::connect(server.port)?;
        let mut round = 0;
        let mut push = || {
            round += 1;
            let body = shapes::family("large", SERIES, round);
            large.request("PUT", "/metrics/job/large", "", body, true)
        };
        push()?;
        let mut alone = Vec::new();
        for _ in 0..5 {
            alone.push(push()?.total.as_secs_f64());
        }
        let ((), mut beside) = paced_pushes(server.port, 0..GROUPS, 200, || {
            let began = Instant::now();
            while began.elapsed() < time {
                push()?;
            }
            Ok(())
        })?;
        let (beside, alone) = (quantile(&mut beside, 0.99), quantile(&mut alone, 0.5));
        self.report.row(
            "a push while one connection sends bodies of 100,000 labelled series, p99",
            format!("{}, one such body alone {}", seconds(beside), seconds(alone)),
            format!("{} of one", number(beside / alone)),
            "1",
        );
        Ok(())
    }

    /// Operations of the API on all groups of a store.
    fn many_at_once(&mut self) -> Result<()> {
        const SELECTOR: &str = "match[]=%7Bjob%3D%22backup%22%7D";
        let groups = if self.short { 10_000 } else { 100_000 };
        let server = Server::tidegate(&self.path("at-once"), &["--web.enable-admin-api"])?;
        client::load(server.port, 0..groups, "")?;
        let mut client = Client::connect(server.port)?;
        let name = number(groups as f64);
        for (what, method, path) in [
            (
                "a page of {} groups, the next to expire first",
                "GET",
                "/api/v2/groups?sort=deadline&limit=100".to_owned(),
            ),
            (
                "a preview of {} groups that will expire",
                "GET",
                format!("/api/v2/ttl/preview?at=%2B8d&limit=100&{SELECTOR}"),
            ),
            ("delete of {} groups by selector", "DELETE", format!("/api/v2/groups?{SELECTOR}")),
            ("wipe of {} groups", "PUT", "/api/v1/admin/wipe".to_owned()),
        ] {
            if method == "PUT" {
                client::load(server.port, 0..groups, "")?;
            }
            let answer = client.request(method, &path, "", "", false)?;
            if answer.status / 100 != 2 {
                return Err(format!("{method} {path}: {}", answer.status).into());
            }
            self.report.row(
                &what.replace("{}", &name),
                seconds(answer.total.as_secs_f64()),
                String::new(),
                "1 s",
            );
        }
        let left = client.scrape(false, true)?.body;
        if String::from_utf8(left)?.contains("backup_exit_code{") {
            return Err("what was wiped is still there".into());
        }
        Ok(())
    }

    /// Push rate and scrape time of both gateways at some sizes.
    fn curves(&mut self) -> Result<()> {
        let sizes: &[usize] =
            if self.short { &[100, 1000, 10_000] } else { &[100, 1000, 10_000, 100_000] };
        for &groups in sizes {
            let ours = self.tidegate(&format!("curve-{groups}"), groups)?;
            self.point(true, groups, &ours)?;
            drop(ours);
            let theirs = self.pushgateway(&format!("curve-{groups}.gob"), groups)?;
            self.point(false, groups, &theirs)?;
        }
        Ok(())
    }

    fn point(&mut self, tidegate: bool, groups: usize, server: &Server) -> Result<()> {
        let scrapes = if tidegate { 20 } else { 3 };
        let point = Point {
            tidegate,
            series: (groups * SERIES_PER_GROUP) as f64,
            scrape_seconds: scrape_times(server.port, scrapes)?.total,
            pushes_per_second: if tidegate {
                self.push_rate(server, groups)?
            } else {
                slow_push_rate(server, groups)?
            },
        };
        println!("{point:?}");
        self.report.curves.push(point);
        Ok(())
    }
}

/// Pushes a second of a server that may take seconds for one: it judges them one by one, so that one
/// connection is as fast as many.
fn slow_push_rate(server: &Server, groups: usize) -> Result<f64> {
    let mut client = Client::connect(server.port)?;
    let (began, mut pushes) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(4) {
        client.push(pushes * 7919 % groups, pushes, "")?;
        pushes += 1;
    }
    Ok(pushes as f64 / began.elapsed().as_secs_f64())
}

/// Medians over some scrapes.
struct ScrapeTimes {
    total: f64,
    first_byte: f64,
}

fn scrape_times(port: u16, scrapes: usize) -> Result<ScrapeTimes> {
    let mut client = Client::connect(port)?;
    let (mut totals, mut first_bytes) = (Vec::new(), Vec::new());
    for _ in 0..scrapes {
        let answer = client.scrape(false, false)?;
        totals.push(answer.total.as_secs_f64());
        first_bytes.push(answer.first_byte.as_secs_f64());
    }
    Ok(ScrapeTimes {
        total: quantile(&mut totals, 0.5),
        first_byte: quantile(&mut first_bytes, 0.5),
    })
}

#[expect(clippy::disallowed_methods, reason = "time passing is the subject")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}
