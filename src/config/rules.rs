//! `[ttl]` and `[[ttl.rules]]`.

use super::reader::Reader;
use super::sources::{RawAuto, RawRule, Sources};
use super::{table, values};
use crate::model::{AutoTtl, RuleTtl, Selector, Ttl, TtlPolicy, TtlRule};

impl Reader<'_> {
    pub(super) fn ttl(&mut self) -> Option<TtlPolicy> {
        let default = self.get(&table::TTL_DEFAULT);
        let (min, max) = (self.get(&table::TTL_MIN), self.get(&table::TTL_MAX));
        if let (Some(min), Some(Ttl::After(max))) = (min, max)
            && min > max
        {
            let (min, max) = (Ttl::After(min), Ttl::After(max));
            self.add(&table::TTL_MAX, format!("{max} is less than ttl.min, {min}"));
        }
        let sources = self.sources;
        let rules: Vec<_> = sources.rules.iter().map(|rule| self.rule(rule)).collect();
        let rules = rules.into_iter().collect::<Option<_>>()?;
        Some(TtlPolicy { rules, default: default?, min: min?, max: max? })
    }

    fn rule(&mut self, rule: &RawRule) -> Option<TtlRule> {
        let RawRule { place, selector, ttl, auto } = rule;
        let missing = |key, example| format!("the key {key} is missing, as in {example}");
        let selector = match selector {
            Some(text) => Selector::parse(text).map_err(|error| format!("{text}: {error}")),
            None => Err(missing("match", "match = '{job=\"backup\"}'")),
        };
        let has_auto = auto.missed.is_some() || auto.min.is_some() || auto.max.is_some();
        let auto = self.auto(place, auto);
        let ttl = match ttl.as_deref() {
            Some("auto") => Ok(auto.map(RuleTtl::Auto)),
            Some(text) if has_auto => {
                Err(format!("{text:?} leaves no use for the key auto: expected ttl = \"auto\""))
            }
            Some(text) => match Ttl::parse(text) {
                Ok(ttl) => Ok(Some(RuleTtl::Fixed(ttl))),
                Err(error) => Err(format!("{error}, or auto")),
            },
            None => Err(missing("ttl", "ttl = \"36h\"")),
        };
        let selector = self.problems.check(&format!("{place}: match"), selector);
        let ttl = self.problems.check(&format!("{place}: ttl"), ttl);
        Some(TtlRule { selector: selector?, ttl: ttl?? })
    }

    fn auto(&mut self, place: &str, raw: &RawAuto) -> Option<AutoTtl> {
        let default = AutoTtl::default();
        let missed = match raw.missed.as_deref().map(|text| (text, text.parse())) {
            None => Ok(default.missed),
            Some((_, Ok(missed))) if missed > 0 => Ok(missed),
            Some((text, _)) => Err(values::expected(text, "a whole number above zero")),
        };
        let or =
            |text: &Option<String>, default| text.as_deref().map_or(Ok(default), values::duration);
        let (min, max) = (or(&raw.min, default.min), or(&raw.max, default.max));
        let order = match (&min, &max) {
            (Ok(min), Ok(max)) if min > max => Err("it is less than min".to_owned()),
            _ => Ok(()),
        };
        let missed = self.problems.check(&format!("{place}: auto.missed"), missed);
        let min = self.problems.check(&format!("{place}: auto.min"), min);
        let max = self.problems.check(&format!("{place}: auto.max"), max);
        self.problems.check(&format!("{place}: auto.max"), order)?;
        Some(AutoTtl { missed: missed?, min: min?, max: max? })
    }
}

/// Rules that are valid and probably mistakes.
pub(super) fn warnings(policy: &TtlPolicy, sources: &Sources) -> Vec<String> {
    let place = |at: usize| sources.rules.get(at).map_or("", |rule| rule.place.as_str());
    let covered = policy.covered_rules().filter_map(|(at, by)| {
        let (rule, earlier) = (policy.rules.get(at)?, policy.rules.get(by)?);
        Some(format!(
            "{}: no group comes to this rule: all that {} matches, the earlier rule {} ({}) matches",
            place(at),
            rule.selector,
            by + 1,
            earlier.selector
        ))
    });
    covered.collect()
}
