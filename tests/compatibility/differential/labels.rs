//! The labels of what is pushed, against those of its group.

use crate::differential::pushes::play;

#[test]
fn grouping_labels_win_and_instance_is_always_there() {
    play(
        &[],
        &[
            (
                "labels of the group overwrite",
                &[
                    (
                        "PUT",
                        "job/x/instance/i/a/1",
                        "m 1\nm{b=\"2\"} 1\nn{a=\"9\",job=\"y\",instance=\"j\"} 1\n",
                    ),
                    ("PUT", "job/y/Z/1/_/2", "m{z=\"3\",A=\"4\",_a=\"5\"} 1\n"),
                ],
            ),
            (
                "an instance in the body stays where the key has none",
                &[
                    ("PUT", "job/x", "m{instance=\"body\"} 1\nm 2\nm{instance=\"\",a=\"b\"} 3\n"),
                    ("DELETE", "job/x", ""),
                    ("PUT", "job/x/instance/", "n{instance=\"body\"} 1\n"),
                ],
            ),
            (
                "two series that become one",
                &[
                    ("PUT", "job/x", "m{job=\"a\"} 1\nm{job=\"b\"} 2\n"),
                    ("PUT", "job/x/l/v", "m{l=\"a\"} 1\nm 2\n"),
                    ("PUT", "job/x", "m 1\nm{instance=\"\"} 2\n"),
                    ("PUT", "job/x", "m 1\nm 1\n"),
                ],
            ),
            (
                "labels that mean something elsewhere",
                &[
                    ("PUT", "job/x", "m{le=\"1\",quantile=\"0.5\"} 1\n"),
                    ("PUT", "job/x/quantile/1", "# TYPE s summary\ns{quantile=\"2\"} 1\n"),
                    ("PUT", "job/x/quantile/1", "m 1\n"),
                    ("PUT", "job/x/le/1", "m 1\n"),
                ],
            ),
            (
                "values that need escapes",
                &[
                    ("PUT", "job/%22%5C%0A/l/%3C%3E%26", "m{a=\"\\\"\\\\\\n<>&\"} 1\n"),
                    (
                        "PUT",
                        "job/%E2%80%A8/l/%01%7F",
                        "# HELP n \\\\ \\n \" \t<\nn{a=\"\u{2028}\u{7f}\"} 1\n",
                    ),
                    ("PUT", "job/%C3%BC/l/'", "m{a=\"'ö\"} 1\n"),
                ],
            ),
        ],
    );
}

#[test]
fn the_order_of_labels_and_series_is_that_of_bytes() {
    play(
        &[],
        &[(
            "names in all cases",
            &[(
                "PUT",
                "job/x",
                "m{b=\"1\",B=\"2\",_=\"3\",a1=\"4\",a_=\"5\",aA=\"6\"} 1\n\
                 b 1\nB 2\n_ 3\na1 4\na_ 5\naA 6\na:a 7\na 8\n",
            )],
        )],
    );
}
