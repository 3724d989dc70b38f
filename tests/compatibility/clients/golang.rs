//! `client_golang`, which pushes protobuf.

use std::process::Command;

use crate::clients::client::Client;
use crate::clients::way::Way;
use support::part;

const CLIENT: Client = Client {
    command: || Command::new(part("client-golang")),
    fails: &["value 9", "reserved"],
    refuses_itself: &[],
    malformed: &[],
    unclean: &["value 9"],
    shows: &[
        r#"# HELP jobs_total Jobs, "quoted\\\nand broken."#,
        "# TYPE jobs_total counter",
        r#"jobs_total{instance="i",job="types",kind="a\"b\\c\n",zone="z"} 3"#,
        r#"level{instance="",job="text",of="-Inf"} -Inf"#,
        r#"idle_bytes{instance="i",job="types",zone="z",quantile="0.9"} NaN"#,
        "# TYPE untyped untyped",
        r#"native_seconds_bucket{instance="i",job="types",zone="z",le="+Inf"} 8"#,
        r#"both_seconds_bucket{instance="i",job="types",zone="z",le="1"} 6"#,
        r#"of{instance="",job="values",value="/var/tmp"} 0"#,
        r#"of{instance="",job="values",value=""} 1"#,
        r#"of{instance="",job="values",value="ü€𝄞"} 2"#,
        // The library writes a space as `+`, which is one in a query only.
        r#"of{instance="",job="values",value="a+b+c"} 8"#,
        r#"of{instance="",job="values",value="a\nb"} 11"#,
        r#"of{instance="",job="a/b"} 1"#,
    ],
    encodes: &[
        // Native, with classic buckets and without.
        "bucket: [], sample_count_float: None, schema: Some(3)",
        "upper_bound: Some(1.0), exemplar: None, cumulative_count_float: None }], \
         sample_count_float: None, schema: Some(0)",
        "negative_delta: [1, 0], negative_count: []",
        "positive_delta: [1, 1, -1, 0], positive_count: []",
        // On a counter, and on a bucket.
        "value: Some(2.0), exemplar: Some(Exemplar { label: [LabelPair { name: Some(\"trace\"), \
         value: Some(\"t1\") }], value: Some(0.7), \
         timestamp: Some(Timestamp { seconds: 1700000000, nanos: 5 }) })",
        "upper_bound: Some(1.0), exemplar: Some(Exemplar {",
    ],
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

#[test]
fn encrypted_and_with_a_certificate() {
    CLIENT.goes(Way::Certificates);
}
