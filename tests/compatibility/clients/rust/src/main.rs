//! The `prometheus` crate, step by step; says what came of each. See main.rs of the tests. It has no
//! delete, no summaries, and encodes nothing of a path itself.

use std::collections::HashMap;
use std::env::args;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    BasicAuthentication, Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, Opts,
    Registry, Result, push_add_metrics, push_metrics,
};

fn step(name: &str, result: Result<()>) {
    let outcome = result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    println!("{name}: {}", outcome.split_whitespace().collect::<Vec<_>>().join(" "));
}

fn grouping(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn gathered(collectors: Vec<Box<dyn Collector>>) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    collectors.into_iter().try_for_each(|collector| registry.register(collector))?;
    Ok(registry.gather())
}

fn gauges(values: &[(&str, f64)]) -> Result<Vec<MetricFamily>> {
    let gauges = values.iter().map(|(name, value)| {
        let gauge = Gauge::new(*name, format!("Help of {name}."))?;
        gauge.set(*value);
        Ok(Box::new(gauge) as Box<dyn Collector>)
    });
    gathered(gauges.collect::<Result<_>>()?)
}

fn types() -> Result<Vec<MetricFamily>> {
    let jobs = IntCounterVec::new(Opts::new("jobs", "Jobs, \"quoted\\\nand broken."), &["kind"])?;
    jobs.with_label_values(&["a\"b\\c\n"]).inc_by(3);
    let level = GaugeVec::new(Opts::new("level", "Level."), &["of"])?;
    for value in [1e9, 1e-7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e21] {
        level.with_label_values(&[&value.to_string()]).set(value);
    }
    let options = HistogramOpts::new("took_seconds", "Time.").buckets(vec![0.1, 1.0]);
    let took = Histogram::with_opts(options)?;
    took.observe(0.5);
    gathered(vec![Box::new(jobs), Box::new(level), Box::new(took)])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = args().collect();
    // The crate has no way to be given an authority, but OpenSSL's environment counts.
    let [_, url, user, password, _, _] = arguments.as_slice() else { panic!("{arguments:?}") };
    let users = || {
        let named = !user.is_empty();
        named.then(|| BasicAuthentication { username: user.clone(), password: password.clone() })
    };
    let push = |job: &str, labels: &[(&str, &str)], families| {
        push_metrics(job, grouping(labels), url, families, users())
    };
    if std::env::var("STEPS").is_ok_and(|steps| steps == "ttl") {
        let of = || gauges(&[("of", 1.0)]);
        step("label", push("label", &[("__ttl__", "2h")], of()?));
        step("gauge", push("gauge", &[], gauges(&[("push_ttl_seconds", 7200.0)])?));
        step("malformed", push("malformed", &[("__ttl__", "soon")], of()?));
        return Ok(());
    }
    step("types", push("types", &[("instance", "i"), ("zone", "z")], types()?));
    // Of two dots the reference is redirected to another group, which this gateway does not do.
    let values = [
        "/var/tmp",
        "",
        "ü€𝄞",
        "a=b&c",
        "100%",
        "\"\\",
        "/",
        "a/b/",
        "a b+c",
        "...",
        "a?b#c",
        "a\nb",
    ];
    for (value, number) in values.iter().zip(0_u8..) {
        let families = gauges(&[("of", number.into())])?;
        step(&format!("value {number}"), push("values", &[("value", value)], families));
    }
    step("job", push("a/b", &[], gauges(&[("of", 1.0)])?));
    step("two", push("added", &[], gauges(&[("first", 1.0), ("second", 2.0)])?));
    let second = gauges(&[("second", 3.0)])?;
    step("add", push_add_metrics("added", grouping(&[]), url, second, users()));
    step("more", push("replaced", &[], gauges(&[("first", 4.0), ("second", 5.0)])?));
    step("less", push("replaced", &[], gauges(&[("first", 6.0)])?));
    step("reserved", push("reserved", &[("__x", "y")], gauges(&[("first", 8.0)])?));
    let conflict = Counter::new("first", "Help of first.")?;
    step("conflict", push("conflict", &[], gathered(vec![Box::new(conflict)])?));
    step("last", push("last", &[], gauges(&[("first", 9.0)])?));
    Ok(())
}
