//! Access logs and spans, by MeshConfig and Telemetry.

use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{AccessLogEncoding, AccessLogging, MeshConfig, Telemetry, WorkloadMode};
use varka_engine::ir::{AccessLog, AccessLogFormat, AccessLogSink, ISTIO_JSON, ISTIO_TEXT, Str, Tracing};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::key::contains;
use crate::snapshot::{Kind, by_age};

/// Which side of a connection is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Outbound, and gateways.
    Client,
    /// Inbound.
    Server,
}

/// Logs of requests and connections.
pub(crate) fn access_logs(ctx: &Ctx<'_>, side: Side) -> Vec<AccessLog> {
    let mesh = ctx.mesh();
    let telemetries = applicable(ctx);
    let mut chosen: Option<(&Arc<Object<Telemetry>>, Vec<&AccessLogging>)> = None;
    for telemetry in &telemetries {
        let fits: Vec<_> = telemetry.spec.access_logging.iter().filter(|l| is_for(l, side)).collect();
        if !fits.is_empty() {
            chosen = Some((telemetry, fits));
        }
    }
    let Some((telemetry, settings)) = chosen else { return mesh_log(mesh).into_iter().collect() };
    let mut logs = Vec::new();
    for (i, setting) in settings.iter().enumerate() {
        if setting.disabled == Some(true) {
            continue;
        }
        if setting.filter.is_some() {
            ctx.report(
                Severity::Warning,
                "access-log-filter",
                telemetry,
                &format!("spec.accessLogging[{i}].filter"),
                "filters of access logs are not supported",
                "every request is logged",
            );
        }
        if setting.providers.is_empty() {
            logs.push(mesh_log(mesh).unwrap_or_else(|| log("/dev/stdout", AccessLogFormat::Text(s(ISTIO_TEXT)))));
        }
        for provider in &setting.providers {
            match provider_log(mesh, &provider.name) {
                Some(found) => logs.push(found),
                None => ctx.report(
                    Severity::Warning,
                    "unknown-provider",
                    telemetry,
                    &format!("spec.accessLogging[{i}].providers"),
                    format!("MeshConfig has no file access log provider `{}`", provider.name),
                    "nothing is logged for it",
                ),
            }
        }
    }
    logs.dedup();
    logs
}

/// Logs of connections that no filter chain took.
pub(crate) fn listener_access_logs(ctx: &Ctx<'_>, side: Side) -> Vec<AccessLog> {
    access_logs(ctx, side).into_iter().map(|l| AccessLog { only_not_found: true, ..l }).collect()
}

/// Telemetry resources of the mesh, the namespace and the workload; later ones win.
fn applicable(ctx: &Ctx<'_>) -> Vec<Arc<Object<Telemetry>>> {
    let store = &ctx.snapshot.stores.telemetries;
    let selects = |t: &Telemetry| {
        t.selector.as_ref().filter(|s| !s.match_labels.is_empty()).map(|s| contains(&ctx.proxy.labels, &s.match_labels))
    };
    let oldest = |namespace: &str, wanted: Option<bool>| {
        let mut found: Vec<_> =
            ctx.namespace(Kind::Telemetry, store, namespace).filter(|t| selects(&t.spec) == wanted).collect();
        found.sort_by(|a, b| by_age(a, b));
        found.first().map(|o| Arc::clone(o))
    };
    let (root, own) = (ctx.root_namespace(), &*ctx.proxy.namespace);
    let mut all: Vec<_> = oldest(root, None).into_iter().collect();
    if root != own {
        all.extend(oldest(own, None));
    }
    all.extend(oldest(own, Some(true)));
    all
}

fn is_for(setting: &AccessLogging, side: Side) -> bool {
    match setting.r#match.as_ref().map_or(WorkloadMode::Undefined, |m| m.mode) {
        WorkloadMode::Undefined | WorkloadMode::ClientAndServer => true,
        WorkloadMode::Client => side == Side::Client,
        WorkloadMode::Server => side == Side::Server,
    }
}

