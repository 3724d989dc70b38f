//! JSON answers, in a form that two programs can be compared in: times are there or not, and groups
//! stand in order.

use serde_json::Value;

use support::families::TIMES;

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `/api/v1/metrics`, one group a line, behind a line with the status.
pub(crate) fn groups(text: &str) -> Vec<String> {
    let answer = parse(text);
    let mut groups = answer["data"].as_array().expect("a list of groups").clone();
    for (name, value) in groups.iter_mut().filter_map(Value::as_object_mut).flatten() {
        // Everything in a group is a family, apart from its labels and whether it succeeded.
        let Some(family) = value.as_object_mut() else { continue };
        if family.get("metrics").is_none_or(|metrics| !metrics.is_array()) {
            continue;
        }
        let time = family.insert("time_stamp".to_owned(), "TIME".into());
        assert!(time.as_ref().and_then(Value::as_str).is_some_and(is_time), "{time:?} in {text}");
        let is_zero = |value: &Value| value == "0";
        for metric in family["metrics"].as_array_mut().expect("a list of metrics") {
            if TIMES.contains(&name.as_str()) && !is_zero(&metric["value"]) {
                metric["value"] = "NONZERO".into();
            }
        }
    }
    let mut lines: Vec<_> = groups.iter().map(Value::to_string).collect();
    lines.sort();
    lines.insert(0, answer["status"].to_string());
    lines
}

/// RFC 3339 as Go prints it: no zeros at the end of a fraction.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let zone = rest.trim_start_matches(['.', '0']);
    let fraction = &text["0000-00-00T00:00:00".len()..text.len() - zone.len()];
    let fraction_is_short = fraction.len() <= 10 && !fraction.ends_with(['0', '.']);
    fraction_is_short && matches!(zone, "Z" | "+00:00" | "-00:00")
}

/// The flags that `/api/v1/status` lists.
pub(crate) fn flags(text: &str) -> Vec<(String, String)> {
    entries(&parse(text)["data"]["flags"])
}

/// The build information there.
pub(crate) fn build(text: &str) -> Vec<(String, String)> {
    entries(&parse(text)["data"]["build_information"])
}

fn entries(object: &Value) -> Vec<(String, String)> {
    let entries = object.as_object().expect("an object").iter();
    entries.map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned())).collect()
}

/// `/api/v1/status` as far as it is the same for all programs.
pub(crate) fn status_frame(text: &str) -> Vec<String> {
    let answer = parse(text);
    let data = &answer["data"];
    assert!(data["start_time"].as_str().is_some_and(is_time), "{text}");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect();
    let mut frame: Vec<String> = keys(&answer);
    frame.extend::<Vec<String>>(keys(data));
    frame.push(answer["status"].to_string());
    frame
}

#[test]
fn times_are_blanked_and_nothing_else() {
    let text = r#"{"status":"success","data":[
        {"labels":{"job":"b","time_stamp":"x"},"last_push_successful":true,
         "m":{"time_stamp":"2026-11-22T23:17:40.7586894Z","type":"GAUGE",
              "metrics":[{"labels":{"time_stamp":"x"},"value":"3"}]}},
        {"labels":{"job":"a"},"last_push_successful":true,
         "push_time_seconds":{"time_stamp":"2026-11-22T23:17:40+05:30","type":"GAUGE",
              "metrics":[{"labels":{"value":"1"},"value":"1.7e+09"}]}}]}"#;
    assert_eq!(
        groups(text),
        [
            r#""success""#,
            r#"{"labels":{"job":"a"},"last_push_successful":true,"push_time_seconds":{"metrics":[{"labels":{"value":"1"},"value":"NONZERO"}],"time_stamp":"TIME","type":"GAUGE"}}"#,
            r#"{"labels":{"job":"b","time_stamp":"x"},"last_push_successful":true,"m":{"metrics":[{"labels":{"time_stamp":"x"},"value":"3"}],"time_stamp":"TIME","type":"GAUGE"}}"#,
        ]
    );
    for time in ["2026-11-22T23:17:40.10Z", "2026-11-22T23:17:40.Z", "2026-11-22T23:17:40", ""] {
        assert!(!is_time(time), "{time}");
    }
}
