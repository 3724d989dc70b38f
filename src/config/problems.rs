//! Everything that is wrong with the settings, reported at once.

use std::fmt;

/// One or more problems, each with the place where it was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<String>,
}

impl Problems {
    pub(super) fn add(&mut self, place: &str, what: impl fmt::Display) {
        self.list.push(format!("{place}: {what}"));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value, or `None` and a problem noted.
    pub(super) fn check<T, E: fmt::Display>(
        &mut self,
        place: &str,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.add(place, error)).ok()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [only] => f.write_str(only),
            list => {
                write!(f, "{} problems:", list.len())?;
                list.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
