//! `Telemetry`: access logs, metrics and spans by workload.

use super::{PolicySelector, ProviderRef, TargetRef};

kinds! { Telemetry: "telemetry.istio.io" "Telemetry", }

messages! {
    /// `telemetry.istio.io Telemetry`.
    Telemetry {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// What it is attached to (one, older form).
        target_ref: Option<TargetRef>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Spans.
        tracing: Vec<TracingSpec>,
        /// Metrics.
        metrics: Vec<MetricsConfig>,
        /// Access logs.
        access_logging: Vec<AccessLogging>,
    }
    /// Which side a setting is for.
    LogMatch {
        /// Side.
        mode: WorkloadMode,
    }
    /// Access log settings.
    AccessLogging {
        /// Side.
        r#match: Option<LogMatch>,
        /// Providers; empty: the mesh's default.
        providers: Vec<ProviderRef>,
        /// Off.
        disabled: Option<bool>,
        /// Which requests.
        filter: Option<AccessLogFilter>,
    }
    /// Which requests are logged.
    AccessLogFilter {
        /// CEL.
        expression: String,
    }
    /// Span settings.
    TracingSpec {
        /// Side.
        r#match: Option<LogMatch>,
        /// Providers; at most one.
        providers: Vec<ProviderRef>,
        /// Share of requests that start a trace, percent.
        random_sampling_percentage: Option<f64>,
        /// Off.
        disable_span_reporting: Option<bool>,
        /// Tags.
        custom_tags: std::collections::BTreeMap<String, CustomTag>,
        /// Sampling by request id.
        use_request_id_for_trace_sampling: Option<bool>,
        /// Istio's own tags.
        enable_istio_tags: Option<bool>,
    }
    /// Metric settings.
    MetricsConfig {
        /// Providers.
        providers: Vec<ProviderRef>,
        /// Overrides.
        overrides: Vec<MetricsOverrides>,
        /// How often TCP is reported.
        reporting_interval: Option<crate::Duration>,
    }
}

messages! {
    /// A tag of spans. Exactly one kind is given.
    CustomTag {
        /// Given here.
        literal: Option<LiteralTag>,
        /// From the proxy's environment.
        environment: Option<NamedTag>,
        /// From the request.
        header: Option<NamedTag>,
    }
    /// A tag's value.
    LiteralTag {
        /// Value.
        value: String,
    }
    /// A tag's source.
    NamedTag {
        /// Name of the variable or header.
        name: String,
        /// Value in its absence.
        default_value: String,
    }
    /// How metrics differ from the standard.
    MetricsOverrides {
        /// Which metrics, and whose.
        r#match: Option<MetricSelector>,
        /// They are not counted.
        disabled: Option<bool>,
        /// Labels.
        tag_overrides: std::collections::BTreeMap<String, TagOverride>,
    }
    /// Which metrics, and whose.
    MetricSelector {
        /// `REQUEST_COUNT` and the like; absent: all.
        metric: Option<String>,
        /// A metric that is not standard.
        custom_metric: Option<String>,
        /// Side.
        mode: WorkloadMode,
    }
    /// What becomes of a label.
    TagOverride {
        /// Set or removed.
        operation: TagOperation,
        /// CEL.
        value: String,
    }
}

enumerations! {
    /// What becomes of a label.
    TagOperation {
        /// Set, whether it was there or not.
        #[default]
        Upsert,
        /// Removed.
        Remove,
    }
    /// Sides of a connection.
    WorkloadMode {
        /// As `CLIENT_AND_SERVER`.
        #[default]
        Undefined,
        /// Outbound.
        Client,
        /// Inbound.
        Server,
        /// Both.
        ClientAndServer,
    }
}
