//! Istio's metrics: whether they are counted, and how Telemetry resources change them.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{MeshConfig, MetricSelector, MetricsConfig, TagOperation, TagOverride, Telemetry};
use varka_engine::ir::{MetricOverride, Stats};

use super::telemetry::{Side, applicable};
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;

/// The provider that every mesh has.
const PROMETHEUS: &str = "prometheus";

/// Telemetry's names of the standard metrics, and their own without `istio_`.
const METRICS: [(&str, &str); 10] = [
    ("GRPC_REQUEST_MESSAGES", "request_messages_total"),
    ("GRPC_RESPONSE_MESSAGES", "response_messages_total"),
    ("REQUEST_COUNT", "requests_total"),
    ("REQUEST_DURATION", "request_duration_milliseconds"),
    ("REQUEST_SIZE", "request_bytes"),
    ("RESPONSE_SIZE", "response_bytes"),
    ("TCP_CLOSED_CONNECTIONS", "tcp_connections_closed_total"),
    ("TCP_OPENED_CONNECTIONS", "tcp_connections_opened_total"),
    ("TCP_RECEIVED_BYTES", "tcp_received_bytes_total"),
    ("TCP_SENT_BYTES", "tcp_sent_bytes_total"),
];

/// What becomes of one metric.
#[derive(Default)]
struct Change {
    disabled: bool,
    /// Expressions by label; `None`: removed.
    tags: BTreeMap<String, Option<String>>,
}

/// What is counted of one side; `None`: nothing. Settings add up from the mesh over the namespace to the workload.
pub(crate) fn metrics(ctx: &Ctx<'_>, side: Side) -> Option<Stats> {
    let mesh = ctx.mesh();
    let telemetries = applicable(ctx);
    let of = |t: &&Arc<Object<Telemetry>>| -> Vec<_> {
        let placed = |(i, m): (usize, &MetricsConfig)| ((Arc::clone(*t), format!("spec.metrics[{i}]")), m.clone());
        t.spec.metrics.iter().enumerate().map(placed).collect()
    };
    let settings: Vec<_> = telemetries.iter().flat_map(of).collect();
    let default = || mesh.default_providers.get("metrics").cloned().unwrap_or_else(|| vec![PROMETHEUS.to_owned()]);
    // The last that names providers decides which there are; the others' settings for them still count.
    let chosen = settings.iter().rev().map(|(_, m)| names(m)).find(|n| !n.is_empty()).unwrap_or_else(default);
    let provider = chosen.into_iter().find(|name| is_prometheus(mesh, name))?;
    let mut stats = Stats { disable_host_header_fallback: side == Side::Server || ctx.is_router(), ..Stats::default() };
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    let (mut off, mut current) = (false, default());
    for (place, setting) in &settings {
        if !setting.providers.is_empty() {
            current = names(setting);
        }
        if !current.contains(&provider) {
            continue;
        }
        stats.tcp_reporting_interval = setting.reporting_interval.map(|d| d.to_std()).or(stats.tcp_reporting_interval);
        for (i, change) in setting.overrides.iter().enumerate() {
            let selector = change.r#match.clone().unwrap_or_default();
            if !side.is_meant(selector.mode) {
                continue;
            }
            if change.disabled == Some(true) && is_all(&selector) {
                off = true;
                continue;
            }
            off = false;
            for name in METRICS.iter().filter(|(long, _)| is_all(&selector) || selector.metric.as_deref() == Some(long))
            {
                let to = changes.entry(name.0).or_default();
                to.disabled = change.disabled.unwrap_or(to.disabled);
                for (tag, value) in &change.tag_overrides {
                    if let Err(e) = check(value) {
                        let (object, path) = (&place.0, format!("{}.overrides[{i}].tagOverrides.{tag}.value", place.1));
                        let what = format!("`{}` is no expression that can be used: {e}", value.value);
                        let effect = format!("metrics are without label `{tag}`, or keep its standard value");
                        ctx.report(Severity::Warning, "metric-expression", object, &path, what, effect);
                        continue;
                    }
                    let expression = (value.operation == TagOperation::Upsert).then(|| value.value.clone());
                    to.tags.insert(tag.clone(), expression);
                }
            }
        }
    }
    if off {
        return None;
    }
    let named = |long: &str| METRICS.iter().find(|(l, _)| *l == long).map_or("", |(_, short)| short);
    stats.metrics = changes.into_iter().map(|(long, change)| change.into_override(named(long))).collect();
    Some(stats)
}

impl Change {
    fn into_override(self, name: &str) -> MetricOverride {
        let mut out = MetricOverride { name: s(name), drop: self.disabled, ..MetricOverride::default() };
        for (tag, expression) in self.tags {
            match expression {
                Some(expression) => out.dimensions.push((s(tag), s(expression))),
                None => out.tags_to_remove.push(s(tag)),
            }
        }
        out
    }
}

/// Whether a label's expression can be used.
fn check(tag: &TagOverride) -> Result<(), varka_engine::cel::ParseError> {
    if tag.operation == TagOperation::Remove {
        return Ok(());
    }
    varka_engine::cel::Expression::parse(&tag.value).map(drop)
}

fn names(setting: &MetricsConfig) -> Vec<String> {
    setting.providers.iter().map(|p| p.name.clone()).collect()
}

fn is_all(selector: &MetricSelector) -> bool {
    let metric = selector.metric.as_deref().unwrap_or_default();
    selector.custom_metric.is_none() && matches!(metric, "" | "ALL_METRICS")
}

fn is_prometheus(mesh: &MeshConfig, name: &str) -> bool {
    match mesh.extension_providers.iter().find(|p| p.name.eq_ignore_ascii_case(name)) {
        Some(provider) => provider.prometheus.is_some(),
        None => name == PROMETHEUS,
    }
}
