use proptest::prelude::*;

use super::*;

fn error(body: &str) -> String {
    parse(body.as_bytes(), NameRules::Legacy).expect_err(body).to_string()
}

fn one(body: &str) -> MetricFamily {
    let mut families = parse(body.as_bytes(), NameRules::Legacy).unwrap();
    assert_eq!(families.len(), 1, "{families:?}");
    families.remove(0)
}

fn label(name: &str, value: &str) -> Label {
    Label::new(name, value)
}

/// The inputs of `testTextParseError` in Prometheus's Go library, with the start of its messages.
#[test]
fn malformed_text_is_refused_with_its_line_and_the_reason() {
    for (body, line, reason) in [
        ("bla 3.14", 1, "unexpected end of input stream"),
        ("metric{label=\"\\t\"} 3.14\n", 1, "invalid escape sequence"),
        (
            "\nmetric{label=\"new\nline\"} 3.14\n",
            2,
            "label value \"new\" contains unescaped new-line",
        ),
        ("metric{@=\"bla\"} 3.14\n", 1, "invalid label name for metric \"metric\""),
        ("metric{__name__=\"bla\"} 3.14\n", 1, "label name \"__name__\" is reserved"),
        ("metric{label+=\"bla\"} 3.14\n", 1, "expected '=' after label name, found '+'"),
        ("metric{label=bla} 3.14\n", 1, "expected '\"' at start of label value, found 'b'"),
        (
            "\n# TYPE metric summary\nmetric{quantile=\"bla\"} 3.14\n",
            3,
            "expected float as value for 'quantile' label, got \"bla\"",
        ),
        ("metric{label=\"bla\"+} 3.14\n", 1, "unexpected end of label value \"bla\""),
        ("metric{label=\"bla\"} 3.14 2.72\n", 1, "expected integer as timestamp, got \"2.72\""),
        ("metric{label=\"bla\"} 3.14 2 3\n", 1, "spurious string after timestamp: \" 3\""),
        ("metric{label=\"bla\"} blubb\n", 1, "expected float as value, got \"blubb\""),
        (
            "\n# HELP metric one\n# HELP metric two\n",
            3,
            "second HELP line for metric name \"metric\"",
        ),
        (
            "\n# TYPE metric counter\n# TYPE metric untyped\n",
            3,
            "second TYPE line for metric name \"metric\", or TYPE reported after samples",
        ),
        (
            "\nmetric 4.12\n# TYPE metric counter\n",
            3,
            "second TYPE line for metric name \"metric\", or TYPE reported after samples",
        ),
        ("\n# TYPE metric bla\n", 2, "unknown metric type \"bla\""),
        ("\n# TYPE met-ric\n", 2, "invalid metric name in comment"),
        ("@invalidmetric{label=\"bla\"} 3.14 2\n", 1, "invalid metric name"),
        ("{label=\"bla\"} 3.14 2\n", 1, "invalid metric name"),
        (
            "\n# TYPE metric histogram\nmetric_bucket{le=\"bla\"} 3.14\n",
            3,
            "expected float as value for 'le' label, got \"bla\"",
        ),
        ("# TYPE s summary\ns_count 1.5\n", 2, "no whole number as count for summary \"s\""),
        ("# TYPE s summary\ns_count -1\n", 2, "no whole number as count for summary \"s\""),
        ("# TYPE s summary\ns_count NaN\n", 2, "no whole number as count for summary \"s\""),
        ("foo 1_2\n", 1, "expected float as value, got \"1_2\""),
        ("foo 0x1p-3\n", 1, "expected float as value, got \"0x1p-3\""),
        ("foo 0X1\n", 1, "expected float as value, got \"0X1\""),
        ("foo 0b1\n", 1, "expected float as value, got \"0b1\""),
        (
            "# TYPE a histogram\na_bucket{le=\"0x1p-3\"} 1\n",
            2,
            "expected float as value for 'le' label, got \"0x1p-3\"",
        ),
        ("metric{l=\"a\",l=\"b\"} 1\n", 1, "duplicate label names for metric \"metric\""),
        ("{\"one\",\"two\"} 1\n", 1, "multiple metric names for metric \"one\""),
        ("{\"na\\xme\"} 1\n", 1, "invalid escape sequence '\\x'"),
        ("{\"name\".label=\"x\"} 1\n", 1, "unexpected end of metric name '.'"),
        ("{\"na\nme\"} 1\n", 1, "label name \"na\" contains unescaped new-line"),
        ("{\"dotted.name\"} 1\n", 1, "invalid metric name \"dotted.name\""),
        ("{\"name\",\"dotted.label\"=\"x\"} 1\n", 1, "invalid label name \"dotted.label\""),
        ("# TYPE h histogram\nh_count -1\n", 2, "negative count for histogram \"h\""),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} -0.5\n",
            2,
            "negative bucket population for histogram \"h\"",
        ),
        ("{} 3.14\n", 1, "invalid metric name"),
        ("# HELP m a\\tb\n", 1, "invalid escape sequence '\\t'"),
        ("m\n", 1, "expected float as value, got \"\""),
        ("m{a=\"b", 1, "unexpected end of input stream"),
        ("# only a comment", 1, "unexpected end of input stream"),
        ("1m 1\n", 1, "invalid metric name"),
    ] {
        let expected = format!("text format parsing error in line {line}: {reason}");
        let error = error(body);
        assert!(error.starts_with(&expected), "{body:?}: {error}");
    }
}

