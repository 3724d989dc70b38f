//! A case: one or a few pushes, each with what the gateway has to say of it.

use support::protobuf::{self, MetricFamily};

/// The verdict that a push has to get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It breaks no scrape: 200.
    Accepted,
    /// It would break one, or would be shown as another value than was pushed: 400.
    Refused,
    /// Either is right, as long as no scrape breaks.
    Either,
    /// Either 400, or text shows these very lines.
    Kept(Vec<String>),
}

/// A push to a group.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) path: String,
    pub(crate) protobuf: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) verdict: Verdict,
}

/// Pushes that are judged together, and what is odd about them. No two cases share a name of a family
/// or a group.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) pushes: Vec<Push>,
}

impl Push {
    /// A body in text.
    pub(crate) fn text(group: &str, body: impl Into<Vec<u8>>, verdict: Verdict) -> Self {
        let path = format!("/metrics/job/{group}");
        Self { path, protobuf: false, body: body.into(), verdict }
    }

    /// A body in delimited protobuf.
    pub(crate) fn protobuf(group: &str, families: &[MetricFamily], verdict: Verdict) -> Self {
        let path = format!("/metrics/job/{group}");
        Self { path, protobuf: true, body: protobuf::body(families), verdict }
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        if self.protobuf {
            let mut bytes = self.body.as_slice();
            let mut families = Vec::new();
            while !bytes.is_empty() {
                match <MetricFamily as prost::Message>::decode_length_delimited(&mut bytes) {
                    Ok(family) => families.push(format!("{family:?}")),
                    Err(error) => return error.to_string(),
                }
            }
            families.join("\n").replace("Some", "").replace("None", "-")
        } else {
            String::from_utf8_lossy(&self.body).into_owned()
        }
    }
}

impl Case {
    pub(crate) fn new(what: impl Into<String>, pushes: Vec<Push>) -> Self {
        Self { what: what.into(), pushes }
    }

    /// A single push in text; the group is named as the families are.
    pub(crate) fn text(
        what: impl Into<String>,
        name: &str,
        body: impl Into<Vec<u8>>,
        verdict: Verdict,
    ) -> Self {
        Self::new(what, vec![Push::text(name, body, verdict)])
    }

    /// A single push in protobuf.
    pub(crate) fn protobuf(
        what: impl Into<String>,
        name: &str,
        families: &[MetricFamily],
        verdict: Verdict,
    ) -> Self {
        Self::new(what, vec![Push::protobuf(name, families, verdict)])
    }
}
