//! The `prometheus` crate, which pushes protobuf.

use std::process::Command;

use crate::clients::client::Client;
use crate::clients::way::Way;
use support::part;

const CLIENT: Client = Client {
    command: || Command::new(part("client-rust")),
    fails: &["value 0", "value 4", "value 5", "value 6", "value 7", "job", "reserved"],
    refuses_itself: &["value 0", "value 6", "value 7", "job"],
    malformed: &["value 4"],
    unclean: &[],
    shows: &[
        r#"# HELP jobs Jobs, "quoted\\\nand broken."#,
        "# TYPE jobs counter",
        r#"jobs{instance="i",job="types",kind="a\"b\\c\n",zone="z"} 3"#,
        r#"level{instance="i",job="types",of="-inf",zone="z"} -Inf"#,
        r#"of{instance="",job="values",value=""} 1"#,
        r#"of{instance="",job="values",value="ü€𝄞"} 2"#,
        r#"of{instance="",job="values",value="a b+c"} 8"#,
        // The library encodes nothing, and so the rest is a fragment.
        r#"of{instance="",job="values",value="a"} 10"#,
    ],
    encodes: &[],
};

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