#[test]
fn label_values_must_be_utf8() {
    let error = parse(b"metric{l=\"\xbd\"} 1\n", NameRules::Legacy).unwrap_err().to_string();
    assert!(error.contains("line 1: invalid label value"), "{error}");
}

#[test]
fn bodies_without_samples_are_empty() {
    for body in ["", "\n\n", "  \t", "# a comment\n", "# HELP m text\n# TYPE m gauge\n", "#\n# \n"]
    {
        assert_eq!(parse(body.as_bytes(), NameRules::Legacy), Ok(vec![]), "{body:?}");
    }
    // OpenMetrics is not understood, but does no harm.
    assert_eq!(parse(b"# UNIT m seconds\n# EOF\n", NameRules::Legacy), Ok(vec![]));
}

#[test]
fn blanks_escapes_and_comments_are_tolerated_where_go_does() {
    let families = parse(
        b"# HELP name two-line\\n doc  str\\\\ing\n\
          # TYPE name counter\n\
          \tname{labelname=\"val2\",basename=\"base\\\"v\\\\al\\nue\"} +Inf 54321\n\
          # HELP \n# TYPE\n# HELP other\n\
          name{ labelname = \"val1\" , }-Inf\n\
          other 3e-1\n",
        NameRules::Legacy,
    )
    .unwrap();
    let [name, other] = families.as_slice() else { panic!("{families:?}") };
    assert_eq!(name.help.as_deref(), Some("two-line\n doc  str\\ing"));
    assert_eq!(name.kind, MetricType::Counter);
    let [first, second] = name.metrics.as_slice() else { panic!("{name:?}") };
    assert_eq!(first.labels[1], label("basename", "base\"v\\al\nue"));
    assert_eq!(first.timestamp_ms, Some(54321));
    assert_eq!(second.labels, [label("labelname", "val1")]);
    let value = |value| MetricValue::Counter { value, exemplar: None, created: None };
    assert_eq!((&first.value, &second.value), (&value(f64::INFINITY), &value(f64::NEG_INFINITY)));
    assert_eq!(other.kind, MetricType::Untyped);
    assert_eq!(other.metrics[0].value, MetricValue::Untyped(0.3));
}

#[test]
fn names_may_be_quoted_and_stand_inside_the_braces() {
    let body = "# TYPE \"m\" gauge\n{a=\"1\",\"m\",\"b\"=\"2\"} 4\n{m} 5\n";
    let family = one(body);
    assert_eq!((family.name.as_str(), family.kind), ("m", MetricType::Gauge));
    assert_eq!(family.metrics[0].labels, [label("a", "1"), label("b", "2")]);
    assert_eq!(family.metrics[1], Metric::gauge(vec![], 5.0));
}

#[test]
fn the_lines_of_a_summary_merge_even_when_mixed() {
    let family = one("# TYPE s summary\n\
         s_count{n=\"1\",m=\"x\"} 42\n\
         s_sum{n=\"2\"} 4711\n\
         s{n=\"1\",m=\"x\",quantile=\"0.5\"} 110\n\
         s{n=\"2\",quantile=\"0.9\"} 140\n\
         s{m=\"x\",quantile=\"0.99\",n=\"1\"} 150\n\
         s_sum{n=\"1\",m=\"x\"} 50\n");
    let [one, two] = family.metrics.as_slice() else { panic!("{family:?}") };
    let MetricValue::Summary(summary) = &one.value else { panic!("{one:?}") };
    assert_eq!((summary.count, summary.sum), (Some(42), Some(50.0)));
    assert_eq!(
        summary.quantiles,
        [Quantile { quantile: 0.5, value: 110.0 }, Quantile { quantile: 0.99, value: 150.0 }]
    );
    let MetricValue::Summary(summary) = &two.value else { panic!("{two:?}") };
    assert_eq!((summary.count, summary.sum), (None, Some(4711.0)));
}

