//! `prometheus_client` for Python.

use std::process::Command;

use crate::clients::client::Client;
use crate::clients::way::Way;
use support::part;

const CLIENT: Client = Client {
    command: script,
    fails: &["value 9", "reserved"],
    refuses_itself: &[],
    malformed: &[],
    unclean: &["value 9"],
    shows: &[
        r#"# HELP jobs_total Jobs, "quoted\\\nand broken."#,
        "# TYPE jobs_total counter",
        r#"jobs_total{instance="i",job="types",kind="a\"b\\c\n",zone="z"} 3"#,
        r#"size_bytes_sum{instance="",job="gzip"} 7"#,
        r#"size_bytes_sum{instance="",job="snappy"} 7"#,
        r#"level{instance="",job="snappy",of="-inf"} -Inf"#,
        r#"state{instance="i",job="types",state="off",zone="z"} 1"#,
        r#"build_info{instance="i",job="types",version="1",zone="z"} 1"#,
        r#"of{instance="",job="values",value="/var/tmp"} 0"#,
        r#"of{instance="",job="values",value=""} 1"#,
        r#"of{instance="",job="values",value="ü€𝄞"} 2"#,
        r#"of{instance="",job="values",value="a b+c"} 8"#,
        r#"of{instance="",job="values",value="a\nb"} 11"#,
        r#"of{instance="",job="a/b"} 1"#,
    ],
    encodes: &[],
};

fn script() -> Command {
    let mut command = Command::new(part("python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/clients/push.py"));
    command
}

#[test]
fn what_is_pushed_is_the_same() {
    CLIENT.goes(Way::Plain);
}

#[test]
fn what_is_pushed_lives_as_long_as_it_says() {
    CLIENT.sets_ttls();
}

#[test]
fn with_a_password() {
    CLIENT.goes(Way::Users);
}

#[test]
fn with_the_wrong_password() {
    CLIENT.goes(Way::Stranger);
}

#[test]
fn encrypted_and_with_a_password() {
    CLIENT.goes(Way::Encrypted);
}

#[test]
fn encrypted_and_with_a_certificate() {
    CLIENT.goes(Way::Certificates);
}
