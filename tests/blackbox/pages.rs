//! Queries of the second API: careless ones delete nothing, and pages stay in place.

use std::collections::HashSet;

use serde_json::Value;

use support::{Gateway, MILLISECOND};

const ADMIN: &str = "[web]\nenable-admin-api = true\n";
const ALL: &str = "match[]=%7Bjob%3D~%22.%2B%22%7D";

#[test]
fn a_query_that_is_careless_deletes_nothing() {
    let gateway = Gateway::start(ADMIN);
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    gateway.put("/metrics/job/b", "m 1\n").expect(200);
    gateway.advance(MILLISECOND);
    let later = "2100-01-01T00:00:00Z";
    for query in [
        String::new(),
        "match[]=".into(),
        "match[]=%7B%7D".into(),
        format!("{ALL}&pushed_before="),
        format!("{ALL}&pushed_before=soon"),
        format!("{ALL}&pushed_before=%2B1h"),
        format!("{ALL}&pushed_before={later}&pushed_before=2001-01-01T00:00:00Z"),
        format!("{ALL}&pushed_before={later}&pushed_before={later}"),
        format!("{ALL}&dry_run"),
        format!("{ALL}&dry_run="),
        format!("{ALL}&dry_run=yes"),
        format!("{ALL}&dry_run=true&dry_run=false"),
        format!("{ALL}&dry_run=false&dry_run=true"),
        format!("{ALL}&dryrun=true"),
        format!("{ALL}&pushed-before=2001-01-01T00:00:00Z"),
        format!("{ALL}&match[]=%7Bjob%3D"),
        format!("{ALL}&limit=1"),
    ] {
        let answer = gateway.delete(&format!("/api/v2/groups?{query}")).expect(400);
        assert_eq!(answer.json()["errorType"], "bad_data", "{query}");
    }
    for (method, query) in [
        ("PUT", format!("/ttl?{ALL}&ttl=1s&ttl=never")),
        ("PUT", format!("/ttl?{ALL}&ttl=")),
        ("PUT", format!("/ttl?{ALL}&ttl=0s&dry_run=true")),
        ("POST", "/touch?match[]=".into()),
        ("POST", "/touch".into()),
    ] {
        gateway.send(method, &format!("/api/v2/groups{query}"), &[], b"").expect(400);
    }
    let scrape = gateway.scrape();
    assert_eq!(scrape.family("m").len(), 1 + 2);
    scrape.shows(&["tidegate_groups_by_ttl_source{source=\"override\"} 0"]);
    // Said with care, they do what they say.
    gateway.delete(&format!("/api/v2/groups?{ALL}&dry_run=true")).expect(200);
    assert_eq!(gateway.scrape().family("m").len(), 1 + 2);
    let did = gateway.delete(&format!("/api/v2/groups?{ALL}&pushed_before={later}")).expect(200);
    assert_eq!(did.data()["count"], 2);
    gateway.stop();
}

#[test]
fn a_group_that_was_never_pushed_is_not_deleted_once_it_has_been() {
    let gateway = Gateway::start(ADMIN);
    gateway.put("/metrics/job/husk", "m 1 1\n").expect(400);
    let path = format!("/api/v2/groups?{ALL}");
    let would = gateway.delete(&format!("{path}&dry_run=true")).expect(200).data();
    assert_eq!(would["count"], 1);
    let looked = would["pushed_before"].as_str().expect("it says up to which push it looked");
    gateway.advance(MILLISECOND);
    gateway.put("/metrics/job/husk", "m 1\n").expect(200);
    let did = gateway.delete(&format!("{path}&pushed_before={looked}")).expect(200).data();
    assert_eq!(did["count"], 0);
    gateway.put("/metrics/job/other", "m 1 1\n").expect(400);
    let did = gateway.delete(&format!("{path}&pushed_before={looked}")).expect(200).data();
    assert_eq!(did["deleted"][0]["job"], "other", "a group never pushed is still deleted");
    gateway.scrape().shows(&["m{instance=\"\",job=\"husk\"} 1"]).lacks("other");
    gateway.stop();
}

const SORTS: [&str; 9] = [
    "name",
    "-name",
    "deadline",
    "-deadline",
    "last_push",
    "-interval",
    "-state",
    "ttl",
    "-series",
];

#[test]
fn a_page_goes_on_only_in_the_order_that_it_was_begun_in() {
    let gateway = Gateway::start("");
    for job in ["a", "b"] {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    for begun in SORTS {
        let page = gateway.get(&format!("/api/v2/groups?sort={begun}&limit=1")).expect(200).data();
        let next = page["next"].as_str().unwrap();
        for sort in SORTS {
            let path = format!("/api/v2/groups?sort={sort}&limit=1&after={next}");
            gateway.get(&path).expect(if sort == begun { 200 } else { 400 });
        }
        for broken in ["", "x", &next[1..], &next[..next.len() - 1], &format!("{next}!")] {
            gateway.get(&format!("/api/v2/groups?sort={begun}&after={broken}")).expect(400);
        }
    }
    gateway.stop();
}

#[test]
fn groups_that_stay_are_each_on_one_page_while_others_come_and_go() {
    const STAY: usize = 30;
    let gateway = Gateway::start(ADMIN);
    for at in 0..STAY {
        // Many are the same in what they are sorted by.
        let body = series(1 + at % 3);
        let path = format!("/metrics/job/stay/at/{at}?ttl={}h", 1 + at % 4);
        gateway.put(&path, body).expect(200);
        if at % 5 == 0 {
            gateway.advance(MILLISECOND);
        }
    }
    for sort in SORTS {
        for limit in [1, 4, 7] {
            let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let path = format!("/api/v2/groups?sort={sort}&limit={limit}{after}");
                let page = gateway.get(&path).expect(200).data();
                let groups = page["groups"].as_array().unwrap();
                assert!(groups.len() <= limit, "{sort}");
                seen.extend(groups.iter().filter_map(of_those_that_stay));
                // The last of the page goes, if it may, and with it the place that the next begins at.
                come_and_go(&gateway, pages, groups.last());
                pages += 1;
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            let unique: HashSet<_> = seen.iter().collect();
            assert_eq!((seen.len(), unique.len()), (STAY, STAY), "{sort}, {limit} at a time");
        }
    }
    gateway.stop();
}

/// So many series.
fn series(count: usize) -> String {
    (0..count).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect::<Vec<_>>().concat()
}

fn of_those_that_stay(group: &Value) -> Option<String> {
    let labels = &group["labels"];
    (labels["job"] == "stay").then(|| labels["at"].as_str().unwrap().to_owned())
}

/// Two groups come, which sort before and after most; the last that was listed goes.
fn come_and_go(gateway: &Gateway, page: usize, last: Option<&Value>) {
    for (job, ttl, count) in [("a", "30m", 1), ("z", "9h", 5)] {
        let at = page % 3;
        gateway.put(&format!("/metrics/job/{job}/at/{at}?ttl={ttl}"), series(count)).expect(200);
    }
    let labels = last.map(|group| &group["labels"]).filter(|labels| labels["job"] != "stay");
    if let Some(labels) = labels {
        let (job, at) = (labels["job"].as_str().unwrap(), labels["at"].as_str().unwrap());
        gateway.delete(&format!("/metrics/job/{job}/at/{at}")).expect(202);
    }
}
