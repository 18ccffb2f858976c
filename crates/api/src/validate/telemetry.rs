//! `Telemetry`: access logs, metrics and spans.

use super::Validation;
use super::common::selection;
use crate::ObjectMeta;
use crate::istio::{MetricsOverrides, ProviderRef, TagOperation, Telemetry, TracingSpec};

/// Rules of `Telemetry`.
pub(super) fn check(_: &ObjectMeta, spec: &Telemetry, v: &mut Validation) {
    selection(v, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    if spec.tracing.len() > 1 {
        v.warn("spec.tracing", "multiple tracing entries: only the first is used");
    }
    for (i, entry) in spec.tracing.iter().enumerate() {
        tracing(v, &format!("spec.tracing[{i}]"), entry);
    }
    for (i, metrics) in spec.metrics.iter().enumerate() {
        providers(v, &format!("spec.metrics[{i}]"), &metrics.providers);
        for (j, change) in metrics.overrides.iter().enumerate() {
            metric(v, &format!("spec.metrics[{i}].overrides[{j}]"), change);
        }
    }
    for (i, log) in spec.access_logging.iter().enumerate() {
        let path = format!("spec.accessLogging[{i}]");
        providers(v, &path, &log.providers);
        if log.filter.as_ref().is_some_and(|f| f.expression.is_empty()) {
            v.error(format!("{path}.filter.expression"), "the expression is empty: say which requests are logged");
        }
    }
}

fn providers(v: &mut Validation, path: &str, list: &[ProviderRef]) {
    if list.iter().any(|p| p.name.is_empty()) {
        v.error(format!("{path}.providers"), "a provider has no name; write the one that MeshConfig has");
    }
}

fn tracing(v: &mut Validation, path: &str, t: &TracingSpec) {
    if t.random_sampling_percentage.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
        v.error(format!("{path}.randomSamplingPercentage"), "a percentage is from 0 to 100");
    }
    if t.providers.len() > 1 {
        v.warn(format!("{path}.providers"), "multiple providers: only the first is used");
    }
    providers(v, path, &t.providers);
    for (name, tag) in &t.custom_tags {
        let path = format!("{path}.customTags.{name}");
        if name.is_empty() {
            v.error(&path, "a tag needs a name");
        }
        let sources = [
            ("literal.value", tag.literal.as_ref().map(|l| &l.value)),
            ("header.name", tag.header.as_ref().map(|h| &h.name)),
            ("environment.name", tag.environment.as_ref().map(|e| &e.name)),
        ];
        for (field, _) in sources.iter().filter(|(_, text)| text.is_some_and(String::is_empty)) {
            v.error(format!("{path}.{field}"), "it is missing or empty");
        }
    }
}

fn metric(v: &mut Validation, path: &str, change: &MetricsOverrides) {
    if change.r#match.as_ref().and_then(|m| m.custom_metric.as_deref()).is_some_and(str::is_empty) {
        v.error(format!("{path}.match.customMetric"), "the metric has no name");
    }
    for (tag, set) in &change.tag_overrides {
        let path = format!("{path}.tagOverrides.{tag}");
        match set.operation {
            TagOperation::Remove if !set.value.is_empty() => {
                v.error(path, "the value must not be set when operation is REMOVE")
            }
            TagOperation::Upsert if set.value.is_empty() => {
                v.error(path, "the value must be set when operation is UPSERT")
            }
            _ => {}
        }
    }
}
