//! The values that labels of the gateway's own metrics may have. Each label has a closed set of them:
//! whatever clients send, there are no more series than there are combinations. Those of `limit` are
//! [`crate::model::Limit`].

use crate::model::values;

values! {
    /// The method of a request, as the Go client library has it.
    Method {
        Connect = "connect",
        Delete = "delete",
        Get = "get",
        Head = "head",
        Notify = "notify",
        Options = "options",
        Patch = "patch",
        Post = "post",
        Put = "put",
        Trace = "trace",
        Unknown = "unknown",
    }
}

values! {
    /// The handler of a request, as the Go Pushgateway names it.
    Handler {
        ApiMetrics = "api/v1/metrics",
        ApiOptions = "api/v1/options",
        ApiStatus = "api/v1/status",
        ApiV2 = "api/v2",
        Delete = "delete",
        Healthy = "healthy",
        Push = "push",
        Ready = "ready",
        Static = "static",
        Status = "status",
        Wipe = "wipe",
    }
}

values! {
    /// Why a push was refused.
    Reason {
        Access = "access",
        Busy = "busy",
        Duplicate = "duplicate",
        Encoding = "encoding",
        Exists = "exists",
        Fault = "fault",
        Full = "full",
        Head = "head",
        Invalid = "invalid",
        Label = "label",
        Limit = "limit",
        Overload = "overload",
        Parse = "parse",
        Path = "path",
        Suffix = "suffix",
        Timestamp = "timestamp",
        Ttl = "ttl",
        Type = "type",
    }
}

values! {
    /// The outcome of telling the webhook of a removed group.
    Told {
        Delivered = "delivered",
        Dropped = "dropped",
        Rejected = "rejected",
    }
}

values! {
    /// Where the TTL of a group comes from.
    TtlSource {
        Override = "override",
        Push = "push",
        Rule = "rule",
        Default = "default",
    }
}

/// A number for each source of TTLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerTtlSource {
    pub overridden: u64,
    pub push: u64,
    pub rule: u64,
    pub default: u64,
}

impl PerTtlSource {
    /// The number of a source.
    pub fn of(self, source: TtlSource) -> u64 {
        match source {
            TtlSource::Override => self.overridden,
            TtlSource::Push => self.push,
            TtlSource::Rule => self.rule,
            TtlSource::Default => self.default,
        }
    }
}

impl Method {
    /// That of a request. A method that no standard knows has no name of its own.
    pub fn of(method: &str) -> Self {
        let known =
            |known: &&Self| **known != Self::Unknown && known.as_str().eq_ignore_ascii_case(method);
        Self::ALL.iter().find(known).copied().unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_knows_has_no_name_of_its_own() {
        assert_eq!(Method::of("PUT"), Method::Put);
        for method in ["FOO1", "unknown", "", "PUTS"] {
            assert_eq!(Method::of(method), Method::Unknown);
        }
    }

    #[test]
    fn each_value_has_a_text_of_its_own() {
        let mut texts: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Reason::ALL.len());
    }
}
