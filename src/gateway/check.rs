//! The consistency check: what a push must not contradict of what is stored, and of itself (upstream
//! does it in `diskmetricstore.go`, `checkConsistency`).

use std::cell::OnceCell;

use hashbrown::HashMap;

use super::command::PushMode;
use super::error::{Error, Fault, Refusal};
use super::index::{Group, Index, Member};
use super::options::Limits;
use super::prepare::{PreparedFamily, encoded_labels, labels_text};
use super::segment::GroupId;
use super::stamps::is_stamp;
use super::stored::read_families;
use crate::model::{GroupingKey, Label, MetricType, PUSH_TIME_NAME};
use crate::store::{Batch, Store};

/// A push as the check sees it.
#[derive(Debug)]
pub struct Checked<'a> {
    pub index: &'a Index,
    pub self_types: &'a HashMap<String, MetricType>,
    /// The group that is pushed to, if there is one.
    pub group: Option<&'a Group>,
    pub mode: PushMode,
    pub families: &'a [PreparedFamily],
    pub by_name: OnceCell<HashMap<&'a str, MetricType>>,
}

impl<'a> Checked<'a> {
    pub fn check_family(
        &self,
        store: &Store,
        batch: &Batch,
        key: &GroupingKey,
        family: &PreparedFamily,
    ) -> Result<(), Error> {
        self.check_type(family)?;
        self.check_suffixes(family)?;
        self.check_series(store, batch, key, family)
    }

    /// Two groups whose keys differ by `instance=""` only would have the same two stamps.
    pub fn check_no_sibling(&self, key: &GroupingKey) -> Result<(), Refusal> {
        match key.sibling().and_then(|sibling| self.index.find(&sibling)) {
            Some(_) => Err(Refusal::Duplicate {
                family: PUSH_TIME_NAME.into(),
                labels: labels_text(key, &[]),
            }),
            None => Ok(()),
        }
    }