#[test]
fn whole_histograms_count_in_integers_and_others_in_floats() {
    let body = |count| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {count}\nh_bucket{{le=\"+Inf\"}} 7\nh_sum 3\nh_count 7\n"
        )
    };
    let histogram = |body: &str| match &one(body).metrics[0].value {
        MetricValue::Histogram(histogram) => (**histogram).clone(),
        other => panic!("{other:?}"),
    };
    let whole = histogram(&body("3"));
    assert_eq!((whole.count, whole.count_float), (Some(7), None));
    assert_eq!(whole.buckets[0].cumulative_count, Some(3));
    assert_eq!(whole.buckets[1].upper_bound, f64::INFINITY);
    let float = histogram(&body("3.5"));
    assert_eq!((float.count, float.count_float), (None, Some(7.0)));
    assert_eq!(float.buckets[0].cumulative_count_float, Some(3.5));
}

#[test]
fn parts_without_a_type_line_are_families_of_their_own() {
    let families =
        parse(b"s_sum 1\ns_count 2\n# TYPE s summary\ns{quantile=\"1\"} 3\n", NameRules::Legacy)
            .unwrap();
    let names: Vec<_> = families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names, ["s_sum", "s_count", "s"]);
}

#[test]
fn types_are_read_in_any_case() {
    assert_eq!(one("# TYPE a GaUgE\na 1\n").kind, MetricType::Gauge);
    for spelling in ["gauge_histogram", "gaugehistogram", "GaugeHistogram"] {
        let body = format!("# TYPE a {spelling}\na_count 1\n");
        assert_eq!(one(&body).kind, MetricType::GaugeHistogram);
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body, NameRules::Legacy);
    }

    #[test]
    fn nothing_that_looks_like_the_format_makes_it_panic(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "# ", "HELP ", "TYPE ", "m", "m_sum", "m_bucket", "{", "}", "\"", "\\", "=", ",",
                "le", "quantile", " ", "\n", "1", "-", "NaN", "summary\n", "histogram\n", "é",
            ]),
            0..40,
        )
    ) {
        let _ = parse(tokens.concat().as_bytes(), NameRules::Legacy);
    }
}

/// Trailing blanks, a byte order mark and lines as Windows ends them are no part of what is said.
#[test]
fn what_editors_and_shells_add_is_passed_over() {
    let plain = one("# HELP m help\n# TYPE m gauge\n\nm{a=\"b\"} 1\n");
    for body in [
        "# HELP m help\n# TYPE m gauge \n\nm{a=\"b\"} 1 \n",
        "# HELP m help\n# TYPE m gauge\t\n\nm{a=\"b\"} 1\t \n",
        "\u{feff}# HELP m help\n# TYPE m gauge\n\nm{a=\"b\"} 1\n",
        "# HELP m help\r\n# TYPE m gauge\r\n\r\nm{a=\"b\"} 1\r\n",
        "\u{feff}# HELP m help\r\n# TYPE m gauge\r\n\r\nm{a=\"b\"} 1 \r\n",
    ] {
        assert_eq!(one(body), plain, "{body:?}");
    }
    assert_eq!(one("m 1 1000 \n"), one("m 1 1000\n"));
}

proptest! {
    /// Wherever a body is cut while it comes, it is the same.
    #[test]
    fn a_body_in_parts_is_parsed_as_the_whole(
        lines in prop::collection::vec("(# (HELP|TYPE) [ab] (gauge|x)|[ab]\\{c=\"[^\n]{0,3}\"\\} [0-9]{1,3})?[ \r]?", 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ended: bool,
    ) {
        let mut body = lines.join("\n");
        if ended {
            body.push('\n');
        }
        let body = body.as_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let mut meter = Unmetered;
        let budget = Budget::new(ParseLimits::UNLIMITED, &mut meter);
        let mut parser = TextParser::new(NameRules::Legacy, budget);
        let fed = cuts.windows(2).try_for_each(|cut| parser.feed(&body[cut[0]..cut[1]]));
        let in_parts = fed.and_then(|()| parser.finish());
        let whole = parse(body, NameRules::Legacy);
        prop_assert_eq!(in_parts, whole);
    }
}
