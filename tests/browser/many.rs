//! Pages of a gateway that has a hundred thousand groups.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use tempfile::TempDir;

use crate::script::run;
use support::Tidegate;

const GROUPS: usize = 100_000;
const CLIENTS: usize = 4;
/// Requests that are sent before the first of their answers is read.
const PIPELINED: usize = 100;

#[test]
fn pages_of_a_hundred_thousand_groups_come_within_a_second() {
    let folder = TempDir::new().unwrap();
    // So that the machine's disk is not the subject.
    let args = ["--storage.sync=1s", "--limits.queue=100000"];
    let gateway = Tidegate::serve(folder.path(), &args);
    let address = gateway.address();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || push(address, client));
        }
    });
    run("many", &json!({ "url": format!("http://{address}"), "groups": GROUPS }));
    gateway.stop();
}

/// Pushes every `CLIENTS`-th group.
fn push(address: SocketAddr, client: usize) {
    let stream = TcpStream::connect(address).unwrap();
    let (mut writer, reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    let mut statuses =
        reader.lines().map(Result::unwrap).filter(|line| line.starts_with("HTTP/1.1 "));
    let own: Vec<_> = (client..GROUPS).step_by(CLIENTS).collect();
    for groups in own.chunks(PIPELINED) {
        let request = |group: &usize| {
            let body = format!("many_total {group}\n");
            format!(
                "PUT /metrics/job/many/instance/i-{group}/shard/{} HTTP/1.1\r\nHost: test\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                group % 10,
                body.len()
            )
        };
        writer.write_all(groups.iter().map(request).collect::<String>().as_bytes()).unwrap();
        for status in statuses.by_ref().take(groups.len()) {
            assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        }
    }
}
