//! Reads typed values of settings, and notes all that is wrong with them.

use super::problems::Problems;
use super::sources::{Origin, Sources};
use super::table::{Row, Setting};

/// Values with their places, and the problems found in them.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) problems: Problems,
}

impl Reader<'_> {
    /// The value of a setting; `None` where there is a problem with it, which is noted.
    pub(super) fn get<T>(&mut self, setting: &'static Setting<T>) -> Option<T> {
        let (values, place) = self.texts(&setting.row);
        let value = (setting.parse)(values.last().map_or("", String::as_str));
        self.problems.check(&place, value)
    }

    /// The values of a list, without empty ones; `None` where there is a problem with one.
    pub(super) fn list<T>(&mut self, setting: &'static Setting<T>) -> Option<Vec<T>> {
        let (values, place) = self.texts(&setting.row);
        let values = values.iter().map(|value| value.trim()).filter(|value| !value.is_empty());
        let parsed = values.map(|value| self.problems.check(&place, (setting.parse)(value)));
        // All of them are parsed before one is missed, so that all problems are found.
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    /// Notes a problem with the value of a setting.
    pub(super) fn add<T>(&mut self, setting: &'static Setting<T>, problem: impl std::fmt::Display) {
        let (_, place) = self.texts(&setting.row);
        self.problems.add(&place, problem);
    }

    pub(super) fn is_default<T>(&self, setting: &'static Setting<T>) -> bool {
        self.sources.get(&setting.row).1 == Origin::Default
    }

    /// The values as they were written, and where.
    pub(super) fn texts(&self, row: &'static Row) -> (Vec<String>, String) {
        let (values, origin) = self.sources.get(row);
        (values, origin.place(row.name))
    }
}
