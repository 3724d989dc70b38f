//! The labels that identify a metric group.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::labels::Label;
use super::name::is_label_name;

/// The labels of a push path: `job`, and whatever follows it. Cheap to clone.
///
/// Two keys are equal if they are equal as sets of labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupingKey {
    /// `name 0xFF value 0xFF …`, names in byte order and unique, `job` among them and not empty.
    /// 0xFF occurs in no UTF-8 text. The same form that the Go Pushgateway uses for its map key.
    encoded: Arc<[u8]>,
}

/// Why some labels are not a grouping key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupingKeyError {
    #[error("job name is required")]
    MissingJob,
    #[error("not an encoded grouping key")]
    Malformed,
}

const SEPARATOR: u8 = 0xFF;
const JOB: &str = "job";
const INSTANCE: &str = "instance";

impl GroupingKey {
    /// The key of these labels. Of labels with one name, the last counts.
    pub fn new(mut labels: Vec<Label>) -> Result<Self, GroupingKeyError> {
        // A stable sort of the reversed list puts the last of each name first.
        labels.reverse();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.dedup_by(|later, kept| later.name == kept.name);
        match labels.iter().find(|label| label.name == JOB) {
            Some(job) if !job.value.is_empty() => Ok(Self::encode(
                labels.iter().map(|label| (label.name.as_str(), label.value.as_str())),
            )),
            _ => Err(GroupingKeyError::MissingJob),
        }
    }

    /// The key that [`GroupingKey::as_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GroupingKeyError> {
        let body = bytes.strip_suffix(&[SEPARATOR]).ok_or(GroupingKeyError::Malformed)?;
        let mut parts = body.split(|byte| *byte == SEPARATOR);
        let mut labels = Vec::new();
        while let Some(name) = parts.next() {
            let value = parts.next().ok_or(GroupingKeyError::Malformed)?;
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| GroupingKeyError::Malformed);
            labels.push(Label::new(text(name)?, text(value)?));
        }
        let key = Self::new(labels)?;
        if *key.encoded == *bytes { Ok(key) } else { Err(GroupingKeyError::Malformed) }
    }

    fn encode<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = Vec::with_capacity(64);
        for (name, value) in labels {
            push_encoded(&mut encoded, name, value);
        }
        Self { encoded: encoded.into() }
    }

    /// The encoded form: equal bytes, equal keys.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The labels, in byte order of their names.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut parts = self.encoded.split(|byte| *byte == SEPARATOR);
        std::iter::from_fn(move || {
            let (name, value) = (parts.next()?, parts.next()?);
            Some((as_text(name), as_text(value)))
        })
    }

    /// The labels as people read them: the job, then the others in byte order of their names.
    pub fn labels_job_first(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let job = self.labels().filter(|label| label.0 == JOB);
        job.chain(self.labels().filter(|label| label.0 != JOB))
    }

    /// The value of the label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels().find(|label| label.0 == name).map(|label| label.1)
    }

    /// The labels that every metric of the group carries: those of the key, and `instance=""`
    /// where the key has no `instance`. In byte order of their names.
    pub fn metric_labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let missing = self.get(INSTANCE).is_none();
        let before = self.labels().take_while(|label| label.0 < INSTANCE);
        let after = self.labels().skip_while(|label| label.0 < INSTANCE);
        before.chain(missing.then_some((INSTANCE, ""))).chain(after)
    }
}

/// Appends one label in the form that [`GroupingKey::as_bytes`] has.
pub fn push_encoded(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(SEPARATOR);
    out.extend_from_slice(value.as_bytes());
    out.push(SEPARATOR);
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a key is encoded from text")
}

impl fmt::Display for GroupingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.labels().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if is_label_name(name) {
                write!(f, "{comma}{name}={value:?}")?;
            } else {
                write!(f, "{comma}{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for GroupingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(labels: &[(&str, &str)]) -> GroupingKey {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        GroupingKey::new(labels).unwrap()
    }

    #[test]
    fn the_order_of_labels_does_not_matter_and_the_last_of_a_name_counts() {
        assert_eq!(key(&[("job", "a"), ("b", "1")]), key(&[("b", "1"), ("job", "a")]));
        assert_eq!(key(&[("b", "1"), ("b", "2"), ("job", "a")]), key(&[("job", "a"), ("b", "2")]));
        assert_ne!(key(&[("job", "a")]), key(&[("job", "a"), ("instance", "")]));
    }

    #[test]
    fn a_key_needs_a_job() {
        assert_eq!(GroupingKey::new(vec![]), Err(GroupingKeyError::MissingJob));
        assert_eq!(
            GroupingKey::new(vec![Label::new("job", "")]),
            Err(GroupingKeyError::MissingJob)
        );
    }

    #[test]
    fn metric_labels_have_an_instance_in_its_place() {
        let labels = |key: &GroupingKey| {
            key.metric_labels().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(labels(&key(&[("job", "a"), ("b", "1")])), "b=1,instance=,job=a");
        assert_eq!(labels(&key(&[("job", "a"), ("instance", "i")])), "instance=i,job=a");
        assert_eq!(labels(&key(&[("job", "a"), ("zone", "z")])), "instance=,job=a,zone=z");
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        for bytes in [
            &b""[..],
            b"job\xffa",
            b"job\xff\xff",
            b"job\xffa\xffb\xff",
            b"z\xff1\xffjob\xffa\xff",
            b"job\xff\xc3\x28\xff",
        ] {
            assert!(GroupingKey::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_round_trip(labels in prop::collection::vec(("[a-c]{1,2}", ".*"), 0..5)) {
            let mut labels: Vec<_> =
                labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
            labels.push(Label::new("job", "x"));
            let key = GroupingKey::new(labels).unwrap();
            prop_assert_eq!(GroupingKey::from_bytes(key.as_bytes()).unwrap(), key);
        }
    }
}
