//! The consistency check: what a push must not contradict of what is stored, and of itself (upstream
//! does it in `diskmetricstore.go`, `checkConsistency`).

use std::cell::{LazyCell, OnceCell};

use hashbrown::HashMap;

use crate::gateway::command::PushMode;
use crate::gateway::error::{Error, Fault, Refusal};
use crate::gateway::index::{Group, Index, Member, stamp_bytes};
use crate::gateway::options::Limits;
use crate::gateway::prepare::{PreparedFamily, is_one_series, labels_text, schemes};
use crate::gateway::segment::GroupId;
use crate::gateway::stamps::is_stamp;
use crate::model::name::is_metric_name;
use crate::model::{Escaping, GroupingKey, Label, Limit, MetricType};
use crate::store::{ReadError, StagedGroups};

/// A push as the check sees it.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) index: &'a Index,
    pub(super) self_types: &'a HashMap<String, MetricType>,
    /// The group that is pushed to, if there is one.
    pub(super) own: Option<GroupId>,
    pub(super) group: Option<&'a Group>,
    pub(super) mode: PushMode,
    pub(super) families: &'a [PreparedFamily],
    pub(super) pushed: PushedTypes<'a>,
    /// The pushed families whose names may be escaped, by scheme and name.
    pub(super) escaped: OnceCell<HashMap<(Escaping, String), Vec<&'a str>>>,
}

/// The families of a push by name: their types, or `None` where they have no series, or are not to
/// be stored.
pub(super) type PushedTypes<'a> = HashMap<&'a str, Option<MetricType>>;

/// The types of a push's families, or only which there are.
pub(super) fn pushed_types(families: &[PreparedFamily], types: bool) -> PushedTypes<'_> {
    let of_family =
        |family: &PreparedFamily| (types && family.stored.series() > 0).then_some(family.kind);
    families.iter().map(|family| (family.stored.name(), of_family(family))).collect()
}

impl<'a> Checked<'a> {
    pub(super) fn check_family(
        &self,
        groups: &dyn StagedGroups,
        key: &GroupingKey,
        family: &PreparedFamily,
    ) -> Result<(), Error> {
        self.check_type(family)?;
        self.check_suffixes(family)?;
        self.check_series(groups, key, family)
    }

    /// Two groups whose keys differ by labels without a value only would have the same stamps.
    pub(super) fn check_no_sibling(&self, key: &GroupingKey) -> Result<(), Refusal> {
        let Some(id) = self.index.sibling(key) else { return Ok(()) };
        let Some(sibling) = self.index.group(id) else { return Ok(()) };
        let mut same = self.index.with_labels(self.index.hasher().group(key));
        Err(Refusal::Sibling {
            key: key.to_string(),
            sibling: sibling.key.to_string(),
            escaped: !same.any(|same| same == id),
        })
    }

