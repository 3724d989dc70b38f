//! A real Prometheus scrapes the cluster through a balancer while leaders are killed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use support::cluster::{Etcd, Replica, free_port, leader_of};
use support::{Client, Process, eventually, part};

/// nginx in front of the replicas, as the documentation has it.
fn balancer(folder: &Path, replicas: &[Replica]) -> (Process, Client) {
    let port = free_port();
    let server = |replica: &Replica| format!("server {} max_fails=0;", replica.address());
    let servers: Vec<_> = replicas.iter().map(server).collect();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\nhttp {{\n  access_log off;\n\
         \x20 client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n\
         \x20 fastcgi_temp_path {dir}/fastcgi;\n  uwsgi_temp_path {dir}/uwsgi;\n\
         \x20 scgi_temp_path {dir}/scgi;\n  upstream tidegate {{ {} }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    location / {{\n\
         \x20     proxy_pass http://tidegate;\n      proxy_connect_timeout 1s;\n\
         \x20     proxy_next_upstream error timeout http_503 non_idempotent;\n    }}\n  }}\n}}\n",
        servers.join(" "),
        dir = folder.display(),
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(part("nginx"));
    command.arg("-c").arg(config).arg("-p").arg(folder).args(["-e", "stderr"]);
    let process = Process::spawn(&mut command);
    let client = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    eventually("the balancer", || client.try_send("GET", "/-/ready", &[], b"").ok());
    (process, client)
}

fn prometheus(folder: &Path, target: &Client) -> (Process, Client) {
    let text = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n\
         - job_name: gateway\n  honor_labels: true\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(part("prometheus"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .current_dir(folder);
    let mut process = Process::spawn(&mut command);
    let client = Client::new(process.address());
    (process, client)
}

#[test]
fn prometheus_sees_no_gap_and_no_counter_that_falls() {
    let etcd = Etcd::start();
    let mut replicas: Vec<_> =
        ["a", "b", "c"].into_iter().map(|id| Replica::start(&etcd, id, &[])).collect();
    let folder = tempfile::tempdir().unwrap();
    let (_nginx, balancer) = balancer(folder.path(), &replicas);
    let push = |client: &Client, value: u64| {
        let text = format!("# TYPE runs_total counter\nruns_total {value}\n");
        client.put("/metrics/job/backup", text).expect(200)
    };
    push(&balancer, 1);
    let (_process, prometheus) = prometheus(folder.path(), &balancer);
    let query = |query: &str| -> Value {
        let answer = prometheus.get(&format!("/api/v1/query?query={query}"));
        // Until it has started.
        let answer = if answer.status == 200 { answer.json() } else { Value::Null };
        answer["data"]["result"][0]["value"][1].clone()
    };
    let samples = || query("count_over_time(runs_total%7Bjob=%22backup%22%7D%5B5m%5D)");
    let count = |samples: &Value| samples.as_str().and_then(|it| it.parse::<u32>().ok());
    eventually("samples", || count(&samples()).filter(|count| *count > 2));

    let stop = Arc::new(AtomicBool::new(false));
    let pusher = {
        let (stop, balancer) = (Arc::clone(&stop), balancer.clone());
        thread::spawn(move || {
            for value in 2.. {
                if stop.load(Ordering::Relaxed) {
                    return value;
                }
                push(&balancer, value);
            }
            0
        })
    };
    for _ in 0..3 {
        let leader = leader_of(&replicas);
        let before = count(&samples()).unwrap();
        replicas[leader].kill();
        eventually("more samples", || count(&samples()).filter(|count| *count > before + 6));
        replicas[leader].run();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(pusher.join().expect("every push is stored") > 20);
    let own = "%7Binstance!=%22%22,job=%22gateway%22%7D";
    assert_eq!(query(&format!("min_over_time(up{own}%5B5m%5D)")), "1", "a scrape failed");
    assert_eq!(query("resets(runs_total%5B5m%5D)"), "0");
    // As many samples as scrapes, from the first to the last: there is no hole.
    let scrapes = query(&format!("count_over_time(up{own}%5B5m%5D)"));
    let (scrapes, samples) = (count(&scrapes).unwrap(), count(&samples()).unwrap());
    assert!(scrapes.abs_diff(samples) <= 1, "{samples} samples of {scrapes} scrapes");
}