fn mesh_log(mesh: &MeshConfig) -> Option<AccessLog> {
    let file = mesh.access_log_file.as_deref().unwrap_or("/dev/stdout");
    if file.is_empty() {
        return None;
    }
    let own = mesh.access_log_format.as_str();
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => AccessLogFormat::Text(s(if own.is_empty() { ISTIO_TEXT } else { own })),
        AccessLogEncoding::Json => {
            let keys: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(own).ok();
            AccessLogFormat::Json(keys.map_or_else(default_keys, |keys| {
                keys.iter().map(|(k, v)| (s(k), v.as_str().map_or_else(|| s(v.to_string()), s))).collect()
            }))
        }
    };
    Some(log(file, format))
}

fn default_keys() -> Vec<(Str, Str)> {
    ISTIO_JSON.iter().map(|(k, v)| (s(k), s(v))).collect()
}

fn provider_log(mesh: &MeshConfig, name: &str) -> Option<AccessLog> {
    let provider = mesh.extension_providers.iter().find(|p| p.name == name);
    let Some(file) = provider.and_then(|p| p.envoy_file_access_log.as_ref()) else {
        // The provider that every mesh has.
        return (name == "envoy").then(|| log("/dev/stdout", AccessLogFormat::Text(s(ISTIO_TEXT))));
    };
    let format = match &file.log_format {
        Some(f) if f.labels.is_some() => {
            AccessLogFormat::Json(f.labels.iter().flatten().map(|(k, v)| (s(k), s(v))).collect())
        }
        Some(f) => AccessLogFormat::Text(
            f.text
                .as_deref()
                .map_or_else(|| s(ISTIO_TEXT), |t| if t.ends_with('\n') { s(t) } else { s(format!("{t}\n")) }),
        ),
        None => AccessLogFormat::Text(s(ISTIO_TEXT)),
    };
    Some(log(&file.path, format))
}

fn log(path: &str, format: AccessLogFormat) -> AccessLog {
    let sink = if path == "/dev/stdout" { AccessLogSink::Stdout } else { AccessLogSink::File(s(path)) };
    AccessLog { sink, format, only_not_found: false }
}

/// Spans: where a provider is configured, at the rate of Telemetry, else of the mesh, else 1 %.
pub(crate) fn tracing(ctx: &Ctx<'_>, side: Side) -> Option<Tracing> {
    let mesh = ctx.mesh();
    let mut provider = mesh.default_providers.get("tracing").and_then(|p| p.first()).cloned();
    let mut percent = mesh.default_config.as_ref().and_then(|c| c.tracing.as_ref()).map_or(1.0, |t| t.sampling);
    let mut reporting = true;
    for telemetry in applicable(ctx) {
        for t in &telemetry.spec.tracing {
            let fits = match t.r#match.as_ref().map_or(WorkloadMode::Undefined, |m| m.mode) {
                WorkloadMode::Client => side == Side::Client,
                WorkloadMode::Server => side == Side::Server,
                WorkloadMode::Undefined | WorkloadMode::ClientAndServer => true,
            };
            if !fits {
                continue;
            }
            if let Some(p) = t.providers.first() {
                provider = Some(p.name.clone());
            }
            percent = t.random_sampling_percentage.unwrap_or(percent);
            reporting = !t.disable_span_reporting.unwrap_or(!reporting);
        }
    }
    let provider = mesh.extension_providers.iter().find(|p| Some(&p.name) == provider.as_ref())?;
    let collector = provider.zipkin.as_ref().or(provider.opentelemetry.as_ref())?;
    let host = collector.service.split_once('/').map_or(collector.service.as_str(), |(_, host)| host);
    reporting.then(|| Tracing {
        parts_per_million: crate::route::parts_per_million(percent),
        collector: s(format!("outbound|{}||{host}", collector.port)),
    })
}