    pub(super) fn check_limits(&self, key: &GroupingKey, limits: &Limits) -> Result<(), Refusal> {
        let limit = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Limit { what, setting, found, limit }) } else { Ok(()) }
        };
        let full = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Full { what, setting, found, limit }) } else { Ok(()) }
        };
        let pushed: u64 = self.families.iter().map(|f| u64::from(f.stored.series())).sum();
        limit(
            "the push has too many series",
            Limit::SeriesPerPush,
            pushed,
            limits.series_per_push,
        )?;
        let before = self.group.map_or(0, |group| u64::from(group.series));
        let replaced = match self.mode {
            PushMode::Replace => before,
            PushMode::Update => {
                let members = self.families.iter().filter_map(|f| self.member(f.stored.name()));
                members.map(|member| u64::from(member.series)).sum()
            }
        };
        let group = before - replaced + pushed;
        limit(
            "the group would have too many series",
            Limit::SeriesPerGroup,
            group,
            limits.series_per_group,
        )?;
        let series = self.index.series_count() - before + group;
        full("series", Limit::Series, series, limits.series)?;
        let groups = self.index.group_count() as u64 + u64::from(self.group.is_none());
        full("groups", Limit::Groups, groups, limits.groups)?;
        let pushed: u64 = self.families.iter().map(|family| family.rendered.bytes()).sum();
        let (before, stamps) = (self.group.map_or(0, |group| group.rendered), stamp_bytes(key));
        let replaced = match self.mode {
            PushMode::Replace => before.saturating_sub(stamps),
            PushMode::Update => {
                let members = self.families.iter().filter_map(|f| self.member(f.stored.name()));
                members.map(|member| u64::from(member.rendered)).sum()
            }
        };
        let group = before.max(stamps) - replaced + pushed;
        limit(
            "the group would be too many bytes in a scrape",
            Limit::GroupSize,
            group,
            limits.group_bytes.min(Limits::GROUP_BYTES_MAX),
        )?;
        let all = self.index.rendered_bytes() - before + group;
        full("bytes in a scrape", Limit::RenderedSize, all, limits.rendered_bytes)
    }

    /// The group's present family of this name.
    fn member(&self, name: &str) -> Option<&'a Member> {
        let (id, _) = self.index.family_of(name)?;
        self.group?.member(id)
    }

    fn is_own(&self, id: GroupId) -> bool {
        self.own == Some(id)
    }

    /// The type of the family of this name once the push is stored, if there is one then.
    fn type_after(&self, name: &str) -> Option<MetricType> {
        let pushed = self.pushed.get(name);
        if let Some(kind) = pushed.copied().flatten().or_else(|| self.self_types.get(name).copied())
        {
            return Some(kind);
        }
        if is_stamp(name) {
            return Some(MetricType::Gauge);
        }
        let (id, family) = self.index.family_of(name)?;
        let leaves = self.mode == PushMode::Replace || pushed.is_some();
        let own = self.group.and_then(|group| group.member(id));
        let own_leaves = leaves && own.is_some_and(|member| member.series > 0);
        (family.holders > u32::from(own_leaves)).then_some(family.kind)
    }

    /// One name, one type, over all groups and the gateway's own metrics.
    fn check_type(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        let name = pushed.stored.name();
        let refuse =
            |stored| Refusal::Type { family: name.to_owned(), pushed: pushed.kind, stored };
        if let Some(own) = self.self_types.get(name).filter(|own| **own != pushed.kind) {
            return Err(refuse(*own));
        }
        let Some((id, family)) = self.index.family_of(name) else { return Ok(()) };
        let own = self.group.and_then(|group| group.member(id));
        let others = family.holders - u32::from(own.is_some_and(|member| member.series > 0));
        if others > 0 && family.kind != pushed.kind {
            return Err(refuse(family.kind));
        }
        if others > 0 && family.native != pushed.native {
            return Err(Refusal::Native { family: name.to_owned(), native: pushed.native });
        }
        Ok(())
    }

    /// No family has a name that another's exposition uses for its parts
    /// (`checkSuffixCollisions` of `client_golang`), nor, to a scraper that has names escaped, that
    /// another has.
    fn check_suffixes(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        if is_metric_name(pushed.stored.name()) && !self.has_escaped_names() {
            return self.check_suffixes_under(Escaping::AllowUtf8, pushed);
        }
        let schemes = [Escaping::AllowUtf8].into_iter().chain(Escaping::CHANGING);
        schemes.into_iter().try_for_each(|scheme| {
            let family = pushed.stored.name();
            let escaped = scheme.apply(family);
            let other = self.exposed_as(scheme, &escaped).find(|(other, _)| *other != family);
            match other.map(|(other, _)| other.to_owned()) {
                Some(other) => {
                    let (family, escaped) = (family.to_owned(), escaped.into_owned());
                    Err(Refusal::Escaped { family, escaped, other })
                }
                None => self.check_suffixes_under(scheme, pushed),
            }
        })
    }

    fn check_suffixes_under(
        &self,
        scheme: Escaping,
        pushed: &PreparedFamily,
    ) -> Result<(), Refusal> {
        let name = &*scheme.apply(pushed.stored.name());
        let collides = |name: &str, base: &str, kind, other: &str| {
            let (name, base, other) = (name.into(), base.into(), other.into());
            Err(Refusal::Suffix { name, base, kind, other })
        };
        for suffix in ["_count", "_sum", "_bucket"] {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            let mut bases = self.exposed_as(scheme, base);
            if let Some((other, kind)) =
                bases.find(|(_, kind)| kind.claimed_suffixes().contains(&suffix))
            {
                return collides(name, base, kind, other);
            }
        }
        for suffix in pushed.kind.claimed_suffixes() {
            let part = format!("{name}{suffix}");
            let mut parts = self.exposed_as(scheme, &part);
            if let Some((other, _)) = parts.next() {
                return collides(&part, name, pushed.kind, other);
            }
        }
        Ok(())
    }

    /// The families that have this name under a scheme once the push is stored.
    fn exposed_as<'b>(
        &'b self,
        scheme: Escaping,
        name: &'b str,
    ) -> impl Iterator<Item = (&'b str, MetricType)> {
        // A name that a scheme would change is nobody's under it.
        let unchanged = scheme == Escaping::AllowUtf8 || is_metric_name(name);
        let of_name = unchanged.then_some(name).into_iter();
        let stored = self.index.escaped_to(scheme, name).map(|family| &*family.name);
        let pushed = self.escaped_to(scheme, name);
        let named = |name: &'b str| Some((name, self.type_after(name)?));
        of_name.chain(stored).chain(pushed).filter_map(named)
    }

    /// Whether any name of what is stored or pushed may be escaped.
    fn has_escaped_names(&self) -> bool {
        self.index.has_escaped_names() || !self.escaped().is_empty()
    }

    /// Families of the push that this name stands for under a scheme.
    fn escaped_to<'b>(
        &'b self,
        scheme: Escaping,
        name: &str,
    ) -> impl Iterator<Item = &'b str> + use<'a, 'b> {
        let escaped = self.escaped();
        let found = if escaped.is_empty() { None } else { escaped.get(&(scheme, name.to_owned())) };
        found.into_iter().flatten().copied()
    }

    fn escaped(&self) -> &HashMap<(Escaping, String), Vec<&'a str>> {
        self.escaped.get_or_init(|| {
            let mut escaped: HashMap<_, Vec<&str>> = HashMap::new();
            for family in self.families {
                let name = family.stored.name();
                for scheme in schemes(is_metric_name(name)) {
                    escaped
                        .entry((*scheme, scheme.apply(name).into_owned()))
                        .or_default()
                        .push(name);
                }
            }
            escaped
        })
    }

    /// No series is in two groups. Only a series that has labels beyond its group's can be: the
    /// grouping labels of one group are then all among the labels of the other's series.
    ///
    /// Whole hashes are compared, so that what is left to be confirmed is nearly always so; the
    /// pushed family is decoded at most once.
    fn check_series(
        &self,
        groups: &dyn StagedGroups,
        key: &GroupingKey,
        pushed: &PreparedFamily,
    ) -> Result<(), Error> {
        let Some((family, _)) = self.index.family_of(pushed.stored.name()) else { return Ok(()) };
        let rendered = &pushed.rendered;
        let refuse = |own: &[Label], holder: &Group| Refusal::Duplicate {
            family: pushed.stored.name().to_owned(),
            labels: labels_text(key, own),
            group: Some(holder.key.clone()),
        };
        let holder = |id: GroupId| {
            let group = self.index.group(id).filter(|_| !self.is_own(id))?;
            Some((id, group, group.member(family)?))
        };
        let series = pushed.stored.series() as usize;
        // No other group has the series of this one.
        let own = self.own.zip(self.group.and_then(|group| group.member(family)));
        if let Some((id, member)) = own
            && self.index.has_same_extras(id, family, rendered)
            && (series == rendered.own_label_series.len() || self.index.has_plain(id, member))
        {
            return Ok(());
        }
        if series > rendered.own_label_series.len() {
            for (id, group, member) in self.index.with_extra(rendered.plain_hash).filter_map(holder)
            {
                if self.holds_extra(groups, (id, group, member), key, &[])? {
                    return Err(refuse(&[], group).into());
                }
            }
        }
        let metrics = LazyCell::new(|| pushed.stored.decode().unwrap_or_default());
        for extra in &rendered.own_label_series {
            let own = OnceCell::new();
            let own = || -> &[Label] {
                own.get_or_init(|| {
                    metrics.get(extra.metric).map_or(&[][..], |metric| metric.labels.as_slice())
                })
            };
            for (id, group, member) in self.index.with_labels(extra.labels_hash).filter_map(holder)
            {
                let same = || is_one_series((&group.key, &[]), (key, own()));
                if self.index.has_plain(id, member) && same() {
                    return Err(refuse(own(), group).into());
                }
            }
            for held in self.index.with_extra(extra.hash).filter_map(holder) {
                if self.holds_extra(groups, held, key, own())? {
                    return Err(refuse(own(), held.1).into());
                }
            }
        }
        for (hash, metric) in &rendered.also {
            let own = || metrics.get(*metric).map_or(&[][..], |metric| metric.labels.as_slice());
            for held in self.index.with_extra(*hash).filter_map(holder) {
                if self.holds_extra(groups, held, key, own())? {
                    return Err(refuse(own(), held.1).into());
                }
            }
        }
        Ok(())
    }

    /// Confirms what a hash suggests: that a group has this very series, with labels beyond its own.
    fn holds_extra(
        &self,
        groups: &dyn StagedGroups,
        (id, group, member): (GroupId, &Group, &Member),
        key: &GroupingKey,
        own: &[Label],
    ) -> Result<bool, Error> {
        if !self.index.has_extras(id, member) {
            return Ok(false);
        }
        let name = self.index.family(member.family).map_or("", |family| &*family.name);
        let number = group.number;
        let Some(family) = groups.family(number, name).map_err(Fault::from)? else {
            return Ok(false);
        };
        let metrics = family.decode().map_err(|source| ReadError::Family { number, source });
        let metrics = metrics.map_err(Fault::from)?;
        let is_it = |held: &[Label]| is_one_series((&group.key, held), (key, own));
        Ok(metrics.iter().any(|metric| is_it(&metric.labels)))
    }
}
