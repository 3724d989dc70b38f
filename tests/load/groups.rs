//! Many groups: stored, restored, listed and deleted.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::gateway::{Gateway, number};
use crate::others::go_on;
use crate::{GROUPS_VARIABLE, beside_others, figure, variable};

const GROUPS: u64 = 20_000;
const CLIENTS: u64 = 8;
/// Requests that are sent before the first of their answers is read.
const PIPELINED: u64 = 64;
const PAGE: u64 = 5000;

const ARGUMENTS: &[&str] = &[
    "--web.enable-admin-api",
    // So that the machine's disk is not the subject.
    "--storage.sync=1s",
    "--history.groups=100",
];

/// Pushes every `CLIENTS`-th group, one of ten shards each.
fn push(address: SocketAddr, client: u64, groups: u64) {
    let stream = TcpStream::connect(address).unwrap();
    let (mut writer, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    let mut own = (client..groups).step_by(usize::try_from(CLIENTS).unwrap()).peekable();
    while own.peek().is_some() {
        let mut requests = String::new();
        let mut sent = 0;
        for group in own.by_ref().take(usize::try_from(PIPELINED).unwrap()) {
            let body = format!("many_total {group}\n");
            let (shard, length) = (group % 10, body.len());
            let request = format!(
                "PUT /metrics/job/many/instance/i-{group}/shard/{shard} HTTP/1.1\r\nHost: test\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
            requests.push_str(&request);
            sent += 1;
        }
        writer.write_all(requests.as_bytes()).unwrap();
        let mut line = String::new();
        while sent > 0 {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the connection was closed");
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                assert!(status.starts_with("200"), "{status}");
                sent -= 1;
            }
        }
    }
}

/// Pushes so many groups, over some connections at once.
pub(crate) fn fill(address: SocketAddr, groups: u64) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || push(address, client, groups));
        }
    });
}

#[track_caller]
fn has_groups(gateway: &Gateway, count: u64) {
    assert_eq!(number(&gateway.scrape(), "tidegate_groups"), count);
}

#[test]
fn many_groups_are_stored_restored_listed_and_deleted() {
    let _machine = beside_others();
    let groups = variable(GROUPS_VARIABLE, GROUPS);
    let gateway = Gateway::start(ARGUMENTS);
    let began = Instant::now();
    fill(gateway.address(), groups);
    figure(&format!("{groups} groups pushed within {:?}", began.elapsed()));
    has_groups(&gateway, groups);
    figure(&format!("{} KiB of memory, {} KiB on disk", gateway.memory().now, gateway.disk()));
    let folder = gateway.stop();

    let began = Instant::now();
    let gateway = Gateway::start_in(folder, ARGUMENTS);
    figure(&format!(
        "restored within {:?}; {} KiB of memory",
        began.elapsed(),
        gateway.memory().now
    ));
    has_groups(&gateway, groups);

    let began = Instant::now();
    let mut listed = HashSet::new();
    let mut after = String::new();
    loop {
        let page = gateway.get(&format!("/api/v2/groups?limit={PAGE}{after}")).expect(200).data();
        for group in page["groups"].as_array().unwrap() {
            let name = group["labels"]["instance"].as_str().unwrap().to_owned();
            assert!(listed.insert(name), "it is listed once: {group}");
        }
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(listed.len() as u64, groups);
    figure(&format!("listed in pages of {PAGE} within {:?}", began.elapsed()));

    let began = Instant::now();
    // match[]={shard="3"}
    gateway.delete("/api/v2/groups?match%5B%5D=%7Bshard%3D%223%22%7D").expect(200);
    figure(&format!("a tenth deleted within {:?}", began.elapsed()));
    let tenth = (groups + 6) / 10;
    has_groups(&gateway, groups - tenth);
    let exposition = gateway.scrape();
    exposition.lacks("shard=\"3\"");
    assert_eq!(number(&exposition, "tidegate_series"), groups - tenth);
    drop(exposition);

    let began = Instant::now();
    // match[]={job="many"}
    gateway.delete("/api/v2/groups?match%5B%5D=%7Bjob%3D%22many%22%7D").expect(200);
    figure(&format!("the rest deleted within {:?}", began.elapsed()));
    has_groups(&gateway, 0);
    go_on(&gateway);
    let gateway = Gateway::start_in(gateway.stop(), ARGUMENTS);
    has_groups(&gateway, 1);
    gateway.stop();
}
