//! Pushes with the `prometheus` crate. See clients.rs.

use std::collections::HashMap;
use std::env::args;

use prometheus::{BasicAuthentication, HistogramOpts, IntCounterVec, Opts, Registry};

fn main() -> prometheus::Result<()> {
    let arguments: Vec<String> = args().collect();
    let [_, url, user, password, _] = arguments.as_slice() else { panic!("{arguments:?}") };
    let authentication = || {
        (!user.is_empty()).then(|| BasicAuthentication {
            username: user.clone(),
            password: password.clone(),
        })
    };
    let registry = Registry::new();
    let jobs = IntCounterVec::new(Opts::new("rs_jobs", "Jobs."), &["kind"])?;
    jobs.with_label_values(&["a\"b\\c\n"]).inc_by(3);
    let size = prometheus::Gauge::new("rs_size", "Size.")?;
    size.set(1e9);
    let seconds = prometheus::Histogram::with_opts(
        HistogramOpts::new("rs_seconds", "Time.").buckets(vec![0.1, 1.0]),
    )?;
    seconds.observe(0.5);
    registry.register(Box::new(jobs))?;
    registry.register(Box::new(size.clone()))?;
    registry.register(Box::new(seconds))?;
    let key = || {
        [("instance", "i"), ("zone", "z")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    };
    let all: HashMap<String, String> = key();
    prometheus::push_metrics("rs", all, url, registry.gather(), authentication())?;
    size.set(2.0);
    let some = Registry::new();
    some.register(Box::new(size))?;
    prometheus::push_add_metrics("rs", key(), url, some.gather(), authentication())
}
