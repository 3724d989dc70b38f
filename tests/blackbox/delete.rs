//! DELETE removes one group, whole.

use support::Gateway;

#[test]
fn a_deleted_group_is_gone_with_its_stamps() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "a 1\nb 2\n").expect(200);
    gateway.put("/metrics/job/j/instance/i", "a 3\n").expect(200);
    gateway.delete("/metrics/job/j").expect(202);
    gateway
        .scrape()
        .shows(&["a{instance=\"i\",job=\"j\"} 3", "tidegate_groups 1", "tidegate_series 1"])
        .lacks("instance=\"\"")
        .lacks("b{");
    let gateway = gateway.restart();
    gateway.scrape().shows(&["a{instance=\"i\",job=\"j\"} 3"]).lacks("instance=\"\"");
    gateway.stop();
}

#[test]
fn the_key_must_be_the_groups_exactly() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j/a/1/b/2", "m 1\n").expect(200);
    let before = gateway.scrape().pushed();
    for other in
        ["/metrics/job/j", "/metrics/job/j/a/1", "/metrics/job/j/a/1/b/2/c/", "/metrics/job/k"]
    {
        // A missing group is no error: it is as if deleted.
        gateway.delete(other).expect(202);
    }
    assert_eq!(gateway.scrape().pushed(), before);
    gateway.delete("/metrics/job@base64/ag==/b/2/a@base64/MQ").expect(202);
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn a_bad_path_is_refused_as_for_a_push() {
    let gateway = Gateway::start("");
    gateway.delete("/metrics/job/j/odd").expect(400).says("odd number of components");
    gateway.delete("/metrics/job@base64/foo.bar").expect(400).says("invalid base64");
    gateway.delete("/metrics/job/j/__x/1").expect(400).says("improper label name");
    gateway.delete("/metrics/job").expect(404);
    gateway.stop();
}

#[test]
fn a_deleted_group_can_be_pushed_anew() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1 1\n").expect(400);
    gateway.put("/metrics/job/j", "m 1\nold 1\n").expect(200);
    gateway.delete("/metrics/job/j").expect(202);
    gateway.delete("/metrics/job/j").expect(202);
    gateway.post("/metrics/job/j", "m 2\n").expect(200);
    gateway
        .scrape()
        .shows(&[
            "m{instance=\"\",job=\"j\"} 2",
            "push_failure_time_seconds{instance=\"\",job=\"j\"} 0",
        ])
        .lacks("old");
    gateway.stop();
}
