//! `prom-client` for JavaScript.

use std::process::Command;

use crate::clients::client::Client;
use crate::clients::way::Way;
use support::part;

const CLIENT: Client = Client {
    command: script,
    fails: &["value 0", "value 6", "job", "reserved"],
    refuses_itself: &[],
    malformed: &[],
    unclean: &["value 0", "value 6"],
    shows: &[
        r#"# HELP jobs Jobs, "quoted\\\nand broken."#,
        "# TYPE jobs counter",
        r#"jobs{instance="i",job="types",kind="a\"b\\c\n",zone="z"} 3"#,
        r#"level{instance="",job="gzip",of="-Infinity"} -Inf"#,
        r#"size_bytes{instance="",job="gzip",quantile="0.9"} 7"#,
        r#"of{instance="",job="user"} 1"#,
        r#"of{instance="",job="values",value="ü€𝄞"} 2"#,
        // The library encodes a slash as one that separates.
        r#"of{b="",instance="",job="values",value="a"} 7"#,
        r#"of{instance="",job="values",value="a b+c"} 8"#,
        r#"of{instance="",job="values",value="a\nb"} 11"#,
    ],
    encodes: &[],
};

fn script() -> Command {
    let mut command = Command::new(part("node"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/clients/push.js"));
    // The folder of its modules.
    command.arg(part("prom-client").parent().unwrap().parent().unwrap());
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
