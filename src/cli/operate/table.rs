//! Answers as tables for people.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;

use super::answer::{Cluster, Comparison, Group, Page, Preview, Removed, Restoration, TtlDecision};
use crate::model::duration::Rough;
use crate::time::UnixNanos;

pub(super) fn groups(page: &Page<Group>, now: UnixNanos) -> String {
    let mut table = table(&["LABELS", "SERIES", "LAST PUSH", "TTL", "EXPIRES", "LAST REFUSED"]);
    for group in &page.groups {
        table.add_row([
            group.labels.to_string(),
            group.series.to_string(),
            when(group.last_push.as_deref(), now),
            ttl(&group.fate),
            when(Some(&group.fate.expires), now),
            when(group.last_failed_push.as_deref(), now),
        ]);
    }
    shown(&table, page.groups.len(), page.total)
}

pub(super) fn replicas(cluster: &Cluster, now: UnixNanos) -> String {
    let mut table =
        table(&["REPLICA", "ROLE", "ADDRESS", "VERSION", "LAST SEEN", "CLOCK", "SETTINGS"]);
    for replica in &cluster.replicas {
        table.add_row([
            replica.id.clone(),
            if replica.leads { "leads" } else { "follows" }.into(),
            replica.url.clone(),
            replica.version.clone(),
            when(Some(&replica.last_seen), now),
            replica.clock_skew_ms.map(|skew| format!("{skew:+} ms")).unwrap_or_default(),
            if replica.same_settings { "the same" } else { "others" }.into(),
        ]);
    }
    let Cluster { name, revision, staleness_seconds, warnings, .. } = cluster;
    let old = Rough(Duration::try_from_secs_f64(*staleness_seconds).unwrap_or_default());
    let mut lines: Vec<_> = warnings.iter().map(|text| format!("warning: {text}")).collect();
    lines.push(format!("cluster {name}, revision {revision}, {old} old"));
    lines.push(table.trim_fmt());
    lines.join("\n")
}

pub(super) fn expiring(preview: &Preview, now: UnixNanos) -> String {
    let mut table = table(&["LABELS", "SERIES", "LAST PUSH", "TTL", "EXPIRES"]);
    for group in &preview.groups {
        table.add_row([
            group.labels.to_string(),
            group.series.to_string(),
            when(group.last_push.as_deref(), now),
            ttl(&group.fate),
            when(Some(&group.fate.expires), now),
        ]);
    }
    let (at, gone, stay) = (&preview.at, preview.gone, preview.stay);
    let head = format!("At {at} {gone} will have expired, and {stay} will be there.");
    if gone == 0 {
        return head;
    }
    format!("{head}\n{}", shown(&table, preview.groups.len(), gone))
}

pub(super) fn comparison(comparison: &Comparison, now: UnixNanos) -> String {
    let Comparison { at, today, proposed, changed, unchanged, changes, warnings } = comparison;
    let mut table = table(&["LABELS", "CHANGE", "TTL TODAY", "PROPOSED", "EXPIRES", "PROPOSED"]);
    for change in changes {
        table.add_row([
            change.labels.to_string(),
            change.effect.clone(),
            ttl(&change.today),
            ttl(&change.proposed),
            when(Some(&change.today.expires), now),
            when(Some(&change.proposed.expires), now),
        ]);
    }
    let mut lines: Vec<_> = warnings.iter().map(|text| format!("warning: {text}")).collect();
    let (today, proposed) = (today.gone, proposed.gone);
    lines.push(format!(
        "At {at} {today} will have expired under the settings in force, {proposed} under those \
         proposed. {changed} would expire earlier or later, {unchanged} as today."
    ));
    if *changed > 0 {
        lines.push(shown(&table, changes.len(), *changed));
    }
    lines.join("\n")
}

pub(super) fn removed(page: &Page<Removed>, now: UnixNanos) -> String {
    let mut table = table(&["ID", "LABELS", "SERIES", "LAST PUSH", "TTL", "WHY", "WHEN"]);
    for group in &page.groups {
        table.add_row([
            group.id.to_string(),
            group.labels.to_string(),
            group.series.to_string(),
            when(group.last_push.as_deref(), now),
            ttl(&group.fate),
            group.why.clone(),
            when(Some(&group.at), now),
        ]);
    }
    shown(&table, page.groups.len(), page.total)
}

pub(super) fn restored(restoration: &Restoration, now: UnixNanos) -> String {
    let restored = restoration.restored.iter().map(|group| {
        format!("restored {}, expires {}", group.labels, when(Some(&group.expires), now))
    });
    let refused = restoration.refused.iter();
    let refused = refused.map(|group| format!("not restored {}: {}", group.labels, group.error));
    restored.chain(refused).collect::<Vec<_>>().join("\n")
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    // For `cut` and `awk`, too: no frames, and a row is a line however long it is.
    table.load_style(NOTHING).set_header(head);
    table
}

fn shown(table: &Table, rows: usize, total: usize) -> String {
    if total == 0 {
        return "no group matches".into();
    }
    let text = table.trim_fmt();
    if rows == total {
        return text;
    }
    format!("{text}\n{rows} of {total} groups; --limit shows more")
}

/// A TTL and where it comes from.
fn ttl(fate: &TtlDecision) -> String {
    // A rule may match, and its TTL not count.
    match fate.rule.as_ref().filter(|_| fate.ttl_source == "rule") {
        Some(rule) => format!("{} (rule {} {})", fate.ttl, rule.position, rule.selector),
        None => format!("{} ({})", fate.ttl, fate.ttl_source),
    }
}

/// A time as its distance from now; any other text, such as `never`, stays as it is.
fn when(time: Option<&str>, now: UnixNanos) -> String {
    let Some(time) = time else { return "-".into() };
    let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
    let away = at.as_nanosecond() - i128::from(now.0);
    let seconds = u64::try_from(away.unsigned_abs() / 1_000_000_000).unwrap_or(u64::MAX);
    let text = Rough(Duration::from_secs(seconds));
    if away > 0 { format!("in {text}") } else { format!("{text} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_from_now() {
        let now = UnixNanos(1_767_323_045_000_000_000);
        for (time, expected) in [
            (Some("2026-01-02T03:04:05Z"), "0s ago"),
            (Some("2026-01-02T03:03:02.5Z"), "1m 2s ago"),
            (Some("2026-01-03T05:05:06Z"), "in 1d 2h"),
            (Some("never"), "never"),
            (None, "-"),
        ] {
            assert_eq!(when(time, now), expected, "{time:?}");
        }
    }
}
