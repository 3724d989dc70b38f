//! The limits that a request or a connection can come up against, by their settings.

use super::values;

values! {
    /// A limit. Its text is the name of its setting.
    Limit {
        BodySize = "limits.body-size",
        BodyTimeout = "limits.body-timeout",
        BytesInFlight = "limits.bytes-in-flight",
        Connections = "limits.connections",
        DecodedSize = "limits.decoded-size",
        Followers = "limits.followers",
        GroupSize = "limits.group-size",
        Groups = "limits.groups",
        HeaderTimeout = "limits.header-timeout",
        LabelNameLength = "limits.label-name-length",
        LabelValueLength = "limits.label-value-length",
        LabelsPerSeries = "limits.labels-per-series",
        MetricNameLength = "limits.metric-name-length",
        Queue = "limits.queue",
        RenderedSize = "limits.rendered-size",
        SendTimeout = "limits.send-timeout",
        Series = "limits.series",
        SeriesPerGroup = "limits.series-per-group",
        SeriesPerPush = "limits.series-per-push",
    }
}
