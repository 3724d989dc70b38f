//! Names in any UTF-8: quoted in bodies, escaped in paths.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;
use support::protobuf::{CONTENT_TYPE, MetricType, body, family, gauge};

const FLAGS: [&str; 2] = ["--push.enable-utf8-names", "--web.enable-admin-api"];

#[test]
fn bodies() {
    let mut pair = Pair::start(&FLAGS);
    for body in [
        "# HELP \"a.b\" help text\n# TYPE \"a.b\" counter\n{\"a.b\",\"l.m\"=\"value\"} 1\n",
        "{\"a.b\",c=\"1\",d=\"2\"} 42.0\n{\"a.b\",c=\"3\"} 0.23\n",
        "\t# HELP \"a.b\" boring\n\t# TYPE \"a.b\" counter\n\t{\"a.b\"} 42.0\n",
        "# HELP \"g.n\" gauge\\ndoc\\nstr\\\"ing\n# TYPE \"g.n\" gauge\n\
         {\"g.n\",\"n.1\"=\"val with\\nnew line\",\"n*2\"=\"\\\\backslash \\\"quotes\\\"\"} +Inf\n\
         {\"g.n\",\"n.1\"=\"Bj\u{f6}rn\",\"n*2\"=\"\u{4f56}\u{4f65}\"} 3.14e+42\n",
        "# TYPE \"my\\\"metric\\nname\\\\\" counter\n{\"my\\\"metric\\nname\\\\\",\"l\\\"n\\n\"=\"v\"} 1\n",
        "{c=\"d\", \"a.b\"} 1\n",
        "{\"n.1\"} 1\n{\"n.2\"} 1\n{\"n.3\"} 1\n",
        "m{\"foo\"=\"bar\", \"dotted.label\"=\"x\"} 3.14\n",
        "# TYPE \"s.t\" summary\n{\"s.t\",quantile=\"0.5\"} 1\n{\"s.t_sum\"} 2\n{\"s.t_count\",\"x.y\"=\"z\"} 3\n",
        "# TYPE \"h.i\" histogram\n{\"h.i_bucket\",le=\"1\"} 1\n{\"h.i_sum\"} 2\n{\"h.i_count\"} 3\n",
        "{\" \"} 1\n{\"a\u{0}b\"} 3\n",
        "{\"\t\"} 2\n",
        "{\"a\",\" \"=\"b\"} 1\n",
        "{\"U__a_2e_b\",U__c_2e_d=\"e\"} 1\n",
        "{\"a.b\",\"__x\"=\"c\"} 1\n",
        "{\"a.b\",\"__name__\"=\"c\"} 1\n",
        "{\"a.b\",\"a.b\"=\"c\",\"a.b\"=\"d\"} 1\n",
        "{\"a.b\",\"c.d\"} 1\n",
        "{\"\"} 1\n",
        "m{\"\"=\"a\"} 1\n",
        "{\"a.b\"} 1\n{\"a.b\"} 2\n",
        "# TYPE \"a.b\" gauge\n# TYPE \"a.b\" gauge\n",
        "a.b 1\n",
        "m{a.b=\"c\"} 1\n",
        "# TYPE a.b gauge\n",
        "{\"a.b\"",
        "{\"a\\xb\"} 1\n",
        "{\"a.b\"c=\"d\"} 1\n",
    ] {
        pair.same(&Request::put("/metrics/job/x", body));
        pair.same_state();
        let accept = "text/plain;version=0.0.4;escaping=allow-utf-8";
        pair.same(&Request::get("/metrics").header("Accept", accept));
        pair.wipe();
    }
    pair.same(&Request::put("/metrics/job/x", b"{\"a\",b=\"\xff\"} 1\n"));
    pair.same_state();
    // Names that are not UTF-8 are none, as in later releases.
    for bytes in
        [&b"{\"a\xff\"} 1\n"[..], b"{\"a\",\"\xff\"=\"b\"} 1\n", b"# TYPE \"\xff\" gauge\n"]
    {
        pair.differs(Why::Later, &Request::put("/metrics/job/y", bytes), 400);
    }
    pair.finish();
}

#[test]
fn paths() {
    let mut pair = Pair::start(&FLAGS);
    for path in [
        "job/x/U__dotted_2e_label_2e_name/v",
        "job/x/U__dotted_2e_label_2e_name@base64/dg==",
        "job/x/U__a_2E_b/v",
        "job/x/U__a__b/v",
        "job/x/U___2e_/v",
        "job/x/U__/v",
        "job/x/U__a_/v",
        "job/x/U__a_b/v",
        "job/x/U__a_zz_b/v",
        "job/x/U__a_d800_b/v",
        "job/x/U__a_dfff_b/v",
        "job/x/U__a_110000_b/v",
        "job/x/U__a_10ffff_b/v",
        "job/x/U__a_1234567_b/v",
        "job/x/U__a_1f4a9_b/v",
        "job/x/U__a_0_b/v",
        "job/x/U__a_000041_b/v",
        "job/x/U__a_FC_b/v",
        "job/x/U__a_2e/v",
        "job/x/U_a_2e_b/v",
        "job/x/u__a_2e_b/v",
        "job/x/U__a.b/v",
        "job/x/U__%C3%BC_2e_/v",
        "job/x/a.b/v",
        "job/x/a-b/v",
        "job/x/1a/v",
        "job/x/%20/v",
        "job/x/%C3%BC/v",
        "job/x/a%22b/v",
        "job/x/__a/v",
        "job/x/__/v",
        "job/x/U__job/v",
        "job/x/U__jo_62_/v",
        "job/x/U__a_2e_b/1/a.b/2",
        "job/x/a.b/2/U__a_2e_b/1",
        "job/x/@base64/dg",
        "job/x/a.b@base64/foo.bar",
        "job/x/a.b",
        "job/U__a_2e_b",
    ] {
        pair.case(path);
        let path = format!("/metrics/{path}");
        pair.same(&Request::put(path.as_str(), "m{\"x.y\"=\"z\"} 1\n"));
        pair.same(&Request::post(path.as_str(), "{\"n.o\"} 1\n"));
        pair.same_state();
        let accept = "text/plain;version=0.0.4;escaping=allow-utf-8";
        pair.same(&Request::get("/metrics").header("Accept", accept));
        pair.same(&Request::delete(path));
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

#[test]
fn protobuf() {
    let mut pair = Pair::start(&FLAGS);
    for name in ["a.b", "\u{fc}", " ", "a\"\\\n", "1", "U__x"] {
        let families = [
            family(name, MetricType::Gauge, vec![gauge(&[(name, "v")], 1.0)]),
            family("other", MetricType::Counter, vec![]),
        ];
        let push = Request::put("/metrics/job/x", body(&families));
        pair.same(&push.header("Content-Type", CONTENT_TYPE));
        pair.same_state();
    }
    pair.finish();
}
