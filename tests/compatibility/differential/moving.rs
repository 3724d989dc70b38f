//! Moving from the reference to this gateway, and back: what the one holds, the other shows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::differential::generate::Sequence;
use crate::differential::http::Request;
use crate::differential::kinds;
use support::programs::Program;
use support::protobuf::{Histogram, Metric, MetricType, body, family, gauge, span};

const PROTOBUF: &str = "application/vnd.google.protobuf; \
                        proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A folder for a persistence file and stores.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that the reference has written, and what its API said before.
    fn persisted(&self, flags: &[&str], requests: &[Request]) -> (PathBuf, Vec<Value>) {
        let file = self.path("pushgateway.data");
        let flags: Vec<_> = flags.iter().copied().chain(["--web.enable-lifecycle"]).collect();
        let reference = Program::persisting_reference(&file, &flags);
        for request in requests {
            request.send(reference.address());
        }
        let groups = groups(&reference);
        assert_eq!(
            Request::new("PUT", "/-/quit").send(reference.address()).status,
            Some(200),
            "it writes the file when it ends"
        );
        assert!(reference.ended().success());
        (file, groups)
    }

    fn run(&self, store: &str, args: &[&str]) -> Output {
        let storage = format!("--storage.path={}", self.path(store).display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_clear().args(args).arg(storage).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, store: &str, args: &[&str]) -> String {
        let output = self.run(store, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, store: &str, args: &[&str]) -> String {
        let output = self.run(store, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn serve(&self, store: &str, flags: &[&str]) -> Program {
        Program::ours_on(&self.path(store), flags)
    }

    #[track_caller]
    fn shows(&self, store: &str, flags: &[&str], expected: &[Value]) {
        let ours = self.serve(store, flags);
        assert_same(&groups(&ours), expected);
        ours.signal("TERM");
        assert!(ours.ended().success());
    }
}

/// The listing of the API, times included, in an order that does not depend on the program.
fn groups(program: &Program) -> Vec<Value> {
    let answer = Request::get("/api/v1/metrics").send(program.address());
    let mut answer: Value = serde_json::from_slice(&answer.decoded()).unwrap();
    let Value::Array(mut groups) = answer["data"].take() else { panic!("{answer}") };
    groups.sort_by_key(|group| group["labels"].to_string());
    groups
}

/// The same without the times of the pushes, which differ where somebody pushes anew.
fn without_times(mut groups: Vec<Value>) -> Vec<Value> {
    for group in groups.iter_mut().filter_map(Value::as_object_mut) {
        group.retain(|name, _| !name.starts_with("push_") && name != "last_push_successful");
        for family in group.values_mut().filter_map(Value::as_object_mut) {
            family.remove("time_stamp");
        }
    }
    groups
}

#[track_caller]
fn assert_same(found: &[Value], expected: &[Value]) {
    assert_eq!(found.len(), expected.len(), "as many groups");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}

/// Pushes of every kind of metric, and random ones with odd labels.
fn pushes() -> Vec<Request> {
    let mut pushes = Vec::new();
    for (at, (_, mut families)) in kinds::all().into_iter().enumerate() {
        // Each under names of its own, so that none stands in another's way.
        for family in &mut families {
            family.name = family.name.take().map(|name| format!("kind_{at}_{name}"));
        }
        let push = Request::put(format!("/metrics/job/kinds/at/{at}"), body(&families));
        pushes.push(push.header("Content-Type", PROTOBUF));
    }
    pushes.push(Request::put("/metrics/job/failed", "m 1 1000\n"));
    pushes.push(Request::put("/metrics/job/empty", ""));
    for seed in 0..40 {
        pushes.extend(Sequence::new(seed).requests());
    }
    // The reference answers a DELETE before it carries it out, and a PUT after: this one waits for all.
    pushes.push(Request::put("/metrics/job/last", "last 1\n"));
    pushes
}

#[test]
fn what_the_reference_has_persisted_is_there() {
    let bench = Bench::new();
    let (file, expected) = bench.persisted(&[], &pushes());
    assert!(expected.len() > 50, "{} groups", expected.len());
    let flag = format!("--persistence.file={}", file.display());

    // By itself, where a gateway is started with the flags of the old one.
    bench.shows("flag", &[&flag], &expected);

    // By hand: first to see, then in earnest.
    let path = file.to_str().unwrap();
    let said = bench.succeeds("hand", &["import", "--dry-run", path]);
    assert!(said.contains(&format!("has {} groups", expected.len())), "{said}");
    assert!(!bench.path("hand").try_exists().unwrap(), "a dry run makes no store");
    let said = bench.succeeds("hand", &["import", path]);
    assert!(said.contains(&format!(": {} groups", expected.len())), "{said}");
    bench.shows("hand", &[], &expected);
}

#[test]
fn a_file_is_imported_once_and_never_written() {
    let bench = Bench::new();
    let (file, expected) = bench.persisted(&[], &[Request::put("/metrics/job/x", "m 1\n")]);
    let before = fs::read(&file).unwrap();
    let flag = format!("--persistence.file={}", file.display());
    // Without a folder of its own, the store lies beside the file.
    let ours = Program::ours_beside(&flag);
    assert_same(&groups(&ours), &expected);
    Request::delete("/metrics/job/x").send(ours.address());
    ours.signal("TERM");
    assert!(ours.ended().success());
    assert!(bench.path("pushgateway.data.tidegate").is_dir());
    let ours = Program::ours_beside(&flag);
    assert_same(&groups(&ours), &[]);
    drop(ours);
    assert_eq!(fs::read(&file).unwrap(), before);

    // A store that has something is not added to.
    let ours = bench.serve("other", &[]);
    Request::put("/metrics/job/y", "m 1\n").send(ours.address());
    let there = groups(&ours);
    ours.signal("TERM");
    assert!(ours.ended().success());
    bench.shows("other", &[&flag], &there);
}

#[test]
fn thousands_of_groups_are_imported() {
    let bench = Bench::new();
    let requests: Vec<_> = (0..4000)
        .map(|at| {
            let text = format!("# TYPE a counter\na {at}\n# TYPE b gauge\nb{{l=\"{at}\"}} 1\n");
            Request::put(format!("/metrics/job/many/instance/{at}"), text)
        })
        .collect();
    let (file, expected) = bench.persisted(&["--push.disable-consistency-check"], &requests);
    assert_eq!(expected.len(), 4000);
    bench.succeeds("store", &["import", file.to_str().unwrap()]);
    bench.shows("store", &[], &expected);
}

#[test]
fn a_file_that_is_damaged_changes_nothing() {
    let bench = Bench::new();
    let requests =
        [Request::put("/metrics/job/x", "m 1\n"), Request::put("/metrics/job/y", "n 2\n")];
    let (file, _) = bench.persisted(&[], &requests);
    let whole = fs::read(&file).unwrap();
    let path = file.to_str().unwrap();

    let ours = bench.serve("store", &[]);
    Request::put("/metrics/job/z", "m 1\n").send(ours.address());
    let there = groups(&ours);
    ours.signal("TERM");
    assert!(ours.ended().success());

    for end in (0..whole.len()).step_by(whole.len() / 25) {
        fs::write(&file, &whole[..end]).unwrap();
        let said = bench.fails("store", &["import", path]);
        assert!(said.contains(path), "cut at {end}: {said}");
    }
    fs::write(&file, "no gob at all").unwrap();
    let said = bench.fails("store", &["import", path]);
    assert!(said.contains("no persistence file of a Go Pushgateway"), "{said}");
    bench.shows("store", &[], &there);

    // Nor does a gateway start with it.
    let flag = format!("--persistence.file={path}");
    let said = bench.fails("fresh", &["--web.listen-address=127.0.0.1:0", &flag]);
    assert!(said.contains("persistence.file") && said.contains(path), "{said}");
    fs::write(&file, &whole).unwrap();
    let ours = bench.serve("fresh", &[&flag]);
    assert_eq!(groups(&ours).len(), 2);
}

#[test]
fn a_running_gateway_is_imported() {
    let bench = Bench::new();
    let reference = Program::reference(&[]);
    for push in pushes() {
        push.send(reference.address());
    }
    let expected = groups(&reference);
    let url = format!("http://{}", reference.address());
    let said = bench.succeeds("store", &["import", &url]);
    assert!(!said.contains("changed meanwhile"), "{said}");
    bench.shows("store", &[], &expected);
    // From one of this kind, too.
    let ours = bench.serve("store", &[]);
    let url = format!("http://{}/", ours.address());
    bench.succeeds("copy", &["import", &url]);
    bench.shows("copy", &[], &expected);
}

/// Of what the reference holds and a push would be refused for, a family is left out, or the group if
/// it is the key, and that is said. The rest is there.
#[test]
fn what_no_scraper_could_take_is_left_out_and_said() {
    let contradictory = Histogram {
        sample_count: Some(9),
        schema: Some(0),
        positive_span: vec![span(0, 1)],
        positive_delta: vec![1],
        ..Histogram::default()
    };
    let contradictory = Metric { histogram: Some(contradictory), ..Metric::default() };
    let families = [
        family("good", MetricType::Gauge, vec![gauge(&[], 1.0)]),
        family("h", MetricType::Histogram, vec![contradictory]),
    ];
    let twice = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\".5\"} 2\n";
    let requests = [
        Request::put("/metrics/job/a", body(&families)).header("Content-Type", PROTOBUF),
        Request::put("/metrics/job/b", format!("# TYPE good gauge\ngood 2\n{twice}")),
        Request::put("/metrics/job/c", "m{a=\"\"} 1\nm 2\n"),
        Request::put("/metrics/job/d", "n 1\n"),
        Request::put("/metrics/job/d/a@base64/=", "n{b=\"c\"} 2\n"),
        Request::put("/metrics/job/e", "# TYPE good gauge\ngood 3\n"),
    ];
    let bench = Bench::new();
    let (file, mut expected) = bench.persisted(&[], &requests);
    assert_eq!(expected.len(), requests.len(), "the reference has them all");
    // Those of one key: which of them comes first is not said.
    expected.retain(|group| group["labels"]["job"] != "d");
    for group in expected.iter_mut().filter_map(Value::as_object_mut) {
        group.retain(|name, _| !["h", "s", "m"].contains(&name.as_str()));
    }
    let said = "; 3 groups without families that contradict others; 1 groups left out that contradict \
                others";
    let check = |store: &str, source: &str| {
        let output = bench.run(store, &["import", source]);
        let [out, errors] =
            [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
        assert!(output.status.success(), "{errors}");
        assert!(out.contains(": 5 groups, "), "{out}");
        assert!(out.contains(said), "{out}");
        for reason in [
            "its native buckets count 1 observations, and its count is 9",
            "quantile 0.5 comes twice",
            "was collected before with the same name and label values",
            "a label without a value is no label",
        ] {
            assert!(errors.contains(reason), "{reason}: {errors}");
        }
        let ours = bench.serve(store, &[]);
        let (of_d, rest): (Vec<_>, Vec<_>) =
            groups(&ours).into_iter().partition(|group| group["labels"]["job"] == "d");
        assert_same(&rest, &expected);
        assert_eq!(of_d.len(), 1);
        ours.signal("TERM");
        assert!(ours.ended().success());
    };
    check("file", file.to_str().unwrap());
    let reference = Program::persisting_reference(&file, &[]);
    check("url", &format!("http://{}", reference.address()));
}

#[test]
fn what_is_exported_the_reference_takes() {
    let bench = Bench::new();
    let ours = bench.serve("store", &[]);
    for push in pushes() {
        push.send(ours.address());
    }
    let expected = without_times(groups(&ours));
    let url = format!("http://{}", ours.address());

    // Of a running gateway, to another.
    let reference = Program::reference(&[]);
    let to = format!("http://{}", reference.address());
    bench.succeeds("nothing", &["export", &url, "--to", &to]);
    assert_same(&without_times(groups(&reference)), &expected);

    // Of a store, as requests in a file.
    ours.signal("TERM");
    assert!(ours.ended().success());
    let file = bench.path("groups.http");
    bench.succeeds("store", &["export", "--output", file.to_str().unwrap()]);
    let reference = Program::reference(&[]);
    replay(&file, &reference);
    assert_same(&without_times(groups(&reference)), &expected);
}

#[test]
fn a_backup_of_a_running_gateway_brings_back_what_it_had_with_its_times() {
    let bench = Bench::new();
    let ours = bench.serve("store", &[]);
    for push in pushes() {
        push.send(ours.address());
    }
    let pushed = |program: &Program| {
        let answer = Request::get("/metrics").send(program.address());
        let text = String::from_utf8(answer.body).unwrap();
        let times = text.lines().filter(|line| line.starts_with("push_time_seconds{"));
        let times = times.filter(|line| !line.ends_with(" 0")).map(str::to_owned);
        times.collect::<std::collections::BTreeSet<_>>()
    };
    let (expected, times) = (without_times(groups(&ours)), pushed(&ours));
    let file = bench.path("backup.http");
    let url = format!("http://{}", ours.address());
    bench.succeeds("nothing", &["export", &url, "--output", file.to_str().unwrap()]);
    bench.succeeds("restored", &["import", file.to_str().unwrap()]);
    let restored = bench.serve("restored", &[]);
    assert_same(&without_times(groups(&restored)), &expected);
    assert_eq!(pushed(&restored), times);
    // A backup that was cut off changes nothing.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let said = bench.fails("empty", &["import", file.to_str().unwrap()]);
    assert!(said.contains("the file ends in the middle"), "{said}");
}

/// Sends a file as it is, as `nc` would.
fn replay(file: &Path, to: &Program) {
    let mut stream = TcpStream::connect(to.address()).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let bytes = fs::read(file).unwrap();
    // In a thread of its own: answers come while requests are sent.
    let reading = std::thread::spawn(move || {
        let mut answers = String::new();
        reader.read_to_string(&mut answers).unwrap();
        answers
    });
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = reading.join().unwrap();
    let all = answers.matches("HTTP/1.1 ").count();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), all, "{answers}");
}