    pub fn check_limits(&self, limits: &Limits) -> Result<(), Refusal> {
        let limit = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Limit { what, setting, found, limit }) } else { Ok(()) }
        };
        let full = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Full { what, setting, found, limit }) } else { Ok(()) }
        };
        let pushed: u64 = self.families.iter().map(|f| u64::from(f.record.series)).sum();
        limit(
            "the push has too many series",
            "limits.series-per-push",
            pushed,
            limits.series_per_push,
        )?;
        let before = self.group.map_or(0, |group| u64::from(group.series));
        let replaced = match self.mode {
            PushMode::Replace => before,
            PushMode::Update => {
                let members = self.families.iter().filter_map(|f| self.member(&f.record.name));
                members.map(|member| u64::from(member.series)).sum()
            }
        };
        let group = before - replaced + pushed;
        limit(
            "the group would have too many series",
            "limits.series-per-group",
            group,
            limits.series_per_group,
        )?;
        let series = self.index.series_count() - before + group;
        full("series", "limits.series", series, limits.series)?;
        let groups = self.index.group_count() as u64 + u64::from(self.group.is_none());
        full("groups", "limits.groups", groups, limits.groups)
    }

    /// The group's present family of this name.
    fn member(&self, name: &str) -> Option<&'a Member> {
        let (id, _) = self.index.family_of(name)?;
        self.group?.member(id)
    }

    fn is_own(&self, id: GroupId) -> bool {
        self.group.zip(self.index.group(id)).is_some_and(|(own, other)| std::ptr::eq(own, other))
    }

    /// The type of the family of this name once the push is stored, if there is one then.
    fn type_after(&self, name: &str) -> Option<MetricType> {
        let by_name = self.by_name.get_or_init(|| {
            let with_series = self.families.iter().filter(|family| family.record.series > 0);
            with_series.map(|family| (family.record.name.as_str(), family.kind)).collect()
        });
        if let Some(kind) = by_name.get(name).or_else(|| self.self_types.get(name)) {
            return Some(*kind);
        }
        if is_stamp(name) {
            return Some(MetricType::Gauge);
        }
        let (id, family) = self.index.family_of(name)?;
        let leaves = self.mode == PushMode::Replace
            || self.families.iter().any(|family| family.record.name == name);
        let own = self.group.and_then(|group| group.member(id));
        let own_leaves = leaves && own.is_some_and(|member| member.series > 0);
        (family.holders > u32::from(own_leaves)).then_some(family.kind)
    }

    /// One name, one type, over all groups and the gateway's own metrics.
    fn check_type(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        let name = &pushed.record.name;
        let refuse = |stored| Refusal::Type { family: name.clone(), pushed: pushed.kind, stored };
        if let Some(own) = self.self_types.get(name.as_str()).filter(|own| **own != pushed.kind) {
            return Err(refuse(*own));
        }
        let Some((id, family)) = self.index.family_of(name) else { return Ok(()) };
        let own = self.group.and_then(|group| group.member(id));
        let others = family.holders - u32::from(own.is_some_and(|member| member.series > 0));
        if others > 0 && family.kind != pushed.kind { Err(refuse(family.kind)) } else { Ok(()) }
    }

    /// No family has a name that another's exposition uses for its parts
    /// (`checkSuffixCollisions` of `client_golang`).
    fn check_suffixes(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        let name = pushed.record.name.as_str();
        let collides = |name: &str, base: &str, kind| {
            Err(Refusal::Suffix { name: name.into(), base: base.into(), kind })
        };
        for suffix in ["_count", "_sum", "_bucket"] {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            if let Some(kind) = self.type_after(base)
                && kind.claimed_suffixes().contains(&suffix)
            {
                return collides(name, base, kind);
            }
        }
        for suffix in pushed.kind.claimed_suffixes() {
            let part = format!("{name}{suffix}");
            if self.type_after(&part).is_some() {
                return collides(&part, name, pushed.kind);
            }
        }
        Ok(())
    }

    /// No series is in two groups. Only a series that has labels beyond its group's can be: the
    /// grouping labels of one group are then all among the labels of the other's series.
    fn check_series(
        &self,
        store: &Store,
        batch: &Batch,
        key: &GroupingKey,
        pushed: &PreparedFamily,
    ) -> Result<(), Error> {
        let rendered = &pushed.rendered;
        let name = &pushed.record.name;
        let series = pushed.record.series as usize;
        if series > rendered.extras.len() {
            for id in self.index.with_extra(rendered.plain_hash).filter(|id| !self.is_own(*id)) {
                self.refuse_if_held(store, batch, id, name, key, &[])?;
            }
        }
        for extra in &rendered.extras {
            let with_extra = self.index.with_extra(extra.hash);
            let mut others = with_extra
                .chain(self.index.with_labels(extra.labels_hash))
                .filter(|id| !self.is_own(*id))
                .peekable();
            if others.peek().is_none() {
                continue;
            }
            let metrics = pushed.record.decode_metrics().unwrap_or_default();
            let own = metrics.get(extra.metric).map_or(&[][..], |metric| metric.labels.as_slice());
            for id in others {
                self.refuse_if_held(store, batch, id, name, key, own)?;
            }
        }
        Ok(())
    }

    /// Confirms what the hashes suggest: that a group has this very series.
    fn refuse_if_held(
        &self,
        store: &Store,
        batch: &Batch,
        id: GroupId,
        name: &str,
        key: &GroupingKey,
        own: &[Label],
    ) -> Result<(), Error> {
        let Some((family, _)) = self.index.family_of(name) else { return Ok(()) };
        let Some(group) = self.index.group(id) else { return Ok(()) };
        let Some(member) = group.member(family) else { return Ok(()) };
        let labels = encoded_labels(key, own);
        let mut held =
            self.index.has_plain(id, member) && encoded_labels(&group.key, &[]) == labels;
        if !held && self.index.has_extras(id, member) {
            let families = read_families(store, batch, group, member.chunk).map_err(Fault::from)?;
            let family = families.iter().find(|family| family.name == name);
            let metrics =
                family.and_then(|family| family.decode_metrics().ok()).unwrap_or_default();
            held =
                metrics.iter().any(|metric| encoded_labels(&group.key, &metric.labels) == labels);
        }
        if held {
            let labels = labels_text(key, own);
            return Err(Refusal::Duplicate { family: name.into(), labels }.into());
        }
        Ok(())
    }
}
